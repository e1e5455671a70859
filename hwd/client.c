/* SPDX-License-Identifier: Apache-2.0
 *
 * Clients: the listening socket, who may connect, bounded queues. A client that does not read is
 * dropped; nothing here ever waits for one.
 */
#include "hwd/svc.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef PGPU_VERSION
#define PGPU_VERSION "unknown"
#endif

#define READ_BURST 16 /* packets read from one client before others get their turn */

struct queued {
    struct queued *next;
    struct hwd_message m;
};

struct client {
    struct svc *svc;
    uint64_t id;
    int fd;
    pid_t pid;
    sd_event_source *io;
    bool synced;
    struct queued *head, **tail;
    unsigned n_queued;
};

static struct client *
client_by_id(struct svc *s, uint64_t id)
{
    for (unsigned i = 0; i < CLIENTS_MAX; i++)
        if (s->clients[i] && s->clients[i]->id == id)
            return s->clients[i];
    return NULL;
}

static void
client_drop(struct client *c, const char *why)
{
    struct svc *s = c->svc;

    for (unsigned i = 0; i < CLIENTS_MAX; i++)
        if (s->clients[i] == c)
            s->clients[i] = NULL;
    log_info("client gone", "pid", LOG_NUM(c->pid), "why", why);
    c->io = sd_event_source_disable_unref(c->io);
    fd_close(&c->fd);
    while (c->head) {
        struct queued *q = c->head;

        c->head = q->next;
        free(q);
    }
    free(c);
}

/* Sends what is queued: 1 all out, 0 the client does not take more now, <0 it is gone (dropped). */
static int
client_flush(struct client *c)
{
    while (c->head) {
        struct queued *q = c->head;
        ssize_t n = send(c->fd, &q->m, sizeof(q->m), MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == ENOBUFS))
            return 0;
        if (n < 0) {
            client_drop(c, strerror(errno));
            return -1;
        }
        c->head = q->next;
        if (!c->head)
            c->tail = &c->head;
        c->n_queued--;
        free(q);
    }
    return 1;
}

