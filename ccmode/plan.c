/* SPDX-License-Identifier: Apache-2.0
 *
 * From what is to what shall be: which knobs, to which values, in which order. Pure.
 */
#include "ccmode/plan.h"

#include "base/cleanup.h"
#include "ccmode/chip.h"
#include "ccmode/prc.h"
#include "ccmode/regs.h"

#include <errno.h>

/* What a mode asks of the knobs, in the order of gpu-admin-tools (its 2026 version for Blackwell,
 * where 2, 4 and 34 are left alone). No prefix of a list leads to "devtools without CC" (6 = 1,
 * 8 = 0): 8 is raised before 6, and 6 is lowered before 8. */
enum need {
    MUST,   /* without the knob the mode cannot be had */
    IF_ANY, /* a firmware without the knob has nothing to clear */
};
struct rule {
    uint8_t knob;
    uint8_t value;
    enum need need;
};
struct recipe {
    unsigned n;
    struct rule r[CC_PLAN_MAX];
};

#define CLEAR_LEGACY                                                                               \
    {KNOB_2, 0, IF_ANY}, {KNOB_4, 0, IF_ANY},                                                      \
    {                                                                                              \
        KNOB_34, 0, IF_ANY                                                                         \
    }

static const struct recipe hopper_on = {
    7,
    {CLEAR_LEGACY,
     {KNOB_PPCIE, 0, IF_ANY},
     {KNOB_DECOUPLER, DECOUPLER_ON, MUST},
     {KNOB_CCM, 1, MUST},
     {KNOB_CCD, 0, IF_ANY}},
};
static const struct recipe hopper_devtools = {
    7,
    {CLEAR_LEGACY,
     {KNOB_PPCIE, 0, IF_ANY},
     {KNOB_DECOUPLER, 0, IF_ANY},
     {KNOB_CCM, 1, MUST},
     {KNOB_CCD, 1, MUST}},
};
/* gpu-admin-tools leaves PPCIe on when it sets CC off; "off" of ours means that nothing is on. */
static const struct recipe hopper_off = {
    4,
    {{KNOB_DECOUPLER, 0, IF_ANY},
     {KNOB_CCD, 0, IF_ANY},
     {KNOB_CCM, 0, IF_ANY},
     {KNOB_PPCIE, 0, IF_ANY}},
};
static const struct recipe hopper_ppcie = {
    7,
    {CLEAR_LEGACY,
     {KNOB_CCD, 0, IF_ANY},
     {KNOB_CCM, 0, IF_ANY},
     {KNOB_DECOUPLER, DECOUPLER_ON, MUST},
     {KNOB_PPCIE, 1, MUST}},
};
static const struct recipe switch_ppcie = {
    7,
    {CLEAR_LEGACY,
     {KNOB_CCD, 0, IF_ANY},
     {KNOB_CCM, 0, IF_ANY},
     {KNOB_DECOUPLER, 0, IF_ANY},
     {KNOB_PPCIE, 1, MUST}},
};
static const struct recipe switch_off = {2, {{KNOB_DECOUPLER, 0, IF_ANY}, {KNOB_PPCIE, 0, IF_ANY}}};
static const struct recipe blackwell_on = {2, {{KNOB_CCM, 1, MUST}, {KNOB_CCD, 0, IF_ANY}}};
static const struct recipe blackwell_devtools = {2, {{KNOB_CCM, 1, MUST}, {KNOB_CCD, 1, MUST}}};
static const struct recipe blackwell_off = {2, {{KNOB_CCD, 0, IF_ANY}, {KNOB_CCM, 0, IF_ANY}}};

static const struct recipe *
recipe_of(const struct cc_chip *c, enum cc_mode m)
{
    bool sw = cc_is_switch(c), hopper = c->fam->arch == CC_ARCH_HOPPER;

    switch (m) {
    case CC_MODE_OFF:
        return sw ? &switch_off : hopper ? &hopper_off : &blackwell_off;
    case CC_MODE_ON:
        return sw ? NULL : hopper ? &hopper_on : &blackwell_on;
    case CC_MODE_DEVTOOLS:
        return sw ? NULL : hopper ? &hopper_devtools : &blackwell_devtools;
    case CC_MODE_PPCIE:
        return sw ? &switch_ppcie : hopper ? &hopper_ppcie : NULL;
    case CC_MODE_INVALID:
    case CC_MODE_UNKNOWN:
        break;
    }
    return NULL;
}

