/* SPDX-License-Identifier: Apache-2.0
 *
 * The driver core of the simulated kernel: which driver matches, bind, unbind, probe, remove,
 * rescan. Follows drivers/base/{bus,dd}.c and drivers/pci/{pci-driver,remove}.c of Linux 6.12.
 * Caller holds the kernel's lock; functions block without it.
 */
#include "sim/kernel_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Typical durations measured on Linux 6.12 with an emulated H100, in milliseconds. */
#define MS_BIND 20
#define MS_UNBIND 60
#define MS_RESCAN 100

#define VENDOR_NVIDIA 0x10de

/* Drivers that a node may have; class match as in their own ID tables. */
static const struct {
    const char *name;
    bool vfio, harmless;
    uint32_t class_want, class_mask;
    uint16_t vendor;
} known[] = {
    {"vfio-pci", true, false, 0, 0, 0},
    {"pci-stub", false, true, 0, 0, 0},
    {"pcieport", false, true, 0x060400, 0xffff00, 0},
    {"nvidia", false, false, 0x030000, 0xff0000, VENDOR_NVIDIA},
    {"nouveau", false, false, 0x030000, 0xff0000, VENDOR_NVIDIA},
    {"nvidia-nvswitch", false, false, 0x068000, 0xffff00, VENDOR_NVIDIA},
    {"snd_hda_intel", false, false, 0x040300, 0xffff00, 0},
    {"xhci_hcd", false, false, 0x0c0300, 0xffff00, 0},
};

/* ---- drivers ---- */

struct drv *
drv_find(struct sim_kernel *k, const char *name)
{
    struct drv *d;

    for (d = k->drvs; d; d = d->next)
        if (d->dir && strcmp(d->name, name) == 0)
            return d;
    return NULL;
}

static struct drv *
drv_register(struct sim_kernel *k, const char *name)
{
    struct drv *d = drv_find(k, name), **at;
    size_t i;

    if (d)
        return d;
    d = calloc(1, sizeof(*d));
    if (!d)
        abort();
    (void)snprintf(d->name, sizeof(d->name), "%s", name);
    /* variant drivers (nvgrace_gpu_vfio_pci, mlx5_vfio_pci) match by driver_override only */
    d->vfio = strstr(name, "vfio") != NULL;
    for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(known[i].name, name) == 0) {
            d->vfio = known[i].vfio;
            d->harmless = known[i].harmless;
            d->class_want = known[i].class_want;
            d->class_mask = known[i].class_mask;
            d->vendor_want = known[i].vendor;
        }
    for (at = &k->drvs; *at; at = &(*at)->next)
        ;
    *at = d;
    sysfs_driver_files(k, d);
    if (d->vfio)
        vfio_module_loaded(k);
    return d;
}

/* pci_match_device(): the override decides alone where there is one, then dynamic IDs, then the
 * driver's own table. */
bool
drv_match(const struct drv *d, const struct fn *f)
{
    const struct sim_model *m = f->model;
    unsigned i;

    if (f->override)
        return strcmp(f->override, d->name) == 0;
    for (i = 0; i < d->n_id; i++)
        if (d->id[i].vendor == m->vendor && d->id[i].device == m->device &&
            ((m->class_code ^ d->id[i].class_code) & d->id[i].class_mask) == 0)
            return true;
    if (d->class_mask == 0 || (d->vendor_want && d->vendor_want != m->vendor))
        return false;
    return (m->class_code & d->class_mask) == d->class_want;
}

struct drv *
drv_load(struct sim_kernel *k, const char *name)
{
    struct drv *d = drv_find(k, name);
    struct fn *f;

    if (d)
        return d;
    if (strcmp(name, "vfio-pci") == 0)
        k->stay_d0 = k->disable_idle_d3; /* vfio_pci_core_set_params() */
    d = drv_register(k, name);
    for (f = k->fns; f; f = f->next) {
        if (!f->dir || f->drv || !drv_match(d, f))
            continue;
        if (fn_lock(k, f) < 0)
            break;
        if (f->dir && !f->drv && drv_match(d, f))
            (void)core_attach(k, d, f);
        fn_unlock(k, f);
    }
    return d;
}

int
drv_unload(struct sim_kernel *k, const char *name)
{
    struct drv *d = drv_find(k, name);
    struct fn *f;

    if (!d)
        return -ENOENT;
    for (f = k->fns; f; f = f->next)
        if (f->drv == d && (f->holder || f->cdev_files))
            return -EBUSY; /* the module's use count */
    for (f = k->fns; f; f = f->next)
        if (f->drv == d)
            (void)core_detach(k, f);
    kn_remove(d->dir);
    d->dir = NULL;
    if (strcmp(name, "vfio-pci") == 0)
        k->disable_idle_d3 = false; /* parameters go with their module */
    k_changed(k);
    return 0;
}

/* ---- bind and unbind ---- */

static void
link_driver(struct sim_kernel *k, struct fn *f, struct drv *d)
{
    if (!fn_attr_missing(f, "driver"))
        (void)kn_link_to(k, f->dir, "driver", d->dir);
    (void)kn_link_to(k, d->dir, f->name, f->dir);
}

static void
unlink_driver(struct fn *f)
{
    kn_remove_child(f->dir, "driver");
    if (f->drv->dir)
        kn_remove_child(f->drv->dir, f->name);
}

static int
probe_vfio(struct sim_kernel *k, struct fn *f)
{
    int r = vfio_register(k, f);

    if (r < 0)
        return r;
    /* vfio_pci_core_register_device(): to D0 from whatever it was; then runtime PM is allowed, so
     * that an idle device sleeps */
    pm_wake(k, f);
    if (f->pstate != PS_D3COLD)
        f->pstate = PS_D0;
    f->pm_auto = true;
    f->idle_d3 = !k->stay_d0;
    pm_idle(k, f);
    return 0;
}

