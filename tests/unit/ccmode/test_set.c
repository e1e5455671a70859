/* SPDX-License-Identifier: Apache-2.0
 *
 * The whole change of mode on the emulated devices: every chip, mode and fault, with the reason
 * expected and the knobs that must be left behind.
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

static const struct {
    const char *model, *knobs, *faults;
    enum cc_mode mode;
    enum reason reason; /* NONE: success */
    const char *after;  /* knobs left */
    const char *text;   /* must be in the message */
} table[] = {
    /* every mode of every chip */
    {"h100-sxm", "", "", CC_MODE_ON, 0, "8=1,6=0,10=2,45=0", ""},
    {"h100-sxm", "", "", CC_MODE_DEVTOOLS, 0, "8=1,6=1,10=0,45=0", ""},
    {"h100-sxm", "8=1,10=2", "", CC_MODE_OFF, 0, "8=0,6=0,10=0,45=0", ""},
    {"h100-sxm", "45=1,10=2", "", CC_MODE_OFF, 0, "8=0,6=0,10=0,45=0", ""},
    {"h100-sxm", "", "", CC_MODE_PPCIE, 0, "8=0,6=0,10=2,45=1", ""},
    {"h200", "8=1,6=1,1=1,2=1,3=1,4=1,33=1,34=1,45=1", "", CC_MODE_ON, 0,
     "2=0,4=0,34=0,45=0,10=2,8=1,6=0", ""},
    {"h100-pcie", "8=1,6=1", "", CC_MODE_PPCIE, 0, "8=0,6=0,10=2,45=1", ""},
    {"b200", "", "", CC_MODE_ON, 0, "8=1,6=0,10=0", ""},
    {"b200", "8=1", "", CC_MODE_OFF, 0, "8=0,6=0", ""},
    {"b200", "", "", CC_MODE_DEVTOOLS, 0, "8=1,6=1", ""},
    {"b200", "2=1,4=1,34=1", "", CC_MODE_ON, 0, "8=1,2=1,4=1,34=1", ""},
    {"rtxpro6000", "", "", CC_MODE_ON, 0, "8=1,6=0", ""},
    {"rtxpro6000", "8=1,6=1", "", CC_MODE_OFF, 0, "8=0,6=0", ""},
    {"nvswitch", "", "", CC_MODE_PPCIE, 0, "45=1,10=0", ""},
    {"nvswitch", "45=1,10=2", "", CC_MODE_OFF, 0, "45=0,10=0", ""},
    /* the same again: nothing to write, still a reset */
    {"h100-sxm", "8=1,10=2", "", CC_MODE_ON, 0, "8=1,10=2", ""},
    /* repair of state 2 */
    {"h100-sxm", "6=1", "", CC_MODE_ON, 0, "8=1,6=0,10=2", ""},
    {"h100-sxm", "6=1", "", CC_MODE_OFF, 0, "8=0,6=0", ""},
    {"b200", "6=1", "", CC_MODE_OFF, 0, "8=0,6=0", ""},
    /* a repair that fails is not rolled back into state 2 */
    {"h100-sxm", "6=1", "write-refused=6", CC_MODE_ON, REASON_FSP_ERROR, "8=1,6=1",
     "but for knob 8"},
    /* unsupported */
    {"b200", "", "", CC_MODE_PPCIE, REASON_MODE_UNSUPPORTED, "8=0,45=0", "gb100"},
    {"nvswitch", "", "", CC_MODE_ON, REASON_MODE_UNSUPPORTED, "8=0", "ls10"},
    {"h100-sxm", "", "", CC_MODE_UNKNOWN, REASON_MODE_UNSUPPORTED, "8=0", ""},
    /* old firmware */
    {"h100-sxm", "", "invalid-knob=44 invalid-knob=45", CC_MODE_ON, 0, "8=1,10=2", ""},
    {"h100-sxm", "", "invalid-knob=44 invalid-knob=45", CC_MODE_PPCIE, REASON_KNOB_MISSING,
     "10=0,45=0", "knob 45"},
    {"h100-sxm", "", "invalid-knob=8", CC_MODE_ON, REASON_KNOB_MISSING, "10=0,8=0", "knob 8"},
    /* locked by the BMC: nothing is touched */
    {"h100-sxm", "", "inband-locked=8", CC_MODE_ON, REASON_KNOB_LOCKED, "10=0,8=0", "knob 8"},
    {"h100-sxm", "", "inband-locked=10", CC_MODE_ON, REASON_KNOB_LOCKED, "10=0,8=0", "knob 10"},
    {"h100-sxm", "", "inband-locked=6", CC_MODE_DEVTOOLS, REASON_KNOB_LOCKED, "8=0,6=0", "knob 6"},
    {"h100-sxm", "", "inband-locked=45", CC_MODE_PPCIE, REASON_KNOB_LOCKED, "10=0,45=0", "knob 45"},
    {"h100-sxm", "2=1", "", CC_MODE_ON, REASON_KNOB_LOCKED, "2=1,10=0,8=0", "knob 2"},
    {"rtxpro6000", "", "inband-locked=8", CC_MODE_ON, REASON_KNOB_LOCKED, "8=0", "knob 8"},
    {"nvswitch", "", "inband-locked=45", CC_MODE_PPCIE, REASON_KNOB_LOCKED, "45=0", "knob 45"},
    /* refused writes: the old values come back */
    {"h100-sxm", "", "write-error=8", CC_MODE_ON, REASON_FSP_ERROR, "8=0,10=0",
     "0x1e5 (no known meaning); the old settings were restored"},
    {"h100-sxm", "", "write-refused=8", CC_MODE_ON, REASON_FSP_ERROR, "8=0,10=0", "invalid state"},
    {"h100-sxm", "45=1,10=2", "write-error=8", CC_MODE_ON, REASON_FSP_ERROR, "8=0,45=1,10=2", ""},
    {"h100-sxm", "", "write-error=45", CC_MODE_PPCIE, REASON_FSP_ERROR, "10=0,45=0", "knob 45"},
    {"h100-sxm", "8=1,6=1", "write-error=8", CC_MODE_OFF, REASON_FSP_ERROR, "8=1,6=1", ""},
    {"b200", "", "write-error=6", CC_MODE_DEVTOOLS, REASON_FSP_ERROR, "8=0,6=0", ""},
    {"b200", "8=1,6=1", "write-error=8:160", CC_MODE_OFF, REASON_FSP_ERROR, "8=1,6=1",
     "not supported"},
    {"nvswitch", "", "write-error=45", CC_MODE_PPCIE, REASON_FSP_ERROR, "45=0", ""},
    /* accepted, not kept */
    {"h100-sxm", "", "write-ignored=8", CC_MODE_ON, REASON_KNOB_NOT_KEPT, "8=0,10=0", "reads back"},
    {"b200", "", "write-ignored=6", CC_MODE_DEVTOOLS, REASON_KNOB_NOT_KEPT, "8=0,6=0", ""},
    /* firmware */
    {"h100-sxm", "", "no-reply", CC_MODE_ON, REASON_FSP_SILENT, "8=0,10=0", "5000 ms"},
    {"b200", "", "no-reply", CC_MODE_ON, REASON_FSP_SILENT, "8=0", ""},
    {"h100-sxm", "", "no-consume", CC_MODE_ON, REASON_FSP_STUCK, "8=0,10=0", "tail 2056"},
    {"b200", "", "no-consume", CC_MODE_ON, REASON_FSP_STUCK, "8=0", ""},
    {"h100-sxm", "", "fsp-error", CC_MODE_ON, REASON_FSP_ERROR, "8=0", "0x202"},
    {"rtxpro6000", "", "fsp-error", CC_MODE_ON, REASON_FSP_ERROR, "8=0", "0x202"},
    {"h100-sxm", "", "wrong-type", CC_MODE_ON, REASON_FSP_PROTOCOL, "8=0", ""},
    {"b200", "", "wrong-type", CC_MODE_ON, REASON_FSP_PROTOCOL, "8=0", ""},
    {"h100-sxm", "", "wrong-echo", CC_MODE_ON, REASON_FSP_PROTOCOL, "8=0", ""},
    {"h100-sxm", "", "wrong-length", CC_MODE_ON, REASON_FSP_PROTOCOL, "8=0", ""},
    {"b200", "", "wrong-length", CC_MODE_ON, REASON_FSP_PROTOCOL, "8=0", ""},
    {"h100-sxm", "", "short-reply", CC_MODE_ON, REASON_FSP_PROTOCOL, "8=0", ""},
    {"b200", "", "short-reply", CC_MODE_ON, REASON_FSP_PROTOCOL, "8=0", ""},
    {"h100-sxm", "", "stale-reply", CC_MODE_ON, 0, "8=1,10=2", ""},
    {"b200", "", "stale-reply", CC_MODE_ON, 0, "8=1", ""},
    {"h100-sxm", "", "slow-reply=2000", CC_MODE_ON, 0, "8=1,10=2", ""},
    {"b200", "", "slow-reply=6000", CC_MODE_ON, REASON_FSP_SILENT, "8=0", ""},
    /* boot and latch; the second reset is a bus reset */
    {"h100-sxm", "", "boot-never", CC_MODE_ON, REASON_BOOT_TIMEOUT, "8=1,10=2", "bus reset"},
    {"b200", "", "boot-never", CC_MODE_ON, REASON_BOOT_TIMEOUT, "8=1", "bus reset"},
    {"h100-sxm", "", "boot-needs-second-reset", CC_MODE_ON, 0, "8=1,10=2", ""},
    {"rtxpro6000", "", "boot-needs-second-reset", CC_MODE_ON, 0, "8=1", ""},
    {"h100-sxm", "", "sbr-only-recovery", CC_MODE_ON, 0, "8=1,10=2", ""},
    {"nvswitch", "", "sbr-only-recovery", CC_MODE_PPCIE, 0, "45=1", ""},
    {"h100-sxm", "", "mode-not-latched", CC_MODE_ON, REASON_MODE_NOT_LATCHED, "8=1,10=2", ""},
    {"b200", "", "mode-not-latched", CC_MODE_ON, REASON_MODE_NOT_LATCHED, "8=1", ""},
    {"h100-sxm", "6=1", "mode-not-latched", CC_MODE_ON, REASON_MODE_INVALID, "8=1,10=2,6=0", ""},
    {"b200", "", "firewall-stuck", CC_MODE_ON, REASON_FIREWALL_UP, "8=1", "15000 ms"},
    {"rtxpro6000", "", "firewall-stuck", CC_MODE_ON, REASON_FIREWALL_UP, "8=1", ""},
    {"h100-sxm", "", "all-ones-after-reset", CC_MODE_ON, REASON_BAR_DEAD, "8=1,10=2", ""},
    {"b200", "", "all-ones-after-reset", CC_MODE_ON, REASON_BAR_DEAD, "8=1", ""},
    /* resets that cannot be made */
    {"h100-sxm", "", "reset-fail=flr", CC_MODE_ON, 0, "8=1,10=2", ""},
    {"h100-sxm", "", "reset-fail=all", CC_MODE_ON, REASON_RESET_FAILED, "8=1,10=2", "second try"},
    {"h100-sxm", "", "boot-never reset-fail=bus", CC_MODE_ON, REASON_BOOT_TIMEOUT, "8=1",
     "refused"},
    {"h100-sxm", "", "reset-hang=flr", CC_MODE_ON, REASON_STUCK, "8=1,10=2", ""},
    /* dead before the start: nothing is written */
    {"h100-sxm", "", "d3hot-start", CC_MODE_ON, REASON_POWER_STATE, "8=0,10=0", "D3"},
    {"h100-sxm", "", "d3cold", CC_MODE_ON, REASON_DEVICE_GONE, "8=0,10=0", ""},
    {"b200", "", "off-bus", CC_MODE_ON, REASON_DEVICE_GONE, "8=0", ""},
    {"h100-sxm", "", "all-ones", CC_MODE_ON, REASON_BAR_DEAD, "8=0,10=0", "BOOT_0"},
    {"b200", "", "all-ones", CC_MODE_ON, REASON_BAR_DEAD, "8=0", "BOOT_0"},
    {"h100-sxm", "", "badf", CC_MODE_ON, REASON_BAR_DEAD, "8=0,10=0", "0xbadf"},
    {"b200", "", "badf", CC_MODE_ON, REASON_BAR_DEAD, "8=0", "refused"},
    {"h100-sxm", "", "sec-fault", CC_MODE_ON, REASON_SEC_FAULT, "8=0,10=0", "security fault"},
    {"b200", "", "sec-fault", CC_MODE_ON, REASON_SEC_FAULT, "8=0", "SEC_FAULT"},
    {"rtxpro6000", "", "sec-fault", CC_MODE_ON, REASON_SEC_FAULT, "8=0", ""},
    {"nvswitch", "", "sec-fault", CC_MODE_PPCIE, REASON_SEC_FAULT, "45=0", "BOOT_0"},
    {"h100-sxm", "", "recovery-mode", CC_MODE_ON, REASON_RECOVERY_MODE, "8=0,10=0", ""},
    {"b200", "", "recovery-mode", CC_MODE_ON, REASON_RECOVERY_MODE, "8=0", ""},
    {"nvswitch", "", "recovery-mode", CC_MODE_PPCIE, REASON_RECOVERY_MODE, "45=0", ""},
};

