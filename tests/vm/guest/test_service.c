/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpu-hwd on the real kernel: operations, users, kernel events by libudev, hot-plug, an unbind
 * that blocks. Periodic scans are an hour apart here: whatever is noticed was told by an event.
 */
#include "tests/sim/hwd/kit.h"
#include "tests/vm/guest/fn.h"
#include "tests/vm/guest/host.h"
#include "tests/vm/guest/vmm.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define VFIO "vfio-pci"
#define LONG_MS 120000

/* gpu2 is another program's. */
#define YAML                                                                                       \
    "vfio_node: group\nrescan: 1h\nexclude: [\"0000:03:00.0\"]\nclaim: [unbound, vfio, "           \
    "pci-stub]\n"

static struct kit *k;
static struct client *c;

static int
setup(void **state)
{
    (void)state;
    k = kit_start_real(YAML);
    c = client_open(k);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    client_close(c);
    kit_stop(k);
    return 0;
}

static bool
listed(const char *unit)
{
    struct pci_addr a = kit_addr(unit);

    for (unsigned i = 0; i < c->n; i++)
        if (pci_addr_cmp(c->f[i].unit, a) == 0)
            return true;
    return false;
}

static void
wait_listed(const char *unit)
{
    uint64_t end = kit_now_ms() + LONG_MS * 2;

    while (!listed(unit)) {
        if (kit_now_ms() > end)
            fail_msg("no facts of %s", unit);
        (void)client_pump(c, 50);
    }
}

static void
wait_gone(unsigned count)
{
    uint64_t end = kit_now_ms() + LONG_MS * 2;

    while (c->gone < count) {
        if (kit_now_ms() > end)
            fail_msg("%u units went, not %u", c->gone, count);
        (void)client_pump(c, 50);
    }
}

static void
wait_driver(const char *unit, const char *driver)
{
    uint64_t end = kit_now_ms() + LONG_MS;

    while (strcmp(client_facts(c, unit)->driver, driver) != 0) {
        if (kit_now_ms() > end)
            fail_msg("facts of %s name the driver \"%s\", not \"%s\"", unit,
                     client_facts(c, unit)->driver, driver);
        (void)client_pump(c, 50);
    }
}

static void
give_back(const char *unit)
{
    assert_ok(client_do(c, HWD_OP_GIVE_BACK, unit, 0, 0));
    assert_string_equal(fn_attr(unit, "driver_override"), "(null)");
}

/* ---- operations ---- */

static void
prepare_arms_a_gpu_with_its_companion_and_holds_the_group(void **state)
{
    const char *gpu = vm_addr("gpu0");
    uint64_t resets = vm_count("gpu0", "resets");
    struct hwd_message m;
    struct vmm v;

    (void)state;
    assert_string_equal(client_facts(c, gpu)->chip, "gh100");
    m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0);
    assert_ok(m);
    assert_int_equal(m.facts.mode_active, CC_MODE_ON);
    assert_int_equal(m.facts.mode_configured, CC_MODE_ON);
    assert_int_equal(m.facts.use, HWD_USE_OURS);
    assert_true(m.facts.flags & HWD_FACT_ARMED);
    assert_string_equal(fn_driver(gpu), VFIO);
    assert_string_equal(fn_driver("0000:01:00.1"), VFIO);
    assert_int_equal(vm_count("gpu0", "resets"), resets + m.evidence.resets);
    assert_int_equal(m.evidence.resets, 1);
    assert_int_equal(vmm_try(&v, gpu), EBUSY);
    assert_int_equal(m.facts.cdev, -1);
    assert_int_equal(strncmp(m.facts.node, "/dev/vfio/", 10), 0);
    assert_true(m.facts.node_major > 0);
    give_back(gpu);
    assert_string_equal(fn_driver(gpu), "");
    assert_string_equal(fn_driver("0000:01:00.1"), "");
}

