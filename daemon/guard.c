/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests of the runtimes. All answers come from memory; the one thing that may be missing is a
 * PodResources list that is newer than the pod, and then the request waits for it, at most
 * LIST_WAIT: after that it is judged with what is known, and what is unknown counts against it.
 */
#include "daemon/guard.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/hw.h"
#include "base/log.h"
#include "daemon/json.h"
#include "daemon/node.h"
#include "daemon/sandboxes.h"
#include "daemon/timer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Well below the 500 ms after which nri/ answers for us. */
#define LIST_WAIT HW_MS(350)

#define VFIO_DIR "/dev/vfio/" /* lint: allow host-path: a name in requests, never opened here */

struct waiting {
    struct waiting *next;
    struct guard *guard;
    struct nri_call *call;
    const struct nri_request *req;
    uint64_t list_after;
    sd_event_source *timer;
};

struct guard {
    struct node *node;
    struct nri *nri;
    struct guard_policy policy;
    const char *kinds[RESOURCES_MAX];
    struct waiting *waiting;
    uint64_t refused, warned, injected, held_back, annotated;
};

enum guard_class
guard_class_of(const struct node *n, const char *handler)
{
    return guard_handler_of(&n->guard->policy, handler)->cls;
}

bool
guard_is_up(const struct node *n)
{
    for (unsigned i = 0; n->guard && i < nri_sessions(n->guard->nri); i++)
        if (nri_session(n->guard->nri, i)->up)
            return true;
    return false;
}

/* ---- what the daemon knows, as the rules take it ---- */

struct view {
    struct guard_view v;
    struct guard_device dev[UNITS_MAX];
    struct unit *unit[UNITS_MAX];
    char group_node[UNITS_MAX][32];
    char why[UNITS_MAX][160];
};

/* Of several lines about one device (a kubelet before 1.34 lists pods that have ended as well) the
 * one about this pod and container. */
static const struct owner *
listed_owner(const struct unit *u, const struct nri_pod *pod, const char *container)
{
    const struct pods *p = &u->node->pods;
    const struct owner *best = NULL;
    int best_score = -1;

    for (size_t i = 0; i < p->n_dev && pods_know(u); i++) {
        const struct owner *o = &p->dev[i].owner;
        bool pod_fits = strcmp(o->ns, pod->ns) == 0 && strcmp(o->pod, pod->name) == 0;
        int score = pod_fits + (pod_fits && strcmp(o->container, container) == 0);

        if (strcmp(p->dev[i].id, u->id) == 0 && score > best_score) {
            best = o;
            best_score = score;
        }
    }
    return best;
}

static void
add_device(struct view *v, struct unit *u, const struct nri_pod *pod, const char *container)
{
    size_t i = v->v.n_devices++;
    struct guard_device *d = &v->dev[i];
    const struct hwd_facts *f = &u->facts;
    const struct owner *o = listed_owner(u, pod, container);
    bool is_switch = f->kind == HWD_KIND_NVSWITCH;

    if (f->iommu_group >= 0)
        (void)snprintf(v->group_node[i], sizeof(v->group_node[i]), VFIO_DIR "%d", f->iommu_group);
    v->unit[i] = u;
    *d = (struct guard_device){
        .id = u->id,
        .kind = u->resource,
        .node = f->node,
        .group_node = v->group_node[i],
        .major = f->node_major,
        .minor = f->node_minor,
        .iommu_group = f->iommu_group,
        .numa_node = f->numa_node,
        .iommufd = f->node[0] && f->cdev >= 0, /* its node is the cdev then */
        .handed = unit_state_info(u->state)->allocated,
        .unverified = unit_unverified(u, pod->id, v->why[i], sizeof(v->why[i])),
        /* a switch has no CC knob of its own: it is verified to be as the wanted mode needs it */
        .mode = is_switch ? u->prepared_for : u->verified_mode,
        .meant = u->prepared_for,
        .ns = o ? o->ns : "",
        .pod = o ? o->pod : "",
        .container = o ? o->container : "",
        .sandbox = u->sandbox,
    };
}

