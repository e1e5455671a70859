/* SPDX-License-Identifier: Apache-2.0
 *
 * RunPodSandbox: the VM runs already, with the GPUs that Kata learned of from the kubelet. Is it
 * what the pod may have?
 */
#include "nri/guard_priv.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <string.h>

static void
check_initdata(struct guard_case *g)
{
    struct guard_guest *t = guard_guest_new(g->pod);

    if (!t) {
        guard_find(g, GUARD_RULE_INITDATA, "out of memory while reading the pod's initdata");
        return;
    }
    const char *fault = guard_guest_fault(t);
    if (fault)
        guard_find(g, GUARD_RULE_INITDATA,
                   "initdata: %s; the guest cannot use it: check it with pgpuctl initdata check",
                   SHOWN(160, fault));
    (void)str_copy(g->out->initdata_algorithm, sizeof(g->out->initdata_algorithm),
                   guard_guest_algorithm(t));
    (void)str_copy(g->out->initdata_digest, sizeof(g->out->initdata_digest), guard_guest_digest(t));
    guard_guest_free(t);
}

void
guard_run_pod(const struct guard_view *view, const struct nri_pod *pod, struct guard_verdict *ret)
{
    struct guard_case g;
    struct guard_named named = {0};
    bool has_devices = false;

    if (!guard_open(&g, view, pod, NULL, ret))
        return;
    if (!guard_name_pod(&g, &named))
        guard_refuse(&g, GUARD_RULE_DEVICES,
                     "more than %d annotations " GUARD_CDI_PREFIX "* with GPUs", GUARD_POD_CDI_MAX);
    guard_check_list(&g, &named, NULL);
    for (size_t i = 0; i < view->n_devices; i++) {
        const struct guard_device *d = &view->devices[i];

        /* Ours by our own record, another pod's by the kubelet's: one of us is wrong. */
        if (guard_recorded_here(&g, d) && guard_listed_elsewhere(&g, d))
            (void)guard_check_owner(&g, d);
        if (!guard_listed_here(&g, d))
            continue;
        has_devices = true;
        if (guard_check_owner(&g, d))
            guard_own(&g, i);
        guard_check_cc(&g, d);
    }
    guard_check_pod_names(&g, &named);
    if (has_devices)
        guard_check_required(&g);
    if (g.handler->cls == GUARD_CONFIDENTIAL)
        check_initdata(&g);
}
