/* SPDX-License-Identifier: Apache-2.0
 *
 * The DevicePlugin service of one resource: who asks, gets checked and bounded requests answered.
 *
 * ListAndWatch: each stream has at most one message in flight; a list that changes meanwhile is
 * sent when that one is out, and only the newest. GetPreferredAllocation never fails: a kubelet
 * that gets an error there leaks the devices it had set aside. An Allocate answer always has one
 * container answer per container request, for the same reason.
 */
#include "deviceplugin/dp_priv.h"

#include "base/fs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ALLOCATE_ANSWER_MAX ((size_t)2 << 20)
/* Preferences asked for in one request; more containers than that get no advice. */
#define PREFER_CONTAINERS_MAX 64
#define PREFER_IDS_MAX 4096

static void
fail_err(struct gio_call *c, const struct err *e)
{
    enum gio_status status = GIO_INTERNAL;

    switch (e->cls) {
    case ERR_CLASS_INVALID:
        status = GIO_INVALID_ARGUMENT;
        break;
    case ERR_CLASS_BUSY:
        status = GIO_FAILED_PRECONDITION;
        break;
    case ERR_CLASS_RETRY:
        status = GIO_UNAVAILABLE;
        break;
    case ERR_CLASS_NONE:
    case ERR_CLASS_HW:
    case ERR_CLASS_FATAL:
        break;
    }
    gio_call_fail(c, status, e->msg);
}

/* ---- options, PreStartContainer ---- */

static void
on_options(void *ctx, struct gio_call *c, const uint8_t *req, size_t len)
{
    struct err e = ERR_INIT;
    struct buf out;

    (void)ctx;
    (void)req;
    (void)len;
    buf_init(&out, 64);
    if (dp_encode_options(&out, &e) < 0)
        fail_err(c, &e);
    else
        gio_call_reply(c, out.data, out.len);
    buf_fini(&out);
}

/* We do not ask for it; a kubelet that calls it all the same gets its empty answer. */
static void
on_pre_start(void *ctx, struct gio_call *c, const uint8_t *req, size_t len)
{
    (void)ctx;
    (void)req;
    (void)len;
    gio_call_reply(c, NULL, 0);
}

/* ---- ListAndWatch ---- */

static void
stream_flush(struct dp_stream *s)
{
    struct dp_resource *r = s->r;

    if (s->sending || s->generation == r->generation)
        return;
    if (s->generation != 0 && s->last.len == r->list.len &&
        (r->list.len == 0 || memcmp(s->last.data, r->list.data, r->list.len) == 0)) {
        s->generation = r->generation;
        return;
    }
    if (gio_call_send(s->call, r->list.data, r->list.len) < 0)
        return; /* `closed` is on its way */
    s->sending = true;
    s->generation = r->generation;
    buf_clear(&s->last);
    if (!buf_put(&s->last, r->list.data, r->list.len))
        buf_clear(&s->last); /* out of memory: at worst a list is sent twice */
}

static void
on_stream_sent(void *ctx, struct gio_call *c)
{
    struct dp_stream *s = ctx;

    (void)c;
    s->sending = false;
    stream_flush(s);
}

static void
on_stream_closed(void *ctx, struct gio_call *c)
{
    struct dp_stream *s = ctx;
    struct dp_resource *r = s->r;
    bool kubelet = s->kubelet;

    gio_call_end(c);
    buf_fini(&s->last);
    *s = (struct dp_stream){0};
    dp_register_stream_closed(r, kubelet);
}

static void
on_list_and_watch(void *ctx, struct gio_call *c, const uint8_t *req, size_t len)
{
    static const struct gio_call_events events = {.sent = on_stream_sent,
                                                  .closed = on_stream_closed};
    struct dp_resource *r = ctx;

    (void)req;
    (void)len;
    for (size_t i = 0; i < DP_STREAMS_MAX; i++) {
        struct dp_stream *s = &r->streams[i];

        if (s->r)
            continue;
        *s = (struct dp_stream){.r = r, .call = c};
        buf_init(&s->last, GIO_MESSAGE_MAX);
        gio_call_watch(c, &events, s);
        stream_flush(s);
        dp_register_stream_opened(r, s);
        return;
    }
    gio_call_fail(c, GIO_RESOURCE_EXHAUSTED, "too many ListAndWatch streams");
}

