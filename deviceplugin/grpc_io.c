/* SPDX-License-Identifier: Apache-2.0
 *
 * gRPC C core behind deviceplugin/grpc_io.h. Written against core 1.51 (Debian 12); its surface API
 * is not stable, which is why no other file of the project may call it.
 *
 * Every batch or request handed to C core carries a `struct event` as its tag. The queue thread
 * appends finished events to a list and wakes the loop; the loop calls event->fn. An event is
 * handed out again only after its fn ran, so the list needs no allocation.
 *
 * Lifetime: an object (call, request, server, channel) is freed when its owner let go *and* none of
 * its events is with C core any more.
 */
#include "deviceplugin/grpc_io.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/log.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* How long an answer already given may take to leave before its connection is cut. */
#define GRACE_USEC ((uint64_t)100 * 1000)
/* Reconnects of a waiting client: quick, because the peer is on this machine. */
#define RECONNECT_MIN_MS 50
#define RECONNECT_MAX_MS 1000

struct event {
    struct event *next;
    bool ok;
    void (*fn)(void *obj, bool ok);
    void *obj;
};

struct gio {
    sd_event *loop;
    sd_event_source *source;
    grpc_completion_queue *cq;
    pthread_t thread;
    pthread_mutex_t lock; /* guards head, tail, drained */
    struct event *head, **tail;
    bool drained; /* the queue thread saw the end of the queue */
    int efd;
    bool closing; /* gio_free is running: no callback leaves this file */
    struct gio_server *servers;
    struct gio_channel *channels;
};

struct slot { /* one outstanding "give me the next call" */
    struct event ev;
    struct gio_server *srv;
    const struct gio_method *method; /* NULL: any unknown method */
    void *registered;
    grpc_call *call;
    grpc_call_details details;
    grpc_metadata_array md;
    gpr_timespec deadline;
    grpc_byte_buffer *payload;
};

struct gio_server {
    struct gio *g;
    struct gio_server *next;
    grpc_server *server;
    char path[GIO_PATH_MAX + 1];
    void *ctx;
    size_t n_slots, armed;
    struct slot slots[GIO_METHODS_MAX + 1];
    struct gio_call *calls; /* with a live grpc_call */
    size_t n_calls;
    struct event down_ev;
    bool stopping, down;
    sd_event_source *grace;
    void (*done)(void *ctx);
    void *done_ctx;
};

struct gio_call {
    struct gio_server *srv; /* NULL once `call` is gone */
    struct gio_call *next, *prev;
    grpc_call *call;
    struct event close_ev, send_ev;
    int cancelled;
    bool owned;   /* the handler has not ended it yet */
    bool closing; /* close_ev is with C core */
    bool sending; /* send_ev is with C core */
    bool md_sent, end_wanted, ended, peer_gone;
    enum gio_status status;
    char *text;
    const struct gio_call_events *watch;
    void *watch_ctx;
};

struct gio_channel {
    struct gio *g;
    struct gio_channel *next;
    grpc_channel *channel;
    struct gio_req *reqs;
    bool freed; /* by its owner */
};

struct gio_req {
    struct gio_channel *ch;
    struct gio_req *next, *prev;
    struct gio_req_options o;
    grpc_call *call;
    struct event send_ev, recv_ev, status_ev;
    unsigned pending;
    bool muted, have_status, have_answer, recv_over;
    grpc_metadata_array md, trailing;
    grpc_byte_buffer *in;
    grpc_slice answer;
    grpc_status_code status;
    grpc_slice details;
};

/* ---- hand-over from the queue thread to the loop ---- */

static void
post(struct gio *g, struct event *ev, bool drained)
{
    const uint64_t one = 1;

    pthread_mutex_lock(&g->lock);
    if (ev) {
        ev->next = NULL;
        *g->tail = ev;
        g->tail = &ev->next;
    }
    g->drained = g->drained || drained;
    pthread_mutex_unlock(&g->lock);
    /* Cannot fail in a way that loses the wake-up: EAGAIN means that one is due already. */
    (void)!write(g->efd, &one, sizeof(one));
}

