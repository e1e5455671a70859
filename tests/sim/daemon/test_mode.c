/* SPDX-License-Identifier: Apache-2.0
 *
 * The node's mode is changed by an operator: drained, switched, labelled; nothing that is in use is
 * touched, a kill at any moment loses nothing, and what cannot end well is refused before it
 * begins.
 */
#include "tests/sim/daemon/cluster.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define RES "nvidia.com/pgpu"
#define ANY_MODE "modes: [\"off\", \"on\", ppcie, devtools]\n"

static struct cluster cl;

static void set_mode(struct harness *h, const char *mode);

static struct harness *
start(const char *node_args, const char *more)
{
    cluster_make(&cl, "60s", true, more);
    return harness_start(&(struct harness_options){
        .node_args = node_args, .pgpud_yaml = cl.yaml, .hwd_yaml = ANY_MODE});
}

static void
stop(struct harness *h)
{
    h_no_violations(h);
    harness_stop(h);
    cluster_remove(&cl);
}

static void
ctl(struct harness *h, int want, const char *words, const char *args)
{
    char out[4096];
    int rc = cluster_ctl(h, out, sizeof(out), "%s", args);

    if (rc != want || !strstr(out, words))
        fail_msg("pgpuctl %s: exit status %d, not %d, or without \"%s\": %s (logs in %s)", args, rc,
                 want, words, out, harness_dir(h));
}

static void
a_gpu_in_use_is_left_alone_and_switched_when_it_is_free(void **state)
{
    struct harness *h = start("--gpus 2", NULL);
    const char *other;
    struct h_grant g, g2;
    int64_t resets;
    int vm;

    (void)state;
    harness_wait_healthy(h, RES, 2, 10000);
    cluster_wait_label(h, &cl, READY_LABEL, "true");
    assert_string_equal(cluster_label(&cl, MODE_LABEL), "on");
    h_run(h, &g, "default/model " RES "=1");
    other = strcmp(g.id[0], H_GPU0) == 0 ? H_GPU1 : H_GPU0;
    vm = h_vmm_open(h, g.node[0]);
    assert_true(vm >= 0);
    harness_wait_unit(h, g.id[0], "state", "in_use", 5000);
    harness_wait_unit(h, g.id[0], "pod", "model", 5000);
    resets = h_resets(h, g.id[0]);

    ctl(h, 0, "being changed from on", "mode set off");
    /* written before the request was answered, and so before anything was done */
    assert_string_equal(cluster_label(&cl, READY_LABEL), "false");
    assert_string_equal(cluster_label(&cl, MODE_LABEL), "(none)");
    cluster_wait_mode(h, "progress", "1 of 2 switched, 1 in use by default/model");
    assert_string_equal(cluster_mode(h, "changing"), "true");
    harness_wait_unit(h, other, "mode_active", "off", 5000);
    harness_wait_unit(h, other, "healthy", "true", 5000);
    assert_false(h_is_on(h, other));
    harness_wait_unit(h, g.id[0], "state", "in_use", 0);
    harness_wait_unit(h, g.id[0], "healthy", "true", 0);
    assert_int_equal(h_resets(h, g.id[0]), resets);
    assert_true(h_is_on(h, g.id[0]));
    assert_false(cluster_has(cl.validations, ".cc-manager-ctr-ready"));
    /* the one that is switched can be used meanwhile */
    h_run(h, &g2, "default/next " RES "=1");
    assert_string_equal(g2.id[0], other);

    h_end(h, "default/model");
    (void)close(vm);
    cluster_wait_mode(h, "changing", "false");
    assert_string_equal(cluster_mode(h, "progress"), "2 of 2 switched");
    harness_wait_unit(h, g.id[0], "mode_active", "off", 5000);
    assert_false(h_is_on(h, g.id[0]));
    cluster_wait_label(h, &cl, MODE_LABEL, "off");
    assert_string_equal(cluster_label(&cl, READY_LABEL), "false");
    harness_wait_unit(h, other, "state", "allocated", 0);
    ctl(h, 0, "the configuration says on", "status");
    stop(h);
}

