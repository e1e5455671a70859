/* SPDX-License-Identifier: Apache-2.0
 *
 * Runtime power and function reset of the simulated kernel. Caller holds the kernel's lock.
 */
#include "sim/kernel_priv.h"

#include <errno.h>

#define MS_D3HOT_EXIT 10     /* PCI_PM_D3HOT_WAIT */
#define MS_RESET_DEAD 70800u /* measured on Linux 6.12 with a device that does not come back */

const char *
pstate_name(enum pstate s)
{
    switch (s) {
    case PS_D0:
        return "D0";
    case PS_D3HOT:
        return "D3hot";
    case PS_D3COLD:
        return "D3cold";
    case PS_UNKNOWN:
        break;
    }
    return "unknown";
}

/* pci_power_up(): a device that does not answer is taken to be in D3cold from then on. */
void
pm_wake(struct sim_kernel *k, struct fn *f)
{
    if (f->pstate == PS_D0 || (f->pstate == PS_UNKNOWN && sim_gpu_power(f->gpu) == 0))
        return;
    sim_gpu_set_power(f->gpu, 0);
    f->pstate = sim_gpu_power(f->gpu) == 0 && f->plugged ? PS_D0 : PS_D3COLD;
    k_delay_ms(k, MS_D3HOT_EXIT);
}

void
pm_idle(struct sim_kernel *k, struct fn *f)
{
    (void)k;
    if (!f->drv || !f->drv->vfio || !f->idle_d3 || !f->pm_auto || f->holder)
        return;
    sim_gpu_set_power(f->gpu, 3);
    f->pstate = PS_D3HOT;
}

/* ---- reset ---- */

/* pci_parent_bus_reset(): only for a function that is alone behind its bridge. */
static bool
alone_on_bus(struct sim_kernel *k, const struct fn *f)
{
    const struct fn *o;

    if (!f->bridge || f->is_bridge)
        return false;
    for (o = k->fns; o; o = o->next)
        if (o != f && o->dir && o->bridge == f->bridge)
            return false;
    return true;
}

bool
method_possible(struct sim_kernel *k, const struct fn *f, int how, bool probe)
{
    if (!(f->methods_supported & (unsigned)how))
        return false;
    return how != RM_BUS || !probe || alone_on_bus(k, f);
}

void
methods_default(struct sim_kernel *k, struct fn *f)
{
    f->n_methods = 0;
    if (method_possible(k, f, RM_FLR, true))
        f->methods[f->n_methods++] = RM_FLR;
    if (method_possible(k, f, RM_BUS, true))
        f->methods[f->n_methods++] = RM_BUS;
}

int
fn_reset_by(struct sim_kernel *k, struct fn *f, int how)
{
    uint64_t block = 0;
    int r;

    if (!f->plugged) {
        k_delay_ms(k, MS_RESET_DEAD);
        return -ENOTTY;
    }
    if (how == RM_BUS && !alone_on_bus(k, f))
        return -ENOTTY;
    r = how == RM_BUS ? sim_gpu_bus_reset(f->gpu, &block) : sim_gpu_flr(f->gpu, &block);
    if (block > 0)
        k_block(k, block);
    return r == 0 ? 0 : -ENOTTY;
}

int
fn_reset(struct sim_kernel *k, struct fn *f)
{
    unsigned i;
    int r = -ENOTTY;

    if (f->n_methods == 0)
        return -ENOTTY;
    pm_wake(k, f);
    for (i = 0; i < f->n_methods && r == -ENOTTY; i++)
        r = fn_reset_by(k, f, f->methods[i]);
    if (f->pstate != PS_D3COLD)
        f->pstate = PS_D0; /* pci_dev_save_and_disable() wakes it whatever it was */
    pm_idle(k, f);
    return r;
}
