/* SPDX-License-Identifier: Apache-2.0
 *
 * Binding, giving back and resets against the kernel's behaviour.
 */
#include "vfio/bind.h"

#include "node.h"
#include "vfio/hold.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

static int
setup(void **state)
{
    static const char *const args[] = {"--gpus", "2", NULL};
    struct node *n = calloc(1, sizeof(*n));

    assert_non_null(n);
    node_start(n, args);
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

static void
bind_ok(struct node *n, struct pci_addr a, const char *driver)
{
    struct err e = ERR_INIT;

    if (vfio_bind(&n->root, a, driver, &e) < 0)
        fail_msg("%s", e.msg);
}

/* A GPU that starts unbound, whatever the node's default is. */
static struct pci_addr
unbound_gpu(struct node *n, unsigned i)
{
    struct pci_addr a = node_gpu(n, i);
    struct err e = ERR_INIT;

    if (vfio_is_vfio_driver(node_fn(n, a).driver) && vfio_give_back(&n->root, a, "", &e) < 0)
        fail_msg("%s", e.msg);
    assert_string_equal(node_fn(n, a).driver, "");
    return a;
}

static void
bind_and_give_back(void **state)
{
    struct node *n = *state;
    struct pci_addr a = unbound_gpu(n, 0);
    struct err e = ERR_INIT;
    struct vfio_fn fn;

    bind_ok(n, a, "vfio_pci");
    fn = node_fn(n, a);
    assert_string_equal(fn.driver, "vfio-pci");
    assert_string_equal(fn.override, "vfio-pci");
    assert_true(fn.cdev >= 0);
    bind_ok(n, a, "vfio-pci"); /* again: nothing to do */
    assert_int_equal(vfio_give_back(&n->root, a, "", &e), 0);
    fn = node_fn(n, a);
    assert_string_equal(fn.driver, "");
    assert_string_equal(fn.override, "");
    assert_int_equal(fn.cdev, -1);
    assert_int_equal(vfio_give_back(&n->root, a, "", &e), 0);
}

static void
bind_takes_from_a_host_driver_and_gives_back(void **state)
{
    struct node *n = *state;
    struct pci_addr a = unbound_gpu(n, 0);
    struct err e = ERR_INIT;

    (void)node_ctl(n, "load nvidia");
    assert_string_equal(node_fn(n, a).driver, "nvidia");
    bind_ok(n, a, "vfio-pci");
    assert_string_equal(node_fn(n, a).driver, "vfio-pci");
    assert_int_equal(vfio_give_back(&n->root, a, "nvidia", &e), 0);
    assert_string_equal(node_fn(n, a).driver, "nvidia");
    assert_string_equal(node_fn(n, a).override, "");
    bind_ok(n, a, "vfio-pci");
    (void)node_ctl(n, "unload nvidia");
    assert_true(vfio_give_back(&n->root, a, "nvidia", &e) < 0);
    assert_non_null(strstr(e.msg, "not loaded"));
    assert_string_equal(node_fn(n, a).driver, "");
}

static void
a_variant_driver_binds_by_its_own_name(void **state)
{
    struct node *n = *state;
    struct pci_addr a = unbound_gpu(n, 0);

    (void)node_ctl(n, "load nvgrace_gpu_vfio_pci");
    bind_ok(n, a, "nvgrace-gpu-vfio-pci");
    assert_string_equal(node_fn(n, a).driver, "nvgrace_gpu_vfio_pci");
    assert_true(node_fn(n, a).cdev >= 0);
}

static void
without_vfio_pci_nothing_is_touched(void **state)
{
    struct node *n = *state;
    struct pci_addr a = unbound_gpu(n, 0);
    struct err e = ERR_INIT;

    (void)unbound_gpu(n, 1);
    (void)node_ctl(n, "load nvidia");
    (void)node_ctl(n, "unload vfio-pci");
    assert_true(vfio_bind(&n->root, a, "vfio-pci", &e) < 0);
    assert_int_equal(e.reason, REASON_VFIO_PCI_NOT_LOADED);
    assert_string_equal(node_fn(n, a).driver, "nvidia");
    assert_string_equal(node_fn(n, a).override, "");
}

/* Each way to fail leaves the function with the driver and override that it had. */
static void
a_failed_bind_is_rolled_back(void **state)
{
    static const struct {
        const char *rule;
        enum reason reason;
    } rows[] = {
        {"fail write:*/drivers/vfio-pci/bind EINVAL 1", REASON_BIND_FAILED},
        {"fail write:*/drivers/vfio-pci/bind EBUSY 1", REASON_BIND_FAILED},
        {"fail write:*/drivers/vfio-pci/bind ENODEV 1", REASON_BIND_FAILED},
        {"ignore write:*/drivers/vfio-pci/bind 1", REASON_BIND_FAILED},
        {"fail write:*/unbind EIO 1", REASON_UNBIND_FAILED},
        {"ignore write:*/unbind 1", REASON_BIND_FAILED},
        {"fail write:*/driver_override ENOMEM 1", REASON_BIND_FAILED},
        {"fail write:*/driver_override EPERM 1", REASON_PERMISSION},
        {"fail read:*/driver_override EIO 1", REASON_UNREADABLE},
    };
    struct node *n = *state;
    struct pci_addr a = unbound_gpu(n, 0);

    (void)node_ctl(n, "load nvidia");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err e = ERR_INIT;
        struct vfio_fn fn;

        (void)node_ctl(n, "%s", rows[i].rule);
        if (vfio_bind(&n->root, a, "vfio-pci", &e) == 0)
            fail_msg("%s: bind succeeded", rows[i].rule);
        if (e.reason != rows[i].reason)
            fail_msg("%s: %s (%s)", rows[i].rule, reason_name(e.reason), e.msg);
        assert_non_null(strstr(e.msg, PCI_STR(a)));
        (void)node_ctl(n, "rules clear");
        fn = node_fn(n, a);
        if (strcmp(fn.driver, "nvidia") != 0 || fn.override[0])
            fail_msg("%s: left on \"%s\", override \"%s\" (%s)", rows[i].rule, fn.driver,
                     fn.override, e.msg);
    }
    bind_ok(n, a, "vfio-pci");
}

