/* SPDX-License-Identifier: Apache-2.0
 *
 * What the node tells the cluster without credentials: NFD's feature file and the GPU Operator's
 * files, over the life of GPUs and of pgpud.
 */
#include "tests/sim/daemon/cluster.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define RES "nvidia.com/pgpu"
#define ANY_MODE "modes: [\"off\", \"on\"]\n"

static struct cluster cl;

static void
stop(struct harness *h)
{
    h_no_violations(h);
    harness_stop(h);
    cluster_remove(&cl);
}

static void
labels_follow_the_gpus(void **state)
{
    struct harness *h;
    struct h_grant g;
    int vm;

    (void)state;
    cluster_make(&cl, "60s", false, NULL);
    h = harness_start(&(struct harness_options){
        .node_args = "--gpus 2 --fault " H_GPU1 ":write-refused=8", .pgpud_yaml = cl.yaml});
    /* one cannot be switched: the node is not what its pods would expect */
    harness_wait_unit(h, H_GPU1, "state", "quarantined", 10000);
    harness_wait_unit(h, H_GPU0, "state", "ready", 10000);
    cluster_wait_label(h, &cl, MODE_LABEL, "failed");
    cluster_wait_label(h, &cl, READY_LABEL, "");
    assert_string_equal(cluster_label(&cl, "pgpu.feature.node.kubernetes.io/gpus"), "2");
    assert_string_equal(cluster_label(&cl, "pgpu.feature.node.kubernetes.io/gpus-verified"), "1");
    free(harness_node(h, "fault %s clear", H_GPU1));
    cluster_wait_label(h, &cl, READY_LABEL, "true");
    assert_string_equal(cluster_label(&cl, MODE_LABEL), "on");
    assert_string_equal(cluster_label(&cl, "pgpu.feature.node.kubernetes.io/gpus-verified"), "2");
    /* used and scrubbed: ready all along */
    h_run(h, &g, "default/a " RES "=1");
    vm = h_vmm_open(h, g.node[0]);
    assert_true(vm >= 0);
    harness_wait_unit(h, g.id[0], "state", "in_use", 5000);
    assert_string_equal(cluster_label(&cl, READY_LABEL), "true");
    harness_wait_unit(h, g.id[0], "pod", "a", 5000);
    h_end(h, "default/a");
    harness_wait_unit(h, g.id[0], "state", "releasing", 5000);
    assert_string_equal(cluster_label(&cl, READY_LABEL), "true");
    (void)close(vm);
    harness_wait_unit(h, g.id[0], "state", "ready", 5000);
    assert_string_equal(cluster_label(&cl, READY_LABEL), "true");
    /* nothing is handed out without the hardware service */
    harness_kill(h, H_HWD, SIGKILL);
    cluster_wait_label(h, &cl, READY_LABEL, "false");
    harness_run(h, H_HWD);
    cluster_wait_label(h, &cl, READY_LABEL, "true");
    stop(h);
}

static void
the_labels_of_a_dead_pgpud_expire(void **state)
{
    struct harness *h;
    long long first, last;
    uint64_t end;

    (void)state;
    cluster_make(&cl, "2s", false, NULL);
    h = harness_start(&(struct harness_options){.node_args = "--gpus 1", .pgpud_yaml = cl.yaml});
    cluster_wait_label(h, &cl, READY_LABEL, "true");
    first = cluster_expiry(&cl);
    assert_true(first > 0);
    /* kept up while pgpud lives, though nothing changes */
    end = h_now_ms() + 30000;
    while (cluster_expiry(&cl) <= first + 2 && h_now_ms() < end)
        h_sleep_ms(20);
    assert_true(cluster_expiry(&cl) > first + 2);
    harness_kill(h, H_PGPUD, SIGKILL);
    last = cluster_expiry(&cl);
    assert_true(last <= (long long)time(NULL) + 2);
    end = h_now_ms() + 30000;
    while ((long long)time(NULL) <= last && h_now_ms() < end)
        h_sleep_ms(20);
    assert_int_equal(cluster_expiry(&cl), last); /* and nobody has refreshed it */
    assert_true((long long)time(NULL) > last);
    /* back: written anew */
    harness_run(h, H_PGPUD);
    end = h_now_ms() + 30000;
    while (cluster_expiry(&cl) <= last && h_now_ms() < end)
        h_sleep_ms(20);
    assert_true(cluster_expiry(&cl) > last);
    stop(h);
}