static void *
queue_thread(void *arg)
{
    struct gio *g = arg;

    for (;;) {
        grpc_event got =
            grpc_completion_queue_next(g->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);

        if (got.type == GRPC_QUEUE_SHUTDOWN)
            break;
        if (got.type == GRPC_OP_COMPLETE) {
            struct event *ev = got.tag;

            ev->ok = got.success != 0;
            post(g, ev, false);
        }
    }
    post(g, NULL, true);
    return NULL;
}

static void
dispatch(struct gio *g)
{
    struct event *ev, *next;
    uint64_t count;

    (void)!read(g->efd, &count, sizeof(count));
    pthread_mutex_lock(&g->lock);
    ev = g->head;
    g->head = NULL;
    g->tail = &g->head;
    pthread_mutex_unlock(&g->lock);
    for (; ev; ev = next) {
        next = ev->next;
        ev->fn(ev->obj, ev->ok);
    }
}

static int
on_wakeup(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
    (void)s;
    (void)fd;
    (void)revents;
    dispatch(userdata);
    return 0;
}

static void
event_init(struct event *ev, void (*fn)(void *obj, bool ok), void *obj)
{
    *ev = (struct event){.fn = fn, .obj = obj};
}

/* ---- bytes ---- */

static grpc_byte_buffer *
bytes_out(const void *data, size_t len)
{
    grpc_slice s = grpc_slice_from_copied_buffer(len ? data : "", len);
    grpc_byte_buffer *bb = grpc_raw_byte_buffer_create(&s, 1);

    grpc_slice_unref(s);
    return bb;
}

/* One slice with everything; the caller unrefs it. False where C core cannot read the buffer. */
static bool
bytes_in(grpc_byte_buffer *bb, grpc_slice *ret)
{
    grpc_byte_buffer_reader r;

    if (!bb || !grpc_byte_buffer_reader_init(&r, bb))
        return false;
    *ret = grpc_byte_buffer_reader_readall(&r);
    grpc_byte_buffer_reader_destroy(&r);
    return true;
}

const char *
gio_status_name(int status)
{
    static const char *const names[] = {
        "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
        "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
        "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
        "DataLoss", "Unauthenticated"};

    if (status < 0 || (size_t)status >= ARRAY_SIZE(names))
        return "Unknown";
    return names[status];
}

/* ---- server: calls ---- */

static void server_maybe_gone(struct gio_server *s);

/* Frees what is not needed any more. The grpc_call goes as soon as C core is through with it, even
 * while the handler still owns the wrapper: a server that stops must not wait for a slow answer. */
static void
call_settle(struct gio_call *c)
{
    struct gio_server *s = c->srv;

    if (c->closing || c->sending)
        return;
    if (c->call) {
        if (s->g->closing)
            c->owned = false; /* nobody will end it any more */
        grpc_call_unref(c->call);
        c->call = NULL;
        c->srv = NULL;
        if (c->prev)
            c->prev->next = c->next;
        else
            s->calls = c->next;
        if (c->next)
            c->next->prev = c->prev;
        s->n_calls--;
    }
    if (!c->owned) {
        free(c->text);
        free(c);
    }
    if (s)
        server_maybe_gone(s);
}

/* Starts a batch on `send_ev`; what cannot be started is as good as sent to a peer that left. */
static bool
call_start(struct gio_call *c, const grpc_op *ops, size_t n)
{
    grpc_call_error rc = grpc_call_start_batch(c->call, ops, n, &c->send_ev, NULL);

    if (rc != GRPC_CALL_OK) {
        log_debug("grpc: batch refused", "error", grpc_call_error_to_string(rc));
        return false;
    }
    c->sending = true;
    return true;
}

