/* SPDX-License-Identifier: Apache-2.0
 *
 * Configuration space of the emulated functions: headers, BARs, capabilities, power states and the
 * resets that go through it.
 */
#include "poke.h"

#include "base/cleanup.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void
test_power_and_decode(void **state)
{
    struct sim_inproc *s = poke_new("h100-pcie", 1.0);

    (void)state;
    cfg_w(s, 0x44, 2, 3);
    assert_int_equal(cfg_r(s, 0x44, 2) & 3, 3);
    assert_int_equal(sim_gpu_power(sim_inproc_gpu(s)), 3);
    assert_int_equal(cfg_r(s, 0, 2), 0x10de); /* config space answers in D3hot */
    assert_int_equal(bar_r(s, 0), 0xffffffff);
    cfg_w(s, 0x44, 2, 0);
    assert_int_equal(bar_r(s, 0), 0xffffffff); /* not yet */
    wait_ms(s, 10);
    assert_int_equal(bar_r(s, 0), 0x180000a1);

    cfg_w(s, 0x44, 2, 1); /* D1 is not supported */
    assert_int_equal(cfg_r(s, 0x44, 2) & 3, 0);
    sim_gpu_set_power(sim_inproc_gpu(s), 3);
    poke_reset(s, HW_RESET_FUNCTION); /* the kernel wakes it */
    assert_int_equal(sim_gpu_power(sim_inproc_gpu(s)), 0);

    cfg_w(s, 4, 2, 0);
    assert_int_equal(bar_r(s, 0), 0xffffffff);
    cfg_w(s, 4, 2, 2);
    assert_int_equal(bar_r(s, 0), 0x180000a1);
    sim_inproc_free(s);
}

static void
test_raw_flr(void **state)
{
    struct sim_inproc *s = poke_new("h100-sxm", 1.0);

    (void)state;
    assert_true(cfg_r(s, 0x64, 4) & 1u << 28);
    (void)poke_write_knob(s, 8, 1);
    cfg_w(s, 0x68, 2, 0x8000);
    assert_int_equal(cfg_r(s, 0, 4), 0xffff0001);
    assert_int_equal(cfg_r(s, 4, 2), 0xffff);
    cfg_w(s, 4, 2, 2); /* lost */
    wait_ms(s, 200);
    assert_int_equal(cfg_r(s, 0, 4), 0x233010de);
    assert_int_equal(cfg_r(s, 4, 2), 0);
    assert_int_equal(cfg_r(s, 0x10, 4), 0xc);
    assert_int_equal(bar_r(s, 0), 0xffffffff);
    cfg_w(s, 4, 2, 2);
    assert_int_equal(bar_r(s, 0), 0x180000a1);
    (void)poke_boot_ms(s);
    assert_int_equal(poke_state(s), 1);

    /* as one byte, and the whole dword with Device Status */
    cfg_w(s, 0x69, 1, 0x80);
    assert_int_equal(cfg_r(s, 0, 4), 0xffff0001);
    wait_ms(s, 200);
    cfg_w(s, 0x68, 4, 0x8000);
    assert_int_equal(cfg_r(s, 0, 4), 0xffff0001);
    sim_inproc_free(s);
}

static void
test_kernel_reset_keeps_config(void **state)
{
    struct sim_inproc *s = poke_new("h100-sxm", 1.0);
    uint32_t bar = cfg_r(s, 0x10, 4);
    uint64_t before = sim_inproc_now(s);

    (void)state;
    poke_reset(s, HW_RESET_FUNCTION);
    assert_in_range(sim_inproc_now(s) - before, HW_MS(100), HW_MS(101));
    assert_int_equal(cfg_r(s, 0, 4), 0x233010de);
    assert_int_equal(cfg_r(s, 0x10, 4), bar);
    assert_int_equal(cfg_r(s, 4, 2), 2);
    assert_int_equal(bar_r(s, 0x200bc), 0);
    sim_inproc_free(s);
}

