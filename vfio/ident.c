/* SPDX-License-Identifier: Apache-2.0
 *
 * The one file that talks to libpci. Its error callback must not return and its default ends the
 * process, so ours jumps back to the guarded call. The jump target is thread-local because the
 * callback has no context argument. What libpci leaks by the jump is at most one small allocation,
 * freed with the access object.
 */
#include "vfio/ident.h"

#include "base/cleanup.h"
#include "vfio/parse.h"
#include "vfio/paths.h"

#include <pci/pci.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* pci.ids is 1.3 MB in 2023; a larger file than this is not one. */
#define IDS_MAX (16u << 20)

/* PCI base classes and subclasses: PCI Code and ID Assignment Specification 1.11, chapter 1. */
#define CLASS_VGA 0x0300u
#define CLASS_3D 0x0302u
#define CLASS_BRIDGE_PCI 0x0604u
#define CLASS_BRIDGE_SEMI 0x0609u
#define CLASS_BRIDGE_OTHER 0x0680u /* NVSwitch */

struct ident {
    struct pci_access *pci; /* NULL: do without */
    const char *ids;        /* mapped pci.ids, NULL until needed or where there is none */
    size_t ids_len;
    bool ids_tried;
};

static _Thread_local jmp_buf *guard;
static _Thread_local char guard_text[128];

static void __attribute__((noreturn, format(printf, 1, 2))) on_error(char *msg, ...)
{
    va_list ap;

    va_start(ap, msg);
    (void)vsnprintf(guard_text, sizeof(guard_text), msg, ap);
    va_end(ap);
    if (!guard)
        abort(); /* libpci was called without a guard: a defect of this file */
    longjmp(*guard, 1);
}

static void __attribute__((format(printf, 1, 2))) on_message(char *msg, ...)
{
    (void)msg;
}

static struct pci_access *
open_libpci(const struct fs_root *root)
{
    struct pci_access *volatile a = NULL;
    char param[] = "sysfs.path", path[PATH_MAX];
    jmp_buf here;
    int n = snprintf(path, sizeof(path), "%s%s", strcmp(root->path, "/") == 0 ? "" : root->path,
                     PATH_PCI);

    if (n < 0 || (size_t)n >= sizeof(path))
        return NULL;
    guard = &here;
    if (setjmp(here) == 0) {
        a = pci_alloc();
        a->error = on_error;
        a->warning = on_message;
        a->debug = on_message;
        a->method = PCI_ACCESS_SYS_BUS_PCI;
        if (pci_set_param(a, param, path) < 0)
            longjmp(here, 1);
        pci_init(a);
    } else if (a) {
        /* pci_init() failed before it chose its methods: nothing is open yet. */
        pci_cleanup(a);
        a = NULL;
    }
    guard = NULL;
    return a;
}

struct ident *
ident_new(const struct fs_root *root)
{
    struct ident *id = calloc(1, sizeof(*id));

    if (id)
        id->pci = open_libpci(root);
    return id;
}

void
ident_free(struct ident *id)
{
    if (!id)
        return;
    if (id->pci)
        pci_cleanup(id->pci);
    if (id->ids)
        (void)munmap((void *)(uintptr_t)id->ids, id->ids_len);
    free(id);
}

/* False, and a text in guard_text, where libpci gave up. */
static bool
fill_by_libpci(struct pci_access *a, struct vfio_fn *fn)
{
    const int want = PCI_FILL_IDENT | PCI_FILL_CLASS | PCI_FILL_CLASS_EXT | PCI_FILL_SUBSYS;
    struct pci_dev *volatile d = NULL;
    volatile bool ok = false;
    jmp_buf here;

    if (fn->addr.domain > INT_MAX)
        return false;
    guard = &here;
    if (setjmp(here) == 0) {
        d = pci_get_dev(a, (int)fn->addr.domain, fn->addr.bus, fn->addr.dev, fn->addr.fn);
        ok = (pci_fill_info(d, want) & PCI_FILL_IDENT) != 0;
    }
    guard = NULL;
    if (!d)
        return false;
    /* libpci takes text that is no number for 0: then the attributes are read strictly. */
    if (ok && d->vendor_id != 0 && d->vendor_id != 0xffff && d->device_id != 0 &&
        d->device_id != 0xffff && d->device_class != 0 && (d->known_fields & PCI_FILL_CLASS)) {
        fn->vendor = d->vendor_id;
        fn->device = d->device_id;
        fn->class_code = (uint32_t)d->device_class << 8;
        if (d->known_fields & PCI_FILL_CLASS_EXT)
            fn->class_code |= d->prog_if;
        if (d->known_fields & PCI_FILL_SUBSYS && d->subsys_vendor_id != 0xffff) {
            fn->subsys_vendor = d->subsys_vendor_id;
            fn->subsys_device = d->subsys_id;
        }
    } else {
        ok = false;
    }
    pci_free_dev(d);
    return ok;
}

