/* SPDX-License-Identifier: Apache-2.0
 *
 * The messages between a worker process and its starter, over a socket pair: one struct a packet,
 * with descriptors where they are handed on. Private to hwd/worker*.c and away.c.
 */
#ifndef PGPU_HWD_WIRE_H
#define PGPU_HWD_WIRE_H

#include "hwd/worker.h"

#define WIRE_FDS 3 /* at most, in one message */

enum wire_type {
    WIRE_READY = 1,
    WIRE_PHASE,
    WIRE_ASK,  /* may it take the hold? Answered by the same, with the hold where there is one */
    WIRE_HOLD, /* here is what it holds */
    WIRE_DROP, /* the starter's open device, please; answered by the same */
    WIRE_HOST,
    WIRE_FN,
    WIRE_OUTCOME
};

struct wire {
    uint32_t magic, type;
    union {
        struct {
            uint32_t phase;
            char detail[96];
        } phase;
        struct {
            uint32_t iommufd, vfio_ready, n;
        } host;
        struct {
            struct vfio_fn fn;
            struct hwd_former former;
        } fn;
        struct { /* which descriptors come along, in this order */
            uint32_t hold, dev, request, hold_is_cdev;
        } grip;
        struct hwd_outcome outcome;
        uint32_t have; /* answer to WIRE_ASK */
    } u;
};

/* Fills in the header and sends; `fds` < 0 are left out. */
int wire_send(int sock, struct wire *w, enum wire_type t, const int *fds, size_t n_fds,
              struct err *e);

/* Receives one packet of at most sizeof(*w) bytes. Returns its length, 0 at the end, -errno; `fds`
 * (WIRE_FDS) gets the descriptors that came along, -1 for the rest; further ones are closed. */
ssize_t wire_recv(int sock, int flags, struct wire *w, int *fds);
bool wire_ok(const struct wire *w, ssize_t len); /* header and length fit each other */
void wire_close_fds(int *fds);

/* Waits until the forked process has said WIRE_READY: then it has closed what it does not need. */
#define WIRE_READY_MS 5000
bool wire_wait_ready(int sock);
/* Kills and reaps it; waits at most half a second. */
void worker_kill(pid_t pid);

/* The worker's side, in the forked process. */
_Noreturn void worker_child(const struct hwd_job *job, int sock);

/* Closes every descriptor but stdio and those listed (in any order; -1 is skipped). */
void worker_keep_only(const int *keep, size_t n);
/* Standard input and output become /dev/null. */
void worker_leave_stdio(void);

#endif
