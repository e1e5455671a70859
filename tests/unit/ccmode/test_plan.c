/* SPDX-License-Identifier: Apache-2.0
 *
 * Planning is pure: a table from knobs to writes, and properties that hold for every state.
 */
#include "ccmode/plan.h"

#include "base/cleanup.h"
#include "ccmode/chip.h"
#include "ccmode/regs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct cc_chip *
chip(char which)
{
    switch (which) {
    case 'H':
        return cc_chip_find(0x10de, 0x2330, 0x030200);
    case 'B':
        return cc_chip_find(0x10de, 0x2901, 0x030200);
    case 'R':
        return cc_chip_find(0x10de, 0x2bb5, 0x030200);
    default:
        return cc_chip_find(0x10de, 0x22a3, 0x068000);
    }
}

/* Everything allowed, all 0, but what `spec` says: "8=1 45=-1 7=0". */
static struct cc_knobs
knobs(const struct cc_chip *c, const char *spec)
{
    struct cc_knobs k = {0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1};
    unsigned knob;
    int val, used;

    if (!c->fam->legacy)
        k.ppcie = k.k2 = k.k4 = k.k34 = k.ppcie_inband = -1;
    while (sscanf(spec, "%u=%d%n", &knob, &val, &used) == 2) {
        assert_non_null(cc_knob_slot(&k, knob));
        *cc_knob_slot(&k, knob) = val;
        spec += used;
    }
    return k;
}

static const char *
text(const struct cc_plan *p, char *buf, size_t size)
{
    size_t n = 0;

    buf[0] = '\0';
    for (unsigned i = 0; i < p->n && n < size; i++)
        n += (size_t)snprintf(buf + n, size - n, "%s%u:%u>%u", i ? " " : "", p->w[i].knob,
                              p->w[i].from, p->w[i].to);
    return buf;
}

