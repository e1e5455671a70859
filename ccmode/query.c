/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the mode: active from a register, configured from the firmware's knobs. No state; the
 * session's thread.
 */
#include "ccmode/chip.h"
#include "ccmode/io.h"
#include "ccmode/plan.h"
#include "ccmode/prc.h"
#include "ccmode/regs.h"

#include "base/cleanup.h"

/* Only the masked bits count: the registers hold more (power efficiency, firewall, NVLE), and
 * comparing them whole is a known bug elsewhere (kata-containers #11622). */
static enum cc_mode
decode(const struct cc_chip *c, uint32_t v)
{
    uint32_t multi = c->fam->ppcie ? v & CC_MULTI_MASK : 0;

    if (cc_is_switch(c))
        return v & SWITCH_PPCIE ? CC_MODE_PPCIE : CC_MODE_OFF;
    if (multi)
        return multi == CC_MULTI_PPCIE && !(v & CC_STATE_MASK) ? CC_MODE_PPCIE : CC_MODE_INVALID;
    switch (v & CC_STATE_MASK) {
    case 0:
        return CC_MODE_OFF;
    case 1:
        return CC_MODE_ON;
    case 3:
        return CC_MODE_DEVTOOLS;
    default:
        return CC_MODE_INVALID;
    }
}

int
cc_query_active(struct cc_session *s, enum cc_mode *ret, struct err *e)
{
    uint32_t v = 0;
    int r = cc_rd(s, s->chip->fam->reg_active, "the CC mode register", &v, e);

    if (r < 0)
        return r;
    *ret = decode(s->chip, v);
    return 0;
}

int
cc_knobs_read(struct cc_session *s, const uint8_t *list, unsigned n, struct cc_knobs *k,
              struct err *e)
{
    for (unsigned i = 0; i < n; i++) {
        int *slot = cc_knob_slot(k, list[i]);
        int r = slot ? prc_read_opt(s, list[i], slot, e) : 0;

        if (r < 0)
            return r;
    }
    return 0;
}

/* Values first, then the permissions of those that could have to change. */
static int
read_all(struct cc_session *s, struct cc_knobs *k, struct err *e)
{
    /* knob 45 first: it probes whether the firmware knows PPCIe, as gpu-admin-tools does */
    static const uint8_t hopper[] = {KNOB_PPCIE, KNOB_CCM, KNOB_CCD, KNOB_DECOUPLER,
                                     KNOB_2,     KNOB_4,   KNOB_34};
    static const uint8_t blackwell[] = {KNOB_CCM, KNOB_CCD, KNOB_DECOUPLER};
    static const uint8_t perms[] = {KNOB_CCM, KNOB_CCD, KNOB_DECOUPLER, KNOB_PPCIE};
    static const uint8_t legacy[] = {KNOB_2, KNOB_4, KNOB_34};
    uint8_t ask[ARRAY_SIZE(perms) + ARRAY_SIZE(legacy)];
    unsigned n = 0;
    int r = s->chip->fam->legacy ? cc_knobs_read(s, hopper, ARRAY_SIZE(hopper), k, e)
                                 : cc_knobs_read(s, blackwell, ARRAY_SIZE(blackwell), k, e);

    if (r < 0)
        return r;
    for (size_t i = 0; i < ARRAY_SIZE(perms); i++)
        if (*cc_knob_slot(k, perms[i]) >= 0)
            ask[n++] = (uint8_t)KNOB_INBAND(perms[i]);
    for (size_t i = 0; i < ARRAY_SIZE(legacy); i++)
        if (*cc_knob_slot(k, legacy[i]) > 0)
            ask[n++] = (uint8_t)KNOB_INBAND(legacy[i]);
    return cc_knobs_read(s, ask, n, k, e);
}

int
cc_query(struct cc_session *s, struct cc_status *ret, struct err *e)
{
    struct cc_status st = {.active = CC_MODE_UNKNOWN};
    int r = cc_wait_boot(s, e);

    if (r < 0)
        return r;
    cc_step(s, CC_STEP_QUERY, "active mode and knobs");
    cc_knobs_init(&st.knobs);
    r = cc_query_active(s, &st.active, e);
    if (r >= 0)
        r = read_all(s, &st.knobs, e);
    if (r < 0)
        return r;
    st.configured = cc_knobs_mode(s->chip, &st.knobs);
    *ret = st;
    return 0;
}
