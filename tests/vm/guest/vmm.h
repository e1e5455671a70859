/* SPDX-License-Identifier: Apache-2.0
 *
 * What a VMM does to a VFIO group, for real: container, type 1 IOMMU, device. For cmocka programs.
 */
#ifndef PGPU_TESTS_VM_GUEST_VMM_H
#define PGPU_TESTS_VM_GUEST_VMM_H

#include <stdint.h>

struct vmm {
    int group, container, device;
};

/* Opens the function's group node and the device; fails the test where that does not work. */
void vmm_open(struct vmm *v, const char *addr);
/* 0, or the errno of the step that did not work; nothing stays open then. */
int vmm_try(struct vmm *v, const char *addr);
void vmm_close(struct vmm *v);

/* One word of BAR0 through the device's region 0. */
uint32_t vmm_bar0(const struct vmm *v, uint32_t offset);

/* Opens the group alone and closes it: 0, or an errno (EBUSY: somebody has it). */
int vmm_group_busy(const char *addr);

#endif
