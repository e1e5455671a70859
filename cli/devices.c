/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl devices: every GPU and NVSwitch and why it can or cannot be prepared. Where pgpu-hwd runs
 * it is asked, because it knows uses and modes; else the hardware is looked at, without disturbing
 * it. One thread, no state.
 */
#include "base/cleanup.h"
#include "base/hw.h"
#include "cli/cli.h"
#include "cli/offline.h"
#include "cli/online.h"
#include "cli/table.h"
#include "vfio/hold.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *
mode_text(uint32_t m)
{
    return m == CC_MODE_UNKNOWN ? "?" : cc_mode_name((enum cc_mode)m);
}

static void
num_text(char *buf, size_t size, int v)
{
    if (v < 0)
        buf[0] = '\0';
    else
        (void)snprintf(buf, size, "%d", v);
}

static void
use_text(char *buf, size_t size, const struct hwd_facts *f)
{
    if (f->use == HWD_USE_HELD && f->holder_pid)
        (void)snprintf(buf, size, "held:%s[%d]", f->holder_comm, f->holder_pid);
    else if (f->state == HWD_STATE_STUCK)
        (void)snprintf(buf, size, "stuck:%s", hwd_op_name((enum hwd_op)f->op));
    else if (f->state == HWD_STATE_BUSY)
        (void)snprintf(buf, size, "busy:%s", hwd_op_name((enum hwd_op)f->op));
    else
        (void)snprintf(buf, size, "%s%s%s", hwd_use_name((enum hwd_use)f->use),
                       f->flags & HWD_FACT_ARMED         ? "+armed"
                       : f->flags & HWD_FACT_HANDED_OVER ? "+handed-over"
                                                         : "",
                       f->flags & HWD_FACT_REOPENED                                ? "+reopened"
                       : f->flags & HWD_FACT_ARMED && f->access == HWD_ACCESS_VFIO ? "+vfio"
                                                                                   : "");
}

static void
add_facts(struct table *t, const struct hwd_facts *f)
{
    char group[16], numa[16], use[96], mode[40];
    const char *reason = f->reason ? reason_name((enum reason)f->reason) : "";
    const char *node = strncmp(f->node, "/dev/vfio/", 10) == 0 ? f->node + 10 : f->node;

    num_text(group, sizeof(group), f->iommu_group);
    num_text(numa, sizeof(numa), f->numa_node);
    use_text(use, sizeof(use), f);
    (void)snprintf(mode, sizeof(mode), "%s/%s", mode_text(f->mode_active),
                   mode_text(f->mode_configured));
    table_row(t, (const char *const[]){PCI_STR(f->unit), hwd_kind_name((enum hwd_kind)f->kind),
                                       f->model, f->chip, f->driver, group, numa, node, use, mode,
                                       reason});
    table_note(t, "why", f->text);
    table_note(t, "cure", reason_cure((enum reason)f->reason));
}

static struct table *
new_table(void)
{
    static const char *const cols[] = {"ADDRESS", "KIND", "MODEL", "CHIP", "DRIVER", "GROUP",
                                       "NUMA",    "NODE", "USE",   "MODE", "REASON"};

    return table_new(cols, ARRAY_SIZE(cols));
}

/* ---- offline ---- */

/* A register read is free of side effects only where nothing has to be woken and no host driver
 * talks to the device. */
static bool
cheap(const struct hwd_unit *u, const struct vfio_fn *f)
{
    return u->chip && (!f->driver[0] || vfio_is_vfio_driver(f->driver)) &&
           (strcmp(f->power_state, "D0") == 0 || (!f->driver[0] && !f->power_state[0]));
}

static void
read_active(const struct offline *o)
{
    struct offline_run *runs = calloc(o->units->n ? o->units->n : 1, sizeof(*runs));
    const struct offline_work w = {.op = HWD_JOB_ACTIVE, .deadline_ns = HW_SEC(3)};
    unsigned n = 0;

    if (!runs)
        return;
    for (unsigned i = 0; i < o->units->n; i++)
        if (cheap(&o->units->u[i], vfio_find(&o->scan->inv, o->units->u[i].addr)))
            runs[n++].unit = &o->units->u[i];
    offline_run(o, &w, runs, n);
    for (unsigned i = 0; i < n; i++) {
        struct hwd_unit *u = &o->units->u[runs[i].unit - o->units->u];

        if (runs[i].out.err_class == ERR_CLASS_NONE)
            u->facts.mode_active = runs[i].out.mode_active;
    }
    free(runs);
}

