/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop: one socket, one instance, hints, start and stop. Owner of struct svc; one thread.
 *
 * Start: 1. state directory (ours, 0700) and the instance lock in it; 2. the socket, replacing one
 * that nobody answers; 3. hints (uevents, inotify); 4. the first scan; 5. readiness. Stop changes
 * nothing on the node: it waits a little for running operations and leaves.
 */
#include "hwd/svc.h"

#include "base/cleanup.h"
#include "base/hw.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG 16
#define STOP_WAIT HW_SEC(10) /* for operations under way */
#define STOP_POLL HW_MS(50)
#define UEVENT_GATHER HW_MS(50) /* one bind makes several events */
#define UEVENT_RETRY HW_SEC(2)

/* ---- socket ---- */

static int
dir_of(const char *path, char *buf, size_t size, struct err *e)
{
    const char *slash = strrchr(path, '/');

    if (!slash || slash == path || (size_t)(slash - path) >= size)
        return err_set(e, EINVAL, ERR_CLASS_INVALID,
                       "listen on %s: not a path to a socket in a directory of its own", path);
    memcpy(buf, path, (size_t)(slash - path));
    buf[slash - path] = '\0';
    return 0;
}

#define INSTANCE_TRIES 20
#define INSTANCE_PAUSE_NS 50000000

static int
take_instance(struct svc *s, struct err *e)
{
    s->instance_fd =
        openat(s->statedir, "instance", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->instance_fd < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "open the instance lock beside %s",
                         s->p->socket);
    /* A worker that a killed predecessor had just forked has the lock until it closes what it
     * inherited: that takes milliseconds, so a short wait tells it from a running service. */
    for (int i = 0; flock(s->instance_fd, LOCK_EX | LOCK_NB) < 0; i++) {
        struct timespec pause = {.tv_nsec = INSTANCE_PAUSE_NS};

        if (i == INSTANCE_TRIES)
            return err_set(e, EBUSY, ERR_CLASS_FATAL,
                           "listen on %s: another pgpu-hwd is running there", s->p->socket);
        (void)nanosleep(&pause, NULL);
    }
    return 0;
}

/* A socket file that nobody answers is left over from a crash. */
static int
clear_stale(const struct sockaddr_un *sa, struct err *e)
{
    struct stat st;
    _cleanup_fd_ int fd = -1;

    if (lstat(sa->sun_path, &st) < 0)
        return errno == ENOENT ? 0
                               : err_errno(e, errno, ERR_CLASS_FATAL, "look at %s", sa->sun_path);
    if (!S_ISSOCK(st.st_mode))
        return err_set(e, EEXIST, ERR_CLASS_FATAL, "listen on %s: a file that is no socket",
                       sa->sun_path);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "make a socket");
    if (connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0)
        return err_set(e, EADDRINUSE, ERR_CLASS_FATAL, "listen on %s: somebody else answers there",
                       sa->sun_path);
    if (unlink(sa->sun_path) < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "remove stale %s", sa->sun_path);
    return 0;
}

static int
open_socket(struct svc *s, struct err *e)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    char dir[sizeof(sa.sun_path)];
    int r;

    if (!str_copy(sa.sun_path, sizeof(sa.sun_path), s->p->socket))
        return err_set(e, ENAMETOOLONG, ERR_CLASS_INVALID, "listen on %s: path too long",
                       s->p->socket);
    if ((r = dir_of(s->p->socket, dir, sizeof(dir), e)) < 0)
        return r;
    s->statedir = hwd_state_open(dir, e);
    if (s->statedir < 0)
        return s->statedir;
    if ((r = take_instance(s, e)) < 0 || (r = clear_stale(&sa, e)) < 0)
        return r;
    s->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->listen_fd < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "make a socket");
    if (bind(s->listen_fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0 ||
        chmod(sa.sun_path, 0600) < 0 || listen(s->listen_fd, BACKLOG) < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "listen on %s", sa.sun_path);
    return clients_listen(s, e);
}

/* ---- hints ---- */

static void open_uevents(struct svc *s);

static int
on_uevent_retry(sd_event_source *src, uint64_t usec, void *ctx)
{
    struct svc *s = ctx;

    (void)src;
    (void)usec;
    s->uevent_retry = sd_event_source_disable_unref(s->uevent_retry);
    open_uevents(s);
    return 0;
}

static void
close_uevents(struct svc *s)
{
    s->uevent_io = sd_event_source_disable_unref(s->uevent_io);
    vfio_uevents_close(s->uevents);
    s->uevents = NULL;
}

static int
on_uevent(sd_event_source *src, int fd, uint32_t revents, void *ctx)
{
    struct svc *s = ctx;
    struct err e = ERR_INIT;
    bool relevant = false;
    int r = vfio_uevents_drain(s->uevents, &relevant, &e);

    (void)src;
    (void)fd;
    (void)revents;
    if (relevant)
        scan_soon(s, UEVENT_GATHER);
    if (r >= 0)
        return 0;
    log_warn("uevents lost", "error", e.msg);
    close_uevents(s);
    (void)sd_event_add_time_relative(s->loop, &s->uevent_retry, CLOCK_MONOTONIC,
                                     UEVENT_RETRY / 1000u, 10000, on_uevent_retry, s);
    return 0;
}