/* The closing batch: answer of a unary call (if any) and status. */
static void
call_finish(struct gio_call *c, grpc_byte_buffer *answer)
{
    grpc_op ops[3] = {0};
    grpc_slice text = grpc_empty_slice();
    size_t n = 0;

    c->ended = true;
    if (!c->md_sent)
        ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
    c->md_sent = true;
    if (answer) {
        ops[n].op = GRPC_OP_SEND_MESSAGE;
        ops[n++].data.send_message.send_message = answer;
    }
    ops[n].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    ops[n].data.send_status_from_server.status = (grpc_status_code)c->status;
    if (c->text) {
        text = grpc_slice_from_copied_string(c->text);
        ops[n].data.send_status_from_server.status_details = &text;
    }
    n++;
    if (!call_start(c, ops, n))
        grpc_call_cancel(c->call, NULL);
    grpc_slice_unref(text);
}

static void
on_call_sent(void *obj, bool ok)
{
    struct gio_call *c = obj;

    c->sending = false;
    if (c->end_wanted && !c->ended && c->call && !c->peer_gone) {
        call_finish(c, NULL);
    } else if (ok && c->owned && !c->peer_gone && c->watch && c->watch->sent &&
               !c->srv->g->closing) {
        c->watch->sent(c->watch_ctx, c); /* may send again or end the call */
        return;
    }
    call_settle(c);
}

static void
on_call_closed(void *obj, bool ok)
{
    struct gio_call *c = obj;
    bool tell;

    (void)ok;
    c->closing = false;
    c->peer_gone = true;
    tell = c->owned && c->watch && c->watch->closed && !c->srv->g->closing;
    if (c->sending && c->cancelled)
        grpc_call_cancel(c->call, NULL);
    if (tell) {
        /* The handler may end the call inside; keep the object for call_settle. */
        c->closing = true;
        c->watch->closed(c->watch_ctx, c);
        c->closing = false;
    }
    call_settle(c);
}

void
gio_call_watch(struct gio_call *c, const struct gio_call_events *ev, void *ctx)
{
    c->watch = ev;
    c->watch_ctx = ctx;
}

static void
call_end(struct gio_call *c, grpc_byte_buffer *answer)
{
    c->owned = false;
    c->end_wanted = true;
    if (c->call && !c->peer_gone && !c->sending)
        call_finish(c, answer);
    call_settle(c);
}

void
gio_call_reply(struct gio_call *c, const void *data, size_t len)
{
    grpc_byte_buffer *bb = bytes_out(data, len);

    c->status = GIO_OK;
    call_end(c, bb);
    grpc_byte_buffer_destroy(bb);
}

void
gio_call_fail(struct gio_call *c, enum gio_status status, const char *text)
{
    c->status = status;
    c->text = strndup(text, GIO_TEXT_MAX);
    for (char *p = c->text; p && *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' ';
    call_end(c, NULL);
}

void
gio_call_end(struct gio_call *c)
{
    c->status = GIO_OK;
    call_end(c, NULL);
}

int
gio_call_send(struct gio_call *c, const void *data, size_t len)
{
    grpc_op ops[2] = {0};
    grpc_byte_buffer *bb;
    size_t n = 0;
    bool ok;

    if (!c->call || c->peer_gone)
        return -EPIPE;
    if (c->sending)
        return -EBUSY;
    if (!c->md_sent)
        ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
    bb = bytes_out(data, len);
    ops[n].op = GRPC_OP_SEND_MESSAGE;
    ops[n++].data.send_message.send_message = bb;
    ok = call_start(c, ops, n);
    grpc_byte_buffer_destroy(bb);
    if (!ok)
        return -EPIPE;
    c->md_sent = true;
    return 0;
}

/* ---- server: accepting ---- */

static bool
slot_arm(struct slot *sl)
{
    struct gio_server *s = sl->srv;
    grpc_call_error rc;

    grpc_metadata_array_init(&sl->md);
    grpc_call_details_init(&sl->details);
    sl->call = NULL;
    sl->payload = NULL;
    if (sl->method)
        rc =
            grpc_server_request_registered_call(s->server, sl->registered, &sl->call, &sl->deadline,
                                                &sl->md, &sl->payload, s->g->cq, s->g->cq, &sl->ev);
    else
        rc = grpc_server_request_call(s->server, &sl->call, &sl->details, &sl->md, s->g->cq,
                                      s->g->cq, &sl->ev);
    if (rc != GRPC_CALL_OK) {
        log_debug("grpc: cannot accept calls", "error", grpc_call_error_to_string(rc));
        return false;
    }
    s->armed++;
    return true;
}

static struct gio_call *
call_new(struct gio_server *s, grpc_call *call)
{
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};
    struct gio_call *c = calloc(1, sizeof(*c));

    if (!c) {
        grpc_call_unref(call);
        return NULL;
    }
    c->srv = s;
    c->call = call;
    c->owned = true;
    event_init(&c->close_ev, on_call_closed, c);
    event_init(&c->send_ev, on_call_sent, c);
    op.data.recv_close_on_server.cancelled = &c->cancelled;
    if (grpc_call_start_batch(call, &op, 1, &c->close_ev, NULL) != GRPC_CALL_OK) {
        grpc_call_unref(call);
        free(c);
        return NULL;
    }
    c->closing = true;
    c->next = s->calls;
    if (s->calls)
        s->calls->prev = c;
    s->calls = c;
    s->n_calls++;
    return c;
}

