/* SPDX-License-Identifier: Apache-2.0
 *
 * The files around the functions: the PCI bus, its drivers, IOMMU groups, modules and the host's
 * security state. Errors as drivers/base/bus.c, drivers/pci/pci-driver.c and drivers/iommu/iommu.c
 * of Linux 6.12. Caller holds the kernel's lock.
 */
#include "sim/kernel_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

/* ---- drivers/X ---- */

static struct fn *
named_fn(struct sim_kernel *k, const char *s, size_t len)
{
    char word[64];

    return take_word(word, sizeof(word), s, len) ? fn_find(k, word) : NULL;
}

static ssize_t
bind_store(struct sim_kernel *k, struct kn *n, const char *s, size_t len)
{
    struct drv *d = n->priv;
    struct fn *f = named_fn(k, s, len);
    int r;

    if (!f || !drv_match(d, f))
        return -ENODEV;
    if (fn_lock(k, f) < 0)
        return -ENODEV;
    r = core_attach(k, d, f);
    fn_unlock(k, f);
    return r < 0 ? r : (ssize_t)len;
}

static ssize_t
unbind_store(struct sim_kernel *k, struct kn *n, const char *s, size_t len)
{
    struct fn *f = named_fn(k, s, len);
    int r;

    if (!f || f->drv != n->priv)
        return -ENODEV;
    r = core_detach(k, f);
    return r < 0 ? r : (ssize_t)len;
}

/* Hexadecimal words up to the first thing that is none, as sscanf("%x %x ...") takes them. */
static unsigned
parse_hex_words(const char *s, uint32_t *ret, unsigned max)
{
    unsigned long v;
    unsigned n;
    char *end;

    for (n = 0; n < max; n++) {
        errno = 0;
        v = strtoul(s, &end, 16);
        if (end == s || errno || v > UINT32_MAX)
            break;
        ret[n] = (uint32_t)v;
        s = *end == ':' ? end + 1 : end;
    }
    return n;
}

/* "vendor device [subvendor subdevice class class_mask driver_data]" */
static bool
parse_id(const char *s, size_t len, uint32_t *vendor, uint32_t *device, uint32_t *class_code,
         uint32_t *class_mask)
{
    uint32_t w[6] = {0};
    char text[128];

    if (!take_word(text, sizeof(text), s, len) || parse_hex_words(text, w, 6) < 2)
        return false;
    *vendor = w[0];
    *device = w[1];
    *class_code = w[4];
    *class_mask = w[5];
    return true;
}

static ssize_t
new_id_store(struct sim_kernel *k, struct kn *n, const char *s, size_t len)
{
    struct drv *d = n->priv;
    uint32_t vendor, device, cls, mask;
    struct fn *f;
    unsigned i;

    if (!parse_id(s, len, &vendor, &device, &cls, &mask))
        return -EINVAL;
    for (i = 0; i < d->n_id; i++)
        if (d->id[i].vendor == vendor && d->id[i].device == device)
            return -EEXIST;
    if (d->n_id == sizeof(d->id) / sizeof(d->id[0]))
        return -ENOMEM;
    d->id[d->n_id].vendor = vendor;
    d->id[d->n_id].device = device;
    d->id[d->n_id].class_code = cls;
    d->id[d->n_id].class_mask = mask;
    d->n_id++;
    for (f = k->fns; f; f = f->next) { /* driver_attach(): every unbound function that matches */
        if (!f->dir || f->drv || !drv_match(d, f))
            continue;
        if (fn_lock(k, f) < 0)
            return -ENODEV;
        (void)core_attach(k, d, f);
        fn_unlock(k, f);
    }
    return (ssize_t)len;
}

static ssize_t
remove_id_store(struct sim_kernel *k, struct kn *n, const char *s, size_t len)
{
    struct drv *d = n->priv;
    uint32_t vendor, device, cls, mask;
    unsigned i;

    (void)k;
    if (!parse_id(s, len, &vendor, &device, &cls, &mask))
        return -EINVAL;
    for (i = 0; i < d->n_id; i++)
        if (d->id[i].vendor == vendor && d->id[i].device == device) {
            d->id[i] = d->id[--d->n_id];
            return (ssize_t)len;
        }
    return -ENODEV;
}

static const struct kn_ops bind_ops = {.store = bind_store};
static const struct kn_ops unbind_ops = {.store = unbind_store};
static const struct kn_ops new_id_ops = {.store = new_id_store};
static const struct kn_ops remove_id_ops = {.store = remove_id_store};

static ssize_t
disable_idle_d3_show(struct sim_kernel *k, struct kn *n, char *buf, size_t size)
{
    (void)n;
    return showf(buf, size, "%c\n", k->disable_idle_d3 ? 'Y' : 'N');
}

