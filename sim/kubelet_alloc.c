/* SPDX-License-Identifier: Apache-2.0
 *
 * Kubelet stand-in: admission of pods, one container at a time as on the kubelet's sync loop.
 *
 * For each resource of the container:
 *   1. Free what ended pods still hold (only now, as kubelets do).
 *   2. Devices that the container has already: no Allocate. Devices of the pod's init containers
 *      are taken first.
 *   3. Choose among the healthy and free ones; ask GetPreferredAllocation where there is a choice.
 *   4. Mark them allocated, then Allocate. An error gives them back; an answer without a container
 *      does not (the real defect).
 */
#include "base/fs.h"
#include "sim/kubelet_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void job_next(struct sim_kubelet *k);
static void request_begin(struct sim_kubelet *k);
static void give_back(struct sim_kubelet *k);

/* ---- jobs ---- */

void
kube_job_free(struct kube_job *j)
{
    if (!j)
        return;
    ids_free(&j->chosen);
    json_object_put(j->granted);
    free(j);
}

static void
job_end(struct sim_kubelet *k, struct json_object *answer)
{
    struct kube_job *j = k->job;

    k->job = NULL;
    json_object_object_add(answer, "pod", json_object_new_string(j->name));
    json_object_object_add(answer, "namespace", json_object_new_string(j->ns));
    json_object_object_add(answer, "ms", kube_ms(kube_now(k) - j->begun_usec));
    json_object_object_add(answer, "allocate_ms", kube_ms(j->alloc_usec));
    kube_answer(j->done, j->ctx, answer);
    kube_job_free(j);
    if (!k->job)
        job_next(k);
}

/* As UnexpectedAdmissionError: final for the pod. */
static void
job_fail(struct sim_kubelet *k, const char *why)
{
    struct json_object *o = kube_error("Allocate failed due to %.1800s, which is unexpected", why);

    json_object_object_add(o, "reason", json_object_new_string("UnexpectedAdmissionError"));
    if (k->job->pod)
        k->job->pod->phase = KUBE_FAILED;
    job_end(k, o);
}

static void
job_done(struct sim_kubelet *k)
{
    struct json_object *o = json_object_new_object();

    json_object_object_add(o, "ok", json_object_new_boolean(true));
    json_object_object_add(o, "uid", json_object_new_int64(k->job->pod->uid));
    json_object_object_add(o, "container", json_object_new_string(k->job->container));
    json_object_object_add(o, "granted", json_object_get(k->job->granted));
    job_end(k, o);
}

static void
job_next(struct sim_kubelet *k)
{
    struct kube_job *j = k->queue;

    if (k->job || !j)
        return;
    k->queue = j->next;
    if (!k->queue)
        k->queue_tail = &k->queue;
    j->next = NULL;
    k->job = j;
    j->begun_usec = kube_now(k);
    j->granted = json_object_new_array();
    j->pod = kube_pod_get(k, j->ns, j->name);
    if (!j->pod)
        job_fail(k, "the stand-in is out of memory");
    else
        request_begin(k);
}

void
kube_job_add(struct sim_kubelet *k, struct kube_job *j)
{
    *k->queue_tail = j;
    k->queue_tail = &j->next;
    job_next(k);
}

void
kube_jobs_abort(struct sim_kubelet *k, const char *why)
{
    struct kube_job *queue = k->queue;

    k->queue = NULL;
    k->queue_tail = &k->queue;
    if (k->job) {
        k->job->asked = NULL;
        give_back(k);
        job_fail(k, why);
    }
    for (struct kube_job *j = queue, *next; j; j = next) {
        next = j->next;
        kube_answer(j->done, j->ctx, kube_error("%s", why));
        kube_job_free(j);
    }
}

/* ---- answers to Allocate ---- */

static struct json_object *
entries_json(size_t n, V1beta1__ContainerAllocateResponse__EnvsEntry *const *v)
{
    struct json_object *o = json_object_new_object();

    for (size_t i = 0; i < n; i++)
        json_object_object_add(o, v[i]->key, json_object_new_string(v[i]->value));
    return o;
}

