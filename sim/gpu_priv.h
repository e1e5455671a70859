/* SPDX-License-Identifier: Apache-2.0
 *
 * The insides of the emulated device, shared by sim/gpu*.c and sim/fsp*.c only.
 */
#ifndef PGPU_SIM_GPU_PRIV_H
#define PGPU_SIM_GPU_PRIV_H

#include "sim/cfgspace.h"
#include "sim/fault.h"
#include "sim/fsp.h"
#include "sim/gpu.h"
#include "sim/nvram.h"

#define SIM_NEVER UINT64_MAX

/* What hardware takes, in ms. Boot: knobs to verified took 1.66 s on an H100 SXM (nvtrust #55).
 * FSP: ten-odd commands took 0.1 s (same log). Resets as the kernel's `reset` file blocks, measured
 * on Linux 6.12: 0.1 to 0.2 s, 1.04 s for a bus reset that failed, 70.8 s for a dead device. The
 * others are plausible guesses. */
#define SIM_MS_BOOT 1500u
#define SIM_MS_FIREWALL 500u
#define SIM_MS_FSP 10u
#define SIM_MS_CRS 150u
#define SIM_MS_D3HOT_WAKE 10u
#define SIM_MS_FLR 100u
#define SIM_MS_BUS_RESET 200u
#define SIM_MS_BUS_RESET_FAILED 1040u
#define SIM_MS_RESET_GIVE_UP 70800u
#define SIM_MS_KERNEL_WAITS 60000u /* PCIE_RESET_READY_POLL_MS, not scaled */

#define SIM_BADF 0xbadf5108u     /* unlisted register in CC mode, nvtrust #58 */
#define SIM_BADF_SEC 0xbadf0200u /* BOOT_0 after a security fault, gpu-admin-tools */

#define SIM_SCRATCH 4

struct sim_gpu {
    const struct sim_model *model;
    uint64_t (*now_ns)(void *ctx);
    void *clock_ctx;
    double scale;
    struct sim_nvram nv;
    struct sim_faults faults;
    struct sim_cfg cfg;
    struct sim_fsp fsp;
    uint64_t boot_ns;     /* boot is complete from here on; SIM_NEVER: it never is */
    uint64_t firewall_ns; /* BAR0 firewall up until here */
    uint64_t crs_ns;      /* configuration request retry until here */
    uint64_t wake_ns;     /* BAR0 silent until here after D3hot */
    bool hung;            /* reset-hang: retries until crs_ns or until the fault is cleared */
    bool dead;            /* BAR0 all-ones since the last reset */
    bool boot_failed;     /* boot-needs-second-reset: the last reset did not boot */
    struct {
        unsigned cc;
        bool ppcie, decoupler;
    } active; /* latched at the last reset */
    uint32_t scratch[SIM_SCRATCH];
    struct sim_counts counts;
    void (*trace)(void *ctx, const struct sim_access *a);
    void *trace_ctx;
};

static inline uint64_t
sim_now(const struct sim_gpu *g)
{
    return g->now_ns(g->clock_ctx);
}

static inline bool
sim_fault(const struct sim_gpu *g, enum sim_fault_id id)
{
    return g->faults.on[id];
}

/* `ms` of the hardware's time in ns of the scaled clock. */
uint64_t sim_scaled(const struct sim_gpu *g, unsigned ms);

/* Nothing answers: off the bus or without power. */
bool sim_gone(const struct sim_gpu *g);

/* BAR0 decoding as config space and power state have it. */
bool sim_bar_decoded(const struct sim_gpu *g);
bool sim_firewall_up(const struct sim_gpu *g);
bool sim_booted(const struct sim_gpu *g);

/* A reset as the function sees it; configuration space is lost. */
enum sim_reset_kind { SIM_RESET_FLR, SIM_RESET_BUS };
void sim_reset(struct sim_gpu *g, enum sim_reset_kind kind);
/* As it comes over the bus, without a kernel's model around it: the fault "reset-hang" is the
 * device's own here, and sim_unhang() ends it when that fault is gone. */
void sim_reset_raw(struct sim_gpu *g, enum sim_reset_kind kind);
void sim_unhang(struct sim_gpu *g);
void sim_latch(struct sim_gpu *g);

/* Traces. */
void sim_access_note(struct sim_gpu *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_access(struct sim_gpu *g, bool write, const char *space, uint32_t off, uint32_t value);

#endif