static struct view *
view_new(struct node *n, const struct nri_request *req, uint64_t list_after)
{
    struct guard *g = n->guard;
    struct view *v = calloc(1, sizeof(*v));
    const char *container = req->container ? req->container->name : "";

    if (!v)
        return NULL;
    for (size_t i = 0; i < n->n_resources; i++)
        g->kinds[i] = n->resource[i].name;
    g->policy.kinds = g->kinds;
    g->policy.n_kinds = n->n_resources;
    g->policy.wanted = n->mode.wanted; /* the configuration's, or an operator's */
    v->v.policy = &g->policy;
    v->v.devices = v->dev;
    for (size_t i = 0; i < n->n_units; i++)
        if (n->unit[i]->resource[0])
            add_device(v, n->unit[i], req->pod, container);
    v->v.list_ok = n->pods.ok && (n->pods.number > list_after || pods_complete(n));
    v->v.list_why = n->pods.ok ? "the kubelet's list of allocations is older than the pod"
                               : "the kubelet does not say what is allocated (PodResources)";
    return v;
}

/* ---- verdicts ---- */

/* A refusal for everybody who listens. `rule` is NULL where no rule decided. */
static void
tell_refusal(const struct guard *g, const struct nri_request *req, const char *rule,
             const char *text)
{
    act_tell(&g->node->acts, &(struct act){.kind = ACT_REFUSAL,
                                           .what = nri_event_name(req->event),
                                           .rule = rule,
                                           .ns = req->pod->ns,
                                           .pod = req->pod->name,
                                           .sandbox = req->pod->id,
                                           .text = text});
}

static void
log_findings(const struct nri_request *req, const struct guard_verdict *v)
{
    for (size_t i = 0; i < v->n; i++)
        log_warn(v->v[i].refuse ? "refused" : "guard", "event", nri_event_name(req->event), "rule",
                 guard_rule_name(v->v[i].rule), "namespace", req->pod->ns, "pod", req->pod->name,
                 "container", req->container ? req->container->name : "", "sandbox", req->pod->id,
                 "why", v->v[i].text);
}

static void
refuse(struct guard *g, struct nri_call *call, const struct nri_request *req,
       const struct guard_verdict *v)
{
    char text[480];
    size_t more = v->n + v->dropped - 1;

    g->refused++;
    tell_refusal(g, req, guard_rule_name(v->v[0].rule), v->v[0].text);
    if (more > 0)
        (void)snprintf(text, sizeof(text), "pgpu: %s (rule %s; %zu more in the log of pgpud)",
                       v->v[0].text, guard_rule_name(v->v[0].rule), more);
    else
        (void)snprintf(text, sizeof(text), "pgpu: %s (rule %s)", v->v[0].text,
                       guard_rule_name(v->v[0].rule));
    nri_refuse(call, text);
}

/* The verdict's devices are the sandbox's from now on, also where it was refused: its end then
 * scrubs what its VM has touched. After the answer: it is written to the journal. */
static void
record(struct node *n, const struct view *v, struct sandbox *s, const struct guard_verdict *verdict)
{
    n->guard->warned += verdict->n > 0 && !verdict->refused;
    s->findings += verdict->n + verdict->dropped;
    for (size_t i = 0; i < verdict->n_own; i++) {
        struct unit *u = v->unit[verdict->own[i]];

        /* one that is still held for the hand-over was touched by nobody */
        if (s->ended || u->sandbox[0] || !unit_state_info(u->state)->allocated ||
            (u->facts.flags & HWD_FACT_ARMED))
            continue;
        unit_set_sandbox(u, s->id);
        act_tell(&n->acts,
                 &(struct act){
                     .kind = ACT_OWNER, .unit = u, .ns = s->ns, .pod = s->pod, .sandbox = s->id});
    }
}

static void
judge_run_pod(struct guard *g, struct nri_call *call, const struct nri_request *req,
              const struct view *v, struct sandbox *s)
{
    struct guard_verdict verdict = {0};

    guard_run_pod(&v->v, req->pod, &verdict);
    log_findings(req, &verdict);
    s->refused = verdict.refused;
    (void)str_copy(s->initdata_algorithm, sizeof(s->initdata_algorithm),
                   verdict.initdata_algorithm);
    (void)str_copy(s->initdata_digest, sizeof(s->initdata_digest), verdict.initdata_digest);
    if (!verdict.refused)
        log_info("sandbox accepted", "namespace", req->pod->ns, "pod", req->pod->name, "handler",
                 req->pod->handler, "devices", LOG_NUM(verdict.n_own), "initdata",
                 verdict.initdata_digest);
    if (verdict.refused)
        refuse(g, call, req, &verdict);
    else
        nri_accept(call, NULL);
    record(g->node, v, s, &verdict);
}

