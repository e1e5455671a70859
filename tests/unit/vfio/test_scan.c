/* SPDX-License-Identifier: Apache-2.0
 *
 * Discovery on plain directories: what is listed, what is left out, and odd entries.
 */
#include "vfio/scan.h"

#include "fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cmocka.h>

static int
setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    fixture_init(f);
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

static struct vfio_inventory *
scan(struct fixture *f)
{
    struct vfio_inventory *inv = NULL;
    struct err e = ERR_INIT;

    if (vfio_scan(&f->root, &inv, &e) < 0)
        fail_msg("%s", e.msg);
    assert_int_equal(e.cls, ERR_CLASS_NONE);
    return inv;
}

static const struct vfio_fn *
get(const struct vfio_inventory *inv, const char *addr)
{
    const struct vfio_fn *fn = vfio_find(inv, fixture_addr(addr));

    if (!fn)
        fail_msg("%s is not in the inventory", addr);
    return fn;
}

static const struct fixture_fn h100 = {"0000:41:00.0", 0x10de, 0x2330, 0x030200, "vfio-pci", 41};

static void
a_gpu_with_all_its_facts(void **state)
{
    struct fixture *f = *state;
    struct vfio_inventory *inv;
    const struct vfio_fn *fn;

    fixture_add(f, &h100);
    fixture_attr_text(f, h100.addr, "driver_override", "vfio-pci\n");
    fixture_attr_text(f, h100.addr, "vfio-dev/vfio7/dev", "511:7\n");
    fixture_attr_text(f, h100.addr, "sriov_numvfs", "0\n");
    fixture_attr_text(f, h100.addr, "power_state", "D3hot\n");
    inv = scan(f);
    assert_int_equal(inv->n, 1);
    fn = get(inv, h100.addr);
    assert_int_equal(fn->kind, VFIO_KIND_GPU);
    assert_int_equal(fn->vendor, 0x10de);
    assert_int_equal(fn->device, 0x2330);
    assert_int_equal(fn->subsys_vendor, 0x10de);
    assert_int_equal(fn->subsys_device, 0x1626);
    assert_int_equal(fn->class_code, 0x030200);
    assert_string_equal(fn->driver, "vfio-pci");
    assert_string_equal(fn->override, "vfio-pci");
    assert_int_equal(fn->iommu_group, 41);
    assert_int_equal(fn->numa_node, 1);
    assert_int_equal(fn->cdev, 7);
    assert_int_equal(fn->num_vfs, 0);
    assert_false(fn->is_vf);
    assert_string_equal(fn->power_state, "D3hot");
    assert_int_equal(fn->reason, REASON_NONE);
    if (access("/usr/share/misc/pci.ids", R_OK) == 0)
        assert_non_null(strstr(fn->name, "GH100"));
    vfio_inventory_free(inv);
}

static void
an_unknown_product_is_named_by_numbers(void **state)
{
    struct fixture *f = *state;
    struct fixture_fn fn = h100;
    struct vfio_inventory *inv;

    fn.device = 0xfffe;
    fn.driver = NULL;
    fixture_add(f, &fn);
    inv = scan(f);
    assert_string_equal(get(inv, fn.addr)->name, "10de:fffe");
    assert_string_equal(get(inv, fn.addr)->driver, "");
    assert_string_equal(get(inv, fn.addr)->override, "");
    assert_int_equal(get(inv, fn.addr)->cdev, -1);
    vfio_inventory_free(inv);
}

