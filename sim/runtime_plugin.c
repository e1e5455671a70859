/* SPDX-License-Identifier: Apache-2.0
 *
 * Runtime stand-in: a plugin from connection to end, as containerd/nri pkg/adaptation/plugin.go.
 */
#include "sim/runtime_priv.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

/* ---- registration and configuration ---- */

static void
on_configured(void *ctx, struct rt_plugin *p, const struct rt_answer *a)
{
    struct spb m = spb_open(a->data, a->len);
    uint32_t mask = 0, extra;
    struct spb_field f;
    char text[512];

    (void)ctx;
    if (p->state == RT_CLOSED)
        return;
    rt_answer_text(a, text, sizeof(text));
    while (a->outcome == RT_ANSWERED && spb_next(&m, &f))
        if (f.number == 2)
            mask = (uint32_t)f.varint;
    extra = mask & ~p->rt->release->events;
    if (a->outcome != RT_ANSWERED || m.bad) {
        char why[600];

        (void)snprintf(why, sizeof(why), "failed to configure plugin: %s", text);
        rt_plugin_close(p, why);
    } else if (extra) {
        (void)snprintf(text, sizeof(text), "invalid plugin events: 0x%x", (unsigned)extra);
        rt_plugin_close(p, text);
    } else {
        p->mask = mask ? mask : p->rt->release->events;
        p->state = RT_CONFIGURED;
        if (p->pid)
            rt_launch_next(p->rt);
        rt_pump_later(p->rt);
    }
}

static void
configure(struct rt_plugin *p)
{
    const struct sim_runtime *rt = p->rt;
    struct buf q;

    buf_init(&q, RT_PAYLOAD_MAX);
    spb_put_string(&q, 1, p->config);
    spb_put_string(&q, 2, rt->opt.runtime);
    spb_put_string(&q, 3, rt->opt.version);
    if (rt->release->timeouts) {
        spb_put_varint(&q, 4, rt->opt.registration_usec / 1000);
        spb_put_varint(&q, 5, rt->opt.request_usec / 1000);
    }
    spb_put_string(&q, 6, rt->release->as_version);
    p->state = RT_CONFIGURING;
    rt_plugin_call(p, "Configure", &q, 0, on_configured, NULL);
    buf_fini(&q);
}

