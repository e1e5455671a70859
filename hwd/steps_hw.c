/* SPDX-License-Identifier: Apache-2.0
 *
 * The steps that touch the device itself: power, BAR0, reset. State: the struct proc of one worker.
 */
#include "hwd/steps.h"

#include "base/cleanup.h"

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

int
step_open(struct proc *p, struct err *e)
{
    int r;

    dev_sysfs_close(p->dev);
    p->dev = NULL;
    r = dev_sysfs_open(p->job->root, proc_primary(p), &p->dev, e);
    if (r < 0)
        return r;
    p->cc = (struct cc_session){
        .dev = dev_sysfs_hw(p->dev),
        .chip = p->job->unit.chip,
        .timing = firmware_limits(p),
    };
    return cc_sanity(&p->cc, e);
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
    r = vfio_reset_dev(p->job->root, p->job->unit.addr, method[how], e);
    if (r < 0)
        return r;
    p->out->evidence.reset_rung = (uint32_t)how;
    return 0;
}
