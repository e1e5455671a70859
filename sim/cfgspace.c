/* SPDX-License-Identifier: Apache-2.0
 *
 * Building and accessing configuration space. See sim/cfgspace.h.
 */
#include "sim/cfgspace.h"

#include <string.h>

/* Capability and extended capability IDs, PCI Code and ID Assignment Specification. */
#define CAP_POINTER 0x34u
#define CAPS_MAX 48u /* of four bytes at least, in the 192 bytes that they have */
#define CAP_PM 0x01u
#define CAP_MSI 0x05u
#define CAP_VENDOR 0x09u
#define CAP_PCIE 0x10u
#define MSI_MASKABLE 0x0100u
#define ECAP_AER 0x01u
#define ECAP_DSN 0x03u
#define ECAP_POWER_BUDGET 0x04u
#define ECAP_VSEC 0x0bu
#define ECAP_REBAR 0x15u
#define ECAP_LTR 0x18u
#define ECAP_SECONDARY_PCIE 0x19u
#define ECAP_DVSEC 0x23u

/* Where capabilities lie: Hopper and later as users list them (nvtrust #51, #128), the audio and
 * USB functions as older NVIDIA parts do, the bridge as an AMD root port. */
struct layout {
    unsigned pm, msi, pcie, vendor, msix;
    uint32_t msi_control;
};
static const struct layout layout_gpu = {0x40, 0x48, 0x60,
                                         0x9c, 0xb0, 0x0188}; /* 16 vectors, 64 bit, maskable */
static const struct layout layout_plain = {0x60, 0x68, 0x78, 0, 0, 0x0080}; /* no mask: no room */
static const struct layout layout_bridge = {0x50, 0xa0, 0x58, 0, 0, 0x0188};

struct builder {
    struct sim_cfg *c;
    unsigned link;  /* where the next capability's offset goes */
    unsigned elink; /* header of the last extended capability, 0 before the first */
};

uint32_t
sim_cfg_get(const struct sim_cfg *c, unsigned off, unsigned width)
{
    uint32_t v = 0;

    for (unsigned i = 0; i < width; i++)
        v |= (uint32_t)c->b[off + i] << (8 * i);
    return v;
}

void
sim_cfg_put(struct sim_cfg *c, unsigned off, unsigned width, uint32_t val)
{
    for (unsigned i = 0; i < width; i++)
        c->b[off + i] = (uint8_t)(val >> (8 * i));
}

void
sim_cfg_write(struct sim_cfg *c, unsigned off, unsigned width, uint32_t val)
{
    for (unsigned i = 0; i < width; i++) {
        unsigned m = c->wmask[off + i];

        c->b[off + i] = (uint8_t)((c->b[off + i] & ~m) | ((unsigned)(val >> (8 * i)) & 0xffu & m));
    }
}

void
sim_cfg_reset(struct sim_cfg *c)
{
    for (unsigned i = 0; i < SIM_CFG_SIZE; i++)
        c->b[i] = (uint8_t)(c->b[i] & ~(unsigned)c->wmask[i]);
}

void
sim_cfg_unlink(struct sim_cfg *c, unsigned id)
{
    unsigned link = CAP_POINTER;

    for (unsigned i = 0; c->b[link] && i < CAPS_MAX; i++) {
        if (c->b[c->b[link]] == id)
            c->b[link] = c->b[c->b[link] + 1];
        else
            link = c->b[link] + 1u;
    }
}

static void
writable(struct sim_cfg *c, unsigned off, unsigned width, uint32_t mask)
{
    for (unsigned i = 0; i < width; i++)
        c->wmask[off + i] = (uint8_t)(mask >> (8 * i));
}

static void
cap(struct builder *b, unsigned off, unsigned id)
{
    b->c->b[b->link] = (uint8_t)off;
    b->c->b[off] = (uint8_t)id;
    b->link = off + 1;
}

static void
ecap(struct builder *b, unsigned off, unsigned id, unsigned version)
{
    if (b->elink)
        sim_cfg_put(b->c, b->elink + 2, 2,
                    (sim_cfg_get(b->c, b->elink + 2, 2) & 0xfu) | (off << 4));
    sim_cfg_put(b->c, off, 4, id | (version << 16));
    b->elink = off;
}

/* A 64-bit prefetchable BAR (type bits 0xc) or a small 32-bit one; an address that the bus
 * enumeration chose. Bits below the size are read-only 0, which is how sizing works. */
static void
bar(struct sim_cfg *c, unsigned index, uint64_t size, uint64_t addr)
{
    unsigned off = SIM_CFG_BAR0 + 4 * index;
    bool wide = size >= 0x100000;
    uint64_t mask = ~(size - 1);

    if (size == 0)
        return;
    addr &= mask;
    writable(c, off, 4, (uint32_t)mask);
    sim_cfg_put(c, off, 4, (uint32_t)addr | (wide ? 0xcu : 0));
    if (wide) {
        writable(c, off + 4, 4, (uint32_t)(mask >> 32));
        sim_cfg_put(c, off + 4, 4, (uint32_t)(addr >> 32));
    }
}

