/* SPDX-License-Identifier: Apache-2.0
 *
 * doctor's area `devices`: each GPU and NVSwitch on its own. What pgpu-hwd (or, without it, the
 * same check on a scan) says is taken over with its reason; power, BARs and reset are looked at in
 * sysfs here.
 */
#include "cli/doctor.h"

#include "base/cleanup.h"
#include "cli/doctor_files.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* IORESOURCE_MEM, include/linux/ioport.h */
#define RESOURCE_MEM 0x200u
#define BARS 6

#define DEV "/sys/bus/pci/devices/"

/* Reasons whose row here has nothing to add but a severity and the why. The code is the reason's
 * name, the cure the reason's. */
enum {
    C_NO_DEVICES,
    C_SCAN_FAILED,
    C_BAR_UNASSIGNED,
    C_NO_RESET_METHOD,
    C_D3COLD_ALLOWED,
    C_POWER_STATE,
    C_REASONS, /* from here on: rows named like reasons */
    C_NOT_CLAIMED = C_REASONS,
    C_DRIVER_IN_USE,
    C_UNREADABLE,
    C_CHIP_UNKNOWN,
    C_GROUP_SHARED,
    C_GROUP_NOT_VIABLE,
    C_VFS_ENABLED,
    C_NO_CDEV,
    C_NOT_BOUND,
    C_IN_USE,
    C_BAR_DEAD,
    C_RECOVERY_MODE,
    C_C2C_PART,
    C_STUCK,
    C_DEVICE_UNFIT,
};

static const struct doctor_check checks[] = {
    [C_NO_DEVICES] = {"NO_DEVICES", DOCTOR_WARNING, "GPUs on the bus",
                      "There is nothing to hand out.",
                      "lspci -nn -d 10de: ; check seating, power and the firmware's slot settings; "
                      "echo 1 > /sys/bus/pci/rescan"},
    [C_SCAN_FAILED] = {"SCAN_FAILED", DOCTOR_ERROR, "PCI bus",
                       "Nothing can be said about devices on a bus that cannot be read.",
                       "look at /sys/bus/pci/devices; in a container mount the host's /sys"},
    [C_BAR_UNASSIGNED] = {"BAR_UNASSIGNED", DOCTOR_ERROR, "memory windows (BARs)",
                          "The firmware found no room for a window of the device; the guest's "
                          "driver cannot work without it.",
                          "enable \"Above 4G decoding\" and Resizable BAR in the firmware, or boot "
                          "with pci=realloc"},
    [C_NO_RESET_METHOD] = {"NO_RESET_METHOD", DOCTOR_ERROR, "reset",
                           "A device that cannot be reset keeps the last tenant's data and "
                           "never latches a mode; it is never handed out.",
                           "look at the device's reset_method in /sys; update the kernel, or move "
                           "the device to a slot with a bridge of its own"},
    [C_D3COLD_ALLOWED] = {"D3COLD_ALLOWED", DOCTOR_INFO, "deep sleep (D3cold)",
                          "A GPU that falls into D3cold between two VMs can be gone for the next "
                          "one (\"device inaccessible\"). pgpu-hwd forbids it for devices that it "
                          "prepares.",
                          "nothing once pgpu-hwd has prepared it; else: echo 0 > "
                          "/sys/bus/pci/devices/ADDRESS/d3cold_allowed"},
    [C_POWER_STATE] = {"POWER_STATE", DOCTOR_WARNING, "power",
                       "A device in D3cold, or one whose state the kernel does not know, may not "
                       "wake for a VM.",
                       NULL},
    [C_NOT_CLAIMED] = {"NOT_CLAIMED", DOCTOR_INFO, "claimed",
                       "pgpu touches only what its hardware service's configuration claims.", NULL},
    [C_DRIVER_IN_USE] = {"DRIVER_IN_USE", DOCTOR_WARNING, "driver",
                         "The device belongs to a host driver (and to ordinary containers); pgpu "
                         "leaves it alone unless told otherwise.",
                         NULL},
    [C_UNREADABLE] = {"UNREADABLE", DOCTOR_ERROR, "attributes",
                      "What the kernel says of the device is missing or nonsense.", NULL},
    [C_CHIP_UNKNOWN] = {"CHIP_UNKNOWN", DOCTOR_INFO, "confidential computing",
                        "The device is no part that is known to have a confidential mode.", NULL},
    [C_GROUP_SHARED] = {"GROUP_SHARED", DOCTOR_ERROR, "IOMMU group, ACS",
                        "GPUs of one IOMMU group are not isolated from each other and can only go "
                        "to one VM; it means that a bridge above them lacks ACS, or that it is "
                        "off.",
                        NULL},
    [C_GROUP_NOT_VIABLE] = {"GROUP_NOT_VIABLE", DOCTOR_ERROR, "IOMMU group's other functions",
                            "VFIO opens a group only when none of its functions is on a host "
                            "driver.",
                            NULL},
    [C_VFS_ENABLED] = {"VFS_ENABLED", DOCTOR_ERROR, "virtual functions",
                       "A GPU that is cut into virtual functions cannot be handed out whole.",
                       NULL},
    [C_NO_CDEV] = {"NO_CDEV", DOCTOR_ERROR, "VFIO character device",
                   "Kata's confidential guests open /dev/vfio/devices/vfioN.", NULL},
    [C_NOT_BOUND] = {"NOT_BOUND", DOCTOR_WARNING, "binding",
                     "With `manage: verify` pgpu binds nothing itself.", NULL},
    [C_IN_USE] = {"IN_USE", DOCTOR_INFO, "users", "A device that somebody holds is not touched.",
                  NULL},
    [C_BAR_DEAD] = {"BAR_DEAD", DOCTOR_ERROR, "BAR0 answers",
                    "Every read gives ones: the device is asleep, has fallen off the bus, or its "
                    "firmware is dead.",
                    NULL},
    [C_RECOVERY_MODE] = {"RECOVERY_MODE", DOCTOR_ERROR, "firmware",
                         "The GPU's firmware did not start.", NULL},
    [C_C2C_PART] = {"C2C_PART", DOCTOR_INFO, "chip-to-chip link",
                    "Such parts have no confidential mode.", NULL},
    [C_STUCK] = {"STUCK", DOCTOR_ERROR, "kernel comes back",
                 "A write to the device's files has not returned; nothing can be done to the "
                 "device until it does.",
                 NULL},
    [C_DEVICE_UNFIT] = {"DEVICE_UNFIT", DOCTOR_ERROR, "can be prepared",
                        "The hardware service names a condition that keeps the device from being "
                        "handed out.",
                        "see the reason's own cure"},
};

