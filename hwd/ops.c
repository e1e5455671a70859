/* SPDX-License-Identifier: Apache-2.0
 *
 * Operations: admitting a request, starting its worker, watching over it, and turning its outcome
 * into facts and a result. Owner of struct op.
 *
 * An operation ends when its worker has been reaped, not when it reports: only then are its lock
 * and its copy of the hold gone. A worker that is past its deadline is killed; one that cannot be
 * killed makes the unit STUCK, its client is answered, and the end comes whenever the kernel lets
 * go.
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
#include <sys/epoll.h>
#include <sys/wait.h>

#define SIBLING_WAIT HW_MS(100)

bool
op_is_probe(const struct op *op)
{
    return op->job.op == HWD_OP_PROBE_USE;
}

unsigned
ops_running(const struct svc *s)
{
    unsigned n = 0;

    for (unsigned i = 0; i < s->n_units; i++)
        if (s->units[i]->op && !s->units[i]->op->stuck)
            n++;
    return n;
}

void
op_free(struct op *op)
{
    op->io = sd_event_source_disable_unref(op->io);
    op->child = sd_event_source_disable_unref(op->child);
    op->timer = sd_event_source_disable_unref(op->timer);
    hwd_worker_free(op->worker);
    free(op);
}

void
op_abandon(struct op *op)
{
    op->unit->op = NULL;
    if (op->hold_ref)
        hold_unref(op->svc, op->group, op->unit);
    op_free(op);
}

static void
op_break(struct op *op, const char *why)
{
    (void)snprintf(op->broken, sizeof(op->broken), "%.*s", (int)sizeof(op->broken) - 1, why);
    (void)kill(hwd_worker_pid(op->worker), SIGKILL);
}

/* ---- the group's hold ---- */

/* The sibling that was told to take the group, and still has it or is about to. */
static const struct op *
taker(const struct op *but)
{
    const struct svc *s = but->svc;

    for (unsigned i = 0; i < s->n_units; i++) {
        const struct op *o = s->units[i]->op;

        if (o && o != but && o->taking && o->group == but->group)
            return o;
    }
    return NULL;
}

/* A copy of the hold keeps the group busy for as long as its worker hangs, so only one that may
 * open the device through VFIO, or closes it, gets one. */
static bool
needs_copy(const struct op *op, const struct group_hold *h)
{
    const int access = op->svc->p->cfg->access;

    if (op_is_probe(op))
        return false;
    return h->is_cdev || op->unit->dev_fd >= 0 || access == HWD_ACCESS_VFIO ||
           (access == HWD_ACCESS_AUTO && op->unit->facts.access != HWD_ACCESS_SYSFS);
}

static void
answer_hold(struct op *op)
{
    struct svc *s = op->svc;
    struct err e = ERR_INIT;
    const struct group_hold *h = hold_find(s, op->group);
    bool have = hold_is_there(h);
    const struct op *other = have ? NULL : taker(op);

    if (op->hold_ref || op->taking) { /* it asked before: nonsense */
        op_break(op, "the worker asked for the hold twice");
        return;
    }
    if (other && op_is_probe(op) && !op_is_probe(other) &&
        other->unit->facts.phase > HWD_PHASE_HOLD) {
        have = true; /* ours for a while: there is nobody to look for, nor to wait for */
    } else if (other) {
        op->wants_hold = true;
        return;
    } else if (have) {
        hold_ref(s, op->group);
        op->hold_ref = true;
    } else {
        op->taking = op->took = true;
    }
    op->wants_hold = false;
    if (hwd_worker_answer(op->worker, have, op->hold_ref && needs_copy(op, h) ? h->fd : -1, &e) < 0)
        log_debug("worker does not take its answer", "error", e.msg);
}

void
op_answer_siblings(struct svc *s, int group)
{
    for (unsigned i = 0; i < s->n_units; i++)
        if (s->units[i]->op && s->units[i]->op->wants_hold && s->units[i]->op->group == group)
            answer_hold(s->units[i]->op);
}

static void
got_grip(struct op *op, struct hwd_grip *g)
{
    int group = op->group;

    if ((g->dev >= 0 || g->request >= 0) && unit_take_dev(op->unit, g->dev, g->request))
        g->dev = g->request = -1;
    if (g->hold >= 0 && !op->hold_ref && group >= 0) {
        hold_add(op->svc, group, take_fd(&g->hold), g->hold_is_cdev);
        op->hold_ref = true;
        op->taking = false;
        op_answer_siblings(op->svc, group);
    }
    hwd_grip_close(g); /* what it had already: nonsense; the worker still has its copies */
}