static void
every_row(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct cc_status st = {.active = CC_MODE_UNKNOWN, .configured = CC_MODE_UNKNOWN};
        struct err e = ERR_INIT;
        char where[160];
        struct dev d;
        int r;

        dev_init(&d, table[i].model);
        dev_knobs(&d, table[i].knobs);
        dev_faults(&d, table[i].faults);
        (void)snprintf(where, sizeof(where), "row %zu: %s [%s] [%s] to %s", i, table[i].model,
                       table[i].knobs, table[i].faults, cc_mode_name(table[i].mode));
        r = cc_set(&d.s, table[i].mode, &st, &e);
        if ((r < 0) != (table[i].reason != REASON_NONE) || e.reason != table[i].reason)
            fail_msg("%s: %d %s: %s", where, r, reason_name(e.reason), e.msg);
        if (!strstr(e.msg, table[i].text))
            fail_msg("%s: \"%s\" lacks \"%s\"", where, e.msg, table[i].text);
        if (r < 0) {
            assert_int_equal(r, -e.num);
            assert_int_not_equal(e.cls, ERR_CLASS_NONE);
            assert_int_equal(st.active, CC_MODE_UNKNOWN);
        } else {
            assert_int_equal(st.active, table[i].mode);
            assert_int_equal(st.configured, table[i].mode);
        }
        dev_expect_knobs(&d, table[i].after, where);
        dev_fini(&d);
    }
}

