/* SPDX-License-Identifier: Apache-2.0
 *
 * One connection: socket, multiplexer, the two ttRPC ends on it. See nri/session.h.
 */
#include "nri/session.h"

#include "base/cleanup.h"
#include "nri/mux.h"
#include "nri/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE 65536u
#define READS_MAX                                                                                  \
    32 /* for each time that the socket is readable, so that others get their turn                 \
        */
/* Memory that an empty buffer keeps. */
#define KEEP_MAX (256u * 1024)

void
peer_fail(struct nri_peer *p, const char *fmt, ...)
{
    char text[ERR_MSG_MAX];
    va_list ap;

    if (p->dying || p->fd < 0)
        return;
    p->dying = true;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    utf8_line(p->why, sizeof(p->why), text);
    (void)sd_event_source_set_enabled(p->end, SD_EVENT_ONESHOT);
}

static void
trim(struct buf *b)
{
    if (buf_left(b) == 0 && b->cap > KEEP_MAX)
        buf_fini(b);
}

/* ---- out ---- */

static int
on_stall(sd_event_source *s, uint64_t usec, void *ctx)
{
    (void)s;
    (void)usec;
    peer_fail(ctx, "the runtime reads nothing");
    return 0;
}

/* Waits for room on the socket, or stops doing so. Progress restarts the clock. */
static void
want_room(struct nri_peer *p, bool want)
{
    (void)sd_event_source_set_io_events(p->io, EPOLLIN | (want ? (uint32_t)EPOLLOUT : 0));
    if (!want)
        p->stall = sd_event_source_disable_unref(p->stall);
    else if (nri_timer(p->nri, &p->stall, NRI_STALL_USEC, on_stall, p) < 0)
        peer_fail(p, "out of memory");
}

