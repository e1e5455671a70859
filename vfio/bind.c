/* SPDX-License-Identifier: Apache-2.0
 *
 * Binding and giving back. Stateless; to be called from a disposable worker process, because each
 * write can block for as long as somebody holds the device. Kernel behaviour as measured on Linux
 * 6.12 with the real vfio-pci.
 */
#include "vfio/bind.h"

#include "vfio/paths.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DRIVER_MAX 64

/* Module and driver names differ in '-' and '_' (vfio_pci registers "vfio-pci"). Finds the
 * driver's directory name for either spelling. */
static int
find_driver(const struct fs_root *root, const char *driver, char ret[DRIVER_MAX], struct err *e)
{
    static const char *const from_to[] = {"", "_-", "-_"};
    char path[VFIO_PATH_MAX], name[DRIVER_MAX];

    if (!driver[0] || strchr(driver, '/') || driver[0] == '.' || strlen(driver) >= sizeof(name))
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "driver \"%.64s\": not a driver's name",
                       driver);
    for (size_t i = 0; i < sizeof(from_to) / sizeof(from_to[0]); i++) {
        (void)str_copy(name, sizeof(name), driver);
        for (char *p = name; *p && i > 0; p++)
            if (*p == from_to[i][0])
                *p = from_to[i][1];
        if (fs_exists(root, vfio_driver_path(path, name, ""))) {
            (void)str_copy(ret, DRIVER_MAX, name);
            return 0;
        }
    }
    return err_reason(e, ENOENT, ERR_CLASS_RETRY,
                      vfio_is_vfio_driver(driver) ? REASON_VFIO_PCI_NOT_LOADED : REASON_BIND_FAILED,
                      "driver %s: not loaded", driver);
}

static int
set_override(const struct fs_root *root, struct pci_addr a, const char *driver, struct err *e)
{
    /* An empty write changes nothing; a lone newline clears (Linux 6.12). */
    int r = vfio_attr_write(root, a, "driver_override", driver[0] ? driver : "\n", e);

    if (r < 0)
        return vfio_name_error(root, a, REASON_BIND_FAILED, ERR_CLASS_HW, e);
    return 0;
}

/* Unbinding what is not bound is success. */
static int
unbind(const struct fs_root *root, struct pci_addr a, struct err *e)
{
    struct err sub = ERR_INIT;
    int r = vfio_attr_write(root, a, "driver/unbind", PCI_STR(a), &sub);

    if (r >= 0)
        return 0;
    if ((r == -ENOENT || r == -ENODEV) && vfio_present(root, a)) {
        char now[DRIVER_MAX];
        struct err ignored = ERR_INIT;

        if (vfio_driver_of(root, a, now, sizeof(now), &ignored) == 0 && !now[0])
            return 0;
    }
    *e = sub;
    return vfio_name_error(root, a, REASON_UNBIND_FAILED, ERR_CLASS_HW, e);
}

/* Writes drivers/<driver>/bind and believes only the driver link. */
static int
bind_verified(const struct fs_root *root, struct pci_addr a, const char *driver, struct err *e)
{
    char path[VFIO_PATH_MAX], now[DRIVER_MAX] = "";
    struct err sub = ERR_INIT, ignored = ERR_INIT;
    int w = fs_write_attr(root, vfio_driver_path(path, driver, "bind"), PCI_STR(a), &sub);

    /* EBUSY: bound already, perhaps by a probe that came before us, perhaps to another driver. */
    if ((w >= 0 || w == -EBUSY) && vfio_driver_of(root, a, now, sizeof(now), &ignored) == 0 &&
        strcmp(now, driver) == 0)
        return 0;
    if (w >= 0 && !vfio_present(root, a))
        return err_reason(e, ENODEV, ERR_CLASS_HW, REASON_DEVICE_GONE,
                          "it left the bus while it was bound");
    if (w >= 0)
        return err_reason(e, ENXIO, ERR_CLASS_HW, REASON_BIND_FAILED,
                          "write bind: the kernel reported success, but the function is bound to "
                          "%s",
                          now[0] ? now : "no driver");
    *e = sub;
    (void)vfio_name_error(root, a, REASON_BIND_FAILED, ERR_CLASS_HW, e);
    if (w == -EBUSY && now[0])
        (void)err_prefix(e, "bound to %s meanwhile", now);
    return -e->num;
}

/* After a failed bind: the override as it was, and the former driver if we took the function from
 * it. Best effort; what did not work is added to the error. */
