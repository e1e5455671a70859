/* SPDX-License-Identifier: Apache-2.0
 *
 * Power states, BAR0 and resets of a function through the real sysfs. What the emulated device
 * counted proves what really reached it.
 */
#include "tests/vm/guest/fn.h"
#include "tests/vm/guest/host.h"
#include "tests/vm/guest/vmm.h"

#include "vfio/bind.h"
#include "vfio/dev_sysfs.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define VFIO "vfio-pci"
#define PMC_BOOT_0 0u
#define GH100 0x180000a1u /* ccmode traces: every H100 answers so */
#define QEMU_ASLEEP 0u    /* QEMU's answer for a function that is off; hardware's is all-ones */

struct look {
    struct vfio_inventory *inv;
    struct dev_sysfs *dev;
    const struct hw_dev *hw;
};

static void
look_open(struct look *l, const char *name)
{
    struct err e = ERR_INIT;

    fn_ok(vfio_scan(fn_root(), &l->inv, &e), &e);
    fn_ok(dev_sysfs_open(fn_root(), vfio_find(l->inv, fn_addr(name)), &l->dev, &e), &e);
    l->hw = dev_sysfs_hw(l->dev);
}

static void
look_close(struct look *l)
{
    dev_sysfs_close(l->dev);
    vfio_inventory_free(l->inv);
}

static uint32_t
bar0(const struct look *l, uint32_t off)
{
    struct err e = ERR_INIT;
    uint32_t v = 0;

    fn_ok(l->hw->ops->bar_read32(l->hw->ctx, off, &v, &e), &e);
    return v;
}

static uint32_t
cfg(const struct look *l, uint32_t off, unsigned width)
{
    struct err e = ERR_INIT;
    uint32_t v = 0;

    fn_ok(l->hw->ops->cfg_read(l->hw->ctx, off, width, &v, &e), &e);
    return v;
}

/* ---- power ---- */

static void
a_bound_idle_gpu_sleeps_and_our_code_wakes_it_and_lets_it_sleep_again(void **state)
{
    const char *gpu = vm_addr("gpu1");
    struct pci_addr a = fn_addr("gpu1");
    struct vfio_power_saved saved = {{0}, {0}};
    struct err e = ERR_INIT;
    struct look l;
    char control[16];

    (void)state;
    fn_ok(vfio_bind(fn_root(), a, VFIO, &e), &e);
    fn_wait_attr(gpu, "power_state", "D3hot");
    (void)snprintf(control, sizeof(control), "%s", fn_attr(gpu, "power/control"));
    look_open(&l, "gpu1");
    assert_int_equal(bar0(&l, PMC_BOOT_0), QEMU_ASLEEP);
    fn_ok(vfio_power_wake(fn_root(), a, &saved, &e), &e);
    assert_string_equal(fn_attr(gpu, "power_state"), "D0");
    assert_int_equal(bar0(&l, PMC_BOOT_0), GH100);
    assert_true(cfg(&l, PCI_COMMAND, 2) & PCI_COMMAND_MEMORY);
    /* it stays awake as long as we want it to */
    vm_sleep_ms(500);
    assert_int_equal(bar0(&l, PMC_BOOT_0), GH100);
    fn_ok(vfio_power_restore(fn_root(), a, &saved, &e), &e);
    assert_string_equal(fn_attr(gpu, "power/control"), control);
    fn_wait_attr(gpu, "power_state", "D3hot");
    assert_int_equal(bar0(&l, PMC_BOOT_0), QEMU_ASLEEP);
    look_close(&l);
    fn_ok(vfio_give_back(fn_root(), a, "", &e), &e);
}

static void
an_unbound_gpu_answers_and_waking_it_changes_nothing_that_stays(void **state)
{
    const char *gpu = vm_addr("gpu1");
    struct vfio_power_saved saved = {{0}, {0}};
    struct err e = ERR_INIT;
    struct look l;

    (void)state;
    look_open(&l, "gpu1");
    fn_ok(vfio_power_wake(fn_root(), fn_addr("gpu1"), &saved, &e), &e);
    assert_int_equal(bar0(&l, PMC_BOOT_0), GH100);
    fn_ok(vfio_power_restore(fn_root(), fn_addr("gpu1"), &saved, &e), &e);
    assert_string_equal(fn_attr(gpu, "power/control"), "on"); /* Linux's default */
    assert_string_equal(fn_attr(gpu, "d3cold_allowed"), "1");
    look_close(&l);
}

