/* SPDX-License-Identifier: Apache-2.0
 *
 * The way to the GPU through VFIO, on the real kernel. "test_vfio": by configuration, where
 * resource0 would serve too. "test_vfio lockdown": in a kernel that refuses resource0, as Secure
 * Boot makes them; found out by itself. The device's own count of resets proves what the way costs.
 */
#include "tests/sim/hwd/kit.h"
#include "tests/vm/guest/fn.h"
#include "tests/vm/guest/held.h"
#include "tests/vm/guest/host.h"
#include "tests/vm/guest/vmm.h"

#include "vfio/bind.h"

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
#define HOST "vfio_node: group\n"
#define CTL "/opt/pgpu/cli/pgpuctl --hwd /tmp/no-service/hwd.sock "

static struct kit *k;
static struct client *c;
static const char *way; /* the `access` of the configuration */
static char out[32768];

static void
start(const char *access)
{
    char yaml[128];

    (void)snprintf(yaml, sizeof(yaml), HOST "access: %s\n", access);
    k = kit_start_real(yaml);
    c = client_open(k);
}

/* Whatever a case before left. */
static void
release_all(void)
{
    static const char *const names[] = {"gpu0", "gpu1", "pair", "audio", "switch0", "switch1"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        fn_release(vm_addr(names[i]));
}

static int
setup(void **state)
{
    (void)state;
    release_all();
    start(way);
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

static void
give_back(const char *name)
{
    struct hwd_message m = client_do(c, HWD_OP_GIVE_BACK, vm_addr(name), CC_MODE_OFF, 0);

    assert_ok(m);
    assert_string_equal(fn_driver(vm_addr(name)), "");
}

/* ---- the service ---- */

static void
the_device_is_held_open_from_arming_to_handover(void **state)
{
    const char *gpu = vm_addr("gpu0");
    uint64_t before = held_resets("gpu0");
    struct hwd_message m;
    struct vmm v;

    (void)state;
    m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0);
    assert_ok(m);
    assert_int_equal(m.evidence.access, HWD_ACCESS_VFIO);
    assert_int_equal(m.facts.access, HWD_ACCESS_VFIO);
    assert_true(m.facts.flags & HWD_FACT_ARMED);
    assert_resets("gpu0", before, 2); /* opening it, and the mode's own */
    held_mode("gpu0", "on", "on");
    assert_int_equal(held_devices(), 1);
    assert_int_equal(vmm_group_busy(gpu), EBUSY);

    before = held_resets("gpu0");
    m = client_do(c, HWD_OP_VERIFY, gpu, CC_MODE_ON, HWD_REQ_HOLD);
    assert_ok(m);
    assert_int_equal(m.facts.mode_active, CC_MODE_ON);
    assert_resets("gpu0", before, 0);
    assert_int_equal(held_devices(), 1);

    m = client_do(c, HWD_OP_HANDOVER, gpu, CC_MODE_ON, 0);
    assert_ok(m);
    assert_int_equal(held_devices(), 0); /* closed when the answer is there */
    assert_resets("gpu0", before, 1);
    vmm_open(&v, gpu);
    assert_resets("gpu0", before, 2);
    held_mode("gpu0", "on", "on");
    m.facts = *client_wait(c, gpu, HWD_FACT_OPENED | HWD_FACT_REOPENED, HWD_FACT_OPENED,
                           HWD_USE_HELD, LONG_MS);
    assert_int_equal(m.facts.opens, 1);
    vmm_close(&v);
    client_wait(c, gpu, HWD_FACT_OPENED, HWD_FACT_OPENED, HWD_USE_FREE, LONG_MS);
    give_back("gpu0");
}

static void
what_is_prepared_for_a_vmm_is_closed_when_it_is_answered(void **state)
{
    const char *gpu = vm_addr("gpu0");
    uint64_t before = held_resets("gpu0");
    struct hwd_message m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, HWD_REQ_HANDOVER);
    struct vmm v;

    (void)state;
    assert_ok(m);
    assert_int_equal(held_devices(), 0);
    assert_resets("gpu0", before, 3);
    assert_true(m.facts.flags & HWD_FACT_HANDED_OVER);
    vmm_open(&v, gpu);
    held_mode("gpu0", "on", "on");
    vmm_close(&v);
    client_wait(c, gpu, HWD_FACT_OPENED, HWD_FACT_OPENED, HWD_USE_FREE, LONG_MS);
    /* the next one's: everything from the beginning */
    m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0);
    assert_ok(m);
    assert_int_equal(held_devices(), 1);
    give_back("gpu0");
    assert_int_equal(held_devices(), 0);
}