static void
companions_and_group_members_are_listed_and_nothing_else(void **state)
{
    static const struct fixture_fn fns[] = {
        {"0000:41:00.0", 0x10de, 0x2330, 0x030200, NULL, 5},
        {"0000:41:00.1", 0x10de, 0x22bd, 0x040300, "snd_hda_intel", 6}, /* slot, other group */
        {"0000:40:01.0", 0x1022, 0x14a5, 0x060400, "pcieport", 5},      /* bridge in the group */
        {"0000:42:00.0", 0x8086, 0x1533, 0x020000, "igb", 5},           /* foreign, in the group */
        {"0000:50:00.0", 0x8086, 0x1533, 0x020000, "igb", 7},           /* foreign, elsewhere */
        {"0000:51:00.0", 0x10de, 0x22bd, 0x040300, NULL, 8},            /* lone audio */
        {"0000:40:00.0", 0x1022, 0x14a4, 0x060400, "pcieport", 9},      /* bridge elsewhere */
    };
    struct fixture *f = *state;
    struct vfio_inventory *inv;

    for (size_t i = 0; i < sizeof(fns) / sizeof(fns[0]); i++)
        fixture_add(f, &fns[i]);
    inv = scan(f);
    assert_int_equal(inv->n, 4);
    assert_int_equal(get(inv, "0000:41:00.0")->kind, VFIO_KIND_GPU);
    assert_int_equal(get(inv, "0000:41:00.1")->kind, VFIO_KIND_OTHER);
    assert_int_equal(get(inv, "0000:40:01.0")->kind, VFIO_KIND_BRIDGE);
    assert_int_equal(get(inv, "0000:42:00.0")->kind, VFIO_KIND_OTHER);
    assert_string_equal(get(inv, "0000:42:00.0")->driver, "igb");
    for (unsigned i = 1; i < inv->n; i++)
        assert_true(pci_addr_cmp(inv->fn[i - 1].addr, inv->fn[i].addr) < 0);
    vfio_inventory_free(inv);
}

static void
switches_vga_gpus_domains_and_vfs(void **state)
{
    static const struct fixture_fn fns[] = {
        {"0000:05:00.0", 0x10de, 0x22a3, 0x068000, "nvidia-nvswitch", 114},
        {"0000:06:00.0", 0x10de, 0x22a3, 0x068000, NULL, 114},
        {"0000:07:00.0", 0x10de, 0x2bb5, 0x030000, NULL, 7},
        {"10000:c8:00.0", 0x10de, 0x2bb5, 0x030200, NULL, 8},
        {"10000:c8:00.4", 0x10de, 0x2bb5, 0x030200, NULL, 9},
    };
    struct fixture *f = *state;
    struct vfio_inventory *inv;
    char path[256];

    for (size_t i = 0; i < sizeof(fns) / sizeof(fns[0]); i++)
        fixture_add(f, &fns[i]);
    fixture_attr_text(f, "10000:c8:00.0", "sriov_numvfs", "16\n");
    (void)snprintf(path, sizeof(path), "%s/sys/devices/pci0/10000:c8:00.4/physfn", f->dir);
    assert_int_equal(symlink("../10000:c8:00.0", path), 0);
    inv = scan(f);
    assert_int_equal(inv->n, 5);
    assert_int_equal(get(inv, "0000:05:00.0")->kind, VFIO_KIND_NVSWITCH);
    assert_int_equal(get(inv, "0000:06:00.0")->kind, VFIO_KIND_NVSWITCH);
    assert_int_equal(get(inv, "0000:07:00.0")->kind, VFIO_KIND_GPU);
    assert_int_equal(get(inv, "10000:c8:00.0")->num_vfs, 16);
    assert_int_equal(get(inv, "10000:c8:00.0")->device, 0x2bb5);
    assert_true(get(inv, "10000:c8:00.4")->is_vf);
    vfio_inventory_free(inv);
}

/* What may be broken about one function, and whether that makes it unreadable. */
struct oddity {
    const char *attr;
    const char *text; /* NULL: absent */
    bool unreadable;
};

static const struct oddity oddities[] = {
    {"vendor", NULL, true},
    {"vendor", "garbage\n", true},
    {"vendor", "", true},
    {"device", NULL, true},
    {"device", "0xnonsense\n", true},
    {"class", NULL, true},
    {"class", "\xff\xfe\n", true},
    {"class", "0x03020000000\n", true},
    {"subsystem_vendor", NULL, false},
    {"subsystem_device", "junk", false},
    {"numa_node", NULL, false},
    {"numa_node", "many\n", false},
    {"power_state", NULL, false},
    {"power_state", "a state with a very long name indeed\n", false},
    {"driver_override", NULL, false},
    {"sriov_numvfs", "junk\n", true},
    {"sriov_numvfs", "-1\n", true},
    {"resource", NULL, false},
    {"resource", "junk\n", false},
    {"config", NULL, false},
    {"irq", "junk\n", false},
    {"revision", NULL, false},
};

