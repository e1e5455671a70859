/* SPDX-License-Identifier: Apache-2.0
 *
 * What goes wrong on a device: every fault ends as a named reason, soon, and disturbs no other
 * device; a kernel that does not come back makes the unit STUCK until it does.
 */
#include "tests/sim/hwd/kit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define GPU0 "0000:18:00.0"
#define GPU1 "0000:2a:00.0"
#define FAST "--time-scale 0.02 "
/* firmware limits as short as the node's time scale allows */
#define QUICK "firmware: {queue: 200ms, reply: 300ms, boot: 500ms, firewall: 500ms}\n"

static void
each_fault_has_its_reason(void **state)
{
    static const struct {
        const char *fault;
        enum reason reason;
    } list[] = {
        {"no-reply", REASON_FSP_SILENT},
        {"no-consume", REASON_FSP_STUCK},
        {"fsp-error=0x202", REASON_FSP_ERROR},
        {"wrong-echo", REASON_FSP_PROTOCOL},
        {"short-reply", REASON_FSP_PROTOCOL},
        {"write-refused=8", REASON_FSP_ERROR},
        {"write-ignored=8", REASON_KNOB_NOT_KEPT},
        {"inband-locked=8", REASON_KNOB_LOCKED},
        {"invalid-knob=8", REASON_KNOB_MISSING},
        {"boot-never", REASON_BOOT_TIMEOUT},
        {"mode-not-latched", REASON_MODE_NOT_LATCHED},
        {"recovery-mode", REASON_RECOVERY_MODE},
        {"sec-fault", REASON_SEC_FAULT},
        {"all-ones", REASON_BAR_DEAD},
        {"badf", REASON_BAR_DEAD},
        {"d3cold", REASON_DEVICE_GONE},
        {"off-bus", REASON_DEVICE_GONE},
        {"reset-fail=all", REASON_RESET_FAILED},
        /* harmless, or cured by the second try */
        {"stale-reply", REASON_NONE},
        {"slow-reply=20", REASON_NONE},
        {"boot-needs-second-reset", REASON_NONE},
        {"reset-fail=flr", REASON_NONE},
    };
    struct kit *k = kit_start(FAST "--gpus 2", QUICK);
    struct client *c = client_open(k);

    (void)state;
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        struct hwd_message m;

        kit_ctl(k, "knob " GPU0 " 8 0"); /* so that there is something to write */
        assert_ok(client_do(c, HWD_OP_RESET, GPU0, 0, 0));
        kit_ctl(k, "fault " GPU0 " %s", list[i].fault);
        m = client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0);
        (void)printf("%s: %s: %s\n", list[i].fault, reason_name((enum reason)m.reason), m.text);
        if (m.reason != (uint32_t)list[i].reason)
            fail_msg("%s gives %s", list[i].fault, reason_name((enum reason)m.reason));
        assert_int_equal(m.err_class == ERR_CLASS_NONE, list[i].reason == REASON_NONE);
        assert_int_equal(!!(m.facts.flags & HWD_FACT_ARMED), list[i].reason == REASON_NONE);
        assert_int_equal(m.facts.use == HWD_USE_OURS, list[i].reason == REASON_NONE);
        kit_ctl(k, "fault " GPU0 " clear");
        assert_ok(
            client_result(c, client_send(c, HWD_OP_RESET, GPU0, 0, 0, HWD_RUNG_BUS, 0), 20000));
        assert_ok(client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0));
    }
    client_close(c);
    kit_stop(k);
}

/* A PREPARE whose reset hangs ends STUCK at its deadline. On a loaded machine the deadline may pass
 * before the reset is reached; such a one is repeated with more time. */
static struct hwd_message
prepare_until_stuck(struct client *c, uint32_t *ret_deadline_ms)
{
    struct hwd_message m = {0};

    for (uint32_t ms = 1500; ms <= 24000; ms *= 2) {
        *ret_deadline_ms = ms;
        m = client_result(c, client_send(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0, 0, ms),
                          ms + 10000);
        if (m.reason != REASON_DEADLINE)
            break;
    }
    return m;
}