static void
labels_that_somebody_else_sets_are_left_to_them(void **state)
{
    struct harness *h;

    (void)state;
    cluster_make(&cl, "2s", false, NULL);
    cluster_touch(cl.validations, ".cc-manager-ctr-ready", "");
    h = harness_start(&(struct harness_options){.node_args = "--gpus 1", .pgpud_yaml = cl.yaml});
    harness_wait_healthy(h, RES, 1, 10000);
    cluster_wait_label(h, &cl, "pgpu.feature.node.kubernetes.io/gpus-verified", "1");
    assert_string_equal(cluster_label(&cl, READY_LABEL), "(none)");
    assert_string_equal(cluster_label(&cl, MODE_LABEL), "(none)");
    /* cc-manager is taken away: ours again, without a restart */
    {
        char path[160];

        (void)snprintf(path, sizeof(path), "%s/.cc-manager-ctr-ready", cl.validations);
        assert_int_equal(unlink(path), 0);
    }
    cluster_wait_label(h, &cl, READY_LABEL, "true");
    cluster_touch(cl.nfd, "zz-other", "# theirs\nnvidia.com/cc.mode.state=off\n");
    cluster_wait_label(h, &cl, READY_LABEL, "(none)");
    cluster_touch(cl.nfd, "zz-other", "vendor.example/x=1\n");
    cluster_wait_label(h, &cl, READY_LABEL, "true");
    stop(h);
}

static void
without_nfd_nothing_is_made(void **state)
{
    struct harness *h;
    json_object *s;
    char out[4096];

    (void)state;
    cluster_make(&cl, "60s", false, NULL);
    assert_int_equal(rmdir(cl.nfd), 0);
    h = harness_start(&(struct harness_options){.node_args = "--gpus 1", .pgpud_yaml = cl.yaml});
    harness_wait_healthy(h, RES, 1, 10000);
    assert_int_equal(access(cl.nfd, F_OK), -1);
    s = harness_status(h);
    assert_non_null(strstr(jstr(json_object_object_get(s, "labels"), "why"), "is NFD installed?"));
    (void)json_object_put(s);
    assert_int_equal(cluster_ctl(h, out, sizeof(out), "status"), 0);
    assert_non_null(strstr(out, "labels: none: "));
    stop(h);
}

/* NFD's chart may remove its directories and make them anew. Not below /tmp: pgpud's other
 * directories are there, and it may write to all of it. */
static void
a_directory_that_was_made_anew_is_written_to(void **state)
{
    char top[] = "/var/tmp/pgpu-nfd-XXXXXX", path[128];
    struct harness *h;

    (void)state;
    cluster_make(&cl, "2s", false, NULL);
    assert_int_equal(rmdir(cl.nfd), 0);
    assert_non_null(mkdtemp(top));
    (void)snprintf(cl.nfd, sizeof(cl.nfd), "%s/features.d", top);
    assert_int_equal(mkdir(cl.nfd, 0755), 0);
    (void)snprintf(cl.yaml, sizeof(cl.yaml), "nfd: {dir: %s, expiry: 2s}\n", cl.nfd);
    h = harness_start(&(struct harness_options){
        .node_args = "--gpus 1", .pgpud_yaml = cl.yaml, .hwd_yaml = ANY_MODE});
    cluster_wait_label(h, &cl, READY_LABEL, "true");
    (void)snprintf(path, sizeof(path), "%s/pgpu", cl.nfd);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(cl.nfd), 0);
    assert_int_equal(mkdir(cl.nfd, 0755), 0);
    cluster_wait_label(h, &cl, READY_LABEL, "true");
    harness_stop(h);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(cl.nfd), 0);
    assert_int_equal(rmdir(top), 0);
    cluster_remove(&cl);
}

/* Who starts in the middle of a change knows nothing yet: what its predecessor wrote stands. */
static void
a_restart_in_the_middle_of_a_change_writes_nothing_that_is_not_known(void **state)
{
    static const char *const labels[] = {READY_LABEL, MODE_LABEL,
                                         "pgpu.feature.node.kubernetes.io/gpus",
                                         "pgpu.feature.node.kubernetes.io/gpus-verified"};
    static const char *const values[] = {"false", "(none)", "2", "1"};
    struct harness *h;
    struct h_grant g;
    char out[4096];
    int vm;

    (void)state;
    cluster_make(&cl, "60s", false, NULL);
    h = harness_start(&(struct harness_options){
        .node_args = "--gpus 2", .pgpud_yaml = cl.yaml, .hwd_yaml = ANY_MODE});
    harness_wait_healthy(h, RES, 2, 10000);
    cluster_wait_label(h, &cl, READY_LABEL, "true");
    h_run(h, &g, "default/a " RES "=1");
    vm = h_vmm_open(h, g.node[0]);
    assert_true(vm >= 0);
    harness_wait_unit(h, g.id[0], "state", "in_use", 5000);
    assert_int_equal(cluster_ctl(h, out, sizeof(out), "mode set off"), 0);
    harness_wait_healthy(h, RES, 2, 20000);
    cluster_wait_label(h, &cl, labels[3], "1"); /* the one that is free */
    harness_kill(h, H_PGPUD, SIGKILL);
    harness_kill(h, H_HWD, SIGKILL);
    harness_run(h, H_PGPUD);
    cluster_wait_mode(h, "changing", "true");
    for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++)
        assert_string_equal(cluster_label(&cl, labels[i]), values[i]);
    harness_run(h, H_HWD);
    harness_wait_unit(h, g.id[0], "state", "in_use", 10000);
    (void)close(vm);
    h_end(h, "default/a");
    cluster_wait_label(h, &cl, MODE_LABEL, "off");
    stop(h);
}