static void
waiting_for_it_says_how_far_it_is(void **state)
{
    struct harness *h = start("--gpus 2", NULL);

    (void)state;
    harness_wait_healthy(h, RES, 2, 10000);
    ctl(h, 0, "0000:18:00.0 ready, switched now", "mode set off --dry-run");
    assert_string_equal(cluster_mode(h, "mode"), "on");
    ctl(h, 0, "2 of 2 switched", "mode set off --wait --timeout 60s");
    assert_string_equal(cluster_mode(h, "mode"), "off");
    assert_false(h_is_on(h, H_GPU0) || h_is_on(h, H_GPU1));
    ctl(h, 0, "2 of 2 switched", "mode set on --wait --timeout 60s");
    assert_true(h_is_on(h, H_GPU0) && h_is_on(h, H_GPU1));
    cluster_wait_label(h, &cl, READY_LABEL, "true");
    harness_wait_healthy(h, RES, 2, 10000);
    stop(h);
}

/* The Allocate was asked in the former mode, and would be answered after the change has begun. */
static void
an_allocate_under_way_is_not_answered_in_the_former_mode(void **state)
{
    /* the hardware takes its time, so that the change comes in the middle */
    struct harness *h = start("--gpus 1 --time-scale 0.3", "prepare: allocate\n");
    struct harness_call *call;
    struct h_grant g;

    (void)state;
    harness_wait_healthy(h, RES, 1, 10000);
    call = harness_kubelet_async(h, "run default/early " RES "=1");
    harness_wait_unit(h, H_GPU0, "phase", "reboot", 10000);
    ctl(h, 0, "mode off", "mode set off");
    h_expect_refusal(harness_join(call), "mode is being changed");
    cluster_wait_mode(h, "changing", "false");
    harness_wait_unit(h, H_GPU0, "state", "ready", 10000);
    assert_false(h_is_on(h, H_GPU0));
    h_run(h, &g, "default/late " RES "=1");
    assert_false(h_is_on(h, g.id[0]));
    stop(h);
}

/* Handed out, but not opened yet: its pod, or another one that comes instead, gets the new mode. */
static void
a_second_answer_for_a_gpu_that_nobody_opened_is_in_the_new_mode(void **state)
{
    struct harness *h = start("--gpus 1", NULL);
    struct h_grant g;

    (void)state;
    harness_wait_healthy(h, RES, 1, 10000);
    h_run(h, &g, "default/model " RES "=1 --container setup --init");
    assert_true(h_is_on(h, g.id[0]));
    ctl(h, 0, "", "mode set off");
    harness_wait_unit(h, g.id[0], "state", "allocated", 0);
    h_run(h, &g, "default/model " RES "=1 --container main");
    assert_false(h_is_on(h, g.id[0]));
    harness_wait_unit(h, g.id[0], "verified", "off", 5000);
    cluster_wait_mode(h, "changing", "false");
    stop(h);
}

/* Of two GPUs one is handed over at once, the other after its former VM has gone: the first must
 * not be given in the former mode beside the second in the new one. */
static void
an_allocate_that_waits_is_not_answered_in_two_modes(void **state)
{
    struct harness *h = start("--gpus 2", NULL);
    struct harness_call *call;
    struct h_grant g;
    const char *other;
    int vm;

    (void)state;
    harness_wait_healthy(h, RES, 2, 10000);
    h_run(h, &g, "default/former " RES "=1");
    other = strcmp(g.id[0], H_GPU0) == 0 ? H_GPU1 : H_GPU0;
    vm = h_vmm_open(h, g.node[0]);
    assert_true(vm >= 0);
    harness_wait_unit(h, g.id[0], "state", "in_use", 5000);
    /* the pod has ended for the kubelet, its VM has not */
    h_end(h, "default/former");
    call = harness_kubelet_async(h, "run default/both " RES "=2");
    harness_wait_unit(h, other, "state", "allocated", 10000);
    harness_wait_unit(h, g.id[0], "state", "releasing", 10000);
    ctl(h, 0, "mode off", "mode set off");
    (void)close(vm);
    h_expect_refusal(harness_join(call), "mode is being changed");
    cluster_wait_mode(h, "changing", "false");
    assert_string_equal(cluster_mode(h, "progress"), "2 of 2 switched");
    assert_false(h_is_on(h, H_GPU0) || h_is_on(h, H_GPU1));
    h_run(h, &g, "default/late " RES "=2");
    stop(h);
}