static void
a_hanging_reset_makes_the_unit_stuck_and_nothing_else_waits(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 2", "rescan: 500ms\n");
    struct client *c = client_open(k), *other = client_open(k);
    struct hwd_message m;
    uint32_t deadline;
    uint64_t t0;
    const struct hwd_facts *f;

    (void)state;
    kit_ctl(k, "hang *" GPU0 "/reset 0");
    m = prepare_until_stuck(c, &deadline);
    assert_refused(m, REASON_STUCK);
    assert_ok(client_do(other, HWD_OP_PREPARE, GPU1, CC_MODE_ON, 0));
    assert_int_equal(m.facts.state, HWD_STATE_STUCK);
    assert_int_equal(m.facts.op, HWD_OP_PREPARE);
    assert_int_equal(m.facts.phase, HWD_PHASE_RESET);
    assert_true(m.facts.op_since_ns != 0);
    assert_false(m.facts.flags & HWD_FACT_ARMED);
    m = client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0);
    assert_refused(m, REASON_STUCK);
    assert_int_equal(m.err_class, ERR_CLASS_BUSY);
    /* the others go on, scans included */
    assert_ok(client_do(other, HWD_OP_HANDOVER, GPU1, CC_MODE_ON, 0));
    assert_ok(client_do(other, HWD_OP_RESCAN, NULL, 0, 0));
    f = client_facts(other, GPU0);
    assert_int_equal(f->state, HWD_STATE_STUCK);
    /* the kernel comes back */
    kit_ctl(k, "rules clear");
    t0 = kit_now_ms();
    while (client_facts(c, GPU0)->state != HWD_STATE_IDLE) {
        (void)client_pump(c, 50);
        assert_true(kit_now_ms() - t0 < 30000);
    }
    client_wait(c, GPU0, HWD_FACT_BOUND, HWD_FACT_BOUND, HWD_USE_FREE, 30000);
    assert_ok(client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0));
    client_close(c);
    client_close(other);
    kit_stop(k);
}

static void
a_stuck_worker_keeps_its_lock_across_a_restart(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 2", "");
    struct client *c = client_open(k);
    struct hwd_message m;
    uint32_t deadline;
    uint64_t t0;

    (void)state;
    kit_ctl(k, "hang *" GPU0 "/reset 0");
    m = prepare_until_stuck(c, &deadline);
    assert_refused(m, REASON_STUCK);
    (void)kit_end_hwd(k, 9);
    client_close(c);
    kit_start_hwd(k, "");
    c = client_open(k);
    m = client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0);
    assert_refused(m, REASON_OP_PENDING);
    assert_int_equal(m.err_class, ERR_CLASS_BUSY);
    assert_ok(client_do(c, HWD_OP_PREPARE, GPU1, CC_MODE_ON, 0));
    kit_ctl(k, "rules clear");
    t0 = kit_now_ms();
    do {
        kit_sleep_ms(50);
        m = client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0);
        assert_true(kit_now_ms() - t0 < 30000);
    } while (m.err_class == ERR_CLASS_BUSY);
    assert_ok(m);
    client_close(c);
    kit_stop(k);
}

static void
a_slow_operation_ends_at_its_deadline_and_can_be_repeated(void **state)
{
    struct kit *k = kit_start("--time-scale 1 --gpus 1", "");
    struct client *c = client_open(k);
    struct hwd_message m =
        client_result(c, client_send(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0, 0, 300), 3000);

    (void)state;
    assert_refused(m, REASON_DEADLINE);
    assert_int_equal(m.facts.state, HWD_STATE_IDLE);
    assert_ok(client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0));
    client_close(c);
    kit_stop(k);
}

static const char *
reason_of(struct client *c, const char *unit)
{
    return reason_name((enum reason)client_facts(c, unit)->reason);
}

