/* SPDX-License-Identifier: Apache-2.0
 *
 * Failures of the host around the GPU: writes that the kernel refuses or does not come back from,
 * drivers and nodes that are not there, groups and attributes that are not as they should be, and
 * GPUs that leave the bus in every phase. One GPU of the node is hit; the other one goes on.
 *
 * Lanes: the two prepare policies.
 */
#include "tests/sim/daemon/faults.h"

#include "base/cleanup.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SICK H_GPU0
#define GOOD H_GPU1
#define SCALE " --time-scale 0.005"

static bool eager;
static struct harness *h;

/* pgpud is started by the test, when the fault is in place. */
static void
node(const char *args, const char *hwd_yaml, const char *pgpud_yaml)
{
    static char y[512], w[512];

    (void)snprintf(y, sizeof(y), "%s%s%s", F_PGPUD_YAML, eager ? "" : "prepare: allocate\n",
                   pgpud_yaml);
    (void)snprintf(w, sizeof(w), "%srescan: 1s\n%s", F_HWD_YAML, hwd_yaml);
    h = harness_start(&(struct harness_options){
        .node_args = args, .hwd_yaml = w, .pgpud_yaml = y, .no_pgpud = true});
}

static void
tell(const char *command)
{
    free(harness_node(h, "%s", command));
}

static int
teardown(void **state)
{
    (void)state;
    if (h)
        f_abandon(h); /* a case that failed */
    h = NULL;
    return 0;
}

static void
end(void)
{
    h_no_violations(h);
    harness_stop(h);
    h = NULL;
}

/* Nobody's, and not just being scrubbed after the pod before. */
static void
wait_at_rest(const char *id)
{
    for (uint64_t until = h_now_ms() + 10000; h_now_ms() < until; h_sleep_ms(10)) {
        json_object *s = harness_status(h);
        json_object *u = harness_unit(s, id);
        bool rest =
            strcmp(jstr(u, "state"), "ready") == 0 || strcmp(jstr(u, "state"), "found") == 0;

        rest = rest && jbool(u, "healthy");
        (void)json_object_put(s);
        if (rest)
            return;
    }
    fail_msg("%s does not come to rest", id);
}

static void
one_pod_gets(const char *id)
{
    struct h_grant g;

    wait_at_rest(id);
    h_run(h, &g, "default/good " F_RES "=1");
    assert_int_equal(g.n, 1);
    assert_string_equal(g.id[0], id);
    f_check_grant(h, &g);
    h_end(h, "default/good");
}

/* pgpud has just been started: SICK ends in the state for the reason, a request that needs it is
 * refused with both named, and GOOD is not affected. */
static void
expect_sick(const char *state, const char *reason)
{
    json_object *reply;

    if (eager) {
        f_wait_state(h, SICK, state, reason, 10000);
        harness_wait_healthy(h, F_RES, 1, 10000);
        assert_int_equal(h_ever_healthy(h, F_RES, SICK), 0);
        f_capacity(h, 2, 1);
    } else {
        harness_wait_healthy(h, F_RES, 2, 10000);
        reply = harness_kubelet(h, "run default/both " F_RES "=2");
        if (jbool(reply, "ok") || !strstr(json_object_to_json_string(reply), SICK))
            fail_msg("not refused for %s: %s", SICK, json_object_to_json_string(reply));
        h_expect_refusal(reply, reason);
        f_wait_state(h, SICK, state, reason, 3000);
        harness_wait_unit(h, GOOD, "state", "ready", 10000);
        f_capacity(h, 2, 1);
    }
    one_pod_gets(GOOD);
}

static void
expect_both_back(void)
{
    f_wait_state(h, SICK, "ready", NULL, 15000);
    harness_wait_healthy(h, F_RES, 2, 10000);
    assert_true(f_is_verified(h, SICK));
}

static void
rule_case(const char *args, const char *hwd_yaml, const char *rule, const char *state,
          const char *reason)
{
    node(args, hwd_yaml, "");
    tell(rule);
    harness_run(h, H_PGPUD);
    expect_sick(state, reason);
    tell("rules clear");
    expect_both_back();
    end();
}

/* ---- the kernel refuses ---- */

static void
bind_is_refused(void **state)
{
    (void)state;
    rule_case("--gpus 2" SCALE, "", "fail write:*/vfio-pci/bind=" SICK " EINVAL", "quarantined",
              "BIND_FAILED");
}

