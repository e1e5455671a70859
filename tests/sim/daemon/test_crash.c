/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpud and pgpu-hwd are killed (SIGKILL) at moments that sweep over arming, allocating and
 * releasing. After the restart the node converges: the GPU is ready or handed out, really in CC
 * mode, in the CDI file exactly if it is one of these, and a pod can get it.
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
#define POINTS 14
/* One arming takes about 100 ms at the harness's time scale, so the sweep reaches past its end. */
#define STEP_MS 9

static const char *const program_of[] = {[H_HWD] = "pgpu-hwd", [H_PGPUD] = "pgpud"};

static void
kill_and_restart(struct harness *h, enum harness_program p)
{
    harness_kill(h, p, SIGKILL);
    harness_run(h, p);
}

/* Is the GPU ready or handed out, with the truth in the CDI file? A restarted service is noticed
 * within milliseconds, so this is asked until it holds. */
static bool
converged(struct harness *h, const char *id, char *text, size_t size)
{
    json_object *s = harness_status(h);
    json_object *u = s ? harness_unit(s, id) : NULL;
    const char *st = u ? jstr(u, "state") : "";
    char node[128];
    bool ok = u && strcmp(jstr(s, "hwd"), "up") == 0 && !jstr(u, "operation")[0] &&
              (strcmp(st, "ready") == 0 || strcmp(st, "allocated") == 0);

    harness_cdi_node(h, id, node, sizeof(node));
    (void)snprintf(text, size, "state %s, CDI file says \"%s\", the node is \"%s\"", st, node,
                   jstr(u, "node"));
    ok = ok && node[0] && strcmp(node, jstr(u, "node")) == 0;
    (void)json_object_put(s);
    return ok;
}

static void
check_converged(struct harness *h, const char *id, const char *what, int k)
{
    uint64_t end = h_now_ms() + 10000;
    char text[400];

    while (!converged(h, id, text, sizeof(text))) {
        if (h_now_ms() > end)
            fail_msg("%s, kill point %d: %s (logs in %s)", what, k, text, harness_dir(h));
        h_sleep_ms(10);
    }
    if (!h_is_on(h, id))
        fail_msg("%s, kill point %d: %s, but not in CC mode", what, k, text);
}

/* As the node was at boot: unbound, CC off, no journal of ours in force. */
static void
make_raw(struct harness *h, const char *id)
{
    harness_kill(h, H_PGPUD, SIGKILL);
    harness_kill(h, H_HWD, SIGKILL);
    h_unbind(h, id);
    free(harness_node(h, "knob %s 8 0", id));
    free(harness_node(h, "knob %s 10 0", id));
    h_reset(h, id);
    h_forget(h);
    harness_run(h, H_HWD);
}

static void
sweep_arming(enum harness_program victim)
{
    struct harness *h = harness_start(&(struct harness_options){.node_args = "--gpus 1"});

    for (int k = 0; k < POINTS; k++) {
        make_raw(h, H_GPU0);
        harness_run(h, H_PGPUD);
        h_sleep_ms((unsigned)(k * STEP_MS));
        kill_and_restart(h, victim);
        harness_wait_unit(h, H_GPU0, "state", "ready", 10000);
        harness_wait_healthy(h, RES, 1, 5000);
        check_converged(h, H_GPU0, program_of[victim], k);
    }
    h_no_violations(h);
    harness_stop(h);
}

static void
arming_survives_the_death_of_pgpud(void **state)
{
    (void)state;
    sweep_arming(H_PGPUD);
}

static void
arming_survives_the_death_of_hwd(void **state)
{
    (void)state;
    sweep_arming(H_HWD);
}

/* The kubelet had heard of the death before it got to the pod: no Allocate was made. */
static bool
never_asked(json_object *reply)
{
    return strstr(json_object_to_json_string(reply), "no healthy devices present") != NULL;
}