static void
handover_lets_a_real_vmm_in_and_sees_it_come_and_go(void **state)
{
    const char *gpu = vm_addr("gpu0");
    const struct hwd_facts *f;
    struct hwd_message m;
    struct vmm v;
    char pid[32];

    (void)state;
    assert_ok(client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0));
    m = client_do(c, HWD_OP_HANDOVER, gpu, CC_MODE_ON, 0);
    assert_ok(m);
    assert_int_equal(m.facts.flags & (HWD_FACT_ARMED | HWD_FACT_HANDED_OVER | HWD_FACT_OPENED),
                     HWD_FACT_HANDED_OVER);
    vmm_open(&v, gpu);
    assert_int_equal(vmm_bar0(&v, 0), 0x180000a1);
    (void)client_wait(c, gpu, HWD_FACT_OPENED, HWD_FACT_OPENED, HWD_USE_HELD, LONG_MS);
    for (uint64_t end = kit_now_ms() + LONG_MS;
         !client_facts(c, gpu)->holder_pid && kit_now_ms() < end;)
        (void)client_pump(c, 50);
    f = client_facts(c, gpu);
    assert_int_equal(f->holder_pid, getpid());
    assert_string_equal(f->holder_comm, "test_service");
    /* nothing touches it now */
    m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0);
    assert_refused(m, REASON_IN_USE);
    (void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
    assert_non_null(strstr(m.text, pid));
    assert_refused(client_do(c, HWD_OP_RESET, gpu, 0, 0), REASON_IN_USE);
    assert_refused(client_do(c, HWD_OP_GIVE_BACK, gpu, 0, 0), REASON_IN_USE);
    vmm_close(&v);
    (void)client_wait(c, gpu, HWD_FACT_OPENED, HWD_FACT_OPENED, HWD_USE_FREE, LONG_MS);
    m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0);
    assert_ok(m);
    assert_int_equal(m.facts.flags & (HWD_FACT_HANDED_OVER | HWD_FACT_OPENED), 0);
    give_back(gpu);
}

static void
every_rung_of_the_ladder_is_climbed_for_real(void **state)
{
    const char *gpu = vm_addr("gpu1");

    (void)state;
    for (uint32_t rung = 0; rung <= HWD_RUNG_REMOVE_RESCAN; rung++) {
        uint64_t all, bus;
        struct hwd_message m;

        assert_ok(client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0));
        all = vm_count("gpu1", "resets");
        bus = vm_count("gpu1", "bus-resets");
        m = client_result(c, client_send(c, HWD_OP_RESET, gpu, 0, 0, rung, 0), LONG_MS);
        assert_ok(m);
        assert_int_equal(m.evidence.reset_rung, rung);
        assert_int_equal(m.facts.use, HWD_USE_FREE);
        assert_int_equal(!!(m.facts.flags & HWD_FACT_BOUND), rung != HWD_RUNG_REMOVE_RESCAN);
        if (rung == HWD_RUNG_FUNCTION)
            assert_int_equal(vm_count("gpu1", "bus-resets"), bus);
        if (rung == HWD_RUNG_BUS)
            assert_int_equal(vm_count("gpu1", "bus-resets"), bus + 1);
        if (rung != HWD_RUNG_REMOVE_RESCAN)
            assert_int_equal(vm_count("gpu1", "resets"), all + 1);
    }
    assert_ok(client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0));
    give_back(gpu);
}

static void
a_boot_that_only_a_bus_reset_helps_gets_one(void **state)
{
    const char *gpu = vm_addr("gpu1");
    uint64_t bus = vm_count("gpu1", "bus-resets");
    struct hwd_message m;

    (void)state;
    free(vm_host("ctl fault gpu1 sbr-only-recovery"));
    m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0);
    free(vm_host("ctl fault gpu1 clear"));
    assert_ok(m);
    assert_int_equal(m.evidence.reset_rung, HWD_RUNG_BUS);
    assert_int_equal(vm_count("gpu1", "bus-resets"), bus + 1);
    give_back(gpu);
}