static void
judge_create(struct guard *g, struct nri_call *call, const struct nri_request *req,
             const struct view *v, struct sandbox *s)
{
    struct guard_verdict verdict = {0};
    struct guard_injection *injection = NULL;
    struct err e = ERR_INIT;

    if (guard_create_container(&v->v, req->pod, req->container,
                               nri_session(g->nri, req->session)->cdi, &verdict, &injection,
                               &e) < 0) {
        g->refused++;
        tell_refusal(g, req, NULL, e.msg);
        nri_refuse(call, e.msg);
        return;
    }
    log_findings(req, &verdict);
    if (verdict.refused) {
        refuse(g, call, req, &verdict);
    } else {
        const struct nri_adjust *a = guard_injection_adjust(injection);

        g->injected += a ? a->n_devices + a->n_cdi : 0;
        g->annotated += a ? a->n_annotations : 0;
        g->held_back += verdict.held_back;
        if (verdict.n_own > 0)
            log_info("container accepted", "namespace", req->pod->ns, "pod", req->pod->name,
                     "container", req->container->name, "devices", LOG_NUM(verdict.n_own),
                     "injected", LOG_NUM(a ? a->n_devices + a->n_cdi : 0), "annotations",
                     LOG_NUM(a ? a->n_annotations : 0), "held_back", LOG_NUM(verdict.held_back));
        nri_accept(call, a);
    }
    record(g->node, v, s, &verdict);
    guard_injection_free(injection);
}

static void
judge_validate(struct guard *g, struct nri_call *call, const struct nri_request *req,
               const struct view *v)
{
    struct guard_verdict verdict = {0};
    struct err e = ERR_INIT;

    if (guard_validate(&v->v, req->pod, req->container, req->adjust,
                       nri_session(g->nri, req->session)->cdi, &verdict, &e) < 0) {
        g->refused++;
        tell_refusal(g, req, NULL, e.msg);
        nri_refuse(call, e.msg);
        return;
    }
    log_findings(req, &verdict);
    g->warned += verdict.n > 0 && !verdict.refused;
    if (verdict.refused)
        refuse(g, call, req, &verdict);
    else
        nri_accept(call, NULL);
}

static void
judge(struct guard *g, struct nri_call *call, const struct nri_request *req, uint64_t list_after)
{
    struct sandbox *s = sandbox_of(g->node, req->session, req->pod);
    struct view *v = view_new(g->node, req, list_after);

    if (!v || !s) {
        free(v);
        nri_refuse(call, "pgpu: out of memory");
        return;
    }
    if (req->event == NRI_RUN_POD)
        judge_run_pod(g, call, req, v, s);
    else if (req->event == NRI_CREATE_CONTAINER)
        judge_create(g, call, req, v, s);
    else
        judge_validate(g, call, req, v);
    free(v);
}

/* ---- waiting for a list ---- */

/* Takes it off the list; the caller judges or drops it. */
static void
waiting_unlink(struct waiting *w)
{
    struct waiting **p;

    for (p = &w->guard->waiting; *p != w; p = &(*p)->next)
        ;
    *p = w->next;
}

static void
waiting_free(struct waiting *w)
{
    (void)sd_event_source_disable_unref(w->timer);
    free(w);
}

static void
waiting_judge(struct waiting *w)
{
    waiting_unlink(w);
    judge(w->guard, w->call, w->req, w->list_after);
    waiting_free(w);
}

static int
on_list_late(sd_event_source *s, uint64_t usec, void *ctx)
{
    (void)s;
    (void)usec;
    waiting_judge(ctx);
    return 0;
}

void
guard_list_answered(struct node *n)
{
    struct guard *g = n->guard;

    for (struct waiting *w = g ? g->waiting : NULL, *next; w; w = next) {
        next = w->next;
        if (n->pods.answered > w->list_after)
            waiting_judge(w);
    }
}

static void
wait_for_list(struct guard *g, struct nri_call *call, const struct nri_request *req,
              uint64_t list_after)
{
    struct waiting *w = calloc(1, sizeof(*w));

    if (!w) {
        nri_refuse(call, "pgpu: out of memory");
        return;
    }
    *w = (struct waiting){
        .next = g->waiting, .guard = g, .call = call, .req = req, .list_after = list_after};
    g->waiting = w;
    timer_arm(g->node->loop, &w->timer, LIST_WAIT, on_list_late, w);
    pods_refresh(g->node); /* may answer at once */
}

