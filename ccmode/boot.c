/* SPDX-License-Identifier: Apache-2.0
 *
 * Waits until the device has booted. No state; the session's thread.
 */
#include "ccmode/chip.h"
#include "ccmode/io.h"
#include "ccmode/regs.h"

#include <errno.h>

/* Why is the device not up at the end of its time? The most specific cause wins. */
static int
boot_late(struct cc_session *s, uint32_t v, struct err *e)
{
    int r;

    if (cc_is_bad(v))
        return cc_dead(s, "the boot register", s->chip->fam->reg_boot, v, e);
    r = cc_check_recovery(s, e);
    if (r < 0)
        return r;
    return err_reason(e, ETIMEDOUT, ERR_CLASS_HW, REASON_BOOT_TIMEOUT,
                      "wait for boot of %s: register 0x%06x reads 0x%08x after %llu ms, expected "
                      "0x%02x",
                      CC_ADDR(s), s->chip->fam->reg_boot, v,
                      (unsigned long long)(s->timing.boot / 1000000u), BOOT_DONE);
}

/* Until this returns nothing but the boot register may be touched in BAR0: gpu-admin-tools reads
 * other registers right after a reset and dies when the firewall falls between two of them.
 *
 * gpu-admin-tools writes 4 to 0x12004c and 2 to 0x122204 (start of the private register ring) on
 * Hopper when it opens a device and after each reset. We do not: the boot firmware starts the ring
 * itself, as the drivers show, which wait for the same boot register with no write before it
 * (open-gpu-kernel-modules, kfspWaitForSecureBoot; Linux nova-core).
 *
 * A refused read (0xbadfxxxx) is polled like all-ones, where the tool gives up at once: during
 * boot both may be passing. */
int
cc_wait_boot(struct cc_session *s, struct err *e)
{
    struct cc_poll p;
    uint32_t v = UINT32_MAX;
    int r;

    cc_step(s, CC_STEP_BOOT, s->chip->name);
    r = cc_wait_firewall(s, e);
    if (r < 0)
        return r;
    for (cc_poll_start(s, &p, s->timing.boot, &cc_poll_boot);;) {
        bool last = cc_poll_last(&p);

        r = cc_rd_raw(s, s->chip->fam->reg_boot, &v, e);
        if (r < 0)
            return r;
        if (v == BOOT_DONE)
            return 0;
        if (last)
            return boot_late(s, v, e);
        cc_poll_sleep(&p);
    }
}
