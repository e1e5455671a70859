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
    static const char *const names[] = {"gpu0", "switch0", "switch1"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        fn_release(vm_addr(names[i]));
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

/* 0 or errno */
static int
cdev_bind(int fd)
{
    struct {
        uint32_t argsz, flags;
        int32_t iommufd;
        uint32_t out_devid;
    } b = {.argsz = sizeof(b)};
    int num;

    b.iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
    assert_true(b.iommufd >= 0);
    num = ioctl(fd, BIND, &b) < 0 ? errno : 0;
    (void)close(b.iommufd);
    return num;
}

/* What QEMU does with an iommufd object: 0, or the errno of the step that did not work. */
static int
cdev_open(const char *node, int *ret)
{
    int fd = open(node, O_RDWR | O_CLOEXEC), num = errno;

    if (fd < 0)
        return num;
    num = cdev_bind(fd);
    if (num)
        (void)close(fd);
    else
        *ret = fd;
    return num;
}

/* Opened while it is armed, when it cannot be bound; bound as soon as we have let go. */
static void
early_opener(void)
{
    const char *gpu = vm_addr("gpu0");
    struct hwd_message m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0);
    int fd;

    assert_ok(m);
    fd = open(m.facts.node, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_not_equal(cdev_bind(fd), 0);
    m = client_do(c, HWD_OP_HANDOVER, gpu, CC_MODE_ON, 0);
    assert_ok(m);
    assert_true(m.facts.flags & HWD_FACT_OPENED);
    assert_int_equal(m.facts.opens, 1);
    assert_int_equal(m.facts.use, HWD_USE_HELD);
    assert_int_equal(cdev_bind(fd), 0);
    (void)close(fd);
    client_wait(c, gpu, HWD_FACT_OPENED, HWD_FACT_OPENED, HWD_USE_FREE, LONG_MS);

    /* who has gone before the hand-over is no user */
    m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0);
    assert_ok(m);
    fd = open(m.facts.node, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    (void)close(fd);
    m = client_do(c, HWD_OP_HANDOVER, gpu, CC_MODE_ON, 0);
    assert_ok(m);
    assert_false(m.facts.flags & HWD_FACT_OPENED);
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
    early_opener();
}

/* CONFIG_VFIO_GROUP=n, as far as can be seen from outside; and a service that never saw the node.
 */
static void
without_group(const char *addr, const char *yaml)
{
    char group[32], path[64];

    (void)vm_link(group, sizeof(group), "/sys/bus/pci/devices/%s/iommu_group", addr);
    (void)snprintf(path, sizeof(path), "/dev/vfio/%s", group);
    client_close(c);
    (void)kit_end_hwd(k, 15);
    held_wait_none();
    assert_int_equal(unlink(path), 0);
    kit_start_hwd(k, yaml);
    c = client_open(k);
}

static void
a_character_device_alone_is_hold_and_device(void **state)
{
    const char *gpu = vm_addr("gpu0");
    struct hwd_message m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, HWD_REQ_HANDOVER);

    (void)state;
    assert_ok(m);
    without_group(gpu, "access: vfio\n");
    whole_life(false);
    early_opener();
}

static void
set_watches(const char *n)
{
    char text[128];

    if (vm_run(text, sizeof(text), "echo %s >/proc/sys/fs/inotify/max_user_watches", n) != 0)
        fail_msg("%s", text);
}

/* The device is closed before it turns out that nobody would see who opens it next. */
static void
what_could_not_be_handed_over_is_not_armed_any_more(void **state)
{
    const char *gpu = vm_addr("gpu0");
    struct hwd_message m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, HWD_REQ_HANDOVER);
    int fd = -1;

    (void)state;
    assert_ok(m);
    set_watches("0");
    without_group(gpu, "access: auto\n");
    m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0);
    assert_ok(m);
    assert_true(m.facts.flags & HWD_FACT_ARMED);
    m = client_do(c, HWD_OP_HANDOVER, gpu, CC_MODE_ON, 0);
    set_watches("8192");
    assert_refused(m, REASON_NODE_MISSING);
    assert_int_equal(held_devices(), 0);
    assert_false(m.facts.flags & (HWD_FACT_ARMED | HWD_FACT_HANDED_OVER));
    assert_int_not_equal(m.facts.use, HWD_USE_OURS);
    assert_int_equal(cdev_open(m.facts.node, &fd), 0); /* a stranger's data are in there now */
    (void)close(fd);
    m = client_do(c, HWD_OP_HANDOVER, gpu, CC_MODE_ON, 0);
    assert_refused(m, REASON_HWD_REFUSED);
}

/* An open cdev keeps nobody from the other members. */
static void
members_of_one_group_need_its_node(void **state)
{
    const char *a = vm_addr("switch0"), *b = vm_addr("switch1");
    struct hwd_message m;

    (void)state;
    (void)client_do(c, HWD_OP_PREPARE, a, CC_MODE_PPCIE, 0); /* makes the node */
    without_group(a, "access: sysfs\n");
    m = client_do(c, HWD_OP_PREPARE, a, CC_MODE_PPCIE, 0);
    assert_refused(m, REASON_GROUP_SHARED);
    assert_non_null(strstr(m.text, "CONFIG_VFIO_GROUP"));
    m = client_do(c, HWD_OP_PREPARE, b, CC_MODE_PPCIE, 0);
    assert_refused(m, REASON_GROUP_SHARED);
    assert_false(m.facts.flags & HWD_FACT_ARMED);
    assert_int_equal(held_devices(), 0);
}

#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_group_is_used_with_an_iommufd_where_type1_is_not_loaded),
        T(a_character_device_alone_is_hold_and_device),
        T(what_could_not_be_handed_over_is_not_armed_any_more),
        T(members_of_one_group_need_its_node),
    };

    return cmocka_run_group_tests_name("vm.vfio.cdev", tests, fn_setup, NULL);
}
