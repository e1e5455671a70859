/* SPDX-License-Identifier: Apache-2.0
 *
 * Power, registers, holding, holders and events against the kernel's behaviour.
 */
#include "base/cleanup.h"
#include "node.h"
#include "vfio/bind.h"
#include "vfio/dev_sysfs.h"
#include "vfio/hold.h"
#include "vfio/uevent.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int
setup(void **state)
{
    static const char *const args[] = {"--gpus", "2", NULL};
    struct node *n = calloc(1, sizeof(*n));
    struct err e = ERR_INIT;

    assert_non_null(n);
    node_start(n, args);
    if (vfio_bind(&n->root, node_gpu(n, 0), "vfio-pci", &e) < 0)
        fail_msg("%s", e.msg);
    *state = n;
    return 0;
}

static int
teardown(void **state)
{
    node_stop(*state);
    free(*state);
    return 0;
}

/* Register 0 of BAR0 through a device opened for it, or the reason why not. */
static enum reason
read_boot0(struct node *n, struct pci_addr a, uint32_t *ret)
{
    const struct vfio_fn fn = node_fn(n, a);
    struct dev_sysfs *d = NULL;
    struct err e = ERR_INIT;
    const struct hw_dev *hw;
    int r = dev_sysfs_open(&n->root, &fn, &d, &e);

    if (r == 0) {
        hw = dev_sysfs_hw(d);
        r = hw->ops->bar_read32(hw->ctx, 0, ret, &e);
    }
    dev_sysfs_close(d);
    return r < 0 ? e.reason : REASON_NONE;
}

/* ---- power and registers ---- */

static void
a_sleeping_function_is_woken_and_put_back(void **state)
{
    struct node *n = *state;
    struct pci_addr a = node_gpu(n, 0);
    struct vfio_power_saved saved;
    struct err e = ERR_INIT;
    uint32_t v = 0;

    assert_string_equal(node_attr(n, a, "power_state"), "D3hot");
    assert_int_equal(read_boot0(n, a, &v), REASON_NONE);
    assert_int_equal(v, 0xffffffff);
    if (vfio_power_wake(&n->root, a, &saved, &e) < 0)
        fail_msg("%s", e.msg);
    assert_string_equal(saved.control, "auto");
    assert_string_equal(node_attr(n, a, "power_state"), "D0");
    assert_int_equal(read_boot0(n, a, &v), REASON_NONE);
    assert_true(v != 0xffffffff && v != 0);
    assert_int_equal(vfio_power_restore(&n->root, a, &saved, &e), 0);
    assert_string_equal(node_attr(n, a, "power/control"), "auto");
    for (int i = 0; i < 100 && strcmp(node_attr(n, a, "power_state"), "D3hot") != 0; i++)
        (void)usleep(10000);
    assert_string_equal(node_attr(n, a, "power_state"), "D3hot");
}

static void
an_unbound_function_needs_no_waking_and_decode_is_turned_on(void **state)
{
    struct node *n = *state;
    struct pci_addr a = {.domain = 0, .bus = 0xee};
    struct vfio_power_saved saved;
    struct err e = ERR_INIT;
    uint32_t v = 0;

    (void)node_ctl(n, "plug 0000:ee:00.0 h100-pcie"); /* hot-added: memory decode off */
    assert_string_equal(node_fn(n, a).driver, "");
    if (vfio_power_wake(&n->root, a, &saved, &e) < 0)
        fail_msg("%s", e.msg);
    assert_int_equal(read_boot0(n, a, &v), REASON_NONE);
    assert_true(v != 0xffffffff && v != 0);
}

static void
a_function_without_power_does_not_wake(void **state)
{
    struct node *n = *state;
    struct pci_addr a = node_gpu(n, 0);
    struct vfio_power_saved saved;
    struct err e = ERR_INIT;

    (void)node_ctl(n, "fault %s d3cold", PCI_STR(a));
    assert_true(vfio_power_wake(&n->root, a, &saved, &e) < 0);
    assert_true(e.reason == REASON_POWER_STATE || e.reason == REASON_DEVICE_GONE);
    assert_int_equal(e.cls, ERR_CLASS_HW);
}

static void
lockdown_and_strict_devmem_have_names(void **state)
{
    struct node *n = *state;
    struct pci_addr a = node_gpu(n, 0);
    uint32_t v;

    (void)node_ctl(n, "set lockdown on");
    assert_int_equal(read_boot0(n, a, &v), REASON_LOCKDOWN);
    (void)node_ctl(n, "set lockdown off");
    assert_int_equal(read_boot0(n, a, &v), REASON_NONE);
    (void)node_ctl(n, "set strict-devmem on");
    (void)node_ctl(n, "vmm-open %s", PCI_STR(a));
    assert_int_equal(read_boot0(n, a, &v), REASON_STRICT_DEVMEM);
    (void)node_ctl(n, "vmm-close %s", PCI_STR(a));
    assert_int_equal(read_boot0(n, a, &v), REASON_NONE);
}

