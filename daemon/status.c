/* SPDX-License-Identifier: Apache-2.0
 *
 * The state of the node as JSON, for `pgpuctl status` and the tests.
 */
#include "daemon/json.h"
#include "daemon/node.h"

#include "base/hw.h"
#include "daemon/audit.h"
#include "daemon/http.h"
#include "daemon/timer.h"

#include <errno.h>
#include <string.h>

static const char *
use_name(uint32_t use)
{
    static const char *const names[] = {"unknown", "free", "ours", "held"};

    return use < 4 ? names[use] : "unknown";
}

static json_object *
evidence_json(const struct hwd_evidence *v)
{
    json_object *o = json_object_new_object();

    put_int(o, "total_ms", v->total_ms);
    put_int(o, "knobs_written", v->knobs_written);
    put_int(o, "resets", v->resets);
    for (int p = HWD_PHASE_GATE; p < HWD_PHASE_COUNT; p++)
        if (v->phase_ms[p])
            put_int(o, hwd_phase_name((enum hwd_phase)p), v->phase_ms[p]);
    return o;
}

/* How long what is under way will take: as long as it took the last time, this device or one of its
 * chip; 0 = nobody knows. */
static int64_t
expected_ms(const struct unit *u)
{
    const struct node *n = u->node;

    if (u->op_seq == 0 || u->op != HWD_OP_PREPARE)
        return 0;
    if (u->evidence.resets)
        return u->evidence.total_ms;
    for (size_t i = 0; i < n->n_units; i++)
        if (n->unit[i]->evidence.resets && strcmp(n->unit[i]->facts.chip, u->facts.chip) == 0)
            return n->unit[i]->evidence.total_ms;
    return 0;
}

static int64_t
ms_since(uint64_t at)
{
    return at ? (int64_t)((now_ns() - at) / HW_MS(1)) : 0;
}

static json_object *
reset_json(const struct unit *u)
{
    json_object *o = json_object_new_object();

    put_int(o, "count", (int64_t)u->reset.count);
    put_str(o, "rung", u->reset.at ? hwd_rung_name((enum hwd_rung)u->reset.rung) : "");
    put_int(o, "took_ms", u->reset.took_ms);
    put_int(o, "ago_ms", ms_since(u->reset.at));
    return o;
}

static json_object *
unit_json(const struct unit *u)
{
    const struct hwd_facts *f = &u->facts;
    json_object *o = json_object_new_object();

    put_str(o, "id", u->id);
    put_str(o, "kind", f->kind == HWD_KIND_NVSWITCH ? "nvswitch" : "gpu");
    put_str(o, "model", f->model);
    put_str(o, "chip", f->chip);
    put_str(o, "resource", u->resource);
    put_str(o, "state", unit_state_info(u->state)->name);
    put_int(o, "since_ms", ms_since(u->since));
    put_bool(o, "listed", unit_is_listed(u));
    put_bool(o, "healthy", unit_is_listed(u) && unit_is_healthy(u));
    put_bool(o, "in_cdi", promise_in_cdi(u));
    put_str(o, "reason", reason_name(u->reason));
    put_str(o, "why", u->why);
    put_str(o, "cure", reason_cure(u->reason));
    put_str(o, "operation", u->op_seq ? hwd_op_name(u->op) : "");
    put_str(o, "phase", u->op_seq ? hwd_phase_name(u->phase) : "");
    put_int(o, "elapsed_ms", u->op_seq ? ms_since(u->op_since) : 0);
    put_int(o, "phase_ms", u->op_seq ? ms_since(u->phase_since) : 0);
    put_int(o, "expected_ms", expected_ms(u));
    put_str(o, "mode_wanted", cc_mode_name((enum cc_mode)unit_wanted_mode(u)));
    put_str(o, "mode_active", cc_mode_name((enum cc_mode)f->mode_active));
    put_str(o, "mode_configured", cc_mode_name((enum cc_mode)f->mode_configured));
    put_str(o, "driver", f->driver);
    put_str(o, "node", f->node);
    put_str(o, "use", use_name(f->use));
    put_str(o, "holder", f->holder_comm);
    put_int(o, "holder_pid", f->holder_pid);
    put_str(o, "access", /* "": nobody has looked yet */
            f->access == HWD_ACCESS_AUTO ? "" : hwd_access_name((enum hwd_access)f->access));
    put_int(o, "opens", f->opens);
    put_bool(o, "reopened", f->flags & HWD_FACT_REOPENED);
    put_int(o, "iommu_group", f->iommu_group);
    put_int(o, "numa_node", f->numa_node);
    put_int(o, "gang_size", f->gang_size);
    put_str(o, "namespace", u->owner.ns);
    put_str(o, "pod", u->owner.pod);
    put_str(o, "sandbox", u->sandbox);
    put_str(o, "verified",
            u->verified && (!u->used || (u->sandbox[0] && strcmp(u->used_by, u->sandbox) == 0))
                ? cc_mode_name(u->verified_mode)
                : "");
    put_int(o, "recovery_rung", u->rung);
    put_int(o, "prepared_ms", ms_since(u->prepared_at));
    (void)json_object_object_add(o, "reset", reset_json(u));
    (void)json_object_object_add(o, "evidence", evidence_json(&u->evidence));
    return o;
}

