/* SPDX-License-Identifier: Apache-2.0
 *
 * One client of a vfio-user socket: messages in, replies out, strictly in order. A port's thread.
 */
#include "sim/vfiouser_priv.h"

#include "base/cleanup.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* How often a reply that is held back looks whether it still has to be. */
#define HOLD_STEP_MS 20

struct client {
    struct vfu_port *p;
    int fd;
    struct vfu_msg msg;
    struct buf out;
};

int
vfu_wait(const struct vfu_srv *s, int fd, short events, int timeout_ms)
{
    struct pollfd p[2] = {{.fd = s->stop_fd, .events = POLLIN}, {.fd = fd, .events = events}};
    int r;

    do
        r = poll(p, 2, timeout_ms);
    while (r < 0 && errno == EINTR);
    if (p[0].revents)
        return -1;
    return r > 0 ? 1 : 0;
}

static uint64_t
now_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- in ---- */

/* Takes the descriptors out of what recvmsg() brought. */
static int
take_fds(struct client *c, struct msghdr *mh, struct err *e)
{
    int fds[VFU_FDS_MAX], r = 0;
    struct cmsghdr *cm;

    for (cm = CMSG_FIRSTHDR(mh); cm; cm = CMSG_NXTHDR(mh, cm)) {
        size_t n = (cm->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS || n > VFU_FDS_MAX)
            continue;
        memcpy(fds, CMSG_DATA(cm), n * sizeof(int));
        r = vfu_msg_add_fds(&c->msg, fds, (unsigned)n, e);
    }
    /* the kernel has closed those that did not fit */
    if (r == 0 && (mh->msg_flags & MSG_CTRUNC))
        r = err_set(e, EPROTO, ERR_CLASS_INVALID, "a message with more than %u descriptors",
                    VFU_FDS_MAX);
    return r;
}

/* Reads on in the message: 1 something came, 0 the client has gone, or -errno. */
static int
receive(struct client *c, struct err *e)
{
    union {
        char space[CMSG_SPACE(sizeof(int) * VFU_FDS_MAX)];
        struct cmsghdr align;
    } control;
    uint8_t data[16384];
    size_t want = vfu_msg_want(&c->msg);
    struct iovec iov = {.iov_base = data, .iov_len = want < sizeof(data) ? want : sizeof(data)};
    struct msghdr mh = {.msg_iov = &iov,
                        .msg_iovlen = 1,
                        .msg_control = control.space,
                        .msg_controllen = sizeof(control.space)};
    ssize_t n = recvmsg(c->fd, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    int r;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 1;
    if (n < 0 && errno != ECONNRESET)
        return err_errno(e, errno, ERR_CLASS_RETRY, "receive");
    if (n <= 0)
        return 0;
    r = take_fds(c, &mh, e);
    if (r == 0)
        r = vfu_msg_feed(&c->msg, data, (size_t)n, e);
    return r < 0 ? r : 1;
}

/* A whole message: 1 yes, 0 the client has gone or the server stops, or -errno. */
static int
next_message(struct client *c, struct err *e)
{
    int r;

    vfu_msg_clear(&c->msg);
    while (vfu_msg_want(&c->msg) > 0) {
        if (vfu_wait(c->p->srv, c->fd, POLLIN, -1) < 0)
            return 0;
        r = receive(c, e);
        if (r <= 0)
            return r;
    }
    return 1;
}

/* ---- out ---- */

static bool
muted(struct vfu_port *p, bool reset, uint64_t *ret_delay_ns)
{
    bool mute;

    (void)pthread_mutex_lock(&p->lock);
    mute = p->link.mute;
    *ret_delay_ns = (uint64_t)p->link.reply_delay_ms * 1000000u;
    if (reset)
        *ret_delay_ns += (uint64_t)p->link.reset_delay_ms * 1000000u;
    (void)pthread_mutex_unlock(&p->lock);
    return mute;
}

/* Holds a reply back as the device and the link's faults have it: a fault that is cleared lets it
 * go. False if the client or the server went away meanwhile. */
static bool
hold(struct client *c, uint64_t device_ns)
{
    uint64_t start = now_ns(), delay, waited = 0;
    bool reset = c->msg.hdr.cmd == VFU_RESET;

    while (muted(c->p, reset, &delay) || waited < device_ns + delay) {
        uint64_t left = waited < device_ns + delay ? device_ns + delay - waited : UINT64_MAX;
        int ms = left < HOLD_STEP_MS * 1000000u ? (int)(left / 1000000u) + 1 : HOLD_STEP_MS;

        /* POLLIN is of no interest here; the end is */
        if (vfu_wait(c->p->srv, c->fd, POLLRDHUP, ms) != 0)
            return false;
        waited = now_ns() - start;
    }
    return true;
}

static bool
send_reply(struct client *c)
{
    size_t sent = 0;

    while (sent < c->out.len) {
        ssize_t n;

        if (vfu_wait(c->p->srv, c->fd, POLLOUT, -1) < 0)
            return false;
        n = send(c->fd, c->out.data + sent, c->out.len - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        sent += n > 0 ? (size_t)n : 0;
    }
    return true;
}

static void
say(const struct vfu_port *p, const struct err *e)
{
    char line[ERR_MSG_MAX + VFU_NAME_MAX + 32];

    if (!p->srv->params.say)
        return;
    (void)snprintf(line, sizeof(line), "%s: client sent away: %s", p->name, e->msg);
    p->srv->params.say(line);
}

static void
serve(struct client *c)
{
    struct err e = ERR_INIT;
    uint64_t device_ns;
    int r;

    while ((r = next_message(c, &e)) > 0) {
        (void)pthread_mutex_lock(&c->p->lock);
        device_ns = vfu_dev_handle(c->p->dev, &c->msg, &c->out);
        (void)pthread_mutex_unlock(&c->p->lock);
        if (buf_failed(&c->out)) {
            r = err_set(&e, ENOMEM, ERR_CLASS_FATAL, "reply: out of memory");
            break;
        }
        if (!hold(c, device_ns) || !send_reply(c))
            return;
    }
    if (r < 0)
        say(c->p, &e);
}

/* False where the link is down: the client is sent away. */
static bool
connected(struct vfu_port *p, int fd)
{
    bool up;

    (void)pthread_mutex_lock(&p->lock);
    up = !p->link.down;
    if (up) {
        p->client_fd = fd;
        vfu_dev_connect(p->dev);
    }
    (void)pthread_mutex_unlock(&p->lock);
    return up;
}

static void
disconnected(struct vfu_port *p)
{
    (void)pthread_mutex_lock(&p->lock);
    p->client_fd = -1;
    vfu_dev_disconnect(p->dev);
    (void)pthread_mutex_unlock(&p->lock);
}

static void
serve_client(struct vfu_port *p, int fd)
{
    struct client c = {.p = p, .fd = fd};

    if (!connected(p, fd))
        return;
    vfu_msg_init(&c.msg);
    buf_init(&c.out, sizeof(struct vfu_hdr) + VFU_BODY_MAX);
    serve(&c);
    disconnected(p);
    vfu_msg_fini(&c.msg);
    buf_fini(&c.out);
}

void *
vfu_port_thread(void *arg)
{
    struct vfu_port *p = arg;

    while (vfu_wait(p->srv, p->listen_fd, POLLIN, -1) >= 0) {
        int fd = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd >= 0) {
            serve_client(p, fd);
            (void)close(fd);
        } else if (vfu_wait(p->srv, -1, 0, HOLD_STEP_MS) < 0) {
            return NULL; /* out of descriptors, say: not so fast */
        }
    }
    return NULL;
}