/* A knob that is written although its answer is lost must be found and taken back. */
static void
lost_reply(void **state)
{
    struct cc_plan p = {.mode = CC_MODE_ON, .n = 1, .w = {{8, 0, 1}}};
    struct err e = ERR_INIT;
    struct dev d;

    (void)state;
    dev_init(&d, "h100-sxm");
    dev_faults(&d, "lost-reply");
    assert_true(cc_plan_write(&d.s, &p, &e) < 0);
    assert_int_equal(e.reason, REASON_FSP_SILENT);
    assert_non_null(strstr(e.msg, "NOT be restored"));
    /* the error says so: the knob is still set */
    dev_expect_knobs(&d, "8=1", "lost reply");
    dev_fini(&d);
}

static void
c2c(void **state)
{
    struct cc_status st;
    struct err e = ERR_INIT;
    struct hw_dev hw;
    struct dev d;

    (void)state;
    dev_init(&d, "h100-sxm");
    hw = *d.s.dev;
    hw.device = 0x2342;
    hw.subsys_device = 0x16eb;
    d.s.dev = &hw;
    assert_true(cc_set(&d.s, CC_MODE_ON, &st, &e) < 0);
    assert_int_equal(e.reason, REASON_C2C_PART);
    assert_int_equal(d.n, 0);
    dev_fini(&d);
}

