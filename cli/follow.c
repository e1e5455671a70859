/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/follow.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fs.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#define LINE_LIMIT (1u << 20)

/* Calls back for the whole lines in `in`; false to stop. */
static bool
take_lines(struct buf *in, bool (*line)(void *ctx, const char *text, size_t len), void *ctx)
{
    for (;;) {
        const char *p = (const char *)buf_peek(in);
        const char *nl = buf_left(in) > 0 ? memchr(p, '\n', buf_left(in)) : NULL;
        size_t n = nl ? (size_t)(nl - p) : 0;

        if (!nl)
            return true;
        if (!line(ctx, p, n))
            return false;
        (void)buf_skip(in, n + 1);
    }
}

int
follow_lines(const char *path, const char *request, unsigned wait_s,
             bool (*line)(void *ctx, const char *text, size_t len), void *ctx, struct err *e)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = (time_t)wait_s};
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct buf in;
    char tmp[8192];
    ssize_t n = 0;
    int r = 0;

    if (fd < 0 || !str_copy(sa.sun_path, sizeof(sa.sun_path), path))
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "%s: not a usable socket path", path);
    if (wait_s)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0 ||
        send(fd, request, strlen(request), MSG_NOSIGNAL) < 0)
        return err_errno(e, errno, ERR_CLASS_RETRY, "ask pgpud at %s", path);
    buf_init(&in, LINE_LIMIT);
    do {
        n = recv(fd, tmp, sizeof(tmp), 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            r = err_errno(e, errno, ERR_CLASS_RETRY, "ask pgpud at %s", path);
            break;
        }
        buf_compact(&in);
        if (n > 0 && !buf_put(&in, tmp, (size_t)n)) {
            r = err_set(e, EMSGSIZE, ERR_CLASS_INVALID, "ask pgpud at %s: a line is too long",
                        path);
            break;
        }
        if (!take_lines(&in, line, ctx))
            break;
    } while (n != 0);
    buf_fini(&in);
    return r;
}
