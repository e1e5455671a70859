/* SPDX-License-Identifier: Apache-2.0
 *
 * doctor's area `modes`: the confidential-computing modes of all devices together.
 */
#include "cli/doctor.h"

#include "base/cleanup.h"

#include <stdio.h>
#include <string.h>

/* An HGX H100/H200 board; NVIDIA's Protected PCIe is for the whole of it, to one VM. */
#define PPCIE_GPUS 8
#define PPCIE_SWITCHES 4

enum {
    C_MODE_INVALID,
    C_MODE_DEVTOOLS,
    C_MODES_MIXED,
    C_MODE_MISMATCH,
    C_MODE_PENDING,
    C_MODE_UNKNOWN,
    C_PPCIE_INCOMPLETE,
    C_MODE_UNLOCKED,
};

static const struct doctor_check checks[] = {
    [C_MODE_INVALID] = {"MODE_INVALID", DOCTOR_ERROR, "undefined mode (state 2)",
                        "A tool was interrupted between two settings: the GPU is in a state that "
                        "is neither on nor off, and older tools refuse every command.",
                        "pgpuctl cc set ADDRESS --mode on (pgpud does it by itself with `manage: "
                        "full`)"},
    [C_MODE_DEVTOOLS] = {"MODE_DEVTOOLS", DOCTOR_ERROR, "devtools mode",
                         "In devtools mode the GPU's memory is open to debuggers: it protects "
                         "nothing, and attestation fails (dbgstat).",
                         "pgpuctl cc set ADDRESS --mode on"},
    [C_MODES_MIXED] = {"MODES_MIXED", DOCTOR_WARNING, "one mode on all GPUs",
                       "NVIDIA supports one mode for all GPUs of a host, and a VM that is given "
                       "GPUs of two modes does not start its driver.",
                       "pgpuctl cc set all --mode on (pgpud does it by itself with `manage: "
                       "full`)"},
    [C_MODE_MISMATCH] = {"MODE_MISMATCH", DOCTOR_WARNING, "the wanted mode",
                         "Only a GPU in the mode that pgpud wants is handed out.", NULL},
    [C_MODE_PENDING] = {"MODE_PENDING", DOCTOR_WARNING, "active and configured mode",
                        "The next reset (a VM's start makes one) changes the mode: what is active "
                        "now is not what a guest gets.",
                        "pgpuctl cc set ADDRESS --mode on"},
    [C_MODE_UNKNOWN] = {"MODE_UNKNOWN", DOCTOR_INFO, "modes are known",
                        "The mode is read from a register, which is not done where the device "
                        "would have to be woken, is in use, or is on a host driver.",
                        "pgpuctl cc query ADDRESS"},
    [C_PPCIE_INCOMPLETE] = {"PPCIE_INCOMPLETE", DOCTOR_ERROR, "Protected PCIe group",
                            "Mode ppcie protects a whole board of eight GPUs and four NVSwitches; "
                            "with a part missing or in another mode the guest refuses the rest.",
                            "pgpuctl devices shows what is missing; else set `mode: on`"},
    [C_MODE_UNLOCKED] = {"MODE_UNLOCKED", DOCTOR_WARNING, "devtools unlocked",
                         "`unlock_devtools` lets GPUs without protection be handed out.",
                         "remove unlock_devtools from pgpud.yaml"},
};

/* How a device's mode is meant where it is used: what the next reset latches, if that is known. */
static enum cc_mode
effective(const struct hwd_facts *f)
{
    return (enum cc_mode)(f->mode_configured != CC_MODE_UNKNOWN ? f->mode_configured
                                                                : f->mode_active);
}

/* `pgpuctl mode set` changes what pgpud wants without its configuration. */
static enum cc_mode
wanted(const struct doctor *d)
{
    enum cc_mode m;

    return d->status && cc_mode_parse(json_str(d->status, "mode"), &m) ? m
                                                                       : (enum cc_mode)d->conf.mode;
}

