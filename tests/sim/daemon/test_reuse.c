/* SPDX-License-Identifier: Apache-2.0
 *
 * The reuse rule: what an Allocate of a GPU that was handed out before may answer. Allocate and
 * PodResources carry no pod UID, so the rule keys on use.
 */
#include "tests/sim/daemon/harness.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define RES "nvidia.com/pgpu"

static struct harness *
one_gpu_node(void)
{
    struct harness *h = harness_start(&(struct harness_options){.node_args = "--gpus 1"});

    harness_wait_healthy(h, RES, 1, 10000);
    return h;
}

static void
init_and_main_container_get_the_same_gpu_without_a_reset(void **state)
{
    struct harness *h = one_gpu_node();
    struct h_grant g;
    int64_t resets;

    (void)state;
    h_run(h, &g, "default/a " RES "=1 --container init --init");
    resets = h_resets(h, g.id[0]);
    h_run(h, &g, "default/a " RES "=1 --container main");
    assert_int_equal(h_resets(h, g.id[0]), resets);
    harness_wait_unit(h, g.id[0], "state", "allocated", 1000);
    h_no_violations(h);
    harness_stop(h);
}

/* The pod of a StatefulSet is replaced on a full node: the new one's Allocate comes before anybody
 * has seen the old one go, while the old VM still has the GPU open. */
static void
a_replacement_waits_for_the_old_vm_and_gets_a_scrubbed_gpu(void **state)
{
    struct harness *h = one_gpu_node();
    struct h_grant g;
    struct harness_call *call;
    json_object *reply;
    int64_t resets;

    (void)state;
    h_run(h, &g, "default/db-0 " RES "=1");
    int vm = h_vmm_open(h, g.node[0]);

    assert_true(vm >= 0);
    harness_wait_unit(h, g.id[0], "state", "in_use", 2000);
    h_end(h, "default/db-0");
    call = harness_kubelet_async(h, "run default/db-0 " RES "=1");
    h_sleep_ms(400);
    resets = h_resets(h, g.id[0]);
    (void)close(vm);
    reply = harness_join(call);
    h_grant_of(reply, &g);
    (void)json_object_put(reply);
    assert_true(h_resets(h, g.id[0]) >= resets + 2);
    harness_wait_unit(h, g.id[0], "state", "allocated", 1000);
    harness_wait_unit(h, g.id[0], "mode_active", "on", 0);
    h_no_violations(h);
    harness_stop(h);
}

static void
a_replacement_on_a_gpu_that_was_opened_and_closed_gets_it_scrubbed(void **state)
{
    struct harness *h = one_gpu_node();
    struct h_grant g;
    int64_t resets;

    (void)state;
    h_run(h, &g, "default/db-0 " RES "=1");
    int vm = h_vmm_open(h, g.node[0]);

    assert_true(vm >= 0);
    harness_wait_unit(h, g.id[0], "state", "in_use", 2000);
    (void)close(vm);
    resets = h_resets(h, g.id[0]);
    h_end(h, "default/db-0");
    h_run(h, &g, "default/db-0 " RES "=1");
    assert_true(h_resets(h, g.id[0]) >= resets + 1);
    h_no_violations(h);
    harness_stop(h);
}

static void
a_replacement_fails_at_the_deadline_if_the_old_vm_stays(void **state)
{
    struct harness *h = harness_start(&(struct harness_options){
        .node_args = "--gpus 1", .pgpud_yaml = "allocate_deadline: 800ms\n"});
    struct h_grant g;
    int64_t resets;

    (void)state;
    harness_wait_healthy(h, RES, 1, 10000);
    h_run(h, &g, "default/db-0 " RES "=1");
    int vm = h_vmm_open(h, g.node[0]);

    assert_true(vm >= 0);
    harness_wait_unit(h, g.id[0], "state", "in_use", 2000);
    resets = h_resets(h, g.id[0]);
    h_end(h, "default/db-0");
    h_run_fails(h, "default/db-0 " RES "=1", "DEADLINE|still open|Unhealthy|unhealthy");
    assert_int_equal(h_resets(h, g.id[0]), resets);
    (void)close(vm);
    harness_wait_unit(h, g.id[0], "state", "ready", 5000);
    h_no_violations(h);
    harness_stop(h);
}