static void
bind_says_yes_and_does_nothing(void **state)
{
    (void)state;
    rule_case("--gpus 2" SCALE, "", "ignore write:*/vfio-pci/bind=" SICK, "quarantined",
              "BIND_FAILED");
}

static void
the_driver_override_cannot_be_written(void **state)
{
    (void)state;
    rule_case("--gpus 2" SCALE, "", "fail write:*/" SICK "/driver_override EIO", "quarantined",
              "BIND_FAILED");
}

static void
power_control_cannot_be_written(void **state)
{
    (void)state;
    rule_case("--gpus 2" SCALE, "", "fail write:*/" SICK "/power/control EIO", "quarantined",
              "POWER_STATE");
}

static void
every_reset_is_refused(void **state)
{
    (void)state;
    rule_case("--gpus 2" SCALE, "", "fail write:*/" SICK "/reset ENOTTY", "quarantined",
              "RESET_FAILED");
}

static void
the_group_is_held_by_a_stranger(void **state)
{
    (void)state;
    rule_case("--gpus 2" SCALE, "", "fail open:/dev/vfio/1 EBUSY", "quarantined", "IN_USE");
}

/* ---- the kernel does not come back ---- */

static void
a_hanging_unbind_is_stuck_and_alone(void **state)
{
    (void)state;
    rule_case("--gpus 2 --driver nvidia" SCALE, "claim: [unbound, vfio, nvidia]\n",
              "hang write:*/nvidia/unbind=" SICK " 0", "stuck", "STUCK");
}

static void
a_hanging_bind_is_stuck_and_alone(void **state)
{
    (void)state;
    rule_case("--gpus 2" SCALE, "", "hang write:*/vfio-pci/bind=" SICK " 0", "stuck", "STUCK");
}

static void
a_hanging_reset_is_stuck_and_alone(void **state)
{
    (void)state;
    rule_case("--gpus 2" SCALE, "", "hang write:*/" SICK "/reset 0", "stuck", "STUCK");
}

static void
a_hanging_look_at_one_gpu_stops_no_pod(void **state)
{
    struct h_grant g;

    (void)state;
    node("--gpus 2" SCALE, "", "");
    harness_run(h, H_PGPUD);
    harness_wait_healthy(h, F_RES, 2, 10000);
    tell("hang read:*/" SICK "/class 0");
    tell("uevent " SICK " change");
    h_sleep_ms(200);
    h_run(h, &g, "default/both " F_RES "=2");
    f_check_grant(h, &g);
    tell("rules clear");
    h_end(h, "default/both");
    harness_wait_unit(h, SICK, "state", "ready", 10000);
    harness_wait_unit(h, GOOD, "state", "ready", 10000);
    harness_wait_healthy(h, F_RES, 2, 10000);
    end();
}

/* ---- the host is not as it should be ---- */

static void
expect_none(const char *reason)
{
    f_wait_state(h, SICK, "quarantined", reason, 10000);
    f_wait_state(h, GOOD, "quarantined", reason, 10000);
    harness_wait_healthy(h, F_RES, 0, 5000);
    f_capacity(h, 2, 0);
    assert_int_equal(h_ever_healthy(h, F_RES, SICK), 0);
    h_run_fails(h, "default/a " F_RES "=1", "no healthy devices");
}

static void
vfio_pci_is_not_loaded_until_later(void **state)
{
    (void)state;
    node("--gpus 2 --no-vfio" SCALE, "", "");
    harness_run(h, H_PGPUD);
    expect_none("VFIO_PCI_NOT_LOADED");
    tell("load vfio-pci");
    harness_wait_healthy(h, F_RES, 2, 15000);
    end();
}

static void
no_iommufd(void **state)
{
    struct h_grant g;

    (void)state;
    node("--gpus 2 --no-iommufd" SCALE, "", "");
    harness_run(h, H_PGPUD);
    expect_none("NO_CDEV");
    assert_string_equal(h_driver(h, SICK), "");
    end();
    /* where the configuration accepts group nodes it works */
    node("--gpus 2 --no-iommufd" SCALE, "vfio_node: group\n", "");
    harness_run(h, H_PGPUD);
    harness_wait_healthy(h, F_RES, 2, 10000);
    h_run(h, &g, "default/a " F_RES "=1");
    f_check_grant(h, &g);
    assert_int_equal(strncmp(g.node[0], "/dev/vfio/", 10), 0);
    assert_true(g.node[0][10] >= '0' && g.node[0][10] <= '9');
    end();
}