static void
call_dispatch(struct gio_server *s, const struct gio_method *m, struct gio_call *c,
              grpc_byte_buffer *payload)
{
    grpc_slice data;

    if (s->stopping || s->g->closing) {
        gio_call_fail(c, GIO_UNAVAILABLE, "the server is stopping");
    } else if (!m) {
        gio_call_fail(c, GIO_UNIMPLEMENTED, "unknown method");
    } else if (s->n_calls > GIO_CALLS_MAX) {
        gio_call_fail(c, GIO_RESOURCE_EXHAUSTED, "too many calls at once");
    } else if (!bytes_in(payload, &data)) {
        gio_call_fail(c, GIO_INVALID_ARGUMENT, "the request is missing, cut short or too large");
    } else {
        m->handler(s->ctx, c, GRPC_SLICE_START_PTR(data), GRPC_SLICE_LENGTH(data));
        grpc_slice_unref(data);
    }
}

static void
on_slot(void *obj, bool ok)
{
    struct slot *sl = obj;
    struct gio_server *s = sl->srv;
    grpc_byte_buffer *payload = sl->payload;
    grpc_call *call = sl->call;
    struct gio_call *c;

    s->armed--;
    grpc_metadata_array_destroy(&sl->md);
    grpc_call_details_destroy(&sl->details);
    if (ok) {
        if (!s->stopping)
            (void)slot_arm(sl);
        c = call_new(s, call);
        if (c)
            call_dispatch(s, sl->method, c, payload);
    }
    if (payload)
        grpc_byte_buffer_destroy(payload);
    server_maybe_gone(s);
}

/* ---- server: life ---- */

static void
server_free(struct gio_server *s)
{
    if (s->server)
        grpc_server_destroy(s->server);
    sd_event_source_disable_unref(s->grace);
    free(s);
}

static void
server_maybe_gone(struct gio_server *s)
{
    struct gio_server **p;

    if (!s->down || s->armed || s->n_calls)
        return;
    for (p = &s->g->servers; *p != s; p = &(*p)->next)
        ;
    *p = s->next;
    if (s->done && !s->g->closing)
        s->done(s->done_ctx);
    server_free(s);
}

static void
on_server_down(void *obj, bool ok)
{
    struct gio_server *s = obj;

    (void)ok;
    s->down = true;
    server_maybe_gone(s);
}

/* Binds with a umask so that the socket is never, not even for a moment, open to others. The umask
 * is the process's; nothing else of ours creates files while the loop thread is here. */
static bool
server_bind(grpc_server *server, const char *path)
{
    grpc_server_credentials *creds = grpc_insecure_server_credentials_create();
    char addr[GIO_PATH_MAX + 8] = "unix:";
    mode_t old = umask(0177);
    int port;

    (void)str_copy(addr + 5, sizeof(addr) - 5, path);
    port = grpc_server_add_http2_port(server, addr, creds);
    umask(old);
    grpc_server_credentials_release(creds);
    return port != 0;
}

