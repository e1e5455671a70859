/* SPDX-License-Identifier: Apache-2.0
 *
 * Durable changes of files: publish, withdraw, directories. No state of its own; may block.
 */
#include "base/cleanup.h"
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum err_class
change_class(int num)
{
    return num == EINVAL || num == ENAMETOOLONG || num == ENOTDIR ? ERR_CLASS_INVALID
                                                                  : ERR_CLASS_RETRY;
}

int
fs_write_all(int fd, const void *data, size_t len, struct err *e)
{
    const char *p = data;

    while (len > 0) {
        ssize_t n = write(fd, p, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(e, errno, change_class(errno), "write");
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Makes what happened to the directory's entries durable. */
static int
sync_dir(int dirfd, const char *name, struct err *e)
{
    /* The caller's descriptor may be O_PATH or AT_FDCWD, which fsync refuses. */
    _cleanup_fd_ int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return err_errno(e, errno, change_class(errno), "publish %s: open directory", name);
    /* EINVAL: the file system has nothing to sync for directories. */
    if (fsync(fd) < 0 && errno != EINVAL)
        return err_errno(e, errno, change_class(errno), "publish %s: fsync directory", name);
    return 0;
}

static int
write_tmp(int dirfd, const char *tmp, const void *data, size_t len, mode_t mode, struct err *e)
{
    _cleanup_fd_ int fd =
        openat(dirfd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return err_errno(e, errno, change_class(errno), "create %s", tmp);
    int rc = fs_write_all(fd, data, len, e);
    if (rc < 0)
        return rc;
    /* The mode is meant as given, whatever the umask. */
    if (fchmod(fd, mode) < 0)
        return err_errno(e, errno, change_class(errno), "chmod %s", tmp);
    if (fsync(fd) < 0)
        return err_errno(e, errno, change_class(errno), "fsync %s", tmp);
    return 0;
}

/* The order is what makes it atomic and durable:
 *  1. remove what a crashed predecessor left under the temporary name
 *  2. write the temporary file and fsync it: a rename may reach the disk before the data does
 *  3. rename over the final name
 *  4. fsync the directory, so that the rename survives a power cut
 * On failure of 2 or 3 the temporary file is removed and the old file is what readers see. */
int
fs_publish(int dirfd, const char *name, const void *data, size_t len, mode_t mode, struct err *e)
{
    char tmp[NAME_MAX + 1];
    int n = snprintf(tmp, sizeof(tmp), ".%s.tmp", name);

    if (*name == '\0' || strchr(name, '/') || n < 0 || (size_t)n >= sizeof(tmp))
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "publish \"%.64s\": bad file name", name);

    if (unlinkat(dirfd, tmp, 0) < 0 && errno != ENOENT)
        return err_errno(e, errno, change_class(errno), "publish %s: remove stale %s", name, tmp);

    int rc = write_tmp(dirfd, tmp, data, len, mode, e);
    if (rc == 0 && renameat(dirfd, tmp, dirfd, name) < 0)
        rc = err_errno(e, errno, change_class(errno), "rename %s", tmp);
    if (rc < 0) {
        (void)unlinkat(dirfd, tmp, 0);
        return err_prefix(e, "publish %s", name);
    }
    return sync_dir(dirfd, name, e);
}

int
fs_withdraw(int dirfd, const char *name, struct err *e)
{
    if (unlinkat(dirfd, name, 0) < 0) {
        if (errno == ENOENT)
            return 0;
        return err_errno(e, errno, change_class(errno), "withdraw %s", name);
    }
    return sync_dir(dirfd, name, e);
}

static int
make_one(const char *path, mode_t mode, struct err *e)
{
    struct stat st;

    if (mkdir(path, mode) == 0) {
        /* Again: the umask took bits away. */
        if (chmod(path, mode) < 0)
            return err_errno(e, errno, change_class(errno), "chmod directory %s", path);
        return 0;
    }
    int num = errno;
    if (stat(path, &st) == 0)
        num = S_ISDIR(st.st_mode) ? 0 : ENOTDIR;
    return num == 0 ? 0 : err_errno(e, num, change_class(num), "make directory %s", path);
}

int
fs_mkdirs(const char *path, mode_t mode, struct err *e)
{
    char buf[PATH_MAX];

    if (*path == '\0' || !str_copy(buf, sizeof(buf), path))
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "make directory: bad path");
    for (char *p = buf + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        int rc = make_one(buf, mode, e);
        *p = '/';
        if (rc < 0)
            return rc;
    }
    return make_one(buf, mode, e);
}
