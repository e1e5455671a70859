/* SPDX-License-Identifier: Apache-2.0
 *
 * Allocate: the units of a request are handed over in parallel; the answer waits for the last one
 * or for the deadline. On failure nothing stays handed out: units that were already let go are
 * taken back and scrubbed.
 */
#include "daemon/node.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/hw.h"
#include "base/log.h"
#include "daemon/audit.h"
#include "daemon/timer.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Kept back from the deadline for the answer itself. */
#define ANSWER_MARGIN HW_MS(50)

#define MODE_CHANGED "the node's mode is being changed, and it is still in the former one"

struct alloc {
    struct alloc *next;
    struct node *node;
    struct dp_call *call;
    char resource[RESOURCE_NAME_MAX];
    uint64_t started, deadline;
    uint64_t list_after; /* PodResources lists with a higher number are fresh */
    sd_event_source *timer;
    size_t n, pending;
    struct unit **unit;
    size_t known; /* of `unit`: those that were found */
    size_t n_containers;
    size_t *per_container;
};

static void
alloc_unlink(struct alloc *a)
{
    for (struct alloc **p = &a->node->allocs; *p; p = &(*p)->next)
        if (*p == a) {
            *p = a->next;
            return;
        }
}

static void
alloc_free(struct alloc *a)
{
    if (!a)
        return;
    (void)sd_event_source_unref(a->timer);
    free(a->unit);
    free(a->per_container);
    free(a);
}

/* Ends the Allocate without an answer of ours, or after it: units are detached; those handed over
 * for it are taken back. */
static void
alloc_abandon(struct alloc *a)
{
    alloc_unlink(a);
    for (size_t i = 0; i < a->n; i++) {
        struct unit *u = a->unit[i];
        bool waiting = u->alloc == a;

        if (waiting)
            u->alloc = NULL;
        if (u->claim != a)
            continue;
        u->claim = NULL;
        /* a unit under way is taken back by its result (machine.c) */
        if (!waiting && u->state == UNIT_ALLOCATED && !u->op_seq &&
            unit_event(u, EV_TAKE_BACK, REASON_NONE, NULL))
            unit_step(u);
    }
    alloc_free(a);
}

/* `reason` is NONE for a success, and where no named condition stands behind a failure. */
static void
tell(const struct alloc *a, bool ok, enum reason reason, const char *why)
{
    act_tell(&a->node->acts, &(struct act){.kind = ACT_ALLOCATE,
                                           .ok = ok,
                                           .reason = reason,
                                           .text = why,
                                           .resource = a->resource,
                                           .devices = (const struct unit *const *)a->unit,
                                           .n_devices = a->known,
                                           .took_ns = now_ns() - a->started});
}

static void
alloc_fail(struct alloc *a, enum reason reason, const char *why)
{
    struct err e = ERR_INIT;

    (void)err_set(&e, EAGAIN, ERR_CLASS_RETRY, "%s", why);
    log_warn("allocate failed", "resource", a->resource, "devices", LOG_NUM(a->n), "why", why,
             "took_ms", LOG_NUM((now_ns() - a->started) / HW_MS(1)));
    a->node->count.alloc_failures++;
    tell(a, false, reason, why);
    dp_fail(a->call, &e);
    alloc_abandon(a);
}

static void
fill_response(const struct alloc *a, struct dp_container_response *resp,
              struct dp_device_spec *spec, char (*cdi)[256])
{
    size_t k = 0;

    for (size_t c = 0; c < a->n_containers; c++) {
        resp[c].n_devices = a->per_container[c];
        resp[c].devices = spec + k;
        resp[c].n_cdi = a->node->conf->cdi_devices ? a->per_container[c] : 0;
        resp[c].cdi = cdi + k;
        for (size_t i = 0; i < a->per_container[c]; i++, k++) {
            const struct unit *u = a->unit[k];

            (void)str_copy(spec[k].host_path, sizeof(spec[k].host_path), u->facts.node);
            (void)str_copy(spec[k].container_path, sizeof(spec[k].container_path), u->facts.node);
            (void)str_copy(spec[k].permissions, sizeof(spec[k].permissions), "mrw");
            (void)snprintf(cdi[k], sizeof(cdi[k]), "%s=%s", a->resource, u->id);
        }
    }
}

