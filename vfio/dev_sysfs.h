/* SPDX-License-Identifier: Apache-2.0
 *
 * The sysfs backend of hw_dev: BAR0 through `resource0` (mmap, or pread/pwrite where the file does
 * not support mmap, as on a simulated node), configuration space through `config`, reset through
 * vfio_reset_dev. Opening has no side effect on the device.
 */
#ifndef PGPU_VFIO_DEV_SYSFS_H
#define PGPU_VFIO_DEV_SYSFS_H

#include "base/hw.h"
#include "vfio/scan.h"

struct dev_sysfs;

/* Maps BAR0 (size from `resource`, not assumed). LOCKDOWN (EPERM), STRICT_DEVMEM (EINVAL),
 * PERMISSION, BAR_DEAD. `root` must outlive the device. */
int dev_sysfs_open(const struct fs_root *root, const struct vfio_fn *fn, struct dev_sysfs **ret,
                   struct err *e);
void dev_sysfs_close(struct dev_sysfs *d);
const struct hw_dev *dev_sysfs_hw(const struct dev_sysfs *d);

#endif
