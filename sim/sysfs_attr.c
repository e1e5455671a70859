/* SPDX-License-Identifier: Apache-2.0
 *
 * The text attributes of a PCI function, one table. Formats and errors as drivers/pci/pci-sysfs.c
 * of Linux 6.12. Caller holds the kernel's lock.
 */
#include "sim/kernel_priv.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct attr {
    const char *name; /* "power/control": in the subdirectory */
    mode_t perm;
    ssize_t (*show)(struct fn *f, char *buf, size_t size);
    ssize_t (*store)(struct fn *f, const char *s, size_t n);
    bool (*visible)(const struct fn *f);
};

ssize_t
showf(char *buf, size_t size, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(buf, size, fmt, ap);
    va_end(ap);
    if (n < 0)
        return -EIO;
    return (size_t)n < size ? n : (ssize_t)size - 1;
}

bool
take_word(char *dst, size_t size, const char *s, size_t n)
{
    if (n > 0 && s[n - 1] == '\n')
        n--;
    if (n >= size || memchr(s, '\0', n))
        return false;
    memcpy(dst, s, n);
    dst[n] = '\0';
    return true;
}

/* kstrtoul(s, 0, …): digits with an optional base prefix and one trailing newline, no more. */
bool
parse_ulong(const char *s, size_t n, unsigned long *ret)
{
    char word[32], *end;
    unsigned long v;

    if (!take_word(word, sizeof(word), s, n) || !isdigit((unsigned char)word[0]))
        return false;
    errno = 0;
    v = strtoul(word, &end, 0);
    if (errno || *end)
        return false;
    *ret = v;
    return true;
}

/* ---- identity ---- */

#define SHOW(field, fmt, expr)                                                                     \
    static ssize_t show_##field(struct fn *f, char *buf, size_t size)                              \
    {                                                                                              \
        (void)f;                                                                                   \
        return showf(buf, size, fmt "\n", (expr));                                                 \
    }
SHOW(vendor, "0x%04x", f->model->vendor)
SHOW(device, "0x%04x", f->model->device)
SHOW(subsys_vendor, "0x%04x", f->model->subsys_vendor)
SHOW(subsys_device, "0x%04x", f->model->subsys_device)
SHOW(class, "0x%06x", f->model->class_code)
SHOW(revision, "0x%02x", f->is_bridge ? 1u : 0xa1u)
SHOW(numa, "%d", f->numa)
SHOW(irq, "%u", f->drv && f->drv->vfio ? 0u : 255u)
SHOW(enable, "%u", f->enable_cnt)
SHOW(override, "%s", f->override ? f->override : "(null)")
SHOW(power_state, "%s", pstate_name(f->pstate))
SHOW(control, "%s", f->pm_auto ? "auto" : "on")
SHOW(runtime_status, "%s", f->pstate == PS_D3HOT ? "suspended" : "active")
SHOW(d3cold, "%d", f->d3cold)
SHOW(totalvfs, "%u", f->total_vfs)
SHOW(numvfs, "%u", f->num_vfs)
SHOW(one, "%d", 1)
SHOW(zero, "%d", 0)
SHOW(dma_mask, "%d", f->is_bridge ? 32 : 52)
SHOW(link_speed, "%s",
     f->is_bridge || f->model->kind != SIM_PLAIN ? "32.0 GT/s PCIe" : "16.0 GT/s PCIe")
SHOW(link_width, "%d", 16)
SHOW(cpulist, "%s", f->numa == 1 ? "32-63" : f->numa < 0 ? "0-63" : "0-31")

static ssize_t
show_local_cpus(struct fn *f, char *buf, size_t size)
{
    return showf(buf, size, "%s\n",
                 f->numa == 1  ? "ffffffff,00000000"
                 : f->numa < 0 ? "ffffffff,ffffffff"
                               : "00000000,ffffffff");
}

static ssize_t
show_modalias(struct fn *f, char *buf, size_t size)
{
    const struct sim_model *m = f->model;

    return showf(buf, size, "pci:v%08Xd%08Xsv%08Xsd%08Xbc%02Xsc%02Xi%02X\n", m->vendor, m->device,
                 m->subsys_vendor, m->subsys_device, (m->class_code >> 16) & 0xff,
                 (m->class_code >> 8) & 0xff, m->class_code & 0xff);
}

