/* SPDX-License-Identifier: Apache-2.0
 *
 * Configuration space as bytes with a mask of writable bits: BAR sizing, read-only fields and the
 * loss of settings at a reset all follow from the mask. What has side effects (power state, FLR,
 * firewall bits) is done by the owner, sim/gpu_cfg.c. No allocation, not thread-safe.
 */
#ifndef PGPU_SIM_CFGSPACE_H
#define PGPU_SIM_CFGSPACE_H

#include "sim/gpu.h"

#define SIM_CFG_SIZE 4096

/* PCI Local Bus 3.0 and PCI Express Base 5.0, chapter 7. */
#define SIM_CFG_COMMAND 0x04u
#define SIM_CMD_MEMORY 0x2u
#define SIM_CFG_BAR0 0x10u
#define SIM_CAP_MSIX 0x11u
#define SIM_PM_CSR 4u /* from the PM capability */
#define SIM_PM_STATE 0x3u
#define SIM_PCIE_DEVCTL 8u /* from the PCIe capability */
#define SIM_DEVCTL_FLR 0x8000u
#define SIM_DEVCAP_FLR 0x10000000u

struct sim_cfg {
    uint8_t b[SIM_CFG_SIZE];
    uint8_t wmask[SIM_CFG_SIZE];
    unsigned pm, pcie; /* offsets of the capabilities, 0: none */
    unsigned firewall; /* dword with the BAR firewall bit, 0: none */
    uint32_t firewall_bit;
    unsigned sec_fault; /* dword with the security fault causes, 0: none */
};

/* Everything as after power-up and bus enumeration: BARs assigned, memory decode on. */
void sim_cfg_build(struct sim_cfg *c, const struct sim_model *m);

/* Takes the capability of that ID out of the list, where it is one. */
void sim_cfg_unlink(struct sim_cfg *c, unsigned id);

/* Little-endian field of 1, 2 or 4 bytes; `off` + `width` must lie inside. */
uint32_t sim_cfg_get(const struct sim_cfg *c, unsigned off, unsigned width);
void sim_cfg_put(struct sim_cfg *c, unsigned off, unsigned width, uint32_t val); /* no mask */
void sim_cfg_write(struct sim_cfg *c, unsigned off, unsigned width, uint32_t val);

/* What a function loses at a reset: every writable bit reads 0 again. */
void sim_cfg_reset(struct sim_cfg *c);

#endif
