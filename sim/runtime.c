/* SPDX-License-Identifier: Apache-2.0
 *
 * Runtime stand-in: life. Who may go next is decided in one place (rt_pump): a Synchronize before
 * an operation, one of either at a time, and the next connection when nobody is being admitted.
 */
#include "sim/runtime_priv.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_USEC ((uint64_t)2 * 1000 * 1000)      /* pkg/api/timeouts.go */
#define REGISTRATION_USEC ((uint64_t)5 * 1000 * 1000) /* the same */

uint64_t
rt_now(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

struct json_object *
rt_ok(void)
{
    struct json_object *o = json_object_new_object();

    json_object_object_add(o, "ok", json_object_new_boolean(true));
    return o;
}

struct json_object *
rt_error(const char *fmt, ...)
{
    struct json_object *o = json_object_new_object();
    char text[2048];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    json_object_object_add(o, "ok", json_object_new_boolean(false));
    json_object_object_add(o, "error", json_object_new_string(text));
    return o;
}

void
rt_answer(sim_runtime_done done, void *ctx, struct json_object *answer)
{
    done(ctx, answer);
    json_object_put(answer);
}

/* ---- the socket ---- */

static int
on_accept(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
    struct sim_runtime *rt = userdata;
    int got = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    struct err e = ERR_INIT;

    (void)s;
    (void)revents;
    if (got < 0)
        return 0;
    rt->admitting = rt_plugin_new(rt, got, &e);
    if (rt->admitting)
        rt_plugin_begin(rt->admitting);
    rt_pump(rt);
    return 0;
}

static int
listen_at(struct sim_runtime *rt, struct err *e)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r;

    if (!str_copy(sa.sun_path, sizeof(sa.sun_path), rt->opt.nri))
        return err_set(e, ENAMETOOLONG, ERR_CLASS_INVALID, "NRI socket %s: too long", rt->opt.nri);
    (void)unlink(rt->opt.nri);
    if (fd < 0 || bind(fd, (const struct sockaddr *)(const void *)&sa, sizeof(sa)) < 0 ||
        listen(fd, 64) < 0)
        return err_errno(e, errno, ERR_CLASS_INVALID, "NRI socket %s", rt->opt.nri);
    r = sd_event_add_io(rt->loop, &rt->accept, fd, EPOLLIN, on_accept, rt);
    if (r < 0)
        return err_errno(e, -r, ERR_CLASS_FATAL, "NRI socket %s", rt->opt.nri);
    rt->fd = take_fd(&fd);
    return 0;
}

/* ---- up and down ---- */

static int
serve(struct sim_runtime *rt, struct err *e)
{
    rt->starting = false;
    if (listen_at(rt, e) < 0)
        return -e->num;
    rt->up = true;
    if (rt->ready)
        rt->ready(rt->ready_ctx);
    rt->ready = NULL;
    rt_waits_check(rt);
    return 0;
}

int
rt_up(struct sim_runtime *rt, struct err *e)
{
    rt_launch_forget(rt);
    if (rt_launch_discover(rt, e) < 0)
        return -e->num;
    if (rt->n_candidates == 0)
        return serve(rt, e);
    rt->starting = true;
    rt_launch_next(rt);
    return 0;
}

void
rt_down(struct sim_runtime *rt, bool stale)
{
    rt->up = rt->starting = false;
    rt->accept = sd_event_source_disable_unref(rt->accept);
    fd_close(&rt->fd);
    if (!stale)
        (void)unlink(rt->opt.nri);
    while (rt->plugins)
        rt_plugin_close(rt->plugins, "the runtime ended");
}

