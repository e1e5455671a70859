/* SPDX-License-Identifier: Apache-2.0
 *
 * See sim/jsonctl.h.
 */
#include "sim/jsonctl.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fs.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECTIONS_MAX 64

struct connection {
    struct sim_jsonctl *c;
    struct connection *next;
    sd_event_source *source;
    int fd;
    struct buf line;
};

struct sim_jsonctl {
    sd_event *loop;
    sim_jsonctl_command command;
    void *target;
    sd_event_source *source;
    int fd;
    char path[108];
    size_t n, line_max;
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
    buf_fini(&x->line);
    free(x);
}

static void
on_answer(void *ctx, struct json_object *answer)
{
    struct connection *x = ctx;
    const char *s = json_object_to_json_string_ext(answer, JSON_C_TO_STRING_NOSLASHESCAPE);
    struct err e = ERR_INIT;

    /* The socket is blocking for this one write with a time limit (SO_SNDTIMEO): the reader is a
     * tool on the same machine that waits for it. */
    if (fs_write_all(x->fd, s, strlen(s), &e) == 0)
        (void)fs_write_all(x->fd, "\n", 1, &e);
    connection_free(x);
}

static void
too_long(struct connection *x)
{
    struct json_object *o = json_object_new_object();
    char text[80];

    (void)snprintf(text, sizeof(text), "the line is longer than %zu bytes", x->c->line_max);
    json_object_object_add(o, "ok", json_object_new_boolean(false));
    json_object_object_add(o, "error", json_object_new_string(text));
    on_answer(x, o);
    json_object_put(o);
}

static int
on_readable(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
    struct connection *x = userdata;
    char chunk[4096];
    ssize_t n = recv(fd, chunk, sizeof(chunk), MSG_DONTWAIT);
    const char *line;
    char *end;

    (void)s;
    (void)revents;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    end = n > 0 ? memchr(chunk, '\n', (size_t)n) : NULL;
    if (n > 0)
        (void)buf_put(&x->line, chunk, end ? (size_t)(end - chunk) : (size_t)n);
    if (n > 0 && !end && !buf_failed(&x->line))
        return 0;
    (void)sd_event_source_set_enabled(x->source, SD_EVENT_OFF);
    if (buf_failed(&x->line)) {
        too_long(x);
        return 0;
    }
    line = buf_cstr(&x->line);
    if (!line || (n <= 0 && !*line)) {
        connection_free(x);
        return 0;
    }
    x->c->command(x->c->target, line, on_answer, x);
    return 0;
}

static int
on_accept(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
    const struct timeval limit = {.tv_sec = 5};
    struct sim_jsonctl *c = userdata;
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
    buf_init(&x->line, c->line_max);
    x->next = c->list;
    c->list = x;
    c->n++;
    if (sd_event_add_io(c->loop, &x->source, got, POLLIN, on_readable, x) < 0)
        connection_free(x);
    return 0;
}

static int
listen_at(struct sim_jsonctl *c, const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    mode_t old;
    int r;

    if (!str_copy(addr.sun_path, sizeof(addr.sun_path), path))
        return ENAMETOOLONG;
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        return errno;
    (void)unlink(path);
    old = umask(0177);
    r = bind(c->fd, (struct sockaddr *)(void *)&addr, sizeof(addr)) < 0 ? errno : 0;
    umask(old);
    if (r == 0)
        (void)str_copy(c->path, sizeof(c->path), path);
    if (r == 0 && listen(c->fd, 16) < 0)
        r = errno;
    return r != 0 ? r : -sd_event_add_io(c->loop, &c->source, c->fd, POLLIN, on_accept, c);
}

int
sim_jsonctl_new(sd_event *loop, const char *path, size_t line_max, sim_jsonctl_command command,
                void *target, struct sim_jsonctl **ret, struct err *e)
{
    struct sim_jsonctl *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "control socket %s: out of memory", path);
    *c = (struct sim_jsonctl){.loop = sd_event_ref(loop),
                              .command = command,
                              .target = target,
                              .fd = -1,
                              .line_max = line_max};
    r = listen_at(c, path);
    if (r > 0) {
        sim_jsonctl_free(c);
        return err_errno(e, r, ERR_CLASS_INVALID, "control socket %s", path);
    }
    *ret = c;
    return 0;
}

void
sim_jsonctl_free(struct sim_jsonctl *c)
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
