/* SPDX-License-Identifier: Apache-2.0
 *
 * See sim/runtime_wire.h.
 */
#include "sim/runtime_wire.h"

#include "base/cleanup.h"
#include "sim/spb.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRAME_HEADER 8u
#define FRAME_MAX (10u + RT_MESSAGE_MAX)
#define MESSAGE_HEADER 10u
#define GO_READ 4096u /* bufio's default, which ttRPC reads and writes through */
#define GO_QUEUE 256u /* pkg/net/multiplex: defaultBlockedFrames, the read queue's length */
#define OUT_MAX ((size_t)64 << 20)
#define TEXT_MAX 4096u

enum { STREAM_PLUGIN = 1, STREAM_RUNTIME = 2 };
enum { TYPE_REQUEST = 1, TYPE_RESPONSE = 2 };

const char *
rt_code_name(int code)
{
    static const char *const names[] = {
        "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
        "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
        "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
        "DataLoss", "Unauthenticated"};

    return code >= 0 && (size_t)code < ARRAY_SIZE(names) ? names[code] : "Code";
}

/* ---- ends ---- */

void
rt_wire_close(struct rt_wire *w)
{
    w->source = sd_event_source_disable_unref(w->source);
    fd_close(&w->fd);
}

void
rt_wire_fini(struct rt_wire *w)
{
    rt_wire_close(w);
    buf_fini(&w->in);
    buf_fini(&w->out);
    for (size_t i = 0; i < ARRAY_SIZE(w->stream); i++)
        buf_fini(&w->stream[i].in);
    w->loop = sd_event_unref(w->loop);
}

static void
end(struct rt_wire *w, const char *why)
{
    if (w->fd < 0)
        return;
    rt_wire_close(w);
    w->ops->ended(w->ctx, why);
}

/* ---- out ---- */

static void
interest(struct rt_wire *w)
{
    uint32_t events = buf_left(&w->out) > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN;

    if (!w->source)
        return;
    (void)sd_event_source_set_io_events(w->source, events);
    (void)sd_event_source_set_enabled(w->source, w->paused ? SD_EVENT_OFF : SD_EVENT_ON);
}

