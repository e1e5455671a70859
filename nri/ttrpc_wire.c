/* SPDX-License-Identifier: Apache-2.0
 *
 * See nri/ttrpc_wire.h.
 */
#include "nri/ttrpc_wire.h"

#include "nri/pb.h"

static void
discard(struct ttrpc_reader *r, struct buf *in)
{
    size_t n = buf_left(in) < r->skip ? buf_left(in) : r->skip;

    (void)buf_skip(in, n);
    r->skip -= (uint32_t)n;
}

enum ttrpc_got
ttrpc_next(struct ttrpc_reader *r, struct buf *in, struct ttrpc_header *h)
{
    discard(r, in);
    const size_t start = in->off;

    if (r->skip > 0 || buf_left(in) < TTRPC_HEADER)
        return TTRPC_GOT_NOTHING;
    (void)buf_get_be32(in, &h->len);
    (void)buf_get_be32(in, &h->stream);
    (void)buf_get_u8(in, &h->type);
    (void)buf_get_u8(in, &h->flags);
    if (h->len > TTRPC_DATA_MAX) {
        r->skip = h->len;
        discard(r, in);
        return TTRPC_GOT_TOO_LARGE;
    }
    if (buf_left(in) >= h->len)
        return TTRPC_GOT_MESSAGE;
    in->off = start;
    return TTRPC_GOT_NOTHING;
}

int
ttrpc_emit(int (*send)(void *ctx, const void *message, size_t len, struct err *e), void *ctx,
           uint32_t stream, enum ttrpc_type type, const ProtobufCMessage *m, struct err *e)
{
    struct buf b;
    int r;

    buf_init(&b, TTRPC_HEADER + TTRPC_DATA_MAX);
    const size_t len = protobuf_c_message_get_packed_size(m);
    /* A length that does not fit is refused by pack, below. */
    (void)buf_put_be32(&b, (uint32_t)len);
    (void)buf_put_be32(&b, stream);
    (void)buf_put_u8(&b, (uint8_t)type);
    (void)buf_put_u8(&b, 0);
    r = pb_pack(m, &b, e);
    if (r == 0)
        r = send(ctx, buf_peek(&b), b.len, e);
    buf_fini(&b);
    return r;
}
