/* SPDX-License-Identifier: Apache-2.0
 *
 * The failure table: every fault that the emulated GPU knows, in every phase of a GPU's life, under
 * both prepare policies. For each case: the state and its reason, what the kubelet saw, what a
 * failing Allocate says, that whatever was handed out was in CC mode by the hardware's own account,
 * and that the GPU comes back by itself once the fault is gone.
 *
 *   bind      unbound, CC off, fault present before pgpu starts
 *   arm       the same, but on vfio-pci already
 *   allocate  armed and Healthy; the fault appears just before Allocate
 *   use       the fault appears while a VMM has the GPU open
 *   release   it appears in use, then the VMM closes the GPU and the pod ends
 *
 * One lane is one phase under one policy: a node, a kubelet and both services for all its faults.
 */
#include "tests/sim/daemon/faults.h"

#include "base/cleanup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define GPU H_GPU0

enum phase { P_BIND, P_ARM, P_ALLOCATE, P_USE, P_RELEASE };

/* What becomes of the fault where pgpu does its work. */
enum fate {
    UNSEEN, /* nobody can notice it there, and what is handed out is right all the same */
    CURED,  /* noticed, and the second, stronger reset helps: ready with the fault in place */
    HEALED, /* noticed and quarantined for the reason; the recovery ladder gets it ready with the
               fault in place */
    SEEN,   /* quarantined for the reason; ready by itself when the fault is gone */
    HUNG,   /* the kernel does not come back: stuck, until it does */
    HELD,   /* the VMM's close has not ended: waits for it, until it does */
};

struct outcome {
    enum fate fate;
    const char *reason; /* "A|B" */
};

struct row {
    const char *fault;
    struct outcome arm;      /* PREPARE from CC off: query, write, reset, verify */
    struct outcome handover; /* the read-only check before hand-over */
    struct outcome release;  /* the VMM's close resets; then PREPARE with nothing to write */
    unsigned models;         /* 0: Hopper only */
};

#define BLACKWELL 2u
#define BOTH 3u

#define S(r)                                                                                       \
    {                                                                                              \
        SEEN, r                                                                                    \
    }
#define GONE "DEVICE_GONE|POWER_STATE|UNREADABLE"