/* ---- requests ---- */

/* Newer than the sandbox, and than every hand-over: whoever has a device is told by it, or is not
 * in it for good (init containers). */
static bool
list_is_new_enough(const struct node *n, const struct sandbox *s)
{
    if (pods_complete(n))
        return true;
    for (size_t i = 0; i < n->n_units; i++) {
        const struct unit *u = n->unit[i];

        if ((unit_state_info(u->state)->allocated || u->returned) && !pods_know(u))
            return false;
    }
    return n->pods.ok && n->pods.number > s->list_after;
}

/* Of a class that is guarded, or whose sandbox could not be recorded (then: refused). */
static void
start_judging(struct guard *g, struct nri_call *call, const struct nri_request *req)
{
    struct node *n = g->node;
    struct sandbox *s = sandbox_of(n, req->session, req->pod);
    enum guard_class cls = guard_class_of(n, req->pod->handler);

    if (cls == GUARD_NONE) {
        bool started = req->event == NRI_RUN_POD;

        if (s)
            sandbox_speaks(n, s, started);
        nri_accept(call, NULL); /* the request is gone now */
        if (started && !pods_complete(n))
            pods_refresh(n); /* then it is known whose the devices are */
        return;
    }
    if (s && req->event != NRI_VALIDATE)
        sandbox_speaks(n, s, req->event == NRI_RUN_POD);
    if (!s) {
        g->refused++;
        tell_refusal(g, req, NULL, "this sandbox cannot be recorded, see the log of pgpud");
        nri_refuse(call, "pgpu: this sandbox cannot be recorded, see the log of pgpud");
        return;
    }
    if (list_is_new_enough(n, s))
        judge(g, call, req, s->list_after);
    else
        wait_for_list(g, call, req, n->pods.asked);
}

/* The runtime waits for the answer, nobody for the journal: answered first. */
static void
end_sandbox(struct guard *g, struct nri_call *call, const struct nri_request *req)
{
    bool removed = req->event == NRI_REMOVE_POD;
    char id[SANDBOX_ID_MAX];
    bool known = str_copy(id, sizeof(id), req->pod->id);

    nri_accept(call, NULL);
    if (known && removed)
        sandbox_removed(g->node, id);
    else if (known)
        sandbox_stopped(g->node, id);
}

static void
on_request(void *ctx, struct nri_call *call, const struct nri_request *req)
{
    struct guard *g = ctx;

    log_debug("NRI", "event", nri_event_name(req->event), "namespace", req->pod->ns, "pod",
              req->pod->name, "sandbox", req->pod->id, "handler", req->pod->handler);
    switch (req->event) {
    case NRI_RUN_POD:
    case NRI_CREATE_CONTAINER:
    case NRI_VALIDATE:
        start_judging(g, call, req);
        return;
    case NRI_STOP_POD:
    case NRI_REMOVE_POD:
        end_sandbox(g, call, req);
        return;
    case NRI_EVENTS:
        nri_accept(call, NULL);
        return;
    }
}

static void
on_cancelled(void *ctx, struct nri_call *call)
{
    struct guard *g = ctx;

    for (struct waiting *w = g->waiting; w; w = w->next)
        if (w->call == call) {
            waiting_unlink(w);
            waiting_free(w);
            return;
        }
}

static void
on_synchronize(void *ctx, unsigned session, const struct nri_pod *pods, size_t n_pods,
               const struct nri_container *containers, size_t n_containers)
{
    struct guard *g = ctx;

    sandboxes_synchronize(g->node, session, pods, n_pods, containers, n_containers);
}

static void
on_answered(void *ctx, enum nri_event event, enum nri_answer answer, uint64_t took_ns)
{
    const struct guard *g = ctx;

    act_tell(&g->node->acts, &(struct act){.kind = ACT_NRI_EVENT,
                                           .what = nri_event_name(event),
                                           .ok = answer == NRI_ACCEPTED,
                                           .text = answer == NRI_LATE ? "late" : NULL,
                                           .took_ns = took_ns});
}

