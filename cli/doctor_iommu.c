/* SPDX-License-Identifier: Apache-2.0
 *
 * doctor's area `iommu`: IOMMU, VFIO and iommufd, as confidential Kata guests need them.
 */
#include "cli/doctor.h"

#include "base/cleanup.h"
#include "cli/doctor_files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#define MODULES_MAX ((size_t)4 << 20)

enum {
    C_NO_IOMMU,
    C_VFIO_PCI_NOT_LOADED,
    C_NO_IOMMUFD,
    C_VFIO_TYPE1_NOT_LOADED,
    C_UNSAFE_INTERRUPTS,
    C_VFIO_AT_BOOT,
};

static const struct doctor_check checks[] = {
    [C_NO_IOMMU] = {"NO_IOMMU", DOCTOR_ERROR, "IOMMU groups",
                    "A device goes into a VM only by way of its IOMMU group; without groups there "
                    "is no VFIO.",
                    NULL},
    [C_VFIO_PCI_NOT_LOADED] = {"VFIO_PCI_NOT_LOADED", DOCTOR_ERROR, "vfio-pci",
                               "GPUs are bound to vfio-pci for VMs. pgpu loads no modules.",
                               "modprobe vfio-pci; echo vfio-pci > /etc/modules-load.d/pgpu.conf"},
    [C_NO_IOMMUFD] = {"NO_IOMMUFD", DOCTOR_ERROR, "iommufd",
                      "Kata's confidential guests take GPUs by /dev/vfio/devices/vfioN and "
                      "/dev/iommu (\"ConfidentialGuest needs IOMMUFD\"); group nodes serve plain "
                      "VMs only.",
                      "modprobe iommufd, or a kernel with CONFIG_IOMMUFD and "
                      "CONFIG_VFIO_DEVICE_CDEV (Debian's have neither); for plain VMs set "
                      "`vfio_node: group` in /etc/pgpu/hwd.yaml"},
    [C_VFIO_TYPE1_NOT_LOADED] = {"VFIO_TYPE1_NOT_LOADED", DOCTOR_ERROR, "vfio_iommu_type1",
                                 "Without iommufd every user of a VFIO group needs it.", NULL},
    [C_UNSAFE_INTERRUPTS] = {"UNSAFE_INTERRUPTS", DOCTOR_WARNING, "interrupt remapping",
                             "allow_unsafe_interrupts lets a VM with a device inject interrupts "
                             "into the host; it is set where interrupt remapping is missing.",
                             "enable interrupt remapping (x2APIC) in the firmware and remove "
                             "allow_unsafe_interrupts from the module's options"},
    [C_VFIO_AT_BOOT] = {"VFIO_AT_BOOT", DOCTOR_INFO, "vfio-pci at boot",
                        "What was loaded by hand is not there after a reboot, and every GPU is "
                        "then VFIO_PCI_NOT_LOADED.",
                        "echo vfio-pci > /etc/modules-load.d/pgpu.conf"},
};

static void
check_groups(struct doctor *d)
{
    struct err e = ERR_INIT;
    char **names = NULL;
    int n = fs_list(&d->hw, "/sys/kernel/iommu_groups", 65536, &names, &e);

    if (n > 0)
        doctor_ok(d, &checks[C_NO_IOMMU], "%d groups", n);
    else if (n == 0 || n == -ENOENT)
        doctor_bad(d, &checks[C_NO_IOMMU], "/sys/kernel/iommu_groups", "there are no groups");
    else
        doctor_unknown(d, &checks[C_NO_IOMMU], "/sys/kernel/iommu_groups", "%s", e.msg);
    if (n >= 0)
        fs_names_free(names);
}

/* Is a module part of the kernel? /lib/modules/RELEASE/modules.builtin names it with "_" or "-". */
static bool
built_in(const struct doctor *d, const char *file)
{
    _cleanup_free_ char *text = NULL;
    struct utsname u;
    char path[256];

    if (uname(&u) < 0)
        return false;
    (void)snprintf(path, sizeof(path), "/lib/modules/%s/modules.builtin", u.release);
    return doctor_read(&d->host, path, MODULES_MAX, &text) >= 0 && strstr(text, file) != NULL;
}

