/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/listen.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 16

const char *
listen_unix_path(const char *text)
{
    return strncmp(text, "unix:", 5) == 0 ? text + 5 : NULL;
}

static bool
parse_port(const char *s, in_port_t *ret)
{
    unsigned v = 0;

    if (!*s || strlen(s) > 5)
        return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9')
            return false;
        v = v * 10 + (unsigned)(*s - '0');
    }
    if (v == 0 || v > 65535)
        return false;
    *ret = htons((in_port_t)v);
    return true;
}

static bool
parse_unix(const char *path, struct listen_addr *a, const char **why)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&a->sa;

    *why = "unix: needs an absolute path of at most 107 bytes";
    if (path[0] != '/' || !str_copy(un->sun_path, sizeof(un->sun_path), path))
        return false;
    un->sun_family = AF_UNIX;
    a->len = sizeof(*un);
    return true;
}

static bool
parse_inet(const char *host, in_port_t port, struct listen_addr *a)
{
    struct sockaddr_in *in4 = (struct sockaddr_in *)&a->sa;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&a->sa;
    char inner[INET6_ADDRSTRLEN];
    size_t n = strlen(host);

    if (n == 0) {
        a->every = true;
        in6->sin6_addr = in6addr_any;
    } else if (host[0] == '[') {
        if (host[n - 1] != ']' || n - 2 >= sizeof(inner))
            return false;
        memcpy(inner, host + 1, n - 2);
        inner[n - 2] = '\0';
        if (inet_pton(AF_INET6, inner, &in6->sin6_addr) != 1)
            return false;
    } else {
        if (inet_pton(AF_INET, host, &in4->sin_addr) != 1)
            return false;
        in4->sin_family = AF_INET;
        in4->sin_port = port;
        a->len = sizeof(*in4);
        return true;
    }
    in6->sin6_family = AF_INET6;
    in6->sin6_port = port;
    a->len = sizeof(*in6);
    return true;
}

bool
listen_parse(const char *text, struct listen_addr *ret, const char **why)
{
    struct listen_addr a = {.len = 0};
    const char *path = listen_unix_path(text), *colon = strrchr(text, ':');
    char host[INET6_ADDRSTRLEN + 2];
    in_port_t port;

    if (path) {
        if (!parse_unix(path, &a, why))
            return false;
    } else if (*text) {
        size_t n = colon ? (size_t)(colon - text) : sizeof(host);

        *why = "must be ADDRESS:PORT, [ADDRESS]:PORT, :PORT, unix:/PATH, or empty for nowhere";
        if (n >= sizeof(host))
            return false;
        memcpy(host, text, n);
        host[n] = '\0';
        if (!parse_port(colon + 1, &port) || !parse_inet(host, port, &a))
            return false;
    }
    if (ret)
        *ret = a;
    return true;
}

/* A socket file outlives its program. One on which nobody answers is a leftover. */
static void
remove_leftover(const struct listen_addr *a)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&a->sa;
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct stat st;

    if (fd >= 0 && lstat(un->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
        connect(fd, (const struct sockaddr *)un, a->len) < 0 && errno == ECONNREFUSED)
        (void)unlink(un->sun_path);
}

static int
open_at(const struct listen_addr *a)
{
    int on = 1, off = 0;
    _cleanup_fd_ int fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t old;
    int r;

    if (fd < 0)
        return -errno;
    if (a->sa.ss_family != AF_UNIX)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (a->sa.ss_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, a->every ? &off : &on, sizeof(on));
    old = umask(0117); /* a socket file: for root and its group */
    r = bind(fd, (const struct sockaddr *)&a->sa, a->len) < 0 || listen(fd, BACKLOG) < 0 ? -errno
                                                                                         : 0;
    (void)umask(old);
    return r < 0 ? r : take_fd(&fd);
}

/* ":PORT" on a host without IPv6. */
static int
open_every4(const struct listen_addr *a)
{
    struct listen_addr four = {.len = sizeof(struct sockaddr_in)};
    struct sockaddr_in *in = (struct sockaddr_in *)&four.sa;

    in->sin_family = AF_INET;
    in->sin_port = ((const struct sockaddr_in6 *)&a->sa)->sin6_port;
    return open_at(&four);
}

int
listen_open(const struct listen_addr *a, const char *text, struct err *e)
{
    int fd;

    if (a->sa.ss_family == AF_UNIX)
        remove_leftover(a);
    fd = open_at(a);
    if (a->every && (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL))
        fd = open_every4(a);
    if (fd < 0)
        return err_errno(e, -fd, fd == -EADDRINUSE ? ERR_CLASS_BUSY : ERR_CLASS_RETRY,
                         "listen on %s", text);
    return fd;
}