static struct json_object *
response_json(const V1beta1__ContainerAllocateResponse *m)
{
    struct json_object *o = json_object_new_object(), *specs = json_object_new_array();
    struct json_object *cdi = json_object_new_array(), *notes = json_object_new_object();

    for (size_t i = 0; i < m->n_devices; i++) {
        struct json_object *d = json_object_new_object();

        json_object_object_add(d, "host_path", json_object_new_string(m->devices[i]->host_path));
        json_object_object_add(d, "container_path",
                               json_object_new_string(m->devices[i]->container_path));
        json_object_object_add(d, "permissions",
                               json_object_new_string(m->devices[i]->permissions));
        json_object_array_add(specs, d);
    }
    for (size_t i = 0; i < m->n_cdi_devices; i++)
        json_object_array_add(cdi, json_object_new_string(m->cdi_devices[i]->name));
    for (size_t i = 0; i < m->n_annotations; i++)
        json_object_object_add(notes, m->annotations[i]->key,
                               json_object_new_string(m->annotations[i]->value));
    json_object_object_add(o, "devices", specs);
    json_object_object_add(o, "cdi", cdi);
    json_object_object_add(o, "envs", entries_json(m->n_envs, m->envs));
    json_object_object_add(o, "annotations", notes);
    json_object_object_add(o, "mounts", json_object_new_int64((int64_t)m->n_mounts));
    return o;
}

static struct json_object *
grant_json(const struct kube_grant *g, bool replayed)
{
    struct json_object *o = json_object_new_object();

    json_object_object_add(o, "resource", json_object_new_string(g->resource));
    json_object_object_add(o, "ids", ids_json(&g->ids));
    json_object_object_add(o, "response", json_object_get(g->response));
    json_object_object_add(o, "replayed", json_object_new_boolean(replayed));
    return o;
}

/* The container has its devices: remember them as the checkpoint does, go on. */
static void
grant(struct sim_kubelet *k, const V1beta1__ContainerAllocateResponse *m)
{
    struct kube_job *j = k->job;
    struct kube_grant *g = calloc(1, sizeof(*g)), **end;

    if (!g) {
        job_fail(k, "the stand-in is out of memory");
        return;
    }
    (void)str_copy(g->container, sizeof(g->container), j->container);
    (void)str_copy(g->resource, sizeof(g->resource), j->req[j->at].resource);
    g->init = j->init;
    g->ids = j->chosen;
    j->chosen = (struct ids){0};
    g->response = response_json(m);
    for (end = &j->pod->grants; *end; end = &(*end)->next)
        ;
    *end = g;
    json_object_array_add(j->granted, grant_json(g, false));
    j->at++;
    request_begin(k);
}

static void
give_back(struct sim_kubelet *k)
{
    struct kube_job *j = k->job;
    struct kube_resource *r = kube_resource_find(k, j->req[j->at].resource);

    for (size_t i = 0; r && i < j->chosen.n; i++)
        ids_del(&r->allocated, j->chosen.v[i]);
    /* What init containers of the pod hold stays theirs. */
    for (struct kube_grant *g = j->pod->grants; r && g; g = g->next)
        for (size_t i = 0; strcmp(g->resource, r->name) == 0 && i < g->ids.n; i++)
            (void)ids_add(&r->allocated, g->ids.v[i]);
}

static void
check_vanished(struct sim_kubelet *k)
{
    struct kube_job *j = k->job;
    struct kube_resource *r = kube_resource_find(k, j->req[j->at].resource);

    for (size_t i = 0; i < j->chosen.n; i++) {
        size_t n = 0;

        while (n < r->n && strcmp(r->devices[n].id, j->chosen.v[i]) != 0)
            n++;
        if (n == r->n)
            kube_violation(k,
                           "panic: %s left the list of %s while its Allocate was under way "
                           "(nil dereference in the real kubelet)",
                           j->chosen.v[i], r->name);
    }
}

static void
on_allocated(void *ctx, int status, const char *text, const uint8_t *data, size_t len)
{
    struct sim_kubelet *k = ctx;
    V1beta1__AllocateResponse *m;
    char why[GIO_TEXT_MAX + 128];

    k->job->asked = NULL;
    k->job->alloc_usec += kube_now(k) - k->job->sent_usec;
    if (status != GIO_OK) {
        (void)snprintf(why, sizeof(why), "rpc error: code = %s desc = %s", gio_status_name(status),
                       text);
        give_back(k);
        job_fail(k, why);
        return;
    }
    m = (V1beta1__AllocateResponse *)(void *)dp_unpack(&v1beta1__allocate_response__descriptor,
                                                       data, len, DP_PARSE_MAX);
    if (!m || m->n_container_responses == 0) {
        kube_violation(k, "%s: Allocate was answered without a container: the devices leak",
                       k->job->req[k->job->at].resource);
        job_fail(k, "no containers return in allocation response");
    } else {
        check_vanished(k);
        grant(k, m->container_responses[0]);
    }
    dp_unpack_free(m);
}

