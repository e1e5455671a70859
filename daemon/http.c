/* SPDX-License-Identifier: Apache-2.0
 *
 * Owner of the HTTP daemon and of its connections' time. libmicrohttpd's one epoll descriptor is a
 * source on our loop; when it wants to be called without an event, a timer does.
 */
#include "daemon/http.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/hw.h"
#include "base/log.h"
#include "daemon/listen.h"
#include "daemon/timer.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* After everything that GPUs and pods wait for. */
#define PRIORITY (SD_EVENT_PRIORITY_NORMAL + 50)
#define REQUEST_TIME HW_SEC(10)
#define RETRY_TIME HW_SEC(5)
#define IDLE_SECONDS 5u /* libmicrohttpd's own limit: nothing came or went for so long */
#define STATUSES_MAX 12

struct connection {
    struct http *http;
    int fd; /* libmicrohttpd's; -1: the slot is free */
    uint64_t since;
};

struct http {
    sd_event *loop;
    struct http_options o;
    struct listen_addr addr;
    struct MHD_Daemon *daemon; /* NULL: not listening */
    sd_event_source *io, *timer, *late, *retry;
    struct connection conn[HTTP_CONNECTIONS_MAX];
    bool watching; /* `late` is armed */
    char why[300];
    struct {
        unsigned status;
        uint64_t n;
    } answers[STATUSES_MAX];
};

static void serve(struct http *h);

/* ---- answers ---- */

static void
count(struct http *h, unsigned status)
{
    size_t i = 0;

    while (i < STATUSES_MAX - 1 && h->answers[i].status && h->answers[i].status != status)
        i++;
    h->answers[i].status = i < STATUSES_MAX - 1 ? status : 0;
    h->answers[i].n++;
}

uint64_t
http_answers(const struct http *h, unsigned status)
{
    for (size_t i = 0; i < STATUSES_MAX; i++)
        if (h->answers[i].status == status && h->answers[i].n)
            return h->answers[i].n;
    return 0;
}

static enum MHD_Result
reply(struct http *h, struct MHD_Connection *c, unsigned status, const char *type,
      const struct buf *body)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(
        buf_left(body), (void *)(uintptr_t)buf_peek(body), MHD_RESPMEM_MUST_COPY);
    enum MHD_Result done;

    if (!r)
        return MHD_NO;
    (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
    (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    (void)MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    done = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    count(h, status);
    return done;
}

static unsigned
list_pages(const struct http *h, struct buf *out)
{
    (void)buf_put_str(out, "pgpud\n\n");
    for (size_t i = 0; i < h->o.n_pages; i++)
        (void)buf_putf(out, "%-10s %s\n", h->o.pages[i].path, h->o.pages[i].about);
    return MHD_HTTP_OK;
}

static unsigned
run_page(const struct http *h, const struct http_request *req, struct buf *out, const char **type)
{
    if (strcmp(req->path, "/") == 0)
        return list_pages(h, out);
    for (size_t i = 0; i < h->o.n_pages; i++)
        if (strcmp(req->path, h->o.pages[i].path) == 0)
            return h->o.pages[i].run(h->o.ctx, req, out, type);
    (void)buf_put_str(out, "not found; / has a list\n");
    return MHD_HTTP_NOT_FOUND;
}

/* Called when the head is complete. Answered at once: a body is never read, the connection closes.
 */
static enum MHD_Result
on_request(void *ctx, struct MHD_Connection *c, const char *url, const char *method,
           const char *version, const char *upload, size_t *upload_size, void **state)
{
    struct http *h = ctx;
    const char *type = "text/plain; charset=utf-8";
    const char *accept = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
    struct http_request req = {.path = url, .accept = accept ? accept : ""};
    enum MHD_Result done;
    struct buf body;
    unsigned status;

    (void)version;
    (void)upload;
    (void)upload_size;
    (void)state;
    buf_init(&body, HTTP_ANSWER_MAX);
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
        status = MHD_HTTP_METHOD_NOT_ALLOWED;
        (void)buf_put_str(&body, "only GET and HEAD\n");
    } else {
        status = run_page(h, &req, &body, &type);
    }
    if (buf_failed(&body)) {
        buf_clear(&body);
        status = MHD_HTTP_INTERNAL_SERVER_ERROR;
    }
    done = reply(h, c, status, type, &body);
    buf_fini(&body);
    return done;
}

/* ---- time ---- */

static uint64_t
request_time(const struct http *h)
{
    return h->o.request_time ? h->o.request_time : REQUEST_TIME;
}

/* Cuts off who takes too long, however it goes about it; libmicrohttpd sees the end and tidies up.
 */
static int
on_late(sd_event_source *s, uint64_t usec, void *ctx)
{
    struct http *h = ctx;
    uint64_t now = now_ns(), next = UINT64_MAX;

    (void)s;
    (void)usec;
    for (size_t i = 0; i < HTTP_CONNECTIONS_MAX; i++) {
        struct connection *c = &h->conn[i];

        if (c->fd < 0)
            continue;
        if (now - c->since >= request_time(h)) {
            (void)shutdown(c->fd, SHUT_RDWR);
            c->since = now; /* once more, should it still be there then */
        }
        if (c->since + request_time(h) < next)
            next = c->since + request_time(h);
    }
    h->watching = next != UINT64_MAX;
    if (h->watching)
        timer_arm(h->loop, &h->late, next - now, on_late, h);
    serve(h);
    return 0;
}

