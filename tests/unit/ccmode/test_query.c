/* SPDX-License-Identifier: Apache-2.0
 *
 * Active and configured mode, verification and what it costs.
 */
#include "dev.h"

#include "base/cleanup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static unsigned
count(const struct dev *d, uint32_t off, bool write)
{
    unsigned n = 0;

    for (unsigned i = 0; i < d->n; i++)
        n += !d->rec[i].note && d->rec[i].off == off && d->rec[i].write == write;
    return n;
}

/* The hot path of an armed GPU: exactly these reads, and hardly longer than its firmware takes. */
static void
verify_cost(void **state)
{
    static const struct {
        const char *model, *knobs;
        enum cc_mode mode;
        uint32_t boot, active, doorbell;
        unsigned exchanges;
    } t[] = {
        {"h100-sxm", "8=1,10=2", CC_MODE_ON, 0x200bc, 0x1182cc, 0x8f2c10, 3},
        {"h100-sxm", "45=1,10=2", CC_MODE_PPCIE, 0x200bc, 0x1182cc, 0x8f2c10, 3},
        {"b200", "8=1", CC_MODE_ON, 0x200bc, 0x590, 0x8f1f84, 2},
        {"rtxpro6000", "8=1", CC_MODE_ON, 0xad00bc, 0x590, 0x8f1f84, 2},
        {"nvswitch", "45=1", CC_MODE_PPCIE, 0x660bc, 0x28c50, 0x8f2c10, 1},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        struct cc_status st;
        struct err e = ERR_INIT;
        struct dev d;
        uint64_t ns;

        dev_init(&d, t[i].model);
        dev_knobs(&d, t[i].knobs);
        ns = sim_inproc_now(d.in);
        assert_int_equal(cc_verify(&d.s, t[i].mode, &st, &e), 0);
        ns = sim_inproc_now(d.in) - ns;
        assert_int_equal(count(&d, t[i].boot, false), 1);
        assert_int_equal(count(&d, t[i].active, false), 1);
        assert_int_equal(count(&d, t[i].doorbell, true), t[i].exchanges);
        assert_int_equal(count(&d, 0, false), 0);
        /* the emulated firmware takes 10 ms for an answer */
        assert_in_range(ns, HW_MS(10) * t[i].exchanges, HW_MS(10) * t[i].exchanges + HW_MS(3));
        assert_int_equal(st.active, t[i].mode);
        assert_int_equal(st.configured, t[i].mode);
        assert_int_equal(st.knobs.decoupler, -1);
        assert_int_equal(st.knobs.ccm_inband, -1);
        dev_fini(&d);
    }
}

static void
verify_judges(void **state)
{
    static const struct {
        const char *model, *before; /* active */
        unsigned knob;
        uint16_t value; /* then configured so */
        enum cc_mode want;
        enum reason reason;
    } t[] = {
        {"h100-sxm", "8=1,10=2", 8, 1, CC_MODE_OFF, REASON_MODE_MISMATCH},
        {"h100-sxm", "8=1", 8, 0, CC_MODE_ON, REASON_MODE_MISMATCH},
        {"h100-sxm", "8=0", 8, 1, CC_MODE_ON, REASON_MODE_NOT_LATCHED},
        {"h100-sxm", "8=1", 6, 1, CC_MODE_ON, REASON_MODE_MISMATCH},
        {"h100-sxm", "8=0", 6, 1, CC_MODE_OFF, REASON_MODE_INVALID},
        {"h100-sxm", "6=1", 8, 1, CC_MODE_DEVTOOLS, REASON_MODE_INVALID},
        {"h100-sxm", "8=1", 45, 1, CC_MODE_ON, REASON_MODE_INVALID},
        {"h100-sxm", "45=1", 45, 0, CC_MODE_PPCIE, REASON_MODE_MISMATCH},
        {"b200", "8=1", 6, 1, CC_MODE_ON, REASON_MODE_MISMATCH},
        {"b200", "8=1", 45, 1, CC_MODE_ON, REASON_NONE},
        {"b200", "8=1,6=1", 6, 1, CC_MODE_DEVTOOLS, REASON_NONE},
        {"nvswitch", "45=1", 8, 1, CC_MODE_PPCIE, REASON_NONE},
        {"nvswitch", "45=0", 45, 1, CC_MODE_PPCIE, REASON_MODE_NOT_LATCHED},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        struct cc_status st = {.active = CC_MODE_UNKNOWN};
        struct err e = ERR_INIT;
        struct dev d;
        int r;

        dev_init(&d, t[i].model);
        dev_knobs(&d, t[i].before);
        sim_gpu_set_knob(d.gpu, t[i].knob, t[i].value);
        r = cc_verify(&d.s, t[i].want, &st, &e);
        if (e.reason != t[i].reason || (r < 0) != (t[i].reason != REASON_NONE))
            fail_msg("row %zu: %s: %s", i, reason_name(e.reason), e.msg);
        assert_int_equal(st.active, r < 0 ? CC_MODE_UNKNOWN : t[i].want);
        dev_fini(&d);
    }
}

