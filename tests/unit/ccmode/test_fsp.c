/* SPDX-License-Identifier: Apache-2.0
 *
 * The two transports and the knob exchange at their edges: what is left over at the opening, what
 * does not fit, what never comes.
 */
#include "dev.h"

#include "base/cleanup.h"
#include "ccmode/fsp.h"
#include "ccmode/prc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define QH 0x8f2c10u
#define QT 0x8f2c14u
#define MH 0x8f2c90u
#define MT 0x8f2c94u

/* One register reads otherwise than the device says, for one read after a number of others. */
struct bent {
    const struct hw_dev *in;
    uint32_t off, val;
    unsigned skip;  /* reads of it that stay as they are */
    unsigned times; /* 0: from then on for ever */
    unsigned seen;
};

static int
bent_read(void *ctx, uint32_t off, uint32_t *ret, struct err *e)
{
    struct bent *b = ctx;
    int r = b->in->ops->bar_read32(b->in->ctx, off, ret, e);

    if (off != b->off)
        return r;
    if (b->seen >= b->skip && (!b->times || b->seen < b->skip + b->times))
        *ret = b->val;
    b->seen++;
    return r;
}

static int
pass_write(void *ctx, uint32_t off, uint32_t val, struct err *e)
{
    struct bent *b = ctx;

    return b->in->ops->bar_write32(b->in->ctx, off, val, e);
}

static int
pass_cfg(void *ctx, uint32_t off, unsigned width, uint32_t *ret, struct err *e)
{
    struct bent *b = ctx;

    return b->in->ops->cfg_read(b->in->ctx, off, width, ret, e);
}

static uint64_t
pass_now(void *ctx)
{
    const struct bent *b = ctx;

    return b->in->ops->now_ns(b->in->ctx);
}

static void
pass_sleep(void *ctx, uint64_t ns)
{
    struct bent *b = ctx;

    b->in->ops->sleep_ns(b->in->ctx, ns);
}

static const struct hw_dev_ops bent_ops = {.bar_read32 = bent_read,
                                           .bar_write32 = pass_write,
                                           .cfg_read = pass_cfg,
                                           .now_ns = pass_now,
                                           .sleep_ns = pass_sleep};

static void
left_over_queue(void **state)
{
    struct err e = ERR_INIT;
    uint16_t v = 99;
    struct dev d;
    uint64_t t0;

    (void)state;
    /* a command that was never taken: given the time of a reply, then cleared by hand */
    dev_init(&d, "h100-sxm");
    sim_gpu_bar_write(d.gpu, QT, 0x808);
    t0 = sim_inproc_now(d.in);
    assert_int_equal(prc_read(&d.s, 9, &v, &e), 0);
    assert_int_equal(v, 1);
    assert_in_range(sim_inproc_now(d.in) - t0, HW_SEC(5), HW_SEC(6));
    assert_true(d.s.fsp_open);
    dev_fini(&d);

    /* a reply of somebody else, of any length: dropped at once */
    for (uint32_t mt = 0x804; mt < 0xa00; mt += 0x3c) {
        dev_init(&d, "h100-sxm");
        sim_gpu_bar_write(d.gpu, MT, mt);
        t0 = sim_inproc_now(d.in);
        assert_int_equal(prc_read(&d.s, 7, &v, &e), 0);
        assert_int_equal(v, 1);
        assert_true(sim_inproc_now(d.in) - t0 < HW_MS(12));
        dev_fini(&d);
    }
}

