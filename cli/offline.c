/* SPDX-License-Identifier: Apache-2.0
 *
 * The small scheduler of offline work. One thread; owner of the workers it starts.
 */
#include "cli/offline.h"

#include "base/cleanup.h"
#include "base/hw.h"
#include "hwd/steps.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PARALLEL 16
#define REAP_WAIT HW_MS(500)
#define TICK_MS 20

struct slot {
    struct offline_run *run;
    struct hwd_worker *w;
    uint64_t started, killed; /* ns; 0: not killed */
    bool ended;               /* closed its socket */
};

static void
set_error(struct hwd_outcome *out, int num, enum err_class cls, enum reason reason,
          const char *text)
{
    out->err_class = (uint32_t)cls;
    out->err_num = (uint32_t)num;
    out->reason = (uint32_t)reason;
    (void)snprintf(out->text, sizeof(out->text), "%s", text);
}

static void
on_event(struct slot *sl, const struct offline_work *w, struct hwd_event *ev)
{
    struct err ignored = ERR_INIT;

    switch (ev->type) {
    case HWD_EVENT_PHASE:
        if (w->progress && ev->phase != HWD_PHASE_NONE)
            w->progress(sl->run->unit, ev->phase, ev->detail);
        break;
    case HWD_EVENT_ASK_HOLD:
        (void)hwd_worker_answer(sl->w, false, -1, &ignored);
        break;
    case HWD_EVENT_HOLD:
        hwd_grip_close(&ev->grip);
        break;
    case HWD_EVENT_DROP: /* there is nothing that we lent */
        (void)hwd_worker_dropped(sl->w, &ignored);
        break;
    case HWD_EVENT_FN:
        if (pci_addr_cmp(ev->fn.addr, sl->run->unit->addr) == 0)
            sl->run->fn = ev->fn;
        break;
    case HWD_EVENT_OUTCOME:
        sl->run->out = ev->outcome;
        break;
    case HWD_EVENT_END:
        sl->ended = true;
        break;
    case HWD_EVENT_HOST:
        break;
    }
}

static void
read_slot(struct slot *sl, const struct offline_work *w)
{
    struct hwd_event ev;
    struct err e = ERR_INIT;
    int r;

    while (!sl->ended && (r = hwd_worker_next(sl->w, &ev, &e)) != 0) {
        if (r < 0) {
            (void)kill(hwd_worker_pid(sl->w), SIGKILL);
            sl->ended = true;
            return;
        }
        on_event(sl, w, &ev);
    }
}

static void
free_slot(struct slot *sl)
{
    hwd_worker_free(sl->w);
    memset(sl, 0, sizeof(*sl));
}

/* Kills a worker that is late and gives up on one that cannot be killed. */
static void
check_slot(struct slot *sl, const struct offline_work *w)
{
    struct hwd_outcome *out = &sl->run->out;
    uint64_t now = hwd_now();
    bool gone = waitpid(hwd_worker_pid(sl->w), NULL, WNOHANG) != 0;

    if (gone) {
        read_slot(sl, w);
        if (out->reason == REASON_INTERNAL && sl->killed)
            set_error(out, ETIMEDOUT, ERR_CLASS_HW, REASON_DEADLINE, "took longer than allowed");
        free_slot(sl);
    } else if (!sl->killed && now - sl->started > w->deadline_ns) {
        sl->killed = now;
        (void)kill(hwd_worker_pid(sl->w), SIGKILL);
    } else if (sl->killed && now - sl->killed > REAP_WAIT) {
        set_error(out, ETIMEDOUT, ERR_CLASS_HW, REASON_STUCK,
                  "the kernel does not come back from a write");
        free_slot(sl);
    }
}

static void
start_slot(const struct offline *o, const struct offline_work *w, struct slot *sl,
           struct offline_run *run)
{
    const struct hwd_job job = {
        .op = w->op,
        .mode = w->mode,
        .rung = w->rung,
        .by_operator = true,
        .deadline_ns = w->deadline_ns,
        .unit = *run->unit,
        .scan = o->scan,
        .cfg = &o->cfg,
        .root = &o->root,
        .statedir = o->statedir,
    };
    struct err e = ERR_INIT;

    /* Stands until the worker says otherwise. */
    set_error(&run->out, EIO, ERR_CLASS_RETRY, REASON_INTERNAL, "the worker process died");
    run->out.mode_active = run->out.mode_configured = CC_MODE_UNKNOWN;
    if (hwd_worker_start(&job, &sl->w, &e) < 0) {
        set_error(&run->out, e.num, e.cls, e.reason, e.msg);
        return;
    }
    sl->run = run;
    sl->started = hwd_now();
}

static bool
group_busy(const struct slot *slots, const struct hwd_unit *u)
{
    for (unsigned i = 0; i < PARALLEL; i++)
        if (slots[i].w && u->facts.iommu_group >= 0 &&
            slots[i].run->unit->facts.iommu_group == u->facts.iommu_group)
            return true;
    return false;
}

static unsigned
fill_slots(const struct offline *o, const struct offline_work *w, struct slot *slots,
           struct offline_run *runs, unsigned n, bool *started)
{
    unsigned busy = 0;

    for (unsigned i = 0; i < n; i++) {
        unsigned s = 0;

        if (started[i] || group_busy(slots, runs[i].unit))
            continue;
        while (s < PARALLEL && slots[s].w)
            s++;
        if (s == PARALLEL)
            break;
        started[i] = true;
        start_slot(o, w, &slots[s], &runs[i]);
    }
    for (unsigned s = 0; s < PARALLEL; s++)
        busy += slots[s].w != NULL;
    return busy;
}

