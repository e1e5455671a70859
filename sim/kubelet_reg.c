/* SPDX-License-Identifier: Apache-2.0
 *
 * Kubelet stand-in: the Registration service, and what plugins stream to us.
 *
 * Two pointers tell the story of the re-registration race: `known` is the entry in the server's map
 * of clients (by resource name up to 1.36.2), `endpoint` is what the device manager allocates from.
 */
#include "base/fs.h"
#include "sim/kubelet_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESOURCES_MAX 64

struct kube_resource *
kube_resource_find(struct sim_kubelet *k, const char *name)
{
    for (struct kube_resource *r = k->resources; r; r = r->next)
        if (strcmp(r->name, name) == 0)
            return r;
    return NULL;
}

static struct kube_resource *
resource_get(struct sim_kubelet *k, const char *name)
{
    struct kube_resource *r = kube_resource_find(k, name), **p;
    size_t n = 0;

    if (r || strlen(name) >= sizeof(r->name))
        return r;
    for (p = &k->resources; *p; p = &(*p)->next)
        n++;
    if (n >= RESOURCES_MAX)
        return NULL;
    r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->k = k;
    r->history = json_object_new_array();
    (void)str_copy(r->name, sizeof(r->name), name);
    *p = r;
    return r;
}

void
kube_resource_free(struct kube_resource *r)
{
    json_object_put(r->history);
    ids_free(&r->allocated);
    free(r->devices);
    free(r);
}

size_t
kube_healthy(const struct kube_resource *r)
{
    size_t n = 0;

    for (size_t i = 0; i < r->n; i++)
        n += r->devices[i].healthy ? 1 : 0;
    return n;
}

/* ---- clients ---- */

static void
client_free(struct kube_client *c)
{
    struct kube_client **p;

    for (p = &c->r->k->clients; *p != c; p = &(*p)->next)
        ;
    *p = c->next;
    free(c);
}

/* Closes our connection. The client stays as long as the manager's endpoint points to it. */
static void
client_close(struct kube_client *c)
{
    struct sim_kubelet *k = c->r->k;

    if (c->reg_call) {
        gio_call_fail(c->reg_call, GIO_UNAVAILABLE, "the kubelet closed the connection");
        c->reg_call = NULL;
    }
    if (c->channel) {
        gio_channel_free(c->channel);
        c->channel = NULL;
        kube_job_disconnected(k, c);
    }
    if (c->r->known == c)
        c->r->known = NULL;
    if (c->r->endpoint != c)
        client_free(c);
}

static void
endpoint_set(struct kube_resource *r, struct kube_client *c)
{
    struct kube_client *old = r->endpoint;

    r->endpoint = c;
    if (old && old != c && !old->channel)
        client_free(old);
}

/* disconnectClient + PluginDisconnected: the devices stay known, unhealthy. */
static void
disconnect(struct kube_client *c)
{
    struct kube_resource *r = c->r;

    client_close(c);
    r->stopped = true;
    for (size_t i = 0; i < r->n; i++)
        r->devices[i].healthy = false;
    kube_waits_check(r->k);
}

void
kube_cancel_stream(struct kube_resource *r)
{
    if (r->endpoint && r->endpoint->channel)
        disconnect(r->endpoint);
}

void
kube_forget_plugins(struct sim_kubelet *k)
{
    for (struct kube_resource *r = k->resources; r; r = r->next) {
        endpoint_set(r, NULL);
        r->known = NULL;
        r->stopped = true;
        r->n = 0;
    }
    while (k->clients)
        client_close(k->clients);
    kube_waits_check(k);
}

/* ---- ListAndWatch ---- */

static void
history_add(struct kube_resource *r)
{
    struct json_object *o = json_object_new_object(), *list = json_object_new_array();

    for (size_t i = 0; i < r->n; i++) {
        struct json_object *d = json_object_new_object();

        json_object_object_add(d, "id", json_object_new_string(r->devices[i].id));
        json_object_object_add(d, "healthy", json_object_new_boolean(r->devices[i].healthy));
        json_object_array_add(list, d);
    }
    json_object_object_add(o, "ms", kube_ms(kube_now(r->k)));
    json_object_object_add(o, "devices", list);
    if (json_object_array_length(r->history) < KUBE_HISTORY_MAX)
        json_object_array_add(r->history, o);
    else
        json_object_put(o);
}

