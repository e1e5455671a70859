/* SPDX-License-Identifier: Apache-2.0
 *
 * Units, claim rules and the standing obstacles of a unit. No state.
 */
#include "hwd/unit.h"

#include "base/cleanup.h"
#include "base/hw.h"
#include "vfio/group.h"

#include <errno.h>
#include <string.h>

#define VENDOR_NVIDIA 0x10de

void
hwd_scan_free(struct hwd_scan *s)
{
    if (!s)
        return;
    free(s->inv.fn);
    free(s->former);
    free(s);
}

void
hwd_units_free(struct hwd_units *u)
{
    if (!u)
        return;
    free(u->u);
    free(u);
}

const struct hwd_unit *
hwd_units_find(const struct hwd_units *u, struct pci_addr a)
{
    for (unsigned i = 0; i < u->n; i++)
        if (pci_addr_cmp(u->u[i].addr, a) == 0)
            return &u->u[i];
    return NULL;
}

/* ---- claim ---- */

static bool
claim_names(const struct hwd_config *cfg, struct pci_addr a, const char *driver)
{
    for (size_t i = 0; i < cfg->claim.n; i++) {
        const char *c = cfg->claim.v[i];
        struct pci_addr ca;

        if (pci_addr_parse(c, &ca)) {
            if (pci_addr_cmp(ca, a) == 0)
                return true;
        } else if (strcmp(c, "unbound") == 0) {
            if (!driver[0])
                return true;
        } else if (strcmp(c, "vfio") == 0) {
            if (vfio_is_vfio_driver(driver))
                return true;
        } else if (driver[0] && strcmp(c, driver) == 0) {
            return true;
        }
    }
    return false;
}

int
hwd_claim_check(const struct hwd_config *cfg, struct pci_addr a, const char *driver,
                const struct hwd_former *former, struct err *e)
{
    for (size_t i = 0; i < cfg->exclude.n; i++) {
        struct pci_addr x;

        if (pci_addr_parse(cfg->exclude.v[i], &x) && pci_addr_cmp(x, a) == 0)
            return err_reason(e, EPERM, ERR_CLASS_INVALID, REASON_NOT_CLAIMED,
                              "%s is listed in `exclude`", PCI_STR(a));
    }
    /* A device that we took from a claimed driver stays claimed while it is on a VFIO driver. */
    if (claim_names(cfg, a, driver) || (former && former->known && vfio_is_vfio_driver(driver) &&
                                        claim_names(cfg, a, former->driver)))
        return 0;
    if (driver[0] && !vfio_is_vfio_driver(driver))
        return err_reason(e, EPERM, ERR_CLASS_INVALID, REASON_DRIVER_IN_USE,
                          "%s is bound to %s, which `claim` does not name", PCI_STR(a), driver);
    return err_reason(e, EPERM, ERR_CLASS_INVALID, REASON_NOT_CLAIMED, "%s (%s) is not claimed",
                      PCI_STR(a), driver[0] ? driver : "unbound");
}

/* ---- units ---- */

static bool
is_primary(const struct vfio_fn *f)
{
    return f->kind == VFIO_KIND_GPU || f->kind == VFIO_KIND_NVSWITCH;
}

static bool
is_companion(const struct vfio_fn *f, const struct vfio_fn *of)
{
    return f->kind == VFIO_KIND_OTHER && f->vendor == VENDOR_NVIDIA && !f->is_vf &&
           f->addr.domain == of->addr.domain && f->addr.bus == of->addr.bus &&
           f->addr.dev == of->addr.dev;
}

static bool
in_unit(const struct hwd_unit *u, struct pci_addr a)
{
    for (unsigned i = 0; i < u->n_fn; i++)
        if (pci_addr_cmp(u->fn[i], a) == 0)
            return true;
    return false;
}

static const struct hwd_former *
former_of(const struct hwd_scan *s, const struct vfio_fn *f)
{
    return s->former ? &s->former[f - s->inv.fn] : NULL;
}

/* Functions of the group that are in nobody's hands but the host's. Siblings of a gang may still be
 * on a claimed driver: their own preparation takes them. */