/* Pods get what the node's mode is now, and keep what they were given before. */
static void
the_guard_goes_by_the_mode_that_an_operator_has_set(void **state)
{
    struct harness *h = start("--gpus 3", NULL);
    struct h_grant before, after, g;

    (void)state;
    harness_run(h, H_RUNTIME);
    h_runtime_ready(h);
    harness_wait_healthy(h, RES, 3, 10000);
    h_run(h, &before, "default/before " RES "=1");
    h_run(h, &g, "default/secret " RES "=1");
    ctl(h, 0, "being changed from on", "mode set off");
    /* allocated before the change, and started after it began */
    h_runtime_ok(h, "run-pod default before kata-qemu-nvidia-gpu kata");
    h_runtime_ok(h, "create-container default/before main");
    h_runtime_ok(h, "run-pod default secret kata-qemu-nvidia-gpu-snp kata");
    harness_wait_healthy(h, RES, 3, 20000);
    h_run(h, &after, "default/after " RES "=1");
    assert_false(h_is_on(h, after.id[0]));
    h_runtime_ok(h, "run-pod default after kata-qemu-nvidia-gpu kata");
    h_runtime_ok(h, "create-container default/after main");
    stop(h);
}

/* Cancelled while a GPU is in use in the new mode, so that the way back takes its time. */
static void
there_is_one_change_at_a_time_and_it_is_cancelled_once(void **state)
{
    struct harness *h = start("--gpus 2", "unlock_devtools: true\n");
    struct h_grant a, b;
    int vm;

    (void)state;
    harness_wait_healthy(h, RES, 2, 10000);
    h_run(h, &a, "default/a " RES "=1");
    vm = h_vmm_open(h, a.node[0]);
    assert_true(vm >= 0);
    harness_wait_unit(h, a.id[0], "state", "in_use", 5000);
    ctl(h, 0, "being changed from on", "mode set off");
    harness_wait_healthy(h, RES, 2, 20000);
    h_run(h, &b, "default/b " RES "=1");
    assert_false(h_is_on(h, b.id[0]));
    ctl(h, 1, "from on to off is still under way", "mode set devtools");
    ctl(h, 0, "being changed from off", "mode cancel");
    ctl(h, 0, "being changed from off", "mode cancel");
    assert_string_equal(cluster_mode(h, "mode"), "on");
    ctl(h, 1, "still under way", "mode set devtools --dry-run");
    /* that it is on the way back is not forgotten */
    harness_kill(h, H_PGPUD, SIGKILL);
    harness_run(h, H_PGPUD);
    cluster_wait_mode(h, "mode", "on");
    harness_wait_unit(h, a.id[0], "state", "in_use", 10000);
    ctl(h, 0, "being changed from off", "mode cancel");
    assert_string_equal(cluster_mode(h, "mode"), "on");
    /* set again it is the change of before, and can be cancelled again */
    set_mode(h, "off");
    assert_string_equal(cluster_mode(h, "mode"), "off");
    ctl(h, 0, "being changed from off", "mode cancel");
    h_end(h, "default/b");
    cluster_wait_mode(h, "changing", "false");
    assert_string_equal(cluster_mode(h, "mode"), "on");
    assert_string_equal(cluster_mode(h, "progress"), "2 of 2 switched");
    assert_true(h_is_on(h, b.id[0]));
    ctl(h, 1, "no change of the mode is under way", "mode cancel");
    (void)close(vm);
    stop(h);
}

