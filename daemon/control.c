/* SPDX-License-Identifier: Apache-2.0
 *
 * Owner of the control socket and its clients.
 */
#include "daemon/control.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/hw.h"
#include "base/log.h"
#include "daemon/timer.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ASKERS_MAX 16 /* followers come on top */
#define CLIENTS_MAX (ASKERS_MAX + FOLLOWERS_MAX)
#define ANSWER_MAX (4u << 20)
/* Of a follower: about 2000 lines. */
#define QUEUE_MAX (1u << 20)
#define CLIENT_TIME HW_SEC(5)

static const char lost_note[] = "{\"lost\":true,\"error\":\"the reader was too slow\"}\n";

struct client {
    struct control *c;
    int fd, pid, uid;
    sd_event_source *io;
    sd_event_source *timer;
    struct buf in, out;
    bool answered;
    /* Follower */
    void (*gone)(void *ctx, struct client *cl);
    void *gone_ctx;
    bool lost;
};

struct control {
    sd_event *loop;
    struct node *node;
    char path[108];
    int fd;
    sd_event_source *io;
    struct request_set requests;
    struct client *client[CLIENTS_MAX];
};

static void
client_free(struct client *cl)
{
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (cl->c->client[i] == cl)
            cl->c->client[i] = NULL;
    if (cl->gone)
        cl->gone(cl->gone_ctx, cl);
    (void)sd_event_source_unref(cl->io);
    (void)sd_event_source_unref(cl->timer);
    fd_close(&cl->fd);
    buf_fini(&cl->in);
    buf_fini(&cl->out);
    free(cl);
}

static int
on_client_time(sd_event_source *s, uint64_t usec, void *ctx)
{
    (void)s;
    (void)usec;
    client_free(ctx);
    return 0;
}

static int
run_status(void *ctx, const struct request_call *call, struct buf *out, struct err *e)
{
    (void)call;
    return status_json(ctx, out, e);
}

static const struct request own_requests[] = {
    {.name = "status", .args = "", .run = run_status},
    {.name = NULL},
};

/* ---- followers ---- */

static size_t
count_clients(const struct control *c, bool followers)
{
    size_t n = 0;

    for (size_t i = 0; i < CLIENTS_MAX; i++)
        n += c->client[i] && (c->client[i]->gone != NULL) == followers;
    return n;
}

int
client_follow(struct client *cl, void (*gone)(void *ctx, struct client *cl), void *ctx,
              struct err *e)
{
    if (!cl || count_clients(cl->c, true) >= FOLLOWERS_MAX)
        return err_set(e, EBUSY, ERR_CLASS_BUSY, "there are %d followers already", FOLLOWERS_MAX);
    cl->gone = gone;
    cl->gone_ctx = ctx;
    return 0;
}

/* What a client has to say to us after its request does not matter; that it hangs up does, and is
 * reported whatever is asked for. */
static void
watch_out(struct client *cl)
{
    (void)sd_event_source_set_io_events(cl->io, buf_left(&cl->out) > 0 ? EPOLLOUT : 0);
}

void
client_send(struct client *cl, const char *line, size_t len)
{
    if (cl->lost)
        return;
    if (buf_left(&cl->out) == 0)
        buf_clear(&cl->out);
    if (buf_left(&cl->out) + len > QUEUE_MAX || !buf_put(&cl->out, line, len)) {
        cl->lost = true;
        cl->out.failed = false; /* the answer's limit has room for the note */
        (void)buf_put_str(&cl->out, lost_note);
        timer_arm(cl->c->loop, &cl->timer, CLIENT_TIME, on_client_time, cl);
    }
    watch_out(cl);
}

/* ---- requests and answers ---- */

static void
tell_request(const struct client *cl, const char *line, const struct request_result *r)
{
    struct act a = {.kind = ACT_REQUEST,
                    .what = line,
                    .ok = r->ok,
                    .text = r->ok ? NULL : r->why,
                    .pid = cl->pid,
                    .uid = cl->uid};

    log_info("request", "what", line, "ok", r->ok ? "true" : "false", "pid", LOG_NUM(cl->pid),
             "uid", LOG_NUM(cl->uid));
    act_tell(&cl->c->node->acts, &a);
}

static void
answer(struct client *cl, char *line)
{
    struct request_call call = {.client = cl, .pid = cl->pid, .uid = cl->uid};
    struct request_result r;
    char copy[REQUEST_LINE_MAX];

    (void)str_copy(copy, sizeof(copy), line);
    copy[strcspn(copy, "\r")] = '\0';
    request_run(&cl->c->requests, line, &call, &cl->out, &r);
    cl->answered = true;
    if (r.row && r.row->changes)
        tell_request(cl, copy, &r);
    if (cl->gone)
        timer_stop(cl->timer);
    watch_out(cl);
}