/* clang-format off */
static const struct row rows[] = {
    /* the firmware's answers. The deciding knobs are 8 (CC), 6 (devtools) and 45 (PPCIe); a fault of
     * writing shows only where something has to be written. */
    {"invalid-knob=8",     S("KNOB_MISSING"),  S("MODE_MISMATCH"), S("KNOB_MISSING"), BOTH},
    {"write-error=8",      S("FSP_ERROR"),     {UNSEEN, NULL},     {UNSEEN, NULL},    0},
    {"write-error=10:0x202", S("FSP_ERROR"),   {UNSEEN, NULL},     {UNSEEN, NULL},    0},
    {"write-refused=8",    S("FSP_ERROR"),     {UNSEEN, NULL},     {UNSEEN, NULL},    BOTH},
    {"write-ignored=8",    S("KNOB_NOT_KEPT"), {UNSEEN, NULL},     {UNSEEN, NULL},    BOTH},
    {"inband-locked=8",    S("KNOB_LOCKED"),   {UNSEEN, NULL},     {UNSEEN, NULL},    BOTH},
    {"fsp-error",          S("FSP_ERROR"),     S("FSP_ERROR"),     S("FSP_ERROR"),    BOTH},
    {"no-reply",           S("FSP_SILENT"),    S("FSP_SILENT"),    S("FSP_SILENT"),   BOTH},
    {"lost-reply",         S("FSP_SILENT"),    S("FSP_SILENT"),    S("FSP_SILENT"),   0},
    {"no-consume",         S("FSP_STUCK"),     S("FSP_STUCK"),     S("FSP_STUCK"),    BOTH},
    {"stale-reply",        {UNSEEN, NULL},     {UNSEEN, NULL},     {UNSEEN, NULL},    BOTH},
    {"slow-reply=10",      {UNSEEN, NULL},     {UNSEEN, NULL},     {UNSEEN, NULL},    0},
    {"slow-reply=400",     S("FSP_SILENT"),    S("FSP_SILENT"),    S("FSP_SILENT"),   0},
    {"wrong-type",         S("FSP_PROTOCOL"),  S("FSP_PROTOCOL"),  S("FSP_PROTOCOL"), 0},
    {"wrong-echo",         S("FSP_PROTOCOL"),  S("FSP_PROTOCOL"),  S("FSP_PROTOCOL"), 0},
    {"wrong-length",       S("FSP_PROTOCOL"),  S("FSP_PROTOCOL"),  S("FSP_PROTOCOL"), BOTH},
    {"short-reply",        S("FSP_PROTOCOL"),  S("FSP_PROTOCOL"),  S("FSP_PROTOCOL"), BOTH},
    /* boot and latching: they show after a reset, and the VMM's close is one */
    {"boot-never",         S("BOOT_TIMEOUT"),  {UNSEEN, NULL},     S("BOOT_TIMEOUT"), BOTH},
    {"boot-needs-second-reset", {CURED, NULL}, {UNSEEN, NULL},     {HEALED, "BOOT_TIMEOUT"}, 0},
    {"mode-not-latched",   S("MODE_NOT_LATCHED"), {UNSEEN, NULL},  {UNSEEN, NULL},    BOTH},
    {"firewall-stuck",     S("FIREWALL_UP"),   {UNSEEN, NULL},     S("FIREWALL_UP"),  BLACKWELL},
    {"recovery-mode",      S("RECOVERY_MODE"), S("RECOVERY_MODE"), S("RECOVERY_MODE"), BOTH},
    {"sec-fault",          S("SEC_FAULT"),     S("SEC_FAULT"),     S("SEC_FAULT"),    BOTH},
    /* power, bus, reset */
    {"d3hot-start",        {UNSEEN, NULL},     {UNSEEN, NULL},     {UNSEEN, NULL},    0},
    {"d3cold",             S(GONE),            S(GONE),            S(GONE),           0},
    {"off-bus",            S(GONE),            S(GONE),            S(GONE),           0},
    {"all-ones",           S("BAR_DEAD"),      S("BAR_DEAD"),      S("BAR_DEAD"),     BOTH},
    {"badf",               S("BAR_DEAD"),      S("BAR_DEAD"),      S("BAR_DEAD"),     0},
    {"all-ones-after-reset", S("BAR_DEAD"),    {UNSEEN, NULL},     S("BAR_DEAD"),     0},
    {"sbr-only-recovery",  {CURED, NULL},      {UNSEEN, NULL},     {HEALED, "BAR_DEAD"}, 0},
    {"reset-hang=flr",     {HUNG, "STUCK"},    {UNSEEN, NULL},     {HELD, "WAIT_RELEASE"}, 0},
    {"reset-hang=bus",     {UNSEEN, NULL},     {UNSEEN, NULL},     {UNSEEN, NULL},    0},
    {"reset-fail=flr",     {CURED, NULL},      {UNSEEN, NULL},     {CURED, NULL},     0},
    {"reset-fail=bus",     {UNSEEN, NULL},     {UNSEEN, NULL},     {UNSEEN, NULL},    0},
    {"reset-fail",         S("RESET_FAILED"),  {UNSEEN, NULL},     S("RESET_FAILED"), BOTH},
};
/* clang-format on */

static struct {
    enum phase phase;
    bool eager, b200;
    struct harness *h;
    struct f_vmm vmm;
    bool clean; /* the last case ended well: its node can be used on */
} lane;

/* ---- the node of the lane ---- */

static void
run_and_end(const char *pod)
{
    struct h_grant g;
    char what[64];

    (void)snprintf(what, sizeof(what), "%s " F_RES "=1", pod);
    h_run(lane.h, &g, what);
    f_check_grant(lane.h, &g);
    h_end(lane.h, pod);
}

static void
fresh_node(void)
{
    if (lane.h)
        f_abandon(lane.h);
    f_vmm_close(&lane.vmm);
    lane.h = harness_start(&(struct harness_options){
        .node_args =
            lane.b200 ? "--gpus 1 --model b200 --time-scale 0.005" : "--gpus 1 --time-scale 0.005",
        .hwd_yaml = F_HWD_YAML,
        .pgpud_yaml = lane.eager ? F_PGPUD_YAML : F_PGPUD_YAML "prepare: allocate\n",
    });
    harness_wait_healthy(lane.h, F_RES, 1, 10000);
    if (lane.phase == P_BIND || lane.phase == P_ARM)
        return;
    /* under `allocate` a GPU is armed from its first use on */
    if (!lane.eager)
        run_and_end("default/first");
    f_check_ready(lane.h, GPU);
}

static void
fault(const struct row *r)
{
    free(harness_node(lane.h, "fault %s %s", GPU, r->fault));
}

static void
clear_and_recover(void)
{
    free(harness_node(lane.h, "fault %s clear", GPU));
    f_check_ready(lane.h, GPU);
}

/* ---- outcomes ---- */

static const char *
state_of(enum fate f)
{
    return f == HUNG ? "stuck" : f == HELD ? "releasing" : "quarantined";
}