static bool
listed_for_boot(const struct doctor *d)
{
    static const char *const dirs[] = {"/etc/modules-load.d", "/usr/lib/modules-load.d",
                                       "/run/modules-load.d"};
    struct err e = ERR_INIT;
    bool found = false;

    for (size_t i = 0; i < ARRAY_SIZE(dirs) && !found; i++) {
        char **names = NULL;
        int n = fs_list(&d->host, dirs[i], 1024, &names, &e);

        for (int k = 0; k < n && !found; k++) {
            _cleanup_free_ char *text = NULL;
            char path[512];

            (void)snprintf(path, sizeof(path), "%s/%s", dirs[i], names[k]);
            found = doctor_read(&d->host, path, 65536, &text) >= 0 &&
                    (doctor_has_word(text, "vfio-pci") || doctor_has_word(text, "vfio_pci"));
        }
        if (n >= 0)
            fs_names_free(names);
        err_clear(&e);
    }
    _cleanup_free_ char *text = NULL;
    if (!found && doctor_read(&d->host, "/etc/modules", 65536, &text) >= 0)
        found = doctor_has_word(text, "vfio-pci") || doctor_has_word(text, "vfio_pci");
    return found;
}

static void
check_vfio(struct doctor *d)
{
    struct stat st;
    bool in_kernel;

    if (doctor_stat(&d->hw, "/sys/bus/pci/drivers/vfio-pci", &st) < 0) {
        doctor_bad(d, &checks[C_VFIO_PCI_NOT_LOADED], NULL, "the driver vfio-pci is not there");
        return;
    }
    in_kernel = built_in(d, "/vfio-pci.ko");
    doctor_ok(d, &checks[C_VFIO_PCI_NOT_LOADED], "%s", in_kernel ? "built in" : "loaded");
    if (in_kernel || listed_for_boot(d))
        doctor_ok(d, &checks[C_VFIO_AT_BOOT], "%s", in_kernel ? "built in" : "modules-load.d");
    else
        doctor_bad(d, &checks[C_VFIO_AT_BOOT], NULL,
                   "loaded, and no file in modules-load.d names vfio-pci");
}

static void
check_iommufd(struct doctor *d)
{
    struct stat st;
    bool group = d->hwd_conf.vfio_node == HWD_NODE_GROUP;
    bool have = doctor_stat(&d->hw, "/dev/iommu", &st) == 0;

    if (have) {
        doctor_ok(d, &checks[C_NO_IOMMUFD], "/dev/iommu");
    } else {
        doctor_bad(d, &checks[C_NO_IOMMUFD], "/dev/iommu", "there is no /dev/iommu%s",
                   group ? " (`vfio_node: group`: for plain VMs only)" : "");
        if (group)
            doctor_severity(d, DOCTOR_WARNING);
        if (doctor_stat(&d->hw, "/sys/module/vfio_iommu_type1", &st) == 0)
            doctor_ok(d, &checks[C_VFIO_TYPE1_NOT_LOADED], "loaded");
        else
            doctor_bad(d, &checks[C_VFIO_TYPE1_NOT_LOADED], NULL,
                       "neither iommufd nor vfio_iommu_type1 is there");
    }
}

static void
run(struct doctor *d)
{
    static const char unsafe[] = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts";
    char v[16];

    check_groups(d);
    check_vfio(d);
    check_iommufd(d);
    if (doctor_line(&d->hw, unsafe, v, sizeof(v)) && (v[0] == 'Y' || v[0] == '1'))
        doctor_bad(d, &checks[C_UNSAFE_INTERRUPTS], unsafe, "allow_unsafe_interrupts=%s", v);
    else
        doctor_ok(d, &checks[C_UNSAFE_INTERRUPTS], "no unsafe interrupts allowed");
}

const struct doctor_area doctor_iommu = {"iommu", "IOMMU and VFIO", checks, ARRAY_SIZE(checks),
                                         run};