/* A unit that would be given in a mode that is not wanted any more. One that its pod has open stays
 * as it is, but gets no company in another mode. */
static const struct unit *
in_former_mode(const struct alloc *a)
{
    const struct unit *former = NULL;
    bool any = false;

    for (size_t i = 0; i < a->n; i++) {
        const struct unit *u = a->unit[i];

        if (unit_in_mode(u))
            any = true;
        else if (u->facts.use != HWD_USE_HELD)
            return u;
        else if (u->prepared_for != CC_MODE_UNKNOWN)
            former = u;
    }
    return any ? former : NULL;
}

static void
alloc_answer(struct alloc *a, struct dp_container_response *resp, struct dp_device_spec *spec,
             char (*cdi)[256])
{
    fill_response(a, resp, spec, cdi);
    log_info("allocated", "resource", a->resource, "device", a->unit[0]->id, "devices",
             LOG_NUM(a->n), "took_us", LOG_NUM((now_ns() - a->started) / 1000));
    dp_reply(a->call, resp, a->n_containers);
    for (size_t i = 0; i < a->n; i++)
        a->unit[i]->claim = NULL;
    alloc_unlink(a);
    alloc_free(a);
}

static void
alloc_finish(struct alloc *a)
{
    struct dp_container_response *resp = calloc(a->n_containers, sizeof(*resp));
    struct dp_device_spec *spec = calloc(a->n, sizeof(*spec));
    char(*cdi)[256] = calloc(a->n, sizeof(*cdi));
    char why[300] = "";
    enum reason reason = REASON_NONE;
    struct err e = ERR_INIT;
    const struct unit *former;

    for (size_t i = 0; i < a->n && !why[0]; i++)
        if (!unit_state_info(a->unit[i]->state)->allocated)
            (void)snprintf(why, sizeof(why), "%s: lost while the other devices were prepared: %s",
                           a->unit[i]->id, unit_state_info(a->unit[i]->state)->name);
        else if (!promise_in_cdi(a->unit[i]))
            (void)snprintf(why, sizeof(why), "%s: its CDI entry could not be written (%s)",
                           a->unit[i]->id, reason_name(reason = REASON_CDI_WRITE));
    former = why[0] ? NULL : in_former_mode(a);
    if (former)
        (void)snprintf(why, sizeof(why), "%s: " MODE_CHANGED, former->id);
    if (why[0] || !resp || !spec || !cdi) {
        alloc_fail(a, reason, why[0] ? why : "out of memory");
    } else {
        tell(a, true, REASON_NONE, NULL);
        if (audit_has_it(a->node->audit, &e))
            alloc_answer(a, resp, spec, cdi);
        else
            alloc_fail(a, e.reason, e.msg);
    }
    free(resp);
    free(spec);
    free(cdi);
}

void
alloc_unit_done(struct unit *u)
{
    struct alloc *a = u->alloc;

    assert(a && a->pending > 0);
    u->alloc = NULL;
    if (--a->pending == 0)
        alloc_finish(a);
}

void
alloc_unit_failed(struct unit *u, const char *why)
{
    char text[ERR_MSG_MAX];
    struct alloc *a = u->alloc;

    u->alloc = NULL;
    (void)snprintf(text, sizeof(text), "%s: %.*s%s%s%s", u->id, (int)sizeof(text) - 80, why,
                   u->reason ? " (" : "", u->reason ? reason_name(u->reason) : "",
                   u->reason ? ")" : "");
    alloc_fail(a, u->reason, text);
}

