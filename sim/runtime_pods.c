/* SPDX-License-Identifier: Apache-2.0
 *
 * Runtime stand-in: pods and containers.
 */
#include "sim/runtime_priv.h"

#include "base/fs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 64 hexadecimal digits, another each time, the same in every run (FNV-1a, four times). */
static void
make_id(struct sim_runtime *rt, const char *seed, char ret[65])
{
    unsigned n = ++rt->ids;

    for (unsigned part = 0; part < 4; part++) {
        uint64_t h = UINT64_C(0xcbf29ce484222325) + n * 4 + part;

        for (const char *s = seed; *s; s++)
            h = (h ^ (uint8_t)*s) * UINT64_C(0x100000001b3);
        (void)snprintf(ret + (size_t)part * 16, 17, "%016" PRIx64,
                       h * UINT64_C(0x9e3779b97f4a7c15));
    }
}

struct rt_pod *
rt_pod_add(struct sim_runtime *rt, const char *ns, const char *name, const char *handler)
{
    struct rt_pod *p = calloc(1, sizeof(*p)), **at;

    if (!p || !str_copy(p->ns, sizeof(p->ns), ns) || !str_copy(p->name, sizeof(p->name), name) ||
        !str_copy(p->handler, sizeof(p->handler), handler)) {
        free(p);
        return NULL;
    }
    make_id(rt, name, p->id);
    (void)snprintf(p->uid, sizeof(p->uid), "%.8s-%.4s-4%.3s-8%.3s-%.12s", p->id, p->id + 8,
                   p->id + 12, p->id + 15, p->id + 18);
    for (at = &rt->pods; *at; at = &(*at)->next)
        p->prev = *at;
    *at = p;
    return p;
}

struct rt_pod *
rt_pod_find(struct sim_runtime *rt, const char *word)
{
    struct rt_pod *found = NULL;
    const char *slash = strchr(word, '/');
    size_t n = slash ? (size_t)(slash - word) : 0;

    for (struct rt_pod *p = rt->pods; p; p = p->next) {
        if (strcmp(p->id, word) == 0)
            return p;
        if (slash ? strlen(p->ns) == n && strncmp(p->ns, word, n) == 0 &&
                        strcmp(p->name, slash + 1) == 0
                  : strcmp(p->name, word) == 0) {
            /* The same pod may have an older, stopped sandbox; the newest is meant. */
            if (!slash && found && strcmp(found->ns, p->ns) != 0)
                return NULL;
            found = p;
        }
    }
    return found;
}

void
rt_pod_drop(struct sim_runtime *rt, struct rt_pod *p)
{
    struct rt_pod **at;

    for (at = &rt->pods; *at != p; at = &(*at)->next)
        ;
    *at = p->next;
    if (p->next)
        p->next->prev = p->prev;
    while (p->containers)
        rt_container_drop(p->containers);
    rt_vmm_free(p->vmm);
    rt_edits_fini(&p->has);
    free(p);
}

struct rt_container *
rt_container_add(struct sim_runtime *rt, struct rt_pod *p, const char *name)
{
    struct rt_container *c = calloc(1, sizeof(*c)), **at;

    if (!c || !str_copy(c->name, sizeof(c->name), name)) {
        free(c);
        return NULL;
    }
    make_id(rt, name, c->id);
    c->pod = p;
    for (at = &p->containers; *at; at = &(*at)->next)
        c->prev = *at;
    *at = c;
    return c;
}

struct rt_container *
rt_container_find(const struct rt_pod *p, const char *word)
{
    for (struct rt_container *c = p->containers; c; c = c->next)
        if (strcmp(c->id, word) == 0 || strcmp(c->name, word) == 0)
            return c;
    return NULL;
}

void
rt_container_drop(struct rt_container *c)
{
    struct rt_container **at;

    for (at = &c->pod->containers; *at != c; at = &(*at)->next)
        ;
    *at = c->next;
    if (c->next)
        c->next->prev = c->prev;
    rt_edits_fini(&c->has);
    free(c);
}

struct json_object *
rt_container_json(const struct rt_container *c)
{
    struct json_object *o = rt_edits_json(&c->has, false);
    const char *state = c->state == RT_RUNNING   ? "running"
                        : c->state == RT_STOPPED ? "stopped"
                        : c->state == RT_CREATED ? "created"
                                                 : "";

    json_object_object_add(o, "id", json_object_new_string(c->id));
    json_object_object_add(o, "name", json_object_new_string(c->name));
    json_object_object_add(o, "pod", json_object_new_string(c->pod->id));
    json_object_object_add(o, "state", json_object_new_string(state));
    return o;
}

struct json_object *
rt_pod_json(const struct rt_pod *p)
{
    struct json_object *o = json_object_new_object(), *list = json_object_new_array();
    struct json_object *annotations = json_object_new_object();

    for (size_t i = 0; i < p->has.list[RT_ANNOTATIONS].n; i++)
        json_object_object_add(annotations, p->has.list[RT_ANNOTATIONS].v[i].key,
                               json_object_new_string(p->has.list[RT_ANNOTATIONS].v[i].value));
    for (const struct rt_container *c = p->containers; c; c = c->next)
        json_object_array_add(list, rt_container_json(c));
    json_object_object_add(o, "id", json_object_new_string(p->id));
    json_object_object_add(o, "namespace", json_object_new_string(p->ns));
    json_object_object_add(o, "name", json_object_new_string(p->name));
    json_object_object_add(o, "uid", json_object_new_string(p->uid));
    json_object_object_add(o, "handler", json_object_new_string(p->handler));
    json_object_object_add(o, "state", json_object_new_string(p->stopped ? "stopped" : "ready"));
    json_object_object_add(o, "annotations", annotations);
    json_object_object_add(o, "containers", list);
    if (p->vmm)
        json_object_object_add(o, "vmm", rt_vmm_json(p->vmm));
    return o;
}