static void
a_roll_back_that_fails_is_told(void **state)
{
    struct node *n = *state;
    struct pci_addr a = unbound_gpu(n, 0);
    struct err e = ERR_INIT;

    (void)node_ctl(n, "load nvidia");
    (void)node_ctl(n, "fail write:*/drivers/*/bind EINVAL");
    assert_true(vfio_bind(&n->root, a, "vfio-pci", &e) < 0);
    assert_non_null(strstr(e.msg, "left unbound"));
    assert_int_equal(e.reason, REASON_BIND_FAILED);
}

static int
child_bind(struct node *n, struct pci_addr a)
{
    struct err e = ERR_INIT;

    if (vfio_bind(&n->root, a, "vfio-pci", &e) == 0)
        return 0;
    (void)fprintf(stderr, "%s\n", e.msg);
    return 1;
}

static int
child_give_back(struct node *n, struct pci_addr a)
{
    struct err e = ERR_INIT;

    return vfio_give_back(&n->root, a, "", &e) < 0;
}

static void
a_probe_that_comes_first_is_success(void **state)
{
    struct node *n = *state;
    struct pci_addr a = unbound_gpu(n, 0);
    struct err e = ERR_INIT;
    pid_t pid;

    (void)node_ctl(n, "hang write:*/drivers/vfio-pci/bind 400 1");
    pid = node_fork(child_bind, n, a);
    for (int i = 0; i < 200 && strcmp(node_fn(n, a).override, "vfio-pci") != 0; i++)
        (void)usleep(5000);
    (void)usleep(50000);
    assert_int_equal(fs_write_attr(&n->root, "/sys/bus/pci/drivers_probe", PCI_STR(a), &e), 0);
    assert_string_equal(node_fn(n, a).driver, "vfio-pci");
    assert_int_equal(node_wait(pid, 5000), 0);
    assert_string_equal(node_fn(n, a).override, "vfio-pci");
}

/* Unbinding what a VM has open waits for it, and disturbs nobody else. */
static void
unbind_waits_for_the_holder(void **state)
{
    struct node *n = *state;
    struct pci_addr a = unbound_gpu(n, 0), b = unbound_gpu(n, 1);
    pid_t pid;

    bind_ok(n, a, "vfio-pci");
    (void)node_ctl(n, "vmm-open %s", PCI_STR(a));
    pid = node_fork(child_give_back, n, a);
    assert_int_equal(node_wait(pid, 300), -1);
    bind_ok(n, b, "vfio-pci");
    assert_string_equal(node_fn(n, b).driver, "vfio-pci");
    (void)node_ctl(n, "vmm-close %s", PCI_STR(a));
    assert_int_equal(node_wait(pid, 5000), 0);
    assert_string_equal(node_fn(n, a).driver, "");
}

/* ---- reset ---- */

