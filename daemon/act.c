/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/act.h"

#include "base/cleanup.h"

#include <assert.h>

const char *
act_kind_name(enum act_kind k)
{
    static const char *const names[] = {
        [ACT_START] = "start",         [ACT_STOP] = "stop",
        [ACT_STATE] = "state",         [ACT_OPERATION] = "operation",
        [ACT_ALLOCATE] = "allocate",   [ACT_REFUSAL] = "refusal",
        [ACT_NRI_EVENT] = "nri_event", [ACT_RUNTIME] = "runtime",
        [ACT_KUBELET] = "kubelet",     [ACT_HWD] = "hwd",
        [ACT_JOURNAL] = "journal",     [ACT_CDI] = "cdi",
        [ACT_UNLOCK] = "unlock",       [ACT_MODE] = "mode",
        [ACT_REQUEST] = "request",     [ACT_CONFIG] = "config",
        [ACT_OWNER] = "owner",         [ACT_AUDIT] = "audit",
    };

    _Static_assert(ARRAY_SIZE(names) == ACT_KIND_COUNT, "every kind has a name");
    return k < ACT_KIND_COUNT ? names[k] : "unknown";
}

void
act_listen(struct act_bus *b, act_listener fn, void *ctx)
{
    assert(b->n < ACT_LISTENERS_MAX);
    b->listener[b->n].fn = fn;
    b->listener[b->n].ctx = ctx;
    b->n++;
}

void
act_tell(const struct act_bus *b, const struct act *a)
{
    for (size_t i = 0; i < b->n; i++)
        b->listener[i].fn(b->listener[i].ctx, a);
}