static void
two_are_armed_at_once_and_do_not_mind_each_other(void **state)
{
    const char *a = vm_addr("gpu0"), *b = vm_addr("gpu1");
    struct client *other = client_open(k); /* each hears of its own result, whichever is first */
    uint64_t sa = client_send(c, HWD_OP_PREPARE, a, CC_MODE_ON, 0, 0, 0);
    uint64_t sb = client_send(other, HWD_OP_PREPARE, b, CC_MODE_ON, 0, 0, 0);
    struct hwd_message m;

    (void)state;
    m = client_result(c, sa, LONG_MS);
    assert_ok(m);
    m = client_result(other, sb, LONG_MS);
    assert_ok(m);
    client_close(other);
    assert_int_equal(held_devices(), 2);
    m = client_do(c, HWD_OP_HANDOVER, a, CC_MODE_ON, 0);
    assert_ok(m);
    assert_int_equal(held_devices(), 1);
    client_wait(c, b, HWD_FACT_ARMED, HWD_FACT_ARMED, HWD_USE_OURS, LONG_MS);
    m = client_do(c, HWD_OP_VERIFY, b, CC_MODE_ON, HWD_REQ_HOLD);
    assert_ok(m);
    give_back("gpu0");
    give_back("gpu1");
}

static void
who_opens_it_before_the_vmm_is_noticed_and_told(void **state)
{
    const char *gpu = vm_addr("gpu0");
    struct hwd_message m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, HWD_REQ_HANDOVER);
    const struct hwd_facts *f;
    char line[192];
    struct vmm v;

    (void)state;
    assert_ok(m);
    vmm_open(&v, gpu); /* a stranger: in and out */
    client_wait(c, gpu, HWD_FACT_OPENED | HWD_FACT_REOPENED, HWD_FACT_OPENED, HWD_USE_HELD,
                LONG_MS);
    vmm_close(&v);
    client_wait(c, gpu, HWD_FACT_OPENED, HWD_FACT_OPENED, HWD_USE_FREE, LONG_MS);
    vmm_open(&v, gpu); /* the VMM */
    f = client_wait(c, gpu, HWD_FACT_OPENED | HWD_FACT_REOPENED,
                    HWD_FACT_OPENED | HWD_FACT_REOPENED, HWD_USE_HELD, LONG_MS);
    assert_true(f->opens >= 2);
    vmm_close(&v);
    client_wait(c, gpu, HWD_FACT_OPENED, HWD_FACT_OPENED, HWD_USE_FREE, LONG_MS);
    (void)snprintf(line, sizeof(line), "level=warn.*opened again since it was handed over.*%s",
                   gpu);
    if (vm_run(out, sizeof(out), "grep \"%s\" %s/hwd.log", line, k->dir) != 0)
        fail_msg("the log does not tell");
    m = client_do(c, HWD_OP_HANDOVER, gpu, CC_MODE_ON, 0);
    assert_refused(m, REASON_HWD_REFUSED);
    give_back("gpu0");
}

/* The kernel waits in `unbind` until every descriptor of the device is closed, and asks for it. */
static void
who_wants_the_device_back_gets_it(void **state)
{
    const char *gpu = vm_addr("gpu0");
    struct hwd_message m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0);
    char cmd[160];

    (void)state;
    assert_ok(m);
    assert_int_equal(held_devices(), 1);
    (void)snprintf(cmd, sizeof(cmd), "timeout 100 sh -c 'echo %s >/sys/bus/pci/drivers/%s/unbind'",
                   gpu, VFIO);
    if (vm_run(out, sizeof(out), "%s", cmd) != 0)
        fail_msg("unbind: %s", out);
    client_wait(c, gpu, HWD_FACT_ARMED | HWD_FACT_BOUND, 0, -1, LONG_MS);
    assert_int_equal(held_devices(), 0);
    m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0);
    assert_ok(m);
    give_back("gpu0");
}

