/* SPDX-License-Identifier: Apache-2.0
 *
 * Runtime stand-in: Synchronize. Everything in one message where it fits; else in parts that have a
 * share of the pods and a share of the containers each, so that a part's containers may belong to
 * pods of a later one; all within one request time-out. (containerd/nri pkg/adaptation/plugin.go,
 * synchronize and recalcObjsPerSyncMsg). Stopped sandboxes are listed until they are removed, in
 * whatever order the runtime keeps them.
 */
#include "sim/runtime_priv.h"

#include <stdio.h>
#include <string.h>

#define MARGIN 256u /* service, method and time-out of the ttRPC request */
#define FEWEST 8u   /* Go does not split further: minObjsPerMsg */

struct counts {
    size_t pods, containers;
};

static struct counts
count(const struct sim_runtime *rt)
{
    struct counts n = {0};

    for (const struct rt_pod *p = rt->pods; p; p = p->next) {
        n.pods++;
        for (const struct rt_container *c = p->containers; c; c = c->next)
            n.containers += c->state != RT_STOPPED;
    }
    return n;
}

/* The lists are kept oldest first. */
static const struct rt_pod *
first_pod(const struct sim_runtime *rt)
{
    const struct rt_pod *p = rt->pods;

    while (p && p->next && !rt->opt.sync_oldest_first)
        p = p->next;
    return p;
}

static const struct rt_container *
first_container(const struct sim_runtime *rt, const struct rt_pod *p)
{
    const struct rt_container *c = p->containers;

    while (c && c->next && !rt->opt.sync_oldest_first)
        c = c->next;
    return c;
}

/* Pods and containers from what was sent on, as many as a message shall have. */
static void
build(const struct rt_plugin *p, struct buf *q, bool more)
{
    const bool oldest_first = p->rt->opt.sync_oldest_first;
    size_t pod = 0, container = 0;
    const size_t to_pod = p->sync.pods + p->sync.pods_each;
    const size_t to = p->sync.containers + p->sync.containers_each;

    for (const struct rt_pod *x = first_pod(p->rt); x; x = oldest_first ? x->next : x->prev) {
        if (pod >= p->sync.pods && pod < to_pod)
            rt_msg_pod(q, 1, x);
        pod++;
        for (const struct rt_container *c = first_container(p->rt, x); c;
             c = oldest_first ? c->next : c->prev) {
            if (c->state == RT_STOPPED)
                continue;
            if (container >= p->sync.containers && container < to)
                rt_msg_container(p->rt, q, 2, c, &c->has);
            container++;
        }
    }
    spb_put_varint(q, 3, more);
}

/* No more than is left; and something, where there is: Go's shares can both become 0. */
static void
clip(struct rt_plugin *p, const struct counts *all)
{
    bool left = p->sync.pods < all->pods || p->sync.containers < all->containers;
    size_t none_pods = p->sync.pods < all->pods ? 0 : p->sync.pods_each;
    size_t none_containers = p->sync.containers < all->containers ? 0 : p->sync.containers_each;

    if (left && p->sync.pods_each - none_pods + p->sync.containers_each - none_containers == 0)
        p->sync.pods_each = p->sync.containers_each = 1;
    if (p->sync.pods_each > all->pods - p->sync.pods)
        p->sync.pods_each = all->pods - p->sync.pods;
    if (p->sync.containers_each > all->containers - p->sync.containers)
        p->sync.containers_each = all->containers - p->sync.containers;
}

/* Fewer per message; false where it cannot get smaller. */
static bool
shrink(struct rt_plugin *p, size_t len, size_t limit)
{
    size_t fewest = p->rt->opt.sync_chunk ? 2 : FEWEST;
    size_t n = p->sync.pods_each + p->sync.containers_each;
    double factor = (double)limit / (double)len;

    if (!p->rt->release->split || n <= fewest)
        return false;
    if (factor > 0.9)
        factor = 0.9;
    p->sync.pods_each = (size_t)((double)p->sync.pods_each * factor);
    p->sync.containers_each = (size_t)((double)p->sync.containers_each * factor);
    if (p->sync.pods_each + p->sync.containers_each < fewest)
        p->sync.pods_each = p->sync.containers_each = fewest / 2;
    return true;
}

static void on_part(void *ctx, struct rt_plugin *p, const struct rt_answer *a);

static void
send_part(struct rt_plugin *p)
{
    size_t limit = p->rt->opt.sync_chunk ? p->rt->opt.sync_chunk : RT_MESSAGE_MAX - MARGIN;
    const struct counts all = count(p->rt);
    uint64_t now = rt_now();
    struct buf q;

    buf_init(&q, RT_PAYLOAD_MAX);
    for (;;) {
        clip(p, &all);
        p->sync.more = p->sync.pods + p->sync.pods_each < all.pods ||
                       p->sync.containers + p->sync.containers_each < all.containers;
        build(p, &q, p->sync.more);
        if (q.len <= limit || !shrink(p, q.len, limit))
            break;
        buf_clear(&q);
    }
    p->sync.parts++;
    rt_plugin_call(p, "Synchronize", &q, p->sync.deadline > now ? p->sync.deadline - now : 1,
                   on_part, NULL);
    buf_fini(&q);
}

static void
ready(struct rt_plugin *p)
{
    struct sim_runtime *rt = p->rt;
    struct rt_plugin **at;

    for (at = &rt->plugins; *at != p; at = &(*at)->next)
        ;
    *at = p->next;
    p->state = RT_READY;
    for (at = &rt->plugins; *at && (*at)->state == RT_READY && strcmp((*at)->index, p->index) <= 0;
         at = &(*at)->next)
        ;
    p->next = *at;
    *at = p;
    if (rt->admitting == p)
        rt->admitting = NULL;
    rt_waits_check(rt);
    rt_pump_later(rt);
}

static void
on_part(void *ctx, struct rt_plugin *p, const struct rt_answer *a)
{
    struct spb m = spb_open(a->data, a->len);
    bool more = false, updates = false;
    char text[512], why[600];
    struct spb_field f;

    (void)ctx;
    if (p->state == RT_CLOSED)
        return;
    while (a->outcome == RT_ANSWERED && spb_next(&m, &f)) {
        updates |= f.number == 1;
        if (f.number == 2)
            more = f.varint != 0;
    }
    rt_answer_text(a, text, sizeof(text));
    if (a->outcome != RT_ANSWERED || m.bad) {
        (void)snprintf(why, sizeof(why), "failed to synchronize plugin: %s", text);
        rt_plugin_close(p, why);
    } else if (p->sync.more && (updates || !more)) {
        rt_plugin_close(p, "plugin does not handle split sync requests");
    } else if (p->sync.more) {
        p->sync.pods += p->sync.pods_each;
        p->sync.containers += p->sync.containers_each;
        send_part(p);
    } else {
        ready(p);
    }
}

void
rt_sync_start(struct rt_plugin *p)
{
    const struct counts all = count(p->rt);

    p->state = RT_SYNCING;
    p->sync.deadline = rt_now() + p->rt->opt.request_usec;
    p->sync.pods_each = all.pods;
    p->sync.containers_each = all.containers;
    send_part(p);
}
