/* SPDX-License-Identifier: Apache-2.0
 *
 * Learning of release: the kubelet has no Deallocate. A unit is free when it is absent from two
 * consecutive PodResources lists and nobody holds its node. PodResources is asked while anything is
 * handed out, at once when a node is closed, and when an Allocate needs to know the owner now.
 */
#include "daemon/node.h"

#include "base/fs.h"
#include "base/hw.h"
#include "base/log.h"
#include "daemon/metrics.h"
#include "daemon/timer.h"

#include <stdlib.h>
#include <string.h>

#define LIST_TIMEOUT HW_SEC(2)
/* Between the two lists that must both miss a device whose node was just closed. */
#define SECOND_LOOK HW_MS(300)

static int
on_timer(sd_event_source *s, uint64_t usec, void *ctx)
{
    (void)s;
    (void)usec;
    ((struct node *)ctx)->pods.due = 0;
    pods_refresh(ctx);
    return 0;
}

static bool
anything_out(const struct node *n)
{
    for (size_t i = 0; i < n->n_units; i++)
        if (unit_state_info(n->unit[i]->state)->allocated || n->unit[i]->state == UNIT_RELEASING ||
            n->unit[i]->returned)
            return true;
    return false;
}

/* A kubelet that has just started lists nothing for a while: absence then means nothing. */
static bool
absence_counts(const struct unit *u)
{
    const struct node *n = u->node;

    for (size_t i = 0; i < n->n_resources; i++)
        if (strcmp(n->resource[i].name, u->resource) == 0)
            return n->resource[i].link == DP_LINK_STREAMING &&
                   now_ns() - n->resource[i].link_since > n->conf->kubelet_settle;
    return true;
}

static bool
absent_once(const struct node *n)
{
    for (size_t i = 0; i < n->n_units; i++)
        if (unit_state_info(n->unit[i]->state)->allocated && n->unit[i]->absent == 1 &&
            absence_counts(n->unit[i]))
            return true;
    return false;
}

void
pods_schedule(struct node *n)
{
    uint64_t delay = n->conf->pod_poll;

    /* With nothing handed out there is nothing to learn, but whether the kubelet answers at all. */
    if (!anything_out(n) && (n->pods.ok || !n->pods.ever)) {
        pods_stop(n);
        return;
    }
    if (n->pods.ok && absent_once(n) && delay > SECOND_LOOK)
        delay = SECOND_LOOK;
    /* busy neighbours must not put the next look off for ever */
    if (n->pods.due && n->pods.due <= now_ns() + delay)
        return;
    n->pods.due = now_ns() + delay;
    timer_arm(n->loop, &n->pods.timer, delay, on_timer, n);
}

/* A list that was asked for before the hand-over tells of the owner before. */
bool
pods_know(const struct unit *u)
{
    return u->node->pods.number > u->handed_list;
}

bool
pods_complete(const struct node *n)
{
    for (size_t i = 0; i < n->n_units; i++) {
        const struct unit *u = n->unit[i];

        if (unit_state_info(u->state)->allocated ? !(pods_know(u) && u->listed)
                                                 : u->returned && !pods_know(u))
            return false;
    }
    return n->pods.ok;
}

/* Keeps what the list says of our devices, for the guard. */
static bool
keep_list(struct node *n, const struct dp_pod_device *dev, size_t count)
{
    struct pod_device *kept = calloc(count + 1, sizeof(*kept));
    size_t k = 0;

    if (!kept)
        return false;
    n->pods.number = n->pods.answered;
    for (size_t i = 0; i < count; i++) {
        const struct unit *u = node_find(n, dev[i].id);
        struct pod_device *d = &kept[k];

        if (!u || strcmp(u->resource, dev[i].resource) != 0 || !pods_know(u))
            continue;
        /* names that do not fit are no pod's names */
        if (!str_copy(d->owner.ns, sizeof(d->owner.ns), dev[i].ns) ||
            !str_copy(d->owner.pod, sizeof(d->owner.pod), dev[i].pod) ||
            !str_copy(d->owner.container, sizeof(d->owner.container), dev[i].container))
            continue;
        memcpy(d->id, u->id, sizeof(d->id));
        k++;
    }
    free(n->pods.dev);
    n->pods.dev = kept;
    n->pods.n_dev = k;
    return true;
}

