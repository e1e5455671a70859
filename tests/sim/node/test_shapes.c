/* SPDX-License-Identifier: Apache-2.0
 *
 * Shapes of nodes, on the in-memory kernel.
 */
#include "kernel_kit.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static int
count_name(void *ctx, const char *name)
{
    (void)name;
    (*(int *)ctx)++;
    return 0;
}

static int
entries(struct kit *t, const char *path)
{
    int n = 0;

    assert_int_equal(sim_k_list(t->k, path, count_name, &n), 0);
    return n;
}

static void
the_default_is_an_hgx_board(void **state)
{
    struct kit t;

    (void)state;
    kit_init(&t);
    t.shape.gpus = 8;
    kit_start(&t);
    assert_string_equal(get(&t, DEV "0000:db:00.0/vendor"), "0x10de");
    assert_string_equal(get(&t, DEV "0000:db:00.0/device"), "0x2330");
    assert_string_equal(get(&t, DEV "0000:db:00.0/class"), "0x030200");
    assert_string_equal(get(&t, DEV GPU0 "/numa_node"), "0");
    assert_string_equal(get(&t, DEV "0000:db:00.0/numa_node"), "1");
    assert_string_equal(link_name(&t, DEV GPU0 "/subsystem"), "pci");
    assert_int_equal(entries(&t, DEV GPU0 "/iommu_group/devices"), 1);
    assert_true(there(&t, "/sys/devices/pci0000:17/0000:17:01.0/" GPU0 "/config"));
    assert_string_equal(link_name(&t, DEV "0000:17:01.0/driver"), "pcieport");
    assert_string_equal(get(&t, "/sys/module/kvm_amd/parameters/sev_snp"), "Y");
    kit_stop(&t);
}

static void
switches_share_a_group_or_not(void **state)
{
    struct kit t;

    (void)state;
    kit_init(&t);
    t.shape.nvswitches = 4;
    t.shape.switches_share = true;
    kit_start(&t);
    assert_string_equal(get(&t, DEV "0000:05:00.0/device"), "0x22a3");
    assert_string_equal(link_name(&t, DEV "0000:08:00.0/iommu_group"), "114");
    assert_int_equal(entries(&t, DEV "0000:05:00.0/iommu_group/devices"), 4);
    kit_stop(&t);
    kit_init(&t);
    t.shape.nvswitches = 4;
    kit_start(&t);
    assert_int_equal(entries(&t, DEV "0000:05:00.0/iommu_group/devices"), 1);
    kit_stop(&t);
}

static void
models_mix_and_domains_differ(void **state)
{
    struct err e = ERR_INIT;
    struct kit t;

    (void)state;
    kit_init(&t);
    t.shape.domain = 0x10000;
    t.shape.numa = -1;
    assert_int_equal(shape_models(&t.shape, "h200:1,rtxpro6000", &e), 0);
    kit_start(&t);
    assert_string_equal(get(&t, DEV "10000:18:00.0/device"), "0x2335");
    assert_string_equal(get(&t, DEV "10000:2a:00.0/device"), "0x2bb5");
    assert_string_equal(get(&t, DEV "10000:2a:00.0/numa_node"), "-1");
    assert_true(there(&t, "/sys/devices/pci10000:17"));
    kit_stop(&t);
    assert_true(shape_models(&t.shape, "h9000", &e) < 0);
}

static void
companions_sit_in_the_gpus_group(void **state)
{
    struct kit t;

    (void)state;
    kit_init(&t);
    t.shape.audio = t.shape.usb = true;
    kit_start(&t);
    assert_int_equal(entries(&t, DEV GPU0 "/iommu_group/devices"), 3);
    assert_string_equal(get(&t, DEV "0000:18:00.1/class"), "0x040300");
    assert_true(there(&t, DEV GPU0 "/consumer:pci:0000:18:00.1"));
    assert_true(there(&t, DEV "0000:18:00.1/supplier:pci:" GPU0));
    assert_string_equal(link_name(&t, DEV GPU0 "/consumer:pci:0000:18:00.1/consumer"),
                        "0000:18:00.1");
    assert_int_equal(put(&t, DEV "0000:18:00.1/remove", "1"), 0);
    assert_false(there(&t, DEV GPU0 "/consumer:pci:0000:18:00.1"));
    kit_stop(&t);
}

