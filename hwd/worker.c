/* SPDX-License-Identifier: Apache-2.0
 *
 * Fork, descriptors and the messages between worker and starter. Owner of the socket: each side of
 * its own end.
 */
#include "hwd/worker.h"

#include "base/cleanup.h"
#include "hwd/steps.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WIRE_MAGIC 0x4b525750u /* "PWRK" */
#define READY_WAIT_MS 5000
#define REAP_TRIES 100
#define REAP_PAUSE_NS 5000000

enum wire_type {
    WIRE_READY = 1,
    WIRE_PHASE,
    WIRE_ASK,
    WIRE_HOLD,
    WIRE_HOST,
    WIRE_FN,
    WIRE_OUTCOME
};

struct wire {
    uint32_t magic, type;
    union {
        struct {
            uint32_t phase;
            char detail[96];
        } phase;
        struct {
            uint32_t iommufd, vfio_ready, n;
        } host;
        struct {
            struct vfio_fn fn;
            struct hwd_former former;
        } fn;
        struct hwd_outcome outcome;
        uint32_t have; /* answer to WIRE_ASK */
    } u;
};

struct hwd_worker {
    pid_t pid;
    int fd;
    bool ended;
};

static size_t
wire_size(enum wire_type t)
{
    switch (t) {
    case WIRE_PHASE:
        return offsetof(struct wire, u) + sizeof(((struct wire *)0)->u.phase);
    case WIRE_HOST:
        return offsetof(struct wire, u) + sizeof(((struct wire *)0)->u.host);
    case WIRE_FN:
        return offsetof(struct wire, u) + sizeof(((struct wire *)0)->u.fn);
    case WIRE_OUTCOME:
        return offsetof(struct wire, u) + sizeof(((struct wire *)0)->u.outcome);
    case WIRE_READY:
    case WIRE_ASK:
    case WIRE_HOLD:
        break;
    }
    return offsetof(struct wire, u) + sizeof(uint32_t);
}

static int
wire_send(int sock, struct wire *w, enum wire_type t, int pass, struct err *e)
{
    struct iovec iov = {.iov_base = w, .iov_len = wire_size(t)};
    union {
        char buf[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } c = {0};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    w->magic = WIRE_MAGIC;
    w->type = t;
    if (pass >= 0) {
        struct cmsghdr *h;

        m.msg_control = c.buf;
        m.msg_controllen = sizeof(c.buf);
        h = CMSG_FIRSTHDR(&m);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(h), &pass, sizeof(int));
    }
    do {
        n = sendmsg(sock, &m, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "report to the starter");
    return 0;
}

/* ---- inside the worker ---- */

struct child {
    int sock;
};

/* Progress that cannot be told (the starter has gone) does not stop the work: a device is better
 * finished than left half done. */
static void
child_phase(void *ctx, enum hwd_phase p, const char *detail)
{
    struct child *c = ctx;
    struct wire w = {0};
    struct err ignored = ERR_INIT;

    w.u.phase.phase = (uint32_t)p;
    (void)snprintf(w.u.phase.detail, sizeof(w.u.phase.detail), "%s", detail);
    (void)wire_send(c->sock, &w, WIRE_PHASE, -1, &ignored);
}

static int
child_ask_hold(void *ctx, struct err *e)
{
    struct child *c = ctx;
    struct wire w = {0};
    ssize_t n;
    int r = wire_send(c->sock, &w, WIRE_ASK, -1, e);

    if (r < 0)
        return r;
    do {
        n = recv(c->sock, &w, sizeof(w), 0);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)wire_size(WIRE_ASK) || w.magic != WIRE_MAGIC || w.type != WIRE_ASK)
        return err_reason(e, ECONNRESET, ERR_CLASS_RETRY, REASON_HWD_DOWN,
                          "hold the device: the service went away");
    return w.u.have ? 1 : 0;
}

static int
child_give_hold(void *ctx, int fd, struct err *e)
{
    struct child *c = ctx;
    struct wire w = {0};

    return wire_send(c->sock, &w, WIRE_HOLD, fd, e);
}

static void
child_fn(void *ctx, const struct vfio_fn *f, const struct hwd_former *former)
{
    struct child *c = ctx;
    struct wire w = {0};
    struct err ignored = ERR_INIT;

    w.u.fn.fn = *f;
    w.u.fn.former = *former;
    (void)wire_send(c->sock, &w, WIRE_FN, -1, &ignored);
}

static void
child_host(void *ctx, bool iommufd, bool vfio_ready, unsigned n)
{
    struct child *c = ctx;
    struct wire w = {0};
    struct err ignored = ERR_INIT;

    w.u.host.iommufd = iommufd;
    w.u.host.vfio_ready = vfio_ready;
    w.u.host.n = n;
    (void)wire_send(c->sock, &w, WIRE_HOST, -1, &ignored);
}

/* Closes every descriptor but stdio and those listed (ascending order not needed). */
static void
keep_only(const int *keep, size_t n)
{
    unsigned from = 3;

    for (;;) {
        unsigned next = ~0u;

        for (size_t i = 0; i < n; i++)
            if (keep[i] >= 0 && (unsigned)keep[i] >= from && (unsigned)keep[i] < next)
                next = (unsigned)keep[i];
        if (next == ~0u)
            break;
        if (next > from)
            (void)syscall(SYS_close_range, from, next - 1, 0);
        from = next + 1;
    }
    (void)syscall(SYS_close_range, from, ~0u, 0);
}

