/* SPDX-License-Identifier: Apache-2.0
 *
 * BAR0: a table of the registers that the model has, by kind of chip, and the gates in front of it.
 * Offsets and bits: gpu-admin-tools v2025.10.20 and open-gpu-kernel-modules 595.45.04.
 */
#include "sim/gpu_priv.h"

#include "base/cleanup.h"

#define HOPPER (1u << SIM_GPU_HOPPER)
#define GB1 (1u << SIM_GPU_GB1)
#define GB2 (1u << SIM_GPU_GB2)
#define SWITCH (1u << SIM_NVSWITCH3)
#define GPUS (HOPPER | GB1 | GB2)
#define ALL (GPUS | SWITCH)

#define BOOT_DONE 0xffu
#define RECOVERY_FLAG (1u << 30) /* Hopper, NVSwitch */
#define RECOVERY_STATUS 2u       /* Blackwell: neither 0 nor 1 */
#define HOPPER_PPCIE (1u << 5)
#define BLACKWELL_DECOUPLER (1u << 2)
/* Bits beside the mode that a reader must not mistake for it: 8 says on Hopper that the
 * power-efficient mode is supported; 12 on Blackwell is arbitrary. */
#define HOPPER_NOISE (1u << 8)
#define BLACKWELL_NOISE (1u << 12)

enum reg_type {
    REG_CONST,   /* reads `value`, writes are dropped */
    REG_SCRATCH, /* scratch[value], see clear_scratch() */
    REG_BOOT0,
    REG_BOOT42,
    REG_BOOT,
    REG_RECOVERY_FLAG,
    REG_RECOVERY_STATUS,
    REG_STATE_HOPPER,
    REG_STATE_BLACKWELL,
    REG_STATE_SWITCH,
};

struct reg {
    unsigned kinds;
    uint32_t off;
    enum reg_type type;
    uint32_t value;
};

static const struct reg regs[] = {
    {ALL, 0x000000, REG_BOOT0, 0},
    {GPUS, 0x000a00, REG_BOOT42, 0},
    {HOPPER | GB1, 0x0200bc, REG_BOOT, 0},
    {GB2, 0xad00bc, REG_BOOT, 0},
    {SWITCH, 0x0660bc, REG_BOOT, 0},
    {HOPPER, 0x020120, REG_RECOVERY_FLAG, 0},
    {SWITCH, 0x066120, REG_RECOVERY_FLAG, 0},
    {GB1 | GB2, 0x8aa128, REG_RECOVERY_STATUS, 0},
    {HOPPER, 0x1182cc, REG_STATE_HOPPER, 0},
    {GB1 | GB2, 0x000590, REG_STATE_BLACKWELL, 0},
    {SWITCH, 0x028c50, REG_STATE_SWITCH, 0},
    /* cleared by any reset; by a bus reset only */
    {HOPPER, 0x001458, REG_SCRATCH, 0},
    {SWITCH, 0x00dfe0, REG_SCRATCH, 0},
    {HOPPER | SWITCH, 0x091288, REG_SCRATCH, 1},
    /* privilege ring start, written by tools after open and reset */
    {HOPPER, 0x12004c, REG_SCRATCH, 2},
    {HOPPER, 0x122204, REG_SCRATCH, 3},
    /* device information: four rows, on Hopper three NVLinks among them */
    {GPUS, 0x0224fc, REG_CONST, 0x00400000},
    {HOPPER, 0x022800, REG_CONST, 0x12000000},
    {HOPPER, 0x022804, REG_CONST, 0x12010000},
    {HOPPER, 0x022808, REG_CONST, 0x12020000},
    {GB1 | GB2, 0x022800, REG_CONST, 0},
    {GB1 | GB2, 0x022804, REG_CONST, 0},
    {GB1 | GB2, 0x022808, REG_CONST, 0},
    {GPUS, 0x02280c, REG_CONST, 0},
    /* falcon configuration of the FSP, any stable value will do; its status words */
    {ALL, 0x8f012c, REG_CONST, 0x00001100},
    {ALL, 0x8f0278, REG_CONST, 0x01000100},
    {ALL, 0x8f0abc, REG_CONST, 0x00000020},
    {ALL, 0x8f0320, REG_CONST, 0},
    {ALL, 0x8f0324, REG_CONST, 0},
    {ALL, 0x8f0328, REG_CONST, 0},
    {ALL, 0x8f032c, REG_CONST, 0},
    {HOPPER, 0x09128c, REG_CONST, 0},
    {HOPPER, 0x092dc0, REG_CONST, 0},
    {HOPPER, 0x092de0, REG_CONST, 0},
    {HOPPER, 0x092de4, REG_CONST, 0},
    {HOPPER, 0x092de8, REG_CONST, 0},
    /* serial number */
    {GPUS, 0x820344, REG_CONST, 0x5f2db048},
    {GPUS, 0x820348, REG_CONST, 0x00001de0},
};

