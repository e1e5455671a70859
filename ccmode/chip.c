/* SPDX-License-Identifier: Apache-2.0
 *
 * The tables of chips and what each can do. No state; any thread.
 */
#include "ccmode/chip.h"

#include "base/cleanup.h"
#include "ccmode/regs.h"

#include <errno.h>
#include <stddef.h>

#define VENDOR_NVIDIA 0x10de
#define CLASS_VGA 0x030000u
#define CLASS_3D 0x030200u
#define CLASS_SWITCH 0x068000u

/* Limits of gpu-admin-tools v2025.10.20: queue 1 s, reply 5 s, mailbox ready 5 s, boot 5 s on
 * Hopper and 10 s on Blackwell; firewall 15 s is v2026.09.16's. */
static const struct cc_family hopper = {
    .arch = CC_ARCH_HOPPER,
    .reg_boot = REG_BOOT_HOPPER,
    .reg_flags = REG_FLAGS_HOPPER,
    .reg_active = REG_CC_HOPPER,
    .cap = CC_CAP_VSEC,
    .ppcie = true,
    .legacy = true,
    .boot0_zero = true,
    .fsp = &fsp_emem,
    .timing = {HW_SEC(1), HW_SEC(5), HW_SEC(5), HW_SEC(15)},
};
static const struct cc_family gb1 = {
    .arch = CC_ARCH_BLACKWELL_GB1,
    .reg_boot = REG_BOOT_HOPPER,
    .reg_flags = REG_FLAGS_BLACKWELL,
    .reg_active = REG_CC_BLACKWELL,
    .cap = CC_CAP_DVSEC,
    .firewall = true,
    .flags_state = true,
    .fsp = &fsp_mnoc,
    .timing = {HW_SEC(5), HW_SEC(5), HW_SEC(10), HW_SEC(15)},
};
static const struct cc_family gb2 = {
    .arch = CC_ARCH_BLACKWELL_GB2,
    .reg_boot = REG_BOOT_GB2,
    .reg_flags = REG_FLAGS_BLACKWELL,
    .reg_active = REG_CC_BLACKWELL,
    .cap = CC_CAP_VSEC,
    .firewall = true,
    .flags_state = true,
    .fsp = &fsp_mnoc,
    .timing = {HW_SEC(5), HW_SEC(5), HW_SEC(10), HW_SEC(15)},
};
static const struct cc_family switch3 = {
    .arch = CC_ARCH_NVSWITCH3,
    .reg_boot = REG_BOOT_SWITCH,
    .reg_flags = REG_FLAGS_SWITCH,
    .reg_active = REG_PPCIE_SWITCH,
    .cap = CC_CAP_NONE,
    .ppcie = true,
    .legacy = true,
    .boot0_zero = true,
    .fsp = &fsp_emem,
    .timing = {HW_SEC(1), HW_SEC(5), HW_SEC(5), HW_SEC(15)},
};

/* Ranges of gpu-admin-tools (chip names by PCI device ID). New boards of a known chip are found
 * without a change here. */
static const struct cc_chip gpus[] = {
    {"gh100", 0x22f0, 0x237f, &hopper}, {"gb100", 0x2900, 0x297f, &gb1},
    {"gb102", 0x2980, 0x29ff, &gb1},    {"gb110", 0x3180, 0x31ff, &gb1},
    {"gb112", 0x3200, 0x327f, &gb1},    {"gb202", 0x2b80, 0x2bff, &gb2},
    {"gb203", 0x2c00, 0x2c7f, &gb2},    {"gb205", 0x2f00, 0x2f7f, &gb2},
    {"gb206", 0x2d00, 0x2d7f, &gb2},    {"gb207", 0x2d80, 0x2dff, &gb2},
};

/* The management endpoints of LS10 (open-gpu-kernel-modules, nvswitch device IDs); 0x22a8 and up
 * are its bridges. */
static const struct cc_chip switches[] = {{"ls10", 0x22a0, 0x22a7, &switch3}};

/* Superchips by (device, subsystem); 0 = every board. 0x29bc and 0x31c2 also exist without the
 * link. From gpu-admin-tools' board table and its 2026 refusal to enable CC on them. */
static const struct {
    uint16_t device, subsys;
} c2c[] = {
    {0x2342, 0}, {0x2343, 0}, {0x2345, 0},      {0x2348, 0},      /* GH200 */
    {0x2941, 0}, {0x297e, 0}, {0x29bc, 0x2045}, {0x31c2, 0x21f1}, /* GB200, GB300 */
};

static const struct cc_chip *
range_find(const struct cc_chip *t, size_t n, uint16_t device)
{
    for (size_t i = 0; i < n; i++)
        if (device >= t[i].first && device <= t[i].last)
            return &t[i];
    return NULL;
}

const struct cc_chip *
cc_chip_find(uint16_t vendor, uint16_t device, uint32_t class_code)
{
    if (vendor != VENDOR_NVIDIA)
        return NULL;
    if (class_code == CLASS_VGA || class_code == CLASS_3D)
        return range_find(gpus, ARRAY_SIZE(gpus), device);
    if (class_code == CLASS_SWITCH)
        return range_find(switches, ARRAY_SIZE(switches), device);
    return NULL;
}

const char *
cc_chip_name(const struct cc_chip *c)
{
    return c->name;
}

enum cc_arch
cc_chip_arch(const struct cc_chip *c)
{
    return c->fam->arch;
}

struct cc_timing
cc_timing_default(const struct cc_chip *c)
{
    return c->fam->timing;
}

bool
cc_is_c2c(uint16_t device, uint16_t subsys_device)
{
    for (size_t i = 0; i < ARRAY_SIZE(c2c); i++)
        if (c2c[i].device == device && (!c2c[i].subsys || c2c[i].subsys == subsys_device))
            return true;
    return false;
}

static bool
mode_exists(const struct cc_chip *c, enum cc_mode m)
{
    switch (m) {
    case CC_MODE_OFF:
        return true;
    case CC_MODE_ON:
    case CC_MODE_DEVTOOLS:
        return !cc_is_switch(c);
    case CC_MODE_PPCIE:
        return c->fam->ppcie;
    case CC_MODE_INVALID:
    case CC_MODE_UNKNOWN:
        break;
    }
    return false;
}

int
cc_mode_check(const struct hw_dev *d, const struct cc_chip *c, enum cc_mode m, struct err *e)
{
    if (!mode_exists(c, m))
        return err_reason(e, EOPNOTSUPP, ERR_CLASS_INVALID, REASON_MODE_UNSUPPORTED,
                          "set mode %s of %s: chip %s has no such mode", cc_mode_name(m),
                          PCI_STR(d->addr), c->name);
    if (m != CC_MODE_OFF && !cc_is_switch(c) && cc_is_c2c(d->device, d->subsys_device))
        return err_reason(
            e, EOPNOTSUPP, ERR_CLASS_INVALID, REASON_C2C_PART,
            "set mode %s of %s: %04x:%04x is joined to its CPU by a chip-to-chip link",
            cc_mode_name(m), PCI_STR(d->addr), d->device, d->subsys_device);
    return 0;
}