static ssize_t
disable_idle_d3_store(struct sim_kernel *k, struct kn *n, const char *s, size_t len)
{
    char w[8];

    (void)n;
    if (!take_word(w, sizeof(w), s, len) || !w[0] || !strchr("01yYnN", w[0]))
        return -EINVAL;
    k->disable_idle_d3 = strchr("1yY", w[0]) != NULL;
    return (ssize_t)len;
}

static const struct kn_ops disable_idle_d3_ops = {.show = disable_idle_d3_show,
                                                  .store = disable_idle_d3_store};

static void
vfio_pci_module(struct sim_kernel *k)
{
    static const char *const off[] = {"disable_vga", "disable_denylist", "enable_sriov",
                                      "nointxmask"};
    struct kn *dir = kn_mkdirs(k, "/sys/module/vfio_pci/parameters");
    char path[96];
    size_t i;

    if (!kn_child(dir, "disable_idle_d3"))
        (void)kn_file(k, dir, "disable_idle_d3", 0644, SIM_PAGE, &disable_idle_d3_ops, NULL, NULL);
    for (i = 0; i < sizeof(off) / sizeof(off[0]); i++) {
        (void)snprintf(path, sizeof(path), "/sys/module/vfio_pci/parameters/%s", off[i]);
        (void)kn_text(k, path, 0444, "N\n");
    }
    (void)kn_text(k, "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", 0644,
                  "N\n");
}

void
sysfs_driver_files(struct sim_kernel *k, struct drv *d)
{
    struct kn *all = kn_mkdirs(k, "/sys/bus/pci/drivers");
    char path[96], *p;

    d->dir = kn_dir(k, all, d->name, 0);
    (void)kn_file(k, d->dir, "bind", 0200, SIM_PAGE, &bind_ops, NULL, d);
    (void)kn_file(k, d->dir, "unbind", 0200, SIM_PAGE, &unbind_ops, NULL, d);
    (void)kn_file(k, d->dir, "new_id", 0200, SIM_PAGE, &new_id_ops, NULL, d);
    (void)kn_file(k, d->dir, "remove_id", 0200, SIM_PAGE, &remove_id_ops, NULL, d);
    if (strcmp(d->name, "pcieport") == 0)
        return; /* built in: no module link */
    (void)snprintf(path, sizeof(path), "/sys/module/%s", d->name);
    for (p = path; *p; p++)
        if (*p == '-')
            *p = '_';
    (void)kn_link_to(k, d->dir, "module", kn_mkdirs(k, path));
    if (strcmp(d->name, "vfio-pci") == 0)
        vfio_pci_module(k);
}

/* ---- the bus ---- */

static ssize_t
probe_store(struct sim_kernel *k, struct kn *n, const char *s, size_t len)
{
    struct fn *f = named_fn(k, s, len);
    int r;

    (void)n;
    if (!f)
        return -ENODEV;
    r = core_probe_any(k, f);
    return r < 0 ? r : (ssize_t)len;
}

static ssize_t
rescan_store(struct sim_kernel *k, struct kn *n, const char *s, size_t len)
{
    unsigned long v;
    int r;

    (void)n;
    if (!parse_ulong(s, len, &v))
        return -EINVAL;
    r = v ? core_rescan(k) : 0;
    return r < 0 ? r : (ssize_t)len;
}

static ssize_t
autoprobe_show(struct sim_kernel *k, struct kn *n, char *buf, size_t size)
{
    (void)n;
    return showf(buf, size, "%d\n", k->autoprobe);
}

static ssize_t
autoprobe_store(struct sim_kernel *k, struct kn *n, const char *s, size_t len)
{
    (void)n;
    k->autoprobe = s[0] != '0';
    return (ssize_t)len;
}

static const struct kn_ops probe_ops = {.store = probe_store};
static const struct kn_ops rescan_ops = {.store = rescan_store};
static const struct kn_ops autoprobe_ops = {.show = autoprobe_show, .store = autoprobe_store};

/* ---- IOMMU groups ---- */

static ssize_t
type_show(struct sim_kernel *k, struct kn *n, char *buf, size_t size)
{
    const struct grp *g = n->priv;

    (void)k;
    return showf(buf, size, "%s\n", g->type);
}

static ssize_t
type_store(struct sim_kernel *k, struct kn *n, const char *s, size_t len)
{
    static const char *const types[] = {"identity", "DMA", "DMA-FQ", "auto"};
    struct grp *g = n->priv;
    const struct fn *f;
    char word[16];
    size_t i;

    if (!take_word(word, sizeof(word), s, len))
        return -EINVAL;
    for (i = 0; i < 4 && strcmp(word, types[i]) != 0; i++)
        ;
    if (i == 4)
        return -EINVAL;
    for (f = k->fns; f; f = f->next) /* owner_cnt: DMA drivers and VFIO users */
        if (f->group == g && f->drv && !f->drv->vfio && !f->drv->harmless)
            return -EPERM;
    if (grp_user_owned(k, g))
        return -EPERM;
    (void)snprintf(g->type, sizeof(g->type), "%s", i == 3 ? "DMA-FQ" : word);
    return (ssize_t)len;
}

