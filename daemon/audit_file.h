/* SPDX-License-Identifier: Apache-2.0
 *
 * The files of the audit log: opened, checked and continued (or begun anew, with the reason in the
 * first record), written to, rotated. The form is base/chain.h's.
 *
 * Before every record it is looked whether the file is still the one that we left: exchanged, cut
 * or appended to by others, it is checked again as at start; after a failure of our own it is not.
 * Number and hash of the newest record are noted (base/chain.h), so that a cut end is noticed. Loop
 * thread; writes to a local file, and does not wait for the disk.
 */
#ifndef PGPU_DAEMON_AUDIT_FILE_H
#define PGPU_DAEMON_AUDIT_FILE_H

#include "base/chain.h"
#include "daemon/config_audit.h"
#include "daemon/syncer.h"

#include <sys/types.h>

struct audit_file {
    char path[256];
    char head_path[300], note_path[300]; /* in the state directory; beside the log */
    char boot[CHAIN_ID_MAX];
    uint64_t max_size;
    unsigned keep;
    struct syncer *sync; /* NULL: nothing is synced */
    int fd;              /* -1: closed */
    int head_fd;
    dev_t dev;
    ino_t ino;
    uint64_t size;
    bool known; /* dev, ino and size are those of the newest file, whose last record is `head` */
    struct chain_head head;
    struct chain_origin oldest; /* as the newest file names it; seq 0: not told */
    uint64_t asked;             /* number of the newest round of the syncer */
    bool prune;                 /* there may be files beyond `keep`, */
    uint64_t prune_after;       /* which go after this round */
    char chain[CHAIN_ID_MAX];
    char broken[200]; /* what was found wrong when it was last opened, "" = nothing */
};

/* Only remembers; `sync` may be NULL. */
void audit_file_init(struct audit_file *f, const struct audit_conf *conf, const char *state_dir,
                     struct syncer *sync);
void audit_file_close(struct audit_file *f);

/* Makes what is missing, checks what is there. A log that was tampered with is no failure: it is
 * put aside, the reason is in `broken` and in the first record of a new chain. */
int audit_file_open(struct audit_file *f, struct err *e);

/* Opens it anew if it is not open, or not as we left it. */
int audit_file_ready(struct audit_file *f, struct err *e);

/* Has the disk take it once more. */
void audit_file_sync(struct audit_file *f);

/* Removes what is beyond `keep`, once it is time to. */
void audit_file_prune(struct audit_file *f);

/* One record, in one write; opened anew or rotated first if need be. After a failure the file holds
 * no part of the record (or a torn line that the next open records). */
int audit_file_put(struct audit_file *f, const char *members, struct err *e);

#endif