static bool
valid_name(const struct rt_release *rel, const char *s)
{
    static const char chars[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-";

    return *s && strlen(s) < RT_NAME_MAX && (!rel->checks_name || s[strspn(s, chars)] == '\0');
}

static bool
valid_index(const char *s)
{
    return strlen(s) == 2 && strspn(s, "0123456789") == 2;
}

/* The accept loop goes on with the next; the connection is left alone, as Go leaves it. */
static void
reject(struct rt_plugin *p, uint32_t stream, const char *why)
{
    p->state = RT_REJECTED;
    (void)str_copy(p->why, sizeof(p->why), why);
    (void)sd_event_source_set_enabled(p->timer, SD_EVENT_OFF);
    if (p->rt->admitting == p)
        p->rt->admitting = NULL;
    rt_wire_reply(&p->wire, stream, RT_UNKNOWN, why, NULL);
    rt_pump_later(p->rt);
}

static bool
read_register(struct rt_plugin *p, const void *data, size_t len, char *name, char *index)
{
    struct spb m = spb_open(data, len);
    struct spb_field f;

    while (spb_next(&m, &f)) {
        _cleanup_free_ char *s = f.number <= 3 ? spb_text(&f) : NULL;

        if (f.number <= 3 && !s)
            return false;
        if (f.number == 1 && !str_copy(name, RT_NAME_MAX, s))
            return false;
        if (f.number == 2 && !str_copy(index, sizeof(p->index), s))
            return false;
        if (f.number == 3)
            (void)str_copy(p->version, sizeof(p->version), s);
    }
    return !m.bad;
}

static void
on_register(struct rt_plugin *p, uint32_t stream, const void *data, size_t len)
{
    char name[RT_NAME_MAX] = "", index[sizeof(p->index)] = "";

    if (p->state != RT_CONNECTED) {
        rt_wire_reply(&p->wire, stream, RT_OK, NULL, NULL);
        return;
    }
    if (!read_register(p, data, len, name, index)) {
        rt_wire_reply(&p->wire, stream, RT_INTERNAL, "failed to unmarshal RegisterPluginRequest",
                      NULL);
        return;
    }
    if (!p->pid) { /* a launched plugin is who its file says */
        if (!valid_name(p->rt->release, name)) {
            reject(p, stream, "invalid plugin name");
            return;
        }
        if (!valid_index(index)) {
            reject(p, stream, "invalid plugin index");
            return;
        }
        (void)str_copy(p->base, sizeof(p->base), name);
        (void)str_copy(p->index, sizeof(p->index), index);
        (void)snprintf(p->name, sizeof(p->name), "%s-%s", index, name);
    }
    if (p->rt->opt.configure_first)
        configure(p);
    rt_wire_reply(&p->wire, stream, RT_OK, NULL, NULL);
    if (!p->rt->opt.configure_first)
        configure(p);
}

/* ---- the wire ---- */

static void
on_request(void *ctx, uint32_t stream, const char *service, const char *method, const void *payload,
           size_t len)
{
    struct rt_plugin *p = ctx;

    if (strcmp(service, RT_SERVICE_RUNTIME) != 0) {
        rt_wire_reply(&p->wire, stream, RT_UNIMPLEMENTED, "service", NULL);
    } else if (strcmp(method, "RegisterPlugin") == 0) {
        on_register(p, stream, payload, len);
    } else if (strcmp(method, "UpdateContainers") == 0) {
        p->updates++;
        rt_wire_reply(&p->wire, stream, RT_OK, NULL, NULL);
    } else {
        rt_wire_reply(&p->wire, stream, RT_UNIMPLEMENTED, "method", NULL);
    }
}

static void
give(struct rt_plugin *p, const struct rt_answer *a)
{
    rt_answer_fn answer = p->answer;

    p->answer = NULL;
    (void)sd_event_source_set_enabled(p->timer, SD_EVENT_OFF);
    if (answer)
        answer(p->answer_ctx, p, a);
}

static void
on_response(void *ctx, uint32_t stream, int code, const char *text, const void *payload, size_t len)
{
    struct rt_plugin *p = ctx;
    struct rt_answer a = {.outcome = code == RT_OK ? RT_ANSWERED : RT_ERROR,
                          .code = code,
                          .text = text,
                          .data = payload,
                          .len = len,
                          .usec = rt_now() - p->begun_usec};

    if (p->answer && stream == p->stream) /* else it comes for nothing, and is dropped */
        give(p, &a);
}

static void
on_ended(void *ctx, const char *why)
{
    rt_plugin_close(ctx, why);
}

static void
close_with(struct rt_plugin *p, enum rt_outcome outcome, const char *why)
{
    struct sim_runtime *rt = p->rt;
    struct rt_answer a = {.outcome = outcome, .text = why, .usec = rt_now() - p->begun_usec};
    struct rt_plugin **at;
    struct json_object *o;

    if (p->state == RT_CLOSED)
        return;
    if (!p->why[0] || p->state != RT_REJECTED)
        (void)snprintf(p->why, sizeof(p->why), "%s", why);
    o = rt_plugin_json(p);
    p->state = RT_CLOSED;
    rt_wire_close(&p->wire);
    if (p->pid)
        (void)kill(p->pid, SIGKILL);
    for (at = &rt->plugins; *at != p; at = &(*at)->next)
        ;
    *at = p->next;
    p->next = rt->dead;
    rt->dead = p;
    if (rt->admitting == p)
        rt->admitting = NULL;
    rt->n_closed++;
    if (json_object_array_length(rt->closed) == RT_CLOSED_MAX)
        (void)json_object_array_del_idx(rt->closed, 0, 1);
    json_object_array_add(rt->closed, o);
    if (p->pid && rt->starting)
        rt_launch_failed(rt, p->name, p->why);
    give(p, &a);
    rt_pump_later(rt);
    rt_waits_check(rt);
}

void
rt_plugin_close(struct rt_plugin *p, const char *why)
{
    close_with(p, RT_LOST, why);
}

static int
on_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
    struct rt_plugin *p = userdata;

    (void)s;
    (void)usec;
    if (p->state == RT_CONNECTED)
        rt_plugin_close(p, "plugin registration timed out");
    else if (p->answer)
        close_with(p, RT_TIMEOUT, "context deadline exceeded");
    return 0;
}