static void
no_iommu(void **state)
{
    (void)state;
    node("--gpus 2 --no-iommu" SCALE, "", "");
    harness_run(h, H_PGPUD);
    expect_none("NO_IOMMU");
    assert_string_equal(h_driver(h, SICK), "");
    end();
}

static void
two_gpus_in_one_group(void **state)
{
    (void)state;
    node("--gpus 2 --gpus-per-group 2" SCALE, "", "");
    harness_run(h, H_PGPUD);
    expect_none("GROUP_SHARED");
    assert_string_equal(h_driver(h, SICK), "");
    assert_int_equal(h_resets(h, SICK), 0);
    end();
}

static void
virtual_functions_are_enabled(void **state)
{
    (void)state;
    node("--gpus 2 --vfs 2" SCALE, "", "");
    harness_run(h, H_PGPUD);
    expect_none("VFS_ENABLED");
    assert_string_equal(h_driver(h, SICK), "");
    end();
}

static void
the_kernel_is_locked_down(void **state)
{
    (void)state;
    node("--gpus 1 --lockdown" SCALE, "", "");
    harness_run(h, H_PGPUD);
    if (!eager) {
        harness_wait_healthy(h, F_RES, 1, 10000);
        h_run_fails(h, "default/a " F_RES "=1", "LOCKDOWN");
    }
    f_wait_state(h, SICK, "quarantined", "LOCKDOWN", 10000);
    f_check_withdrawn(h, SICK);
    /* nothing that goes away by itself: looked at again when pgpud starts */
    tell("set lockdown off");
    harness_kill(h, H_PGPUD, SIGTERM);
    harness_run(h, H_PGPUD);
    harness_wait_healthy(h, F_RES, 1, 10000);
    one_pod_gets(SICK);
    end();
}

/* ---- garbage in sysfs ---- */

static void
garbage_in_sysfs_hurts_its_device_only(void **state)
{
    /* without the first few nobody can say what the device is; the others can be done without
     * until they are needed */
    enum { IDENTITY = 3 };
    static const char *const attrs[] = {
        "vendor", "device",      "class",        "resource",        "numa_node",    "config",
        "enable", "power_state", "sriov_numvfs", "driver_override", "reset_method",
    };

    (void)state;
    node("--gpus 2" SCALE, "", "");
    harness_run(h, H_PGPUD);
    harness_wait_healthy(h, F_RES, 2, 10000);
    for (size_t i = 0; i < ARRAY_SIZE(attrs); i++) {
        free(harness_node(h, "attr %s %s garbage", SICK, attrs[i]));
        tell("uevent " SICK " change");
        h_sleep_ms(250);
        if (i < IDENTITY)
            f_wait_state(h, SICK, "quarantined", "UNREADABLE", 2000);
        f_capacity(h, 2, i < IDENTITY ? 1 : 2);
        harness_wait_unit(h, GOOD, "healthy", "true", 0);
        free(harness_node(h, "attr %s %s good", SICK, attrs[i]));
        tell("uevent " SICK " change");
        harness_wait_healthy(h, F_RES, 2, 10000);
    }
    end();
}

/* At start, with everything of it garbage: named, never Healthy, and the other one is offered. */
static void
a_gpu_of_garbage_at_start(void **state)
{
    (void)state;
    node("--gpus 2" SCALE, "", "");
    free(harness_node(h, "attr %s class garbage", SICK));
    harness_kill(h, H_HWD, SIGTERM);
    harness_run(h, H_HWD);
    harness_run(h, H_PGPUD);
    harness_wait_healthy(h, F_RES, 1, 10000);
    one_pod_gets(GOOD);
    assert_int_equal(h_ever_healthy(h, F_RES, SICK), 0);
    free(harness_node(h, "attr %s class good", SICK));
    harness_wait_healthy(h, F_RES, 2, 10000);
    end();
}

/* ---- leaving the bus ---- */

static void
expect_gone_and_back(const char *id)
{
    harness_wait_unit(h, id, "state", "gone", 10000);
    harness_wait_unit(h, id, "listed", "true", 0);
    harness_wait_healthy(h, F_RES, 1, 3000);
    f_capacity(h, 2, 1);
    free(harness_node(h, "plug %s", id));
    harness_wait_healthy(h, F_RES, 2, 15000);
}