void
kube_job_disconnected(struct sim_kubelet *k, const struct kube_client *c)
{
    if (!k->job || k->job->asked != c)
        return;
    k->job->asked = NULL;
    give_back(k);
    job_fail(k, "rpc error: code = Canceled desc = grpc: the client connection is closing");
}

/* ---- requests ---- */

static void
ask(struct sim_kubelet *k, struct kube_resource *r, const char *method, const ProtobufCMessage *m,
    void (*done)(void *, int, const char *, const uint8_t *, size_t))
{
    struct gio_req_options o = {.timeout_ns = k->opt.allocate_nsec, .done = done, .ctx = k};
    struct err e = ERR_INIT;
    struct buf b;

    if (r->stopped || !r->endpoint || !r->endpoint->channel) {
        char why[KUBE_NAME_MAX + 64];

        give_back(k);
        (void)snprintf(why, sizeof(why), "endpoint %s has been stopped", r->name);
        job_fail(k, why);
        return;
    }
    buf_init(&b, GIO_MESSAGE_MAX);
    k->job->sent_usec = kube_now(k);
    if (dp_pack(m, &b, &e) < 0 ||
        gio_request(r->endpoint->channel, method, b.data, b.len, &o, NULL, &e) < 0) {
        give_back(k);
        job_fail(k, e.msg);
    } else {
        k->job->asked = r->endpoint;
    }
    buf_fini(&b);
}

/* protobuf-c wants an array of pointers. */
static char **
id_pointers(const struct ids *s)
{
    char **v = calloc(s->n + 1, sizeof(*v));

    for (size_t i = 0; v && i < s->n; i++)
        v[i] = s->v[i];
    return v;
}

static void
allocate(struct sim_kubelet *k, struct kube_resource *r)
{
    V1beta1__AllocateRequest m = V1BETA1__ALLOCATE_REQUEST__INIT;
    V1beta1__ContainerAllocateRequest c = V1BETA1__CONTAINER_ALLOCATE_REQUEST__INIT,
                                      *list[1] = {&c};

    for (size_t i = 0; i < k->job->chosen.n; i++)
        (void)ids_add(&r->allocated, k->job->chosen.v[i]);
    c.devices_ids = id_pointers(&k->job->chosen);
    c.n_devices_ids = c.devices_ids ? k->job->chosen.n : 0;
    m.n_container_requests = 1;
    m.container_requests = list;
    r->allocates++;
    ask(k, r, DP_RPC_ALLOCATE, &m.base, on_allocated);
    free(c.devices_ids);
}

/* Healthy, not allocated, not chosen yet. */
static void
candidates(const struct kube_resource *r, const struct ids *chosen, struct ids *ret)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->devices[i].healthy && !ids_has(&r->allocated, r->devices[i].id) &&
            !ids_has(chosen, r->devices[i].id))
            (void)ids_add(ret, r->devices[i].id);
}

/* Takes from `preferred` (NULL: none) what is free, then whatever is free, and allocates. */
static void
choose(struct sim_kubelet *k, struct kube_resource *r,
       const V1beta1__ContainerPreferredAllocationResponse *preferred)
{
    struct kube_job *j = k->job;
    size_t want = j->req[j->at].want;
    struct ids free_ids = {0};

    candidates(r, &j->chosen, &free_ids);
    for (size_t i = 0; preferred && i < preferred->n_deviceids && j->chosen.n < want; i++)
        if (ids_has(&free_ids, preferred->deviceids[i]))
            (void)ids_add(&j->chosen, preferred->deviceids[i]);
    for (size_t i = 0; i < free_ids.n && j->chosen.n < want; i++)
        (void)ids_add(&j->chosen, free_ids.v[i]);
    ids_free(&free_ids);
    allocate(k, r);
}