static ssize_t
show_uevent(struct fn *f, char *buf, size_t size)
{
    const struct sim_model *m = f->model;
    char alias[128], driver[64] = "";

    (void)show_modalias(f, alias, sizeof(alias));
    if (f->drv)
        (void)snprintf(driver, sizeof(driver), "DRIVER=%s\n", f->drv->name);
    return showf(buf, size,
                 "%sPCI_CLASS=%X\nPCI_ID=%04X:%04X\nPCI_SUBSYS_ID=%04X:%04X\nPCI_SLOT_NAME=%s\n"
                 "MODALIAS=%s",
                 driver, m->class_code, m->vendor, m->device, m->subsys_vendor, m->subsys_device,
                 f->name, alias);
}

/* kobject_synth_uevent(): an action, and optionally a UUID, which nobody here sends. */
static ssize_t
store_uevent(struct fn *f, const char *s, size_t n)
{
    static const char *const actions[] = {"add",    "remove",  "change", "move",
                                          "online", "offline", "bind",   "unbind"};
    char word[16];
    size_t i;

    if (!take_word(word, sizeof(word), s, n))
        return -EINVAL;
    for (i = 0; i < ARRAY_SIZE(actions); i++)
        if (strcmp(word, actions[i]) == 0) {
            uevent_fn(f->k, f, word);
            return (ssize_t)n;
        }
    return -EINVAL;
}

/* Flags as include/linux/ioport.h: memory, size-aligned, and for 64-bit prefetchable BARs the bits
 * MEM_64, PREFETCH and the low BAR bits 0xc. */
#define RES_MEM64P 0x14220cu
#define RES_MEM32 0x40200u
#define RES_LINES 13 /* endpoints: six BARs, ROM, six SR-IOV BARs */
#define RES_LINES_BRIDGE 17

static ssize_t
show_resource(struct fn *f, char *buf, size_t size)
{
    const struct sim_model *m = f->model;
    const uint64_t sizes[] = {m->bar0_size, 0, m->bar2_size, 0, m->bar4_size};
    int i, lines = f->is_bridge ? RES_LINES_BRIDGE : RES_LINES;
    bool wide = m->kind != SIM_PLAIN;
    uint64_t start, flags;
    size_t used = 0;

    for (i = 0; i < lines; i++) {
        uint64_t bar = i < 5 ? sizes[i] : 0;

        start = flags = 0;
        if (bar) {
            start = f->bar[i];
            flags = wide ? RES_MEM64P : RES_MEM32;
        }
        used += (size_t)showf(
            buf + used, size - used, "0x%016llx 0x%016llx 0x%016llx\n", (unsigned long long)start,
            (unsigned long long)(bar ? start + bar - 1 : 0), (unsigned long long)flags);
    }
    return (ssize_t)used;
}

/* ---- driver_override ---- */

/* driver_set_override(): refuses a page or more, cuts at the newline, empties on an empty word. */
static ssize_t
store_override(struct fn *f, const char *s, size_t n)
{
    const char *nl = memchr(s, '\n', n);
    size_t len = nl ? (size_t)(nl - s) : n;
    char *copy = NULL;

    if (n >= SIM_PAGE - 1)
        return -EINVAL;
    if (len > 0 && !(copy = strndup(s, len)))
        return -ENOMEM;
    free(f->override);
    f->override = copy;
    return (ssize_t)n;
}

/* ---- enable, remove, rescan ---- */

static ssize_t
store_enable(struct fn *f, const char *s, size_t n)
{
    struct sim_kernel *k = f->k;
    unsigned long v;
    ssize_t r = (ssize_t)n;

    if (!parse_ulong(s, n, &v))
        return -EINVAL;
    if (fn_lock(k, f) < 0)
        return -ENODEV;
    if (!f->dir) {
        r = -ENODEV;
    } else if (f->drv) {
        r = -EBUSY;
    } else if (v) {
        if (f->enable_cnt++ == 0) {
            pm_wake(k, f);
            if (f->pstate != PS_D3COLD)
                f->pstate = PS_D0;
            sim_gpu_cfg_write(f->gpu, 4, 2, fn_cfg_read(f, 4, 2) | 0x2u);
        }
    } else if (f->enable_cnt > 0) {
        f->enable_cnt--;
    } else {
        r = -EIO;
    }
    fn_unlock(k, f);
    return r;
}

/* device_remove_file_self(): the file goes first, so a second writer finds none. */
static ssize_t
store_remove(struct fn *f, const char *s, size_t n)
{
    struct sim_kernel *k = f->k;
    struct kn *self;
    unsigned long v;
    int r;

    if (!parse_ulong(s, n, &v))
        return -EINVAL;
    if (v == 0)
        return (ssize_t)n;
    self = f->dir ? kn_child(f->dir, "remove") : NULL;
    if (!self)
        return -ENODEV;
    kn_remove(self);
    r = core_rescan_lock(k);
    if (r < 0)
        return r;
    r = f->dir ? core_remove(k, f) : 0;
    core_rescan_unlock(k);
    return r < 0 ? r : (ssize_t)n;
}