static const struct rt_wire_ops wire_ops = {
    .response = on_response, .request = on_request, .ended = on_ended};

/* ---- calls ---- */

static void
arm(struct rt_plugin *p, uint64_t usec)
{
    (void)sd_event_source_set_time(p->timer, rt_now() + usec);
    (void)sd_event_source_set_enabled(p->timer, SD_EVENT_ONESHOT);
}

void
rt_plugin_call(struct rt_plugin *p, const char *method, const struct buf *payload, uint64_t usec,
               rt_answer_fn answer, void *ctx)
{
    struct err e = ERR_INIT;

    if (usec == 0)
        usec = p->rt->opt.request_usec;
    p->answer = answer;
    p->answer_ctx = ctx;
    p->begun_usec = rt_now();
    arm(p, usec);
    if (rt_wire_call(&p->wire, RT_SERVICE_PLUGIN, method, payload, usec * 1000, &p->stream, &e) < 0)
        give(p, &(struct rt_answer){
                    .outcome = RT_TOO_BIG, .code = RT_RESOURCE_EXHAUSTED, .text = e.msg});
}

struct event_call {
    enum rt_event ev;
    struct buf payload; /* as StateChangeEvent */
    rt_answer_fn answer;
    void *ctx;
};

static void
on_dedicated(void *ctx, struct rt_plugin *p, const struct rt_answer *a)
{
    struct event_call *c = ctx;

    /* pkg/adaptation/plugin_type.go: from then on always StateChange. */
    if (a->outcome == RT_ERROR && a->code == RT_UNIMPLEMENTED && c->payload.len > 0) {
        p->state_change = true;
        rt_plugin_call(p, "StateChange", &c->payload, 0, c->answer, c->ctx);
    } else {
        c->answer(c->ctx, p, a);
    }
    buf_fini(&c->payload);
    free(c);
}

static void
put_subjects(const struct sim_runtime *rt, struct buf *b, unsigned field, const struct rt_pod *pod,
             const struct rt_container *c, const struct rt_edits *has)
{
    if (pod)
        rt_msg_pod(b, field, pod);
    if (c)
        rt_msg_container(rt, b, field + 1, c, has);
}

void
rt_plugin_event(struct rt_plugin *p, enum rt_event ev, const struct rt_pod *pod,
                const struct rt_container *c, const struct rt_edits *has, rt_answer_fn answer,
                void *ctx)
{
    bool always = rt_release_has(rt_release_of("0.6"), ev);
    struct event_call *x = calloc(1, sizeof(*x));
    struct buf own;

    if (!x) {
        answer(ctx, p, &(struct rt_answer){.outcome = RT_TOO_BIG, .text = "out of memory"});
        return;
    }
    *x = (struct event_call){.ev = ev, .answer = answer, .ctx = ctx};
    buf_init(&x->payload, RT_PAYLOAD_MAX);
    buf_init(&own, RT_PAYLOAD_MAX);
    if (!always) {
        spb_put_varint(&x->payload, 1, ev);
        put_subjects(p->rt, &x->payload, 2, pod, c, has);
    }
    put_subjects(p->rt, &own, 1, pod, c, has);
    p->calls[ev]++;
    if (always || (p->rt->release->dedicated && !p->state_change)) {
        rt_plugin_call(p, rt_event_name(ev), &own, 0, on_dedicated, x);
    } else {
        rt_plugin_call(p, "StateChange", &x->payload, 0, answer, ctx);
        buf_fini(&x->payload);
        free(x);
    }
    buf_fini(&own);
}

