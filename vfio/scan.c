/* SPDX-License-Identifier: Apache-2.0
 *
 * Discovery. Reads only; one thread at a time per root. An inventory belongs to its caller.
 *
 * The plan, with the number of file reads in mind (a scan follows every uevent):
 *   1 list the bus;
 *   2 read the vendor of every function; of NVIDIA's, keep GPUs and switches and what cannot be
 *     read, with all their facts;
 *   3 add the functions that share a slot or an IOMMU group with one of them; sort.
 */
#include "vfio/scan.h"

#include "base/cleanup.h"
#include "vfio/ident.h"
#include "vfio/parse.h"
#include "vfio/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More functions than any machine has (256 buses × 256 is the bound of one domain). */
#define SCAN_BUS_MAX 65536
#define SCAN_GROUP_MAX 256
#define SCAN_CDEV_MAX 16

struct scan {
    const struct fs_root *root;
    struct ident *ident;
    char **names; /* of the whole bus, sorted */
    size_t n_names;
    struct vfio_inventory *inv;
    unsigned cap;
};

static int
fn_cmp(const void *a, const void *b)
{
    const struct vfio_fn *x = a, *y = b;

    return pci_addr_cmp(x->addr, y->addr);
}

static struct vfio_fn *
find_linear(struct vfio_inventory *inv, struct pci_addr a)
{
    for (unsigned i = 0; i < inv->n; i++)
        if (pci_addr_cmp(inv->fn[i].addr, a) == 0)
            return &inv->fn[i];
    return NULL;
}

static struct vfio_fn *
add_fn(struct scan *s, const struct vfio_fn *value)
{
    struct vfio_inventory *inv = s->inv;
    struct vfio_fn *fn;

    if (!inv->fn || inv->n == s->cap) {
        unsigned cap = s->cap ? 2 * s->cap : 32;
        struct vfio_fn *grown = realloc(inv->fn, cap * sizeof(*grown));

        if (!grown)
            return NULL;
        inv->fn = grown;
        s->cap = cap;
    }
    fn = &inv->fn[inv->n++];
    *fn = *value;
    return fn;
}

static void __attribute__((format(printf, 2, 3)))
mark_unreadable(struct vfio_fn *fn, const char *fmt, ...)
{
    va_list ap;

    if (fn->reason != REASON_NONE)
        return; /* the first cause is the one to tell */
    fn->reason = REASON_UNREADABLE;
    va_start(ap, fmt);
    (void)vsnprintf(fn->text, sizeof(fn->text), fmt, ap);
    va_end(ap);
}

/* ---- the facts of one function ----
 * `dir` is the function's own directory, taken as a root: one path walk for all its attributes. */

static int
open_fn(const struct scan *s, struct pci_addr a, struct fs_root *ret)
{
    char path[VFIO_PATH_MAX];
    struct err ignored = ERR_INIT;

    ret->path[0] = '\0';
    ret->fd = fs_open(s->root, vfio_path(path, a, ""), O_PATH | O_DIRECTORY, 0, &ignored);
    return ret->fd < 0 ? ret->fd : 0;
}

static void
read_group(const struct fs_root *dir, struct vfio_fn *fn)
{
    char name[32];
    struct err e = ERR_INIT;
    int r = fs_link_name(dir, "iommu_group", name, sizeof(name), &e);

    if (r == -ENOENT)
        return;
    if (r < 0)
        mark_unreadable(fn, "%s: %.120s", PCI_STR(fn->addr), e.msg);
    else if (!vfio_parse_int(name, 0, INT_MAX, &fn->iommu_group))
        mark_unreadable(fn, "iommu_group of %s: \"%s\" is not a number", PCI_STR(fn->addr), name);
}

