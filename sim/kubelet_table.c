/* SPDX-License-Identifier: Apache-2.0
 *
 * Kubelet stand-in: the table of pods and what their containers were granted.
 */
#include "base/fs.h"
#include "sim/kubelet_priv.h"

#include <stdlib.h>
#include <string.h>

struct kube_pod *
kube_pod_find(struct sim_kubelet *k, const char *ns, const char *name)
{
    for (struct kube_pod *p = k->pods; p; p = p->next)
        if (p->phase == KUBE_RUNNING && strcmp(p->ns, ns) == 0 && strcmp(p->name, name) == 0)
            return p;
    return NULL;
}

struct kube_pod *
kube_pod_get(struct sim_kubelet *k, const char *ns, const char *name)
{
    struct kube_pod *p = kube_pod_find(k, ns, name), **end;

    if (p)
        return p;
    p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    (void)str_copy(p->ns, sizeof(p->ns), ns);
    (void)str_copy(p->name, sizeof(p->name), name);
    p->uid = ++k->next_uid;
    for (end = &k->pods; *end; end = &(*end)->next)
        ;
    *end = p;
    return p;
}

static void
grants_free(struct kube_pod *p)
{
    for (struct kube_grant *g = p->grants, *next; g; g = next) {
        next = g->next;
        ids_free(&g->ids);
        json_object_put(g->response);
        free(g);
    }
    p->grants = NULL;
}

void
kube_pod_free(struct kube_pod *p)
{
    grants_free(p);
    free(p);
}

struct json_object *
kube_pod_json(const struct kube_pod *p)
{
    static const char *const phases[] = {"Running", "Failed", "Ended"};
    struct json_object *o = json_object_new_object(), *list = json_object_new_array();

    json_object_object_add(o, "namespace", json_object_new_string(p->ns));
    json_object_object_add(o, "name", json_object_new_string(p->name));
    json_object_object_add(o, "uid", json_object_new_int64(p->uid));
    json_object_object_add(o, "phase", json_object_new_string(phases[p->phase]));
    for (const struct kube_grant *g = p->grants; g; g = g->next) {
        struct json_object *d = json_object_new_object();

        json_object_object_add(d, "container", json_object_new_string(g->container));
        json_object_object_add(d, "init", json_object_new_boolean(g->init));
        json_object_object_add(d, "resource", json_object_new_string(g->resource));
        json_object_object_add(d, "ids", ids_json(&g->ids));
        json_object_object_add(d, "response", json_object_get(g->response));
        json_object_array_add(list, d);
    }
    json_object_object_add(o, "grants", list);
    return o;
}

void
kube_collect(struct sim_kubelet *k)
{
    bool removed = false;

    for (struct kube_pod *p = k->pods; p; p = p->next)
        if (p->phase != KUBE_RUNNING && p->grants && !k->opt.list_terminated) {
            grants_free(p);
            removed = true;
        } else if (p->phase != KUBE_RUNNING && p->grants) {
            removed = true; /* still listed, no longer counted */
        }
    if (!removed)
        return;
    /* Recomputed from the pods, which also ends leaks. */
    for (struct kube_resource *r = k->resources; r; r = r->next)
        r->allocated.n = 0;
    for (struct kube_pod *p = k->pods; p; p = p->next)
        for (struct kube_grant *g = p->grants; g && p->phase == KUBE_RUNNING; g = g->next) {
            struct kube_resource *r = kube_resource_find(k, g->resource);

            for (size_t i = 0; r && i < g->ids.n; i++)
                (void)ids_add(&r->allocated, g->ids.v[i]);
        }
}
