/* SPDX-License-Identifier: Apache-2.0
 *
 * The whole node with a container runtime: sandboxes are guarded, containers get what they lack,
 * and the end of a sandbox is the end of its use.
 */
#include "tests/sim/daemon/harness.h"

#include <fcntl.h>
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
#define SNP "kata-qemu-nvidia-gpu-snp"
/* PodResources is never the first to tell that something ended. */
#define RARELY "10m"

static struct harness *
start(const struct harness_options *o, unsigned gpus)
{
    struct harness *h = harness_start(o);

    harness_run(h, H_RUNTIME);
    h_runtime_ready(h);
    harness_wait_healthy(h, RES, gpus, 10000);
    return h;
}

/* A member of a JSON answer by path, "a/0/b"; NULL if it is not there. */
static json_object *
at(json_object *o, const char *path)
{
    char copy[128], *save = NULL;

    (void)snprintf(copy, sizeof(copy), "%s", path);
    for (char *w = strtok_r(copy, "/", &save); w && o; w = strtok_r(NULL, "/", &save)) {
        json_object *next = NULL;

        if (json_object_is_type(o, json_type_array))
            next = json_object_array_get_idx(o, strtoul(w, NULL, 10));
        else
            (void)json_object_object_get_ex(o, w, &next);
        o = next;
    }
    return o;
}

static const char *
text_at(json_object *o, const char *path)
{
    json_object *v = at(o, path);

    return v ? json_object_get_string(v) : "";
}

static json_object *
create(struct harness *h, const char *what)
{
    json_object *o = h_runtime(h, "create-container %s", what);

    if (!jbool(o, "ok"))
        fail_msg("create-container %s: %s", what, jstr(o, "error"));
    return o;
}

/* Of the container in the answer of create(). */
static const char *
annotation(json_object *o, const char *key)
{
    json_object *all = at(o, "container/annotations");

    return all ? jstr(all, key) : "";
}

static void
wait_sandbox(struct harness *h, const char *gpu, bool known)
{
    uint64_t end = h_now_ms() + 20000;

    for (;;) {
        json_object *s = harness_status(h);
        bool has = jstr(harness_unit(s, gpu), "sandbox")[0] != '\0';

        (void)json_object_put(s);
        if (has == known)
            return;
        if (h_now_ms() > end)
            fail_msg("%s: its sandbox is %sknown", gpu, known ? "not " : "");
        h_sleep_ms(10);
    }
}

/* One GPU, allocated to the pod default/a. */
static struct harness *
start_allocated(struct h_grant *g)
{
    struct harness *h =
        start(&(struct harness_options){.node_args = "--gpus 1", .pod_poll = RARELY}, 1);

    h_run(h, g, "default/a " RES "=1");
    return h;
}

/* ... whose VM runs and has it open. */
static struct harness *
start_running(struct h_grant *g)
{
    struct harness *h = start_allocated(g);

    h_runtime_ok(h, "run-pod default a " SNP " kata");
    wait_sandbox(h, g->id[0], true);
    return h;
}

static void
a_confidential_pod_is_guarded_injected_and_released(void **state)
{
    struct harness *h =
        start(&(struct harness_options){.node_args = "--gpus 2", .pod_poll = RARELY}, 2);
    struct h_grant g;
    json_object *o;
    int64_t resets;

    (void)state;
    h_run(h, &g, "default/a " RES "=1");
    h_runtime_ok(h, "run-pod default a " SNP " kata");
    wait_sandbox(h, g.id[0], true);
    o = create(h, "default/a main");
    assert_string_equal(text_at(o, "container/devices/0/path"), g.node[0]);
    assert_string_equal(annotation(o, "nvidia.com/pgpu.devices"), g.id[0]);
    assert_string_equal(annotation(o, "nvidia.com/pgpu.cc-mode"), "on");
    (void)json_object_put(o);
    o = harness_status(h);
    assert_string_equal(text_at(o, "nri/sandboxes/0/class"), "confidential");
    assert_string_equal(text_at(o, "nri/sandboxes/0/devices/0"), g.id[0]);
    assert_string_equal(text_at(o, "nri/sessions/0/runtime"), "containerd");
    (void)json_object_put(o);
    /* The pod is deleted: the kubelet forgets it, then the runtime says that the sandbox stopped.
     * Nobody asks PodResources in between. */
    h_end(h, "default/a");
    resets = h_resets(h, g.id[0]);
    h_runtime_ok(h, "stop-pod default/a");
    harness_wait_unit(h, g.id[0], "state", "ready", 5000);
    assert_true(h_resets(h, g.id[0]) > resets);
    assert_true(h_is_on(h, g.id[0]));
    h_runtime_ok(h, "remove-pod default/a");
    harness_wait_healthy(h, RES, 2, 5000);
    o = harness_status(h);
    assert_null(at(o, "nri/sandboxes/0"));
    (void)json_object_put(o);
    h_no_violations(h);
    harness_stop(h);
}

