/* SPDX-License-Identifier: Apache-2.0
 *
 * The emulated GPU, model by model: querying and setting the mode by register pokes, latching,
 * firmware exchange, NVRAM.
 */
#include "poke.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const cc_models[] = {"h100-pcie", "h100-sxm", "h200", "b200", "rtxpro6000"};

static void
test_set_and_latch(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cc_models); i++) {
        struct sim_inproc *s = poke_new(cc_models[i], 1.0);
        uint16_t v = 99;

        assert_int_equal(poke_state(s), 0);
        assert_int_equal(poke_read_knob(s, 8, &v), 0);
        assert_int_equal(v, 0);
        assert_int_equal(poke_write_knob(s, 8, 1), 0);
        assert_int_equal(poke_read_knob(s, 8, &v), 0);
        assert_int_equal(v, 1);
        assert_int_equal(sim_gpu_knob(sim_inproc_gpu(s), 8), 1);
        assert_int_equal(poke_state(s), 0); /* configured, not active */

        poke_reset(s, HW_RESET_FUNCTION);
        assert_in_range(poke_boot_ms(s), 1300, 1500);
        assert_int_equal(poke_state(s), 1);
        assert_int_equal(sim_gpu_active_cc(sim_inproc_gpu(s)), 1);

        assert_int_equal(poke_write_knob(s, 6, 1), 0);
        assert_int_equal(poke_state(s), 1);
        poke_reset(s, HW_RESET_BUS);
        (void)poke_boot_ms(s);
        assert_int_equal(poke_state(s), 3);

        assert_int_equal(poke_write_knob(s, 8, 0), 0);
        poke_reset(s, HW_RESET_FUNCTION);
        (void)poke_boot_ms(s);
        assert_int_equal(poke_state(s), 2); /* the undefined state of an interrupted change */
        sim_inproc_free(s);
    }
}

static void
test_ppcie(void **state)
{
    static const char *const models[] = {"h100-sxm", "h200", "nvswitch"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(models); i++) {
        struct sim_inproc *s = poke_new(models[i], 1.0);

        assert_int_equal(poke_write_knob(s, 45, 1), 0);
        assert_int_equal(poke_state(s), 0);
        poke_reset(s, HW_RESET_FUNCTION);
        assert_int_not_equal(poke_boot_ms(s), 0xffffffff);
        assert_int_equal(poke_state(s), 0x20);
        assert_true(sim_gpu_active_ppcie(sim_inproc_gpu(s)));
        sim_inproc_free(s);
    }
}

/* Blackwell has no PPCIe: the knob can be set and changes nothing. */
static void
test_blackwell_no_ppcie(void **state)
{
    struct sim_inproc *s = poke_new("b200", 0);

    (void)state;
    assert_int_equal(poke_write_knob(s, 45, 1), 0);
    poke_reset(s, HW_RESET_FUNCTION);
    assert_int_equal(poke_state(s), 0);
    assert_false(sim_gpu_active_ppcie(sim_inproc_gpu(s)));
    sim_inproc_free(s);
}

static void
test_boot_values(void **state)
{
    static const struct {
        const char *model;
        uint32_t boot0, boot42, recovery;
    } rows[] = {{"h100-pcie", 0x180000a1, 0x180a1000, 0x20120},
                {"h200", 0x180000a1, 0x180a1000, 0x20120},
                {"b200", 0x1a0000a1, 0x1a0a1000, 0x8aa128},
                {"rtxpro6000", 0x1b2000a1, 0x1b2a1000, 0x8aa128},
                {"nvswitch", 0x007000a1, 0, 0x66120}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct sim_inproc *s = poke_new(rows[i].model, 1.0);

        assert_int_equal(bar_r(s, 0), rows[i].boot0);
        assert_int_equal(bar_r(s, 0xa00), rows[i].boot42);
        assert_int_equal(bar_r(s, rows[i].recovery), 0);
        sim_inproc_free(s);
    }
}

