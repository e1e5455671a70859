/* SPDX-License-Identifier: Apache-2.0
 *
 * Framing between worker and starter. No state.
 */
#include "hwd/wire.h"

#include "base/cleanup.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WIRE_MAGIC 0x4b525750u /* "PWRK" */

#define BODY(f) (offsetof(struct wire, u) + sizeof(((struct wire *)0)->u.f))

static size_t
wire_size(enum wire_type t)
{
    switch (t) {
    case WIRE_PHASE:
        return BODY(phase);
    case WIRE_HOST:
        return BODY(host);
    case WIRE_FN:
        return BODY(fn);
    case WIRE_OUTCOME:
        return BODY(outcome);
    case WIRE_HOLD:
        return BODY(grip);
    case WIRE_READY:
    case WIRE_ASK:
    case WIRE_DROP:
        break;
    }
    return BODY(have);
}

bool
wire_ok(const struct wire *w, ssize_t len)
{
    return len >= (ssize_t)offsetof(struct wire, u) && w->magic == WIRE_MAGIC &&
           w->type >= WIRE_READY && w->type <= WIRE_OUTCOME &&
           (size_t)len == wire_size((enum wire_type)w->type);
}

int
wire_send(int sock, struct wire *w, enum wire_type t, const int *fds, size_t n_fds, struct err *e)
{
    struct iovec iov = {.iov_base = w, .iov_len = wire_size(t)};
    union {
        char buf[CMSG_SPACE(WIRE_FDS * sizeof(int))];
        struct cmsghdr align;
    } c = {0};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    int pass[WIRE_FDS];
    size_t n_pass = 0;
    ssize_t n;

    for (size_t i = 0; i < n_fds && n_pass < WIRE_FDS; i++)
        if (fds[i] >= 0)
            pass[n_pass++] = fds[i];
    w->magic = WIRE_MAGIC;
    w->type = t;
    if (n_pass > 0) {
        struct cmsghdr *h;

        m.msg_control = c.buf;
        m.msg_controllen = CMSG_SPACE(n_pass * sizeof(int));
        h = CMSG_FIRSTHDR(&m);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(n_pass * sizeof(int));
        memcpy(CMSG_DATA(h), pass, n_pass * sizeof(int));
    }
    do {
        n = sendmsg(sock, &m, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "report to the starter");
    return 0;
}

static void
take_passed(struct msghdr *m, int *fds)
{
    size_t got = 0;

    for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
        size_t n;

        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
            if (got < WIRE_FDS)
                fds[got++] = fd;
            else
                (void)close(fd);
        }
    }
}

ssize_t
wire_recv(int sock, int flags, struct wire *w, int *fds)
{
    struct iovec iov = {.iov_base = w, .iov_len = sizeof(*w)};
    union {
        char buf[CMSG_SPACE(8 * sizeof(int))];
        struct cmsghdr align;
    } c;
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.buf, .msg_controllen = sizeof(c.buf)};
    ssize_t n;

    for (size_t i = 0; i < WIRE_FDS; i++)
        fds[i] = -1;
    do {
        n = recvmsg(sock, &m, flags | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    take_passed(&m, fds);
    return n;
}

void
wire_close_fds(int *fds)
{
    for (size_t i = 0; i < WIRE_FDS; i++)
        fd_close(&fds[i]);
}

bool
wire_wait_ready(int sock)
{
    struct pollfd pfd = {.fd = sock, .events = POLLIN};
    struct wire r = {0};
    int fds[WIRE_FDS], n;
    ssize_t len;

    do {
        n = poll(&pfd, 1, WIRE_READY_MS);
    } while (n < 0 && errno == EINTR);
    if (n <= 0)
        return false;
    len = wire_recv(sock, MSG_DONTWAIT, &r, fds);
    wire_close_fds(fds);
    return len > 0 && wire_ok(&r, len) && r.type == WIRE_READY;
}