static void
a_sandbox_that_stopped_is_waited_for_until_its_vm_is_gone(void **state)
{
    struct h_grant g;
    struct harness *h = start_running(&g);
    int64_t resets;

    (void)state;
    resets = h_resets(h, g.id[0]);
    h_runtime_ok(h, "stop-pod default/a keep-vmm");
    harness_wait_unit(h, g.id[0], "reason", "WAIT_RELEASE", 5000);
    assert_int_equal(h_resets(h, g.id[0]), resets);
    h_end(h, "default/a");
    h_runtime_ok(h, "end-vmm default/a");
    harness_wait_unit(h, g.id[0], "state", "ready", 5000);
    /* closing resets once as the kernel does; the scrub is one more */
    assert_true(h_resets(h, g.id[0]) >= resets + 2);
    h_no_violations(h);
    harness_stop(h);
}

/* The VM died, the pod lives on: the kubelet makes another sandbox and asks for nothing. */
static void
a_pods_second_sandbox_gets_the_gpu_scrubbed(void **state)
{
    struct h_grant g;
    struct harness *h = start_running(&g);
    int64_t resets;

    (void)state;
    resets = h_resets(h, g.id[0]);
    h_runtime_ok(h, "kill-vmm default/a");
    h_runtime_ok(h, "stop-pod default/a");
    harness_wait_unit(h, g.id[0], "sandbox", "", 5000);
    harness_wait_unit(h, g.id[0], "state", "allocated", 5000);
    harness_wait_unit(h, g.id[0], "use", "free", 5000);
    assert_true(h_resets(h, g.id[0]) >= resets + 2);
    h_runtime_ok(h, "remove-pod default/a");
    h_runtime_ok(h, "run-pod default a " SNP " kata");
    harness_wait_unit(h, g.id[0], "state", "in_use", 5000);
    wait_sandbox(h, g.id[0], true);
    (void)json_object_put(create(h, "default/a main"));
    h_no_violations(h);
    harness_stop(h);
}

/* The kubelet's lists have names alone: a pod that was deleted by force leaves its name to the next
 * one while its sandbox is still being stopped. */
static void
a_pod_of_the_same_name_does_not_inherit_the_former_ones_sandbox(void **state)
{
    struct harness *h =
        start(&(struct harness_options){.node_args = "--gpus 1", .pod_poll = "100ms"}, 1);
    struct h_grant g, again;
    json_object *o;
    int64_t resets;

    (void)state;
    h_run(h, &g, "default/a " RES "=1");
    h_runtime_ok(h, "run-pod default a " SNP " kata");
    wait_sandbox(h, g.id[0], true);
    h_runtime_ok(h, "kill-vmm default/a");
    h_end(h, "default/a");
    harness_wait_healthy(h, RES, 1, 10000);
    h_run(h, &again, "default/a " RES "=1");
    harness_wait_unit(h, g.id[0], "pod", "a", 5000);
    resets = h_resets(h, g.id[0]);
    o = harness_status(h);
    assert_string_equal(jstr(harness_unit(o, g.id[0]), "sandbox"), "");
    (void)json_object_put(o);
    h_runtime_ok(h, "stop-pod default/a");
    h_runtime_ok(h, "remove-pod default/a");
    h_runtime_ok(h, "run-pod default a " SNP " kata");
    harness_wait_unit(h, g.id[0], "state", "in_use", 5000);
    wait_sandbox(h, g.id[0], true);
    assert_int_equal(h_resets(h, g.id[0]), resets + 1); /* the second VM's open */
    (void)json_object_put(create(h, "default/a main"));
    h_no_violations(h);
    harness_stop(h);
}

