/* SPDX-License-Identifier: Apache-2.0
 *
 * Signatures of dead, faulty and booting devices, each bent into an emulated one; decoding of the
 * mode register.
 */
#include "dev.h"

#include "base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void
sane(void **state)
{
    static const char *const models[] = {"h100-pcie", "h100-sxm",   "h200",
                                         "b200",      "rtxpro6000", "nvswitch"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(models); i++) {
        struct err e = ERR_INIT;
        struct dev d;

        dev_init(&d, models[i]);
        assert_int_equal(cc_sanity(&d.s, &e), 0);
        assert_int_equal(cc_wait_boot(&d.s, &e), 0);
        for (unsigned k = 0; k < d.n; k++)
            assert_false(d.rec[k].write);
        dev_fini(&d);
    }
}

/* A hw_dev whose answers are bent in one place. */
struct bent {
    const struct hw_dev *in;
    uint32_t bar_off, bar_val; /* UINT32_MAX offset: none */
    uint32_t cfg_off, cfg_val;
    uint64_t until; /* bent before this time only; 0 = always */
};

static bool
now_bent(struct bent *b)
{
    return b->until == 0 || b->in->ops->now_ns(b->in->ctx) < b->until;
}

static int
bent_bar(void *ctx, uint32_t off, uint32_t *ret, struct err *e)
{
    struct bent *b = ctx;
    int r = b->in->ops->bar_read32(b->in->ctx, off, ret, e);

    if (off == b->bar_off && now_bent(b))
        *ret = b->bar_val;
    return r;
}

static int
bent_cfg(void *ctx, uint32_t off, unsigned width, uint32_t *ret, struct err *e)
{
    struct bent *b = ctx;
    int r = b->in->ops->cfg_read(b->in->ctx, off, width, ret, e);

    if (off == b->cfg_off && now_bent(b))
        *ret = b->cfg_val;
    return r;
}

static uint64_t
bent_now(void *ctx)
{
    const struct bent *b = ctx;

    return b->in->ops->now_ns(b->in->ctx);
}

static void
bent_sleep(void *ctx, uint64_t ns)
{
    struct bent *b = ctx;

    b->in->ops->sleep_ns(b->in->ctx, ns);
}

static const struct hw_dev_ops bent_ops = {
    .bar_read32 = bent_bar, .cfg_read = bent_cfg, .now_ns = bent_now, .sleep_ns = bent_sleep};

