/* SPDX-License-Identifier: Apache-2.0
 *
 * IOMMU groups. Pure functions over an inventory; any thread.
 */
#include "vfio/group.h"

#include "vfio/ident.h"

#include <errno.h>
#include <string.h>

int
vfio_group_of(const struct vfio_inventory *inv, const struct vfio_fn *fn, struct vfio_group *ret,
              struct err *e)
{
    struct vfio_group g = {.id = fn->iommu_group};

    if (fn->iommu_group < 0)
        return err_reason(e, ENODEV, ERR_CLASS_INVALID, REASON_NO_IOMMU,
                          "IOMMU group of %s: the function is in none", PCI_STR(fn->addr));
    for (unsigned i = 0; i < inv->n; i++) {
        const struct vfio_fn *m = &inv->fn[i];

        if (m->iommu_group != g.id || m->kind == VFIO_KIND_BRIDGE)
            continue;
        if (g.n == VFIO_GROUP_FNS_MAX)
            return err_reason(e, E2BIG, ERR_CLASS_INVALID, REASON_GROUP_SHARED,
                              "IOMMU group %d of %s has more than %d functions", g.id,
                              PCI_STR(fn->addr), VFIO_GROUP_FNS_MAX);
        g.fn[g.n++] = m;
    }
    *ret = g;
    return 0;
}

/* The slot (or vendor) of a primary function: audio, USB and UCSI functions of the same board. */
static bool
is_companion(const struct vfio_group *g, const struct vfio_fn *fn)
{
    if (fn->vendor == PCI_VENDOR_NVIDIA)
        return true;
    for (unsigned i = 0; i < g->n; i++) {
        const struct pci_addr a = g->fn[i]->addr;

        if ((g->fn[i]->kind == VFIO_KIND_GPU || g->fn[i]->kind == VFIO_KIND_NVSWITCH) &&
            a.domain == fn->addr.domain && a.bus == fn->addr.bus && a.dev == fn->addr.dev)
            return true;
    }
    return false;
}

static bool
is_harmless_driver(const char *driver)
{
    /* No driver is fine for the kernel's rule; vfio-pci, its variants and pci-stub do not do DMA on
     * behalf of the host (drivers with driver_managed_dma, Linux 6.12). */
    return driver[0] == '\0' || strcmp(driver, "pci-stub") == 0 || vfio_is_vfio_driver(driver);
}

static int
shape_of_one(const struct vfio_group *g, const struct vfio_fn *fn, struct err *e)
{
    if (fn->reason != REASON_NONE)
        return err_reason(e, EIO, ERR_CLASS_HW, fn->reason, "IOMMU group %d: %s: %s", g->id,
                          PCI_STR(fn->addr), fn->text);
    if (fn->num_vfs > 0)
        return err_reason(e, EBUSY, ERR_CLASS_INVALID, REASON_VFS_ENABLED,
                          "IOMMU group %d: %s has %u virtual functions enabled", g->id,
                          PCI_STR(fn->addr), fn->num_vfs);
    if (fn->is_vf)
        return err_reason(e, EBUSY, ERR_CLASS_INVALID, REASON_VFS_ENABLED,
                          "IOMMU group %d: %s is a virtual function", g->id, PCI_STR(fn->addr));
    /* Somebody's network card or disk: never ours to take from its driver. */
    if (!is_companion(g, fn) && !is_harmless_driver(fn->driver))
        return err_reason(e, EBUSY, ERR_CLASS_INVALID, REASON_GROUP_NOT_VIABLE,
                          "IOMMU group %d: foreign function %s is bound to %s", g->id,
                          PCI_STR(fn->addr), fn->driver);
    return 0;
}

int
vfio_group_shape(const struct vfio_group *g, struct err *e)
{
    const struct vfio_fn *gpu = NULL, *nvswitch = NULL;

    for (unsigned i = 0; i < g->n; i++) {
        const struct vfio_fn *fn = g->fn[i], *other = NULL;
        int r = shape_of_one(g, fn, e);

        if (r < 0)
            return r;
        if (fn->kind == VFIO_KIND_GPU) {
            other = gpu ? gpu : nvswitch;
            gpu = fn;
        } else if (fn->kind == VFIO_KIND_NVSWITCH) {
            other = gpu;
            nvswitch = fn;
        }
        if (other)
            return err_reason(e, EBUSY, ERR_CLASS_INVALID, REASON_GROUP_SHARED,
                              "IOMMU group %d: %s (%s) shares it with %s (%s)", g->id,
                              PCI_STR(fn->addr), fn->name, PCI_STR(other->addr), other->name);
    }
    return 0;
}

int
vfio_group_viable(const struct vfio_group *g, struct err *e)
{
    for (unsigned i = 0; i < g->n; i++)
        if (!is_harmless_driver(g->fn[i]->driver))
            return err_reason(e, EBUSY, ERR_CLASS_BUSY, REASON_GROUP_NOT_VIABLE,
                              "IOMMU group %d: %s is bound to %s", g->id, PCI_STR(g->fn[i]->addr),
                              g->fn[i]->driver);
    return 0;
}