/* The worker is about to close the device for good, and waits until ours is closed. */
static void
on_drop(struct op *op)
{
    struct group_hold *h = hold_find(op->svc, op->group);
    struct err e = ERR_INIT;

    unit_drop_dev(op->unit);
    if (h && h->is_cdev) {
        fd_close(&h->fd);
        op->dropped = true;
    }
    if (hwd_worker_dropped(op->worker, &e) < 0)
        log_debug("worker does not take its answer", "error", e.msg);
}

/* ---- worker events ---- */

static bool
owns_fn(const struct op *op, struct pci_addr a)
{
    for (unsigned i = 0; i < op->job.unit.n_fn; i++)
        if (pci_addr_cmp(op->job.unit.fn[i], a) == 0)
            return true;
    return false;
}

static void
on_phase(struct op *op, const struct hwd_event *ev)
{
    struct unit *u = op->unit;

    if (!op->client || ev->phase == HWD_PHASE_NONE)
        return;
    u->facts.phase = (uint32_t)ev->phase;
    if (!op->stuck)
        client_progress(op->svc, op->client, op->seq, u, ev->phase, ev->detail);
}

/* 1: more may come. */
static int
op_read(struct op *op)
{
    struct hwd_event ev;
    struct err e = ERR_INIT;
    int r;

    if (op->broken[0])
        return 0;
    r = hwd_worker_next(op->worker, &ev, &e);
    if (r < 0)
        op_break(op, e.msg);
    if (r <= 0)
        return 0;
    switch (ev.type) {
    case HWD_EVENT_PHASE:
        on_phase(op, &ev);
        break;
    case HWD_EVENT_ASK_HOLD:
        answer_hold(op);
        break;
    case HWD_EVENT_HOLD:
        got_grip(op, &ev.grip);
        break;
    case HWD_EVENT_DROP:
        on_drop(op);
        break;
    case HWD_EVENT_FN:
        if (owns_fn(op, ev.fn.addr))
            units_note_fn(op->svc, &ev.fn, &ev.former);
        else
            op_break(op, "the worker spoke of a function that is not its own");
        break;
    case HWD_EVENT_OUTCOME:
        op->out = ev.outcome;
        op->have_outcome = true;
        break;
    case HWD_EVENT_END:
        op->io = sd_event_source_disable_unref(op->io);
        return 0;
    case HWD_EVENT_HOST:
        op_break(op, "the worker answered what was not asked");
        break;
    }
    return 1;
}

static int
on_op_io(sd_event_source *src, int fd, uint32_t revents, void *ctx)
{
    struct op *op = ctx;

    (void)src;
    (void)fd;
    (void)revents;
    for (int i = 0; i < 32 && op_read(op) > 0; i++)
        ;
    return 0;
}

static int
on_op_child(sd_event_source *src, const siginfo_t *si, void *ctx)
{
    struct op *op = ctx;

    (void)src;
    for (int i = 0; i < 256 && op_read(op) > 0; i++)
        ;
    if (!op->have_outcome && !op->killed && !op->broken[0])
        (void)snprintf(op->broken, sizeof(op->broken), "the worker died: %s %d",
                       si->si_code == CLD_EXITED ? "exit status" : "signal", si->si_status);
    op_finish(op);
    return 0;
}

/* ---- starts ---- */

static int
op_watch(struct op *op, struct err *e)
{
    sd_event *l = op->svc->loop;
    pid_t pid = hwd_worker_pid(op->worker);
    int r;

    if ((r = sd_event_add_io(l, &op->io, hwd_worker_fd(op->worker), EPOLLIN, on_op_io, op)) < 0 ||
        (r = sd_event_add_child(l, &op->child, pid, WEXITED, on_op_child, op)) < 0 ||
        (r = sd_event_add_time_relative(l, &op->timer, CLOCK_MONOTONIC, op->deadline / 1000u, 1000,
                                        op_on_deadline, op)) < 0)
        return err_errno(e, -r, ERR_CLASS_RETRY, "watch the worker of %s",
                         hwd_job_name(op->job.op));
    return 0;
}

