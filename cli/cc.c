/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl cc query|plan|set|reset: the confidential-computing mode of GPUs and NVSwitches, offline:
 * straight on the hardware, with pgpu-hwd's procedures and locks. A device that pgpu-hwd works on
 * or holds is refused. One thread, no state.
 */
#include "base/cleanup.h"
#include "base/hw.h"
#include "cli/cli.h"
#include "cli/offline.h"
#include "cli/table.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct args {
    uint32_t op;
    const char *target;
    enum cc_mode mode;
    bool have_mode, yes, progress;
    enum hwd_rung rung;
    enum hwd_access via;
};

static bool
parse_rung(const char *s, enum hwd_rung *ret)
{
    for (unsigned i = 0; i <= HWD_RUNG_REMOVE_RESCAN; i++)
        if (strcmp(s, hwd_rung_name((enum hwd_rung)i)) == 0) {
            *ret = (enum hwd_rung)i;
            return true;
        }
    return false;
}

static bool
parse_via(const char *s, enum hwd_access *ret)
{
    for (unsigned i = HWD_ACCESS_SYSFS; i < HWD_ACCESS_COUNT; i++)
        if (strcmp(s, hwd_access_name((enum hwd_access)i)) == 0) {
            *ret = (enum hwd_access)i;
            return true;
        }
    return false;
}

static bool
only_looks(const struct args *a)
{
    return a->op == HWD_JOB_QUERY || a->op == HWD_JOB_PLAN;
}

/* -1: go on; the options that a verb does not have are absent. */
static int
take_options(const struct usage_args *u, struct args *a)
{
    const char *mode = usage_value(u, "--mode", NULL);
    const char *rung = usage_value(u, "--method", NULL);
    const char *via = usage_value(u, "--via", NULL);

    a->target = u->v[0];
    if (mode && !cc_mode_parse(mode, &a->mode))
        return usage_wrong(u, "--mode is on, off, devtools or ppcie, not %s", mode);
    if (rung && !parse_rung(rung, &a->rung))
        return usage_wrong(u, "--method is function, bus or remove-rescan, not %s", rung);
    /* A look has no side effect unless it was asked for. */
    a->via = only_looks(a) ? HWD_ACCESS_SYSFS : HWD_ACCESS_AUTO;
    if (via && !parse_via(via, &a->via))
        return usage_wrong(u, "--via is sysfs or vfio, not %s", via);
    a->have_mode = mode != NULL;
    if (!mode && (a->op == HWD_JOB_PLAN || a->op == HWD_JOB_SET))
        return usage_wrong(u, "--mode is missing");
    a->yes = usage_flag(u, "--yes");
    a->progress = usage_flag(u, "--progress");
    return -1;
}

/* ---- which units ---- */

static bool
has_mode(const struct hwd_unit *u, const struct args *a)
{
    /* "all" means those that have the mode: a switch knows PPCIe alone. */
    if (!a->have_mode || u->facts.kind == HWD_KIND_GPU)
        return true;
    return a->mode == CC_MODE_PPCIE || a->mode == CC_MODE_OFF;
}

static int
select_units(const struct offline *o, const struct args *a, struct offline_run *runs)
{
    struct pci_addr addr;
    const struct hwd_unit *u;
    int n = 0;

    if (strcmp(a->target, "all") != 0) {
        if (!pci_addr_parse(a->target, &addr)) {
            (void)fprintf(stderr, "pgpuctl: not a full PCI address (0000:41:00.0): %s\n",
                          a->target);
            return -2;
        }
        u = hwd_units_find(o->units, addr);
        if (!u) {
            (void)fprintf(stderr, "pgpuctl: no GPU or NVSwitch at %s\n", a->target);
            return -1;
        }
        runs[n++].unit = u;
        return n;
    }
    for (unsigned i = 0; i < o->units->n; i++) {
        u = &o->units->u[i];
        if (!u->chip || !has_mode(u, a))
            continue;
        if (u->facts.driver[0] && !vfio_is_vfio_driver(u->facts.driver)) {
            (void)fprintf(stderr, "pgpuctl: %s left out: bound to %s\n", PCI_STR(u->addr),
                          u->facts.driver);
            continue;
        }
        runs[n++].unit = u;
    }
    if (n == 0)
        (void)fputs("pgpuctl: no device to work on\n", stderr);
    return n ? n : -1;
}