/* The next sandbox may come while the pod's GPUs are being handed over once more: refused until all
 * are, and then it is known to have all of them. */
static void
a_sandbox_in_the_middle_of_a_hand_over_gets_all_or_nothing(void **state)
{
    struct harness *h =
        start(&(struct harness_options){.node_args = "--gpus 3", .pod_poll = RARELY}, 3);
    struct h_grant g;

    (void)state;
    h_run(h, &g, "default/a " RES "=3");
    h_runtime_ok(h, "run-pod default a " SNP);
    for (int round = 0; round < 4; round++) {
        uint64_t end = h_now_ms() + 20000;
        json_object *o;

        h_runtime_ok(h, "stop-pod default/a");
        h_runtime_ok(h, "remove-pod default/a");
        while (o = h_runtime(h, "run-pod default a " SNP), !jbool(o, "ok")) {
            if (h_now_ms() > end)
                fail_msg("never accepted: %s", jstr(o, "error"));
            (void)json_object_put(o);
        }
        (void)json_object_put(o);
        o = create(h, "default/a main");
        if (!at(o, "container/devices/2"))
            fail_msg("round %d: %s", round, json_object_to_json_string(o));
        (void)json_object_put(o);
    }
    harness_stop(h);
}

/* The VMM opened the GPU and went, before there was a sandbox: the pod's next try gets it clean. */
static void
a_vm_that_never_came_up_leaves_a_scrubbed_gpu(void **state)
{
    struct h_grant g;
    struct harness *h = start_allocated(&g);
    int64_t resets;
    int vm;

    (void)state;
    resets = h_resets(h, g.id[0]);
    vm = h_vmm_open(h, g.node[0]);
    assert_true(vm >= 0);
    harness_wait_unit(h, g.id[0], "state", "in_use", 5000);
    (void)close(vm);
    harness_wait_unit(h, g.id[0], "state", "allocated", 5000);
    harness_wait_unit(h, g.id[0], "use", "free", 5000);
    assert_true(h_resets(h, g.id[0]) >= resets + 3); /* open, close, scrub */
    h_runtime_ok(h, "run-pod default a " SNP " kata");
    wait_sandbox(h, g.id[0], true);
    h_no_violations(h);
    harness_stop(h);
}

/* As after a reboot: the kubelet lists the pod's GPU from its checkpoint and calls no Allocate, and
 * nothing of ours remembers it. It is prepared for the pod, under both policies. */
static void
a_gpu_that_was_allocated_before_a_reboot_is_prepared_for_its_pod(void **state)
{
    static const char *const policies[] = {"", "prepare: allocate\n"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct harness *h = start(&(struct harness_options){.node_args = "--gpus 1",
                                                            .pod_poll = RARELY,
                                                            .pgpud_yaml = policies[i]},
                                  1);
        struct h_grant g;

        h_run(h, &g, "default/a " RES "=1");
        harness_kill(h, H_PGPUD, SIGKILL);
        harness_kill(h, H_HWD, SIGKILL);
        h_unbind(h, g.id[0]);
        h_forget(h);
        free(harness_node(h, "knob %s 8 0", g.id[0]));
        h_reset(h, g.id[0]);
        assert_false(h_is_on(h, g.id[0]));
        harness_run(h, H_HWD);
        harness_run(h, H_PGPUD);
        h_runtime_ready(h);
        harness_wait_unit(h, g.id[0], "state", "allocated", 10000);
        harness_wait_unit(h, g.id[0], "use", "free", 5000);
        harness_wait_unit(h, g.id[0], "verified", "on", 0);
        assert_true(h_is_on(h, g.id[0]));
        h_runtime_ok(h, "run-pod default a " SNP " kata");
        (void)json_object_put(create(h, "default/a main"));
        h_no_violations(h);
        harness_stop(h);
    }
}