static void
set_job(struct op *op, const struct hwd_request *r)
{
    struct svc *s = op->svc;
    struct unit *u = op->unit;
    const struct group_hold *h = hold_find(s, op->group);

    op->job = (struct hwd_job){
        .op = r->op,
        .flags = r->flags,
        .mode = r->mode,
        .rung = r->arg,
        .held = hold_is_there(h),
        .hold_fd = -1,
        .dev_fd = -1,
        .deadline_ns = op->deadline,
        .unit = u->desc,
        .scan = s->scan,
        .cfg = s->p->cfg,
        .root = s->p->root,
        .statedir = s->statedir,
    };
    /* A look does not arm: what somebody had in between was not scrubbed. With `manage: verify`
     * that is the operator's business. */
    if (r->op == HWD_OP_VERIFY && !op->was_armed && s->p->cfg->manage == HWD_MANAGE_FULL)
        op->job.flags &= ~(uint32_t)HWD_REQ_HOLD;
    if (op->job.held) {
        hold_ref(s, op->group);
        op->hold_ref = true;
        if (needs_copy(op, h)) {
            op->job.hold_fd = h->fd;
            op->job.dev_fd = u->dev_fd;
        }
    }
}

static int
op_start(struct unit *u, const struct hwd_request *r, uint64_t client, struct err *e)
{
    struct svc *s = u->svc;
    struct op *op = calloc(1, sizeof(*op));
    int rc;

    if (!op)
        return err_errno(e, ENOMEM, ERR_CLASS_RETRY, "start %s", hwd_job_name(r->op));
    op->svc = s;
    op->unit = u;
    op->client = client;
    op->seq = r->seq;
    op->group = u->desc.facts.iommu_group;
    op->was_armed = (u->facts.flags & HWD_FACT_ARMED) != 0;
    op->started = hwd_now();
    op->deadline = hwd_config_deadline(s->p->cfg, (enum hwd_op)r->op, r->deadline_ms);
    op->out.mode_active = op->out.mode_configured = CC_MODE_UNKNOWN;
    set_job(op, r);
    rc = hwd_worker_start(&op->job, &op->worker, e);
    if (rc >= 0) {
        rc = op_watch(op, e);
        if (rc < 0)
            hwd_worker_kill(op->worker);
    }
    if (rc < 0) {
        if (op->hold_ref)
            hold_unref(s, op->group, u);
        op_free(op);
        unit_tell(u); /* it may have lost its hold */
        return rc;
    }
    u->op = op;
    if (!u->holding)
        u->early = 0;
    u->rebound = false;
    u->facts.phase = 0;
    if (client) {
        u->facts.state = HWD_STATE_BUSY;
        u->facts.op = r->op;
        u->facts.op_since_ns = op->started;
        unit_tell(u);
    }
    return 0;
}

void
op_probe(struct unit *u, bool proc_only)
{
    const struct hwd_request r = {
        .op = HWD_OP_PROBE_USE, .unit = u->desc.addr, .flags = proc_only ? HWD_JOB_PROC_ONLY : 0};
    struct err e = ERR_INIT;

    watch_drain(u->svc); /* what happened before is not the probe's */
    if (u->op || u->holding || !(u->facts.flags & HWD_FACT_BOUND))
        return;
    /* One at a time: its open of the node would be in the way of a sibling's; and who closes a
     * device for us is no user. */
    if (away_of(u) || group_busy(u->svc, u->desc.facts.iommu_group, u)) {
        watch_probe_again(u, SIBLING_WAIT, proc_only);
        return;
    }
    if (op_start(u, &r, 0, &e) < 0)
        log_warn("cannot look who holds it", "unit", PCI_STR(u->desc.addr), "error", e.msg);
}

static int
queue(struct unit *u, uint64_t client, const struct hwd_request *r)
{
    u->queued = *r;
    u->queued_client = client;
    u->has_queued = true;
    return 1;
}

/* Where the functions leave their driver or the bus, a hold would be in the way; and what is being
 * closed has to be closed first. */
