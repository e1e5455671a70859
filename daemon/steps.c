/* SPDX-License-Identifier: Apache-2.0
 *
 * What a unit needs next, decided from its state, the facts and the policy: unit_step() may be
 * called at any time and does at most one thing.
 */
#include "daemon/node.h"

#include "base/cleanup.h"
#include "base/hw.h"
#include "base/log.h"
#include "daemon/timer.h"

#include <stdio.h>
#include <string.h>

/* With less of an Allocate's time left, nothing is begun that would be killed half-way. */
#define ENOUGH_TIME HW_SEC(2)

/* ---- start-up: what was this unit before we came? Hardware, PodResources, journal ---- */

static void
classify(struct unit *u)
{
    bool held = u->facts.use == HWD_USE_HELD;
    bool armed = (u->facts.flags & HWD_FACT_ARMED) != 0;
    bool handed = u->journal_allocated || (u->facts.flags & HWD_FACT_HANDED_OVER) ||
                  (u->listed && (held || armed));

    u->classified = true;
    if (handed && armed && !u->listed)
        handed = false; /* held by the service: nobody can have opened it since it was verified */
    if (handed) {
        (void)unit_event(u, held ? EV_FOUND_HELD : EV_FOUND_HANDED, REASON_NONE, NULL);
        unit_note_use(u);
    } else if (held) {
        u->unfit = true;
        (void)unit_event(u, EV_UNFIT, REASON_IN_USE, "open, but not handed out by us");
    } else {
        /* Allocated, and not handed out in this boot: the kubelet keeps allocations over a reboot
         * and does not ask again. Prepared first, then let go of for its pod. */
        u->returned = u->listed;
        promise_update(u->node); /* with `prepare: allocate` it may become Healthy now */
    }
}

void
units_settle(struct node *n)
{
    /* Everybody is classified before anything is promised: what is handed out must not drop out of
     * the CDI file while its siblings are looked at. */
    for (size_t i = 0; i < n->n_units; i++)
        if (!n->unit[i]->classified)
            classify(n->unit[i]);
    n->settled = true;
    promise_update(n);
}

/* ---- conditions that the facts name ---- */

bool
unit_unfit(const struct unit *u, enum reason *ret, const char **ret_why)
{
    if (!(u->facts.flags & HWD_FACT_CLAIMED) || u->facts.reason != REASON_NONE) {
        *ret = u->facts.reason ? (enum reason)u->facts.reason : REASON_NOT_CLAIMED;
        *ret_why = u->facts.text;
        return true;
    }
    if (u->node->conf->manage == MANAGE_VERIFY && !(u->facts.flags & HWD_FACT_BOUND)) {
        *ret = REASON_NOT_BOUND;
        *ret_why = "not bound to a VFIO driver, and `manage: verify` binds nothing";
        return true;
    }
    return false;
}

/* Quarantines a unit whose facts name a condition. True if it did. */
static bool
step_unfit(struct unit *u)
{
    enum reason reason;
    const char *why;

    if (!unit_unfit(u, &reason, &why))
        return false;
    u->unfit = true;
    (void)unit_event(u, EV_UNFIT, reason, why);
    if (u->alloc)
        alloc_unit_failed(u, u->why);
    return true;
}

static void
look_for_cure(struct unit *u)
{
    enum reason reason;
    const char *why;
    bool unfit = unit_unfit(u, &reason, &why);

    if (u->listed && u->reason == REASON_IN_USE) {
        (void)unit_event(u, u->facts.use == HWD_USE_HELD ? EV_FOUND_HELD : EV_FOUND_HANDED,
                         REASON_NONE, NULL);
        return;
    }
    if (!u->unfit)
        return; /* the ladder has it */
    if (unfit) {
        if (u->reason != reason)
            unit_set_reason(u, reason, why);
        return;
    }
    if (u->reason == REASON_IN_USE && u->facts.use == HWD_USE_HELD)
        return;
    u->unfit = false;
    if (unit_event(u, EV_FIT, REASON_NONE, NULL))
        unit_step(u);
}

static void
step_quarantined(struct unit *u)
{
    look_for_cure(u);
    if (u->state == UNIT_QUARANTINED && u->alloc)
        alloc_unit_failed(u, u->why);
}

/* ---- arming and releasing ---- */