static void
nodes_of_odd_shape_are_named_in_the_facts(void **state)
{
    static const struct {
        const char *node, *yaml, *reason;
    } list[] = {
        {FAST "--gpus 2 --driver nvidia", "", "DRIVER_IN_USE"},
        {FAST "--gpus 2", "claim: [vfio]\n", "NOT_CLAIMED"},
        {FAST "--gpus 2", "exclude: [\"" GPU0 "\"]\n", "NOT_CLAIMED"},
        {FAST "--gpus 2 --no-iommu", "", "NO_IOMMU"},
        {FAST "--gpus 2 --gpus-per-group 2", "", "GROUP_SHARED"},
        {FAST "--gpus 2 --vfs 2", "", "VFS_ENABLED"},
        {FAST "--gpus 2 --no-vfio", "", "VFIO_PCI_NOT_LOADED"},
        {FAST "--gpus 2 --no-iommufd", "", "NO_CDEV"},
        {FAST "--gpus 2 --no-iommufd --driver vfio-pci", "", "NO_CDEV"},
        {FAST "--gpus 2 --no-iommufd", "vfio_node: group\n", "NONE"},
        {FAST "--gpus 2", "manage: verify\n", "NOT_BOUND"},
        {FAST "--gpus 2", "", "NONE"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        struct kit *k = kit_start(list[i].node, list[i].yaml);
        struct client *c = client_open(k);
        struct hwd_message m;

        if (strcmp(reason_of(c, GPU0), list[i].reason) != 0)
            fail_msg("%s %s: %s, not %s", list[i].node, list[i].yaml, reason_of(c, GPU0),
                     list[i].reason);
        if (strcmp(list[i].reason, "NONE") != 0) {
            assert_true(client_facts(c, GPU0)->text[0]);
            m = client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0);
            assert_int_equal(m.err_class == ERR_CLASS_NONE, 0);
        }
        client_close(c);
        kit_stop(k);
    }
}

static void
a_foreign_function_on_a_host_driver_makes_the_group_not_viable(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 1 --add " GPU1 "=h100-sxm,group=77 "
                                   "--add 0000:2a:00.1=nic,group=77,driver=mlx5_core",
                              "");
    struct client *c = client_open(k);
    struct hwd_message m;

    (void)state;
    assert_string_equal(reason_of(c, GPU1), "GROUP_NOT_VIABLE");
    assert_string_equal(reason_of(c, GPU0), "NONE");
    m = client_do(c, HWD_OP_PREPARE, GPU1, CC_MODE_ON, 0);
    assert_refused(m, REASON_GROUP_NOT_VIABLE);
    assert_non_null(strstr(m.text, "0000:2a:00.1"));
    assert_non_null(strstr(m.text, "mlx5_core"));
    client_close(c);
    kit_stop(k);
}

static void
units_come_and_go_with_the_bus(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 2", "");
    struct client *c = client_open(k);
    uint64_t t0 = kit_now_ms();

    (void)state;
    kit_ctl(k, "unplug " GPU1);
    while (!c->gone) {
        (void)client_pump(c, 50);
        assert_true(kit_now_ms() - t0 < 30000);
    }
    assert_refused(client_do(c, HWD_OP_PREPARE, GPU1, CC_MODE_ON, 0), REASON_DEVICE_GONE);
    c->n = 0;
    kit_ctl(k, "plug " GPU1);
    t0 = kit_now_ms();
    while (c->n == 0) {
        (void)client_pump(c, 50);
        assert_true(kit_now_ms() - t0 < 30000);
    }
    assert_int_equal(pci_addr_cmp(c->f[0].unit, kit_addr(GPU1)), 0);
    assert_ok(client_do(c, HWD_OP_PREPARE, GPU1, CC_MODE_ON, 0));
    client_close(c);
    kit_stop(k);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_fault_has_its_reason),
        cmocka_unit_test(a_hanging_reset_makes_the_unit_stuck_and_nothing_else_waits),
        cmocka_unit_test(a_stuck_worker_keeps_its_lock_across_a_restart),
        cmocka_unit_test(a_slow_operation_ends_at_its_deadline_and_can_be_repeated),
        cmocka_unit_test(nodes_of_odd_shape_are_named_in_the_facts),
        cmocka_unit_test(a_foreign_function_on_a_host_driver_makes_the_group_not_viable),
        cmocka_unit_test(units_come_and_go_with_the_bus),
    };

    if (!kit_possible())
        return 77;
    return cmocka_run_group_tests_name("hwd.faults", tests, NULL, NULL);
}
