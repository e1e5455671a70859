/* SPDX-License-Identifier: Apache-2.0
 *
 * The windows that a vfio-user client has opened for DMA: sorted, without overlap, at most
 * VFU_MAPS_MAX. Not thread-safe.
 */
#ifndef PGPU_SIM_VFIOUSER_MAP_H
#define PGPU_SIM_VFIOUSER_MAP_H

#include <stddef.h>
#include <stdint.h>

struct vfu_window {
    uint64_t addr, size;
};

struct vfu_maps {
    struct vfu_window *w;
    size_t n, cap;
};

void vfu_maps_clear(struct vfu_maps *m);

/* 0, -EEXIST (overlaps another), -EINVAL (empty, not whole pages, beyond the end of the address
 * space), -ENOSPC, -ENOMEM. */
int vfu_maps_add(struct vfu_maps *m, uint64_t addr, uint64_t size);

/* Takes away all windows in the range, as VFIO's type 1 does: none is fine, one that would be cut
 * is -EINVAL. *ret_size is what they covered. */
int vfu_maps_remove(struct vfu_maps *m, uint64_t addr, uint64_t size, uint64_t *ret_size);

#endif
