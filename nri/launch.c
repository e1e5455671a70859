/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpu-nri-launch: what a container runtime starts as an NRI plugin (/opt/nri/plugins/10-pgpu). It
 * hands the runtime's connection to the running pgpud and waits for its end.
 *
 *   1. take name, index and descriptor from the environment; there is nothing else in it
 *   2. find pgpud, for as long as the runtime waits for a registration
 *   3. hand over, close our own descriptor (so that the runtime sees pgpud's end, not ours)
 *   4. wait
 *
 * Standard error is /dev/null when a runtime starts us, so errors go to the system log as well.
 */
#include "nri/launch.h"
#include "nri/launch_usage.h"

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fs.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

/* The runtime waits 5 s for the registration (pkg/api/timeouts.go): by then it must be through. */
#define WAIT_DEFAULT 4
#define WAIT_MAX 3600
#define ANSWER_MSEC 5000

struct launch {
    const char *socket, *name, *index;
    int runtime; /* the runtime's socket */
    int wait;    /* s */
};

static void
report(int priority, const char *text)
{
    struct stat st;

    (void)fprintf(stderr, "pgpu-nri-launch: %s\n", text);
    /* A person at a terminal has just read it. */
    if (fstat(STDERR_FILENO, &st) < 0 || (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3))) {
        openlog("pgpu-nri-launch", LOG_PID, LOG_DAEMON);
        syslog(priority, "%s", text);
        closelog();
    }
}

static long long
now_ms(void)
{
    struct timespec t = {0};

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* ---- 1. the environment ---- */

static int
parse_number(const char *text, int max)
{
    char *end = NULL;
    long n;

    if (!text || *text < '0' || *text > '9')
        return -1;
    errno = 0;
    n = strtol(text, &end, 10);
    return errno == 0 && *end == '\0' && n <= max ? (int)n : -1;
}

static int
read_environment(struct launch *l, struct err *e)
{
    const char *fd = getenv("NRI_PLUGIN_SOCKET");
    struct stat st;

    l->name = getenv("NRI_PLUGIN_NAME");
    l->index = getenv("NRI_PLUGIN_IDX");
    if (!l->name || !l->index || !fd)
        return err_set(e, EINVAL, ERR_CLASS_INVALID,
                       "NRI_PLUGIN_NAME, NRI_PLUGIN_IDX and NRI_PLUGIN_SOCKET are not set: this "
                       "program is started by a container runtime, from its NRI plugin directory");
    if (!nri_name_valid(l->name) || !nri_index_valid(l->index))
        return err_set(e, EINVAL, ERR_CLASS_INVALID,
                       "plugin %s-%s: the index must be two digits, the name letters, digits and "
                       "_.+-",
                       l->index, l->name);
    l->runtime = parse_number(fd, 1 << 20);
    if (l->runtime < 0 || fstat(l->runtime, &st) < 0 || !S_ISSOCK(st.st_mode)) {
        l->runtime = -1;
        return err_set(e, EBADF, ERR_CLASS_INVALID,
                       "NRI_PLUGIN_SOCKET=%s is not the descriptor of a socket", fd);
    }
    return 0;
}

/* ---- 2. pgpud ---- */

static int
connect_once(const struct launch *l)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    (void)str_copy(a.sun_path, sizeof(a.sun_path), l->socket);
    if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0)
        return -errno;
    return take_fd(&fd);
}

static int
find_daemon(const struct launch *l, struct err *e)
{
    const long long until = now_ms() + l->wait * 1000LL;
    struct pollfd runtime = {.fd = l->runtime};

    for (;;) {
        const int fd = connect_once(l);

        if (fd >= 0)
            return fd;
        if ((fd != -ENOENT && fd != -ECONNREFUSED) || now_ms() >= until)
            return err_errno(e, -fd, ERR_CLASS_RETRY,
                             "no pgpud to hand the runtime's connection to: connect to %s",
                             l->socket);
        /* Without events only the runtime's end is told. */
        if (poll(&runtime, 1, 100) > 0)
            return err_set(e, EPIPE, ERR_CLASS_RETRY,
                           "the runtime closed the connection before pgpud was there");
    }
}

