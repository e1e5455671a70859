/* SPDX-License-Identifier: Apache-2.0
 *
 * See deviceplugin/codec.h.
 */
#include "deviceplugin/codec.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory-limited parsing ---- */

/* protobuf-c asks for memory as the bytes tell it to: a few bytes on the wire can become a struct
 * of a hundred. The allocator counts and says no. */
struct budget {
    size_t left;
};

static void *
budget_alloc(void *data, size_t size)
{
    struct budget *b = data;

    if (size > b->left)
        return NULL;
    b->left -= size;
    return malloc(size);
}

static void
budget_free(void *data, void *p)
{
    (void)data;
    free(p);
}

ProtobufCMessage *
dp_unpack(const ProtobufCMessageDescriptor *d, const uint8_t *data, size_t len, size_t max)
{
    struct budget b = {.left = max};
    ProtobufCAllocator a = {.alloc = budget_alloc, .free = budget_free, .allocator_data = &b};

    return protobuf_c_message_unpack(d, &a, len, data);
}

void
dp_unpack_free(void *msg)
{
    struct budget b = {0};
    ProtobufCAllocator a = {.alloc = budget_alloc, .free = budget_free, .allocator_data = &b};

    if (msg)
        protobuf_c_message_free_unpacked(msg, &a);
}

int
dp_pack(const ProtobufCMessage *m, struct buf *out, struct err *e)
{
    size_t n = protobuf_c_message_get_packed_size(m);
    _cleanup_free_ char *tmp = malloc(n ? n : 1);

    if (!tmp)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "pack %s: out of memory",
                       m->descriptor->short_name);
    n = protobuf_c_message_pack(m, (uint8_t *)tmp);
    if (!buf_put(out, tmp, n))
        return err_set(e, EMSGSIZE, ERR_CLASS_INVALID, "pack %s: %zu bytes are too many",
                       m->descriptor->short_name, n);
    return 0;
}

/* ---- requests ---- */

bool
dp_id_valid(const char *id)
{
    size_t n = 0;

    for (; id[n]; n++)
        if (n + 1 >= DP_ID_MAX || id[n] <= ' ' || id[n] > '~')
            return false;
    return n > 0;
}

static int
cmp_strp(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;

    return strcmp(*x, *y);
}

/* All IDs of the request: valid, few enough, none twice. */
static int
check_ids(const V1beta1__AllocateRequest *m, struct err *e)
{
    const char *all[DP_IDS_MAX];
    size_t n = 0;

    for (size_t i = 0; i < m->n_container_requests; i++) {
        const V1beta1__ContainerAllocateRequest *c = m->container_requests[i];

        if (c->n_devices_ids == 0)
            return err_set(e, EINVAL, ERR_CLASS_INVALID, "Allocate: no device IDs");
        if (c->n_devices_ids > DP_IDS_MAX - n)
            return err_set(e, E2BIG, ERR_CLASS_INVALID, "Allocate: more than %d device IDs",
                           DP_IDS_MAX);
        for (size_t j = 0; j < c->n_devices_ids; j++) {
            if (!dp_id_valid(c->devices_ids[j]))
                return err_set(e, EINVAL, ERR_CLASS_INVALID,
                               "Allocate: device ID %zu is not 1 to %d printable characters", j,
                               DP_ID_MAX - 1);
            all[n++] = c->devices_ids[j];
        }
    }
    qsort(all, n, sizeof(all[0]), cmp_strp);
    for (size_t i = 1; i < n; i++)
        if (strcmp(all[i - 1], all[i]) == 0)
            return err_set(e, EINVAL, ERR_CLASS_INVALID, "Allocate: device %s is named twice",
                           all[i]);
    return 0;
}

int
dp_decode_allocate(const uint8_t *data, size_t len, struct dp_allocate_request *ret, struct err *e)
{
    V1beta1__AllocateRequest *m = (V1beta1__AllocateRequest *)(void *)dp_unpack(
        &v1beta1__allocate_request__descriptor, data, len, DP_PARSE_MAX);
    int r = 0;

    if (!m)
        return err_set(e, EBADMSG, ERR_CLASS_INVALID, "Allocate: the request is malformed");
    if (m->n_container_requests == 0 || m->n_container_requests > DP_CONTAINERS_MAX)
        r = err_set(e, EINVAL, ERR_CLASS_INVALID,
                    "Allocate: %zu container requests, 1 to %d are allowed",
                    m->n_container_requests, DP_CONTAINERS_MAX);
    else
        r = check_ids(m, e);
    if (r < 0) {
        dp_unpack_free(m);
        return r;
    }
    *ret = (struct dp_allocate_request){.msg = m, .n = m->n_container_requests};
    for (size_t i = 0; i < ret->n; i++) {
        ret->req[i].n_ids = m->container_requests[i]->n_devices_ids;
        ret->req[i].ids = (const char *const *)m->container_requests[i]->devices_ids;
    }
    return 0;
}