static void
stopping_lets_go_and_a_restart_begins_anew(void **state)
{
    const char *gpu = vm_addr("gpu0");
    struct hwd_message m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0);
    char yaml[128];
    int st;

    (void)state;
    assert_ok(m);
    client_close(c);
    st = kit_end_hwd(k, SIGTERM);
    assert_true(WIFEXITED(st) && WEXITSTATUS(st) == 0);
    held_wait_none();
    held_mode("gpu0", "on", "on");
    (void)snprintf(yaml, sizeof(yaml), HOST "access: %s\n", way);
    kit_start_hwd(k, yaml);
    c = client_open(k);
    assert_false(client_facts(c, gpu)->flags & HWD_FACT_ARMED);
    m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0);
    assert_ok(m);
    /* killed: the kernel closes what it held */
    client_close(c);
    (void)kit_end_hwd(k, SIGKILL);
    held_wait_none();
    kit_start_hwd(k, yaml);
    c = client_open(k);
    m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0);
    assert_ok(m);
    give_back("gpu0");
}

static void
a_companion_of_the_group_is_reset_with_the_bus(void **state)
{
    const char *gpu = vm_addr("pair");
    uint64_t bus = vm_count("pair", "bus-resets");
    struct hwd_message m;

    (void)state;
    free(vm_host("ctl fault pair sbr-only-recovery")); /* no function reset brings it back */
    m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0);
    free(vm_host("ctl fault pair clear"));
    assert_ok(m);
    assert_int_equal(m.evidence.reset_rung, HWD_RUNG_BUS);
    assert_int_equal(m.evidence.access, HWD_ACCESS_VFIO);
    assert_true(vm_count("pair", "bus-resets") > bus);
    held_mode("pair", "on", "on");
    give_back("pair");
}

/* What is not bound afterwards cannot be looked at: done all the same. */
static void
a_reset_that_leaves_it_without_a_driver_is_done(void **state)
{
    const char *gpu = vm_addr("gpu0");
    struct hwd_message m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0);
    uint64_t before;

    (void)state;
    assert_ok(m);
    m = client_result(
        c, client_send(c, HWD_OP_RESET, gpu, CC_MODE_ON, 0, HWD_RUNG_REMOVE_RESCAN, 0), LONG_MS);
    assert_ok(m);
    assert_string_equal(fn_driver(gpu), "");
    assert_int_equal(held_devices(), 0);
    before = held_resets("gpu0");
    m = client_result(c, client_send(c, HWD_OP_RESET, gpu, CC_MODE_ON, 0, HWD_RUNG_FUNCTION, 0),
                      LONG_MS);
    assert_ok(m);
    assert_resets("gpu0", before, 1);
    m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0);
    assert_ok(m);
    held_mode("gpu0", "on", "on");
    give_back("gpu0");
}

/* Two switches of one group: one hold for both, and an open device for each. */
static void
members_of_one_group_are_armed_together(void **state)
{
    const char *a = vm_addr("switch0"), *b = vm_addr("switch1");
    struct client *other = client_open(k); /* each hears of its own result, whichever is first */
    uint64_t sa = client_send(c, HWD_OP_PREPARE, a, CC_MODE_PPCIE, 0, 0, 0);
    uint64_t sb = client_send(other, HWD_OP_PREPARE, b, CC_MODE_PPCIE, 0, 0, 0);
    struct hwd_message m;
    struct vmm v;

    (void)state;
    m = client_result(c, sa, LONG_MS);
    assert_ok(m);
    assert_int_equal(m.facts.gang_size, 2);
    m = client_result(other, sb, LONG_MS);
    assert_ok(m);
    client_close(other);
    assert_int_equal(m.evidence.access, HWD_ACCESS_VFIO);
    assert_int_equal(held_devices(), 2);
    m = client_do(c, HWD_OP_HANDOVER, a, CC_MODE_PPCIE, 0);
    assert_ok(m);
    assert_int_equal(held_devices(), 1);
    assert_int_equal(vmm_group_busy(a), EBUSY); /* the other one's hold is the group's */
    m = client_do(c, HWD_OP_HANDOVER, b, CC_MODE_PPCIE, 0);
    assert_ok(m);
    assert_int_equal(held_devices(), 0);
    vmm_open(&v, a);
    vmm_close(&v);
    client_wait(c, a, HWD_FACT_OPENED, HWD_FACT_OPENED, HWD_USE_FREE, LONG_MS);
    client_wait(c, b, HWD_FACT_OPENED, HWD_FACT_OPENED, HWD_USE_FREE, LONG_MS);
    give_back("switch0");
    give_back("switch1");
}