static void
a_restart_of_pgpud_between_allocate_and_sandbox_loses_nothing(void **state)
{
    struct h_grant g;
    struct harness *h = start_allocated(&g);

    (void)state;
    harness_kill(h, H_PGPUD, SIGKILL);
    harness_run(h, H_PGPUD);
    h_runtime_ready(h);
    harness_wait_unit(h, g.id[0], "state", "allocated", 5000);
    harness_wait_unit(h, g.id[0], "verified", "on", 0);
    h_runtime_ok(h, "run-pod default a " SNP " kata");
    (void)json_object_put(create(h, "default/a main"));
    h_no_violations(h);
    harness_stop(h);
}

static void
a_restart_under_a_running_vm_finds_its_sandbox_again(void **state)
{
    struct h_grant g;
    struct harness *h = start_allocated(&g);
    int64_t resets;

    (void)state;
    h_runtime_ok(h, "run-pod default a " SNP " kata");
    (void)json_object_put(create(h, "default/a main"));
    resets = h_resets(h, g.id[0]);
    harness_kill(h, H_PGPUD, SIGKILL);
    harness_run(h, H_PGPUD);
    h_runtime_ready(h);
    harness_wait_unit(h, g.id[0], "state", "in_use", 5000);
    wait_sandbox(h, g.id[0], true);
    assert_int_equal(h_resets(h, g.id[0]), resets);
    /* a container of it that restarts is still welcome */
    h_runtime_ok(h, "remove-container default/a main");
    (void)json_object_put(create(h, "default/a main"));
    h_end(h, "default/a");
    h_runtime_ok(h, "stop-pod default/a");
    harness_wait_unit(h, g.id[0], "state", "ready", 5000);
    h_no_violations(h);
    harness_stop(h);
}

/* The sandbox ended while pgpud was away: the list that it gets then has it no more. */
static void
what_ended_while_we_were_away_is_released(void **state)
{
    struct h_grant g;
    struct harness *h = start_running(&g);
    int64_t resets;

    (void)state;
    resets = h_resets(h, g.id[0]);
    (void)kill(harness_pid(h, H_PGPUD), SIGSTOP);
    h_runtime_ok(h, "timeout 100");
    h_end(h, "default/a");
    h_runtime_ok(h, "stop-pod default/a"); /* goes on without us */
    h_runtime_ok(h, "remove-pod default/a");
    h_runtime_ok(h, "timeout 5000");
    (void)kill(harness_pid(h, H_PGPUD), SIGCONT);
    h_runtime_ready(h);
    harness_wait_unit(h, g.id[0], "state", "ready", 5000);
    assert_true(h_resets(h, g.id[0]) > resets);
    harness_stop(h);
}

/* While pgpud was away one VM of the pod ended and another began: nobody has scrubbed in between.
 */
static void
a_vm_that_changed_while_we_were_away_is_noticed(void **state)
{
    struct h_grant g;
    struct harness *h = start_running(&g);

    (void)state;
    (void)json_object_put(create(h, "default/a main"));
    harness_kill(h, H_PGPUD, SIGKILL);
    h_runtime_ok(h, "stop-pod default/a");
    h_runtime_ok(h, "remove-pod default/a");
    h_runtime_ok(h, "run-pod default a " SNP " kata"); /* nobody is asked */
    harness_run(h, H_PGPUD);
    h_runtime_ready(h);
    harness_wait_unit(h, g.id[0], "state", "in_use", 5000);
    wait_sandbox(h, g.id[0], true);
    harness_wait_unit(h, g.id[0], "verified", "", 0);
    h_runtime_refused(h, "another VM", "create-container default/a main");
    /* its end is the cure */
    h_runtime_ok(h, "stop-pod default/a");
    harness_wait_unit(h, g.id[0], "verified", "on", 5000);
    harness_wait_unit(h, g.id[0], "state", "allocated", 5000);
    harness_wait_unit(h, g.id[0], "use", "free", 5000);
    h_runtime_ok(h, "remove-pod default/a");
    h_runtime_ok(h, "run-pod default a " SNP " kata");
    (void)json_object_put(create(h, "default/a main"));
    harness_stop(h);
}