static void
test_scratch(void **state)
{
    struct sim_inproc *s = poke_new("h100-sxm", 1.0);

    (void)state;
    bar_w(s, 0x1458, 1);
    bar_w(s, 0x91288, 1);
    poke_reset(s, HW_RESET_FUNCTION);
    assert_int_equal(bar_r(s, 0x1458), 0);
    assert_int_equal(bar_r(s, 0x91288), 1);
    bar_w(s, 0x1458, 1);
    poke_reset(s, HW_RESET_BUS);
    assert_int_equal(bar_r(s, 0x1458), 0);
    assert_int_equal(bar_r(s, 0x91288), 0);
    sim_inproc_free(s);

    s = poke_new("nvswitch", 1.0);
    bar_w(s, 0xdfe0, 7);
    assert_int_equal(bar_r(s, 0xdfe0), 7);
    poke_reset(s, HW_RESET_FUNCTION);
    assert_int_equal(bar_r(s, 0xdfe0), 0);
    sim_inproc_free(s);
}

static void
test_latency(void **state)
{
    static const uint32_t body[] = {0x1310de7e, 0x0008020c};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cc_models); i++) {
        struct sim_inproc *s = poke_new(cc_models[i], 1.0);

        assert_in_range(poke_fsp(s, body, 2).took_ns, HW_MS(10), HW_MS(12));
        sim_inproc_free(s);
        s = poke_new(cc_models[i], 0);
        assert_true(poke_fsp(s, body, 2).took_ns < HW_MS(1));
        poke_reset(s, HW_RESET_FUNCTION);
        assert_int_equal(poke_boot_ms(s), 0);
        sim_inproc_free(s);
    }
}

static void
test_firewall(void **state)
{
    static const struct {
        const char *model;
        uint32_t off, bit;
    } rows[] = {{"b200", 0xaf8, 1u << 20}, {"rtxpro6000", 0x2b8, 1u << 24}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct sim_inproc *s = poke_new(rows[i].model, 1.0);

        assert_int_equal(cfg_r(s, rows[i].off, 4) & rows[i].bit, 0);
        poke_reset(s, HW_RESET_FUNCTION);
        assert_int_equal(cfg_r(s, rows[i].off, 4) & rows[i].bit, rows[i].bit);
        assert_int_equal(bar_r(s, 0), 0xffffffff);
        bar_w(s, 0x8f1f84, 0x0010000c); /* lost */
        wait_ms(s, 500);
        assert_int_equal(cfg_r(s, rows[i].off, 4) & rows[i].bit, 0);
        assert_int_not_equal(bar_r(s, 0), 0xffffffff);
        assert_int_equal(bar_r(s, 0x8f1f84), 0x05000000);
        sim_inproc_free(s);
    }
}

/* A command sent while the GPU boots is answered when it has booted. */
static void
test_fsp_waits_for_boot(void **state)
{
    static const uint32_t body[] = {0x1310de7e, 0x0008020c};
    struct sim_inproc *s = poke_new("h100-sxm", 1.0);
    struct poke_reply r;

    (void)state;
    (void)poke_write_knob(s, 8, 1);
    poke_reset(s, HW_RESET_FUNCTION);
    assert_int_equal(poke_state(s), 0); /* nothing to see before the boot */
    r = poke_fsp(s, body, 2);
    assert_int_equal(r.n, 6);
    assert_in_range(r.took_ns, HW_MS(1400), HW_MS(1420));
    sim_inproc_free(s);
}

