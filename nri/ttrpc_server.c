/* SPDX-License-Identifier: Apache-2.0
 *
 * ttRPC, the answering end. See nri/ttrpc.h; the refusals are those of containerd/ttrpc server.go.
 */
#include "nri/ttrpc.h"

#include "nri/pb.h"
#include "nri/ttrpc_wire.h"
#include "nri/utf8.h"

#include "proto/status.pb-c.h"
#include "proto/ttrpc.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 1024u

struct ttrpc_server {
    struct ttrpc_server_ops ops;
    void *ctx;
    struct ttrpc_reader reader;
    uint32_t last; /* highest stream seen */
    size_t n_pending;
    uint32_t pending[TTRPC_PENDING_MAX];
};

int
ttrpc_server_new(const struct ttrpc_server_ops *ops, void *ctx, struct ttrpc_server **ret,
                 struct err *e)
{
    struct ttrpc_server *s = calloc(1, sizeof(*s));

    if (!s)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "ttRPC server: out of memory");
    s->ops = *ops;
    s->ctx = ctx;
    *ret = s;
    return 0;
}

void
ttrpc_server_free(struct ttrpc_server *s)
{
    free(s);
}

/* Index in the pending list, n_pending where it is not. */
static size_t
find(const struct ttrpc_server *s, uint32_t stream)
{
    size_t i = 0;

    while (i < s->n_pending && s->pending[i] != stream)
        i++;
    return i;
}

static int
send_status(struct ttrpc_server *s, uint32_t stream, enum ttrpc_code code, const char *text,
            struct err *e)
{
    Ttrpc__Response m = TTRPC__RESPONSE__INIT;
    Google__Rpc__Status st;
    char line[TEXT_MAX];

    google__rpc__status__init(&st);
    utf8_line(line, sizeof(line), text);
    st.code = (int32_t)code;
    st.message = line;
    m.status = &st;
    return ttrpc_emit(s->ops.send, s->ctx, stream, TTRPC_RESPONSE, &m.base, e);
}

/* ---- requests ---- */

static int
take_request(struct ttrpc_server *s, const struct ttrpc_header *h, const uint8_t *data,
             struct err *e)
{
    struct err why = ERR_INIT;
    size_t budget = PB_MEMORY_MAX;
    ProtobufCMessage *m = NULL;

    if (h->stream % 2 == 0)
        return send_status(s, h->stream, TTRPC_INVALID_ARGUMENT, "stream IDs of a client are odd",
                           e);
    if (h->stream <= s->last)
        return send_status(s, h->stream, TTRPC_INVALID_ARGUMENT,
                           "stream IDs must increase and are used once", e);
    s->last = h->stream;
    if (h->flags & TTRPC_REMOTE_OPEN)
        return send_status(s, h->stream, TTRPC_INVALID_ARGUMENT,
                           "requests that go on as a stream are not served", e);
    if (s->n_pending == TTRPC_PENDING_MAX)
        return send_status(s, h->stream, TTRPC_RESOURCE_EXHAUSTED,
                           "too many requests wait for an answer", e);
    if (pb_unpack(&ttrpc__request__descriptor, data, h->len, &budget, &m, &why) < 0)
        return send_status(s, h->stream, TTRPC_INVALID_ARGUMENT, why.msg, e);

    const Ttrpc__Request *q = (const Ttrpc__Request *)(const void *)m;
    const struct ttrpc_request req = {
        .stream = h->stream,
        .service = q->service,
        .method = q->method,
        .payload = q->payload.data,
        .len = q->payload.len,
        .timeout_ns = q->timeout_nano > 0 ? (uint64_t)q->timeout_nano : 0,
    };

    s->pending[s->n_pending++] = h->stream;
    s->ops.request(s->ctx, &req);
    pb_free(m);
    return 0;
}

static int
take_message(struct ttrpc_server *s, const struct ttrpc_header *h, const uint8_t *data,
             struct err *e)
{
    switch (h->type) {
    case TTRPC_REQUEST:
        return take_request(s, h, data, e);
    case TTRPC_DATA:
        /* Of a request that still waits: it was unary, there is nothing to add. Answering would
         * take its answer's place. */
        if (find(s, h->stream) < s->n_pending)
            return 0;
        return send_status(s, h->stream, TTRPC_INVALID_ARGUMENT,
                           "data for a stream that is not open", e);
    default:
        return 0;
    }
}

static int
refuse_large(struct ttrpc_server *s, const struct ttrpc_header *h, struct err *e)
{
    if (h->type != TTRPC_REQUEST && h->type != TTRPC_DATA)
        return 0;
    if (find(s, h->stream) < s->n_pending)
        return 0;
    return send_status(s, h->stream, TTRPC_RESOURCE_EXHAUSTED, "message is larger than 4 MiB", e);
}

int
ttrpc_server_take(struct ttrpc_server *s, struct buf *in, struct err *e)
{
    int r = 0;

    while (r == 0) {
        struct ttrpc_header h;
        enum ttrpc_got got = ttrpc_next(&s->reader, in, &h);

        if (got == TTRPC_GOT_NOTHING)
            break;
        if (got == TTRPC_GOT_TOO_LARGE) {
            r = refuse_large(s, &h, e);
            continue;
        }
        r = take_message(s, &h, buf_peek(in), e);
        (void)buf_skip(in, h.len);
    }
    buf_compact(in);
    return r;
}

/* ---- answers ---- */

static int
close_stream(struct ttrpc_server *s, uint32_t stream, struct err *e)
{
    const size_t i = find(s, stream);

    if (i == s->n_pending)
        return err_set(e, EINVAL, ERR_CLASS_FATAL, "answer on stream %u: no request waits there",
                       stream);
    s->pending[i] = s->pending[--s->n_pending];
    return 0;
}

int
ttrpc_server_reply(struct ttrpc_server *s, uint32_t stream, const void *payload, size_t len,
                   struct err *e)
{
    Ttrpc__Response m = TTRPC__RESPONSE__INIT;
    int r = close_stream(s, stream, e);

    if (r < 0)
        return r;
    m.payload = (ProtobufCBinaryData){.len = len, .data = (uint8_t *)(uintptr_t)payload};
    if (len > TTRPC_DATA_MAX || protobuf_c_message_get_packed_size(&m.base) > TTRPC_DATA_MAX)
        return send_status(s, stream, TTRPC_RESOURCE_EXHAUSTED, "the answer is larger than 4 MiB",
                           e);
    return ttrpc_emit(s->ops.send, s->ctx, stream, TTRPC_RESPONSE, &m.base, e);
}

int
ttrpc_server_fail(struct ttrpc_server *s, uint32_t stream, enum ttrpc_code code, const char *text,
                  struct err *e)
{
    int r = close_stream(s, stream, e);

    if (r < 0)
        return r;
    return send_status(s, stream, code, text, e);
}
