/* SPDX-License-Identifier: Apache-2.0
 *
 * Exclusion without side effects, and who else holds a device. Opening a VFIO *group* is exclusive
 * and resets nothing; where only a cdev exists it is bound to an iommufd, which has the same effect
 * (and resets the device). Opening the *device* resets it, so nobody here does that to look.
 */
#ifndef PGPU_VFIO_HOLD_H
#define PGPU_VFIO_HOLD_H

#include "vfio/scan.h"

#include <sys/types.h>

/* Takes the group (or cdev) for ourselves. Returns the descriptor to keep; closing it releases.
 * IN_USE (EBUSY) where somebody else has it, NODE_MISSING where the node is not there. */
int vfio_hold(const struct fs_root *root, const struct vfio_fn *fn, struct err *e);

/* Where a kernel knows a function by cdev alone (CONFIG_VFIO_GROUP=n), the hold is that cdev, bound
 * to an iommufd, and with it the open device; everywhere else the hold is the group. */
bool vfio_hold_is_cdev(const struct fs_root *root, const struct vfio_fn *fn);

struct vfio_holder {
    pid_t pid;
    char comm[32];
};

/* Processes that have a node of this function open, by device and inode number (so it works for a
 * simulated node too); `self` is left out. Returns how many were found, at most `max`. Only sees
 * what /proc shows: 0 does not prove that nobody holds it. Reads the real /proc. */
int vfio_holders(const struct fs_root *root, const struct vfio_fn *fn, pid_t self,
                 struct vfio_holder *ret, unsigned max, struct err *e);

/* Is the node held by anybody? Opens and closes the group node. 1 held, 0 free, <0 error. The open
 * lasts microseconds but could make a VMM's own open fail: never call it on a device that was
 * handed over and not yet opened. */
int vfio_in_use(const struct fs_root *root, const struct vfio_fn *fn, struct err *e);

#endif
