/* SPDX-License-Identifier: Apache-2.0
 *
 * hw_dev over sysfs. Owns its mapping and descriptors; one thread at a time. A device that is
 * removed from the bus takes the mapping with it (SIGBUS): workers that use this are disposable.
 */
#include "vfio/dev_sysfs.h"

#include "base/cleanup.h"
#include "vfio/bind.h"
#include "vfio/clock.h"
#include "vfio/parse.h"
#include "vfio/paths.h"

#include <linux/magic.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

/* BAR0 is 16 MiB on data-centre parts, 64 MiB on GB20x. */
#define BAR0_MAX ((uint64_t)256 << 20)
#define BAR0_MIN 0x1000u
#define FLAG_MEM 0x200u /* IORESOURCE_MEM, Linux include/linux/ioport.h */

struct dev_sysfs {
    const struct fs_root *root;
    struct hw_dev hw;
    volatile uint32_t *map; /* NULL: by pread and pwrite on bar_fd */
    size_t size;            /* of BAR0 */
    int bar_fd, cfg_fd;
};

/* ---- BAR0 ---- */

static int
check_bar(const struct dev_sysfs *d, uint32_t off, struct err *e)
{
    if (off % 4 == 0 && off < d->size)
        return 0;
    return err_set(e, EINVAL, ERR_CLASS_INVALID,
                   "access BAR0 of %s: offset 0x%x is unaligned or outside its 0x%zx bytes",
                   PCI_STR(d->hw.addr), off, d->size);
}

static int
bar_error(const struct dev_sysfs *d, const char *what, uint32_t off, int num, struct err *e)
{
    enum reason why = REASON_BAR_DEAD;
    enum err_class cls = ERR_CLASS_HW;

    if (num == ENODEV || num == ENOENT || num == ENXIO) {
        why = REASON_DEVICE_GONE;
    } else if (num == EPERM) {
        why = REASON_LOCKDOWN;
        cls = ERR_CLASS_INVALID;
    } else if (num == EINVAL) {
        why = REASON_STRICT_DEVMEM;
        cls = ERR_CLASS_BUSY;
    }
    return err_reason(e, num, cls, why, "%s BAR0 of %s at 0x%x: %s", what, PCI_STR(d->hw.addr), off,
                      strerror(num));
}

static int
bar_read32(void *ctx, uint32_t off, uint32_t *ret, struct err *e)
{
    const struct dev_sysfs *d = ctx;
    uint32_t v;
    ssize_t n;
    int r = check_bar(d, off, e);

    if (r < 0)
        return r;
    if (d->map) {
        *ret = d->map[off / 4];
        return 0;
    }
    n = pread(d->bar_fd, &v, sizeof(v), (off_t)off);
    if (n != (ssize_t)sizeof(v))
        return bar_error(d, "read", off, n < 0 ? errno : EIO, e);
    *ret = v;
    return 0;
}

static int
bar_write32(void *ctx, uint32_t off, uint32_t val, struct err *e)
{
    const struct dev_sysfs *d = ctx;
    ssize_t n;
    int r = check_bar(d, off, e);

    if (r < 0)
        return r;
    if (d->map) {
        d->map[off / 4] = val;
        return 0;
    }
    n = pwrite(d->bar_fd, &val, sizeof(val), (off_t)off);
    if (n != (ssize_t)sizeof(val))
        return bar_error(d, "write", off, n < 0 ? errno : EIO, e);
    return 0;
}

/* ---- configuration space ---- */

static int
check_cfg(const struct dev_sysfs *d, uint32_t off, unsigned width, struct err *e)
{
    if ((width == 1 || width == 2 || width == 4) && off % width == 0 && off < 4096)
        return 0;
    return err_set(e, EINVAL, ERR_CLASS_INVALID,
                   "access configuration space of %s: width %u at 0x%x is not allowed",
                   PCI_STR(d->hw.addr), width, off);
}

