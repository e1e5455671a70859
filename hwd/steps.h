/* SPDX-License-Identifier: Apache-2.0
 *
 * The single steps of which the procedures of hwd/procedure.c are made. Private to hwd/. They run
 * in a worker process: everything may block.
 */
#ifndef PGPU_HWD_STEPS_H
#define PGPU_HWD_STEPS_H

#include "hwd/job.h"
#include "vfio/dev_sysfs.h"
#include "vfio/dev_vfio.h"

struct proc {
    const struct hwd_job *job;
    const struct hwd_io *io;
    struct hwd_outcome *out;
    struct hwd_scan scan;  /* our own copy, refreshed from the kernel */
    int lock;              /* the unit's lock */
    int hold;              /* our own hold, -1 while the starter (or nobody) has it */
    bool covered;          /* the starter said that it holds the group meanwhile */
    int lent;              /* our copy of the starter's hold, -1: none */
    int lent_dev;          /* our copy of its open device, until vdev has taken it over */
    bool starter_has_dev;  /* and it still has its own */
    struct dev_sysfs *dev; /* how registers are reached: one of the two, or none yet */
    struct dev_vfio *vdev;
    struct cc_session cc;
    enum hwd_phase phase;
    uint64_t phase_since, started;
    struct vfio_power_saved power[HWD_UNIT_FNS_MAX]; /* what wake changed */
};

uint64_t hwd_now(void); /* CLOCK_MONOTONIC, ns */

int proc_init(struct proc *p, const struct hwd_job *job, const struct hwd_io *io,
              struct hwd_outcome *out, struct err *e);
void proc_fini(struct proc *p);

/* Begins a phase: progress to the starter, time to the evidence. */
void proc_phase(struct proc *p, enum hwd_phase phase, const char *detail);

/* The primary function as last refreshed. */
const struct vfio_fn *proc_primary(const struct proc *p);
bool proc_bound(const struct proc *p); /* every function of the unit on a VFIO driver */

/* Reads drivers and cdevs of the unit and of its group's members anew, and tells the starter. */
int step_refresh(struct proc *p, struct err *e);
int step_lock(struct proc *p, struct err *e);
int step_floor(struct proc *p, struct err *e);  /* the mode may be asked for */
int step_policy(struct proc *p, struct err *e); /* `manage: verify` changes nothing */
int step_claim(struct proc *p, struct err *e);  /* ours to touch at all */
int step_gate(struct proc *p, struct err *e);   /* claim and every standing obstacle */
int step_not_in_use(struct proc *p, struct err *e);
int proc_holders(struct proc *p, struct err *e); /* the same, also where we hold the group */
int step_bind(struct proc *p, struct err *e);
int step_node(struct proc *p, struct err *e);   /* the VMM's node is there */
int step_viable(struct proc *p, struct err *e); /* a VMM could take the group now */
int step_hold(struct proc *p, struct err *e);   /* exclusive from here on */
int step_keep_hold(struct proc *p, bool handover, struct err *e); /* the starter gets the hold */
/* Closes the open device, where there is one, so that a VMM can open it. This resets it. */
int step_let_go(struct proc *p, struct err *e);
int step_wake(struct proc *p, struct err *e);
void step_unwake(struct proc *p);                   /* for units that nobody manages */
int step_open(struct proc *p, struct err *e);       /* BAR0, sanity */
int step_open_sysfs(struct proc *p, struct err *e); /* the same, without any side effect */
int step_reset(struct proc *p, enum hwd_rung how, struct err *e);

/* Modes as read, for the outcome. */
void proc_note_modes(struct proc *p, const struct cc_status *st);

/* Procedures that change nothing (procedure_look.c), and SET's frame; switch_mode() is steps 5 to
 * 10 of PREPARE (procedure.c). */
int do_probe(struct proc *p, struct err *e);
int do_offline(struct proc *p, struct err *e);
int do_active(struct proc *p, struct err *e);
int do_scan(struct proc *p, struct err *e);
int switch_mode(struct proc *p, struct err *e);

/* Puts the holder that /proc shows into the outcome and the text. */
void proc_name_holder(struct proc *p, struct err *e);

#endif
