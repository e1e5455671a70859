/* SPDX-License-Identifier: Apache-2.0
 *
 * A node with eight GPUs, their companion functions and four NVSwitches, as the real kernel shows
 * it and as pgpu sees it.
 */
#include "tests/vm/guest/fn.h"
#include "tests/vm/guest/host.h"

#include "vfio/group.h"
#include "vfio/scan.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define GPUS 8
#define SWITCHES 4

static struct vfio_inventory *inv;

static int
scan_all(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    return vfio_scan(fn_root(), &inv, &e);
}

static const struct vfio_fn *
named(const char *kind, unsigned i)
{
    char name[32];
    const struct vfio_fn *fn;

    (void)snprintf(name, sizeof(name), "%s%u", kind, i);
    fn = vfio_find(inv, fn_addr(name));
    if (!fn)
        fail_msg("%s was not found", name);
    return fn;
}

static void
every_nvidia_function_is_found_and_nothing_else(void **state)
{
    unsigned kinds[VFIO_KIND_BRIDGE + 1] = {0};

    (void)state;
    assert_int_equal(vm_devices(""), 2 * GPUS + SWITCHES);
    for (unsigned i = 0; i < inv->n; i++) {
        kinds[inv->fn[i].kind]++;
        if (inv->fn[i].reason != REASON_NONE)
            fail_msg("%s: %s", PCI_STR(inv->fn[i].addr), inv->fn[i].text);
        if (inv->fn[i].kind != VFIO_KIND_BRIDGE)
            assert_int_equal(inv->fn[i].vendor, 0x10de);
    }
    assert_int_equal(kinds[VFIO_KIND_GPU], GPUS);
    assert_int_equal(kinds[VFIO_KIND_OTHER], GPUS); /* the audio functions */
    assert_int_equal(kinds[VFIO_KIND_NVSWITCH], SWITCHES);
    assert_int_equal(kinds[VFIO_KIND_BRIDGE], SWITCHES); /* the ports that share their group */
}

static void
gpus_are_told_with_ids_class_and_name(void **state)
{
    (void)state;
    for (unsigned i = 0; i < GPUS; i++) {
        const struct vfio_fn *fn = named("gpu", i);

        assert_int_equal(fn->kind, VFIO_KIND_GPU);
        assert_int_equal(fn->device, 0x2330);
        assert_int_equal(fn->subsys_device, 0x16c1);
        assert_int_equal(fn->class_code, 0x030200);
        assert_non_null(strstr(fn->name, "H100"));
        assert_string_equal(fn->driver, "");
        assert_string_equal(fn->override, "");
        assert_int_equal(fn->num_vfs, 0);
        assert_int_equal(fn->cdev, -1);
    }
}

static void
each_gpu_shares_its_group_with_its_companion_alone(void **state)
{
    (void)state;
    for (unsigned i = 0; i < GPUS; i++) {
        const struct vfio_fn *fn = named("gpu", i);
        struct vfio_group g;
        struct err e = ERR_INIT;

        assert_true(fn->iommu_group >= 0);
        fn_ok(vfio_group_of(inv, fn, &g, &e), &e);
        assert_int_equal(g.n, 2);
        assert_int_equal(named("audio", i)->iommu_group, fn->iommu_group);
        fn_ok(vfio_group_shape(&g, &e), &e);
        for (unsigned k = 0; k < i; k++)
            assert_int_not_equal(named("gpu", k)->iommu_group, fn->iommu_group);
    }
}

static void
the_switches_share_one_group_and_may(void **state)
{
    int group = named("switch", 0)->iommu_group;
    struct vfio_group g;
    struct err e = ERR_INIT;

    (void)state;
    for (unsigned i = 0; i < SWITCHES; i++) {
        const struct vfio_fn *fn = named("switch", i);

        assert_int_equal(fn->device, 0x22a3);
        assert_int_equal(fn->class_code, 0x068000);
        assert_int_equal(fn->iommu_group, group);
    }
    fn_ok(vfio_group_of(inv, named("switch", 0), &g, &e), &e);
    assert_int_equal(g.n, SWITCHES); /* the ports are in it as well, and do not count */
    fn_ok(vfio_group_shape(&g, &e), &e);
}

static void
facts_agree_with_what_the_kernel_says(void **state)
{
    (void)state;
    for (unsigned i = 0; i < inv->n; i++) {
        const struct vfio_fn *fn = &inv->fn[i];
        const char *addr = PCI_STR(fn->addr);
        char buf[64], want[64];

        (void)snprintf(want, sizeof(want), "0x%04x", fn->device);
        assert_string_equal(fn_attr(addr, "device"), want);
        (void)snprintf(want, sizeof(want), "0x%06x", fn->class_code);
        assert_string_equal(fn_attr(addr, "class"), want);
        (void)snprintf(want, sizeof(want), "%d", fn->numa_node);
        assert_string_equal(fn_attr(addr, "numa_node"), want);
        (void)snprintf(want, sizeof(want), "%d", fn->iommu_group);
        assert_string_equal(vm_link(buf, sizeof(buf), "/sys/bus/pci/devices/%s/iommu_group", addr),
                            want);
    }
}

static void
pgpuctl_lists_them_as_units(void **state)
{
    static char out[32768];
    unsigned n = 0;

    (void)state;
    assert_int_equal(vm_run(out, sizeof(out),
                            "/opt/pgpu/cli/pgpuctl --hwd /tmp/none/hwd.sock devices --offline"),
                     0);
    for (unsigned i = 0; i < inv->n; i++)
        n += strstr(out, PCI_STR(inv->fn[i].addr)) != NULL;
    if (n != GPUS + SWITCHES) /* a companion belongs to its GPU */
        fail_msg("%u units: %s", n, out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_nvidia_function_is_found_and_nothing_else),
        cmocka_unit_test(gpus_are_told_with_ids_class_and_name),
        cmocka_unit_test(each_gpu_shares_its_group_with_its_companion_alone),
        cmocka_unit_test(the_switches_share_one_group_and_may),
        cmocka_unit_test(facts_agree_with_what_the_kernel_says),
        cmocka_unit_test(pgpuctl_lists_them_as_units),
    };

    if (fn_setup(NULL) < 0)
        return 1;
    return cmocka_run_group_tests_name("vm.discovery", tests, scan_all, NULL);
}
