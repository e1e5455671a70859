/* SPDX-License-Identifier: Apache-2.0
 *
 * Is the device in the mode we want, now and after the next reset? This is the hot path of an
 * armed GPU's Allocate: one boot-register read, one mode-register read, and the knobs that decide
 * the configured mode. No state; the session's thread.
 */
#include "ccmode/chip.h"
#include "ccmode/io.h"
#include "ccmode/plan.h"
#include "ccmode/regs.h"

#include <errno.h>

static int
read_deciding(struct cc_session *s, struct cc_knobs *k, struct err *e)
{
    static const uint8_t gpu[] = {KNOB_CCM, KNOB_CCD, KNOB_PPCIE};
    static const uint8_t sw[] = {KNOB_PPCIE};

    if (cc_is_switch(s->chip))
        return cc_knobs_read(s, sw, 1, k, e);
    return cc_knobs_read(s, gpu, s->chip->fam->ppcie ? 3 : 2, k, e);
}

/* Both count: what is active now, and what is configured, because the VMM's own open of the
 * device resets it and makes the configured mode active. */
static int
judge(struct cc_session *s, const struct cc_status *st, enum cc_mode mode, struct err *e)
{
    enum reason why;

    if (st->active == mode && st->configured == mode)
        return 0;
    if (st->active == CC_MODE_INVALID || st->configured == CC_MODE_INVALID)
        why = REASON_MODE_INVALID;
    else if (st->configured == mode)
        why = REASON_MODE_NOT_LATCHED;
    else
        why = REASON_MODE_MISMATCH;
    return err_reason(e, EIO, ERR_CLASS_HW, why,
                      "verify mode %s of %s: active is %s, configured is %s", cc_mode_name(mode),
                      CC_ADDR(s), cc_mode_name(st->active), cc_mode_name(st->configured));
}

int
cc_verify(struct cc_session *s, enum cc_mode mode, struct cc_status *ret, struct err *e)
{
    struct cc_status st = {.active = CC_MODE_UNKNOWN};
    int r = cc_wait_boot(s, e);

    if (r < 0)
        return r;
    cc_step(s, CC_STEP_VERIFY, cc_mode_name(mode));
    cc_knobs_init(&st.knobs);
    r = cc_query_active(s, &st.active, e);
    if (r >= 0)
        r = read_deciding(s, &st.knobs, e);
    if (r < 0)
        return r;
    st.configured = cc_knobs_mode(s->chip, &st.knobs);
    r = judge(s, &st, mode, e);
    if (r < 0)
        return r;
    *ret = st;
    return 0;
}