static uint64_t
prepare_deadline(const struct unit *u)
{
    return u->alloc ? alloc_time_left(u) : u->node->conf->arm_deadline;
}

/* Protected PCIe is changed for the whole board at once: not while a part of it is in use. */
static bool
wait_for_others(struct unit *u)
{
    static const char why[] =
        "waiting until every device is free: the node's mode is being changed";

    if (!modeset_holds(u)) {
        if (u->reason == REASON_WAIT_RELEASE)
            unit_set_reason(u, REASON_NONE, NULL);
        return false;
    }
    if (u->reason != REASON_WAIT_RELEASE)
        unit_set_reason(u, REASON_WAIT_RELEASE, why);
    if (u->alloc)
        alloc_unit_failed(u, why);
    return true;
}

static void
start_preparation(struct unit *u)
{
    uint32_t mode = unit_wanted_mode(u);
    /* Held since it was verified, in the mode that is wanted now: a look is enough. */
    bool still_armed = u->state == UNIT_ARMING && (u->facts.flags & HWD_FACT_ARMED) &&
                       u->facts.mode_active == mode && u->facts.mode_configured == mode;
    bool verify = u->node->conf->manage == MANAGE_VERIFY || still_armed;
    enum hwd_op op = verify ? (u->alloc ? HWD_OP_HANDOVER : HWD_OP_VERIFY) : HWD_OP_PREPARE;
    uint32_t flags = verify ? HWD_REQ_HOLD : 0;

    if (wait_for_others(u))
        return;
    if (u->alloc && op == HWD_OP_PREPARE && alloc_time_left(u) < alloc_enough(u, ENOUGH_TIME)) {
        alloc_unit_failed(u, "too little time is left to prepare it for this Allocate");
        if (u->op_seq)
            return; /* stepped meanwhile */
    }
    if (u->alloc)
        flags |= HWD_REQ_HANDOVER;
    (void)unit_start_op(u, op, flags, 0, prepare_deadline(u));
}

static void
step_releasing(struct unit *u)
{
    switch ((enum hwd_use)u->facts.use) {
    case HWD_USE_HELD:
        if (u->reason != REASON_WAIT_RELEASE) {
            char why[128];

            (void)snprintf(why, sizeof(why), "still open%s%s",
                           u->facts.holder_comm[0] ? " by " : "", u->facts.holder_comm);
            unit_set_reason(u, REASON_WAIT_RELEASE, why);
        }
        return; /* the service tells us when it is closed */
    case HWD_USE_UNKNOWN:
        (void)unit_start_op(u, HWD_OP_PROBE_USE, HWD_REQ_FORCE_PROBE, 0, HW_SEC(5));
        return;
    case HWD_USE_FREE:
    case HWD_USE_OURS:
        unit_set_reason(u, REASON_NONE, NULL);
        start_preparation(u);
        return;
    }
}

/* ---- an Allocate for a unit that was handed out before (the reuse rule) ----
 * (a) not opened since it was verified            -> same answer after a read-only check
 * (b) held, its sandbox not stopped by NRI's account, and a fresh PodResources list has it
 *                                                 -> same answer, hardware untouched
 * (c) anything else, unknown included, and (a) in a mode that is not wanted any more
 *                                                 -> wait until free, scrub, verify */
static void
step_reuse(struct unit *u)
{
    bool held = u->facts.use == HWD_USE_HELD;
    /* the service watches opens from before the hand-over on, and forgets HANDED_OVER when it
     * restarts */
    bool unopened = u->state == UNIT_ALLOCATED && unit_untouched(u);

    if (unopened && !u->stopped && unit_in_mode(u)) {
        (void)unit_start_op(u, HWD_OP_VERIFY, 0, 0, alloc_time_left(u));
        return;
    }
    if (held && !u->stopped && !alloc_list_is_fresh(u)) {
        pods_refresh(u->node);
        return; /* stepped again when it is answered */
    }
    if (held && !u->stopped && u->listed && u->node->pods.ok) {
        log_info("same answer for a device in use by its owner", "device", u->id, "pod",
                 u->owner.pod);
        alloc_unit_done(u);
        return;
    }
    if (unit_event(u, EV_TAKE_BACK, REASON_NONE, NULL))
        unit_step(u);
}

