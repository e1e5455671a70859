/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of the VFIO backend. Private to vfio/dev_vfio*.c.
 */
#ifndef PGPU_VFIO_DEV_VFIO_PRIV_H
#define PGPU_VFIO_DEV_VFIO_PRIV_H

#include "vfio/dev_vfio.h"
#include "vfio/sys.h"

struct vfio_region {
    uint64_t off;  /* in the device's descriptor */
    uint64_t size; /* bytes */
};

struct dev_vfio {
    const struct vfio_sys *sys;
    struct hw_dev hw;
    int group_id;
    int hold;     /* borrowed */
    int dev;      /* owned, unless it is the hold */
    int request;  /* eventfd, or -1 */
    bool is_cdev; /* the hold is the device */
    bool was_reset;
    bool can_reset; /* the kernel found a function reset that works when it opened the device */
    struct vfio_region bar, cfg;
};

int dev_vfio_reset(void *ctx, enum hw_reset how, struct err *e);

#endif
