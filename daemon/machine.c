/* SPDX-License-Identifier: Apache-2.0
 *
 * The state machine of one unit: unit_event() applies the table, operations are sent here and their
 * results come back here. What a unit needs next is decided in steps.c; what the operations
 * themselves do is written in hwd/.
 */
#include "daemon/node.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/hw.h"
#include "base/log.h"
#include "daemon/timer.h"

#include <stdio.h>
#include <string.h>

/* How soon a unit is stepped again whose operation met another one on its device. */
#define AGAIN_FIRST HW_MS(100)
#define AGAIN_MAX HW_SEC(5)
/* What the service may be late with a result: it kills its worker and looks whether it dies. */
#define OVERDUE HW_SEC(10)

bool
unit_is_listed(const struct unit *u)
{
    if (!u->resource[0])
        return false;
    if (unit_state_info(u->state)->allocated || u->claim)
        return true;
    return (u->facts.flags & HWD_FACT_CLAIMED) != 0;
}

static bool
healthy_alone(const struct unit *u)
{
    const struct unit_state_info *i = unit_state_info(u->state);
    bool lazy = u->node->conf->prepare == PREPARE_ALLOCATE && u->node->conf->manage == MANAGE_FULL;

    if (!(lazy ? i->healthy_lazy : i->healthy))
        return false;
    if (i->allocated)
        return true; /* a unit in use stays Healthy unless it is truly broken */
    if (!hwclient_is_up(u->node->hw))
        return false;
    if (u->state == UNIT_FOUND)
        return u->classified && u->facts.reason == REASON_NONE && !modeset_holds(u);
    if (!unit_in_mode(u))
        return false; /* the node's mode is another one now */
    if (u->state == UNIT_READY && !(u->facts.flags & HWD_FACT_ARMED))
        return false; /* the hold is gone: it is prepared again in a moment */
    return promise_in_cdi(u);
}

/* Units of one IOMMU group go together: one that is not fit makes its siblings useless. */
static bool
gang_is_healthy(const struct unit *u)
{
    const struct node *n = u->node;
    uint32_t fit = 0;

    for (size_t i = 0; i < n->n_units; i++)
        fit += n->unit[i]->facts.iommu_group == u->facts.iommu_group &&
               n->unit[i]->state != UNIT_GONE && healthy_alone(n->unit[i]);
    return fit == u->facts.gang_size;
}

bool
unit_is_healthy(const struct unit *u)
{
    if (!healthy_alone(u))
        return false;
    return u->facts.gang_size <= 1 || unit_state_info(u->state)->allocated || gang_is_healthy(u);
}

const char *
unit_unverified(const struct unit *u, const char *sandbox, char *buf, size_t size)
{
    const struct unit_state_info *i = unit_state_info(u->state);

    if (!i->allocated)
        (void)snprintf(buf, size, "it is not handed out but %s%s%.80s", i->name,
                       u->why[0] ? ": " : "", u->why);
    else if (!u->verified)
        (void)snprintf(buf, size, "no verification since its last use is on record");
    else if (u->facts.flags & HWD_FACT_ARMED)
        (void)snprintf(buf, size, "it is still being handed over");
    else if (u->used && !(u->used_by[0] && strcmp(u->used_by, sandbox) == 0))
        (void)snprintf(buf, size, "another VM may have used it since it was verified");
    else
        return NULL;
    return buf;
}

void
unit_set_sandbox(struct unit *u, const char *sandbox)
{
    (void)str_copy(u->sandbox, sizeof(u->sandbox), sandbox);
    if (!u->used)
        (void)str_copy(u->used_by, sizeof(u->used_by), sandbox);
    journal_put(u, unit_state_info(u->state)->journal);
}

void
unit_set_reason(struct unit *u, enum reason reason, const char *why)
{
    u->reason = reason;
    (void)snprintf(u->why, sizeof(u->why), "%.*s", (int)sizeof(u->why) - 1, why ? why : "");
}