/* Not offered, with the reason. `lists`: what the kubelet had got before; none of those it got
 * since showed the GPU Healthy. */
static void
check_refused(const struct outcome *o, size_t lists)
{
    f_wait_state(lane.h, GPU, state_of(o->fate), o->reason, 8000);
    f_check_withdrawn(lane.h, GPU);
    if (f_healthy_since(lane.h, GPU, lists) > 0)
        fail_msg("the kubelet was shown a GPU as Healthy that was not verified");
}

static void
expect_refusal(const char *pod, const char *reason)
{
    json_object *reply = harness_kubelet(lane.h, "run %s %s=1", pod, F_RES);
    const char *text = json_object_to_json_string(reply);

    if (jbool(reply, "ok"))
        fail_msg("a GPU with a fault was handed out: %s", text);
    if (reason && (!strstr(text, GPU) || !f_has_word(text, reason)))
        fail_msg("the refusal does not name %s and %s: %s", GPU, reason, text);
    (void)json_object_put(reply);
}

/* ---- bind and arm ---- */

static void
case_arm_eager(const struct row *r)
{
    size_t lists;

    f_make_raw(lane.h, GPU, lane.phase == P_ARM);
    fault(r);
    lists = f_lists(lane.h);
    harness_run(lane.h, H_HWD);
    harness_run(lane.h, H_PGPUD);
    if (r->arm.fate == SEEN || r->arm.fate == HUNG) {
        check_refused(&r->arm, lists);
        expect_refusal("default/refused", NULL); /* the kubelet has none to give */
        f_check_withdrawn(lane.h, GPU);
    } else {
        f_check_ready(lane.h, GPU);
        if (r->arm.fate == CURED)
            assert_true(f_unit_int(lane.h, GPU, "evidence", "resets") >= 2);
    }
}

static void
case_arm_allocate(const struct row *r)
{
    struct h_grant g;
    size_t lists;

    f_make_raw(lane.h, GPU, lane.phase == P_ARM);
    fault(r);
    harness_run(lane.h, H_HWD);
    harness_run(lane.h, H_PGPUD);
    harness_wait_healthy(lane.h, F_RES, 1, 8000);
    harness_wait_unit(lane.h, GPU, "state", "found", 2000);
    lists = f_lists(lane.h);
    if (r->arm.fate == SEEN || r->arm.fate == HUNG) {
        expect_refusal("default/refused", r->arm.reason);
        check_refused(&r->arm, lists);
        return;
    }
    h_run(lane.h, &g, "default/a " F_RES "=1");
    f_check_grant(lane.h, &g);
    if (r->arm.fate == CURED)
        assert_true(f_unit_int(lane.h, GPU, "evidence", "resets") >= 2);
    h_end(lane.h, "default/a");
}

/* ---- allocate ---- */

static void
case_allocate(const struct row *r)
{
    struct h_grant g;
    size_t lists;

    fault(r);
    lists = f_lists(lane.h);
    if (r->handover.fate == SEEN) {
        expect_refusal("default/refused", r->handover.reason);
        check_refused(&r->handover, lists);
        return;
    }
    h_run(lane.h, &g, "default/a " F_RES "=1");
    f_check_grant(lane.h, &g);
    harness_wait_unit(lane.h, GPU, "state", "allocated", 1000);
    free(harness_node(lane.h, "fault %s clear", GPU));
    h_end(lane.h, "default/a");
}

/* ---- in use, release ---- */

static void
open_in_pod(const char *pod)
{
    struct h_grant g;
    char what[128];

    (void)snprintf(what, sizeof(what), "%s " F_RES "=1", pod);
    h_run(lane.h, &g, what);
    f_check_grant(lane.h, &g);
    f_vmm_open(lane.h, &lane.vmm, GPU);
    harness_wait_unit(lane.h, GPU, "state", "in_use", 3000);
}

/* A running VM is left alone, whatever its GPU has. */
static void
case_use(const struct row *r)
{
    size_t lists;
    int64_t resets;

    open_in_pod("default/vm");
    resets = h_resets(lane.h, GPU);
    lists = f_lists(lane.h);
    fault(r);
    free(harness_node(lane.h, "uevent %s change", GPU)); /* makes pgpu-hwd look at the bus */
    h_sleep_ms(250);
    harness_wait_unit(lane.h, GPU, "state", "in_use", 0);
    f_capacity(lane.h, 1, 1);
    assert_int_equal(f_lists(lane.h), lists);
    assert_int_equal(h_resets(lane.h, GPU), resets);
    free(harness_node(lane.h, "fault %s clear", GPU));
    f_vmm_close(&lane.vmm);
    h_end(lane.h, "default/vm");
    harness_wait_unit(lane.h, GPU, "state", "ready", 10000);
}

