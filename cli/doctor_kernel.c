/* SPDX-License-Identifier: Apache-2.0
 *
 * doctor's area `kernel`: lockdown, host drivers for GPUs, limits of the runtime's processes,
 * clock.
 */
#include "cli/doctor.h"

#include "base/cleanup.h"
#include "cli/doctor_files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Below these a process that makes VMs with GPUs runs into walls: a Kata shim with eight GPUs and
 * the runtime itself have thousands of files open. */
#define NOFILE_MIN 65536ul
/* 2026-01-01: no release of this program is older. */
#define CLOCK_MIN 1767225600

enum {
    C_LOCKDOWN,
    C_HOST_DRIVER_LOADED,
    C_NOFILE_LOW,
    C_MEMLOCK_LOW,
    C_CLOCK_BEHIND,
    C_CLOCK_UNKEPT,
};

static const struct doctor_check checks[] = {
    [C_LOCKDOWN] = {"LOCKDOWN", DOCTOR_INFO, "kernel lockdown",
                    "Under lockdown (Secure Boot) the kernel refuses resource0, so registers are "
                    "reached through VFIO: that works for devices on a VFIO driver, and opening "
                    "and closing a device reset it.",
                    "nothing, with `access: auto` in /etc/pgpu/hwd.yaml and vfio-pci bound"},
    [C_HOST_DRIVER_LOADED] = {"HOST_DRIVER_LOADED", DOCTOR_WARNING, "host drivers for GPUs",
                              "A loaded nvidia or nouveau driver takes every GPU that nobody else "
                              "claims, at boot or after a reset.",
                              "echo 'blacklist nouveau' > /etc/modprobe.d/pgpu.conf (and nvidia), "
                              "update-initramfs -u, reboot; leave it where GPUs serve ordinary "
                              "containers too"},
    [C_NOFILE_LOW] = {"NOFILE_LOW", DOCTOR_WARNING, "open files of the runtime",
                      "Every VM keeps many files open; at the limit sandboxes fail with EMFILE.",
                      "LimitNOFILE=infinity in the runtime's unit (systemctl edit containerd)"},
    [C_MEMLOCK_LOW] = {"MEMLOCK_LOW", DOCTOR_WARNING, "locked memory of the runtime",
                       "VFIO locks all memory of a VM with a GPU. A VMM without CAP_IPC_LOCK "
                       "fails at this limit.",
                       "LimitMEMLOCK=infinity in the runtime's unit (systemctl edit containerd)"},
    [C_CLOCK_BEHIND] = {"CLOCK_BEHIND", DOCTOR_ERROR, "clock",
                        "Attestation, certificates and tokens fail with a wrong clock, and the "
                        "audit log is dated by it.",
                        "set the clock: timedatectl set-ntp true"},
    [C_CLOCK_UNKEPT] = {"CLOCK_UNKEPT", DOCTOR_INFO, "time synchronisation",
                        "A clock that nobody keeps drifts until attestation fails.",
                        "apt-get install systemd-timesyncd (or chrony)"},
};

static void
check_lockdown(struct doctor *d)
{
    char v[64];

    if (!doctor_line(&d->hw, "/sys/kernel/security/lockdown", v, sizeof(v))) {
        doctor_unknown(d, &checks[C_LOCKDOWN], NULL,
                       "/sys/kernel/security/lockdown cannot be read (securityfs not mounted?)");
        return;
    }
    if (strstr(v, "[none]")) {
        doctor_ok(d, &checks[C_LOCKDOWN], "none");
        return;
    }
    doctor_bad(d, &checks[C_LOCKDOWN], NULL, "%s", v);
    if (d->hwd_conf.access == HWD_ACCESS_SYSFS) {
        doctor_severity(d, DOCTOR_ERROR);
        doctor_cure(d, "set `access: auto` in /etc/pgpu/hwd.yaml: it says sysfs, which lockdown "
                       "forbids");
    }
}