static void
queue_stays_full(void **state)
{
    struct bent b = {.off = QT, .val = 0x808};
    struct err e = ERR_INIT;
    struct hw_dev hw;
    uint16_t v;
    struct dev d;

    (void)state;
    dev_init(&d, "h100-sxm");
    b.in = d.s.dev;
    hw = *d.s.dev;
    hw.ops = &bent_ops;
    hw.ctx = &b;
    d.s.dev = &hw;
    assert_true(prc_read(&d.s, 8, &v, &e) < 0);
    assert_int_equal(e.reason, REASON_FSP_STUCK);
    assert_non_null(strstr(e.msg, "open the FSP queue"));
    assert_false(d.s.fsp_open);
    /* an open transport whose queue fills up later has only the shorter time */
    d.s.fsp_open = true;
    err_clear(&e);
    uint64_t t0 = sim_inproc_now(d.in);

    assert_true(prc_read(&d.s, 8, &v, &e) < 0);
    assert_int_equal(e.reason, REASON_FSP_STUCK);
    assert_in_range(sim_inproc_now(d.in) - t0, HW_SEC(1), HW_MS(1100));
    dev_fini(&d);
}

/* Answers bent word by word. `skip` counts the reads of the register that an exchange makes
 * before. */
static void
bent_answers(void **state)
{
    static const struct {
        const char *model;
        uint32_t off, val;
        unsigned skip;
        enum reason reason;
    } t[] = {
        /* EMEM: words of the reply */
        {"h100-sxm", 0x8f2ad4, 0x80000000, 0, REASON_FSP_PROTOCOL},
        {"h100-sxm", 0x8f2ad4, 0x1310de7e, 1, REASON_FSP_PROTOCOL},
        {"h100-sxm", 0x8f2ad4, 0x1510de7f, 1, REASON_FSP_PROTOCOL},
        {"h100-sxm", 0x8f2ad4, 77, 2, REASON_NONE}, /* the task is the firmware's own */
        {"h100-sxm", 0x8f2ad4, 0x14, 3, REASON_FSP_PROTOCOL},
        {"h100-sxm", 0x8f2ad4, 0x1e3, 4, REASON_KNOB_MISSING},
        {"h100-sxm", 0x8f2ad4, 0x9e, 4, REASON_FSP_ERROR},
        {"h100-sxm", 0x8f2ad4, 0xffffffff, 4, REASON_FSP_ERROR},
        {"h100-sxm", 0x8f2ad4, 0xffff0001, 5, REASON_NONE}, /* upper half is garbage */
        /* EMEM: the tail of the reply; MT is read at the open, at the send, by the poll, and then
         * for the length */
        {"h100-sxm", MT, 0x810, 3, REASON_FSP_PROTOCOL},
        {"h100-sxm", MT, 0x816, 3, REASON_FSP_PROTOCOL},
        {"h100-sxm", MT, 0x7fc, 3, REASON_FSP_PROTOCOL},
        {"h100-sxm", MT, 0x840, 3, REASON_FSP_PROTOCOL},
        {"h100-sxm", MT, 0x7ffffffc, 3, REASON_FSP_PROTOCOL},
        {"h100-sxm", MT, 0xffffffff, 3, REASON_BAR_DEAD},
        {"h100-sxm", QH, 0xbadf5108, 0, REASON_BAR_DEAD},
        /* MNOC */
        {"b200", 0x8f1f08, 0x1310de7e, 1, REASON_FSP_PROTOCOL},
        {"b200", 0x8f1f08, 0x202, 4, REASON_FSP_ERROR},
        {"b200", 0x8f1f04, 0x02000000, 0, REASON_FSP_ERROR}, /* error bit, at each place */
        {"b200", 0x8f1f04, 0x02000000, 1, REASON_FSP_ERROR},
        {"b200", 0x8f1f04, 0x02000000, 2, REASON_FSP_ERROR},
        {"b200", 0x8f1f84, 0x07000000, 0, REASON_FSP_ERROR},
        {"b200", 0x8f1f84, 0x07000000, 1, REASON_FSP_ERROR},
        {"b200", 0x8f1f84, 0x07000000, 2, REASON_FSP_ERROR},
        {"b200", 0x8f1f04, 0x01000000, 2, REASON_FSP_PROTOCOL}, /* size 0 */
        {"b200", 0x8f1f04, 0x01000016, 2, REASON_FSP_PROTOCOL}, /* no whole words */
        {"b200", 0x8f1f04, 0x01000044, 2, REASON_FSP_PROTOCOL}, /* too long */
        {"b200", 0x8f1f04, 0x010fffff, 2, REASON_FSP_PROTOCOL},
        {"b200", 0x8f1f04, 0xffffffff, 2, REASON_BAR_DEAD},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        struct bent b = {.off = t[i].off, .val = t[i].val, .skip = t[i].skip, .times = 1};
        struct err e = ERR_INIT;
        struct hw_dev hw;
        uint16_t v = 99;
        struct dev d;
        int r;

        dev_init(&d, t[i].model);
        /* at once: the count of reads must not depend on how long the answer takes */
        sim_inproc_free(d.in);
        assert_int_equal(sim_inproc_new(t[i].model, 0, &d.in, &e), 0);
        d.s.dev = sim_inproc_hw(d.in);
        b.in = d.s.dev;
        hw = *d.s.dev;
        hw.ops = &bent_ops;
        hw.ctx = &b;
        d.s.dev = &hw;
        r = prc_read(&d.s, 7, &v, &e);
        if (e.reason != t[i].reason || (r < 0) != (t[i].reason != REASON_NONE))
            fail_msg("row %zu: %s: %s", i, reason_name(e.reason), e.msg);
        assert_int_equal(v, r < 0 ? 99 : 1);
        if (r < 0)
            assert_non_null(strstr(e.msg, "read knob 7 (CC mode in-band permission)"));
        /* and the transport recovers: the next exchange is right. Not so where we stopped in the
         * middle of sending: then only a reset helps. */
        err_clear(&e);
        b.off = UINT32_MAX;
        if (t[i].off != 0x8f1f84 || t[i].skip != 1) {
            assert_int_equal(prc_read(&d.s, 7, &v, &e), 0);
            assert_int_equal(v, 1);
        }
        dev_fini(&d);
    }
}