/* A broken connection is noticed by the reader, later: senders need not care. */
static void
flush(struct rt_wire *w)
{
    while (w->fd >= 0 && buf_left(&w->out) > 0) {
        ssize_t n = send(w->fd, buf_peek(&w->out), buf_left(&w->out), MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            buf_clear(&w->out);
        if (n <= 0)
            break;
        (void)buf_skip(&w->out, (size_t)n);
    }
    buf_compact(&w->out);
    interest(w);
}

static void
put_frame(struct rt_wire *w, uint32_t stream, const uint8_t *data, size_t len)
{
    (void)buf_put_be32(&w->out, stream);
    (void)buf_put_be32(&w->out, (uint32_t)len);
    (void)buf_put(&w->out, data, len);
}

static void
send_message(struct rt_wire *w, uint32_t stream, uint32_t id, uint8_t type, const struct buf *data)
{
    struct buf m;
    size_t first;

    buf_init(&m, FRAME_MAX);
    (void)buf_put_be32(&m, (uint32_t)data->len);
    (void)buf_put_be32(&m, id);
    (void)buf_put_u8(&m, type);
    (void)buf_put_u8(&m, 0);
    if (data->len > 0)
        (void)buf_put(&m, data->data, data->len);
    if (!buf_failed(&m)) {
        first = m.len < GO_READ ? m.len : GO_READ;
        put_frame(w, stream, m.data, first);
        if (m.len > first)
            put_frame(w, stream, m.data + first, m.len - first);
    }
    buf_fini(&m);
    flush(w);
}

int
rt_wire_call(struct rt_wire *w, const char *service, const char *method, const struct buf *payload,
             uint64_t timeout_ns, uint32_t *ret_stream, struct err *e)
{
    struct buf q;
    int r = 0;

    /* The length of the whole Request counts; a little is left for its other fields. */
    buf_init(&q, (size_t)RT_MESSAGE_MAX * 2);
    spb_put_string(&q, 1, service);
    spb_put_string(&q, 2, method);
    if (payload->len > 0)
        spb_put_bytes(&q, 3, payload->data, payload->len);
    spb_put_varint(&q, 4, timeout_ns);
    if (buf_failed(&q) || buf_failed(payload) || q.len > RT_MESSAGE_MAX) {
        r = err_set(e, EMSGSIZE, ERR_CLASS_INVALID, "ttrpc: message length exceeds maximum");
    } else {
        *ret_stream = w->next_call;
        send_message(w, STREAM_PLUGIN, w->next_call, TYPE_REQUEST, &q);
        w->next_call += 2;
    }
    buf_fini(&q);
    return r;
}

void
rt_wire_reply(struct rt_wire *w, uint32_t stream, int code, const char *text,
              const struct buf *payload)
{
    struct buf a, status;

    buf_init(&a, RT_MESSAGE_MAX);
    if (code != RT_OK) {
        buf_init(&status, TEXT_MAX * 2);
        spb_put_varint(&status, 1, (uint64_t)code);
        spb_put_string(&status, 2, text);
        spb_put_message(&a, 1, &status);
    } else if (payload && payload->len > 0) {
        spb_put_bytes(&a, 2, payload->data, payload->len);
    }
    send_message(w, STREAM_RUNTIME, stream, TYPE_RESPONSE, &a);
    buf_fini(&a);
}

/* ---- in: messages ---- */

struct status {
    int code;
    char text[TEXT_MAX];
};

static bool
parse_status(const struct spb_field *f, struct status *st)
{
    struct spb m = spb_sub(f);
    struct spb_field x;
    bool ok = true;

    while (ok && spb_next(&m, &x)) {
        if (x.number == 1)
            st->code = (int)(int32_t)x.varint;
        if (x.number == 2) {
            _cleanup_free_ char *s = spb_text(&x);

            ok = s != NULL;
            (void)snprintf(st->text, sizeof(st->text), "%s", s ? s : "");
        }
    }
    return ok && !m.bad;
}

static void
take_response(struct rt_wire *w, uint32_t id, const uint8_t *data, size_t len)
{
    struct spb m = spb_open(data, len);
    struct spb_field f, payload = {0};
    struct status *st = calloc(1, sizeof(*st));
    bool ok = st != NULL;

    while (ok && spb_next(&m, &f)) {
        if (f.number == 1)
            ok = parse_status(&f, st);
        if (f.number == 2)
            payload = f;
    }
    if (!ok || m.bad)
        w->ops->response(w->ctx, id, RT_INTERNAL, "proto: cannot parse invalid wire-format data",
                         NULL, 0);
    else
        w->ops->response(w->ctx, id, st->code, st->text, payload.data, payload.len);
    free(st);
}

/* containerd/ttrpc server.go: what it refuses before any service sees it. */
static void
take_request(struct rt_wire *w, uint32_t id, const uint8_t *data, size_t len)
{
    _cleanup_free_ char *service = NULL;
    _cleanup_free_ char *method = NULL;
    struct spb m = spb_open(data, len);
    struct spb_field f, payload = {0};

    if (id % 2 == 0 || id <= w->last_request) {
        rt_wire_reply(w, id, RT_INVALID_ARGUMENT,
                      id % 2 == 0 ? "StreamID must be odd for client initiated streams"
                                  : "StreamID cannot be re-used and must increment",
                      NULL);
        return;
    }
    w->last_request = id;
    while (spb_next(&m, &f)) {
        char **text = f.number == 1 ? &service : f.number == 2 ? &method : NULL;

        if (text) {
            free(*text);
            *text = spb_text(&f);
            m.bad |= !*text;
        }
        if (f.number == 3)
            payload = f;
    }
    if (m.bad)
        rt_wire_reply(w, id, RT_INVALID_ARGUMENT, "unmarshal request error", NULL);
    else
        w->ops->request(w->ctx, id, service ? service : "", method ? method : "", payload.data,
                        payload.len);
}

static uint32_t
be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Whole messages of one stream; false when the connection is over. */
static bool
take_messages(struct rt_wire *w, unsigned stream)
{
    struct rt_reader *r = &w->stream[stream - 1];

    while (w->fd >= 0 && buf_left(&r->in) >= MESSAGE_HEADER) {
        const uint8_t *p = buf_peek(&r->in);
        uint32_t len = be32(p), id = be32(p + 4);

        if (len > RT_MESSAGE_MAX) {
            /* Go skips it and answers RESOURCE_EXHAUSTED; no well-behaved peer sends it. */
            end(w, "ttrpc: message length exceeds maximum");
            break;
        }
        if (buf_left(&r->in) < MESSAGE_HEADER + len)
            break;
        r->frames = 0;
        if (stream == STREAM_PLUGIN && p[8] == TYPE_RESPONSE)
            take_response(w, id, p + MESSAGE_HEADER, len);
        else if (stream == STREAM_RUNTIME && p[8] == TYPE_REQUEST)
            take_request(w, id, p + MESSAGE_HEADER, len);
        if (w->fd >= 0)
            (void)buf_skip(&r->in, MESSAGE_HEADER + len);
    }
    if (w->fd >= 0)
        buf_compact(&r->in);
    return w->fd >= 0;
}

/* ---- in: frames ---- */

/* How much one Read of the consumer takes now. */
static size_t
reads(const struct rt_reader *r)
{
    size_t have = buf_left(&r->in), missing;

    if (have < MESSAGE_HEADER)
        return GO_READ;
    missing = MESSAGE_HEADER + be32(buf_peek(&r->in)) - have;
    return missing > GO_READ ? missing : GO_READ;
}

static bool
take_frame(struct rt_wire *w, uint32_t stream, const uint8_t *data, size_t len)
{
    struct rt_reader *r;

    if (stream != STREAM_PLUGIN && stream != STREAM_RUNTIME)
        return true; /* read and dropped, as Go does */
    r = &w->stream[stream - 1];
    if (len > reads(r)) {
        end(w, "frame larger than the reader's buffer (ENOMEM)");
        return false;
    }
    if (++r->frames > GO_QUEUE) {
        end(w, "failed to queue payload for reading");
        return false;
    }
    if (!buf_put(&r->in, data, len)) {
        end(w, "out of memory");
        return false;
    }
    return take_messages(w, stream);
}

static bool
take_frames(struct rt_wire *w)
{
    while (buf_left(&w->in) >= FRAME_HEADER) {
        const uint8_t *p = buf_peek(&w->in);
        uint32_t len = be32(p + 4);

        if (len > FRAME_MAX) {
            end(w, "frame larger than any message");
            return false;
        }
        if (buf_left(&w->in) < FRAME_HEADER + len || w->paused)
            break;
        if (!take_frame(w, be32(p), p + FRAME_HEADER, len))
            return false;
        (void)buf_skip(&w->in, FRAME_HEADER + len);
    }
    buf_compact(&w->in);
    return true;
}

static int
on_io(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
    struct rt_wire *w = userdata;
    uint8_t chunk[65536];
    ssize_t n;

    (void)s;
    if (revents & EPOLLOUT)
        flush(w);
    n = recv(fd, chunk, sizeof(chunk), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0)
        end(w, n == 0 ? "ttrpc: closed" : strerror(errno));
    else if (!buf_put(&w->in, chunk, (size_t)n))
        end(w, "more unread bytes than a message can have");
    else
        (void)take_frames(w);
    return 0;
}

void
rt_wire_pause(struct rt_wire *w, bool on)
{
    w->paused = on;
    if (w->fd < 0)
        return;
    interest(w);
    if (!on)
        (void)take_frames(w);
}

int
rt_wire_open(struct rt_wire *w, sd_event *loop, int fd, const struct rt_wire_ops *ops, void *ctx,
             struct err *e)
{
    int r;

    *w = (struct rt_wire){
        .loop = sd_event_ref(loop), .fd = fd, .ops = ops, .ctx = ctx, .next_call = 1};
    buf_init(&w->in, FRAME_HEADER + FRAME_MAX + 65536);
    buf_init(&w->out, OUT_MAX);
    for (size_t i = 0; i < ARRAY_SIZE(w->stream); i++)
        buf_init(&w->stream[i].in, (size_t)2 * FRAME_MAX);
    r = fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
    if (r >= 0)
        r = sd_event_add_io(loop, &w->source, fd, EPOLLIN, on_io, w);
    if (r < 0) {
        rt_wire_fini(w);
        return err_errno(e, -r, ERR_CLASS_FATAL, "connection to a plugin");
    }
    return 0;
}
