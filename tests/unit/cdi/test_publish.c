/* SPDX-License-Identifier: Apache-2.0
 *
 * The spec file on disk: replaced as a whole, left alone when right, kept when the disk says no.
 */
#include "base/cleanup.h"
#include "base/fs.h"
#include "cdi/cdi.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define KIND "nvidia.com/pgpu"
#define NAME "nvidia.com-pgpu.json"

static const struct cdi_device dev[] = {
    {"0000:41:00.0", "/dev/vfio/devices/vfio3"},
    {"0000:42:00.0", "/dev/vfio/devices/vfio4"},
};

struct fixture {
    char top[64];
    char dir[96];
    char file[160];
};

static int
setup(void **state)
{
    static struct fixture f;

    (void)snprintf(f.top, sizeof(f.top), "/tmp/pgpu-test-cdi-XXXXXX");
    if (!mkdtemp(f.top))
        return -1;
    (void)snprintf(f.dir, sizeof(f.dir), "%s/run/cdi", f.top);
    (void)snprintf(f.file, sizeof(f.file), "%s/" NAME, f.dir);
    *state = &f;
    return 0;
}

static int
teardown(void **state)
{
    const struct fixture *f = *state;
    char path[256];

    (void)umount2(f->dir, MNT_DETACH);
    (void)unlink(f->file);
    (void)snprintf(path, sizeof(path), "%s/." NAME ".tmp", f->dir);
    (void)unlink(path);
    (void)rmdir(f->file);
    (void)rmdir(f->dir);
    (void)snprintf(path, sizeof(path), "%s/run", f->top);
    (void)rmdir(path);
    return rmdir(f->top);
}

static void
publish(const struct fixture *f, size_t n, int want_changed)
{
    struct err e = ERR_INIT;
    int changed = -1;

    if (cdi_publish(f->dir, KIND, dev, n, &changed, &e) != 0)
        fail_msg("%s", e.msg);
    assert_int_equal(changed, want_changed);
}

static void
publish_fails(const struct fixture *f, size_t n, int num, const char *says)
{
    struct err e = ERR_INIT;
    int changed = -1;

    assert_int_equal(cdi_publish(f->dir, KIND, dev, n, &changed, &e), -num);
    assert_int_equal(changed, -1);
    assert_int_equal(e.num, num);
    if (!strstr(e.msg, says) || !strstr(e.msg, f->dir))
        fail_msg("\"%s\" names neither \"%s\" nor the directory", e.msg, says);
}

static void
assert_has(const struct fixture *f, size_t n)
{
    _cleanup_free_ char *have = NULL;
    struct err e = ERR_INIT;
    struct buf want;
    size_t len = 0;

    buf_init(&want, 4096);
    assert_int_equal(cdi_render(KIND, dev, n, &want, &e), 0);
    assert_int_equal(fs_read_file(AT_FDCWD, f->file, 4096, &have, &len, &e), 0);
    assert_string_equal(have, buf_cstr(&want));
    buf_fini(&want);
}

static void
appears_changes_and_goes(void **state)
{
    const struct fixture *f = *state;
    struct stat a, b;

    publish(f, 0, 0); /* nothing there, not even the directory */
    assert_int_not_equal(access(f->dir, F_OK), 0);
    publish(f, 1, 1);
    assert_has(f, 1);
    assert_int_equal(stat(f->file, &a), 0);
    assert_int_equal(a.st_mode & 07777, 0644);
    publish(f, 1, 0);
    assert_int_equal(stat(f->file, &b), 0);
    assert_int_equal(a.st_ino, b.st_ino); /* left alone, not written again */
    publish(f, 2, 1);
    assert_has(f, 2);
    publish(f, 0, 1);
    assert_int_not_equal(access(f->file, F_OK), 0);
    publish(f, 0, 0);
}

static void
mends_a_file_that_is_not_as_written(void **state)
{
    const struct fixture *f = *state;
    struct stat st;

    publish(f, 1, 1);
    assert_int_equal(truncate(f->file, 10), 0);
    publish(f, 1, 1);
    assert_int_equal(chmod(f->file, 0600), 0); /* a shim in another user namespace could not read */
    publish(f, 1, 1);
    assert_int_equal(unlink(f->file), 0);
    assert_int_equal(symlink("/dev/null", f->file), 0);
    publish(f, 1, 1);
    assert_int_equal(lstat(f->file, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_has(f, 1);
}

static void
bad_input_leaves_the_file(void **state)
{
    static const struct cdi_device bad = {"0000:41:00.0", "/dev/vfio/vfio"};
    const struct fixture *f = *state;
    struct err e = ERR_INIT;
    int changed = -1;

    publish(f, 2, 1);
    assert_int_equal(cdi_publish(f->dir, KIND, &bad, 1, &changed, &e), -EINVAL);
    assert_int_equal(cdi_publish(f->dir, "nvidia.com/x", dev, 1, &changed, &e), -EINVAL);
    assert_int_equal(changed, -1);
    assert_has(f, 2);
}

static void
something_else_in_its_place(void **state)
{
    const struct fixture *f = *state;
    struct err e = ERR_INIT;

    assert_int_equal(fs_mkdirs(f->file, 0755, &e), 0);
    publish_fails(f, 1, EISDIR, NAME);
}

/* A file system of one page, of which the first file takes all. */
static void
full_directory_keeps_the_old_file(void **state)
{
    static char fill[64 * 1024];
    const struct fixture *f = *state;
    char path[256];
    struct err e = ERR_INIT;

    assert_int_equal(fs_mkdirs(f->dir, 0755, &e), 0);
    if (mount("tmpfs", f->dir, "tmpfs", 0, "size=16k,mode=755") < 0) {
        print_message("cannot mount a tmpfs: %s\n", strerror(errno));
        skip();
    }
    publish(f, 1, 1);
    (void)snprintf(path, sizeof(path), "%s/fill", f->dir);
    _cleanup_fd_ int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    while (write(fd, fill, sizeof(fill)) > 0)
        ;
    publish_fails(f, 2, ENOSPC, NAME);
    assert_has(f, 1);
    (void)snprintf(path, sizeof(path), "%s/." NAME ".tmp", f->dir);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(ftruncate(fd, 0), 0);
    publish(f, 2, 1);
    assert_has(f, 2);
}

static void
read_only_directory_keeps_the_old_file(void **state)
{
    const struct fixture *f = *state;
    struct err e = ERR_INIT;

    assert_int_equal(fs_mkdirs(f->dir, 0755, &e), 0);
    if (mount("tmpfs", f->dir, "tmpfs", 0, "size=16k,mode=755") < 0) {
        print_message("cannot mount a tmpfs: %s\n", strerror(errno));
        skip();
    }
    publish(f, 1, 1);
    assert_int_equal(mount(NULL, f->dir, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    publish(f, 1, 0); /* already right: nothing to write */
    publish_fails(f, 2, EROFS, NAME);
    publish_fails(f, 0, EROFS, NAME);
    assert_has(f, 1);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(appears_changes_and_goes),          T(mends_a_file_that_is_not_as_written),
        T(bad_input_leaves_the_file),         T(something_else_in_its_place),
        T(full_directory_keeps_the_old_file), T(read_only_directory_keeps_the_old_file),
    };

    return cmocka_run_group_tests_name("cdi.publish", tests, NULL, NULL);
}