static void
what_nobody_has_looked_at_is_not_called_ready(void **state)
{
    struct harness *h;
    struct h_grant g;

    (void)state;
    cluster_make(&cl, "60s", true, "prepare: allocate\n");
    h = harness_start(&(struct harness_options){.node_args = "--gpus 1", .pgpud_yaml = cl.yaml});
    harness_wait_healthy(h, RES, 1, 10000);
    cluster_wait_label(h, &cl, "pgpu.feature.node.kubernetes.io/gpus", "1");
    assert_string_equal(cluster_label(&cl, READY_LABEL), "false");
    assert_string_equal(cluster_label(&cl, MODE_LABEL), "(none)");
    assert_string_equal(cluster_label(&cl, "pgpu.feature.node.kubernetes.io/gpus-verified"), "0");
    assert_false(cluster_has(cl.validations, ".cc-manager-ctr-ready"));
    h_run(h, &g, "default/a " RES "=1");
    cluster_wait_label(h, &cl, READY_LABEL, "true");
    cluster_wait_file(h, cl.validations, ".cc-manager-ctr-ready");
    stop(h);
}

static void
validations_are_there_while_they_are_true(void **state)
{
    struct harness *h;
    struct h_grant g;
    char out[4096];
    int vm;

    (void)state;
    cluster_make(&cl, "60s", true, NULL);
    cluster_touch(cl.validations, "workload-type", "vm-vgpu\n"); /* somebody else's */
    h = harness_start(&(struct harness_options){
        .node_args = "--gpus 2", .pgpud_yaml = cl.yaml, .hwd_yaml = ANY_MODE});
    harness_wait_healthy(h, RES, 2, 10000);
    cluster_wait_label(h, &cl, READY_LABEL, "true");
    cluster_wait_file(h, cl.validations, "vfio-pci-ready");
    cluster_wait_file(h, cl.validations, ".cc-manager-ctr-ready");
    h_run(h, &g, "default/a " RES "=1");
    vm = h_vmm_open(h, g.node[0]);
    assert_true(vm >= 0);
    harness_wait_unit(h, g.id[0], "state", "in_use", 5000);
    assert_int_equal(cluster_ctl(h, out, sizeof(out), "mode set off"), 0);
    assert_false(cluster_has(cl.validations, ".cc-manager-ctr-ready"));
    cluster_wait_file(h, cl.validations, "vfio-pci-ready");
    /* ours are known as ours after a restart, and nobody else's was taken for ours */
    harness_kill(h, H_PGPUD, SIGKILL);
    harness_run(h, H_PGPUD);
    harness_wait_unit(h, g.id[0], "state", "in_use", 10000);
    assert_int_equal(cluster_ctl(h, out, sizeof(out), "mode cancel --wait --timeout 60s"), 0);
    cluster_wait_label(h, &cl, READY_LABEL, "true");
    cluster_wait_file(h, cl.validations, ".cc-manager-ctr-ready");
    cluster_wait_file(h, cl.validations, "workload-type");
    harness_kill(h, H_PGPUD, SIGKILL);
    harness_run(h, H_PGPUD);
    harness_wait_unit(h, g.id[0], "state", "in_use", 10000);
    cluster_wait_label(h, &cl, READY_LABEL, "true");
    assert_int_equal(cluster_ctl(h, out, sizeof(out), "mode set off"), 0);
    assert_false(cluster_has(cl.validations, ".cc-manager-ctr-ready"));
    (void)close(vm);
    stop(h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_follow_the_gpus),
        cmocka_unit_test(the_labels_of_a_dead_pgpud_expire),
        cmocka_unit_test(labels_that_somebody_else_sets_are_left_to_them),
        cmocka_unit_test(without_nfd_nothing_is_made),
        cmocka_unit_test(a_directory_that_was_made_anew_is_written_to),
        cmocka_unit_test(a_restart_in_the_middle_of_a_change_writes_nothing_that_is_not_known),
        cmocka_unit_test(what_nobody_has_looked_at_is_not_called_ready),
        cmocka_unit_test(validations_are_there_while_they_are_true),
    };

    if (!harness_possible())
        return 77;
    return cmocka_run_group_tests_name("daemon.labels", tests, NULL, NULL);
}
