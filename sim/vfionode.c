/* SPDX-License-Identifier: Apache-2.0
 *
 * VFIO of the simulated kernel: device registration, the nodes below /dev/vfio with their exclusion
 * rules, what opening and closing a device does to it. Follows drivers/vfio/{group,vfio_main,
 * device_cdev}.c of Linux 6.12. Caller holds the kernel's lock.
 *
 * ioctls arrive as bare numbers: VFIO's carry no size, so FUSE cannot fetch their argument. On a
 * group, VFIO_GROUP_GET_DEVICE_FD therefore opens every VFIO function of the group, as a VMM does;
 * the opened device is read and written through the group's or cdev's own file, at VFIO's region
 * offsets (region << 40).
 */
#include "sim/kernel_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef VFIO_DEVICE_BIND_IOMMUFD /* headers before Linux 6.6 */
#define VFIO_DEVICE_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)
#endif

#define REGION_SHIFT 40 /* VFIO_PCI_OFFSET_SHIFT */
#define REGION_BAR0 0
#define REGION_CONFIG 7

/* A front learns of close(2) a moment before the file is released; until then a prober would see a
 * holder that is already gone. */
#define SETTLE_NS UINT64_C(50000000)
#define SETTLE_CLOSING_NS UINT64_C(1000000000)

#define MAJOR_VFIO 240
#define MAJOR_VFIO_DEV 511

struct vmm {
    struct vmm *next;
    struct fn *fn;
    struct sim_file *file;
};

/* ---- the device behind a file ---- */

/* vfio_pci_core_enable(): the reset wants the device lock and does not wait for it, so while
 * somebody unbinds, resets or enables the device opening it fails with EAGAIN. */
static int
device_open(struct sim_kernel *k, struct fn *f, struct sim_file *file)
{
    if (f->locked)
        return -EAGAIN;
    f->holder = file;
    f->touched = false;
    f->opened++;
    /* wake, enable, pci_try_reset_function(), whose other failures are ignored */
    pm_wake(k, f);
    if (f->pstate != PS_D3COLD)
        f->pstate = PS_D0;
    sim_gpu_cfg_write(f->gpu, 4, 2, fn_cfg_read(f, 4, 2) | 0x2u);
    if (f->n_methods > 0)
        (void)fn_reset_by(k, f, f->methods[0]);
    k_changed(k);
    return 0;
}

static void
device_close(struct sim_kernel *k, struct fn *f)
{
    f->closing = true;
    if (f->n_methods > 0)
        (void)fn_reset_by(k, f, f->methods[0]);
    f->holder = NULL;
    f->closing = false;
    f->touched = false;
    pm_idle(k, f);
    k_changed(k);
}

/* Waits for closes that are under way, so that the closer itself sees their effect at once. */
void
vfio_settle(struct sim_kernel *k, const struct fn *f, const struct grp *g)
{
    uint64_t start = k_now(), until, now;

    for (;;) {
        const struct sim_file *h = f && f->holder ? f->holder : g ? g->file : NULL;
        const struct fn *o;

        now = k_now();
        until = 0;
        for (o = k->fns; g && o && !h; o = o->next)
            if (o->group == g && o->holder)
                h = o->holder;
        if (h && h->flushed_ns)
            until = h->flushed_ns + SETTLE_NS;
        for (o = k->fns; o; o = o->next)
            if (o->closing && (o == f || (g && o->group == g)))
                until = start + SETTLE_CLOSING_NS;
        if (until <= now || !k_wait(k, until))
            return;
    }
}

const char *
vfio_holder(const struct sim_kernel *k, const struct fn *f)
{
    static const char *const who[] = {"-", "open", "vmm", "group"};
    const struct vmm *v;

    for (v = k->vmms; v; v = v->next)
        if (v->fn == f)
            return who[2];
    if (f->holder || f->cdev_files)
        return who[1];
    return f->group && f->group->file ? who[3] : who[0];
}

/* ---- access through the open device ---- */

static struct fn *
held_fn(const struct sim_file *f)
{
    struct fn *o;

    for (o = f->k->fns; o; o = o->next)
        if (o->holder == f && !o->closing)
            return o;
    return NULL;
}