static void
check_drivers(struct doctor *d)
{
    static const char *const drivers[] = {"nvidia", "nouveau", "nova_core"};
    char path[64];
    size_t found = 0;

    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
        struct stat st;

        (void)snprintf(path, sizeof(path), "/sys/module/%s", drivers[i]);
        if (doctor_stat(&d->hw, path, &st) < 0)
            continue;
        found++;
        doctor_bad(d, &checks[C_HOST_DRIVER_LOADED], path, "the module %s is loaded", drivers[i]);
    }
    if (found == 0)
        doctor_ok(d, &checks[C_HOST_DRIVER_LOADED], "none loaded");
}

/* ---- limits ---- */

/* Soft limit of a line of /proc/PID/limits; ULONG_MAX: unlimited. */
static bool
soft_limit(const char *text, const char *name, unsigned long *ret)
{
    const char *p = strstr(text, name);

    if (!p)
        return false;
    p += strlen(name);
    p += strspn(p, " ");
    *ret = strncmp(p, "unlimited", 9) == 0 ? ~0ul : strtoul(p, NULL, 10);
    return true;
}

static bool
check_limits_of(struct doctor *d, const struct doctor_proc *p)
{
    _cleanup_free_ char *text = NULL;
    unsigned long files, locked;
    char path[64], who[64];

    (void)snprintf(path, sizeof(path), "/proc/%d/limits", p->pid);
    if (doctor_read(&d->host, path, 65536, &text) < 0 ||
        !soft_limit(text, "Max open files", &files) ||
        !soft_limit(text, "Max locked memory", &locked))
        return false;
    (void)snprintf(who, sizeof(who), "%s[%d]", p->comm, p->pid);
    if (files < NOFILE_MIN)
        doctor_bad(d, &checks[C_NOFILE_LOW], who, "at most %lu open files", files);
    else
        doctor_ok(d, &checks[C_NOFILE_LOW], "%s: enough", who);
    if (locked != ~0ul)
        doctor_bad(d, &checks[C_MEMLOCK_LOW], who, "at most %lu bytes of locked memory", locked);
    else
        doctor_ok(d, &checks[C_MEMLOCK_LOW], "%s: unlimited", who);
    return true;
}

static void
check_limits(struct doctor *d)
{
    static const char *const runtimes[] = {"containerd", "crio"};
    bool looked = false;

    for (size_t i = 0; i < ARRAY_SIZE(runtimes); i++) {
        const struct doctor_proc *p = doctor_proc_find(&d->procs, runtimes[i]);

        looked = (p && check_limits_of(d, p)) || looked;
    }
    if (looked)
        return;
    doctor_unknown(d, &checks[C_NOFILE_LOW], NULL, "no process containerd or crio is visible");
    doctor_unknown(d, &checks[C_MEMLOCK_LOW], NULL, "no process containerd or crio is visible");
}

/* ---- clock ---- */

static void
check_clock(struct doctor *d)
{
    static const char *const keepers[] = {"chronyd", "ntpd", "ntpd-rs", "systemd-timesyncd",
                                          "systemd-timesyn"};
    time_t now = time(NULL);
    struct stat st;

    if (now < CLOCK_MIN)
        doctor_bad(d, &checks[C_CLOCK_BEHIND], NULL, "the clock is before 2026");
    /* What the host's processes wrote tells its time where the clock was set back since. */
    else if (doctor_stat(&d->host, "/etc/machine-id", &st) == 0 && st.st_mtime > now + 86400)
        doctor_bad(d, &checks[C_CLOCK_BEHIND], "/etc/machine-id",
                   "the clock is behind the host's own files");
    else
        doctor_ok(d, &checks[C_CLOCK_BEHIND], "plausible");
    for (size_t i = 0; i < ARRAY_SIZE(keepers); i++)
        if (doctor_proc_find(&d->procs, keepers[i])) {
            doctor_ok(d, &checks[C_CLOCK_UNKEPT], "%s runs", keepers[i]);
            return;
        }
    if (!d->procs.readable)
        doctor_unknown(d, &checks[C_CLOCK_UNKEPT], NULL, "the host's processes are not visible");
    else
        doctor_bad(d, &checks[C_CLOCK_UNKEPT], NULL, "nothing that keeps the clock is running");
}

static void
run(struct doctor *d)
{
    check_lockdown(d);
    check_drivers(d);
    check_limits(d);
    check_clock(d);
}

const struct doctor_area doctor_kernel = {"kernel", "Kernel and limits", checks, ARRAY_SIZE(checks),
                                          run};
