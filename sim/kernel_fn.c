/* SPDX-License-Identifier: Apache-2.0
 *
 * PCI functions of the simulated kernel: made from a specification, enumerated into the tree,
 * withdrawn from it, and their virtual functions. Caller holds the kernel's lock.
 */
#include "sim/kernel_priv.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLASS_BRIDGE 0x06
#define COMMAND_FIRMWARE 0x0103u /* as firmware leaves it: I/O, memory, SERR; measured */
#define VF_OFFSET 4u             /* First VF Offset of the SR-IOV capability */
#define VFS_MAX 64u

static uint64_t
gpu_clock(void *ctx)
{
    (void)ctx;
    return k_now();
}

struct fn *
fn_at(struct sim_kernel *k, struct pci_addr a)
{
    struct fn *f;

    for (f = k->fns; f; f = f->next)
        if (pci_addr_cmp(f->addr, a) == 0)
            return f;
    return NULL;
}

struct fn *
fn_find(struct sim_kernel *k, const char *name)
{
    struct fn *f;

    for (f = k->fns; f; f = f->next)
        if (f->dir && strcmp(f->name, name) == 0)
            return f;
    return NULL;
}

bool
fn_attr_missing(const struct fn *f, const char *attr)
{
    return name_in_list(f->missing, attr);
}

int
fn_lock(struct sim_kernel *k, struct fn *f)
{
    while (f->locked)
        if (!k_wait(k, UINT64_MAX))
            return -ENODEV;
    if (k->stopping)
        return -ENODEV;
    f->locked = true;
    return 0;
}

void
fn_unlock(struct sim_kernel *k, struct fn *f)
{
    f->locked = false;
    k_changed(k);
}

/* ---- made and freed ---- */

static void
access_forward(void *ctx, const struct sim_access *a)
{
    struct fn *f = ctx;

    if (f->k->on_access)
        f->k->on_access(f->k->access_ctx, f->addr, a);
}

void
sim_k_on_access(struct sim_kernel *k,
                void (*cb)(void *ctx, struct pci_addr a, const struct sim_access *acc), void *ctx)
{
    struct fn *f;

    k_lock(k);
    k->on_access = cb;
    k->access_ctx = ctx;
    for (f = k->fns; f; f = f->next)
        sim_gpu_trace(f->gpu, cb ? access_forward : NULL, f);
    k_unlock(k);
}

static int
make_gpu(struct sim_kernel *k, struct fn *f, struct err *e)
{
    struct sim_gpu_params p = {
        .model = f->model, .now_ns = gpu_clock, .time_scale = k->scale, .booted = true};
    char path[4096];
    int r;

    if (k->state_dir && f->model->kind != SIM_PLAIN) {
        (void)snprintf(path, sizeof(path), "%s/%s.nvram", k->state_dir, f->name);
        p.nvram_path = path;
    }
    r = sim_gpu_new(&p, &f->gpu, e);
    if (r < 0)
        return err_prefix(e, "make function %s", f->name);
    sim_gpu_cfg_write(f->gpu, 4, 2, COMMAND_FIRMWARE);
    if (k->on_access)
        sim_gpu_trace(f->gpu, access_forward, f);
    return 0;
}

static void
set_reset_methods(struct fn *f)
{
    bool plain = f->model->kind == SIM_PLAIN && !f->pf && strcmp(f->model_name, "nic") != 0;

    if (f->is_bridge)
        return;
    f->methods_supported = plain ? RM_BUS : RM_FLR | RM_BUS;
    if (f->pf)
        f->methods_supported = RM_FLR;
}

static void
insert_sorted(struct sim_kernel *k, struct fn *f)
{
    struct fn **at;

    for (at = &k->fns; *at && pci_addr_cmp((*at)->addr, f->addr) < 0; at = &(*at)->next)
        ;
    f->next = *at;
    *at = f;
}

static char *
copy_list(const char *s)
{
    char *d = strdup(s ? s : "");

    if (!d)
        abort();
    return d;
}

void
fn_free(struct fn *f)
{
    if (!f)
        return;
    sim_gpu_free(f->gpu);
    free(f->missing);
    free(f->garbage);
    free(f->override);
    free(f);
}

