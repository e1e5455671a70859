/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading foreign files for doctor. No state.
 */
#include "cli/doctor_files.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define CHUNK 65536u

int
doctor_read(const struct fs_root *root, const char *path, size_t max, char **ret)
{
    struct err e = ERR_INIT;
    struct stat st;
    struct buf b;
    ssize_t n = 0;
    /* O_NONBLOCK: a FIFO in the place of a file does not stop us. */
    _cleanup_fd_ int fd = fs_open(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, &e);

    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    buf_init(&b, max + 1);
    _cleanup_free_ char *chunk = malloc(CHUNK);
    while (chunk && (n = read(fd, chunk, CHUNK)) > 0)
        if (!buf_put(&b, chunk, (size_t)n))
            break;
    int r = !chunk ? -ENOMEM : n < 0 ? -errno : buf_failed(&b) || b.len > max ? -E2BIG : 0;
    if (r == 0) {
        char *text = malloc(b.len + 1);

        for (size_t i = 0; text && i < b.len; i++)
            text[i] = b.data[i] ? (char)b.data[i] : ' ';
        if (text) {
            text[b.len] = '\0';
            *ret = text;
        }
        r = text ? 0 : -ENOMEM;
    }
    buf_fini(&b);
    return r;
}

bool
doctor_line(const struct fs_root *root, const char *path, char *buf, size_t size)
{
    _cleanup_free_ char *text = NULL;
    size_t n;

    if (doctor_read(root, path, 65536, &text) < 0)
        return false;
    n = strcspn(text, "\n");
    while (n > 0 && isspace((unsigned char)text[n - 1]))
        n--;
    if (n >= size)
        return false;
    memcpy(buf, text, n);
    buf[n] = '\0';
    return true;
}

int
doctor_stat(const struct fs_root *root, const char *path, struct stat *ret)
{
    struct err e = ERR_INIT;
    _cleanup_fd_ int fd = fs_open(root, path, O_PATH, 0, &e);

    if (fd < 0)
        return fd;
    return fstat(fd, ret) < 0 ? -errno : 0;
}

const char *
doctor_path(const struct doctor *d, const char *path)
{
    size_t n = strlen(d->host.path);

    while (n > 0 && d->host.path[n - 1] == '/')
        n--;
    return n > 0 && strncmp(path, d->host.path, n) == 0 && path[n] == '/' ? path + n : path;
}

int
doctor_real(const struct fs_root *root, const char *path, int flags, char *buf, size_t size)
{
    struct err e = ERR_INIT;
    int fd = fs_open(root, path, flags, 0, &e);

    if (fd >= 0)
        (void)snprintf(buf, size, "/proc/self/fd/%d", fd);
    return fd;
}

int
doctor_knock(const struct doctor *d, const char *path, int type)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_usec = 500000}; /* a full queue: somebody is there, and slow */
    struct stat st;
    _cleanup_fd_ int at =
        doctor_real(&d->host, doctor_path(d, path), O_PATH, sa.sun_path, sizeof(sa.sun_path));

    if (at < 0)
        return at;
    if (fstat(at, &st) < 0)
        return -errno;
    if (!S_ISSOCK(st.st_mode))
        return -ENOTSOCK;
    _cleanup_fd_ int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    return connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : 0;
}

void
doctor_rename(char *text, size_t size, const char *from, const char *to)
{
    char copy[1024];
    char *at = strstr(text, from);

    if (!at)
        return;
    (void)snprintf(copy, sizeof(copy), "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    (void)snprintf(text, size, "%s", copy);
}

/* The next word of a blank-separated list, its length in *ret_len; NULL at the end, and of NULL. */
static const char *
next_word(const char *p, size_t *ret_len)
{
    if (!p)
        return NULL;
    p += strspn(p, " \t\n");
    *ret_len = strcspn(p, " \t\n");
    return *ret_len ? p : NULL;
}

bool
doctor_word(const char *list, const char *key, char *buf, size_t size)
{
    size_t len = 0, n = strlen(key);
    bool found = false;

    for (const char *w = next_word(list, &len); w; w = next_word(w + len, &len))
        if (len >= n && memcmp(w, key, n) == 0 && len - n < size) {
            memcpy(buf, w + n, len - n);
            buf[len - n] = '\0';
            found = true;
        }
    return found;
}

bool
doctor_has_word(const char *list, const char *word)
{
    size_t len = 0;

    for (const char *w = next_word(list, &len); w; w = next_word(w + len, &len))
        if (len == strlen(word) && memcmp(w, word, len) == 0)
            return true;
    return false;
}

/* ---- versions ---- */

static const char *
stanza_field(const char *stanza, const char *end, const char *field, size_t *ret_len)
{
    size_t n = strlen(field);

    for (const char *p = stanza; p < end; p++) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));

        if (!nl)
            nl = end;
        if ((size_t)(nl - p) > n && memcmp(p, field, n) == 0) {
            p += n;
            p += strspn(p, " ");
            *ret_len = (size_t)(nl - p);
            return p;
        }
        p = nl;
    }
    return NULL;
}

bool
doctor_dpkg(const struct doctor *d, const char *package, char *buf, size_t size)
{
    char key[96];
    size_t len = 0;

    if (!d->dpkg)
        return false;
    (void)snprintf(key, sizeof(key), "\nPackage: %s\n", package);
    const char *at =
        strncmp(d->dpkg, key + 1, strlen(key) - 1) == 0 ? d->dpkg : strstr(d->dpkg, key);
    if (!at)
        return false;
    at += at[0] == '\n';
    const char *end = strstr(at, "\n\n");
    end = end ? end : at + strlen(at);
    const char *status = stanza_field(at, end, "Status:", &len);
    if (!status || len < 9 || memcmp(status + len - 9, "installed", 9) != 0 ||
        (len >= 13 && memcmp(status + len - 13, "not-", 4) == 0))
        return false;
    const char *v = stanza_field(at, end, "Version:", &len);
    if (!v || len >= size)
        return false;
    memcpy(buf, v, len);
    buf[len] = '\0';
    return true;
}

bool
doctor_version(const char *text, unsigned *ret_major, unsigned *ret_minor)
{
    const char *epoch = strchr(text, ':');
    const char *p = epoch ? epoch + 1 : text;
    unsigned long major, minor;
    char *end;

    p += *p == 'v';
    if (!isdigit((unsigned char)*p))
        return false;
    major = strtoul(p, &end, 10);
    if (*end != '.' || !isdigit((unsigned char)end[1]))
        return false;
    minor = strtoul(end + 1, &end, 10);
    if (major > 10000 || minor > 10000)
        return false;
    *ret_major = (unsigned)major;
    *ret_minor = (unsigned)minor;
    return true;
}

bool
doctor_openshift(const struct doctor *d, unsigned *ret_major, unsigned *ret_minor)
{
    _cleanup_free_ char *text = NULL;
    char value[32] = "";

    if (doctor_read(&d->host, "/etc/os-release", 65536, &text) < 0 ||
        !doctor_word(text, "OPENSHIFT_VERSION=", value, sizeof(value)))
        return false;
    return doctor_version(value[0] == '"' ? value + 1 : value, ret_major, ret_minor);
}
