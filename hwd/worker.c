/* SPDX-License-Identifier: Apache-2.0
 *
 * The starter's side of a worker: fork, what it says, its end. Owner of its end of the socket.
 */
#include "hwd/worker.h"

#include "base/cleanup.h"
#include "hwd/wire.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define REAP_TRIES 100
#define REAP_PAUSE_NS 5000000

struct hwd_worker {
    pid_t pid;
    int fd;
    bool ended;
};

int
hwd_worker_start(const struct hwd_job *job, struct hwd_worker **ret, struct err *e)
{
    struct hwd_worker *w = calloc(1, sizeof(*w));
    int sv[2];

    if (!w)
        return err_errno(e, ENOMEM, ERR_CLASS_RETRY, "start a worker");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0) {
        free(w);
        return err_errno(e, errno, ERR_CLASS_RETRY, "start a worker: socketpair");
    }
    w->pid = fork();
    if (w->pid == 0)
        worker_child(job, sv[1]);
    (void)close(sv[1]);
    w->fd = sv[0];
    if (w->pid < 0) {
        int num = errno;

        hwd_worker_free(w);
        return err_errno(e, num, ERR_CLASS_RETRY, "start a worker: fork");
    }
    if (!wire_wait_ready(w->fd)) {
        hwd_worker_kill(w);
        hwd_worker_free(w);
        return err_reason(e, ETIMEDOUT, ERR_CLASS_RETRY, REASON_INTERNAL,
                          "start a worker: it has not begun after %d ms", WIRE_READY_MS);
    }
    *ret = w;
    return 0;
}

void
worker_kill(pid_t pid)
{
    struct timespec pause = {.tv_nsec = REAP_PAUSE_NS};

    (void)kill(pid, SIGKILL);
    for (int i = 0; i < REAP_TRIES && waitpid(pid, NULL, WNOHANG) == 0; i++)
        (void)nanosleep(&pause, NULL);
}

void
hwd_worker_kill(const struct hwd_worker *w)
{
    worker_kill(w->pid);
}

void
hwd_worker_free(struct hwd_worker *w)
{
    if (!w)
        return;
    fd_close(&w->fd);
    free(w);
}

pid_t
hwd_worker_pid(const struct hwd_worker *w)
{
    return w->pid;
}

int
hwd_worker_fd(const struct hwd_worker *w)
{
    return w->fd;
}

#define ENDS(f) (memchr((f), '\0', sizeof(f)) != NULL)

static bool
fn_ok(const struct vfio_fn *f, const struct hwd_former *former)
{
    return f->addr.dev < 32 && f->addr.fn < 8 && f->kind <= VFIO_KIND_BRIDGE && ENDS(f->name) &&
           ENDS(f->driver) && ENDS(f->override) && ENDS(f->power_state) && ENDS(f->text) &&
           f->reason < REASON_COUNT && ENDS(former->driver);
}

static bool
outcome_ok(const struct hwd_outcome *o)
{
    return o->err_class <= ERR_CLASS_FATAL && o->reason < REASON_COUNT && ENDS(o->text) &&
           o->mode_active <= CC_MODE_UNKNOWN && o->mode_configured <= CC_MODE_UNKNOWN &&
           o->use <= HWD_USE_HELD && o->group_use <= HWD_USE_HELD && o->group_opens <= 8 &&
           o->let_go <= 1 && ENDS(o->holder_comm) &&
           o->evidence.reset_rung <= HWD_RUNG_REMOVE_RESCAN &&
           o->evidence.access < HWD_ACCESS_COUNT && o->plan.n <= CC_PLAN_MAX;
}

/* Puts the descriptors where the message says that they belong; false: it says something else than
 * came along. */
static bool
take_grip(const struct wire *w, int *fds, struct hwd_grip *ret)
{
    int *const to[] = {&ret->hold, &ret->dev, &ret->request};
    const uint32_t says[] = {w->u.grip.hold, w->u.grip.dev, w->u.grip.request};
    size_t at = 0;

    ret->hold_is_cdev = w->u.grip.hold_is_cdev != 0;
    for (size_t i = 0; i < ARRAY_SIZE(to); i++) {
        if (!says[i])
            continue;
        if (fds[at] < 0)
            return false;
        *to[i] = take_fd(&fds[at++]);
    }
    return at > 0 && (at == WIRE_FDS || fds[at] < 0);
}

static bool
decode(const struct wire *w, int *fds, struct hwd_event *ret)
{
    switch ((enum wire_type)w->type) {
    case WIRE_READY: /* read at start */
        return false;
    case WIRE_PHASE:
        ret->type = HWD_EVENT_PHASE;
        ret->phase = (enum hwd_phase)w->u.phase.phase;
        memcpy(ret->detail, w->u.phase.detail, sizeof(ret->detail));
        return w->u.phase.phase < HWD_PHASE_COUNT && ENDS(ret->detail);
    case WIRE_ASK:
        ret->type = HWD_EVENT_ASK_HOLD;
        return true;
    case WIRE_HOLD:
        ret->type = HWD_EVENT_HOLD;
        return take_grip(w, fds, &ret->grip);
    case WIRE_DROP:
        ret->type = HWD_EVENT_DROP;
        return true;
    case WIRE_HOST:
        ret->type = HWD_EVENT_HOST;
        ret->iommufd = w->u.host.iommufd != 0;
        ret->vfio_ready = w->u.host.vfio_ready != 0;
        ret->n_fn = w->u.host.n;
        return ret->n_fn <= HWD_FNS_MAX;
    case WIRE_FN:
        ret->type = HWD_EVENT_FN;
        ret->fn = w->u.fn.fn;
        ret->former = w->u.fn.former;
        return fn_ok(&ret->fn, &ret->former);
    case WIRE_OUTCOME:
        ret->type = HWD_EVENT_OUTCOME;
        ret->outcome = w->u.outcome;
        return outcome_ok(&ret->outcome);
    }
    return false;
}

int
hwd_worker_next(struct hwd_worker *w, struct hwd_event *ret, struct err *e)
{
    struct wire wire = {0};
    int fds[WIRE_FDS];
    ssize_t n;
    bool good;

    memset(ret, 0, sizeof(*ret));
    ret->grip = HWD_NO_GRIP;
    if (w->ended)
        return 0;
    n = wire_recv(w->fd, MSG_DONTWAIT, &wire, fds);
    if (n == -EAGAIN)
        return 0;
    if (n <= 0) {
        w->ended = true;
        ret->type = HWD_EVENT_END;
        return 1;
    }
    good = wire_ok(&wire, n) && decode(&wire, fds, ret);
    wire_close_fds(fds); /* those that no message speaks of */
    if (good)
        return 1;
    hwd_grip_close(&ret->grip);
    return err_reason(e, EPROTO, ERR_CLASS_HW, REASON_INTERNAL,
                      "read from worker %d: %zd bytes that make no sense", (int)w->pid, n);
}

void
hwd_grip_close(struct hwd_grip *g)
{
    fd_close(&g->dev); /* the device before its group */
    fd_close(&g->request);
    fd_close(&g->hold);
}

int
hwd_worker_answer(struct hwd_worker *w, bool have, int hold, struct err *e)
{
    struct wire wire = {0};

    wire.u.have = have;
    return wire_send(w->fd, &wire, WIRE_ASK, &hold, 1, e);
}

int
hwd_worker_dropped(struct hwd_worker *w, struct err *e)
{
    struct wire wire = {0};

    return wire_send(w->fd, &wire, WIRE_DROP, NULL, 0, e);
}
