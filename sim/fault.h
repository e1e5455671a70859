/* SPDX-License-Identifier: Apache-2.0
 *
 * Faults of the emulated device: one table of names, what each takes and its help text. The code
 * that models the faulty part asks by number. No allocation, not thread-safe.
 */
#ifndef PGPU_SIM_FAULT_H
#define PGPU_SIM_FAULT_H

#include "sim/gpu.h"

enum sim_fault_id {
    /* firmware */
    SIM_F_INVALID_KNOB,
    SIM_F_WRITE_ERROR,
    SIM_F_WRITE_REFUSED,
    SIM_F_WRITE_IGNORED,
    SIM_F_INBAND_LOCKED,
    SIM_F_FSP_ERROR,
    SIM_F_NO_REPLY,
    SIM_F_LOST_REPLY,
    SIM_F_NO_CONSUME,
    SIM_F_STALE_REPLY,
    SIM_F_SLOW_REPLY,
    SIM_F_WRONG_TYPE,
    SIM_F_WRONG_ECHO,
    SIM_F_WRONG_LENGTH,
    SIM_F_SHORT_REPLY,
    /* boot, latching */
    SIM_F_BOOT_NEVER,
    SIM_F_BOOT_SECOND_RESET,
    SIM_F_MODE_NOT_LATCHED,
    SIM_F_FIREWALL_STUCK,
    SIM_F_RECOVERY_MODE,
    SIM_F_SEC_FAULT,
    /* power, bus, reset */
    SIM_F_D3HOT_START,
    SIM_F_D3COLD,
    SIM_F_OFF_BUS,
    SIM_F_ALL_ONES,
    SIM_F_BADF,
    SIM_F_ALL_ONES_AFTER_RESET,
    SIM_F_SBR_ONLY_RECOVERY,
    SIM_F_RESET_HANG,
    SIM_F_RESET_FAIL,
    SIM_F_COUNT
};

/* value of reset-hang and reset-fail */
#define SIM_F_RESETS_FLR 1u
#define SIM_F_RESETS_BUS 2u

struct sim_faults {
    bool on[SIM_F_COUNT];
    uint32_t value[SIM_F_COUNT];
    uint64_t knobs[SIM_F_COUNT]; /* bit k: knob k is concerned */
    uint16_t error[SIM_KNOBS];   /* write-error: the code per knob */
    uint32_t hang_ms;            /* reset-hang: for so long, not scaled; 0: until it is cleared */
};

/* Applies one "name[=value]". *ret_id is what was switched on, SIM_F_COUNT after a "clear". */
int sim_faults_apply(struct sim_faults *f, const char *spec, enum sim_fault_id *ret_id,
                     struct err *e);

static inline bool
sim_fault_knob(const struct sim_faults *f, enum sim_fault_id id, unsigned knob)
{
    return f->on[id] && knob < SIM_KNOBS && (f->knobs[id] >> knob & 1);
}

#endif