/* What the way costs, before it is taken. */
static void
tell_cost(const struct args *a, int n)
{
    if (a->via != HWD_ACCESS_VFIO)
        return;
    (void)fprintf(stderr,
                  "--via vfio: opening %s resets it, and closing it resets it again: twice about\n"
                  "1.5 s until its firmware has booted, its memory is cleared, and a mode that is\n"
                  "configured and not active becomes active.\n",
                  n == 1 ? "the device" : "each device");
}

static bool
confirm(const struct args *a, const struct offline_run *runs, int n)
{
    char line[16];

    if (only_looks(a) && a->via != HWD_ACCESS_VFIO)
        return true;
    tell_cost(a, n);
    if (a->yes)
        return true;
    if (!isatty(STDIN_FILENO)) {
        (void)fputs("pgpuctl: this resets devices; say --yes\n", stderr);
        return false;
    }
    for (int i = 0; i < n; i++)
        (void)fprintf(stderr, "%s %s\n", PCI_STR(runs[i].unit->addr), runs[i].unit->facts.model);
    if (only_looks(a))
        (void)fputs("Open and reset? [y/N] ", stderr);
    else if (a->op == HWD_JOB_SET)
        (void)fprintf(stderr, "Set to mode %s and reset? [y/N] ", cc_mode_name(a->mode));
    else
        (void)fprintf(stderr, "Reset (%s)? [y/N] ", hwd_rung_name(a->rung));
    return fgets(line, sizeof(line), stdin) && (line[0] == 'y' || line[0] == 'Y');
}

/* ---- output ---- */

static void
print_progress(const struct hwd_unit *u, enum hwd_phase p, const char *detail)
{
    (void)fprintf(stderr, "%s %s%s%s\n", PCI_STR(u->addr), hwd_phase_name(p), detail[0] ? ": " : "",
                  detail);
}

static void
knob_note(struct table *t, const struct cc_knobs *k)
{
    const struct {
        const char *name;
        int v;
    } list[] = {
        {"cc", k->ccm},
        {"cc-devtools", k->ccd},
        {"bar0-decoupler", k->decoupler},
        {"ppcie", k->ppcie},
        {"knob2", k->k2},
        {"knob4", k->k4},
        {"knob34", k->k34},
        {"cc-in-band", k->ccm_inband},
        {"cc-devtools-in-band", k->ccd_inband},
        {"bar0-decoupler-in-band", k->decoupler_inband},
        {"ppcie-in-band", k->ppcie_inband},
    };
    char text[320] = "";
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(list); i++)
        if (list[i].v >= 0 && n < sizeof(text))
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s=%d", n ? " " : "", list[i].name,
                                  list[i].v);
    table_note(t, "settings", text);
}

static void
plan_note(struct table *t, const struct hwd_outcome *out)
{
    struct buf b;
    const char *text;

    if (!out->have_plan)
        return;
    buf_init(&b, 4096);
    cc_plan_print(&out->plan, &b);
    text = buf_cstr(&b);
    table_note(t, "plan", text ? text : "");
    buf_fini(&b);
}

/* The usual cure is for a device that a VM has. What pgpu-hwd has it keeps as long as it runs. */
static const char *
cure_of(const struct hwd_outcome *o)
{
    if (o->reason == REASON_IN_USE && strcmp(o->holder_comm, "pgpu-hwd") == 0)
        return "its mode is in pgpuctl status and pgpuctl devices; to work on it, stop pgpu-hwd";
    return reason_cure((enum reason)o->reason);
}

