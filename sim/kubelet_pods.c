/* SPDX-License-Identifier: Apache-2.0
 *
 * Kubelet stand-in: the PodResources service (v1) with its rate limit.
 */
#include "sim/kubelet_priv.h"

#include <stdlib.h>
#include <string.h>

/* k8s.io/kubernetes/pkg/kubelet/apis/podresources/constants.go (1.36). */
#define RATE_PER_SECOND 100.0
#define RATE_BURST 10.0

static bool
admit(struct sim_kubelet *k, struct gio_call *call)
{
    uint64_t now = kube_now(k);

    k->tokens += (double)(now - k->tokens_usec) * RATE_PER_SECOND / 1e6;
    k->tokens_usec = now;
    if (k->tokens > RATE_BURST)
        k->tokens = RATE_BURST;
    if (k->opt.no_rate_limit || k->tokens >= 1) {
        k->tokens -= 1;
        return true;
    }
    gio_call_fail(call, GIO_RESOURCE_EXHAUSTED, "rejected by rate limit");
    return false;
}

/* An arena of message parts, freed as one. */
struct part {
    struct part *next;
    union {
        V1__PodResources pod;
        V1__ContainerResources container;
        V1__ContainerDevices devices;
        char *pointers[1];
    } u;
};

struct arena {
    struct part *parts;
};

static void *
arena_get(struct arena *a, size_t extra)
{
    struct part *p = calloc(1, sizeof(*p) + extra);

    if (!p)
        abort(); /* a stand-in, not the product */
    p->next = a->parts;
    a->parts = p;
    return &p->u;
}

static void
arena_free(struct arena *a)
{
    for (struct part *p = a->parts, *next; p; p = next) {
        next = p->next;
        free(p);
    }
    a->parts = NULL;
}

static char *
text(const char *s)
{
    return (char *)(uintptr_t)s;
}

static V1__ContainerResources *
container_get(struct arena *a, V1__PodResources *m, const char *name, size_t devices_max)
{
    V1__ContainerResources *c;

    for (size_t i = 0; i < m->n_containers; i++)
        /* n_containers of them are filled. NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
        if (strcmp(m->containers[i]->name, name) == 0)
            return m->containers[i];
    c = arena_get(a, 0);
    v1__container_resources__init(c);
    c->name = text(name);
    c->devices = arena_get(a, devices_max * sizeof(void *));
    m->containers[m->n_containers++] = c;
    return c;
}

/* One ContainerDevices per device, as the kubelet does where topologies differ. */
static void
fill_container(struct arena *a, const struct kube_grant *g, V1__ContainerResources *c)
{
    for (size_t i = 0; i < g->ids.n; i++) {
        V1__ContainerDevices *d = arena_get(a, 0);

        v1__container_devices__init(d);
        d->resource_name = text(g->resource);
        d->device_ids = arena_get(a, sizeof(void *));
        d->device_ids[0] = text(g->ids.v[i]);
        d->n_device_ids = 1;
        c->devices[c->n_devices++] = d;
    }
}

static V1__PodResources *
pod_message(struct arena *a, const struct kube_pod *p)
{
    V1__PodResources *m = arena_get(a, 0);
    size_t grants = 0, ids = 0;

    for (const struct kube_grant *g = p->grants; g; g = g->next) {
        grants++;
        ids += g->ids.n;
    }
    v1__pod_resources__init(m);
    m->name = text(p->name);
    m->namespace_ = text(p->ns);
    m->containers = arena_get(a, grants * sizeof(void *));
    for (const struct kube_grant *g = p->grants; g; g = g->next)
        if (!g->init) /* plain init containers are not listed */
            fill_container(a, g, container_get(a, m, g->container, ids));
    return m;
}

static void
reply(struct gio_call *call, const ProtobufCMessage *m)
{
    struct err e = ERR_INIT;
    struct buf b;

    buf_init(&b, GIO_MESSAGE_MAX);
    if (dp_pack(m, &b, &e) < 0)
        gio_call_fail(call, GIO_INTERNAL, e.msg);
    else
        gio_call_reply(call, b.data, b.len);
    buf_fini(&b);
}

static void
on_pods_list(void *ctx, struct gio_call *call, const uint8_t *req, size_t len)
{
    V1__ListPodResourcesResponse m = V1__LIST_POD_RESOURCES_RESPONSE__INIT;
    struct sim_kubelet *k = ctx;
    struct arena a = {0};
    size_t n = 0;

    (void)req;
    (void)len;
    if (!admit(k, call))
        return;
    kube_collect(k);
    for (const struct kube_pod *p = k->pods; p; p = p->next)
        n++;
    m.pod_resources = arena_get(&a, n * sizeof(void *));
    for (const struct kube_pod *p = k->pods; p; p = p->next)
        if (p->phase == KUBE_RUNNING || k->opt.list_terminated)
            m.pod_resources[m.n_pod_resources++] = pod_message(&a, p);
    reply(call, &m.base);
    arena_free(&a);
}

static void
on_pods_get(void *ctx, struct gio_call *call, const uint8_t *req, size_t len)
{
    V1__GetPodResourcesResponse m = V1__GET_POD_RESOURCES_RESPONSE__INIT;
    struct sim_kubelet *k = ctx;
    struct arena a = {0};
    const struct kube_pod *p = NULL;
    V1__GetPodResourcesRequest *q = (V1__GetPodResourcesRequest *)(void *)dp_unpack(
        &v1__get_pod_resources_request__descriptor, req, len, DP_PARSE_MAX);

    if (q)
        p = kube_pod_find(k, q->pod_namespace, q->pod_name);
    dp_unpack_free(q);
    if (!admit(k, call))
        return;
    if (!p) {
        gio_call_fail(call, GIO_UNKNOWN, "pod not found");
        return;
    }
    m.pod_resources = pod_message(&a, p);
    reply(call, &m.base);
    arena_free(&a);
}

/* Healthy devices only. */
static void
on_pods_allocatable(void *ctx, struct gio_call *call, const uint8_t *req, size_t len)
{
    V1__AllocatableResourcesResponse m = V1__ALLOCATABLE_RESOURCES_RESPONSE__INIT;
    struct sim_kubelet *k = ctx;
    struct arena a = {0};
    size_t n = 0;

    (void)req;
    (void)len;
    if (!admit(k, call))
        return;
    for (const struct kube_resource *r = k->resources; r; r = r->next)
        n += r->n;
    m.devices = arena_get(&a, n * sizeof(void *));
    for (const struct kube_resource *r = k->resources; r; r = r->next)
        for (size_t i = 0; i < r->n; i++) {
            V1__ContainerDevices *d;

            if (!r->devices[i].healthy)
                continue;
            d = arena_get(&a, 0);
            v1__container_devices__init(d);
            d->resource_name = text(r->name);
            d->device_ids = arena_get(&a, sizeof(void *));
            d->device_ids[0] = r->devices[i].id;
            d->n_device_ids = 1;
            m.devices[m.n_devices++] = d;
        }
    reply(call, &m.base);
    arena_free(&a);
}

const struct gio_method kube_pods_methods[3] = {{DP_RPC_PODS_LIST, on_pods_list},
                                                {DP_RPC_PODS_GET, on_pods_get},
                                                {DP_RPC_PODS_ALLOCATABLE, on_pods_allocatable}};
