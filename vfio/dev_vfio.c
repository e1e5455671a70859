/* SPDX-License-Identifier: Apache-2.0
 *
 * hw_dev over VFIO: the regions of an open device. Owns the device's descriptor; one thread at a
 * time. What the kernel tells about the regions is checked before it is used.
 */
#include "vfio/dev_vfio_priv.h"

#include "base/cleanup.h"
#include "vfio/abi.h"
#include "vfio/hold.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* As vfio/dev_sysfs.c: BAR0 is 16 MiB on data-centre parts, 64 MiB on GB20x. */
#define BAR0_MAX ((uint64_t)256 << 20)
#define BAR0_MIN 0x1000u
#define CFG_MIN 64u
#define CFG_MAX 4096u

/* Up to num_irqs; a later cap_offset is not asked for. */
#define INFO_SIZE (offsetof(struct vfio_device_info, num_irqs) + sizeof(uint32_t))

/* ---- BAR0 ---- */

static int
check_bar(const struct dev_vfio *d, uint32_t off, struct err *e)
{
    if (off % 4 == 0 && off < d->bar.size)
        return 0;
    return err_set(e, EINVAL, ERR_CLASS_INVALID,
                   "access BAR0 of %s: offset 0x%x is unaligned or outside its 0x%llx bytes",
                   PCI_STR(d->hw.addr), off, (unsigned long long)d->bar.size);
}

static int
access_error(const struct dev_vfio *d, const char *what, uint32_t off, ssize_t n,
             enum reason reason, struct err *e)
{
    int num = n < 0 ? (int)-n : EIO;

    return err_reason(
        e, num, ERR_CLASS_HW, num == ENODEV || num == ENXIO ? REASON_DEVICE_GONE : reason,
        "%s of %s at 0x%x by VFIO: %s", what, PCI_STR(d->hw.addr), off, strerror(num));
}

/* EIO: memory decode is off or the function sleeps (vfio_pci_rdwr.c, vfio_pci_core_do_io_rw). On
 * the bus nothing would answer, and what is wrong the caller finds out from there. */
static int
bar_read32(void *ctx, uint32_t off, uint32_t *ret, struct err *e)
{
    const struct dev_vfio *d = ctx;
    uint32_t v = UINT32_MAX;
    ssize_t n;
    int r = check_bar(d, off, e);

    if (r < 0)
        return r;
    n = d->sys->pread(d->sys->ctx, d->dev, &v, sizeof(v), d->bar.off + off);
    if (n == -EIO)
        v = UINT32_MAX;
    else if (n != (ssize_t)sizeof(v))
        return access_error(d, "read BAR0", off, n, REASON_BAR_DEAD, e);
    *ret = v;
    return 0;
}

static int
bar_write32(void *ctx, uint32_t off, uint32_t val, struct err *e)
{
    const struct dev_vfio *d = ctx;
    ssize_t n;
    int r = check_bar(d, off, e);

    if (r < 0)
        return r;
    n = d->sys->pwrite(d->sys->ctx, d->dev, &val, sizeof(val), d->bar.off + off);
    if (n != (ssize_t)sizeof(val))
        return access_error(d, "write BAR0", off, n, REASON_BAR_DEAD, e);
    return 0;
}

/* ---- configuration space ---- */

static int
check_cfg(const struct dev_vfio *d, uint32_t off, unsigned width, struct err *e)
{
    if ((width == 1 || width == 2 || width == 4) && off % width == 0 && off < CFG_MAX)
        return 0;
    return err_set(e, EINVAL, ERR_CLASS_INVALID,
                   "access configuration space of %s: width %u at 0x%x is not allowed",
                   PCI_STR(d->hw.addr), width, off);
}

static int
cfg_read(void *ctx, uint32_t off, unsigned width, uint32_t *ret, struct err *e)
{
    const struct dev_vfio *d = ctx;
    uint8_t b[4] = {0xff, 0xff, 0xff, 0xff};
    uint32_t v = 0;
    int r = check_cfg(d, off, width, e);

    if (r < 0)
        return r;
    /* Past the end of a function without extended space nothing answers: all-ones. */
    if (off + width <= d->cfg.size) {
        ssize_t n = d->sys->pread(d->sys->ctx, d->dev, b, width, d->cfg.off + off);

        if (n != (ssize_t)width)
            return access_error(d, "read configuration space", off, n, REASON_UNREADABLE, e);
    }
    for (unsigned i = 0; i < width; i++)
        v |= (uint32_t)b[i] << 8 * i;
    *ret = v;
    return 0;
}