static bool
attr(const struct doctor *d, struct pci_addr a, const char *name, char *buf, size_t size)
{
    char path[96];

    (void)snprintf(path, sizeof(path), DEV "%s/%s", PCI_STR(a), name);
    return doctor_line(&d->hw, path, buf, size);
}

static const struct doctor_check *
check_of(enum reason r)
{
    for (size_t i = C_REASONS; i < C_DEVICE_UNFIT; i++)
        if (strcmp(checks[i].code, reason_name(r)) == 0)
            return &checks[i];
    return &checks[C_DEVICE_UNFIT];
}

/* What concerns the whole host has been said once in the area `iommu`. */
static bool
said_elsewhere(enum reason r)
{
    return r == REASON_NO_IOMMU || r == REASON_VFIO_PCI_NOT_LOADED ||
           r == REASON_VFIO_TYPE1_NOT_LOADED || r == REASON_MODE_INVALID;
}

static bool
check_reason(struct doctor *d, const struct hwd_facts *f)
{
    enum reason r = (enum reason)f->reason;

    if (f->state == HWD_STATE_STUCK) {
        doctor_bad(d, &checks[C_STUCK], PCI_STR(f->unit), "%s: %s does not come back", f->model,
                   hwd_op_name((enum hwd_op)f->op));
        return false;
    }
    if (f->use == HWD_USE_HELD && !(f->flags & HWD_FACT_HANDED_OVER)) {
        doctor_bad(d, &checks[C_IN_USE], PCI_STR(f->unit), "%s[%d] holds it", f->holder_comm,
                   f->holder_pid);
        return r == REASON_NONE;
    }
    if (r == REASON_NONE || said_elsewhere(r))
        return r == REASON_NONE;
    doctor_bad(d, check_of(r), PCI_STR(f->unit), "%s", f->text);
    if (check_of(r) == &checks[C_DEVICE_UNFIT])
        doctor_cure(d, "%s: %s", reason_name(r), reason_cure(r));
    return false;
}

/* `resource`: a line "start end flags" for each window; a window of memory that begins at 0 has a
 * size and no place. */
