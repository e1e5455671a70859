/* SPDX-License-Identifier: Apache-2.0
 *
 * Scanning the bus, in a worker: libpci may exit the process, and a configuration read blocks while
 * the kernel resets that function. Owner of the scan worker and of the last finished scan.
 */
#include "hwd/svc.h"

#include "base/cleanup.h"
#include "base/hw.h"
#include "base/log.h"
#include "hwd/steps.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define SCAN_RETRY HW_SEC(1) /* after a scan that failed */
#define SCAN_GAP HW_MS(200)  /* binding eight GPUs makes fifty uevents; one scan follows a few */

/* Puts a function into its place in the order; without memory the scan stays as it is. */
static void
scan_add(struct hwd_scan *n, const struct vfio_fn *fn, const struct hwd_former *former)
{
    struct vfio_fn *f = realloc(n->inv.fn, (n->inv.n + 1) * sizeof(*f));
    struct hwd_former *m = realloc(n->former, (n->inv.n + 1) * sizeof(*m));
    unsigned at = 0;

    n->inv.fn = f ? f : n->inv.fn;
    n->former = m ? m : n->former;
    if (!f || !m)
        return;
    while (at < n->inv.n && pci_addr_cmp(f[at].addr, fn->addr) < 0)
        at++;
    memmove(&f[at + 1], &f[at], (n->inv.n - at) * sizeof(*f));
    memmove(&m[at + 1], &m[at], (n->inv.n - at) * sizeof(*m));
    f[at] = *fn;
    m[at] = *former;
    n->inv.n++;
}

/* What an operation reported after the scan had begun is newer than the scan. A function that the
 * scan did not find may have been off the bus by that very operation (remove and rescan take a real
 * kernel longer than a scan): the next scan tells. */
static void
carry_over(struct svc *s, struct hwd_scan *fresh)
{
    for (unsigned i = 0; s->scan && i < s->n_units; i++) {
        const struct unit *u = s->units[i];

        if (!u->op && u->touched < s->scan_number)
            continue;
        for (unsigned k = 0; k < u->desc.n_fn; k++) {
            const struct vfio_fn *old = vfio_find(&s->scan->inv, u->desc.fn[k]);
            const struct vfio_fn *now = vfio_find(&fresh->inv, u->desc.fn[k]);
            const struct hwd_former *former = old ? &s->scan->former[old - s->scan->inv.fn] : NULL;

            if (old && now) {
                fresh->former[now - fresh->inv.fn] = *former;
                fresh->inv.fn[now - fresh->inv.fn] = *old;
            } else if (old) {
                scan_add(fresh, old, former);
            }
        }
    }
}

static void
answer_waiters(struct svc *s, const struct err *e)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < s->n_waiters; i++) {
        struct rescan_waiter w = s->waiters[i];
        struct pci_addr none = {0};

        if (w.scan > s->scan_number)
            s->waiters[kept++] = w;
        else
            client_result(s, w.client, w.seq, NULL, none, e, NULL);
    }
    s->n_waiters = kept;
    if (kept)
        scan_soon(s, 0);
}

/* Units of which we do not know whether somebody has them, or think so: look (again). */
static void
probe_unsure(struct svc *s)
{
    for (unsigned i = 0; i < s->n_units; i++) {
        struct unit *u = s->units[i];
        uint32_t want = HWD_FACT_BOUND | HWD_FACT_CLAIMED;
        bool handed =
            (u->facts.flags & HWD_FACT_HANDED_OVER) && !(u->facts.flags & HWD_FACT_OPENED);

        if (u->op || u->holding || handed || (u->facts.flags & want) != want ||
            (u->facts.use != HWD_USE_UNKNOWN && u->facts.use != HWD_USE_HELD))
            continue;
        /* A VMM between open and bind of its device must not find the group taken by us. */
        if (u->last_open && hwd_now() - u->last_open < HW_SEC(10))
            continue;
        op_probe(u, false);
    }
}

static void
scan_take(struct svc *s)
{
    struct hwd_scan *fresh = TAKE_PTR(struct hwd_scan, s->scan_new);
    bool first = !s->scan;

    carry_over(s, fresh);
    hwd_scan_free(s->scan);
    s->scan = fresh;
    units_refresh(s);
    if (first) {
        log_info("first scan", "units", LOG_NUM(s->n_units), "functions", LOG_NUM(s->scan->inv.n));
        clients_synced(s);
    }
    answer_waiters(s, NULL);
    probe_unsure(s);
}