static void
a_host_driver_gets_its_gpu_back_even_after_a_crash_of_the_service(void **state)
{
    const char *gpu = vm_addr("gpu1");
    struct hwd_message m;
    char out[256];

    (void)state;
    (void)vm_run(out, sizeof(out), "modprobe pci-stub");
    fn_write(gpu, "driver_override", "pci-stub");
    fn_bus_write("drivers/pci-stub/bind", gpu);
    wait_driver(gpu, "pci-stub"); /* told by an event */
    m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0);
    assert_ok(m);
    assert_string_equal(m.facts.former_driver, "pci-stub");
    (void)kit_end_hwd(k, SIGKILL);
    client_close(c);
    kit_start_hwd(k, YAML);
    c = client_open(k);
    assert_string_equal(client_facts(c, gpu)->former_driver, "pci-stub");
    assert_int_equal(client_facts(c, gpu)->flags & HWD_FACT_ARMED, 0);
    /* pci-stub knows no device by itself: it takes what is overridden to it, or was told to it */
    fn_bus_write("drivers/pci-stub/new_id", "10de 2330");
    m = client_do(c, HWD_OP_GIVE_BACK, gpu, 0, 0);
    fn_bus_write("drivers/pci-stub/remove_id", "10de 2330");
    assert_ok(m);
    assert_string_equal(fn_driver(gpu), "pci-stub");
    fn_release(gpu);
    wait_driver(gpu, "");
}

/* ---- kernel events ---- */

static void
foreign_binds_and_unbinds_are_noticed_without_a_periodic_scan(void **state)
{
    const char *gpu = vm_addr("gpu1");

    (void)state;
    fn_write(gpu, "driver_override", VFIO); /* makes no event */
    fn_bus_write("drivers/vfio-pci/bind", gpu);
    (void)client_wait(c, gpu, HWD_FACT_BOUND, HWD_FACT_BOUND, -1, LONG_MS);
    fn_write(gpu, "driver/unbind", gpu);
    (void)client_wait(c, gpu, HWD_FACT_BOUND, 0, -1, LONG_MS);
    fn_write(gpu, "driver_override", "\n");
}

static void
a_function_that_is_removed_and_rescanned_goes_and_comes(void **state)
{
    const char *gpu = vm_addr("gpu1");
    unsigned gone = c->gone;

    (void)state;
    fn_write(gpu, "remove", "1");
    wait_gone(gone + 1);
    c->n = 0; /* what is told from here on */
    fn_bus_write("rescan", "1");
    wait_listed(gpu);
    assert_ok(client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0));
    give_back(gpu);
}

static void
a_driver_taken_away_from_an_armed_gpu_disarms_it(void **state)
{
    const char *gpu = vm_addr("gpu1");

    (void)state;
    assert_ok(client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0));
    fn_write(gpu, "driver/unbind", gpu); /* our hold of the group does not block it */
    (void)client_wait(c, gpu, HWD_FACT_ARMED | HWD_FACT_BOUND, 0, -1, LONG_MS);
    assert_ok(client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0));
    give_back(gpu);
}

/* The driver's link goes first; the rest waits until every descriptor of the device is closed. */
static void
wait_unbinding(const char *gpu)
{
    uint64_t end = kit_now_ms() + LONG_MS;

    while (fn_driver(gpu)[0]) {
        if (kit_now_ms() > end)
            fail_msg("nobody unbinds %s", gpu);
        vm_sleep_ms(20);
    }
}

/* ---- hot-plug ---- */

static void
a_gpu_that_is_plugged_in_is_found_and_armed(void **state)
{
    const char *gpu = vm_addr("gpu3");

    (void)state;
    assert_false(listed(gpu));
    free(vm_host("plug gpu3"));
    wait_listed(gpu);
    assert_ok(client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0));
    assert_string_equal(fn_driver(gpu), VFIO);
}

static void
an_armed_gpu_that_is_pulled_out_is_gone(void **state)
{
    const char *gpu = vm_addr("gpu3");
    unsigned gone = c->gone;

    (void)state;
    assert_true(client_facts(c, gpu)->flags & HWD_FACT_ARMED);
    free(vm_host("unplug gpu3"));
    wait_gone(gone + 1);
    assert_false(fn_present(gpu));
    assert_refused(client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0), REASON_DEVICE_GONE);
}

static void
a_gpu_that_comes_back_can_be_used_until_its_user_lets_it_go(void **state)
{
    const char *gpu = vm_addr("gpu3");
    unsigned gone = c->gone;
    struct vmm v;

    (void)state;
    c->n = 0;
    free(vm_host("plug gpu3"));
    wait_listed(gpu);
    assert_ok(client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, HWD_REQ_HANDOVER));
    vmm_open(&v, gpu);
    (void)client_wait(c, gpu, HWD_FACT_OPENED, HWD_FACT_OPENED, HWD_USE_HELD, LONG_MS);
    /* the kernel waits with the removal for the VMM */
    free(vm_host("yank gpu3"));
    wait_unbinding(gpu);
    assert_true(fn_present(gpu));
    vm_sleep_ms(500);
    assert_true(fn_present(gpu));
    assert_int_equal(c->gone, gone);
    /* others are not hindered */
    assert_ok(client_do(c, HWD_OP_PREPARE, vm_addr("gpu1"), CC_MODE_ON, 0));
    give_back(vm_addr("gpu1"));
    vmm_close(&v);
    wait_gone(gone + 1);
    fn_wait_present(gpu, false);
}

