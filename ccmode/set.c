/* SPDX-License-Identifier: Apache-2.0
 *
 * The whole change of mode. No state; the session's thread.
 */
#include "ccmode/io.h"

#include "base/cleanup.h"

#include <errno.h>

static int
reset(struct cc_session *s, enum hw_reset how, struct err *e)
{
    cc_step(s, CC_STEP_RESET, how == HW_RESET_BUS ? "bus reset" : "function reset");
    s->fsp_open = false; /* the reset clears the FSP's queues */
    return s->dev->ops->reset(s->dev->ctx, how, e);
}

/* Could another kind of reset cure it? A configured mode that differs from what was written, or a
 * knob that is missing, is no matter of resets; nor is an access that the system refuses. */
static bool
reset_may_cure(enum reason r)
{
    static const enum reason list[] = {
        REASON_RESET_FAILED, REASON_BOOT_TIMEOUT,     REASON_FIREWALL_UP,   REASON_BAR_DEAD,
        REASON_DEVICE_GONE,  REASON_POWER_STATE,      REASON_RECOVERY_MODE, REASON_SEC_FAULT,
        REASON_FSP_SILENT,   REASON_FSP_STUCK,        REASON_FSP_PROTOCOL,  REASON_FSP_ERROR,
        REASON_MODE_INVALID, REASON_MODE_NOT_LATCHED,
    };

    for (size_t i = 0; i < ARRAY_SIZE(list); i++)
        if (list[i] == r)
            return true;
    return false;
}

static int
reset_and_verify(struct cc_session *s, enum cc_mode mode, struct cc_status *ret, struct err *e)
{
    struct err first = ERR_INIT, second = ERR_INIT;
    int r = reset(s, HW_RESET_FUNCTION, &first);

    if (r >= 0)
        r = cc_verify(s, mode, ret, &first);
    if (r >= 0)
        return 0;
    if (!reset_may_cure(first.reason)) {
        *e = first;
        return r;
    }
    r = reset(s, HW_RESET_BUS, &second);
    if (r < 0) /* the first failure tells more than a slot that cannot be reset */
        return err_reason(e, first.num, first.cls, first.reason,
                          "%.300s; bus reset as second try: %.150s", first.msg, second.msg);
    r = cc_verify(s, mode, ret, &second);
    if (r < 0)
        return err_reason(e, second.num, second.cls, second.reason,
                          "%.250s (after a bus reset; before it, after a function reset: %.180s)",
                          second.msg, first.msg);
    return 0;
}

/* Plan:
 *   1. may this part have the mode at all;
 *   2. sanity, boot, query: everything is read before anything is written, so that a firmware
 *      that lacks or locks a knob leaves the device as it was;
 *   3. plan, write (undone on failure);
 *   4. reset, always: what is active must come from what is configured now, also where nothing
 *      had to be written and the former user could have changed the active state;
 *   5. firewall, boot, and only then BAR0: verify. A boot or latch that fails after a function
 *      reset often comes right after a bus reset, the stronger one: one second try. */
int
cc_set(struct cc_session *s, enum cc_mode mode, struct cc_status *ret, struct err *e)
{
    struct cc_status st;
    struct cc_plan plan;
    int r = cc_mode_check(s->dev, s->chip, mode, e);

    if (r >= 0)
        r = cc_sanity(s, e);
    if (r >= 0)
        r = cc_query(s, &st, e);
    if (r >= 0)
        r = cc_plan(s->chip, &st, mode, &plan, e);
    if (r >= 0)
        r = cc_plan_write(s, &plan, e);
    if (r >= 0)
        r = reset_and_verify(s, mode, ret, e);
    return r;
}