static void
read_driver(const struct fs_root *dir, struct vfio_fn *fn)
{
    struct err e = ERR_INIT;
    int r = fs_link_name(dir, "driver", fn->driver, sizeof(fn->driver), &e);

    if (r < 0 && r != -ENOENT)
        mark_unreadable(fn, "%s: %.120s", PCI_STR(fn->addr), e.msg);
    err_clear(&e);
    r = fs_read_attr(dir, "driver_override", fn->override, sizeof(fn->override), &e);
    if (r < 0 && r != -ENOENT)
        mark_unreadable(fn, "%s: %.120s", PCI_STR(fn->addr), e.msg);
    if (strcmp(fn->override, VFIO_NO_OVERRIDE) == 0)
        fn->override[0] = '\0';
}

/* Attributes whose absence or nonsense loses comfort, not safety: default and go on. */
static void
read_comforts(const struct fs_root *dir, struct vfio_fn *fn)
{
    struct err e = ERR_INIT;
    char buf[32];

    if (fs_read_attr(dir, "numa_node", buf, sizeof(buf), &e) >= 0 &&
        !vfio_parse_int(buf, -1, INT_MAX, &fn->numa_node))
        fn->numa_node = -1;
    err_clear(&e);
    if (fs_read_attr(dir, "power_state", buf, sizeof(buf), &e) >= 0 &&
        (!str_copy(fn->power_state, sizeof(fn->power_state), buf) ||
         strcmp(fn->power_state, "unknown") == 0))
        fn->power_state[0] = '\0';
}

static void
read_vfs(const struct fs_root *dir, struct vfio_fn *fn)
{
    char buf[32];
    struct err e = ERR_INIT;
    int n = 0, r;

    if (fn->kind != VFIO_KIND_GPU && fn->kind != VFIO_KIND_NVSWITCH)
        return;
    r = fs_link_name(dir, "physfn", buf, sizeof(buf), &e);
    if (r >= 0) {
        fn->is_vf = true;
        return;
    }
    err_clear(&e);
    r = fs_read_attr(dir, "sriov_numvfs", buf, sizeof(buf), &e);
    if (r == -ENOENT)
        return;
    if (r < 0)
        mark_unreadable(fn, "%s: %.120s", PCI_STR(fn->addr), e.msg);
    else if (!vfio_parse_int(buf, 0, 65535, &n))
        mark_unreadable(fn, "sriov_numvfs of %s: \"%s\" is not a number", PCI_STR(fn->addr), buf);
    fn->num_vfs = (unsigned)n;
}

/* Missing or nonsense: unknown, which only costs the comfort of injecting the node ourselves. */
static struct vfio_devnum
read_devnum(const struct fs_root *root, const char *path)
{
    struct vfio_devnum d = {0};
    struct err ignored = ERR_INIT;
    char buf[32];

    if (fs_read_attr(root, path, buf, sizeof(buf), &ignored) >= 0)
        (void)vfio_parse_devnum(buf, &d.major, &d.minor);
    return d;
}

void
vfio_read_nodes(const struct fs_root *root, struct vfio_fn *fn)
{
    char path[VFIO_PATH_MAX], attr[64];
    char **names = NULL;
    struct err e = ERR_INIT;
    int n;

    fn->cdev = -1;
    fn->cdev_num = fn->group_num = (struct vfio_devnum){0};
    if (!vfio_is_vfio_driver(fn->driver))
        return;
    n = fs_list(root, vfio_path(path, fn->addr, "vfio-dev"), SCAN_CDEV_MAX, &names, &e);
    for (int i = 0; i < n && fn->cdev < 0; i++) {
        int cdev;

        /* The class device is there on every kernel since 6.1, its node only with
         * CONFIG_VFIO_DEVICE_CDEV: then it has a `dev` attribute. */
        (void)snprintf(attr, sizeof(attr), "vfio-dev/%.32s/dev", names[i]);
        if (vfio_parse_cdev(names[i], &cdev) && fs_exists(root, vfio_path(path, fn->addr, attr))) {
            fn->cdev = cdev;
            fn->cdev_num = read_devnum(root, path);
        }
    }
    if (n >= 0)
        fs_names_free(names);
    if (fn->iommu_group >= 0) {
        (void)snprintf(path, sizeof(path), "sys/class/vfio/%d/dev", fn->iommu_group);
        fn->group_num = read_devnum(root, path);
    }
}

