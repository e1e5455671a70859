/* SPDX-License-Identifier: Apache-2.0
 *
 * Names dead and faulty devices before anything is written. No state; the session's thread.
 */
#include "ccmode/chip.h"
#include "ccmode/io.h"
#include "ccmode/regs.h"

#include <errno.h>

static int
hw_err(struct err *e, enum reason r, const char *msg, struct cc_session *s)
{
    return err_reason(e, EIO, ERR_CLASS_HW, r, "check %s: %s", CC_ADDR(s), msg);
}

/* Configuration space answers, and as the device we were told of. */
static int
check_config(struct cc_session *s, struct err *e)
{
    uint32_t id = UINT32_MAX, ptr = UINT32_MAX, alive = UINT32_MAX;
    int r = cc_cfg_rd(s, CFG_ID, 4, &id, e);

    if (r < 0)
        return r;
    if (id == UINT32_MAX)
        return hw_err(e, REASON_DEVICE_GONE, "configuration space reads all-ones", s);
    if (id != ((uint32_t)s->dev->device << 16 | s->dev->vendor))
        return err_reason(e, ENODEV, ERR_CLASS_HW, REASON_DEVICE_GONE,
                          "check %s: answers as %04x:%04x, expected %04x:%04x", CC_ADDR(s),
                          id & 0xffffu, id >> 16, s->dev->vendor, s->dev->device);
    r = cc_cfg_rd(s, CFG_CAP_PTR, 1, &ptr, e);
    if (r < 0)
        return r;
    r = cc_cfg_rd(s, CFG_ALIVE, 2, &alive, e);
    if (r < 0)
        return r;
    if (ptr == 0xffu || alive == 0xffffu)
        return hw_err(e, REASON_DEVICE_GONE, "configuration space is partly all-ones", s);
    return 0;
}

/* BAR0 answers only in D0 and with memory decode on. */
static int
check_power(struct cc_session *s, struct err *e)
{
    uint32_t pm = 0, csr = 0, cmd = 0;
    int r = cc_cap_find(s, CFG_CAP_PM, &pm, e);

    if (r < 0)
        return r;
    if (pm) {
        r = cc_cfg_rd(s, pm + CFG_PMCSR, 2, &csr, e);
        if (r < 0)
            return r;
        if (csr & CFG_PMCSR_STATE)
            return err_reason(e, EIO, ERR_CLASS_HW, REASON_POWER_STATE,
                              "check %s: power state is D%u, not D0", CC_ADDR(s),
                              (unsigned)(csr & CFG_PMCSR_STATE));
    }
    r = cc_cfg_rd(s, CFG_COMMAND, 2, &cmd, e);
    if (r < 0)
        return r;
    if (!(cmd & CFG_COMMAND_MEM))
        return hw_err(e, REASON_BAR_DEAD, "memory decode is off", s);
    return 0;
}

/* SEC_FAULT where the fault word says so, 0 where it is clean, absent or unreadable. */
static int
check_fault_word(struct cc_session *s, struct err *e)
{
    struct cc_sec sec;
    uint32_t v = 0;
    int r = cc_sec_find(s, &sec, e);

    if (r < 0)
        return r;
    if (!sec.fault_off)
        return 0;
    r = cc_cfg_rd(s, sec.fault_off, 4, &v, e);
    if (r < 0)
        return r;
    if (v == 0 || v == UINT32_MAX)
        return 0;
    return err_reason(e, EIO, ERR_CLASS_HW, REASON_SEC_FAULT,
                      "check %s: security fault, SEC_FAULT 0x%08x%s%s", CC_ADDR(s), v,
                      v & (1u << 30) ? ", device locked down" : "",
                      v & (1u << 31) ? ", function locked down" : "");
}

int
cc_dead(struct cc_session *s, const char *what, uint32_t off, uint32_t v, struct err *e)
{
    int r = check_config(s, e);

    if (r >= 0)
        r = check_power(s, e);
    if (r >= 0)
        r = check_fault_word(s, e);
    if (r < 0)
        return err_prefix(e, "read %s (0x%06x)", what, off);
    return err_reason(e, EIO, ERR_CLASS_HW, REASON_BAR_DEAD,
                      "read %s (0x%06x) of %s: got 0x%08x, %s", what, off, CC_ADDR(s), v,
                      v == UINT32_MAX ? "BAR0 does not answer" : "the access was refused");
}

