/* SPDX-License-Identifier: Apache-2.0
 *
 * The main job from end to end, under both prepare policies: a pod asks for GPUs and gets
 * confidential ones; it ends and they are scrubbed and offered again.
 */
#include "tests/sim/daemon/harness.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define RES "nvidia.com/pgpu"

static void
eager_arms_all_and_hands_out_verified_gpus(void **state)
{
    struct harness *h = harness_start(&(struct harness_options){.node_args = "--gpus 8"});
    struct h_grant g;
    char node[128];

    (void)state;
    harness_wait_healthy(h, RES, 8, 10000);
    h_run(h, &g, "default/a " RES "=2");
    assert_int_equal(g.n, 2);
    for (size_t i = 0; i < g.n; i++) {
        harness_wait_unit(h, g.id[i], "state", "allocated", 1000);
        harness_wait_unit(h, g.id[i], "mode_active", "on", 0);
        harness_wait_unit(h, g.id[i], "mode_configured", "on", 0);
        harness_cdi_node(h, g.id[i], node, sizeof(node));
        assert_string_equal(node, g.node[i]);
        assert_int_equal(strncmp(node, "/dev/vfio/devices/vfio", 22), 0);
    }
    h_end(h, "default/a");
    harness_wait_healthy(h, RES, 8, 10000);
    h_no_violations(h);
    harness_stop(h);
}

static void
a_used_gpu_is_scrubbed_before_it_is_offered_again(void **state)
{
    struct harness *h = harness_start(&(struct harness_options){.node_args = "--gpus 2"});
    struct h_grant g;
    int64_t resets;

    (void)state;
    harness_wait_healthy(h, RES, 2, 10000);
    h_run(h, &g, "default/a " RES "=1");
    int vm = h_vmm_open(h, g.node[0]);

    assert_true(vm >= 0);
    harness_wait_unit(h, g.id[0], "state", "in_use", 2000);
    harness_wait_unit(h, g.id[0], "pod", "a", 2000);
    h_end(h, "default/a");
    /* the pod is gone, its VM is not: hardware untouched, not offered, the reason is named */
    resets = h_resets(h, g.id[0]);
    harness_wait_unit(h, g.id[0], "state", "releasing", 5000);
    harness_wait_unit(h, g.id[0], "reason", "WAIT_RELEASE", 1000);
    harness_wait_healthy(h, RES, 1, 2000);
    h_sleep_ms(500);
    assert_int_equal(h_resets(h, g.id[0]), resets);
    (void)close(vm);
    harness_wait_unit(h, g.id[0], "state", "ready", 5000);
    /* closing resets once as the kernel does; the scrub is one more */
    assert_true(h_resets(h, g.id[0]) >= resets + 2);
    harness_wait_healthy(h, RES, 2, 2000);
    h_no_violations(h);
    harness_stop(h);
}

static void
allocate_policy_leaves_gpus_untouched_until_asked(void **state)
{
    struct harness *h = harness_start(
        &(struct harness_options){.node_args = "--gpus 8", .pgpud_yaml = "prepare: allocate\n"});
    struct h_grant g;
    char node[128];

    (void)state;
    harness_wait_healthy(h, RES, 8, 10000);
    harness_cdi_node(h, H_GPU0, node, sizeof(node));
    assert_string_equal(node, "");
    assert_string_equal(h_driver(h, H_GPU0), "");
    h_run(h, &g, "default/a " RES "=4");
    assert_int_equal(g.n, 4);
    for (size_t i = 0; i < g.n; i++) {
        assert_string_equal(h_driver(h, g.id[i]), "vfio-pci");
        harness_wait_unit(h, g.id[i], "mode_active", "on", 0);
        harness_cdi_node(h, g.id[i], node, sizeof(node));
        assert_string_equal(node, g.node[i]);
    }
    h_end(h, "default/a");
    harness_wait_unit(h, g.id[0], "state", "ready", 10000);
    harness_wait_healthy(h, RES, 8, 5000);
    h_no_violations(h);
    harness_stop(h);
}