static const struct {
    char chip;
    const char *knobs;
    enum cc_mode active, want;
    const char *writes; /* NULL: refused with `reason` */
    enum reason reason;
    bool reset;
} table[] = {
    /* Hopper, from off */
    {'H', "", CC_MODE_OFF, CC_MODE_OFF, "", 0, false},
    {'H', "", CC_MODE_OFF, CC_MODE_ON, "10:0>2 8:0>1", 0, true},
    {'H', "", CC_MODE_OFF, CC_MODE_DEVTOOLS, "8:0>1 6:0>1", 0, true},
    {'H', "", CC_MODE_OFF, CC_MODE_PPCIE, "10:0>2 45:0>1", 0, true},
    /* from on */
    {'H', "8=1 10=2", CC_MODE_ON, CC_MODE_ON, "", 0, false},
    {'H', "8=1 10=2", CC_MODE_OFF, CC_MODE_ON, "", 0, true},
    {'H', "8=1 10=2", CC_MODE_ON, CC_MODE_OFF, "10:2>0 8:1>0", 0, true},
    {'H', "8=1 10=2", CC_MODE_ON, CC_MODE_DEVTOOLS, "10:2>0 6:0>1", 0, true},
    {'H', "8=1 10=2", CC_MODE_ON, CC_MODE_PPCIE, "8:1>0 45:0>1", 0, true},
    /* from devtools */
    {'H', "8=1 6=1", CC_MODE_DEVTOOLS, CC_MODE_ON, "10:0>2 6:1>0", 0, true},
    {'H', "8=1 6=1", CC_MODE_DEVTOOLS, CC_MODE_OFF, "6:1>0 8:1>0", 0, true},
    {'H', "8=1 6=1", CC_MODE_DEVTOOLS, CC_MODE_PPCIE, "6:1>0 8:1>0 10:0>2 45:0>1", 0, true},
    /* from PPCIe: off means off */
    {'H', "45=1 10=2", CC_MODE_PPCIE, CC_MODE_OFF, "10:2>0 45:1>0", 0, true},
    {'H', "45=1 10=2", CC_MODE_PPCIE, CC_MODE_ON, "45:1>0 8:0>1", 0, true},
    /* repair of state 2 */
    {'H', "6=1", CC_MODE_INVALID, CC_MODE_OFF, "6:1>0", 0, true},
    {'H', "6=1", CC_MODE_INVALID, CC_MODE_ON, "10:0>2 8:0>1 6:1>0", 0, true},
    {'H', "6=1", CC_MODE_INVALID, CC_MODE_DEVTOOLS, "8:0>1", 0, true},
    {'H', "6=1", CC_MODE_INVALID, CC_MODE_PPCIE, "6:1>0 10:0>2 45:0>1", 0, true},
    /* everything set, in the order of the tool */
    {'H', "2=1 4=1 34=1 45=1 6=1 8=1", CC_MODE_DEVTOOLS, CC_MODE_ON,
     "2:1>0 4:1>0 34:1>0 45:1>0 10:0>2 6:1>0", 0, true},
    {'H', "2=1 4=1 34=1", CC_MODE_OFF, CC_MODE_OFF, "", 0, false},
    /* old firmware without PPCIe */
    {'H', "45=-1 44=-1", CC_MODE_OFF, CC_MODE_ON, "10:0>2 8:0>1", 0, true},
    {'H', "45=-1 44=-1", CC_MODE_OFF, CC_MODE_PPCIE, NULL, REASON_KNOB_MISSING, false},
    {'H', "8=-1", CC_MODE_OFF, CC_MODE_ON, NULL, REASON_KNOB_MISSING, false},
    {'H', "10=-1", CC_MODE_OFF, CC_MODE_ON, NULL, REASON_KNOB_MISSING, false},
    {'H', "6=-1", CC_MODE_OFF, CC_MODE_DEVTOOLS, NULL, REASON_KNOB_MISSING, false},
    {'H', "6=-1 10=-1 2=-1", CC_MODE_OFF, CC_MODE_OFF, "", 0, false},
    /* locked: only where something must change */
    {'H', "7=0", CC_MODE_OFF, CC_MODE_ON, NULL, REASON_KNOB_LOCKED, false},
    {'H', "9=0", CC_MODE_OFF, CC_MODE_ON, NULL, REASON_KNOB_LOCKED, false},
    {'H', "5=0", CC_MODE_OFF, CC_MODE_ON, "10:0>2 8:0>1", 0, true},
    {'H', "5=0", CC_MODE_OFF, CC_MODE_DEVTOOLS, NULL, REASON_KNOB_LOCKED, false},
    {'H', "7=0 9=0 8=1 10=2", CC_MODE_OFF, CC_MODE_ON, "", 0, true},
    {'H', "44=0", CC_MODE_OFF, CC_MODE_PPCIE, NULL, REASON_KNOB_LOCKED, false},
    {'H', "44=0 45=1", CC_MODE_PPCIE, CC_MODE_OFF, NULL, REASON_KNOB_LOCKED, false},
    {'H', "1=0 2=1", CC_MODE_OFF, CC_MODE_ON, NULL, REASON_KNOB_LOCKED, false},
    {'H', "3=0 4=1", CC_MODE_OFF, CC_MODE_ON, NULL, REASON_KNOB_LOCKED, false},
    {'H', "33=0 34=1", CC_MODE_OFF, CC_MODE_ON, NULL, REASON_KNOB_LOCKED, false},
    {'H', "7=-1", CC_MODE_OFF, CC_MODE_ON, "10:0>2 8:0>1", 0, true},
    {'H', "", CC_MODE_OFF, CC_MODE_INVALID, NULL, REASON_MODE_UNSUPPORTED, false},
    {'H', "", CC_MODE_OFF, CC_MODE_UNKNOWN, NULL, REASON_MODE_UNSUPPORTED, false},
    /* Blackwell: 8 and 6 only */
    {'B', "", CC_MODE_OFF, CC_MODE_ON, "8:0>1", 0, true},
    {'B', "10=2", CC_MODE_OFF, CC_MODE_ON, "8:0>1", 0, true},
    {'B', "", CC_MODE_OFF, CC_MODE_DEVTOOLS, "8:0>1 6:0>1", 0, true},
    {'B', "8=1 6=1 10=2", CC_MODE_DEVTOOLS, CC_MODE_OFF, "6:1>0 8:1>0", 0, true},
    {'B', "6=1", CC_MODE_INVALID, CC_MODE_ON, "8:0>1 6:1>0", 0, true},
    {'B', "7=0", CC_MODE_OFF, CC_MODE_ON, NULL, REASON_KNOB_LOCKED, false},
    {'B', "", CC_MODE_OFF, CC_MODE_PPCIE, NULL, REASON_MODE_UNSUPPORTED, false},
    {'R', "", CC_MODE_OFF, CC_MODE_ON, "8:0>1", 0, true},
    {'R', "8=1", CC_MODE_ON, CC_MODE_OFF, "8:1>0", 0, true},
    /* NVSwitch: decoupler 0 */
    {'S', "", CC_MODE_OFF, CC_MODE_PPCIE, "45:0>1", 0, true},
    {'S', "10=2 8=1 34=1", CC_MODE_OFF, CC_MODE_PPCIE, "34:1>0 8:1>0 10:2>0 45:0>1", 0, true},
    {'S', "45=1", CC_MODE_PPCIE, CC_MODE_OFF, "45:1>0", 0, true},
    {'S', "45=-1", CC_MODE_OFF, CC_MODE_PPCIE, NULL, REASON_KNOB_MISSING, false},
    {'S', "", CC_MODE_OFF, CC_MODE_ON, NULL, REASON_MODE_UNSUPPORTED, false},
    {'S', "", CC_MODE_OFF, CC_MODE_DEVTOOLS, NULL, REASON_MODE_UNSUPPORTED, false},
};