static const struct reg *
find(const struct sim_gpu *g, uint32_t off)
{
    for (size_t i = 0; i < ARRAY_SIZE(regs); i++)
        if (regs[i].off == off && (regs[i].kinds >> g->model->kind & 1))
            return &regs[i];
    return NULL;
}

bool
sim_bar_decoded(const struct sim_gpu *g)
{
    return !sim_gone(g) && sim_gpu_power(g) == 0 && sim_now(g) >= g->wake_ns &&
           sim_now(g) >= g->crs_ns && (sim_cfg_get(&g->cfg, SIM_CFG_COMMAND, 2) & SIM_CMD_MEMORY);
}

/* Does the device take BAR0 accesses? Otherwise reads give all-ones and writes are lost. */
static bool
answers(const struct sim_gpu *g, uint32_t off)
{
    return off < g->model->bar0_size && sim_bar_decoded(g) && !g->dead &&
           !sim_fault(g, SIM_F_ALL_ONES) && !sim_firewall_up(g);
}

/* Architecture and implementation move, the revision nibbles a1 go to 19:16 and 15:12. */
static uint32_t
boot42(uint32_t boot0)
{
    return (boot0 & 0x1f000000) | (boot0 & 0x00f00000) | (boot0 & 0xf0) << 12 |
           (boot0 & 0x0f) << 12;
}

/* The firmware publishes the mode while it boots; before, it reads as "off". */
static uint32_t
state(const struct sim_gpu *g, enum reg_type type)
{
    bool up = sim_booted(g);
    uint32_t cc = up ? g->active.cc : 0;
    uint32_t ppcie = up && g->active.ppcie ? 1 : 0;

    if (type == REG_STATE_SWITCH)
        return ppcie;
    if (type == REG_STATE_HOPPER)
        return cc | (ppcie ? HOPPER_PPCIE : 0) | HOPPER_NOISE;
    return cc | (up && g->active.decoupler ? BLACKWELL_DECOUPLER : 0) | BLACKWELL_NOISE;
}

static uint32_t
reg_read(const struct sim_gpu *g, const struct reg *r)
{
    bool recovery = sim_fault(g, SIM_F_RECOVERY_MODE);

    switch (r->type) {
    case REG_CONST:
        return r->value;
    case REG_SCRATCH:
        return g->scratch[r->value];
    case REG_BOOT0:
        return g->model->boot0;
    case REG_BOOT42:
        return boot42(g->model->boot0);
    case REG_BOOT:
        return sim_booted(g) ? BOOT_DONE : 0;
    case REG_RECOVERY_FLAG:
        return recovery ? RECOVERY_FLAG : 0;
    case REG_RECOVERY_STATUS:
        return recovery ? RECOVERY_STATUS : 0;
    case REG_STATE_HOPPER:
    case REG_STATE_BLACKWELL:
    case REG_STATE_SWITCH:
        return state(g, r->type);
    }
    return 0;
}

static uint32_t
bar_read(struct sim_gpu *g, uint32_t off)
{
    const struct reg *r;
    uint32_t v;

    if (g->model->kind == SIM_PLAIN)
        return sim_bar_decoded(g) ? 0 : 0xffffffff;
    if (!answers(g, off))
        return 0xffffffff;
    if (sim_fault(g, SIM_F_SEC_FAULT))
        return SIM_BADF_SEC;
    if (sim_fault(g, SIM_F_BADF))
        return SIM_BADF;
    if (sim_fsp_read(g, off, &v))
        return v;
    r = find(g, off);
    if (r)
        return reg_read(g, r);
    /* the decoupler hides what is not on its list (nvtrust #58) */
    return g->active.decoupler && g->model->kind != SIM_NVSWITCH3 ? SIM_BADF : 0;
}

uint32_t
sim_gpu_bar_read(struct sim_gpu *g, uint32_t off)
{
    uint32_t v;

    off &= ~3u;
    v = bar_read(g, off);
    sim_access(g, false, "bar0", off, v);
    return v;
}

void
sim_gpu_bar_write(struct sim_gpu *g, uint32_t off, uint32_t val)
{
    const struct reg *r;

    off &= ~3u;
    sim_access(g, true, "bar0", off, val);
    if (g->model->kind == SIM_PLAIN || !answers(g, off) || sim_fault(g, SIM_F_SEC_FAULT) ||
        sim_fault(g, SIM_F_BADF))
        return;
    if (sim_fsp_write(g, off, val))
        return;
    r = find(g, off);
    if (r && r->type == REG_SCRATCH)
        g->scratch[r->value] = val;
}