/* The state registers carry other bits too, and CC mode hides what is not on the list. */
static void
test_noise_and_decoupler(void **state)
{
    struct sim_inproc *s = poke_new("h100-sxm", 0);

    (void)state;
    assert_int_not_equal(bar_r(s, 0x1182cc), 0);
    assert_int_equal(bar_r(s, 0x8f0334), 0);
    (void)poke_write_knob(s, 10, 2);
    (void)poke_write_knob(s, 8, 1);
    poke_reset(s, HW_RESET_FUNCTION);
    assert_int_not_equal(bar_r(s, 0x1182cc), 1);
    assert_int_equal(bar_r(s, 0x8f0334), 0xbadf5108);
    assert_int_equal(poke_write_knob(s, 8, 0), 0); /* switching off still works */
    sim_inproc_free(s);
    s = poke_new("b200", 0);
    (void)poke_write_knob(s, 10, 2);
    poke_reset(s, HW_RESET_FUNCTION);
    assert_int_equal(bar_r(s, 0x590) & 7, 4);
    assert_int_not_equal(bar_r(s, 0x590), 4);
    sim_inproc_free(s);
}

static void
test_inband_permission(void **state)
{
    struct sim_inproc *s = poke_new("h100-sxm", 0);
    uint16_t v = 0;

    (void)state;
    sim_gpu_set_knob(sim_inproc_gpu(s), 7, 0);
    assert_int_not_equal(poke_write_knob(s, 8, 1), 0);
    assert_int_equal(sim_gpu_knob(sim_inproc_gpu(s), 8), 0);
    assert_int_not_equal(poke_write_knob(s, 7, 1), 0); /* no self-service */
    assert_int_equal(poke_read_knob(s, 8, &v), 0);
    assert_int_equal(poke_write_knob(s, 6, 1), 0);
    assert_int_equal(poke_read_knob(s, 0, &v), 0x1e3);
    assert_int_equal(poke_read_knob(s, 48, &v), 0x1e3);
    sim_inproc_free(s);
}

/* Messages the firmware does not like. */
static void
test_fsp_nonsense(void **state)
{
    static const struct {
        unsigned n;
        uint32_t body[4];
        uint32_t error; /* 0xffffffff: no reply */
    } rows[] = {{1, {0x1310de7e}, 0xa0},
                {2, {0x1410de7e, 0x0008020c}, 0xa0},
                {2, {0x1310de7e, 0x000802ff}, 0xa0},
                {2, {0x1310de7d, 0x0008020c}, 0xffffffff},
                {2, {0x1310de7e, 0x0008040c}, 0xa1},
                {2, {0x1310de7e, 0x0008020d}, 0xa1},
                {3, {0x1310de7e, 0x0008020d, 0x10000}, 0xa1},
                {3, {0x1310de7e, 0x0008020c, 0}, 0xa1}};
    static const char *const models[] = {"h100-sxm", "b200"};

    (void)state;
    for (size_t m = 0; m < ARRAY_SIZE(models); m++)
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
            struct sim_inproc *s = poke_new(models[m], 0);
            struct poke_reply r = poke_fsp(s, rows[i].body, rows[i].n);

            assert_int_equal(r.n ? r.w[4] : 0xffffffff, rows[i].error);
            sim_inproc_free(s);
        }
}

/* A command in two packets, and one whose second packet is out of order. */
static void
test_two_packets(void **state)
{
    static const struct {
        uint32_t second;
        bool answered;
    } rows[] = {{0x50000000, true}, {0x60000000, false}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct sim_inproc *s = poke_new("h100-sxm", 0);

        bar_w(s, 0x8f2ad0, 0x03000800);
        bar_w(s, 0x8f2ad4, 0x80000000);
        bar_w(s, 0x8f2ad4, 0x1310de7e);
        bar_w(s, 0x8f2c14, 0x804);
        bar_w(s, 0x8f2c10, 0x800);
        assert_int_equal(bar_r(s, 0x8f2c14), 0x800);
        bar_w(s, 0x8f2ad0, 0x03000800);
        bar_w(s, 0x8f2ad4, rows[i].second);
        bar_w(s, 0x8f2ad4, 0x0008020c);
        bar_w(s, 0x8f2c14, 0x804);
        bar_w(s, 0x8f2c10, 0x800);
        assert_int_equal(bar_r(s, 0x8f2c94) != bar_r(s, 0x8f2c90), rows[i].answered);
        sim_inproc_free(s);
    }
}