/* pgpu-hwd restarted and watched nothing meanwhile. Doubt is not forgotten because a request had to
 * wait for a list (another pod's GPU is in an init container, which lists leave out). */
static void
doubt_outlives_the_wait_for_a_list(void **state)
{
    struct harness *h =
        start(&(struct harness_options){.node_args = "--gpus 2", .pod_poll = RARELY}, 2);
    struct h_grant a, o;

    (void)state;
    h_run(h, &o, "default/o " RES "=1 --init");
    h_run(h, &a, "default/a " RES "=1");
    harness_kill(h, H_HWD, SIGKILL);
    harness_run(h, H_HWD);
    harness_wait_unit(h, a.id[0], "verified", "", 20000);
    h_runtime_refused(h, "another VM", "run-pod default a " SNP " kata");
    /* and with a kubelet that is silent nobody gets in beside the one that nobody knows */
    (void)kill(harness_pid(h, H_KUBELET), SIGSTOP);
    h_runtime_refused(h, "PodResources|list|no answer in time", "run-pod default b " SNP);
    (void)kill(harness_pid(h, H_KUBELET), SIGCONT);
    harness_wait_unit(h, a.id[0], "verified", "on", 10000);
    harness_wait_unit(h, a.id[0], "state", "allocated", 10000);
    harness_wait_unit(h, a.id[0], "use", "free", 5000);
    h_runtime_ok(h, "run-pod default a " SNP " kata");
    harness_stop(h);
}

/* A runtime's list has sandboxes that have stopped as well, in no order. */
static void
of_two_sandboxes_of_a_pod_the_running_one_has_the_gpu(void **state)
{
    static const char *const orders[] = {"--sync-order newest", "--sync-order oldest"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct harness *h = start(&(struct harness_options){.node_args = "--gpus 1",
                                                            .pod_poll = RARELY,
                                                            .runtime_args = orders[i]},
                                  1);
        struct h_grant g;
        char first[80], second[80];
        json_object *o;

        h_run(h, &g, "default/a " RES "=1");
        o = h_runtime(h, "run-pod default a " SNP " kata");
        (void)snprintf(first, sizeof(first), "%s", text_at(o, "pod/id"));
        (void)json_object_put(o);
        wait_sandbox(h, g.id[0], true);
        h_runtime_ok(h, "stop-pod %s", first);
        harness_wait_unit(h, g.id[0], "state", "allocated", 5000);
        harness_wait_unit(h, g.id[0], "use", "free", 5000);
        o = h_runtime(h, "run-pod default a " SNP " kata");
        assert_true(jbool(o, "ok"));
        (void)snprintf(second, sizeof(second), "%s", text_at(o, "pod/id"));
        (void)json_object_put(o);
        /* one without a GPU: only the kubelet's list tells whose the GPU is */
        h_runtime_ok(h, "create-container %s side", second);
        harness_kill(h, H_PGPUD, SIGKILL);
        harness_run(h, H_PGPUD);
        h_runtime_ready(h);
        harness_wait_unit(h, g.id[0], "sandbox", second, 5000);
        /* the kubelet's housekeeping */
        h_runtime_ok(h, "remove-pod %s", first);
        harness_wait_unit(h, g.id[0], "state", "in_use", 0);
        h_runtime_ok(h, "create-container %s main", second);
        harness_wait_unit(h, g.id[0], "state", "in_use", 0);
        h_end(h, "default/a");
        h_runtime_ok(h, "stop-pod %s", second);
        harness_wait_unit(h, g.id[0], "state", "ready", 5000);
        harness_stop(h);
    }
}

