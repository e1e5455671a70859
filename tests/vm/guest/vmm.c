/* SPDX-License-Identifier: Apache-2.0
 *
 * Written from <linux/vfio.h> alone, so that it is a check of vfio/ and not its echo.
 */
#include "tests/vm/guest/vmm.h"

#include "tests/vm/guest/host.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static int
open_group(const char *addr)
{
    char group[32], path[64];

    (void)vm_link(group, sizeof(group), "/sys/bus/pci/devices/%s/iommu_group", addr);
    (void)snprintf(path, sizeof(path), "/dev/vfio/%s", group);
    return open(path, O_RDWR | O_CLOEXEC);
}

static int
set_up(struct vmm *v, const char *addr)
{
    struct vfio_group_status st = {.argsz = sizeof(st)};

    v->container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
    if (v->container < 0 || ioctl(v->group, VFIO_GROUP_GET_STATUS, &st) < 0)
        return -1;
    if (!(st.flags & VFIO_GROUP_FLAGS_VIABLE)) {
        errno = EPERM;
        return -1;
    }
    if (ioctl(v->group, VFIO_GROUP_SET_CONTAINER, &v->container) < 0 ||
        ioctl(v->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0)
        return -1;
    v->device = ioctl(v->group, VFIO_GROUP_GET_DEVICE_FD, addr);
    return v->device;
}

int
vmm_try(struct vmm *v, const char *addr)
{
    int num = 0;

    *v = (struct vmm){.container = -1, .device = -1};
    v->group = open_group(addr);
    if (v->group < 0 || set_up(v, addr) < 0) {
        num = errno;
        vmm_close(v);
    }
    return num;
}

void
vmm_open(struct vmm *v, const char *addr)
{
    int num = vmm_try(v, addr);

    if (num)
        fail_msg("a VMM cannot take %s: %s", addr, strerror(num));
}

void
vmm_close(struct vmm *v)
{
    if (v->device >= 0)
        (void)close(v->device);
    if (v->group >= 0)
        (void)close(v->group);
    if (v->container >= 0)
        (void)close(v->container);
    *v = (struct vmm){.group = -1, .container = -1, .device = -1};
}

uint32_t
vmm_bar0(const struct vmm *v, uint32_t offset)
{
    struct vfio_region_info r = {.argsz = sizeof(r), .index = VFIO_PCI_BAR0_REGION_INDEX};
    uint32_t val = 0;

    assert_int_equal(ioctl(v->device, VFIO_DEVICE_GET_REGION_INFO, &r), 0);
    if (pread(v->device, &val, sizeof(val), (off_t)(r.offset + offset)) != sizeof(val))
        fail_msg("read BAR0 through VFIO: %s", strerror(errno));
    return val;
}

int
vmm_group_busy(const char *addr)
{
    int fd = open_group(addr);

    if (fd < 0)
        return errno;
    (void)close(fd);
    return 0;
}
