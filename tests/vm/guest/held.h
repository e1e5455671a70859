/* SPDX-License-Identifier: Apache-2.0
 *
 * VFIO devices that are held open, and what that did to them. For cmocka programs.
 */
#ifndef PGPU_TESTS_VM_GUEST_HELD_H
#define PGPU_TESTS_VM_GUEST_HELD_H

#include <stdint.h>

/* Descriptors of open VFIO devices, and of their character devices, of all processes. */
unsigned held_devices(void);
/* Waits until there is none. */
void held_wait_none(void);

/* By the device's own account: active and configured mode; how often it was reset. */
void held_mode(const char *name, const char *active, const char *configured);
uint64_t held_resets(const char *name);

#define assert_resets(name, before, n)                                                             \
    do {                                                                                           \
        uint64_t now_ = held_resets(name);                                                         \
        if (now_ != (before) + (n))                                                                \
            fail_msg("%s: %llu resets, not %d", (name), (unsigned long long)(now_ - (before)),     \
                     (int)(n));                                                                    \
    } while (0)

#endif
