/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpud, pgpu-hwd, the kubelet and the runtime stand-in on the real kernel: the whole life of a
 * pod, whose VM really opens the GPUs, and services that are killed in its middle. The node's state
 * is carried from test to test; periodic scans are an hour apart, so that only events tell.
 */
#include "tests/sim/daemon/harness.h"
#include "tests/vm/guest/fn.h"
#include "tests/vm/guest/host.h"
#include "tests/vm/guest/vmm.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define RES "nvidia.com/pgpu"
#define SWITCH "nvidia.com/nvswitch"
#define SNP "kata-qemu-nvidia-gpu-snp"
#define GPUS 8
#define SWITCHES 4
#define PAIR 2 /* what the pod default/a gets */

static struct harness *h;
static struct h_grant grant; /* of the pod default/a */

static int
setup(void **state)
{
    (void)state;
    h = harness_start(&(struct harness_options){
        .real_node = true,
        .hwd_yaml = "vfio_node: group\nrescan: 1h\n",
        .pod_poll = "2s",
    });
    harness_run(h, H_RUNTIME);
    h_runtime_ready(h);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    h_no_violations(h);
    harness_stop(h);
    return 0;
}

/* The device of the boot file at that address. */
static const char *
name_of(const char *id)
{
    static char name[16];

    for (unsigned i = 0; i < GPUS; i++) {
        (void)snprintf(name, sizeof(name), "gpu%u", i);
        if (strcmp(vm_addr(name), id) == 0)
            return name;
    }
    fail_msg("no GPU at %s", id);
    return "";
}

static uint64_t
resets_of(const char *id)
{
    return vm_count(name_of(id), "resets");
}

/* What the devices themselves say: lines of `show` with that mode active and configured. */
static unsigned
devices_in(const char *mode)
{
    char *text = vm_host("ctl show"), *save = NULL, col[6][32];
    unsigned n = 0;

    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        n += sscanf(line, "%31s %31s %31s %31s %31s %31s", col[0], col[1], col[2], col[3], col[4],
                    col[5]) == 6 &&
             strcmp(col[4], mode) == 0 && strcmp(col[5], mode) == 0;
    free(text);
    return n;
}

static void
all_are_armed_and_offered(void **state)
{
    struct vmm v;

    (void)state;
    harness_wait_healthy(h, RES, GPUS, 60000);
    harness_wait_healthy(h, SWITCH, SWITCHES, 60000);
    assert_int_equal(devices_in("on"), GPUS);
    for (unsigned i = 0; i < GPUS; i++) {
        char name[16], audio[16];

        (void)snprintf(name, sizeof(name), "gpu%u", i);
        (void)snprintf(audio, sizeof(audio), "audio%u", i);
        assert_string_equal(fn_driver(vm_addr(name)), "vfio-pci");
        assert_string_equal(fn_driver(vm_addr(audio)), "vfio-pci");
        assert_int_equal(vmm_try(&v, vm_addr(name)), EBUSY); /* held */
    }
}

static void
a_pod_gets_two_and_its_vm_opens_them(void **state)
{
    json_object *o;
    uint64_t resets[PAIR] = {0};

    (void)state;
    h_run(h, &grant, "default/a " RES "=2");
    assert_int_equal(grant.n, PAIR);
    for (size_t i = 0; i < PAIR; i++) {
        char node[128];

        harness_wait_unit(h, grant.id[i], "state", "allocated", 10000);
        harness_cdi_node(h, grant.id[i], node, sizeof(node));
        assert_string_equal(node, grant.node[i]);
        resets[i] = resets_of(grant.id[i]);
    }
    h_runtime_ok(h, "run-pod default a " SNP " kata");
    for (size_t i = 0; i < PAIR; i++) {
        harness_wait_unit(h, grant.id[i], "state", "in_use", 10000);
        assert_true(resets_of(grant.id[i]) > resets[i]); /* by the VM's open */
        assert_int_equal(vmm_group_busy(grant.id[i]), EBUSY);
    }
    assert_int_equal(devices_in("on"), GPUS);
    o = h_runtime(h, "create-container default/a main");
    if (!jbool(o, "ok") || !strstr(json_object_to_json_string(o), grant.id[0]))
        fail_msg("create-container: %s", json_object_to_json_string(o));
    (void)json_object_put(o);
}

static void
services_that_are_killed_do_not_disturb_the_vm(void **state)
{
    uint64_t resets[PAIR] = {resets_of(grant.id[0]), resets_of(grant.id[1])};

    (void)state;
    harness_kill(h, H_PGPUD, SIGKILL);
    harness_run(h, H_PGPUD);
    harness_wait_unit(h, grant.id[0], "state", "in_use", 20000);
    harness_kill(h, H_HWD, SIGKILL);
    harness_run(h, H_HWD);
    harness_kill(h, H_PGPUD, SIGKILL);
    harness_kill(h, H_HWD, SIGKILL);
    harness_run(h, H_HWD);
    harness_run(h, H_PGPUD);
    h_runtime_ready(h);
    harness_wait_unit(h, grant.id[0], "state", "in_use", 20000);
    harness_wait_unit(h, grant.id[1], "state", "in_use", 20000);
    /* nobody held the others for a moment: they were prepared anew */
    harness_wait_healthy(h, RES, GPUS, 60000);
    assert_int_equal(resets_of(grant.id[0]), resets[0]);
    assert_int_equal(resets_of(grant.id[1]), resets[1]);
}

