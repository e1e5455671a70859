/* SPDX-License-Identifier: Apache-2.0
 *
 * How an operation ends: at its deadline, stuck, or reaped; and what its outcome means for the
 * unit's facts, hold and flags.
 */
#include "hwd/svc.h"

#include "base/cleanup.h"
#include "base/hw.h"
#include "base/log.h"
#include "hwd/steps.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define REAP_WAIT HW_MS(500)         /* a killable process is gone by then */
#define PROBE_BACKOFF_MAX HW_SEC(10) /* after that the periodic scan looks */

static void
log_op(const struct op *op, const struct err *e)
{
    const struct hwd_evidence *ev = &op->out.evidence;
    char phases[256] = "";
    size_t n = 0;

    for (unsigned i = 1; i < HWD_PHASE_COUNT; i++) {
        int w;

        if (!ev->phase_ms[i])
            continue;
        w = snprintf(phases + n, sizeof(phases) - n, "%s%s:%u", n ? "," : "",
                     hwd_phase_name((enum hwd_phase)i), ev->phase_ms[i]);
        if (w < 0 || (size_t)w >= sizeof(phases) - n)
            break;
        n += (size_t)w;
    }
    if (!op->client) {
        log_debug("looked", "unit", PCI_STR(op->job.unit.addr), "use",
                  hwd_use_name((enum hwd_use)op->unit->facts.use), "error", e ? e->msg : "");
    } else if (!e) {
        log_info("done", "op", hwd_job_name(op->job.op), "unit", PCI_STR(op->job.unit.addr), "mode",
                 cc_mode_name((enum cc_mode)op->job.mode), "took_ms",
                 LOG_NUM((hwd_now() - op->started) / HW_MS(1)), "knobs", LOG_NUM(ev->knobs_written),
                 "resets", LOG_NUM(ev->resets), "reset",
                 hwd_rung_name((enum hwd_rung)ev->reset_rung), "access",
                 hwd_access_name((enum hwd_access)ev->access), "phases_ms", phases);
    } else if (e->reason == REASON_OP_PENDING) { /* the client comes again, often many times */
        log_debug("refused", "op", hwd_job_name(op->job.op), "unit", PCI_STR(op->job.unit.addr),
                  "error", e->msg);
    } else {
        log_warn("failed", "op", hwd_job_name(op->job.op), "unit", PCI_STR(op->job.unit.addr),
                 "class", err_class_name(e->cls), "reason", reason_name(e->reason), "took_ms",
                 LOG_NUM((hwd_now() - op->started) / HW_MS(1)), "phase",
                 hwd_phase_name((enum hwd_phase)op->unit->facts.phase), "resets",
                 LOG_NUM(ev->resets), "phases_ms", phases, "error", e->msg);
    }
}

static int
on_unreaped(sd_event_source *src, uint64_t usec, void *ctx)
{
    struct op *op = ctx;
    struct unit *u = op->unit;
    struct err e = ERR_INIT;

    (void)src;
    (void)usec;
    op->stuck = true;
    u->facts.state = HWD_STATE_STUCK;
    u->facts.op = op->job.op;
    u->facts.op_since_ns = op->started;
    u->facts.flags &= ~(uint32_t)HWD_FACT_ARMED;
    unit_tell(u);
    (void)err_reason(&e, ETIMEDOUT, ERR_CLASS_HW, REASON_STUCK,
                     "%s %s: the kernel has not come back in phase %s after %u ms (pid %d)",
                     hwd_job_name(op->job.op), PCI_STR(u->desc.addr),
                     hwd_phase_name((enum hwd_phase)u->facts.phase),
                     (unsigned)((hwd_now() - op->started) / HW_MS(1)),
                     (int)hwd_worker_pid(op->worker));
    log_op(op, &e);
    client_result(op->svc, op->client, op->seq, u, u->desc.addr, &e, &op->out.evidence);
    return 0;
}

int
op_on_deadline(sd_event_source *src, uint64_t usec, void *ctx)
{
    struct op *op = ctx;

    (void)src;
    (void)usec;
    op->killed = true;
    (void)kill(hwd_worker_pid(op->worker), SIGKILL);
    op->timer = sd_event_source_disable_unref(op->timer);
    (void)sd_event_add_time_relative(op->svc->loop, &op->timer, CLOCK_MONOTONIC, REAP_WAIT / 1000u,
                                     1000, on_unreaped, op);
    return 0;
}

/* Fills `e` and returns true where the operation failed. */
static bool
op_error(const struct op *op, struct err *e)
{
    const char *name = hwd_job_name(op->job.op);

    if (op->have_outcome && op->out.err_class == ERR_CLASS_NONE && !op->broken[0])
        return false;
    if (op->have_outcome && !op->broken[0])
        (void)err_reason(e, (int)op->out.err_num, (enum err_class)op->out.err_class,
                         (enum reason)op->out.reason, "%s", op->out.text);
    else if (op->killed)
        (void)err_reason(e, ETIMEDOUT, ERR_CLASS_HW, REASON_DEADLINE,
                         "%s %s: not done after %u ms, in phase %s", name,
                         PCI_STR(op->job.unit.addr), (unsigned)(op->deadline / HW_MS(1)),
                         hwd_phase_name((enum hwd_phase)op->unit->facts.phase));
    else
        (void)err_reason(e, EIO, ERR_CLASS_RETRY, REASON_INTERNAL, "%s %s: %s", name,
                         PCI_STR(op->job.unit.addr), op->broken);
    return true;
}