static ssize_t
region_io(struct sim_file *f, void *rd, const void *wr, size_t n, off_t off)
{
    struct fn *d = held_fn(f);
    uint32_t pos = (uint32_t)off, v = 0;
    int64_t region = (int64_t)off >> REGION_SHIFT;

    if (!d)
        return -EINVAL;
    if ((n != 1 && n != 2 && n != 4) || pos % n != 0)
        return -EINVAL;
    if (wr)
        memcpy(&v, wr, n);
    if (region == REGION_CONFIG && (off & 0xffffffff) < (off_t)SIM_PAGE) {
        if (wr)
            sim_gpu_cfg_write(d->gpu, pos, (unsigned)n, v);
        else
            v = fn_cfg_read(d, pos, (unsigned)n);
    } else if (region == REGION_BAR0 && n == 4 && pos < d->model->bar0_size) {
        d->touched = true; /* vfio_pci_core_setup_barmap() claims the region */
        if (wr && d->plugged)
            sim_gpu_bar_write(d->gpu, pos, v);
        else if (!wr)
            v = fn_bar_read(d, pos);
    } else {
        return -EINVAL;
    }
    if (rd)
        memcpy(rd, &v, n);
    return (ssize_t)n;
}

static ssize_t
node_read(struct sim_file *f, void *buf, size_t n, off_t off)
{
    return region_io(f, buf, NULL, n, off);
}

static ssize_t
node_write(struct sim_file *f, const void *buf, size_t n, off_t off)
{
    return region_io(f, NULL, buf, n, off);
}

static int
device_reset_ioctl(struct sim_file *f)
{
    struct fn *d = held_fn(f);

    return d ? fn_reset_by(f->k, d, RM_FLR) : -EINVAL;
}

/* ---- group node ---- */

static int
group_open(struct sim_file *f)
{
    struct grp *g = f->kn->priv;

    if (g->file || g->cdev_bound)
        vfio_settle(f->k, NULL, g);
    if (g->n_vfio == 0)
        return -ENODEV;
    if (g->file || g->cdev_bound)
        return -EBUSY;
    g->file = f;
    g->container = false;
    f->grp = g;
    return 0;
}

static int
group_get_devices(struct sim_file *f)
{
    struct fn *o;
    bool any = false;
    int r;

    if (!grp_viable(f->k, f->grp, NULL))
        return -EPERM;
    f->grp->container = true;
    for (o = f->k->fns; o; o = o->next) {
        if (o->group != f->grp || !o->registered)
            continue;
        any = true;
        r = o->holder ? 0 : device_open(f->k, o, f);
        if (r < 0)
            return r;
    }
    return any ? 0 : -ENODEV;
}

static int
group_ioctl(struct sim_file *f, unsigned long cmd)
{
    switch (cmd) {
    case VFIO_GROUP_GET_STATUS:
        return 0;
    case VFIO_GROUP_SET_CONTAINER:
        if (!grp_viable(f->k, f->grp, NULL))
            return -EPERM;
        f->grp->container = true;
        return 0;
    case VFIO_GROUP_UNSET_CONTAINER:
        f->grp->container = false;
        return 0;
    case VFIO_GROUP_GET_DEVICE_FD:
        return group_get_devices(f);
    case VFIO_DEVICE_RESET:
        return device_reset_ioctl(f);
    default:
        return -ENOTTY;
    }
}

static void
group_close(struct sim_file *f)
{
    struct fn *o;

    for (o = f->k->fns; o; o = o->next)
        if (o->holder == f)
            device_close(f->k, o);
    f->grp->file = NULL;
    f->grp->container = false;
    k_changed(f->k);
}

/* ---- cdev ---- */

static int
cdev_open(struct sim_file *f)
{
    struct fn *d = f->kn->fn;

    if (!d->registered)
        return -ENODEV;
    d->cdev_files++;
    return 0;
}

static int
cdev_bind(struct sim_file *f)
{
    struct fn *d = f->kn->fn;
    int r;

    if (d->holder || d->group->file)
        vfio_settle(f->k, d, d->group);
    if (f->cdev)
        return -EINVAL;
    if (d->group->file)
        return -EBUSY;
    if (d->holder)
        return -EINVAL;
    if (!grp_viable(f->k, d->group, NULL))
        return -EBUSY; /* iommu_device_claim_dma_owner() */
    f->cdev = true;
    d->group->cdev_bound++;
    r = device_open(f->k, d, f);
    if (r < 0) {
        f->cdev = false;
        d->group->cdev_bound--;
    }
    return r;
}

static int
cdev_ioctl(struct sim_file *f, unsigned long cmd)
{
    if (cmd == VFIO_DEVICE_BIND_IOMMUFD)
        return cdev_bind(f);
    if (cmd == VFIO_DEVICE_RESET)
        return device_reset_ioctl(f);
    return f->cdev ? -ENOTTY : -EINVAL; /* nothing works before the device is bound */
}

