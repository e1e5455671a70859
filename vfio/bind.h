/* SPDX-License-Identifier: Apache-2.0
 *
 * Driver binding by driver_override (never new_id, which grabs every matching GPU), verified by
 * reading the driver link back: a probe that "succeeds" may have failed. All functions block and
 * are to be called from a disposable worker process: a sysfs write can hang unkillably.
 */
#ifndef PGPU_VFIO_BIND_H
#define PGPU_VFIO_BIND_H

#include "vfio/scan.h"

/* Binds to `driver`; a function that is bound to it already is left alone. The order is override →
 * unbind → bind → verify, so that no other driver can take the device in between. The caller has
 * made sure that nobody holds the device. VFIO_PCI_NOT_LOADED, UNBIND_FAILED, BIND_FAILED. */
int vfio_bind(const struct fs_root *root, struct pci_addr a, const char *driver, struct err *e);

/* Gives the function back: clears the override, unbinds, and lets `driver` ("" = leave unbound)
 * have it again. */
int vfio_give_back(const struct fs_root *root, struct pci_addr a, const char *driver,
                   struct err *e);

/* ---- power ---- */

struct vfio_power_saved {
    char control[16];       /* power/control before; "" = was not changed */
    char d3cold_allowed[8]; /* likewise */
};

/* power/control = on, d3cold_allowed = 0, waits for D0 (at most 1 s) and sets memory decode if it
 * is off. POWER_STATE. `ret` is filled even on failure with what to restore. */
int vfio_power_wake(const struct fs_root *root, struct pci_addr a, struct vfio_power_saved *ret,
                    struct err *e);
int vfio_power_restore(const struct fs_root *root, struct pci_addr a,
                       const struct vfio_power_saved *saved, struct err *e);

/* ---- reset ---- */

enum vfio_reset { VFIO_RESET_FUNCTION, VFIO_RESET_BUS, VFIO_RESET_REMOVE_RESCAN };
const char *vfio_reset_name(enum vfio_reset r);

/* Function and bus reset select the method in reset_method, write `reset`, and put the list back.
 * Remove/rescan leaves the function unbound with an empty override. RESET_FAILED. */
int vfio_reset_dev(const struct fs_root *root, struct pci_addr a, enum vfio_reset how,
                   struct err *e);

#endif