void
dp_server_flush(struct dp_resource *r)
{
    for (size_t i = 0; i < DP_STREAMS_MAX; i++)
        if (r->streams[i].r)
            stream_flush(&r->streams[i]);
}

/* ---- GetPreferredAllocation ---- */

static size_t
prefer_one(struct dp_resource *r, const V1beta1__ContainerPreferredAllocationRequest *q,
           const char **ret)
{
    const struct dp_handler *h = &r->d->h;
    size_t n;

    if (q->allocation_size <= 0 || q->allocation_size > DP_IDS_MAX ||
        q->n_available_deviceids > PREFER_IDS_MAX || q->n_must_include_deviceids > PREFER_IDS_MAX)
        return 0;
    for (size_t i = 0; i < q->n_available_deviceids; i++)
        if (!dp_id_valid(q->available_deviceids[i]))
            return 0;
    for (size_t i = 0; i < q->n_must_include_deviceids; i++)
        if (!dp_id_valid(q->must_include_deviceids[i]))
            return 0;
    n = h->prefer(h->ctx, r->name, (const char *const *)q->available_deviceids,
                  q->n_available_deviceids, (const char *const *)q->must_include_deviceids,
                  q->n_must_include_deviceids, (size_t)q->allocation_size, ret);
    return n > (size_t)q->allocation_size ? (size_t)q->allocation_size : n;
}

struct preference {
    V1beta1__ContainerPreferredAllocationResponse msg;
    const char **ids;
};

static void
answer_preferred(struct dp_resource *r, const V1beta1__PreferredAllocationRequest *q,
                 struct buf *out)
{
    V1beta1__PreferredAllocationResponse m = V1BETA1__PREFERRED_ALLOCATION_RESPONSE__INIT;
    V1beta1__ContainerPreferredAllocationResponse *list[PREFER_CONTAINERS_MAX];
    struct preference p[PREFER_CONTAINERS_MAX] = {0};
    struct err e = ERR_INIT;
    size_t n = q->n_container_requests;

    if (n > PREFER_CONTAINERS_MAX)
        return;
    for (size_t i = 0; i < n; i++) {
        v1beta1__container_preferred_allocation_response__init(&p[i].msg);
        p[i].ids = calloc(DP_IDS_MAX, sizeof(char *));
        if (p[i].ids)
            p[i].msg.n_deviceids = prefer_one(r, q->container_requests[i], p[i].ids);
        p[i].msg.deviceids = (char **)(uintptr_t)p[i].ids;
        list[i] = &p[i].msg;
    }
    m.n_container_responses = n;
    m.container_responses = list;
    if (dp_pack(&m.base, out, &e) < 0)
        buf_clear(out);
    for (size_t i = 0; i < n; i++)
        free(p[i].ids);
}

static void
on_preferred(void *ctx, struct gio_call *c, const uint8_t *req, size_t len)
{
    V1beta1__PreferredAllocationRequest *q =
        (V1beta1__PreferredAllocationRequest *)(void *)dp_unpack(
            &v1beta1__preferred_allocation_request__descriptor, req, len, DP_PARSE_MAX);
    struct buf out;

    buf_init(&out, GIO_MESSAGE_MAX);
    if (q)
        answer_preferred(ctx, q, &out);
    gio_call_reply(c, out.data, out.len);
    buf_fini(&out);
    dp_unpack_free(q);
}

/* ---- Allocate ---- */

static void
call_free(struct dp_call *a)
{
    if (a->prev)
        a->prev->next = a->next;
    else
        a->r->calls = a->next;
    if (a->next)
        a->next->prev = a->prev;
    a->r->n_calls--;
    dp_allocate_request_fini(&a->req);
    free(a);
}

