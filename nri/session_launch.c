/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections that a runtime made for a plugin it launched, brought by pgpu-nri-launch. See
 * nri/launch.h for what is said, nri/session.h for the rest.
 */
#include "nri/session.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "nri/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- what the launcher is told ---- */

static void
tell(int fd, int status, const char *text)
{
    struct launch_answer a = {.status = (uint32_t)status};

    utf8_line(a.text, sizeof(a.text), text);
    /* A launcher that is gone or full up does not matter: the close says the same. */
    (void)send(fd, &a, sizeof(a), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void
launch_end(struct nri_peer *p, int status, const char *why)
{
    p->launcher_io = sd_event_source_disable_unref(p->launcher_io);
    if (p->launcher >= 0)
        tell(p->launcher, status, why);
    fd_close(&p->launcher);
    p->used = false; /* what is known of it stays readable until the slot is needed */
}

/* ---- sessions ---- */

bool
launch_has(const struct nri *n, pid_t pid)
{
    /* Our own process as the runtime is a test with several of them. */
    for (unsigned i = 0; i < n->n && pid > 0 && pid != getpid(); i++)
        if (n->peer[i].launched && n->peer[i].fd >= 0 && n->peer[i].pid == pid)
            return true;
    return false;
}

static bool
connected_to(const struct nri *n, pid_t pid)
{
    for (unsigned i = 0; i < n->n && pid > 0 && pid != getpid(); i++)
        if (n->peer[i].fd >= 0 && n->peer[i].pid == pid)
            return true;
    return false;
}

static int
on_launcher(sd_event_source *s, int fd, uint32_t revents, void *ctx)
{
    struct nri_peer *p = ctx;

    (void)s;
    (void)fd;
    (void)revents;
    /* It has nothing more to say: this is its end, that is, the runtime's wish. */
    p->launcher_io = sd_event_source_disable_unref(p->launcher_io);
    peer_fail(p, "the launched program ended");
    return 0;
}

static struct nri_peer *
free_slot(struct nri *n)
{
    for (unsigned i = n->n_sockets; i < NRI_SESSIONS_MAX; i++)
        if (!n->peer[i].used)
            return &n->peer[i];
    return NULL;
}

/* The descriptor must be a connected unix stream socket; whose, is told. */
static int
check_socket(int fd, pid_t *ret_pid, struct err *e)
{
    struct ucred c = {0};
    socklen_t n = sizeof(int), nc = sizeof(c);
    int domain = 0, type = 0;

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) < 0 || domain != AF_UNIX ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) < 0 || type != SOCK_STREAM)
        return err_set(e, ENOTSOCK, ERR_CLASS_INVALID,
                       "launched plugin: the descriptor is not a unix stream socket");
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &nc) < 0 ||
        getpeername(fd, (struct sockaddr *)&(struct sockaddr_un){0},
                    &(socklen_t){sizeof(struct sockaddr_un)}) < 0)
        return err_set(e, ENOTCONN, ERR_CLASS_INVALID,
                       "launched plugin: the socket is not connected");
    *ret_pid = c.pid;
    return 0;
}

int
launch_adopt(struct nri *n, int fd, int launcher, const char *name, const char *index,
             struct err *e)
{
    _cleanup_fd_ int own = fd, own_launcher = launcher;
    struct nri_peer *p = free_slot(n);
    pid_t pid = 0;
    int r;