static int
cfg_write(void *ctx, uint32_t off, unsigned width, uint32_t val, struct err *e)
{
    const struct dev_vfio *d = ctx;
    uint8_t b[4];
    ssize_t n;
    int r = check_cfg(d, off, width, e);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < width; i++)
        b[i] = (uint8_t)(val >> 8 * i);
    if (off + width > d->cfg.size)
        return access_error(d, "write configuration space", off, -ENXIO, REASON_UNREADABLE, e);
    n = d->sys->pwrite(d->sys->ctx, d->dev, b, width, d->cfg.off + off);
    if (n != (ssize_t)width)
        return access_error(d, "write configuration space", off, n, REASON_UNREADABLE, e);
    return 0;
}

static uint64_t
now_ns(void *ctx)
{
    const struct dev_vfio *d = ctx;

    return d->sys->now_ns(d->sys->ctx);
}

static void
sleep_ns(void *ctx, uint64_t ns)
{
    const struct dev_vfio *d = ctx;

    d->sys->sleep_ns(d->sys->ctx, ns);
}

static const struct hw_dev_ops ops = {
    .bar_read32 = bar_read32,
    .bar_write32 = bar_write32,
    .cfg_read = cfg_read,
    .cfg_write = cfg_write,
    .reset = dev_vfio_reset,
    .now_ns = now_ns,
    .sleep_ns = sleep_ns,
};

/* ---- opening ---- */

static int
info_error(const struct dev_vfio *d, const char *what, int num, struct err *e)
{
    return err_reason(e, num, ERR_CLASS_HW,
                      num == ENODEV   ? REASON_DEVICE_GONE
                      : num == EINVAL ? REASON_NOT_BOUND /* a cdev that is bound to no iommufd */
                                      : REASON_BAR_DEAD,
                      "open %s by VFIO: %s: %s", PCI_STR(d->hw.addr), what, strerror(num));
}

static int
get_info(struct dev_vfio *d, uint32_t *ret_irqs, struct err *e)
{
    struct vfio_device_info info = {.argsz = INFO_SIZE};
    int r = d->sys->ioctl(d->sys->ctx, d->dev, VFIO_DEVICE_GET_INFO, (uintptr_t)&info);

    if (r < 0)
        return info_error(d, "ask what it is", -r, e);
    if (info.argsz < INFO_SIZE || !(info.flags & VFIO_DEVICE_FLAGS_PCI) ||
        info.num_regions <= VFIO_PCI_CONFIG_REGION_INDEX)
        return err_reason(e, EPROTO, ERR_CLASS_HW, REASON_BAR_DEAD,
                          "open %s by VFIO: flags 0x%x with %u regions is no PCI device",
                          PCI_STR(d->hw.addr), info.flags, info.num_regions);
    d->can_reset = (info.flags & VFIO_DEVICE_FLAGS_RESET) != 0;
    *ret_irqs = info.num_irqs;
    return 0;
}

static int
get_region(struct dev_vfio *d, uint32_t index, uint64_t min, uint64_t max, struct vfio_region *ret,
           struct err *e)
{
    const uint32_t rw = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
    struct vfio_region_info info = {.argsz = sizeof(info), .index = index};
    int r = d->sys->ioctl(d->sys->ctx, d->dev, VFIO_DEVICE_GET_REGION_INFO, (uintptr_t)&info);

    if (r < 0)
        return info_error(d, index == 0 ? "ask for BAR0" : "ask for configuration space", -r, e);
    if (info.argsz < sizeof(info) || info.index != index || (info.flags & rw) != rw ||
        info.size < min || info.size > max || info.offset > (uint64_t)INT64_MAX - info.size)
        return err_reason(e, EPROTO, ERR_CLASS_HW, REASON_BAR_DEAD,
                          "open %s by VFIO: region %u (flags 0x%x, 0x%llx bytes at 0x%llx) cannot "
                          "be used",
                          PCI_STR(d->hw.addr), index, info.flags, (unsigned long long)info.size,
                          (unsigned long long)info.offset);
    ret->off = info.offset;
    ret->size = info.size;
    return 0;
}

