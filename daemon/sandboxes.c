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

static bool
has_node(const struct sandbox *s, const char *node)
{
    for (size_t i = 0; node[0] && i < s->n_nodes; i++)
        if (strcmp(s->nodes[i], node) == 0)
            return true;
    return false;
}

static bool
is_of(const struct sandbox *s, const struct owner *o)
{
    return strcmp(s->ns, o->ns) == 0 && strcmp(s->pod, o->pod) == 0;
}

/* The sandbox of the pod that the kubelet lists for the unit, else the one whose container has the
 * node open. Of two sandboxes of one pod (the older one is being taken down) the newer, which
 * stands first. */
static struct sandbox *
owner_of(const struct unit *u)
{
    if (u->listed && pods_know(u))
        for (struct sandbox *s = u->node->sandboxes; s; s = s->next)
            if (is_of(s, &u->owner) && !s->ended)
                return s;
    if (u->facts.use == HWD_USE_HELD)
        for (struct sandbox *s = u->node->sandboxes; s; s = s->next)
            if (has_node(s, u->facts.node))
                return s;
    return NULL;
}

void
sandboxes_attribute(struct node *n)
{
    for (size_t i = 0; i < n->n_units; i++) {
        struct unit *u = n->unit[i];
        bool found = u->state == UNIT_QUARANTINED && u->reason == REASON_IN_USE &&
                     u->facts.use == HWD_USE_HELD;
        const struct sandbox *s;

        if (u->sandbox[0] || (u->facts.flags & HWD_FACT_ARMED) ||
            !(unit_state_info(u->state)->allocated || found) || !(s = owner_of(u)))
            continue;
        if (found && !unit_event(u, EV_FOUND_HELD, REASON_NONE, NULL))
            continue;
        memcpy(u->sandbox, s->id, sizeof(u->sandbox));
        log_debug("device belongs to sandbox", "device", u->id, "sandbox", s->id, "pod", s->pod);
    }
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
add_node(struct sandbox *s, const char *path)
{
    static const char dir[] = "/dev/vfio/"; /* lint: allow host-path: a name, never opened here */

    if (strncmp(path, dir, sizeof(dir) - 1) != 0 || has_node(s, path))
        return;
    if (!s->nodes)
        s->nodes = calloc(SANDBOX_NODES_MAX, sizeof(*s->nodes));
    if (s->nodes && s->n_nodes < SANDBOX_NODES_MAX &&
        str_copy(s->nodes[s->n_nodes], sizeof(s->nodes[0]), path))
        s->n_nodes++;
}

void
sandboxes_synchronize(struct node *n, unsigned session, const struct nri_pod *pods, size_t n_pods,
                      const struct nri_container *containers, size_t n_containers)
{
    for (struct sandbox *s = n->sandboxes; s; s = s->next)
        s->seen = s->session != session;
    for (size_t i = 0; i < n_pods; i++) {
        struct sandbox *s = sandbox_of(n, session, &pods[i]);

        if (s)
            s->seen = true;
    }
    for (size_t i = 0; i < n_containers; i++) {
        struct sandbox *s = sandbox_find(n, containers[i].pod_id);

        for (size_t d = 0; s && d < containers[i].n_devices; d++)
            add_node(s, containers[i].devices[d].path);
    }
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
