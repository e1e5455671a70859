/* SPDX-License-Identifier: Apache-2.0
 *
 * CreateContainer: may it have the devices that it asks for, and what does it lack?
 *
 * The kubelet does not list init containers, and gives their devices to the pod's other containers
 * afterwards. So a container for which nothing is listed may have devices of its own pod; all of a
 * pod's containers are in one VM anyhow.
 */
#include "nri/guard_inject.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

struct judged {
    struct guard_named pod, own;
    bool listed; /* something is listed for this very container */
};

static bool
listed_for_container(const struct guard_case *g, const struct guard_device *d)
{
    return guard_listed_here(g, d) && strcmp(d->container, g->c->name) == 0;
}

/* True where the container may have it. */
static bool
check_device(struct guard_case *g, const struct judged *j, size_t device)
{
    const struct guard_device *d = &g->view->devices[device];
    bool here = listed_for_container(g, d);
    bool may = guard_check_owner(g, d);

    if (may && !here && guard_listed_here(g, d) && j->listed) {
        guard_find(g, GUARD_RULE_OWNER,
                   "GPU %s belongs to container %s of its pod by the kubelet's account; delete the"
                   " pod to have it allocated anew",
                   SHOWN(40, d->id), SHOWN(48, d->container));
        may = false;
    }
    /* Nobody's, and not ready to be anybody's: nothing that the kubelet could have allocated. */
    if (may && !d->pod[0] && !d->sandbox[0] && !d->handed)
        guard_find(g, GUARD_RULE_DEVICES,
                   "it asks for GPU %s, which the kubelet allocated to nobody; request GPUs by"
                   " resource, not by name",
                   SHOWN(40, d->id));
    guard_check_cc(g, d);
    return may;
}

static void
check_request(struct guard_case *g, const struct judged *j)
{
    if (j->own.n_unknown > 0)
        guard_find(g, GUARD_RULE_DEVICES,
                   "it asks for %s (and %zu more), which this node does not have; request GPUs by"
                   " resource, not by name",
                   j->own.unknown, j->own.n_unknown - 1);
    if (j->own.fake)
        guard_find(g, GUARD_RULE_DEVICES,
                   "it has another device under the path of GPU %s; give that device another path",
                   SHOWN(40, g->view->devices[j->own.fake_device].id));
}

/* All rules. What is missing is marked in `missing`. */
static void
judge(struct guard_case *g, bool missing[GUARD_VIEW_MAX])
{
    struct judged j = {0};

    if (!guard_name_pod(g, &j.pod))
        guard_refuse(g, GUARD_RULE_DEVICES,
                     "more than %d annotations " GUARD_CDI_PREFIX "* with GPUs", GUARD_POD_CDI_MAX);
    guard_name_container(g, &j.own);
    for (size_t i = 0; i < g->view->n_devices && !j.listed; i++)
        j.listed = listed_for_container(g, &g->view->devices[i]);

    guard_check_list(g, &j.pod, &j.own);
    for (size_t i = 0; i < g->view->n_devices; i++) {
        bool named = j.own.by[i] != 0;

        if (!named && !listed_for_container(g, &g->view->devices[i]))
            continue;
        if (!check_device(g, &j, i))
            continue;
        guard_own(g, i);
        missing[i] = !named;
    }
    check_request(g, &j);
    guard_check_pod_names(g, &j.pod);
    if (g->out->n_own > 0)
        guard_check_required(g);
}

/* Whoever asks for what he may not have does not get a name for it either: of a refused container
 * only what is its pod's by the kubelet's account or our own stays in the verdict. */
static void
forget_claims(struct guard_case *g)
{
    struct guard_verdict *v = g->out;
    size_t n = 0;

    for (size_t i = 0; i < v->n_own; i++) {
        const struct guard_device *d = &g->view->devices[v->own[i]];

        if (guard_listed_here(g, d) || guard_recorded_here(g, d))
            v->own[n++] = v->own[i];
    }
    v->n_own = n;
}

int
guard_create_container(const struct guard_view *view, const struct nri_pod *pod,
                       const struct nri_container *c, bool runtime_cdi, struct guard_verdict *ret,
                       struct guard_injection **ret_injection, struct err *e)
{
    struct guard_case g;
    bool missing[GUARD_VIEW_MAX] = {false};
    bool guarded = guard_open(&g, view, pod, c, ret);
    struct guard_injection *inj = guard_injection_new(guarded ? guard_annotations_max(&g) : 0);
    int rc = 0;

    if (!inj)
        return err_set(e, ENOMEM, ERR_CLASS_RETRY, "judge a container: out of memory");
    if (guarded)
        judge(&g, missing);
    for (size_t i = 0; i < ret->n_own && !ret->refused && rc == 0; i++)
        if (missing[ret->own[i]])
            rc = guard_inject_device(&g, inj, ret->own[i], runtime_cdi, e);
    if (guarded && !ret->refused && rc == 0)
        rc = guard_inject_annotations(&g, inj, e);
    if (rc < 0) {
        guard_injection_free(inj);
        return rc;
    }
    if (ret->refused) {
        guard_injection_clear(inj);
        forget_claims(&g);
    }
    *ret_injection = inj;
    return 0;
}