static void
the_end_of_the_pod_scrubs_them_and_offers_them_again(void **state)
{
    uint64_t resets[PAIR] = {resets_of(grant.id[0]), resets_of(grant.id[1])};

    (void)state;
    h_end(h, "default/a");
    h_runtime_ok(h, "stop-pod default/a");
    for (size_t i = 0; i < PAIR; i++) {
        harness_wait_unit(h, grant.id[i], "state", "ready", 60000);
        /* the VM's close, and the scrub */
        assert_true(resets_of(grant.id[i]) >= resets[i] + 2);
    }
    harness_wait_healthy(h, RES, GPUS, 60000);
    assert_int_equal(devices_in("on"), GPUS);
    h_runtime_ok(h, "remove-pod default/a");
}

static void
switches_of_one_group_go_to_one_vm(void **state)
{
    struct h_grant g;

    (void)state;
    h_run_fails(h, "default/few " SWITCH "=2", "GANG_INCOMPLETE|all 4 must be");
    h_end(h, "default/few");
    harness_wait_healthy(h, SWITCH, SWITCHES, 60000);
    h_run(h, &g, "default/all " SWITCH "=4");
    assert_int_equal(g.n, SWITCHES);
    h_runtime_ok(h, "run-pod default all " SNP " kata");
    for (size_t i = 0; i < g.n; i++)
        harness_wait_unit(h, g.id[i], "state", "in_use", 10000);
    h_end(h, "default/all");
    h_runtime_ok(h, "stop-pod default/all");
    harness_wait_healthy(h, SWITCH, SWITCHES, 60000);
}

static void
a_gpu_that_is_taken_away_leaves_the_list_at_once_and_comes_back(void **state)
{
    const char *gpu = vm_addr("gpu7");

    (void)state;
    fn_write(gpu, "remove", "1");
    harness_wait_healthy(h, RES, GPUS - 1, 20000);
    harness_wait_unit(h, gpu, "state", "gone", 10000);
    fn_bus_write("rescan", "1");
    harness_wait_unit(h, gpu, "state", "ready", 60000);
    harness_wait_healthy(h, RES, GPUS, 20000);
    assert_int_equal(devices_in("on"), GPUS);
}

static void
a_gpu_unbound_behind_our_back_is_armed_anew(void **state)
{
    const char *gpu = vm_addr("gpu6");
    uint64_t resets = resets_of(gpu);
    uint64_t end = vm_now_ms() + 120000;

    (void)state;
    fn_write(gpu, "driver/unbind", gpu);
    while ((resets_of(gpu) == resets || strcmp(fn_driver(gpu), "vfio-pci") != 0) &&
           vm_now_ms() < end)
        vm_sleep_ms(50);
    assert_string_equal(fn_driver(gpu), "vfio-pci");
    assert_true(resets_of(gpu) > resets);
    harness_wait_unit(h, gpu, "state", "ready", 60000);
    harness_wait_healthy(h, RES, GPUS, 20000);
}

static void
a_gpu_that_dies_while_it_waits_is_quarantined_and_recovers(void **state)
{
    const char *gpu = vm_addr("gpu5");

    (void)state;
    free(vm_host("ctl fault gpu5 all-ones"));
    /* pgpud looks at what waits armed every minute; an Allocate looks at once */
    h_run_fails(h, "default/eight " RES "=8", "BAR_DEAD");
    h_end(h, "default/eight");
    harness_wait_healthy(h, RES, GPUS - 1, 60000);
    free(vm_host("ctl fault gpu5 clear"));
    harness_wait_unit(h, gpu, "state", "ready", 60000);
    harness_wait_healthy(h, RES, GPUS, 60000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_are_armed_and_offered),
        cmocka_unit_test(a_pod_gets_two_and_its_vm_opens_them),
        cmocka_unit_test(services_that_are_killed_do_not_disturb_the_vm),
        cmocka_unit_test(the_end_of_the_pod_scrubs_them_and_offers_them_again),
        cmocka_unit_test(switches_of_one_group_go_to_one_vm),
        cmocka_unit_test(a_gpu_that_is_taken_away_leaves_the_list_at_once_and_comes_back),
        cmocka_unit_test(a_gpu_unbound_behind_our_back_is_armed_anew),
        cmocka_unit_test(a_gpu_that_dies_while_it_waits_is_quarantined_and_recovers),
    };

    if (fn_setup(NULL) < 0)
        return 1;
    return cmocka_run_group_tests_name("vm.pods", tests, setup, teardown);
}