static void
on_session(void *ctx, unsigned session, const struct nri_runtime *rt)
{
    const struct guard *g = ctx;

    act_tell(&g->node->acts,
             &(struct act){.kind = ACT_RUNTIME, .what = rt->socket, .ok = rt->up, .text = rt->why});
    if (rt->up && rt->validation_refused)
        log_warn("this runtime hung up when asked to validate: other plugins' edits are not seen",
                 "session", LOG_NUM(session), "socket", rt->socket);
    if (rt->up)
        log_info("NRI session up", "session", LOG_NUM(session), "socket", rt->socket, "runtime",
                 rt->name, "version", rt->version, "nri", rt->nri_version, "config",
                 rt->config_ignored ? "ignored: pgpud has its own" : "");
    else
        log_warn("NRI session down: sandboxes are not guarded", "session", LOG_NUM(session),
                 "socket", rt->socket, "why", rt->why);
}

int
guard_new(struct node *n, struct err *e)
{
    const struct nri_conf *c = &n->conf->nri;
    struct guard *g = calloc(1, sizeof(*g));
    struct nri_handler h = {.request = on_request,
                            .cancelled = on_cancelled,
                            .synchronize = on_synchronize,
                            .session = on_session,
                            .answered = on_answered,
                            .ctx = g};
    char launch[300] = "";
    struct nri_options o = {.n_sockets = c->sockets.n,
                            .sockets = (const char *const *)c->sockets.v,
                            .name = c->name,
                            .index = c->index,
                            .launch_socket = launch};
    int r;

    if (!g)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "start the NRI plugin");
    g->node = n;
    n->guard = g;
    r = config_policy(n->conf, &g->policy, e);
    if (r < 0)
        return r;
    if (c->launch)
        (void)snprintf(launch, sizeof(launch), "%s/nri-launch.sock", n->conf->state_dir);
    return nri_new(n->loop, &o, &h, &g->nri, e);
}

void
guard_free(struct node *n)
{
    struct guard *g = n->guard;

    if (!g)
        return;
    nri_free(g->nri);
    while (g->waiting) {
        struct waiting *w = g->waiting;

        waiting_unlink(w);
        waiting_free(w);
    }
    config_policy_free(&g->policy);
    free(g);
    n->guard = NULL;
}

/* ---- status ---- */

static json_object *
session_json(const struct nri_runtime *rt)
{
    json_object *o = json_object_new_object(), *events = json_object_new_object();
    uint64_t now = now_ns();

    put_str(o, "socket", rt->socket);
    (void)json_object_object_add(o, "up", json_object_new_boolean(rt->up));
    put_str(o, "why", rt->why);
    put_str(o, "runtime", rt->name);
    put_str(o, "version", rt->version);
    put_str(o, "nri_version", rt->nri_version);
    (void)json_object_object_add(o, "injects_cdi", json_object_new_boolean(rt->cdi));
    (void)json_object_object_add(o, "validates", json_object_new_boolean(rt->validates));
    (void)json_object_object_add(o, "validation_refused",
                                 json_object_new_boolean(rt->validation_refused));
    (void)json_object_object_add(o, "state_change", json_object_new_boolean(rt->state_change));
    put_count(o, "since_ms", (now - rt->since) / HW_MS(1));
    put_count(o, "connects", rt->connects);
    put_count(o, "refusals", rt->refusals);
    put_count(o, "timeouts", rt->timeouts);
    put_str(o, "last_event", rt->last_event_at ? nri_event_name(rt->last_event) : "");
    if (rt->last_event_at)
        put_count(o, "last_event_ms", (now - rt->last_event_at) / HW_MS(1));
    for (int i = 0; i < NRI_EVENTS; i++)
        put_count(events, nri_event_name((enum nri_event)i), rt->events[i]);
    (void)json_object_object_add(o, "events", events);
    return o;
}

struct json_object *
guard_json(const struct node *n)
{
    const struct guard *g = n->guard;
    json_object *o = json_object_new_object(), *a = json_object_new_array();

    for (unsigned i = 0; i < nri_sessions(g->nri); i++)
        (void)json_object_array_add(a, session_json(nri_session(g->nri, i)));
    (void)json_object_object_add(o, "sessions", a);
    (void)json_object_object_add(o, "sandboxes", sandboxes_json(n));
    put_count(o, "refused", g->refused);
    put_count(o, "warned", g->warned);
    put_count(o, "injected", g->injected);
    put_count(o, "annotated", g->annotated);
    put_count(o, "held_back", g->held_back);
    return o;
}
