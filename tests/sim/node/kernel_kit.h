/* SPDX-License-Identifier: Apache-2.0
 *
 * Small helpers for tests of the in-memory kernel: a node by shape, one-line reads and writes.
 */
#ifndef PGPU_TESTS_KERNEL_KIT_H
#define PGPU_TESTS_KERNEL_KIT_H

#include "sim/kernel.h"
#include "sim/shape.h"

#define GPU0 "0000:18:00.0"
#define GPU1 "0000:2a:00.0"
#define DEV "/sys/bus/pci/devices/"
#define VFIO "/sys/bus/pci/drivers/vfio-pci/"

struct kit {
    struct sim_kernel *k;
    struct sim_kernel_params p;
    struct shape shape;
    struct shape_fns fns;
};

/* Two H100 in an IOMMU and VFIO world, no delays; change it before kit_start. */
void kit_init(struct kit *t);
void kit_start(struct kit *t);
void kit_stop(struct kit *t);

int put(struct kit *t, const char *path, const char *text);
/* Text without the newline; asserts that it can be read. */
const char *get(struct kit *t, const char *path);
int get_err(struct kit *t, const char *path); /* 0 or -errno of reading */
/* Last component of a link's target, "" where there is none. */
const char *link_name(struct kit *t, const char *path);
bool there(struct kit *t, const char *path);
/* Runs a control command that must succeed; its answer. */
const char *ctl(struct kit *t, const char *line);
/* One that must fail; its message. */
const char *ctl_fails(struct kit *t, const char *line);
uint32_t bar0(struct kit *t, const char *addr);
void bind_vfio(struct kit *t, const char *addr);

#endif
