/* SPDX-License-Identifier: Apache-2.0
 *
 * `show`: every function of the node as a table or as JSON. Caller holds the kernel's lock.
 */
#include "sim/control.h"

#include "sim/kernel_priv.h"

#include <stdio.h>
#include <string.h>

/* Firmware knobs that configure the mode (NVIDIA gpu-admin-tools v2025.10.20). */
#define KNOB_CC_DEV 6
#define KNOB_CC 8
#define KNOB_PPCIE 45

enum cc_mode
control_active_mode(const struct sim_gpu *g)
{
    static const enum cc_mode modes[] = {CC_MODE_OFF, CC_MODE_ON, CC_MODE_INVALID,
                                         CC_MODE_DEVTOOLS};

    if (sim_gpu_model(g)->kind == SIM_PLAIN)
        return CC_MODE_UNKNOWN;
    if (sim_gpu_active_ppcie(g))
        return CC_MODE_PPCIE;
    return modes[sim_gpu_active_cc(g) & 3];
}

enum cc_mode
control_configured_mode(const struct sim_gpu *g)
{
    bool cc, dev;

    if (sim_gpu_model(g)->kind == SIM_PLAIN)
        return CC_MODE_UNKNOWN;
    cc = (sim_gpu_knob(g, KNOB_CC) & 1) != 0;
    dev = (sim_gpu_knob(g, KNOB_CC_DEV) & 1) != 0;
    if (sim_gpu_knob(g, KNOB_PPCIE) & 1)
        return CC_MODE_PPCIE;
    return cc ? (dev ? CC_MODE_DEVTOOLS : CC_MODE_ON) : (dev ? CC_MODE_INVALID : CC_MODE_OFF);
}

static const char *
mode_text(const struct fn *f, enum cc_mode m)
{
    return f->model->kind == SIM_PLAIN ? "-" : cc_mode_name(m);
}

static const char *
holder_text(struct sim_kernel *k, const struct fn *f, char *buf, size_t size)
{
    const struct sim_file *h = f->holder ? f->holder : f->group ? f->group->file : NULL;
    const char *who = vfio_holder(k, f);

    if (h && h->pid > 0)
        (void)snprintf(buf, size, "%s:%ld", who, h->pid);
    else
        (void)snprintf(buf, size, "%s", who);
    return buf;
}

static size_t
row_text(struct sim_kernel *k, const struct fn *f, char *buf, size_t size)
{
    char group[16] = "-", cdev[16] = "-", holder[40];

    if (f->group)
        (void)snprintf(group, sizeof(group), "%d", f->group->id);
    if (f->cdev_id >= 0)
        (void)snprintf(cdev, sizeof(cdev), "vfio%d", f->cdev_id);
    return (size_t)showf(
        buf, size, "%-13s %-14s %-16s %5s %-7s %4d %-8s %-12s %-8s %-8s\n", f->name, f->model_name,
        f->drv ? f->drv->name : "-", group, cdev, f->numa,
        f->plugged ? pstate_name(f->pstate) : "gone", holder_text(k, f, holder, sizeof(holder)),
        mode_text(f, control_active_mode(f->gpu)), mode_text(f, control_configured_mode(f->gpu)));
}

/* Nothing here needs escaping: names are ours. Driver overrides are left out for that reason. */
static size_t
row_json(struct sim_kernel *k, const struct fn *f, bool first, char *buf, size_t size)
{
    char holder[40];
    struct sim_counts counts = {0};

    if (f->model->kind != SIM_PLAIN)
        counts = sim_gpu_counts(f->gpu);
    return (size_t)showf(
        buf, size,
        "%s\n  {\"address\": \"%s\", \"model\": \"%s\", \"driver\": \"%s\", \"group\": %d, "
        "\"cdev\": %d, \"numa\": %d, \"power\": \"%s\", \"plugged\": %s, \"holder\": \"%s\", "
        "\"opens\": %llu, \"active\": \"%s\", \"configured\": \"%s\", "
        "\"resets\": %llu, \"exchanges\": %llu, \"delay_us\": %llu}",
        first ? "" : ",", f->name, f->model_name, f->drv ? f->drv->name : "",
        f->group ? f->group->id : -1, f->cdev_id, f->numa, pstate_name(f->pstate),
        f->plugged ? "true" : "false", holder_text(k, f, holder, sizeof(holder)),
        (unsigned long long)f->opened, mode_text(f, control_active_mode(f->gpu)),
        mode_text(f, control_configured_mode(f->gpu)), (unsigned long long)counts.resets,
        (unsigned long long)counts.exchanges, (unsigned long long)(counts.delay_ns / 1000));
}

void
control_show(struct sim_kernel *k, bool json, char *buf, size_t size)
{
    const struct fn *f;
    bool first = true;
    size_t used;

    used = json ? (size_t)showf(buf, size, "[")
                : (size_t)showf(buf, size, "%-13s %-14s %-16s %5s %-7s %4s %-8s %-12s %-8s %-8s\n",
                                "ADDRESS", "MODEL", "DRIVER", "GROUP", "CDEV", "NUMA", "POWER",
                                "HOLDER", "ACTIVE", "CONFIG");
    for (f = k->fns; f; f = f->next) {
        if (!f->dir || (f->is_bridge && !json))
            continue;
        used += json ? row_json(k, f, first, buf + used, size - used)
                     : row_text(k, f, buf + used, size - used);
        first = false;
    }
    if (json)
        (void)showf(buf + used, size - used, "\n]\n");
}
