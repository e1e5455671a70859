/* SPDX-License-Identifier: Apache-2.0
 *
 * Every fault of the emulated GPU shows, on both transports where it concerns the firmware, and
 * goes away when cleared.
 */
#include "poke.h"

#include "base/cleanup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const uint32_t read8[] = {0x1310de7e, 0x0008020c};
static const char *const both[] = {"h100-sxm", "b200"}; /* EMEM, MNOC */

static void
firmware_fault(const char *spec, void (*check)(struct sim_inproc *s))
{
    for (size_t i = 0; i < ARRAY_SIZE(both); i++) {
        struct sim_inproc *s = poke_new(both[i], 1.0);

        poke_fault(s, spec);
        check(s);
        sim_inproc_free(s);
    }
}

static void
check_invalid_knob(struct sim_inproc *s)
{
    uint16_t v = 0;

    assert_int_equal(poke_read_knob(s, 45, &v), 0x1e3);
    assert_int_equal(poke_write_knob(s, 45, 1), 0x1e3);
    assert_int_equal(poke_read_knob(s, 8, &v), 0);
    poke_fault(s, "invalid-knob=44"); /* adds to the first */
    assert_int_equal(poke_read_knob(s, 44, &v), 0x1e3);
    assert_int_equal(poke_read_knob(s, 45, &v), 0x1e3);
    poke_fault(s, "clear");
    assert_int_equal(poke_read_knob(s, 45, &v), 0);
}

static void
check_write_error(struct sim_inproc *s)
{
    assert_int_equal(poke_write_knob(s, 8, 1), 0x77);
    assert_int_equal(sim_gpu_knob(sim_inproc_gpu(s), 8), 0);
    assert_int_equal(poke_write_knob(s, 10, 2), 0);
    poke_fault(s, "write-error=10");
    assert_int_equal(poke_write_knob(s, 10, 0), 0x1e5);
    assert_int_equal(sim_gpu_knob(sim_inproc_gpu(s), 10), 2);
}

static void
check_write_refused(struct sim_inproc *s)
{
    assert_int_equal(poke_write_knob(s, 8, 1), 0x9e);
    assert_int_equal(sim_gpu_knob(sim_inproc_gpu(s), 8), 0);
    assert_int_equal(poke_write_knob(s, 6, 1), 0);
}

static void
check_write_ignored(struct sim_inproc *s)
{
    uint16_t v = 9;

    assert_int_equal(poke_write_knob(s, 8, 1), 0);
    assert_int_equal(poke_read_knob(s, 8, &v), 0);
    assert_int_equal(v, 0);
}

static void
check_inband_locked(struct sim_inproc *s)
{
    uint16_t v = 9;

    assert_int_equal(poke_read_knob(s, 7, &v), 0);
    assert_int_equal(v, 0);
    assert_int_not_equal(poke_write_knob(s, 8, 1), 0);
    assert_int_not_equal(poke_write_knob(s, 7, 1), 0);
    assert_int_equal(poke_write_knob(s, 6, 1), 0);
    poke_fault(s, "clear");
    assert_int_equal(poke_write_knob(s, 8, 1), 0);
}

static void
check_fsp_error(struct sim_inproc *s)
{
    uint16_t v;

    assert_int_equal(poke_read_knob(s, 8, &v), 0x202);
    assert_int_equal(poke_write_knob(s, 8, 1), 0x202);
    assert_int_equal(sim_gpu_knob(sim_inproc_gpu(s), 8), 0);
    poke_fault(s, "fsp-error=0xa0");
    assert_int_equal(poke_read_knob(s, 8, &v), 0xa0);
}

static void
check_no_reply(struct sim_inproc *s)
{
    assert_int_equal(poke_write_knob(s, 8, 1), 0xffffffff);
    assert_int_equal(sim_gpu_knob(sim_inproc_gpu(s), 8), 0);
    poke_fault(s, "clear");
    assert_int_equal(poke_write_knob(s, 8, 1), 0); /* the queue was not stuck */
}

static void
check_lost_reply(struct sim_inproc *s)
{
    assert_int_equal(poke_write_knob(s, 8, 1), 0xffffffff);
    assert_int_equal(sim_gpu_knob(sim_inproc_gpu(s), 8), 1);
}

