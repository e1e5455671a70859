/* SPDX-License-Identifier: Apache-2.0
 *
 * vfio/ binds and gives back on the real driver core: from nothing, from host drivers, against
 * overrides, with and without the module.
 */
#include "tests/vm/guest/fn.h"
#include "tests/vm/guest/host.h"
#include "tests/vm/guest/vmm.h"

#include "vfio/bind.h"
#include "vfio/group.h"
#include "vfio/hold.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define VFIO "vfio-pci"
#define STUB "pci-stub" /* a driver for any function, and none that does DMA */
#define HDA "snd_hda_intel"

static void
modprobe(const char *module)
{
    char out[512];

    if (vm_run(out, sizeof(out), "modprobe %s", module) != 0)
        fail_msg("modprobe %s: %s", module, out);
}

static void
unload(const char *module)
{
    char out[512];

    /* its exit status is also that of modules that it needs and others too */
    (void)vm_run(out, sizeof(out), "modprobe -r %s", module);
    if (access("/sys/bus/pci/drivers/vfio-pci", F_OK) == 0)
        fail_msg("modprobe -r %s: %s", module, out);
}

static const struct vfio_fn *
look(struct vfio_inventory **ret, const char *name)
{
    struct err e = ERR_INIT;
    const struct vfio_fn *fn;

    fn_ok(vfio_scan(fn_root(), ret, &e), &e);
    fn = vfio_find(*ret, fn_addr(name));
    assert_non_null(fn);
    return fn;
}

static void
without_the_module_nothing_is_touched(void **state)
{
    const char *gpu = vm_addr("gpu1");
    struct err e = ERR_INIT;

    (void)state;
    unload("vfio-pci");
    unload("vfio_iommu_type1");
    fn_refused(vfio_bind(fn_root(), fn_addr("gpu1"), VFIO, &e), &e, REASON_VFIO_PCI_NOT_LOADED);
    assert_string_equal(fn_attr(gpu, "driver_override"), "(null)");
    assert_string_equal(fn_driver(gpu), "");
    /* and once it is there, the same call works */
    modprobe("vfio-pci");
    modprobe("vfio_iommu_type1");
    fn_ok(vfio_bind(fn_root(), fn_addr("gpu1"), VFIO, &e), &e);
    assert_string_equal(fn_driver(gpu), VFIO);
    fn_ok(vfio_give_back(fn_root(), fn_addr("gpu1"), "", &e), &e);
}

static void
an_unbound_function_is_bound_and_left_unbound_again(void **state)
{
    const char *gpu = vm_addr("gpu1");
    struct pci_addr a = fn_addr("gpu1");
    struct vfio_inventory *inv = NULL;
    struct err e = ERR_INIT;
    const struct vfio_fn *fn;
    char node[64];

    (void)state;
    fn_ok(vfio_bind(fn_root(), a, VFIO, &e), &e);
    assert_string_equal(fn_driver(gpu), VFIO);
    assert_string_equal(fn_attr(gpu, "driver_override"), VFIO);
    fn = look(&inv, "gpu1");
    assert_string_equal(fn->driver, VFIO);
    assert_int_equal(fn->cdev, -1); /* Debian's kernels have no iommufd */
    assert_true(fn->group_num.major > 0);
    fn_refused(vfio_node_path(fn, false, node, sizeof(node), &e), &e, REASON_NO_CDEV);
    fn_ok(vfio_node_path(fn, true, node, sizeof(node), &e), &e);
    assert_int_equal(access(node, R_OK | W_OK), 0);
    vfio_inventory_free(inv);
    /* again: nothing to do, and nothing is disturbed */
    fn_ok(vfio_bind(fn_root(), a, VFIO, &e), &e);
    fn_ok(vfio_give_back(fn_root(), a, "", &e), &e);
    assert_string_equal(fn_driver(gpu), "");
    assert_string_equal(fn_attr(gpu, "driver_override"), "(null)");
    assert_int_not_equal(access(node, F_OK), 0);
    fn_ok(vfio_give_back(fn_root(), a, "", &e), &e);
}