/* How many lines of pgpud's log have both words. */
static unsigned
log_lines(struct harness *h, const char *word, const char *other)
{
    char path[128], line[2048];
    unsigned n = 0;
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/pgpud.log", harness_dir(h));
    f = fopen(path, "re");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f))
        n += strstr(line, word) && strstr(line, other);
    (void)fclose(f);
    return n;
}

/* Every record that is written is flushed to disk. */
static void
a_look_that_finds_nothing_new_writes_nothing(void **state)
{
    struct harness *h = harness_start(&(struct harness_options){
        .node_args = "--gpus 1", .pgpud_yaml = "health_interval: 100ms\n"});
    uint64_t end = h_now_ms() + 30000;
    struct stat before, after;
    unsigned looks;
    char path[160];

    (void)state;
    harness_wait_healthy(h, RES, 1, 10000);
    (void)snprintf(path, sizeof(path), "%s/state/dev/" H_GPU0 ".json", harness_dir(h));
    assert_int_equal(stat(path, &before), 0);
    looks = log_lines(h, "op=verify", "msg=operation");
    while (log_lines(h, "op=verify", "msg=operation") < looks + 4) {
        if (h_now_ms() > end)
            fail_msg("nobody looks at the GPU");
        h_sleep_ms(20);
    }
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
    h_no_violations(h);
    harness_stop(h);
}

static void
a_restart_says_what_it_found(void **state)
{
    struct harness *h = harness_start(&(struct harness_options){.node_args = "--gpus 1"});

    (void)state;
    harness_wait_healthy(h, RES, 1, 10000);
    assert_int_equal(log_lines(h, "device found", "model=\"GH100"), 1);
    harness_kill(h, H_PGPUD, SIGTERM);
    harness_run(h, H_PGPUD);
    harness_wait_unit(h, H_GPU0, "state", "ready", 10000);
    assert_int_equal(log_lines(h, "device known from before", "resource=" RES), 1);
    /* with what the hardware service says of it, and only then */
    assert_int_equal(log_lines(h, "device found", "model=\"GH100"), 2);
    assert_int_equal(log_lines(h, "device found", "device=" H_GPU0), 2);
    harness_stop(h);
}

/* Who listens to what happens (metrics, audit log, followers) hears of its end as well. */
static void
an_orderly_stop_ends_an_allocate_that_is_under_way(void **state)
{
    struct harness *h =
        harness_start(&(struct harness_options){.node_args = "--gpus 1", .pod_poll = "60s"});
    struct harness_call *call;
    struct h_grant g;
    int vm;

    (void)state;
    harness_wait_healthy(h, RES, 1, 10000);
    h_run(h, &g, "default/former " RES "=1");
    vm = h_vmm_open(h, g.node[0]);
    assert_true(vm >= 0);
    harness_wait_unit(h, g.id[0], "state", "in_use", 5000);
    h_end(h, "default/former");
    call = harness_kubelet_async(h, "run default/next " RES "=1");
    harness_wait_unit(h, g.id[0], "state", "releasing", 10000);
    harness_kill(h, H_PGPUD, SIGTERM);
    h_expect_refusal(harness_join(call), "pgpud is stopping");
    assert_int_equal(log_lines(h, "allocate failed", "pgpud is stopping"), 1);
    assert_int_equal(log_lines(h, "AddressSanitizer", ""), 0);
    (void)close(vm);
    harness_stop(h);
}