static void
a_device_that_died_while_it_was_held_stops_nobody(void **state)
{
    const char *gpu = vm_addr("gpu0"), *other = vm_addr("gpu1");
    struct hwd_message m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0);

    (void)state;
    assert_ok(m);
    free(vm_host("ctl fault gpu0 all-ones"));
    m = client_do(c, HWD_OP_HANDOVER, gpu, CC_MODE_ON, 0);
    assert_int_not_equal(m.err_class, ERR_CLASS_NONE);
    if (m.reason != REASON_BAR_DEAD && m.reason != REASON_DEVICE_GONE)
        fail_msg("%s: %s", reason_name((enum reason)m.reason), m.text);
    assert_false(m.facts.flags & (HWD_FACT_ARMED | HWD_FACT_HANDED_OVER));
    m = client_do(c, HWD_OP_PREPARE, other, CC_MODE_ON, 0);
    assert_ok(m);
    free(vm_host("ctl fault gpu0 clear"));
    m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0);
    assert_ok(m);
    give_back("gpu0");
    give_back("gpu1");
}

/* ---- pgpuctl ---- */

#define ctl(status, ...)                                                                           \
    do {                                                                                           \
        int st_ = vm_run(out, sizeof(out), CTL __VA_ARGS__);                                       \
        if (st_ != (status))                                                                       \
            fail_msg("exit status %d: %s", st_, out);                                              \
    } while (0)
#define has(s)                                                                                     \
    do {                                                                                           \
        if (!strstr(out, (s)))                                                                     \
            fail_msg("no \"%s\" in: %s", (s), out);                                                \
    } while (0)

static void
a_query_through_vfio_says_what_it_costs_and_costs_that(void **state)
{
    const char *gpu = vm_addr("gpu1");
    struct err e = ERR_INIT;
    uint64_t before;
    struct vmm v;

    (void)state;
    release_all();
    ctl(1, "cc query %s --via vfio --yes", gpu);
    has("NOT_BOUND");
    fn_ok(vfio_bind(fn_root(), fn_addr("gpu1"), VFIO, &e), &e);
    ctl(0, "cc set %s --mode off --via vfio --yes", gpu);
    before = held_resets("gpu1");
    ctl(2, "cc query %s --via vfio </dev/null", gpu);
    has("resets it again");
    has("--yes");
    assert_resets("gpu1", before, 0);
    ctl(0, "cc query %s --via vfio --yes --json", gpu);
    has("resets it again");
    has("\"active\":\"off\"");
    has("\"via\":\"vfio\"");
    assert_resets("gpu1", before, 2);
    ctl(0, "cc set %s --mode on --via vfio --yes", gpu);
    held_mode("gpu1", "on", "on");
    ctl(0, "cc plan %s --mode off --via vfio --yes", gpu);
    has("knob");
    vmm_open(&v, gpu);
    before = held_resets("gpu1");
    ctl(1, "cc query %s --via vfio --yes", gpu);
    has("IN_USE");
    assert_resets("gpu1", before, 0);
    vmm_close(&v);
    ctl(0, "cc set %s --mode off --via vfio --yes", gpu);
    assert_int_equal(held_devices(), 0);
    fn_ok(vfio_give_back(fn_root(), fn_addr("gpu1"), "", &e), &e);
}

/* ---- lockdown alone ---- */

static void
the_usual_way_is_refused_by_name(void **state)
{
    const char *gpu = vm_addr("gpu0");
    struct hwd_message m;

    (void)state;
    start("sysfs");
    m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0);
    assert_refused(m, REASON_LOCKDOWN);
    give_back("gpu0");
    client_close(c);
    kit_stop(k);
}

