/* SPDX-License-Identifier: Apache-2.0
 *
 * Server of the control socket (stream, one thread per connection, few connections) and of the
 * uevent socket (SOCK_SEQPACKET, every connected client gets every payload). The list of listeners
 * is protected by `lock`, which is taken below the kernel's lock and never around a kernel call.
 */
#include "sim/control.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "sim/ctlsock.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTENERS_MAX 32

struct listener {
    int fd; /* -1: free */
    bool trace;
    bool all;
    struct pci_addr addr;
};

struct sim_server {
    struct sim_kernel *k;
    int control_fd, uevent_fd, stop_fd;
    char control_path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    char uevent_path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t idle;
    unsigned connections;
    struct listener listeners[LISTENERS_MAX];
};

/* ---- listeners ---- */

static bool
listener_add(struct sim_server *s, struct listener l)
{
    bool found = false;
    size_t i;

    (void)pthread_mutex_lock(&s->lock);
    for (i = 0; i < LISTENERS_MAX && !found; i++)
        if (s->listeners[i].fd < 0) {
            s->listeners[i] = l;
            found = true;
        }
    (void)pthread_mutex_unlock(&s->lock);
    return found;
}

static void
listener_drop(struct listener *l)
{
    (void)close(l->fd);
    l->fd = -1;
}

