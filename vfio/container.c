/* SPDX-License-Identifier: Apache-2.0
 *
 * From a held IOMMU group to the open device. Stateless: what is made lives in the kernel, tied to
 * the group's descriptor (Linux 6.12, vfio_group_fops_release).
 *
 * The plan:
 *   1. the group is viable;
 *   2. it gets an IOMMU context, unless it has one from before: a type1 container, or where there
 *      is none (a host whose VMMs all use iommufd does not load vfio_iommu_type1) an iommufd, which
 *      the same ioctl takes. Nothing is ever mapped in it;
 *   3. the device's descriptor. This resets the device.
 */
#include "vfio/sys.h"

#include "base/cleanup.h"
#include "vfio/paths.h"
#include "vfio/scan.h"

#include <linux/vfio.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* What an errno of one call means. num 0 ends the list and stands for every other. */
struct refusal {
    int num;
    enum err_class cls;
    enum reason reason;
    const char *why;
};

static int
refused(const struct vfio_fn *fn, const char *call, const struct refusal *t, int num, struct err *e)
{
    while (t->num && t->num != num)
        t++;
    return err_reason(e, num, t->cls, t->reason, "open %s by VFIO: %s: %s%s%s", PCI_STR(fn->addr),
                      call, strerror(num), t->why ? ": " : "", t->why ? t->why : "");
}

static const struct refusal on_open[] = {
    {ENOENT, ERR_CLASS_HW, REASON_NODE_MISSING, "load the vfio module"},
    {EACCES, ERR_CLASS_FATAL, REASON_PERMISSION, NULL},
    {EPERM, ERR_CLASS_FATAL, REASON_PERMISSION, NULL},
    {0, ERR_CLASS_HW, REASON_NODE_MISSING, NULL},
};

static const struct refusal on_status[] = {
    {ENODEV, ERR_CLASS_HW, REASON_DEVICE_GONE, "the group has no device any more"},
    {0, ERR_CLASS_HW, REASON_NODE_MISSING, "the node is no VFIO group"},
};

static const struct refusal on_set_container[] = {
    {EPERM, ERR_CLASS_BUSY, REASON_GROUP_NOT_VIABLE, "a function of the group is in other hands"},
    {EBUSY, ERR_CLASS_BUSY, REASON_IN_USE, NULL},
    {ENODEV, ERR_CLASS_HW, REASON_DEVICE_GONE, NULL},
    {0, ERR_CLASS_HW, REASON_NODE_MISSING, NULL},
};

static const struct refusal on_set_iommu[] = {
    {ENODEV, ERR_CLASS_INVALID, REASON_VFIO_TYPE1_NOT_LOADED, NULL},
    {EPERM, ERR_CLASS_INVALID, REASON_NO_IOMMU,
     "the platform has no interrupt remapping, or the group may not be given away"},
    {0, ERR_CLASS_HW, REASON_NO_IOMMU, NULL},
};

static const struct refusal on_device[] = {
    {ENODEV, ERR_CLASS_RETRY, REASON_NOT_BOUND, "it is not on a VFIO driver of this group"},
    {EBUSY, ERR_CLASS_BUSY, REASON_IN_USE, NULL},
    {EAGAIN, ERR_CLASS_RETRY, REASON_OP_PENDING, "somebody is just working on the function"},
    /* with an iommufd, what SET_CONTAINER says with type1 */
    {EPERM, ERR_CLASS_BUSY, REASON_GROUP_NOT_VIABLE, "a function of the group is in other hands"},
    {EINVAL, ERR_CLASS_HW, REASON_NODE_MISSING, "the group has no IOMMU context"},
    {0, ERR_CLASS_HW, REASON_DEVICE_GONE, "the function does not answer"},
};

static void
close_on(const struct vfio_sys *sys, int fd)
{
    if (fd >= 0)
        sys->close(sys->ctx, fd);
}

/* The type that the container offers; 0: none. */
static int
type1_of(const struct vfio_sys *sys, int container)
{
    static const int types[] = {VFIO_TYPE1v2_IOMMU, VFIO_TYPE1_IOMMU};

    if (sys->ioctl(sys->ctx, container, VFIO_GET_API_VERSION, 0) != VFIO_API_VERSION)
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if (sys->ioctl(sys->ctx, container, VFIO_CHECK_EXTENSION, (uintptr_t)types[i]) > 0)
            return types[i];
    return 0;
}

