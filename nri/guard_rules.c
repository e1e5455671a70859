/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules that hold for a sandbox and for its containers alike.
 */
#include "nri/guard_priv.h"

#include "base/cleanup.h"

#include <string.h>

static bool
of_this_pod(const struct guard_case *g, const struct guard_device *d)
{
    return d->pod[0] && strcmp(d->pod, g->pod->name) == 0 && strcmp(d->ns, g->pod->ns) == 0;
}

bool
guard_recorded_here(const struct guard_case *g, const struct guard_device *d)
{
    return d->sandbox[0] && strcmp(d->sandbox, g->sandbox) == 0;
}

/* An old list may tell of the former pod of this name: it counts only for what is ours already. */
bool
guard_listed_here(const struct guard_case *g, const struct guard_device *d)
{
    return of_this_pod(g, d) && (g->view->list_ok || guard_recorded_here(g, d));
}

bool
guard_listed_elsewhere(const struct guard_case *g, const struct guard_device *d)
{
    return d->pod[0] && !of_this_pod(g, d);
}

bool
guard_check_owner(struct guard_case *g, const struct guard_device *d)
{
    if (d->sandbox[0] && !guard_recorded_here(g, d)) {
        guard_find(g, GUARD_RULE_OWNER,
                   "GPU %s is still another sandbox's (%s); it becomes free when that one has"
                   " stopped",
                   SHOWN(40, d->id), SHOWN(20, d->sandbox));
        return false;
    }
    if (guard_listed_elsewhere(g, d)) {
        guard_find(g, GUARD_RULE_OWNER,
                   "GPU %s belongs to pod %s/%s by the kubelet's account; delete the pod to have it"
                   " allocated anew",
                   SHOWN(40, d->id), SHOWN(40, d->ns), SHOWN(64, d->pod));
        return false;
    }
    return true;
}

void
guard_check_list(struct guard_case *g, const struct guard_named *a, const struct guard_named *b)
{
    if (g->view->list_ok || g->handler->cls != GUARD_CONFIDENTIAL)
        return;
    for (size_t i = 0; i < g->view->n_devices; i++) {
        const struct guard_device *d = &g->view->devices[i];
        bool named = (a && a->by[i]) || (b && b->by[i]);
        bool loose = d->handed && !d->sandbox[0] && !guard_listed_elsewhere(g, d);

        if (!loose && !(named && !guard_recorded_here(g, d)))
            continue;
        guard_find(g, GUARD_RULE_OWNER,
                   "which pod has GPU %s is not known: %s; it is tried again, see pgpuctl status",
                   SHOWN(40, d->id), SHOWN(120, g->view->list_why ? g->view->list_why : ""));
        return;
    }
}

void
guard_check_cc(struct guard_case *g, const struct guard_device *d)
{
    enum cc_mode wanted = g->policy->wanted;

    if (d->unverified) {
        guard_find(g, GUARD_RULE_CC,
                   "GPU %s is not verified for this use: %s; see pgpuctl status, or delete the pod",
                   SHOWN(40, d->id), SHOWN(120, d->unverified));
        return;
    }
    if (g->handler->cls == GUARD_PLAIN) {
        if (d->mode != d->meant)
            guard_find(g, GUARD_RULE_CC,
                       "GPU %s is in CC mode %s, it was prepared for %s; see pgpuctl status",
                       SHOWN(40, d->id), cc_mode_name(d->mode), cc_mode_name(d->meant));
        return;
    }
    if (d->mode == CC_MODE_ON || d->mode == CC_MODE_PPCIE)
        return;
    if (d->mode == CC_MODE_DEVTOOLS && wanted == CC_MODE_DEVTOOLS) {
        if (g->policy->mode[GUARD_RULE_CC] != GUARD_OFF)
            guard_warn(g, GUARD_RULE_CC,
                       "GPU %s is in CC mode devtools: its memory is open to the host, and no"
                       " attestation will pass",
                       SHOWN(40, d->id));
        return;
    }
    guard_find(g, GUARD_RULE_CC,
               "GPU %s is in CC mode %s; a confidential pod needs on or ppcie: use a node with"
               " cc.mode on, or a handler that is not confidential",
               SHOWN(40, d->id), cc_mode_name(d->mode));
}