/* Only what /proc shows: opening the node to look could make a VMM's own open fail. */
static void
read_holder(const struct offline *o, struct hwd_unit *u)
{
    const struct vfio_fn *f = vfio_find(&o->scan->inv, u->addr);
    struct vfio_holder h;
    struct err ignored = ERR_INIT;

    u->facts.use = f->driver[0] ? HWD_USE_UNKNOWN : HWD_USE_FREE;
    if (!vfio_is_vfio_driver(f->driver) ||
        vfio_holders(&o->root, f, getpid(), &h, 1, &ignored) <= 0)
        return;
    u->facts.use = HWD_USE_HELD;
    u->facts.holder_pid = (int32_t)h.pid;
    (void)str_copy(u->facts.holder_comm, sizeof(u->facts.holder_comm), h.comm);
}

/* Functions too broken to say what they are. */
static void
add_unreadable(struct table *t, const struct offline *o)
{
    for (unsigned i = 0; i < o->scan->inv.n; i++) {
        const struct vfio_fn *f = &o->scan->inv.fn[i];

        if (f->reason == REASON_NONE || hwd_units_find(o->units, f->addr))
            continue;
        table_row(t, (const char *const[]){PCI_STR(f->addr), "?", f->name, "", f->driver, "", "",
                                           "", "", "", reason_name(f->reason)});
        table_note(t, "why", f->text);
        table_note(t, "cure", reason_cure(f->reason));
    }
}

static int
list_offline(const struct cli *c, const char *config, struct table *t)
{
    struct offline o;
    struct err e = ERR_INIT;

    if (offline_open(c, config, false, &o, &e) < 0) {
        (void)fprintf(stderr, "pgpuctl: %s\n", e.msg);
        return 1;
    }
    read_active(&o);
    for (unsigned i = 0; i < o.units->n; i++) {
        read_holder(&o, &o.units->u[i]);
        add_facts(t, &o.units->u[i].facts);
    }
    add_unreadable(t, &o);
    offline_close(&o);
    return 0;
}

static int
run(const void *ctx, int argc, char **argv)
{
    const struct cli *c = ctx;
    struct hwd_facts *f = NULL;
    struct usage_args a;
    struct table *t;
    struct err e = ERR_INIT;
    int n, rc = usage_parse(&verb_devices, argc, argv, &a);

    if (rc >= 0)
        return rc;
    rc = 0;
    t = new_table();
    n = !c->hwd || usage_flag(&a, "--offline") ? -1 : online_facts(c->hwd, &f, &e);
    for (int i = 0; i < n; i++)
        add_facts(t, &f[i]);
    free(f);
    if (n < 0)
        rc = list_offline(c, usage_value(&a, "--config", NULL), t);
    if (rc == 0)
        table_print(t, c->json);
    table_free(t);
    return rc;
}

static const struct usage_opt options[] = {
    {"--offline", NULL, "do not ask pgpu-hwd", NULL, 0},
    {"--config", "FILE", "pgpu-hwd's configuration, for the claim rules (offline)", "file", 0},
    {NULL, NULL, NULL, NULL, 0},
};

const struct usage verb_devices = {
    .name = "devices",
    .args = "",
    .summary = "GPUs and NVSwitches, and why one cannot be prepared",
    .text =
        "Asks pgpu-hwd where it runs (--hwd SOCKET), else looks at the hardware itself, without "
        "waking or disturbing it.\n\n"
        "USE is free, ours (held by pgpu-hwd), held or unknown; MODE is active/configured, "
        "\"?\" where not known without waking or asking the device.\n\n"
        "Exit status: 0 listed, 1 could not look, 2 wrong usage.",
    .opts = options,
    .run = run,
};
