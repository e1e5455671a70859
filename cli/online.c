/* SPDX-License-Identifier: Apache-2.0
 *
 * A short-lived client of pgpu-hwd. One thread, no state.
 */
#include "cli/online.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_LIMIT_S 5

static int
collect(int fd, const char *path, struct hwd_facts *f, struct err *e)
{
    struct hwd_message m;
    int n = 0;

    for (;;) {
        ssize_t len = recv(fd, &m, sizeof(m), MSG_TRUNC);

        if (len < 0 && errno == EINTR)
            continue;
        if (len <= 0)
            return err_set(e, len < 0 ? errno : ECONNRESET, ERR_CLASS_RETRY,
                           "ask pgpu-hwd at %s: no answer", path);
        if (hwd_message_check(&m, (size_t)len, e) < 0)
            return err_prefix(e, "ask pgpu-hwd at %s", path);
        if (m.type == HWD_MSG_SYNCED)
            return n;
        if (m.type == HWD_MSG_FACTS && n < ONLINE_UNITS_MAX)
            f[n++] = m.facts;
    }
}

int
online_facts(const char *path, struct hwd_facts **ret, struct err *e)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = ANSWER_LIMIT_S};
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct hwd_facts *f;
    int n;

    if (fd < 0 || !str_copy(sa.sun_path, sizeof(sa.sun_path), path))
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "%s: not a usable socket path", path);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
        return err_errno(e, errno, ERR_CLASS_RETRY, "ask pgpu-hwd at %s", path);
    f = calloc(ONLINE_UNITS_MAX, sizeof(*f));
    if (!f)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "ask pgpu-hwd at %s", path);
    n = collect(fd, path, f, e);
    if (n < 0) {
        free(f);
        return n;
    }
    *ret = f;
    return n;
}