static void
verify_policy_binds_and_resets_nothing(void **state)
{
    struct harness *h = harness_start(
        &(struct harness_options){.node_args = "--gpus 2",
                                  .hwd_yaml = "manage: verify\n",
                                  .pgpud_yaml = "manage: verify\nhealth_interval: 300ms\n"});
    struct h_grant g;
    int64_t resets;

    (void)state;
    harness_wait_unit(h, H_GPU0, "reason", "NOT_BOUND", 5000);
    harness_wait_healthy(h, RES, 0, 1000);
    assert_string_equal(h_driver(h, H_GPU0), "");
    /* the node's own tools bind it and switch it on */
    h_bind_vfio(h, H_GPU0);
    harness_wait_unit(h, H_GPU0, "reason", "MODE_MISMATCH", 5000);
    free(harness_node(h, "knob %s 8 1", H_GPU0));
    free(harness_node(h, "knob %s 10 2", H_GPU0));
    h_reset(h, H_GPU0);
    resets = h_resets(h, H_GPU0);
    harness_wait_unit(h, H_GPU0, "state", "ready", 5000);
    harness_wait_healthy(h, RES, 1, 2000);
    h_run(h, &g, "default/a " RES "=1");
    assert_string_equal(g.id[0], H_GPU0);
    assert_int_equal(h_resets(h, H_GPU0), resets);
    h_no_violations(h);
    harness_stop(h);
}

static void
a_gpu_that_refuses_the_mode_is_quarantined_with_the_reason(void **state)
{
    struct harness *h = harness_start(
        &(struct harness_options){.node_args = "--gpus 2 --fault " H_GPU0 ":write-refused=8"});

    (void)state;
    harness_wait_unit(h, H_GPU0, "state", "quarantined", 5000);
    harness_wait_unit(h, H_GPU0, "reason", "FSP_ERROR", 5000);
    harness_wait_healthy(h, RES, 1, 5000);
    assert_int_equal(h_ever_healthy(h, RES, H_GPU0), 0);
    /* repaired: the ladder finds out by itself */
    free(harness_node(h, "fault %s clear", H_GPU0));
    harness_wait_unit(h, H_GPU0, "state", "ready", 10000);
    harness_wait_healthy(h, RES, 2, 2000);
    h_no_violations(h);
    harness_stop(h);
}

static void
switches_of_one_group_go_together_or_not_at_all(void **state)
{
    struct harness *h = harness_start(
        &(struct harness_options){.node_args = "--gpus 2 --nvswitches 4 --switch-groups shared"});
    struct h_grant g;

    (void)state;
    harness_wait_healthy(h, "nvidia.com/nvswitch", 4, 10000);
    h_run_fails(h, "default/few nvidia.com/nvswitch=2", "GANG_INCOMPLETE|all 4 must be");
    harness_wait_healthy(h, "nvidia.com/nvswitch", 4, 5000);
    h_run(h, &g, "default/all nvidia.com/nvswitch=4");
    assert_int_equal(g.n, 4);
    h_no_violations(h);
    harness_stop(h);
}

static void
a_gang_that_was_used_is_offered_again(void **state)
{
    struct harness *h = harness_start(
        &(struct harness_options){.node_args = "--gpus 1 --nvswitches 4 --switch-groups shared"});
    struct h_grant g;
    int vm[4];

    (void)state;
    harness_wait_healthy(h, "nvidia.com/nvswitch", 4, 10000);
    for (int round = 0; round < 2; round++) {
        h_run(h, &g, "default/all nvidia.com/nvswitch=4");
        assert_int_equal(g.n, 4);
        for (size_t i = 0; i < 4; i++) {
            vm[i] = h_vmm_open(h, g.node[i]);
            if (vm[i] < 0)
                fail_msg("open %s: %s", g.node[i], strerror(-vm[i]));
        }
        for (size_t i = 0; i < 4; i++)
            harness_wait_unit(h, g.id[i], "state", "in_use", 2000);
        harness_wait_unit(h, g.id[0], "pod", "all", 2000);
        h_end(h, "default/all");
        for (size_t i = 0; i < 4; i++)
            (void)close(vm[i]);
        for (size_t i = 0; i < 4; i++)
            harness_wait_unit(h, g.id[i], "state", "ready", 10000);
        harness_wait_healthy(h, "nvidia.com/nvswitch", 4, 5000);
    }
    h_no_violations(h);
    harness_stop(h);
}