static void
cdev_close(struct sim_file *f)
{
    struct fn *d = f->kn->fn;
    struct grp *g = d->group;

    if (f->cdev) {
        device_close(f->k, d);
        g->cdev_bound--;
    }
    d->cdev_files--;
    k_changed(f->k);
}

/* ---- container ---- */

static int
container_ioctl(struct sim_file *f, unsigned long cmd)
{
    (void)f;
    switch (cmd) {
    case VFIO_GET_API_VERSION:
        return VFIO_API_VERSION;
    case VFIO_CHECK_EXTENSION:
        return 1;
    case VFIO_SET_IOMMU:
        return 0;
    default:
        return -ENOTTY;
    }
}

static const struct kn_ops group_ops = {.open = group_open,
                                        .ioctl = group_ioctl,
                                        .close = group_close,
                                        .read = node_read,
                                        .write = node_write};
static const struct kn_ops cdev_ops = {.open = cdev_open,
                                       .ioctl = cdev_ioctl,
                                       .close = cdev_close,
                                       .read = node_read,
                                       .write = node_write};
static const struct kn_ops container_ops = {.ioctl = container_ioctl};

void
vfio_module_loaded(struct sim_kernel *k)
{
    struct kn *dev = kn_mkdirs(k, "/dev/vfio");

    if (!kn_child(dev, "vfio"))
        kn_file(k, dev, "vfio", 0666, 0, &container_ops, NULL, NULL)->flags = KN_DEV | KN_STATIC;
    if (k->iommufd && !kn_child(dev->parent, "iommu"))
        kn_file(k, dev->parent, "iommu", 0660, 0, &container_ops, NULL, NULL)->flags =
            KN_DEV | KN_STATIC;
}

/* ---- registration ---- */

static ssize_t
devnum_show(struct sim_kernel *k, struct kn *n, char *buf, size_t size)
{
    const struct grp *g = n->priv;

    (void)k;
    return n->fn ? showf(buf, size, "%d:%d\n", MAJOR_VFIO_DEV, n->fn->cdev_id)
                 : showf(buf, size, "%d:%d\n", MAJOR_VFIO, g->id);
}

static const struct kn_ops devnum_ops = {.show = devnum_show};

static int
cdev_id_free(struct sim_kernel *k)
{
    const struct fn *f;
    int id;

    for (id = 0;; id++) {
        for (f = k->fns; f && f->cdev_id != id; f = f->next)
            ;
        if (!f)
            return id;
    }
}

static void
group_node_add(struct sim_kernel *k, struct grp *g)
{
    struct kn *dev = kn_mkdirs(k, "/dev/vfio"), *cls = kn_mkdirs(k, "/sys/class/vfio");
    char name[32], path[64];

    (void)snprintf(name, sizeof(name), "%d", g->id);
    (void)snprintf(path, sizeof(path), "/devices/virtual/vfio/%d", g->id);
    g->node = kn_file(k, dev, name, 0600, 0, &group_ops, NULL, g);
    g->node->flags = KN_DEV;
    g->class_dir = kn_dir(k, kn_mkdirs(k, "/sys/devices/virtual/vfio"), name, 0);
    (void)kn_file(k, g->class_dir, "dev", 0444, SIM_PAGE, &devnum_ops, NULL, g);
    (void)kn_link_to(k, g->class_dir, "subsystem", cls);
    (void)kn_link_to(k, cls, name, g->class_dir);
    uevent_put(k, "add", path, "SUBSYSTEM=vfio\nMAJOR=%d\nMINOR=%d\nDEVNAME=vfio/%d", MAJOR_VFIO,
               g->id, g->id);
}

static void
group_node_remove(struct sim_kernel *k, struct grp *g)
{
    char name[32], path[64];

    (void)snprintf(name, sizeof(name), "%d", g->id);
    (void)snprintf(path, sizeof(path), "/devices/virtual/vfio/%d", g->id);
    kn_remove_child(kn_mkdirs(k, "/sys/class/vfio"), name);
    kn_remove(g->class_dir);
    kn_remove(g->node);
    g->class_dir = g->node = NULL;
    uevent_put(k, "remove", path, "SUBSYSTEM=vfio\nMAJOR=%d\nMINOR=%d\nDEVNAME=vfio/%d", MAJOR_VFIO,
               g->id, g->id);
}