static bool
changes_device(uint32_t op)
{
    return op == HWD_OP_PREPARE || op == HWD_OP_RESET || op == HWD_OP_GIVE_BACK;
}

/* Opens of the group's node that the operation made itself. A worker that did not live to tell is
 * believed the most it can have made: its look before binding, and its hold. */
static void
count_own(const struct op *op)
{
    unsigned own = op->out.group_opens;

    if (!op->have_outcome)
        own = (op->unit->facts.phase > HWD_PHASE_GATE ? 1u : 0u) + (op->took ? 1u : 0u);
    group_count(op->svc, op->group, 0, own);
}

/* How the hold and the flags stand after the operation. */
static void
settle(struct op *op, bool ok, struct err *e)
{
    struct unit *u = op->unit;
    struct hwd_facts *f = &u->facts;
    bool past_hold = f->phase > HWD_PHASE_HOLD;
    bool verified = ok && op->out.verified;
    bool keeps = verified && op->hold_ref &&
                 (op->job.op == HWD_OP_PREPARE || op->job.op == HWD_OP_HANDOVER ||
                  (op->job.flags & HWD_REQ_HOLD));

    if (keeps && !u->holding) {
        u->holding = true; /* the operation's reference becomes the unit's */
        u->held_group = op->group;
        op->hold_ref = false;
    }
    if (op->hold_ref)
        hold_unref(op->svc, op->group, u);
    op->hold_ref = false;
    if (changes_device(op->job.op) && past_hold)
        f->flags &= ~(uint32_t)(HWD_FACT_HANDED_OVER | HWD_FACT_OPENED | HWD_FACT_REOPENED);
    if ((changes_device(op->job.op) && !verified) || (op->dropped && !ok) || !u->holding)
        unit_release(u);
    if (!ok && !op_is_probe(op) && e->cls != ERR_CLASS_BUSY)
        f->flags &= ~(uint32_t)HWD_FACT_ARMED;
    if (!verified || !u->holding)
        return;
    f->use = HWD_USE_OURS;
    if (op->job.op == HWD_OP_PREPARE || op->was_armed || op->svc->p->cfg->manage != HWD_MANAGE_FULL)
        f->flags |= HWD_FACT_ARMED;
}

/* Who uses it, as far as the operation can tell. */
static void
settle_use(struct op *op, bool ok)
{
    struct unit *u = op->unit;
    struct hwd_facts *f = &u->facts;
    if (u->holding) {
        f->use = HWD_USE_OURS;
    } else if (op->out.use == HWD_USE_HELD) {
        f->use = HWD_USE_HELD;
        if (op->out.holder_pid || op_is_probe(op)) {
            f->holder_pid = op->out.holder_pid;
            memcpy(f->holder_comm, op->out.holder_comm, sizeof(f->holder_comm));
        }
    } else if (ok && op_is_probe(op) && op->out.use == HWD_USE_UNKNOWN) {
        /* only /proc was looked at, and it showed nobody: that proves nothing */
        if (!(f->flags & HWD_FACT_CLAIMED))
            f->use = HWD_USE_UNKNOWN;
    } else if ((ok && op_is_probe(op)) || f->phase > HWD_PHASE_HOLD) {
        f->use = HWD_USE_FREE;
    }
    if (f->use != HWD_USE_HELD) {
        f->holder_pid = 0;
        memset(f->holder_comm, 0, sizeof(f->holder_comm));
    }
}

/* What a probe found out by opening the node is true of the whole group. */
static void
tell_siblings(const struct op *op)
{
    const struct svc *s = op->svc;

    if (op->out.group_use == HWD_USE_UNKNOWN || op->group < 0)
        return;
    for (unsigned i = 0; i < s->n_units; i++) {
        struct unit *u = s->units[i];
        struct hwd_facts *f = &u->facts;

        if (u == op->unit || u->op || u->holding || u->desc.facts.iommu_group != op->group ||
            !(f->flags & HWD_FACT_BOUND) || u->last_open > op->started)
            continue;
        if (op->out.group_use == HWD_USE_FREE) {
            /* HELD may be a cdev that is open and not yet bound: that only its own look sees. */
            if (f->use == HWD_USE_HELD && !u->probe)
                watch_probe_close(u);
            if (f->use != HWD_USE_UNKNOWN)
                continue;
        } else if (f->flags & HWD_FACT_HANDED_OVER) {
            f->flags |= HWD_FACT_OPENED;
        }
        f->use = op->out.group_use;
        unit_tell(u);
    }
}