static int
read_hex(const struct fs_root *root, struct pci_addr a, const char *attr, uint32_t max,
         uint32_t *ret, struct err *e)
{
    char buf[32];
    int r = vfio_attr_read(root, a, attr, buf, sizeof(buf), e);

    if (r < 0)
        return r;
    if (!vfio_parse_hex(buf, max, ret))
        return err_reason(e, EBADMSG, ERR_CLASS_HW, REASON_UNREADABLE,
                          "read %s of %s: \"%s\" is not a hexadecimal number", attr, PCI_STR(a),
                          buf);
    return 0;
}

static int
fill_by_attributes(const struct fs_root *root, struct vfio_fn *fn, struct err *e)
{
    struct err ignored = ERR_INIT;
    uint32_t vendor, device, class_code, sub;
    int r;

    r = read_hex(root, fn->addr, "vendor", 0xffff, &vendor, e);
    if (r < 0)
        return r;
    fn->vendor = (uint16_t)vendor; /* worth knowing even where the rest is unreadable */
    r = read_hex(root, fn->addr, "device", 0xffff, &device, e);
    if (r == 0)
        r = read_hex(root, fn->addr, "class", 0xffffff, &class_code, e);
    if (r < 0)
        return r;
    fn->device = (uint16_t)device;
    fn->class_code = class_code;
    if (read_hex(root, fn->addr, "subsystem_vendor", 0xffff, &sub, &ignored) == 0)
        fn->subsys_vendor = (uint16_t)sub;
    if (read_hex(root, fn->addr, "subsystem_device", 0xffff, &sub, &ignored) == 0)
        fn->subsys_device = (uint16_t)sub;
    return 0;
}

void
ident_fill(struct ident *id, const struct fs_root *root, struct vfio_fn *fn)
{
    struct err e = ERR_INIT;

    if (id && id->pci && fill_by_libpci(id->pci, fn)) {
        fn->kind = ident_kind(fn->vendor, fn->class_code);
        return;
    }
    if (fill_by_attributes(root, fn, &e) < 0) {
        fn->kind = VFIO_KIND_OTHER;
        fn->reason = REASON_UNREADABLE;
        (void)snprintf(fn->text, sizeof(fn->text), "%.*s", (int)sizeof(fn->text) - 1, e.msg);
        return;
    }
    fn->kind = ident_kind(fn->vendor, fn->class_code);
}

enum vfio_kind
ident_kind(uint16_t vendor, uint32_t class_code)
{
    const uint32_t c = class_code >> 8;

    if (c == CLASS_BRIDGE_PCI || c == CLASS_BRIDGE_SEMI)
        return VFIO_KIND_BRIDGE;
    if (vendor != PCI_VENDOR_NVIDIA)
        return VFIO_KIND_OTHER;
    if (c == CLASS_VGA || c == CLASS_3D)
        return VFIO_KIND_GPU;
    if (c == CLASS_BRIDGE_OTHER)
        return VFIO_KIND_NVSWITCH;
    return VFIO_KIND_OTHER;
}

/* The file that libpci was built for, without the compression that it may expect. */
static void
map_ids(struct ident *id)
{
    _cleanup_fd_ int fd = -1;
    char path[256];
    struct stat st;
    size_t n;
    void *p;

    id->ids_tried = true;
    if (!id->pci || !str_copy(path, sizeof(path), id->pci->id_file_name))
        return;
    n = strlen(path);
    if (n > 3 && strcmp(path + n - 3, ".gz") == 0)
        path[n - 3] = '\0';
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > (off_t)IDS_MAX)
        return;
    p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return;
    id->ids = p;
    id->ids_len = (size_t)st.st_size;
}

static bool
name_by_libpci(struct pci_access *a, struct vfio_fn *fn)
{
    const char *volatile name = NULL;
    jmp_buf here;

    guard = &here;
    if (setjmp(here) == 0)
        name = pci_lookup_name(a, fn->name, (int)sizeof(fn->name),
                               PCI_LOOKUP_DEVICE | PCI_LOOKUP_NO_NUMBERS, (int)fn->vendor,
                               (int)fn->device);
    guard = NULL;
    return name == fn->name;
}

/* libpci's lookup parses the whole file into a hash (7.6 ms measured) for each scan; one
 * name is found in the mapped text in 0.1 ms. So libpci is asked only where the file is compressed
 * or absent (it then knows udev's database). */
void
ident_name(struct ident *id, struct vfio_fn *fn)
{
    if (id && !id->ids_tried)
        map_ids(id);
    if (id && id->ids &&
        vfio_ids_name(id->ids, id->ids_len, fn->vendor, fn->device, fn->name, sizeof(fn->name)))
        return;
    if (id && id->pci && !id->ids && name_by_libpci(id->pci, fn))
        return;
    (void)snprintf(fn->name, sizeof(fn->name), "%04x:%04x", fn->vendor, fn->device);
}
