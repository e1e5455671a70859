/* SPDX-License-Identifier: Apache-2.0
 *
 * Client of the control socket.
 */
#include "sim/control.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int
connect_and_send(const char *path, const char *line, struct err *e)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    _cleanup_fd_ int fd = -1;
    _cleanup_free_ char *text = NULL;

    if (strchr(line, '\n'))
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "control command: more than one line");
    if (!str_copy(sa.sun_path, sizeof(sa.sun_path), path))
        return err_set(e, ENAMETOOLONG, ERR_CLASS_INVALID, "control socket %s: too long", path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
        return err_errno(e, errno, ERR_CLASS_RETRY, "connect to the simulated node at %s", path);
    if (asprintf(&text, "%s\n", line) < 0)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "control command: out of memory");
    if (fs_write_all(fd, text, strlen(text), e) < 0)
        return -e->num;
    return take_fd(&fd);
}

/* Reads until the end or until `size`-1 bytes; returns the length. */
static ssize_t
read_all(int fd, char *buf, size_t size)
{
    size_t len = 0;

    while (len < size - 1) {
        ssize_t r = read(fd, buf + len, size - 1 - len);

        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -1;
        if (r == 0)
            break;
        len += (size_t)r;
    }
    buf[len] = '\0';
    return (ssize_t)len;
}

static int
remote_error(char *text, struct err *e)
{
    text[strcspn(text, "\n")] = '\0';
    return err_set(e, EREMOTEIO, ERR_CLASS_INVALID, "%s",
                   strncmp(text, "error: ", 7) == 0 ? text + 7 : "the node broke off");
}

int
sim_ctl_call(const char *socket_path, const char *line, char *reply, size_t size, struct err *e)
{
    _cleanup_free_ char *text = malloc(SIM_REPLY_MAX + 16);
    _cleanup_fd_ int fd = -1;

    if (!text)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "control command: out of memory");
    fd = connect_and_send(socket_path, line, e);
    if (fd < 0)
        return fd;
    if (read_all(fd, text, SIM_REPLY_MAX + 16) < 0)
        return err_errno(e, errno, ERR_CLASS_RETRY, "read from %s", socket_path);
    /* the kubelet stand-in answers in JSON, refusals included: that is shown as it is */
    if (text[0] != '{' && strncmp(text, "ok\n", 3) != 0)
        return remote_error(text, e);
    if (reply && !str_copy(reply, size, text[0] == '{' ? text : text + 3))
        return err_set(e, EMSGSIZE, ERR_CLASS_INVALID, "control command: answer too long");
    return 0;
}

int
sim_ctl_trace(const char *socket_path, const char *what, struct err *e)
{
    char line[64], buf[8192];
    _cleanup_fd_ int fd = -1;
    bool started = false;

    (void)snprintf(line, sizeof(line), "trace %s", what);
    fd = connect_and_send(socket_path, line, e);
    if (fd < 0)
        return fd;
    for (;;) {
        ssize_t r = read(fd, buf, sizeof(buf) - 1);
        const char *p = buf;

        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return 0;
        buf[r] = '\0';
        if (!started) {
            if (strncmp(buf, "ok\n", 3) != 0)
                return remote_error(buf, e);
            started = true;
            p += 3;
        }
        if (fs_write_all(STDOUT_FILENO, p, (size_t)(buf + r - p), e) < 0)
            return -e->num;
    }
}