static void
unplugged_while_armed(void **state)
{
    (void)state;
    node("--gpus 2" SCALE, "", "");
    for (unsigned k = 0; k < 6; k++) {
        harness_run(h, H_PGPUD);
        harness_wait_unit(h, SICK, "id", SICK, 10000); /* seen before it goes */
        h_sleep_ms(k * 15);
        tell("unplug " SICK);
        harness_wait_unit(h, GOOD, "healthy", "true", 10000);
        expect_gone_and_back(SICK);
        harness_kill(h, H_PGPUD, SIGTERM);
        harness_kill(h, H_HWD, SIGKILL);
        h_unbind(h, SICK);
        h_forget(h);
        harness_run(h, H_HWD);
    }
    harness_run(h, H_PGPUD);
    harness_wait_healthy(h, F_RES, 2, 10000);
    end();
}

static void
unplugged_while_ready(void **state)
{
    struct h_grant g;

    (void)state;
    node("--gpus 2" SCALE, "", "");
    harness_run(h, H_PGPUD);
    harness_wait_healthy(h, F_RES, 2, 10000);
    if (!eager) { /* armed from the first use on */
        h_run(h, &g, "default/first " F_RES "=2");
        h_end(h, "default/first");
        harness_wait_unit(h, SICK, "state", "ready", 10000);
        harness_wait_healthy(h, F_RES, 2, 10000);
    }
    tell("unplug " SICK);
    harness_wait_unit(h, SICK, "state", "gone", 10000);
    one_pod_gets(GOOD);
    harness_wait_unit(h, GOOD, "state", "ready", 10000);
    expect_gone_and_back(SICK);
    end();
}

/* The slow firmware makes the window wide. */
static void
unplugged_during_allocate(void **state)
{
    (void)state;
    node("--gpus 2" SCALE, "", "");
    harness_run(h, H_PGPUD);
    harness_wait_healthy(h, F_RES, 2, 10000);
    tell("fault " SICK " slow-reply=60");
    for (unsigned k = 0; k < 3; k++) {
        struct harness_call *c = harness_kubelet_async(h, "run default/both%u " F_RES "=2", k);
        json_object *reply;

        h_sleep_ms(20 + 40 * k);
        tell("unplug " SICK);
        reply = harness_join(c);
        if (!strstr(json_object_to_json_string(reply), SICK))
            fail_msg("not refused for %s: %s", SICK, json_object_to_json_string(reply));
        /* the kernel takes the driver away before the device: bound to nothing is true as well */
        h_expect_refusal(reply, "DEVICE_GONE|left the PCI bus|not on the bus|bound to no driver|"
                                "not bound");
        harness_wait_unit(h, GOOD, "healthy", "true", 10000);
        expect_gone_and_back(SICK);
        if (eager)
            harness_wait_unit(h, SICK, "state", "ready", 10000);
    }
    end();
}

static void
unplugged_while_handed_out(void **state)
{
    struct h_grant g;

    (void)state;
    node("--gpus 2" SCALE, "", "");
    harness_run(h, H_PGPUD);
    harness_wait_healthy(h, F_RES, 2, 10000);
    h_run(h, &g, "default/a " F_RES "=1");
    free(harness_node(h, "unplug %s", g.id[0]));
    harness_wait_unit(h, g.id[0], "state", "gone", 10000);
    harness_wait_unit(h, g.id[0], "listed", "true", 0);
    h_end(h, "default/a");
    expect_gone_and_back(g.id[0]);
    end();
}

static void
unplugged_while_in_use(void **state)
{
    struct f_vmm v = F_VMM_INIT;
    struct h_grant g;

    (void)state;
    node("--gpus 2" SCALE, "", "");
    harness_run(h, H_PGPUD);
    harness_wait_healthy(h, F_RES, 2, 10000);
    h_run(h, &g, "default/a " F_RES "=1");
    f_vmm_open(h, &v, g.id[0]);
    harness_wait_unit(h, g.id[0], "state", "in_use", 3000);
    free(harness_node(h, "unplug %s", g.id[0]));
    h_sleep_ms(300);
    f_capacity(h, 2, f_unit_int(h, g.id[0], NULL, "healthy") ? 2 : 1);
    f_vmm_close(&v);
    harness_wait_unit(h, g.id[0], "state", "gone", 10000);
    h_end(h, "default/a");
    expect_gone_and_back(g.id[0]);
    end();
}

