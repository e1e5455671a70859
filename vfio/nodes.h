/* SPDX-License-Identifier: Apache-2.0
 *
 * Paths of a function's VFIO nodes below the root. Private to vfio/.
 */
#ifndef PGPU_VFIO_NODES_H
#define PGPU_VFIO_NODES_H

#include "vfio/paths.h"
#include "vfio/scan.h"

#include <stdio.h>

static inline const char *
node_of_group(const struct vfio_fn *fn, char buf[VFIO_PATH_MAX])
{
    (void)snprintf(buf, VFIO_PATH_MAX, PATH_DEV_VFIO "/%d", fn->iommu_group);
    return buf;
}

static inline const char *
node_of_cdev(const struct vfio_fn *fn, char buf[VFIO_PATH_MAX])
{
    (void)snprintf(buf, VFIO_PATH_MAX, PATH_DEV_VFIO_CDEVS "/vfio%d", fn->cdev);
    return buf;
}

#endif
