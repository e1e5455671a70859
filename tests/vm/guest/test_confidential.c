/* SPDX-License-Identifier: Apache-2.0
 *
 * The confidential path on a kernel with iommufd: pgpud, pgpu-hwd, the kubelet and the runtime
 * stand-in with their defaults, which want /dev/vfio/devices/vfioN. From the discovery of the
 * character devices to a confidential VM that binds one to an iommufd, and back.
 */
#include "tests/sim/daemon/harness.h"
#include "tests/vm/guest/fn.h"
#include "tests/vm/guest/host.h"
#include "tests/vm/guest/vmm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/vfio.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define RES "nvidia.com/pgpu"
#define SNP "kata-qemu-nvidia-gpu-snp"
/* Linux 6.6, include/uapi/linux/vfio.h: VFIO_DEVICE_BIND_IOMMUFD */
#define BIND _IO(VFIO_TYPE, VFIO_BASE + 18)

static const char *const gpus[] = {"gpu", "twin", "pair", "spare"};
#define GPUS_MAX (sizeof(gpus) / sizeof(gpus[0]))

static struct harness *h;
static struct h_grant grant;
static unsigned n_gpus; /* those that are plugged in */

static int
setup(void **state)
{
    (void)state;
    for (size_t i = 0; i < GPUS_MAX; i++)
        n_gpus += fn_present(vm_addr(gpus[i]));
    h = harness_start(
        &(struct harness_options){.real_node = true, .hwd_yaml = "rescan: 1h\n", .pod_poll = "2s"});
    harness_run(h, H_RUNTIME);
    h_runtime_ready(h);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    h_no_violations(h);
    harness_stop(h);
    for (size_t i = 0; i < GPUS_MAX; i++)
        if (fn_present(vm_addr(gpus[i])))
            fn_release(vm_addr(gpus[i]));
    fn_release(vm_addr("audio"));
    return 0;
}

static const char *
name_of(const char *id)
{
    for (size_t i = 0; i < GPUS_MAX; i++)
        if (strcmp(vm_addr(gpus[i]), id) == 0)
            return gpus[i];
    fail_msg("no GPU at %s", id);
    return "";
}

/* What sysfs calls the character device of a function: "vfio3". */
static void
cdev_name(const char *id, char ret[static 32])
{
    char path[128];
    struct dirent *d;
    DIR *dir;

    (void)snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/vfio-dev", id);
    dir = opendir(path);
    assert_non_null(dir);
    ret[0] = '\0';
    while ((d = readdir(dir)))
        if (strncmp(d->d_name, "vfio", 4) == 0)
            (void)snprintf(ret, 32, "%.31s", d->d_name);
    (void)closedir(dir);
    assert_true(ret[0]);
}

/* What a VMM does that is not the rightful one: 0, or the errno of opening or binding. */
static int
try_cdev(const char *node)
{
    struct {
        uint32_t argsz, flags;
        int32_t iommufd;
        uint32_t out_devid;
    } b = {.argsz = sizeof(b)};
    int fd = open(node, O_RDWR | O_CLOEXEC), num = errno;

    if (fd < 0)
        return num;
    b.iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
    assert_true(b.iommufd >= 0);
    num = ioctl(fd, BIND, &b) < 0 ? errno : 0;
    (void)close(b.iommufd);
    (void)close(fd);
    return num;
}

static void
every_gpu_is_armed_and_its_character_device_published(void **state)
{
    char cdi[128], want[64], name[32];

    (void)state;
    assert_true(n_gpus >= 3);
    harness_wait_healthy(h, RES, n_gpus, 120000);
    for (size_t i = 0; i < GPUS_MAX; i++) {
        const char *id = vm_addr(gpus[i]);

        if (!fn_present(id))
            continue;
        cdev_name(id, name);
        (void)snprintf(want, sizeof(want), "/dev/vfio/devices/%s", name);
        harness_cdi_node(h, id, cdi, sizeof(cdi));
        assert_string_equal(cdi, want);
        /* held by its group, so nobody can bind the character device meanwhile */
        assert_int_equal(vmm_group_busy(id), EBUSY);
        assert_int_equal(try_cdev(cdi), EBUSY);
    }
}

static void
what_did_not_get_the_device_did_not_reset_it(void **state)
{
    const char *id = vm_addr("gpu");
    uint64_t before = vm_count("gpu", "resets");
    char cdi[128];

    (void)state;
    harness_cdi_node(h, id, cdi, sizeof(cdi));
    assert_int_equal(try_cdev(cdi), EBUSY);
    assert_int_equal(vm_count("gpu", "resets"), before);
    harness_wait_unit(h, id, "state", "ready", 10000);
}

