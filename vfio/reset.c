/* SPDX-License-Identifier: Apache-2.0
 *
 * Resets. Stateless; a write to `reset` can block for more than a minute on a dead device (the
 * kernel polls for 60 s, PCIE_RESET_READY_POLL_MS), a write to `remove` for as long as somebody
 * holds it.
 */
#include "vfio/bind.h"

#include "vfio/clock.h"
#include "vfio/parse.h"
#include "vfio/paths.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Both writes come back when the work is done; this is for what the kernel only announces. */
#define REMOVE_TIMEOUT HW_SEC(1)
#define RESCAN_TIMEOUT HW_SEC(2)
#define PRESENT_POLL HW_MS(10)

/* Methods that reset one function, and those that reset its whole bus, best first. Names: Linux
 * drivers/pci/pci.c, pci_reset_fn_methods[]. */
static const char *const function_methods[] = {"flr", "af_flr", "device_specific", "pm", NULL};
static const char *const bus_methods[] = {"bus", "cxl_bus", NULL};

const char *
vfio_reset_name(enum vfio_reset r)
{
    switch (r) {
    case VFIO_RESET_FUNCTION:
        return "function reset";
    case VFIO_RESET_BUS:
        return "bus reset";
    case VFIO_RESET_REMOVE_RESCAN:
        return "remove/rescan";
    }
    return "unknown reset";
}

/* Selects a method of the kind. Methods that the list has are preferred, but others are offered to
 * the kernel as well: a process that died between select and restore leaves a shortened list. */
static int
select_method(const struct fs_root *root, struct pci_addr a, enum vfio_reset how, const char *list,
              struct err *e)
{
    const char *const *m = how == VFIO_RESET_BUS ? bus_methods : function_methods;

    if (!list[0])
        return err_reason(e, ENOTTY, ERR_CLASS_HW, REASON_RESET_FAILED,
                          "all reset methods are disabled (reset_method is empty)");
    for (int listed = 1; listed >= 0; listed--)
        for (size_t i = 0; m[i]; i++) {
            struct err sub = ERR_INIT;
            int r;

            if (vfio_list_has(list, m[i]) != (listed == 1))
                continue;
            r = vfio_attr_write(root, a, "reset_method", m[i], &sub);
            if (r >= 0)
                return 0;
            if (r != -EINVAL) {
                *e = sub;
                return vfio_name_error(root, a, REASON_RESET_FAILED, ERR_CLASS_HW, e);
            }
        }
    return err_reason(e, ENOTTY, ERR_CLASS_HW, REASON_RESET_FAILED,
                      "the kernel offers only \"%s\" for it", list);
}

static int
write_reset(const struct fs_root *root, struct pci_addr a, struct err *e)
{
    int r = vfio_attr_write(root, a, "reset", "1", e);

    if (r >= 0)
        return 0;
    (void)vfio_name_error(root, a, REASON_RESET_FAILED, ERR_CLASS_HW, e);
    /* Absent: the kernel found no method at boot. ENOTTY: every method failed or the device did not
     * come back, though the wire may have been reset. */
    return -e->num;
}

/* The kernel makes the list of function 0 before it finds the slot's other functions, and then
 * refuses it when it is written back: "bus" cannot reset one function among several (Linux 6.12,
 * pci_init_reset_methods, pci_parent_bus_reset). "default" makes it probe anew. */
static int
restore_methods(const struct fs_root *root, struct pci_addr a, const char *list, struct err *e)
{
    int r = vfio_attr_write(root, a, "reset_method", list, e);

    if (r != -EINVAL)
        return r;
    err_clear(e);
    return vfio_attr_write(root, a, "reset_method", "default", e);
}

static int
reset_by_method(const struct fs_root *root, struct pci_addr a, enum vfio_reset how, struct err *e)
{
    char list[128];
    struct err sub = ERR_INIT;
    int r = vfio_attr_read(root, a, "reset_method", list, sizeof(list), &sub);

    if (r == -ENOENT && vfio_present(root, a)) {
        /* Linux < 5.15 chooses by itself, function-level methods first. */
        if (how == VFIO_RESET_FUNCTION)
            return write_reset(root, a, e);
        return err_reason(e, ENOTTY, ERR_CLASS_HW, REASON_RESET_FAILED,
                          "the kernel has no reset_method to select it with");
    }
    if (r < 0) {
        *e = sub;
        return vfio_name_error(root, a, REASON_RESET_FAILED, ERR_CLASS_HW, e);
    }
    r = select_method(root, a, how, list, e);
    if (r == 0)
        r = write_reset(root, a, e);
    /* Restored on failure too. A lone newline would disable all methods, so an empty list, which
     * select_method refuses, is never written back. */
    if (list[0] && restore_methods(root, a, list, &sub) < 0 && r == 0) {
        *e = sub;
        (void)vfio_name_error(root, a, REASON_RESET_FAILED, ERR_CLASS_HW, e);
        r = err_prefix(e, "done, but the list of methods was not restored");
    }
    return r;
}

static bool
wait_present(const struct fs_root *root, struct pci_addr a, bool want, uint64_t timeout)
{
    const uint64_t end = clock_now_ns() + timeout;

    while (vfio_present(root, a) != want) {
        if (clock_now_ns() >= end)
            return false;
        clock_sleep_ns(PRESENT_POLL);
    }
    return true;
}

/* The plan: remove, see it gone, rescan, see it back, and see that the kernel found room for its
 * BARs: a function without BAR0 is back in name only. */
static int
remove_rescan(const struct fs_root *root, struct pci_addr a, struct err *e)
{
    char text[1024];
    uint64_t start, size, flags;

    if (vfio_attr_write(root, a, "remove", "1", e) < 0)
        return vfio_name_error(root, a, REASON_RESET_FAILED, ERR_CLASS_HW, e);
    if (!wait_present(root, a, false, REMOVE_TIMEOUT))
        return err_reason(e, ETIMEDOUT, ERR_CLASS_HW, REASON_RESET_FAILED,
                          "the function did not leave the bus");
    if (fs_write_attr(root, PATH_PCI_RESCAN, "1", e) < 0) {
        e->reason = REASON_RESET_FAILED;
        e->cls = ERR_CLASS_HW;
        return -e->num;
    }
    if (!wait_present(root, a, true, RESCAN_TIMEOUT))
        return err_reason(e, ENODEV, ERR_CLASS_HW, REASON_DEVICE_GONE,
                          "the function did not come back at the rescan");
    if (vfio_attr_read(root, a, "resource", text, sizeof(text), e) < 0)
        return vfio_name_error(root, a, REASON_RESET_FAILED, ERR_CLASS_HW, e);
    if (!vfio_parse_resource(text, 0, &start, &size, &flags) || size == 0)
        return err_reason(e, ENOSPC, ERR_CLASS_HW, REASON_RESET_FAILED,
                          "the function came back without BAR0: no address space was left for it");
    return 0;
}

int
vfio_reset_dev(const struct fs_root *root, struct pci_addr a, enum vfio_reset how, struct err *e)
{
    int r = how == VFIO_RESET_REMOVE_RESCAN ? remove_rescan(root, a, e)
                                            : reset_by_method(root, a, how, e);

    if (r < 0)
        return err_prefix(e, "%s of %s", vfio_reset_name(how), PCI_STR(a));
    return 0;
}