/* May drop the client. */
static void
client_send(struct client *c, const struct hwd_message *m)
{
    struct queued *q;
    int r;

    if (c->n_queued >= CLIENT_QUEUE_MAX) {
        client_drop(c, "does not read");
        return;
    }
    q = malloc(sizeof(*q));
    if (!q) {
        client_drop(c, "out of memory");
        return;
    }
    q->next = NULL;
    q->m = *m;
    q->m.magic = HWD_PROTO_MAGIC;
    q->m.version = HWD_PROTO_VERSION;
    *c->tail = q;
    c->tail = &q->next;
    c->n_queued++;
    r = client_flush(c);
    if (r >= 0)
        (void)sd_event_source_set_io_events(c->io, r ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

static void
client_sync(struct svc *s, uint64_t id)
{
    struct hwd_message m;
    struct client *c;

    for (unsigned i = 0; i < s->n_units; i++) {
        memset(&m, 0, sizeof(m));
        m.type = HWD_MSG_FACTS;
        m.unit = s->units[i]->facts.unit;
        m.facts = s->units[i]->facts;
        c = client_by_id(s, id);
        if (!c)
            return;
        client_send(c, &m);
    }
    memset(&m, 0, sizeof(m));
    m.type = HWD_MSG_SYNCED;
    c = client_by_id(s, id);
    if (!c)
        return;
    c->synced = true;
    client_send(c, &m);
}

void
clients_synced(struct svc *s)
{
    for (unsigned i = 0; i < CLIENTS_MAX; i++)
        if (s->clients[i] && !s->clients[i]->synced)
            client_sync(s, s->clients[i]->id);
}

static void
broadcast(struct svc *s, const struct hwd_message *m)
{
    for (unsigned i = 0; i < CLIENTS_MAX; i++)
        if (s->clients[i] && s->clients[i]->synced)
            client_send(s->clients[i], m);
}

void
clients_facts(struct svc *s, const struct hwd_facts *f)
{
    struct hwd_message m;

    memset(&m, 0, sizeof(m));
    m.type = HWD_MSG_FACTS;
    m.unit = f->unit;
    m.facts = *f;
    broadcast(s, &m);
}

void
clients_gone(struct svc *s, struct pci_addr unit)
{
    struct hwd_message m;

    memset(&m, 0, sizeof(m));
    m.type = HWD_MSG_GONE;
    m.unit = unit;
    broadcast(s, &m);
}

void
client_progress(struct svc *s, uint64_t client, uint64_t seq, const struct unit *u,
                enum hwd_phase phase, const char *detail)
{
    struct client *c = client_by_id(s, client);
    struct hwd_message m;

    if (!c)
        return;
    memset(&m, 0, sizeof(m));
    m.type = HWD_MSG_PROGRESS;
    m.unit = u->facts.unit;
    m.seq = seq;
    m.phase = (uint32_t)phase;
    (void)str_copy(m.text, sizeof(m.text), detail);
    client_send(c, &m);
}

void
client_result(struct svc *s, uint64_t client, uint64_t seq, const struct unit *u,
              struct pci_addr addr, const struct err *e, const struct hwd_evidence *ev)
{
    struct client *c = client_by_id(s, client);
    struct hwd_message m;

    if (!c)
        return;
    memset(&m, 0, sizeof(m));
    m.type = HWD_MSG_RESULT;
    m.unit = addr;
    m.seq = seq;
    if (u)
        m.facts = u->facts;
    if (e) {
        m.err_class = (uint32_t)e->cls;
        m.err_num = (uint32_t)e->num;
        m.reason = (uint32_t)e->reason;
        (void)str_copy(m.text, sizeof(m.text), e->msg);
    }
    if (ev)
        m.evidence = *ev;
    client_send(c, &m);
}

static int
on_client(sd_event_source *src, int fd, uint32_t revents, void *ctx)
{
    struct client *c = ctx;
    struct svc *s = c->svc;
    uint64_t id = c->id;

    (void)src;
    if ((revents & EPOLLOUT)) {
        int r = client_flush(c);

        if (r < 0)
            return 0;
        if (r > 0)
            (void)sd_event_source_set_io_events(c->io, EPOLLIN);
    }
    if (!(revents & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        return 0;
    /* Serving a request may drop the client, so it is looked up again each time. */
    for (int i = 0; i < READ_BURST && (c = client_by_id(s, id)); i++) {
        struct hwd_request r;
        struct err e = ERR_INIT;
        ssize_t n = recv(fd, &r, sizeof(r), MSG_DONTWAIT | MSG_TRUNC);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        if (n <= 0) {
            client_drop(c, n == 0 ? "closed" : strerror(errno));
            return 0;
        }
        if (hwd_request_check(&r, (size_t)n, &e) < 0) {
            log_warn("client dropped", "pid", LOG_NUM(c->pid), "error", e.msg);
            client_drop(c, "spoke nonsense");
            return 0;
        }
        op_request(s, id, &r);
    }
    return 0;
}

static struct client *
client_new(struct svc *s, int fd, pid_t pid)
{
    struct client *c;
    unsigned slot = 0;

    while (slot < CLIENTS_MAX && s->clients[slot])
        slot++;
    if (slot == CLIENTS_MAX)
        return NULL;
    c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->svc = s;
    c->id = ++s->last_client;
    c->fd = fd;
    c->pid = pid;
    c->tail = &c->head;
    if (sd_event_add_io(s->loop, &c->io, fd, EPOLLIN, on_client, c) < 0) {
        free(c);
        return NULL;
    }
    s->clients[slot] = c;
    return c;
}

static int
on_listen(sd_event_source *src, int fd, uint32_t revents, void *ctx)
{
    struct svc *s = ctx;
    struct ucred cred = {0};
    socklen_t len = sizeof(cred);
    struct hwd_message hello;
    struct client *c;
    uint64_t id;
    int cfd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)src;
    (void)revents;
    if (cfd < 0)
        return 0;
    if (getsockopt(cfd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 ||
        (cred.uid != 0 && cred.uid != geteuid())) {
        log_warn("client refused", "pid", LOG_NUM(cred.pid), "uid", LOG_NUM(cred.uid));
        (void)close(cfd);
        return 0;
    }
    c = client_new(s, cfd, cred.pid);
    if (!c) {
        log_warn("client refused", "pid", LOG_NUM(cred.pid), "why", "too many clients");
        (void)close(cfd);
        return 0;
    }
    log_info("client connected", "pid", LOG_NUM(cred.pid));
    id = c->id;
    memset(&hello, 0, sizeof(hello));
    hello.type = HWD_MSG_HELLO;
    (void)str_copy(hello.text, sizeof(hello.text), PGPU_VERSION);
    for (enum cc_mode m = CC_MODE_OFF; m <= CC_MODE_PPCIE; m++)
        hello.modes |= hwd_config_mode_allowed(s->p->cfg, m) ? 1u << m : 0;
    client_send(c, &hello);
    if (s->scan)
        client_sync(s, id);
    return 0;
}

int
clients_listen(struct svc *s, struct err *e)
{
    int r = sd_event_add_io(s->loop, NULL, s->listen_fd, EPOLLIN, on_listen, s);

    return r < 0 ? err_errno(e, -r, ERR_CLASS_FATAL, "watch the listening socket") : 0;
}

void
clients_close(struct svc *s)
{
    for (unsigned i = 0; i < CLIENTS_MAX; i++)
        if (s->clients[i])
            client_drop(s->clients[i], "the service stops");
}
