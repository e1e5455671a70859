/* SPDX-License-Identifier: Apache-2.0
 *
 * One emulated PCI function as a vfio-user client sees it: regions, interrupts, DMA windows and
 * resets over a sim_gpu. Bytes in, bytes out; the sockets are sim/vfiouser_srv.c's.
 *
 * The device never does DMA, so the windows are only kept account of, and the descriptors that come
 * with them are closed. Of the interrupts' descriptors only eventfds are taken. Not thread-safe:
 * the owner locks.
 */
#ifndef PGPU_SIM_VFIOUSER_DEV_H
#define PGPU_SIM_VFIOUSER_DEV_H

#include "sim/gpu.h"
#include "sim/vfiouser_proto.h"

struct vfu_dev;

/* What the client did since the device was made. */
struct vfu_counts {
    uint64_t clients, messages, errors; /* errors: commands that were refused */
    uint64_t bar_reads, bar_writes, cfg_reads, cfg_writes;
    uint64_t bus_resets; /* RESET messages */
};

/* Takes the model over on success, and frees it in the end. */
int vfu_dev_new(struct sim_gpu *gpu, struct vfu_dev **ret, struct err *e);
void vfu_dev_free(struct vfu_dev *d);
struct sim_gpu *vfu_dev_gpu(struct vfu_dev *d);
const struct vfu_counts *vfu_dev_counts(const struct vfu_dev *d);
size_t vfu_dev_maps(const struct vfu_dev *d); /* DMA windows there are */

/* A client has come; the one before is forgotten: windows and interrupts. The device stays as it
 * is. Also to be called when a client has gone. */
void vfu_dev_connect(struct vfu_dev *d);
void vfu_dev_disconnect(struct vfu_dev *d);

/* Runs one complete message. `out` gets the whole reply, or nothing where none is wanted. Returns
 * how long the reply has to be held back, in ns: the time until a reset device answers. */
uint64_t vfu_dev_handle(struct vfu_dev *d, struct vfu_msg *m, struct buf *out);

/* Raises an interrupt: `index` of <linux/vfio.h>. ENOTCONN where nobody listens for it. */
int vfu_dev_irq(struct vfu_dev *d, unsigned index, unsigned vector, struct err *e);

#endif