static ssize_t
store_rescan(struct fn *f, const char *s, size_t n)
{
    unsigned long v;
    int r;

    if (!parse_ulong(s, n, &v))
        return -EINVAL;
    r = v ? core_rescan(f->k) : 0;
    return r < 0 ? r : (ssize_t)n;
}

/* ---- reset ---- */

static bool
has_reset(const struct fn *f)
{
    return f->n_methods > 0;
}

static ssize_t
store_reset(struct fn *f, const char *s, size_t n)
{
    struct sim_kernel *k = f->k;
    unsigned long v;
    int r;

    if (!parse_ulong(s, n, &v) || v != 1)
        return -EINVAL;
    if (f->n_methods == 0)
        return -ENOTTY;
    if (fn_lock(k, f) < 0)
        return -ENODEV;
    r = f->dir ? fn_reset(k, f) : -ENODEV;
    fn_unlock(k, f);
    return r < 0 ? r : (ssize_t)n;
}

static const char *
method_name(int m)
{
    return m == RM_FLR ? "flr" : "bus";
}

static ssize_t
show_reset_method(struct fn *f, char *buf, size_t size)
{
    size_t used = 0;
    unsigned i;

    for (i = 0; i < f->n_methods; i++)
        used += (size_t)showf(buf + used, size - used, "%s%s", i ? " " : "",
                              method_name(f->methods[i]));
    if (used)
        used += (size_t)showf(buf + used, size - used, "\n");
    return (ssize_t)used;
}

static ssize_t
store_reset_method(struct fn *f, const char *s, size_t n)
{
    char word[SIM_PAGE], *rest = word, *name;
    uint8_t methods[RM_MAX];
    unsigned count = 0;
    int m;

    if (n >= SIM_PAGE - 1 || !take_word(word, sizeof(word), s, n))
        return -EINVAL;
    if (strcmp(word, "") == 0) {
        f->n_methods = 0;
        return (ssize_t)n;
    }
    if (strcmp(word, "default") == 0) {
        methods_default(f->k, f);
        return (ssize_t)n;
    }
    while ((name = strsep(&rest, " "))) {
        if (!*name)
            continue;
        m = strcmp(name, "flr") == 0 ? RM_FLR : strcmp(name, "bus") == 0 ? RM_BUS : 0;
        if (m == 0 || !method_possible(f->k, f, m, true) || count == RM_MAX)
            return -EINVAL;
        methods[count++] = (uint8_t)m;
    }
    memcpy(f->methods, methods, count);
    f->n_methods = count;
    return (ssize_t)n;
}

/* ---- power ---- */

static ssize_t
store_control(struct fn *f, const char *s, size_t n)
{
    struct sim_kernel *k = f->k;
    char word[16];
    bool on;

    if (!take_word(word, sizeof(word), s, n))
        return -EINVAL;
    on = strcmp(word, "on") == 0;
    if (!on && strcmp(word, "auto") != 0)
        return -EINVAL;
    if (fn_lock(k, f) < 0)
        return -ENODEV;
    f->pm_auto = !on;
    if (on)
        pm_wake(k, f);
    else
        pm_idle(k, f);
    fn_unlock(k, f);
    return (ssize_t)n;
}

static ssize_t
store_d3cold(struct fn *f, const char *s, size_t n)
{
    unsigned long v;

    if (!parse_ulong(s, n, &v))
        return -EINVAL;
    f->d3cold = v != 0;
    return (ssize_t)n;
}

static ssize_t
show_settled_power(struct fn *f, char *buf, size_t size)
{
    vfio_settle(f->k, f, f->group);
    return show_power_state(f, buf, size);
}

static ssize_t
show_settled_status(struct fn *f, char *buf, size_t size)
{
    vfio_settle(f->k, f, f->group);
    return show_runtime_status(f, buf, size);
}

/* ---- SR-IOV ---- */

static bool
has_sriov(const struct fn *f)
{
    return f->total_vfs > 0 && !f->pf;
}

static ssize_t
store_numvfs(struct fn *f, const char *s, size_t n)
{
    struct sim_kernel *k = f->k;
    struct err e = ERR_INIT;
    unsigned long v;
    ssize_t r = (ssize_t)n;

    if (!parse_ulong(s, n, &v))
        return -EINVAL;
    if (v > f->total_vfs)
        return -ERANGE;
    if (fn_lock(k, f) < 0)
        return -ENODEV;
    if (v == f->num_vfs)
        ;
    else if (!f->drv || f->drv->vfio)
        r = -ENOENT; /* the driver has no sriov_configure; vfio-pci only by parameter */
    else if (v && f->num_vfs)
        r = -EBUSY;
    else if (fn_set_vfs(k, f, (unsigned)v, &e) < 0)
        r = -e.num;
    fn_unlock(k, f);
    return r;
}

