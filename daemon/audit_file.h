/* SPDX-License-Identifier: Apache-2.0
 *
 * The files of the audit log: opened, checked and continued (or begun anew, with the reason in the
 * first record), written to, rotated. The form is base/chain.h's.
 *
 * Before every record it is looked whether the file is still the one that we left: exchanged, cut
 * or appended to by others, it is checked again as at start. <state_dir>/audit.head has the number
 * and hash of the newest record, so that a cut end is noticed within one boot. Loop thread; writes
 * to a local file, and does not wait for the disk.
 */
#ifndef PGPU_DAEMON_AUDIT_FILE_H
#define PGPU_DAEMON_AUDIT_FILE_H

#include "base/chain.h"
#include "daemon/config_audit.h"
#include "daemon/syncer.h"

#include <sys/types.h>

struct audit_file {
    char path[256];
    char head_path[300];
    uint64_t max_size;
    unsigned keep;
    struct syncer *sync; /* NULL: nothing is synced */
    int fd;              /* -1: closed */
    int head_fd;
    dev_t dev;
    ino_t ino;
    uint64_t size;
    struct chain_head head;
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

/* One record, in one write; opened anew or rotated first if need be. After a failure the file is
 * closed, and holds no part of the record (or a torn line that the next open records). */
int audit_file_put(struct audit_file *f, const char *members, struct err *e);

#endif
