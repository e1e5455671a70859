/* SPDX-License-Identifier: Apache-2.0
 *
 * Every kernel path that this folder knows, below the root, and the helpers that fill in an
 * address. No other file of the project's hardware side spells a path of the kernel. Private to
 * vfio/.
 */
#ifndef PGPU_VFIO_PATHS_H
#define PGPU_VFIO_PATHS_H

#include "base/fs.h"
#include "base/pci_addr.h"

#include <stddef.h>

#define PATH_PCI "/sys/bus/pci"
#define PATH_PCI_DEVICES "/sys/bus/pci/devices"
#define PATH_PCI_DRIVERS "/sys/bus/pci/drivers"
#define PATH_PCI_DRIVERS_PROBE "/sys/bus/pci/drivers_probe"
#define PATH_PCI_RESCAN "/sys/bus/pci/rescan"
#define PATH_IOMMU_GROUPS "/sys/kernel/iommu_groups"
#define PATH_LOCKDOWN "/sys/kernel/security/lockdown"
#define PATH_MODULES "/lib/modules"
#define PATH_DEV_VFIO "/dev/vfio"
#define PATH_DEV_VFIO_CDEVS "/dev/vfio/devices"
#define PATH_DEV_VFIO_CONTAINER "/dev/vfio/vfio"
#define PATH_DEV_IOMMU "/dev/iommu"
/* NVIDIA's host driver: one directory per GPU with its minor number, and its nodes
 * (open-gpu-kernel-modules 595.45.04, nv-procfs.c) */
#define PATH_NVIDIA_GPUS "/proc/driver/nvidia/gpus"
#define PATH_DEV_NVIDIA "/dev/nvidia"
#define PATH_PROC "/proc" /* the real one, not below the root */

/* How the kernel prints a driver_override that is not set (Linux 6.12). */
#define VFIO_NO_OVERRIDE "(null)"

/* Long enough for each path made here. */
#define VFIO_PATH_MAX 192

/* An attribute of one function. `attr` is a constant such as "power/control". Fails only where
 * `attr` is absurdly long. */
const char *vfio_path(char buf[VFIO_PATH_MAX], struct pci_addr a, const char *attr);

/* A file of a driver, "/sys/bus/pci/drivers/<driver>/<file>"; file "" is the directory itself. */
const char *vfio_driver_path(char buf[VFIO_PATH_MAX], const char *driver, const char *file);

/* One attribute of one function, with fs_read_attr's rules. A missing attribute is -ENOENT. */
int vfio_attr_read(const struct fs_root *root, struct pci_addr a, const char *attr, char *buf,
                   size_t size, struct err *e);
int vfio_attr_write(const struct fs_root *root, struct pci_addr a, const char *attr,
                    const char *text, struct err *e);

/* Name of the bound driver, "" where there is none. */
int vfio_driver_of(const struct fs_root *root, struct pci_addr a, char *buf, size_t size,
                   struct err *e);

/* driver_override, "" where there is none or the kernel has no such attribute. */
int vfio_override_of(const struct fs_root *root, struct pci_addr a, char *buf, size_t size,
                     struct err *e);

/* Is the function (still) on the bus? */
bool vfio_present(const struct fs_root *root, struct pci_addr a);

/* Puts a kernel error on a device's file into words: no permission, device gone, or `reason`. Keeps
 * the error's number and text; returns -e->num. */
int vfio_name_error(const struct fs_root *root, struct pci_addr a, enum reason reason,
                    enum err_class cls, struct err *e);

#endif