static int
path_check(const char *path, struct err *e)
{
    if (path[0] != '/' || strlen(path) > GIO_PATH_MAX)
        return err_set(e, ENAMETOOLONG, ERR_CLASS_INVALID,
                       "socket %s: not an absolute path of at most %d bytes", path, GIO_PATH_MAX);
    return 0;
}

static void
server_methods(struct gio_server *s, const struct gio_method *methods, size_t n)
{
    for (size_t i = 0; i <= n; i++) {
        struct slot *sl = &s->slots[i];

        event_init(&sl->ev, on_slot, sl);
        sl->srv = s;
        if (i == n)
            continue; /* the last one takes what no method is registered for */
        sl->method = &methods[i];
        sl->registered = grpc_server_register_method(s->server, methods[i].path, NULL,
                                                     GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
    }
    s->n_slots = n + 1;
}

int
gio_server_new(struct gio *g, const char *path, const struct gio_method *methods, size_t n,
               void *ctx, struct gio_server **ret, struct err *e)
{
    grpc_arg args[] = {{.type = GRPC_ARG_INTEGER,
                        .key = (char *)(uintptr_t)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
                        .value.integer = (int)GIO_MESSAGE_MAX},
                       {.type = GRPC_ARG_INTEGER,
                        .key = (char *)(uintptr_t)GRPC_ARG_MAX_CONCURRENT_STREAMS,
                        .value.integer = GIO_CALLS_MAX},
                       {.type = GRPC_ARG_INTEGER,
                        .key = (char *)(uintptr_t)GRPC_ARG_ENABLE_CHANNELZ,
                        .value.integer = 0}};
    const grpc_channel_args list = {.num_args = ARRAY_SIZE(args), .args = args};
    struct gio_server *s;

    if (path_check(path, e) < 0)
        return -e->num;
    if (n > GIO_METHODS_MAX)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "serve %s: too many methods", path);
    s = calloc(1, sizeof(*s));
    if (!s)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "serve %s: out of memory", path);
    s->g = g;
    s->ctx = ctx;
    (void)str_copy(s->path, sizeof(s->path), path);
    event_init(&s->down_ev, on_server_down, s);
    s->server = grpc_server_create(&list, NULL);
    grpc_server_register_completion_queue(s->server, g->cq, NULL);
    server_methods(s, methods, n);
    s->next = g->servers;
    g->servers = s;
    if (!server_bind(s->server, path)) {
        /* C core wants the full shutdown even of a server that never started. The file, if there
         * is one, is not ours. */
        s->path[0] = '\0';
        gio_server_stop(s, NULL, NULL);
        return err_set(e, EADDRNOTAVAIL, ERR_CLASS_RETRY,
                       "listen on %s: gRPC could not bind the socket", path);
    }
    grpc_server_start(s->server);
    for (size_t i = 0; i < s->n_slots; i++)
        (void)slot_arm(&s->slots[i]);
    *ret = s;
    return 0;
}

static int
on_grace_over(sd_event_source *src, uint64_t usec, void *userdata)
{
    struct gio_server *s = userdata;

    (void)src;
    (void)usec;
    grpc_server_cancel_all_calls(s->server);
    return 0;
}

/* True when an answer was given that C core has not written out yet. */
static bool
server_answering(const struct gio_server *s)
{
    for (const struct gio_call *c = s->calls; c; c = c->next)
        if (c->end_wanted && (c->sending || c->closing) && !c->peer_gone)
            return true;
    return false;
}

void
gio_server_stop(struct gio_server *s, void (*done)(void *ctx), void *ctx)
{
    s->done = done;
    s->done_ctx = ctx;
    s->stopping = true;
    grpc_server_shutdown_and_notify(s->server, s->g->cq, &s->down_ev);
    /* C core removes the file when the listener is gone; sooner is better: nobody shall connect to
     * a server that is going. */
    (void)unlink(s->path);
    if (server_answering(s) && sd_event_add_time_relative(s->g->loop, &s->grace, CLOCK_MONOTONIC,
                                                          GRACE_USEC, 0, on_grace_over, s) >= 0)
        return;
    grpc_server_cancel_all_calls(s->server);
}