/* The worker outlives a stopping service on purpose (half-written knobs are worse than a late end),
 * so it ignores the signals that stop services; SIGKILL and its own watchdog remain. */
static void
child_signals(uint64_t deadline_ns)
{
    static const int fresh[] = {SIGCHLD, SIGALRM, SIGUSR1, SIGUSR2, SIGSEGV, SIGBUS, SIGABRT};
    static const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGQUIT};
    uint64_t limit = deadline_ns * 2 + HW_SEC(5);
    struct itimerval it = {.it_value = {.tv_sec = (time_t)(limit / HW_SEC(1))}};
    sigset_t none;

    for (size_t i = 0; i < ARRAY_SIZE(fresh); i++)
        (void)signal(fresh[i], SIG_DFL);
    for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
        (void)signal(ignored[i], SIG_IGN);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setitimer(ITIMER_REAL, &it, NULL);
}

static _Noreturn void
child_main(const struct hwd_job *job, int sock)
{
    const int keep[] = {sock, job->root->fd, job->statedir};
    struct child c = {.sock = sock};
    const struct hwd_io io = {
        .ctx = &c,
        .phase = child_phase,
        .ask_hold = child_ask_hold,
        .give_hold = child_give_hold,
        .fn = child_fn,
        .host = child_host,
    };
    struct wire w = {0};
    struct err e = ERR_INIT;

    keep_only(keep, ARRAY_SIZE(keep));
    child_signals(job->deadline_ns);
    (void)wire_send(sock, &w, WIRE_READY, -1, &e);
    hwd_job_run(job, &io, &w.u.outcome);
    (void)wire_send(sock, &w, WIRE_OUTCOME, -1, &e);
    _exit(0);
}

/* ---- outside ---- */

static bool
is_ready(const struct hwd_worker *w)
{
    struct pollfd pfd = {.fd = w->fd, .events = POLLIN};
    struct wire r;
    int n;

    do {
        n = poll(&pfd, 1, READY_WAIT_MS);
    } while (n < 0 && errno == EINTR);
    return n > 0 && recv(w->fd, &r, sizeof(r), MSG_DONTWAIT) == (ssize_t)wire_size(WIRE_READY) &&
           r.magic == WIRE_MAGIC && r.type == WIRE_READY;
}

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
        child_main(job, sv[1]);
    (void)close(sv[1]);
    w->fd = sv[0];
    if (w->pid < 0) {
        int num = errno;

        hwd_worker_free(w);
        return err_errno(e, num, ERR_CLASS_RETRY, "start a worker: fork");
    }
    if (!is_ready(w)) {
        hwd_worker_kill(w);
        hwd_worker_free(w);
        return err_reason(e, ETIMEDOUT, ERR_CLASS_RETRY, REASON_INTERNAL,
                          "start a worker: it has not begun after %d ms", READY_WAIT_MS);
    }
    *ret = w;
    return 0;
}

void
hwd_worker_kill(const struct hwd_worker *w)
{
    struct timespec pause = {.tv_nsec = REAP_PAUSE_NS};

    (void)kill(w->pid, SIGKILL);
    for (int i = 0; i < REAP_TRIES && waitpid(w->pid, NULL, WNOHANG) == 0; i++)
        (void)nanosleep(&pause, NULL);
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
           ENDS(o->holder_comm) && o->evidence.reset_rung <= HWD_RUNG_REMOVE_RESCAN &&
           o->plan.n <= CC_PLAN_MAX;
}

/* Descriptors that came along; all but the first of a WIRE_HOLD are closed. */
static int
take_passed(struct msghdr *m, bool wanted)
{
    int got = -1;

    for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
        size_t n;

        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
            if (wanted && got < 0)
                got = fd;
            else
                (void)close(fd);
        }
    }
    return got;
}

static bool
decode(const struct wire *w, size_t len, struct hwd_event *ret)
{
    if (len < offsetof(struct wire, u) || w->magic != WIRE_MAGIC || w->type < WIRE_READY ||
        w->type > WIRE_OUTCOME || len != wire_size((enum wire_type)w->type))
        return false;
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
        return ret->fd >= 0;
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
    struct iovec iov = {.iov_base = &wire, .iov_len = sizeof(wire)};
    union {
        char buf[CMSG_SPACE(4 * sizeof(int))];
        struct cmsghdr align;
    } c;
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.buf, .msg_controllen = sizeof(c.buf)};
    ssize_t n;

    memset(ret, 0, sizeof(*ret));
    ret->fd = -1;
    if (w->ended)
        return 0;
    do {
        n = recvmsg(w->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0) {
        w->ended = true;
        ret->type = HWD_EVENT_END;
        return 1;
    }
    ret->fd = take_passed(&m, wire.magic == WIRE_MAGIC && wire.type == WIRE_HOLD);
    if (decode(&wire, (size_t)n, ret))
        return 1;
    if (ret->fd >= 0)
        (void)close(ret->fd);
    ret->fd = -1;
    return err_reason(e, EPROTO, ERR_CLASS_HW, REASON_INTERNAL,
                      "read from worker %d: %zd bytes that make no sense", (int)w->pid, n);
}

int
hwd_worker_answer(struct hwd_worker *w, bool have, struct err *e)
{
    struct wire wire = {0};

    wire.u.have = have;
    return wire_send(w->fd, &wire, WIRE_ASK, -1, e);
}