static void
odd_devices_never_break_the_scan_of_others(void **state)
{
    const unsigned n_odd = sizeof(oddities) / sizeof(oddities[0]);
    struct fixture *f = *state;
    struct vfio_inventory *inv;
    const unsigned total = 200;
    char addr[PCI_ADDR_STR];

    for (unsigned i = 0; i < total; i++) {
        const struct oddity *o = &oddities[i % n_odd];
        const struct fixture_fn fn = {addr, 0x10de, 0x2330, 0x030200, NULL, (int)i};

        (void)pci_addr_str((struct pci_addr){.bus = (uint8_t)i}, addr);
        fixture_add(f, &fn);
        if (o->text)
            fixture_attr_text(f, addr, o->attr, o->text);
        else
            fixture_unlink(f, addr, o->attr);
    }
    fixture_add(f, &(const struct fixture_fn){"0001:00:00.0", 0x10de, 0x2331, 0x030200, NULL, 999});
    fixture_file(f, "/sys/bus/pci/devices/not-an-address/vendor", "0x10de\n");
    fixture_file(f, "/sys/bus/pci/devices/41:00.0/vendor", "0x10de\n");
    inv = scan(f);
    assert_int_equal(inv->n, total + 1);
    assert_int_equal(get(inv, "0001:00:00.0")->reason, REASON_NONE);
    assert_int_equal(get(inv, "0001:00:00.0")->device, 0x2331);
    for (unsigned i = 0; i < total; i++) {
        const struct oddity *o = &oddities[i % n_odd];
        const struct vfio_fn *fn =
            get(inv, pci_addr_str((struct pci_addr){.bus = (uint8_t)i}, addr));

        if ((fn->reason == REASON_UNREADABLE) != o->unreadable)
            fail_msg("%s = \"%s\": reason %s (%s)", o->attr, o->text ? o->text : "(absent)",
                     reason_name(fn->reason), fn->text);
        assert_true((fn->text[0] != '\0') == o->unreadable);
        if (!o->unreadable)
            assert_int_equal(fn->kind, VFIO_KIND_GPU);
    }
    vfio_inventory_free(inv);
}

static void
a_group_that_cannot_be_listed_is_unreadable(void **state)
{
    struct fixture *f = *state;
    struct vfio_inventory *inv;
    char path[256];

    fixture_add(f, &h100);
    (void)snprintf(path, sizeof(path), "%s/sys/kernel/iommu_groups/41/devices/%s", f->dir,
                   h100.addr);
    assert_int_equal(unlink(path), 0);
    *strrchr(path, '/') = '\0';
    assert_int_equal(rmdir(path), 0);
    inv = scan(f);
    assert_int_equal(get(inv, h100.addr)->reason, REASON_UNREADABLE);
    vfio_inventory_free(inv);
}

static void
no_bus_is_an_error_and_an_empty_bus_is_not(void **state)
{
    struct fixture *f = *state;
    struct vfio_inventory *inv = scan(f), *untouched = NULL;
    struct fs_root nowhere;
    struct err e = ERR_INIT;
    char path[128];

    assert_int_equal(inv->n, 0);
    assert_null(vfio_find(inv, fixture_addr("0000:00:00.0")));
    vfio_inventory_free(inv);
    (void)snprintf(path, sizeof(path), "%s/sys/kernel", f->dir);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(fs_root_open(&nowhere, path, &e), 0);
    assert_true(vfio_scan(&nowhere, &untouched, &e) < 0);
    assert_null(untouched);
    assert_non_null(strstr(e.msg, "scan the PCI bus"));
    fs_root_close(&nowhere);
}

