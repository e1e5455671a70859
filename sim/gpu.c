/* SPDX-License-Identifier: Apache-2.0
 *
 * The emulated device as an object: making, faults, power, knobs, traces. See sim/gpu.h.
 */
#include "sim/gpu_priv.h"

#include "base/fs.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define SCALE_MAX 1000.0

int
sim_gpu_new(const struct sim_gpu_params *p, struct sim_gpu **ret, struct err *e)
{
    struct sim_gpu *g;
    int r;

    if (!p->model || !p->now_ns)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "make an emulated device: no model or clock");
    if (!(p->time_scale >= 0 && p->time_scale <= SCALE_MAX))
        return err_set(e, ERANGE, ERR_CLASS_INVALID,
                       "make an emulated %s: time scale is not within 0 to 1000", p->model->name);
    g = calloc(1, sizeof(*g));
    if (!g)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "make an emulated %s: out of memory",
                       p->model->name);
    g->model = p->model;
    g->now_ns = p->now_ns;
    g->clock_ctx = p->clock_ctx;
    g->scale = p->time_scale;
    r = sim_nvram_init(&g->nv, p->nvram_path, e);
    if (r < 0) {
        free(g);
        return r;
    }
    sim_cfg_build(&g->cfg, p->model);
    if (p->no_msix)
        sim_cfg_unlink(&g->cfg, SIM_CAP_MSIX);
    sim_latch(g);
    if (!p->booted) {
        g->boot_ns = sim_now(g) + sim_scaled(g, SIM_MS_BOOT);
        g->firewall_ns = sim_now(g) + sim_scaled(g, SIM_MS_FIREWALL);
    }
    sim_fsp_reset(g);
    *ret = g;
    return 0;
}

void
sim_gpu_free(struct sim_gpu *g)
{
    if (!g)
        return;
    sim_nvram_fini(&g->nv);
    free(g);
}

const struct sim_model *
sim_gpu_model(const struct sim_gpu *g)
{
    return g->model;
}

uint64_t
sim_scaled(const struct sim_gpu *g, unsigned ms)
{
    return (uint64_t)((double)ms * 1e6 * g->scale);
}

int
sim_gpu_fault(struct sim_gpu *g, const char *spec, struct err *e)
{
    enum sim_fault_id id;
    int r;

    r = sim_faults_apply(&g->faults, spec, &id, e);
    if (r < 0)
        return r;
    sim_access_note(g, "fault %s", spec);
    sim_unhang(g);
    if (id == SIM_F_D3HOT_START)
        sim_gpu_set_power(g, 3);
    if (id == SIM_F_STALE_REPLY)
        sim_fsp_put_stale(g);
    return 0;
}

/* D1 and D2 are not supported by these functions: the write has no effect. */
void
sim_gpu_set_power(struct sim_gpu *g, unsigned dstate)
{
    if (sim_gone(g) || !g->cfg.pm || (dstate != 0 && dstate != 3))
        return;
    sim_cfg_write(&g->cfg, g->cfg.pm + SIM_PM_CSR, 1, dstate);
}

unsigned
sim_gpu_power(const struct sim_gpu *g)
{
    if (sim_fault(g, SIM_F_D3COLD))
        return 4;
    return g->cfg.pm ? sim_cfg_get(&g->cfg, g->cfg.pm + SIM_PM_CSR, 1) & SIM_PM_STATE : 0;
}

uint16_t
sim_gpu_knob(const struct sim_gpu *g, unsigned knob)
{
    return knob < SIM_KNOBS ? g->nv.knob[knob] : 0;
}

void
sim_gpu_set_knob(struct sim_gpu *g, unsigned knob, uint16_t v)
{
    struct err e = ERR_INIT;

    if (sim_nvram_set(&g->nv, knob, v, &e) < 0)
        sim_access_note(g, "%s", e.msg);
}

unsigned
sim_gpu_active_cc(const struct sim_gpu *g)
{
    return g->active.cc;
}

bool
sim_gpu_active_ppcie(const struct sim_gpu *g)
{
    return g->active.ppcie;
}

void
sim_gpu_trace(struct sim_gpu *g, void (*cb)(void *ctx, const struct sim_access *a), void *ctx)
{
    g->trace = cb;
    g->trace_ctx = ctx;
}

void
sim_access(struct sim_gpu *g, bool write, const char *space, uint32_t off, uint32_t value)
{
    struct sim_access a = {.write = write, .off = off, .value = value};

    if (!g->trace)
        return;
    (void)str_copy(a.space, sizeof(a.space), space);
    g->trace(g->trace_ctx, &a);
}

void
sim_access_note(struct sim_gpu *g, const char *fmt, ...)
{
    struct sim_access a = {.space = "note"};
    char text[256];
    va_list ap;

    if (!g->trace)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    a.note = text;
    g->trace(g->trace_ctx, &a);
}