static void
bent_signatures(void **state)
{
#define NO UINT32_MAX
    static const struct {
        const char *model;
        uint32_t bar_off, bar_val, cfg_off, cfg_val;
        enum reason reason;
    } t[] = {
        {"h100-sxm", NO, 0, 0x00, 0xffffffff, REASON_DEVICE_GONE},
        {"h100-sxm", NO, 0, 0x00, 0x233110de, REASON_DEVICE_GONE}, /* another device */
        {"h100-sxm", NO, 0, 0x34, 0xff, REASON_DEVICE_GONE},
        {"h100-sxm", NO, 0, 0xf0, 0xffff, REASON_DEVICE_GONE},
        {"h100-sxm", NO, 0, 0x04, 0, REASON_BAR_DEAD}, /* memory decode off */
        {"h100-sxm", NO, 0, 0x44, 3, REASON_POWER_STATE},
        {"h100-sxm", NO, 0, 0x34, 0, REASON_NONE}, /* no capabilities: no power state to read */
        {"h100-sxm", NO, 0, 0x40, 0x4001, REASON_NONE}, /* PM found although the list loops */
        {"h100-sxm", NO, 0, 0x40, 0x4005, REASON_NONE}, /* a list that never ends */
        {"h100-sxm", NO, 0, 0x40, 0xffff, REASON_NONE},
        {"h100-sxm", 0, 0xffffffff, NO, 0, REASON_BAR_DEAD},
        {"h100-sxm", 0, 0xbadf5108, NO, 0, REASON_BAR_DEAD},
        {"h100-sxm", 0, 0xbadf0200, NO, 0, REASON_SEC_FAULT},
        {"h100-sxm", 0, 0xbad00200, NO, 0, REASON_SEC_FAULT},
        {"h100-sxm", 0, 0, NO, 0, REASON_RECOVERY_MODE},
        {"b200", 0, 0, NO, 0, REASON_NONE},
        {"h100-sxm", 0x20120, 0x40000000, NO, 0, REASON_RECOVERY_MODE},
        {"h100-sxm", 0x20120, 0xbadf5108, NO, 0, REASON_NONE}, /* filtered in CC mode */
        {"h100-sxm", 0x20120, 0xffffffff, NO, 0, REASON_NONE},
        {"b200", 0x8aa128, 0x1, NO, 0, REASON_NONE},
        {"b200", 0x8aa128, 0x2, NO, 0, REASON_RECOVERY_MODE},
        {"b200", 0x8aa128, 0xbadf5108, NO, 0, REASON_NONE},
        {"nvswitch", 0x66120, 0x40000000, NO, 0, REASON_RECOVERY_MODE},
        {"b200", NO, 0, 0xaf8, 1u << 20, REASON_FIREWALL_UP},
        {"b200", NO, 0, 0xaf8, 1u << 17, REASON_RECOVERY_MODE},
        {"b200", 0, 0xffffffff, 0xb04, 0xc0000001, REASON_SEC_FAULT},
        {"b200", 0, 0xffffffff, 0xb04, 0, REASON_BAR_DEAD},
        {"rtxpro6000", NO, 0, 0x2b8, 1u << 24, REASON_FIREWALL_UP},
        {"h100-sxm", 0, 0xbadf0200, 0x2b4, 0x8, REASON_SEC_FAULT},
        /* no firewall capability: BAR0 itself is watched */
        {"b200", 0, 0xffffffff, 0x100, 0, REASON_BAR_DEAD},
        {"b200", NO, 0, 0x100, 0, REASON_NONE},
        {"b200", NO, 0, 0x100, 0xffffffff, REASON_NONE},
        {"b200", NO, 0, 0x100, 0x10010001, REASON_NONE},       /* list points at itself */
        {"b200", NO, 0, 0x100, 0xffc10023, REASON_NONE},       /* at the end of the space */
        {"rtxpro6000", NO, 0, 0x2a8, 0x01410001, REASON_NONE}, /* VSEC too short */
        {"rtxpro6000", NO, 0, 0x2a8, 0x01820002, REASON_NONE}, /* another VSEC */
        {"b200", NO, 0, 0xaf4, 0x01c08086, REASON_NONE},       /* another vendor's DVSEC */
        {"b200", NO, 0, 0xaf8, 0x00100001, REASON_NONE},       /* another DVSEC */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        struct bent b = {.bar_off = t[i].bar_off,
                         .bar_val = t[i].bar_val,
                         .cfg_off = t[i].cfg_off,
                         .cfg_val = t[i].cfg_val};
        struct err e = ERR_INIT;
        struct hw_dev hw;
        struct dev d;
        int r;

        dev_init(&d, t[i].model);
        b.in = d.s.dev;
        hw = *d.s.dev;
        hw.ops = &bent_ops;
        hw.ctx = &b;
        d.s.dev = &hw;
        r = cc_sanity(&d.s, &e);
        if (e.reason != t[i].reason || (r < 0) != (t[i].reason != REASON_NONE))
            fail_msg("row %zu (%s): %s: %s", i, t[i].model, reason_name(e.reason), e.msg);
        dev_fini(&d);
    }
#undef NO
}

