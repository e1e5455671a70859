/* SPDX-License-Identifier: Apache-2.0
 *
 * doctor's area `tee`: can this host start confidential VMs at all. AMD SEV-SNP: kvm_amd's
 * parameters hold the result of its initialisation, so Y can be trusted (Linux 6.12,
 * arch/x86/kvm/svm/sev.c); what the IOMMU needs is iommu_snp_enable() in drivers/iommu/amd/init.c.
 */
#include "cli/doctor.h"

#include "base/cleanup.h"
#include "cli/doctor_files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CPUINFO_MAX ((size_t)32 << 20)
#define KVM_AMD "/sys/module/kvm_amd/parameters/"

enum {
    C_NO_TEE,
    C_KVM_NOT_LOADED,
    C_SNP_CPU,
    C_SNP_OFF,
    C_SEV_DEVICE_MISSING,
    C_SNP_NO_ASIDS,
    C_IOMMU_PASSTHROUGH,
    C_TDX_OFF,
};

static const struct doctor_check checks[] = {
    [C_NO_TEE] = {"NO_TEE", DOCTOR_ERROR, "CPU vendor",
                  "Confidential GPUs are handed to confidential VMs, which need AMD SEV-SNP or "
                  "Intel TDX.",
                  "use a host with an AMD EPYC (Milan or later) or an Intel Xeon with TDX"},
    [C_KVM_NOT_LOADED] = {"KVM_NOT_LOADED", DOCTOR_ERROR, "KVM", "Without KVM no VM starts.",
                          "enable virtualisation in the firmware, and: modprobe kvm_amd (Intel: "
                          "kvm_intel)"},
    [C_SNP_CPU] = {"SNP_CPU", DOCTOR_ERROR, "SEV-SNP in the CPU",
                   "The kernel offers SEV-SNP only where the CPU announces it and the firmware "
                   "has set it up.",
                   "enable SMEE, SEV-SNP and SNP memory coverage (RMP table) in the firmware's "
                   "CPU settings"},
    [C_SNP_OFF] = {"SNP_OFF", DOCTOR_ERROR, "SEV-SNP in the kernel",
                   "kvm_amd starts SNP guests only where its parameter sev_snp says Y; it says N "
                   "when the firmware, the IOMMU or the command line is in the way.",
                   "look for SEV and SNP in dmesg; boot without iommu=pt, with a kernel that has "
                   "CONFIG_KVM_AMD_SEV, and with SEV-SNP enabled in the firmware"},
    [C_SEV_DEVICE_MISSING] = {"SEV_DEVICE_MISSING", DOCTOR_ERROR, "/dev/sev",
                              "QEMU talks to the security processor through /dev/sev to launch a "
                              "guest.",
                              "modprobe ccp; look for ccp and PSP in dmesg"},
    [C_SNP_NO_ASIDS] = {"SNP_NO_ASIDS", DOCTOR_ERROR, "SEV-SNP guest slots (ASIDs)",
                        "Every SNP guest needs an ASID of the SEV-ES pool; without a free one the "
                        "VM does not start.",
                        "raise \"minimum SEV non-ES ASID\" in the firmware, or stop other SEV "
                        "guests"},
    [C_IOMMU_PASSTHROUGH] = {"IOMMU_PASSTHROUGH", DOCTOR_ERROR, "IOMMU on the command line",
                             "On AMD these settings put the IOMMU into a mode in which the kernel "
                             "refuses SEV-SNP (\"IOMMU disabled or configured in passthrough "
                             "mode\").",
                             "remove it from the kernel's command line and reboot"},
    [C_TDX_OFF] = {"TDX_OFF", DOCTOR_ERROR, "TDX in the kernel",
                   "kvm_intel starts TDX guests only where its parameter tdx says Y.",
                   "enable TDX in the firmware, boot with kvm_intel.tdx=1 and a kernel that has "
                   "CONFIG_INTEL_TDX_HOST (Debian's do not)"},
};

/* ---- what the CPU says ---- */

struct cpu {
    bool known, amd, intel;
    char *text; /* /proc/cpuinfo */
};

/* A flag of the first CPU's "flags" line. */
static bool
cpu_flag(const struct cpu *c, const char *flag)
{
    char *line = c->text ? strstr(c->text, "\nflags") : NULL;
    size_t n;

    if (!line)
        return false;
    n = strcspn(line + 1, "\n");
    _cleanup_free_ char *copy = strndup(line + 1, n);
    return copy && doctor_has_word(copy, flag);
}

static void
read_cpu(struct doctor *d, struct cpu *c)
{
    c->known = doctor_read(&d->host, "/proc/cpuinfo", CPUINFO_MAX, &c->text) >= 0;
    if (!c->known)
        return;
    c->amd = strstr(c->text, "AuthenticAMD") != NULL;
    c->intel = strstr(c->text, "GenuineIntel") != NULL;
}

/* ---- SNP ---- */

