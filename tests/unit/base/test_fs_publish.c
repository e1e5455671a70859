/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of base/fs_publish.c: what is seen while it works, and after each step failed. Calls into
 * libc are wrapped so that the k-th of them fails.
 */
#include "base/cleanup.h"
#include "base/fs.h"
#include "tests/unit/base/test_support.h"

#include <dirent.h>
#include <ftw.h>
#include <sched.h>
#include <sys/mount.h>

enum call { CALL_WRITE, CALL_FCHMOD, CALL_FSYNC, CALL_RENAME };

/* The steps of one publish, in the order in which it must make them. */
static struct {
    bool active;
    int fail_at; /* number of the call that fails, -1: none */
    int count;
    enum call calls[32];
} plan;

static bool
step(enum call c)
{
    if (!plan.active)
        return false;
    if (plan.count < (int)ARRAY_SIZE(plan.calls))
        plan.calls[plan.count] = c;
    return plan.count++ == plan.fail_at;
}

ssize_t __real_write(int fd, const void *p, size_t n);
ssize_t __wrap_write(int fd, const void *p, size_t n);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_fchmod(int fd, mode_t m);
int __wrap_fchmod(int fd, mode_t m);
int __real_renameat(int a, const char *b, int c, const char *d);
int __wrap_renameat(int a, const char *b, int c, const char *d);

ssize_t
__wrap_write(int fd, const void *p, size_t n)
{
    if (step(CALL_WRITE)) {
        errno = ENOSPC;
        return -1;
    }
    /* Short writes are legal: one byte at a time at first. */
    return __real_write(fd, p, plan.active && n > 1 ? 1 : n);
}

int
__wrap_fsync(int fd)
{
    if (step(CALL_FSYNC)) {
        errno = EIO;
        return -1;
    }
    return __real_fsync(fd);
}

int
__wrap_fchmod(int fd, mode_t m)
{
    if (step(CALL_FCHMOD)) {
        errno = EPERM;
        return -1;
    }
    return __real_fchmod(fd, m);
}

int
__wrap_renameat(int a, const char *b, int c, const char *d)
{
    if (step(CALL_RENAME)) {
        errno = EROFS;
        return -1;
    }
    return __real_renameat(a, b, c, d);
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
    (void)st;
    (void)type;
    (void)f;
    return remove(path);
}

struct dir {
    char path[64];
    int fd;
};