static void
scan_forget(struct svc *s)
{
    s->scan_io = sd_event_source_disable_unref(s->scan_io);
    s->scan_child = sd_event_source_disable_unref(s->scan_child);
    s->scan_timer = sd_event_source_disable_unref(s->scan_timer);
    hwd_worker_free(s->scan_worker);
    s->scan_worker = NULL;
}

static void
scan_end(struct svc *s)
{
    struct err e = ERR_INIT;
    bool ok = s->scan_have_outcome && !s->scan_bad && s->scan_out.err_class == ERR_CLASS_NONE &&
              s->scan_new && s->scan_new->inv.n == s->scan_want;

    scan_forget(s);
    if (ok) {
        scan_soon(s, s->p->cfg->rescan);
        scan_take(s);
        return;
    }
    hwd_scan_free(s->scan_new);
    s->scan_new = NULL;
    if (s->scan_have_outcome && s->scan_out.err_class != ERR_CLASS_NONE)
        (void)err_reason(&e, (int)s->scan_out.err_num, (enum err_class)s->scan_out.err_class,
                         (enum reason)s->scan_out.reason, "%s", s->scan_out.text);
    else
        (void)err_reason(&e, EIO, ERR_CLASS_RETRY,
                         s->scan_killed ? REASON_DEADLINE : REASON_INTERNAL, "scan the bus: %s",
                         s->scan_killed ? "took too long" : "the worker died");
    log_error("scan failed", "error", e.msg);
    scan_soon(s, SCAN_RETRY);
    answer_waiters(s, &e);
}

static bool
scan_host(struct svc *s, const struct hwd_event *ev)
{
    struct hwd_scan *n;

    if (s->scan_new)
        return false;
    n = calloc(1, sizeof(*n));
    if (!n)
        return false;
    n->iommufd = ev->iommufd;
    n->vfio_ready = ev->vfio_ready;
    n->inv.fn = calloc(ev->n_fn ? ev->n_fn : 1, sizeof(*n->inv.fn));
    n->former = calloc(ev->n_fn ? ev->n_fn : 1, sizeof(*n->former));
    s->scan_want = ev->n_fn;
    s->scan_new = n;
    return n->inv.fn && n->former;
}

static bool
scan_fn(struct svc *s, const struct hwd_event *ev)
{
    struct hwd_scan *n = s->scan_new;

    if (!n || n->inv.n >= s->scan_want)
        return false;
    n->inv.fn[n->inv.n] = ev->fn;
    n->former[n->inv.n++] = ev->former;
    return true;
}

/* 1 more may come, 0 the worker closed its end or there is nothing now. */
static int
scan_read(struct svc *s)
{
    struct hwd_event ev;
    struct err e = ERR_INIT;
    int r = hwd_worker_next(s->scan_worker, &ev, &e);
    bool ok = r >= 0;

    if (r == 0)
        return 0;
    if (r > 0) {
        switch (ev.type) {
        case HWD_EVENT_HOST:
            ok = scan_host(s, &ev);
            break;
        case HWD_EVENT_FN:
            ok = scan_fn(s, &ev);
            break;
        case HWD_EVENT_OUTCOME:
            s->scan_out = ev.outcome;
            s->scan_have_outcome = true;
            break;
        case HWD_EVENT_END:
            s->scan_io = sd_event_source_disable_unref(s->scan_io);
            return 0;
        case HWD_EVENT_PHASE:
            break;
        case HWD_EVENT_HOLD:
        case HWD_EVENT_ASK_HOLD:
        case HWD_EVENT_DROP:
            hwd_grip_close(&ev.grip);
            ok = false;
            break;
        }
    }
    if (!ok) {
        s->scan_bad = true;
        (void)kill(hwd_worker_pid(s->scan_worker), SIGKILL);
    }
    return ok;
}

static int
on_scan_io(sd_event_source *src, int fd, uint32_t revents, void *ctx)
{
    (void)src;
    (void)fd;
    (void)revents;
    for (int i = 0; i < 64 && scan_read(ctx) > 0; i++)
        ;
    return 0;
}

static int
on_scan_child(sd_event_source *src, const siginfo_t *si, void *ctx)
{
    struct svc *s = ctx;

    (void)src;
    (void)si;
    for (unsigned i = 0; i < HWD_FNS_MAX + 16 && scan_read(s) > 0; i++)
        ;
    scan_end(s);
    return 0;
}