static void
check_snp_kernel(struct doctor *d)
{
    char v[16];

    if (!doctor_line(&d->hw, KVM_AMD "sev_snp", v, sizeof(v))) {
        struct stat st;

        if (doctor_stat(&d->hw, "/sys/module/kvm_amd", &st) == 0)
            doctor_bad(d, &checks[C_SNP_OFF], NULL,
                       "kvm_amd has no parameter sev_snp: the kernel is older than 6.11 or built "
                       "without SEV");
        else
            doctor_bad(d, &checks[C_KVM_NOT_LOADED], NULL, "kvm_amd is not loaded");
        return;
    }
    if (v[0] == 'Y' || v[0] == '1')
        doctor_ok(d, &checks[C_SNP_OFF], "kvm_amd: sev_snp=%s", v);
    else
        doctor_bad(d, &checks[C_SNP_OFF], KVM_AMD "sev_snp", "kvm_amd: sev_snp=%s", v);
}

/* "sev_es 509" among the lines of misc.capacity or misc.current; -1: not there. */
static long
misc_value(const struct doctor *d, const char *file, const char *key)
{
    static const char *const dirs[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/misc"};
    char path[64], name[32];
    size_t n = strlen(key);

    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        _cleanup_free_ char *text = NULL;

        (void)snprintf(path, sizeof(path), "%s/%s", dirs[i], file);
        if (doctor_read(&d->hw, path, 65536, &text) < 0)
            continue;
        (void)snprintf(name, sizeof(name), "%s ", key);
        for (char *line = text; line; line = strchr(line, '\n')) {
            line += *line == '\n';
            if (strncmp(line, name, n + 1) == 0)
                return strtol(line + n + 1, NULL, 10);
        }
        return 0; /* the pool is not there: no such guest can start */
    }
    return -1;
}

static void
check_asids(struct doctor *d)
{
    long total = misc_value(d, "misc.capacity", "sev_es");
    long used = misc_value(d, "misc.current", "sev_es");

    if (total < 0)
        doctor_unknown(d, &checks[C_SNP_NO_ASIDS], NULL,
                       "/sys/fs/cgroup/misc.capacity cannot be read (the misc controller is only "
                       "shown in the root cgroup)");
    else if (total == 0)
        doctor_bad(d, &checks[C_SNP_NO_ASIDS], NULL, "misc.capacity: no sev_es ASIDs");
    else if (used >= total)
        doctor_bad(d, &checks[C_SNP_NO_ASIDS], NULL, "all %ld sev_es ASIDs are in use", total);
    else if (used < 0)
        doctor_ok(d, &checks[C_SNP_NO_ASIDS], "%ld for SEV-ES and SNP", total);
    else
        doctor_ok(d, &checks[C_SNP_NO_ASIDS], "%ld for SEV-ES and SNP, %ld in use", total, used);
}

/* What the command line says in the end; words point into it. */
struct iommu_words {
    char passthrough[64], off[64], v2[64];
};

/* As kstrtobool() of lib/kstrtox.c reads it. */
static int
kernel_bool(const char *v)
{
    if (strchr("yYtT1", v[0]) && v[0])
        return 1;
    if (strchr("nNfF0", v[0]) && v[0])
        return 0;
    if ((v[0] == 'o' || v[0] == 'O') && v[1])
        return strchr("nN", v[1]) ? 1 : strchr("fF", v[1]) ? 0 : -1;
    return -1;
}

static bool
begins(const char *s, const char *with)
{
    return strncmp(s, with, strlen(with)) == 0;
}

/* iommu= is a list (arch/x86/kernel/pci-dma.c), amd_iommu= too (drivers/iommu/amd/init.c); the last
 * word about passthrough counts, and the last table format. */
static void
take_word(struct iommu_words *w, const char *word)
{
    const char *v = strchr(word, '=');
    bool x86 = begins(word, "iommu="), amd = begins(word, "amd_iommu=");

    if (begins(word, "iommu.passthrough=")) {
        int b = kernel_bool(v + 1);

        if (b >= 0)
            (void)snprintf(w->passthrough, sizeof(w->passthrough), "%.60s", b ? word : "");
        return;
    }
    for (v = x86 || amd ? v + 1 : NULL; v; v = strchr(v, ',') ? strchr(v, ',') + 1 : NULL) {
        if (begins(v, "off"))
            (void)snprintf(w->off, sizeof(w->off), "%.60s", word);
        else if (x86 && (begins(v, "pt") || begins(v, "nopt")))
            (void)snprintf(w->passthrough, sizeof(w->passthrough), "%.60s",
                           v[0] == 'p' ? word : "");
        else if (amd && begins(v, "pgtbl_v"))
            (void)snprintf(w->v2, sizeof(w->v2), "%.60s", begins(v, "pgtbl_v2") ? word : "");
    }
}

/* Passthrough that the kernel was built with, or that somebody set since. Single groups may be in
 * it by a quirk. */
