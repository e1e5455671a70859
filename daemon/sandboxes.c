/* SPDX-License-Identifier: Apache-2.0
 *
 * NRI's account of who runs. It adds to the kubelet's: PodResources tells which pod a device is
 * allocated to, NRI which sandbox that pod has and, at once, that the sandbox ended.
 */
#include "daemon/sandboxes.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/hw.h"
#include "base/log.h"
#include "daemon/guard.h"
#include "daemon/timer.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

static void
sandbox_free(struct sandbox *s)
{
    if (!s)
        return;
    free(s->nodes);
    free(s);
}

struct sandbox *
sandbox_find(struct node *n, const char *id)
{
    for (struct sandbox *s = n->sandboxes; s; s = s->next)
        if (strcmp(s->id, id) == 0)
            return s;
    return NULL;
}

struct sandbox *
sandbox_of(struct node *n, unsigned session, const struct nri_pod *pod)
{
    struct sandbox *s = sandbox_find(n, pod->id);

    if (s) {
        s->session = session;
        return s;
    }
    s = n->n_sandboxes < SANDBOXES_MAX ? calloc(1, sizeof(*s)) : NULL;
    if (!s || !pod->id[0] || !str_copy(s->id, sizeof(s->id), pod->id) ||
        !str_copy(s->ns, sizeof(s->ns), pod->ns) || !str_copy(s->pod, sizeof(s->pod), pod->name) ||
        !str_copy(s->uid, sizeof(s->uid), pod->uid) ||
        !str_copy(s->handler, sizeof(s->handler), pod->handler)) {
        log_warn("sandbox not recorded: too many, or a name that no pod can have", "sandboxes",
                 LOG_NUM(n->n_sandboxes));
        sandbox_free(s);
        return NULL;
    }
    s->session = session;
    s->cls = guard_class_of(n, s->handler);
    s->list_after = n->pods.asked;
    s->since = now_ns();
    s->next = n->sandboxes;
    n->sandboxes = s;
    n->n_sandboxes++;
    return s;
}

/* By name and number: another device under the name of ours is not ours. */
static bool
has_node(const struct sandbox *s, const struct unit *u)
{
    const struct hwd_facts *f = &u->facts;

    for (size_t i = 0; f->node[0] && i < s->n_nodes; i++) {
        const struct sandbox_node *d = &s->nodes[i];

        if (strcmp(d->path, f->node) == 0 && d->type == 'c' &&
            (f->node_major == 0 || (d->major == f->node_major && d->minor == f->node_minor)))
            return true;
    }
    return false;
}

static bool
is_of(const struct sandbox *s, const char *ns, const char *pod)
{
    return !s->ended && strcmp(s->ns, ns) == 0 && strcmp(s->pod, pod) == 0;
}

/* The kubelet's list has names alone, and a pod that is deleted by force leaves its name to the
 * next one while its sandbox is still being stopped. */
static bool
may_have(const struct sandbox *s, const struct unit *u)
{
    return !s->ended && s->since >= u->anew_at;
}

/* The sandbox of the unit's pod: the one that is known to run, else the only one there is. */
static struct sandbox *
sandbox_of_pod(const struct unit *u)
{
    const struct owner *o = &u->owner;
    struct sandbox *only = NULL;
    size_t count = 0;

    for (struct sandbox *s = u->node->sandboxes; s; s = s->next) {
        if (!may_have(s, u) || !is_of(s, o->ns, o->pod))
            continue;
        if (s->certain)
            return s;
        only = s;
        count++;
    }
    return count == 1 ? only : NULL;
}

/* Whose it is by the kubelet's list; where that does not say, the one whose container has it. */
static struct sandbox *
owner_of(const struct unit *u)
{
    if (u->listed && pods_know(u))
        return sandbox_of_pod(u);
    if (u->facts.use == HWD_USE_HELD)
        for (struct sandbox *s = u->node->sandboxes; s; s = s->next)
            if (may_have(s, u) && has_node(s, u))
                return s;
    return NULL;
}

bool
sandboxes_hold(const struct unit *u)
{
    for (const struct sandbox *s = u->node->sandboxes; s; s = s->next)
        if (!s->ended && !s->refused && s->certain && has_node(s, u))
            return true;
    return false;
}

