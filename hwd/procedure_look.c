/* SPDX-License-Identifier: Apache-2.0
 *
 * Procedures that look: who uses a device, what is on the bus, which mode is set (with offline SET,
 * which shares the frame of QUERY). They run in a worker process like all others.
 */
#include "hwd/job.h"

#include "base/cleanup.h"
#include "hwd/steps.h"
#include "vfio/hold.h"
#include "vfio/paths.h"

#include <errno.h>

/* The group node: what we hold ourselves (another unit of the group is armed) nobody else has, and
 * while a sibling is about to take or look at it, ours would be in its way. */
static int
ask_node(struct proc *p, struct err *e)
{
    int r = p->job->held ? 1 : p->io->ask_hold(p->io->ctx, &p->lent, e);

    if (r != 0)
        return r < 0 ? r : 0;
    r = vfio_in_use(p->job->root, proc_primary(p), e);
    if (r < 0 && e->reason == REASON_NODE_MISSING) {
        err_clear(e); /* a kernel without group nodes: /proc is all there is */
        return 0;
    }
    if (r < 0)
        return r;
    p->out->group_use = r > 0 ? HWD_USE_HELD : HWD_USE_FREE;
    if (r == 0)
        p->out->group_opens++;
    return r;
}

/* PROBE_USE: /proc first, because it disturbs nobody and knows the name; then the group node. */
int
do_probe(struct proc *p, struct err *e)
{
    int r;

    proc_phase(p, HWD_PHASE_GATE, "");
    if ((r = step_refresh(p, e)) < 0)
        return r;
    p->out->use = HWD_USE_FREE;
    if (!proc_bound(p))
        return 0;
    r = proc_holders(p, e);
    if (r < 0 && e->reason == REASON_IN_USE) {
        err_clear(e);
        return 0;
    }
    if (r < 0)
        return r;
    if (p->job->flags & HWD_JOB_PROC_ONLY) {
        p->out->use = HWD_USE_UNKNOWN;
        return 0;
    }
    r = ask_node(p, e);
    if (r > 0) {
        p->out->use = HWD_USE_HELD;
        proc_name_holder(p, NULL);
    }
    return r < 0 ? r : 0;
}

/* ---- offline ---- */

static int
query_awake(struct proc *p, struct err *e)
{
    struct cc_status st;
    struct cc_plan plan;
    int r;

    proc_phase(p, HWD_PHASE_BOOT, "");
    r = step_open(p, e);
    if (r < 0)
        return r;
    r = cc_wait_boot(&p->cc, e);
    if (r < 0)
        return r;
    proc_phase(p, HWD_PHASE_QUERY, "");
    r = cc_query(&p->cc, &st, e);
    if (r < 0)
        return r;
    proc_note_modes(p, &st);
    if (p->job->op != HWD_JOB_PLAN)
        return 0;
    r = cc_mode_check(p->cc.dev, p->cc.chip, (enum cc_mode)p->job->mode, e);
    if (r < 0)
        return r;
    r = cc_plan(p->cc.chip, &st, (enum cc_mode)p->job->mode, &plan, e);
    if (r < 0)
        return r;
    p->out->plan = plan;
    p->out->have_plan = 1;
    return 0;
}

/* QUERY, PLAN, SET: 1. not on a host driver. 2. hold where there is a VFIO node. 3. wake. 4. the
 * work, without binding anything. 5. power as it was. */
int
do_offline(struct proc *p, struct err *e)
{
    int r;

    proc_phase(p, HWD_PHASE_GATE, "");
    if ((r = step_lock(p, e)) < 0 || (r = step_refresh(p, e)) < 0 || (r = step_claim(p, e)) < 0)
        return r;
    proc_phase(p, HWD_PHASE_HOLD, "");
    r = vfio_is_vfio_driver(proc_primary(p)->driver) ? step_hold(p, e) : step_not_in_use(p, e);
    if (r < 0)
        return r;
    proc_phase(p, HWD_PHASE_WAKE, "");
    r = step_wake(p, e);
    if (r >= 0)
        r = p->job->op == HWD_JOB_SET ? switch_mode(p, e) : query_awake(p, e);
    step_unwake(p);
    if (r >= 0 && p->job->op == HWD_JOB_SET)
        p->out->verified = 1;
    return r;
}

/* Looks without a side effect, so never through VFIO. */
int
do_active(struct proc *p, struct err *e)
{
    enum cc_mode m;
    int r = step_refresh(p, e);

    if (r < 0)
        return r;
    r = step_open_sysfs(p, e);
    if (r < 0)
        return r;
    r = cc_query_active(&p->cc, &m, e);
    if (r < 0)
        return r;
    p->out->mode_active = (uint32_t)m;
    return 0;
}

int
do_scan(struct proc *p, struct err *e)
{
    const struct fs_root *root = p->job->root;
    struct vfio_inventory *inv = NULL;
    int r = vfio_scan(root, &inv, e);

    if (r < 0)
        return r;
    if (inv->n > HWD_FNS_MAX) {
        r = err_set(e, E2BIG, ERR_CLASS_INVALID, "scan: %u functions, at most %u are handled",
                    inv->n, (unsigned)HWD_FNS_MAX);
        vfio_inventory_free(inv);
        return r;
    }
    p->io->host(p->io->ctx, fs_exists(root, PATH_DEV_IOMMU),
                fs_exists(root, PATH_PCI_DRIVERS "/vfio-pci"), inv->n);
    for (unsigned i = 0; i < inv->n; i++) {
        struct hwd_record rec;

        hwd_state_load(p->job->statedir, inv->fn[i].addr, &rec);
        p->io->fn(p->io->ctx, &inv->fn[i], &rec.former);
    }
    vfio_inventory_free(inv);
    return 0;
}