static void
on_uevent(void *ctx, const char *payload, size_t len)
{
    struct sim_server *s = ctx;
    size_t i;

    (void)pthread_mutex_lock(&s->lock);
    for (i = 0; i < LISTENERS_MAX; i++) {
        struct listener *l = &s->listeners[i];

        /* a slow reader loses events, as with netlink; a closed one is dropped */
        if (l->fd >= 0 && !l->trace && send(l->fd, payload, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
            errno != EAGAIN)
            listener_drop(l);
    }
    (void)pthread_mutex_unlock(&s->lock);
}

static void
on_access(void *ctx, struct pci_addr addr, const struct sim_access *a)
{
    struct sim_server *s = ctx;
    char line[CTLSOCK_TRACE_MAX];
    size_t i;
    int n;

    (void)pthread_mutex_lock(&s->lock);
    for (i = 0; i < LISTENERS_MAX; i++) {
        struct listener *l = &s->listeners[i];

        if (l->fd < 0 || !l->trace || (!l->all && pci_addr_cmp(l->addr, addr) != 0))
            continue;
        n = ctlsock_trace_line(line, sizeof(line), l->all ? PCI_STR(addr) : "gpu", a);
        if (n > 0 && send(l->fd, line, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
            errno != EAGAIN)
            listener_drop(l);
    }
    (void)pthread_mutex_unlock(&s->lock);
}

/* ---- one control connection ---- */

struct conn {
    struct sim_server *s;
    int fd;
};

/* Hands the descriptor to the listeners; false if the connection stays ours to close. */
static bool
start_trace(struct conn *c, const char *what)
{
    struct listener l = {.fd = c->fd, .trace = true, .all = strcmp(what, "all") == 0};
    int big = 4 << 20;

    if (!l.all && !pci_addr_parse(what, &l.addr)) {
        (void)ctlsock_send(c->fd, "error: trace: want an address or all\n", 37);
        return false;
    }
    (void)setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &big, sizeof(big));
    if (!ctlsock_send(c->fd, "ok\n", 3) || !listener_add(c->s, l))
        return false;
    /* idempotent; left on for the node's life once somebody was interested */
    sim_k_on_access(c->s->k, on_access, c->s);
    return true;
}

static void
conn_run(struct conn *c)
{
    _cleanup_free_ char *reply = malloc(SIM_REPLY_MAX);
    char line[CTLSOCK_LINE_MAX];
    struct err e = ERR_INIT;
    bool kept = false;

    if (reply && ctlsock_read_line(c->fd, line, sizeof(line))) {
        if (strncmp(line, "trace ", 6) == 0)
            kept = start_trace(c, line + 6);
        else
            ctlsock_answer(c->fd, sim_k_control(c->s->k, line, reply, SIM_REPLY_MAX, &e), reply,
                           &e);
    }
    if (!kept)
        (void)close(c->fd);
}

static void *
conn_thread(void *arg)
{
    struct conn *c = arg;
    struct sim_server *s = c->s;

    conn_run(c);
    free(c);
    (void)pthread_mutex_lock(&s->lock);
    s->connections--;
    (void)pthread_cond_broadcast(&s->idle);
    (void)pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void
accept_control(struct sim_server *s)
{
    struct timeval patience = {.tv_sec = 10};
    struct conn *c;
    pthread_t t;
    int fd = accept4(s->control_fd, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0)
        return;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    c = calloc(1, sizeof(*c));
    if (c) {
        c->s = s;
        c->fd = fd;
        (void)pthread_mutex_lock(&s->lock);
        s->connections++;
        (void)pthread_mutex_unlock(&s->lock);
        if (pthread_create(&t, NULL, conn_thread, c) == 0) {
            (void)pthread_detach(t);
            return;
        }
        (void)pthread_mutex_lock(&s->lock);
        s->connections--;
        (void)pthread_mutex_unlock(&s->lock);
        free(c);
    }
    (void)close(fd);
}

static void
accept_uevents(struct sim_server *s)
{
    int fd = accept4(s->uevent_fd, NULL, NULL, SOCK_CLOEXEC);

    if (fd >= 0 && !listener_add(s, (struct listener){.fd = fd}))
        (void)close(fd);
}

static void *
server_thread(void *arg)
{
    struct sim_server *s = arg;
    struct pollfd p[3] = {{.fd = s->control_fd, .events = POLLIN},
                          {.fd = s->uevent_fd, .events = POLLIN},
                          {.fd = s->stop_fd, .events = POLLIN}};

    for (;;) {
        if (poll(p, 3, -1) < 0 && errno != EINTR)
            return NULL;
        if (p[2].revents)
            return NULL;
        if (p[0].revents)
            accept_control(s);
        if (p[1].revents)
            accept_uevents(s);
    }
}

/* ---- start and stop ---- */

static int
listen_at(const char *path, int type, char *kept, size_t size, struct err *e)
{
    int fd = ctlsock_listen(path, type, e);

    if (fd >= 0)
        (void)str_copy(kept, size, path);
    return fd;
}

static void
server_free(struct sim_server *s)
{
    fd_close(&s->control_fd);
    fd_close(&s->uevent_fd);
    fd_close(&s->stop_fd);
    if (s->control_path[0])
        (void)unlink(s->control_path);
    if (s->uevent_path[0])
        (void)unlink(s->uevent_path);
    (void)pthread_mutex_destroy(&s->lock);
    (void)pthread_cond_destroy(&s->idle);
    free(s);
}

int
sim_server_start(struct sim_kernel *k, const char *control_path, const char *uevent_path,
                 struct sim_server **ret, struct err *e)
{
    struct sim_server *s = calloc(1, sizeof(*s));
    size_t i;
    int r = 0;

    if (!s)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "start the control server: out of memory");
    s->k = k;
    s->control_fd = s->uevent_fd = -1;
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_cond_init(&s->idle, NULL);
    for (i = 0; i < LISTENERS_MAX; i++)
        s->listeners[i].fd = -1;
    s->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (s->stop_fd < 0)
        r = err_errno(e, errno, ERR_CLASS_FATAL, "start the control server");
    if (r >= 0 && control_path)
        r = s->control_fd =
            listen_at(control_path, SOCK_STREAM, s->control_path, sizeof(s->control_path), e);
    if (r >= 0 && uevent_path)
        r = s->uevent_fd =
            listen_at(uevent_path, SOCK_SEQPACKET, s->uevent_path, sizeof(s->uevent_path), e);
    if (r >= 0) {
        r = pthread_create(&s->thread, NULL, server_thread, s);
        if (r != 0)
            r = err_errno(e, r, ERR_CLASS_FATAL, "start the control server");
    }
    if (r < 0) {
        server_free(s);
        return r;
    }
    sim_k_on_uevent(k, on_uevent, s);
    *ret = s;
    return 0;
}

void
sim_server_stop(struct sim_server *s)
{
    uint64_t one = 1;
    size_t i;

    if (!s)
        return;
    (void)!write(s->stop_fd, &one, sizeof(one));
    (void)pthread_join(s->thread, NULL);
    sim_k_on_uevent(s->k, NULL, NULL);
    sim_k_on_access(s->k, NULL, NULL);
    (void)pthread_mutex_lock(&s->lock);
    while (s->connections > 0)
        (void)pthread_cond_wait(&s->idle, &s->lock);
    for (i = 0; i < LISTENERS_MAX; i++)
        if (s->listeners[i].fd >= 0)
            listener_drop(&s->listeners[i]);
    (void)pthread_mutex_unlock(&s->lock);
    server_free(s);
}
