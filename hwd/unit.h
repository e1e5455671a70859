/* SPDX-License-Identifier: Apache-2.0
 *
 * From functions on the bus to units that are handed out together, and why one cannot be. Pure:
 * works on a finished scan, touches nothing.
 */
#ifndef PGPU_HWD_UNIT_H
#define PGPU_HWD_UNIT_H

#include "ccmode/cc.h"
#include "hwd/config.h"
#include "hwd/protocol.h"
#include "vfio/scan.h"

#include <stdbool.h>

#define HWD_UNIT_FNS_MAX 8 /* functions of one slot */
#define HWD_FNS_MAX 512    /* functions of one scan */

/* Driver that a function had before we took it (state directory). */
struct hwd_former {
    bool known;
    char driver[32]; /* "" = was unbound */
};

/* What a scan brings back. `former` runs parallel to inv.fn. */
struct hwd_scan {
    bool iommufd;    /* the host has /dev/iommu */
    bool vfio_ready; /* the vfio-pci driver is registered */
    struct vfio_inventory inv;
    struct hwd_former *former;
};
void hwd_scan_free(struct hwd_scan *s);

struct hwd_unit {
    struct pci_addr addr; /* primary function */
    unsigned n_fn;
    struct pci_addr fn[HWD_UNIT_FNS_MAX]; /* primary first, then companions */
    const struct cc_chip *chip;           /* NULL: not known */
    struct hwd_facts facts;               /* what the scan alone says */
};

struct hwd_units {
    unsigned n;
    struct hwd_unit *u; /* sorted by address */
};

int hwd_units_build(const struct hwd_scan *s, const struct hwd_config *cfg, struct hwd_units **ret,
                    struct err *e);
void hwd_units_free(struct hwd_units *u);
const struct hwd_unit *hwd_units_find(const struct hwd_units *u, struct pci_addr a);

/* Do the claim rules let us touch a function with this driver ("" unbound), taken from `former`?
 * NOT_CLAIMED or DRIVER_IN_USE where not. */
int hwd_claim_check(const struct hwd_config *cfg, struct pci_addr a, const char *driver,
                    const struct hwd_former *former, struct err *e);

/* Everything that forbids to prepare the unit as the scan shows it; the same check feeds the facts
 * and gates each operation. */
int hwd_unit_check(const struct hwd_unit *u, const struct hwd_scan *s, const struct hwd_config *cfg,
                   struct err *e);

#endif