/* ---- 3. and 4. ---- */

static int
send_hello(const struct launch *l, int fd, struct err *e)
{
    struct launch_hello h = {.magic = {0}};
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.room = {0}};
    struct iovec iov = {.iov_base = &h, .iov_len = sizeof(h)};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof(control)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);

    memcpy(h.magic, LAUNCH_MAGIC, sizeof(h.magic));
    (void)str_copy(h.name, sizeof(h.name), l->name);
    (void)str_copy(h.index, sizeof(h.index), l->index);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &l->runtime, sizeof(int));
    if (sendmsg(fd, &m, MSG_NOSIGNAL) != (ssize_t)sizeof(h))
        return err_errno(e, errno, ERR_CLASS_RETRY, "hand the connection to pgpud");
    return 0;
}

/* The next answer; -EPIPE when pgpud is gone without a word. */
static int
receive(int fd, int msec, struct launch_answer *ret, struct err *e)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    struct launch_answer a;
    ssize_t n;

    do
        n = poll(&p, 1, msec);
    while (n < 0 && errno == EINTR);
    if (n == 0)
        return err_set(e, ETIMEDOUT, ERR_CLASS_RETRY, "pgpud does not answer");
    n = n < 0 ? n : recv(fd, &a, sizeof(a), 0);
    if (n < 0 && errno != ECONNRESET)
        return err_errno(e, errno, ERR_CLASS_RETRY, "wait for pgpud");
    if (n <= 0)
        return err_set(e, EPIPE, ERR_CLASS_RETRY, "pgpud is gone");
    if (n != (ssize_t)sizeof(a) || !memchr(a.text, '\0', sizeof(a.text)))
        return err_set(e, EPROTO, ERR_CLASS_INVALID, "pgpud is of another version");
    *ret = a;
    return 0;
}

static int
launch(struct launch *l, struct err *e)
{
    struct launch_answer a = {0};
    _cleanup_fd_ int fd = -1;
    int r = read_environment(l, e);

    if (r < 0)
        return r;
    fd = find_daemon(l, e);
    if (fd < 0)
        return fd;
    r = send_hello(l, fd, e);
    if (r == 0)
        r = receive(fd, ANSWER_MSEC, &a, e);
    if (r < 0)
        return r;
    if (a.status != 0)
        return err_set(e, (int)a.status, ERR_CLASS_INVALID, "pgpud refuses the connection: %s",
                       a.text);
    fd_close(&l->runtime);
    report(LOG_INFO, "connected to pgpud");
    r = receive(fd, -1, &a, e);
    if (r < 0)
        return err_prefix(e, "the NRI session is lost until the runtime restarts");
    if (a.status != 0)
        return err_set(e, (int)a.status, ERR_CLASS_RETRY,
                       "the NRI session is lost until the runtime restarts: %s", a.text);
    report(LOG_INFO, a.text);
    return 0;
}

/* ---- usage ---- */

int
main(int argc, char **argv)
{
    struct launch l = {.runtime = -1, .wait = WAIT_DEFAULT};
    struct usage_args a;
    struct err e = ERR_INIT;
    const char *wait;
    int rc = usage_parse(&launch_usage, argc, argv, &a);

    if (rc == 0)
        return 0;
    if (rc < 0) {
        l.socket = usage_value(&a, "--socket", LAUNCH_SOCKET_DEFAULT);
        wait = usage_value(&a, "--wait", NULL);
        l.wait = wait ? parse_number(wait, WAIT_MAX) : WAIT_DEFAULT;
    }
    if (rc > 0 || l.wait < 0 ||
        strlen(l.socket) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
        report(LOG_ERR, "wrong usage, see --help"); /* a runtime closes standard error */
        return 2;
    }
    if (launch(&l, &e) < 0) {
        report(LOG_ERR, e.msg);
        return 1;
    }
    return 0;
}