static void
gpus_can_share_a_group(void **state)
{
    struct kit t;

    (void)state;
    kit_init(&t);
    t.shape.gpus = 4;
    t.shape.gpus_per_group = 2;
    kit_start(&t);
    assert_int_equal(entries(&t, DEV GPU0 "/iommu_group/devices"), 2);
    kit_stop(&t);
}

static void
virtual_functions_come_and_go(void **state)
{
    struct kit t;

    (void)state;
    kit_init(&t);
    t.shape.gpus = 1;
    t.shape.vfs = 3;
    t.shape.driver = "nvidia";
    kit_start(&t);
    assert_string_equal(get(&t, DEV GPU0 "/sriov_numvfs"), "3");
    assert_string_equal(link_name(&t, DEV GPU0 "/virtfn2"), "0000:18:00.6");
    assert_string_equal(link_name(&t, DEV "0000:18:00.6/physfn"), GPU0);
    assert_int_equal(put(&t, DEV GPU0 "/sriov_numvfs", "2"), -EBUSY);
    assert_int_equal(put(&t, DEV GPU0 "/sriov_numvfs", "0"), 0);
    assert_false(there(&t, DEV "0000:18:00.6"));
    assert_int_equal(put(&t, DEV GPU0 "/sriov_numvfs", "2"), 0);
    assert_true(there(&t, DEV "0000:18:00.5"));
    assert_int_equal(put(&t, DEV GPU0 "/sriov_numvfs", "1000"), -ERANGE);
    kit_stop(&t);
}

static void
drivers_at_start_and_broken_attributes(void **state)
{
    struct kit t;

    (void)state;
    kit_init(&t);
    t.shape.driver = "nvidia";
    t.shape.missing = "numa_node,reset";
    t.shape.with[t.shape.n_with++] =
        GPU1 "=driver=vfio-pci,garbage=class+vendor,missing=iommu_group";
    kit_start(&t);
    assert_string_equal(link_name(&t, DEV GPU0 "/driver"), "nvidia");
    assert_string_equal(link_name(&t, DEV GPU1 "/driver"), "vfio-pci");
    assert_false(there(&t, DEV GPU0 "/numa_node"));
    assert_false(there(&t, DEV GPU0 "/reset"));
    assert_true(there(&t, DEV GPU1 "/reset"));
    assert_non_null(strstr(get(&t, DEV GPU1 "/class"), "garbage"));
    assert_false(there(&t, DEV GPU1 "/iommu_group"));
    assert_string_equal(get(&t, DEV GPU1 "/driver_override"), "vfio-pci");
    kit_stop(&t);
}

static void
without_iommufd_there_is_no_cdev(void **state)
{
    struct kit t;

    (void)state;
    kit_init(&t);
    t.p.iommufd = false;
    t.shape.driver = "vfio-pci";
    kit_start(&t);
    assert_false(there(&t, "/dev/iommu"));
    assert_false(there(&t, "/dev/vfio/devices"));
    assert_true(there(&t, DEV GPU0 "/vfio-dev/vfio0"));
    assert_false(there(&t, DEV GPU0 "/vfio-dev/vfio0/dev"));
    ctl(&t, "vmm-open " GPU0);
    kit_stop(&t);
}

static void
without_iommu_nothing_binds(void **state)
{
    struct kit t;

    (void)state;
    kit_init(&t);
    t.shape.no_iommu = true;
    kit_start(&t);
    assert_int_equal(entries(&t, "/sys/kernel/iommu_groups"), 0);
    assert_false(there(&t, DEV GPU0 "/iommu_group"));
    assert_int_equal(put(&t, DEV GPU0 "/driver_override", "vfio-pci"), 0);
    assert_int_equal(put(&t, VFIO "bind", GPU0), -EINVAL);
    kit_stop(&t);
}

