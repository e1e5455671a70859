/* SPDX-License-Identifier: Apache-2.0
 *
 * Files below a root. No state of its own; every call may block in the kernel.
 */
#include "base/fs.h"

#include "base/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* openat2(2): a lookup that ran into a concurrent rename or mount returns EAGAIN and may be tried
 * again; bounded, because a hostile tree could keep it so. */
#define OPENAT2_TRIES 32

/* What an errno of a file operation means to the program. */
static enum err_class
file_class(int num)
{
    switch (num) {
    case EBUSY:
        return ERR_CLASS_BUSY;
    case EINVAL:
    case EMSGSIZE:
    case EBADMSG:
    case EFBIG:
    case ENAMETOOLONG:
    case ENOTDIR:
    case EISDIR:
    case ELOOP:
        return ERR_CLASS_INVALID;
    case EIO:
    case ENODEV:
    case ENXIO:
        return ERR_CLASS_HW;
    default:
        return ERR_CLASS_RETRY;
    }
}

static int
file_err(struct err *e, int num, const char *what, const char *path)
{
    return err_errno(e, num, file_class(num), "%s %s", what, path);
}

int
fs_root_open(struct fs_root *r, const char *path, struct err *e)
{
    if (!str_copy(r->path, sizeof(r->path), path)) {
        r->fd = -1;
        return err_set(e, ENAMETOOLONG, ERR_CLASS_INVALID, "open root: path too long");
    }
    r->fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (r->fd < 0)
        return file_err(e, errno, "open root", path);
    return 0;
}

void
fs_root_close(struct fs_root *r)
{
    fd_close(&r->fd);
    r->path[0] = '\0';
}

/* Returns the descriptor or -errno. RESOLVE_IN_ROOT keeps "..", absolute paths and symlinks inside;
 * mount points are crossed on purpose: /sys and /dev are mounts of their own. */
static int
open_below(const struct fs_root *r, const char *path, int flags, mode_t mode)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
        .mode = flags & O_CREAT ? mode : 0,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    };

    for (int i = 0; i < OPENAT2_TRIES; i++) {
        long fd = syscall(SYS_openat2, r->fd, *path ? path : ".", &how, sizeof(how));

        if (fd >= 0)
            return (int)fd;
        if (errno != EAGAIN && errno != EINTR)
            break;
    }
    return -errno;
}

int
fs_open(const struct fs_root *r, const char *path, int flags, mode_t mode, struct err *e)
{
    int fd = open_below(r, path, flags, mode);

    return fd < 0 ? file_err(e, -fd, "open", path) : fd;
}

/* read(2) until `size` bytes or the end; returns the count or -errno. */
static ssize_t
read_full(int fd, char *buf, size_t size)
{
    size_t n = 0;

    while (n < size) {
        ssize_t k = read(fd, buf + n, size - n);

        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return -errno;
        if (k == 0)
            break;
        n += (size_t)k;
    }
    return (ssize_t)n;
}

int
fs_read_attr(const struct fs_root *r, const char *path, char *buf, size_t size, struct err *e)
{
    if (size == 0 || size > INT_MAX)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "read %s: bad buffer size", path);
    buf[0] = '\0';

    _cleanup_fd_ int fd = open_below(r, path, O_RDONLY | O_NOCTTY, 0);
    if (fd < 0)
        return file_err(e, -fd, "read", path);
    ssize_t k = read_full(fd, buf, size);
    size_t n = k < 0 ? 0 : (size_t)k;
    int num = 0;

    if (k < 0)
        num = (int)-k;
    else if (n == size)
        num = EMSGSIZE;
    else if (memchr(buf, '\0', n))
        num = EBADMSG;
    if (num != 0) {
        buf[0] = '\0';
        return file_err(e, num, "read", path);
    }
    while (n > 0 && strchr(" \t\n\r\v\f", buf[n - 1]))
        n--;
    buf[n] = '\0';
    return (int)n;
}

int
fs_write_attr(const struct fs_root *r, const char *path, const char *text, struct err *e)
{
    size_t n = strlen(text);

    _cleanup_fd_ int fd = open_below(r, path, O_WRONLY | O_NOCTTY, 0);
    if (fd < 0)
        return file_err(e, -fd, "write", path);
    /* Never repeated, not even after EINTR or a short write: each write(2) is a command to the
     * kernel, and doing it twice may act twice. */
    ssize_t k = write(fd, text, n);
    if (k < 0)
        return file_err(e, errno, "write", path);
    if ((size_t)k != n)
        return err_set(e, EIO, ERR_CLASS_HW, "write %s: the kernel took %zd of %zu bytes", path, k,
                       n);
    return 0;
}

