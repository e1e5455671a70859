/* SPDX-License-Identifier: Apache-2.0
 *
 * Operations on a simulated node: prepare, verify, hand over, watch opens, reset, give back.
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

static const char *const gpus[] = {GPU0,           GPU1,           "0000:3a:00.0", "0000:5d:00.0",
                                   "0000:9a:00.0", "0000:ab:00.0", "0000:ba:00.0", "0000:db:00.0"};

static void
prepare_binds_sets_resets_verifies_and_holds(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 2 --companions audio", "");
    struct client *c = client_open(k);
    const struct hwd_facts *f = client_facts(c, GPU0);
    struct hwd_message m;
    char text[128];

    (void)state;
    assert_int_equal(c->n, 2);
    assert_int_equal(f->reason, REASON_NONE);
    assert_int_equal(f->flags & (HWD_FACT_CLAIMED | HWD_FACT_BOUND), HWD_FACT_CLAIMED);
    assert_string_equal(f->chip, "gh100");
    assert_string_equal(f->node, "");
    m = client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0);
    assert_ok(m);
    assert_int_equal(m.facts.mode_active, CC_MODE_ON);
    assert_int_equal(m.facts.mode_configured, CC_MODE_ON);
    assert_int_equal(m.facts.use, HWD_USE_OURS);
    assert_true(m.facts.flags & HWD_FACT_ARMED);
    assert_true(m.facts.flags & HWD_FACT_BOUND);
    assert_int_equal(m.facts.state, HWD_STATE_IDLE);
    assert_true(strncmp(m.facts.node, "/dev/vfio/devices/vfio", 22) == 0);
    assert_int_equal(m.evidence.resets, 1);
    assert_true(m.evidence.knobs_written >= 1);
    /* FACTS before RESULT, equal to what the result says */
    assert_memory_equal(client_facts(c, GPU0), &m.facts, sizeof(m.facts));
    /* every phase was told */
    for (unsigned p = HWD_PHASE_GATE; p <= HWD_PHASE_VERIFY; p++)
        if (!(c->phases & 1u << p))
            fail_msg("no progress for %s", hwd_phase_name((enum hwd_phase)p));
    /* the companion went along, and nobody else can open the group */
    kit_read(k, text, sizeof(text), "/sys/bus/pci/devices/0000:18:00.1/driver_override");
    assert_string_equal(text, "vfio-pci");
    (void)snprintf(text, sizeof(text), "/dev/vfio/%d", m.facts.iommu_group);
    assert_int_equal(kit_open(k, text, O_RDWR), -1);
    assert_int_equal(errno, EBUSY);
    client_close(c);
    kit_stop(k);
}

static void
eight_in_parallel_take_about_as_long_as_one(void **state)
{
    struct kit *k = kit_start("--time-scale 0.2 --gpus 8", "");
    struct client *c = client_open(k);
    uint64_t seq[8], t0, one, all;

    (void)state;
    t0 = kit_now_ms();
    assert_ok(client_do(c, HWD_OP_PREPARE, gpus[0], CC_MODE_ON, 0));
    one = kit_now_ms() - t0;
    t0 = kit_now_ms();
    for (unsigned i = 0; i < 8; i++)
        seq[i] = client_send(c, HWD_OP_PREPARE, gpus[i], CC_MODE_ON, 0, 0, 0);
    for (unsigned i = 8; i > 0; i--) {
        /* results come in any order: collect with one look at each */
        struct hwd_message m;

        client_wait(c, gpus[i - 1], HWD_FACT_ARMED, HWD_FACT_ARMED, HWD_USE_OURS, 20000);
        (void)m;
    }
    all = kit_now_ms() - t0;
    (void)seq;
    (void)printf("one: %llu ms, eight: %llu ms\n", (unsigned long long)one,
                 (unsigned long long)all);
    assert_true(all < one * 3 + 500);
    client_close(c);
    kit_stop(k);
}

/* A VMM opens the cdev, or the group, for real. */
static int
vmm_open(const struct kit *k, const char *node)
{
    int fd = -1;

    /* FUSE tells the node of our release asynchronously */
    for (int i = 0; i < 200 && fd < 0; i++) {
        fd = kit_open(k, node, O_RDWR);
        if (fd < 0)
            kit_sleep_ms(5);
    }
    assert_true(fd >= 0);
    return fd;
}