static void
check_no_consume(struct sim_inproc *s)
{
    bool emem = sim_gpu_model(sim_inproc_gpu(s))->kind == SIM_GPU_HOPPER;

    assert_int_equal(poke_write_knob(s, 8, 1), 0xffffffff);
    assert_int_equal(sim_gpu_knob(sim_inproc_gpu(s), 8), 0);
    poke_fault(s, "clear");
    if (emem) {
        assert_int_equal(bar_r(s, 0x8f2c10), 0x800);
        assert_int_equal(bar_r(s, 0x8f2c14), 0x80c);
    } else {
        assert_int_equal(bar_r(s, 0x8f1f84) & 1u << 24, 0);
    }
    poke_reset(s, HW_RESET_FUNCTION); /* cures the queue */
    (void)poke_boot_ms(s);
    assert_int_equal(poke_write_knob(s, 8, 1), 0);
}

static void
check_stale_reply(struct sim_inproc *s)
{
    bool emem = sim_gpu_model(sim_inproc_gpu(s))->kind == SIM_GPU_HOPPER;

    for (int i = 0; i < 2; i++) {
        if (emem)
            assert_int_equal(bar_r(s, 0x8f2c94) - bar_r(s, 0x8f2c90), 0x14);
        else
            assert_int_equal(bar_r(s, 0x8f1f04), 0x01000018);
        poke_reset(s, HW_RESET_FUNCTION);
        (void)poke_boot_ms(s);
    }
    poke_fault(s, "clear");
    poke_reset(s, HW_RESET_FUNCTION);
    (void)poke_boot_ms(s);
    assert_int_equal(emem ? bar_r(s, 0x8f2c94) - bar_r(s, 0x8f2c90) : bar_r(s, 0x8f1f04), 0);
}

static void
check_slow_reply(struct sim_inproc *s)
{
    struct poke_reply r = poke_fsp(s, read8, 2);

    assert_int_equal(r.n, 6);
    assert_in_range(r.took_ns, HW_MS(710), HW_MS(715));
}

static void
check_wrong_type(struct sim_inproc *s)
{
    struct poke_reply r = poke_fsp(s, read8, 2);

    assert_int_equal(r.n, 6);
    assert_int_not_equal(r.w[1] >> 24, 0x15);
}

static void
check_wrong_echo(struct sim_inproc *s)
{
    struct poke_reply r = poke_fsp(s, read8, 2);

    assert_int_equal(r.w[1], 0x1510de7e);
    assert_int_not_equal(r.w[3], 0x13);
}

static void
check_wrong_length(struct sim_inproc *s)
{
    assert_int_equal(poke_fsp(s, read8, 2).n, 7);
}

static void
check_short_reply(struct sim_inproc *s)
{
    assert_int_equal(poke_fsp(s, read8, 2).n, 3);
}