/* The mode registers hold other bits, which must not matter; the device's silence must. */
static void
active_bits(void **state)
{
    static const struct {
        const char *model;
        uint32_t off, val;
        enum cc_mode mode;
        enum reason reason;
    } t[] = {
        {"h100-sxm", 0x1182cc, 0x180, CC_MODE_OFF, 0},
        {"h100-sxm", 0x1182cc, 0x181, CC_MODE_ON, 0},
        {"h100-sxm", 0x1182cc, 0x002, CC_MODE_INVALID, 0},
        {"h100-sxm", 0x1182cc, 0x003, CC_MODE_DEVTOOLS, 0},
        {"h100-sxm", 0x1182cc, 0x1a0, CC_MODE_PPCIE, 0},
        {"h100-sxm", 0x1182cc, 0x040, CC_MODE_INVALID, 0},
        {"h100-sxm", 0x1182cc, 0x021, CC_MODE_INVALID, 0},
        {"b200", 0x590, 0x1e5, CC_MODE_ON, 0},
        {"b200", 0x590, 0x120, CC_MODE_OFF, 0},
        {"rtxpro6000", 0x590, 0x7, CC_MODE_DEVTOOLS, 0},
        {"nvswitch", 0x28c50, 0x21, CC_MODE_PPCIE, 0},
        {"nvswitch", 0x28c50, 0x22, CC_MODE_OFF, 0},
        {"h100-sxm", 0x1182cc, 0xffffffff, CC_MODE_UNKNOWN, REASON_BAR_DEAD},
        {"b200", 0x590, 0xbadf1002, CC_MODE_UNKNOWN, REASON_BAR_DEAD},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        struct bent b = {.bar_off = t[i].off, .bar_val = t[i].val, .cfg_off = UINT32_MAX};
        enum cc_mode m = CC_MODE_UNKNOWN;
        struct err e = ERR_INIT;
        struct hw_dev hw;
        struct dev d;

        dev_init(&d, t[i].model);
        b.in = d.s.dev;
        hw = *d.s.dev;
        hw.ops = &bent_ops;
        hw.ctx = &b;
        d.s.dev = &hw;
        assert_int_equal(cc_query_active(&d.s, &m, &e) < 0, t[i].reason != 0);
        assert_int_equal(e.reason, t[i].reason);
        assert_int_equal(m, t[i].mode);
        dev_fini(&d);
    }
}

/* The boot register while booting: what passes is waited out, what stays is named. */
static void
boot_register(void **state)
{
    static const struct {
        const char *model;
        uint32_t val;
        uint64_t until_ms; /* 0: stays */
        enum reason reason;
    } t[] = {
        {"h100-sxm", 0, 1537, REASON_NONE},
        {"h100-sxm", 0xffffffff, 1537, REASON_NONE},
        {"h100-sxm", 0xbadf5040, 1537, REASON_NONE},
        {"h100-sxm", 0x1ff, 0, REASON_BOOT_TIMEOUT}, /* exactly 0xff, not "low byte" */
        {"h100-sxm", 0, 0, REASON_BOOT_TIMEOUT},
        {"h100-sxm", 0xffffffff, 0, REASON_BAR_DEAD},
        {"h100-sxm", 0xbadf5040, 0, REASON_BAR_DEAD},
        {"b200", 0, 9063, REASON_NONE},
        {"b200", 0xfe, 0, REASON_BOOT_TIMEOUT},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        struct bent b = {.bar_off = 0x200bc, .bar_val = t[i].val, .cfg_off = UINT32_MAX};
        struct err e = ERR_INIT;
        struct hw_dev hw;
        struct dev d;
        uint64_t t0;

        dev_init(&d, t[i].model);
        t0 = sim_inproc_now(d.in);
        b.in = d.s.dev;
        b.until = t[i].until_ms ? t0 + HW_MS(t[i].until_ms) : 0;
        hw = *d.s.dev;
        hw.ops = &bent_ops;
        hw.ctx = &b;
        d.s.dev = &hw;
        assert_int_equal(cc_wait_boot(&d.s, &e) < 0, t[i].reason != 0);
        assert_int_equal(e.reason, t[i].reason);
        if (t[i].until_ms) /* seen at once, give or take the longest poll interval */
            assert_in_range(sim_inproc_now(d.in) - t0, HW_MS(t[i].until_ms),
                            HW_MS(t[i].until_ms) + HW_MS(11));
        else
            assert_in_range(sim_inproc_now(d.in) - t0, d.s.timing.boot,
                            d.s.timing.boot + HW_MS(20));
        dev_fini(&d);
    }
}