static void
a_kubelet_restart_under_a_running_vm_leaves_the_gpu_alone(void **state)
{
    struct harness *h = one_gpu_node();
    struct h_grant g;
    int64_t resets;

    (void)state;
    h_run(h, &g, "default/a " RES "=1 --container init --init");
    h_run(h, &g, "default/a " RES "=1 --container main");
    int vm = h_vmm_open(h, g.node[0]);

    assert_true(vm >= 0);
    harness_wait_unit(h, g.id[0], "state", "in_use", 2000);
    resets = h_resets(h, g.id[0]);
    (void)json_object_put(harness_kubelet(h, "restart"));
    harness_wait_healthy(h, RES, 1, 10000);
    harness_wait_unit(h, g.id[0], "state", "in_use", 1000);
    /* its init containers are admitted again: same answer, hardware untouched */
    h_run(h, &g, "default/a " RES "=1 --container init2 --init");
    assert_int_equal(h_resets(h, g.id[0]), resets);
    h_no_violations(h);
    harness_stop(h);
}

static void
an_unknown_past_means_a_scrub(void **state)
{
    struct harness *h = one_gpu_node();
    struct h_grant g;
    int64_t resets;

    (void)state;
    h_run(h, &g, "default/a " RES "=1 --container init --init");
    /* nobody watched the node while the hardware service was away */
    harness_kill(h, H_HWD, SIGKILL);
    harness_run(h, H_HWD);
    harness_wait_unit(h, g.id[0], "state", "allocated", 5000);
    resets = h_resets(h, g.id[0]);
    h_run(h, &g, "default/a " RES "=1 --container main");
    assert_true(h_resets(h, g.id[0]) >= resets + 1);
    h_no_violations(h);
    harness_stop(h);
}

static void
a_close_is_seen_after_the_hardware_service_restarted(void **state)
{
    struct harness *h = one_gpu_node();
    struct h_grant g;
    int64_t resets;

    (void)state;
    h_run(h, &g, "default/a " RES "=1");
    int vm = h_vmm_open(h, g.node[0]);

    assert_true(vm >= 0);
    harness_wait_unit(h, g.id[0], "pod", "a", 5000);
    harness_kill(h, H_HWD, SIGKILL);
    harness_run(h, H_HWD);
    harness_wait_unit(h, g.id[0], "use", "held", 5000);
    harness_wait_unit(h, g.id[0], "state", "in_use", 1000);
    h_end(h, "default/a");
    harness_wait_unit(h, g.id[0], "state", "releasing", 5000);
    resets = h_resets(h, g.id[0]);
    (void)close(vm);
    harness_wait_unit(h, g.id[0], "state", "ready", 5000);
    assert_true(h_resets(h, g.id[0]) >= resets + 2);
    h_no_violations(h);
    harness_stop(h);
}

static void
a_device_that_leaves_while_nobody_looks_is_missed_later(void **state)
{
    struct harness *h = harness_start(&(struct harness_options){.node_args = "--gpus 2"});

    (void)state;
    harness_wait_healthy(h, RES, 2, 10000);
    harness_kill(h, H_HWD, SIGTERM);
    free(harness_node(h, "unplug %s", H_GPU1));
    harness_run(h, H_HWD);
    harness_wait_unit(h, H_GPU1, "state", "gone", 5000);
    harness_wait_healthy(h, RES, 1, 5000);
    free(harness_node(h, "plug %s", H_GPU1));
    harness_wait_healthy(h, RES, 2, 10000);
    h_no_violations(h);
    harness_stop(h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init_and_main_container_get_the_same_gpu_without_a_reset),
        cmocka_unit_test(a_replacement_waits_for_the_old_vm_and_gets_a_scrubbed_gpu),
        cmocka_unit_test(a_replacement_on_a_gpu_that_was_opened_and_closed_gets_it_scrubbed),
        cmocka_unit_test(a_replacement_fails_at_the_deadline_if_the_old_vm_stays),
        cmocka_unit_test(a_kubelet_restart_under_a_running_vm_leaves_the_gpu_alone),
        cmocka_unit_test(an_unknown_past_means_a_scrub),
        cmocka_unit_test(a_close_is_seen_after_the_hardware_service_restarted),
        cmocka_unit_test(a_device_that_leaves_while_nobody_looks_is_missed_later),
    };

    if (!harness_possible())
        return 77;
    return cmocka_run_group_tests_name("daemon.reuse", tests, NULL, NULL);
}
