/* SPDX-License-Identifier: Apache-2.0
 *
 * What <linux/vfio.h> of Debian 12 (6.1) lacks. Private to vfio/. Later kernels append fields,
 * which argsz leaves out.
 */
#ifndef PGPU_VFIO_ABI_H
#define PGPU_VFIO_ABI_H

#include <linux/vfio.h>

#include <stdint.h>

/* Linux 6.6, VFIO_DEVICE_BIND_IOMMUFD */
#define VFIO_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)
struct vfio_bind_iommufd {
    uint32_t argsz;
    uint32_t flags;
    int32_t iommufd;
    uint32_t out_devid;
};

/* Linux 6.6, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO of a device that was opened as cdev: the first word
 * of an entry is no group, but says whose the function is. */
#define VFIO_HOT_RESET_BY_DEVID (1u << 0)
#define VFIO_HOT_RESET_DEVID_OWNED (1u << 1)

#endif