static void
plans(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        const struct cc_chip *c = chip(table[i].chip);
        struct cc_status st = {.active = table[i].active, .knobs = knobs(c, table[i].knobs)};
        struct cc_status before = st;
        struct cc_plan p = {.n = 77};
        struct err e = ERR_INIT;
        char buf[256];
        int r = cc_plan(c, &st, table[i].want, &p, &e);

        assert_memory_equal(&st, &before, sizeof(st));
        if ((r < 0) != (table[i].writes == NULL) || e.reason != table[i].reason)
            fail_msg("row %zu (%c \"%s\"): %d %s", i, table[i].chip, table[i].knobs, r, e.msg);
        if (r < 0) {
            assert_int_equal(p.n, 77);
            continue;
        }
        assert_int_equal(p.mode, table[i].want);
        if (strcmp(text(&p, buf, sizeof(buf)), table[i].writes) != 0)
            fail_msg("row %zu (%c \"%s\"): \"%s\", expected \"%s\"", i, table[i].chip,
                     table[i].knobs, buf, table[i].writes);
        assert_int_equal(p.reset_needed, table[i].reset);
    }
}

/* For every start of the knobs that matter and every mode: the plan ends in the mode, no prefix of
 * it newly makes "devtools without CC", and planning again from its end writes nothing. */
static void
every_start(void **state)
{
    static const char which[] = "HBRS";

    (void)state;
    for (unsigned bits = 0; bits < 256; bits++) {
        for (const char *w = which; *w; w++) {
            const struct cc_chip *c = chip(*w);
            struct cc_knobs k0 = knobs(c, "");

            k0.ccm = bits & 1;
            k0.ccd = bits >> 1 & 1;
            k0.decoupler = bits & 4 ? 2 : 0;
            if (c->fam->legacy) {
                k0.ppcie = bits >> 3 & 1;
                k0.k2 = bits >> 4 & 1;
                k0.k4 = bits >> 5 & 1;
                k0.k34 = bits >> 6 & 1;
            }
            for (int m = CC_MODE_OFF; m <= CC_MODE_PPCIE; m++) {
                struct cc_status st = {.active = CC_MODE_OFF, .knobs = k0};
                struct err e = ERR_INIT;
                struct cc_plan p, again;

                if (cc_plan(c, &st, (enum cc_mode)m, &p, &e) < 0) {
                    assert_int_equal(e.reason, REASON_MODE_UNSUPPORTED);
                    continue;
                }
                for (unsigned i = 0; i < p.n; i++) {
                    bool bad = st.knobs.ccd && !st.knobs.ccm;

                    assert_int_equal(*cc_knob_slot(&st.knobs, p.w[i].knob), p.w[i].from);
                    *cc_knob_slot(&st.knobs, p.w[i].knob) = p.w[i].to;
                    assert_false(!bad && st.knobs.ccd && !st.knobs.ccm);
                }
                assert_int_equal(cc_knobs_mode(c, &st.knobs), m);
                assert_int_equal(cc_plan(c, &st, (enum cc_mode)m, &again, &e), 0);
                assert_int_equal(again.n, 0);
            }
        }
    }
}

static void
configured(void **state)
{
    static const struct {
        char chip;
        const char *knobs;
        enum cc_mode mode;
    } t[] = {
        {'H', "", CC_MODE_OFF},
        {'H', "8=1", CC_MODE_ON},
        {'H', "8=1 6=1", CC_MODE_DEVTOOLS},
        {'H', "6=1", CC_MODE_INVALID},
        {'H', "45=1", CC_MODE_PPCIE},
        {'H', "45=1 8=1", CC_MODE_INVALID},
        {'H', "45=2", CC_MODE_INVALID},
        {'H', "8=7", CC_MODE_INVALID},
        {'H', "8=1 6=9", CC_MODE_INVALID},
        {'H', "8=-1 6=-1 45=-1", CC_MODE_OFF},
        {'B', "8=1", CC_MODE_ON},
        {'B', "8=1 45=1", CC_MODE_ON},
        {'S', "8=1", CC_MODE_OFF},
        {'S', "45=1", CC_MODE_PPCIE},
        {'S', "45=3", CC_MODE_INVALID},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        const struct cc_chip *c = chip(t[i].chip);
        struct cc_knobs k = knobs(c, t[i].knobs);

        if (cc_knobs_mode(c, &k) != t[i].mode)
            fail_msg("%c \"%s\": %s", t[i].chip, t[i].knobs, cc_mode_name(cc_knobs_mode(c, &k)));
    }
}

static void
printed(void **state)
{
    const struct cc_chip *c = chip('H');
    struct cc_status st = {.active = CC_MODE_OFF, .knobs = knobs(c, "")};
    struct err e = ERR_INIT;
    struct cc_plan p;
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    assert_int_equal(cc_plan(c, &st, CC_MODE_ON, &p, &e), 0);
    cc_plan_print(&p, &b);
    assert_string_equal(buf_cstr(&b), "write knob 10 (BAR0 decoupler): 0 -> 2\n"
                                      "write knob 8 (CC mode): 0 -> 1\n"
                                      "reset, then mode on must be active\n");
    buf_clear(&b);
    assert_int_equal(cc_plan(c, &st, CC_MODE_OFF, &p, &e), 0);
    cc_plan_print(&p, &b);
    assert_string_equal(buf_cstr(&b), "nothing to do: mode off is configured and active\n");
    buf_fini(&b);
    assert_null(cc_knob_slot(&st.knobs, 40));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans),
        cmocka_unit_test(every_start),
        cmocka_unit_test(configured),
        cmocka_unit_test(printed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
