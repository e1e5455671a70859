/* SPDX-License-Identifier: Apache-2.0
 *
 * The kernel's VFIO in memory, behind struct vfio_sys: groups, containers, iommufds, cdevs and open
 * devices with their rules (Linux 6.12), each function an emulated GPU on one virtual clock. Below
 * a fixture, whose /dev/vfio/<group> files say whether the kernel has group nodes. One thread.
 */
#ifndef PGPU_TEST_VFIO_MODEL_H
#define PGPU_TEST_VFIO_MODEL_H

#include "fixture.h"
#include "sim/gpu.h"
#include "vfio/scan.h"
#include "vfio/sys.h"

#define MODEL_FNS 4
#define MODEL_FILES 64

enum model_kind { M_NONE, M_GROUP, M_CONTAINER, M_IOMMUFD, M_CDEV, M_DEVICE, M_EVENTFD };

struct model_fn {
    struct pci_addr addr;
    struct sim_gpu *gpu;
    int group, cdev; /* cdev -1: none */
    unsigned opens;  /* of the device */
    int owner;       /* file of the iommufd that it is bound to, -1 */
    int request;     /* file of the eventfd, -1 */
    bool no_reset;   /* the kernel finds no function reset */
};

struct model_file {
    enum model_kind kind;
    bool open;
    unsigned refs;   /* descriptor, and what the kernel holds on it */
    int fn;          /* device and cdev: index */
    int group;       /* group: its number */
    int context;     /* group: container or iommufd, -1 */
    int type;        /* container: IOMMU type, 0 before SET_IOMMU */
    bool bound;      /* cdev */
    uint64_t resets; /* device: opened as the so-many-th */
};

struct model {
    struct vfio_sys sys;
    struct fixture fx;
    uint64_t now;
    unsigned n_fn;
    struct model_fn fn[MODEL_FNS];
    struct model_file file[MODEL_FILES];
    /* the host */
    bool no_container, no_type1, type1_v1_only, no_irq_remapping, iommufd, not_viable;
    /* the ioctl that fails, and how often it may pass before */
    unsigned long fail_cmd;
    int fail_num;
    /* what the kernel answers is changed before we see it */
    void (*tamper)(unsigned long cmd, uintptr_t arg);
};

void model_init(struct model *m);
void model_fini(struct model *m); /* asserts that nothing is left open */

/* A booted GPU of `model` on vfio-pci; makes the group's node. */
struct vfio_fn model_add(struct model *m, const char *addr, const char *model, int group, int cdev);
struct sim_gpu *model_gpu(struct model *m, unsigned i);
uint64_t model_resets(struct model *m, unsigned i);
/* Descriptors that are open, by kind (M_NONE: all). */
unsigned model_open(const struct model *m, enum model_kind kind);

#endif
