/* SPDX-License-Identifier: Apache-2.0
 *
 * Interrupts towards a vfio-user client: which there are, the eventfds that the client wants them
 * signalled by, and what SET_IRQS does to them. Not thread-safe.
 */
#ifndef PGPU_SIM_VFIOUSER_IRQ_H
#define PGPU_SIM_VFIOUSER_IRQ_H

#include "sim/vfiouser_proto.h"

#define VFU_VECTORS_MAX 32u

struct vfu_irqs {
    unsigned count[VFU_IRQS]; /* 0: the device has none of that kind */
    int fd[VFU_IRQS][VFU_VECTORS_MAX];
    bool masked; /* INTx: by the client, or by itself since it was raised */
};

void vfu_irqs_init(struct vfu_irqs *q, unsigned msi, unsigned msix);
void vfu_irqs_close(struct vfu_irqs *q);

/* EINVAL where there is no such index. */
int vfu_irqs_info(const struct vfu_irqs *q, struct vfu_irq_info *i);

/* SET_IRQS: `m` has been read up to the data behind the structure. Returns 0 or -errno. */
int vfu_irqs_set(struct vfu_irqs *q, const struct vfu_irq_set *s, struct vfu_msg *m);

/* 0; -ENOTCONN: nobody listens; -EBUSY: masked, or the client does not keep up; -EINVAL. */
int vfu_irqs_raise(struct vfu_irqs *q, unsigned index, unsigned vector);

#endif