static void
handover_lets_the_vmm_in_and_sees_it_come_and_go(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 2", "");
    struct client *c = client_open(k);
    struct hwd_message m;
    int fd;

    (void)state;
    assert_ok(client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0));
    m = client_do(c, HWD_OP_HANDOVER, GPU0, CC_MODE_ON, 0);
    assert_ok(m);
    assert_int_equal(m.facts.use, HWD_USE_FREE);
    assert_int_equal(m.facts.flags & (HWD_FACT_ARMED | HWD_FACT_HANDED_OVER | HWD_FACT_OPENED),
                     HWD_FACT_HANDED_OVER);
    /* a look could make the VMM's open fail */
    assert_refused(client_do(c, HWD_OP_PROBE_USE, GPU0, 0, 0), REASON_IN_USE);
    /* nobody opened: nothing changes by itself */
    while (client_pump(c, 300))
        ;
    client_wait(c, GPU0, HWD_FACT_OPENED, 0, HWD_USE_FREE, 10);
    fd = vmm_open(k, m.facts.node);
    client_wait(c, GPU0, HWD_FACT_OPENED, HWD_FACT_OPENED, HWD_USE_HELD, 2000);
    (void)close(fd);
    client_wait(c, GPU0, HWD_FACT_OPENED | HWD_FACT_HANDED_OVER,
                HWD_FACT_OPENED | HWD_FACT_HANDED_OVER, HWD_USE_FREE, 5000);
    /* scrub: prepared again, the flags are gone */
    m = client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0);
    assert_ok(m);
    assert_int_equal(m.facts.flags & (HWD_FACT_HANDED_OVER | HWD_FACT_OPENED), 0);
    client_close(c);
    kit_stop(k);
}

static void
a_held_device_is_never_touched_and_the_holder_is_named(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 1 --no-iommufd", "vfio_node: group\n");
    struct client *c = client_open(k);
    struct hwd_message m = client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, HWD_REQ_HANDOVER);
    const struct hwd_facts *f;
    char pid[32];
    int fd;

    (void)state;
    assert_ok(m);
    assert_true(m.facts.flags & HWD_FACT_HANDED_OVER);
    fd = vmm_open(k, m.facts.node);
    f = client_wait(c, GPU0, HWD_FACT_OPENED, HWD_FACT_OPENED, HWD_USE_HELD, 2000);
    for (int i = 0; i < 100 && !client_facts(c, GPU0)->holder_pid; i++)
        (void)client_pump(c, 20);
    f = client_facts(c, GPU0);
    assert_int_equal(f->holder_pid, getpid());
    m = client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0);
    assert_refused(m, REASON_IN_USE);
    assert_int_equal(m.err_class, ERR_CLASS_BUSY);
    (void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
    assert_non_null(strstr(m.text, pid));
    assert_true(m.facts.flags & HWD_FACT_OPENED); /* still what it was */
    m = client_do(c, HWD_OP_RESET, GPU0, 0, 0);
    assert_refused(m, REASON_IN_USE);
    m = client_do(c, HWD_OP_GIVE_BACK, GPU0, 0, 0);
    assert_refused(m, REASON_IN_USE);
    m = client_do(c, HWD_OP_PROBE_USE, GPU0, 0, 0);
    assert_ok(m);
    assert_int_equal(m.facts.use, HWD_USE_HELD);
    (void)close(fd);
    client_wait(c, GPU0, 0, 0, HWD_USE_FREE, 5000);
    client_close(c);
    kit_stop(k);
}

