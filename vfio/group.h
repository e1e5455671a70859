/* SPDX-License-Identifier: Apache-2.0
 *
 * IOMMU groups: what is handed out together, and the kernel's rule of viability (every endpoint on
 * a VFIO driver, pci-stub or no driver; bridges do not count).
 */
#ifndef PGPU_VFIO_GROUP_H
#define PGPU_VFIO_GROUP_H

#include "vfio/scan.h"

#define VFIO_GROUP_FNS_MAX 32

struct vfio_group {
    int id;
    unsigned n;
    const struct vfio_fn *fn[VFIO_GROUP_FNS_MAX]; /* endpoints, bridges left out; borrowed */
};

/* The group of `fn`; NO_IOMMU where it has none. */
int vfio_group_of(const struct vfio_inventory *inv, const struct vfio_fn *fn,
                  struct vfio_group *ret, struct err *e);

/* Can the group be given to one VM once its members are on a VFIO driver? Two GPUs, or a GPU and a
 * switch: GROUP_SHARED. A GPU with VFs or a VF: VFS_ENABLED. Several NVSwitches are fine. The error
 * names the function. */
int vfio_group_shape(const struct vfio_group *g, struct err *e);

/* The kernel's rule now: GROUP_NOT_VIABLE with the offending function and its driver. */
int vfio_group_viable(const struct vfio_group *g, struct err *e);

#endif