static int
setup(void **state)
{
    struct dir *d = calloc(1, sizeof(*d));

    (void)snprintf(d->path, sizeof(d->path), "%s", "/tmp/pgpu-test-XXXXXX");
    if (!mkdtemp(d->path))
        return -1;
    d->fd = open(d->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    memset(&plan, 0, sizeof(plan));
    *state = d;
    return d->fd < 0 ? -1 : 0;
}

static int
teardown(void **state)
{
    struct dir *d = *state;

    plan.active = false;
    (void)close(d->fd);
    int rc = nftw(d->path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(d);
    return rc;
}

static void
assert_file(int dirfd, const char *name, const char *text)
{
    struct err e = ERR_INIT;
    char *data = NULL;
    size_t len;

    if (fs_read_file(dirfd, name, 1000, &data, &len, &e) < 0)
        fail_msg("%s", e.msg);
    assert_string_equal(data, text);
    free(data);
}

static int
entries(int dirfd)
{
    DIR *dir = fdopendir(openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    int n = -2;

    while (readdir(dir))
        n++;
    (void)closedir(dir);
    return n;
}

static void
publishing_creates_and_replaces_with_the_given_mode(void **state)
{
    struct dir *d = *state;
    struct err e = ERR_INIT;
    struct stat st;
    mode_t old = umask(077);

    assert_int_equal(fs_publish(d->fd, "x.json", "first, long", 11, 0644, &e), 0);
    (void)umask(old);
    assert_file(d->fd, "x.json", "first, long");
    assert_int_equal(fstatat(d->fd, "x.json", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    assert_int_equal(fs_publish(d->fd, "x.json", "2nd", 3, 0600, &e), 0);
    assert_file(d->fd, "x.json", "2nd");
    assert_int_equal(fs_publish(d->fd, "x.json", "", 0, 0600, &e), 0);
    assert_file(d->fd, "x.json", "");
    assert_int_equal(entries(d->fd), 1);
}

static void
the_order_is_write_fsync_rename_fsync_of_the_directory(void **state)
{
    struct dir *d = *state;
    struct err e = ERR_INIT;
    static const enum call want[] = {CALL_WRITE, CALL_WRITE,  CALL_FCHMOD,
                                     CALL_FSYNC, CALL_RENAME, CALL_FSYNC};

    plan.active = true;
    plan.fail_at = -1;
    assert_int_equal(fs_publish(d->fd, "x", "ab", 2, 0600, &e), 0);
    plan.active = false;
    assert_int_equal(plan.count, ARRAY_SIZE(want));
    for (size_t i = 0; i < ARRAY_SIZE(want); i++)
        assert_int_equal(plan.calls[i], want[i]);
}

static void
whatever_step_fails_the_old_file_stays_and_no_temporary_file_is_left(void **state)
{
    struct dir *d = *state;

    /* Steps as in the test before; the last, fsync of the directory, comes after the rename. */
    for (int k = 0; k < 6; k++) {
        struct err e = ERR_INIT;

        plan.active = false;
        assert_int_equal(fs_publish(d->fd, "x", "old", 3, 0600, &e), 0);
        plan.active = true;
        plan.count = 0;
        plan.fail_at = k;
        int rc = fs_publish(d->fd, "x", "nu", 2, 0600, &e);
        plan.active = false;
        assert_true(rc < 0);
        assert_int_equal(rc, -e.num);
        assert_has(e.msg, "publish x");
        assert_file(d->fd, "x", k < 5 ? "old" : "nu");
        assert_int_equal(entries(d->fd), 1);
    }
}

static void
a_stale_temporary_file_of_any_kind_does_not_get_in_the_way(void **state)
{
    struct dir *d = *state;
    struct err e = ERR_INIT;

    assert_int_equal(fs_publish(d->fd, "victim", "keep", 4, 0600, &e), 0);
    assert_int_equal(symlinkat("victim", d->fd, ".x.tmp"), 0);
    assert_int_equal(fs_publish(d->fd, "x", "new", 3, 0600, &e), 0);
    assert_file(d->fd, "x", "new");
    assert_file(d->fd, "victim", "keep");

    int fd = openat(d->fd, ".x.tmp", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "much longer than the new text", 29), 29);
    (void)close(fd);
    assert_int_equal(fs_publish(d->fd, "x", "short", 5, 0600, &e), 0);
    assert_file(d->fd, "x", "short");

    assert_int_equal(mkfifoat(d->fd, ".x.tmp", 0600), 0);
    assert_int_equal(fs_publish(d->fd, "x", "again", 5, 0600, &e), 0);
    assert_file(d->fd, "x", "again");
}

static void
bad_names_are_refused(void **state)
{
    struct dir *d = *state;
    struct err e = ERR_INIT;
    char longname[300];

    memset(longname, 'x', sizeof(longname) - 1);
    longname[sizeof(longname) - 1] = '\0';
    assert_fails(fs_publish(d->fd, "", "x", 1, 0600, &e), e, EINVAL);
    assert_fails(fs_publish(d->fd, "a/b", "x", 1, 0600, &e), e, EINVAL);
    assert_fails(fs_publish(d->fd, "../b", "x", 1, 0600, &e), e, EINVAL);
    assert_fails(fs_publish(d->fd, longname, "x", 1, 0600, &e), e, EINVAL);
    assert_int_equal(entries(d->fd), 0);
}

static void
withdrawing_removes_and_a_missing_file_is_success(void **state)
{
    struct dir *d = *state;
    struct err e = ERR_INIT;

    assert_int_equal(fs_publish(d->fd, "x", "1", 1, 0600, &e), 0);
    assert_int_equal(fs_withdraw(d->fd, "x", &e), 0);
    assert_int_equal(entries(d->fd), 0);
    assert_int_equal(fs_withdraw(d->fd, "x", &e), 0);
    assert_int_equal(mkdirat(d->fd, "dir", 0700), 0);
    assert_fails(fs_withdraw(d->fd, "dir", &e), e, EISDIR);
}

static void
directories_are_made_as_deep_as_needed(void **state)
{
    struct dir *d = *state;
    struct err e = ERR_INIT;
    struct stat st;
    char path[256];
    mode_t old = umask(077);

    (void)snprintf(path, sizeof(path), "%s/a//b/c/", d->path);
    int rc = fs_mkdirs(path, 0755, &e);
    (void)umask(old);
    assert_int_equal(rc, 0);
    assert_int_equal(fs_mkdirs(path, 0700, &e), 0);
    assert_int_equal(fstatat(d->fd, "a/b/c", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    assert_int_equal(fs_publish(d->fd, "file", "", 0, 0600, &e), 0);
    (void)snprintf(path, sizeof(path), "%s/file", d->path);
    assert_fails(fs_mkdirs(path, 0755, &e), e, ENOTDIR);
    (void)snprintf(path, sizeof(path), "%s/file/x", d->path);
    assert_fails(fs_mkdirs(path, 0755, &e), e, ENOTDIR);
    assert_fails(fs_mkdirs("", 0755, &e), e, EINVAL);
}

/* A private mount namespace with a small tmpfs in the test's directory; false without the right. */
static bool
mount_small(const char *path, unsigned long flags)
{
    return unshare(CLONE_NEWNS) == 0 &&
           mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", path, "tmpfs", flags, "size=16k") == 0;
}

static void
a_full_file_system_leaves_the_old_file(void **state)
{
    struct dir *d = *state;
    struct err e = ERR_INIT;
    static char big[1 << 16];

    if (!mount_small(d->path, 0)) {
        print_message("cannot mount a tmpfs here: %s\n", strerror(errno));
        skip();
    }
    _cleanup_fd_ int fd = open(d->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(fs_publish(fd, "x", "old", 3, 0600, &e), 0);
    int rc = fs_publish(fd, "x", big, sizeof(big), 0600, &e);
    int left = entries(fd);
    assert_file(fd, "x", "old");
    fd_close(&fd);
    (void)umount(d->path);
    assert_fails(rc, e, ENOSPC);
    assert_has(e.msg, "No space left on device");
    assert_int_equal(left, 1);
}

static void
a_read_only_directory_is_an_error_that_names_the_file(void **state)
{
    struct dir *d = *state;
    struct err e = ERR_INIT;

    if (!mount_small(d->path, MS_RDONLY)) {
        print_message("cannot mount a tmpfs here: %s\n", strerror(errno));
        skip();
    }
    _cleanup_fd_ int fd = open(d->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int rc = fs_publish(fd, "x", "new", 3, 0600, &e);
    fd_close(&fd);
    (void)umount(d->path);
    assert_fails(rc, e, EROFS);
    assert_has(e.msg, "publish x");
}

int
main(void)
{
#define IN_DIR(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        IN_DIR(publishing_creates_and_replaces_with_the_given_mode),
        IN_DIR(the_order_is_write_fsync_rename_fsync_of_the_directory),
        IN_DIR(whatever_step_fails_the_old_file_stays_and_no_temporary_file_is_left),
        IN_DIR(a_stale_temporary_file_of_any_kind_does_not_get_in_the_way),
        IN_DIR(bad_names_are_refused),
        IN_DIR(withdrawing_removes_and_a_missing_file_is_success),
        IN_DIR(directories_are_made_as_deep_as_needed),
        IN_DIR(a_full_file_system_leaves_the_old_file),
        IN_DIR(a_read_only_directory_is_an_error_that_names_the_file),
    };

    return cmocka_run_group_tests_name("base.fs_publish", tests, NULL, NULL);
}
