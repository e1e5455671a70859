/* SPDX-License-Identifier: Apache-2.0
 *
 * Who opens the nodes: inotify on the group node and on the cdev of every bound unit. Events are
 * hints (equal neighbours are merged, and they name nobody): an open is believed at once, that a
 * device is free again only a probe says.
 *
 * Our own opens show up here as well. Units of a gang share the node of their group, so that is
 * reckoned by group: while we hold it nobody else can open it; while operations or probes of its
 * units run, opens are counted, and what is more than their own was somebody else's. The cdev is
 * the unit's own.
 */
#include "hwd/svc.h"

#include "base/cleanup.h"
#include "base/hw.h"
#include "base/log.h"
#include "hwd/steps.h"
#include "vfio/nodes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#define MASK (IN_OPEN | IN_CLOSE_WRITE | IN_CLOSE_NOWRITE)
/* A VMM that closes its last descriptor is left time to open again before we look. */
#define PROBE_DELAY HW_MS(50)
#define NAME_DELAY HW_MS(100)

static int
add(struct svc *s, const char *path)
{
    char proc[64];
    struct err e = ERR_INIT;
    _cleanup_fd_ int fd = fs_open(s->p->root, path, O_PATH, 0, &e);

    if (fd < 0)
        return -1;
    (void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
    return inotify_add_watch(s->inotify, proc, MASK);
}

static void
drop_wd(struct svc *s, const struct unit *not_this, int wd)
{
    if (wd < 0)
        return;
    for (unsigned i = 0; i < s->n_units; i++)
        if (s->units[i] != not_this && (s->units[i]->wd_group == wd || s->units[i]->wd_cdev == wd))
            return;
    (void)inotify_rm_watch(s->inotify, wd);
}

void
watch_remove(struct unit *u)
{
    drop_wd(u->svc, u, u->wd_group);
    drop_wd(u->svc, u, u->wd_cdev);
    u->wd_group = u->wd_cdev = -1;
    u->watched_group = u->watched_cdev = -1;
}

/* A node that was made anew is another inode, and gives another watch. */
static bool
rewatch(struct unit *u, int *wd, const char *path)
{
    int old = *wd, now = add(u->svc, path);

    if (now == old)
        return false;
    *wd = now;
    drop_wd(u->svc, u, old);
    return old >= 0;
}

bool
watch_update(struct unit *u)
{
    bool bound = (u->facts.flags & HWD_FACT_BOUND) != 0;
    struct vfio_fn fn = {.iommu_group = u->facts.iommu_group, .cdev = u->facts.cdev};
    char path[VFIO_PATH_MAX];
    bool replaced = false;

    if (!bound || u->watched_group != fn.iommu_group || u->watched_cdev != fn.cdev)
        watch_remove(u);
    if (!bound)
        return false;
    u->watched_group = fn.iommu_group;
    u->watched_cdev = fn.cdev;
    if (fn.iommu_group >= 0 && rewatch(u, &u->wd_group, node_of_group(&fn, path)))
        replaced = true;
    if (fn.cdev >= 0 && rewatch(u, &u->wd_cdev, node_of_cdev(&fn, path)))
        replaced = true;
    return replaced;
}

/* ---- looking again ---- */

static int
on_probe(sd_event_source *src, uint64_t usec, void *ctx)
{
    struct unit *u = ctx;

    (void)src;
    (void)usec;
    u->probe = sd_event_source_disable_unref(u->probe);
    if (u->op || u->holding || u->svc->stopping || !(u->facts.flags & HWD_FACT_BOUND))
        return 0;
    /* The node of what is somebody else's is not opened, be it for a moment. */
    op_probe(u, u->probe_proc_only || !(u->facts.flags & HWD_FACT_CLAIMED));
    return 0;
}

void
watch_probe_again(struct unit *u, uint64_t delay_ns, bool proc_only)
{
    u->probe = sd_event_source_disable_unref(u->probe);
    u->probe_proc_only = proc_only;
    (void)sd_event_add_time_relative(u->svc->loop, &u->probe, CLOCK_MONOTONIC, delay_ns / 1000u,
                                     1000, on_probe, u);
}

/* ---- events ---- */

/* For whoever asks afterwards: a hand-over is for one user, who opens the device and keeps it. Who
 * it was the look that follows tells, if it is still there. Told a few times only: whoever opens it
 * in a loop must not fill the log. */
static void
count_open(struct unit *u)
{
    struct hwd_facts *f = &u->facts;

    if (!(f->flags & HWD_FACT_HANDED_OVER))
        return;
    f->flags |= HWD_FACT_OPENED;
    if (f->opens == HWD_OPENS_MAX)
        return;
    f->opens++;
    if (f->flags & HWD_FACT_REOPENED)
        log_warn("opened again since it was handed over", "unit", PCI_STR(u->desc.addr), "opens",
                 LOG_NUM(f->opens));
    else
        log_info("opened after the hand-over", "unit", PCI_STR(u->desc.addr), "opens",
                 LOG_NUM(f->opens));
}

void
watch_opened(struct unit *u)
{
    u->last_open = hwd_now();
    u->probe_backoff = 0;
    if (u->let_go)
        u->facts.flags |= HWD_FACT_REOPENED;
    u->opens++;
    u->facts.use = HWD_USE_HELD;
    count_open(u);
    unit_tell(u);
    /* For the name only, without touching the node: the VMM may be half way through its open. */
    watch_probe_again(u, NAME_DELAY, true);
}

void
watch_probe_close(struct unit *u)
{
    u->probe_backoff = PROBE_DELAY;
    watch_probe_again(u, PROBE_DELAY, false);
}

static void
closed(struct unit *u)
{
    if (u->opens > 0 && --u->opens == 0)
        u->let_go = true;
    if (u->facts.use == HWD_USE_HELD)
        watch_probe_close(u);
}

void
watch_foreign_open(struct svc *s, int group)
{
    bool held = hold_find(s, group) != NULL;

    for (unsigned i = 0; i < s->n_units; i++) {
        struct unit *u = s->units[i];

        if (u->desc.facts.iommu_group != group || u->holding || !(u->facts.flags & HWD_FACT_BOUND))
            continue;
        /* a close while we were looking was not counted: it may be the next user */
        if (!held && (u->facts.flags & HWD_FACT_OPENED))
            u->facts.flags |= HWD_FACT_REOPENED;
        count_open(u);
        if (!held) {
            u->last_open = hwd_now();
            u->facts.use = HWD_USE_HELD;
            watch_probe_again(u, HW_SEC(1), false);
        }
        unit_tell(u);
    }
}

static void
on_group(struct svc *s, int group, uint32_t mask)
{
    bool busy = group_busy(s, group, NULL);

    if (busy && (mask & IN_OPEN))
        group_count(s, group, 1, 0);
    if (busy ? (mask & IN_OPEN) != 0 : hold_find(s, group) != NULL)
        return;
    for (unsigned i = 0; i < s->n_units; i++) {
        struct unit *u = s->units[i];

        if (u->watched_group != group || u->wd_group < 0 || u->holding)
            continue;
        /* Whose close it is nobody can tell while we are busy: whoever looks then looks again. That
         * it is held may be what the look under way is about to say. */
        if (busy && u->facts.use != HWD_USE_FREE && !u->probe_backoff)
            u->probe_backoff = PROBE_DELAY;
        else if (!busy && (mask & IN_OPEN))
            watch_opened(u);
        else if (!busy && (mask & IN_CLOSE))
            closed(u);
    }
}

/* While the group is held, or the device is worked on, a cdev can be opened, though not bound: who
 * did so is its user as soon as we let go, and no other event tells. Where the hold is the cdev,
 * our own open is among them until the worker has closed it for the hand-over. */
static void
count_early(struct unit *u, uint32_t mask)
{
    if (mask & IN_OPEN)
        u->early++;
    else if (u->early > 0)
        u->early--;
}

static void
on_cdev(struct unit *u, uint32_t mask)
{
    if (u->op && (mask & IN_OPEN))
        u->op->cdev_opens++;
    if (u->holding || u->op)
        count_early(u, mask);
    if (u->holding)
        return;
    if (mask & IN_OPEN)
        watch_opened(u);
    else if (mask & IN_CLOSE)
        closed(u);
}

/* The node is gone: the driver let go of the device. */
static void
on_gone(struct unit *u)
{
    u->rebound = true;
    if (!u->op)
        unit_lost(u);
    else if (u->facts.flags & HWD_FACT_HANDED_OVER)
        u->facts.flags |= HWD_FACT_OPENED;
    unit_tell(u);
    scan_soon(u->svc, 0);
}

/* What was lost may have been an open: assume it was. */
static void
on_overflow(struct svc *s)
{
    log_warn("node events lost");
    for (unsigned i = 0; i < s->n_units; i++) {
        struct unit *u = s->units[i];

        if (u->holding || !(u->facts.flags & HWD_FACT_BOUND))
            continue;
        if (u->facts.flags & HWD_FACT_HANDED_OVER)
            u->facts.flags |= HWD_FACT_OPENED;
        u->facts.use = HWD_USE_UNKNOWN;
        unit_tell(u);
    }
    scan_soon(s, 0);
}

static void
on_event(struct svc *s, int wd, uint32_t mask)
{
    int group = -1;

    for (unsigned i = 0; i < s->n_units; i++) {
        struct unit *u = s->units[i];

        if (u->wd_group != wd && u->wd_cdev != wd)
            continue;
        if (mask & IN_IGNORED) {
            if (u->wd_group == wd)
                u->wd_group = -1;
            else
                u->wd_cdev = -1;
            on_gone(u);
        } else if (u->wd_group == wd) {
            group = u->watched_group;
        } else {
            on_cdev(u, mask);
        }
    }
    if (group >= 0)
        on_group(s, group, mask);
}

static bool
drain(struct svc *s)
{
    char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t n = read(s->inotify, buf, sizeof(buf));

    if (n <= 0)
        return false;
    for (ssize_t off = 0; off + (ssize_t)sizeof(struct inotify_event) <= n;) {
        struct inotify_event ev;

        memcpy(&ev, buf + off, sizeof(ev));
        off += (ssize_t)(sizeof(ev) + ev.len);
        if (ev.mask & IN_Q_OVERFLOW)
            on_overflow(s);
        else
            on_event(s, ev.wd, ev.mask);
    }
    return true;
}

void
watch_drain(struct svc *s)
{
    for (int i = 0; i < 64 && drain(s); i++)
        ;
}

/* The watch runs already. Everything up to here happened while we held the group, so nobody could
 * use the device, but may have its cdev open already; our own close is an event that changes
 * nothing (use is FREE then), and the first open after it is the VMM's. */
bool
watch_handover(struct unit *u)
{
    const struct vfio_fn fn = {.iommu_group = u->facts.iommu_group, .cdev = u->facts.cdev};
    char path[VFIO_PATH_MAX];

    if (watch_update(u)) { /* what we hold is not the node that a VMM would open */
        u->rebound = true;
        unit_lost(u);
        return false;
    }
    if (u->wd_group < 0 && u->wd_cdev < 0)
        return false;
    /* A VMM comes in by either node: without both watches "not opened" would be a guess. */
    if (fn.cdev >= 0 && u->wd_cdev < 0)
        return false;
    if (fn.iommu_group >= 0 && u->wd_group < 0 &&
        fs_exists(u->svc->p->root, node_of_group(&fn, path)))
        return false;
    watch_drain(u->svc);
    if (u->rebound)
        return false;
    unit_release(u);
    u->facts.use = HWD_USE_FREE;
    u->facts.flags |= HWD_FACT_HANDED_OVER;
    u->facts.flags &= ~(uint32_t)(HWD_FACT_OPENED | HWD_FACT_REOPENED);
    u->last_open = 0;
    u->opens = 0;
    u->facts.opens = 0;
    u->let_go = false;
    u->probe_backoff = 0;
    u->probe = sd_event_source_disable_unref(u->probe);
    return true;
}

static int
on_inotify(sd_event_source *src, int fd, uint32_t revents, void *ctx)
{
    (void)src;
    (void)fd;
    (void)revents;
    watch_drain(ctx);
    return 0;
}

int
watch_init(struct svc *s, struct err *e)
{
    int r;

    s->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (s->inotify < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "start inotify");
    r = sd_event_add_io(s->loop, NULL, s->inotify, EPOLLIN, on_inotify, s);
    return r < 0 ? err_errno(e, -r, ERR_CLASS_FATAL, "watch inotify") : 0;
}
