/* SPDX-License-Identifier: Apache-2.0
 *
 * The disposable worker process, seen from its starter. One job, one process; it keeps only the
 * descriptors it needs, reports over a socket pair, and can be abandoned: a process that hangs in
 * the kernel cannot be killed, so nobody ever waits for one.
 *
 * The starter must be single-threaded (the child runs on after a plain fork). It does not trust the
 * worker either: a worker that reads a broken device may itself be broken.
 */
#ifndef PGPU_HWD_WORKER_H
#define PGPU_HWD_WORKER_H

#include "hwd/job.h"

#include <sys/types.h>

struct hwd_worker;

enum hwd_event_type {
    HWD_EVENT_PHASE,    /* phase, detail */
    HWD_EVENT_ASK_HOLD, /* answer with hwd_worker_answer() */
    HWD_EVENT_HOLD,     /* grip, its descriptors now the receiver's */
    HWD_EVENT_DROP,     /* close the open device, then hwd_worker_dropped() */
    HWD_EVENT_HOST,     /* iommufd, vfio_ready, n_fn */
    HWD_EVENT_FN,       /* fn, former */
    HWD_EVENT_OUTCOME,  /* outcome; the worker ends by itself now */
    HWD_EVENT_END,      /* it closed its end; reap it */
};

struct hwd_event {
    enum hwd_event_type type;
    enum hwd_phase phase;
    char detail[96];
    struct hwd_grip grip;
    bool iommufd, vfio_ready;
    unsigned n_fn;
    struct vfio_fn fn;
    struct hwd_former former;
    struct hwd_outcome outcome;
};

/* Starts it. `stop_fd`s of the starter need no care: the child closes everything it was not given.
 * Waits (at most 5 s) until the child has done so, because a copied hold would outlive its release;
 * a child that does not is killed and the start fails with RETRY. */
int hwd_worker_start(const struct hwd_job *job, struct hwd_worker **ret, struct err *e);

/* Does not kill: a worker that is still running goes on alone and ends unseen. */
void hwd_worker_free(struct hwd_worker *w);

/* Kills and reaps one that nobody watches; waits at most half a second. */
void hwd_worker_kill(const struct hwd_worker *w);

pid_t hwd_worker_pid(const struct hwd_worker *w);
int hwd_worker_fd(const struct hwd_worker *w); /* readable when there is an event */

/* Next event: 1 with *ret filled, 0 nothing there, <0 the worker spoke nonsense. */
int hwd_worker_next(struct hwd_worker *w, struct hwd_event *ret, struct err *e);

/* `have`: the starter holds the group, by `hold` (-1: the worker does not get it). */
int hwd_worker_answer(struct hwd_worker *w, bool have, int hold, struct err *e);
int hwd_worker_dropped(struct hwd_worker *w, struct err *e);

void hwd_grip_close(struct hwd_grip *g);

#endif