static void
a_function_of_a_host_driver_is_taken_and_given_back_to_it(void **state)
{
    const char *gpu = vm_addr("gpu0");
    struct pci_addr a = fn_addr("gpu0");
    struct err e = ERR_INIT;

    (void)state;
    modprobe(STUB);
    fn_bus_write("drivers/pci-stub/new_id", "10de 2331"); /* what gpu0 alone is */
    assert_string_equal(fn_driver(gpu), STUB);
    fn_ok(vfio_bind(fn_root(), a, VFIO, &e), &e);
    assert_string_equal(fn_driver(gpu), VFIO);
    fn_ok(vfio_give_back(fn_root(), a, STUB, &e), &e);
    assert_string_equal(fn_driver(gpu), STUB);
    assert_string_equal(fn_attr(gpu, "driver_override"), "(null)");
    /* somebody's device by now: not unbound to be left without a driver */
    fn_ok(vfio_give_back(fn_root(), a, "", &e), &e);
    assert_string_equal(fn_driver(gpu), STUB);
    fn_bus_write("drivers/pci-stub/remove_id", "10de 2331");
    fn_release(gpu);
}

static void
a_module_loaded_after_the_override_has_bound_it_already(void **state)
{
    const char *gpu = vm_addr("gpu1");
    struct err e = ERR_INIT;

    (void)state;
    unload("vfio-pci");
    fn_write(gpu, "driver_override", VFIO);
    modprobe("vfio-pci");
    assert_string_equal(fn_driver(gpu), VFIO);
    fn_ok(vfio_bind(fn_root(), fn_addr("gpu1"), VFIO, &e), &e);
    fn_ok(vfio_give_back(fn_root(), fn_addr("gpu1"), "", &e), &e);
}

static void
an_override_to_another_driver_is_replaced(void **state)
{
    const char *gpu = vm_addr("gpu1");
    struct err e = ERR_INIT;

    (void)state;
    fn_write(gpu, "driver_override", STUB);
    fn_bus_write("drivers_probe", gpu);
    assert_string_equal(fn_driver(gpu), STUB);
    fn_ok(vfio_bind(fn_root(), fn_addr("gpu1"), VFIO, &e), &e);
    assert_string_equal(fn_driver(gpu), VFIO);
    fn_release(gpu);
    fn_write(gpu, "driver_override", "none-of-this-name");
    fn_ok(vfio_bind(fn_root(), fn_addr("gpu1"), VFIO, &e), &e);
    assert_string_equal(fn_driver(gpu), VFIO);
    fn_ok(vfio_give_back(fn_root(), fn_addr("gpu1"), "", &e), &e);
}

/* The driver refuses it: a bridge. Everything is as before, and the kernel's errno is told. */
static void
a_bind_that_the_driver_refuses_is_undone(void **state)
{
    static const struct pci_addr port = {.bus = 0, .dev = 1};
    const char *bridge = "0000:00:01.0";
    struct err e = ERR_INIT;

    (void)state;
    assert_string_equal(fn_driver(bridge), "pcieport");
    fn_refused(vfio_bind(fn_root(), port, VFIO, &e), &e, REASON_BIND_FAILED);
    assert_string_equal(fn_driver(bridge), "pcieport");
    assert_string_equal(fn_attr(bridge, "driver_override"), "(null)");
    fn_wait_present(vm_addr("gpu0"), true);
}

static void
what_is_not_on_the_bus_is_gone(void **state)
{
    static const struct pci_addr nowhere = {.bus = 0x77};
    struct err e = ERR_INIT;

    (void)state;
    fn_refused(vfio_bind(fn_root(), nowhere, VFIO, &e), &e, REASON_DEVICE_GONE);
    fn_refused(vfio_give_back(fn_root(), nowhere, "", &e), &e, REASON_DEVICE_GONE);
}

static void
a_sibling_on_a_host_driver_makes_the_group_unusable_until_it_is_taken(void **state)
{
    const char *gpu = vm_addr("gpu0"), *audio = "0000:01:00.1";
    struct vfio_inventory *inv = NULL;
    const struct vfio_fn *fn;
    struct vfio_group g;
    struct err e = ERR_INIT;
    struct vmm v;

    (void)state;
    modprobe("snd-hda-intel");
    assert_string_equal(fn_driver(audio), HDA);
    fn_ok(vfio_bind(fn_root(), fn_addr("gpu0"), VFIO, &e), &e);
    assert_int_equal(vmm_try(&v, gpu), EPERM);
    fn = look(&inv, "gpu0");
    fn_ok(vfio_group_of(inv, fn, &g, &e), &e);
    assert_int_equal(g.n, 2); /* the port above does not count */
    fn_ok(vfio_group_shape(&g, &e), &e);
    fn_refused(vfio_group_viable(&g, &e), &e, REASON_GROUP_NOT_VIABLE);
    vfio_inventory_free(inv);

    fn_ok(vfio_bind(fn_root(), fn_addr("audio0"), VFIO, &e), &e);
    assert_string_equal(fn_driver(audio), VFIO);
    fn = look(&inv, "gpu0");
    fn_ok(vfio_group_of(inv, fn, &g, &e), &e);
    fn_ok(vfio_group_viable(&g, &e), &e);
    vfio_inventory_free(inv);
    vmm_open(&v, gpu);
    vmm_close(&v);

    fn_ok(vfio_give_back(fn_root(), fn_addr("gpu0"), "", &e), &e);
    fn_ok(vfio_give_back(fn_root(), fn_addr("audio0"), HDA, &e), &e);
    assert_string_equal(fn_driver(audio), HDA);
}