static int
check_strangers(const struct hwd_unit *u, const struct vfio_group *g, const struct hwd_scan *s,
                const struct hwd_config *cfg, struct err *e)
{
    for (unsigned i = 0; i < g->n; i++) {
        const struct vfio_fn *f = g->fn[i];
        struct err ignored = ERR_INIT;

        if (in_unit(u, f->addr) || !f->driver[0] || vfio_is_vfio_driver(f->driver) ||
            strcmp(f->driver, "pci-stub") == 0)
            continue;
        if (is_primary(f) &&
            hwd_claim_check(cfg, f->addr, f->driver, former_of(s, f), &ignored) == 0)
            continue;
        return err_reason(e, EPERM, ERR_CLASS_INVALID, REASON_GROUP_NOT_VIABLE,
                          "%s: %s in the same IOMMU group %d is bound to %s", PCI_STR(u->addr),
                          PCI_STR(f->addr), g->id, f->driver);
    }
    return 0;
}

static int
check_node(const struct hwd_unit *u, const struct vfio_fn *p, const struct hwd_scan *s,
           const struct hwd_config *cfg, struct err *e)
{
    bool bound = vfio_is_vfio_driver(p->driver);

    if (!bound && cfg->manage == HWD_MANAGE_VERIFY)
        return err_reason(e, ENODEV, ERR_CLASS_INVALID, REASON_NOT_BOUND,
                          "%s is %s%s, and `manage: verify` binds nothing", PCI_STR(u->addr),
                          p->driver[0] ? "bound to " : "unbound", p->driver);
    if (!bound && !s->vfio_ready)
        return err_reason(e, ENOENT, ERR_CLASS_INVALID, REASON_VFIO_PCI_NOT_LOADED,
                          "%s cannot be bound: the vfio-pci driver is not loaded",
                          PCI_STR(u->addr));
    if (cfg->vfio_node == HWD_NODE_CDEV && (bound ? p->cdev < 0 : !s->iommufd))
        return err_reason(e, ENODEV, ERR_CLASS_INVALID, REASON_NO_CDEV,
                          "%s has no VFIO character device: %s", PCI_STR(u->addr),
                          s->iommufd ? "the driver made none" : "the host has no iommufd");
    return 0;
}

/* Confidential mode on a part with a chip-to-chip link is refused whatever state it is in; only an
 * operator who allows mode "off" has a use for one. */
static int
check_chip(const struct hwd_unit *u, const struct vfio_fn *p, const struct hwd_config *cfg,
           struct err *e)
{
    const struct hw_dev ids = {
        .addr = p->addr,
        .vendor = p->vendor,
        .device = p->device,
        .subsys_vendor = p->subsys_vendor,
        .subsys_device = p->subsys_device,
        .class_code = p->class_code,
    };

    if (!u->chip)
        return err_reason(e, ENODEV, ERR_CLASS_INVALID, REASON_CHIP_UNKNOWN,
                          "%s: device %04x:%04x class %06x is no known chip", PCI_STR(p->addr),
                          p->vendor, p->device, p->class_code);
    if (p->kind == VFIO_KIND_NVSWITCH || hwd_config_mode_allowed(cfg, CC_MODE_OFF))
        return 0;
    return cc_mode_check(&ids, u->chip, CC_MODE_ON, e);
}

int
hwd_unit_check(const struct hwd_unit *u, const struct hwd_scan *s, const struct hwd_config *cfg,
               struct err *e)
{
    const struct vfio_fn *p = vfio_find(&s->inv, u->addr);
    struct vfio_group g;
    int r;

    if (!p)
        return err_reason(e, ENODEV, ERR_CLASS_HW, REASON_DEVICE_GONE, "%s is not on the bus",
                          PCI_STR(u->addr));
    if (p->reason != REASON_NONE)
        return err_reason(e, EIO, ERR_CLASS_HW, p->reason, "%s: %s", PCI_STR(p->addr), p->text);
    r = check_chip(u, p, cfg, e);
    if (r < 0)
        return r;
    r = hwd_claim_check(cfg, p->addr, p->driver, former_of(s, p), e);
    if (r < 0)
        return r;
    r = vfio_group_of(&s->inv, p, &g, e);
    if (r < 0)
        return r;
    r = vfio_group_shape(&g, e);
    if (r < 0)
        return r;
    r = check_strangers(u, &g, s, cfg, e);
    if (r < 0)
        return r;
    return check_node(u, p, s, cfg, e);
}