static uint64_t
fixed_clock(void *ctx)
{
    (void)ctx;
    return 0;
}

static struct sim_gpu *
gpu_with_nvram(const char *path)
{
    struct sim_gpu *g = NULL;
    struct err e = ERR_INIT;
    struct sim_gpu_params p = {.model = sim_model_find("h100-sxm"),
                               .now_ns = fixed_clock,
                               .nvram_path = path,
                               .booted = true};

    if (sim_gpu_new(&p, &g, &e) < 0)
        fail_msg("%s", e.msg);
    return g;
}

static void
test_nvram(void **state)
{
    char dir[] = "/tmp/pgpu-nvram-XXXXXX", path[64];
    struct sim_gpu *g;
    struct err e = ERR_INIT;
    struct sim_gpu_params p = {.model = sim_model_find("h100-sxm"), .now_ns = fixed_clock};
    FILE *f;

    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/0000:41:00.0.nvram", dir);
    g = gpu_with_nvram(path);
    assert_int_equal(sim_gpu_knob(g, 7), 1);
    assert_int_not_equal(access(path, F_OK), 0); /* nothing written before a change */
    sim_gpu_set_knob(g, 8, 1);
    sim_gpu_set_knob(g, 10, 2);
    sim_gpu_free(g);
    g = gpu_with_nvram(path);
    assert_int_equal(sim_gpu_knob(g, 8), 1);
    assert_int_equal(sim_gpu_knob(g, 10), 2);
    assert_int_equal(sim_gpu_active_cc(g), 1); /* a power-up latches too */
    sim_gpu_free(g);

    f = fopen(path, "w");
    assert_non_null(f);
    (void)fputs("pgpu-sim nvram 1\n8 0x10000\n", f);
    (void)fclose(f);
    p.nvram_path = path;
    assert_int_equal(sim_gpu_new(&p, &g, &e), -EBADMSG);
    assert_non_null(strstr(e.msg, path));
    assert_int_equal(e.cls, ERR_CLASS_INVALID);
    (void)unlink(path);
    (void)rmdir(dir);

    /* the directory is gone: the change fails as a whole */
    p.nvram_path = path;
    assert_int_equal(sim_gpu_new(&p, &g, &e), 0);
    sim_gpu_set_knob(g, 8, 1);
    assert_int_equal(sim_gpu_knob(g, 8), 0);
    sim_gpu_free(g);
}

static void
test_params(void **state)
{
    struct sim_gpu *g = NULL;
    struct sim_inproc *s = NULL;
    struct err e = ERR_INIT;
    struct sim_gpu_params p = {
        .model = sim_model_find("b200"), .now_ns = fixed_clock, .time_scale = -1};

    (void)state;
    assert_int_equal(sim_gpu_new(&p, &g, &e), -ERANGE);
    assert_int_equal(sim_inproc_new("voodoo2", 0, &s, &e), -EINVAL);
    assert_null(s);
    p.time_scale = 1;
    assert_int_equal(sim_gpu_new(&p, &g, &e), 0);
    assert_int_equal(sim_gpu_bar_read(g, 0), 0xffffffff); /* just powered up, firewall */
    sim_gpu_free(g);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_and_latch),
        cmocka_unit_test(test_ppcie),
        cmocka_unit_test(test_blackwell_no_ppcie),
        cmocka_unit_test(test_boot_values),
        cmocka_unit_test(test_scratch),
        cmocka_unit_test(test_latency),
        cmocka_unit_test(test_firewall),
        cmocka_unit_test(test_fsp_waits_for_boot),
        cmocka_unit_test(test_noise_and_decoupler),
        cmocka_unit_test(test_inband_permission),
        cmocka_unit_test(test_fsp_nonsense),
        cmocka_unit_test(test_two_packets),
        cmocka_unit_test(test_nvram),
        cmocka_unit_test(test_params),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