void
sandboxes_attribute(struct node *n)
{
    if (!hwclient_is_up(n->hw))
        return;
    for (size_t i = 0; i < n->n_units; i++) {
        struct unit *u = n->unit[i];
        bool found = u->state == UNIT_QUARANTINED && u->reason == REASON_IN_USE &&
                     u->facts.use == HWD_USE_HELD;
        const struct sandbox *s;

        /* facts first: what was used before us is used by whom the journal names */
        if (u->placeholder || u->sandbox[0] || (u->facts.flags & HWD_FACT_ARMED) ||
            !(unit_state_info(u->state)->allocated || found) || !(s = owner_of(u)))
            continue;
        if (found && !unit_event(u, EV_FOUND_HELD, REASON_NONE, NULL))
            continue;
        unit_set_sandbox(u, s->id);
        act_tell(&n->acts,
                 &(struct act){
                     .kind = ACT_OWNER, .unit = u, .ns = s->ns, .pod = s->pod, .sandbox = s->id});
        log_debug("device belongs to sandbox", "device", u->id, "sandbox", s->id, "pod", s->pod);
    }
}

bool
sandbox_runs(const struct unit *u)
{
    const struct sandbox *s = u->sandbox[0] ? sandbox_find(u->node, u->sandbox) : NULL;

    return s && !s->ended && guard_is_up(u->node);
}

void
unit_sandbox_gone(struct unit *u)
{
    if (!unit_state_info(u->state)->allocated)
        return;
    if (u->claim || u->op_seq) {
        /* after the operation; an Allocate that waits for it gets it only scrubbed */
        u->stopped = true;
        if (u->alloc)
            unit_step(u);
        return;
    }
    log_info("device given back", "device", u->id, "pod", u->owner.pod, "namespace", u->owner.ns,
             "by", "its sandbox ended");
    u->returned = true;
    if (unit_event(u, EV_OWNER_GONE, REASON_NONE, NULL))
        unit_step(u);
}

/* A sandbox that was refused had a unit only if its VM opened it: what nobody has touched waits on
 * for the pod's next try. */
static void
release_units(struct node *n, const struct sandbox *s)
{
    for (size_t i = 0; i < n->n_units; i++) {
        struct unit *u = n->unit[i];

        if (strcmp(u->sandbox, s->id) != 0)
            continue;
        if (s->refused && unit_untouched(u))
            u->sandbox[0] = '\0';
        else
            unit_sandbox_gone(u);
    }
}

void
sandbox_stopped(struct node *n, const char *id)
{
    struct sandbox *s = sandbox_find(n, id);

    if (!s || s->ended)
        return;
    sandboxes_attribute(n); /* it may have ended before its devices were known */
    release_units(n, s);
    /* its pod may have another one by now; this one has no claim any more */
    s->n_nodes = 0;
    s->ended = true;
}

static void
sandbox_drop(struct node *n, struct sandbox *s)
{
    struct sandbox **p;

    for (p = &n->sandboxes; *p != s; p = &(*p)->next)
        ;
    *p = s->next;
    n->n_sandboxes--;
    sandbox_free(s);
}

static bool
is_held_by(const struct node *n, const struct sandbox *s)
{
    for (size_t i = 0; i < n->n_units; i++)
        if (strcmp(n->unit[i]->sandbox, s->id) == 0 && n->unit[i]->facts.use == HWD_USE_HELD)
            return true;
    return false;
}

/* It has stopped and nobody told us. What a list alone put down to it is somebody else's; what it
 * really had, it has used. */
static void
was_stopped(struct node *n, struct sandbox *s)
{
    s->ended = true;
    for (size_t i = 0; i < n->n_units; i++) {
        struct unit *u = n->unit[i];

        if (strcmp(u->sandbox, s->id) != 0)
            continue;
        u->sandbox[0] = '\0';
        u->used |= s->certain;
    }
}

void
sandbox_speaks(struct node *n, struct sandbox *s, bool starts)
{
    s->certain = true;
    for (struct sandbox *o = n->sandboxes; o; o = o->next) {
        if (o == s || !is_of(o, s->ns, s->pod))
            continue;
        bool former = starts && strcmp(o->uid, s->uid) == 0; /* its end was missed */

        if (former && o->certain && !is_held_by(n, o))
            sandbox_stopped(n, o->id);
        else if (former || !o->certain)
            was_stopped(n, o);
    }
    sandboxes_attribute(n);
}

void
sandbox_removed(struct node *n, const char *id)
{
    struct sandbox *s = sandbox_find(n, id);

    if (!s)
        return;
    sandbox_stopped(n, id);
    sandbox_drop(n, s);
}

/* ---- synchronization ---- */

