/* SPDX-License-Identifier: Apache-2.0
 *
 * One function of the guest's PCI bus, as its kernel shows it, and vfio/ on the machine itself. For
 * cmocka programs.
 */
#ifndef PGPU_TESTS_VM_GUEST_FN_H
#define PGPU_TESTS_VM_GUEST_FN_H

#include "base/err.h"
#include "base/fs.h"
#include "base/pci_addr.h"

#include <stdbool.h>
#include <stddef.h>

/* Group setup of a program: opens "/" for fn_root(). */
int fn_setup(void **state);
const struct fs_root *fn_root(void);

struct pci_addr fn_addr(const char *name); /* of a device of the boot file */

/* Attribute, driver ("" none) and link of the function at `addr`; static storage, good until the
 * next call but three. */
const char *fn_attr(const char *addr, const char *attr);
const char *fn_driver(const char *addr);
bool fn_present(const char *addr);

/* Writes an attribute; fails the test where the kernel refuses. */
void fn_write(const char *addr, const char *attr, const char *text);
/* Writes a file of the PCI bus: "drivers/pci-stub/new_id", "rescan". */
void fn_bus_write(const char *file, const char *text);

/* Waits until the attribute reads so; fails the test after two minutes. */
void fn_wait_attr(const char *addr, const char *attr, const char *want);
void fn_wait_present(const char *addr, bool want);

/* Whatever a test did to it: unbound, without override, power policy "auto" undone. */
void fn_release(const char *addr);

/* Succeeded, else the test fails with the error's text; failed for that reason. */
#define fn_ok(call, e)                                                                             \
    do {                                                                                           \
        if ((call) < 0)                                                                            \
            fail_msg("%s: %s", reason_name((e)->reason), (e)->msg);                                \
    } while (0)
#define fn_refused(call, e, r)                                                                     \
    do {                                                                                           \
        if ((call) >= 0)                                                                           \
            fail_msg("succeeded, though %s was expected", reason_name(r));                         \
        if ((e)->reason != (r))                                                                    \
            fail_msg("expected %s, got %s: %s", reason_name(r), reason_name((e)->reason),          \
                     (e)->msg);                                                                    \
        err_clear(e);                                                                              \
    } while (0)

#endif
