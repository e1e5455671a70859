/* SPDX-License-Identifier: Apache-2.0
 *
 * A short-lived client of pgpud's control socket. One thread, no state.
 */
#include "cli/ask.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#define LIMIT_MS 5000

int
ask_line(const char *path, const char *line, struct buf *out, struct err *e)
{
    return ask_line_for(path, line, LIMIT_MS, out, e);
}

int
ask_line_for(const char *path, const char *line, unsigned limit_ms, struct buf *out, struct err *e)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct timeval limit = {(time_t)(limit_ms / 1000), (suseconds_t)(limit_ms % 1000) * 1000};
    char tmp[8192];
    ssize_t n;
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || !str_copy(sa.sun_path, sizeof(sa.sun_path), path))
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "%s: not a usable socket path", path);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
        return err_errno(e, errno, ERR_CLASS_RETRY, "ask pgpud at %s", path);
    if (send(fd, line, strlen(line), MSG_NOSIGNAL) < 0)
        return err_errno(e, errno, ERR_CLASS_RETRY, "ask pgpud at %s", path);
    while ((n = recv(fd, tmp, sizeof(tmp), 0)) > 0)
        if (!buf_put(out, tmp, (size_t)n))
            return err_set(e, EMSGSIZE, ERR_CLASS_INVALID, "ask pgpud at %s: answer too long",
                           path);
    if (n < 0)
        return err_errno(e, errno, ERR_CLASS_RETRY, "ask pgpud at %s", path);
    return 0;
}