static int
admit_closing(struct unit *u, uint64_t client, const struct hwd_request *r, struct err *e)
{
    const struct away *a;

    if (r->op == HWD_OP_GIVE_BACK || (r->op == HWD_OP_RESET && r->arg == HWD_RUNG_REMOVE_RESCAN))
        unit_release(u);
    a = away_of(u);
    if (!a)
        return 0;
    if (!u->has_queued && !away_late(a))
        return queue(u, client, r);
    return err_reason(e, EBUSY, ERR_CLASS_BUSY, away_late(a) ? REASON_STUCK : REASON_OP_PENDING,
                      "%s %s: the kernel has not come back from closing the device",
                      hwd_job_name(r->op), PCI_STR(u->desc.addr));
}

/* 0: go on. 1: answered or queued. <0: refused. */
static int
admit_busy(struct unit *u, uint64_t client, const struct hwd_request *r, struct err *e)
{
    if (!u->op)
        return 0;
    if (u->op->stuck)
        return err_reason(e, EBUSY, ERR_CLASS_BUSY, REASON_STUCK,
                          "%s %s: the kernel has not come back from %s", hwd_job_name(r->op),
                          PCI_STR(u->desc.addr), hwd_job_name(u->op->job.op));
    if (u->op->client || u->has_queued)
        return err_reason(e, EBUSY, ERR_CLASS_BUSY, REASON_OP_PENDING, "%s %s: %s is under way",
                          hwd_job_name(r->op), PCI_STR(u->desc.addr),
                          hwd_job_name(u->op->client ? u->op->job.op : u->queued.op));
    return queue(u, client, r);
}

static int
admit_probe(struct unit *u, uint64_t client, const struct hwd_request *r, struct err *e)
{
    if (r->op != HWD_OP_PROBE_USE)
        return 0;
    if (!(u->facts.flags & HWD_FACT_CLAIMED))
        return err_reason(e, EPERM, ERR_CLASS_INVALID, REASON_NOT_CLAIMED, "look at %s: %s",
                          PCI_STR(u->desc.addr), u->facts.text);
    if (u->holding || !(u->facts.flags & HWD_FACT_BOUND)) {
        client_result(u->svc, client, r->seq, u, u->desc.addr, NULL, NULL);
        return 1;
    }
    if ((u->facts.flags & HWD_FACT_HANDED_OVER) && !(u->facts.flags & HWD_FACT_OPENED) &&
        !(r->flags & HWD_REQ_FORCE_PROBE))
        return err_reason(e, EBUSY, ERR_CLASS_BUSY, REASON_IN_USE,
                          "look at %s: handed over and not opened yet, a look could make the VMM's "
                          "open fail",
                          PCI_STR(u->desc.addr));
    return 0;
}

/* What was not prepared since somebody else could open it is not handed to the next one. */
static int
admit_handover(const struct unit *u, const struct hwd_request *r, struct err *e)
{
    if (r->op != HWD_OP_HANDOVER || u->svc->p->cfg->manage != HWD_MANAGE_FULL ||
        (u->facts.flags & HWD_FACT_ARMED))
        return 0;
    return err_reason(e, EPERM, ERR_CLASS_RETRY, REASON_HWD_REFUSED,
                      "hand over %s: not prepared since it was last used", PCI_STR(u->desc.addr));
}

void
op_request(struct svc *s, uint64_t client, const struct hwd_request *r)
{
    struct unit *u;
    struct err e = ERR_INIT;
    int rc;

    if (r->op == HWD_OP_RESCAN) {
        scan_request(s, client, r->seq);
        return;
    }
    watch_drain(s); /* what happened before is not the operation's */
    u = unit_find(s, r->unit);
    if (!u)
        rc = err_reason(&e, ENODEV, ERR_CLASS_INVALID, REASON_DEVICE_GONE, "%s: no unit %s",
                        hwd_job_name(r->op), PCI_STR(r->unit));
    else if (s->stopping)
        rc = err_reason(&e, ESHUTDOWN, ERR_CLASS_RETRY, REASON_HWD_DOWN,
                        "%s %s: the service is stopping", hwd_job_name(r->op), PCI_STR(r->unit));
    else
        rc = admit_busy(u, client, r, &e);
    if (rc == 0)
        rc = admit_probe(u, client, r, &e);
    if (rc == 0)
        rc = admit_handover(u, r, &e);
    if (rc == 0)
        rc = admit_closing(u, client, r, &e);
    if (rc == 0)
        rc = op_start(u, r, client, &e);
    if (rc < 0)
        client_result(s, client, r->seq, u, r->unit, &e, NULL);
}