static void
on_allocate_closed(void *ctx, struct gio_call *c)
{
    struct dp_call *a = ctx;
    const struct dp_handler *h = &a->r->d->h;

    (void)c;
    a->cancelled = true;
    if (h->cancelled)
        h->cancelled(h->ctx, a);
}

static void
on_allocate(void *ctx, struct gio_call *c, const uint8_t *req, size_t len)
{
    static const struct gio_call_events events = {.closed = on_allocate_closed};
    struct dp_resource *r = ctx;
    struct err e = ERR_INIT;
    struct dp_call *a;

    if (r->n_calls >= DP_CALLS_MAX) {
        gio_call_fail(c, GIO_RESOURCE_EXHAUSTED, "too many Allocate calls are waiting");
        return;
    }
    a = calloc(1, sizeof(*a));
    if (!a) {
        gio_call_fail(c, GIO_INTERNAL, "out of memory");
        return;
    }
    if (dp_decode_allocate(req, len, &a->req, &e) < 0) {
        fail_err(c, &e);
        free(a);
        return;
    }
    a->r = r;
    a->call = c;
    a->next = r->calls;
    if (r->calls)
        r->calls->prev = a;
    r->calls = a;
    r->n_calls++;
    gio_call_watch(c, &events, a);
    r->d->h.allocate(r->d->h.ctx, a, r->name, a->req.req, a->req.n);
}

void
dp_reply(struct dp_call *call, const struct dp_container_response *resp, size_t n_resp)
{
    struct err e = ERR_INIT;
    struct buf out;

    buf_init(&out, ALLOCATE_ANSWER_MAX);
    if (n_resp != call->req.n)
        (void)err_set(&e, EINVAL, ERR_CLASS_FATAL,
                      "answer Allocate: %zu container answers to %zu requests", n_resp,
                      call->req.n);
    else
        (void)dp_encode_allocate(resp, n_resp, &out, &e);
    if (e.num)
        fail_err(call->call, &e);
    else
        gio_call_reply(call->call, out.data, out.len);
    buf_fini(&out);
    call_free(call);
}

void
dp_fail(struct dp_call *call, const struct err *e)
{
    fail_err(call->call, e);
    call_free(call);
}

/* ---- life ---- */

static const struct gio_method methods[] = {
    {DP_RPC_OPTIONS, on_options},     {DP_RPC_LIST_AND_WATCH, on_list_and_watch},
    {DP_RPC_PREFERRED, on_preferred}, {DP_RPC_ALLOCATE, on_allocate},
    {DP_RPC_PRE_START, on_pre_start},
};

int
dp_server_start(struct dp_resource *r, struct err *e)
{
    struct dp *d = r->d;
    int n = snprintf(r->socket, sizeof(r->socket), "%s/%s-%ld-%u.sock", d->dir, d->prefix,
                     (long)getpid(), d->sequence++);

    if (n < 0 || (size_t)n >= sizeof(r->socket))
        return err_set(e, ENAMETOOLONG, ERR_CLASS_INVALID, "serve %s: the path of %s is too long",
                       r->name, d->dir);
    if (gio_server_new(d->io, r->socket, methods, sizeof(methods) / sizeof(methods[0]), r,
                       &r->server, e) < 0)
        return err_prefix(e, "serve %s", r->name);
    r->socket_id = dp_file_id(r->socket);
    return 0;
}

void
dp_server_stop(struct dp_resource *r, void (*done)(void *ctx))
{
    struct gio_server *s = r->server;

    r->server = NULL;
    for (size_t i = 0; i < DP_STREAMS_MAX; i++)
        if (r->streams[i].r) {
            gio_call_end(r->streams[i].call);
            buf_fini(&r->streams[i].last);
            r->streams[i] = (struct dp_stream){0};
        }
    gio_server_stop(s, done, r);
}

void
dp_server_fail_calls(struct dp_resource *r)
{
    struct err e = ERR_INIT;

    (void)err_set(&e, ESHUTDOWN, ERR_CLASS_RETRY, "the device plugin is stopping");
    while (r->calls)
        dp_fail(r->calls, &e);
}