const char *
rt_outcome_name(enum rt_outcome o)
{
    static const char *const names[] = {"ok", "error", "timeout", "closed", "too big"};

    return names[o];
}

void
rt_answer_text(const struct rt_answer *a, char *buf, size_t size)
{
    if (a->outcome == RT_ERROR || a->outcome == RT_TOO_BIG)
        (void)snprintf(buf, size, "rpc error: code = %s desc = %s", rt_code_name(a->code), a->text);
    else
        (void)snprintf(buf, size, "%s", a->text ? a->text : "");
}

/* ---- begin and end ---- */

struct rt_plugin *
rt_plugin_new(struct sim_runtime *rt, int fd, struct err *e)
{
    struct rt_plugin *p = calloc(1, sizeof(*p)), **at;
    int r;

    if (!p) {
        fd_close(&fd);
        (void)err_set(e, ENOMEM, ERR_CLASS_FATAL, "a plugin's connection: out of memory");
        return NULL;
    }
    p->rt = rt;
    p->serial = ++rt->connects;
    if (rt_wire_open(&p->wire, rt->loop, fd, &wire_ops, p, e) < 0) {
        free(p);
        return NULL;
    }
    r = sd_event_add_time(rt->loop, &p->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, p);
    if (r < 0) {
        (void)err_errno(e, -r, ERR_CLASS_FATAL, "a plugin's connection: timer");
        rt_wire_fini(&p->wire);
        free(p);
        return NULL;
    }
    (void)sd_event_source_set_enabled(p->timer, SD_EVENT_OFF);
    /* An answer that is there counts, however late this program gets to run. */
    (void)sd_event_source_set_priority(p->timer, SD_EVENT_PRIORITY_IDLE);
    for (at = &rt->plugins; *at; at = &(*at)->next)
        ;
    *at = p;
    return p;
}

void
rt_plugin_begin(struct rt_plugin *p)
{
    arm(p, p->rt->opt.registration_usec);
    rt_waits_check(p->rt);
}

void
rt_plugin_free(struct rt_plugin *p)
{
    rt_wire_fini(&p->wire);
    sd_event_source_disable_unref(p->timer);
    if (p->child) { /* killed, not yet reaped */
        sd_event_source_disable_unref(p->child);
        (void)waitpid(p->pid, NULL, 0);
    }
    free(p->config);
    free(p);
}

struct json_object *
rt_plugin_json(const struct rt_plugin *p)
{
    static const char *const states[] = {"connected", "configuring", "configured", "synchronizing",
                                         "ready",     "rejected",    "closed"};
    struct json_object *o = json_object_new_object(), *calls = json_object_new_object();

    json_object_object_add(o, "name", json_object_new_string(p->name));
    json_object_object_add(o, "state", json_object_new_string(states[p->state]));
    json_object_object_add(o, "connection", json_object_new_int64(p->serial));
    json_object_object_add(o, "launched", json_object_new_boolean(p->pid != 0));
    json_object_object_add(o, "nri_version", json_object_new_string(p->version));
    json_object_object_add(o, "mask", json_object_new_int64(p->mask));
    json_object_object_add(o, "state_change",
                           json_object_new_boolean(p->state_change || !p->rt->release->dedicated));
    json_object_object_add(o, "sync_parts", json_object_new_int64(p->sync.parts));
    for (int ev = 1; ev < RT_EVENTS; ev++)
        if (p->calls[ev])
            json_object_object_add(calls, rt_event_name((enum rt_event)ev),
                                   json_object_new_int64((int64_t)p->calls[ev]));
    json_object_object_add(o, "calls", calls);
    json_object_object_add(o, "errors", json_object_new_int64((int64_t)p->errors));
    json_object_object_add(o, "updates", json_object_new_int64((int64_t)p->updates));
    json_object_object_add(o, "why", json_object_new_string(p->why));
    return o;
}
