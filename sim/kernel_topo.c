/* SPDX-License-Identifier: Apache-2.0
 *
 * Where functions hang: root buses and ports, IOMMU groups and their rules, BAR addresses. Caller
 * holds the kernel's lock.
 */
#include "sim/kernel_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- bridges ---- */

static bool
bus_taken(struct sim_kernel *k, struct pci_addr a, unsigned bus)
{
    const struct fn *f;

    for (f = k->fns; f; f = f->next)
        if (f->addr.domain == a.domain && f->addr.bus == bus && !f->is_bridge)
            return true;
    return false;
}

/* A root port of its own per bus: on the host bridge one bus below, as server boards have it, or,
 * where that bus is taken, on bus 0. */
static struct pci_addr
port_for(struct sim_kernel *k, struct pci_addr a)
{
    struct pci_addr p = {.domain = a.domain};

    if (a.bus >= 0x10 && !bus_taken(k, a, a.bus - 1u)) {
        p.bus = (uint8_t)(a.bus - 1);
        p.dev = 1;
    } else {
        p.dev = (uint8_t)(a.bus >> 3);
        p.fn = (uint8_t)(a.bus & 7);
    }
    return p;
}

int
topo_bridge_for(struct sim_kernel *k, struct fn *f, struct err *e)
{
    struct sim_fn_spec s = {.model = "bridge", .group = -1, .numa_node = f->numa};
    struct fn *o;

    for (o = k->fns; o; o = o->next)
        if (o != f && o->bridge && o->addr.domain == f->addr.domain && o->addr.bus == f->addr.bus) {
            f->bridge = o->bridge; /* functions of one slot or bus share it */
            return 0;
        }
    s.addr = port_for(k, f->addr);
    if (k->no_iommu)
        s.group = -2;
    o = fn_at(k, s.addr);
    if (o && !o->is_bridge)
        return 0; /* no room for a port: directly on the root bus */
    if (!o) {
        int r = fn_new(k, &s, NULL, &o, e);

        if (r < 0)
            return r;
    }
    f->bridge = o;
    return 0;
}

/* ---- BARs ---- */

/* A prefetchable window as on an H100 SXM host; each function gets a TiB of it, which holds the
 * largest BAR2 in its first half. Plain functions share 32-bit space. */
#define BAR_WINDOW UINT64_C(0x380000000000)
#define BAR_STRIDE UINT64_C(0x10000000000)
#define BAR_SMALL UINT64_C(0x80000000)
#define BAR_SMALL_STRIDE UINT64_C(0x4000000)
#define BAR_SMALL_SLOTS 30

static void
write_bar64(struct fn *f, unsigned i, uint64_t addr)
{
    uint32_t off = 0x10 + 4 * i;

    f->bar[i] = addr;
    sim_gpu_cfg_write(f->gpu, off, 4, (uint32_t)addr);
    sim_gpu_cfg_write(f->gpu, off + 4, 4, (uint32_t)(addr >> 32));
}

void
topo_assign_bars(struct sim_kernel *k, struct fn *f)
{
    const struct sim_model *m = f->model;
    const struct fn *o;
    uint64_t i = 0, base;

    for (o = k->fns; o && o != f; o = o->next)
        i += !o->is_bridge;
    if (m->kind == SIM_PLAIN) {
        f->bar[0] = BAR_SMALL + i % BAR_SMALL_SLOTS * BAR_SMALL_STRIDE;
        if (m->bar0_size)
            sim_gpu_cfg_write(f->gpu, 0x10, 4, (uint32_t)f->bar[0]);
        return;
    }
    base = BAR_WINDOW + i * BAR_STRIDE;
    if (m->bar2_size)
        write_bar64(f, 2, base);
    if (m->bar4_size)
        write_bar64(f, 4, base + BAR_STRIDE / 2);
    write_bar64(f, 0, base + BAR_STRIDE / 2 + BAR_STRIDE / 4);
}

/* ---- IOMMU groups ---- */

struct grp *
grp_get(struct sim_kernel *k, int id)
{
    struct grp *g;

    for (g = k->grps; g; g = g->next)
        if (g->id == id)
            return g;
    g = calloc(1, sizeof(*g));
    if (!g)
        abort();
    g->id = id;
    (void)snprintf(g->type, sizeof(g->type), "DMA-FQ"); /* Debian's default */
    g->next = k->grps;
    k->grps = g;
    return g;
}

int
grp_fresh(struct sim_kernel *k)
{
    const struct grp *g;
    int id = 0;

    for (g = k->grps; g; g = g->next)
        if (g->id >= id)
            id = g->id + 1;
    return id;
}

void
grp_add(struct sim_kernel *k, struct fn *f)
{
    struct grp *g;
    char path[64];

    if (f->group_id < 0)
        return;
    g = grp_get(k, f->group_id);
    if (!g->dir) {
        (void)snprintf(path, sizeof(path), "%d", g->id);
        g->dir = kn_dir(k, kn_mkdirs(k, "/sys/kernel/iommu_groups"), path, 0);
        g->devices = kn_dir(k, g->dir, "devices", 0);
        sysfs_group_files(k, g);
    }
    f->group = g;
    (void)kn_link_to(k, g->devices, f->name, f->dir);
    if (!fn_attr_missing(f, "iommu_group"))
        (void)kn_link_to(k, f->dir, "iommu_group", g->dir);
    (void)kn_link_to(k, f->dir, "iommu", kn_mkdirs(k, "/sys/devices/virtual/iommu/ivhd0"));
    (void)kn_link_to(k, kn_mkdirs(k, "/sys/devices/virtual/iommu/ivhd0/devices"), f->name, f->dir);
}

void
grp_del(struct sim_kernel *k, struct fn *f)
{
    struct grp *g = f->group;

    f->group = NULL;
    if (!g)
        return;
    kn_remove_child(kn_mkdirs(k, "/sys/devices/virtual/iommu/ivhd0/devices"), f->name);
    kn_remove_child(g->devices, f->name);
    if (g->devices->child)
        return;
    kn_remove(g->dir);
    g->dir = g->devices = NULL;
}

bool
grp_viable(struct sim_kernel *k, const struct grp *g, const struct fn **ret_bad)
{
    const struct fn *f;

    for (f = k->fns; f; f = f->next)
        if (f->group == g && f->drv && !f->drv->vfio && !f->drv->harmless) {
            if (ret_bad)
                *ret_bad = f;
            return false;
        }
    return true;
}

/* Does a VFIO user own the group's DMA? From the container or device open on. */
bool
grp_user_owned(struct sim_kernel *k, const struct grp *g)
{
    const struct fn *f;

    if (g->container || g->cdev_bound)
        return true;
    for (f = k->fns; f; f = f->next)
        if (f->group == g && f->holder)
            return true;
    return false;
}