static void
wanted_driver_follows_modules_alias(void **state)
{
    struct fixture *f = *state;
    const struct vfio_fn gh200 = {.vendor = 0x10de, .device = 0x2342, .class_code = 0x030200};
    const struct vfio_fn other = {.vendor = 0x10de, .device = 0x2330, .class_code = 0x030200};
    struct err e = ERR_INIT;
    struct utsname u;
    char path[256], driver[32];

    assert_int_equal(vfio_wanted_driver(&f->root, &gh200, driver, sizeof(driver), &e), 0);
    assert_string_equal(driver, "vfio-pci"); /* no module tree at all */
    assert_int_equal(uname(&u), 0);
    (void)snprintf(path, sizeof(path), "/lib/modules/%s/modules.alias", u.release);
    fixture_file(f, path,
                 "# Aliases extracted from modules themselves.\n"
                 "alias pci:v000010DEd*sv*sd*bc03sc02i00* nouveau\n"
                 "alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n"
                 "alias vfio_pci:v000010DEd00002342sv*sd*bc*sc*i* nvgrace_gpu_vfio_pci\n"
                 "alias vfio_pci:v000010DEd00002342sv*sd*bc03sc*i* not_a_driver_of_vfio\n"
                 "alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci\n"
                 "alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci");
    assert_int_equal(vfio_wanted_driver(&f->root, &gh200, driver, sizeof(driver), &e), 0);
    assert_string_equal(driver, "nvgrace_gpu_vfio_pci");
    assert_int_equal(vfio_wanted_driver(&f->root, &other, driver, sizeof(driver), &e), 0);
    assert_string_equal(driver, "vfio-pci");
    assert_true(vfio_wanted_driver(&f->root, &gh200, driver, 8, &e) < 0);
}

static void
vfio_drivers_by_name(void **state)
{
    (void)state;
    assert_true(vfio_is_vfio_driver("vfio-pci"));
    assert_true(vfio_is_vfio_driver("nvgrace_gpu_vfio_pci"));
    assert_true(vfio_is_vfio_driver("mlx5-vfio-pci"));
    assert_false(vfio_is_vfio_driver("nvidia"));
    assert_false(vfio_is_vfio_driver(""));
    assert_false(vfio_is_vfio_driver("novfio-pci"));
    assert_false(vfio_is_vfio_driver("vfio-pci-x"));
}

static void
node_paths(void **state)
{
    struct vfio_fn fn = {.iommu_group = 17, .cdev = 3, .driver = "vfio-pci"};
    struct err e = ERR_INIT;
    char path[64];

    (void)state;
    assert_int_equal(vfio_node_path(&fn, false, path, sizeof(path), &e), 0);
    assert_string_equal(path, "/dev/vfio/devices/vfio3");
    fn.cdev = -1;
    assert_int_equal(vfio_node_path(&fn, true, path, sizeof(path), &e), 0);
    assert_string_equal(path, "/dev/vfio/17");
    assert_true(vfio_node_path(&fn, false, path, sizeof(path), &e) < 0);
    assert_int_equal(e.reason, REASON_NO_CDEV);
    fn.driver[0] = '\0';
    assert_true(vfio_node_path(&fn, true, path, sizeof(path), &e) < 0);
    assert_int_equal(e.reason, REASON_NOT_BOUND);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_gpu_with_all_its_facts, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unknown_product_is_named_by_numbers, setup, teardown),
        cmocka_unit_test_setup_teardown(companions_and_group_members_are_listed_and_nothing_else,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(switches_vga_gpus_domains_and_vfs, setup, teardown),
        cmocka_unit_test_setup_teardown(odd_devices_never_break_the_scan_of_others, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_group_that_cannot_be_listed_is_unreadable, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(no_bus_is_an_error_and_an_empty_bus_is_not, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(wanted_driver_follows_modules_alias, setup, teardown),
        cmocka_unit_test(vfio_drivers_by_name),
        cmocka_unit_test(node_paths),
    };

    return cmocka_run_group_tests_name("vfio.scan", tests, NULL, NULL);
}
