/* SPDX-License-Identifier: Apache-2.0
 *
 * What is on the PCI bus: every NVIDIA GPU and NVSwitch and every function that shares an IOMMU
 * group or a slot with one. Reads only. One odd device never breaks the scan of the others: it is
 * listed with `reason` UNREADABLE and a text. Bridges and other vendors' functions outside those
 * groups are not listed.
 */
#ifndef PGPU_VFIO_SCAN_H
#define PGPU_VFIO_SCAN_H

#include "base/err.h"
#include "base/fs.h"
#include "base/pci_addr.h"

#include <stdbool.h>
#include <stdint.h>

enum vfio_kind {
    VFIO_KIND_OTHER, /* companion (audio, USB) or foreign function of the group */
    VFIO_KIND_GPU,
    VFIO_KIND_NVSWITCH,
    VFIO_KIND_BRIDGE,
};

/* Device number of a character device; major 0: there is none, or it is not known. */
struct vfio_devnum {
    unsigned major, minor;
};

struct vfio_fn {
    struct pci_addr addr;
    enum vfio_kind kind;
    uint16_t vendor, device, subsys_vendor, subsys_device;
    uint32_t class_code;                    /* 24 bit */
    char name[96];                          /* product name from pci.ids, else "10de:2331" */
    char driver[32];                        /* "" when unbound */
    char override[64];                      /* driver_override, "" when none */
    int iommu_group;                        /* -1 when none */
    int numa_node;                          /* -1 when none or unknown */
    int cdev;                               /* N of vfioN, -1 when there is none */
    struct vfio_devnum cdev_num, group_num; /* of /dev/vfio/devices/vfioN and /dev/vfio/<group> */
    unsigned num_vfs;                       /* virtual functions enabled */
    bool is_vf;                             /* has a physfn link */
    char power_state[16];                   /* "D0", "D3hot", … "" when unknown */
    enum reason reason;                     /* UNREADABLE, or NONE */
    char text[160];                         /* why, for people */
};

struct vfio_inventory {
    unsigned n;
    struct vfio_fn *fn; /* sorted by address */
};

/* Whole scan. Fails only where /sys/bus/pci itself cannot be read. */
int vfio_scan(const struct fs_root *root, struct vfio_inventory **ret, struct err *e);
void vfio_inventory_free(struct vfio_inventory *inv);

const struct vfio_fn *vfio_find(const struct vfio_inventory *inv, struct pci_addr a);

/* Looks again which nodes the function has (cdev and the numbers), by its `driver` and group. */
void vfio_read_nodes(const struct fs_root *root, struct vfio_fn *fn);

/* Is the driver one of VFIO's (vfio-pci or a variant driver)? */
bool vfio_is_vfio_driver(const char *driver);

/* The VFIO driver this function wants: a variant driver by modules.alias ("vfio_pci:" aliases,
 * fewest wildcards first), else "vfio-pci". */
int vfio_wanted_driver(const struct fs_root *root, const struct vfio_fn *fn, char *buf, size_t size,
                       struct err *e);

/* Path of the node that a VMM opens, below /dev/vfio: "/dev/vfio/devices/vfio3" where the function
 * has a cdev, else "/dev/vfio/17" if `allow_group`, else NO_CDEV. */
int vfio_node_path(const struct vfio_fn *fn, bool allow_group, char *buf, size_t size,
                   struct err *e);
/* Its number, as sysfs tells it. */
struct vfio_devnum vfio_node_num(const struct vfio_fn *fn, bool allow_group);

#endif