/* A mailbox that is never ready, never has credit, or never empties. */
static void
mailbox_stuck(void **state)
{
    static const struct {
        uint32_t off, val;
        const char *text;
    } t[] = {
        {0x8f1f84, 0x04000000, "send to the FSP"},
        {0x8f1f84, 0x01000000, "credit"},
        {0x8f1f04, 0x01000018, "empty the FSP mailbox"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        struct bent b = {.off = t[i].off, .val = t[i].val};
        struct err e = ERR_INIT;
        struct hw_dev hw;
        uint16_t v;
        struct dev d;

        dev_init(&d, "b200");
        b.in = d.s.dev;
        hw = *d.s.dev;
        hw.ops = &bent_ops;
        hw.ctx = &b;
        d.s.dev = &hw;
        assert_true(prc_read(&d.s, 8, &v, &e) < 0);
        assert_int_equal(e.reason, REASON_FSP_STUCK);
        assert_non_null(strstr(e.msg, t[i].text));
        dev_fini(&d);
    }
}

static void
knob_words(void **state)
{
    struct err e = ERR_INIT;
    struct dev d;
    int v = 5;

    (void)state;
    dev_init(&d, "b200");
    dev_faults(&d, "invalid-knob=12 write-error=14:158");
    assert_int_equal(prc_read_opt(&d.s, 12, &v, &e), 0);
    assert_int_equal(v, -1);
    assert_int_equal(prc_read_opt(&d.s, 9, &v, &e), 0);
    assert_int_equal(v, 1);
    assert_true(prc_write(&d.s, 14, 1, &e) < 0);
    assert_int_equal(e.reason, REASON_FSP_ERROR);
    assert_non_null(strstr(e.msg, "write knob 14 (unnamed) = 1"));
    assert_non_null(strstr(e.msg, "invalid state"));
    err_clear(&e);
    dev_faults(&d, "no-reply");
    v = 5;
    assert_true(prc_read_opt(&d.s, 9, &v, &e) < 0);
    assert_int_equal(v, 5);
    assert_string_equal(prc_error_text(0x12345), "no known meaning");
    dev_fini(&d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(left_over_queue), cmocka_unit_test(queue_stays_full),
        cmocka_unit_test(bent_answers),    cmocka_unit_test(mailbox_stuck),
        cmocka_unit_test(knob_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