static void
verify_reads_only_and_holds_when_asked(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 2 --driver vfio-pci", "");
    struct client *c = client_open(k);
    struct hwd_message m = client_do(c, HWD_OP_VERIFY, GPU0, CC_MODE_ON, 0);

    (void)state;
    assert_refused(m, REASON_MODE_MISMATCH);
    assert_int_equal(m.facts.mode_active, CC_MODE_OFF);
    assert_int_equal(m.evidence.resets, 0);
    assert_ok(client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, HWD_REQ_HANDOVER));
    m = client_do(c, HWD_OP_VERIFY, GPU0, CC_MODE_ON, 0);
    assert_ok(m);
    assert_int_equal(m.facts.use, HWD_USE_FREE);
    assert_false(m.facts.flags & HWD_FACT_OPENED); /* our own look is no open */
    assert_true(m.facts.flags & HWD_FACT_HANDED_OVER);
    /* a look does not arm what somebody could have used, and does not hand it over again */
    m = client_do(c, HWD_OP_VERIFY, GPU0, CC_MODE_ON, HWD_REQ_HOLD);
    assert_ok(m);
    assert_int_equal(m.facts.use, HWD_USE_FREE);
    assert_int_equal(m.facts.flags & (HWD_FACT_ARMED | HWD_FACT_HANDED_OVER | HWD_FACT_OPENED),
                     HWD_FACT_HANDED_OVER);
    m = client_do(c, HWD_OP_HANDOVER, GPU0, CC_MODE_ON, 0);
    assert_refused(m, REASON_HWD_REFUSED);
    assert_int_equal(m.err_class, ERR_CLASS_RETRY);
    assert_ok(client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0));
    m = client_do(c, HWD_OP_VERIFY, GPU0, CC_MODE_ON, HWD_REQ_HOLD);
    assert_ok(m);
    assert_int_equal(m.facts.use, HWD_USE_OURS);
    assert_true(m.facts.flags & HWD_FACT_ARMED);
    client_close(c);
    (void)kit_end_hwd(k, 15);
    kit_start_hwd(k, "manage: verify\n");
    c = client_open(k);
    m = client_do(c, HWD_OP_VERIFY, GPU0, CC_MODE_ON, HWD_REQ_HOLD);
    assert_ok(m);
    assert_int_equal(m.facts.use, HWD_USE_OURS);
    assert_true(m.facts.flags & HWD_FACT_ARMED);
    client_close(c);
    kit_stop(k);
}

static void
give_back_restores_the_former_drivers(void **state)
{
    struct kit *k =
        kit_start(FAST "--gpus 2 --driver nvidia", "claim: [unbound, vfio, \"" GPU0 "\"]\n");
    struct client *c = client_open(k);
    struct hwd_message m;
    char text[128], power[32];

    (void)state;
    kit_read(k, power, sizeof(power), "/sys/bus/pci/devices/" GPU0 "/power/control");
    assert_int_equal(client_facts(c, GPU1)->reason, REASON_DRIVER_IN_USE);
    assert_refused(client_do(c, HWD_OP_PREPARE, GPU1, CC_MODE_ON, 0), REASON_DRIVER_IN_USE);
    m = client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0);
    assert_ok(m);
    assert_string_equal(m.facts.former_driver, "nvidia");
    /* remembered beyond a crash */
    (void)kit_end_hwd(k, 9);
    client_close(c);
    kit_start_hwd(k, "claim: [unbound, vfio, \"" GPU0 "\"]\n");
    c = client_open(k);
    assert_string_equal(client_facts(c, GPU0)->former_driver, "nvidia");
    m = client_do(c, HWD_OP_GIVE_BACK, GPU0, 0, 0);
    assert_ok(m);
    assert_string_equal(m.facts.driver, "nvidia");
    assert_string_equal(m.facts.former_driver, "");
    assert_false(m.facts.flags & (HWD_FACT_BOUND | HWD_FACT_ARMED));
    kit_read(k, text, sizeof(text), "/sys/bus/pci/devices/" GPU0 "/driver_override");
    assert_string_equal(text, "(null)");
    kit_read(k, text, sizeof(text), "/sys/bus/pci/devices/" GPU0 "/power/control");
    assert_string_equal(text, power);
    client_close(c);
    kit_stop(k);
}

static void
every_rung_of_the_ladder_works_and_leaves_the_unit_unheld(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 2", "");
    struct client *c = client_open(k);

    (void)state;
    for (uint32_t rung = 0; rung <= HWD_RUNG_REMOVE_RESCAN; rung++) {
        struct hwd_message m;

        assert_ok(client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0));
        m = client_result(c, client_send(c, HWD_OP_RESET, GPU0, 0, 0, rung, 0), 20000);
        assert_ok(m);
        assert_int_equal(m.evidence.reset_rung, rung);
        assert_int_equal(m.facts.use, HWD_USE_FREE);
        assert_false(m.facts.flags & (HWD_FACT_ARMED | HWD_FACT_HANDED_OVER));
        assert_int_equal(!!(m.facts.flags & HWD_FACT_BOUND), rung != HWD_RUNG_REMOVE_RESCAN);
    }
    assert_ok(client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0));
    assert_int_equal(c->gone, 0);
    client_close(c);
    kit_stop(k);
}

