/* SPDX-License-Identifier: Apache-2.0
 *
 * One operation on one unit, as the disposable worker process runs it: what it is given, how it
 * talks to whoever started it (the service, or pgpuctl offline), and what it brings back.
 */
#ifndef PGPU_HWD_JOB_H
#define PGPU_HWD_JOB_H

#include "base/fs.h"
#include "ccmode/cc.h"
#include "hwd/state.h"
#include "hwd/unit.h"

#include <stdbool.h>
#include <stdint.h>

/* Operations beside those of the protocol (enum hwd_op). */
enum {
    HWD_JOB_SCAN = 64, /* the whole bus; no unit */
    HWD_JOB_ACTIVE,    /* one register read where the device is awake; wakes nothing */
    HWD_JOB_QUERY,     /* active and configured mode and the knobs; bound or unbound */
    HWD_JOB_PLAN,      /* QUERY, and what would have to be written */
    HWD_JOB_SET,       /* mode, reset, verify; no binding, no mode floor: the operator asked */
};
const char *hwd_job_name(uint32_t op);

/* Beside HWD_REQ_*: PROBE_USE looks at /proc alone and leaves the node in peace. */
#define HWD_JOB_PROC_ONLY (1u << 16)

struct hwd_job {
    uint32_t op, flags, mode, rung;
    bool held;            /* whoever starts us holds the unit's group already */
    int hold_fd, dev_fd;  /* with `held` alone: the starter's hold and open device, -1 none; the
                             worker process gets copies of them */
    bool by_operator;     /* pgpuctl: claim rules and policy do not bind the operator */
    uint64_t deadline_ns; /* for the watchdog of an orphaned worker */
    struct hwd_unit unit;
    const struct hwd_scan *scan; /* NULL for HWD_JOB_SCAN */
    const struct hwd_config *cfg;
    const struct fs_root *root;
    int statedir; /* -1: no locks, no records */
};

/* Descriptors by which a device is held; -1: none. */
struct hwd_grip {
    int hold;          /* the group, or a cdev */
    int dev;           /* the open device, where registers are reached through VFIO */
    int request;       /* eventfd: somebody wants the device back */
    bool hold_is_cdev; /* `hold` is the open device itself */
};
#define HWD_NO_GRIP ((struct hwd_grip){.hold = -1, .dev = -1, .request = -1})

/* What an operation found and did. Flat: it crosses a socket. */
struct hwd_outcome {
    uint32_t err_class, err_num, reason; /* ERR_CLASS_NONE: success */
    char text[ERR_MSG_MAX];
    uint32_t mode_active, mode_configured; /* UNKNOWN where not read */
    uint32_t verified;                     /* 1: VERIFY's condition holds */
    uint32_t use;                          /* PROBE_USE, IN_USE errors: enum hwd_use */
    uint32_t group_use;   /* PROBE_USE: what the group's node said, UNKNOWN where not asked */
    uint32_t group_opens; /* how often the procedure has opened the group's node */
    uint32_t let_go;      /* 1: the hold was the device, and was closed for the hand-over */
    int32_t holder_pid;
    char holder_comm[32];
    struct hwd_evidence evidence;
    uint32_t have_status, have_plan;
    struct cc_status status;
    struct cc_plan plan;
};

/* How the procedure talks to its starter. All mandatory. */
struct hwd_io {
    void *ctx;
    void (*phase)(void *ctx, enum hwd_phase p, const char *detail);
    /* 1: the starter holds the group meanwhile, and *ret_fd is a copy of its hold (-1: none is
     * needed), which is the caller's; 0: take it yourself; <0: error. Units of a gang share one
     * hold, so only the starter knows. */
    int (*ask_hold)(void *ctx, int *ret_fd, struct err *e);
    /* Hands on what is held; the caller keeps and closes its own descriptors. */
    int (*give_hold)(void *ctx, const struct hwd_grip *g, struct err *e);
    /* The starter closes its own descriptor of the open device, so that ours is the last: the
     * close resets the device and takes its time, which is a worker's business. */
    int (*drop_dev)(void *ctx, struct err *e);
    /* What a function looks like now. */
    void (*fn)(void *ctx, const struct vfio_fn *f, const struct hwd_former *former);
    /* HWD_JOB_SCAN, once, before its functions. */
    void (*host)(void *ctx, bool iommufd, bool vfio_ready, unsigned n);
};

/* Runs the job to its end; never fails itself: what went wrong is in the outcome. */
void hwd_job_run(const struct hwd_job *job, const struct hwd_io *io, struct hwd_outcome *ret);

#endif