static void
header(struct sim_cfg *c, const struct sim_model *m)
{
    sim_cfg_put(c, 0x00, 2, m->vendor);
    sim_cfg_put(c, 0x02, 2, m->device);
    writable(c, SIM_CFG_COMMAND, 2, 0x0547);
    sim_cfg_put(c, SIM_CFG_COMMAND, 2, SIM_CMD_MEMORY);
    sim_cfg_put(c, 0x06, 2, 0x0010); /* status: has a capability list */
    sim_cfg_put(c, 0x08, 4, m->class_code << 8 | 0xa1);
    writable(c, 0x0c, 1, 0xff);
    writable(c, 0x3c, 1, 0xff);
    sim_cfg_put(c, 0x3c, 2, 0x01ff); /* pin A, no interrupt routed */
}

static void
caps_common(struct builder *b, const struct layout *l, unsigned port_type, uint32_t devcap)
{
    struct sim_cfg *c = b->c;

    cap(b, l->pm, CAP_PM);
    sim_cfg_put(c, l->pm + 2, 2, 0x0013);          /* version 3, no PME (H100 SXM listing) */
    sim_cfg_put(c, l->pm + SIM_PM_CSR, 2, 0x0008); /* NoSoftRst+, D0 */
    writable(c, l->pm + SIM_PM_CSR, 1, SIM_PM_STATE);
    if (l->msi > l->pm && l->msi < l->pcie)
        cap(b, l->msi, CAP_MSI);
    cap(b, l->pcie, CAP_PCIE);
    if (l->msi > l->pcie)
        cap(b, l->msi, CAP_MSI);
    sim_cfg_put(c, l->msi + 2, 2, l->msi_control);
    writable(c, l->msi + 2, 1, 0x71);
    writable(c, l->msi + 4, 4, 0xfffffffc);
    writable(c, l->msi + 8, 4, 0xffffffff);
    writable(c, l->msi + 0xc, 2, 0xffff);
    if (l->msi_control & MSI_MASKABLE)
        writable(c, l->msi + 0x10, 4, 0xffff);
    sim_cfg_put(c, l->pcie + 2, 2, 2 | port_type << 4);
    sim_cfg_put(c, l->pcie + 4, 4, devcap);
    writable(c, l->pcie + SIM_PCIE_DEVCTL, 2, 0x7fff);
    sim_cfg_put(c, l->pcie + 0x0c, 4, 0x00000105); /* Gen5 x16 */
    writable(c, l->pcie + 0x10, 2, 0x0fff);
    sim_cfg_put(c, l->pcie + 0x12, 2, 0x0105);
    writable(c, l->pcie + 0x28, 2, 0xffff);
    writable(c, l->pcie + 0x30, 2, 0xffff);
    c->pm = l->pm;
    c->pcie = l->pcie;
}

/* Vendor-specific words of the NVIDIA parts: the security fault and BAR firewall registers.
 * Hopper and GB20x: VSEC id 1 revision 1 at 0x2a4 (nvtrust #128; gpu-admin-tools v2026.09.16),
 * GB1xx: DVSEC 0 at 0xaf0 (open-gpu-kernel-modules 595.45.04). */
static void
vendor_words(struct builder *b, enum sim_model_kind kind)
{
    struct sim_cfg *c = b->c;
    bool gb2 = kind == SIM_GPU_GB2;
    unsigned len = gb2 ? 0x18 : 0x14;

    if (kind != SIM_GPU_GB1) {
        ecap(b, 0x2a4, ECAP_VSEC, 1);
        sim_cfg_put(c, 0x2a8, 4, 1 | 1u << 16 | len << 20);
        c->sec_fault = 0x2a4 + 0x10;
        c->firewall = gb2 ? 0x2a4 + 0x14 : 0;
        c->firewall_bit = 1u << 24;
    }
    ecap(b, 0x2a4 + len, ECAP_POWER_BUDGET, 1);
    ecap(b, 0x2f0, ECAP_DSN, 1);
    sim_cfg_put(c, 0x2f4, 4, 0x48b02d5f);
    sim_cfg_put(c, 0x2f8, 4, 0x00010de0);
    if (kind == SIM_GPU_GB1) {
        ecap(b, 0xaf0, ECAP_DVSEC, 1);
        sim_cfg_put(c, 0xaf4, 4, 0x10de | 0x1cu << 20);
        sim_cfg_put(c, 0xaf8, 2, 0);
        c->firewall = 0xaf0 + 8;
        c->firewall_bit = 1u << 20;
        c->sec_fault = 0xaf0 + 0x14;
    }
}