/* Without the firewall's capability (as gpu-admin-tools v2025 sees GB20x) BAR0 itself is watched
 * until the limit, not for a fixed 3 s. */
static void
firewall_fallback(void **state)
{
    static const uint64_t up_ms[] = {137, 563, 2937, 3137, 14063};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(up_ms); i++) {
        struct bent b = {.bar_off = 0, .bar_val = 0xffffffff, .cfg_off = UINT32_MAX};
        struct bent no_cap = {.bar_off = UINT32_MAX, .cfg_off = 0x100, .cfg_val = 0};
        struct err e = ERR_INIT;
        struct hw_dev inner, hw;
        struct dev d;
        uint64_t t0;

        dev_init(&d, "rtxpro6000");
        t0 = sim_inproc_now(d.in);
        no_cap.in = d.s.dev;
        inner = *d.s.dev;
        inner.ops = &bent_ops;
        inner.ctx = &no_cap;
        b.in = &inner;
        b.until = t0 + HW_MS(up_ms[i]);
        hw = inner;
        hw.ctx = &b;
        d.s.dev = &hw;
        assert_int_equal(cc_wait_boot(&d.s, &e), 0);
        assert_in_range(sim_inproc_now(d.in) - t0, HW_MS(up_ms[i]), HW_MS(up_ms[i] + 11));
        dev_fini(&d);
    }
}

/* A vendor capability that ends before its firewall word: what stands behind it belongs to the next
 * one, as on GH100, and says nothing. */
static void
short_capability(void **state)
{
    struct bent word = {.bar_off = UINT32_MAX, .cfg_off = 0x2b8, .cfg_val = 1u << 24};
    struct bent head = {.bar_off = UINT32_MAX, .cfg_off = 0x2a8, .cfg_val = 0x01410001};
    struct err e = ERR_INIT;
    struct hw_dev inner, hw;
    struct dev d;

    (void)state;
    dev_init(&d, "rtxpro6000");
    word.in = d.s.dev;
    inner = *d.s.dev;
    inner.ops = &bent_ops;
    inner.ctx = &word;
    head.in = &inner;
    hw = inner;
    hw.ctx = &head;
    d.s.dev = &hw;
    assert_int_equal(cc_sanity(&d.s, &e), 0);
    dev_fini(&d);
}

/* What the poll adds to a boot of a second and a half is at most one interval. */
static void
boot_overhead(void **state)
{
    struct cc_status st;
    struct err e = ERR_INIT;
    uint64_t t0, booted = 0;
    struct dev d;

    (void)state;
    dev_init(&d, "h100-sxm");
    assert_int_equal(d.s.dev->ops->reset(d.s.dev->ctx, HW_RESET_FUNCTION, &e), 0);
    t0 = sim_inproc_now(d.in);
    assert_int_equal(cc_wait_boot(&d.s, &e), 0);
    booted = sim_inproc_now(d.in) - t0;
    assert_in_range(booted, HW_MS(1), HW_MS(1511));
    assert_int_equal(cc_query(&d.s, &st, &e), 0);
    dev_fini(&d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sane),
        cmocka_unit_test(bent_signatures),
        cmocka_unit_test(active_bits),
        cmocka_unit_test(boot_register),
        cmocka_unit_test(firewall_fallback),
        cmocka_unit_test(short_capability),
        cmocka_unit_test(boot_overhead),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
