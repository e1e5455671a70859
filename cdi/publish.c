/* SPDX-License-Identifier: Apache-2.0
 *
 * The spec file on disk. State: the file; one writer at a time per kind (the daemon holds a lock
 * that allows one instance). May block on the disk.
 */
#include "base/cleanup.h"
#include "base/fs.h"
#include "cdi/cdi.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

/* About 100 bytes a device: far more devices than a node has. */
#define SPEC_MAX ((size_t)1024 * 1024)

/* True where the file has exactly these bytes and can be read by everybody who needs it. */
static bool
is_already(int dirfd, const char *name, const struct buf *want)
{
    _cleanup_free_ char *have = NULL;
    struct err ignored = ERR_INIT; /* whatever is wrong with it, it gets replaced */
    struct stat st;
    size_t len;

    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
        (st.st_mode & 07777) != 0644)
        return false;
    if (fs_read_file(dirfd, name, SPEC_MAX, &have, &len, &ignored) < 0)
        return false;
    return len == want->len && memcmp(have, want->data, len) == 0;
}

static int
withdraw(const char *dir, const char *name, int *ret_changed, struct err *e)
{
    struct stat st;
    int rc;

    _cleanup_fd_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        *ret_changed = 0;
        return 0;
    }
    if (fd < 0)
        return err_errno(e, errno, ERR_CLASS_RETRY, "CDI directory %s", dir);

    int was_there = fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    rc = fs_withdraw(fd, name, e);
    if (rc < 0)
        return err_prefix(e, "CDI directory %s", dir);
    *ret_changed = was_there;
    return 0;
}

static int
write_spec(const char *dir, const char *name, const struct buf *want, int *ret_changed,
           struct err *e)
{
    int rc = fs_mkdirs(dir, 0755, e);

    if (rc < 0)
        return rc;
    _cleanup_fd_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, errno, ERR_CLASS_RETRY, "CDI directory %s", dir);
    if (is_already(fd, name, want)) {
        *ret_changed = 0;
        return 0;
    }
    rc = fs_publish(fd, name, want->data, want->len, 0644, e);
    if (rc < 0)
        return err_prefix(e, "CDI directory %s", dir);
    *ret_changed = 1;
    return 0;
}

int
cdi_publish(const char *dir, const char *kind, const struct cdi_device *dev, size_t n,
            int *ret_changed, struct err *e)
{
    char name[NAME_MAX + 1];
    struct buf want;

    int rc = cdi_file_name(kind, name, sizeof(name), e);
    if (rc < 0)
        return rc;
    /* Readers refuse a spec without devices: no devices, no file. */
    if (n == 0)
        return withdraw(dir, name, ret_changed, e);

    buf_init(&want, SPEC_MAX);
    rc = cdi_render(kind, dev, n, &want, e);
    if (rc == 0)
        rc = write_spec(dir, name, &want, ret_changed, e);
    buf_fini(&want);
    return rc;
}