static uint64_t
bar_size(struct sim_inproc *s, unsigned off)
{
    uint32_t lo = cfg_r(s, off, 4), hi = cfg_r(s, off + 4, 4);
    bool wide = (lo & 6) == 4;
    uint64_t mask;

    cfg_w(s, off, 4, 0xffffffff);
    if (wide)
        cfg_w(s, off + 4, 4, 0xffffffff);
    mask = cfg_r(s, off, 4) & ~0xfu;
    mask |= (uint64_t)(wide ? cfg_r(s, off + 4, 4) : 0xffffffff) << 32;
    cfg_w(s, off, 4, lo);
    if (wide)
        cfg_w(s, off + 4, 4, hi);
    assert_int_equal(cfg_r(s, off, 4), lo);
    return (mask & 0xffffffff) == 0 && !wide ? 0 : ~mask + 1;
}

static const char *
bar_sizes(struct sim_inproc *s, char *buf, size_t size)
{
    (void)snprintf(buf, size, "0x%" PRIx64 " 0x%" PRIx64 " 0x%" PRIx64, bar_size(s, 0x10),
                   bar_size(s, 0x18), bar_size(s, 0x20));
    return buf;
}

static const char *
want_sizes(const struct sim_model *m, char *buf, size_t size)
{
    (void)snprintf(buf, size, "0x%" PRIx64 " 0x%" PRIx64 " 0x%" PRIx64, m->bar0_size, m->bar2_size,
                   m->bar4_size);
    return buf;
}

static void
test_bars(void **state)
{
    (void)state;
    for (size_t i = 0; sim_model_at(i); i++) {
        const struct sim_model *m = sim_model_at(i);
        char text[128], want[128];
        struct sim_inproc *s;

        if (m->class_code == 0x060400)
            continue;
        s = poke_new(m->name, 0);
        assert_string_equal(bar_sizes(s, text, sizeof(text)), want_sizes(m, want, sizeof(want)));
        if (m->bar2_size)
            assert_int_equal(cfg_r(s, 0x18, 4) & 0xf, 0xc); /* 64 bit, prefetchable */
        sim_inproc_free(s);
    }
    assert_true(sim_model_find("rtxpro6000")->bar0_size == UINT64_C(64) << 20);
    assert_true(sim_model_find("h100-sxm")->bar2_size == UINT64_C(128) << 30);
}

/* Offset of a capability by walking the list as software does; 0: none. */
static unsigned
find_cap(struct sim_inproc *s, unsigned id)
{
    unsigned at = cfg_r(s, 0x34, 1);

    for (unsigned i = 0; at && i < 48; i++) {
        if (cfg_r(s, at, 1) == id)
            return at;
        at = cfg_r(s, at + 1, 1);
    }
    return 0;
}

static unsigned
find_ecap(struct sim_inproc *s, unsigned id)
{
    unsigned at = 0x100;

    for (unsigned i = 0; at && i < 64; i++) {
        uint32_t h = cfg_r(s, at, 4);

        if ((h & 0xffff) == id)
            return at;
        at = h >> 20 & 0xffc;
    }
    return 0;
}