static void
check_one(struct doctor *d, const struct hwd_facts *f)
{
    enum cc_mode m = effective(f), want = wanted(d);
    bool ours = f->flags & HWD_FACT_CLAIMED;
    bool gpu = f->kind == HWD_KIND_GPU;

    if (m == CC_MODE_UNKNOWN) {
        if (f->chip[0] && ours)
            doctor_bad(d, &checks[C_MODE_UNKNOWN], PCI_STR(f->unit), "not read");
        return;
    }
    if (f->mode_active == CC_MODE_INVALID || m == CC_MODE_INVALID) {
        doctor_bad(d, &checks[C_MODE_INVALID], PCI_STR(f->unit), "the mode is undefined");
        doctor_cure(d, "pgpuctl cc set %s --mode %s (pgpud does it by itself with `manage: full`)",
                    PCI_STR(f->unit), cc_mode_name(want));
        return;
    }
    if (m == CC_MODE_DEVTOOLS && want != CC_MODE_DEVTOOLS) {
        doctor_bad(d, &checks[C_MODE_DEVTOOLS], PCI_STR(f->unit), "mode devtools");
        doctor_cure(d, "pgpuctl cc set %s --mode %s", PCI_STR(f->unit), cc_mode_name(want));
        return;
    }
    if (f->mode_active != CC_MODE_UNKNOWN && f->mode_configured != CC_MODE_UNKNOWN &&
        f->mode_active != f->mode_configured) {
        doctor_bad(d, &checks[C_MODE_PENDING], PCI_STR(f->unit), "active %s, after a reset %s",
                   cc_mode_name((enum cc_mode)f->mode_active),
                   cc_mode_name((enum cc_mode)f->mode_configured));
        doctor_cure(d, "pgpuctl cc set %s --mode %s", PCI_STR(f->unit), cc_mode_name(want));
    }
    if (ours && gpu && m != want) {
        doctor_bad(d, &checks[C_MODE_MISMATCH], PCI_STR(f->unit), "%s, wanted is %s",
                   cc_mode_name(m), cc_mode_name(want));
        /* pgpud will see to it; without it nothing is handed out that has another mode. */
        if (d->conf.manage == MANAGE_FULL)
            doctor_severity(d, DOCTOR_INFO);
    }
}

static void
check_mixed(struct doctor *d)
{
    unsigned count[CC_MODE_UNKNOWN + 1] = {0}, kinds = 0;
    char text[128] = "";
    size_t used = 0;

    for (int i = 0; i < d->n_facts; i++)
        if (d->facts[i].kind == HWD_KIND_GPU && d->facts[i].chip[0] &&
            effective(&d->facts[i]) <= CC_MODE_PPCIE)
            count[effective(&d->facts[i])]++;
    for (unsigned m = 0; m <= CC_MODE_PPCIE; m++)
        if (count[m]) {
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%u %s", kinds ? ", " : "",
                                     count[m], cc_mode_name((enum cc_mode)m));
            kinds++;
        }
    if (kinds > 1)
        doctor_bad(d, &checks[C_MODES_MIXED], NULL, "%s", text);
    else if (kinds == 1)
        doctor_ok(d, &checks[C_MODES_MIXED], "%s", text);
}

static void
check_ppcie(struct doctor *d)
{
    unsigned gpus = 0, switches = 0;

    for (int i = 0; i < d->n_facts; i++) {
        gpus += d->facts[i].kind == HWD_KIND_GPU && d->facts[i].reason == REASON_NONE;
        switches += d->facts[i].kind == HWD_KIND_NVSWITCH && d->facts[i].reason == REASON_NONE;
    }
    if (gpus == PPCIE_GPUS && switches == PPCIE_SWITCHES)
        doctor_ok(d, &checks[C_PPCIE_INCOMPLETE], "8 GPUs and 4 NVSwitches");
    else
        doctor_bad(d, &checks[C_PPCIE_INCOMPLETE], NULL,
                   "mode ppcie is wanted; usable are %u GPUs and %u NVSwitches", gpus, switches);
}

static void
run(struct doctor *d)
{
    size_t from = d->n;

    for (int i = 0; i < d->n_facts; i++)
        check_one(d, &d->facts[i]);
    if (d->n == from && d->n_facts > 0) {
        doctor_ok(d, &checks[C_MODE_MISMATCH], "every known mode is %s", cc_mode_name(wanted(d)));
        doctor_ok(d, &checks[C_MODE_INVALID], "none");
    }
    check_mixed(d);
    if (wanted(d) == CC_MODE_PPCIE)
        check_ppcie(d);
    if (d->conf.unlock_devtools)
        doctor_bad(d, &checks[C_MODE_UNLOCKED], d->config_path, "unlock_devtools: true");
}

const struct doctor_area doctor_modes = {"modes", "Confidential-computing modes", checks,
                                         ARRAY_SIZE(checks), run};