/* Without hints the periodic scan still finds everything, later. */
static void
open_uevents(struct svc *s)
{
    struct err e = ERR_INIT;

    if (vfio_uevents_open(s->p->uevent_socket, &s->uevents, &e) < 0) {
        log_warn("no uevents, scanning periodically only", "error", e.msg);
        s->uevents = NULL;
        (void)sd_event_add_time_relative(s->loop, &s->uevent_retry, CLOCK_MONOTONIC,
                                         UEVENT_RETRY / 1000u, 10000, on_uevent_retry, s);
        return;
    }
    (void)sd_event_add_io(s->loop, &s->uevent_io, vfio_uevents_fd(s->uevents), EPOLLIN, on_uevent,
                          s);
}

/* ---- start and stop ---- */

static int
on_stop_poll(sd_event_source *src, uint64_t usec, void *ctx)
{
    struct svc *s = ctx;

    if (ops_running(s) == 0 || !s->stopping)
        return sd_event_exit(s->loop, 0);
    (void)sd_event_source_set_time(src, usec + STOP_POLL / 1000u);
    (void)sd_event_source_set_enabled(src, SD_EVENT_ONESHOT);
    return 0;
}

static int
on_stop_limit(sd_event_source *src, uint64_t usec, void *ctx)
{
    struct svc *s = ctx;

    (void)src;
    (void)usec;
    log_warn("stopping with operations under way", "n", LOG_NUM(ops_running(s)));
    return sd_event_exit(s->loop, 0);
}

static int
on_signal(sd_event_source *src, const struct signalfd_siginfo *si, void *ctx)
{
    struct svc *s = ctx;

    (void)src;
    if (s->stopping)
        return sd_event_exit(s->loop, 0);
    log_info("stopping", "signal", LOG_NUM(si->ssi_signo), "operations", LOG_NUM(ops_running(s)));
    s->stopping = true;
    (void)sd_notify(0, "STOPPING=1");
    (void)sd_event_add_time_relative(s->loop, NULL, CLOCK_MONOTONIC, 0, 1000, on_stop_poll, s);
    (void)sd_event_add_time_relative(s->loop, NULL, CLOCK_MONOTONIC, STOP_WAIT / 1000u, 1000,
                                     on_stop_limit, s);
    return 0;
}

static int
block_signals(struct svc *s, struct err *e)
{
    sigset_t set;
    int r;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGCHLD);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "block signals");
    if ((r = sd_event_add_signal(s->loop, NULL, SIGTERM, on_signal, s)) < 0 ||
        (r = sd_event_add_signal(s->loop, NULL, SIGINT, on_signal, s)) < 0)
        return err_errno(e, -r, ERR_CLASS_FATAL, "watch signals");
    return 0;
}

static void
tell_ready(const struct svc *s)
{
    struct err e = ERR_INIT;
    int fd = s->p->ready_fd;

    (void)sd_notify(0, "READY=1");
    if (fd < 0)
        return;
    (void)fs_write_all(fd, "ready\n", 6, &e);
    (void)close(fd);
}

static int
start(struct svc *s, struct err *e)
{
    int r = sd_event_new(&s->loop);

    if (r < 0)
        return err_errno(e, -r, ERR_CLASS_FATAL, "make the event loop");
    (void)sd_event_set_watchdog(s->loop, true); /* only where systemd asks for it */
    if ((r = block_signals(s, e)) < 0 || (r = open_socket(s, e)) < 0 || (r = watch_init(s, e)) < 0)
        return r;
    open_uevents(s);
    scan_soon(s, 0);
    tell_ready(s);
    log_info("serving", "socket", s->p->socket, "root", s->p->root->path, "manage",
             s->p->cfg->manage == HWD_MANAGE_FULL ? "full" : "verify", "access",
             hwd_access_name((enum hwd_access)s->p->cfg->access));
    return 0;
}

static void
stop(struct svc *s)
{
    clients_close(s);
    scan_free(s);
    units_free(s);
    away_free(s);
    close_uevents(s);
    (void)sd_event_source_disable_unref(s->uevent_retry);
    counts_free(s);
    fd_close(&s->inotify);
    if (s->listen_fd >= 0)
        (void)unlink(s->p->socket);
    fd_close(&s->listen_fd);
    fd_close(&s->instance_fd);
    fd_close(&s->statedir);
    (void)sd_event_unref(s->loop);
}

int
hwd_service_run(const struct hwd_service_params *p, struct err *e)
{
    struct svc s = {.p = p, .statedir = -1, .listen_fd = -1, .instance_fd = -1, .inotify = -1};
    int r = start(&s, e);

    if (r >= 0) {
        r = sd_event_loop(s.loop);
        if (r < 0)
            r = err_errno(e, -r, ERR_CLASS_FATAL, "run the event loop");
    }
    stop(&s);
    return r < 0 ? r : 0;
}