static void
add_node(struct sandbox *s, const struct nri_device *d)
{
    static const char dir[] = "/dev/vfio/"; /* lint: allow host-path: a name, never opened here */
    struct sandbox_node *x;

    if (strncmp(d->path, dir, sizeof(dir) - 1) != 0 || s->n_nodes == SANDBOX_NODES_MAX)
        return;
    if (!s->nodes)
        s->nodes = calloc(SANDBOX_NODES_MAX, sizeof(*s->nodes));
    if (!s->nodes)
        return;
    x = &s->nodes[s->n_nodes];
    if (!str_copy(x->path, sizeof(x->path), d->path))
        return;
    x->type = d->type;
    x->major = d->major;
    x->minor = d->minor;
    s->n_nodes++;
}

/* What is put down to a sandbox that may have stopped goes to the one of its pod that runs. */
static void
forget_guesses(struct node *n)
{
    for (size_t i = 0; i < n->n_units; i++) {
        struct unit *u = n->unit[i];
        const struct sandbox *s = u->sandbox[0] ? sandbox_find(n, u->sandbox) : NULL;
        const struct sandbox *owner = s && !s->certain ? owner_of(u) : NULL;

        if (owner && owner != s && owner->certain)
            u->sandbox[0] = '\0';
    }
}

void
sandboxes_synchronize(struct node *n, unsigned session, const struct nri_pod *pods, size_t n_pods,
                      const struct nri_container *containers, size_t n_containers)
{
    for (struct sandbox *s = n->sandboxes; s; s = s->next) {
        s->seen = s->session != session;
        s->certain &= s->seen;
    }
    for (size_t i = 0; i < n_pods; i++) {
        struct sandbox *s = sandbox_of(n, session, &pods[i]);

        if (s) {
            s->seen = true;
            s->n_nodes = 0;
        }
    }
    for (size_t i = 0; i < n_containers; i++) {
        struct sandbox *s = sandbox_find(n, containers[i].pod_id);

        if (s)
            s->certain = true; /* containers that have ended are not listed */
        for (size_t d = 0; s && d < containers[i].n_devices; d++)
            add_node(s, &containers[i].devices[d]);
    }
    forget_guesses(n);
    sandboxes_attribute(n);
    for (struct sandbox *s = n->sandboxes, *next; s; s = next) {
        next = s->next;
        if (s->seen)
            continue;
        log_info("sandbox ended while the runtime was away", "sandbox", s->id, "pod", s->pod,
                 "namespace", s->ns);
        sandbox_removed(n, s->id);
    }
    if (!pods_complete(n))
        pods_refresh(n);
}

void
sandboxes_free(struct node *n)
{
    while (n->sandboxes) {
        struct sandbox *s = n->sandboxes;

        n->sandboxes = s->next;
        sandbox_free(s);
    }
    n->n_sandboxes = 0;
}

static json_object *
sandbox_json(const struct node *n, const struct sandbox *s)
{
    static const char *const classes[] = {"none", "plain", "confidential"};
    json_object *o = json_object_new_object(), *units = json_object_new_array();
    const struct {
        const char *key, *value;
    } text[] = {
        {"id", s->id},
        {"namespace", s->ns},
        {"pod", s->pod},
        {"handler", s->handler},
        {"class", classes[s->cls]},
        {"initdata_algorithm", s->initdata_algorithm},
        {"initdata_digest", s->initdata_digest},
    };

    for (size_t i = 0; i < ARRAY_SIZE(text); i++)
        (void)json_object_object_add(o, text[i].key, json_object_new_string(text[i].value));
    (void)json_object_object_add(o, "findings", json_object_new_int64((int64_t)s->findings));
    (void)json_object_object_add(
        o, "since_ms", json_object_new_int64((int64_t)((now_ns() - s->since) / HW_MS(1))));
    for (size_t i = 0; i < n->n_units; i++)
        if (strcmp(n->unit[i]->sandbox, s->id) == 0)
            (void)json_object_array_add(units, json_object_new_string(n->unit[i]->id));
    (void)json_object_object_add(o, "devices", units);
    return o;
}

/* Those that are guarded or have a device of ours; the rest of the node's pods are none of our
 * business. */
struct json_object *
sandboxes_json(const struct node *n)
{
    json_object *a = json_object_new_array();

    for (const struct sandbox *s = n->sandboxes; s; s = s->next) {
        bool has = s->cls != GUARD_NONE;

        for (size_t i = 0; i < n->n_units && !has; i++)
            has = strcmp(n->unit[i]->sandbox, s->id) == 0;
        if (has)
            (void)json_object_array_add(a, sandbox_json(n, s));
    }
    return a;
}