void
rt_hang(struct sim_runtime *rt, bool on)
{
    rt->hung = on;
    for (struct rt_plugin *p = rt->plugins, *next; p; p = next) {
        next = p->next;
        if (p->answer || p->state == RT_CONNECTED)
            (void)sd_event_source_set_enabled(p->timer, on ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
        rt_wire_pause(&p->wire, on);
    }
    rt_pump_later(rt);
}

/* ---- who goes next ---- */

static struct rt_plugin *
in_state(const struct sim_runtime *rt, enum rt_plugin_state state)
{
    struct rt_plugin *p;

    for (p = rt->plugins; p && p->state != state; p = p->next)
        ;
    return p;
}

/* Launched plugins are all configured before the first is synchronized. */
static bool
launching(const struct sim_runtime *rt)
{
    if (!rt->starting)
        return false;
    return rt->candidate < rt->n_candidates || in_state(rt, RT_CONNECTED) ||
           in_state(rt, RT_CONFIGURING);
}

void
rt_pump(struct sim_runtime *rt)
{
    struct rt_plugin *next;
    struct err e = ERR_INIT;

    if (rt->freeing)
        return;
    if (rt->accept)
        (void)sd_event_source_set_enabled(rt->accept,
                                          rt->admitting || rt->hung ? SD_EVENT_OFF : SD_EVENT_ON);
    if (rt->hung || rt->op_runs || in_state(rt, RT_SYNCING) || launching(rt))
        return;
    next = in_state(rt, RT_CONFIGURED);
    if (next)
        rt_sync_start(next);
    else if (rt->starting && serve(rt, &e) < 0)
        (void)sd_event_exit(rt->loop, EXIT_FAILURE);
    else
        rt_op_run(rt);
}

static void
bury(struct sim_runtime *rt)
{
    while (rt->dead) {
        struct rt_plugin *p = rt->dead;

        rt->dead = p->next;
        rt_plugin_free(p);
    }
}

static int
on_later(sd_event_source *s, void *userdata)
{
    struct sim_runtime *rt = userdata;

    (void)sd_event_source_set_enabled(s, SD_EVENT_OFF);
    bury(rt);
    rt_pump(rt);
    return 0;
}

void
rt_pump_later(struct sim_runtime *rt)
{
    (void)sd_event_source_set_enabled(rt->reaper, SD_EVENT_ONESHOT);
}

/* ---- begin and end ---- */

static int
check_options(struct sim_runtime *rt, struct err *e)
{
    struct sim_runtime_options *o = &rt->opt;

    if (!o->runtime)
        o->runtime = "containerd";
    if (!o->version)
        o->version = strcmp(o->runtime, "cri-o") == 0 ? "1.36.0" : "v2.3.4";
    if (rt_traits_of(o->runtime, o->version, &rt->traits) < 0)
        return err_set(e, EINVAL, ERR_CLASS_INVALID,
                       "runtime %s %s is not known: containerd from 1.7.14, cri-o from 1.30",
                       o->runtime, o->version);
    rt->release =
        o->release ? rt_release_of(o->release) : rt_release_of_runtime(o->runtime, o->version);
    if (!rt->release)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "NRI %s is not known: 0.6 to 0.12",
                       o->release);
    if (!o->request_usec)
        o->request_usec = REQUEST_USEC;
    if (!o->registration_usec)
        o->registration_usec = REGISTRATION_USEC;
    if (o->cdi_enabled < 0)
        o->cdi_enabled = rt->traits.cdi_on;
    return 0;
}

int
sim_runtime_new(sd_event *loop, const struct sim_runtime_options *opt, struct sim_runtime **ret,
                struct err *e)
{
    struct sim_runtime *rt = calloc(1, sizeof(*rt));
    sigset_t child;
    int r;

    if (!rt)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "runtime stand-in: out of memory");
    rt->opt = *opt;
    rt->fd = -1;
    rt->ops_tail = &rt->ops;
    rt->loop = sd_event_ref(loop);
    rt->closed = json_object_new_array();
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &child, NULL); /* sd_event_add_child wants it */
    r = check_options(rt, e);
    if (r == 0 && (r = sd_event_add_defer(loop, &rt->reaper, on_later, rt)) < 0)
        r = err_errno(e, -r, ERR_CLASS_FATAL, "runtime stand-in");
    if (r >= 0)
        r = rt_up(rt, e);
    if (r < 0) {
        sim_runtime_free(rt);
        return r;
    }
    *ret = rt;
    return 0;
}

void
sim_runtime_on_ready(struct sim_runtime *rt, void (*ready)(void *ctx), void *ctx)
{
    rt->ready = ready;
    rt->ready_ctx = ctx;
    if (!rt->up)
        return;
    rt->ready = NULL;
    ready(ctx);
}

void
sim_runtime_free(struct sim_runtime *rt)
{
    if (!rt)
        return;
    rt->freeing = true;
    rt_waits_fini(rt);
    rt_down(rt, rt->fd < 0);
    bury(rt);
    while (rt->ops) {
        struct rt_op *op = rt->ops;

        rt->ops = op->next;
        rt_op_free(op);
    }
    while (rt->pods)
        rt_pod_drop(rt, rt->pods);
    rt_launch_forget(rt);
    sd_event_source_disable_unref(rt->reaper);
    json_object_put(rt->closed);
    sd_event_unref(rt->loop);
    free(rt);
}