uint64_t
alloc_time_left(const struct unit *u)
{
    uint64_t now = now_ns();
    uint64_t end = u->alloc->deadline - ANSWER_MARGIN;

    return end > now + HW_MS(1) ? end - now : HW_MS(1);
}

uint64_t
alloc_enough(const struct unit *u, uint64_t wish)
{
    uint64_t quarter = u->node->conf->allocate_deadline / 4;

    return wish < quarter ? wish : quarter;
}

bool
alloc_list_is_fresh(const struct unit *u)
{
    return u->node->pods.answered > u->alloc->list_after;
}

static int
on_deadline(sd_event_source *s, uint64_t usec, void *ctx)
{
    struct alloc *a = ctx;
    char why[400];
    const struct unit *slow = NULL;

    (void)s;
    (void)usec;
    for (size_t i = 0; i < a->n && !slow; i++)
        if (a->unit[i]->alloc == a)
            slow = a->unit[i];
    (void)snprintf(
        why, sizeof(why), "%s: not ready within %llu ms: %s%s%s%s%s (%s)",
        slow ? slow->id : "device", (unsigned long long)((a->deadline - a->started) / HW_MS(1)),
        slow ? unit_state_info(slow->state)->name : "", slow && slow->op_seq ? ", " : "",
        slow && slow->op_seq ? hwd_phase_name(slow->phase) : "", slow && slow->why[0] ? ", " : "",
        slow && slow->why[0] ? slow->why : "", reason_name(REASON_DEADLINE));
    alloc_fail(a, REASON_DEADLINE, why);
    return 0;
}

/* ---- checks before anything is started ---- */

static int
check_unit(const struct node *n, const char *resource, const struct unit *u, const char *id,
           struct err *e)
{
    (void)n;
    if (!u || strcmp(u->resource, resource) != 0)
        return err_set(e, ENODEV, ERR_CLASS_INVALID, "%s is not a device of %s", id, resource);
    if (u->claim)
        return err_reason(e, EBUSY, ERR_CLASS_BUSY, REASON_OP_PENDING,
                          "%s: another Allocate for it is under way", id);
    if (u->state == UNIT_QUARANTINED || u->state == UNIT_STUCK || u->state == UNIT_GONE)
        return err_reason(e, EIO, ERR_CLASS_HW, u->reason, "%s is %s: %s: %s", id,
                          unit_state_info(u->state)->name, reason_name(u->reason), u->why);
    return 0;
}

/* Units of one IOMMU group go together or not at all. */
static int
check_gangs(struct unit *const *unit, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        const struct hwd_facts *f = &unit[i]->facts;
        uint32_t have = 0;

        if (f->gang_size <= 1)
            continue;
        for (size_t j = 0; j < n; j++)
            have += unit[j]->facts.iommu_group == f->iommu_group;
        if (have != f->gang_size)
            return err_reason(e, EINVAL, ERR_CLASS_INVALID, REASON_GANG_INCOMPLETE,
                              "%s shares IOMMU group %d with %u others: all %u must be requested "
                              "together, %u were",
                              unit[i]->id, f->iommu_group, f->gang_size - 1, f->gang_size, have);
    }
    return 0;
}

static int
collect(struct node *n, struct alloc *a, const struct dp_container_request *req, struct err *e)
{
    size_t k = 0;

    for (size_t c = 0; c < a->n_containers; c++) {
        a->per_container[c] = req[c].n_ids;
        for (size_t i = 0; i < req[c].n_ids; i++) {
            struct unit *u = node_find(n, req[c].ids[i]);
            int r = check_unit(n, a->resource, u, req[c].ids[i], e);

            if (r < 0)
                return r;
            for (size_t j = 0; j < k; j++)
                if (a->unit[j] == u)
                    return err_set(e, EINVAL, ERR_CLASS_INVALID, "%s is asked for twice", u->id);
            a->unit[k++] = u;
            a->known = k;
        }
    }
    return check_gangs(a->unit, k, e);
}