bool
unit_event(struct unit *u, enum unit_event ev, enum reason reason, const char *why)
{
    const struct unit_state_info *from = unit_state_info(u->state);
    const enum unit_state was = u->state;
    enum unit_state next;

    if (!unit_state_next(u->state, ev, &next)) {
        log_error("event without a transition: this is a defect", "device", u->id, "state",
                  from->name, "event", unit_event_name(ev));
        return false;
    }
    const struct unit_state_info *to = unit_state_info(next);

    /* 1. journal before the act; 2. state; 3. promises, so that nothing is done to a unit while
     * the outside still believes the former state. */
    if (next != u->state || ev == EV_OP_OK_HANDED) {
        u->since = now_ns();
        unit_set_reason(u, reason, why);
    }
    u->state = next;
    journal_put(u, to->journal);
    if (next == UNIT_QUARANTINED || next == UNIT_STUCK) {
        log_warn(next == UNIT_STUCK ? "device stuck" : "device quarantined", "device", u->id, "was",
                 from->name, "reason", reason_name(reason), "why", why ? why : "", "cure",
                 reason_cure(reason));
    } else {
        log_info("device state", "device", u->id, "from", from->name, "to", to->name, "event",
                 unit_event_name(ev));
    }
    /* `u->why` is what stands from now on; it is told before anything follows from it */
    act_tell(&u->node->acts, &(struct act){.kind = ACT_STATE,
                                           .unit = u,
                                           .from = was,
                                           .to = next,
                                           .event = ev,
                                           .reason = reason,
                                           .text = why,
                                           .mode = (enum cc_mode)unit_wanted_mode(u)});
    if (next == UNIT_READY || next == UNIT_ALLOCATED)
        ladder_reset(u);
    if (next == UNIT_ALLOCATED && ev != EV_OPENED) {
        /* Given to a new owner by an Allocate; otherwise to the one that a list has named. */
        bool anew = ev == EV_OP_OK_HANDED && (!from->allocated || u->alloc);

        u->returned = false;
        u->handed_at = now_ns();
        u->absent = 0;
        if (anew) {
            u->anew_at = u->handed_at;
            u->stopped = false;
            u->sandbox[0] = '\0';
            u->handed_list = u->node->pods.asked;
            u->was_listed = false;
        }
    }
    if (ev == EV_FOUND_HELD)
        u->returned = false; /* its user has it still */
    if (!to->allocated) {
        memset(&u->owner, 0, sizeof(u->owner));
        u->sandbox[0] = '\0';
        u->stopped = false;
        if (next != UNIT_READY && next != UNIT_RELEASING) {
            u->verified = false; /* in `releasing` it may still be open: only a scrub ends it */
            u->prepared_for = CC_MODE_UNKNOWN;
        }
    }
    if (next == UNIT_READY) {
        u->listed = false; /* whatever an old list said: from here on it is nobody's */
        u->handed_list = u->node->pods.asked;
        u->absent = 0;
    }
    promise_update(u->node);
    pods_schedule(u->node);
    if (next == UNIT_READY && u->returned)
        pods_refresh(u->node); /* does its pod wait for it? */
    return true;
}

static int
on_again(sd_event_source *s, uint64_t usec, void *ctx)
{
    (void)s;
    (void)usec;
    unit_step(ctx);
    return 0;
}

/* Steps the unit once more soon; each time in a row it takes twice as long. */
void
unit_step_again(struct unit *u)
{
    uint64_t delay = u->again_delay ? u->again_delay : AGAIN_FIRST;

    timer_arm(u->node->loop, &u->again, delay, on_again, u);
    u->again_delay = delay * 2 > AGAIN_MAX ? AGAIN_MAX : delay * 2;
}

/* The service answers every request by its deadline. One that does not hangs: start over with it.
 */
static int
on_overdue(sd_event_source *s, uint64_t usec, void *ctx)
{
    struct unit *u = ctx;

    (void)s;
    (void)usec;
    if (u->op_seq) {
        log_error("pgpu-hwd does not answer: connecting anew", "device", u->id, "op",
                  hwd_op_name(u->op));
        hwclient_drop(u->node->hw, "an answer was overdue");
    }
    return 0;
}