static void
on_preferred(void *ctx, int status, const char *text, const uint8_t *data, size_t len)
{
    struct sim_kubelet *k = ctx;
    struct kube_resource *r = kube_resource_find(k, k->job->req[k->job->at].resource);
    V1beta1__PreferredAllocationResponse *m = NULL;

    k->job->asked = NULL;
    if (status == GIO_OK)
        m = (V1beta1__PreferredAllocationResponse *)(void *)dp_unpack(
            &v1beta1__preferred_allocation_response__descriptor, data, len, DP_PARSE_MAX);
    if (!m) {
        kube_violation(k, "%s: GetPreferredAllocation failed: %s", r->name, text);
        job_fail(k, "device plugin GetPreferredAllocation rpc failed");
        return;
    }
    choose(k, r, m->n_container_responses ? m->container_responses[0] : NULL);
    dp_unpack_free(m);
}

static void
ask_preferred(struct sim_kubelet *k, struct kube_resource *r, struct ids *available)
{
    V1beta1__PreferredAllocationRequest m = V1BETA1__PREFERRED_ALLOCATION_REQUEST__INIT;
    V1beta1__ContainerPreferredAllocationRequest c =
        V1BETA1__CONTAINER_PREFERRED_ALLOCATION_REQUEST__INIT;
    V1beta1__ContainerPreferredAllocationRequest *list[1] = {&c};

    for (size_t i = 0; i < k->job->chosen.n; i++)
        (void)ids_add(available, k->job->chosen.v[i]);
    c.available_deviceids = id_pointers(available);
    c.n_available_deviceids = c.available_deviceids ? available->n : 0;
    c.must_include_deviceids = id_pointers(&k->job->chosen);
    c.n_must_include_deviceids = c.must_include_deviceids ? k->job->chosen.n : 0;
    c.allocation_size = (int32_t)k->job->req[k->job->at].want;
    m.n_container_requests = 1;
    m.container_requests = list;
    r->preferred++;
    ask(k, r, DP_RPC_PREFERRED, &m.base, on_preferred);
    free(c.available_deviceids);
    free(c.must_include_deviceids);
}

/* What the pod has of the resource already: replay for the container itself (true), or the devices
 * of its init containers into `chosen`. */
static bool
reuse(struct sim_kubelet *k, const struct kube_resource *r)
{
    struct kube_job *j = k->job;

    for (const struct kube_grant *g = j->pod->grants; g; g = g->next) {
        if (strcmp(g->resource, r->name) != 0)
            continue;
        if (strcmp(g->container, j->container) == 0) {
            json_object_array_add(j->granted, grant_json(g, true));
            return true;
        }
        for (size_t i = 0; g->init && i < g->ids.n && j->chosen.n < j->req[j->at].want; i++)
            (void)ids_add(&j->chosen, g->ids.v[i]);
    }
    return false;
}

static void
request_begin(struct sim_kubelet *k)
{
    struct kube_job *j = k->job;
    struct ids available = {0};
    struct kube_resource *r;
    char why[KUBE_NAME_MAX + 128];
    size_t want;

    if (j->at == j->n) {
        job_done(k);
        return;
    }
    want = j->req[j->at].want;
    kube_collect(k);
    j->chosen.n = 0;
    r = kube_resource_find(k, j->req[j->at].resource);
    if (!r) {
        (void)snprintf(why, sizeof(why), "the resource %s being unknown to the node",
                       j->req[j->at].resource);
        job_fail(k, why);
        return;
    }
    if (reuse(k, r)) {
        j->at++;
        request_begin(k);
        return;
    }
    candidates(r, &j->chosen, &available);
    if (j->chosen.n == want) {
        allocate(k, r);
    } else if (kube_healthy(r) == 0) {
        (void)snprintf(why, sizeof(why),
                       "no healthy devices present; cannot allocate unhealthy devices %s", r->name);
        job_fail(k, why);
    } else if (available.n < want - j->chosen.n) {
        (void)snprintf(why, sizeof(why),
                       "requested number of devices unavailable for %s. Requested: %zu, "
                       "Available: %zu",
                       r->name, want - j->chosen.n, available.n);
        job_fail(k, why);
    } else if (available.n > want - j->chosen.n && r->endpoint && r->endpoint->prefers) {
        ask_preferred(k, r, &available);
    } else {
        choose(k, r, NULL);
    }
    ids_free(&available);
}
