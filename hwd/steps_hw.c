/* SPDX-License-Identifier: Apache-2.0
 *
 * The steps that touch the device itself: power, BAR0, reset. State: the struct proc of one worker.
 */
#include "hwd/steps.h"

#include "base/cleanup.h"
#include "vfio/hold.h"

#include <errno.h>
#include <string.h>

int
step_wake(struct proc *p, struct err *e)
{
    for (unsigned i = 0; i < p->job->unit.n_fn; i++) {
        struct pci_addr a = p->job->unit.fn[i];
        struct hwd_record rec;
        int r = vfio_power_wake(p->job->root, a, &p->power[i], e);

        /* What we changed on a managed function is restored when it is given back, so it has to
         * survive us; the first change counts, later ones see our own value. */
        hwd_state_load(p->job->statedir, a, &rec);
        if (rec.former.known && ((p->power[i].control[0] && !rec.power.control[0]) ||
                                 (p->power[i].d3cold_allowed[0] && !rec.power.d3cold_allowed[0]))) {
            struct err se = ERR_INIT;

            if (!rec.power.control[0])
                (void)str_copy(rec.power.control, sizeof(rec.power.control), p->power[i].control);
            if (!rec.power.d3cold_allowed[0])
                (void)str_copy(rec.power.d3cold_allowed, sizeof(rec.power.d3cold_allowed),
                               p->power[i].d3cold_allowed);
            if (hwd_state_store(p->job->statedir, a, &rec, &se) < 0 && r >= 0) {
                *e = se;
                return -se.num;
            }
        }
        /* Memory decode that lockdown keeps us from switching on comes with the open device. */
        if (r < 0 && i == 0 && e->reason == REASON_LOCKDOWN &&
            p->job->cfg->access != HWD_ACCESS_SYSFS) {
            err_clear(e);
            r = 0;
        }
        /* Only the primary's registers are read: a companion that sleeps on is no obstacle. */
        if (r < 0 && i == 0)
            return r;
        if (r < 0)
            err_clear(e);
    }
    return 0;
}

void
step_unwake(struct proc *p)
{
    for (unsigned i = 0; i < p->job->unit.n_fn; i++) {
        struct hwd_record rec;
        struct err ignored = ERR_INIT;

        if (!p->power[i].control[0] && !p->power[i].d3cold_allowed[0])
            continue;
        hwd_state_load(p->job->statedir, p->job->unit.fn[i], &rec);
        if (!rec.former.known)
            (void)vfio_power_restore(p->job->root, p->job->unit.fn[i], &p->power[i], &ignored);
    }
}

static struct cc_timing
firmware_limits(const struct proc *p)
{
    const struct hwd_config *c = p->job->cfg;
    struct cc_timing t = cc_timing_default(p->job->unit.chip);

    t.queue = c->firmware.queue ? c->firmware.queue : t.queue;
    t.reply = c->firmware.reply ? c->firmware.reply : t.reply;
    t.boot = c->firmware.boot ? c->firmware.boot : t.boot;
    t.firewall = c->firmware.firewall ? c->firmware.firewall : t.firewall;
    return t;
}

static void
set_session(struct proc *p, const struct hw_dev *hw, enum hwd_access how)
{
    p->cc = (struct cc_session){
        .dev = hw,
        .chip = p->job->unit.chip,
        .timing = firmware_limits(p),
    };
    p->out->evidence.access = (uint32_t)how;
}

/* Where the hold is the device itself, taking it has reset it, and the firmware may still boot. */
static bool
hold_was_reset(const struct proc *p)
{
    return p->hold >= 0 && vfio_hold_is_cdev(p->job->root, proc_primary(p));
}

static int
open_sysfs(struct proc *p, struct err *e)
{
    int r;

    dev_sysfs_close(p->dev);
    p->dev = NULL;
    r = dev_sysfs_open(p->job->root, proc_primary(p), &p->dev, e);
    if (r < 0)
        return r;
    set_session(p, dev_sysfs_hw(p->dev), HWD_ACCESS_SYSFS);
    return 0;
}

/* The kernel only says that some function of the group is in other hands. With a gang it is often a
 * sibling whose turn to be bound has not come: BUSY, so that it is tried again. */
static void
name_not_viable(struct proc *p, struct err *e)
{
    struct err which = ERR_INIT;

    if (step_refresh(p, &which) < 0 || step_viable(p, &which) >= 0 ||
        which.reason != REASON_GROUP_NOT_VIABLE)
        return;
    (void)err_prefix(&which, "open %s by VFIO", PCI_STR(p->job->unit.addr));
    *e = which;
}