static void
memory_decode_that_is_off_is_switched_on_by_waking(void **state)
{
    const char *gpu = vm_addr("gpu1");
    struct vfio_power_saved saved = {{0}, {0}};
    struct err e = ERR_INIT;
    struct look l;
    uint32_t command;

    (void)state;
    look_open(&l, "gpu1");
    command = cfg(&l, PCI_COMMAND, 2);
    fn_ok(l.hw->ops->cfg_write(l.hw->ctx, PCI_COMMAND, 2, command & ~(uint32_t)PCI_COMMAND_MEMORY,
                               &e),
          &e);
    assert_int_equal(bar0(&l, PMC_BOOT_0), QEMU_ASLEEP);
    fn_ok(vfio_power_wake(fn_root(), fn_addr("gpu1"), &saved, &e), &e);
    assert_int_equal(bar0(&l, PMC_BOOT_0), GH100);
    fn_ok(vfio_power_restore(fn_root(), fn_addr("gpu1"), &saved, &e), &e);
    look_close(&l);
    assert_string_equal(fn_driver(gpu), "");
}

static void
a_bar_that_a_vfio_user_works_with_is_refused_by_name(void **state)
{
    const char *gpu = vm_addr("gpu1");
    struct vfio_inventory *inv = NULL;
    struct dev_sysfs *dev = NULL;
    struct err e = ERR_INIT;
    struct vmm v;

    (void)state;
    fn_ok(vfio_bind(fn_root(), fn_addr("gpu1"), VFIO, &e), &e);
    vmm_open(&v, gpu);
    assert_int_equal(vmm_bar0(&v, PMC_BOOT_0), GH100);
    fn_ok(vfio_scan(fn_root(), &inv, &e), &e);
    fn_refused(dev_sysfs_open(fn_root(), vfio_find(inv, fn_addr("gpu1")), &dev, &e), &e,
               REASON_STRICT_DEVMEM);
    assert_null(dev);
    vmm_close(&v);
    fn_ok(dev_sysfs_open(fn_root(), vfio_find(inv, fn_addr("gpu1")), &dev, &e), &e);
    dev_sysfs_close(dev);
    vfio_inventory_free(inv);
    fn_ok(vfio_give_back(fn_root(), fn_addr("gpu1"), "", &e), &e);
}

/* ---- resets ---- */

struct counted {
    uint64_t all, bus;
};

static struct counted
count(const char *name)
{
    return (struct counted){vm_count(name, "resets"), vm_count(name, "bus-resets")};
}

static void
each_reset_reaches_the_gpu_as_what_it_is(void **state)
{
    const char *gpu = vm_addr("gpu1");
    struct pci_addr a = fn_addr("gpu1");
    struct counted before, after;
    struct err e = ERR_INIT;
    char methods[64];

    (void)state;
    (void)snprintf(methods, sizeof(methods), "%s", fn_attr(gpu, "reset_method"));
    assert_string_equal(methods, "flr bus");
    for (int bound = 0; bound < 2; bound++) {
        if (bound)
            fn_ok(vfio_bind(fn_root(), a, VFIO, &e), &e);
        before = count("gpu1");
        fn_ok(vfio_reset_dev(fn_root(), a, VFIO_RESET_FUNCTION, &e), &e);
        after = count("gpu1");
        assert_int_equal(after.bus, before.bus);
        assert_int_equal(after.all, before.all + 1);
        assert_string_equal(fn_attr(gpu, "reset_method"), methods);
        fn_ok(vfio_reset_dev(fn_root(), a, VFIO_RESET_BUS, &e), &e);
        before = after;
        after = count("gpu1");
        assert_int_equal(after.bus, before.bus + 1);
        assert_int_equal(after.all, before.all + 1);
        assert_string_equal(fn_attr(gpu, "reset_method"), methods);
    }
    fn_ok(vfio_give_back(fn_root(), a, "", &e), &e);
}