static bool
is_endpoint(const struct fn *f)
{
    return !f->is_bridge;
}

static bool
is_vga(const struct fn *f)
{
    return f->model->class_code >> 8 == 0x0300;
}

static const struct attr attrs[] = {
    {"vendor", 0444, show_vendor, NULL, NULL},
    {"device", 0444, show_device, NULL, NULL},
    {"subsystem_vendor", 0444, show_subsys_vendor, NULL, NULL},
    {"subsystem_device", 0444, show_subsys_device, NULL, NULL},
    {"class", 0444, show_class, NULL, NULL},
    {"revision", 0444, show_revision, NULL, NULL},
    {"irq", 0444, show_irq, NULL, NULL},
    {"numa_node", 0644, show_numa, NULL, NULL},
    {"local_cpulist", 0444, show_cpulist, NULL, NULL},
    {"local_cpus", 0444, show_local_cpus, NULL, NULL},
    {"modalias", 0444, show_modalias, NULL, NULL},
    {"uevent", 0644, show_uevent, store_uevent, NULL},
    {"resource", 0444, show_resource, NULL, NULL},
    {"enable", 0644, show_enable, store_enable, NULL},
    {"driver_override", 0644, show_override, store_override, NULL},
    {"remove", 0220, NULL, store_remove, NULL},
    {"rescan", 0220, NULL, store_rescan, NULL},
    {"reset", 0200, NULL, store_reset, has_reset},
    {"reset_method", 0644, show_reset_method, store_reset_method, has_reset},
    {"power_state", 0444, show_settled_power, NULL, NULL},
    {"d3cold_allowed", 0644, show_d3cold, store_d3cold, NULL},
    {"power/control", 0644, show_control, store_control, NULL},
    {"power/runtime_status", 0444, show_settled_status, NULL, NULL},
    {"current_link_speed", 0444, show_link_speed, NULL, NULL},
    {"current_link_width", 0444, show_link_width, NULL, NULL},
    {"max_link_speed", 0444, show_link_speed, NULL, NULL},
    {"max_link_width", 0444, show_link_width, NULL, NULL},
    {"sriov_totalvfs", 0444, show_totalvfs, NULL, has_sriov},
    {"sriov_numvfs", 0644, show_numvfs, store_numvfs, has_sriov},
    {"boot_vga", 0444, show_zero, NULL, is_vga},
    {"msi_bus", 0644, show_one, NULL, NULL},
    {"ari_enabled", 0444, show_zero, NULL, NULL},
    {"broken_parity_status", 0644, show_zero, NULL, NULL},
    {"dma_mask_bits", 0444, show_dma_mask, NULL, NULL},
    {"consistent_dma_mask_bits", 0444, show_dma_mask, NULL, is_endpoint},
};

#define GARBAGE "\x7fgarbage 0xZZZZ -1e9 \xff\xfe\n\n(no value)\n"

static ssize_t
attr_show(struct sim_kernel *k, struct kn *n, char *buf, size_t size)
{
    const struct attr *a = n->priv;
    const char *base = strrchr(a->name, '/');

    (void)k;
    if (name_in_list(n->fn->garbage, base ? base + 1 : a->name))
        return showf(buf, size, "%s", GARBAGE);
    return a->show(n->fn, buf, size);
}

static ssize_t
attr_store(struct sim_kernel *k, struct kn *n, const char *s, size_t len)
{
    const struct attr *a = n->priv;

    (void)k;
    return a->store ? a->store(n->fn, s, len) : -EIO;
}

static const struct kn_ops ops_ro = {.show = attr_show};
static const struct kn_ops ops_rw = {.show = attr_show, .store = attr_store};
static const struct kn_ops ops_wo = {.store = attr_store};

void
sysfs_fn_files(struct sim_kernel *k, struct fn *f)
{
    struct kn *power = kn_dir(k, f->dir, "power", 0), *dir;
    const struct attr *a;
    const char *base;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(attrs); i++) {
        a = &attrs[i];
        base = strchr(a->name, '/');
        dir = base ? power : f->dir;
        base = base ? base + 1 : a->name;
        if (fn_attr_missing(f, base) || (a->visible && !a->visible(f)))
            continue;
        (void)kn_file(k, dir, base, a->perm, SIM_PAGE,
                      !a->show   ? &ops_wo
                      : a->store ? &ops_rw
                                 : &ops_ro,
                      f, (void *)(uintptr_t)a);
    }
    sysfs_fn_bin_files(k, f);
}
