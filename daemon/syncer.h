/* SPDX-License-Identifier: Apache-2.0
 *
 * fdatasync() away from the loop: a disk may take seconds, and the loop has runtimes to answer. One
 * thread, which does nothing else; requests that come while it works are served by one more call.
 */
#ifndef PGPU_DAEMON_SYNCER_H
#define PGPU_DAEMON_SYNCER_H

#include "base/err.h"

#include <stdint.h>

struct syncer;

int syncer_new(struct syncer **ret, struct err *e);
/* Syncs what is asked for, then ends the thread. */
void syncer_free(struct syncer *s);

/* From now on `fd` (which is duplicated) is meant; what was asked for before is still done for the
 * former one. -1: none. */
void syncer_set(struct syncer *s, int fd);
void syncer_want(struct syncer *s);

struct syncer_state {
    int error; /* errno of the newest call, 0 = fine */
    uint64_t calls, max_ns;
};
void syncer_state(struct syncer *s, struct syncer_state *ret);

#endif