/* ---- client ---- */

static void
channel_maybe_gone(struct gio_channel *ch)
{
    struct gio_channel **p;

    if (!ch->freed || ch->reqs)
        return;
    for (p = &ch->g->channels; *p != ch; p = &(*p)->next)
        ;
    *p = ch->next;
    grpc_channel_destroy(ch->channel);
    free(ch);
}

static void
req_free(struct gio_req *r)
{
    struct gio_channel *ch = r->ch;

    if (r->prev)
        r->prev->next = r->next;
    else
        ch->reqs = r->next;
    if (r->next)
        r->next->prev = r->prev;
    grpc_metadata_array_destroy(&r->md);
    grpc_metadata_array_destroy(&r->trailing);
    grpc_slice_unref(r->answer);
    grpc_slice_unref(r->details);
    grpc_call_unref(r->call);
    free(r);
    channel_maybe_gone(ch);
}

static void
req_settle(struct gio_req *r)
{
    char *text;

    if (r->pending)
        return;
    if (!r->muted && !r->ch->g->closing) {
        r->muted = true;
        text = grpc_slice_to_c_string(r->details);
        r->o.done(r->o.ctx, (int)r->status, text, GRPC_SLICE_START_PTR(r->answer),
                  GRPC_SLICE_LENGTH(r->answer));
        gpr_free(text);
    }
    req_free(r);
}

static bool
req_receive(struct gio_req *r)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

    op.data.recv_message.recv_message = &r->in;
    if (grpc_call_start_batch(r->call, &op, 1, &r->recv_ev, NULL) != GRPC_CALL_OK)
        return false;
    r->pending++;
    return true;
}

static void
on_req_message(void *obj, bool ok)
{
    struct gio_req *r = obj;
    grpc_byte_buffer *bb = r->in;
    grpc_slice data;

    r->in = NULL;
    if (ok && bytes_in(bb, &data)) {
        if (r->o.message) {
            if (!r->muted && !r->ch->g->closing)
                r->o.message(r->o.ctx, GRPC_SLICE_START_PTR(data), GRPC_SLICE_LENGTH(data));
            grpc_slice_unref(data);
            (void)req_receive(r);
        } else {
            grpc_slice_unref(r->answer);
            r->answer = data;
        }
    }
    if (bb)
        grpc_byte_buffer_destroy(bb);
    r->pending--; /* last: the callback above may cancel, which must not free */
    req_settle(r);
}

static void
on_req_part(void *obj, bool ok)
{
    struct gio_req *r = obj;

    (void)ok; /* what went wrong comes with the status */
    r->pending--;
    req_settle(r);
}

int
gio_channel_new(struct gio *g, const char *path, size_t message_max, struct gio_channel **ret,
                struct err *e)
{
    const struct {
        const char *key;
        int value;
    } want[] = {
        {GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)message_max},
        /* Otherwise channels of the same target share a connection and its back-off, and a fresh
         * channel is no fresh start. */
        {GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1},
        {GRPC_ARG_ENABLE_RETRIES, 0},
        {GRPC_ARG_ENABLE_HTTP_PROXY, 0},
        {GRPC_ARG_ENABLE_CHANNELZ, 0},
        /* Not the "min reconnect" argument: core takes that as the time one attempt may last. */
        {GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, RECONNECT_MIN_MS},
        {GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, RECONNECT_MAX_MS},
    };
    grpc_arg args[ARRAY_SIZE(want)];
    const grpc_channel_args list = {.num_args = ARRAY_SIZE(want), .args = args};
    grpc_channel_credentials *creds;
    char target[GIO_PATH_MAX + 8] = "unix:";
    struct gio_channel *ch;

    if (path_check(path, e) < 0)
        return -e->num;
    ch = calloc(1, sizeof(*ch));
    if (!ch)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "connect to %s: out of memory", path);
    for (size_t i = 0; i < ARRAY_SIZE(want); i++)
        args[i] = (grpc_arg){.type = GRPC_ARG_INTEGER,
                             .key = (char *)(uintptr_t)want[i].key,
                             .value.integer = want[i].value};
    (void)str_copy(target + 5, sizeof(target) - 5, path);
    creds = grpc_insecure_credentials_create();
    ch->g = g;
    ch->channel = grpc_channel_create(target, creds, &list);
    grpc_channel_credentials_release(creds);
    ch->next = g->channels;
    g->channels = ch;
    *ret = ch;
    return 0;
}

