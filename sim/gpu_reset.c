/* SPDX-License-Identifier: Apache-2.0
 *
 * Resets and what follows them: latching of the configured mode, boot, firewall.
 */
#include "sim/gpu_priv.h"

#include <errno.h>

bool
sim_gone(const struct sim_gpu *g)
{
    return sim_fault(g, SIM_F_OFF_BUS) || sim_fault(g, SIM_F_D3COLD);
}

static bool
blackwell(const struct sim_gpu *g)
{
    return g->model->kind == SIM_GPU_GB1 || g->model->kind == SIM_GPU_GB2;
}

bool
sim_firewall_up(const struct sim_gpu *g)
{
    return blackwell(g) && sim_now(g) < g->firewall_ns;
}

bool
sim_booted(const struct sim_gpu *g)
{
    return !sim_fault(g, SIM_F_RECOVERY_MODE) && g->boot_ns != SIM_NEVER &&
           sim_now(g) >= g->boot_ns;
}

/* Firmware makes the configured mode active while it boots after a reset, and at no other time. The
 * devtools knob alone gives the undefined state 2 (gpu-admin-tools #7). */
void
sim_latch(struct sim_gpu *g)
{
    const uint16_t *k = g->nv.knob;
    bool is_switch = g->model->kind == SIM_NVSWITCH3;
    bool has_ppcie = is_switch || g->model->kind == SIM_GPU_HOPPER;

    if (g->model->kind == SIM_PLAIN)
        return;
    g->active.cc = is_switch ? 0 : (k[KNOB_CCM] ? 1u : 0u) | (k[KNOB_CCD] ? 2u : 0u);
    g->active.ppcie = has_ppcie && k[KNOB_PPCIE];
    g->active.decoupler = k[KNOB_BAR0_DEC] != 0;
}

static bool
boots(struct sim_gpu *g)
{
    if (sim_fault(g, SIM_F_BOOT_SECOND_RESET)) {
        g->boot_failed = !g->boot_failed;
        return !g->boot_failed;
    }
    g->boot_failed = false;
    return !sim_fault(g, SIM_F_BOOT_NEVER);
}

/* scratch[] by index, as sim/gpu_bar.c's table has it: 0 is cleared by any reset, 1 by a bus reset
 * only, the rest by any. */
static void
clear_scratch(struct sim_gpu *g, enum sim_reset_kind kind)
{
    for (unsigned i = 0; i < SIM_SCRATCH; i++)
        if (i != 1 || kind == SIM_RESET_BUS)
            g->scratch[i] = 0;
}

void
sim_reset(struct sim_gpu *g, enum sim_reset_kind kind)
{
    uint64_t now = sim_now(g);

    g->counts.resets++;
    g->counts.delay_ns += sim_scaled(g, kind == SIM_RESET_FLR ? SIM_MS_FLR : SIM_MS_BUS_RESET) +
                          sim_scaled(g, SIM_MS_BOOT);
    sim_cfg_reset(&g->cfg);
    g->hung = false;
    g->crs_ns = now + sim_scaled(g, SIM_MS_CRS);
    g->wake_ns = 0;
    g->dead = sim_fault(g, SIM_F_ALL_ONES_AFTER_RESET) ||
              (kind == SIM_RESET_FLR && sim_fault(g, SIM_F_SBR_ONLY_RECOVERY));
    g->boot_ns = boots(g) ? now + sim_scaled(g, SIM_MS_BOOT) : SIM_NEVER;
    g->firewall_ns =
        sim_fault(g, SIM_F_FIREWALL_STUCK) ? SIM_NEVER : now + sim_scaled(g, SIM_MS_FIREWALL);
    clear_scratch(g, kind);
    if (!sim_fault(g, SIM_F_MODE_NOT_LATCHED))
        sim_latch(g);
    sim_fsp_reset(g);
    sim_access_note(g, "%s: CCM=%u CCD=%u PPCIE=%u BAR0DEC=%u",
                    kind == SIM_RESET_FLR ? "FLR" : "bus reset", g->nv.knob[KNOB_CCM],
                    g->nv.knob[KNOB_CCD], g->nv.knob[KNOB_PPCIE], g->nv.knob[KNOB_BAR0_DEC]);
}