static void
loading_vfio_pci_binds_what_waits_for_it(void **state)
{
    struct kit t;

    (void)state;
    kit_init(&t);
    t.p.vfio_loaded = false;
    kit_start(&t);
    assert_false(there(&t, VFIO "bind"));
    assert_false(there(&t, "/dev/vfio/vfio"));
    assert_int_equal(put(&t, VFIO "bind", GPU0), -ENOENT);
    assert_int_equal(put(&t, DEV GPU0 "/driver_override", "vfio-pci"), 0);
    ctl(&t, "load vfio-pci");
    assert_string_equal(link_name(&t, DEV GPU0 "/driver"), "vfio-pci");
    assert_string_equal(link_name(&t, DEV GPU1 "/driver"), "");
    assert_true(there(&t, "/dev/vfio/vfio"));
    ctl(&t, "vmm-open " GPU0);
    assert_non_null(strstr(ctl_fails(&t, "unload vfio-pci"), "busy"));
    ctl(&t, "vmm-close " GPU0);
    ctl(&t, "unload vfio-pci");
    assert_string_equal(link_name(&t, DEV GPU0 "/driver"), "");
    kit_stop(&t);
}

static void
a_variant_driver_matches_by_override_only(void **state)
{
    static const char drv[] = "/sys/bus/pci/drivers/nvgrace_gpu_vfio_pci/bind";
    struct kit t;

    (void)state;
    kit_init(&t);
    t.p.variant = "nvgrace_gpu_vfio_pci=10de:2330";
    kit_start(&t);
    assert_int_equal(put(&t, drv, GPU0), -ENODEV);
    assert_int_equal(put(&t, DEV GPU0 "/driver_override", "nvgrace_gpu_vfio_pci"), 0);
    assert_int_equal(put(&t, drv, GPU0), 0);
    assert_true(there(&t, "/dev/vfio/devices/vfio0"));
    kit_stop(&t);
}

static void
nonsense_shapes_are_refused(void **state)
{
    static const char *const bad[] = {"nonsense",
                                      "18:00.0=h100-sxm",
                                      "0000:99:00.0=h9000",
                                      "0000:99:00.0=h200,colour=red",
                                      "0000:99:00.0=h200,numa=x",
                                      "0000:99:00.0=h200,driver=a/b",
                                      GPU0 "=h200"};
    struct sim_kernel *k = NULL;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct err e = ERR_INIT;
        struct kit t;
        int r;

        kit_init(&t);
        t.shape.add[t.shape.n_add++] = bad[i];
        r = shape_build(&t.shape, &t.fns, &e);
        if (r == 0) {
            t.p.fn = t.fns.fn;
            t.p.n_fn = t.fns.n;
            r = sim_kernel_new(&t.p, &k, &e);
        }
        assert_true(r < 0);
        assert_true(strlen(e.msg) > 0);
        shape_fns_fini(&t.fns);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_default_is_an_hgx_board),
        cmocka_unit_test(switches_share_a_group_or_not),
        cmocka_unit_test(models_mix_and_domains_differ),
        cmocka_unit_test(companions_sit_in_the_gpus_group),
        cmocka_unit_test(gpus_can_share_a_group),
        cmocka_unit_test(virtual_functions_come_and_go),
        cmocka_unit_test(drivers_at_start_and_broken_attributes),
        cmocka_unit_test(without_iommufd_there_is_no_cdev),
        cmocka_unit_test(without_iommu_nothing_binds),
        cmocka_unit_test(loading_vfio_pci_binds_what_waits_for_it),
        cmocka_unit_test(a_variant_driver_matches_by_override_only),
        cmocka_unit_test(nonsense_shapes_are_refused),
    };

    return cmocka_run_group_tests_name("sim.shapes", tests, NULL, NULL);
}
