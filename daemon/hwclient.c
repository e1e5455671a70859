/* SPDX-License-Identifier: Apache-2.0
 *
 * Owner of the socket to pgpu-hwd. Loop thread only.
 */
#include "daemon/hwclient.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/hw.h"
#include "daemon/timer.h"
#include "hwd/protocol.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Reconnecting is cheap (a local connect), so the ceiling is low: a restarted service is found
 * within a second. */
#define RETRY_FIRST HW_MS(20)
#define RETRY_MAX HW_SEC(1)

struct hwclient {
    sd_event *loop;
    struct hwclient_handler h;
    char socket[108];
    int fd;
    sd_event_source *io;
    sd_event_source *retry;
    uint64_t retry_delay;
    uint64_t seq;
    bool up;
    uint32_t modes; /* of its hello */
    char why[160];
};

static void try_connect(struct hwclient *c);

static int
on_retry(sd_event_source *s, uint64_t usec, void *ctx)
{
    (void)s;
    (void)usec;
    try_connect(ctx);
    return 0;
}

static void
disconnect(struct hwclient *c, const char *why)
{
    bool was_up = c->up;

    c->io = sd_event_source_unref(c->io);
    fd_close(&c->fd);
    c->up = false;
    (void)snprintf(c->why, sizeof(c->why), "%s", why);
    timer_arm(c->loop, &c->retry, c->retry_delay, on_retry, c);
    c->retry_delay = c->retry_delay * 2 > RETRY_MAX ? RETRY_MAX : c->retry_delay * 2;
    if (was_up)
        c->h.down(c->h.ctx, c->why);
}

static void
dispatch(struct hwclient *c, const struct hwd_message *m)
{
    switch ((enum hwd_msg_type)m->type) {
    case HWD_MSG_HELLO:
        c->modes = m->modes;
        c->h.hello(c->h.ctx);
        return;
    case HWD_MSG_FACTS:
        c->h.facts(c->h.ctx, &m->facts);
        return;
    case HWD_MSG_GONE:
        c->h.gone(c->h.ctx, m->unit);
        return;
    case HWD_MSG_SYNCED:
        c->up = true;
        c->why[0] = '\0';
        c->retry_delay = RETRY_FIRST;
        c->h.up(c->h.ctx);
        return;
    case HWD_MSG_PROGRESS:
        c->h.progress(c->h.ctx, m);
        return;
    case HWD_MSG_RESULT:
        c->h.result(c->h.ctx, m);
        return;
    }
}

static int
on_io(sd_event_source *s, int fd, uint32_t revents, void *ctx)
{
    struct hwclient *c = ctx;
    struct hwd_message m;
    struct err e = ERR_INIT;

    (void)s;
    (void)revents;
    /* A handler may disconnect us, hence the look at c->fd in every round. */
    for (int i = 0; i < 64 && c->fd == fd; i++) {
        ssize_t n = recv(fd, &m, sizeof(m), MSG_DONTWAIT | MSG_TRUNC);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        if (n <= 0) {
            disconnect(c, n == 0 ? "pgpu-hwd closed the connection" : strerror(errno));
            return 0;
        }
        if (hwd_message_check(&m, (size_t)n, &e) < 0) {
            disconnect(c, e.msg);
            return 0;
        }
        dispatch(c, &m);
    }
    return 0;
}

static void
try_connect(struct hwclient *c)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    char why[160];
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || !str_copy(sa.sun_path, sizeof(sa.sun_path), c->socket) ||
        connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
        (void)snprintf(why, sizeof(why), "connect to %s: %s", c->socket, strerror(errno));
        disconnect(c, why);
        return;
    }
    if (sd_event_add_io(c->loop, &c->io, fd, EPOLLIN, on_io, c) < 0) {
        disconnect(c, "cannot watch the socket");
        return;
    }
    c->fd = take_fd(&fd);
}

int
hwclient_new(sd_event *loop, const char *socket_path, const struct hwclient_handler *h,
             struct hwclient **ret, struct err *e)
{
    struct hwclient *c = calloc(1, sizeof(*c));

    if (!c)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "connect to pgpu-hwd");
    if (!str_copy(c->socket, sizeof(c->socket), socket_path)) {
        free(c);
        return err_set(e, ENAMETOOLONG, ERR_CLASS_INVALID, "connect to pgpu-hwd: %s: too long",
                       socket_path);
    }
    c->loop = loop;
    c->h = *h;
    c->fd = -1;
    c->retry_delay = RETRY_FIRST;
    try_connect(c);
    *ret = c;
    return 0;
}

void
hwclient_free(struct hwclient *c)
{
    if (!c)
        return;
    (void)sd_event_source_unref(c->io);
    (void)sd_event_source_unref(c->retry);
    fd_close(&c->fd);
    free(c);
}

void
hwclient_drop(struct hwclient *c, const char *why)
{
    if (c->fd >= 0)
        disconnect(c, why);
}

bool
hwclient_is_up(const struct hwclient *c)
{
    return c->up;
}

const char *
hwclient_why(const struct hwclient *c)
{
    return c->why;
}

uint32_t
hwclient_modes(const struct hwclient *c)
{
    return c->up ? c->modes : 0;
}

int
hwclient_send(struct hwclient *c, struct hwd_request *req, struct err *e)
{
    ssize_t n;

    if (!c->up)
        return err_reason(e, ENOTCONN, ERR_CLASS_RETRY, REASON_HWD_DOWN, "pgpu-hwd is down: %s",
                          c->why);
    req->magic = HWD_PROTO_MAGIC;
    req->version = HWD_PROTO_VERSION;
    req->seq = ++c->seq;
    do {
        n = send(c->fd, req, sizeof(*req), MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n == (ssize_t)sizeof(*req))
        return 0;
    /* A full queue means that the service does not read: it hangs. Its death is noticed by the
     * closed connection; until then this request is simply not accepted. */
    return err_reason(e, EAGAIN, ERR_CLASS_RETRY, REASON_HWD_DOWN, "send %s for %s to pgpu-hwd: %s",
                      hwd_op_name((enum hwd_op)req->op), PCI_STR(req->unit), strerror(errno));
}
