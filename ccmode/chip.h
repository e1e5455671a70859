/* SPDX-License-Identifier: Apache-2.0
 *
 * What the CC-mode code knows about chips: families (register sets, transports, limits) and the
 * device-ID ranges that belong to them. Constant tables, no state.
 */
#ifndef PGPU_CCMODE_CHIP_H
#define PGPU_CCMODE_CHIP_H

#include "ccmode/cc.h"
#include "ccmode/fsp.h"

/* Where the chip keeps its firewall and security-fault words. */
enum cc_cap_kind { CC_CAP_VSEC, CC_CAP_DVSEC, CC_CAP_NONE };

struct cc_family {
    enum cc_arch arch;
    uint32_t reg_boot, reg_flags, reg_active;
    enum cc_cap_kind cap;
    bool firewall;    /* BAR0 is closed for a while after a reset */
    bool ppcie;       /* has Protected PCIe (knob 45) */
    bool legacy;      /* knobs 2, 4, 34 exist and must be 0 */
    bool boot0_zero;  /* BOOT_0 == 0 means recovery mode */
    bool flags_state; /* the flags register holds a state number, not a recovery bit */
    const struct fsp_ops *fsp;
    struct cc_timing timing;
};

struct cc_chip {
    const char *name;
    uint16_t first, last; /* device IDs, inclusive */
    const struct cc_family *fam;
};

static inline bool
cc_is_switch(const struct cc_chip *c)
{
    return c->fam->arch == CC_ARCH_NVSWITCH3;
}

/* The part is joined to a CPU by a chip-to-chip link (Grace superchips). */
bool cc_is_c2c(uint16_t device, uint16_t subsys_device);

#endif