    if (!nri_name_valid(name) || !nri_index_valid(index))
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "launched plugin: name or index is not valid");
    if (!p)
        return err_set(e, EUSERS, ERR_CLASS_BUSY, "launched plugin: %d sessions are the limit",
                       NRI_SESSIONS_MAX);
    r = check_socket(own, &pid, e);
    if (r < 0)
        return r;
    if (connected_to(n, pid))
        return err_set(e, EALREADY, ERR_CLASS_BUSY,
                       "launched plugin: there is a session with this runtime already");
    const struct nri_runtime fresh = {.last_event = NRI_EVENTS};

    p->rt = fresh;
    p->launched = true;
    p->minimal = false;
    p->pid = pid;
    (void)str_copy(p->rt.socket, sizeof(p->rt.socket), "launched");
    (void)str_copy(p->name, sizeof(p->name), name);
    (void)str_copy(p->index, sizeof(p->index), index);
    if (own_launcher >= 0) {
        r = sd_event_add_io(n->loop, &p->launcher_io, own_launcher, EPOLLIN, on_launcher, p);
        if (r < 0)
            return err_errno(e, -r, ERR_CLASS_FATAL, "launched plugin: watch the launcher");
    }
    r = peer_start(p, take_fd(&own), e);
    if (r < 0) {
        p->launcher_io = sd_event_source_disable_unref(p->launcher_io);
        return r;
    }
    p->used = true;
    p->launcher = take_fd(&own_launcher);
    if (p->number >= n->n)
        n->n = p->number + 1;
    return 0;
}

/* ---- hello ---- */

static void
launcher_free(struct nri_launcher *l)
{
    l->io = sd_event_source_disable_unref(l->io);
    l->timer = sd_event_source_disable_unref(l->timer);
    fd_close(&l->fd);
}

/* Room for more descriptors than are allowed, so that all of them are seen and closed. */
union control {
    struct cmsghdr align;
    char room[CMSG_SPACE(8 * sizeof(int))];
};

/* The descriptor of a message with exactly one; any others are closed. */
static int
one_fd(struct msghdr *m)
{
    int fd = -1, n = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t off = 0; CMSG_LEN(off + sizeof(int)) <= c->cmsg_len; off += sizeof(int)) {
            fd_close(&fd);
            memcpy(&fd, CMSG_DATA(c) + off, sizeof(fd));
            n++;
        }
    }
    if (n != 1 || (m->msg_flags & MSG_CTRUNC))
        fd_close(&fd);
    return fd;
}

static int
receive_hello(int from, struct launch_hello *ret, int *ret_fd, struct err *e)
{
    struct launch_hello h;
    union control control;
    struct iovec iov = {.iov_base = &h, .iov_len = sizeof(h)};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(from, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (n < 0)
        return err_errno(e, errno, ERR_CLASS_RETRY, "launched plugin: receive");
    _cleanup_fd_ int fd = one_fd(&m);

    if ((size_t)n != sizeof(h) || (m.msg_flags & MSG_TRUNC) ||
        memcmp(h.magic, LAUNCH_MAGIC, sizeof(h.magic)) != 0 ||
        !memchr(h.name, '\0', sizeof(h.name)) || !memchr(h.index, '\0', sizeof(h.index)))
        return err_set(e, EPROTO, ERR_CLASS_INVALID,
                       "launched plugin: not a hello of this version of pgpu-nri-launch");
    if (fd < 0)
        return err_set(e, EPROTO, ERR_CLASS_INVALID,
                       "launched plugin: exactly one descriptor must come with the hello");
    *ret = h;
    *ret_fd = take_fd(&fd);
    return 0;
}

static int
on_hello(sd_event_source *s, int fd, uint32_t revents, void *ctx)
{
    struct nri_launcher *l = ctx;
    struct launch_hello h;
    struct err e = ERR_INIT;
    int runtime = -1, r;

    (void)s;
    (void)revents;
    r = receive_hello(fd, &h, &runtime, &e);
    if (r == -EAGAIN || r == -EINTR)
        return 0;
    if (r == 0) {
        /* The launcher's socket is needed for the answer, whoever owns it by then. */
        _cleanup_fd_ int answer = fcntl(fd, F_DUPFD_CLOEXEC, 0);

        /* One loop watches a descriptor only once. */
        l->io = sd_event_source_disable_unref(l->io);
        r = launch_adopt(l->nri, runtime, take_fd(&l->fd), h.name, h.index, &e);
        if (answer >= 0)
            tell(answer, r < 0 ? e.num : 0, r < 0 ? e.msg : "");
    } else {
        tell(fd, e.num, e.msg);
    }
    launcher_free(l);
    return 0;
}

static int
on_silence(sd_event_source *s, uint64_t usec, void *ctx)
{
    (void)s;
    (void)usec;
    launcher_free(ctx);
    return 0;
}

/* ---- the socket ---- */

static bool
may_launch(int fd)
{
    struct ucred c = {.uid = (uid_t)-1};
    socklen_t n = sizeof(c);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &n) == 0 &&
           (c.uid == 0 || c.uid == geteuid());
}