static struct alloc *
alloc_new(struct node *n, struct dp_call *call, const char *resource,
          const struct dp_container_request *req, size_t n_req)
{
    struct alloc *a = calloc(1, sizeof(*a));

    if (!a)
        return NULL;
    a->node = n;
    a->call = call;
    (void)str_copy(a->resource, sizeof(a->resource), resource);
    a->started = now_ns();
    a->deadline = a->started + n->conf->allocate_deadline;
    a->list_after = n->pods.asked;
    for (size_t i = 0; i < n_req; i++)
        a->n += req[i].n_ids;
    a->n_containers = n_req;
    a->unit = calloc(a->n ? a->n : 1, sizeof(struct unit *));
    a->per_container = calloc(n_req ? n_req : 1, sizeof(*a->per_container));
    if (!a->unit || !a->per_container) {
        alloc_free(a);
        return NULL;
    }
    return a;
}

void
alloc_request(void *ctx, struct dp_call *call, const char *resource,
              const struct dp_container_request *req, size_t n_req)
{
    struct node *n = ctx;
    struct err e = ERR_INIT;
    struct alloc *a = alloc_new(n, call, resource, req, n_req);

    n->count.allocs++;
    if (!a) {
        (void)err_set(&e, ENOMEM, ERR_CLASS_FATAL, "out of memory");
        dp_fail(call, &e);
        return;
    }
    if (a->n == 0) {
        (void)err_set(&e, EINVAL, ERR_CLASS_INVALID, "Allocate of %s names no device", resource);
    } else if (collect(n, a, req, &e) == 0 && audit_ready(n->audit, &e)) {
        a->next = n->allocs;
        n->allocs = a;
        a->pending = a->n;
        timer_arm(n->loop, &a->timer, n->conf->allocate_deadline - ANSWER_MARGIN / 2, on_deadline,
                  a);
        for (size_t i = 0; i < a->n; i++)
            a->unit[i]->alloc = a->unit[i]->claim = a;
        /* A step can fail the whole Allocate at once and free `a`: step the units by a copy. */
        struct unit *unit[DP_IDS_MAX];
        size_t count = a->n < DP_IDS_MAX ? a->n : DP_IDS_MAX;

        memcpy(unit, a->unit, count * sizeof(struct unit *));
        for (size_t i = 0; i < count; i++)
            if (unit[i]->alloc)
                unit_step(unit[i]);
        return;
    }
    log_warn("allocate refused", "resource", resource, "why", e.msg);
    n->count.alloc_failures++;
    tell(a, false, e.reason, e.msg);
    dp_fail(call, &e);
    alloc_free(a);
}

void
alloc_cancelled(void *ctx, struct dp_call *call)
{
    struct node *n = ctx;

    for (struct alloc *a = n->allocs; a; a = a->next)
        if (a->call == call) {
            alloc_fail(a, REASON_NONE, "the kubelet cancelled the call");
            return;
        }
}

void
alloc_fail_all(struct node *n, const char *why)
{
    while (n->allocs)
        alloc_fail(n->allocs, REASON_NONE, why);
}

/* Of this Allocate, handed over for it already, in the former mode. */
static const struct unit *
handed_in_former_mode(const struct alloc *a)
{
    for (size_t i = 0; i < a->n; i++) {
        const struct unit *u = a->unit[i];

        if (!u->alloc && unit_state_info(u->state)->allocated && !unit_in_mode(u) &&
            u->facts.use != HWD_USE_HELD)
            return u;
    }
    return NULL;
}

void
alloc_mode_changed(struct node *n)
{
    const struct unit *u;
    struct alloc *a = n->allocs;
    char why[200];

    while (a) {
        u = handed_in_former_mode(a);
        if (!u) {
            a = a->next;
            continue;
        }
        (void)snprintf(why, sizeof(why), "%s: " MODE_CHANGED, u->id);
        alloc_fail(a, REASON_NONE, why);
        a = n->allocs; /* others may have ended with it */
    }
}