bool
unit_start_op(struct unit *u, enum hwd_op op, uint32_t flags, uint32_t arg, uint64_t deadline_ns)
{
    struct hwd_request req = {.op = op,
                              .flags = flags,
                              .unit = u->addr,
                              .mode = unit_wanted_mode(u),
                              .arg = arg,
                              .deadline_ms = (uint32_t)(deadline_ns / HW_MS(1))};
    struct err e = ERR_INIT;

    if (req.deadline_ms == 0)
        req.deadline_ms = 1;
    if (hwclient_send(u->node->hw, &req, &e) < 0) {
        /* Down: everything is taken up again when it is back. Up, but full: in a moment. */
        log_debug("operation not sent", "device", u->id, "op", hwd_op_name(op), "why", e.msg);
        if (hwclient_is_up(u->node->hw))
            unit_step_again(u);
        return false;
    }
    timer_arm(u->node->loop, &u->op_timer, deadline_ns + OVERDUE, on_overdue, u);
    if (op == HWD_OP_PREPARE || op == HWD_OP_RESET)
        u->verified = false;
    u->op_seq = req.seq;
    u->op_since = now_ns();
    u->op = op;
    u->op_flags = flags;
    u->op_for = u->node->mode.wanted;
    u->phase = HWD_PHASE_NONE;
    u->phase_since = u->op_since;
    log_debug("operation", "device", u->id, "op", hwd_op_name(op), "seq", LOG_NUM(req.seq));
    return true;
}

void
unit_progress(struct unit *u, const struct hwd_message *m)
{
    if (m->seq != u->op_seq)
        return;
    u->phase = (enum hwd_phase)m->phase;
    u->phase_since = now_ns();
    log_debug("progress", "device", u->id, "op", hwd_op_name(u->op), "phase",
              hwd_phase_name(u->phase), "detail", m->text);
}

/* ---- results ---- */

static void
prepared(struct unit *u, const struct hwd_message *m, bool handed)
{
    u->evidence = m->evidence;
    u->verified = true;
    u->verified_mode = (enum cc_mode)u->facts.mode_active;
    u->prepared_for = u->op_for;
    u->prepared_at = now_ns();
    u->used = false;
    u->used_by[0] = '\0';
    if (!handed && u->node->conf->manage == MANAGE_VERIFY && !(u->facts.flags & HWD_FACT_ARMED)) {
        u->fail_class = ERR_CLASS_INVALID;
        (void)unit_event(u, EV_OP_FAILED, REASON_HWD_REFUSED,
                         "pgpu-hwd does not hold what it has not prepared: set `manage: verify` in "
                         "its configuration as well");
        ladder_arm(u);
        return;
    }
    if (!handed) {
        if (unit_event(u, EV_OP_OK_HELD, REASON_NONE, NULL))
            unit_step(u);
        return;
    }
    if (u->alloc && !unit_in_mode(u)) /* the mode was changed meanwhile: not in the former one */
        alloc_unit_failed(u, "the node's mode is being changed, and it is still in the former one");
    if (!u->alloc && !unit_state_info(u->state)->allocated) {
        /* its Allocate has ended meanwhile: nobody gets it, so it never was handed out */
        if (unit_event(u, EV_TAKE_BACK, REASON_NONE, NULL))
            unit_step(u);
        return;
    }
    if (!unit_event(u, EV_OP_OK_HANDED, REASON_NONE, NULL))
        return;
    if (u->alloc)
        alloc_unit_done(u);
    else
        unit_step(u);
}

static void
op_failed(struct unit *u, const struct hwd_message *m)
{
    enum reason reason = (enum reason)m->reason;
    bool waiting = (u->state == UNIT_RELEASING || u->state == UNIT_ARMING) &&
                   reason == REASON_IN_USE && u->facts.use == HWD_USE_HELD;

    if (reason == REASON_OP_PENDING) {
        /* a worker of a service that died, or offline pgpuctl, has the device: it will end */
        if (u->state == UNIT_ARMING || u->state == UNIT_RELEASING)
            unit_set_reason(u, reason, m->text);
        unit_step_again(u);
        return;
    }
    u->again_delay = 0;
    if (u->state == UNIT_READY && reason == REASON_HWD_REFUSED) {
        /* not held since it was verified, whatever we believed */
        if (unit_event(u, EV_HOLD_LOST, REASON_NONE, NULL))
            unit_step(u);
        return;
    }
    if (waiting && u->state == UNIT_RELEASING) {
        /* somebody opened it between the facts and the gate: keep waiting */
        unit_set_reason(u, REASON_WAIT_RELEASE, m->text);
        return;
    }
    u->fail_class = (enum err_class)m->err_class;
    if (reason == REASON_STUCK || u->facts.state == HWD_STATE_STUCK)
        (void)unit_event(u, EV_OP_STUCK, REASON_STUCK, m->text);
    else if (u->state != UNIT_IN_USE)
        (void)unit_event(u, EV_OP_FAILED, reason, m->text);
    if (u->alloc)
        alloc_unit_failed(u, m->text);
    if (u->state == UNIT_QUARANTINED) {
        enum reason now;
        const char *why;

        /* a condition in the facts is left when it goes; the rest is for the ladder */
        u->unfit = unit_unfit(u, &now, &why);
        if (u->unfit)
            promise_update(u->node); /* no recovery: a change of the mode does not wait for one */
        else
            ladder_arm(u);
    }
}

