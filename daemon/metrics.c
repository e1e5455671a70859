/* SPDX-License-Identifier: Apache-2.0
 *
 * Acts are counted here; metrics_node.c reads the rest when it is asked for.
 */
#include "daemon/metrics.h"

#include "base/cleanup.h"
#include "base/hw.h"
#include "daemon/metrics_impl.h"
#include "daemon/timer.h"
#include "nri/guard.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#ifndef PGPU_COMMIT
#define PGPU_COMMIT "unknown"
#endif

#define BEAT HW_SEC(5)

const char *
meters_result(bool ok)
{
    return ok ? "ok" : "error";
}

double
meters_unix_time(void)
{
    struct timespec ts;
    int64_t ms;

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    ms = (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;

    return (double)ms / 1e3;
}

static double
seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

/* Steps as they are called outside: by what happens to the device. Waiting for the firmware is one,
 * before a step of ours or after a reset; the firmware clears the memory meanwhile, and does not
 * tell when. */
static const char *const phase_labels[] = {
    [HWD_PHASE_NONE] = "none",     [HWD_PHASE_GATE] = "gate",
    [HWD_PHASE_BIND] = "bind",     [HWD_PHASE_WAKE] = "wake",
    [HWD_PHASE_HOLD] = "hold",     [HWD_PHASE_BOOT] = "boot_wait",
    [HWD_PHASE_QUERY] = "query",   [HWD_PHASE_WRITE] = "knob_write",
    [HWD_PHASE_RESET] = "reset",   [HWD_PHASE_REBOOT] = "boot_wait",
    [HWD_PHASE_VERIFY] = "verify", [HWD_PHASE_RELEASE] = "unbind",
};
_Static_assert(ARRAY_SIZE(phase_labels) == HWD_PHASE_COUNT, "one label per phase");

/* ---- one function for each kind of act that is counted ---- */

static void
on_state(struct meters *t, const struct act *a)
{
    bool held = a->event == EV_OP_OK_HELD || a->event == EV_OP_OK_HANDED;
    bool failed = a->event == EV_OP_FAILED || a->event == EV_OP_STUCK;

    if (a->from == UNIT_RELEASING && (held || failed))
        metric_add(t->m, METER_SCRUBS, LABELS(meters_result(held)), 1);
    if (a->to == UNIT_QUARANTINED && a->from != UNIT_QUARANTINED)
        metric_add(t->m, METER_QUARANTINES, LABELS(reason_name(a->reason)), 1);
}

static void
on_operation(struct meters *t, const struct act *a)
{
    const struct hwd_evidence *v = a->evidence;
    const char *op = hwd_op_name(a->op), *result = meters_result(a->ok);

    metric_add(t->m, METER_OPERATIONS, LABELS(op, result), 1);
    if (a->took_ns)
        metric_observe(t->m, METER_OPERATION_TIME, LABELS(op), seconds(a->took_ns));
    if (!v)
        return;
    for (int p = HWD_PHASE_GATE; p < HWD_PHASE_COUNT; p++)
        if (v->phase_ms[p])
            metric_observe(t->m, METER_PHASE_TIME, LABELS(phase_labels[p]),
                           (double)v->phase_ms[p] / 1e3);
    if (v->resets && a->unit)
        metric_add(t->m, METER_RESETS,
                   LABELS(a->unit->id, hwd_rung_name((enum hwd_rung)v->reset_rung), result),
                   v->resets);
}

static void
on_allocate(struct meters *t, const struct act *a)
{
    metric_add(t->m, METER_ALLOCATIONS,
               LABELS(meters_result(a->ok), reason_name(a->ok ? REASON_NONE : a->reason)), 1);
    metric_observe(t->m, METER_RPC_TIME, LABELS("Allocate"), seconds(a->took_ns));
}

static void
on_refusal(struct meters *t, const struct act *a)
{
    metric_add(t->m, METER_DENIALS, LABELS(a->rule && a->rule[0] ? a->rule : "unknown"), 1);
}

static void
on_nri_event(struct meters *t, const struct act *a)
{
    metric_observe(t->m, METER_NRI_TIME, LABELS(a->what), seconds(a->took_ns));
    if (a->text && strcmp(a->text, "late") == 0)
        metric_add(t->m, METER_NRI_LATE, NULL, 1);
}

static void
on_kubelet(struct meters *t, const struct act *a)
{
    /* The kubelet may read the list before it has answered: from down to either is one. */
    for (size_t i = 0; i < t->node->n_resources; i++)
        if (strcmp(t->node->resource[i].name, a->resource) == 0) {
            if (a->ok && !t->registered[i])
                metric_add(t->m, METER_REGISTRATIONS, NULL, 1);
            t->registered[i] = a->ok;
        }
}

static void
on_journal(struct meters *t, const struct act *a)
{
    metric_add(t->m, METER_STATE_WRITES, LABELS(meters_result(a->ok)), 1);
}

static void
on_cdi(struct meters *t, const struct act *a)
{
    metric_add(t->m, METER_CDI_WRITES, LABELS(meters_result(a->ok)), 1);
}

static void
on_audit(struct meters *t, const struct act *a)
{
    metric_add(t->m, a->ok ? METER_AUDIT_RECORDS : METER_AUDIT_FAILURES, NULL, 1);
}

static void
on_act(void *ctx, const struct act *a)
{
    static void (*const handler[ACT_KIND_COUNT])(struct meters *, const struct act *) = {
        [ACT_STATE] = on_state,         [ACT_OPERATION] = on_operation,
        [ACT_ALLOCATE] = on_allocate,   [ACT_REFUSAL] = on_refusal,
        [ACT_NRI_EVENT] = on_nri_event, [ACT_KUBELET] = on_kubelet,
        [ACT_JOURNAL] = on_journal,     [ACT_CDI] = on_cdi,
        [ACT_AUDIT] = on_audit,
    };

    if (a->kind < ACT_KIND_COUNT && handler[a->kind])
        handler[a->kind](ctx, a);
}

/* ---- what no act tells ---- */

void
meters_rpc(struct meters *m, const char *rpc, uint64_t took_ns)
{
    if (m)
        metric_observe(m->m, METER_RPC_TIME, LABELS(rpc), seconds(took_ns));
}

static int
on_beat(sd_event_source *s, uint64_t usec, void *ctx)
{
    struct meters *t = ctx;
    uint64_t now = now_ns();

    (void)s;
    (void)usec;
    t->lag = now > t->beat_due ? now - t->beat_due : 0;
    metric_observe(t->m, METER_LAG, NULL, seconds(t->lag));
    t->beat_due = now + BEAT;
    timer_arm(t->node->loop, &t->beat, BEAT, on_beat, t);
    return 0;
}

uint64_t
meters_lag(const struct meters *m, uint64_t *ret_age)
{
    uint64_t last = m->beat_due - BEAT, now = now_ns();

    *ret_age = now > last ? now - last : 0;
    return m->lag;
}

/* ---- start, print, end ---- */

/* Counters start at 0, so that the first event is already an increase. */
static void
begin_at_zero(struct meters *t)
{
    static const enum meter by_result[] = {METER_SCRUBS, METER_STATE_WRITES, METER_CDI_WRITES};
    static const enum meter plain[] = {METER_REGISTRATIONS, METER_NRI_LATE, METER_AUDIT_RECORDS,
                                       METER_AUDIT_FAILURES, METER_DROPPED};

    for (size_t i = 0; i < ARRAY_SIZE(by_result); i++) {
        metric_add(t->m, by_result[i], LABELS("ok"), 0);
        metric_add(t->m, by_result[i], LABELS("error"), 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
        metric_add(t->m, plain[i], NULL, 0);
    for (int r = 0; r < GUARD_RULES; r++)
        metric_add(t->m, METER_DENIALS, LABELS(guard_rule_name((enum guard_rule)r)), 0);
    metric_add(t->m, METER_ALLOCATIONS, LABELS("ok", reason_name(REASON_NONE)), 0);
    for (int r = REASON_NONE; r < REASON_COUNT; r++) {
        metric_add(t->m, METER_ALLOCATIONS, LABELS("error", reason_name((enum reason)r)), 0);
        metric_add(t->m, METER_QUARANTINES, LABELS(reason_name((enum reason)r)), 0);
    }
}

int
meters_new(struct node *n, struct meters **ret, struct err *e)
{
    struct meters *t = calloc(1, sizeof(*t));
    int r;

    if (!t)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "metrics");
    r = metrics_new(meter_families, METER_COUNT, &t->m, e);
    if (r < 0) {
        free(t);
        return r;
    }
    t->node = n;
    t->started = meters_unix_time();
    metric_set(t->m, METER_BUILD, LABELS(PGPU_VERSION, PGPU_COMMIT), 1);
    metric_set(t->m, METER_START_TIME, NULL, t->started);
    metric_set(t->m, METER_CONFIG_TIME, NULL, t->started);
    begin_at_zero(t);
    t->beat_due = now_ns();
    (void)on_beat(NULL, 0, t);
    act_listen(&n->acts, on_act, t);
    *ret = t;
    return 0;
}

void
meters_free(struct meters *m)
{
    if (!m)
        return;
    (void)sd_event_source_unref(m->beat);
    metrics_free(m->m);
    free(m);
}

int
meters_print(struct meters *m, enum metrics_format f, struct buf *out, struct err *e)
{
    meters_read(m);
    return metrics_print(m->m, f, out, e);
}
