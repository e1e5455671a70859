/* SPDX-License-Identifier: Apache-2.0
 *
 * PCI address: the one key of a device, from ListAndWatch to file names and logs, always written
 * in the kernel's full form "0000:41:00.0" (domains above 0xffff are written with more digits,
 * as the kernel does for VMD: "10000:01:00.0").
 */
#ifndef PGPU_BASE_PCI_ADDR_H
#define PGPU_BASE_PCI_ADDR_H

#include <stdbool.h>
#include <stdint.h>

struct pci_addr {
    uint32_t domain;
    uint8_t bus;
    uint8_t dev; /* 0..31 */
    uint8_t fn;  /* 0..7 */
};

#define PCI_ADDR_STR 20

/* Accepts exactly the full form, lower-case hex; false (and *ret untouched) for all else, the
 * short form "41:00.0" included, because the kernel refuses that too. */
bool pci_addr_parse(const char *s, struct pci_addr *ret);

/* Writes the full form to `buf` and returns it. */
const char *pci_addr_str(struct pci_addr a, char buf[PCI_ADDR_STR]);

/* Order by domain, bus, device, function. */
int pci_addr_cmp(struct pci_addr a, struct pci_addr b);

#define PCI_STR(a) pci_addr_str((a), (char[PCI_ADDR_STR]){0})

#endif