static void
query_all(void **state)
{
    struct cc_status st;
    struct err e = ERR_INIT;
    struct dev d;

    (void)state;
    dev_init(&d, "h100-sxm");
    dev_knobs(&d, "8=1,10=2");
    sim_gpu_set_knob(d.gpu, 6, 1);
    assert_int_equal(cc_query(&d.s, &st, &e), 0);
    assert_int_equal(st.active, CC_MODE_ON);
    assert_int_equal(st.configured, CC_MODE_DEVTOOLS);
    assert_int_equal(st.knobs.ccm, 1);
    assert_int_equal(st.knobs.ccd, 1);
    assert_int_equal(st.knobs.decoupler, 2);
    assert_int_equal(st.knobs.ppcie, 0);
    assert_int_equal(st.knobs.k34, 0);
    assert_int_equal(st.knobs.ppcie_inband, 1);
    assert_int_equal(st.knobs.k2_inband, -1);
    dev_fini(&d);

    dev_init(&d, "h100-sxm");
    dev_faults(&d, "invalid-knob=45 invalid-knob=44");
    sim_gpu_set_knob(d.gpu, 2, 1);
    assert_int_equal(cc_query(&d.s, &st, &e), 0);
    assert_int_equal(st.knobs.ppcie, -1);
    assert_int_equal(st.knobs.ppcie_inband, -1);
    assert_int_equal(st.knobs.k2, 1);
    assert_int_equal(st.knobs.k2_inband, 0);
    dev_fini(&d);

    dev_init(&d, "b200");
    dev_knobs(&d, "10=2");
    assert_int_equal(cc_query(&d.s, &st, &e), 0);
    assert_int_equal(st.active, CC_MODE_OFF);
    assert_int_equal(st.knobs.decoupler, 2);
    assert_int_equal(st.knobs.ppcie, -1);
    assert_int_equal(st.knobs.k2, -1);
    dev_fini(&d);
}

static int
broken_bar(void *ctx, uint32_t off, uint32_t *ret, struct err *e)
{
    (void)ctx;
    (void)off;
    (void)ret;
    return err_reason(e, EPERM, ERR_CLASS_HW, REASON_LOCKDOWN, "read BAR0: refused");
}

static int
broken_cfg(void *ctx, uint32_t off, unsigned width, uint32_t *ret, struct err *e)
{
    (void)ctx;
    (void)off;
    (void)width;
    (void)ret;
    return err_reason(e, ENOENT, ERR_CLASS_HW, REASON_UNREADABLE, "read config: gone");
}

/* An access that cannot be made is passed on as it is, from wherever it happens. */
static void
access_errors(void **state)
{
    static const char *const models[] = {"h100-sxm", "b200"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(models); i++) {
        struct hw_dev_ops ops;
        struct hw_dev hw;
        struct cc_status st;
        struct dev d;

        dev_init(&d, models[i]);
        ops = *d.s.dev->ops;
        hw = *d.s.dev;
        hw.ops = &ops;
        d.s.dev = &hw;
        ops.bar_read32 = broken_bar;
        for (int k = 0; k < 4; k++) {
            struct err e = ERR_INIT;
            enum cc_mode m;
            int r = k == 0   ? cc_set(&d.s, CC_MODE_ON, &st, &e)
                    : k == 1 ? cc_verify(&d.s, CC_MODE_ON, &st, &e)
                    : k == 2 ? cc_query(&d.s, &st, &e)
                             : cc_query_active(&d.s, &m, &e);

            assert_int_equal(r, -EPERM);
            assert_int_equal(e.reason, REASON_LOCKDOWN);
        }
        ops.cfg_read = broken_cfg;
        struct err e = ERR_INIT;

        assert_int_equal(cc_sanity(&d.s, &e), -ENOENT);
        assert_int_equal(e.reason, REASON_UNREADABLE);
        dev_fini(&d);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verify_cost),
        cmocka_unit_test(verify_judges),
        cmocka_unit_test(query_all),
        cmocka_unit_test(access_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