static void
unplugged_while_released(void **state)
{
    struct f_vmm v = F_VMM_INIT;
    struct h_grant g;

    (void)state;
    node("--gpus 2" SCALE, "", "");
    harness_run(h, H_PGPUD);
    harness_wait_healthy(h, F_RES, 2, 10000);
    for (unsigned k = 0; k < 3; k++) {
        h_run(h, &g, "default/a " F_RES "=1");
        f_vmm_open(h, &v, g.id[0]);
        harness_wait_unit(h, g.id[0], "state", "in_use", 3000);
        harness_wait_unit(h, g.id[0], "pod", "a", 3000); /* its owner has been seen */
        h_end(h, "default/a");
        harness_wait_unit(h, g.id[0], "state", "releasing", 5000);
        f_vmm_close(&v);
        h_sleep_ms(k * 60);
        free(harness_node(h, "unplug %s", g.id[0]));
        expect_gone_and_back(g.id[0]);
        if (eager)
            harness_wait_unit(h, g.id[0], "state", "ready", 10000);
    }
    end();
}

/* ---- the end of the ladder ---- */

static void
every_rung_is_tried_before_a_power_cycle_is_asked_for(void **state)
{
    bool asked = false;

    (void)state;
    node("--gpus 2" SCALE, "", "");
    tell("fault " SICK " badf");
    harness_run(h, H_PGPUD);
    expect_sick("quarantined", "BAR_DEAD");
    harness_wait_unit(h, SICK, "recovery_rung", "4", 20000);
    f_wait_state(h, SICK, "quarantined", "BAR_DEAD", 5000);
    for (uint64_t until = h_now_ms() + 5000; !asked && h_now_ms() < until; h_sleep_ms(10)) {
        json_object *s = harness_status(h);

        asked = strstr(jstr(harness_unit(s, SICK), "why"), "power-cycle") != NULL;
        (void)json_object_put(s);
    }
    assert_true(asked);
    assert_true(f_log_has(h, "pgpud", "rung=\"function reset\""));
    assert_true(f_log_has(h, "pgpud", "rung=\"bus reset\""));
    assert_true(f_log_has(h, "pgpud", "rung=\"remove and rescan\""));
    f_capacity(h, 2, 1);
    one_pod_gets(GOOD);
    /* repaired, and looked at anew */
    tell("fault " SICK " clear");
    harness_kill(h, H_PGPUD, SIGTERM);
    harness_run(h, H_PGPUD);
    harness_wait_healthy(h, F_RES, 2, 10000);
    end();
}

static int
run_lane(const char *name, const char *only)
{
#define T(f)                                                                                       \
    {                                                                                              \
#f, f, NULL, teardown, NULL                                                                \
    }
    static const struct CMUnitTest all[] = {
        T(bind_is_refused),
        T(bind_says_yes_and_does_nothing),
        T(the_driver_override_cannot_be_written),
        T(power_control_cannot_be_written),
        T(every_reset_is_refused),
        T(the_group_is_held_by_a_stranger),
        T(a_hanging_unbind_is_stuck_and_alone),
        T(a_hanging_bind_is_stuck_and_alone),
        T(a_hanging_reset_is_stuck_and_alone),
        T(a_hanging_look_at_one_gpu_stops_no_pod),
        T(vfio_pci_is_not_loaded_until_later),
        T(no_iommufd),
        T(no_iommu),
        T(two_gpus_in_one_group),
        T(virtual_functions_are_enabled),
        T(the_kernel_is_locked_down),
        T(garbage_in_sysfs_hurts_its_device_only),
        T(a_gpu_of_garbage_at_start),
        T(unplugged_while_armed),
        T(unplugged_while_ready),
        T(unplugged_during_allocate),
        T(unplugged_while_handed_out),
        T(unplugged_while_in_use),
        T(unplugged_while_released),
        T(every_rung_is_tried_before_a_power_cycle_is_asked_for),
    };
#undef T
    struct CMUnitTest tests[ARRAY_SIZE(all)];
    const char *part = strchr(name, '/');
    size_t n = 0;

    eager = strncmp(name, "eager", 5) == 0;
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        bool mine = part && i % 2 == (strcmp(part, "/1") == 0 ? 0 : 1);

        if (mine && (!only || strstr(all[i].name, only)))
            tests[n++] = all[i];
    }
    return _cmocka_run_group_tests(name, tests, n, NULL, NULL);
}

int
main(int argc, char **argv)
{
    static const char *const lanes[] = {"eager/1", "eager/2", "allocate/1", "allocate/2"};

    if (!harness_possible())
        return 77;
    if (argc > 1)
        return run_lane(argv[1], argc > 2 ? argv[2] : NULL);
    return f_run_lanes("daemon.faults_node", lanes, ARRAY_SIZE(lanes));
}