/* Between two rungs nothing is under way for a GPU that has failed, and still the change is not
 * over. (It takes several seconds each time to find that it does not boot: rungs enough are left.)
 */
static void
a_change_is_over_when_recovery_is(void **state)
{
    struct harness *h = start("--gpus 2", NULL);

    (void)state;
    harness_wait_healthy(h, RES, 2, 10000);
    free(harness_node(h, "fault %s boot-never", H_GPU1));
    ctl(h, 0, "being changed from on", "mode set off");
    harness_wait_unit(h, H_GPU0, "state", "ready", 20000);
    harness_wait_unit(h, H_GPU1, "state", "quarantined", 30000);
    free(harness_node(h, "fault %s clear", H_GPU1));
    assert_string_equal(cluster_mode(h, "changing"), "true");
    cluster_wait_mode(h, "changing", "false");
    assert_string_equal(cluster_mode(h, "progress"), "2 of 2 switched");
    assert_false(h_is_on(h, H_GPU1));
    cluster_wait_label(h, &cl, MODE_LABEL, "off");
    /* and where nothing cures it, it is over all the same */
    free(harness_node(h, "fault %s write-refused=8", H_GPU1));
    ctl(h, 0, "being changed from off", "mode set on");
    cluster_wait_mode(h, "changing", "false");
    harness_wait_unit(h, H_GPU1, "state", "quarantined", 0);
    ctl(h, 1, "1 of 2 switched", "mode set on --wait --timeout 60s");
    cluster_wait_label(h, &cl, MODE_LABEL, "failed");
    stop(h);
}

/* pgpu-hwd does not allow the configured mode: nothing but another mode cures that. */
static void
what_only_another_mode_cures_is_tried_again_at_once(void **state)
{
    struct harness *h;

    (void)state;
    cluster_make(&cl, "60s", true, "mode: \"off\"\n");
    h = harness_start(&(struct harness_options){.node_args = "--gpus 1", .pgpud_yaml = cl.yaml});
    harness_wait_unit(h, H_GPU0, "reason", "MODE_FORBIDDEN", 10000);
    cluster_wait_label(h, &cl, MODE_LABEL, "failed");
    ctl(h, 0, "being changed from off", "mode set on");
    cluster_wait_mode(h, "changing", "false");
    assert_string_equal(cluster_mode(h, "progress"), "1 of 1 switched");
    assert_true(h_is_on(h, H_GPU0));
    stop(h);
}

static void
cancelling_goes_back(void **state)
{
    struct harness *h = start("--gpus 2", NULL);
    struct h_grant g;
    const char *other;
    int vm;

    (void)state;
    harness_wait_healthy(h, RES, 2, 10000);
    h_run(h, &g, "default/model " RES "=1");
    other = strcmp(g.id[0], H_GPU0) == 0 ? H_GPU1 : H_GPU0;
    vm = h_vmm_open(h, g.node[0]);
    assert_true(vm >= 0);
    harness_wait_unit(h, g.id[0], "state", "in_use", 5000);
    ctl(h, 1, "no change of the mode is under way", "mode cancel");
    ctl(h, 0, "", "mode set off");
    harness_wait_unit(h, other, "mode_active", "off", 5000);
    harness_wait_unit(h, other, "state", "ready", 5000);
    ctl(h, 0, "2 of 2 switched", "mode cancel --wait --timeout 60s");
    assert_string_equal(cluster_mode(h, "mode"), "on");
    assert_true(h_is_on(h, other));
    harness_wait_unit(h, g.id[0], "state", "in_use", 0);
    cluster_wait_label(h, &cl, READY_LABEL, "true");
    ctl(h, 1, "no change of the mode is under way", "mode cancel");
    (void)close(vm);
    stop(h);
}

/* ---- killed half-way ---- */

#define POINTS 6
#define STEP_MS 25