int *
cc_knob_slot(struct cc_knobs *k, unsigned knob)
{
    switch (knob) {
    case KNOB_2:
        return &k->k2;
    case KNOB_4:
        return &k->k4;
    case KNOB_CCD:
        return &k->ccd;
    case KNOB_CCM:
        return &k->ccm;
    case KNOB_DECOUPLER:
        return &k->decoupler;
    case KNOB_34:
        return &k->k34;
    case KNOB_PPCIE:
        return &k->ppcie;
    case KNOB_INBAND(KNOB_2):
        return &k->k2_inband;
    case KNOB_INBAND(KNOB_4):
        return &k->k4_inband;
    case KNOB_INBAND(KNOB_CCD):
        return &k->ccd_inband;
    case KNOB_INBAND(KNOB_CCM):
        return &k->ccm_inband;
    case KNOB_INBAND(KNOB_DECOUPLER):
        return &k->decoupler_inband;
    case KNOB_INBAND(KNOB_34):
        return &k->k34_inband;
    case KNOB_INBAND(KNOB_PPCIE):
        return &k->ppcie_inband;
    default:
        return NULL;
    }
}

void
cc_knobs_init(struct cc_knobs *k)
{
    *k = (struct cc_knobs){-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
}

enum cc_mode
cc_knobs_mode(const struct cc_chip *c, const struct cc_knobs *k)
{
    bool ccm = k->ccm > 0, ccd = k->ccd > 0, ppcie = c->fam->ppcie && k->ppcie > 0;

    if (cc_is_switch(c))
        return k->ppcie > 1 ? CC_MODE_INVALID : ppcie ? CC_MODE_PPCIE : CC_MODE_OFF;
    if (k->ccm > 1 || k->ccd > 1 || (ppcie && k->ppcie > 1))
        return CC_MODE_INVALID;
    if (ppcie)
        return ccm || ccd ? CC_MODE_INVALID : CC_MODE_PPCIE;
    if (ccd)
        return ccm ? CC_MODE_DEVTOOLS : CC_MODE_INVALID;
    return ccm ? CC_MODE_ON : CC_MODE_OFF;
}

static int
plan_rule(const struct rule *u, struct cc_knobs *k, struct cc_plan *p, struct err *e)
{
    int now = *cc_knob_slot(k, u->knob);
    int allowed = *cc_knob_slot(k, KNOB_INBAND(u->knob));

    if (now < 0 && u->need == IF_ANY)
        return 0;
    if (now < 0)
        return err_reason(e, ENOENT, ERR_CLASS_HW, REASON_KNOB_MISSING,
                          "plan mode %s: the firmware lacks knob %u (%s)", cc_mode_name(p->mode),
                          u->knob, prc_knob_name(u->knob));
    if (now == u->value)
        return 0;
    if (allowed == 0)
        return err_reason(e, EPERM, ERR_CLASS_HW, REASON_KNOB_LOCKED,
                          "plan mode %s: knob %u (%s) must go from %d to %u, but knob %u forbids "
                          "the host to change it",
                          cc_mode_name(p->mode), u->knob, prc_knob_name(u->knob), now, u->value,
                          KNOB_INBAND(u->knob));
    p->w[p->n++] = (struct cc_write){u->knob, (uint16_t)now, u->value};
    return 0;
}

int
cc_plan(const struct cc_chip *c, const struct cc_status *st, enum cc_mode mode, struct cc_plan *ret,
        struct err *e)
{
    const struct recipe *rc = recipe_of(c, mode);
    struct cc_plan p = {.mode = mode};
    struct cc_knobs k = st->knobs;

    if (!rc)
        return err_reason(e, EOPNOTSUPP, ERR_CLASS_INVALID, REASON_MODE_UNSUPPORTED,
                          "plan mode %s: chip %s has no such mode", cc_mode_name(mode), c->name);
    /* All of it before the first write: nothing is begun that the firmware would stop half-way. */
    for (unsigned i = 0; i < rc->n; i++) {
        int r = plan_rule(&rc->r[i], &k, &p, e);

        if (r < 0)
            return r;
    }
    p.reset_needed = p.n > 0 || st->active != mode;
    *ret = p;
    return 0;
}

void
cc_plan_print(const struct cc_plan *p, struct buf *out)
{
    for (unsigned i = 0; i < p->n; i++)
        (void)buf_putf(out, "write knob %u (%s): %u -> %u\n", p->w[i].knob,
                       prc_knob_name(p->w[i].knob), p->w[i].from, p->w[i].to);
    if (p->reset_needed)
        (void)buf_putf(out, "reset, then mode %s must be active\n", cc_mode_name(p->mode));
    else
        (void)buf_putf(out, "nothing to do: mode %s is configured and active\n",
                       cc_mode_name(p->mode));
}