void
dp_allocate_request_fini(struct dp_allocate_request *r)
{
    dp_unpack_free(r->msg);
    *r = (struct dp_allocate_request){0};
}

/* ---- answers ---- */

/* protobuf-c's messages have writable strings; packing only reads them. */
static char *
rw(const char *s)
{
    return (char *)(uintptr_t)s;
}

/* One container's answer with its parts in one allocation each; freed by response_fini. */
struct response {
    V1beta1__ContainerAllocateResponse msg;
    V1beta1__DeviceSpec *spec;
    V1beta1__DeviceSpec **specs;
    V1beta1__CDIDevice *cdi;
    V1beta1__CDIDevice **cdis;
};

static void
response_fini(struct response *r)
{
    free(r->spec);
    free(r->specs);
    free(r->cdi);
    free(r->cdis);
}

static bool
response_init(struct response *r, const struct dp_container_response *in)
{
    v1beta1__container_allocate_response__init(&r->msg);
    r->spec = calloc(in->n_devices + 1, sizeof(*r->spec));
    r->specs = calloc(in->n_devices + 1, sizeof(V1beta1__DeviceSpec *));
    r->cdi = calloc(in->n_cdi + 1, sizeof(*r->cdi));
    r->cdis = calloc(in->n_cdi + 1, sizeof(V1beta1__CDIDevice *));
    if (!r->spec || !r->specs || !r->cdi || !r->cdis)
        return false;
    for (size_t i = 0; i < in->n_devices; i++) {
        v1beta1__device_spec__init(&r->spec[i]);
        r->spec[i].host_path = rw(in->devices[i].host_path);
        r->spec[i].container_path = rw(in->devices[i].container_path);
        r->spec[i].permissions = rw(in->devices[i].permissions);
        r->specs[i] = &r->spec[i];
    }
    for (size_t i = 0; i < in->n_cdi; i++) {
        v1beta1__cdidevice__init(&r->cdi[i]);
        r->cdi[i].name = rw(in->cdi[i]);
        r->cdis[i] = &r->cdi[i];
    }
    r->msg.n_devices = in->n_devices;
    r->msg.devices = r->specs;
    r->msg.n_cdi_devices = in->n_cdi;
    r->msg.cdi_devices = r->cdis;
    return true;
}

int
dp_encode_allocate(const struct dp_container_response *resp, size_t n, struct buf *out,
                   struct err *e)
{
    V1beta1__AllocateResponse m = V1BETA1__ALLOCATE_RESPONSE__INIT;
    V1beta1__ContainerAllocateResponse *list[DP_CONTAINERS_MAX];
    struct response part[DP_CONTAINERS_MAX] = {0};
    bool ok = true;
    int r;

    /* A kubelet leaks the devices when it gets an answer without a container. */
    if (n == 0 || n > DP_CONTAINERS_MAX)
        return err_set(e, EINVAL, ERR_CLASS_FATAL, "answer Allocate: %zu container answers", n);
    for (size_t i = 0; i < n; i++) {
        ok = response_init(&part[i], &resp[i]) && ok;
        list[i] = &part[i].msg;
    }
    m.n_container_responses = n;
    m.container_responses = list;
    if (ok)
        r = dp_pack(&m.base, out, e);
    else
        r = err_set(e, ENOMEM, ERR_CLASS_FATAL, "answer Allocate: out of memory");
    for (size_t i = 0; i < n; i++)
        response_fini(&part[i]);
    return r;
}

/* A device with its topology, so that one array holds all. */
struct listed {
    V1beta1__Device dev;
    V1beta1__TopologyInfo topo;
    V1beta1__NUMANode node;
    V1beta1__NUMANode *nodes[1];
};

static void
listed_init(struct listed *l, const struct dp_device *d)
{
    v1beta1__device__init(&l->dev);
    l->dev.id = rw(d->id);
    l->dev.health = rw(d->healthy ? DP_HEALTHY : DP_UNHEALTHY);
    if (d->numa_node < 0)
        return; /* an ID of -1 must not be sent: kubelets take it for a node */
    v1beta1__topology_info__init(&l->topo);
    v1beta1__numanode__init(&l->node);
    l->node.id = d->numa_node;
    l->nodes[0] = &l->node;
    l->topo.n_nodes = 1;
    l->topo.nodes = l->nodes;
    l->dev.topology = &l->topo;
}

