/* SPDX-License-Identifier: Apache-2.0
 *
 * Runtime stand-in: the commands that look, and the one that waits.
 */
#include "sim/runtime_priv.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WAIT_DEFAULT_USEC ((uint64_t)10 * 1000 * 1000)

bool
rt_number(const char *s, long max, long *ret)
{
    char *end;
    long v;

    errno = 0;
    v = strtol(s, &end, 10);
    if (end == s || *end || errno || v < 0 || v > max)
        return false;
    *ret = v;
    return true;
}

static long
ready_plugins(const struct sim_runtime *rt)
{
    long n = 0;

    for (const struct rt_plugin *p = rt->plugins; p; p = p->next)
        n += p->state == RT_READY;
    return n;
}

void
rt_cmd_status(struct sim_runtime *rt, struct rt_line *l, sim_runtime_done done, void *ctx)
{
    struct json_object *o = rt_ok();

    (void)l;
    json_object_object_add(o, "runtime", json_object_new_string(rt->opt.runtime));
    json_object_object_add(o, "version", json_object_new_string(rt->opt.version));
    json_object_object_add(o, "nri", json_object_new_string(rt->release->name));
    json_object_object_add(o, "socket", json_object_new_string(rt->opt.nri));
    json_object_object_add(o, "up", json_object_new_boolean(rt->up));
    json_object_object_add(o, "hung", json_object_new_boolean(rt->hung));
    json_object_object_add(o, "busy", json_object_new_boolean(rt->op_runs));
    json_object_object_add(o, "plugins", json_object_new_int64(ready_plugins(rt)));
    json_object_object_add(o, "connects", json_object_new_int64(rt->connects));
    json_object_object_add(o, "closed", json_object_new_int64(rt->n_closed));
    json_object_object_add(o, "restarts", json_object_new_int64(rt->restarts));
    rt_answer(done, ctx, o);
}

void
rt_cmd_pods(struct sim_runtime *rt, struct rt_line *l, sim_runtime_done done, void *ctx)
{
    struct json_object *o = rt_ok(), *list = json_object_new_array();

    (void)l;
    for (const struct rt_pod *p = rt->pods; p; p = p->next)
        json_object_array_add(list, rt_pod_json(p));
    json_object_object_add(o, "pods", list);
    rt_answer(done, ctx, o);
}

void
rt_cmd_plugins(struct sim_runtime *rt, struct rt_line *l, sim_runtime_done done, void *ctx)
{
    struct json_object *o = rt_ok(), *list = json_object_new_array();

    (void)l;
    for (const struct rt_plugin *p = rt->plugins; p; p = p->next)
        json_object_array_add(list, rt_plugin_json(p));
    json_object_object_add(o, "plugins", list);
    json_object_object_add(o, "closed", json_object_get(rt->closed));
    rt_answer(done, ctx, o);
}

/* ---- waiting ---- */

static void
wait_end(struct rt_wait *w, struct json_object *answer)
{
    sim_runtime_done done = w->done;

    w->done = NULL;
    (void)sd_event_source_set_enabled(w->timer, SD_EVENT_OFF);
    rt_answer(done, w->ctx, answer);
}

static bool
wait_met(const struct rt_wait *w)
{
    const struct sim_runtime *rt = w->rt;

    return rt->up && (w->plugins < 0 || ready_plugins(rt) == w->plugins) &&
           (w->closed < 0 || rt->n_closed >= (unsigned long)w->closed) &&
           (w->connects < 0 || rt->connects >= (unsigned long)w->connects);
}

void
rt_waits_check(struct sim_runtime *rt)
{
    for (size_t i = 0; i < RT_WAITS_MAX; i++)
        if (!rt->freeing && rt->waits[i].done && wait_met(&rt->waits[i]))
            wait_end(&rt->waits[i], rt_ok());
}

void
rt_waits_fini(struct sim_runtime *rt)
{
    for (size_t i = 0; i < RT_WAITS_MAX; i++)
        sd_event_source_disable_unref(rt->waits[i].timer);
}

static int
on_time(sd_event_source *s, uint64_t usec, void *userdata)
{
    struct rt_wait *w = userdata;

    (void)s;
    (void)usec;
    if (w->done)
        wait_end(w, rt_error("wait: time is up: %s, %ld plugins ready, %u connected, %u closed",
                             w->rt->up ? "up" : "down", ready_plugins(w->rt), w->rt->connects,
                             w->rt->n_closed));
    return 0;
}

static bool
parse_wait(struct rt_wait *w, const struct rt_line *l, uint64_t *usec)
{
    const struct {
        const char *prefix;
        long *value;
    } words[] = {{"plugins=", &w->plugins}, {"closed=", &w->closed}, {"connects=", &w->connects}};

    w->plugins = w->closed = w->connects = -1;
    for (size_t i = 1; i < l->n; i++) {
        const char *s = l->word[i];
        bool taken = false;
        long seconds;

        for (size_t j = 0; j < ARRAY_SIZE(words) && !taken; j++) {
            size_t n = strlen(words[j].prefix);

            taken =
                strncmp(s, words[j].prefix, n) == 0 && rt_number(s + n, 1000000, words[j].value);
        }
        if (!taken) {
            if (!rt_number(s, 86400, &seconds))
                return false;
            *usec = (uint64_t)seconds * 1000000;
        }
    }
    return true;
}

void
rt_cmd_wait(struct sim_runtime *rt, struct rt_line *l, sim_runtime_done done, void *ctx)
{
    uint64_t usec = WAIT_DEFAULT_USEC;
    struct rt_wait *w = NULL;
    int r = 0;

    for (size_t i = 0; i < RT_WAITS_MAX && !w; i++)
        w = rt->waits[i].done ? NULL : &rt->waits[i];
    if (!w || !parse_wait(w, l, &usec)) {
        rt_answer(done, ctx, rt_error("wait [plugins=N] [closed=N] [connects=N] [SECONDS]"));
        return;
    }
    w->rt = rt;
    if (!w->timer)
        r = sd_event_add_time_relative(rt->loop, &w->timer, CLOCK_MONOTONIC, usec, 1000, on_time,
                                       w);
    else
        r = sd_event_source_set_time_relative(w->timer, usec);
    if (r >= 0)
        r = sd_event_source_set_enabled(w->timer, SD_EVENT_ONESHOT);
    if (r < 0) {
        rt_answer(done, ctx, rt_error("wait: timer: %s", strerror(-r)));
        return;
    }
    w->done = done;
    w->ctx = ctx;
    if (wait_met(w))
        wait_end(w, rt_ok());
}
