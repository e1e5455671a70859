/* SPDX-License-Identifier: Apache-2.0
 *
 * See nri/mux.h.
 */
#include "nri/mux.h"

#include <errno.h>

static bool
put_frame(struct buf *out, enum mux_stream stream, const uint8_t *p, size_t len)
{
    return buf_put_be32(out, (uint32_t)stream) && buf_put_be32(out, (uint32_t)len) &&
           buf_put(out, p, len);
}

int
mux_put(struct buf *out, enum mux_stream stream, const void *message, size_t len, struct err *e)
{
    const uint8_t *p = message;
    const size_t first = len < MUX_FIRST_FRAME ? len : MUX_FIRST_FRAME;
    const size_t rest = len - first;
    const size_t need = MUX_HEADER + len + (rest > 0 ? MUX_HEADER : 0);

    if (len == 0 || len > MUX_PAYLOAD_MAX)
        return err_set(e, EMSGSIZE, ERR_CLASS_INVALID, "send a message of %zu bytes: 1 to %u go",
                       len, MUX_PAYLOAD_MAX);
    /* Asked before, so that a full buffer keeps what it has and is not marked as failed. */
    if (buf_failed(out) || need > out->max - out->len)
        return err_set(e, ENOBUFS, ERR_CLASS_FATAL,
                       "send a message of %zu bytes: the output buffer is full", len);
    const size_t before = out->len;
    if (put_frame(out, stream, p, first) && (rest == 0 || put_frame(out, stream, p + first, rest)))
        return 0;
    out->len = before;
    out->failed = false;
    return err_set(e, ENOMEM, ERR_CLASS_FATAL, "send a message of %zu bytes: out of memory", len);
}

/* One frame; 1 when it was taken, 0 when it is not complete yet. */
static int
take_frame(struct buf *in, struct buf *plugin, struct buf *runtime, struct err *e)
{
    const size_t start = in->off;
    struct buf *to;
    uint32_t id, len;

    if (!buf_get_be32(in, &id) || !buf_get_be32(in, &len)) {
        in->off = start;
        return 0;
    }
    if (len > MUX_PAYLOAD_MAX)
        return err_set(e, EMSGSIZE, ERR_CLASS_INVALID,
                       "a frame of %u bytes on stream %u: at most %u are allowed", len, id,
                       MUX_PAYLOAD_MAX);
    if (buf_left(in) < len) {
        in->off = start;
        return 0;
    }
    to = id == MUX_PLUGIN ? plugin : id == MUX_RUNTIME ? runtime : NULL;
    if (to && !buf_put(to, buf_peek(in), len))
        return err_set(e, ENOBUFS, ERR_CLASS_INVALID, "stream %u holds more than %zu bytes", id,
                       to->max);
    (void)buf_skip(in, len);
    return 1;
}

int
mux_take(struct buf *in, struct buf *plugin, struct buf *runtime, struct err *e)
{
    int r;

    do
        r = take_frame(in, plugin, runtime, e);
    while (r > 0);
    buf_compact(in);
    return r;
}
