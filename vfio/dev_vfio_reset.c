/* SPDX-License-Identifier: Apache-2.0
 *
 * Resets through an open VFIO device: of the function alone, and of the bus or slot, which the
 * kernel grants to whoever owns every function on it. Same ownership and thread as dev_vfio.c.
 */
#include "vfio/dev_vfio_priv.h"

#include "base/cleanup.h"
#include "vfio/abi.h"

#include <errno.h>
#include <string.h>

#define AFFECTED_MAX 64 /* 8 functions on each of 8 buses below one bridge */

static int
failed(const struct dev_vfio *d, const char *what, int num, struct err *e)
{
    enum err_class cls = num == EAGAIN ? ERR_CLASS_RETRY : ERR_CLASS_HW;
    enum reason why = num == ENODEV ? REASON_DEVICE_GONE : REASON_RESET_FAILED;

    return err_reason(e, num, cls, why, "%s of %s by VFIO: %s", what, PCI_STR(d->hw.addr),
                      strerror(num));
}

static int
function_reset(struct dev_vfio *d, struct err *e)
{
    int r;

    if (!d->can_reset)
        return err_reason(e, ENOTTY, ERR_CLASS_HW, REASON_RESET_FAILED,
                          "function reset of %s by VFIO: the kernel had none that worked when the "
                          "device was opened",
                          PCI_STR(d->hw.addr));
    r = d->sys->ioctl(d->sys->ctx, d->dev, VFIO_DEVICE_RESET, 0);
    return r < 0 ? failed(d, "function reset", -r, e) : 0;
}

struct affected {
    uint32_t argsz, flags, count;
    struct vfio_pci_dependent_device fn[AFFECTED_MAX];
};

/* Whom the reset would hit besides us. By group: only ours may be among them, for it is the only
 * one we can show. By device: the kernel says whether all are its owner's. */
static int
check_affected(const struct dev_vfio *d, const struct affected *a, struct err *e)
{
    if ((a->flags & VFIO_HOT_RESET_BY_DEVID) && (a->flags & VFIO_HOT_RESET_DEVID_OWNED))
        return 0;
    for (uint32_t i = 0; i < a->count; i++) {
        const struct vfio_pci_dependent_device *f = &a->fn[i];
        const struct pci_addr addr = {.domain = f->segment,
                                      .bus = f->bus,
                                      .dev = (uint8_t)(f->devfn >> 3),
                                      .fn = (uint8_t)(f->devfn & 7)};

        if (pci_addr_cmp(addr, d->hw.addr) == 0 ||
            (!(a->flags & VFIO_HOT_RESET_BY_DEVID) && d->group_id >= 0 &&
             f->group_id == (uint32_t)d->group_id))
            continue;
        return err_reason(e, EPERM, ERR_CLASS_HW, REASON_RESET_FAILED,
                          "bus reset of %s by VFIO: it would reset %s as well, which is not held",
                          PCI_STR(d->hw.addr), PCI_STR(addr));
    }
    return 0;
}

static int
bus_reset(struct dev_vfio *d, struct err *e)
{
    struct affected a = {.argsz = sizeof(a)};
    struct {
        uint32_t argsz, flags, count;
        int32_t fd;
    } req = {.argsz = sizeof(req), .count = d->is_cdev ? 0 : 1, .fd = d->hold};
    int r = d->sys->ioctl(d->sys->ctx, d->dev, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, (uintptr_t)&a);

    if (r < 0)
        return failed(d, r == -ENOSPC ? "bus reset (too many functions)" : "bus reset", -r, e);
    if (a.count == 0 || a.count > AFFECTED_MAX)
        return failed(d, "bus reset (the kernel's list of functions makes no sense)", EPROTO, e);
    r = check_affected(d, &a, e);
    if (r < 0)
        return r;
    r = d->sys->ioctl(d->sys->ctx, d->dev, VFIO_DEVICE_PCI_HOT_RESET, (uintptr_t)&req);
    return r < 0 ? failed(d, "bus reset", -r, e) : 0;
}

int
dev_vfio_reset(void *ctx, enum hw_reset how, struct err *e)
{
    struct dev_vfio *d = ctx;

    return how == HW_RESET_BUS ? bus_reset(d, e) : function_reset(d, e);
}