static void
pgpuctl_says_so_and_names_the_other_way(void **state)
{
    const char *gpu = vm_addr("gpu1");
    struct err e = ERR_INIT;
    uint64_t before = held_resets("gpu1");

    (void)state;
    ctl(1, "cc query %s", gpu);
    has("LOCKDOWN");
    ctl(1, "cc set %s --mode on --yes", gpu); /* not bound: nothing can be done */
    has("LOCKDOWN");
    has("it is not held");
    fn_ok(vfio_bind(fn_root(), fn_addr("gpu1"), VFIO, &e), &e);
    ctl(1, "cc query %s --via sysfs --json", gpu);
    has("\"result\":\"LOCKDOWN\"");
    has("--via vfio");
    ctl(0, "devices --offline"); /* lists what it can without a side effect */
    has("gh100");
    assert_resets("gpu1", before, 0);
    ctl(0, "cc set %s --mode on --yes", gpu); /* it resets anyway */
    held_mode("gpu1", "on", "on");
    ctl(0, "cc set %s --mode off --yes", gpu);
    ctl(0, "cc reset %s --method function --yes", gpu);
    fn_ok(vfio_give_back(fn_root(), fn_addr("gpu1"), "", &e), &e);
}

/* Memory decode of a hot-added function is off, and lockdown keeps us from switching it on. */
static void
a_hot_added_gpu_is_prepared_as_well(void **state)
{
    const char *gpu = vm_addr("late");
    struct hwd_message m;
    uint64_t end = vm_now_ms() + LONG_MS;
    bool there = false;

    (void)state;
    free(vm_host("plug late"));
    fn_wait_present(gpu, true);
    while (!there) {
        if (vm_now_ms() > end)
            fail_msg("no facts of %s", gpu);
        (void)client_pump(c, 50);
        for (unsigned i = 0; i < c->n; i++)
            there = there || pci_addr_cmp(c->f[i].unit, kit_addr(gpu)) == 0;
    }
    m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0);
    assert_ok(m);
    held_mode("late", "on", "on");
    give_back("late");
}

#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int
main(int argc, char **argv)
{
    const struct CMUnitTest common[] = {
        T(the_device_is_held_open_from_arming_to_handover),
        T(what_is_prepared_for_a_vmm_is_closed_when_it_is_answered),
        T(two_are_armed_at_once_and_do_not_mind_each_other),
        T(who_opens_it_before_the_vmm_is_noticed_and_told),
        T(who_wants_the_device_back_gets_it),
        T(stopping_lets_go_and_a_restart_begins_anew),
        T(a_companion_of_the_group_is_reset_with_the_bus),
        T(a_reset_that_leaves_it_without_a_driver_is_done),
        T(members_of_one_group_are_armed_together),
        T(a_device_that_died_while_it_was_held_stops_nobody),
        cmocka_unit_test(a_query_through_vfio_says_what_it_costs_and_costs_that),
    };
    const struct CMUnitTest locked[] = {
        cmocka_unit_test(the_usual_way_is_refused_by_name),
        T(the_device_is_held_open_from_arming_to_handover),
        T(what_is_prepared_for_a_vmm_is_closed_when_it_is_answered),
        T(a_companion_of_the_group_is_reset_with_the_bus),
        T(a_reset_that_leaves_it_without_a_driver_is_done),
        cmocka_unit_test(a_query_through_vfio_says_what_it_costs_and_costs_that),
        cmocka_unit_test(pgpuctl_says_so_and_names_the_other_way),
        T(a_hot_added_gpu_is_prepared_as_well),
    };
    bool lockdown = argc > 1 && strcmp(argv[1], "lockdown") == 0;
    char state[64];

    (void)vm_read(state, sizeof(state), "/sys/kernel/security/lockdown");
    way = lockdown ? "auto" : "vfio";
    if (lockdown && !strstr(state, "[integrity]")) {
        (void)printf("the kernel is not locked down: \"%s\"\n", state);
        return 1;
    }
    return lockdown ? cmocka_run_group_tests_name("vm.vfio.lockdown", locked, fn_setup, NULL)
                    : cmocka_run_group_tests_name("vm.vfio", common, fn_setup, NULL);
}