static void
sweep_allocate(enum harness_program victim)
{
    struct harness *h = harness_start(
        &(struct harness_options){.node_args = "--gpus 1", .pgpud_yaml = "prepare: allocate\n"});
    struct h_grant g;

    for (int k = 0; k < POINTS; k++) {
        struct harness_call *call;
        json_object *reply;

        make_raw(h, H_GPU0);
        harness_run(h, H_PGPUD);
        harness_wait_healthy(h, RES, 1, 10000);
        call = harness_kubelet_async(h, "run default/first " RES "=1");
        h_sleep_ms((unsigned)(k * STEP_MS));
        kill_and_restart(h, victim);
        reply = harness_join(call);
        /* A dead plugin fails the pod; a dead hardware service must not: the Allocate goes on when
         * it is back. Whoever got an answer got a GPU in CC mode. */
        if (victim == H_HWD && !jbool(reply, "ok") && !never_asked(reply))
            fail_msg("kill point %d: %s", k, json_object_to_json_string(reply));
        if (jbool(reply, "ok"))
            check_converged(h, H_GPU0, "allocate", k);
        (void)json_object_put(reply);
        h_end(h, "default/first");
        harness_wait_healthy(h, RES, 1, 10000);
        h_run(h, &g, "default/second " RES "=1");
        check_converged(h, H_GPU0, "second pod", k);
        h_end(h, "default/second");
    }
    h_no_violations(h);
    harness_stop(h);
}

static void
allocate_survives_the_death_of_pgpud(void **state)
{
    (void)state;
    sweep_allocate(H_PGPUD);
}

static void
allocate_survives_the_death_of_hwd(void **state)
{
    (void)state;
    sweep_allocate(H_HWD);
}

static void
sweep_release(enum harness_program victim)
{
    struct harness *h = harness_start(&(struct harness_options){.node_args = "--gpus 1"});
    struct h_grant g;

    for (int k = 0; k < POINTS; k++) {
        int64_t resets;
        int vm;

        harness_wait_healthy(h, RES, 1, 10000);
        harness_wait_unit(h, H_GPU0, "state", "ready", 10000);
        h_run(h, &g, "default/a " RES "=1");
        vm = h_vmm_open(h, g.node[0]);
        assert_true(vm >= 0);
        harness_wait_unit(h, H_GPU0, "state", "in_use", 5000);
        harness_wait_unit(h, H_GPU0, "pod", "a", 2000);
        h_end(h, "default/a");
        harness_wait_unit(h, H_GPU0, "state", "releasing", 5000);
        (void)close(vm);
        resets = h_resets(h, H_GPU0);
        h_sleep_ms((unsigned)(k * STEP_MS));
        kill_and_restart(h, victim);
        harness_wait_unit(h, H_GPU0, "state", "ready", 10000);
        if (h_resets(h, H_GPU0) <= resets)
            fail_msg("kill point %d: offered again without a scrub", k);
        harness_wait_healthy(h, RES, 1, 5000);
        check_converged(h, H_GPU0, "release", k);
    }
    h_no_violations(h);
    harness_stop(h);
}

static void
release_survives_the_death_of_pgpud(void **state)
{
    (void)state;
    sweep_release(H_PGPUD);
}

static void
release_survives_the_death_of_hwd(void **state)
{
    (void)state;
    sweep_release(H_HWD);
}

static void
a_worker_that_dies_fails_only_its_operation(void **state)
{
    struct harness *h = harness_start(&(struct harness_options){.node_args = "--gpus 2"});

    (void)state;
    harness_wait_healthy(h, RES, 2, 10000);
    make_raw(h, H_GPU0);
    harness_run(h, H_PGPUD);
    h_sleep_ms(30);
    h_kill_children(h, H_HWD);
    harness_wait_unit(h, H_GPU0, "state", "ready", 10000);
    harness_wait_unit(h, H_GPU1, "state", "ready", 10000);
    check_converged(h, H_GPU0, "worker killed", 0);
    harness_stop(h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arming_survives_the_death_of_pgpud),
        cmocka_unit_test(arming_survives_the_death_of_hwd),
        cmocka_unit_test(allocate_survives_the_death_of_pgpud),
        cmocka_unit_test(allocate_survives_the_death_of_hwd),
        cmocka_unit_test(release_survives_the_death_of_pgpud),
        cmocka_unit_test(release_survives_the_death_of_hwd),
        cmocka_unit_test(a_worker_that_dies_fails_only_its_operation),
    };

    if (!harness_possible())
        return 77;
    return cmocka_run_group_tests_name("daemon.crash", tests, NULL, NULL);
}