static void
read_facts(const struct scan *s, const struct fs_root *dir, struct vfio_fn *fn)
{
    read_group(dir, fn);
    read_driver(dir, fn);
    read_vfs(dir, fn);
    vfio_read_nodes(s->root, fn);
    read_comforts(dir, fn);
    ident_name(s->ident, fn);
}

/* ---- which functions ---- */

/* Is it another vendor's? A function whose vendor cannot be read may be anything; it is kept, as
 * unreadable, so that a GPU with a broken entry is not silently missing. */
static bool
is_foreign(const struct fs_root *dir)
{
    struct err ignored = ERR_INIT;
    char buf[32];
    uint32_t vendor;

    return fs_read_attr(dir, "vendor", buf, sizeof(buf), &ignored) >= 0 &&
           vfio_parse_hex(buf, 0xffff, &vendor) && vendor != PCI_VENDOR_NVIDIA;
}

/* Adds the function with all its facts; with `primary`, only if it is a GPU or a switch or cannot
 * be read. One that has left the bus while we looked is passed over. */
static int
consider(struct scan *s, struct pci_addr a, bool primary, struct err *e)
{
    _cleanup_(fs_root_close) struct fs_root dir;
    struct vfio_fn probe = {.addr = a, .iommu_group = -1, .numa_node = -1, .cdev = -1}, *fn;

    if (open_fn(s, a, &dir) < 0 || (primary && is_foreign(&dir)))
        return 0;
    ident_fill(s->ident, s->root, &probe);
    if (probe.reason != REASON_NONE && !vfio_present(s->root, a))
        return 0;
    if (primary && probe.reason == REASON_NONE && probe.kind != VFIO_KIND_GPU &&
        probe.kind != VFIO_KIND_NVSWITCH)
        return 0;
    fn = add_fn(s, &probe);
    if (!fn)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "scan the PCI bus");
    read_facts(s, &dir, fn);
    return 0;
}

static int
find_primaries(struct scan *s, struct err *e)
{
    for (size_t i = 0; i < s->n_names; i++) {
        struct pci_addr a;
        int r = pci_addr_parse(s->names[i], &a) ? consider(s, a, true, e) : 0;

        if (r < 0)
            return r;
    }
    return 0;
}

static int
add_companion(struct scan *s, const char *name, struct err *e)
{
    struct pci_addr a;

    if (!pci_addr_parse(name, &a) || find_linear(s->inv, a))
        return 0;
    return consider(s, a, false, e);
}

static int
add_slot(struct scan *s, struct pci_addr a, struct err *e)
{
    for (size_t i = 0; i < s->n_names; i++) {
        struct pci_addr b;

        if (!pci_addr_parse(s->names[i], &b) || b.domain != a.domain || b.bus != a.bus ||
            b.dev != a.dev)
            continue;
        int r = add_companion(s, s->names[i], e);

        if (r < 0)
            return r;
    }
    return 0;
}

static int
add_group(struct scan *s, struct vfio_fn *of, struct err *e)
{
    const int group = of->iommu_group;
    char path[VFIO_PATH_MAX], **names = NULL;
    struct err sub = ERR_INIT;
    int n, r = 0;

    (void)snprintf(path, sizeof(path), PATH_IOMMU_GROUPS "/%d/devices", group);
    n = fs_list(s->root, path, SCAN_GROUP_MAX, &names, &sub);
    if (n < 0) {
        /* Who else is in the group is then unknown: not a device to hand out. */
        mark_unreadable(of, "%.150s", sub.msg);
        return 0;
    }
    for (int i = 0; i < n && r == 0; i++)
        r = add_companion(s, names[i], e);
    fs_names_free(names);
    return r;
}

/* Step 3. Only what step 2 found draws others in; the group of a slot sibling that has one of its
 * own is no concern of the GPU. */