static void
nobody_gets_a_gpu_by_naming_it(void **state)
{
    struct harness *h =
        start(&(struct harness_options){.node_args = "--gpus 2", .pod_poll = RARELY}, 2);
    struct h_grant g;

    (void)state;
    h_run(h, &g, "default/a " RES "=1");
    h_runtime_ok(h, "run-pod default a " SNP " kata");
    wait_sandbox(h, g.id[0], true);
    h_runtime_ok(h, "run-pod default b " SNP);
    /* another pod's, and one that is nobody's: by node, by CDI name, by annotation */
    h_runtime_refused(h, g.id[0], "create-container default/b main device=%s", g.node[0]);
    h_runtime_refused(h, g.id[0], "create-container default/b main cdi=" RES "=%s", g.id[0]);
    h_runtime_refused(h, H_GPU1, "create-container default/b main cdi=" RES "=" H_GPU1);
    h_runtime_refused(h, H_GPU1,
                      "create-container default/b main annotation=cdi.k8s.io/x=" RES "=" H_GPU1);
    h_runtime_refused(h, "cdi.k8s.io",
                      "run-pod default c " SNP " annotation=cdi.k8s.io/x=" RES "=" H_GPU1);
    /* and no other plugin gives it one */
    h_runtime_refused(h, "ValidateContainerAdjustment",
                      "create-container default/b main foreign-device=%s", g.node[0]);
    h_runtime_refused(h, "hook", "create-container default/b main foreign-hook=/bin/true");
    h_runtime_ok(h, "create-container default/b main");
    harness_stop(h);
}

static void
what_the_handler_requires_and_initdata_are_checked(void **state)
{
    struct harness *h = start(
        &(struct harness_options){
            .node_args = "--gpus 1",
            .nri_yaml = "  handlers:\n"
                        "  - match: \"kata-*\"\n"
                        "    tee: snp\n"
                        "    require: "
                        "[io.katacontainers.config.hypervisor.default_memory=65536]\n"},
        1);
    struct h_grant g;
    json_object *o;

    (void)state;
    h_run(h, &g, "default/a " RES "=1");
    h_runtime_refused(h, "default_memory", "run-pod default a kata-mine kata");
    harness_wait_unit(h, g.id[0], "state", "allocated", 10000);
    harness_wait_unit(h, g.id[0], "use", "free", 5000);
    h_runtime_ok(h, "run-pod default a kata-mine kata "
                    "annotation=io.katacontainers.config.hypervisor.default_memory=65536");
    o = harness_status(h);
    assert_string_equal(text_at(o, "nri/sandboxes/0/handler"), "kata-mine");
    (void)json_object_put(o);
    h_runtime_refused(h, "initdata",
                      "run-pod default b kata-mine "
                      "annotation=io.katacontainers.config.hypervisor.cc_init_data=bm90IGd6aXA=");
    h_runtime_ok(h, "run-pod default c runc "
                    "annotation=io.katacontainers.config.hypervisor.cc_init_data=bm90IGd6aXA=");
    harness_stop(h);
}

/* The kubelet hangs. A pod that can have none of our devices starts; one that may have is refused,
 * and in time: the runtime does not drop us. */
static void
a_kubelet_that_does_not_answer_fails_closed(void **state)
{
    struct harness *h =
        start(&(struct harness_options){.node_args = "--gpus 1", .pod_poll = RARELY}, 1);
    struct h_grant g;
    json_object *o;

    (void)state;
    (void)kill(harness_pid(h, H_KUBELET), SIGSTOP);
    h_runtime_ok(h, "run-pod default none " SNP);
    (void)kill(harness_pid(h, H_KUBELET), SIGCONT);
    h_run(h, &g, "default/a " RES "=1");
    (void)kill(harness_pid(h, H_KUBELET), SIGSTOP);
    h_runtime_refused(h, "PodResources|list|no answer in time", "run-pod default b " SNP);
    o = h_runtime(h, "plugins");
    assert_string_equal(text_at(o, "plugins/0/name"), "10-pgpu");
    (void)json_object_put(o);
    (void)kill(harness_pid(h, H_KUBELET), SIGCONT);
    h_runtime_ok(h, "run-pod default a " SNP " kata");
    harness_stop(h);
}

