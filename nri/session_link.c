/* SPDX-License-Identifier: Apache-2.0
 *
 * Reaching the socket of a runtime, again and again. See nri/session.h.
 *
 * A runtime that restarts removes its socket and makes a new one, so the socket's directory is
 * watched, or the nearest one above it that exists; the back-off is for everything else.
 */
#include "nri/session.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "nri/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Whatever happens in the directory, there are not more attempts than one in this time. */
#define ATTEMPT_USEC UINT64_C(20000)

static int on_timer(sd_event_source *s, uint64_t usec, void *ctx);

void
peer_retry(struct nri_peer *p, uint64_t usec)
{
    const uint64_t since = (nri_now() - p->tried_at) / 1000;

    if (p->tried_at && since + usec < ATTEMPT_USEC)
        usec = ATTEMPT_USEC - since;
    /* Without a timer (no memory) the next event in the directory is what is left. */
    (void)nri_timer(p->nri, &p->timer, usec, on_timer, p);
}

/* ---- the directory ---- */

/* Is it the next part of the way to the socket that has appeared? Ancestors such as /run are busy
 * with others. */
static bool
concerns(const struct nri_peer *p, const struct inotify_event *ev)
{
    const char *rest = p->rt.socket + strlen(p->watched);

    if (ev->len == 0)
        return false;
    rest += strspn(rest, "/");
    const size_t n = strcspn(rest, "/");

    return strlen(ev->name) == n && memcmp(ev->name, rest, n) == 0;
}

static int
on_inotify(sd_event_source *s, const struct inotify_event *ev, void *ctx)
{
    struct nri_peer *p = ctx;

    (void)s;
    if (ev->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT)) {
        p->watch = sd_event_source_disable_unref(p->watch);
        p->watched[0] = '\0';
    } else if (!concerns(p, ev)) {
        return 0;
    }
    if (p->fd >= 0)
        return 0;
    p->backoff.failures = 0;
    peer_retry(p, 0);
    return 0;
}

static bool
watch_dir(struct nri_peer *p, const char *dir)
{
    const uint32_t mask = IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

    if (p->watch && strcmp(dir, p->watched) == 0)
        return true;
    p->watch = sd_event_source_disable_unref(p->watch);
    p->watched[0] = '\0';
    if (sd_event_add_inotify(p->nri->loop, &p->watch, dir, mask, on_inotify, p) < 0)
        return false;
    return str_copy(p->watched, sizeof(p->watched), dir);
}

static void
watch(struct nri_peer *p)
{
    char dir[sizeof(p->watched)];

    (void)str_copy(dir, sizeof(dir), p->rt.socket);
    for (;;) {
        char *slash = strrchr(dir, '/');

        if (!slash)
            return;
        if (slash == dir)
            slash++; /* "/" itself */
        *slash = '\0';
        if (watch_dir(p, dir) || strcmp(dir, "/") == 0)
            return;
    }
}

/* ---- attempts ---- */

/* The process that listens; 0 where it cannot be told (another PID namespace). */
static pid_t
peer_pid(int fd)
{
    struct ucred c = {0};
    socklen_t n = sizeof(c);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &n) == 0 ? c.pid : 0;
}

static int
attempt(struct nri_peer *p, struct err *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return err_errno(e, errno, ERR_CLASS_RETRY, "socket");
    if (!str_copy(a.sun_path, sizeof(a.sun_path), p->rt.socket))
        return err_set(e, ENAMETOOLONG, ERR_CLASS_INVALID, "connect to %s: too long", p->rt.socket);
    if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0)
        return err_errno(e, errno, ERR_CLASS_RETRY, "connect to %s", p->rt.socket);
    p->pid = peer_pid(fd);
    if (launch_has(p->nri, p->pid))
        return err_set(e, EALREADY, ERR_CLASS_RETRY,
                       "the runtime at %s has launched pgpu itself: one session is enough",
                       p->rt.socket);
    return peer_start(p, take_fd(&fd), e);
}

static int
on_timer(sd_event_source *s, uint64_t usec, void *ctx)
{
    struct nri_peer *p = ctx;
    struct err e = ERR_INIT;

    (void)s;
    (void)usec;
    p->timer = sd_event_source_disable_unref(p->timer);
    p->tried_at = nri_now();
    /* Before the attempt: a socket that appears in between is then not missed. */
    watch(p);
    if (attempt(p, &e) < 0)
        peer_down(p, e.msg, false);
    return 0;
}

void
peer_down(struct nri_peer *p, const char *why, bool ended)
{
    char text[sizeof(p->rt.why)];

    utf8_line(text, sizeof(text), why);
    const bool news = ended || strcmp(text, p->rt.why) != 0;

    memcpy(p->rt.why, text, sizeof(text));
    if (p->rt.up || !p->rt.since || ended)
        p->rt.since = nri_now();
    p->rt.up = false;
    if (p->launched)
        launch_end(p, 0, text);
    else
        peer_retry(p, nri_backoff_next(&p->backoff));
    if (news && p->nri->h.session)
        p->nri->h.session(p->nri->h.ctx, p->number, &p->rt);
}