static int
place(struct sim_kernel *k, struct fn *f, const struct sim_fn_spec *s, struct err *e)
{
    const struct fn *top = f;
    int r = 0;

    if (f->pf)
        f->bridge = f->pf->bridge;
    else if (!f->is_bridge && f->addr.bus != 0 && !s->on_root_bus)
        r = topo_bridge_for(k, f, e);
    if (r < 0)
        return r;
    if (f->bridge)
        top = f->bridge;
    (void)snprintf(f->root_bus, sizeof(f->root_bus), "pci%04x:%02x", top->addr.domain,
                   top->addr.bus);
    f->group_id = s->group == -1 ? grp_fresh(k) : s->group;
    if (f->group_id >= 0)
        (void)grp_get(k, f->group_id);
    return 0;
}

int
fn_new(struct sim_kernel *k, const struct sim_fn_spec *s, struct fn *pf, struct fn **ret,
       struct err *e)
{
    const struct sim_model *m = pf ? pf->model : sim_model_find(s->model ? s->model : "");
    struct fn *f;
    int r;

    if (!m)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "make function %s: no such model \"%s\"",
                       PCI_STR(s->addr), s->model ? s->model : "");
    if (fn_at(k, s->addr))
        return err_set(e, EEXIST, ERR_CLASS_INVALID, "make function %s: the address is taken",
                       PCI_STR(s->addr));
    f = calloc(1, sizeof(*f));
    if (!f)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "make function: out of memory");
    f->k = k;
    f->addr = s->addr;
    (void)pci_addr_str(s->addr, f->name);
    f->model = m;
    if (pf) {
        f->vf_model = *m;
        f->vf_model.kind = SIM_PLAIN;
        f->vf_model.bar2_size = f->vf_model.bar4_size = 0;
        f->model = &f->vf_model;
        f->pf = pf;
    }
    (void)snprintf(f->model_name, sizeof(f->model_name), "%s%s", m->name, pf ? " VF" : "");
    f->is_bridge = m->class_code >> 16 == CLASS_BRIDGE && ((m->class_code >> 8) & 0xff) == 4;
    f->numa = s->numa_node;
    f->plugged = true;
    f->cdev_id = -1;
    f->missing = copy_list(s->missing);
    f->garbage = copy_list(s->garbage);
    f->total_vfs = s->num_vfs > 0 ? VFS_MAX : 0;
    set_reset_methods(f);
    r = make_gpu(k, f, e);
    if (r == 0)
        r = place(k, f, s, e);
    if (r < 0) {
        fn_free(f);
        return r;
    }
    insert_sorted(k, f);
    topo_assign_bars(k, f);
    *ret = f;
    return 0;
}

/* ---- in and out of the tree ---- */

/* device_link_add() between a GPU and its companions, as the quirk for NVIDIA's audio makes it. */
static void
link_companion(struct sim_kernel *k, struct fn *gpu, struct fn *c)
{
    char name[96];
    struct kn *link;

    (void)snprintf(name, sizeof(name), "/sys/devices/virtual/devlink/pci:%s--pci:%s", gpu->name,
                   c->name);
    link = kn_dir(k, kn_mkdirs(k, "/sys/devices/virtual/devlink"), strrchr(name, '/') + 1, 0);
    if (link->child)
        return;
    (void)kn_link_to(k, link, "supplier", gpu->dir);
    (void)kn_link_to(k, link, "consumer", c->dir);
    (void)snprintf(name, sizeof(name), "consumer:pci:%s", c->name);
    (void)kn_link_to(k, gpu->dir, name, link);
    (void)snprintf(name, sizeof(name), "supplier:pci:%s", gpu->name);
    (void)kn_link_to(k, c->dir, name, link);
}

static bool
same_slot(const struct fn *a, const struct fn *b)
{
    return a != b && a->addr.domain == b->addr.domain && a->addr.bus == b->addr.bus &&
           a->addr.dev == b->addr.dev && a->pf == NULL && b->pf == NULL;
}

static void
link_companions(struct sim_kernel *k, struct fn *f)
{
    struct fn *o;

    for (o = k->fns; o; o = o->next) {
        if (!o->dir || !same_slot(f, o))
            continue;
        if (f->model->kind == SIM_PLAIN && o->addr.fn == 0)
            link_companion(k, o, f);
        else if (f->addr.fn == 0 && o->model->kind == SIM_PLAIN)
            link_companion(k, f, o);
    }
}

static void
unlink_companions(struct sim_kernel *k, const struct fn *f)
{
    struct kn *all = kn_mkdirs(k, "/sys/devices/virtual/devlink"), *n, *next;
    struct fn *o;
    char name[96];

    for (n = all->child; n; n = next) {
        next = n->next;
        if (strstr(n->name, f->name))
            kn_remove(n);
    }
    for (o = k->fns; o; o = o->next) {
        if (!o->dir || !same_slot(f, o))
            continue;
        (void)snprintf(name, sizeof(name), "consumer:pci:%s", f->name);
        kn_remove_child(o->dir, name);
        (void)snprintf(name, sizeof(name), "supplier:pci:%s", f->name);
        kn_remove_child(o->dir, name);
    }
}