static void
fill_facts(struct hwd_unit *u, const struct vfio_fn *p, const struct hwd_scan *s,
           const struct hwd_config *cfg)
{
    struct hwd_facts *f = &u->facts;
    const struct hwd_former *former = former_of(s, p);
    struct err e = ERR_INIT;
    bool bound = true;

    f->unit = p->addr;
    f->vendor = p->vendor;
    f->device = p->device;
    f->subsys_vendor = p->subsys_vendor;
    f->subsys_device = p->subsys_device;
    f->class_code = p->class_code;
    f->kind = p->kind == VFIO_KIND_GPU ? HWD_KIND_GPU : HWD_KIND_NVSWITCH;
    f->numa_node = p->numa_node;
    f->iommu_group = p->iommu_group;
    f->cdev = p->cdev;
    f->gang_size = 1;
    f->mode_active = f->mode_configured = CC_MODE_UNKNOWN;
    (void)str_copy(f->chip, sizeof(f->chip), u->chip ? cc_chip_name(u->chip) : "");
    (void)str_copy(f->model, sizeof(f->model), p->name);
    (void)str_copy(f->driver, sizeof(f->driver), p->driver);
    if (former && former->known)
        (void)str_copy(f->former_driver, sizeof(f->former_driver), former->driver);
    for (unsigned i = 0; i < u->n_fn; i++) {
        const struct vfio_fn *m = vfio_find(&s->inv, u->fn[i]);

        bound = bound && m && vfio_is_vfio_driver(m->driver);
    }
    if (bound)
        f->flags |= HWD_FACT_BOUND;
    if (s->iommufd)
        f->flags |= HWD_FACT_IOMMUFD;
    if (!bound ||
        vfio_node_path(p, cfg->vfio_node == HWD_NODE_GROUP, f->node, sizeof(f->node), &e) < 0)
        f->node[0] = '\0';
    err_clear(&e);
    if (f->node[0]) {
        struct vfio_devnum num = vfio_node_num(p, cfg->vfio_node == HWD_NODE_GROUP);

        f->node_major = num.major;
        f->node_minor = num.minor;
    }
    if (hwd_claim_check(cfg, p->addr, p->driver, former, &e) == 0)
        f->flags |= HWD_FACT_CLAIMED;
    err_clear(&e);
    if (hwd_unit_check(u, s, cfg, &e) < 0) {
        f->reason = (uint32_t)(e.reason ? e.reason : REASON_INTERNAL);
        (void)snprintf(f->text, sizeof(f->text), "%.*s", (int)sizeof(f->text) - 1, e.msg);
    }
}

int
hwd_units_build(const struct hwd_scan *s, const struct hwd_config *cfg, struct hwd_units **ret,
                struct err *e)
{
    struct hwd_units *us = calloc(1, sizeof(*us));

    if (us)
        us->u = calloc(s->inv.n ? s->inv.n : 1, sizeof(*us->u));
    if (!us || !us->u) {
        hwd_units_free(us);
        return err_errno(e, ENOMEM, ERR_CLASS_RETRY, "list units");
    }
    for (unsigned i = 0; i < s->inv.n; i++) {
        const struct vfio_fn *p = &s->inv.fn[i];
        struct hwd_unit *u = &us->u[us->n];

        /* A virtual function is no unit of its own: its GPU says VFS_ENABLED. */
        if (!is_primary(p) || p->is_vf)
            continue;
        us->n++;
        u->addr = p->addr;
        u->fn[u->n_fn++] = p->addr;
        for (unsigned j = 0; j < s->inv.n && u->n_fn < HWD_UNIT_FNS_MAX; j++)
            if (is_companion(&s->inv.fn[j], p))
                u->fn[u->n_fn++] = s->inv.fn[j].addr;
        u->chip = cc_chip_find(p->vendor, p->device, p->class_code);
        fill_facts(u, p, s, cfg);
    }
    for (unsigned i = 0; i < us->n; i++)
        for (unsigned j = 0; j < us->n; j++)
            if (i != j && us->u[i].facts.iommu_group >= 0 &&
                us->u[i].facts.iommu_group == us->u[j].facts.iommu_group)
                us->u[i].facts.gang_size++;
    *ret = us;
    return 0;
}