static void
case_release(const struct row *r)
{
    size_t lists;

    open_in_pod("default/vm");
    fault(r);
    lists = f_lists(lane.h);
    h_end(lane.h, "default/vm");
    f_vmm_close(&lane.vmm);
    switch (r->release.fate) {
    case SEEN:
    case HUNG:
    case HELD:
        check_refused(&r->release, lists);
        return;
    case HEALED:
        f_wait_state(lane.h, GPU, "quarantined", r->release.reason, 8000);
        f_check_ready(lane.h, GPU);
        return;
    case CURED:
    case UNSEEN:
        f_wait_state(lane.h, GPU, "ready", NULL, 8000);
        f_check_ready(lane.h, GPU);
        if (r->release.fate == CURED)
            assert_true(f_unit_int(lane.h, GPU, "evidence", "resets") >= 2);
        return;
    }
}

static void
one_case(void **state)
{
    const struct row *r = *state;

    if (!lane.clean)
        fresh_node();
    lane.clean = false;
    switch (lane.phase) {
    case P_BIND:
    case P_ARM:
        (lane.eager ? case_arm_eager : case_arm_allocate)(r);
        break;
    case P_ALLOCATE:
        case_allocate(r);
        break;
    case P_USE:
        case_use(r);
        break;
    case P_RELEASE:
        case_release(r);
        break;
    }
    /* Under `allocate` a GPU that was never asked for is at rest when it is Healthy again. */
    clear_and_recover();
    h_no_violations(lane.h);
    lane.clean = true;
}

/* The table has a row for every fault that the model has. */
static void
check_complete(void)
{
    char *text = harness_node(lane.h, "faults"), *save = NULL;

    for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
        size_t len = strcspn(l, " "), i = 0;

        while (i < ARRAY_SIZE(rows) && (strncmp(rows[i].fault, l, len) != 0 ||
                                        (rows[i].fault[len] != '\0' && rows[i].fault[len] != '=')))
            i++;
        if (i == ARRAY_SIZE(rows))
            fail_msg("the fault %.*s has no row in the table", (int)len, l);
    }
    free(text);
}

static void
lane_ends_in_order(void **state)
{
    (void)state;
    if (lane.clean) {
        check_complete();
        harness_stop(lane.h);
    } else if (lane.h) {
        f_abandon(lane.h);
    }
}

/* ---- lanes ---- */

static const char *const lanes[] = {
    "eager/bind",          "allocate/bind",      "eager/arm",         "allocate/arm",
    "eager/allocate",      "eager/use",          "eager/release",     "b200-eager/bind",
    "allocate/use",        "allocate/release",   "allocate/allocate", "b200-allocate/arm",
    "b200-eager/allocate", "b200-eager/release",
};
static const char *const phases[] = {"bind", "arm", "allocate", "use", "release"};

static int
run_lane(const char *name, const char *only)
{
    static char names[ARRAY_SIZE(rows)][64];
    struct CMUnitTest tests[ARRAY_SIZE(rows) + 1];
    const char *slash = strchr(name, '/');
    size_t n = 0;

    lane.b200 = strncmp(name, "b200-", 5) == 0;
    lane.eager = strncmp(name + (lane.b200 ? 5 : 0), "eager", 5) == 0;
    lane.vmm = (struct f_vmm)F_VMM_INIT;
    for (size_t i = 0; slash && i < ARRAY_SIZE(phases); i++)
        if (strcmp(slash + 1, phases[i]) == 0)
            lane.phase = (enum phase)i;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        unsigned models = rows[i].models ? rows[i].models : 1u;

        if (!(models & (lane.b200 ? BLACKWELL : 1u)) || (only && !strstr(rows[i].fault, only)))
            continue;
        (void)snprintf(names[i], sizeof(names[i]), "%s: %s", name, rows[i].fault);
        tests[n++] = (struct CMUnitTest){
            .name = names[i], .test_func = one_case, .initial_state = (void *)(uintptr_t)&rows[i]};
    }
    tests[n++] = (struct CMUnitTest){.name = "stop", .test_func = lane_ends_in_order};
    return _cmocka_run_group_tests(name, tests, n, NULL, NULL);
}

int
main(int argc, char **argv)
{
    if (!harness_possible())
        return 77;
    if (argc > 1)
        return run_lane(argv[1], argc > 2 ? argv[2] : NULL);
    return f_run_lanes("daemon.faults", lanes, ARRAY_SIZE(lanes));
}