static void
test_capabilities(void **state)
{
    static const struct {
        const char *model;
        unsigned id, at;
        bool extended;
    } rows[] = {{"h100-sxm", 0x01, 0x40, false},   {"h100-sxm", 0x05, 0x48, false},
                {"h100-sxm", 0x10, 0x60, false},   {"h100-sxm", 0x09, 0x9c, false},
                {"h100-sxm", 0x11, 0xb0, false},   {"h100-sxm", 0x18, 0x12c, true},
                {"h100-sxm", 0x15, 0x134, true},   {"h100-sxm", 0x01, 0x1b8, true},
                {"h100-sxm", 0x0b, 0x2a4, true},   {"h100-sxm", 0x04, 0x2b8, true},
                {"h100-sxm", 0x03, 0x2f0, true},   {"h100-sxm", 0x23, 0, true},
                {"b200", 0x23, 0xaf0, true},       {"b200", 0x0b, 0, true},
                {"rtxpro6000", 0x0b, 0x2a4, true}, {"rtxpro6000", 0x04, 0x2bc, true},
                {"rtxpro6000", 0x23, 0, true},     {"nvswitch", 0x10, 0x60, false},
                {"nvswitch", 0x15, 0, true},       {"nvswitch", 0x01, 0x1b8, true},
                {"audio", 0x01, 0x60, false},      {"audio", 0x10, 0x78, false},
                {"bridge", 0x10, 0x58, false},     {"usb", 0x05, 0x68, false}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct sim_inproc *s = poke_new(rows[i].model, 0);
        unsigned at = rows[i].extended ? find_ecap(s, rows[i].id) : find_cap(s, rows[i].id);

        if (at != rows[i].at)
            fail_msg("%s: capability 0x%x at 0x%x", rows[i].model, rows[i].id, at);
        sim_inproc_free(s);
    }
}

/* First bytes of an H100 SXM's config space as a user listed them, command and status aside. */
static void
test_h100_header(void **state)
{
    static const struct {
        unsigned off, width;
        uint32_t val;
    } rows[] = {{0x00, 4, 0x233010de},  {0x06, 2, 0x0010},     {0x08, 4, 0x030200a1},
                {0x0c, 4, 0},           {0x10, 4, 0x0200000c}, {0x14, 4, 0x38c0},
                {0x18, 4, 0x0000000c},  {0x1c, 4, 0x38a0},     {0x20, 4, 0x0000000c},
                {0x24, 4, 0x38c0},      {0x2c, 4, 0x16c110de}, {0x34, 1, 0x40},
                {0x40, 4, 0x00134801},  {0x44, 2, 0x0008},     {0x48, 4, 0x01886005},
                {0x2a8, 4, 0x01410001}, {0xf0, 2, 0x10de},     {0xb2, 2, 0x0008},
                {0xb4, 4, 0x00b90000},  {0xb8, 4, 0x00ba0000}, {0x138, 4, 0x00200000},
                {0x13c, 4, 0x00001122}};
    struct sim_inproc *s = poke_new("h100-sxm", 0);

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (cfg_r(s, rows[i].off, rows[i].width) != rows[i].val)
            fail_msg("config 0x%x reads 0x%x", rows[i].off, cfg_r(s, rows[i].off, rows[i].width));
    cfg_w(s, 0, 4, 0); /* read-only */
    assert_int_equal(cfg_r(s, 0, 4), 0x233010de);
    sim_inproc_free(s);
}

static void
test_plain_functions(void **state)
{
    struct sim_inproc *s = poke_new("bridge", 0);
    uint64_t block;

    (void)state;
    assert_int_equal(cfg_r(s, 0x0e, 1), 1);
    assert_int_equal(cfg_r(s, 0x0a, 2), 0x0604);
    assert_int_equal(sim_gpu_flr(sim_inproc_gpu(s), &block), ENOTTY);
    cfg_w(s, 0x3e, 1, 0x40);
    assert_int_equal(cfg_r(s, 0x3e, 1), 0x40);
    sim_inproc_free(s);
    s = poke_new("audio", 0);
    assert_int_equal(bar_r(s, 0), 0);
    assert_int_equal(sim_gpu_flr(sim_inproc_gpu(s), &block), 0);
    sim_inproc_free(s);
    assert_null(sim_model_find("voodoo2"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power_and_decode),
        cmocka_unit_test(test_raw_flr),
        cmocka_unit_test(test_kernel_reset_keeps_config),
        cmocka_unit_test(test_bars),
        cmocka_unit_test(test_capabilities),
        cmocka_unit_test(test_h100_header),
        cmocka_unit_test(test_plain_functions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
