/* SPDX-License-Identifier: Apache-2.0
 *
 * See fixture.h. Layout as in sysfs: the function's directory below /sys/devices, a relative link
 * to it in /sys/bus/pci/devices and in its IOMMU group.
 */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define P_MAX 512

static void
make_parents(const char *path)
{
    struct err e = ERR_INIT;
    char dir[P_MAX];

    assert_true(str_copy(dir, sizeof(dir), path));
    *strrchr(dir, '/') = '\0';
    if (fs_mkdirs(dir, 0755, &e) < 0)
        fail_msg("%s", e.msg);
}

static void
write_file(const char *path, const void *data, size_t len)
{
    int fd;

    make_parents(path);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    assert_int_equal(close(fd), 0);
}

static void
make_link(const char *target, const char *path)
{
    make_parents(path);
    (void)unlink(path);
    assert_int_equal(symlink(target, path), 0);
}

void
fixture_init(struct fixture *f)
{
    struct err e = ERR_INIT;
    char path[P_MAX];

    (void)str_copy(f->dir, sizeof(f->dir), "/tmp/pgpu-vfio-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(fs_root_open(&f->root, f->dir, &e), 0);
    fixture_file(f, "/sys/bus/pci/drivers/vfio-pci/bind", "");
    fixture_file(f, "/sys/bus/pci/drivers_probe", "");
    (void)snprintf(path, sizeof(path), "%s/sys/bus/pci/devices/x", f->dir);
    make_parents(path);
}

static int
remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

void
fixture_fini(struct fixture *f)
{
    fs_root_close(&f->root);
    (void)nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void
fixture_attr(struct fixture *f, const char *addr, const char *attr, const void *data, size_t len)
{
    char path[P_MAX];

    (void)snprintf(path, sizeof(path), "%s/sys/devices/pci0/%s/%s", f->dir, addr, attr);
    write_file(path, data, len);
}

void
fixture_attr_text(struct fixture *f, const char *addr, const char *attr, const char *text)
{
    fixture_attr(f, addr, attr, text, strlen(text));
}

void
fixture_unlink(struct fixture *f, const char *addr, const char *attr)
{
    char path[P_MAX];

    (void)snprintf(path, sizeof(path), "%s/sys/devices/pci0/%s/%s", f->dir, addr, attr);
    assert_int_equal(unlink(path), 0);
}

void
fixture_file(struct fixture *f, const char *path, const char *text)
{
    char full[2 * P_MAX];

    (void)snprintf(full, sizeof(full), "%s%s", f->dir, path);
    write_file(full, text, strlen(text));
}

const char *
fixture_text(struct fixture *f, const char *path)
{
    static char buf[256];
    struct err e = ERR_INIT;

    if (fs_read_attr(&f->root, path, buf, sizeof(buf), &e) < 0)
        fail_msg("%s", e.msg);
    return buf;
}

void
fixture_add(struct fixture *f, const struct fixture_fn *fn)
{
    static const char bars[] = "0x0000010000000000 0x0000010000ffffff 0x000000000014220c\n"
                               "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
                               "0x0000020000000000 0x0000021fffffffff 0x000000000014220c\n";
    char path[P_MAX], text[128];
    uint8_t config[256] = {0};

    (void)snprintf(text, sizeof(text), "0x%04x\n", fn->vendor);
    fixture_attr_text(f, fn->addr, "vendor", text);
    (void)snprintf(text, sizeof(text), "0x%04x\n", fn->device);
    fixture_attr_text(f, fn->addr, "device", text);
    (void)snprintf(text, sizeof(text), "0x%06x\n", fn->class_code);
    fixture_attr_text(f, fn->addr, "class", text);
    fixture_attr_text(f, fn->addr, "subsystem_vendor", "0x10de\n");
    fixture_attr_text(f, fn->addr, "subsystem_device", "0x1626\n");
    fixture_attr_text(f, fn->addr, "revision", "0xa1\n");
    fixture_attr_text(f, fn->addr, "numa_node", "1\n");
    fixture_attr_text(f, fn->addr, "driver_override", "(null)\n");
    fixture_attr_text(f, fn->addr, "power_state", "D0\n");
    fixture_attr_text(f, fn->addr, "resource", bars);
    fixture_attr_text(f, fn->addr, "irq", "0\n");
    config[4] = 0x03;
    config[5] = 0x01;
    fixture_attr(f, fn->addr, "config", config, sizeof(config));

    (void)snprintf(path, sizeof(path), "%s/sys/bus/pci/devices/%s", f->dir, fn->addr);
    (void)snprintf(text, sizeof(text), "../../../devices/pci0/%s", fn->addr);
    make_link(text, path);
    if (fn->driver) {
        (void)snprintf(path, sizeof(path), "%s/sys/devices/pci0/%s/driver", f->dir, fn->addr);
        (void)snprintf(text, sizeof(text), "../../../bus/pci/drivers/%s", fn->driver);
        make_link(text, path);
        (void)snprintf(path, sizeof(path), "/sys/bus/pci/drivers/%s/unbind", fn->driver);
        fixture_file(f, path, "");
    }
    if (fn->group >= 0) {
        (void)snprintf(path, sizeof(path), "%s/sys/devices/pci0/%s/iommu_group", f->dir, fn->addr);
        (void)snprintf(text, sizeof(text), "../../../kernel/iommu_groups/%d", fn->group);
        make_link(text, path);
        (void)snprintf(path, sizeof(path), "%s/sys/kernel/iommu_groups/%d/devices/%s", f->dir,
                       fn->group, fn->addr);
        (void)snprintf(text, sizeof(text), "../../../../devices/pci0/%s", fn->addr);
        make_link(text, path);
    }
}

struct pci_addr
fixture_addr(const char *s)
{
    struct pci_addr a;

    assert_true(pci_addr_parse(s, &a));
    return a;
}