static int
cfg_read(void *ctx, uint32_t off, unsigned width, uint32_t *ret, struct err *e)
{
    const struct dev_sysfs *d = ctx;
    uint8_t b[4] = {0xff, 0xff, 0xff, 0xff};
    uint32_t v = 0;
    ssize_t n;
    int r = check_cfg(d, off, width, e);

    if (r < 0)
        return r;
    n = pread(d->cfg_fd, b, width, (off_t)off);
    if (n < 0)
        return err_reason(e, errno, ERR_CLASS_HW,
                          errno == ENODEV ? REASON_DEVICE_GONE : REASON_UNREADABLE,
                          "read configuration space of %s at 0x%x: %s", PCI_STR(d->hw.addr), off,
                          strerror(errno));
    /* Past the end of a function without extended space nothing answers: all-ones. */
    if (n != (ssize_t)width)
        memset(b, 0xff, sizeof(b));
    for (unsigned i = 0; i < width; i++)
        v |= (uint32_t)b[i] << 8 * i;
    *ret = v;
    return 0;
}

static int
cfg_write(void *ctx, uint32_t off, unsigned width, uint32_t val, struct err *e)
{
    const struct dev_sysfs *d = ctx;
    uint8_t b[4];
    ssize_t n;
    int num, r = check_cfg(d, off, width, e);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < width; i++)
        b[i] = (uint8_t)(val >> 8 * i);
    n = pwrite(d->cfg_fd, b, width, (off_t)off);
    if (n == (ssize_t)width)
        return 0;
    num = n < 0 ? errno : EIO;
    /* EBADF: lockdown or permissions left us a descriptor that only reads. */
    return err_reason(e, num, ERR_CLASS_HW,
                      num == EPERM || num == EBADF ? REASON_LOCKDOWN
                      : num == ENODEV              ? REASON_DEVICE_GONE
                                                   : REASON_UNREADABLE,
                      "write configuration space of %s at 0x%x: %s", PCI_STR(d->hw.addr), off,
                      strerror(num));
}

/* ---- reset and clock ---- */

static int
do_reset(void *ctx, enum hw_reset how, struct err *e)
{
    const struct dev_sysfs *d = ctx;

    return vfio_reset_dev(d->root, d->hw.addr,
                          how == HW_RESET_BUS ? VFIO_RESET_BUS : VFIO_RESET_FUNCTION, e);
}

static uint64_t
now_ns(void *ctx)
{
    (void)ctx;
    return clock_now_ns();
}

static void
sleep_ns(void *ctx, uint64_t ns)
{
    (void)ctx;
    clock_sleep_ns(ns);
}

static const struct hw_dev_ops ops = {
    .bar_read32 = bar_read32,
    .bar_write32 = bar_write32,
    .cfg_read = cfg_read,
    .cfg_write = cfg_write,
    .reset = do_reset,
    .now_ns = now_ns,
    .sleep_ns = sleep_ns,
};

/* ---- opening ---- */

/* EPERM is lockdown, unless the kernel says that there is none. */
static int
open_error(const struct fs_root *root, const struct dev_sysfs *d, const char *what, int num,
           struct err *e)
{
    char state[128];
    struct err ignored = ERR_INIT;
    enum reason why = REASON_BAR_DEAD;
    enum err_class cls = ERR_CLASS_HW;

    if (num == EINVAL) {
        why = REASON_STRICT_DEVMEM;
        cls = ERR_CLASS_BUSY;
    } else if (num == EACCES || num == EROFS) {
        why = REASON_PERMISSION;
        cls = ERR_CLASS_FATAL;
    } else if (num == EPERM) {
        bool none = fs_read_attr(root, PATH_LOCKDOWN, state, sizeof(state), &ignored) >= 0 &&
                    vfio_list_has(state, "[none]");

        why = none ? REASON_PERMISSION : REASON_LOCKDOWN;
        cls = none ? ERR_CLASS_FATAL : ERR_CLASS_INVALID;
    } else if (!vfio_present(root, d->hw.addr)) {
        why = REASON_DEVICE_GONE;
    }
    return err_reason(e, num, cls, why, "open BAR0 of %s: %s: %s", PCI_STR(d->hw.addr), what,
                      strerror(num));
}