/* What each runtime does with an injection is its own; the container has its GPU with all. */
static void
every_runtime_gets_the_gpu_into_the_container(void **state)
{
    static const struct {
        const char *args;
        bool by_name;
    } list[] = {
        {"--runtime containerd --version 1.7.24", false},
        {"--runtime containerd --version v1.7.30 --cdi on", true},
        {"--runtime containerd --version v2.0.5", false},
        {"--runtime containerd --version v2.1.9", true},
        {"--runtime containerd --version v2.3.4 --configure-first", true},
        {"--runtime cri-o --version 1.31.0", false},
        {"--runtime cri-o --version 1.36.0", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        struct harness *h = start(
            &(struct harness_options){.node_args = "--gpus 1", .runtime_args = list[i].args}, 1);
        struct h_grant g;
        json_object *o;

        h_run(h, &g, "default/a " RES "=1");
        h_runtime_ok(h, "run-pod default a " SNP " kata");
        wait_sandbox(h, g.id[0], true);
        o = create(h, "default/a main");
        if (strcmp(text_at(o, "container/devices/0/path"), g.node[0]) != 0)
            fail_msg("%s: %s", list[i].args, json_object_to_json_string(o));
        assert_true(json_object_get_int(at(o, "container/devices/0/major")) > 0);
        assert_null(at(o, "container/devices/1"));
        assert_int_equal(at(o, "adjusted/cdi/0") != NULL, list[i].by_name);
        (void)json_object_put(o);
        /* the kubelet's own edit is not repeated */
        h_runtime_ok(h, "remove-container default/a main");
        char with[256];
        (void)snprintf(with, sizeof(with), "default/a main device=%s", g.node[0]);
        o = create(h, with);
        assert_null(at(o, "adjusted/cdi/0"));
        assert_null(at(o, "adjusted/devices/0"));
        (void)json_object_put(o);
        h_end(h, "default/a");
        h_runtime_ok(h, "stop-pod default/a");
        harness_wait_unit(h, g.id[0], "state", "ready", 5000);
        harness_stop(h);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_confidential_pod_is_guarded_injected_and_released),
        cmocka_unit_test(a_sandbox_that_stopped_is_waited_for_until_its_vm_is_gone),
        cmocka_unit_test(a_pods_second_sandbox_gets_the_gpu_scrubbed),
        cmocka_unit_test(a_pod_of_the_same_name_does_not_inherit_the_former_ones_sandbox),
        cmocka_unit_test(a_sandbox_in_the_middle_of_a_hand_over_gets_all_or_nothing),
        cmocka_unit_test(a_vm_that_never_came_up_leaves_a_scrubbed_gpu),
        cmocka_unit_test(a_gpu_that_was_allocated_before_a_reboot_is_prepared_for_its_pod),
        cmocka_unit_test(a_restart_of_pgpud_between_allocate_and_sandbox_loses_nothing),
        cmocka_unit_test(a_restart_under_a_running_vm_finds_its_sandbox_again),
        cmocka_unit_test(what_ended_while_we_were_away_is_released),
        cmocka_unit_test(a_vm_that_changed_while_we_were_away_is_noticed),
        cmocka_unit_test(doubt_outlives_the_wait_for_a_list),
        cmocka_unit_test(of_two_sandboxes_of_a_pod_the_running_one_has_the_gpu),
        cmocka_unit_test(nobody_gets_a_gpu_by_naming_it),
        cmocka_unit_test(what_the_handler_requires_and_initdata_are_checked),
        cmocka_unit_test(a_kubelet_that_does_not_answer_fails_closed),
        cmocka_unit_test(every_runtime_gets_the_gpu_into_the_container),
    };

    if (!harness_possible())
        return 77;
    return cmocka_run_group_tests_name("daemon.nri", tests, NULL, NULL);
}