static void
what_does_not_answer_reads_all_ones(void **state)
{
    struct node *n = *state;
    struct pci_addr a = node_gpu(n, 0);
    const struct vfio_fn fn = node_fn(n, a);
    struct dev_sysfs *d = NULL;
    struct err e = ERR_INIT;
    const struct hw_dev *hw;
    uint32_t v = 0;

    assert_int_equal(dev_sysfs_open(&n->root, &fn, &d, &e), 0);
    hw = dev_sysfs_hw(d);
    assert_int_equal(hw->ops->cfg_read(hw->ctx, 0, 2, &v, &e), 0);
    assert_int_equal(v, 0x10de);
    (void)node_ctl(n, "fault %s off-bus", PCI_STR(a));
    assert_int_equal(hw->ops->bar_read32(hw->ctx, 0, &v, &e), 0);
    assert_int_equal(v, 0xffffffff);
    assert_int_equal(hw->ops->cfg_read(hw->ctx, 0, 2, &v, &e), 0);
    assert_int_equal(v, 0xffff);
    dev_sysfs_close(d);
}

/* ---- exclusion ---- */

static void
hold_is_exclusive_and_resets_nothing(void **state)
{
    struct node *n = *state;
    struct pci_addr a = node_gpu(n, 0);
    const struct vfio_fn fn = node_fn(n, a);
    struct err e = ERR_INIT;
    char before[2048];
    int fd;

    assert_int_equal(vfio_in_use(&n->root, &fn, &e), 0);
    (void)str_copy(before, sizeof(before), strstr(node_ctl(n, "show json"), PCI_STR(a)));
    fd = vfio_hold(&n->root, &fn, &e);
    if (fd < 0)
        fail_msg("%s", e.msg);
    assert_int_equal(vfio_in_use(&n->root, &fn, &e), 1);
    assert_true(vfio_hold(&n->root, &fn, &e) < 0);
    assert_int_equal(e.reason, REASON_IN_USE);
    assert_int_equal(e.cls, ERR_CLASS_BUSY);
    assert_int_equal(e.num, EBUSY);
    fd_close(&fd);
    assert_int_equal(vfio_in_use(&n->root, &fn, &e), 0);
    assert_non_null(strstr(before, "\"opens\": 0"));
    assert_non_null(strstr(strstr(node_ctl(n, "show json"), PCI_STR(a)), "\"opens\": 0"));
}

static void
a_vm_is_in_the_way_by_either_node(void **state)
{
    static const char *const ways[] = {"group", "cdev"};
    struct node *n = *state;
    struct pci_addr a = node_gpu(n, 0);
    const struct vfio_fn fn = node_fn(n, a);

    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct err e = ERR_INIT;
        int fd;

        (void)node_ctl(n, "vmm-open %s %s", PCI_STR(a), ways[i]);
        assert_int_equal(vfio_in_use(&n->root, &fn, &e), 1);
        assert_true(vfio_hold(&n->root, &fn, &e) < 0);
        assert_int_equal(e.reason, REASON_IN_USE);
        (void)node_ctl(n, "vmm-close %s", PCI_STR(a));
        fd = vfio_hold(&n->root, &fn, &e);
        assert_true(fd >= 0);
        fd_close(&fd);
    }
}

static int
child_hold(struct node *n, struct pci_addr a)
{
    const struct vfio_fn fn = node_fn(n, a);
    struct err e = ERR_INIT;

    if (vfio_hold(&n->root, &fn, &e) < 0)
        return 1;
    for (;;)
        (void)pause();
}

static void
holders_are_named(void **state)
{
    struct node *n = *state;
    struct pci_addr a = node_gpu(n, 0);
    const struct vfio_fn fn = node_fn(n, a);
    struct vfio_holder h[4];
    struct err e = ERR_INIT;
    pid_t pid = node_fork(child_hold, n, a);

    for (int i = 0; i < 200 && vfio_in_use(&n->root, &fn, &e) == 0; i++)
        (void)usleep(5000);
    assert_int_equal(vfio_holders(&n->root, &fn, getpid(), h, 4, &e), 1);
    assert_int_equal(h[0].pid, pid);
    assert_true(h[0].comm[0] != '\0');
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    assert_int_equal(vfio_in_use(&n->root, &fn, &e), 0);
    assert_int_equal(vfio_holders(&n->root, &fn, getpid(), h, 4, &e), 0);
}

static void
events_follow_a_bind(void **state)
{
    struct node *n = *state;
    struct pci_addr a = node_gpu(n, 0);
    struct vfio_uevents *u = NULL;
    struct pollfd p = {.events = POLLIN};
    struct err e = ERR_INIT;
    bool relevant = false;

    if (vfio_uevents_open(n->uevents, &u, &e) < 0)
        fail_msg("%s", e.msg);
    p.fd = vfio_uevents_fd(u);
    assert_int_equal(vfio_uevents_drain(u, &relevant, &e), 0);
    assert_int_equal(vfio_give_back(&n->root, a, "", &e), 0);
    assert_int_equal(poll(&p, 1, 2000), 1);
    assert_int_equal(vfio_uevents_drain(u, &relevant, &e), 0);
    assert_true(relevant);
    vfio_uevents_close(u);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
        T(a_sleeping_function_is_woken_and_put_back),
        T(an_unbound_function_needs_no_waking_and_decode_is_turned_on),
        T(a_function_without_power_does_not_wake),
        T(lockdown_and_strict_devmem_have_names),
        T(what_does_not_answer_reads_all_ones),
        T(hold_is_exclusive_and_resets_nothing),
        T(a_vm_is_in_the_way_by_either_node),
        T(holders_are_named),
        T(events_follow_a_bind),
#undef T
    };

    if (!node_possible())
        return 77;
    return cmocka_run_group_tests_name("sim.vfio.access", tests, NULL, NULL);
}
