/* SPDX-License-Identifier: Apache-2.0
 *
 * ttRPC, the asking end. See nri/ttrpc.h.
 */
#include "nri/ttrpc.h"

#include "nri/pb.h"
#include "nri/ttrpc_wire.h"

#include "proto/status.pb-c.h"
#include "proto/ttrpc.pb-c.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

struct ttrpc_client {
    struct ttrpc_client_ops ops;
    void *ctx;
    struct ttrpc_reader reader;
    uint32_t next; /* 1, 3, 5, ... (client.go) */
    size_t n_active;
    uint32_t active[TTRPC_PENDING_MAX];
};

int
ttrpc_client_new(const struct ttrpc_client_ops *ops, void *ctx, struct ttrpc_client **ret,
                 struct err *e)
{
    struct ttrpc_client *c = calloc(1, sizeof(*c));

    if (!c)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "ttRPC client: out of memory");
    c->ops = *ops;
    c->ctx = ctx;
    c->next = 1;
    *ret = c;
    return 0;
}

void
ttrpc_client_free(struct ttrpc_client *c)
{
    free(c);
}

static bool
retire(struct ttrpc_client *c, uint32_t stream)
{
    for (size_t i = 0; i < c->n_active; i++)
        if (c->active[i] == stream) {
            c->active[i] = c->active[--c->n_active];
            return true;
        }
    return false;
}

void
ttrpc_client_forget(struct ttrpc_client *c, uint32_t stream)
{
    (void)retire(c, stream);
}

static void
tell_failure(struct ttrpc_client *c, uint32_t stream, enum ttrpc_code code, const char *text)
{
    const struct ttrpc_response r = {.stream = stream, .code = code, .text = text};

    c->ops.response(c->ctx, &r);
}

static void
take_response(struct ttrpc_client *c, const struct ttrpc_header *h, const uint8_t *data)
{
    struct err why = ERR_INIT;
    size_t budget = PB_MEMORY_MAX;
    ProtobufCMessage *m = NULL;

    if (h->type != TTRPC_RESPONSE || !retire(c, h->stream))
        return; /* late, or nothing that a unary client knows */
    if (pb_unpack(&ttrpc__response__descriptor, data, h->len, &budget, &m, &why) < 0) {
        tell_failure(c, h->stream, TTRPC_INTERNAL, why.msg);
        return;
    }
    const Ttrpc__Response *q = (const Ttrpc__Response *)(const void *)m;
    const bool ok = !q->status || q->status->code == 0;
    const struct ttrpc_response r = {
        .stream = h->stream,
        .code = ok ? TTRPC_OK : (enum ttrpc_code)q->status->code,
        .text = ok ? "" : q->status->message,
        .payload = q->payload.data,
        .len = q->payload.len,
    };

    c->ops.response(c->ctx, &r);
    pb_free(m);
}

int
ttrpc_client_take(struct ttrpc_client *c, struct buf *in, struct err *e)
{
    struct ttrpc_header h;
    enum ttrpc_got got;

    (void)e; /* nothing that can be received makes the connection useless */
    while ((got = ttrpc_next(&c->reader, in, &h)) != TTRPC_GOT_NOTHING) {
        if (got == TTRPC_GOT_TOO_LARGE) {
            if (h.type == TTRPC_RESPONSE && retire(c, h.stream))
                tell_failure(c, h.stream, TTRPC_RESOURCE_EXHAUSTED,
                             "the answer is larger than 4 MiB");
            continue;
        }
        take_response(c, &h, buf_peek(in));
        (void)buf_skip(in, h.len);
    }
    buf_compact(in);
    return 0;
}

int
ttrpc_client_call(struct ttrpc_client *c, const char *service, const char *method,
                  const void *payload, size_t len, uint64_t timeout_ns, uint32_t *ret_stream,
                  struct err *e)
{
    Ttrpc__Request m;
    const uint32_t stream = c->next;
    int r;

    ttrpc__request__init(&m);
    if (c->n_active == TTRPC_PENDING_MAX)
        return err_set(e, EBUSY, ERR_CLASS_BUSY, "call %s: %u calls wait for an answer", method,
                       TTRPC_PENDING_MAX);
    if (stream > UINT32_MAX - 2)
        return err_set(e, EOVERFLOW, ERR_CLASS_FATAL, "call %s: no stream IDs are left", method);
    m.service = pb_str(service);
    m.method = pb_str(method);
    m.payload = (ProtobufCBinaryData){.len = len, .data = (uint8_t *)(uintptr_t)payload};
    m.timeout_nano = timeout_ns > INT64_MAX ? INT64_MAX : (int64_t)timeout_ns;
    c->next += 2;
    c->active[c->n_active++] = stream;
    r = ttrpc_emit(c->ops.send, c->ctx, stream, TTRPC_REQUEST, &m.base, e);
    if (r < 0) {
        (void)retire(c, stream);
        return err_prefix(e, "call %s", method);
    }
    *ret_stream = stream;
    return 0;
}