static void
check_bars(struct doctor *d, const struct hwd_facts *f)
{
    _cleanup_free_ char *text = NULL;
    char path[96];
    char *line;

    (void)snprintf(path, sizeof(path), DEV "%s/resource", PCI_STR(f->unit));
    if (doctor_read(&d->hw, path, 4096, &text) < 0) {
        doctor_unknown(d, &checks[C_BAR_UNASSIGNED], PCI_STR(f->unit), "no `resource` to read");
        return;
    }
    line = text;
    for (int i = 0; i < BARS && line && *line; i++) {
        uint64_t start = strtoull(line, &line, 16), end = strtoull(line, &line, 16);
        uint64_t flags = strtoull(line, &line, 16);

        if ((flags & RESOURCE_MEM) && start == 0 && end > 0) {
            doctor_bad(d, &checks[C_BAR_UNASSIGNED], PCI_STR(f->unit),
                       "BAR %d (%" PRIu64 " MiB) has no address", i, (end + 1) >> 20);
            return;
        }
    }
}

static void
check_sysfs(struct doctor *d, const struct hwd_facts *f)
{
    char v[128];

    check_bars(d, f);
    if (!attr(d, f->unit, "reset_method", v, sizeof(v))) {
        struct stat st;
        char path[96];

        (void)snprintf(path, sizeof(path), DEV "%s/reset", PCI_STR(f->unit));
        if (doctor_stat(&d->hw, path, &st) == -ENOENT)
            doctor_bad(d, &checks[C_NO_RESET_METHOD], PCI_STR(f->unit),
                       "the kernel knows no way to reset it");
    } else if (!v[0]) {
        doctor_bad(d, &checks[C_NO_RESET_METHOD], PCI_STR(f->unit), "reset_method is empty");
    }
    if (attr(d, f->unit, "power_state", v, sizeof(v)) &&
        (strcmp(v, "D3cold") == 0 || strcmp(v, "error") == 0))
        doctor_bad(d, &checks[C_POWER_STATE], PCI_STR(f->unit), "power_state is %s", v);
    if (attr(d, f->unit, "d3cold_allowed", v, sizeof(v)) && v[0] == '1' &&
        !(f->flags & (HWD_FACT_ARMED | HWD_FACT_HANDED_OVER)) && (f->flags & HWD_FACT_CLAIMED)) {
        doctor_bad(d, &checks[C_D3COLD_ALLOWED], PCI_STR(f->unit), "d3cold_allowed=1");
        doctor_cure(
            d, "nothing once pgpu-hwd has prepared it; else: echo 0 > " DEV "%s/d3cold_allowed",
            PCI_STR(f->unit));
    }
}

/* Functions too broken to be units. */
static size_t
check_unreadable(struct doctor *d)
{
    size_t n = 0;

    for (unsigned i = 0; d->have_scan && i < d->off.scan->inv.n; i++) {
        const struct vfio_fn *f = &d->off.scan->inv.fn[i];

        if (f->reason == REASON_NONE || hwd_units_find(d->off.units, f->addr))
            continue;
        doctor_bad(d, &checks[C_UNREADABLE], PCI_STR(f->addr), "%s", f->text);
        n++;
    }
    return n;
}

/* One good line for each check that no device had something to say to. */
static void
fine(struct doctor *d, size_t from, int n)
{
    static const unsigned sum[] = {C_BAR_UNASSIGNED, C_NO_RESET_METHOD, C_POWER_STATE,
                                   C_GROUP_SHARED, C_BAR_DEAD};

    for (size_t i = 0; i < ARRAY_SIZE(sum); i++) {
        bool said = false;

        for (size_t k = from; k < d->n; k++)
            said = said || d->v[k].check == &checks[sum[i]];
        if (!said)
            doctor_ok(d, &checks[sum[i]], "nothing wrong on %d device%s", n, n == 1 ? "" : "s");
    }
}

static void
run(struct doctor *d)
{
    size_t from = d->n, broken, fit = 0;

    if (!d->have_scan && !d->hwd_up) {
        doctor_bad(d, &checks[C_SCAN_FAILED], NULL, "%s", d->scan_why);
        return;
    }
    broken = check_unreadable(d);
    if (d->n_facts == 0) {
        if (broken == 0)
            doctor_bad(d, &checks[C_NO_DEVICES], NULL, "no NVIDIA GPU or NVSwitch");
        return;
    }
    for (int i = 0; i < d->n_facts; i++) {
        fit += check_reason(d, &d->facts[i]);
        check_sysfs(d, &d->facts[i]);
    }
    doctor_ok(d, &checks[C_NO_DEVICES], "%d devices, %zu of them can be prepared (%s)", d->n_facts,
              fit, d->hwd_up ? "says pgpu-hwd" : "offline scan");
    fine(d, from, d->n_facts);
}

const struct doctor_area doctor_devices = {"devices", "GPUs and NVSwitches", checks,
                                           ARRAY_SIZE(checks), run};