/* By the hardware's own account; it may be in the middle of a reset. */
static void
is_in_mode(struct harness *h, const char *id, const char *mode)
{
    uint64_t end = h_now_ms() + 30000;

    while (h_is_on(h, id) != (strcmp(mode, "on") == 0)) {
        if (h_now_ms() > end)
            fail_msg("%s is not in mode %s (logs in %s)", id, mode, harness_dir(h));
        h_sleep_ms(20);
    }
}

/* pgpud may still be on its way back to a service that was started anew. */
static void
set_mode(struct harness *h, const char *mode)
{
    uint64_t end = h_now_ms() + 30000;
    char out[4096];

    while (cluster_ctl(h, out, sizeof(out), "mode set %s", mode) != 0) {
        if (!strstr(out, "pgpu-hwd is not there") || h_now_ms() > end)
            fail_msg("mode set %s: %s (logs in %s)", mode, out, harness_dir(h));
        h_sleep_ms(20);
    }
}

static void
sweep(enum harness_program victim)
{
    struct harness *h = start("--gpus 2", NULL);
    struct h_grant g;
    int vm;

    harness_wait_healthy(h, RES, 2, 10000);
    h_run(h, &g, "default/model " RES "=1");
    vm = h_vmm_open(h, g.node[0]);
    assert_true(vm >= 0);
    harness_wait_unit(h, g.id[0], "state", "in_use", 5000);
    for (unsigned k = 0; k < POINTS; k++) {
        const char *mode = k % 2 ? "on" : "off";
        const char *other = strcmp(g.id[0], H_GPU0) == 0 ? H_GPU1 : H_GPU0;

        set_mode(h, mode);
        h_sleep_ms(k * STEP_MS);
        harness_kill(h, victim, SIGKILL);
        if (victim == H_PGPUD && strcmp(mode, "off") == 0)
            assert_string_equal(cluster_label(&cl, READY_LABEL), "false");
        harness_run(h, victim);
        cluster_wait_mode(h, "mode", mode);
        harness_wait_unit(h, other, "state", "ready", 10000);
        harness_wait_unit(h, other, "mode_active", mode, 10000);
        harness_wait_unit(h, other, "healthy", "true", 10000);
        harness_wait_unit(h, g.id[0], "state", "in_use", 10000);
        is_in_mode(h, other, mode);
        if (!h_is_on(h, g.id[0]))
            fail_msg("kill point %u: the device in use was switched", k);
        if (strcmp(mode, "off") == 0)
            cluster_wait_mode(h, "changing", "true"); /* one is in use */
        else
            cluster_wait_label(h, &cl, READY_LABEL, "true");
    }
    (void)close(vm);
    stop(h);
}

static void
a_change_survives_the_death_of_pgpud(void **state)
{
    (void)state;
    sweep(H_PGPUD);
}

static void
a_change_survives_the_death_of_hwd(void **state)
{
    (void)state;
    sweep(H_HWD);
}