static void
flush(struct nri_peer *p)
{
    const bool waited = p->stall != NULL;
    bool moved = false;

    while (buf_left(&p->out) > 0) {
        ssize_t n = send(p->fd, buf_peek(&p->out), buf_left(&p->out), MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (n < 0) {
            peer_fail(p, "write: %s", strerror(errno));
            return;
        }
        (void)buf_skip(&p->out, (size_t)n);
        moved = true;
    }
    buf_compact(&p->out);
    if (buf_left(&p->out) == 0) {
        trim(&p->out);
        if (waited)
            want_room(p, false);
    } else if (!waited || moved) {
        want_room(p, true);
    }
}

static int
send_on(struct nri_peer *p, enum mux_stream stream, const void *message, size_t len, struct err *e)
{
    int r;

    if (p->dying || p->fd < 0)
        return err_set(e, EPIPE, ERR_CLASS_RETRY, "the connection is gone");
    r = mux_put(&p->out, stream, message, len, e);
    if (r < 0)
        return r;
    flush(p);
    return 0;
}

static int
send_as_plugin(void *ctx, const void *message, size_t len, struct err *e)
{
    return send_on(ctx, MUX_PLUGIN, message, len, e);
}

static int
send_to_runtime(void *ctx, const void *message, size_t len, struct err *e)
{
    return send_on(ctx, MUX_RUNTIME, message, len, e);
}

/* ---- in ---- */

static void
on_request(void *ctx, const struct ttrpc_request *q)
{
    call_dispatch(ctx, q);
}

static void
on_response(void *ctx, const struct ttrpc_response *r)
{
    hello_response(ctx, r);
}

static void
process(struct nri_peer *p)
{
    struct err e = ERR_INIT;

    if (mux_take(&p->in, &p->plugin, &p->runtime, &e) < 0 ||
        ttrpc_client_take(p->client, &p->runtime, &e) < 0 ||
        ttrpc_server_take(p->server, &p->plugin, &e) < 0)
        peer_fail(p, "%s", e.msg);
}

static void
receive(struct nri_peer *p)
{
    uint8_t chunk[READ_SIZE];

    for (int i = 0; i < READS_MAX && !p->dying; i++) {
        ssize_t n = recv(p->fd, chunk, sizeof(chunk), MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (n < 0)
            peer_fail(p, "read: %s", strerror(errno));
        else if (n == 0)
            peer_fail(p, "the runtime closed the connection");
        else if (!buf_put(&p->in, chunk, (size_t)n))
            peer_fail(p, "out of memory");
        else
            process(p);
        if (n >= 0 && (size_t)n < sizeof(chunk) && n != 0)
            break; /* most likely all there was */
    }
    trim(&p->in);
    trim(&p->plugin);
    trim(&p->runtime);
}

static int
on_io(sd_event_source *s, int fd, uint32_t revents, void *ctx)
{
    struct nri_peer *p = ctx;

    (void)s;
    (void)fd;
    if (!p->dying && (revents & EPOLLOUT))
        flush(p);
    if (!p->dying && (revents & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        receive(p);
    return 0;
}

/* ---- begin and end ---- */

static int
on_end(sd_event_source *s, void *ctx)
{
    struct nri_peer *p = ctx;

    (void)s;
    if (!p->dying)
        return 0;
    /* Hanging up right after having been asked for VALIDATE is how a runtime before NRI 0.10 says
     * no. Any session that came about without it clears the doubt when it ends. A runtime that
     * tells its NRI version (0.12) knows the event, and hung up for another reason. */
    p->minimal = p->configured && !p->rt.up && p->rt.validates && !p->rt.nri_version[0];
    peer_close(p);
    peer_down(p, p->why, true);
    return 0;
}

static int
on_handshake_timeout(sd_event_source *s, uint64_t usec, void *ctx)
{
    struct nri_peer *p = ctx;

    (void)s;
    (void)usec;
    peer_fail(p, "the runtime sent no %s", p->configured ? "Synchronize" : "Configure");
    return 0;
}

void
peer_close(struct nri_peer *p)
{
    p->dying = true; /* nothing more is sent */
    call_cancel_all(p);
    hello_sync_free(p);
    p->io = sd_event_source_disable_unref(p->io);
    p->end = sd_event_source_disable_unref(p->end);
    p->stall = sd_event_source_disable_unref(p->stall);
    p->timer = sd_event_source_disable_unref(p->timer);
    fd_close(&p->fd);
    ttrpc_server_free(p->server);
    ttrpc_client_free(p->client);
    p->server = NULL;
    p->client = NULL;
    buf_fini(&p->in);
    buf_fini(&p->plugin);
    buf_fini(&p->runtime);
    buf_fini(&p->out);
    p->dying = false;
}

static void
forget_runtime(struct nri_runtime *rt)
{
    rt->name[0] = '\0';
    rt->version[0] = '\0';
    rt->nri_version[0] = '\0';
    rt->cdi = false;
    rt->validates = false;
    rt->validation_refused = false;
    rt->state_change = false;
    rt->config_ignored = false;
}

static int
make_ends(struct nri_peer *p, struct err *e)
{
    static const struct ttrpc_server_ops server = {on_request, send_as_plugin};
    static const struct ttrpc_client_ops client = {on_response, send_to_runtime};
    const size_t frame = MUX_HEADER + MUX_PAYLOAD_MAX;
    int r;

    buf_init(&p->in, frame + READ_SIZE);
    /* Less than a message, and all that one read can complete. */
    buf_init(&p->plugin, MUX_PAYLOAD_MAX + frame + READ_SIZE);
    buf_init(&p->runtime, MUX_PAYLOAD_MAX + frame + READ_SIZE);
    buf_init(&p->out, 2 * (frame + MUX_HEADER));
    r = ttrpc_server_new(&server, p, &p->server, e);
    if (r == 0)
        r = ttrpc_client_new(&client, p, &p->client, e);
    if (r < 0)
        return r;
    r = sd_event_add_io(p->nri->loop, &p->io, p->fd, EPOLLIN, on_io, p);
    if (r >= 0)
        r = sd_event_add_defer(p->nri->loop, &p->end, on_end, p);
    if (r >= 0)
        r = sd_event_source_set_enabled(p->end, SD_EVENT_OFF);
    if (r >= 0)
        r = nri_timer(p->nri, &p->timer, NRI_HANDSHAKE_USEC, on_handshake_timeout, p);
    return r < 0 ? err_errno(e, -r, ERR_CLASS_FATAL, "watch the connection") : 0;
}

int
peer_start(struct nri_peer *p, int fd, struct err *e)
{
    int r;

    p->fd = fd;
    p->dying = false;
    p->configured = false;
    forget_runtime(&p->rt);
    r = make_ends(p, e);
    if (r == 0)
        r = hello_register(p, e);
    if (r < 0) {
        peer_close(p);
        return r;
    }
    p->rt.connects++;
    return 0;
}