static void
per_model_names_give_one_resource_each(void **state)
{
    struct harness *h = harness_start(&(struct harness_options){
        .node_args = "--gpus 3 --model h100-sxm:2,h100-pcie:1",
        .pgpud_yaml = "resources:\n  - name: nvidia.com/{model}\n    match: gpu\n"});

    (void)state;
    harness_wait_healthy(h, "nvidia.com/GH100_H100_SXM5_80GB", 2, 10000);
    harness_wait_healthy(h, "nvidia.com/GH100_H100_PCIE", 1, 10000);
    harness_stop(h);
}

static void
a_full_cdi_directory_keeps_gpus_unhealthy_and_heals(void **state)
{
    struct harness *h =
        harness_start(&(struct harness_options){.node_args = "--gpus 2", .no_pgpud = true});
    char path[128];

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/cdi", harness_dir(h));
    assert_int_equal(mount("tmpfs", path, "tmpfs", 0, "size=4k,nr_inodes=1"), 0);
    harness_run(h, H_PGPUD);
    harness_wait_unit(h, H_GPU0, "state", "ready", 10000);
    harness_wait_healthy(h, RES, 0, 2000);
    assert_int_equal(umount(path), 0);
    harness_wait_healthy(h, RES, 2, 10000);
    harness_stop(h);
}

static void
a_gpu_on_the_nvidia_driver_is_left_alone(void **state)
{
    struct harness *h = harness_start(&(struct harness_options){
        .node_args = "--gpus 1 --add 0000:41:00.0=h100-sxm,driver=nvidia"});

    (void)state;
    harness_wait_healthy(h, RES, 1, 10000);
    assert_string_equal(h_driver(h, "0000:41:00.0"), "nvidia");
    harness_wait_unit(h, "0000:41:00.0", "listed", "false", 0);
    harness_stop(h);
}

/* A line of /proc/PID/status. */
static void
status_line(pid_t pid, const char *key, char *buf, size_t size)
{
    char path[64], line[256];
    FILE *f;

    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    f = fopen(path, "re");
    assert_non_null(f);
    buf[0] = '\0';
    while (fgets(line, sizeof(line), f))
        if (strncmp(line, key, strlen(key)) == 0)
            (void)snprintf(buf, size, "%.*s", (int)strcspn(line, "\n"), line);
    (void)fclose(f);
}

static void
the_parsing_process_has_no_power(void **state)
{
    struct harness *h = harness_start(&(struct harness_options){.node_args = "--gpus 1"});
    char line[128];

    (void)state;
    harness_wait_healthy(h, RES, 1, 10000);
    status_line(harness_pid(h, H_PGPUD), "CapEff:", line, sizeof(line));
    assert_string_equal(line, "CapEff:\t0000000000000000");
    status_line(harness_pid(h, H_PGPUD), "CapBnd:", line, sizeof(line));
    assert_string_equal(line, "CapBnd:\t0000000000000000");
    status_line(harness_pid(h, H_PGPUD), "NoNewPrivs:", line, sizeof(line));
    assert_string_equal(line, "NoNewPrivs:\t1");
    harness_stop(h);
}

static void
stopping_changes_nothing_on_the_node(void **state)
{
    struct harness *h = harness_start(&(struct harness_options){.node_args = "--gpus 2"});
    struct h_grant g;
    char node[128];
    int64_t resets;

    (void)state;
    harness_wait_healthy(h, RES, 2, 10000);
    h_run(h, &g, "default/a " RES "=1");
    int vm = h_vmm_open(h, g.node[0]);

    assert_true(vm >= 0);
    harness_wait_unit(h, g.id[0], "state", "in_use", 2000);
    resets = h_resets(h, g.id[0]);
    harness_kill(h, H_PGPUD, SIGTERM);
    harness_kill(h, H_HWD, SIGTERM);
    harness_cdi_node(h, g.id[0], node, sizeof(node));
    assert_string_equal(node, g.node[0]);
    assert_string_equal(h_driver(h, g.id[0]), "vfio-pci");
    assert_int_equal(h_resets(h, g.id[0]), resets);
    /* and back: the running VM is not disturbed, the other GPU is offered again */
    harness_run(h, H_HWD);
    harness_run(h, H_PGPUD);
    harness_wait_unit(h, g.id[0], "state", "in_use", 5000);
    harness_wait_healthy(h, RES, 2, 10000);
    assert_int_equal(h_resets(h, g.id[0]), resets);
    h_no_violations(h);
    harness_stop(h);
}

