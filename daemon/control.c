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

#define CLIENTS_MAX 16
#define REQUEST_MAX 1024
#define ANSWER_MAX (4u << 20)
#define CLIENT_TIME HW_SEC(5)

struct client {
    struct control *c;
    int fd;
    sd_event_source *io;
    sd_event_source *timer;
    struct buf in, out;
};

struct control {
    sd_event *loop;
    struct node *node;
    char path[108];
    int fd;
    sd_event_source *io;
    struct client *client[CLIENTS_MAX];
};

static void
client_free(struct client *cl)
{
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (cl->c->client[i] == cl)
            cl->c->client[i] = NULL;
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

static void
answer(struct client *cl, const char *line)
{
    struct err e = ERR_INIT;

    if (strcmp(line, "status") == 0) {
        if (status_json(cl->c->node, &cl->out, &e) < 0) {
            buf_clear(&cl->out);
            (void)buf_putf(&cl->out, "{\"error\":\"%s\"}\n", e.msg);
        }
        return;
    }
    (void)buf_put_str(&cl->out, "{\"error\":\"unknown request; known: status\"}\n");
}

/* True while there is something left to do for the client. */
static bool
client_read(struct client *cl)
{
    char tmp[REQUEST_MAX];
    ssize_t n = recv(cl->fd, tmp, sizeof(tmp), MSG_DONTWAIT);
    const char *text;
    char *nl;

    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n == 0 || !buf_put(&cl->in, tmp, (size_t)n))
        return false;
    text = buf_cstr(&cl->in);
    nl = text ? strchr(text, '\n') : NULL;
    if (!nl)
        return text != NULL;
    *nl = '\0';
    answer(cl, text);
    (void)sd_event_source_set_io_events(cl->io, EPOLLOUT);
    return true;
}

static int
on_client(sd_event_source *s, int fd, uint32_t revents, void *ctx)
{
    struct client *cl = ctx;
    bool more = true;

    (void)s;
    if (buf_left(&cl->out) == 0 && (revents & (EPOLLIN | EPOLLHUP)))
        more = client_read(cl);
    if (more && buf_left(&cl->out) > 0) {
        ssize_t n = send(fd, buf_peek(&cl->out), buf_left(&cl->out), MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n > 0)
            (void)buf_skip(&cl->out, (size_t)n);
        more = (n > 0 && buf_left(&cl->out) > 0) || (n < 0 && errno == EAGAIN);
    }
    if (!more)
        client_free(cl);
    return 0;
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
    if (conn < 0 || slot == CLIENTS_MAX || !(cl = calloc(1, sizeof(*cl))))
        return 0; /* too many clients: this one sees a closed connection */
    cl->c = c;
    cl->fd = take_fd(&conn);
    buf_init(&cl->in, REQUEST_MAX);
    buf_init(&cl->out, ANSWER_MAX);
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
control_free(struct control *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (c->client[i])
            client_free(c->client[i]);
    (void)sd_event_source_unref(c->io);
    if (c->fd >= 0)
        (void)unlink(c->path);
    fd_close(&c->fd);
    free(c);
}
