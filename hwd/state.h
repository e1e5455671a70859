/* SPDX-License-Identifier: Apache-2.0
 *
 * The state directory (the one the socket stands in): one lock file per unit, shared with offline
 * pgpuctl, and one record per function of what it was before we took it.
 *
 * Everything here is volatile (/run): a record of another boot is ignored.
 */
#ifndef PGPU_HWD_STATE_H
#define PGPU_HWD_STATE_H

#include "base/err.h"
#include "base/pci_addr.h"
#include "hwd/unit.h"
#include "vfio/bind.h"

/* Opens (makes, mode 0700) the directory and its lock/ and former/. It must be ours; one
 * that others may read is closed to them, one that they may write is refused. Returns its
 * descriptor. */
int hwd_state_open(const char *path, struct err *e);

/* Takes the unit's lock for as long as the descriptor lives. BUSY/OP_PENDING names the pid that has
 * it. `dirfd` -1: no state directory, returns -1 with success as *ret_fd. */
int hwd_state_lock(int dirfd, struct pci_addr unit, int *ret_fd, struct err *e);

struct hwd_record {
    struct hwd_former former;
    struct vfio_power_saved power;
};

/* Reads the record; a missing, foreign or broken one is `former.known` false. */
void hwd_state_load(int dirfd, struct pci_addr fn, struct hwd_record *ret);
int hwd_state_store(int dirfd, struct pci_addr fn, const struct hwd_record *rec, struct err *e);
int hwd_state_drop(int dirfd, struct pci_addr fn, struct err *e);

#endif
