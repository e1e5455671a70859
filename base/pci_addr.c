/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading and writing PCI addresses. No state.
 */
#include "base/pci_addr.h"

#include <stddef.h>
#include <stdio.h>

/* Reads 1..max_digits lower-case hex digits; returns how many, 0 if there are none or more. */
static size_t
hex(const char *s, size_t max_digits, uint32_t *ret)
{
    uint32_t v = 0;
    size_t n = 0;

    for (;; n++) {
        char c = s[n];
        unsigned digit;

        if (c >= '0' && c <= '9')
            digit = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (unsigned)(c - 'a') + 10;
        else
            break;
        if (n == max_digits)
            return 0;
        v = v << 4 | digit;
    }
    if (n > 0)
        *ret = v;
    return n;
}

bool
pci_addr_parse(const char *s, struct pci_addr *ret)
{
    uint32_t domain = 0, bus = 0, dev = 0, fn = 0;
    size_t n = hex(s, 8, &domain);

    /* The kernel prints "%04x:%02x:%02x.%d": the domain has four digits, or more without a leading
     * zero. Only that spelling is accepted, because addresses are compared as strings elsewhere. */
    if (n < 4 || (n > 4 && s[0] == '0') || s[n] != ':')
        return false;
    s += n + 1;
    if (hex(s, 2, &bus) != 2 || s[2] != ':')
        return false;
    s += 3;
    if (hex(s, 2, &dev) != 2 || s[2] != '.' || dev > 31)
        return false;
    s += 3;
    if (hex(s, 1, &fn) != 1 || s[1] != '\0' || fn > 7)
        return false;
    *ret = (struct pci_addr){
        .domain = domain, .bus = (uint8_t)bus, .dev = (uint8_t)dev, .fn = (uint8_t)fn};
    return true;
}

const char *
pci_addr_str(struct pci_addr a, char buf[PCI_ADDR_STR])
{
    (void)snprintf(buf, PCI_ADDR_STR, "%04x:%02x:%02x.%x", (unsigned)a.domain, (unsigned)a.bus,
                   (unsigned)a.dev, (unsigned)a.fn);
    return buf;
}

static int
cmp_u32(uint32_t a, uint32_t b)
{
    return (a > b) - (a < b);
}

int
pci_addr_cmp(struct pci_addr a, struct pci_addr b)
{
    int c = cmp_u32(a.domain, b.domain);

    if (c == 0)
        c = cmp_u32(a.bus, b.bus);
    if (c == 0)
        c = cmp_u32(a.dev, b.dev);
    if (c == 0)
        c = cmp_u32(a.fn, b.fn);
    return c;
}