static void
probe_host_driver(struct fn *f)
{
    f->enable_cnt = 1;
    f->pstate = PS_D0;
    sim_gpu_set_power(f->gpu, 0);
    /* memory decode and bus mastering, as pci_enable_device() and pci_set_master() leave it */
    sim_gpu_cfg_write(f->gpu, 4, 2, fn_cfg_read(f, 4, 2) | 0x6u);
}

int
core_attach(struct sim_kernel *k, struct drv *d, struct fn *f)
{
    int r = 0;

    if (!f->dir || !d->dir)
        return -ENODEV;
    if (f->drv)
        return -EBUSY;
    if (d->vfio && (f->is_bridge || !f->group))
        return -EINVAL; /* vfio-pci takes endpoints only, and none without a group */
    if (!d->vfio && !d->harmless && f->group && grp_user_owned(k, f->group)) {
        vfio_settle(k, NULL, f->group);
        if (!f->dir || grp_user_owned(k, f->group))
            return -EBUSY; /* iommu_device_use_default_domain() */
    }
    f->drv = d;
    link_driver(k, f, d);
    k_delay_ms(k, MS_BIND);
    if (d->vfio)
        r = probe_vfio(k, f);
    else
        probe_host_driver(f);
    if (r < 0) {
        unlink_driver(f);
        f->drv = NULL;
        return r;
    }
    uevent_fn(k, f, "bind");
    k_changed(k);
    return 0;
}

void
core_boot_bind(struct sim_kernel *k, struct fn *f, const char *driver)
{
    struct drv *d = drv_register(k, driver);
    double scale = k->scale;

    if (f->drv)
        return;
    if (d->vfio && !f->override && !(f->override = strdup(driver)))
        abort(); /* as driverctl leaves it */
    k->scale = 0;
    (void)core_attach(k, d, f);
    k->scale = scale;
}

/* The result is that of writing drivers_probe: what the driver's probe says stays hidden. */
int
core_probe_any(struct sim_kernel *k, struct fn *f)
{
    struct drv *d;
    int r = 0;

    if (f->drv)
        return 0; /* also while an unbind is still pending: seen on Linux 6.12 */
    if (fn_lock(k, f) < 0)
        return -ENODEV;
    for (d = k->drvs; d && f->dir && !f->drv; d = d->next) {
        if (!d->dir || !drv_match(d, f))
            continue;
        r = core_attach(k, d, f);
        if (r == 0)
            break;
        /* a group owned by a VFIO user is the one refusal that shows */
        r = r == -EBUSY ? -EINVAL : 0;
    }
    fn_unlock(k, f);
    return r;
}

/* __device_release_driver(): 1. the links go at once, 2. the driver's remove runs, which for
 * vfio-pci waits for every user of the device, 3. the device is without a driver. */
int
core_detach(struct sim_kernel *k, struct fn *f)
{
    struct drv *d;

    if (fn_lock(k, f) < 0)
        return -ENODEV;
    d = f->drv;
    if (!d || !f->dir) {
        fn_unlock(k, f);
        return 0;
    }
    unlink_driver(f);
    if (d->vfio)
        vfio_unregister(k, f);
    if (k->stopping) {
        fn_unlock(k, f);
        return -ENODEV;
    }
    pm_wake(k, f); /* pm_runtime_forbid() */
    k_delay_ms(k, MS_UNBIND);
    f->pm_auto = false;
    f->idle_d3 = false;
    f->enable_cnt = 0;
    f->pstate = PS_UNKNOWN; /* pci_device_remove() forgets D0 */
    if (!f->holder)
        f->touched = false;
    f->drv = NULL;
    uevent_fn(k, f, "unbind");
    fn_unlock(k, f);
    return 0;
}

/* ---- remove and rescan ---- */

/* pci_lock_rescan_remove(): one for the whole system, so a blocked remove blocks every other. */
int
core_rescan_lock(struct sim_kernel *k)
{
    while (k->rescan_locked)
        if (!k_wait(k, UINT64_MAX))
            return -ENODEV;
    k->rescan_locked = true;
    return k->stopping ? -ENODEV : 0;
}

void
core_rescan_unlock(struct sim_kernel *k)
{
    k->rescan_locked = false;
    k_changed(k);
}

int
core_remove(struct sim_kernel *k, struct fn *f)
{
    struct fn *c;
    struct err e = ERR_INIT;
    int r;

    for (c = k->fns; c; c = c->next)
        if (c->bridge == f && c->dir) {
            r = core_remove(k, c);
            if (r < 0)
                return r;
        }
    r = core_detach(k, f);
    if (r < 0)
        return r;
    if (f->num_vfs > 0)
        (void)fn_set_vfs(k, f, 0, &e);
    if (f->dir)
        fn_withdraw(k, f);
    return 0;
}

int
core_rescan(struct sim_kernel *k)
{
    struct fn *f;
    bool found = true;
    int r = core_rescan_lock(k);

    if (r < 0)
        return r;
    k_delay_ms(k, MS_RESCAN);
    /* until nothing new appears: a bridge may come after what is behind it */
    while (found) {
        found = false;
        for (f = k->fns; f; f = f->next) {
            if (!f->plugged || f->dir || f->pf || (f->bridge && !f->bridge->dir))
                continue;
            fn_enumerate(k, f, true);
            found = true;
            if (k->autoprobe)
                (void)core_probe_any(k, f);
        }
    }
    core_rescan_unlock(k);
    return 0;
}