static void
on_connection(void *ctx, struct MHD_Connection *c, void **slot,
              enum MHD_ConnectionNotificationCode what)
{
    struct http *h = ctx;
    const union MHD_ConnectionInfo *info;

    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (*slot)
            ((struct connection *)*slot)->fd = -1;
        *slot = NULL;
        return;
    }
    info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    for (size_t i = 0; i < HTTP_CONNECTIONS_MAX && info; i++)
        if (h->conn[i].fd < 0) {
            h->conn[i] = (struct connection){.http = h, .fd = info->connect_fd, .since = now_ns()};
            *slot = &h->conn[i];
            if (!h->watching) /* the timer is for the oldest one */
                timer_arm(h->loop, &h->late, request_time(h), on_late, h);
            h->watching = true;
            return;
        }
}

static int
on_timer(sd_event_source *s, uint64_t usec, void *ctx)
{
    (void)s;
    (void)usec;
    serve(ctx);
    return 0;
}

/* Lets libmicrohttpd do what there is to do, and asks when it wants to be called again. */
static void
serve(struct http *h)
{
    MHD_UNSIGNED_LONG_LONG ms;

    if (!h->daemon)
        return;
    (void)MHD_run(h->daemon);
    if (MHD_get_timeout(h->daemon, &ms) == MHD_YES) {
        timer_arm(h->loop, &h->timer, HW_MS((uint64_t)ms), on_timer, h);
        (void)sd_event_source_set_priority(h->timer, PRIORITY);
    } else {
        timer_stop(h->timer);
    }
}

static int
on_io(sd_event_source *s, int fd, uint32_t revents, void *ctx)
{
    (void)s;
    (void)fd;
    (void)revents;
    serve(ctx);
    return 0;
}

/* ---- start and end ---- */

__attribute__((format(printf, 2, 0))) static void
on_log(void *ctx, const char *fmt, va_list ap)
{
    char text[300];

    (void)ctx;
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    text[strcspn(text, "\n")] = '\0';
    log_debug("http", "what", text);
}

static int
start_daemon(struct http *h, int listener, struct err *e)
{
    const union MHD_DaemonInfo *info;
    int r;

    h->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, h, MHD_OPTION_EXTERNAL_LOGGER,
        on_log, NULL, MHD_OPTION_LISTEN_SOCKET, listener, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)HTTP_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_HEAD_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_END);
    if (!h->daemon) {
        (void)close(listener);
        return err_set(e, EIO, ERR_CLASS_RETRY, "listen on %s: libmicrohttpd does not start",
                       h->o.listen);
    }
    info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    r = info ? sd_event_add_io(h->loop, &h->io, info->epoll_fd, EPOLLIN, on_io, h) : -ENOSYS;
    if (r < 0) {
        MHD_stop_daemon(h->daemon);
        h->daemon = NULL;
        return err_errno(e, -r, ERR_CLASS_RETRY, "listen on %s", h->o.listen);
    }
    (void)sd_event_source_set_priority(h->io, PRIORITY);
    return 0;
}

static int on_retry(sd_event_source *s, uint64_t usec, void *ctx);

static void
start(struct http *h)
{
    struct err e = ERR_INIT;
    int fd = listen_open(&h->addr, h->o.listen, &e);
    int r = fd < 0 ? fd : start_daemon(h, fd, &e);

    if (r < 0) {
        if (strcmp(h->why, e.msg) != 0)
            log_error("metrics and health are not served over HTTP, trying again", "why", e.msg,
                      "cure", "free the address, or change `http.listen`");
        if (!str_copy(h->why, sizeof(h->why), e.msg))
            (void)str_copy(h->why, sizeof(h->why), "see the log");
        timer_arm(h->loop, &h->retry, h->o.retry_time ? h->o.retry_time : RETRY_TIME, on_retry, h);
        return;
    }
    h->why[0] = '\0';
    log_info("serving HTTP", "listen", h->o.listen);
    serve(h);
}

static int
on_retry(sd_event_source *s, uint64_t usec, void *ctx)
{
    (void)s;
    (void)usec;
    start(ctx);
    return 0;
}

int
http_new(sd_event *loop, const struct http_options *o, struct http **ret, struct err *e)
{
    struct listen_addr addr;
    const char *why;
    struct http *h;

    if (!listen_parse(o->listen, &addr, &why))
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "http.listen \"%s\": %s", o->listen, why);
    h = calloc(1, sizeof(*h));
    if (!h)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "HTTP");
    h->loop = loop;
    h->o = *o;
    h->addr = addr;
    for (size_t i = 0; i < HTTP_CONNECTIONS_MAX; i++)
        h->conn[i].fd = -1;
    if (o->listen[0])
        start(h);
    *ret = h;
    return 0;
}

void
http_free(struct http *h)
{
    if (!h)
        return;
    (void)sd_event_source_unref(h->io);
    (void)sd_event_source_unref(h->timer);
    (void)sd_event_source_unref(h->retry);
    if (h->daemon) {
        MHD_stop_daemon(h->daemon); /* closes all, the listener included */
        if (listen_unix_path(h->o.listen))
            (void)unlink(listen_unix_path(h->o.listen));
    }
    (void)sd_event_source_unref(h->late);
    free(h);
}

const char *
http_why(const struct http *h)
{
    return h->why;
}

const char *
http_listen(const struct http *h)
{
    return h->o.listen;
}