static int
set_container(const struct vfio_sys *sys, const struct vfio_fn *fn, int group, int context,
              const char *path, struct err *e)
{
    char call[96];
    int32_t fd = context;
    int r = sys->ioctl(sys->ctx, group, VFIO_GROUP_SET_CONTAINER, (uintptr_t)&fd);

    if (r >= 0)
        return 0;
    (void)snprintf(call, sizeof(call), "put group %d into %s", fn->iommu_group, path);
    return refused(fn, call, on_set_container, -r, e);
}

/* 0: the group has a type1 context now. 1: there is no type1 here. */
static int
by_type1(const struct vfio_sys *sys, const struct fs_root *root, const struct vfio_fn *fn,
         int group, struct err *e)
{
    int fd = sys->open(sys->ctx, root, PATH_DEV_VFIO_CONTAINER);
    int type, r;

    if (fd == -ENOENT || fd == -ENODEV)
        return 1;
    if (fd < 0)
        return refused(fn, "open " PATH_DEV_VFIO_CONTAINER, on_open, -fd, e);
    type = type1_of(sys, fd);
    if (type == 0) {
        close_on(sys, fd);
        return 1;
    }
    r = set_container(sys, fn, group, fd, PATH_DEV_VFIO_CONTAINER, e);
    if (r == 0) {
        r = sys->ioctl(sys->ctx, fd, VFIO_SET_IOMMU, (uintptr_t)type);
        if (r < 0) {
            (void)sys->ioctl(sys->ctx, group, VFIO_GROUP_UNSET_CONTAINER, 0);
            r = refused(fn, "set the container's IOMMU type", on_set_iommu, -r, e);
        }
    }
    close_on(sys, fd); /* the group keeps the container */
    return r < 0 ? r : 0;
}

static int
by_iommufd(const struct vfio_sys *sys, const struct fs_root *root, const struct vfio_fn *fn,
           int group, struct err *e)
{
    int fd = sys->open(sys->ctx, root, PATH_DEV_IOMMU), r;

    if (fd == -ENOENT || fd == -ENODEV)
        return err_reason(e, ENODEV, ERR_CLASS_INVALID, REASON_VFIO_TYPE1_NOT_LOADED,
                          "open %s by VFIO: neither %s with type1 nor %s is there",
                          PCI_STR(fn->addr), PATH_DEV_VFIO_CONTAINER, PATH_DEV_IOMMU);
    if (fd < 0)
        return refused(fn, "open " PATH_DEV_IOMMU, on_open, -fd, e);
    r = set_container(sys, fn, group, fd, PATH_DEV_IOMMU, e);
    close_on(sys, fd);
    return r;
}

int
vfio_group_device(const struct vfio_sys *sys, const struct fs_root *root, const struct vfio_fn *fn,
                  int group, struct err *e)
{
    /* all bits: the kernel sets a few; what leaves them as they are is none */
    struct vfio_group_status st = {.argsz = sizeof(st), .flags = UINT32_MAX};
    int r = sys->ioctl(sys->ctx, group, VFIO_GROUP_GET_STATUS, (uintptr_t)&st);

    if (r < 0 || st.flags == UINT32_MAX)
        return refused(fn, "ask for the group's status", on_status, r < 0 ? -r : ENOTTY, e);
    if (!(st.flags & VFIO_GROUP_FLAGS_VIABLE))
        return err_reason(e, EBUSY, ERR_CLASS_BUSY, REASON_GROUP_NOT_VIABLE,
                          "open %s by VFIO: IOMMU group %d is not viable: a function of it is "
                          "bound to a host driver",
                          PCI_STR(fn->addr), fn->iommu_group);
    if (!(st.flags & VFIO_GROUP_FLAGS_CONTAINER_SET)) {
        r = by_type1(sys, root, fn, group, e);
        if (r > 0)
            r = by_iommufd(sys, root, fn, group, e);
        if (r < 0)
            return r;
    }
    r = sys->ioctl(sys->ctx, group, VFIO_GROUP_GET_DEVICE_FD, (uintptr_t)PCI_STR(fn->addr));
    return r < 0 ? refused(fn, "get the device", on_device, -r, e) : r;
}