/* Puts another text in place of one of the same length in pgpud's record of the mode. */
static void
forge_record(struct harness *h, const char *key)
{
    char path[128], text[1024];
    FILE *f;
    char *at;
    size_t n;

    (void)snprintf(path, sizeof(path), "%s/state/mode.json", harness_dir(h));
    f = fopen(path, "r+e");
    assert_non_null(f);
    n = fread(text, 1, sizeof(text) - 1, f);
    text[n] = '\0';
    at = strstr(text, key);
    assert_non_null(at);
    at += strlen(key) + 3; /* ":" and the quote */
    at += strspn(at, "\" ");
    *at = *at == 'f' ? 'e' : 'f';
    rewind(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    (void)fclose(f);
}

static void
a_mode_that_was_set_ends_with_the_boot(void **state)
{
    struct harness *h = start("--gpus 1", NULL);

    (void)state;
    harness_wait_healthy(h, RES, 1, 10000);
    ctl(h, 0, "1 of 1 switched", "mode set off --wait --timeout 60s");
    harness_kill(h, H_PGPUD, SIGTERM);
    harness_run(h, H_PGPUD);
    cluster_wait_mode(h, "mode", "off");
    harness_kill(h, H_PGPUD, SIGTERM);
    forge_record(h, "boot_id");
    harness_run(h, H_PGPUD);
    cluster_wait_mode(h, "mode", "on");
    harness_wait_unit(h, H_GPU0, "mode_active", "on", 10000);
    cluster_wait_label(h, &cl, READY_LABEL, "true");
    stop(h);
}

/* ---- refusals ---- */

static void
refused(struct harness *h, const char *args, const char *words)
{
    int64_t resets = h_resets(h, H_GPU0);

    ctl(h, 1, words, args);
    assert_string_equal(cluster_mode(h, "mode"), "on");
    assert_string_equal(cluster_mode(h, "changing"), "false");
    assert_string_equal(cluster_label(&cl, READY_LABEL), "true");
    harness_wait_unit(h, H_GPU0, "healthy", "true", 0);
    assert_int_equal(h_resets(h, H_GPU0), resets);
}

static void
what_cannot_end_well_is_refused_before_it_begins(void **state)
{
    struct harness *h;
    char path[128];

    (void)state;
    /* pgpu-hwd's own floor: on and ppcie, unless it is told otherwise */
    cluster_make(&cl, "60s", false, NULL);
    h = harness_start(&(struct harness_options){.node_args = "--gpus 2", .pgpud_yaml = cl.yaml});
    harness_wait_healthy(h, RES, 2, 10000);
    cluster_wait_label(h, &cl, READY_LABEL, "true");
    refused(h, "mode set off", "`modes` of pgpu-hwd's configuration does not list off");
    refused(h, "mode set off --dry-run", "does not list off");
    refused(h, "mode set devtools", "unlock_devtools");
    refused(h, "mode set ppcie", "takes 8 GPUs, this node has 2");
    ctl(h, 2, "is no mode", "mode set sideways");
    stop(h);

    h = start("--gpus 2", NULL);
    harness_wait_healthy(h, RES, 2, 10000);
    cluster_wait_label(h, &cl, READY_LABEL, "true");
    /* the labels could not be taken back: nothing is begun. A directory cannot be replaced. */
    (void)snprintf(path, sizeof(path), "%s/pgpu", cl.nfd);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0755), 0);
    ctl(h, 1, "take the node's labels back", "mode set off");
    assert_string_equal(cluster_mode(h, "mode"), "on");
    assert_string_equal(cluster_mode(h, "changing"), "false");
    assert_true(h_is_on(h, H_GPU0));
    assert_int_equal(rmdir(path), 0);
    ctl(h, 0, "2 of 2 switched", "mode set off --wait --timeout 60s");
    stop(h);
}

/* ---- Protected PCIe ---- */

static void
protected_pcie_switches_the_whole_board_at_once(void **state)
{
    struct harness *h = start("--gpus 8 --nvswitches 4", NULL);
    struct h_grant g;
    json_object *s;
    int vm;

    (void)state;
    harness_wait_healthy(h, RES, 8, 20000);
    harness_wait_healthy(h, "nvidia.com/nvswitch", 4, 20000);
    h_run(h, &g, "default/model " RES "=1");
    vm = h_vmm_open(h, g.node[0]);
    assert_true(vm >= 0);
    harness_wait_unit(h, g.id[0], "state", "in_use", 5000);
    harness_wait_unit(h, g.id[0], "pod", "model", 5000);
    ctl(h, 0, "waits for the others", "mode set ppcie");
    harness_wait_healthy(h, RES, 1, 10000); /* the one in use */
    harness_wait_healthy(h, "nvidia.com/nvswitch", 0, 10000);
    assert_string_equal(cluster_mode(h, "done"), "0");
    assert_string_equal(cluster_mode(h, "of"), "12");
    h_end(h, "default/model");
    (void)close(vm);
    cluster_wait_mode(h, "changing", "false");
    assert_string_equal(cluster_mode(h, "progress"), "12 of 12 switched");
    s = harness_status(h);
    for (size_t i = 0; i < 8; i++) {
        json_object *u = json_object_array_get_idx(json_object_object_get(s, "units"), i);

        assert_string_equal(jstr(u, "mode_active"), "ppcie");
    }
    (void)json_object_put(s);
    harness_wait_healthy(h, RES, 8, 20000);
    harness_wait_healthy(h, "nvidia.com/nvswitch", 4, 20000);
    cluster_wait_label(h, &cl, MODE_LABEL, "ppcie");
    cluster_wait_label(h, &cl, READY_LABEL, "true");
    ctl(h, 0, "12 of 12 switched", "mode set on --wait --timeout 60s");
    stop(h);
}