static bool
same_list(const struct kube_resource *r, const struct kube_device *v, size_t n)
{
    if (r->n != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (strcmp(v[i].id, r->devices[i].id) != 0 || v[i].healthy != r->devices[i].healthy ||
            v[i].numa != r->devices[i].numa)
            return false;
    return true;
}

static bool
listed_device(struct kube_resource *r, const V1beta1__Device *d, struct kube_device *ret)
{
    if (!str_copy(ret->id, sizeof(ret->id), d->id) || !d->id[0]) {
        kube_violation(r->k, "%s: a device ID of %zu characters was listed", r->name,
                       strlen(d->id));
        return false;
    }
    ret->healthy = strcmp(d->health, DP_HEALTHY) == 0;
    if (!ret->healthy && strcmp(d->health, DP_UNHEALTHY) != 0)
        kube_violation(r->k, "%s: %s has the health \"%s\"", r->name, d->id, d->health);
    ret->numa = d->topology && d->topology->n_nodes ? d->topology->nodes[0]->id : -1;
    if (d->topology && d->topology->n_nodes && ret->numa < 0)
        kube_violation(r->k, "%s: %s has the NUMA node -1 in its topology", r->name, d->id);
    return true;
}

static void
list_apply(struct kube_client *c, const V1beta1__ListAndWatchResponse *m)
{
    struct kube_resource *r = c->r;
    struct kube_device *v = calloc(m->n_devices + 1, sizeof(*v));
    size_t n = 0;

    if (!v)
        return;
    for (size_t i = 0; i < m->n_devices; i++) {
        for (size_t j = 0; j < n; j++)
            if (strcmp(v[j].id, m->devices[i]->id) == 0)
                kube_violation(r->k, "%s: %s is listed twice", r->name, v[j].id);
        if (listed_device(r, m->devices[i], &v[n]))
            n++;
    }
    if (c->lists++ > 0 && same_list(r, v, n))
        kube_violation(r->k, "%s: a list was sent that equals the last one", r->name);
    free(r->devices);
    r->devices = v;
    r->n = n;
    r->lists++;
    r->stopped = false;
    history_add(r);
    kube_waits_check(r->k);
}

static void
on_list(void *ctx, const uint8_t *data, size_t len)
{
    struct kube_client *c = ctx;
    V1beta1__ListAndWatchResponse *m = (V1beta1__ListAndWatchResponse *)(void *)dp_unpack(
        &v1beta1__list_and_watch_response__descriptor, data, len, DP_PARSE_MAX);

    if (!m)
        kube_violation(c->r->k, "%s: a malformed list was sent", c->r->name);
    else
        list_apply(c, m);
    dp_unpack_free(m);
}

/* runClient: which instance is taken down is the point of the race. */
static void
on_stream_end(void *ctx, int status, const char *text, const uint8_t *data, size_t len)
{
    struct kube_client *c = ctx;
    struct kube_client *known = c->r->known;
    struct kube_resource *r = c->r;

    (void)status;
    (void)text;
    (void)data;
    (void)len;
    if (!r->k->opt.race) {
        if (known == c)
            disconnect(c);
        else
            client_close(c);
        return;
    }
    /* By name: a newer instance goes down in c's place; with no entry (a registration failed since)
     * nobody does, and the devices stay as ghosts. */
    if (known && known != c)
        disconnect(known);
    if (known == c)
        disconnect(c);
    else
        client_close(c);
}

/* ---- Register ---- */

static void
reg_answer(struct kube_client *c, enum gio_status status, const char *text)
{
    if (!c->reg_call)
        return;
    if (status == GIO_OK)
        gio_call_reply(c->reg_call, NULL, 0);
    else
        gio_call_fail(c->reg_call, status, text);
    c->reg_call = NULL;
}

static void
on_options(void *ctx, int status, const char *text, const uint8_t *data, size_t len)
{
    struct kube_client *c = ctx;
    struct kube_resource *r = c->r;
    const struct gio_req_options o = {.message = on_list, .done = on_stream_end, .ctx = c};
    V1beta1__DevicePluginOptions *m = NULL;
    struct err e = ERR_INIT;
    char why[512];

    if (status == GIO_OK)
        m = (V1beta1__DevicePluginOptions *)(void *)dp_unpack(
            &v1beta1__device_plugin_options__descriptor, data, len, DP_PARSE_MAX);
    if (!m) {
        (void)snprintf(why, sizeof(why), "failed to dial device plugin: %s: %.300s",
                       gio_status_name(status), text);
        reg_answer(c, GIO_UNKNOWN, why);
        client_close(c); /* takes the map entry with it, whoever was there before */
        return;
    }
    c->prefers = m->get_preferred_allocation_available;
    if (m->pre_start_required)
        kube_violation(r->k, "%s: pre_start_required does not work with Kata", r->name);
    dp_unpack_free(m);
    r->known = c;
    r->stopped = false;
    r->registrations++;
    endpoint_set(r, c);
    if (gio_request(c->channel, DP_RPC_LIST_AND_WATCH, NULL, 0, &o, NULL, &e) < 0)
        kube_violation(r->k, "%s: %s", r->name, e.msg);
    reg_answer(c, GIO_OK, "");
    kube_waits_check(r->k);
}

static void
on_register_closed(void *ctx, struct gio_call *call)
{
    struct kube_client *c = ctx;

    c->reg_call = NULL;
    gio_call_fail(call, GIO_CANCELLED, "the plugin gave up");
}

static const char *
register_fault(const V1beta1__RegisterRequest *m)
{
    if (strcmp(m->version, DP_API_VERSION) != 0)
        return "requested API version is not supported by kubelet. Supported version is v1beta1";
    if (!strchr(m->resource_name, '/') || strstr(m->resource_name, "kubernetes.io/") ||
        strncmp(m->resource_name, "requests.", 9) == 0 || strlen(m->resource_name) >= KUBE_NAME_MAX)
        return "the ResourceName is invalid";
    if (!m->endpoint[0] || strchr(m->endpoint, '/'))
        return "the endpoint is not a file name";
    return NULL;
}

static struct kube_client *
client_new(struct sim_kubelet *k, const V1beta1__RegisterRequest *m, struct gio_call *call)
{
    static const struct gio_call_events events = {.closed = on_register_closed};
    const struct gio_req_options o = {
        .timeout_ns = k->opt.dial_nsec, .wait_for_ready = true, .done = on_options};
    struct kube_resource *r = resource_get(k, m->resource_name);
    struct kube_client *c = r ? calloc(1, sizeof(*c)) : NULL;
    struct gio_req_options with = o;
    struct err e = ERR_INIT;
    int n;

    if (!c)
        return NULL;
    n = snprintf(c->endpoint, sizeof(c->endpoint), "%s/%s", k->plugins, m->endpoint);
    if (n < 0 || (size_t)n >= sizeof(c->endpoint) ||
        gio_channel_new(k->io, c->endpoint, GIO_MESSAGE_MAX, &c->channel, &e) < 0) {
        free(c);
        return NULL;
    }
    c->r = r;
    with.ctx = c;
    if (gio_request(c->channel, DP_RPC_OPTIONS, NULL, 0, &with, NULL, &e) < 0) {
        gio_channel_free(c->channel);
        free(c);
        return NULL;
    }
    c->reg_call = call;
    gio_call_watch(call, &events, c);
    c->next = k->clients;
    k->clients = c;
    /* Up to 1.36.2 the map entry is taken over before the dial, so a failure erases it. */
    if (k->opt.race)
        r->known = c;
    return c;
}

static void
on_register(void *ctx, struct gio_call *call, const uint8_t *req, size_t len)
{
    struct sim_kubelet *k = ctx;
    V1beta1__RegisterRequest *m = (V1beta1__RegisterRequest *)(void *)dp_unpack(
        &v1beta1__register_request__descriptor, req, len, DP_PARSE_MAX);
    const char *fault = m ? register_fault(m) : "malformed request";

    if (k->refuse > 0) {
        k->refuse--;
        fault = "refused on demand";
    }
    if (fault)
        gio_call_fail(call, GIO_UNKNOWN, fault);
    else if (!client_new(k, m, call))
        gio_call_fail(call, GIO_UNKNOWN, "failed to dial device plugin");
    dp_unpack_free(m);
}

const struct gio_method kube_registration_methods[1] = {{DP_RPC_REGISTER, on_register}};
