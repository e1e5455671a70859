/* SPDX-License-Identifier: Apache-2.0
 *
 * The models that the simulated node knows. Constant data, any thread.
 */
#include "sim/gpu.h"

#include "base/cleanup.h"

#include <string.h>

#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

/* Device and subsystem IDs: gpu-admin-tools v2025.10.20. BAR sizes of the H100: user listings
 * (nvtrust #51); the others are the smallest power of two above the memory size. BOOT_0: the fields
 * of open-gpu-kernel-modules 595.45.04 with revision a1, which is a guess; NVSwitch: exactly what
 * gpu-admin-tools compares with. */
static const struct sim_model models[] = {
    {"h100-pcie", SIM_GPU_HOPPER, 0x10de, 0x2331, 0x10de, 0x1626, 0x030200, MIB(16), GIB(128),
     MIB(32), 0x180000a1},
    {"h100-sxm", SIM_GPU_HOPPER, 0x10de, 0x2330, 0x10de, 0x16c1, 0x030200, MIB(16), GIB(128),
     MIB(32), 0x180000a1},
    {"h200", SIM_GPU_HOPPER, 0x10de, 0x2335, 0x10de, 0x18be, 0x030200, MIB(16), GIB(256), MIB(32),
     0x180000a1},
    {"b200", SIM_GPU_GB1, 0x10de, 0x2901, 0x10de, 0x1999, 0x030200, MIB(16), GIB(256), MIB(32),
     0x1a0000a1},
    {"rtxpro6000", SIM_GPU_GB2, 0x10de, 0x2bb5, 0x10de, 0x204e, 0x030200, MIB(64), GIB(128),
     MIB(32), 0x1b2000a1},
    {"nvswitch", SIM_NVSWITCH3, 0x10de, 0x22a3, 0x10de, 0x1796, 0x068000, MIB(32), 0, 0,
     0x007000a1},
    {"audio", SIM_PLAIN, 0x10de, 0x22e8, 0x10de, 0x204e, 0x040300, 0x4000, 0, 0, 0},
    {"usb", SIM_PLAIN, 0x10de, 0x1ad8, 0x10de, 0x12fa, 0x0c0330, 0x40000, 0, 0, 0},
    {"nic", SIM_PLAIN, 0x15b3, 0x1021, 0x15b3, 0x0023, 0x020000, MIB(32), 0, 0, 0},
    {"bridge", SIM_PLAIN, 0x1022, 0x14ab, 0, 0, 0x060400, 0, 0, 0, 0},
};

const struct sim_model *
sim_model_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(models); i++)
        if (strcmp(models[i].name, name) == 0)
            return &models[i];
    return NULL;
}

const struct sim_model *
sim_model_at(size_t i)
{
    return i < ARRAY_SIZE(models) ? &models[i] : NULL;
}