void
offline_run(const struct offline *o, const struct offline_work *w, struct offline_run *runs,
            unsigned n)
{
    struct slot slots[PARALLEL] = {0};
    bool *started = calloc(n ? n : 1, sizeof(*started));

    if (!started)
        abort();
    while (fill_slots(o, w, slots, runs, n, started) > 0) {
        struct pollfd p[PARALLEL];
        nfds_t np = 0;

        for (unsigned s = 0; s < PARALLEL; s++)
            if (slots[s].w && !slots[s].ended)
                p[np++] = (struct pollfd){.fd = hwd_worker_fd(slots[s].w), .events = POLLIN};
        (void)poll(p, np, np ? TICK_MS : 1);
        for (unsigned s = 0; s < PARALLEL; s++) {
            if (!slots[s].w)
                continue;
            read_slot(&slots[s], w);
            check_slot(&slots[s], w);
        }
    }
    free(started);
}

/* ---- scan ---- */

static int
scan_event(struct hwd_scan *s, unsigned *want, const struct hwd_event *ev, struct err *e)
{
    if (ev->type == HWD_EVENT_HOST && !s->inv.fn) {
        s->iommufd = ev->iommufd;
        s->vfio_ready = ev->vfio_ready;
        s->inv.fn = calloc(ev->n_fn ? ev->n_fn : 1, sizeof(*s->inv.fn));
        s->former = calloc(ev->n_fn ? ev->n_fn : 1, sizeof(*s->former));
        *want = ev->n_fn;
        if (!s->inv.fn || !s->former)
            return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "scan the bus");
    } else if (ev->type == HWD_EVENT_FN && s->inv.n < *want) {
        s->inv.fn[s->inv.n] = ev->fn;
        s->former[s->inv.n++] = ev->former;
    } else if (ev->type == HWD_EVENT_OUTCOME && ev->outcome.err_class != ERR_CLASS_NONE) {
        return err_reason(e, (int)ev->outcome.err_num, (enum err_class)ev->outcome.err_class,
                          (enum reason)ev->outcome.reason, "%s", ev->outcome.text);
    }
    return 0;
}

static int
read_scan(struct hwd_worker *w, struct hwd_scan *s, uint64_t deadline, struct err *e)
{
    uint64_t end = hwd_now() + deadline;
    unsigned want = 0;
    struct hwd_event ev;
    int r;

    for (;;) {
        struct pollfd p = {.fd = hwd_worker_fd(w), .events = POLLIN};

        r = hwd_worker_next(w, &ev, e);
        if (r < 0)
            return r;
        if (r == 0 && hwd_now() > end)
            return err_reason(e, ETIMEDOUT, ERR_CLASS_RETRY, REASON_DEADLINE,
                              "scan the bus: took too long");
        if (r == 0)
            (void)poll(&p, 1, TICK_MS);
        else if (ev.type == HWD_EVENT_END)
            break;
        else if ((r = scan_event(s, &want, &ev, e)) < 0)
            return r;
    }
    if (!s->inv.fn || s->inv.n != want)
        return err_reason(e, EIO, ERR_CLASS_RETRY, REASON_INTERNAL,
                          "scan the bus: the worker process died");
    return 0;
}

static int
scan(struct offline *o, struct err *e)
{
    const struct hwd_job job = {.op = HWD_JOB_SCAN,
                                .deadline_ns = o->cfg.deadline.scan,
                                .cfg = &o->cfg,
                                .root = &o->root,
                                .statedir = o->statedir};
    struct hwd_worker *w;
    int r;

    o->scan = calloc(1, sizeof(*o->scan));
    if (!o->scan)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "scan the bus");
    r = hwd_worker_start(&job, &w, e);
    if (r < 0)
        return r;
    r = read_scan(w, o->scan, o->cfg.deadline.scan, e);
    if (r < 0)
        (void)kill(hwd_worker_pid(w), SIGKILL);
    else
        (void)waitpid(hwd_worker_pid(w), NULL, 0);
    hwd_worker_free(w);
    return r < 0 ? r : hwd_units_build(o->scan, &o->cfg, &o->units, e);
}

/* ---- open ---- */

static int
open_statedir(const struct cli *c, struct offline *o, struct err *e)
{
    char dir[128];
    const char *slash;

    if (!c->hwd)
        return 0;
    slash = strrchr(c->hwd, '/');
    if (!slash || slash == c->hwd || (size_t)(slash - c->hwd) >= sizeof(dir))
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "--hwd %s: not a path to a socket", c->hwd);
    memcpy(dir, c->hwd, (size_t)(slash - c->hwd));
    dir[slash - c->hwd] = '\0';
    o->statedir = hwd_state_open(dir, e);
    return o->statedir < 0 ? o->statedir : 0;
}

int
offline_open(const struct cli *c, const char *config, bool locks, struct offline *ret,
             struct err *e)
{
    struct offline o = {.root = {.fd = -1}, .statedir = -1};
    int r = hwd_config_load(config, &o.cfg, e);

    if (r >= 0)
        r = fs_root_open(&o.root, c->root, e);
    if (r >= 0 && locks)
        r = open_statedir(c, &o, e);
    if (r >= 0)
        r = scan(&o, e);
    if (r < 0) {
        offline_close(&o);
        return r;
    }
    *ret = o;
    return 0;
}

void
offline_close(struct offline *o)
{
    hwd_units_free(o->units);
    hwd_scan_free(o->scan);
    fd_close(&o->statedir);
    fs_root_close(&o->root);
    hwd_config_free(&o->cfg);
}