/* The units of a group are reckoned with when the last operation on one of them is over. */
static void
settle_group(const struct op *op)
{
    if (!group_busy(op->svc, op->group, NULL) && group_counted(op->svc, op->group))
        watch_foreign_open(op->svc, op->group);
}

/* After a close the kernel may need a moment (it resets the device first): look again, ever later.
 */
static void
back_off(struct op *op)
{
    struct unit *u = op->unit;

    if (u->facts.use != HWD_USE_HELD || u->holding)
        return;
    if (!op_is_probe(op)) { /* it may have been closed while we did not listen */
        if (!u->probe)
            watch_probe_close(u);
        return;
    }
    if (!u->probe_backoff)
        return;
    u->probe_backoff *= 2;
    if (u->probe_backoff > PROBE_BACKOFF_MAX)
        u->probe_backoff = 0;
    else
        watch_probe_again(u, u->probe_backoff, false);
}

static bool
hand_over(struct op *op, struct err *e)
{
    struct unit *u = op->unit;

    if (op->job.op != HWD_OP_HANDOVER &&
        !(op->job.op == HWD_OP_PREPARE && (op->job.flags & HWD_REQ_HANDOVER)))
        return true;
    if ((u->holding || op->out.let_go) && watch_handover(u)) {
        /* While we held the group, or between the worker's close of the cdev and now: somebody
         * else's. */
        if (u->early > 0 || (op->out.let_go && op->cdev_opens > op->out.group_opens))
            watch_opened(u);
        u->early = 0;
        return true;
    }
    if (op->dropped || op->out.let_go) { /* nothing keeps anybody out any more */
        unit_release(u);
        watch_probe_again(u, 0, false);
    }
    (void)err_reason(e, ENOENT, ERR_CLASS_RETRY, REASON_NODE_MISSING,
                     "hand over %s: its node cannot be watched", PCI_STR(u->desc.addr));
    return false;
}

void
op_start_queued(struct unit *u)
{
    struct hwd_request r = u->queued;

    if (!u->has_queued)
        return;
    u->has_queued = false;
    op_request(u->svc, u->queued_client, &r);
}

/* Its driver or nodes were replaced while we worked: whatever was found out is not of this node. A
 * function reset leaves them; where RESET and GIVE_BACK take them away, that is what was asked. */
static bool
settle_rebound(struct op *op, bool failed, struct err *e)
{
    struct unit *u = op->unit;

    if (!u->rebound)
        return failed;
    unit_lost(u);
    scan_soon(op->svc, 0);
    if (failed || op->job.op == HWD_OP_RESET || op->job.op == HWD_OP_GIVE_BACK || op_is_probe(op))
        return failed;
    (void)err_reason(e, EAGAIN, ERR_CLASS_RETRY, REASON_NOT_BOUND,
                     "%s %s: its driver or its nodes were replaced meanwhile",
                     hwd_job_name(op->job.op), PCI_STR(u->desc.addr));
    return true;
}

void
op_finish(struct op *op)
{
    struct unit *u = op->unit;
    struct svc *s = op->svc;
    struct pci_addr addr = u->desc.addr;
    struct err e = ERR_INIT;
    bool failed = op_error(op, &e);
    bool was_stuck = op->stuck;
    int group = op->group;

    if (op->out.mode_active != CC_MODE_UNKNOWN) {
        u->facts.mode_active = op->out.mode_active;
        u->facts.mode_configured = op->out.mode_configured;
    }
    watch_drain(s); /* while u->op still tells our opens from others' */
    count_own(op);
    settle(op, !failed, &e);
    u->op = NULL;
    u->touched = s->scan_number;
    units_refresh(s);
    u = unit_find(s, addr);
    if (u) {
        if (op->out.evidence.access != HWD_ACCESS_AUTO)
            u->facts.access = op->out.evidence.access;
        failed = settle_rebound(op, failed, &e);
        if (!u->rebound || !op_is_probe(op))
            settle_use(op, !failed);
        tell_siblings(op);
    }
    settle_group(op);
    if (u) {
        if (!failed)
            failed = !hand_over(op, &e);
        log_op(op, failed ? &e : NULL);
        u->facts.state = HWD_STATE_IDLE;
        u->facts.op = u->facts.phase = 0;
        u->facts.op_since_ns = 0;
        back_off(op);
        unit_tell(u);
    }
    if (op->client && !was_stuck)
        client_result(s, op->client, op->seq, u, addr, failed ? &e : NULL, &op->out.evidence);
    if (was_stuck)
        log_info("the kernel came back", "op", hwd_job_name(op->job.op), "unit", PCI_STR(addr),
                 "took_ms", LOG_NUM((hwd_now() - op->started) / HW_MS(1)));
    if (op->client && (op->job.op != HWD_OP_VERIFY || was_stuck))
        scan_soon(s, HW_MS(50));
    op_free(op);
    op_answer_siblings(s, group);
    if (!u)
        return;
    if (was_stuck && (u->facts.flags & HWD_FACT_BOUND) && !u->holding)
        watch_probe_again(u, 0, false);
    if (u->wanted) {
        unit_lost(u);
        unit_tell(u);
    }
    op_start_queued(u);
}