/* A scan that hangs is killed and then left alone: no other is started before it is gone, and the
 * units go on with what is known. */
static int
on_scan_deadline(sd_event_source *src, uint64_t usec, void *ctx)
{
    struct svc *s = ctx;

    (void)src;
    (void)usec;
    log_warn("scan takes too long", "pid", LOG_NUM(hwd_worker_pid(s->scan_worker)));
    s->scan_killed = true;
    (void)kill(hwd_worker_pid(s->scan_worker), SIGKILL);
    return 0;
}

static void
scan_start(struct svc *s)
{
    struct err e = ERR_INIT;
    struct hwd_job job = {
        .op = HWD_JOB_SCAN,
        .deadline_ns = s->p->cfg->deadline.scan,
        .cfg = s->p->cfg,
        .root = s->p->root,
        .statedir = s->statedir,
    };
    int r;

    if (s->stopping || s->scan_worker)
        return;
    if (hwd_worker_start(&job, &s->scan_worker, &e) < 0) {
        log_error("scan not started", "error", e.msg);
        scan_soon(s, SCAN_RETRY);
        return;
    }
    if ((r = sd_event_add_io(s->loop, &s->scan_io, hwd_worker_fd(s->scan_worker), EPOLLIN,
                             on_scan_io, s)) < 0 ||
        (r = sd_event_add_child(s->loop, &s->scan_child, hwd_worker_pid(s->scan_worker), WEXITED,
                                on_scan_child, s)) < 0 ||
        (r = sd_event_add_time_relative(s->loop, &s->scan_timer, CLOCK_MONOTONIC,
                                        s->p->cfg->deadline.scan / 1000u, 10000, on_scan_deadline,
                                        s)) < 0) {
        log_error("scan not watched", "error", strerror(-r));
        hwd_worker_kill(s->scan_worker);
        scan_forget(s);
        scan_soon(s, SCAN_RETRY);
        return;
    }
    s->scan_number++;
    s->scan_bad = s->scan_killed = s->scan_have_outcome = false;
}

static int
on_scan_later(sd_event_source *src, uint64_t usec, void *ctx)
{
    struct svc *s = ctx;

    (void)src;
    (void)usec;
    if (s->scan_worker) /* it may have missed what the hint was about */
        scan_soon(s, SCAN_GAP);
    else
        scan_start(s);
    return 0;
}

void
scan_soon(struct svc *s, uint64_t delay_ns)
{
    uint64_t now, at;

    if (s->stopping || sd_event_now(s->loop, CLOCK_MONOTONIC, &now) < 0)
        return;
    if (s->scan_later) {
        int on = 0;

        /* An earlier appointment stands. */
        if (sd_event_source_get_enabled(s->scan_later, &on) > 0 && on &&
            sd_event_source_get_time(s->scan_later, &at) >= 0 && at <= now + delay_ns / 1000u)
            return;
        s->scan_later = sd_event_source_disable_unref(s->scan_later);
    }
    (void)sd_event_add_time_relative(s->loop, &s->scan_later, CLOCK_MONOTONIC, delay_ns / 1000u,
                                     1000, on_scan_later, s);
}

void
scan_request(struct svc *s, uint64_t client, uint64_t seq)
{
    struct err e = ERR_INIT;

    if (s->n_waiters == RESCAN_WAITERS_MAX) {
        struct pci_addr none = {0};

        (void)err_reason(&e, EBUSY, ERR_CLASS_BUSY, REASON_OP_PENDING,
                         "rescan: too many requests wait already");
        client_result(s, client, seq, NULL, none, &e, NULL);
        return;
    }
    /* A scan that is running began before the request: the next one answers it. */
    s->waiters[s->n_waiters++] =
        (struct rescan_waiter){.client = client, .seq = seq, .scan = s->scan_number + 1};
    scan_soon(s, 0);
}

void
scan_free(struct svc *s)
{
    s->scan_io = sd_event_source_disable_unref(s->scan_io);
    s->scan_child = sd_event_source_disable_unref(s->scan_child);
    s->scan_timer = sd_event_source_disable_unref(s->scan_timer);
    s->scan_later = sd_event_source_disable_unref(s->scan_later);
    if (s->scan_worker)
        (void)kill(hwd_worker_pid(s->scan_worker), SIGKILL);
    hwd_worker_free(s->scan_worker);
    hwd_scan_free(s->scan_new);
    hwd_scan_free(s->scan);
}