static bool
mostly_identity(struct doctor *d)
{
    struct err e = ERR_INIT;
    char **names = NULL;
    char path[300], v[32];
    size_t identity = 0, told = 0;
    int n = fs_list(&d->hw, "/sys/kernel/iommu_groups", 65536, &names, &e);

    for (int i = 0; i < n; i++) {
        (void)snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%s/type", names[i]);
        if (!doctor_line(&d->hw, path, v, sizeof(v)))
            continue;
        told++;
        identity += strcmp(v, "identity") == 0;
    }
    if (n >= 0)
        fs_names_free(names);
    if (identity * 2 <= told)
        return false;
    doctor_bad(d, &checks[C_IOMMU_PASSTHROUGH], "/sys/kernel/iommu_groups",
               "%zu of %zu groups are of the type identity: passthrough", identity, told);
    doctor_cure(d, "boot with iommu=nopt: the kernel is built with passthrough as its default "
                   "(CONFIG_IOMMU_DEFAULT_PASSTHROUGH)");
    return true;
}

static void
check_cmdline(struct doctor *d)
{
    struct iommu_words w = {"", "", ""};
    const char *const bad[] = {w.passthrough, w.off, w.v2};
    _cleanup_free_ char *line = NULL;
    char *save = NULL;
    size_t found = 0;

    if (doctor_read(&d->host, "/proc/cmdline", 65536, &line) < 0) {
        doctor_unknown(d, &checks[C_IOMMU_PASSTHROUGH], NULL, "/proc/cmdline cannot be read");
        return;
    }
    for (char *p = strtok_r(line, " \t\n", &save); p; p = strtok_r(NULL, " \t\n", &save))
        take_word(&w, p);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (bad[i][0] && (i == 0 || strcmp(bad[i], bad[i - 1]) != 0)) {
            doctor_bad(d, &checks[C_IOMMU_PASSTHROUGH], NULL, "the kernel was booted with %s",
                       bad[i]);
            doctor_cure(d,
                        "remove %s from the kernel's command line (GRUB_CMDLINE_LINUX and "
                        "update-grub; OpenShift: the MachineConfig's kernelArguments) and reboot",
                        bad[i]);
            found++;
        }
    if (found == 0 && !mostly_identity(d))
        doctor_ok(d, &checks[C_IOMMU_PASSTHROUGH], "nothing there that forbids SEV-SNP");
}

static void
run_amd(struct doctor *d, const struct cpu *c)
{
    struct stat st;
    int r;

    if (cpu_flag(c, "sev_snp"))
        doctor_ok(d, &checks[C_SNP_CPU], "flag sev_snp");
    else
        doctor_bad(d, &checks[C_SNP_CPU], "/proc/cpuinfo",
                   "the CPU does not show the flag sev_snp");
    check_snp_kernel(d);
    r = doctor_stat(&d->hw, "/dev/sev", &st);
    if (r == 0)
        doctor_ok(d, &checks[C_SEV_DEVICE_MISSING], "there");
    else if (r == -ENOENT)
        doctor_bad(d, &checks[C_SEV_DEVICE_MISSING], "/dev/sev", "there is no /dev/sev");
    else
        doctor_unknown(d, &checks[C_SEV_DEVICE_MISSING], "/dev/sev", "%s", strerror(-r));
    check_asids(d);
    check_cmdline(d);
}

/* ---- TDX ---- */

static void
run_intel(struct doctor *d, const struct cpu *c)
{
    struct stat st;
    char v[16];

    if (doctor_line(&d->hw, "/sys/module/kvm_intel/parameters/tdx", v, sizeof(v)) &&
        (v[0] == 'Y' || v[0] == '1'))
        doctor_ok(d, &checks[C_TDX_OFF], "kvm_intel: tdx=%s", v);
    else if (doctor_stat(&d->hw, "/sys/module/kvm_intel", &st) < 0)
        doctor_bad(d, &checks[C_KVM_NOT_LOADED], NULL, "kvm_intel is not loaded");
    else
        doctor_bad(d, &checks[C_TDX_OFF], NULL, "kvm_intel's parameter tdx is not Y%s",
                   cpu_flag(c, "tdx_host_platform") ? "; the CPU has TDX"
                                                    : "; the CPU does not show TDX either");
}

static void
run(struct doctor *d)
{
    struct cpu c = {0};

    read_cpu(d, &c);
    if (!c.known)
        doctor_unknown(d, &checks[C_NO_TEE], NULL, "/proc/cpuinfo cannot be read");
    else if (c.amd)
        doctor_ok(d, &checks[C_NO_TEE], "AMD: SEV-SNP");
    else if (c.intel)
        doctor_ok(d, &checks[C_NO_TEE], "Intel: TDX");
    else
        doctor_bad(d, &checks[C_NO_TEE], "/proc/cpuinfo", "the CPU is neither AMD's nor Intel's");
    if (c.amd)
        run_amd(d, &c);
    else if (c.intel)
        run_intel(d, &c);
    free(c.text);
}

const struct doctor_area doctor_tee = {"tee", "Confidential VMs on this host", checks,
                                       ARRAY_SIZE(checks), run};