static void
the_mode_floor_and_verify_policy_hold(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 1 --driver vfio-pci", "");
    struct client *c = client_open(k);
    struct hwd_message m;

    (void)state;
    assert_refused(client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_DEVTOOLS, 0), REASON_MODE_FORBIDDEN);
    assert_refused(client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_OFF, 0), REASON_MODE_FORBIDDEN);
    assert_refused(client_do(c, HWD_OP_VERIFY, GPU0, CC_MODE_OFF, 0), REASON_MODE_FORBIDDEN);
    assert_ok(client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, HWD_REQ_HANDOVER));
    client_close(c);
    (void)kit_end_hwd(k, 15);
    kit_start_hwd(k, "manage: verify\nmodes: [on, devtools]\n");
    c = client_open(k);
    assert_refused(client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0), REASON_HWD_REFUSED);
    assert_refused(client_do(c, HWD_OP_RESET, GPU0, 0, 0), REASON_HWD_REFUSED);
    assert_refused(client_do(c, HWD_OP_GIVE_BACK, GPU0, 0, 0), REASON_HWD_REFUSED);
    m = client_do(c, HWD_OP_VERIFY, GPU0, CC_MODE_DEVTOOLS, 0);
    assert_refused(m, REASON_MODE_MISMATCH);
    m = client_do(c, HWD_OP_HANDOVER, GPU0, CC_MODE_ON, 0);
    assert_ok(m);
    assert_true(m.facts.flags & HWD_FACT_HANDED_OVER);
    client_close(c);
    kit_stop(k);
}

static void
four_switches_of_one_group_are_armed_together_and_share_one_hold(void **state)
{
    static const char *const sw[] = {"0000:05:00.0", "0000:06:00.0", "0000:07:00.0",
                                     "0000:08:00.0"};
    struct kit *k = kit_start(FAST "--gpus 1 --nvswitches 4 --switch-groups shared", "");
    struct client *c = client_open(k);
    char group[32];

    (void)state;
    assert_int_equal(client_facts(c, sw[0])->gang_size, 4);
    for (unsigned i = 0; i < 4; i++)
        (void)client_send(c, HWD_OP_PREPARE, sw[i], CC_MODE_PPCIE, 0, 0, 0);
    for (unsigned i = 0; i < 4; i++)
        client_wait(c, sw[i], HWD_FACT_ARMED, HWD_FACT_ARMED, HWD_USE_OURS, 20000);
    (void)snprintf(group, sizeof(group), "/dev/vfio/%d", client_facts(c, sw[0])->iommu_group);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(kit_open(k, group, O_RDWR), -1);
        assert_int_equal(errno, EBUSY);
        assert_ok(client_do(c, HWD_OP_HANDOVER, sw[i], CC_MODE_PPCIE, 0));
    }
    (void)close(vmm_open(k, group));
    client_close(c);
    kit_stop(k);
}

static void
a_driver_taken_away_under_us_disarms_the_unit(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 1", "");
    struct client *c = client_open(k);
    int fd;

    (void)state;
    assert_ok(client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0));
    fd = kit_open(k, "/sys/bus/pci/devices/" GPU0 "/driver/unbind", O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, GPU0, strlen(GPU0)), strlen(GPU0));
    (void)close(fd);
    client_wait(c, GPU0, HWD_FACT_ARMED | HWD_FACT_BOUND, 0, -1, 5000);
    assert_ok(client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0));
    client_close(c);
    kit_stop(k);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prepare_binds_sets_resets_verifies_and_holds),
        cmocka_unit_test(eight_in_parallel_take_about_as_long_as_one),
        cmocka_unit_test(handover_lets_the_vmm_in_and_sees_it_come_and_go),
        cmocka_unit_test(a_held_device_is_never_touched_and_the_holder_is_named),
        cmocka_unit_test(verify_reads_only_and_holds_when_asked),
        cmocka_unit_test(give_back_restores_the_former_drivers),
        cmocka_unit_test(every_rung_of_the_ladder_works_and_leaves_the_unit_unheld),
        cmocka_unit_test(the_mode_floor_and_verify_policy_hold),
        cmocka_unit_test(four_switches_of_one_group_are_armed_together_and_share_one_hold),
        cmocka_unit_test(a_driver_taken_away_under_us_disarms_the_unit),
    };

    if (!kit_possible())
        return 77;
    return cmocka_run_group_tests_name("hwd.ops", tests, NULL, NULL);
}
