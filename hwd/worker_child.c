/* SPDX-License-Identifier: Apache-2.0
 *
 * The worker's side: what the forked process keeps, how it reports, and the run of its job. Owner
 * of its end of the socket and of its copies of the hold.
 */
#include "hwd/wire.h"

#include "base/cleanup.h"
#include "base/hw.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

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
    (void)wire_send(c->sock, &w, WIRE_PHASE, NULL, 0, &ignored);
}

/* A question and its answer, which is a message of the same type. */
static int
ask(struct child *c, enum wire_type t, struct wire *w, int *fds, struct err *e)
{
    ssize_t n;
    int r = wire_send(c->sock, w, t, NULL, 0, e);

    if (r < 0)
        return r;
    n = wire_recv(c->sock, 0, w, fds);
    if (n > 0 && wire_ok(w, n) && w->type == (uint32_t)t)
        return 0;
    wire_close_fds(fds);
    return err_reason(e, ECONNRESET, ERR_CLASS_RETRY, REASON_HWD_DOWN,
                      "hold the device: the service went away");
}

static int
child_ask_hold(void *ctx, int *ret_fd, struct err *e)
{
    struct wire w = {0};
    int fds[WIRE_FDS];
    int r = ask(ctx, WIRE_ASK, &w, fds, e);

    if (r < 0)
        return r;
    *ret_fd = take_fd(&fds[0]);
    wire_close_fds(fds);
    return w.u.have ? 1 : 0;
}

static int
child_give_hold(void *ctx, const struct hwd_grip *g, struct err *e)
{
    struct child *c = ctx;
    struct wire w = {0};
    const int fds[WIRE_FDS] = {g->hold, g->dev, g->request};

    w.u.grip.hold = g->hold >= 0;
    w.u.grip.dev = g->dev >= 0;
    w.u.grip.request = g->request >= 0;
    w.u.grip.hold_is_cdev = g->hold_is_cdev;
    return wire_send(c->sock, &w, WIRE_HOLD, fds, WIRE_FDS, e);
}

static int
child_drop_dev(void *ctx, struct err *e)
{
    struct wire w = {0};
    int fds[WIRE_FDS];
    int r = ask(ctx, WIRE_DROP, &w, fds, e);

    if (r < 0)
        return r;
    wire_close_fds(fds);
    return 0;
}

static void
child_fn(void *ctx, const struct vfio_fn *f, const struct hwd_former *former)
{
    struct child *c = ctx;
    struct wire w = {0};
    struct err ignored = ERR_INIT;

    w.u.fn.fn = *f;
    w.u.fn.former = *former;
    (void)wire_send(c->sock, &w, WIRE_FN, NULL, 0, &ignored);
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
    (void)wire_send(c->sock, &w, WIRE_HOST, NULL, 0, &ignored);
}

void
worker_keep_only(const int *keep, size_t n)
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

/* A worker that hangs in the kernel outlives pgpuctl, too, and must not keep open the pipe that
 * somebody reads its answer from. */
void
worker_leave_stdio(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return;
    (void)dup2(fd, STDIN_FILENO);
    (void)dup2(fd, STDOUT_FILENO);
    if (fd > STDERR_FILENO)
        (void)close(fd);
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

_Noreturn void
worker_child(const struct hwd_job *job, int sock)
{
    const int keep[] = {sock, job->root->fd, job->statedir, job->held ? job->hold_fd : -1,
                        job->held ? job->dev_fd : -1};
    struct child c = {.sock = sock};
    const struct hwd_io io = {
        .ctx = &c,
        .phase = child_phase,
        .ask_hold = child_ask_hold,
        .give_hold = child_give_hold,
        .drop_dev = child_drop_dev,
        .fn = child_fn,
        .host = child_host,
    };
    struct wire w = {0};
    struct err e = ERR_INIT;

    worker_keep_only(keep, ARRAY_SIZE(keep));
    worker_leave_stdio();
    child_signals(job->deadline_ns);
    (void)wire_send(sock, &w, WIRE_READY, NULL, 0, &e);
    hwd_job_run(job, &io, &w.u.outcome);
    (void)wire_send(sock, &w, WIRE_OUTCOME, NULL, 0, &e);
    _exit(0);
}