/* "bus" would reset the companion as well; the kernel does not offer it, and takes "flr" alone. */
static void
a_gpu_with_a_companion_has_no_bus_reset_and_a_function_reset(void **state)
{
    struct pci_addr a = fn_addr("gpu0");
    struct counted before = count("gpu0"), after;
    struct err e = ERR_INIT;

    (void)state;
    fn_refused(vfio_reset_dev(fn_root(), a, VFIO_RESET_BUS, &e), &e, REASON_RESET_FAILED);
    fn_ok(vfio_reset_dev(fn_root(), a, VFIO_RESET_FUNCTION, &e), &e);
    after = count("gpu0");
    assert_int_equal(after.all, before.all + 1);
    assert_int_equal(after.bus, before.bus);
    assert_string_equal(fn_attr(vm_addr("gpu0"), "reset_method"), "flr");
    /* the list as the last act left it is enough for the next one */
    fn_ok(vfio_reset_dev(fn_root(), a, VFIO_RESET_FUNCTION, &e), &e);
}

static void
a_list_of_methods_cut_short_by_a_crash_does_not_hinder_the_other_one(void **state)
{
    const char *gpu = vm_addr("gpu1");
    struct counted before = count("gpu1");
    struct err e = ERR_INIT;

    (void)state;
    fn_write(gpu, "reset_method", "bus");
    fn_ok(vfio_reset_dev(fn_root(), fn_addr("gpu1"), VFIO_RESET_FUNCTION, &e), &e);
    assert_int_equal(count("gpu1").bus, before.bus);
    fn_write(gpu, "reset_method", "\n");
    fn_refused(vfio_reset_dev(fn_root(), fn_addr("gpu1"), VFIO_RESET_FUNCTION, &e), &e,
               REASON_RESET_FAILED);
    fn_write(gpu, "reset_method", "default");
    assert_string_equal(fn_attr(gpu, "reset_method"), "flr bus");
}

static void
remove_and_rescan_brings_it_back_with_its_bars_unbound_and_without_override(void **state)
{
    const char *gpu = vm_addr("gpu1");
    struct vfio_power_saved saved = {{0}, {0}};
    struct pci_addr a = fn_addr("gpu1");
    struct err e = ERR_INIT;
    char resource[512], again[512];
    struct look l;

    (void)state;
    (void)snprintf(resource, sizeof(resource), "%s", fn_attr(gpu, "resource"));
    fn_ok(vfio_bind(fn_root(), a, VFIO, &e), &e);
    fn_ok(vfio_reset_dev(fn_root(), a, VFIO_RESET_REMOVE_RESCAN, &e), &e);
    assert_string_equal(fn_driver(gpu), "");
    assert_string_equal(fn_attr(gpu, "driver_override"), "(null)");
    (void)snprintf(again, sizeof(again), "%s", fn_attr(gpu, "resource"));
    assert_true(strncmp(again, "0x0000000000000000 ", 19) != 0);
    /* BAR0 answers, once memory decode is on */
    fn_ok(vfio_power_wake(fn_root(), a, &saved, &e), &e);
    look_open(&l, "gpu1");
    assert_int_equal(bar0(&l, PMC_BOOT_0), GH100);
    look_close(&l);
    fn_ok(vfio_power_restore(fn_root(), a, &saved, &e), &e);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bound_idle_gpu_sleeps_and_our_code_wakes_it_and_lets_it_sleep_again),
        cmocka_unit_test(an_unbound_gpu_answers_and_waking_it_changes_nothing_that_stays),
        cmocka_unit_test(memory_decode_that_is_off_is_switched_on_by_waking),
        cmocka_unit_test(a_bar_that_a_vfio_user_works_with_is_refused_by_name),
        cmocka_unit_test(each_reset_reaches_the_gpu_as_what_it_is),
        cmocka_unit_test(a_gpu_with_a_companion_has_no_bus_reset_and_a_function_reset),
        cmocka_unit_test(a_list_of_methods_cut_short_by_a_crash_does_not_hinder_the_other_one),
        cmocka_unit_test(
            remove_and_rescan_brings_it_back_with_its_bars_unbound_and_without_override),
    };

    return cmocka_run_group_tests_name("vm.device", tests, fn_setup, NULL);
}