static json_object *
resources_json(const struct node *n)
{
    static const char *const links[] = {"down", "registered", "streaming"};
    json_object *a = json_object_new_array();

    for (size_t i = 0; i < n->n_resources; i++) {
        const struct resource_state *r = &n->resource[i];
        json_object *o = json_object_new_object();

        put_str(o, "name", r->name);
        put_str(o, "link", links[r->link]);
        put_str(o, "link_why", r->link_why);
        put_bool(o, "cdi_ok", r->cdi_ok);
        put_str(o, "cdi_why", r->cdi_why);
        (void)json_object_array_add(a, o);
    }
    return a;
}

int
status_json(const struct node *n, struct buf *out, struct err *e)
{
    json_object *o = json_object_new_object();
    json_object *units = json_object_new_array();
    bool ok;

    put_str(o, "version", PGPU_VERSION);
    put_str(o, "hwd", hwclient_is_up(n->hw) ? "up" : "down");
    put_str(o, "hwd_why", hwclient_why(n->hw));
    put_str(o, "pod_resources", !n->pods.ever ? "not asked yet" : n->pods.ok ? "ok" : n->pods.why);
    put_str(o, "mode", cc_mode_name(n->mode.wanted));
    put_str(o, "mode_config", cc_mode_name((enum cc_mode)n->conf->mode));
    put_str(o, "prepare", n->conf->prepare == PREPARE_EAGER ? "eager" : "allocate");
    put_str(o, "manage", n->conf->manage == MANAGE_FULL ? "full" : "verify");
    put_int(o, "uptime_ms", (int64_t)((now_ns() - n->started_at) / HW_MS(1)));
    put_int(o, "allocations", (int64_t)n->count.allocs);
    put_str(o, "http", n->http ? http_listen(n->http) : "");
    put_str(o, "http_why", n->http ? http_why(n->http) : "");
    put_int(o, "allocation_failures", (int64_t)n->count.alloc_failures);
    (void)json_object_object_add(o, "resources", resources_json(n));
    for (size_t i = 0; i < n->n_units; i++)
        (void)json_object_array_add(units, unit_json(n->unit[i]));
    (void)json_object_object_add(o, "units", units);
    (void)json_object_object_add(o, "nri", guard_json(n));
    (void)json_object_object_add(o, "audit", audit_json(n->audit));
    (void)json_object_object_add(o, "mode_change", modeset_json(n));
    (void)json_object_object_add(o, "labels", labels_json(n));
    (void)json_object_object_add(o, "validations", validations_json(n));
    ok = buf_put_str(out, json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE)) &&
         buf_put_str(out, "\n");
    (void)json_object_put(o);
    return ok ? 0 : err_set(e, EMSGSIZE, ERR_CLASS_FATAL, "the status is too large");
}