static void
add_run(struct table *t, const struct args *a, const struct offline_run *r)
{
    const struct hwd_outcome *o = &r->out;
    bool ok = o->err_class == ERR_CLASS_NONE;
    bool known = o->have_status || o->mode_active != CC_MODE_UNKNOWN;
    char took[16];

    (void)snprintf(took, sizeof(took), "%u", o->evidence.total_ms);
    table_row(t, (const char *const[]){PCI_STR(r->unit->addr), r->unit->facts.chip,
                                       r->unit->facts.model,
                                       known ? cc_mode_name((enum cc_mode)o->mode_active) : "",
                                       known ? cc_mode_name((enum cc_mode)o->mode_configured) : "",
                                       ok ? "ok" : reason_name((enum reason)o->reason), took});
    if (!ok) {
        table_note(t, "error", o->text);
        table_note(t, "cure", cure_of(o));
        if (only_looks(a) && a->via != HWD_ACCESS_VFIO &&
            (o->reason == REASON_LOCKDOWN || o->reason == REASON_STRICT_DEVMEM))
            table_note(t, "alternative", "--via vfio (resets the device)");
    } else if (o->have_status && o->status.active != o->status.configured) {
        table_note(t, "pending", "the configured mode becomes active at the next reset");
    }
    if (o->evidence.access == HWD_ACCESS_VFIO)
        table_note(t, "via", hwd_access_name(HWD_ACCESS_VFIO));
    if (ok && o->have_status && a->op == HWD_JOB_QUERY)
        knob_note(t, &o->status.knobs);
    plan_note(t, o);
}

static int
print_runs(const struct cli *c, const struct args *a, const struct offline_run *runs, int n)
{
    static const char *const cols[] = {"ADDRESS",    "CHIP",   "MODEL",  "ACTIVE",
                                       "CONFIGURED", "RESULT", "TOOK_MS"};
    struct table *t = table_new(cols, ARRAY_SIZE(cols));
    int rc = 0;

    for (int i = 0; i < n; i++) {
        add_run(t, a, &runs[i]);
        if (runs[i].out.err_class != ERR_CLASS_NONE)
            rc = 1;
    }
    table_print(t, c->json);
    table_free(t);
    return rc;
}

static int
work(const struct cli *c, const struct args *a, struct offline *o, struct offline_run *runs)
{
    bool changes = !only_looks(a);
    const struct offline_work w = {
        .op = a->op,
        .mode = (uint32_t)a->mode,
        .rung = (uint32_t)a->rung,
        .deadline_ns = changes ? o->cfg.deadline.prepare : HW_SEC(30),
        .progress = a->progress || (changes && isatty(STDERR_FILENO)) ? print_progress : NULL,
    };
    int n = select_units(o, a, runs);

    if (n < 0)
        return -n;
    if (!confirm(a, runs, n))
        return 2;
    /* Half-written knobs are an undefined mode: an impatient Ctrl-C does not stop the work. */
    if (changes) {
        (void)signal(SIGINT, SIG_IGN);
        (void)signal(SIGTERM, SIG_IGN);
    }
    o->cfg.access = (int)a->via;
    offline_run(o, &w, runs, (unsigned)n);
    return print_runs(c, a, runs, n);
}

/* ---- the verbs ---- */

static int
run(const struct usage *verb, uint32_t op, const struct cli *c, int argc, char **argv)
{
    struct args a = {.op = op};
    struct usage_args u;
    struct offline o;
    struct err e = ERR_INIT;
    struct offline_run *runs;
    int rc = usage_parse(verb, argc, argv, &u);

    if (rc < 0)
        rc = take_options(&u, &a);
    if (rc >= 0)
        return rc;
    if (offline_open(c, NULL, true, &o, &e) < 0) {
        (void)fprintf(stderr, "pgpuctl: %s\n", e.msg);
        return 1;
    }
    runs = calloc(o.units->n ? o.units->n : 1, sizeof(*runs));
    rc = runs ? work(c, &a, &o, runs) : 1;
    free(runs);
    offline_close(&o);
    return rc;
}

static int run_query(const void *ctx, int argc, char **argv);
static int run_plan(const void *ctx, int argc, char **argv);
static int run_set(const void *ctx, int argc, char **argv);
static int run_reset(const void *ctx, int argc, char **argv);

