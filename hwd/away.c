/* SPDX-License-Identifier: Apache-2.0
 *
 * Closing open devices. The last close of a VFIO device resets it and returns when that is done:
 * 100 ms for a healthy one, more than a minute for a dead one. The service's thread never waits for
 * that, so a forked process inherits the descriptors, sees us close ours, and closes them last.
 * Requests for the unit wait for it, up to a limit.
 */
#include "hwd/svc.h"

#include "base/cleanup.h"
#include "base/hw.h"
#include "base/log.h"
#include "hwd/steps.h"
#include "hwd/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE HW_SEC(5) /* a healthy reset takes a fraction of a second */

struct away {
    struct svc *svc;
    struct pci_addr unit;
    int group; /* whose hold is among what is closed; -1: none */
    uint64_t since;
    bool late;
    sd_event_source *child, *timer;
    struct away *next;
};

static struct unit *
unit_of(const struct away *a)
{
    struct unit *u = unit_find(a->svc, a->unit);

    return u && u->away == a ? u : NULL;
}

/* Requests that waited: of the unit, and of those that share the group. */
static void
start_waiting(struct svc *s, struct pci_addr unit, int group)
{
    for (unsigned i = 0; i < s->n_units; i++) {
        struct unit *u = s->units[i];

        if (!u->op && (pci_addr_cmp(u->desc.addr, unit) == 0 ||
                       (group >= 0 && u->desc.facts.iommu_group == group)))
            op_start_queued(u);
    }
}

static void
forget(struct away *a)
{
    struct unit *u = unit_of(a);

    for (struct away **p = &a->svc->aways; *p; p = &(*p)->next)
        if (*p == a) {
            *p = a->next;
            break;
        }
    if (u)
        u->away = NULL;
    a->child = sd_event_source_disable_unref(a->child);
    a->timer = sd_event_source_disable_unref(a->timer);
    free(a);
}

static int
on_closed(sd_event_source *src, const siginfo_t *si, void *ctx)
{
    struct away *a = ctx;
    struct svc *s = a->svc;
    struct pci_addr addr = a->unit;
    struct unit *u = unit_of(a);
    int group = a->group;

    (void)src;
    (void)si;
    log_debug("device closed", "unit", PCI_STR(addr), "took_ms",
              LOG_NUM((hwd_now() - a->since) / HW_MS(1)));
    if (u && a->late && !u->op) {
        u->facts.state = HWD_STATE_IDLE;
        u->facts.op_since_ns = 0;
        unit_tell(u);
    }
    forget(a);
    start_waiting(s, addr, group);
    scan_soon(s, HW_MS(50));
    return 0;
}

static int
on_late(sd_event_source *src, uint64_t usec, void *ctx)
{
    struct away *a = ctx;
    struct unit *u = unit_of(a);

    (void)src;
    (void)usec;
    a->late = true;
    log_warn("the kernel has not come back from closing a device", "unit", PCI_STR(a->unit),
             "after_ms", LOG_NUM((hwd_now() - a->since) / HW_MS(1)));
    if (u && !u->op) {
        u->facts.state = HWD_STATE_STUCK;
        u->facts.op_since_ns = a->since;
        unit_tell(u);
    }
    start_waiting(a->svc, a->unit, a->group); /* which are refused now */
    return 0;
}

const struct away *
away_of(const struct unit *u)
{
    int group = u->desc.facts.iommu_group;
    const struct away *a = u->away ? u->away : u->svc->aways;

    while (a && a != u->away && (group < 0 || a->group != group))
        a = a->next;
    return a;
}

bool
away_late(const struct away *a)
{
    return a->late;
}

/* In the child: say that the descriptors of other devices are closed, wait until the parent has
 * closed its own of this one, then close ours. */
static _Noreturn void
close_last(int gate, int dev, int hold)
{
    const int keep[] = {gate, dev, hold};
    struct wire w = {0};
    struct err ignored = ERR_INIT;
    char c;
    ssize_t n;

    worker_keep_only(keep, ARRAY_SIZE(keep));
    worker_leave_stdio();
    (void)wire_send(gate, &w, WIRE_READY, NULL, 0, &ignored);
    do {
        n = read(gate, &c, 1);
    } while (n < 0 && errno == EINTR);
    fd_close(&dev); /* the device before its group */
    fd_close(&hold);
    _exit(0);
}

/* The process that closes them once `*ret_gate` is closed; -1: none to be had. As long as it has
 * not begun it has a copy of everything, also of other units' devices. */
static pid_t
fork_closer(int dev, int hold, int *ret_gate)
{
    int gate[2];
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, gate) < 0)
        return -1;
    pid = fork();
    if (pid == 0)
        close_last(gate[0], dev, hold);
    fd_close(&gate[0]);
    if (pid > 0 && wire_wait_ready(gate[1])) {
        *ret_gate = gate[1];
        return pid;
    }
    if (pid > 0)
        worker_kill(pid);
    fd_close(&gate[1]);
    return -1;
}

/* Closes both in either case; NULL: here and now, for want of processes or memory. */
static struct away *
start(struct unit *u, int dev, int hold)
{
    struct away *a = calloc(1, sizeof(*a));
    int gate = -1;
    pid_t pid = a ? fork_closer(dev, hold, &gate) : -1;
    bool group_too = hold >= 0;

    fd_close(&dev);
    fd_close(&hold);
    fd_close(&gate); /* from here on the child closes, so ours had to be first */
    if (pid < 0) {
        log_warn("no process to close a device in", "unit", PCI_STR(u->desc.addr));
        free(a);
        return NULL;
    }
    a->svc = u->svc;
    a->unit = u->desc.addr;
    a->group = group_too ? u->held_group : -1;
    a->since = hwd_now();
    if (sd_event_add_child(u->svc->loop, &a->child, pid, WEXITED, on_closed, a) < 0) {
        free(a);
        return NULL;
    }
    return a;
}

void
away_close(struct unit *u, int dev, int hold)
{
    struct svc *s = u->svc;
    struct away *a;

    if (dev < 0 && hold < 0)
        return;
    a = start(u, dev, hold);
    if (!a)
        return;
    (void)sd_event_add_time_relative(s->loop, &a->timer, CLOCK_MONOTONIC, PATIENCE / 1000u, 10000,
                                     on_late, a);
    a->next = s->aways;
    s->aways = a;
    u->away = a; /* the newest counts: they end in their order */
}

/* The processes go on alone. */
void
away_free(struct svc *s)
{
    while (s->aways)
        forget(s->aways);
}
