/* SPDX-License-Identifier: Apache-2.0
 *
 * Behavioural model of one PCI function: GPU or NVSwitch with config space, BAR0, FSP firmware over
 * EMEM or MNOC, knobs in NVRAM, resets, boot delay, D-states and faults. Companion functions
 * (audio, USB) and bridges use the same config-space builder without a BAR0 model.
 *
 * One model, several fronts: in-process (sim/inproc.h gives an hw_dev), FUSE, vfio-user. The model
 * has no threads and no I/O of its own: everything time-dependent is computed from the clock it is
 * given, scaled by `time_scale`. Not thread-safe: its owner locks.
 */
#ifndef PGPU_SIM_GPU_H
#define PGPU_SIM_GPU_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_gpu;

enum sim_model_kind { SIM_GPU_HOPPER, SIM_GPU_GB1, SIM_GPU_GB2, SIM_NVSWITCH3, SIM_PLAIN };

struct sim_model {
    const char *name; /* "h100-pcie", "h100-sxm", "h200", "b200", "rtxpro6000", "nvswitch",
                         "audio", "usb", "bridge", "nic" */
    enum sim_model_kind kind;
    uint16_t vendor, device, subsys_vendor, subsys_device;
    uint32_t class_code;
    uint64_t bar0_size, bar2_size, bar4_size;
    uint32_t boot0;
};
const struct sim_model *sim_model_find(const char *name); /* NULL if unknown */
const struct sim_model *sim_model_at(size_t i);           /* NULL past the end */

#define SIM_KNOBS 48

struct sim_gpu_params {
    const struct sim_model *model;
    uint64_t (*now_ns)(void *ctx); /* mandatory */
    void *clock_ctx;
    double time_scale;      /* 1.0 = like hardware: ~10 ms an FSP exchange, 1.5 s boot; 0.01 for
                               fast tests; 0 = no delays at all */
    const char *nvram_path; /* knobs persist here; NULL = memory only */
    bool booted;            /* true: as after a long uptime; false: booting from now on */
    bool no_msix;           /* without its MSI-X capability */
};

int sim_gpu_new(const struct sim_gpu_params *p, struct sim_gpu **ret, struct err *e);
void sim_gpu_free(struct sim_gpu *g);
const struct sim_model *sim_gpu_model(const struct sim_gpu *g);

/* BAR0 (bar 0; other BARs read 0). All-ones when not decoded, not in D0, gone, or firewalled. */
uint32_t sim_gpu_bar_read(struct sim_gpu *g, uint32_t off);
void sim_gpu_bar_write(struct sim_gpu *g, uint32_t off, uint32_t val);

/* Config space, width 1, 2, 4. FLR by Device Control and D-state by PMCSR work through writes. */
uint32_t sim_gpu_cfg_read(struct sim_gpu *g, uint32_t off, unsigned width);
void sim_gpu_cfg_write(struct sim_gpu *g, uint32_t off, unsigned width, uint32_t val);

/* As the kernel does it: config space saved and restored around the reset. Returns 0, or the
 * kernel's errno (ENOTTY) where the device or a fault makes it fail; *ret_block_ns is how long the
 * caller has to block (UINT64_MAX: for ever). */
int sim_gpu_flr(struct sim_gpu *g, uint64_t *ret_block_ns);
int sim_gpu_bus_reset(struct sim_gpu *g, uint64_t *ret_block_ns);
/* The bare reset that the bridge above sends down (bridge control bit 6): config space is lost. */
void sim_gpu_hot_reset(struct sim_gpu *g);

/* Nothing answers: a fault has it off the bus or without power. */
bool sim_gpu_gone(const struct sim_gpu *g);
/* How much longer it answers configuration accesses with a retry after a reset: 0, it does not;
 * UINT64_MAX, as long as the fault "reset-hang" has it. */
uint64_t sim_gpu_retry_ns(const struct sim_gpu *g);

/* Power as the kernel's runtime PM drives it, its waits included: 0 = D0, 3 = D3hot. A device with
 * the fault "d3cold" stays what it is, 4 = D3cold. */
void sim_gpu_set_power(struct sim_gpu *g, unsigned dstate);
unsigned sim_gpu_power(const struct sim_gpu *g);

/* NVRAM knobs, for tests and `pgpu-sim ctl knob`. */
uint16_t sim_gpu_knob(const struct sim_gpu *g, unsigned knob);
void sim_gpu_set_knob(struct sim_gpu *g, unsigned knob, uint16_t v);
/* What the last reset latched, decoded: 0 off, 1 on, 3 devtools, 2 invalid; ppcie apart. */
unsigned sim_gpu_active_cc(const struct sim_gpu *g);
bool sim_gpu_active_ppcie(const struct sim_gpu *g);

/* What the model was put through since it was made, and the time that it made its user wait. */
struct sim_counts {
    uint64_t resets, exchanges;
    uint64_t delay_ns; /* reset + boot + FSP latency */
};
struct sim_counts sim_gpu_counts(const struct sim_gpu *g);

/* Faults: "name" or "name=value"; "clear" clears all (what a reset has spoilt needs another reset).
 * sim_gpu_fault_name() names them with one line of help each, NULL past the end. INVALID with the
 * allowed names for an unknown one. */
int sim_gpu_fault(struct sim_gpu *g, const char *spec, struct err *e);
const char *sim_gpu_fault_name(size_t i, const char **ret_help);

/* Register traffic, one call per access, for live traces and the golden tests. */
struct sim_access {
    bool write;
    char space[8]; /* "bar0", "cfg8", "cfg16", "cfg32", "note" */
    uint32_t off, value;
    const char *note; /* for space "note" */
};
void sim_gpu_trace(struct sim_gpu *g, void (*cb)(void *ctx, const struct sim_access *a), void *ctx);

#endif
