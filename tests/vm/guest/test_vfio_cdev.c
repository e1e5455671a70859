/* SPDX-License-Identifier: Apache-2.0
 *
 * The way to the GPU through VFIO on a kernel with iommufd: where type1 is not loaded an iommufd is
 * the group's context; where there is no group node the character device is hold and device in one.
 */
#include "tests/sim/hwd/kit.h"
#include "tests/vm/guest/fn.h"
#include "tests/vm/guest/held.h"
#include "tests/vm/guest/host.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define LONG_MS 120000
/* Linux 6.6, include/uapi/linux/vfio.h: VFIO_DEVICE_BIND_IOMMUFD */
#define BIND _IO(VFIO_TYPE, VFIO_BASE + 18)

static struct kit *k;
static struct client *c;

static int
setup(void **state)
{
    (void)state;
    fn_release(vm_addr("gpu0"));
    k = kit_start_real("access: vfio\n");
    c = client_open(k);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    client_close(c);
    kit_stop(k);
    return 0;
}

/* What QEMU does with an iommufd object: 0, or the errno of the step that did not work. */
static int
cdev_open(const char *node, int *ret)
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
    if (num)
        (void)close(fd);
    else
        *ret = fd;
    return num;
}

/* From arming to a VMM that has come and gone. */
static void
whole_life(bool with_group)
{
    const char *gpu = vm_addr("gpu0");
    uint64_t before = held_resets("gpu0");
    struct hwd_message m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0);
    int fd = -1;

    assert_ok(m);
    assert_int_equal(m.facts.access, HWD_ACCESS_VFIO);
    assert_int_equal(strncmp(m.facts.node, "/dev/vfio/devices/vfio", 22), 0);
    assert_resets("gpu0", before, 2);
    held_mode("gpu0", "on", "on");
    assert_int_equal(held_devices(), 1);
    assert_int_equal(cdev_open(m.facts.node, &fd), with_group ? EBUSY : EINVAL);

    before = held_resets("gpu0");
    m = client_do(c, HWD_OP_VERIFY, gpu, CC_MODE_ON, HWD_REQ_HOLD);
    assert_ok(m);
    assert_resets("gpu0", before, 0);
    m = client_do(c, HWD_OP_HANDOVER, gpu, CC_MODE_ON, 0);
    assert_ok(m);
    assert_int_equal(held_devices(), 0);
    assert_resets("gpu0", before, 1);
    assert_true(m.facts.flags & HWD_FACT_HANDED_OVER);
    assert_int_equal(cdev_open(m.facts.node, &fd), 0);
    assert_resets("gpu0", before, 2);
    held_mode("gpu0", "on", "on");
    client_wait(c, gpu, HWD_FACT_OPENED | HWD_FACT_REOPENED, HWD_FACT_OPENED, HWD_USE_HELD,
                LONG_MS);
    (void)close(fd);
    client_wait(c, gpu, HWD_FACT_OPENED, HWD_FACT_OPENED, HWD_USE_FREE, LONG_MS);

    /* prepared and handed over at once; a stranger comes before the VMM */
    before = held_resets("gpu0");
    m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, HWD_REQ_HANDOVER);
    assert_ok(m);
    assert_resets("gpu0", before, 3);
    assert_int_equal(held_devices(), 0);
    assert_false(m.facts.flags & HWD_FACT_OPENED);
    assert_int_equal(cdev_open(m.facts.node, &fd), 0);
    client_wait(c, gpu, HWD_FACT_OPENED, HWD_FACT_OPENED, HWD_USE_HELD, LONG_MS);
    (void)close(fd);
    client_wait(c, gpu, HWD_FACT_OPENED, HWD_FACT_OPENED, HWD_USE_FREE, LONG_MS);
    assert_int_equal(cdev_open(m.facts.node, &fd), 0);
    client_wait(c, gpu, HWD_FACT_REOPENED, HWD_FACT_REOPENED, HWD_USE_HELD, LONG_MS);
    (void)close(fd);
    client_wait(c, gpu, HWD_FACT_REOPENED, HWD_FACT_REOPENED, HWD_USE_FREE, LONG_MS);
}

static void
a_group_is_used_with_an_iommufd_where_type1_is_not_loaded(void **state)
{
    char text[256];

    (void)state;
    (void)vm_run(text, sizeof(text), "rmmod vfio_iommu_type1");
    assert_int_not_equal(access("/sys/module/vfio_iommu_type1", F_OK), 0);
    whole_life(true);
}

/* CONFIG_VFIO_GROUP=n, as far as can be seen from outside. */
static void
a_character_device_alone_is_hold_and_device(void **state)
{
    const char *gpu = vm_addr("gpu0");
    struct hwd_message m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, HWD_REQ_HANDOVER);
    char group[32], path[64];

    (void)state;
    assert_ok(m);
    (void)vm_link(group, sizeof(group), "/sys/bus/pci/devices/%s/iommu_group", gpu);
    (void)snprintf(path, sizeof(path), "/dev/vfio/%s", group);
    assert_int_equal(unlink(path), 0);
    client_close(c); /* another service, which never saw it */
    (void)kit_end_hwd(k, 15);
    kit_start_hwd(k, "access: vfio\n");
    c = client_open(k);
    whole_life(false);
}

#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_group_is_used_with_an_iommufd_where_type1_is_not_loaded),
        T(a_character_device_alone_is_hold_and_device),
    };

    return cmocka_run_group_tests_name("vm.vfio.cdev", tests, fn_setup, NULL);
}