static int
on_connect(sd_event_source *s, int listener, uint32_t revents, void *ctx)
{
    struct nri *n = ctx;
    _cleanup_fd_ int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)s;
    (void)revents;
    if (fd < 0)
        return 0;
    if (!may_launch(fd)) {
        tell(fd, EPERM, "only root and pgpud's own user may hand over connections");
        return 0;
    }
    for (unsigned i = 0; i < NRI_LAUNCHERS_MAX; i++) {
        struct nri_launcher *l = &n->launcher[i];

        if (l->fd >= 0)
            continue;
        l->fd = take_fd(&fd);
        if (sd_event_add_io(n->loop, &l->io, l->fd, EPOLLIN, on_hello, l) < 0 ||
            nri_timer(n, &l->timer, NRI_LAUNCHER_USEC, on_silence, l) < 0)
            launcher_free(l);
        return 0;
    }
    tell(fd, EBUSY, "too many launchers at a time");
    return 0;
}

static int
bind_at(int fd, const char *path, struct err *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    if (!str_copy(a.sun_path, sizeof(a.sun_path), path))
        return err_set(e, ENAMETOOLONG, ERR_CLASS_INVALID, "listen on %s: too long", path);
    /* The inode gets the mode of the descriptor, so there is no moment with a wider one. */
    if (fchmod(fd, 0600) < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "listen on %s: chmod", path);
    if (bind(fd, (const struct sockaddr *)&a, sizeof(a)) == 0)
        return 0;
    if (errno != EADDRINUSE)
        return err_errno(e, errno, ERR_CLASS_FATAL, "listen on %s", path);

    /* Left behind by a crash? */
    _cleanup_fd_ int probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (probe < 0 || connect(probe, (const struct sockaddr *)&a, sizeof(a)) == 0 ||
        errno != ECONNREFUSED)
        return err_set(e, EADDRINUSE, ERR_CLASS_FATAL, "listen on %s: in use, or no socket", path);
    if (unlink(path) < 0 || bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "listen on %s", path);
    return 0;
}

int
launch_listen(struct nri *n, const char *path, struct err *e)
{
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r;

    if (fd < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "listen on %s: socket", path);
    r = bind_at(fd, path, e);
    if (r < 0)
        return r;
    (void)str_copy(n->launch_path, sizeof(n->launch_path), path);
    if (listen(fd, NRI_LAUNCHERS_MAX) < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "listen on %s", path);
    r = sd_event_add_io(n->loop, &n->launch_io, fd, EPOLLIN, on_connect, n);
    /* Out of descriptors, accept fails and stays possible: do not spin. */
    if (r >= 0)
        r = sd_event_source_set_ratelimit(n->launch_io, 1000000, 200);
    if (r < 0)
        return err_errno(e, -r, ERR_CLASS_FATAL, "listen on %s: watch", path);
    n->launch_fd = take_fd(&fd);
    return 0;
}

void
launch_close(struct nri *n)
{
    for (unsigned i = 0; i < NRI_LAUNCHERS_MAX; i++)
        launcher_free(&n->launcher[i]);
    n->launch_io = sd_event_source_disable_unref(n->launch_io);
    fd_close(&n->launch_fd);
    if (n->launch_path[0])
        (void)unlink(n->launch_path);
}