/* ---- an unbind that blocks ---- */

static void
an_unbind_that_blocks_makes_the_unit_stuck_and_its_end_frees_it(void **state)
{
    const char *gpu = vm_addr("gpu1");
    struct hwd_message m;
    struct vmm v;
    uint64_t seq;
    pid_t pid;
    int st;

    (void)state;
    assert_ok(client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, HWD_REQ_HANDOVER));
    vmm_open(&v, gpu);
    (void)client_wait(c, gpu, HWD_FACT_OPENED, HWD_FACT_OPENED, HWD_USE_HELD, LONG_MS);
    pid = fork(); /* an administrator, who does not look who has it */
    assert_true(pid >= 0);
    if (pid == 0) {
        char path[128];

        vmm_close(&v); /* the copies: they would keep the device open */
        (void)snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver/unbind", gpu);
        _exit(vm_write(path, gpu) == 0 ? 0 : 1);
    }
    wait_unbinding(gpu);
    assert_int_equal(waitpid(pid, &st, WNOHANG), 0);
    seq = client_send(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0, 0, 3000);
    m = client_result(c, seq, LONG_MS);
    assert_refused(m, REASON_STUCK);
    assert_int_equal(m.facts.state, HWD_STATE_STUCK);
    assert_int_equal(m.facts.phase, HWD_PHASE_BIND);
    assert_true(m.facts.flags & HWD_FACT_OPENED);
    /* the others go on, and this one is told of at once */
    assert_ok(client_do(c, HWD_OP_PREPARE, vm_addr("gpu0"), CC_MODE_ON, 0));
    give_back(vm_addr("gpu0"));
    assert_refused(client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0), REASON_STUCK);
    assert_int_equal(vmm_bar0(&v, 0), 0x180000a1); /* the VM has not noticed */
    assert_int_equal(waitpid(pid, &st, WNOHANG), 0);
    vmm_close(&v);
    assert_int_equal(waitpid(pid, &st, 0), pid);
    assert_true(WIFEXITED(st) && WEXITSTATUS(st) == 0);
    for (uint64_t end = kit_now_ms() + LONG_MS;
         client_facts(c, gpu)->state != HWD_STATE_IDLE && kit_now_ms() < end;)
        (void)client_pump(c, 50);
    assert_int_equal(client_facts(c, gpu)->state, HWD_STATE_IDLE);
    assert_ok(client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0));
    give_back(gpu);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prepare_arms_a_gpu_with_its_companion_and_holds_the_group),
        cmocka_unit_test(handover_lets_a_real_vmm_in_and_sees_it_come_and_go),
        cmocka_unit_test(every_rung_of_the_ladder_is_climbed_for_real),
        cmocka_unit_test(a_boot_that_only_a_bus_reset_helps_gets_one),
        cmocka_unit_test(a_host_driver_gets_its_gpu_back_even_after_a_crash_of_the_service),
        cmocka_unit_test(foreign_binds_and_unbinds_are_noticed_without_a_periodic_scan),
        cmocka_unit_test(a_function_that_is_removed_and_rescanned_goes_and_comes),
        cmocka_unit_test(a_driver_taken_away_from_an_armed_gpu_disarms_it),
        cmocka_unit_test(a_gpu_that_is_plugged_in_is_found_and_armed),
        cmocka_unit_test(an_armed_gpu_that_is_pulled_out_is_gone),
        cmocka_unit_test(a_gpu_that_comes_back_can_be_used_until_its_user_lets_it_go),
        cmocka_unit_test(an_unbind_that_blocks_makes_the_unit_stuck_and_its_end_frees_it),
    };

    if (fn_setup(NULL) < 0)
        return 1;
    return cmocka_run_group_tests_name("vm.service", tests, setup, teardown);
}
