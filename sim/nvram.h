/* SPDX-License-Identifier: Apache-2.0
 *
 * The firmware's non-volatile settings ("PRC knobs"): 16-bit values that survive every reset, kept
 * in memory or in a file that is replaced atomically at each change. Not thread-safe.
 */
#ifndef PGPU_SIM_NVRAM_H
#define PGPU_SIM_NVRAM_H

#include "sim/gpu.h"

/* Knob numbers: gpu-admin-tools v2025.10.20. N-1 (or 44 for 45) says whether the host may change
 * the knob in-band. */
enum {
    KNOB_CCD_ALLOW = 5,
    KNOB_CCD = 6, /* devtools */
    KNOB_CCM_ALLOW = 7,
    KNOB_CCM = 8, /* confidential computing */
    KNOB_BAR0_DEC_ALLOW = 9,
    KNOB_BAR0_DEC = 10,
    KNOB_COUPLE_ALLOW = 35,
    KNOB_COUPLE = 36,
    KNOB_PPCIE_ALLOW = 44,
    KNOB_PPCIE = 45,
    KNOB_CECA_ALLOW = 46,
    KNOB_CECA = 47,
};

struct sim_nvram {
    uint16_t knob[SIM_KNOBS]; /* [0] is unused */
    char *path;               /* NULL: memory only */
};

/* Factory defaults, then the file if there is one. A file that is no NVRAM is an error (INVALID).
 */
int sim_nvram_init(struct sim_nvram *nv, const char *path, struct err *e);
void sim_nvram_fini(struct sim_nvram *nv);

/* Changes and saves. On failure the old value stays, in memory too. */
int sim_nvram_set(struct sim_nvram *nv, unsigned knob, uint16_t val, struct err *e);

#endif