static void
roll_back(const struct fs_root *root, struct pci_addr a, const char *override, const char *former,
          struct err *e)
{
    struct err sub = ERR_INIT;

    if (e->reason == REASON_DEVICE_GONE)
        return;
    if (set_override(root, a, override, &sub) < 0)
        (void)err_prefix(e, "(the former driver_override \"%s\" could not be restored: %.100s)",
                         override, sub.msg);
    err_clear(&sub);
    if (!former[0])
        return;
    if (bind_verified(root, a, former, &sub) < 0)
        (void)err_prefix(e, "(left unbound, %s could not be bound again: %.100s)", former, sub.msg);
}

/* The plan:
 *   1 the driver is loaded, else nothing is touched;
 *   2 nothing to do where it is bound already;
 *   3 override first, so that no other driver can take the function once it is free;
 *   4 unbind the former driver;
 *   5 bind, and verify by the driver link. A failure of 4 or 5 undoes 3 and 4. */
int
vfio_bind(const struct fs_root *root, struct pci_addr a, const char *driver, struct err *e)
{
    char name[DRIVER_MAX], former[DRIVER_MAX] = "", override[256] = "";
    int r;

    r = find_driver(root, driver, name, e);
    if (r < 0)
        return err_prefix(e, "bind %s to %s", PCI_STR(a), driver);

    r = vfio_driver_of(root, a, former, sizeof(former), e);
    if (r == 0 && strcmp(former, name) == 0)
        return 0;
    if (r == 0)
        r = vfio_override_of(root, a, override, sizeof(override), e);
    if (r < 0) {
        (void)vfio_name_error(root, a, REASON_UNREADABLE, ERR_CLASS_HW, e);
        return err_prefix(e, "bind %s to %s", PCI_STR(a), name);
    }

    r = set_override(root, a, name, e);
    if (r < 0)
        return err_prefix(e, "bind %s to %s", PCI_STR(a), name);

    r = unbind(root, a, e);
    if (r < 0) {
        roll_back(root, a, override, "", e);
        return err_prefix(e, "bind %s to %s: unbind from %s", PCI_STR(a), name, former);
    }
    r = bind_verified(root, a, name, e);
    if (r < 0) {
        roll_back(root, a, override, former, e);
        return err_prefix(e, "bind %s to %s", PCI_STR(a), name);
    }
    return 0;
}

/* Binds by name, or, where the driver knows the function only by a probe, by a probe. */
static int
rebind(const struct fs_root *root, struct pci_addr a, const char *driver, struct err *e)
{
    char now[DRIVER_MAX];
    struct err sub = ERR_INIT;

    if (bind_verified(root, a, driver, &sub) == 0)
        return 0;
    if (fs_write_attr(root, PATH_PCI_DRIVERS_PROBE, PCI_STR(a), e) < 0)
        return vfio_name_error(root, a, REASON_BIND_FAILED, ERR_CLASS_HW, e);
    if (vfio_driver_of(root, a, now, sizeof(now), e) < 0)
        return vfio_name_error(root, a, REASON_UNREADABLE, ERR_CLASS_HW, e);
    if (strcmp(now, driver) == 0)
        return 0;
    *e = sub;
    return -e->num;
}

int
vfio_give_back(const struct fs_root *root, struct pci_addr a, const char *driver, struct err *e)
{
    char now[DRIVER_MAX] = "", name[DRIVER_MAX] = "";
    int r;

    r = set_override(root, a, "", e);
    if (r == 0)
        r = vfio_driver_of(root, a, now, sizeof(now), e);
    if (r < 0)
        return err_prefix(e, "give back %s", PCI_STR(a));
    if (strcmp(now, driver) == 0)
        return 0;
    /* Somebody else bound it since: not ours any more. */
    if (now[0] && !vfio_is_vfio_driver(now)) {
        if (!driver[0])
            return 0;
        return err_reason(e, EBUSY, ERR_CLASS_BUSY, REASON_DRIVER_IN_USE,
                          "give back %s to %s: it is bound to %s", PCI_STR(a), driver, now);
    }
    r = unbind(root, a, e);
    if (r < 0)
        return err_prefix(e, "give back %s: unbind from %s", PCI_STR(a), now);
    if (!driver[0])
        return 0;
    r = find_driver(root, driver, name, e);
    if (r == 0)
        r = rebind(root, a, name, e);
    if (r < 0)
        return err_prefix(e, "give back %s to %s", PCI_STR(a), driver);
    return 0;
}
