/* SPDX-License-Identifier: Apache-2.0
 *
 * The seam to one PCI function's registers: BAR0, configuration space, resets and the clock. The
 * CC-mode code talks only to this table; behind it stand sysfs (vfio/dev_sysfs.c), later VFIO, and
 * the emulated GPU of sim/ (unit tests).
 *
 * All callbacks are mandatory and may block; an hw_dev is used by one thread at a time. Offsets are
 * bytes. bar_* are 32-bit aligned accesses, the only width the hardware supports there. A read that
 * the device does not answer yields 0xffffffff and success, as on the bus; an error means that the
 * access itself could not be made (node gone, lockdown).
 */
#ifndef PGPU_BASE_HW_H
#define PGPU_BASE_HW_H

#include "base/err.h"
#include "base/pci_addr.h"

#include <stdint.h>

enum hw_reset {
    HW_RESET_FUNCTION, /* FLR */
    HW_RESET_BUS,      /* secondary bus reset through the bridge */
};

struct hw_dev_ops {
    int (*bar_read32)(void *ctx, uint32_t off, uint32_t *ret, struct err *e);
    int (*bar_write32)(void *ctx, uint32_t off, uint32_t val, struct err *e);
    /* width 1, 2 or 4; extended space (off >= 256) included; reads yield all-ones of the width
     * where the device does not answer */
    int (*cfg_read)(void *ctx, uint32_t off, unsigned width, uint32_t *ret, struct err *e);
    int (*cfg_write)(void *ctx, uint32_t off, unsigned width, uint32_t val, struct err *e);
    int (*reset)(void *ctx, enum hw_reset how, struct err *e);
    /* monotonic nanoseconds, and a sleep on the same clock (tests use a virtual one) */
    uint64_t (*now_ns)(void *ctx);
    void (*sleep_ns)(void *ctx, uint64_t ns);
};

struct hw_dev {
    const struct hw_dev_ops *ops;
    void *ctx;
    struct pci_addr addr; /* for messages */
    uint16_t vendor, device, subsys_vendor, subsys_device;
    uint32_t class_code; /* 24 bit: 0x030200 */
};

#define HW_MS(n) ((uint64_t)(n)*1000000u)
#define HW_SEC(n) ((uint64_t)(n)*1000000000u)

#endif