static void
not_given(struct guard_case *g, const struct guard_device *d)
{
    guard_find(g, GUARD_RULE_DEVICES,
               "its annotation " GUARD_CDI_PREFIX
               "* names GPU %s, which the kubelet gave to %s%s%s;"
               " leave the choice to the kubelet",
               SHOWN(40, d->id), d->pod[0] ? SHOWN(40, d->ns) : "nobody", d->pod[0] ? "/" : "",
               SHOWN(64, d->pod));
}

void
guard_check_pod_names(struct guard_case *g, const struct guard_named *p)
{
    bool any = p->n_unknown > 0;

    for (size_t i = 0; i < g->view->n_devices && !any; i++)
        any = p->by[i] != 0;
    if (!any)
        return;
    if (g->handler->cls == GUARD_CONFIDENTIAL && !g->handler->cdi_annotation) {
        guard_find(g, GUARD_RULE_DEVICES,
                   "the pod chooses GPUs by annotation " GUARD_CDI_PREFIX "*, which runtime handler"
                   " %s does not allow; remove it, the kubelet's choice is used",
                   SHOWN(64, g->pod->handler));
        return;
    }
    if (p->n_unknown > 0)
        guard_find(g, GUARD_RULE_DEVICES,
                   "its annotation " GUARD_CDI_PREFIX "* names %s (and %zu more), which this node"
                   " does not have; leave the choice to the kubelet",
                   p->unknown, p->n_unknown - 1);
    for (size_t i = 0; i < g->view->n_devices; i++) {
        const struct guard_device *d = &g->view->devices[i];
        bool given = guard_listed_here(g, d) || guard_recorded_here(g, d);

        /* Without a list that can be believed only what is known to be another's is a fault. */
        if (!given && !g->view->list_ok)
            given = !guard_listed_elsewhere(g, d) && !d->sandbox[0];
        if (p->by[i] && !given)
            not_given(g, d);
        else if (!p->by[i] && g->handler->cdi_annotation && guard_listed_here(g, d))
            guard_find(g, GUARD_RULE_DEVICES,
                       "its annotation " GUARD_CDI_PREFIX "* leaves out GPU %s, which the kubelet"
                       " gave the pod: the VM has other GPUs than its containers",
                       SHOWN(40, d->id));
    }
}

void
guard_check_required(struct guard_case *g)
{
    const struct guard_handler *h = g->handler;

    for (size_t i = 0; i < h->n_require; i++) {
        const char *want = strchr(h->require[i], '=');
        size_t len = want ? (size_t)(want - h->require[i]) : strlen(h->require[i]);
        char key[330]; /* prefix 253, slash, name 63 */

        if (len >= sizeof(key))
            len = sizeof(key) - 1;
        memcpy(key, h->require[i], len);
        key[len] = '\0';
        const char *has = guard_annotation(g->pod, key);
        if (has && (!want || strcmp(has, want + 1) == 0))
            continue;
        guard_find(g, GUARD_RULE_ANNOTATIONS,
                   "the pod's annotation %s is %s%s%s, not %s; is the admission policy for this"
                   " RuntimeClass installed?",
                   SHOWN(80, key), has ? "\"" : "", has ? SHOWN(40, has) : "missing",
                   has ? "\"" : "", want ? SHOWN(40, want + 1) : "set");
    }
}

void
guard_own(struct guard_case *g, size_t device)
{
    struct guard_verdict *v = g->out;

    if (v->n_own == GUARD_OWN_MAX)
        guard_refuse(g, GUARD_RULE_DEVICES, "it has more than %zu GPUs", GUARD_OWN_MAX);
    else
        v->own[v->n_own++] = device;
}