static void
step_allocated(struct unit *u)
{
    if (u->stopped && !u->claim) {
        unit_sandbox_gone(u);
        return;
    }
    if (u->state == UNIT_ALLOCATED &&
        (u->facts.use == HWD_USE_HELD || (u->facts.flags & HWD_FACT_OPENED))) {
        if (!unit_event(u, EV_OPENED, REASON_NONE, NULL))
            return;
        pods_refresh(u->node); /* its sandbox is being made: the kubelet knows the owner now */
    }
    if (u->facts.flags & HWD_FACT_ARMED) {
        /* PodResources says that a pod has it, and the service still holds it: let the pod in */
        (void)unit_start_op(u, HWD_OP_HANDOVER, HWD_REQ_HANDOVER, 0, HW_SEC(10));
        return;
    }
    if (u->alloc)
        step_reuse(u);
}

static void
step_ready(struct unit *u)
{
    if (step_unfit(u))
        return;
    if (!(u->facts.flags & HWD_FACT_ARMED)) {
        if (unit_event(u, EV_HOLD_LOST, REASON_NONE, NULL))
            unit_step(u);
        return;
    }
    if (wait_for_others(u))
        return;
    if (!unit_in_mode(u)) {
        if (unit_event(u, EV_MODE, REASON_NONE, NULL))
            unit_step(u);
        return;
    }
    if (u->alloc) {
        /* the intent is on disk before the hardware service lets go */
        journal_put(u, unit_state_info(UNIT_ALLOCATED)->journal);
        (void)unit_start_op(u, HWD_OP_HANDOVER, HWD_REQ_HANDOVER, 0, alloc_time_left(u));
    }
}

static void
step_found(struct unit *u)
{
    if (!u->node->settled)
        return;
    if (!u->classified) {
        classify(u);
        if (u->state != UNIT_FOUND) {
            unit_step(u);
            return;
        }
    }
    if (!(u->facts.flags & HWD_FACT_CLAIMED)) {
        /* left to ordinary containers: shown in the status, listed nowhere */
        unit_set_reason(u, (enum reason)u->facts.reason, u->facts.text);
        if (u->alloc)
            alloc_unit_failed(u, u->why);
        return;
    }
    if (step_unfit(u))
        return;
    if (u->facts.use == HWD_USE_HELD) {
        u->unfit = true;
        (void)unit_event(u, EV_UNFIT, REASON_IN_USE, "open, but not handed out by us");
        if (u->alloc)
            alloc_unit_failed(u, u->why);
        return;
    }
    if (u->node->conf->prepare == PREPARE_EAGER || u->node->conf->manage == MANAGE_VERIFY ||
        u->alloc || u->returned) {
        if (unit_event(u, EV_PREPARE, REASON_NONE, NULL))
            unit_step(u);
    }
}

/* Facts can overtake any state: the kernel stuck in an operation, or back from it. */
static bool
step_stuck(struct unit *u)
{
    if (u->state == UNIT_GONE)
        return true;
    if (u->facts.state == HWD_STATE_STUCK) {
        if (u->state != UNIT_STUCK && u->state != UNIT_IN_USE) {
            (void)unit_event(u, EV_OP_STUCK, REASON_STUCK, u->facts.text);
            if (u->alloc)
                alloc_unit_failed(u, u->why);
        }
        return true;
    }
    if (u->state == UNIT_STUCK) {
        if (unit_event(u, EV_UNSTUCK, REASON_NONE, NULL))
            return false;
        return true;
    }
    return false;
}

void
unit_step(struct unit *u)
{
    if (u->op_seq || !hwclient_is_up(u->node->hw))
        return;
    if (step_stuck(u) || u->facts.state == HWD_STATE_BUSY)
        return; /* busy for another client: facts will tell */
    switch (u->state) {
    case UNIT_FOUND:
        step_found(u);
        return;
    case UNIT_ARMING:
        if (!step_unfit(u))
            start_preparation(u);
        return;
    case UNIT_READY:
        step_ready(u);
        return;
    case UNIT_ALLOCATED:
    case UNIT_IN_USE:
        step_allocated(u);
        return;
    case UNIT_RELEASING:
        step_releasing(u);
        return;
    case UNIT_QUARANTINED:
        step_quarantined(u);
        return;
    case UNIT_STUCK:
    case UNIT_GONE:
    case UNIT_STATE_COUNT:
        return;
    }
}