void
gio_channel_free(struct gio_channel *ch)
{
    if (!ch)
        return;
    ch->freed = true;
    for (struct gio_req *r = ch->reqs; r; r = r->next) {
        r->muted = true;
        grpc_call_cancel(r->call, NULL);
    }
    channel_maybe_gone(ch);
}

/* Sends the request and starts both receivers. True when at least the status will come. */
static bool
req_start(struct gio_req *r, const void *data, size_t len)
{
    grpc_op ops[4] = {0};
    grpc_op status = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT};
    grpc_byte_buffer *bb = bytes_out(data, len);
    bool ok;

    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    if (r->o.wait_for_ready)
        ops[0].flags = GRPC_INITIAL_METADATA_WAIT_FOR_READY |
                       GRPC_INITIAL_METADATA_WAIT_FOR_READY_EXPLICITLY_SET;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = bb;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &r->md;
    status.data.recv_status_on_client.trailing_metadata = &r->trailing;
    status.data.recv_status_on_client.status = &r->status;
    status.data.recv_status_on_client.status_details = &r->details;
    ok = grpc_call_start_batch(r->call, ops, ARRAY_SIZE(ops), &r->send_ev, NULL) == GRPC_CALL_OK;
    grpc_byte_buffer_destroy(bb);
    if (!ok)
        return false;
    r->pending++;
    if (grpc_call_start_batch(r->call, &status, 1, &r->status_ev, NULL) == GRPC_CALL_OK)
        r->pending++;
    (void)req_receive(r);
    return true;
}

int
gio_request(struct gio_channel *ch, const char *method, const void *data, size_t len,
            const struct gio_req_options *o, struct gio_req **ret, struct err *e)
{
    gpr_timespec deadline = gpr_inf_future(GPR_CLOCK_MONOTONIC);
    struct gio_req *r = calloc(1, sizeof(*r));
    grpc_slice name;

    if (!r)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "call %s: out of memory", method);
    if (o->timeout_ns)
        deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                gpr_time_from_nanos((int64_t)o->timeout_ns, GPR_TIMESPAN));
    r->ch = ch;
    r->o = *o;
    r->answer = grpc_empty_slice();
    r->details = grpc_empty_slice();
    grpc_metadata_array_init(&r->md);
    grpc_metadata_array_init(&r->trailing);
    event_init(&r->send_ev, on_req_part, r);
    event_init(&r->recv_ev, on_req_message, r);
    event_init(&r->status_ev, on_req_part, r);
    name = grpc_slice_from_copied_string(method);
    r->call = grpc_channel_create_call(ch->channel, NULL, GRPC_PROPAGATE_DEFAULTS, ch->g->cq, name,
                                       NULL, deadline, NULL);
    grpc_slice_unref(name);
    r->next = ch->reqs;
    if (ch->reqs)
        ch->reqs->prev = r;
    ch->reqs = r;
    if (!req_start(r, data, len)) {
        req_free(r);
        return err_set(e, EIO, ERR_CLASS_RETRY, "call %s: gRPC refused the call", method);
    }
    if (ret)
        *ret = r;
    return 0;
}

void
gio_req_cancel(struct gio_req *r)
{
    if (!r)
        return;
    r->muted = true;
    grpc_call_cancel(r->call, NULL);
}

/* ---- the whole ---- */

