/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of base/fs.c: reading below a root, and what hostile trees may try.
 */
#include "base/cleanup.h"
#include "base/fs.h"
#include "tests/unit/base/test_support.h"

#include <ftw.h>

struct tree {
    char dir[64];
    struct fs_root root;
};

/* outside/secret, root/ with the fixture; tests run in root/. */
static int
setup(void **state)
{
    struct tree *t = calloc(1, sizeof(*t));
    struct err e = ERR_INIT;
    char path[128];

    (void)snprintf(t->dir, sizeof(t->dir), "%s", "/tmp/pgpu-test-XXXXXX");
    if (!mkdtemp(t->dir))
        return -1;
    (void)snprintf(path, sizeof(path), "%s/root", t->dir);
    if (mkdir(path, 0700) < 0)
        return -1;
    *state = t;
    if (fs_root_open(&t->root, path, &e) < 0)
        return -1;
    return chdir(path);
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
    (void)st;
    (void)type;
    (void)f;
    return remove(path);
}

static int
teardown(void **state)
{
    struct tree *t = *state;

    fs_root_close(&t->root);
    int rc = chdir("/");
    if (rc == 0)
        rc = nftw(t->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(t);
    return rc;
}

static void
put(const char *path, const char *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    (void)close(fd);
}

static void
attributes_are_read_without_trailing_white_space(void **state)
{
    struct tree *t = *state;
    struct err e = ERR_INIT;
    char buf[16];

    put("vendor", "0x10de\n", 7);
    assert_int_equal(fs_read_attr(&t->root, "vendor", buf, sizeof(buf), &e), 6);
    assert_string_equal(buf, "0x10de");
    assert_int_equal(fs_read_attr(&t->root, "/vendor", buf, sizeof(buf), &e), 6);
    put("blank", " \t\n", 3);
    assert_int_equal(fs_read_attr(&t->root, "blank", buf, sizeof(buf), &e), 0);
    put("empty", "", 0);
    assert_int_equal(fs_read_attr(&t->root, "empty", buf, sizeof(buf), &e), 0);
    assert_string_equal(buf, "");
    assert_int_equal(e.num, 0);
}

static void
attributes_that_are_too_long_or_binary_are_refused(void **state)
{
    struct tree *t = *state;
    struct err e = ERR_INIT;
    char buf[8];

    put("fits", "1234567", 7);
    assert_int_equal(fs_read_attr(&t->root, "fits", buf, sizeof(buf), &e), 7);
    put("long", "12345678", 8);
    assert_fails(fs_read_attr(&t->root, "long", buf, sizeof(buf), &e), e, EMSGSIZE);
    assert_string_equal(buf, "");
    assert_has(e.msg, "long");
    put("nul", "ab\0cd", 5);
    assert_fails(fs_read_attr(&t->root, "nul", buf, sizeof(buf), &e), e, EBADMSG);
    assert_string_equal(buf, "");
    assert_fails(fs_read_attr(&t->root, "none", buf, sizeof(buf), &e), e, ENOENT);
    assert_fails(fs_read_attr(&t->root, ".", buf, sizeof(buf), &e), e, EISDIR);
    assert_fails(fs_read_attr(&t->root, "fits", buf, 0, &e), e, EINVAL);
}

static void
no_path_and_no_link_leads_out_of_the_root(void **state)
{
    struct tree *t = *state;
    struct err e = ERR_INIT;
    char buf[32], outside[128];

    put("../secret", "outside", 7);
    (void)snprintf(outside, sizeof(outside), "%s/secret", t->dir);
    assert_int_equal(symlink("../secret", "up"), 0);
    assert_int_equal(symlink(outside, "absolute"), 0);
    assert_int_equal(symlink("../../../../../../../../../../etc/passwd", "far"), 0);
    assert_int_equal(symlink("/proc/self/fd/0", "magic"), 0);
    assert_int_equal(mkdir("d", 0700), 0);
    assert_int_equal(symlink("../..", "d/dirup"), 0);
    static const char *const attempts[] = {
        "up",         "absolute",       "far",
        "../secret",  "d/../../secret", "d/dirup/secret",
        "/../secret", "magic",          "/proc/self/root/etc/passwd",
        "/etc/passwd"};
    for (size_t i = 0; i < ARRAY_SIZE(attempts); i++) {
        if (fs_read_attr(&t->root, attempts[i], buf, sizeof(buf), &e) >= 0)
            fail_msg("%s was read as \"%s\"", attempts[i], buf);
        assert_false(fs_exists(&t->root, attempts[i]));
        assert_true(fs_write_attr(&t->root, attempts[i], "x", &e) < 0);
        assert_true(fs_open(&t->root, attempts[i], O_RDWR, 0, &e) < 0);
    }
}

static void
absolute_links_are_resolved_from_the_root(void **state)
{
    struct tree *t = *state;
    struct err e = ERR_INIT;
    char buf[32];

    assert_int_equal(mkdir("sys", 0700), 0);
    put("sys/class", "inside", 6);
    assert_int_equal(symlink("/sys/class", "link"), 0);
    assert_true(fs_exists(&t->root, "link"));
    assert_int_equal(fs_read_attr(&t->root, "link", buf, sizeof(buf), &e), 6);
    assert_string_equal(buf, "inside");
}

static void
a_loop_of_links_is_an_error(void **state)
{
    struct tree *t = *state;
    struct err e = ERR_INIT;
    char buf[32];

    assert_int_equal(symlink("b", "a"), 0);
    assert_int_equal(symlink("a", "b"), 0);
    assert_fails(fs_read_attr(&t->root, "a", buf, sizeof(buf), &e), e, ELOOP);
}

static void
writing_an_attribute_is_one_write_with_the_kernels_errno(void **state)
{
    struct tree *t = *state;
    struct err e = ERR_INIT;
    char buf[32];

    put("attr", "", 0);
    assert_int_equal(fs_write_attr(&t->root, "attr", "vfio-pci\n", &e), 0);
    assert_int_equal(fs_read_attr(&t->root, "attr", buf, sizeof(buf), &e), 8);
    assert_string_equal(buf, "vfio-pci");
    assert_fails(fs_write_attr(&t->root, "missing", "x", &e), e, ENOENT);
    assert_false(fs_exists(&t->root, "missing"));

    struct fs_root dev;
    assert_int_equal(fs_root_open(&dev, "/dev", &e), 0);
    assert_fails(fs_write_attr(&dev, "full", "x", &e), e, ENOSPC);
    fs_root_close(&dev);
}

static void
links_are_read_and_other_things_are_not_links(void **state)
{
    struct tree *t = *state;
    struct err e = ERR_INIT;
    char buf[32];

    assert_int_equal(symlink("../../../bus/pci/drivers/vfio-pci", "driver"), 0);
    assert_int_equal(fs_link_name(&t->root, "driver", buf, sizeof(buf), &e), 8);
    assert_string_equal(buf, "vfio-pci");
    assert_int_equal(fs_link_name(&t->root, "driver", buf, 9, &e), 8);
    assert_fails(fs_link_name(&t->root, "driver", buf, 8, &e), e, EMSGSIZE);
    assert_string_equal(buf, "");
    assert_fails(fs_link_target(&t->root, "driver", buf, sizeof(buf), &e), e, EMSGSIZE);
    put("file", "x", 1);
    assert_fails(fs_link_name(&t->root, "file", buf, sizeof(buf), &e), e, ENOENT);
    assert_fails(fs_link_name(&t->root, "none", buf, sizeof(buf), &e), e, ENOENT);
    assert_int_equal(symlink("dir/", "slash"), 0);
    assert_fails(fs_link_name(&t->root, "slash", buf, sizeof(buf), &e), e, EBADMSG);
    assert_int_equal(symlink("plain", "one"), 0);
    assert_int_equal(fs_link_target(&t->root, "one", buf, sizeof(buf), &e), 5);
    assert_string_equal(buf, "plain");
}

static void
directories_are_listed_sorted_and_bounded(void **state)
{
    struct tree *t = *state;
    struct err e = ERR_INIT;
    char **names = NULL;

    assert_int_equal(fs_list(&t->root, "", 10, &names, &e), 0);
    assert_null(names[0]);
    fs_names_free(names);
    for (int i = 39; i >= 0; i--) {
        char name[8];
        (void)snprintf(name, sizeof(name), "%02d", i);
        put(name, "", 0);
    }
    assert_int_equal(fs_list(&t->root, "/", 40, &names, &e), 40);
    for (int i = 0; i < 40; i++)
        assert_int_equal(strtol(names[i], NULL, 10), i);
    assert_null(names[40]);
    fs_names_free(names);
    names = NULL;
    assert_fails(fs_list(&t->root, "/", 39, &names, &e), e, EFBIG);
    assert_null(names);
    assert_fails(fs_list(&t->root, "00", 39, &names, &e), e, ENOTDIR);
    fs_names_free(NULL);
}

static void
whole_files_are_read_up_to_the_limit(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    char big[10000], *text = NULL;
    size_t len = 0;

    memset(big, 'x', sizeof(big));
    put("big", big, sizeof(big));
    assert_int_equal(fs_read_file(AT_FDCWD, "big", sizeof(big), &text, &len, &e), 0);
    assert_int_equal(len, sizeof(big));
    assert_int_equal(strlen(text), sizeof(big));
    free(text);
    text = NULL;
    assert_fails(fs_read_file(AT_FDCWD, "big", sizeof(big) - 1, &text, &len, &e), e, EFBIG);
    assert_null(text);
    assert_fails(fs_read_file(AT_FDCWD, "big", 0, &text, &len, &e), e, EFBIG);
    put("empty", "", 0);
    assert_int_equal(fs_read_file(AT_FDCWD, "empty", 0, &text, &len, &e), 0);
    assert_int_equal(len, 0);
    assert_string_equal(text, "");
    free(text);
    text = NULL;
    put("sized", big, 4096);
    assert_int_equal(fs_read_file(AT_FDCWD, "sized", 4096, &text, &len, &e), 0);
    assert_int_equal(len, 4096);
    free(text);
    text = NULL;
    assert_fails(fs_read_file(AT_FDCWD, "none", 10, &text, &len, &e), e, ENOENT);
    assert_fails(fs_read_file(AT_FDCWD, ".", 10, &text, &len, &e), e, EISDIR);
}

static void
a_fifo_in_the_place_of_a_file_does_not_block(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    char *text = NULL;
    size_t len = 1;

    assert_int_equal(mkfifo("fifo", 0600), 0);
    assert_int_equal(fs_read_file(AT_FDCWD, "fifo", 10, &text, &len, &e), 0);
    assert_int_equal(len, 0);
    free(text);
}

static void
a_root_must_be_a_directory(void **state)
{
    (void)state;
    struct fs_root r;
    struct err e = ERR_INIT;
    char path[5000];

    put("file", "", 0);
    assert_fails(fs_root_open(&r, "file", &e), e, ENOTDIR);
    assert_int_equal(r.fd, -1);
    assert_fails(fs_root_open(&r, "none", &e), e, ENOENT);
    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    assert_fails(fs_root_open(&r, path, &e), e, ENAMETOOLONG);
    fs_root_close(&r);
}

static void
files_are_created_only_where_asked(void **state)
{
    struct tree *t = *state;
    struct err e = ERR_INIT;
    struct stat st;

    assert_fails(fs_open(&t->root, "new", O_WRONLY, 0, &e), e, ENOENT);
    int fd = fs_open(&t->root, "new", O_WRONLY | O_CREAT | O_EXCL, 0640, &e);
    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 0137, 0);
    (void)close(fd);
}

