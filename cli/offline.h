/* SPDX-License-Identifier: Apache-2.0
 *
 * Work straight on the hardware (or on a simulated node below --root), with the procedures and
 * locks of pgpu-hwd but without the service: one worker process per unit, several at once.
 */
#ifndef PGPU_CLI_OFFLINE_H
#define PGPU_CLI_OFFLINE_H

#include "cli/cli.h"
#include "hwd/worker.h"

struct offline {
    struct fs_root root;
    struct hwd_config cfg;
    int statedir; /* -1: none */
    struct hwd_scan *scan;
    struct hwd_units *units;
};

/* Opens the root and scans. `config` is pgpu-hwd's configuration file or NULL. `locks`: the
 * operation takes the locks beside c->hwd; without a socket path (--root alone) there are none,
 * and only the hold of the VFIO group keeps others out. */
int offline_open(const struct cli *c, const char *config, bool locks, struct offline *ret,
                 struct err *e);
void offline_close(struct offline *o);

struct offline_run {
    const struct hwd_unit *unit;
    struct hwd_outcome out; /* err_class tells success */
    struct vfio_fn fn;      /* unused unless HWD_JOB_* reports it */
};

struct offline_work {
    uint32_t op, mode, rung;
    uint64_t deadline_ns;
    /* optional: called as phases begin */
    void (*progress)(const struct hwd_unit *u, enum hwd_phase p, const char *detail);
};

/* Runs the work on all of them, units of one IOMMU group one after the other. A unit whose worker
 * hangs in the kernel is reported as STUCK and left behind. */
void offline_run(const struct offline *o, const struct offline_work *w, struct offline_run *runs,
                 unsigned n);

#endif
