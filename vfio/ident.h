/* SPDX-License-Identifier: Apache-2.0
 *
 * Identity of single functions through libpci, and product names from pci.ids. libpci ends the
 * process when it meets malformed sysfs files; every call into it is guarded here, in the one file
 * that includes its header. Private to vfio/. One thread at a time per object.
 */
#ifndef PGPU_VFIO_IDENT_H
#define PGPU_VFIO_IDENT_H

#include "vfio/scan.h"

struct ident;

/* Never fails: without libpci (or memory) identities come from the attributes, and names from the
 * numbers. */
struct ident *ident_new(const struct fs_root *root);
void ident_free(struct ident *id);

/* Fills vendor, device, subsystem and class. Where even that is impossible, sets reason UNREADABLE
 * and the text; the function is then of kind OTHER. */
void ident_fill(struct ident *id, const struct fs_root *root, struct vfio_fn *fn);

/* Product name, or "vvvv:dddd". */
void ident_name(struct ident *id, struct vfio_fn *fn);

/* GPU, NVSwitch, bridge or other, by vendor and class. */
enum vfio_kind ident_kind(uint16_t vendor, uint32_t class_code);

#define PCI_VENDOR_NVIDIA 0x10deu /* pci.ids */

#endif