static void
strings_are_copied_whole_or_not_at_all(void **state)
{
    (void)state;
    char buf[4] = "zz";

    assert_true(str_copy(buf, sizeof(buf), "abc"));
    assert_string_equal(buf, "abc");
    assert_false(str_copy(buf, sizeof(buf), "abcd"));
    assert_string_equal(buf, "");
    assert_false(str_copy(buf, 0, ""));
}

int
main(void)
{
#define IN_TREE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        IN_TREE(attributes_are_read_without_trailing_white_space),
        IN_TREE(attributes_that_are_too_long_or_binary_are_refused),
        IN_TREE(no_path_and_no_link_leads_out_of_the_root),
        IN_TREE(absolute_links_are_resolved_from_the_root),
        IN_TREE(a_loop_of_links_is_an_error),
        IN_TREE(writing_an_attribute_is_one_write_with_the_kernels_errno),
        IN_TREE(links_are_read_and_other_things_are_not_links),
        IN_TREE(directories_are_listed_sorted_and_bounded),
        IN_TREE(whole_files_are_read_up_to_the_limit),
        IN_TREE(a_fifo_in_the_place_of_a_file_does_not_block),
        IN_TREE(a_root_must_be_a_directory),
        IN_TREE(files_are_created_only_where_asked),
        cmocka_unit_test(strings_are_copied_whole_or_not_at_all),
    };

    return cmocka_run_group_tests_name("base.fs", tests, NULL, NULL);
}