static ssize_t
regions_show(struct sim_kernel *k, struct kn *n, char *buf, size_t size)
{
    (void)k;
    (void)n;
    /* AMD: MSI window and the HyperTransport range */
    return showf(buf, size,
                 "0x00000000fee00000 0x00000000feefffff msi\n"
                 "0x000000fd00000000 0x000000ffffffffff reserved\n");
}

static const struct kn_ops type_ops = {.show = type_show, .store = type_store};
static const struct kn_ops regions_ops = {.show = regions_show};

void
sysfs_group_files(struct sim_kernel *k, struct grp *g)
{
    (void)kn_file(k, g->dir, "type", 0644, SIM_PAGE, &type_ops, NULL, g);
    (void)kn_file(k, g->dir, "reserved_regions", 0444, SIM_PAGE, &regions_ops, NULL, g);
}

/* ---- the host ---- */

static ssize_t
lockdown_show(struct sim_kernel *k, struct kn *n, char *buf, size_t size)
{
    (void)n;
    return showf(buf, size, "%s\n",
                 k->lockdown ? "none [integrity] confidentiality"
                             : "[none] integrity confidentiality");
}

static const struct kn_ops lockdown_ops = {.show = lockdown_show};

static int
modules_alias(struct sim_kernel *k, const char *variant)
{
    struct utsname u;
    char path[512], text[512], name[40] = "";
    uint32_t id[2];
    const char *eq;
    int n = 0;

    if (uname(&u) < 0)
        return -errno;
    if (variant) {
        eq = strchr(variant, '=');
        if (!eq || (size_t)(eq - variant) >= sizeof(name) || parse_hex_words(eq + 1, id, 2) != 2)
            return -EINVAL;
        memcpy(name, variant, (size_t)(eq - variant));
        n = snprintf(text, sizeof(text), "alias vfio_pci:v%08Xd%08Xsv*sd*bc*sc*i* %s\n", id[0],
                     id[1], name);
        (void)drv_load(k, name);
    }
    (void)snprintf(text + n, sizeof(text) - (size_t)n,
                   "alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n");
    (void)snprintf(path, sizeof(path), "/lib/modules/%s/modules.alias", u.release);
    (void)kn_text(k, path, 0644, text);
    return 0;
}

int
sysfs_static_files(struct sim_kernel *k, const struct sim_kernel_params *p)
{
    struct kn *bus = kn_mkdirs(k, "/sys/bus/pci"), *cls;

    (void)kn_mkdirs(k, "/sys/bus/pci/devices");
    (void)kn_mkdirs(k, "/sys/bus/pci/drivers");
    (void)kn_mkdirs(k, "/sys/bus/pci/slots");
    (void)kn_mkdirs(k, "/sys/class/vfio-dev");
    (void)kn_mkdirs(k, "/sys/kernel/iommu_groups");
    (void)kn_mkdirs(k, "/dev");
    (void)kn_file(k, bus, "drivers_probe", 0200, SIM_PAGE, &probe_ops, NULL, NULL);
    (void)kn_file(k, bus, "drivers_autoprobe", 0644, SIM_PAGE, &autoprobe_ops, NULL, NULL);
    (void)kn_file(k, bus, "rescan", 0200, SIM_PAGE, &rescan_ops, NULL, NULL);
    (void)kn_file(k, kn_mkdirs(k, "/sys/kernel/security"), "lockdown", 0644, SIM_PAGE,
                  &lockdown_ops, NULL, NULL);
    cls = kn_mkdirs(k, "/sys/class/iommu");
    if (!k->no_iommu) {
        (void)kn_text(k, "/sys/devices/virtual/iommu/ivhd0/amd-iommu/features", 0444,
                      "25bf732fa2295afe:53d\n");
        (void)kn_link_to(k, cls, "ivhd0", kn_mkdirs(k, "/sys/devices/virtual/iommu/ivhd0"));
    }
    if (!p->host || strcmp(p->host, "snp") == 0) {
        (void)kn_text(k, "/sys/module/kvm_amd/parameters/sev", 0444, "Y\n");
        (void)kn_text(k, "/sys/module/kvm_amd/parameters/sev_es", 0444, "Y\n");
        (void)kn_text(k, "/sys/module/kvm_amd/parameters/sev_snp", 0444, "Y\n");
        /* As kvm_amd registers its ASIDs with the misc controller; counts of an EPYC 9004. */
        (void)kn_text(k, "/sys/fs/cgroup/misc.capacity", 0444, "sev 410\nsev_es 99\n");
        (void)kn_text(k, "/sys/fs/cgroup/misc.current", 0444, "sev 0\nsev_es 0\n");
        (void)kn_text(k, "/dev/sev", 0600, "");
    } else if (strcmp(p->host, "tdx") == 0) {
        (void)kn_text(k, "/sys/module/kvm_intel/parameters/tdx", 0444, "Y\n");
    }
    return modules_alias(k, p->variant);
}