#define MODE                                                                                       \
    {                                                                                              \
        "--mode", "MODE", "on, off, devtools or ppcie", "on off devtools ppcie", 0                 \
    }
#define VIA                                                                                        \
    {                                                                                              \
        "--via", "WAY", "how registers are reached, sysfs or vfio", "sysfs vfio", 0                \
    }
#define YES                                                                                        \
    {                                                                                              \
        "--yes", NULL, "do not ask back", NULL, 'y'                                                \
    }
#define PROGRESS                                                                                   \
    {                                                                                              \
        "--progress", NULL, "one line per step on stderr (default on a terminal)", NULL, 0         \
    }
#define END                                                                                        \
    {                                                                                              \
        NULL, NULL, NULL, NULL, 0                                                                  \
    }

#define VIA_TEXT                                                                                   \
    "Registers are reached through sysfs: resource0, without a side effect, refused under kernel " \
    "lockdown (Secure Boot). --via vfio works there too, for devices on a VFIO driver, but "       \
    "opening "                                                                                     \
    "and closing the device reset it."
#define EXIT_TEXT "Exit status: 0 done for all, 1 failed for some, 2 wrong usage, or not confirmed."

static const struct usage verbs[] = {
    {
        .name = "query",
        .args = "ADDR|all",
        .summary = "active mode, mode after the next reset, firmware settings",
        .text = VIA_TEXT "\n\n" EXIT_TEXT,
        .words = "device all",
        .opts = (const struct usage_opt[]){VIA, YES, PROGRESS, END},
        .run = run_query,
    },
    {
        .name = "plan",
        .args = "ADDR|all --mode MODE",
        .summary = "what set would write; changes nothing",
        .text = VIA_TEXT "\n\n" EXIT_TEXT,
        .words = "device all",
        .opts = (const struct usage_opt[]){MODE, VIA, YES, PROGRESS, END},
        .run = run_plan,
    },
    {
        .name = "set",
        .args = "ADDR|all --mode MODE",
        .summary = "write, reset, wait for boot, verify",
        .text = "Without --via vfio is taken where sysfs is refused (kernel lockdown, Secure Boot)."
                "\n\n" EXIT_TEXT,
        .words = "device all",
        .opts = (const struct usage_opt[]){MODE, VIA, YES, PROGRESS, END},
        .run = run_set,
    },
    {
        .name = "reset",
        .args = "ADDR|all",
        .summary = "reset, and verify that it boots",
        .text =
            "Registers are reached through sysfs, and through vfio where that is refused. There, "
            "where a GPU does not boot after function, the bus is reset as well; what is not on "
            "a VFIO driver afterwards cannot be looked at: the reset is then done, and not "
            "verified.\n\n" EXIT_TEXT,
        .words = "device all",
        .opts =
            (const struct usage_opt[]){
                {"--method", "METHOD", "function (default), bus or remove-rescan",
                 "function bus remove-rescan", 0},
                YES,
                PROGRESS,
                END,
            },
        .run = run_reset,
    },
    {.name = NULL},
};

const struct usage verb_cc = {
    .name = "cc",
    .summary = "query, plan, set or reset the confidential-computing mode",
    .text = "Reads or changes the mode of a GPU or NVSwitch (full PCI address, or all of them), "
            "directly on the hardware. Works on devices without a driver and on VFIO drivers; "
            "refuses devices of host drivers and those that pgpu-hwd or a VM holds.",
    .verbs = verbs,
};

static int
run_query(const void *ctx, int argc, char **argv)
{
    return run(&verbs[0], HWD_JOB_QUERY, ctx, argc, argv);
}

static int
run_plan(const void *ctx, int argc, char **argv)
{
    return run(&verbs[1], HWD_JOB_PLAN, ctx, argc, argv);
}

static int
run_set(const void *ctx, int argc, char **argv)
{
    return run(&verbs[2], HWD_JOB_SET, ctx, argc, argv);
}

static int
run_reset(const void *ctx, int argc, char **argv)
{
    return run(&verbs[3], HWD_OP_RESET, ctx, argc, argv);
}