static int
check_list(const struct dp_device *dev, size_t n, struct err *e)
{
    if (n > DP_IDS_MAX)
        return err_set(e, E2BIG, ERR_CLASS_INVALID, "device list: %zu devices, at most %d", n,
                       DP_IDS_MAX);
    for (size_t i = 0; i < n; i++) {
        if (!dp_id_valid(dev[i].id))
            return err_set(e, EINVAL, ERR_CLASS_INVALID, "device list: invalid ID at %zu", i);
        if (i > 0 && strcmp(dev[i - 1].id, dev[i].id) >= 0)
            return err_set(e, EINVAL, ERR_CLASS_INVALID, "device list: %s is listed twice",
                           dev[i].id);
    }
    return 0;
}

int
dp_encode_list(const struct dp_device *dev, size_t n, struct buf *out, struct err *e)
{
    V1beta1__ListAndWatchResponse m = V1BETA1__LIST_AND_WATCH_RESPONSE__INIT;
    V1beta1__Device **list;
    struct listed *l;
    int r = check_list(dev, n, e);

    if (r < 0)
        return r;
    l = calloc(n + 1, sizeof(*l));
    list = calloc(n + 1, sizeof(V1beta1__Device *));
    if (l && list) {
        for (size_t i = 0; i < n; i++) {
            listed_init(&l[i], &dev[i]);
            list[i] = &l[i].dev;
        }
        m.n_devices = n;
        m.devices = list;
        r = dp_pack(&m.base, out, e);
    } else {
        r = err_set(e, ENOMEM, ERR_CLASS_FATAL, "device list: out of memory");
    }
    free(l);
    free(list);
    return r;
}

int
dp_encode_options(struct buf *out, struct err *e)
{
    V1beta1__DevicePluginOptions o = V1BETA1__DEVICE_PLUGIN_OPTIONS__INIT;

    o.get_preferred_allocation_available = true;
    /* PreStartContainer comes after the sandbox, that is after the VM has opened the device. */
    o.pre_start_required = false;
    return dp_pack(&o.base, out, e);
}

int
dp_encode_register(const char *resource, const char *endpoint, struct buf *out, struct err *e)
{
    V1beta1__RegisterRequest m;
    V1beta1__DevicePluginOptions o = V1BETA1__DEVICE_PLUGIN_OPTIONS__INIT;

    v1beta1__register_request__init(&m);
    o.get_preferred_allocation_available = true;
    m.version = rw(DP_API_VERSION);
    m.endpoint = rw(endpoint);
    m.resource_name = rw(resource);
    m.options = &o;
    return dp_pack(&m.base, out, e);
}

/* ---- PodResources ---- */

static size_t
count_ids(const V1__ListPodResourcesResponse *m)
{
    size_t n = 0;

    for (size_t i = 0; i < m->n_pod_resources; i++)
        for (size_t j = 0; j < m->pod_resources[i]->n_containers; j++) {
            const V1__ContainerResources *c = m->pod_resources[i]->containers[j];

            for (size_t k = 0; k < c->n_devices; k++)
                n += c->devices[k]->n_device_ids;
        }
    return n;
}

static void
fill_container(struct dp_pod_table *t, const V1__PodResources *p, const V1__ContainerResources *c)
{
    for (size_t k = 0; k < c->n_devices; k++)
        for (size_t i = 0; i < c->devices[k]->n_device_ids; i++)
            t->v[t->n++] = (struct dp_pod_device){.ns = p->namespace_,
                                                  .pod = p->name,
                                                  .container = c->name,
                                                  .resource = c->devices[k]->resource_name,
                                                  .id = c->devices[k]->device_ids[i]};
}

int
dp_decode_pods(const uint8_t *data, size_t len, struct dp_pod_table *ret, struct err *e)
{
    struct dp_pod_table t = {0};

    t.msg = (V1__ListPodResourcesResponse *)(void *)dp_unpack(
        &v1__list_pod_resources_response__descriptor, data, len, DP_PARSE_PODS_MAX);
    if (!t.msg)
        return err_set(e, EBADMSG, ERR_CLASS_RETRY,
                       "PodResources List: the answer is malformed or too large");
    t.v = calloc(count_ids(t.msg) + 1, sizeof(*t.v));
    if (!t.v) {
        dp_unpack_free(t.msg);
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "PodResources List: out of memory");
    }
    for (size_t i = 0; i < t.msg->n_pod_resources; i++)
        for (size_t j = 0; j < t.msg->pod_resources[i]->n_containers; j++)
            fill_container(&t, t.msg->pod_resources[i], t.msg->pod_resources[i]->containers[j]);
    *ret = t;
    return 0;
}

void
dp_pod_table_fini(struct dp_pod_table *t)
{
    free(t->v);
    dp_unpack_free(t->msg);
    *t = (struct dp_pod_table){0};
}
