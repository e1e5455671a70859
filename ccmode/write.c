/* SPDX-License-Identifier: Apache-2.0
 *
 * Carries out the writes of a plan, and takes them back where one fails. No state; the session's
 * thread.
 */
#include "ccmode/io.h"
#include "ccmode/prc.h"
#include "ccmode/regs.h"

#include <errno.h>
#include <stdio.h>

static int
write_checked(struct cc_session *s, unsigned knob, uint16_t val, struct err *e)
{
    uint16_t back = 0;
    int r = prc_write(s, knob, val, e);

    if (r >= 0)
        r = prc_read(s, knob, &back, e);
    if (r < 0)
        return r;
    if (back != val)
        return err_reason(e, EIO, ERR_CLASS_HW, REASON_KNOB_NOT_KEPT,
                          "write knob %u (%s) of %s: wrote %u, reads back %u", knob,
                          prc_knob_name(knob), CC_ADDR(s), val, back);
    return 0;
}

/* Would this write make "devtools without CC"? A change that began in that state (a repair) must
 * not be rolled back into it. */
static int
unsafe_restore(struct cc_session *s, const struct cc_write *w, bool *ret, struct err *e)
{
    uint16_t other = 0;
    int r;

    *ret = false;
    if (w->knob == KNOB_CCM && w->from == 0) {
        r = prc_read(s, KNOB_CCD, &other, e);
        *ret = other != 0;
    } else if (w->knob == KNOB_CCD && w->from != 0) {
        r = prc_read(s, KNOB_CCM, &other, e);
        *ret = other == 0;
    } else {
        return 0;
    }
    return r;
}

/* From the write that failed, which may have taken effect all the same, back to the first. Stops
 * at the first failure: each state on the way is safe, a later one after a gap need not be. */
static int
restore(struct cc_session *s, const struct cc_plan *p, unsigned failed, unsigned *ret_skipped,
        struct err *e)
{
    *ret_skipped = 0;
    for (unsigned i = failed + 1; i-- > 0;) {
        const struct cc_write *w = &p->w[i];
        uint16_t now = 0;
        bool unsafe = false;
        int r = prc_read(s, w->knob, &now, e);

        if (r >= 0 && now == w->from)
            continue;
        if (r >= 0)
            r = unsafe_restore(s, w, &unsafe, e);
        if (r >= 0 && unsafe) {
            *ret_skipped = w->knob;
            continue;
        }
        if (r >= 0)
            r = write_checked(s, w->knob, w->from, e);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Plan:
 *   1. write each knob in the plan's order and read it back;
 *   2. on failure write the old values back in the reverse order, so that the knobs pass through
 *      the same safe states;
 *   3. say in the error whether that worked. */
int
cc_plan_write(struct cc_session *s, const struct cc_plan *p, struct err *e)
{
    struct err why = ERR_INIT, undo = ERR_INIT;
    unsigned i = 0, skipped = 0;
    char detail[64];
    int r = 0;

    if (p->n > CC_PLAN_MAX)
        return err_reason(e, EINVAL, ERR_CLASS_INVALID, REASON_INTERNAL, "write plan: %u writes",
                          p->n);
    for (; i < p->n; i++) {
        (void)snprintf(detail, sizeof(detail), "knob %u (%s): %u -> %u", p->w[i].knob,
                       prc_knob_name(p->w[i].knob), p->w[i].from, p->w[i].to);
        cc_step(s, CC_STEP_WRITE, detail);
        r = write_checked(s, p->w[i].knob, p->w[i].to, &why);
        if (r < 0)
            break;
    }
    if (r >= 0)
        return 0;
    if (restore(s, p, i, &skipped, &undo) < 0)
        return err_reason(e, why.num, why.cls, why.reason,
                          "%.300s; the old settings could NOT be restored: %.150s", why.msg,
                          undo.msg);
    if (skipped)
        return err_reason(e, why.num, why.cls, why.reason,
                          "%s; the old settings were restored but for knob %u, which would leave "
                          "devtools without CC",
                          why.msg, skipped);
    return err_reason(e, why.num, why.cls, why.reason, "%s; the old settings were restored",
                      why.msg);
}
