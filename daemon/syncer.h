/* SPDX-License-Identifier: Apache-2.0
 *
 * Waiting for the disk away from the loop: it may take seconds, and the loop has runtimes to
 * answer. One thread, which does nothing else; requests that come while it works are served by one
 * more round. No call below waits for it, but for syncer_free().
 */
#ifndef PGPU_DAEMON_SYNCER_H
#define PGPU_DAEMON_SYNCER_H

#include "base/err.h"

#include <stdint.h>

#define SYNCER_NOTE_MAX 420

struct syncer;

int syncer_new(struct syncer **ret, struct err *e);
/* Syncs what is asked for, then ends the thread. */
void syncer_free(struct syncer *s);

/* From now on `fd` (which is duplicated) is meant; what was asked for before is still done for the
 * former one. -1: none. */
void syncer_set(struct syncer *s, int fd);
/* A directory, synced once; takes the descriptor. */
void syncer_dir(struct syncer *s, int fd);
/* Where `note` is written once the disk has what it tells of; duplicated. -1: nowhere. */
void syncer_note_to(struct syncer *s, int fd);
/* Asks for a round and returns its number. */
uint64_t syncer_want(struct syncer *s, const char *note);

struct syncer_state {
    int error; /* errno of the newest round, 0 = fine */
    uint64_t calls, max_ns;
    uint64_t done; /* number of the newest round that has ended, well or not */
};
void syncer_state(struct syncer *s, struct syncer_state *ret);

/* Readable when `error` has changed; read it empty. Borrowed. */
int syncer_event(const struct syncer *s);

#endif