static bool
hangs(const struct sim_gpu *g, enum sim_reset_kind kind)
{
    uint32_t bit = kind == SIM_RESET_FLR ? SIM_F_RESETS_FLR : SIM_F_RESETS_BUS;

    return sim_fault(g, SIM_F_RESET_HANG) && (g->faults.value[SIM_F_RESET_HANG] & bit);
}

/* It boots when it is back. */
static void
boot_from(struct sim_gpu *g, uint64_t at_ns)
{
    g->crs_ns = at_ns;
    if (g->boot_ns != SIM_NEVER)
        g->boot_ns = at_ns == SIM_NEVER ? at_ns - 1 : at_ns + sim_scaled(g, SIM_MS_BOOT);
}

void
sim_reset_raw(struct sim_gpu *g, enum sim_reset_kind kind)
{
    uint64_t ms = g->faults.hang_ms;

    sim_reset(g, kind);
    g->hung = hangs(g, kind);
    if (g->hung)
        boot_from(g, ms ? sim_now(g) + ms * 1000000u : SIM_NEVER);
}

void
sim_unhang(struct sim_gpu *g)
{
    if (!g->hung || sim_fault(g, SIM_F_RESET_HANG))
        return;
    g->hung = false;
    if (sim_now(g) < g->crs_ns)
        boot_from(g, sim_now(g));
}

/* As the kernel's pci_reset_function() and pci_reset_bus(): wake, save configuration space, reset,
 * wait, restore. Configuration retries end within the wait, so nobody sees them. */
static int
kernel_reset(struct sim_gpu *g, enum sim_reset_kind kind, uint64_t *ret_block_ns)
{
    uint32_t bit = kind == SIM_RESET_FLR ? SIM_F_RESETS_FLR : SIM_F_RESETS_BUS;
    unsigned ms = kind == SIM_RESET_FLR ? SIM_MS_FLR : SIM_MS_BUS_RESET;
    struct sim_cfg saved;

    *ret_block_ns = sim_scaled(g, ms);
    if (hangs(g, kind) && g->faults.hang_ms == 0) {
        *ret_block_ns = SIM_NEVER;
        return 0;
    }
    if (sim_gone(g) || (hangs(g, kind) && g->faults.hang_ms > SIM_MS_KERNEL_WAITS)) {
        *ret_block_ns = sim_scaled(g, SIM_MS_RESET_GIVE_UP);
        return ENOTTY;
    }
    if (sim_fault(g, SIM_F_RESET_FAIL) && (g->faults.value[SIM_F_RESET_FAIL] & bit)) {
        if (kind == SIM_RESET_BUS)
            *ret_block_ns = sim_scaled(g, SIM_MS_BUS_RESET_FAILED);
        return ENOTTY;
    }
    sim_gpu_set_power(g, 0);
    saved = g->cfg;
    sim_reset(g, kind);
    g->cfg = saved;
    g->crs_ns = 0;
    if (hangs(g, kind))
        *ret_block_ns += (uint64_t)g->faults.hang_ms * 1000000u;
    sim_access_note(g, "kernel: config space restored");
    return 0;
}

int
sim_gpu_flr(struct sim_gpu *g, uint64_t *ret_block_ns)
{
    bool capable = g->cfg.pcie && (sim_cfg_get(&g->cfg, g->cfg.pcie + 4, 4) & SIM_DEVCAP_FLR);

    if (!capable) {
        *ret_block_ns = 0;
        return ENOTTY;
    }
    return kernel_reset(g, SIM_RESET_FLR, ret_block_ns);
}

int
sim_gpu_bus_reset(struct sim_gpu *g, uint64_t *ret_block_ns)
{
    return kernel_reset(g, SIM_RESET_BUS, ret_block_ns);
}

void
sim_gpu_hot_reset(struct sim_gpu *g)
{
    if (!sim_gone(g))
        sim_reset_raw(g, SIM_RESET_BUS);
}

bool
sim_gpu_gone(const struct sim_gpu *g)
{
    return sim_gone(g);
}

uint64_t
sim_gpu_retry_ns(const struct sim_gpu *g)
{
    uint64_t now = sim_now(g);

    if (now >= g->crs_ns)
        return 0;
    return g->hung ? UINT64_MAX : g->crs_ns - now;
}

struct sim_counts
sim_gpu_counts(const struct sim_gpu *g)
{
    return g->counts;
}