static void
mark_listed(struct node *n)
{
    for (size_t i = 0; i < n->n_units; i++)
        n->unit[i]->listed = false;
    for (size_t i = 0; i < n->pods.n_dev; i++) {
        struct unit *u = node_find(n, n->pods.dev[i].id);
        const struct owner *o = &n->pods.dev[i].owner;
        bool news = strcmp(u->owner.ns, o->ns) != 0 || strcmp(u->owner.pod, o->pod) != 0;

        u->listed = true;
        u->was_listed = true;
        u->owner = *o;
        if (news)
            act_tell(&n->acts, &(struct act){.kind = ACT_OWNER, .unit = u});
    }
}

/* Has the owner gone? A unit that is still open then waits, Unhealthy, until it is closed; one
 * whose owner was never listed (a pod whose GPUs are only in init containers is not) is in use for
 * as long as it is open. */
static bool
is_released(const struct unit *u)
{
    bool held = u->facts.use == HWD_USE_HELD;

    if (u->claim || u->op_seq || u->absent < 2)
        return false;
    if (u->was_listed)
        return true;
    if (sandbox_runs(u))
        return false; /* of an init container: the runtime tells when it is over */
    if (u->state == UNIT_IN_USE && !held)
        return true;
    if (held)
        return false;
    /* Handed out, never opened, never listed: its pod may still be in admission (other containers
     * of it may be waiting in their own Allocate), so give it time. */
    return now_ns() - u->handed_at > u->node->conf->unseen_grace;
}

/* Scrubbed after its sandbox ended. A pod that is still listed makes another sandbox without a new
 * Allocate: let go of the unit for it. */
static void
look_for_return(struct unit *u)
{
    if (u->listed) {
        if (unit_event(u, EV_FOUND_HANDED, REASON_NONE, NULL))
            unit_step(u);
    } else if (absence_counts(u) && ++u->absent >= 2) {
        u->returned = false;
    }
}

static void
look_for_released(struct node *n)
{
    for (size_t i = 0; i < n->n_units; i++) {
        struct unit *u = n->unit[i];

        if (u->state == UNIT_RELEASING && u->listed && !u->op_seq && u->facts.use == HWD_USE_HELD &&
            (!u->returned || sandboxes_hold(u))) {
            (void)unit_event(u, EV_FOUND_HELD, REASON_NONE, NULL);
            continue;
        }
        if (u->returned && u->state == UNIT_READY && !u->op_seq && pods_know(u))
            look_for_return(u);
        if (!unit_state_info(u->state)->allocated || !pods_know(u))
            continue;
        if (u->listed)
            u->absent = 0;
        else if (absence_counts(u))
            u->absent++;
        if (!is_released(u))
            continue;
        log_info("device given back", "device", u->id, "pod", u->owner.pod, "namespace",
                 u->owner.ns);
        if (unit_event(u, EV_OWNER_GONE, REASON_NONE, NULL))
            unit_step(u);
    }
}

static void
on_list(void *ctx, const struct dp_pod_device *dev, size_t count, const struct err *e)
{
    struct node *n = ctx;
    n->pods.answered = n->pods.asked;
    meters_rpc(n->meters, METERS_RPC_LIST, now_ns() - n->pods.asked_at);
    n->pods.ever = true;
    n->pods.ok = !e && keep_list(n, dev, count);
    (void)str_copy(n->pods.why, sizeof(n->pods.why), "");
    if (!n->pods.ok) {
        /* Unknown: nobody is declared gone. Only new text is worth a line. */
        (void)str_copy(n->pods.why, sizeof(n->pods.why), "PodResources does not answer");
        log_debug("PodResources failed", "why", e ? e->msg : "out of memory");
    } else {
        mark_listed(n);
        sandboxes_attribute(n);
        look_for_released(n);
    }
    /* Not before the units are there to be found in the list. */
    if (!n->settled && hwclient_is_up(n->hw)) {
        units_settle(n);
        sandboxes_attribute(n);
        log_debug("settled", "pod_resources", e ? e->msg : "answered");
    }
    for (size_t i = 0; i < n->n_units; i++)
        unit_step(n->unit[i]);
    guard_list_answered(n);
    if (n->pods.again) {
        n->pods.again = false;
        pods_refresh(n);
        return;
    }
    pods_schedule(n);
}

void
pods_refresh(struct node *n)
{
    struct err e = ERR_INIT;

    if (n->pods.asked != n->pods.answered) {
        n->pods.again = true;
        return;
    }
    n->pods.asked++;
    n->pods.asked_at = now_ns();
    if (dp_pod_resources_list(n->dp, n->conf->kubelet.pod_resources, LIST_TIMEOUT, on_list, n, &e) <
        0)
        on_list(n, NULL, 0, &e);
}

void
pods_stop(struct node *n)
{
    timer_stop(n->pods.timer);
    n->pods.due = 0;
}