int
cc_check_recovery(struct cc_session *s, struct err *e)
{
    const struct cc_family *f = s->chip->fam;
    struct cc_sec sec;
    uint32_t v = 0;
    bool rec;
    int r = cc_rd_raw(s, f->reg_flags, &v, e);

    if (r < 0)
        return r;
    /* In CC mode the register may be filtered (0xbadfxxxx): that says nothing. */
    if (cc_is_bad(v))
        rec = false;
    else if (f->flags_state)
        rec = (v & FLAGS_STATE_MASK) > 1;
    else
        rec = v & FLAGS_RECOVERY;
    if (!rec && f->cap == CC_CAP_DVSEC) {
        r = cc_sec_find(s, &sec, e);
        if (r < 0)
            return r;
        if (sec.recovery_bit) {
            r = cc_cfg_rd(s, sec.flags_off, 4, &v, e);
            if (r < 0)
                return r;
            rec = v != UINT32_MAX && (v & sec.recovery_bit);
        }
    }
    if (!rec)
        return 0;
    return err_reason(e, EIO, ERR_CLASS_HW, REASON_RECOVERY_MODE,
                      "check %s: the GPU booted into recovery mode (flags 0x%08x)", CC_ADDR(s), v);
}

static int
check_boot0(struct cc_session *s, struct err *e)
{
    uint32_t v = UINT32_MAX;
    int r = cc_rd_raw(s, REG_BOOT_0, &v, e);

    if (r < 0)
        return r;
    if (v == BOOT_0_SEC_FAULT_A || v == BOOT_0_SEC_FAULT_B) {
        r = check_fault_word(s, e);
        if (r < 0)
            return r;
        return err_reason(e, EIO, ERR_CLASS_HW, REASON_SEC_FAULT,
                          "check %s: security fault, BOOT_0 reads 0x%08x", CC_ADDR(s), v);
    }
    if (cc_is_bad(v))
        return cc_dead(s, "BOOT_0", REG_BOOT_0, v, e);
    if (v == 0 && s->chip->fam->boot0_zero)
        return hw_err(e, REASON_RECOVERY_MODE, "BOOT_0 reads 0: recovery mode", s);
    return 0;
}

int
cc_wait_firewall(struct cc_session *s, struct err *e)
{
    struct cc_sec sec;
    struct cc_poll p;
    uint32_t v = 0;
    int r;

    if (!s->chip->fam->firewall)
        return 0;
    r = cc_sec_find(s, &sec, e);
    if (r < 0)
        return r;
    for (cc_poll_start(s, &p, s->timing.firewall, &cc_poll_boot);;) {
        bool last = cc_poll_last(&p);

        /* Without the capability the only sign is that BAR0 answers. gpu-admin-tools sleeps 3 s
         * once in that case; polling is quicker and survives a slower part. */
        r = sec.flags_off ? cc_cfg_rd(s, sec.flags_off, 4, &v, e) : cc_rd_raw(s, REG_BOOT_0, &v, e);
        if (r < 0)
            return r;
        if (v != UINT32_MAX && !(sec.flags_off && (v & sec.firewall_bit)))
            return 0;
        if (last)
            break;
        cc_poll_sleep(&p);
    }
    if (!sec.flags_off || v == UINT32_MAX)
        return cc_dead(s, "BOOT_0", REG_BOOT_0, UINT32_MAX, e);
    r = check_fault_word(s, e);
    if (r < 0)
        return r;
    return err_reason(e, ETIMEDOUT, ERR_CLASS_HW, REASON_FIREWALL_UP,
                      "wait for the BAR0 firewall of %s: still up after %llu ms", CC_ADDR(s),
                      (unsigned long long)(s->timing.firewall / 1000000u));
}

/* Plan:
 *   1. configuration space, because it answers in every power state;
 *   2. power and memory decode, because without them BAR0 reads all-ones in good health;
 *   3. the firewall, for the same reason;
 *   4. BOOT_0, which carries the security-fault and all-ones signatures;
 *   5. recovery flags. */
int
cc_sanity(struct cc_session *s, struct err *e)
{
    int r = check_config(s, e);

    if (r >= 0)
        r = check_power(s, e);
    if (r >= 0)
        r = cc_wait_firewall(s, e);
    if (r >= 0)
        r = check_boot0(s, e);
    if (r >= 0)
        r = cc_check_recovery(s, e);
    return r < 0 ? r : 0;
}