static void
resets_and_the_list_of_methods(void **state)
{
    struct node *n = *state;
    struct pci_addr a = node_gpu(n, 0);
    struct err e = ERR_INIT;
    char before[64];

    (void)str_copy(before, sizeof(before), node_attr(n, a, "reset_method"));
    assert_true(before[0] != '\0');
    for (int how = VFIO_RESET_FUNCTION; how <= VFIO_RESET_BUS; how++) {
        if (vfio_reset_dev(&n->root, a, (enum vfio_reset)how, &e) < 0)
            fail_msg("%s", e.msg);
        assert_string_equal(node_attr(n, a, "reset_method"), before);
    }
    (void)node_ctl(n, "fault %s reset-fail=flr", PCI_STR(a));
    assert_true(vfio_reset_dev(&n->root, a, VFIO_RESET_FUNCTION, &e) < 0);
    assert_int_equal(e.reason, REASON_RESET_FAILED);
    assert_non_null(strstr(e.msg, "function reset of"));
    assert_string_equal(node_attr(n, a, "reset_method"), before);
    err_clear(&e);
    assert_int_equal(vfio_reset_dev(&n->root, a, VFIO_RESET_BUS, &e), 0);
}

/* A process that died between select and restore left only one method in the list. */
static void
a_shortened_list_does_not_stop_the_other_reset(void **state)
{
    struct node *n = *state;
    struct pci_addr a = node_gpu(n, 0);
    struct err e = ERR_INIT;
    char path[128];

    (void)snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/reset_method", PCI_STR(a));
    assert_true(fs_write_attr(&n->root, path, "flr", &e) >= 0);
    assert_int_equal(vfio_reset_dev(&n->root, a, VFIO_RESET_BUS, &e), 0);
    assert_string_equal(node_attr(n, a, "reset_method"), "flr");
    /* disabled by the operator: stays so */
    assert_true(fs_write_attr(&n->root, path, "\n", &e) >= 0);
    assert_true(vfio_reset_dev(&n->root, a, VFIO_RESET_BUS, &e) < 0);
    assert_int_equal(e.reason, REASON_RESET_FAILED);
    assert_string_equal(node_attr(n, a, "reset_method"), "");
}

/* Function 0's list was made before its siblings were found; it cannot be written back as it was.
 */
static void
resets_of_a_function_with_companions(void **state)
{
    static const char *const args[] = {"--gpus", "1", "--companions", "audio,usb", NULL};
    struct err e = ERR_INIT;
    struct node n;

    (void)state;
    node_start(&n, args);
    if (vfio_reset_dev(&n.root, node_gpu(&n, 0), VFIO_RESET_FUNCTION, &e) < 0)
        fail_msg("%s", e.msg);
    assert_true(strstr(node_attr(&n, node_gpu(&n, 0), "reset_method"), "flr") != NULL);
    node_stop(&n);
}

static void
remove_and_rescan(void **state)
{
    struct node *n = *state;
    struct pci_addr a = unbound_gpu(n, 0);
    struct err e = ERR_INIT;
    struct vfio_fn fn;

    bind_ok(n, a, "vfio-pci");
    if (vfio_reset_dev(&n->root, a, VFIO_RESET_REMOVE_RESCAN, &e) < 0)
        fail_msg("%s", e.msg);
    fn = node_fn(n, a);
    assert_string_equal(fn.driver, "");
    assert_string_equal(fn.override, "");
    bind_ok(n, a, "vfio-pci");
    (void)node_ctl(n, "ignore write:*/remove 1");
    assert_true(vfio_reset_dev(&n->root, a, VFIO_RESET_REMOVE_RESCAN, &e) < 0);
    assert_non_null(strstr(e.msg, "did not leave the bus"));
    (void)node_ctl(n, "rules clear");
}

static void
a_function_that_does_not_come_back_is_gone(void **state)
{
    struct node *n = *state;
    struct pci_addr a = unbound_gpu(n, 0);
    struct err e = ERR_INIT;

    (void)node_ctl(n, "ignore write:*/pci/rescan 1");
    assert_true(vfio_reset_dev(&n->root, a, VFIO_RESET_REMOVE_RESCAN, &e) < 0);
    assert_int_equal(e.reason, REASON_DEVICE_GONE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
        T(bind_and_give_back),
        T(bind_takes_from_a_host_driver_and_gives_back),
        T(a_variant_driver_binds_by_its_own_name),
        T(without_vfio_pci_nothing_is_touched),
        T(a_failed_bind_is_rolled_back),
        T(a_roll_back_that_fails_is_told),
        T(a_probe_that_comes_first_is_success),
        T(unbind_waits_for_the_holder),
        T(resets_and_the_list_of_methods),
        T(a_shortened_list_does_not_stop_the_other_reset),
        cmocka_unit_test(resets_of_a_function_with_companions),
        T(remove_and_rescan),
        T(a_function_that_does_not_come_back_is_gone),
#undef T
    };

    if (!node_possible())
        return 77;
    return cmocka_run_group_tests_name("sim.vfio.bind", tests, NULL, NULL);
}