/* The large BAR in the only size that the model has: nothing to choose from, and not writable. */
static void
rebar(struct builder *b, unsigned off, uint64_t size)
{
    unsigned log_mb = 0;

    if (size == 0)
        return;
    while ((uint64_t)1 << (20 + log_mb) < size)
        log_mb++;
    ecap(b, off, ECAP_REBAR, 1);
    sim_cfg_put(b->c, off + 4, 4, 1u << (4 + log_mb));
    sim_cfg_put(b->c, off + 8, 4, 2 | 1u << 5 | log_mb << 8); /* BAR 2, one entry */
}

static void
build_nvidia(struct builder *b, const struct sim_model *m)
{
    struct sim_cfg *c = b->c;
    const struct layout *l = &layout_gpu;

    /* addresses of the H100 SXM listing; the owner of several moves them by config writes */
    bar(c, 0, m->bar0_size, m->bar0_size > 0x2000000 ? 0x38c004000000 : 0x38c002000000);
    bar(c, 2, m->bar2_size, 0x38a000000000);
    bar(c, 4, m->bar4_size, 0x38c000000000);
    sim_cfg_put(c, 0x2c, 2, m->subsys_vendor);
    sim_cfg_put(c, 0x2e, 2, m->subsys_device);
    /* FLR, 75 W, role-based errors, extended tags, 256 bytes of payload (nvtrust #51) */
    caps_common(b, l, 0, SIM_DEVCAP_FLR | 75u << 18 | 0x8000 | 0x20 | 1);
    cap(b, l->vendor, CAP_VENDOR);
    c->b[l->vendor + 2] = 0x14;
    cap(b, l->msix, SIM_CAP_MSIX);
    sim_cfg_put(c, l->msix + 2, 2, 8); /* 9 vectors */
    writable(c, l->msix + 3, 1, 0xc0);
    sim_cfg_put(c, l->msix + 4, 4, 0x00b90000); /* table and pending bits in BAR0, as listings of */
    sim_cfg_put(c, l->msix + 8, 4, 0x00ba0000); /* the data centre GPUs before Hopper have them */
    /* a copy of the IDs; gpu-admin-tools takes all-ones here for a dead config space */
    sim_cfg_put(c, 0xf0, 2, m->vendor);
    sim_cfg_put(c, 0xf2, 2, m->device);

    ecap(b, 0x100, ECAP_SECONDARY_PCIE, 1);
    ecap(b, 0x12c, ECAP_LTR, 1);
    rebar(b, 0x134, m->bar2_size); /* "Physical Resizable BAR" in listings */
    ecap(b, 0x1b8, ECAP_AER, 2);
    writable(c, 0x1b8 + 0x08, 4, 0xffffffff);
    writable(c, 0x1b8 + 0x0c, 4, 0xffffffff);
    writable(c, 0x1b8 + 0x14, 4, 0xffffffff);
    vendor_words(b, m->kind);
}

static void
build_bridge(struct builder *b)
{
    struct sim_cfg *c = b->c;

    sim_cfg_put(c, 0x0e, 1, 1);
    sim_cfg_put(c, SIM_CFG_COMMAND, 2, 0x0006);
    writable(c, 0x18, 3, 0xffffff); /* bus numbers */
    writable(c, 0x20, 4, 0xfff0fff0);
    writable(c, 0x24, 4, 0xfff0fff0);
    writable(c, 0x28, 4, 0xffffffff);
    writable(c, 0x2c, 4, 0xffffffff);
    writable(c, 0x3e, 2, 0x0040); /* secondary bus reset */
    caps_common(b, &layout_bridge, 4, 0);
    sim_cfg_put(c, layout_bridge.pcie + 0x12, 2, 0x2105); /* link up, data link active */
    ecap(b, 0x100, ECAP_AER, 1);
}

void
sim_cfg_build(struct sim_cfg *c, const struct sim_model *m)
{
    struct builder b = {.c = c, .link = CAP_POINTER};

    memset(c, 0, sizeof(*c));
    header(c, m);
    if (m->kind != SIM_PLAIN) {
        build_nvidia(&b, m);
        return;
    }
    if (m->class_code == 0x060400) {
        build_bridge(&b);
        return;
    }
    bar(c, 0, m->bar0_size, m->bar0_size < 0x100000 ? 0xf0000000 : 0x38d000000000);
    sim_cfg_put(c, 0x2c, 2, m->subsys_vendor);
    sim_cfg_put(c, 0x2e, 2, m->subsys_device);
    caps_common(&b, &layout_plain, 0, SIM_DEVCAP_FLR | 0x8000 | 1);
    ecap(&b, 0x100, ECAP_AER, 2);
}