/* Linux does not let a DMA driver into a group that a VFIO user owns. */
static void
giving_back_beside_a_user_of_the_group_fails_and_says_so(void **state)
{
    const char *gpu = vm_addr("gpu0"), *audio = "0000:01:00.1";
    struct err e = ERR_INIT;
    struct vmm v;

    (void)state;
    fn_ok(vfio_bind(fn_root(), fn_addr("gpu0"), VFIO, &e), &e);
    fn_ok(vfio_bind(fn_root(), fn_addr("audio0"), VFIO, &e), &e);
    vmm_open(&v, gpu);
    fn_refused(vfio_give_back(fn_root(), fn_addr("audio0"), HDA, &e), &e, REASON_BIND_FAILED);
    assert_string_equal(fn_driver(audio), "");
    vmm_close(&v);
    fn_ok(vfio_give_back(fn_root(), fn_addr("audio0"), HDA, &e), &e);
    assert_string_equal(fn_driver(audio), HDA);
    fn_ok(vfio_give_back(fn_root(), fn_addr("gpu0"), "", &e), &e);
    fn_release(audio);
}

static void
the_group_is_held_without_a_reset_and_keeps_vmms_out(void **state)
{
    const char *gpu = vm_addr("gpu1");
    struct vfio_inventory *inv = NULL;
    const struct vfio_fn *fn;
    struct err e = ERR_INIT;
    struct vmm v;
    uint64_t resets;
    int hold;

    (void)state;
    fn_ok(vfio_bind(fn_root(), fn_addr("gpu1"), VFIO, &e), &e);
    fn = look(&inv, "gpu1");
    resets = vm_count("gpu1", "resets");
    hold = vfio_hold(fn_root(), fn, &e);
    fn_ok(hold, &e);
    assert_int_equal(vmm_try(&v, gpu), EBUSY);
    assert_int_equal(vfio_in_use(fn_root(), fn, &e), 1);
    fn_refused(vfio_hold(fn_root(), fn, &e), &e, REASON_IN_USE);
    (void)close(hold);
    assert_int_equal(vfio_in_use(fn_root(), fn, &e), 0);
    assert_int_equal(vm_count("gpu1", "resets"), resets);
    /* the VMM's own open and last close do reset it */
    vmm_open(&v, gpu);
    assert_int_equal(vm_count("gpu1", "resets"), resets + 1);
    assert_int_equal(vfio_in_use(fn_root(), fn, &e), 1);
    vmm_close(&v);
    assert_int_equal(vm_count("gpu1", "resets"), resets + 2);
    vfio_inventory_free(inv);
    fn_ok(vfio_give_back(fn_root(), fn_addr("gpu1"), "", &e), &e);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_the_module_nothing_is_touched),
        cmocka_unit_test(an_unbound_function_is_bound_and_left_unbound_again),
        cmocka_unit_test(a_function_of_a_host_driver_is_taken_and_given_back_to_it),
        cmocka_unit_test(a_module_loaded_after_the_override_has_bound_it_already),
        cmocka_unit_test(an_override_to_another_driver_is_replaced),
        cmocka_unit_test(a_bind_that_the_driver_refuses_is_undone),
        cmocka_unit_test(what_is_not_on_the_bus_is_gone),
        cmocka_unit_test(a_sibling_on_a_host_driver_makes_the_group_unusable_until_it_is_taken),
        cmocka_unit_test(giving_back_beside_a_user_of_the_group_fails_and_says_so),
        cmocka_unit_test(the_group_is_held_without_a_reset_and_keeps_vmms_out),
    };

    return cmocka_run_group_tests_name("vm.bind", tests, fn_setup, NULL);
}