struct steps {
    char text[512];
};

static void
on_step(void *ctx, enum cc_step s, const char *detail)
{
    static const char letters[] = "BQWRV";
    struct steps *t = ctx;
    size_t n = strlen(t->text);

    (void)snprintf(t->text + n, sizeof(t->text) - n, "%c(%s) ", letters[s], detail);
}

static void
progress(void **state)
{
    struct steps t = {{0}};
    struct cc_progress p = {on_step, &t};
    struct cc_status st;
    struct err e = ERR_INIT;
    struct dev d;

    (void)state;
    dev_init(&d, "h100-sxm");
    d.s.progress = &p;
    assert_int_equal(cc_set(&d.s, CC_MODE_ON, &st, &e), 0);
    assert_string_equal(t.text,
                        "B(gh100) Q(active mode and knobs) W(knob 10 (BAR0 decoupler): 0 -> "
                        "2) W(knob 8 (CC mode): 0 -> 1) R(function reset) B(gh100) V(on) ");
    dev_fini(&d);
}

/* Even where every answer is late the whole change ends within its limits. */
static void
bounded(void **state)
{
    static const char *const faults[] = {"no-reply", "no-consume", "boot-never", "firewall-stuck",
                                         "slow-reply=4900"};
    static const char *const models[] = {"h100-sxm", "b200", "rtxpro6000"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
        for (size_t k = 0; k < ARRAY_SIZE(models); k++) {
            struct cc_status st;
            struct err e = ERR_INIT;
            struct dev d;
            uint64_t t0;

            dev_init(&d, models[k]);
            dev_faults(&d, faults[i]);
            t0 = sim_inproc_now(d.in);
            (void)cc_set(&d.s, CC_MODE_ON, &st, &e);
            assert_true(sim_inproc_now(d.in) - t0 < HW_SEC(120));
            dev_fini(&d);
        }
}

/* After a reset nothing in BAR0 but the boot register is touched before it says "done". */
static void
quiet_until_booted(void **state)
{
    static const struct {
        const char *model;
        uint32_t boot;
    } t[] = {{"h100-sxm", 0x200bc}, {"b200", 0x200bc}, {"rtxpro6000", 0xad00bc}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        bool booting = false;
        unsigned resets = 0;
        struct cc_status st;
        struct err e = ERR_INIT;
        struct dev d;

        dev_init(&d, t[i].model);
        assert_int_equal(cc_set(&d.s, CC_MODE_ON, &st, &e), 0);
        for (unsigned k = 0; k < d.n; k++) {
            if (d.rec[k].note) {
                resets++;
                booting = true;
            } else if (booting) {
                assert_false(d.rec[k].write);
                assert_int_equal(d.rec[k].off, t[i].boot);
                booting = d.rec[k].val != 0xff;
            }
        }
        assert_int_equal(resets, 1);
        assert_false(booting);
        dev_fini(&d);
    }
}

/* A hw_dev whose n-th access cannot be made. */
struct nth {
    const struct hw_dev *in;
    unsigned left;
    bool fired;
};

static bool
fires(struct nth *n, struct err *e)
{
    if (n->fired || n->left-- > 0)
        return false;
    n->fired = true;
    (void)err_reason(e, EPERM, ERR_CLASS_HW, REASON_LOCKDOWN, "access refused");
    return true;
}

static int
nth_bar_read(void *ctx, uint32_t off, uint32_t *ret, struct err *e)
{
    struct nth *n = ctx;

    return fires(n, e) ? -EPERM : n->in->ops->bar_read32(n->in->ctx, off, ret, e);
}

static int
nth_bar_write(void *ctx, uint32_t off, uint32_t val, struct err *e)
{
    struct nth *n = ctx;

    return fires(n, e) ? -EPERM : n->in->ops->bar_write32(n->in->ctx, off, val, e);
}

static int
nth_cfg_read(void *ctx, uint32_t off, unsigned width, uint32_t *ret, struct err *e)
{
    struct nth *n = ctx;

    return fires(n, e) ? -EPERM : n->in->ops->cfg_read(n->in->ctx, off, width, ret, e);
}

static int
nth_reset(void *ctx, enum hw_reset how, struct err *e)
{
    struct nth *n = ctx;

    return fires(n, e) ? -EPERM : n->in->ops->reset(n->in->ctx, how, e);
}

static uint64_t
nth_now(void *ctx)
{
    const struct nth *n = ctx;

    return n->in->ops->now_ns(n->in->ctx);
}

static void
nth_sleep(void *ctx, uint64_t ns)
{
    struct nth *n = ctx;

    n->in->ops->sleep_ns(n->in->ctx, ns);
}

static const struct hw_dev_ops nth_ops = {.bar_read32 = nth_bar_read,
                                          .bar_write32 = nth_bar_write,
                                          .cfg_read = nth_cfg_read,
                                          .reset = nth_reset,
                                          .now_ns = nth_now,
                                          .sleep_ns = nth_sleep};

/* Whichever access fails: the error is passed on, and up to the reset the knobs are as they were,
 * or the error says that they are not. */
static void
any_access_fails(void **state)
{
    static const struct {
        const char *model, *before, *after;
        enum cc_mode mode;
        const char *faults;
    } t[] = {
        {"h100-sxm", "8=1,6=1,10=0,45=0", "8=0,6=0,10=2,45=1", CC_MODE_PPCIE, "stale-reply"},
        {"b200", "8=0,6=0", "8=1,6=1", CC_MODE_DEVTOOLS, "stale-reply"},
        {"rtxpro6000", "8=1,6=1", "8=0,6=0", CC_MODE_OFF, ""},
        {"nvswitch", "45=0,10=2", "45=1,10=0", CC_MODE_PPCIE, ""},
        /* the failure paths' own accesses */
        {"b200", "8=0", "8=1", CC_MODE_ON, "firewall-stuck"},
        {"h100-sxm", "8=0", "8=1", CC_MODE_ON, "boot-never"},
        {"b200", "8=0", "8=0", CC_MODE_ON, "sec-fault"},
        {"h100-sxm", "8=0", "8=0", CC_MODE_ON, "all-ones"},
        {"h100-sxm", "8=0", "8=0", CC_MODE_ON, "no-reply"},
        {"b200", "8=0", "8=0", CC_MODE_ON, "no-reply"},
        {"b200", "8=0", "8=0", CC_MODE_ON, "no-consume"},
        {"h100-sxm", "6=1,8=0", "6=1,8=1", CC_MODE_ON, "write-refused=6"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        bool fired = true;
        unsigned n = 0;

        /* polls repeat: past the first hundreds in steps */
        for (; fired; n += n < 1500 ? 1 : 97) {
            struct nth f = {.left = n};
            struct cc_status st;
            struct err e = ERR_INIT;
            bool was_reset = false;
            char where[96];
            struct hw_dev hw;
            struct dev d;
            int r;

            dev_init(&d, t[i].model);
            dev_knobs(&d, t[i].before);
            dev_faults(&d, t[i].faults);
            f.in = d.s.dev;
            hw = *d.s.dev;
            hw.ops = &nth_ops;
            hw.ctx = &f;
            d.s.dev = &hw;
            r = cc_set(&d.s, t[i].mode, &st, &e);
            fired = f.fired;
            for (unsigned k = 0; k < d.n; k++)
                was_reset = was_reset || d.rec[k].note;
            (void)snprintf(where, sizeof(where), "row %zu, access %u", i, n);
            if ((r < 0) != (e.cls != ERR_CLASS_NONE))
                fail_msg("%s: %d with %s", where, r, reason_name(e.reason));
            if (r < 0 && strstr(e.msg, "the old settings were restored") &&
                !strstr(e.msg, "but for knob"))
                dev_expect_knobs(&d, t[i].before, where);
            if (r < 0 && fired && e.reason == REASON_LOCKDOWN && !was_reset) {
                bool told = strstr(e.msg, "NOT be restored") || strstr(e.msg, "but for knob");

                /* a reset that was refused comes after the writes */
                if (!told && strcmp(e.msg, "access refused") != 0)
                    dev_expect_knobs(&d, t[i].before, where);
            }
            if (r >= 0)
                dev_expect_knobs(&d, t[i].after, where);
            dev_fini(&d);
        }
        assert_true(n > 10);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row),
        cmocka_unit_test(lost_reply),
        cmocka_unit_test(c2c),
        cmocka_unit_test(progress),
        cmocka_unit_test(bounded),
        cmocka_unit_test(any_access_fails),
        cmocka_unit_test(quiet_until_booted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