static void
link_vf(struct sim_kernel *k, struct fn *f)
{
    unsigned rid = (unsigned)f->addr.dev << 3 | f->addr.fn;
    unsigned pf_rid = (unsigned)f->pf->addr.dev << 3 | f->pf->addr.fn;
    char name[32];

    (void)snprintf(name, sizeof(name), "virtfn%u", rid - pf_rid - VF_OFFSET);
    (void)kn_link_to(k, f->dir, "physfn", f->pf->dir);
    (void)kn_link_to(k, f->pf->dir, name, f->dir);
}

void
fn_enumerate(struct sim_kernel *k, struct fn *f, bool announce)
{
    struct kn *bus = kn_mkdirs(k, "/sys/bus/pci/devices"), *parent;
    char path[64];

    if (f->bridge && !f->bridge->dir)
        fn_enumerate(k, f->bridge, announce);
    if (f->dir)
        return;
    (void)snprintf(path, sizeof(path), "/sys/devices/%s", f->root_bus);
    parent = f->bridge ? f->bridge->dir : kn_mkdirs(k, path);
    free(f->override);
    f->override = NULL;
    f->enable_cnt = 0;
    f->pstate = PS_UNKNOWN;
    f->pm_auto = f->idle_d3 = false;
    f->d3cold = true;
    methods_default(k, f);
    f->dir = kn_dir(k, parent, f->name, 0);
    sysfs_fn_files(k, f);
    (void)kn_link_to(k, f->dir, "subsystem", bus->parent);
    (void)kn_link_to(k, bus, f->name, f->dir);
    grp_add(k, f);
    link_companions(k, f);
    if (f->pf)
        link_vf(k, f);
    if (announce)
        uevent_fn(k, f, "add");
    k_changed(k);
}

void
fn_withdraw(struct sim_kernel *k, struct fn *f)
{
    char name[32];
    unsigned i;

    uevent_fn(k, f, "remove");
    for (i = 0; f->pf && f->pf->dir && i < VFS_MAX; i++) {
        const struct kn *n;

        (void)snprintf(name, sizeof(name), "virtfn%u", i);
        n = kn_child(f->pf->dir, name);
        if (n && strstr(n->target, f->name))
            kn_remove_child(f->pf->dir, name);
    }
    unlink_companions(k, f);
    grp_del(k, f);
    kn_remove_child(kn_mkdirs(k, "/sys/bus/pci/devices"), f->name);
    kn_remove(f->dir);
    f->dir = NULL;
    k_changed(k);
}

/* ---- virtual functions ---- */

static int
remove_vfs(struct sim_kernel *k, struct fn *pf)
{
    struct fn *f;
    int r;

    for (f = k->fns; f; f = f->next) {
        if (f->pf != pf || !f->dir)
            continue;
        r = core_detach(k, f);
        if (r < 0)
            return r;
        fn_withdraw(k, f);
        f->plugged = false;
    }
    pf->num_vfs = 0;
    return 0;
}

int
fn_set_vfs(struct sim_kernel *k, struct fn *pf, unsigned n, struct err *e)
{
    struct sim_fn_spec s = {.group = pf->group_id < 0 ? -2 : -1, .numa_node = pf->numa};
    unsigned rid, i;
    struct fn *f;
    int r;

    if (n == 0)
        return remove_vfs(k, pf);
    for (i = 0; i < n; i++) {
        rid = ((unsigned)pf->addr.dev << 3 | pf->addr.fn) + VF_OFFSET + i;
        if (rid > 0xff || n > VFS_MAX)
            return err_set(e, ERANGE, ERR_CLASS_INVALID, "enable %u VFs of %s: at most %u", n,
                           pf->name, VFS_MAX);
        s.addr = pf->addr;
        s.addr.dev = (uint8_t)(rid >> 3);
        s.addr.fn = (uint8_t)(rid & 7);
        f = fn_at(k, s.addr);
        if (!f) {
            r = fn_new(k, &s, pf, &f, e);
            if (r < 0)
                return r;
        }
        f->plugged = true;
        fn_enumerate(k, f, true);
    }
    pf->num_vfs = n;
    if (pf->total_vfs < n)
        pf->total_vfs = VFS_MAX;
    return 0;
}