/* C core prints to stderr by itself otherwise. */
static void
core_log(gpr_log_func_args *a)
{
    log_debug("grpc core", "text", a->message, "file", a->file);
}

int
gio_new(sd_event *loop, struct gio **ret, struct err *e)
{
    struct gio *g = calloc(1, sizeof(*g));
    sigset_t all, old;
    int rc;

    if (!g)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "start gRPC: out of memory");
    g->efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (g->efd < 0) {
        rc = errno;
        free(g);
        return err_errno(e, rc, ERR_CLASS_FATAL, "start gRPC: eventfd");
    }
    g->tail = &g->head;
    pthread_mutex_init(&g->lock, NULL);
    gpr_set_log_function(core_log);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    grpc_init();
    g->cq = grpc_completion_queue_create_for_next(NULL);
    rc = pthread_create(&g->thread, NULL, queue_thread, g);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc == 0) {
        g->loop = sd_event_ref(loop);
        rc = -sd_event_add_io(loop, &g->source, g->efd, POLLIN, on_wakeup, g);
        if (rc > 0)
            gio_free(g);
    } else {
        grpc_completion_queue_shutdown(g->cq);
        grpc_completion_queue_destroy(g->cq);
        grpc_shutdown();
        fd_close(&g->efd);
        free(g);
    }
    if (rc > 0)
        return err_errno(e, rc, ERR_CLASS_FATAL, "start gRPC: thread or event source");
    *ret = g;
    return 0;
}

static uint64_t
now_usec(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* Runs the hand-over by hand until `over` says so or the time is up. */
static void
pump(struct gio *g, bool (*over)(struct gio *g), uint64_t until)
{
    for (;;) {
        struct pollfd p = {.fd = g->efd, .events = POLLIN};
        uint64_t now = now_usec();

        dispatch(g);
        if (over(g) || now >= until)
            return;
        (void)poll(&p, 1, until - now > 1000000 ? 1000 : (int)((until - now + 999) / 1000));
    }
}

static bool
all_answered(struct gio *g)
{
    for (const struct gio_server *s = g->servers; s; s = s->next)
        if (server_answering(s))
            return false;
    return true;
}

static bool
all_gone(struct gio *g)
{
    return !g->servers && !g->channels;
}

static bool
all_drained(struct gio *g)
{
    bool v;

    pthread_mutex_lock(&g->lock);
    v = g->drained && !g->head;
    pthread_mutex_unlock(&g->lock);
    return v;
}

/* 1. Nobody is called back any more, no server accepts.
 * 2. Answers already given get GRACE_USEC to leave.
 * 3. Everything that is left is cut; wait for C core to give every event back.
 * 4. End the queue, its thread and C core. */
void
gio_free(struct gio *g)
{
    const uint64_t forever = UINT64_MAX / 2;

    if (!g)
        return;
    g->closing = true;
    for (struct gio_server *s = g->servers; s; s = s->next)
        if (!s->stopping) {
            s->stopping = true;
            grpc_server_shutdown_and_notify(s->server, g->cq, &s->down_ev);
            (void)unlink(s->path);
        }
    pump(g, all_answered, now_usec() + GRACE_USEC);

    for (struct gio_server *s = g->servers; s; s = s->next) {
        grpc_server_cancel_all_calls(s->server);
        for (struct gio_call *c = s->calls, *next; c; c = next) {
            next = c->next;
            c->owned = false;
            if (c->call)
                grpc_call_cancel(c->call, NULL);
        }
    }
    for (struct gio_channel *ch = g->channels, *next; ch; ch = next) {
        next = ch->next;
        gio_channel_free(ch);
    }
    pump(g, all_gone, forever);

    grpc_completion_queue_shutdown(g->cq);
    pump(g, all_drained, forever);
    pthread_join(g->thread, NULL);
    grpc_completion_queue_destroy(g->cq);
    grpc_shutdown_blocking();
    sd_event_source_disable_unref(g->source);
    sd_event_unref(g->loop);
    fd_close(&g->efd);
    pthread_mutex_destroy(&g->lock);
    free(g);
}
