/* SPDX-License-Identifier: Apache-2.0
 *
 * Holding and finding holders on plain files: no exclusion here, but nodes that are missing, and
 * processes that have one open.
 */
#include "vfio/hold.h"

#include "base/cleanup.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const struct vfio_fn gpu = {.iommu_group = 41, .cdev = 3, .driver = "vfio-pci"};

static int
setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    fixture_init(f);
    fixture_file(f, "/dev/vfio/41", "");
    fixture_file(f, "/dev/vfio/devices/vfio3", "");
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    fixture_fini(*state);
    free(*state);
    return 0;
}

static void
hold_needs_a_vfio_driver_and_a_node(void **state)
{
    struct fixture *f = *state;
    struct vfio_fn fn = gpu;
    struct err e = ERR_INIT;
    int fd = vfio_hold(&f->root, &fn, &e);

    assert_true(fd >= 0);
    fd_close(&fd);
    assert_int_equal(vfio_in_use(&f->root, &fn, &e), 0);
    fn.iommu_group = 99;
    fn.cdev = -1;
    assert_true(vfio_hold(&f->root, &fn, &e) < 0);
    assert_int_equal(e.reason, REASON_NODE_MISSING);
    assert_int_equal(e.cls, ERR_CLASS_RETRY);
    assert_true(vfio_in_use(&f->root, &fn, &e) < 0);
    fn.driver[0] = '\0';
    err_clear(&e);
    assert_true(vfio_hold(&f->root, &fn, &e) < 0);
    assert_int_equal(e.reason, REASON_NOT_BOUND);
    assert_int_equal(vfio_in_use(&f->root, &fn, &e), 0);
    fn = gpu;
    fn.iommu_group = fn.cdev = -1;
    err_clear(&e);
    assert_true(vfio_hold(&f->root, &fn, &e) < 0);
    assert_int_equal(e.reason, REASON_NO_IOMMU);
}

static void
a_cdev_alone_needs_an_iommufd(void **state)
{
    struct fixture *f = *state;
    struct vfio_fn fn = gpu;
    struct err e = ERR_INIT;

    fn.iommu_group = 99; /* no group node: kernels without VFIO_GROUP */
    assert_true(vfio_hold(&f->root, &fn, &e) < 0);
    assert_int_equal(e.reason, REASON_NODE_MISSING);
    assert_non_null(strstr(e.msg, "/dev/iommu"));
    fixture_file(f, "/dev/iommu", "");
    err_clear(&e);
    assert_true(vfio_hold(&f->root, &fn, &e) < 0); /* a plain file knows no ioctl */
    assert_int_equal(e.num, ENOTTY);
    assert_int_equal(vfio_in_use(&f->root, &fn, &e), 0);
}

/* A process that has `path` open until it is killed. */
static pid_t
open_in_child(const char *dir, const char *path)
{
    char full[256], c;
    int pipes[2];
    pid_t pid;

    (void)snprintf(full, sizeof(full), "%s%s", dir, path);
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nobody behind */
        (void)prctl(PR_SET_NAME, "evil\nname\x1b[");
        if (open(full, O_RDWR) < 0 || write(pipes[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            (void)pause();
    }
    (void)close(pipes[1]);
    assert_int_equal(read(pipes[0], &c, 1), 1);
    (void)close(pipes[0]);
    return pid;
}

static void
holders_are_found_by_either_node(void **state)
{
    static const char *const paths[] = {"/dev/vfio/41", "/dev/vfio/devices/vfio3"};
    struct fixture *f = *state;
    struct vfio_holder h[4];
    struct err e = ERR_INIT;

    assert_int_equal(vfio_holders(&f->root, &gpu, getpid(), h, 4, &e), 0);
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        pid_t pid = open_in_child(f->dir, paths[i]);

        assert_int_equal(vfio_holders(&f->root, &gpu, getpid(), h, 4, &e), 1);
        assert_int_equal(h[0].pid, pid);
        assert_string_equal(h[0].comm, "evil");
        assert_int_equal(vfio_holders(&f->root, &gpu, pid, h, 4, &e), 0);
        assert_int_equal(vfio_holders(&f->root, &gpu, getpid(), h, 0, &e), 0);
        (void)kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(vfio_holders(&f->root, &gpu, getpid(), h, 4, &e), 0);
    }
}

/* An unbind from the nvidia driver would block on whoever uses the GPU. */
static void
a_user_of_the_nvidia_driver_is_a_holder(void **state)
{
    struct fixture *f = *state;
    struct vfio_holder h[4];
    struct vfio_fn fn = gpu;
    struct err e = ERR_INIT;
    char info[128];
    pid_t pid;

    (void)snprintf(info, sizeof(info), "/proc/driver/nvidia/gpus/%s/information",
                   PCI_STR(gpu.addr));
    fixture_file(f, info, "Model: \t H100\nDevice Minor: \t 7\n");
    fixture_file(f, "/dev/nvidia7", "");
    pid = open_in_child(f->dir, "/dev/nvidia7");
    assert_int_equal(vfio_holders(&f->root, &fn, getpid(), h, 4, &e), 0); /* on another driver */
    (void)str_copy(fn.driver, sizeof(fn.driver), "nvidia");
    fn.cdev = fn.iommu_group = -1;
    assert_int_equal(vfio_holders(&f->root, &fn, getpid(), h, 4, &e), 1);
    assert_int_equal(h[0].pid, pid);
    (void)kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(vfio_holders(&f->root, &fn, getpid(), h, 4, &e), 0);
    fixture_file(f, info, "Device Minor: \t none\n");
    assert_int_equal(vfio_holders(&f->root, &fn, getpid(), h, 4, &e), 0);
}

static void
a_file_of_the_same_name_elsewhere_is_no_holder(void **state)
{
    struct fixture *f = *state;
    struct vfio_holder h[4];
    struct err e = ERR_INIT;
    pid_t pid;

    fixture_file(f, "/elsewhere/41", "");
    pid = open_in_child(f->dir, "/elsewhere/41");
    assert_int_equal(vfio_holders(&f->root, &gpu, getpid(), h, 4, &e), 0);
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
        T(hold_needs_a_vfio_driver_and_a_node),
        T(a_cdev_alone_needs_an_iommufd),
        T(holders_are_found_by_either_node),
        T(a_user_of_the_nvidia_driver_is_a_holder),
        T(a_file_of_the_same_name_elsewhere_is_no_holder),
#undef T
    };

    return cmocka_run_group_tests_name("vfio.hold", tests, NULL, NULL);
}