/* A repeated Allocate asked for a look at a unit that is handed out. Only one that nobody has
 * opened meanwhile is as it was verified. */
static void
looked_again(struct unit *u, const struct hwd_message *m)
{
    if (unit_untouched(u) && u->op_for == u->node->mode.wanted)
        prepared(u, m, true);
    else
        unit_step(u);
}

static void
note_resets(struct unit *u, const struct hwd_message *m)
{
    const struct hwd_evidence *v = &m->evidence;

    if (v->resets == 0)
        return;
    u->reset.at = now_ns();
    u->reset.count += v->resets;
    u->reset.rung = v->reset_rung;
    u->reset.took_ms = v->phase_ms[HWD_PHASE_RESET] + v->phase_ms[HWD_PHASE_REBOOT];
}

void
unit_result(struct unit *u, const struct hwd_message *m)
{
    enum hwd_op op = u->op;
    bool handed = (u->op_flags & HWD_REQ_HANDOVER) != 0;
    bool ok = m->err_class == ERR_CLASS_NONE;

    if (m->seq != u->op_seq)
        return; /* of an operation that we gave up */
    u->op_seq = 0;
    u->op = HWD_OP_NONE;
    timer_stop(u->op_timer);
    if (ok)
        u->again_delay = 0;
    if (pci_addr_cmp(m->facts.unit, u->addr) == 0)
        u->facts = m->facts;
    act_tell(&u->node->acts, &(struct act){.kind = ACT_OPERATION,
                                           .unit = u,
                                           .op = op,
                                           .ok = ok,
                                           .reason = (enum reason)m->reason,
                                           .text = ok ? NULL : m->text,
                                           .evidence = &m->evidence,
                                           .mode = (enum cc_mode)unit_wanted_mode(u),
                                           .took_ns = now_ns() - u->op_since});
    note_resets(u, m);
    if (!ok)
        log_debug("operation failed", "device", u->id, "op", hwd_op_name(op), "why", m->text);
    if (u->state == UNIT_GONE) {
        if (u->alloc)
            alloc_unit_failed(u, ok ? "the device left the bus" : m->text);
        return;
    }
    switch (op) {
    case HWD_OP_RESET:
        ladder_result(u, m);
        return;
    case HWD_OP_PREPARE:
    case HWD_OP_HANDOVER:
    case HWD_OP_VERIFY:
        if (!ok)
            op_failed(u, m);
        else if (op == HWD_OP_VERIFY && unit_state_info(u->state)->allocated)
            looked_again(u, m);
        else
            prepared(u, m, handed);
        return;
    case HWD_OP_PROBE_USE:
        if (u->state == UNIT_RELEASING && (!ok || u->facts.use == HWD_USE_UNKNOWN))
            op_failed(u, m); /* cannot tell whether it is free: the ladder tries again */
        else
            unit_step(u);
        return;
    case HWD_OP_NONE:
    case HWD_OP_GIVE_BACK:
    case HWD_OP_RESCAN:
    case HWD_OP_COUNT:
        unit_step(u);
        return;
    }
}

void
unit_hwd_down(struct unit *u)
{
    /* Whatever was under way is unknown now; the unit keeps its state and is stepped again when
     * the service is back. Nothing is held or watched any more. */
    if (u->op_seq && u->state == UNIT_QUARANTINED)
        ladder_arm(u); /* its rung was under way */
    u->op_seq = 0;
    u->op = HWD_OP_NONE;
    timer_stop(u->op_timer);
    u->facts.flags &= ~(uint32_t)(HWD_FACT_ARMED | HWD_FACT_HANDED_OVER);
}