/* Without it an unbind or a hot-unplug would wait for us until we happen to let go; where a kernel
 * does not have it, that is how it is. */
static void
want_requests(struct dev_vfio *d, uint32_t n_irqs)
{
    struct {
        uint32_t argsz, flags, index, start, count; /* struct vfio_irq_set */
        int32_t fd;
    } irq = {.argsz = sizeof(irq),
             .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
             .index = VFIO_PCI_REQ_IRQ_INDEX,
             .count = 1};
    int fd = n_irqs > VFIO_PCI_REQ_IRQ_INDEX ? d->sys->eventfd(d->sys->ctx) : -1;

    if (fd < 0)
        return;
    irq.fd = fd;
    if (d->sys->ioctl(d->sys->ctx, d->dev, VFIO_DEVICE_SET_IRQS, (uintptr_t)&irq) < 0)
        d->sys->close(d->sys->ctx, fd);
    else
        d->request = fd;
}

static int
open_device(struct dev_vfio *d, const struct fs_root *root, const struct vfio_fn *fn, int dev,
            struct err *e)
{
    bool given = dev >= 0;
    uint32_t n_irqs = 0;
    int r;

    if (!given) {
        dev = d->is_cdev ? d->hold : vfio_group_device(d->sys, root, fn, d->hold, e);
        if (dev < 0)
            return dev;
        d->was_reset = !d->is_cdev; /* a cdev was reset when it was bound */
    }
    d->dev = dev;
    if ((r = get_info(d, &n_irqs, e)) < 0 ||
        (r = get_region(d, VFIO_PCI_BAR0_REGION_INDEX, BAR0_MIN, BAR0_MAX, &d->bar, e)) < 0 ||
        (r = get_region(d, VFIO_PCI_CONFIG_REGION_INDEX, CFG_MIN, CFG_MAX, &d->cfg, e)) < 0) {
        if (given)
            d->dev = -1; /* the caller's still */
        return r;
    }
    if (!given)
        want_requests(d, n_irqs);
    return 0;
}

int
dev_vfio_open_on(const struct vfio_sys *sys, const struct fs_root *root, const struct vfio_fn *fn,
                 int hold, int dev, struct dev_vfio **ret, struct err *e)
{
    struct dev_vfio *d;
    int r;

    if (hold < 0)
        return err_reason(e, EBADF, ERR_CLASS_INVALID, REASON_NOT_BOUND,
                          "open %s by VFIO: it is not held (is it on a VFIO driver?)",
                          PCI_STR(fn->addr));
    d = calloc(1, sizeof(*d));
    if (!d)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "open %s by VFIO", PCI_STR(fn->addr));
    d->sys = sys;
    d->group_id = fn->iommu_group;
    d->hold = hold;
    d->dev = d->request = -1;
    d->is_cdev = vfio_hold_is_cdev(root, fn);
    d->hw = (struct hw_dev){
        .ops = &ops,
        .ctx = d,
        .addr = fn->addr,
        .vendor = fn->vendor,
        .device = fn->device,
        .subsys_vendor = fn->subsys_vendor,
        .subsys_device = fn->subsys_device,
        .class_code = fn->class_code,
    };
    r = open_device(d, root, fn, dev, e);
    if (r < 0) {
        dev_vfio_close(d);
        return r;
    }
    *ret = d;
    return 0;
}

int
dev_vfio_open(const struct fs_root *root, const struct vfio_fn *fn, int hold, int dev,
              struct dev_vfio **ret, struct err *e)
{
    return dev_vfio_open_on(&vfio_sys_linux, root, fn, hold, dev, ret, e);
}

void
dev_vfio_close(struct dev_vfio *d)
{
    if (!d)
        return;
    if (d->dev >= 0 && d->dev != d->hold)
        d->sys->close(d->sys->ctx, d->dev);
    if (d->request >= 0)
        d->sys->close(d->sys->ctx, d->request);
    free(d);
}

const struct hw_dev *
dev_vfio_hw(const struct dev_vfio *d)
{
    return &d->hw;
}

bool
dev_vfio_was_reset(const struct dev_vfio *d)
{
    return d->was_reset;
}

int
dev_vfio_fd(const struct dev_vfio *d)
{
    return d->dev == d->hold ? -1 : d->dev;
}

int
dev_vfio_request_fd(const struct dev_vfio *d)
{
    return d->request;
}