static void
a_third_mode_does_not_loosen_the_hold_on_the_board(void **state)
{
    struct harness *h = start("--gpus 8 --nvswitches 4", "mode: ppcie\n");
    struct h_grant g;
    json_object *s;
    int vm;

    (void)state;
    harness_wait_healthy(h, RES, 8, 20000);
    harness_wait_healthy(h, "nvidia.com/nvswitch", 4, 20000);
    h_run(h, &g, "default/model " RES "=2");
    vm = h_vmm_open(h, g.node[0]);
    assert_true(vm >= 0);
    harness_wait_unit(h, g.id[0], "state", "in_use", 5000);
    ctl(h, 0, "waits for the others", "mode set on");
    ctl(h, 1, "from ppcie to on is still under way", "mode set off");
    harness_wait_healthy(h, RES, 2, 10000);
    s = harness_status(h);
    for (size_t i = 0; i < 12; i++) {
        json_object *u = json_object_array_get_idx(json_object_object_get(s, "units"), i);
        const char *state_now = jstr(u, "state");

        if (strcmp(state_now, "ready") != 0 && strcmp(state_now, "allocated") != 0 &&
            strcmp(state_now, "in_use") != 0)
            fail_msg("%s is %s: something was done to it", jstr(u, "id"), state_now);
    }
    (void)json_object_put(s);
    ctl(h, 0, "12 of 12 switched", "mode cancel --wait --timeout 60s");
    harness_wait_healthy(h, RES, 8, 10000);
    harness_wait_healthy(h, "nvidia.com/nvswitch", 4, 10000);
    s = harness_status(h);
    for (size_t i = 0; i < 12; i++) { /* they have waited for nothing */
        json_object *u = json_object_array_get_idx(json_object_object_get(s, "units"), i);

        assert_string_not_equal(jstr(u, "reason"), "WAIT_RELEASE");
    }
    (void)json_object_put(s);
    (void)close(vm);
    stop(h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gpu_in_use_is_left_alone_and_switched_when_it_is_free),
        cmocka_unit_test(waiting_for_it_says_how_far_it_is),
        cmocka_unit_test(an_allocate_under_way_is_not_answered_in_the_former_mode),
        cmocka_unit_test(a_second_answer_for_a_gpu_that_nobody_opened_is_in_the_new_mode),
        cmocka_unit_test(an_allocate_that_waits_is_not_answered_in_two_modes),
        cmocka_unit_test(the_guard_goes_by_the_mode_that_an_operator_has_set),
        cmocka_unit_test(cancelling_goes_back),
        cmocka_unit_test(there_is_one_change_at_a_time_and_it_is_cancelled_once),
        cmocka_unit_test(a_change_is_over_when_recovery_is),
        cmocka_unit_test(what_only_another_mode_cures_is_tried_again_at_once),
        cmocka_unit_test(a_change_survives_the_death_of_pgpud),
        cmocka_unit_test(a_change_survives_the_death_of_hwd),
        cmocka_unit_test(a_mode_that_was_set_ends_with_the_boot),
        cmocka_unit_test(what_cannot_end_well_is_refused_before_it_begins),
        cmocka_unit_test(protected_pcie_switches_the_whole_board_at_once),
        cmocka_unit_test(a_third_mode_does_not_loosen_the_hold_on_the_board),
    };

    if (!harness_possible())
        return 77;
    return cmocka_run_group_tests_name("daemon.mode", tests, NULL, NULL);
}