int
fs_link_target(const struct fs_root *r, const char *path, char *buf, size_t size, struct err *e)
{
    if (size == 0 || size > INT_MAX)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "read link %s: bad buffer size", path);
    buf[0] = '\0';

    _cleanup_fd_ int fd = open_below(r, path, O_PATH | O_NOFOLLOW, 0);
    if (fd < 0)
        return file_err(e, -fd, "read link", path);
    ssize_t n = readlinkat(fd, "", buf, size);
    if (n < 0) {
        /* readlinkat("") of something else than a link: ENOENT, or EINVAL on some file systems. */
        int num = errno == EINVAL ? ENOENT : errno;
        buf[0] = '\0';
        return file_err(e, num, "read link", path);
    }
    if ((size_t)n == size) {
        buf[0] = '\0';
        return file_err(e, EMSGSIZE, "read link", path);
    }
    buf[n] = '\0';
    return (int)n;
}

int
fs_link_name(const struct fs_root *r, const char *path, char *buf, size_t size, struct err *e)
{
    char target[PATH_MAX];

    if (size > 0)
        buf[0] = '\0';
    int n = fs_link_target(r, path, target, sizeof(target), e);
    if (n < 0)
        return n;
    const char *slash = strrchr(target, '/');
    const char *name = slash ? slash + 1 : target;
    if (*name == '\0')
        return err_set(e, EBADMSG, ERR_CLASS_INVALID, "read link %s: target has no name", path);
    if (!str_copy(buf, size, name))
        return file_err(e, EMSGSIZE, "read link", path);
    return (int)strlen(buf);
}

bool
fs_exists(const struct fs_root *r, const char *path)
{
    _cleanup_fd_ int fd = open_below(r, path, O_PATH, 0);

    return fd >= 0;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
closedir_p(DIR **d)
{
    if (*d)
        (void)closedir(*d);
}

static void
names_free_p(char ***names)
{
    fs_names_free(*names);
}

/* Returns 0 or an errno; *names is NULL-terminated at every moment, so that it can be freed. */
static int
collect_names(DIR *dir, size_t max, char ***names, size_t *count)
{
    size_t cap = 0;

    for (;;) {
        errno = 0;
        const struct dirent *d = readdir(dir);

        if (!d)
            return errno;
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        if (*count >= max)
            return EFBIG;
        if (*count + 1 >= cap) {
            cap = cap == 0 ? 16 : cap * 2;
            char **more = reallocarray(*names, cap, sizeof(**names));
            if (!more)
                return ENOMEM;
            *names = more;
        }
        (*names)[*count] = strdup(d->d_name);
        if (!(*names)[*count])
            return ENOMEM;
        (*names)[++*count] = NULL;
    }
}

int
fs_list(const struct fs_root *r, const char *path, size_t max, char ***ret_names, struct err *e)
{
    size_t n = 0;

    _cleanup_fd_ int fd = open_below(r, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return file_err(e, -fd, "list", path);
    _cleanup_(closedir_p) DIR *dir = fdopendir(fd);
    if (!dir)
        return file_err(e, errno, "list", path);
    (void)take_fd(&fd);

    _cleanup_(names_free_p) char **names = calloc(1, sizeof(*names));
    if (!names)
        return file_err(e, ENOMEM, "list", path);
    int num = collect_names(dir, max < INT_MAX ? max : INT_MAX, &names, &n);
    if (num == EFBIG)
        return err_set(e, EFBIG, ERR_CLASS_INVALID, "list %s: more than %zu entries", path, max);
    if (num != 0)
        return file_err(e, num, "list", path);
    qsort(names, n, sizeof(*names), by_name);
    *ret_names = TAKE_PTR(char *, names);
    return (int)n;
}

void
fs_names_free(char **names)
{
    if (!names)
        return;
    for (size_t i = 0; names[i]; i++)
        free(names[i]);
    free(names);
}

int
fs_read_file(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len, struct err *e)
{
    if (max > SSIZE_MAX - 1)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "read %s: bad limit", path);
    /* O_NONBLOCK: a FIFO in the file's place must not stop us. */
    _cleanup_fd_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return file_err(e, errno, "read", path);

    _cleanup_free_ char *data = NULL;
    size_t len = 0, cap = 0;
    for (;;) {
        if (len == cap) {
            /* One byte more than allowed shows that the file is too long. */
            size_t want = cap == 0 ? 4096 : cap * 2;
            cap = want < max + 1 ? want : max + 1;
            if (len == cap)
                return err_set(e, EFBIG, ERR_CLASS_INVALID, "read %s: larger than %zu bytes", path,
                               max);
            char *more = realloc(data, cap + 1);
            if (!more)
                return file_err(e, ENOMEM, "read", path);
            data = more;
        }
        ssize_t k = read_full(fd, data + len, cap - len);
        if (k < 0)
            return file_err(e, (int)-k, "read", path);
        len += (size_t)k;
        if (len < cap)
            break;
    }
    if (len > max)
        return err_set(e, EFBIG, ERR_CLASS_INVALID, "read %s: larger than %zu bytes", path, max);
    data[len] = '\0';
    *ret = TAKE_PTR(char, data);
    *ret_len = len;
    return 0;
}

bool
str_copy(char *dst, size_t size, const char *src)
{
    size_t n = strlen(src);

    if (size == 0)
        return false;
    if (n >= size) {
        dst[0] = '\0';
        return false;
    }
    memcpy(dst, src, n + 1);
    return true;
}