/* The runtime class of confidential guests takes the number of the node that it was given, and
 * looks in /sys/dev/char which function that is. */
static void
the_number_of_the_allocated_node_leads_to_its_function(void **state)
{
    char link[96], path[PATH_MAX];
    const char *last;
    struct stat st;

    (void)state;
    h_run(h, &grant, "default/a " RES "=2");
    assert_int_equal(grant.n, 2);
    for (size_t i = 0; i < grant.n; i++) {
        assert_int_equal(strncmp(grant.node[i], "/dev/vfio/devices/vfio", 22), 0);
        assert_int_equal(stat(grant.node[i], &st), 0);
        assert_true(S_ISCHR(st.st_mode));
        (void)snprintf(link, sizeof(link), "/sys/dev/char/%u:%u/device", major(st.st_rdev),
                       minor(st.st_rdev));
        if (!realpath(link, path))
            fail_msg("%s: %s", link, strerror(errno));
        last = strrchr(path, '/');
        assert_non_null(last);
        assert_string_equal(last + 1, grant.id[i]);
    }
}

static void
a_confidential_vm_binds_it_and_is_noticed(void **state)
{
    uint64_t resets[2];

    (void)state;
    assert_int_equal(grant.n, 2);
    for (size_t i = 0; i < grant.n; i++)
        resets[i] = vm_count(name_of(grant.id[i]), "resets");
    h_runtime_ok(h, "run-pod default a " SNP " kata confidential");
    for (size_t i = 0; i < grant.n; i++) {
        harness_wait_unit(h, grant.id[i], "state", "in_use", 30000);
        assert_true(vm_count(name_of(grant.id[i]), "resets") > resets[i]); /* by the VM's open */
        assert_int_equal(try_cdev(grant.node[i]), EINVAL);
        assert_int_equal(vmm_group_busy(grant.id[i]), EBUSY);
    }
}

static void
a_restart_of_both_services_leaves_the_vm_alone(void **state)
{
    uint64_t resets = vm_count(name_of(grant.id[0]), "resets");

    (void)state;
    harness_kill(h, H_PGPUD, SIGKILL);
    harness_kill(h, H_HWD, SIGKILL);
    harness_run(h, H_HWD);
    harness_run(h, H_PGPUD);
    h_runtime_ready(h);
    harness_wait_unit(h, grant.id[0], "state", "in_use", 60000);
    harness_wait_unit(h, grant.id[1], "state", "in_use", 60000);
    harness_wait_healthy(h, RES, n_gpus, 120000);
    assert_int_equal(vm_count(name_of(grant.id[0]), "resets"), resets);
}

static void
the_end_of_the_vm_gives_them_back_scrubbed(void **state)
{
    uint64_t resets[2];
    char cdi[128];

    (void)state;
    assert_int_equal(grant.n, 2);
    for (size_t i = 0; i < grant.n; i++)
        resets[i] = vm_count(name_of(grant.id[i]), "resets");
    h_end(h, "default/a");
    h_runtime_ok(h, "stop-pod default/a");
    for (size_t i = 0; i < grant.n; i++) {
        harness_wait_unit(h, grant.id[i], "state", "ready", 120000);
        assert_true(vm_count(name_of(grant.id[i]), "resets") >= resets[i] + 2);
        harness_cdi_node(h, grant.id[i], cdi, sizeof(cdi));
        assert_string_equal(cdi, grant.node[i]);
        assert_int_equal(try_cdev(cdi), EBUSY);
    }
    harness_wait_healthy(h, RES, n_gpus, 120000);
    h_runtime_ok(h, "remove-pod default/a");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_gpu_is_armed_and_its_character_device_published),
        cmocka_unit_test(what_did_not_get_the_device_did_not_reset_it),
        cmocka_unit_test(the_number_of_the_allocated_node_leads_to_its_function),
        cmocka_unit_test(a_confidential_vm_binds_it_and_is_noticed),
        cmocka_unit_test(a_restart_of_both_services_leaves_the_vm_alone),
        cmocka_unit_test(the_end_of_the_vm_gives_them_back_scrubbed),
    };

    if (fn_setup(NULL) < 0)
        return 1;
    return cmocka_run_group_tests_name("vm.confidential", tests, setup, teardown);
}