static void
cdev_uevent(struct sim_kernel *k, const struct fn *f, const char *action)
{
    char buf[512], path[600];

    (void)snprintf(path, sizeof(path), "%s/vfio-dev/vfio%d",
                   kn_path(f->dir, buf, sizeof(buf)) + strlen("/sys"), f->cdev_id);
    if (k->iommufd)
        uevent_put(k, action, path,
                   "SUBSYSTEM=vfio-dev\nMAJOR=%d\nMINOR=%d\nDEVNAME=vfio/devices/vfio%d",
                   MAJOR_VFIO_DEV, f->cdev_id, f->cdev_id);
    else
        uevent_put(k, action, path, "SUBSYSTEM=vfio-dev");
}

static void
cdev_add(struct sim_kernel *k, struct fn *f)
{
    struct kn *cls = kn_mkdirs(k, "/sys/class/vfio-dev"), *dir, *devs;
    char name[32];

    f->cdev_id = cdev_id_free(k);
    (void)snprintf(name, sizeof(name), "vfio%d", f->cdev_id);
    dir = kn_dir(k, kn_dir(k, f->dir, "vfio-dev", 0), name, 0);
    (void)kn_link_to(k, dir, "device", f->dir);
    (void)kn_link_to(k, dir, "subsystem", cls);
    (void)kn_link_to(k, cls, name, dir);
    if (k->iommufd) {
        (void)kn_file(k, dir, "dev", 0444, SIM_PAGE, &devnum_ops, f, NULL);
        devs = kn_dir(k, kn_mkdirs(k, "/dev/vfio"), "devices", 0);
        f->cdev_node = kn_file(k, devs, name, 0600, 0, &cdev_ops, f, NULL);
        f->cdev_node->flags = KN_DEV;
    }
    cdev_uevent(k, f, "add");
}

static void
cdev_remove(struct sim_kernel *k, struct fn *f)
{
    struct kn *devs = kn_child(kn_mkdirs(k, "/dev/vfio"), "devices");
    char name[32];

    cdev_uevent(k, f, "remove");
    (void)snprintf(name, sizeof(name), "vfio%d", f->cdev_id);
    kn_remove_child(kn_mkdirs(k, "/sys/class/vfio-dev"), name);
    kn_remove_child(f->dir, "vfio-dev");
    kn_remove(f->cdev_node);
    f->cdev_node = NULL;
    if (devs && !devs->child)
        kn_remove(devs); /* devtmpfs removes a directory that it made and that is empty */
}

int
vfio_register(struct sim_kernel *k, struct fn *f)
{
    if (!f->group)
        return -EINVAL;
    if (f->group->n_vfio++ == 0)
        group_node_add(k, f->group);
    cdev_add(k, f);
    f->registered = true;
    return 0;
}

/* vfio_unregister_group_dev(): 1. no new opens, the cdev goes; 2. wait for every user; 3. the group
 * node goes with its last device. */
void
vfio_unregister(struct sim_kernel *k, struct fn *f)
{
    struct grp *g = f->group;

    f->registered = false;
    cdev_remove(k, f);
    while (f->holder || f->cdev_files)
        if (!k_wait(k, UINT64_MAX))
            return;
    f->cdev_id = -1;
    if (--g->n_vfio == 0)
        group_node_remove(k, g);
    k_changed(k);
}

/* ---- the VMM stand-in of the control commands ---- */

int
vmm_open(struct sim_kernel *k, struct fn *f, bool group, bool touch)
{
    struct kn *n = group ? (f->group ? f->group->node : NULL) : f->cdev_node;
    struct vmm *v;
    int r;

    if (!n || !f->registered)
        return -ENODEV;
    v = calloc(1, sizeof(*v));
    if (!v)
        return -ENOMEM;
    v->fn = f;
    kn_ref(n);
    r = k_open_kn(k, n, O_RDWR, &v->file);
    kn_unref(n);
    if (r == 0) {
        r = n->ops->ioctl(v->file, group ? VFIO_GROUP_GET_DEVICE_FD : VFIO_DEVICE_BIND_IOMMUFD);
        if (r == 0) {
            f->touched = touch;
            v->next = k->vmms;
            k->vmms = v;
            return 0;
        }
        n->ops->close(v->file);
        kn_unref(v->file->kn);
        free(v->file);
    }
    free(v);
    return r;
}

int
vmm_close(struct sim_kernel *k, struct fn *f)
{
    struct vmm **at, *v;

    for (at = &k->vmms; *at; at = &(*at)->next)
        if ((*at)->fn == f)
            break;
    v = *at;
    if (!v)
        return -ENOENT;
    *at = v->next;
    v->file->kn->ops->close(v->file);
    kn_unref(v->file->kn);
    free(v->file->text);
    free(v->file);
    free(v);
    return 0;
}

void
vmm_free_all(struct sim_kernel *k)
{
    while (k->vmms)
        (void)vmm_close(k, k->vmms->fn);
}