/* A restart of pgpud must not take what is handed out from the CDI file for a moment, nor from the
 * kubelet's list, be the hardware service up or not. */
static void
a_restart_never_drops_what_is_handed_out(void **state)
{
    struct harness *h = harness_start(&(struct harness_options){.node_args = "--gpus 4"});
    struct h_grant g;
    char ev[4096]; /* inotify events */
    char path[128];
    int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

    (void)state;
    harness_wait_healthy(h, RES, 4, 10000);
    h_run(h, &g, "default/a " RES "=2");
    int vm = h_vmm_open(h, g.node[0]);

    assert_true(vm >= 0);
    harness_wait_unit(h, g.id[0], "state", "in_use", 2000);
    harness_kill(h, H_PGPUD, SIGKILL);
    (void)snprintf(path, sizeof(path), "%s/cdi", harness_dir(h));
    assert_true(inotify_add_watch(watch, path, IN_DELETE) >= 0);
    harness_run(h, H_PGPUD);
    harness_wait_unit(h, g.id[0], "state", "in_use", 5000);
    harness_wait_unit(h, g.id[1], "state", "allocated", 5000);
    harness_wait_healthy(h, RES, 4, 10000);
    assert_true(read(watch, ev, sizeof(ev)) < 0); /* the file was replaced, never removed */
    /* and with the hardware service away: listed all the same, in use as Healthy */
    harness_kill(h, H_PGPUD, SIGTERM);
    harness_kill(h, H_HWD, SIGTERM);
    harness_run(h, H_PGPUD);
    harness_wait_healthy(h, RES, 2, 10000);
    assert_true(read(watch, ev, sizeof(ev)) < 0);
    harness_run(h, H_HWD);
    harness_wait_unit(h, g.id[0], "state", "in_use", 5000);
    harness_wait_healthy(h, RES, 4, 10000);
    (void)close(watch);
    (void)close(vm);
    h_no_violations(h);
    harness_stop(h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eager_arms_all_and_hands_out_verified_gpus),
        cmocka_unit_test(a_used_gpu_is_scrubbed_before_it_is_offered_again),
        cmocka_unit_test(allocate_policy_leaves_gpus_untouched_until_asked),
        cmocka_unit_test(a_look_that_finds_nothing_new_writes_nothing),
        cmocka_unit_test(a_restart_says_what_it_found),
        cmocka_unit_test(an_orderly_stop_ends_an_allocate_that_is_under_way),
        cmocka_unit_test(verify_policy_binds_and_resets_nothing),
        cmocka_unit_test(a_gpu_that_refuses_the_mode_is_quarantined_with_the_reason),
        cmocka_unit_test(switches_of_one_group_go_together_or_not_at_all),
        cmocka_unit_test(a_gang_that_was_used_is_offered_again),
        cmocka_unit_test(per_model_names_give_one_resource_each),
        cmocka_unit_test(a_full_cdi_directory_keeps_gpus_unhealthy_and_heals),
        cmocka_unit_test(a_gpu_on_the_nvidia_driver_is_left_alone),
        cmocka_unit_test(a_restart_never_drops_what_is_handed_out),
        cmocka_unit_test(the_parsing_process_has_no_power),
        cmocka_unit_test(stopping_changes_nothing_on_the_node),
    };

    if (!harness_possible())
        return 77;
    return cmocka_run_group_tests_name("daemon.life", tests, NULL, NULL);
}
