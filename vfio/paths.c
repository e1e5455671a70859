/* SPDX-License-Identifier: Apache-2.0
 *
 * Paths and single attributes of a PCI function. Stateless; any thread; may block in the kernel.
 */
#include "vfio/paths.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *
checked(char *buf, int n)
{
    /* A path that does not fit must not be used cut off: "" names nothing and fails to open. */
    if (n < 0 || n >= VFIO_PATH_MAX)
        buf[0] = '\0';
    return buf;
}

const char *
vfio_path(char buf[VFIO_PATH_MAX], struct pci_addr a, const char *attr)
{
    return checked(buf, snprintf(buf, VFIO_PATH_MAX, PATH_PCI_DEVICES "/%s/%s", PCI_STR(a), attr));
}

const char *
vfio_driver_path(char buf[VFIO_PATH_MAX], const char *driver, const char *file)
{
    return checked(buf, snprintf(buf, VFIO_PATH_MAX, PATH_PCI_DRIVERS "/%s%s%s", driver,
                                 *file ? "/" : "", file));
}

int
vfio_attr_read(const struct fs_root *root, struct pci_addr a, const char *attr, char *buf,
               size_t size, struct err *e)
{
    char path[VFIO_PATH_MAX];

    return fs_read_attr(root, vfio_path(path, a, attr), buf, size, e);
}

int
vfio_attr_write(const struct fs_root *root, struct pci_addr a, const char *attr, const char *text,
                struct err *e)
{
    char path[VFIO_PATH_MAX];

    return fs_write_attr(root, vfio_path(path, a, attr), text, e);
}

int
vfio_driver_of(const struct fs_root *root, struct pci_addr a, char *buf, size_t size, struct err *e)
{
    char path[VFIO_PATH_MAX];
    struct err sub = ERR_INIT;
    int r = fs_link_name(root, vfio_path(path, a, "driver"), buf, size, &sub);

    if (r == -ENOENT && vfio_present(root, a)) {
        buf[0] = '\0';
        return 0;
    }
    if (r < 0) {
        *e = sub;
        return r;
    }
    return 0;
}

int
vfio_override_of(const struct fs_root *root, struct pci_addr a, char *buf, size_t size,
                 struct err *e)
{
    struct err sub = ERR_INIT;
    int r = vfio_attr_read(root, a, "driver_override", buf, size, &sub);

    if (r < 0 && r != -ENOENT) {
        *e = sub;
        return r;
    }
    if (r < 0 || strcmp(buf, VFIO_NO_OVERRIDE) == 0)
        buf[0] = '\0';
    return 0;
}

bool
vfio_present(const struct fs_root *root, struct pci_addr a)
{
    char path[VFIO_PATH_MAX];

    return fs_exists(root, vfio_path(path, a, ""));
}

int
vfio_name_error(const struct fs_root *root, struct pci_addr a, enum reason reason,
                enum err_class cls, struct err *e)
{
    if (e->num == EACCES || e->num == EPERM || e->num == EROFS) {
        e->reason = REASON_PERMISSION;
        e->cls = ERR_CLASS_FATAL;
    } else if (!vfio_present(root, a)) {
        e->reason = REASON_DEVICE_GONE;
        e->cls = ERR_CLASS_HW;
    } else {
        e->reason = reason;
        e->cls = cls;
    }
    return -e->num;
}