/* True while there is something left to do for the client. */
static bool
client_read(struct client *cl)
{
    char tmp[REQUEST_LINE_MAX];
    ssize_t n = recv(cl->fd, tmp, sizeof(tmp), MSG_DONTWAIT);
    char *text, *nl;

    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n == 0 || !buf_put(&cl->in, tmp, (size_t)n) || !buf_cstr(&cl->in))
        return false;
    text = (char *)cl->in.data;
    nl = strchr(text, '\n');
    if (!nl)
        return true;
    *nl = '\0';
    answer(cl, text);
    return true;
}

static bool
client_write(struct client *cl)
{
    ssize_t n = send(cl->fd, buf_peek(&cl->out), buf_left(&cl->out), MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    (void)buf_skip(&cl->out, (size_t)n);
    /* Else a follower who is always a little behind would fill the buffer with what it has read. */
    if (cl->out.off > QUEUE_MAX / 2)
        buf_compact(&cl->out);
    watch_out(cl);
    return buf_left(&cl->out) > 0 || (cl->gone && !cl->lost);
}

static int
on_client(sd_event_source *s, int fd, uint32_t revents, void *ctx)
{
    struct client *cl = ctx;
    bool more = true;

    (void)s;
    (void)fd;
    if (!cl->answered)
        more = !(revents & (EPOLLIN | EPOLLHUP | EPOLLERR)) || client_read(cl);
    else if (revents & (EPOLLHUP | EPOLLERR))
        more = false;
    if (more && buf_left(&cl->out) > 0)
        more = client_write(cl);
    if (!more)
        client_free(cl);
    return 0;
}

static void
read_peer(struct client *cl)
{
    struct ucred who;
    socklen_t len = sizeof(who);

    cl->pid = cl->uid = -1;
    if (getsockopt(cl->fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0) {
        cl->pid = (int)who.pid;
        cl->uid = (int)who.uid;
    }
}

static int
on_accept(sd_event_source *s, int fd, uint32_t revents, void *ctx)
{
    struct control *c = ctx;
    struct client *cl;
    size_t slot = 0;
    _cleanup_fd_ int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)s;
    (void)revents;
    while (slot < CLIENTS_MAX && c->client[slot])
        slot++;
    if (conn < 0 || slot == CLIENTS_MAX || count_clients(c, false) >= ASKERS_MAX ||
        !(cl = calloc(1, sizeof(*cl))))
        return 0; /* too many clients: this one sees a closed connection */
    cl->c = c;
    cl->fd = take_fd(&conn);
    buf_init(&cl->in, REQUEST_LINE_MAX);
    buf_init(&cl->out, ANSWER_MAX);
    read_peer(cl);
    c->client[slot] = cl;
    if (sd_event_add_io(c->loop, &cl->io, cl->fd, EPOLLIN, on_client, cl) < 0) {
        client_free(cl);
        return 0;
    }
    timer_arm(c->loop, &cl->timer, CLIENT_TIME, on_client_time, cl);
    return 0;
}

static int
listen_at(const char *path, struct err *e)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    char dir[108];
    mode_t old;
    int r;

    if (fd < 0 || !str_copy(sa.sun_path, sizeof(sa.sun_path), path) ||
        !str_copy(dir, sizeof(dir), path))
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "listen on %s: not a usable socket path",
                       path);
    r = fs_mkdirs(dirname(dir), 0700, e);
    if (r < 0)
        return err_prefix(e, "listen on %s", path);
    /* We hold the instance lock: whatever stands here is a leftover. */
    (void)unlink(path);
    old = umask(0177);
    r = bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 16) < 0 ? -errno : 0;
    (void)umask(old);
    if (r < 0)
        return err_errno(e, -r, ERR_CLASS_FATAL, "listen on %s", path);
    return take_fd(&fd);
}

int
control_new(sd_event *loop, const char *path, struct node *node, struct control **ret,
            struct err *e)
{
    struct control *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "control socket");
    c->loop = loop;
    c->node = node;
    c->fd = -1;
    request_add(&c->requests, own_requests, node);
    r = listen_at(path, e);
    if (r < 0) {
        free(c);
        return r;
    }
    c->fd = r;
    (void)str_copy(c->path, sizeof(c->path), path);
    r = sd_event_add_io(loop, &c->io, c->fd, EPOLLIN, on_accept, c);
    if (r < 0) {
        control_free(c);
        return err_errno(e, -r, ERR_CLASS_FATAL, "control socket");
    }
    *ret = c;
    return 0;
}

void
control_add(struct control *c, const struct request *rows, void *ctx)
{
    request_add(&c->requests, rows, ctx);
}

void
control_free(struct control *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (c->client[i]) {
            (void)client_write(c->client[i]); /* our own end was told, too */
            client_free(c->client[i]);
        }
    (void)sd_event_source_unref(c->io);
    if (c->fd >= 0)
        (void)unlink(c->path);
    fd_close(&c->fd);
    free(c);
}