/* Opening resets the device: until it has booted nothing but the boot registers may be read. */
static int
open_vfio(struct proc *p, struct err *e)
{
    const struct vfio_fn *f = proc_primary(p);
    bool reset = hold_was_reset(p);
    int r;

    if (vfio_is_vfio_driver(f->driver) && vfio_hold_is_cdev(p->job->root, f) &&
        p->job->unit.facts.gang_size > 1)
        return err_reason(e, ENOTSUP, ERR_CLASS_INVALID, REASON_GROUP_SHARED,
                          "open %s by VFIO: it shares IOMMU group %d, and this kernel has no group "
                          "nodes (CONFIG_VFIO_GROUP)",
                          PCI_STR(f->addr), f->iommu_group);
    r = dev_vfio_open(p->job->root, f, p->hold >= 0 ? p->hold : p->lent, p->lent_dev, &p->vdev, e);
    if (r < 0 && e->reason == REASON_GROUP_NOT_VIABLE)
        name_not_viable(p, e);
    if (r < 0)
        return r;
    p->lent_dev = -1;
    set_session(p, dev_vfio_hw(p->vdev), HWD_ACCESS_VFIO);
    if (!reset && !dev_vfio_was_reset(p->vdev))
        return 0;
    return cc_wait_boot(&p->cc, e);
}

static bool
refused_by_kernel(enum reason r)
{
    return r == REASON_LOCKDOWN || r == REASON_STRICT_DEVMEM;
}

/* The second way, after the first was refused. Where this host (or a function without a driver) has
 * no such way, the first refusal is the one to tell. */
static int
open_instead(struct proc *p, struct err *e)
{
    struct err second = ERR_INIT;
    int r = open_vfio(p, &second);

    if (r >= 0) {
        err_clear(e);
        return 0;
    }
    if (second.reason == REASON_NODE_MISSING || second.reason == REASON_NOT_BOUND) {
        struct err first = *e;

        return err_reason(e, first.num, first.cls, first.reason, "%.240s; %.240s", first.msg,
                          second.msg);
    }
    (void)err_prefix(&second, "resource0 is refused (%s)", reason_name(e->reason));
    *e = second;
    return r;
}

int
step_open_sysfs(struct proc *p, struct err *e)
{
    int r = open_sysfs(p, e);

    return r < 0 ? r : cc_sanity(&p->cc, e);
}

/* A device that is open stays open: closing and opening it again would be two more resets. */
int
step_open(struct proc *p, struct err *e)
{
    const int access = p->job->cfg->access;
    int r = 0;

    if (p->vdev)
        return cc_sanity(&p->cc, e);
    if (access == HWD_ACCESS_VFIO || p->lent_dev >= 0) {
        r = open_vfio(p, e);
    } else {
        r = open_sysfs(p, e);
        if (r < 0 && access == HWD_ACCESS_AUTO && refused_by_kernel(e->reason))
            r = open_instead(p, e);
        else if (r >= 0 && hold_was_reset(p))
            r = cc_wait_boot(&p->cc, e);
    }
    return r < 0 ? r : cc_sanity(&p->cc, e);
}

int
step_reset(struct proc *p, enum hwd_rung how, struct err *e)
{
    static const enum vfio_reset method[] = {
        [HWD_RUNG_FUNCTION] = VFIO_RESET_FUNCTION,
        [HWD_RUNG_BUS] = VFIO_RESET_BUS,
        [HWD_RUNG_REMOVE_RESCAN] = VFIO_RESET_REMOVE_RESCAN,
    };
    int r;

    proc_phase(p, HWD_PHASE_RESET, hwd_rung_name(how));
    p->out->evidence.resets++;
    p->cc.fsp_open = false; /* a reset empties the firmware's queues */
    if (p->vdev && how != HWD_RUNG_REMOVE_RESCAN)
        r = p->cc.dev->ops->reset(p->cc.dev->ctx,
                                  how == HWD_RUNG_BUS ? HW_RESET_BUS : HW_RESET_FUNCTION, e);
    else
        r = vfio_reset_dev(p->job->root, p->job->unit.addr, method[how], e);
    if (r < 0)
        return r;
    p->out->evidence.reset_rung = (uint32_t)how;
    return 0;
}