static void
test_firmware_faults(void **state)
{
    static const struct {
        const char *spec;
        void (*check)(struct sim_inproc *s);
    } rows[] = {{"invalid-knob=45", check_invalid_knob},
                {"write-error=8:0x77", check_write_error},
                {"write-refused=8", check_write_refused},
                {"write-ignored=8", check_write_ignored},
                {"inband-locked=8", check_inband_locked},
                {"fsp-error", check_fsp_error},
                {"no-reply", check_no_reply},
                {"lost-reply", check_lost_reply},
                {"no-consume", check_no_consume},
                {"stale-reply", check_stale_reply},
                {"slow-reply=700", check_slow_reply},
                {"wrong-type", check_wrong_type},
                {"wrong-echo", check_wrong_echo},
                {"wrong-length", check_wrong_length},
                {"short-reply", check_short_reply}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        firmware_fault(rows[i].spec, rows[i].check);
}

static void
test_boot_faults(void **state)
{
    struct sim_inproc *s = poke_new("h100-sxm", 1.0);

    (void)state;
    poke_fault(s, "boot-never");
    assert_int_equal(poke_boot_ms(s), 0); /* it is running; the next boot fails */
    poke_reset(s, HW_RESET_FUNCTION);
    assert_int_equal(poke_boot_ms(s), 0xffffffff);
    assert_int_equal(poke_fsp(s, read8, 2).n, 0);
    poke_fault(s, "clear");
    assert_int_equal(poke_boot_ms(s), 0xffffffff);
    poke_reset(s, HW_RESET_FUNCTION);
    assert_int_not_equal(poke_boot_ms(s), 0xffffffff);

    poke_fault(s, "boot-needs-second-reset");
    poke_reset(s, HW_RESET_FUNCTION);
    assert_int_equal(poke_boot_ms(s), 0xffffffff);
    poke_reset(s, HW_RESET_FUNCTION);
    assert_int_not_equal(poke_boot_ms(s), 0xffffffff);
    sim_inproc_free(s);
}

static void
test_mode_not_latched(void **state)
{
    struct sim_inproc *s = poke_new("b200", 1.0);

    (void)state;
    poke_fault(s, "mode-not-latched");
    assert_int_equal(poke_write_knob(s, 8, 1), 0);
    poke_reset(s, HW_RESET_FUNCTION);
    (void)poke_boot_ms(s);
    assert_int_equal(poke_state(s), 0);
    poke_fault(s, "clear");
    poke_reset(s, HW_RESET_FUNCTION);
    (void)poke_boot_ms(s);
    assert_int_equal(poke_state(s), 1);
    sim_inproc_free(s);
}

static void
test_firewall_stuck(void **state)
{
    struct sim_inproc *s = poke_new("rtxpro6000", 1.0);

    (void)state;
    poke_fault(s, "firewall-stuck");
    poke_reset(s, HW_RESET_FUNCTION);
    wait_ms(s, 60000);
    assert_int_equal(bar_r(s, 0), 0xffffffff);
    assert_int_equal(cfg_r(s, 0x2b8, 4), 1u << 24);
    sim_inproc_free(s);
}

static void
test_recovery_and_sec_fault(void **state)
{
    static const struct {
        const char *model;
        uint32_t recovery, value, sec_fault;
    } rows[] = {{"h100-sxm", 0x20120, 1u << 30, 0x2b4},
                {"b200", 0x8aa128, 2, 0xb04},
                {"rtxpro6000", 0x8aa128, 2, 0x2b4},
                {"nvswitch", 0x66120, 1u << 30, 0x2b4}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct sim_inproc *s = poke_new(rows[i].model, 1.0);

        assert_int_equal(cfg_r(s, rows[i].sec_fault, 4), 0);
        poke_fault(s, "recovery-mode");
        assert_int_equal(bar_r(s, rows[i].recovery), rows[i].value);
        assert_int_equal(poke_boot_ms(s), 0xffffffff);
        assert_int_equal(poke_fsp(s, read8, 2).n, 0);
        poke_fault(s, "sec-fault");
        assert_int_equal(bar_r(s, 0), 0xbadf0200);
        assert_int_not_equal(cfg_r(s, rows[i].sec_fault, 4), 0);
        sim_inproc_free(s);
    }
}

static void
test_power_faults(void **state)
{
    struct sim_inproc *s = poke_new("h100-sxm", 1.0);
    struct sim_gpu *g = sim_inproc_gpu(s);

    (void)state;
    poke_fault(s, "d3hot-start");
    assert_int_equal(sim_gpu_power(g), 3);
    assert_int_equal(bar_r(s, 0), 0xffffffff);
    sim_gpu_set_power(g, 0);
    assert_int_equal(bar_r(s, 0), 0x180000a1);

    poke_fault(s, "d3cold");
    sim_gpu_set_power(g, 0);
    assert_int_equal(sim_gpu_power(g), 4);
    assert_int_equal(cfg_r(s, 0, 2), 0xffff);
    assert_int_equal(cfg_r(s, 0x34, 1), 0xff);
    assert_int_equal(bar_r(s, 0), 0xffffffff);
    poke_fault(s, "clear");
    assert_int_equal(cfg_r(s, 0, 2), 0x10de);

    poke_fault(s, "off-bus");
    assert_int_equal(cfg_r(s, 0, 4), 0xffffffff);
    bar_w(s, 0x91288, 1);
    poke_fault(s, "clear");
    assert_int_equal(bar_r(s, 0x91288), 0);
    sim_inproc_free(s);
}

static void
test_dead_bar(void **state)
{
    struct sim_inproc *s = poke_new("h100-sxm", 1.0);

    (void)state;
    poke_fault(s, "all-ones");
    assert_int_equal(bar_r(s, 0x200bc), 0xffffffff);
    assert_int_equal(cfg_r(s, 0, 2), 0x10de);
    poke_fault(s, "clear");
    poke_fault(s, "badf");
    assert_int_equal(bar_r(s, 0x200bc) >> 16, 0xbadf);
    poke_fault(s, "clear");

    poke_fault(s, "all-ones-after-reset");
    assert_int_equal(bar_r(s, 0x200bc), 0xff);
    poke_reset(s, HW_RESET_FUNCTION);
    assert_int_equal(bar_r(s, 0), 0xffffffff);
    poke_reset(s, HW_RESET_BUS);
    assert_int_equal(bar_r(s, 0), 0xffffffff);
    poke_fault(s, "clear");
    poke_reset(s, HW_RESET_FUNCTION);
    assert_int_equal(bar_r(s, 0), 0x180000a1);

    poke_fault(s, "sbr-only-recovery");
    poke_reset(s, HW_RESET_FUNCTION);
    assert_int_equal(bar_r(s, 0), 0xffffffff);
    poke_reset(s, HW_RESET_BUS);
    assert_int_equal(bar_r(s, 0), 0x180000a1);
    sim_inproc_free(s);
}

static void
test_reset_faults(void **state)
{
    struct sim_inproc *s = poke_new("h100-sxm", 1.0);
    struct sim_gpu *g = sim_inproc_gpu(s);
    const struct hw_dev *hw = sim_inproc_hw(s);
    struct err e = ERR_INIT;
    uint64_t block = 0;

    (void)state;
    poke_fault(s, "reset-fail=flr");
    assert_int_equal(sim_gpu_flr(g, &block), ENOTTY);
    assert_int_equal(bar_r(s, 0x200bc), 0xff); /* nothing happened */
    assert_int_equal(sim_gpu_bus_reset(g, &block), 0);
    poke_fault(s, "reset-fail");
    assert_int_equal(sim_gpu_bus_reset(g, &block), ENOTTY);
    assert_int_equal(hw->ops->reset(hw->ctx, HW_RESET_FUNCTION, &e), -ENOTTY);
    assert_int_equal(e.reason, REASON_RESET_FAILED);
    poke_fault(s, "clear");

    poke_fault(s, "reset-hang=bus");
    assert_int_equal(sim_gpu_flr(g, &block), 0);
    assert_true(block != UINT64_MAX);
    (void)sim_gpu_bus_reset(g, &block);
    assert_true(block == UINT64_MAX);
    assert_int_equal(hw->ops->reset(hw->ctx, HW_RESET_BUS, &e), -ETIMEDOUT);
    assert_int_equal(e.reason, REASON_STUCK);
    poke_fault(s, "clear");

    poke_fault(s, "off-bus");
    assert_int_equal(sim_gpu_flr(g, &block), ENOTTY);
    assert_true(block == HW_MS(70800)); /* the kernel waits for long before it gives up */
    sim_inproc_free(s);
}

static void
test_specifications(void **state)
{
    static const char *const bad[] = {"",
                                      "no-such",
                                      "no-reply=1",
                                      "invalid-knob",
                                      "invalid-knob=",
                                      "clear=1",
                                      "invalid-knob=0",
                                      "invalid-knob=48",
                                      "invalid-knob=x",
                                      "invalid-knob=8:1",
                                      "slow-reply",
                                      "slow-reply=-1",
                                      "slow-reply=1s",
                                      "write-error=8:0",
                                      "write-error=8:",
                                      "write-error=8:0x10000",
                                      "reset-fail=pm",
                                      "fsp-error=70000",
                                      "no-repl",
                                      "no-replyy"};
    struct sim_inproc *s = poke_new("h100-sxm", 1.0);
    uint16_t v = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct err e = ERR_INIT;

        if (sim_gpu_fault(sim_inproc_gpu(s), bad[i], &e) != -EINVAL)
            fail_msg("\"%s\" was accepted", bad[i]);
        assert_int_equal(e.cls, ERR_CLASS_INVALID);
        assert_non_null(strstr(e.msg, bad[i]));
    }
    assert_int_equal(poke_read_knob(s, 8, &v), 0); /* none of them did anything */
    for (size_t i = 0; sim_gpu_fault_name(i, NULL); i++) {
        const char *help = NULL;
        struct err e = ERR_INIT;

        assert_non_null(sim_gpu_fault_name(i, &help));
        assert_true(help && strlen(help) > 10);
        /* the error for an unknown name lists it */
        (void)sim_gpu_fault(sim_inproc_gpu(s), "no-such", &e);
        if (!strstr(e.msg, sim_gpu_fault_name(i, NULL)))
            fail_msg("%s is not in: %s", sim_gpu_fault_name(i, NULL), e.msg);
    }
    sim_inproc_free(s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_firmware_faults),
        cmocka_unit_test(test_boot_faults),
        cmocka_unit_test(test_mode_not_latched),
        cmocka_unit_test(test_firewall_stuck),
        cmocka_unit_test(test_recovery_and_sec_fault),
        cmocka_unit_test(test_power_faults),
        cmocka_unit_test(test_dead_bar),
        cmocka_unit_test(test_reset_faults),
        cmocka_unit_test(test_specifications),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
