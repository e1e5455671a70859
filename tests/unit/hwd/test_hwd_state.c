/* SPDX-License-Identifier: Apache-2.0
 *
 * Locks and records in the state directory.
 */
#include "hwd/state.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct pci_addr gpu = {.bus = 0x41};

static int
setup(void **state)
{
    char *dir = strdup("/tmp/pgpu-state.XXXXXX");

    *state = dir;
    return dir && mkdtemp(dir) ? 0 : -1;
}

static int
rm_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int
teardown(void **state)
{
    (void)nftw(*state, rm_one, 8, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return 0;
}

static void
a_lock_is_exclusive_and_names_its_owner(void **state)
{
    struct err e = ERR_INIT;
    int d = hwd_state_open(*state, &e), a = -1, b = -1;
    char pid[24];

    assert_true(d >= 0);
    assert_int_equal(hwd_state_lock(d, gpu, &a, &e), 0);
    assert_true(hwd_state_lock(d, gpu, &b, &e) < 0);
    assert_int_equal(e.cls, ERR_CLASS_BUSY);
    assert_int_equal(e.reason, REASON_OP_PENDING);
    (void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
    assert_non_null(strstr(e.msg, pid));
    assert_int_equal(b, -1);
    (void)close(a);
    assert_int_equal(hwd_state_lock(d, gpu, &b, &e), 0);
    (void)close(b);
    /* another unit has another lock; no directory, no lock */
    assert_int_equal(hwd_state_lock(-1, gpu, &b, &e), 0);
    assert_int_equal(b, -1);
    (void)close(d);
}

static void
a_record_survives_and_a_foreign_one_does_not_count(void **state)
{
    struct err e = ERR_INIT;
    int d = hwd_state_open(*state, &e), fd;
    struct hwd_record in = {.former = {.known = true, .driver = "nvidia"},
                            .power = {.control = "auto", .d3cold_allowed = "1"}};
    struct hwd_record out;
    char path[256];

    hwd_state_load(d, gpu, &out);
    assert_false(out.former.known);
    assert_int_equal(hwd_state_store(d, gpu, &in, &e), 0);
    hwd_state_load(d, gpu, &out);
    assert_true(out.former.known);
    assert_string_equal(out.former.driver, "nvidia");
    assert_string_equal(out.power.control, "auto");
    assert_string_equal(out.power.d3cold_allowed, "1");
    /* unbound before is a record too */
    in.former.driver[0] = '\0';
    assert_int_equal(hwd_state_store(d, gpu, &in, &e), 0);
    hwd_state_load(d, gpu, &out);
    assert_true(out.former.known);
    assert_string_equal(out.former.driver, "");
    (void)snprintf(path, sizeof(path), "%s/former/0000:41:00.0", (const char *)*state);
    fd = open(path, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, "boot=other\ndriver=x\npower=\nd3cold=\n", 35), 35);
    (void)close(fd);
    hwd_state_load(d, gpu, &out);
    assert_false(out.former.known);
    assert_int_equal(hwd_state_drop(d, gpu, &e), 0);
    assert_int_equal(hwd_state_drop(d, gpu, &e), 0);
    assert_int_equal(access(path, F_OK), -1);
    (void)close(d);
}

static void
a_directory_that_others_can_write_is_refused(void **state)
{
    struct err e = ERR_INIT;

    assert_int_equal(chmod(*state, 0770), 0);
    assert_true(hwd_state_open(*state, &e) < 0);
    assert_int_equal(e.reason, REASON_PERMISSION);
    assert_non_null(strstr(e.msg, *state));
}

static void
a_directory_that_others_can_read_is_closed_to_them(void **state)
{
    struct err e = ERR_INIT;
    struct stat st;
    int fd;

    assert_int_equal(chmod(*state, 0755), 0);
    fd = hwd_state_open(*state, &e);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    (void)close(fd);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_lock_is_exclusive_and_names_its_owner, setup, teardown),
        cmocka_unit_test_setup_teardown(a_record_survives_and_a_foreign_one_does_not_count, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_directory_that_others_can_write_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_directory_that_others_can_read_is_closed_to_them, setup,
                                        teardown),
    };

    return cmocka_run_group_tests_name("hwd.state", tests, NULL, NULL);
}
