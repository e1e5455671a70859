/* SPDX-License-Identifier: Apache-2.0
 *
 * The VFIO backend of hw_dev: BAR0 and configuration space through the regions of an open VFIO
 * device, resets through its ioctls. It works where kernel lockdown or strict devmem refuse
 * `resource0`, at a price: opening the device resets it, and so does its last close (Linux 6.12,
 * vfio_pci_core_enable and _disable). What is configured then becomes active, and the firmware
 * boots for about 1.5 s.
 *
 * Registers are read and written by pread and pwrite, not by a mapping: a function whose memory
 * decode is off answers EIO there, where a mapping would end the process with SIGBUS.
 */
#ifndef PGPU_VFIO_DEV_VFIO_H
#define PGPU_VFIO_DEV_VFIO_H

#include "base/hw.h"
#include "vfio/scan.h"

struct dev_vfio;

/* `hold` is vfio_hold()'s descriptor; it is borrowed and must stay open. `dev` is the open device
 * as dev_vfio_fd() gave it to somebody before, which is taken over on success and costs no reset,
 * or -1: then the device is opened. `root` must outlive the result.
 *
 * Names: GROUP_NOT_VIABLE, VFIO_TYPE1_NOT_LOADED (and no iommufd), NODE_MISSING, NO_IOMMU (without
 * interrupt remapping), IN_USE, PERMISSION, DEVICE_GONE, NOT_BOUND, BAR_DEAD. */
int dev_vfio_open(const struct fs_root *root, const struct vfio_fn *fn, int hold, int dev,
                  struct dev_vfio **ret, struct err *e);

/* Closes what it owns. The last close of a device resets it and blocks for as long as that takes:
 * at least 100 ms, more than a minute where the device is dead. */
void dev_vfio_close(struct dev_vfio *d);
const struct hw_dev *dev_vfio_hw(const struct dev_vfio *d);

/* Opening has reset the device, and the firmware may be booting. */
bool dev_vfio_was_reset(const struct dev_vfio *d);

/* The open device, to be passed on; still owned by `d`. -1 where it is the hold itself. */
int dev_vfio_fd(const struct dev_vfio *d);

/* An eventfd that the kernel signals when somebody wants to unbind or remove the function, which
 * waits until every descriptor of the device is closed. Owned by `d`; -1 where the kernel has none
 * or `dev` was taken over. */
int dev_vfio_request_fd(const struct dev_vfio *d);

#endif