static int
bar0_size(struct dev_sysfs *d, struct err *e)
{
    char text[1024];
    uint64_t start, size, flags;

    if (vfio_attr_read(d->root, d->hw.addr, "resource", text, sizeof(text), e) < 0) {
        (void)vfio_name_error(d->root, d->hw.addr, REASON_BAR_DEAD, ERR_CLASS_HW, e);
        return err_prefix(e, "open BAR0 of %s", PCI_STR(d->hw.addr));
    }
    if (!vfio_parse_resource(text, 0, &start, &size, &flags) || size < BAR0_MIN ||
        size > BAR0_MAX || !(flags & FLAG_MEM))
        return err_reason(e, ENXIO, ERR_CLASS_HW, REASON_BAR_DEAD,
                          "open BAR0 of %s: resource line 0 \"%.*s\" is no usable memory BAR",
                          PCI_STR(d->hw.addr), (int)strcspn(text, "\n"), text);
    d->size = (size_t)size;
    return 0;
}

/* Decided once, here: mmap on a real sysfs, pread and pwrite on anything else (a simulated node's
 * file takes each access as a call; mapping it would show a page cache). */
static int
open_bar0(struct dev_sysfs *d, struct err *e)
{
    char path[VFIO_PATH_MAX];
    struct err sub = ERR_INIT;
    struct statfs fs;
    void *p;

    d->bar_fd = fs_open(d->root, vfio_path(path, d->hw.addr, "resource0"), O_RDWR, 0, &sub);
    if (d->bar_fd < 0)
        return open_error(d->root, d, "open resource0", sub.num, e);
    if (fstatfs(d->bar_fd, &fs) < 0)
        return open_error(d->root, d, "look at resource0", errno, e);
    if (fs.f_type != SYSFS_MAGIC)
        return 0;
    p = mmap(NULL, d->size, PROT_READ | PROT_WRITE, MAP_SHARED, d->bar_fd, 0);
    if (p == MAP_FAILED)
        return open_error(d->root, d, "map resource0", errno, e);
    d->map = p;
    return 0;
}

static int
open_config(struct dev_sysfs *d, struct err *e)
{
    char path[VFIO_PATH_MAX];
    struct err sub = ERR_INIT;

    (void)vfio_path(path, d->hw.addr, "config");
    d->cfg_fd = fs_open(d->root, path, O_RDWR, 0, &sub);
    if (d->cfg_fd == -EPERM || d->cfg_fd == -EACCES || d->cfg_fd == -EROFS) {
        err_clear(&sub);
        d->cfg_fd = fs_open(d->root, path, O_RDONLY, 0, &sub);
    }
    if (d->cfg_fd >= 0)
        return 0;
    *e = sub;
    (void)vfio_name_error(d->root, d->hw.addr, REASON_UNREADABLE, ERR_CLASS_HW, e);
    return err_prefix(e, "open configuration space of %s", PCI_STR(d->hw.addr));
}

static void
close_p(struct dev_sysfs **d)
{
    dev_sysfs_close(*d);
}

int
dev_sysfs_open(const struct fs_root *root, const struct vfio_fn *fn, struct dev_sysfs **ret,
               struct err *e)
{
    _cleanup_(close_p) struct dev_sysfs *d = calloc(1, sizeof(*d));
    int r;

    if (!d)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "open BAR0 of %s", PCI_STR(fn->addr));
    d->root = root;
    d->bar_fd = d->cfg_fd = -1;
    d->hw = (struct hw_dev){
        .ops = &ops,
        .ctx = d,
        .addr = fn->addr,
        .vendor = fn->vendor,
        .device = fn->device,
        .subsys_vendor = fn->subsys_vendor,
        .subsys_device = fn->subsys_device,
        .class_code = fn->class_code,
    };
    r = bar0_size(d, e);
    if (r == 0)
        r = open_bar0(d, e);
    if (r == 0)
        r = open_config(d, e);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(struct dev_sysfs, d);
    return 0;
}

void
dev_sysfs_close(struct dev_sysfs *d)
{
    if (!d)
        return;
    if (d->map)
        (void)munmap((void *)(uintptr_t)d->map, d->size);
    fd_close(&d->bar_fd);
    fd_close(&d->cfg_fd);
    free(d);
}

const struct hw_dev *
dev_sysfs_hw(const struct dev_sysfs *d)
{
    return &d->hw;
}
