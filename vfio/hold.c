/* SPDX-License-Identifier: Apache-2.0
 *
 * Taking a device for ourselves. Stateless: the descriptor is the hold. Nodes are never required to
 * be character devices; a simulated node shows files.
 */
#include "vfio/hold.h"

#include "base/cleanup.h"
#include "vfio/abi.h"
#include "vfio/nodes.h"
#include "vfio/sys.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static int
in_use_error(const struct vfio_fn *fn, const char *path, const char *what, int num, struct err *e)
{
    return err_reason(e, EBUSY, ERR_CLASS_BUSY, REASON_IN_USE, "hold %s: %s %s: %s",
                      PCI_STR(fn->addr), what, path, strerror(num));
}

static int
open_node(const struct vfio_sys *sys, const struct fs_root *root, const struct vfio_fn *fn,
          const char *path, struct err *e)
{
    int fd = sys->open(sys->ctx, root, path);
    enum err_class cls = ERR_CLASS_HW;
    enum reason reason = REASON_NODE_MISSING;

    if (fd >= 0)
        return fd;
    if (fd == -EBUSY)
        return in_use_error(fn, path, "open", EBUSY, e);
    if (fd == -ENOENT) {
        cls = ERR_CLASS_RETRY; /* devtmpfs or udev may be a moment late */
    } else if (fd == -EACCES || fd == -EPERM) {
        cls = ERR_CLASS_FATAL;
        reason = REASON_PERMISSION;
    }
    return err_reason(e, -fd, cls, reason, "hold %s: open %s: %s", PCI_STR(fn->addr), path,
                      strerror(-fd));
}

/* The bound cdev keeps the iommufd alive by itself (iommufd_ctx_from_fd takes a reference), so only
 * the cdev is handed back. */
static int
hold_cdev(const struct vfio_sys *sys, const struct fs_root *root, const struct vfio_fn *fn,
          struct err *e)
{
    char path[VFIO_PATH_MAX];
    struct vfio_bind_iommufd b = {.argsz = sizeof(b)};
    int dev = open_node(sys, root, fn, node_of_cdev(fn, path), e), iommu, num;

    if (dev < 0)
        return dev;
    iommu = open_node(sys, root, fn, PATH_DEV_IOMMU, e);
    if (iommu < 0) {
        sys->close(sys->ctx, dev);
        return iommu;
    }
    b.iommufd = iommu;
    num = -sys->ioctl(sys->ctx, dev, VFIO_BIND_IOMMUFD, (uintptr_t)&b);
    sys->close(sys->ctx, iommu);
    if (num <= 0)
        return dev;
    sys->close(sys->ctx, dev);
    /* EBUSY: held through its group. EINVAL: held through the cdev (Linux 6.12). */
    if (num == EBUSY || num == EINVAL)
        return in_use_error(fn, path, "bind to an iommufd", num, e);
    return err_reason(e, num, ERR_CLASS_HW, REASON_NODE_MISSING,
                      "hold %s: bind %s to an iommufd: %s", PCI_STR(fn->addr), path, strerror(num));
}

bool
vfio_hold_is_cdev(const struct fs_root *root, const struct vfio_fn *fn)
{
    char path[VFIO_PATH_MAX];

    return fn->cdev >= 0 && (fn->iommu_group < 0 || !fs_exists(root, node_of_group(fn, path)));
}

int
vfio_hold_on(const struct vfio_sys *sys, const struct fs_root *root, const struct vfio_fn *fn,
             struct err *e)
{
    char path[VFIO_PATH_MAX];

    if (!vfio_is_vfio_driver(fn->driver))
        return err_reason(e, ENXIO, ERR_CLASS_INVALID, REASON_NOT_BOUND,
                          "hold %s: it is bound to %s, not to a VFIO driver", PCI_STR(fn->addr),
                          fn->driver[0] ? fn->driver : "no driver");
    if (fn->iommu_group < 0 && fn->cdev < 0)
        return err_reason(e, ENODEV, ERR_CLASS_INVALID, REASON_NO_IOMMU,
                          "hold %s: the function is in no IOMMU group", PCI_STR(fn->addr));
    if (vfio_hold_is_cdev(root, fn))
        return hold_cdev(sys, root, fn, e);
    return open_node(sys, root, fn, node_of_group(fn, path), e);
}

int
vfio_hold(const struct fs_root *root, const struct vfio_fn *fn, struct err *e)
{
    return vfio_hold_on(&vfio_sys_linux, root, fn, e);
}

int
vfio_in_use(const struct fs_root *root, const struct vfio_fn *fn, struct err *e)
{
    char path[VFIO_PATH_MAX];
    struct vfio_holder holder;
    struct err sub = ERR_INIT;
    int fd;

    if (!vfio_is_vfio_driver(fn->driver))
        return 0;
    /* Binding the cdev would reset the device, so without a group node /proc has to do. */
    if (fn->iommu_group < 0 || vfio_hold_is_cdev(root, fn)) {
        fd = vfio_holders(root, fn, getpid(), &holder, 1, e);
        return fd < 0 ? fd : fd > 0;
    }
    fd = open_node(&vfio_sys_linux, root, fn, node_of_group(fn, path), &sub);
    if (fd >= 0) {
        fd_close(&fd);
        return 0;
    }
    if (sub.reason == REASON_IN_USE)
        return 1;
    *e = sub;
    return fd;
}