static int
find_companions(struct scan *s, struct err *e)
{
    const unsigned n = s->inv->n;

    for (unsigned i = 0; i < n; i++) {
        const struct vfio_fn fn = s->inv->fn[i];
        bool seen = false;
        int r = 0;

        if (fn.kind == VFIO_KIND_GPU || fn.kind == VFIO_KIND_NVSWITCH)
            r = add_slot(s, fn.addr, e);
        for (unsigned j = 0; j < i; j++)
            seen |=
                s->inv->fn[j].iommu_group == fn.iommu_group && s->inv->fn[j].reason == REASON_NONE;
        if (r == 0 && fn.iommu_group >= 0 && !seen && fn.reason == REASON_NONE)
            r = add_group(s, &s->inv->fn[i], e);
        if (r < 0)
            return r;
    }
    return 0;
}

static void
scan_fini(struct scan *s)
{
    ident_free(s->ident);
    fs_names_free(s->names);
    vfio_inventory_free(s->inv);
}

int
vfio_scan(const struct fs_root *root, struct vfio_inventory **ret, struct err *e)
{
    _cleanup_(scan_fini) struct scan s = {.root = root};
    int r;

    r = fs_list(root, PATH_PCI_DEVICES, SCAN_BUS_MAX, &s.names, e);
    if (r < 0) {
        s.names = NULL;
        return err_prefix(e, "scan the PCI bus");
    }
    s.n_names = (size_t)r;
    s.inv = calloc(1, sizeof(*s.inv));
    if (!s.inv)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "scan the PCI bus");
    s.ident = ident_new(root);
    r = find_primaries(&s, e);
    if (r == 0)
        r = find_companions(&s, e);
    if (r < 0)
        return r;
    if (s.inv->n > 1)
        qsort(s.inv->fn, s.inv->n, sizeof(*s.inv->fn), fn_cmp);
    *ret = TAKE_PTR(struct vfio_inventory, s.inv);
    return 0;
}

void
vfio_inventory_free(struct vfio_inventory *inv)
{
    if (!inv)
        return;
    free(inv->fn);
    free(inv);
}

const struct vfio_fn *
vfio_find(const struct vfio_inventory *inv, struct pci_addr a)
{
    const struct vfio_fn key = {.addr = a};

    return inv->n ? bsearch(&key, inv->fn, inv->n, sizeof(*inv->fn), fn_cmp) : NULL;
}

int
vfio_node_path(const struct vfio_fn *fn, bool allow_group, char *buf, size_t size, struct err *e)
{
    int n;

    if (!vfio_is_vfio_driver(fn->driver))
        return err_reason(e, ENXIO, ERR_CLASS_INVALID, REASON_NOT_BOUND,
                          "VFIO node of %s: it is bound to %s, not to a VFIO driver",
                          PCI_STR(fn->addr), fn->driver[0] ? fn->driver : "no driver");
    if (fn->cdev < 0 && (!allow_group || fn->iommu_group < 0))
        return err_reason(e, ENXIO, ERR_CLASS_INVALID, REASON_NO_CDEV,
                          "VFIO node of %s: the kernel offers no /dev/vfio/devices node for it",
                          PCI_STR(fn->addr));
    n = fn->cdev >= 0 ? snprintf(buf, size, PATH_DEV_VFIO_CDEVS "/vfio%d", fn->cdev)
                      : snprintf(buf, size, PATH_DEV_VFIO "/%d", fn->iommu_group);
    if (n < 0 || (size_t)n >= size)
        return err_set(e, ENAMETOOLONG, ERR_CLASS_INVALID, "VFIO node of %s: path too long",
                       PCI_STR(fn->addr));
    return 0;
}

struct vfio_devnum
vfio_node_num(const struct vfio_fn *fn, bool allow_group)
{
    const struct vfio_devnum none = {0};

    if (fn->cdev >= 0)
        return fn->cdev_num;
    return allow_group ? fn->group_num : none;
}
