/* SPDX-License-Identifier: Apache-2.0
 *
 * The service's units: merging what scans and operations say into what clients are told. Owner of
 * struct unit.
 */
#include "hwd/svc.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <errno.h>
#include <string.h>

#define FACT_OURS                                                                                  \
    ((uint32_t)(HWD_FACT_ARMED | HWD_FACT_HANDED_OVER | HWD_FACT_OPENED |                          \
                HWD_FACT_REOPENED)) /* not the scan's */

struct unit *
unit_find(struct svc *s, struct pci_addr a)
{
    for (unsigned i = 0; i < s->n_units; i++)
        if (pci_addr_cmp(s->units[i]->desc.addr, a) == 0)
            return s->units[i];
    return NULL;
}

void
unit_tell(struct unit *u)
{
    /* Wire bytes. NOLINTNEXTLINE(bugprone-suspicious-memory-comparison) */
    if (u->announced && memcmp(&u->facts, &u->sent, sizeof(u->sent)) == 0)
        return;
    u->sent = u->facts;
    u->announced = true;
    clients_facts(u->svc, &u->facts);
}

void
unit_lost(struct unit *u)
{
    struct hwd_facts *f = &u->facts;

    unit_release(u);
    f->flags &= ~FACT_OURS;
    f->use = (f->flags & HWD_FACT_BOUND) || f->driver[0] ? HWD_USE_UNKNOWN : HWD_USE_FREE;
    f->holder_pid = 0;
    memset(f->holder_comm, 0, sizeof(f->holder_comm));
}

/* What only we know stays; what the scan knows is taken over. */
static void
merge(struct unit *u, const struct hwd_unit *desc)
{
    struct hwd_facts *f = &u->facts;
    struct hwd_facts n = desc->facts;
    bool same = f->vendor == n.vendor && f->device == n.device;
    bool was_bound = (f->flags & HWD_FACT_BOUND) != 0;
    bool moved = u->announced && (f->iommu_group != n.iommu_group ||
                                  (was_bound && f->cdev >= 0 && f->cdev != n.cdev));

    u->desc = *desc;
    if (same) {
        n.state = f->state;
        n.op = f->op;
        n.phase = f->phase;
        n.op_since_ns = f->op_since_ns;
        n.use = f->use;
        n.holder_pid = f->holder_pid;
        n.opens = f->opens;
        n.access = f->access;
        memcpy(n.holder_comm, f->holder_comm, sizeof(n.holder_comm));
        n.mode_active = f->mode_active;
        n.mode_configured = f->mode_configured;
        n.flags |= f->flags & FACT_OURS;
    }
    *f = n;
    /* Off its driver and back on it between two scans looks as before but for the nodes: a hold is
     * one of the old node. */
    if (watch_update(u) || moved || !same) {
        u->rebound = true;
        if (!u->op)
            unit_lost(u);
    } else if (!(f->flags & HWD_FACT_BOUND) && !u->op) {
        unit_lost(u); /* somebody took it off its driver */
    } else if (!was_bound && !u->op) {
        f->use = HWD_USE_UNKNOWN;
    }
}

static struct unit *
unit_add(struct svc *s, const struct hwd_unit *desc)
{
    struct unit **v = realloc(s->units, (s->n_units + 1) * sizeof(*v));
    struct unit *u = calloc(1, sizeof(*u));

    if (v)
        s->units = v;
    if (!v || !u) {
        free(u);
        return NULL;
    }
    u->svc = s;
    u->wd_group = u->wd_cdev = -1;
    u->watched_group = u->watched_cdev = -1;
    u->desc = *desc;
    u->facts = desc->facts;
    u->facts.use = HWD_USE_UNKNOWN;
    u->held_group = -1;
    u->dev_fd = u->request_fd = -1;
    s->units[s->n_units++] = u;
    return u;
}

static void
unit_remove(struct svc *s, unsigned i)
{
    struct unit *u = s->units[i];

    log_info("unit gone", "unit", PCI_STR(u->desc.addr));
    if (u->has_queued) {
        struct err e = ERR_INIT;

        (void)err_reason(&e, ENODEV, ERR_CLASS_HW, REASON_DEVICE_GONE, "%s %s: it left the bus",
                         hwd_job_name(u->queued.op), PCI_STR(u->desc.addr));
        client_result(s, u->queued_client, u->queued.seq, NULL, u->desc.addr, &e, NULL);
    }
    unit_release(u);
    watch_remove(u);
    u->probe = sd_event_source_disable_unref(u->probe);
    if (u->announced)
        clients_gone(s, u->desc.addr);
    memmove(&s->units[i], &s->units[i + 1], (s->n_units - i - 1) * sizeof(struct unit *));
    s->n_units--;
    free(u);
}

/* A unit that the scan found, but could not read, has not left the bus: what we know of it stays,
 * with the condition. */
static bool
unreadable(struct unit *u)
{
    const struct vfio_fn *f = vfio_find(&u->svc->scan->inv, u->desc.addr);

    if (!f || f->reason == REASON_NONE)
        return false;
    u->facts.reason = (uint32_t)f->reason;
    (void)snprintf(u->facts.text, sizeof(u->facts.text), "%s: %.*s", PCI_STR(f->addr),
                   (int)sizeof(u->facts.text) - 32, f->text);
    unit_tell(u);
    return true;
}

void
units_refresh(struct svc *s)
{
    struct hwd_units *built = NULL;
    struct err e = ERR_INIT;

    if (!s->scan)
        return;
    if (hwd_units_build(s->scan, s->p->cfg, &built, &e) < 0) {
        log_error("units not refreshed", "error", e.msg);
        return;
    }
    for (unsigned i = 0; i < s->n_units; i++)
        s->units[i]->seen = false;
    for (unsigned i = 0; i < built->n; i++) {
        struct unit *u = unit_find(s, built->u[i].addr);

        if (!u)
            u = unit_add(s, &built->u[i]);
        if (!u)
            continue;
        u->seen = true;
        merge(u, &built->u[i]);
        unit_tell(u);
    }
    for (unsigned i = s->n_units; i > 0; i--) {
        struct unit *u = s->units[i - 1];

        /* A unit that an operation works on may be off the bus for a moment. */
        if (!u->seen && !u->op && !unreadable(u))
            unit_remove(s, i - 1);
    }
    hwd_units_free(built);
}

void
units_free(struct svc *s)
{
    while (s->n_units > 0) {
        struct unit *u = s->units[--s->n_units];

        if (u->op)
            op_abandon(u->op);
        unit_release(u);
        watch_remove(u);
        u->probe = sd_event_source_disable_unref(u->probe);
        free(u);
    }
    free(s->units);
    s->units = NULL;
}

void
units_note_fn(struct svc *s, const struct vfio_fn *fn, const struct hwd_former *former)
{
    for (unsigned i = 0; s->scan && i < s->scan->inv.n; i++) {
        if (pci_addr_cmp(s->scan->inv.fn[i].addr, fn->addr) != 0)
            continue;
        s->scan->inv.fn[i] = *fn;
        s->scan->former[i] = *former;
    }
}
