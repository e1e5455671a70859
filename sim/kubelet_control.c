/* SPDX-License-Identifier: Apache-2.0
 *
 * Kubelet stand-in: the control socket. One line in, one line of JSON out, closed.
 */
#include "base/cleanup.h"
#include "base/fs.h"
#include "sim/kubelet.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LINE_BYTES 4096
#define CONNECTIONS_MAX 64

struct connection {
    struct sim_kubelet_control *c;
    struct connection *next;
    sd_event_source *source;
    int fd;
    size_t n;
    char line[LINE_BYTES];
    bool asked; /* the command has it; its answer ends the connection */
};

struct sim_kubelet_control {
    sd_event *loop;
    struct sim_kubelet *k;
    sd_event_source *source;
    int fd;
    char path[108];
    size_t n;
    struct connection *list;
};

static void
connection_free(struct connection *x)
{
    struct connection **p;

    for (p = &x->c->list; *p != x; p = &(*p)->next)
        ;
    *p = x->next;
    x->c->n--;
    sd_event_source_disable_unref(x->source);
    fd_close(&x->fd);
    free(x);
}

static void
on_answer(void *ctx, struct json_object *answer)
{
    struct connection *x = ctx;
    const char *s = json_object_to_json_string_ext(answer, JSON_C_TO_STRING_NOSLASHESCAPE);
    size_t len = strlen(s);
    struct err e = ERR_INIT;

    /* The socket is blocking for this one write with a time limit (SO_SNDTIMEO): the reader is a
     * tool on the same machine that waits for it. */
    if (fs_write_all(x->fd, s, len, &e) == 0)
        (void)fs_write_all(x->fd, "\n", 1, &e);
    connection_free(x);
}

static int
on_readable(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
    struct connection *x = userdata;
    ssize_t n = recv(fd, x->line + x->n, sizeof(x->line) - 1 - x->n, MSG_DONTWAIT);
    char *end;

    (void)s;
    (void)revents;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n > 0)
        x->n += (size_t)n;
    x->line[x->n] = '\0';
    end = strchr(x->line, '\n');
    if (!end && n > 0 && x->n + 1 < sizeof(x->line))
        return 0;
    if (!end && x->n == 0) {
        connection_free(x);
        return 0;
    }
    if (end)
        *end = '\0';
    (void)sd_event_source_set_enabled(x->source, SD_EVENT_OFF);
    sim_kubelet_command(x->c->k, x->line, on_answer, x);
    return 0;
}

static int
on_accept(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
    const struct timeval limit = {.tv_sec = 5};
    struct sim_kubelet_control *c = userdata;
    struct connection *x;
    int got = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

    (void)s;
    (void)revents;
    if (got < 0)
        return 0;
    x = c->n < CONNECTIONS_MAX ? calloc(1, sizeof(*x)) : NULL;
    if (!x) {
        fd_close(&got);
        return 0;
    }
    (void)setsockopt(got, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    x->c = c;
    x->fd = got;
    x->next = c->list;
    c->list = x;
    c->n++;
    if (sd_event_add_io(c->loop, &x->source, got, POLLIN, on_readable, x) < 0)
        connection_free(x);
    return 0;
}

int
sim_kubelet_control_new(sd_event *loop, struct sim_kubelet *k, const char *path,
                        struct sim_kubelet_control **ret, struct err *e)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct sim_kubelet_control *c = calloc(1, sizeof(*c));
    mode_t old;
    int r;

    if (!c)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "control socket %s: out of memory", path);
    c->k = k;
    c->loop = sd_event_ref(loop);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0 || !str_copy(addr.sun_path, sizeof(addr.sun_path), path)) {
        r = c->fd < 0 ? errno : ENAMETOOLONG;
        sim_kubelet_control_free(c);
        return err_errno(e, r, ERR_CLASS_INVALID, "control socket %s", path);
    }
    (void)unlink(path);
    old = umask(0177);
    r = bind(c->fd, (struct sockaddr *)(void *)&addr, sizeof(addr)) < 0 ? errno : 0;
    umask(old);
    if (r == 0)
        (void)str_copy(c->path, sizeof(c->path), path);
    if (r == 0 && listen(c->fd, 16) < 0)
        r = errno;
    if (r == 0)
        r = -sd_event_add_io(loop, &c->source, c->fd, POLLIN, on_accept, c);
    if (r > 0) {
        sim_kubelet_control_free(c);
        return err_errno(e, r, ERR_CLASS_INVALID, "control socket %s", path);
    }
    *ret = c;
    return 0;
}

void
sim_kubelet_control_free(struct sim_kubelet_control *c)
{
    if (!c)
        return;
    while (c->list)
        connection_free(c->list);
    sd_event_source_disable_unref(c->source);
    fd_close(&c->fd);
    if (c->path[0])
        (void)unlink(c->path);
    sd_event_unref(c->loop);
    free(c);
}
