/* SPDX-License-Identifier: Apache-2.0
 *
 * Configuration space accesses and their side effects: power state, FLR, firewall bits, retries.
 */
#include "sim/gpu_priv.h"

#include <stdio.h>

static bool
access_ok(uint32_t off, unsigned width)
{
    return (width == 1 || width == 2 || width == 4) && off % width == 0 && off < SIM_CFG_SIZE;
}

static uint32_t
ones(unsigned width)
{
    return width == 4 ? 0xffffffffu : (1u << (8 * width)) - 1;
}

static void
access_cfg(struct sim_gpu *g, bool write, uint32_t off, unsigned width, uint32_t v)
{
    char space[8];

    (void)snprintf(space, sizeof(space), "cfg%u", (8 * width) & 0x3f);
    sim_access(g, write, space, off, v);
}

/* Read-only bits that follow from state elsewhere. */
static void
refresh(struct sim_gpu *g)
{
    struct sim_cfg *c = &g->cfg;
    uint32_t fault = 0;

    if (c->firewall)
        sim_cfg_put(c, c->firewall, 4, sim_firewall_up(g) ? c->firewall_bit : 0);
    if (sim_fault(g, SIM_F_SEC_FAULT))
        fault = 0x40000001; /* first cause, device locked down */
    if (c->sec_fault)
        sim_cfg_put(c, c->sec_fault, 4, fault);
}

/* While a function answers with configuration request retry, the root complex makes 0x0001 of a
 * read of the vendor ID and all-ones of everything else (PCIe 2.3.2, CRS software visibility). */
static uint32_t
retried(uint32_t off, unsigned width)
{
    return off == 0 && width >= 2 ? ones(width) & 0xffff0001u : ones(width);
}

uint32_t
sim_gpu_cfg_read(struct sim_gpu *g, uint32_t off, unsigned width)
{
    uint32_t v;

    if (!access_ok(off, width))
        return 0xffffffff;
    if (sim_gone(g)) {
        v = ones(width);
    } else if (sim_now(g) < g->crs_ns) {
        v = retried(off, width);
    } else {
        refresh(g);
        v = sim_cfg_get(&g->cfg, off, width);
    }
    access_cfg(g, false, off, width, v);
    return v;
}

static bool
covers(uint32_t off, unsigned width, unsigned byte)
{
    return off <= byte && byte < off + width;
}

static void
wrote_power(struct sim_gpu *g, unsigned old)
{
    unsigned at = g->cfg.pm + SIM_PM_CSR, state = sim_gpu_power(g);

    if (state != 0 && state != 3)
        sim_cfg_write(&g->cfg, at, 1, old);
    else if (state == 0 && old == 3)
        g->wake_ns = sim_now(g) + sim_scaled(g, SIM_MS_D3HOT_WAKE);
}

void
sim_gpu_cfg_write(struct sim_gpu *g, uint32_t off, unsigned width, uint32_t val)
{
    unsigned power = sim_gpu_power(g);
    unsigned flr_byte = g->cfg.pcie + SIM_PCIE_DEVCTL + 1;
    bool capable;

    if (!access_ok(off, width))
        return;
    access_cfg(g, true, off, width, val & ones(width));
    if (sim_gone(g) || sim_now(g) < g->crs_ns)
        return;
    sim_cfg_write(&g->cfg, off, width, val);
    if (g->cfg.pm && covers(off, width, g->cfg.pm + SIM_PM_CSR))
        wrote_power(g, power);
    capable = g->cfg.pcie && (sim_cfg_get(&g->cfg, g->cfg.pcie + 4, 4) & SIM_DEVCAP_FLR);
    if (capable && covers(off, width, flr_byte) &&
        (val >> (8 * (flr_byte - off)) & (SIM_DEVCTL_FLR >> 8)))
        sim_reset_raw(g, SIM_RESET_FLR);
}
