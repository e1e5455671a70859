/* SPDX-License-Identifier: Apache-2.0
 *
 * Control sockets. See sim/ctlsock.h.
 */
#include "sim/ctlsock.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

int
ctlsock_listen(const char *path, int type, struct err *e)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    _cleanup_fd_ int fd = -1;
    struct stat st;

    if (!str_copy(sa.sun_path, sizeof(sa.sun_path), path))
        return err_set(e, ENAMETOOLONG, ERR_CLASS_INVALID, "listen at %s: the path is too long",
                       path);
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
        (void)unlink(path);
    fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 16) < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "listen at %s", path);
    return take_fd(&fd);
}

bool
ctlsock_send(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t w = send(fd, p, n, MSG_NOSIGNAL);

        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return false;
        p += w;
        n -= (size_t)w;
    }
    return true;
}

bool
ctlsock_read_line(int fd, char *buf, size_t size)
{
    size_t len = 0;

    while (len < size - 1) {
        ssize_t r = recv(fd, buf + len, size - 1 - len, 0);

        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return false;
        len += (size_t)r;
        buf[len] = '\0';
        if (memchr(buf, '\n', len)) {
            buf[strcspn(buf, "\n")] = '\0';
            return true;
        }
    }
    return false;
}

void
ctlsock_answer(int fd, int r, const char *text, const struct err *e)
{
    if (r < 0)
        (void)(ctlsock_send(fd, "error: ", 7) && ctlsock_send(fd, e->msg, strlen(e->msg)) &&
               ctlsock_send(fd, "\n", 1));
    else
        (void)(ctlsock_send(fd, "ok\n", 3) && ctlsock_send(fd, text, strlen(text)));
}

int
ctlsock_trace_line(char *buf, size_t size, const char *dev, const struct sim_access *a)
{
    if (strcmp(a->space, "note") == 0)
        return snprintf(buf, size, "! %s %s\n", dev, a->note ? a->note : "");
    if (strcmp(a->space, "bar0") == 0)
        return snprintf(buf, size, "%c %s.bar0 0x%06x %s 0x%08x\n", a->write ? 'W' : 'R', dev,
                        a->off, a->write ? "<-" : "->", a->value);
    return snprintf(buf, size, "%c %s.%-5s 0x%03x %s 0x%x\n", a->write ? 'W' : 'R', dev, a->space,
                    a->off, a->write ? "<-" : "->", a->value);
}
