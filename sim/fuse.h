/* SPDX-License-Identifier: Apache-2.0
 *
 * The FUSE front: shows a simulated kernel as DIR/sys and DIR/dev. Root, or fusermount3, is needed.
 */
#ifndef PGPU_SIM_FUSE_H
#define PGPU_SIM_FUSE_H

#include "sim/kernel.h"

struct sim_fuse;

/* Mounts at `dir` (an existing directory). The error is one line with the cure: no /dev/fuse, not
 * permitted, no such directory, a dead mount left there. */
int sim_fuse_mount(struct sim_kernel *k, const char *dir, struct sim_fuse **ret, struct err *e);

/* Starts serving on threads of its own and returns. */
int sim_fuse_start(struct sim_fuse *f, struct err *e);

/* Ends all blocked calls, unmounts and joins. Stops the kernel (calls end with ENODEV). */
void sim_fuse_stop(struct sim_fuse *f);

#endif
