/* SPDX-License-Identifier: Apache-2.0
 *
 * Units and claims on made-up scans.
 */
#include "hwd/unit.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define FNS 8

struct bus {
    struct vfio_fn fn[FNS];
    struct hwd_former former[FNS];
    struct hwd_scan scan;
    struct hwd_config cfg;
};

static void
bus_init(struct bus *b, const char *yaml)
{
    struct err e = ERR_INIT;

    memset(b, 0, sizeof(*b));
    b->scan.inv.fn = b->fn;
    b->scan.former = b->former;
    b->scan.iommufd = b->scan.vfio_ready = true;
    if (conf_parse("test", yaml, strlen(yaml), hwd_config_keys, &b->cfg, &e) < 0)
        fail_msg("%s", e.msg);
}

static struct vfio_fn *
add(struct bus *b, const char *addr, enum vfio_kind kind, uint16_t device, const char *driver,
    int group)
{
    struct vfio_fn *f = &b->fn[b->scan.inv.n++];

    assert_true(b->scan.inv.n <= FNS);
    assert_true(pci_addr_parse(addr, &f->addr));
    f->kind = kind;
    f->vendor = 0x10de;
    f->device = device;
    f->class_code = kind == VFIO_KIND_GPU        ? 0x030200
                    : kind == VFIO_KIND_NVSWITCH ? 0x068000
                                                 : 0x040300;
    f->iommu_group = group;
    f->numa_node = -1;
    f->cdev = vfio_is_vfio_driver(driver) ? (int)b->scan.inv.n : -1;
    (void)snprintf(f->driver, sizeof(f->driver), "%s", driver);
    (void)snprintf(f->name, sizeof(f->name), "GH100 [H100]");
    return f;
}

static struct hwd_units *
build(struct bus *b)
{
    struct hwd_units *u = NULL;
    struct err e = ERR_INIT;

    assert_int_equal(hwd_units_build(&b->scan, &b->cfg, &u, &e), 0);
    return u;
}

static const char *
reason(const struct hwd_units *u, unsigned i)
{
    return reason_name((enum reason)u->u[i].facts.reason);
}

static void
a_gpu_with_its_audio_function_is_one_unit(void **state)
{
    struct bus b;
    struct hwd_units *u;

    (void)state;
    bus_init(&b, "");
    add(&b, "0000:41:00.0", VFIO_KIND_GPU, 0x2331, "", 7);
    add(&b, "0000:41:00.1", VFIO_KIND_OTHER, 0x22ba, "snd_hda_intel", 7);
    u = build(&b);
    assert_int_equal(u->n, 1);
    assert_int_equal(u->u[0].n_fn, 2);
    assert_string_equal(u->u[0].facts.chip, "gh100");
    assert_string_equal(reason(u, 0), "NONE"); /* companions follow their GPU */
    assert_int_equal(u->u[0].facts.flags, HWD_FACT_CLAIMED | HWD_FACT_IOMMUFD);
    assert_int_equal(u->u[0].facts.gang_size, 1);
    hwd_units_free(u);
    /* bound means: all of it */
    (void)snprintf(b.fn[0].driver, sizeof(b.fn[0].driver), "vfio-pci");
    b.fn[0].cdev = 3;
    u = build(&b);
    assert_false(u->u[0].facts.flags & HWD_FACT_BOUND);
    assert_string_equal(u->u[0].facts.node, "");
    hwd_units_free(u);
    (void)snprintf(b.fn[1].driver, sizeof(b.fn[1].driver), "vfio-pci");
    u = build(&b);
    assert_true(u->u[0].facts.flags & HWD_FACT_BOUND);
    assert_string_equal(u->u[0].facts.node, "/dev/vfio/devices/vfio3");
    hwd_units_free(u);
    hwd_config_free(&b.cfg);
}

static void
switches_of_one_group_are_a_gang(void **state)
{
    struct bus b;
    struct hwd_units *u;

    (void)state;
    bus_init(&b, "");
    add(&b, "0000:05:00.0", VFIO_KIND_NVSWITCH, 0x22a3, "", 114);
    add(&b, "0000:06:00.0", VFIO_KIND_NVSWITCH, 0x22a3, "vfio-pci", 114);
    add(&b, "0000:18:00.0", VFIO_KIND_GPU, 0x2330, "", 15);
    u = build(&b);
    assert_int_equal(u->n, 3);
    assert_int_equal(u->u[0].facts.gang_size, 2);
    assert_int_equal(u->u[1].facts.gang_size, 2);
    assert_int_equal(u->u[2].facts.gang_size, 1);
    assert_string_equal(reason(u, 0), "NONE");
    hwd_units_free(u);
    /* a sibling on a driver that is not claimed spoils the group */
    (void)snprintf(b.fn[1].driver, sizeof(b.fn[1].driver), "nvidia-nvswitch");
    u = build(&b);
    assert_string_equal(reason(u, 0), "GROUP_NOT_VIABLE");
    assert_non_null(strstr(u->u[0].facts.text, "0000:06:00.0"));
    assert_string_equal(reason(u, 1), "DRIVER_IN_USE");
    hwd_units_free(u);
    hwd_config_free(&b.cfg);
}

static void
claims_go_by_driver_address_and_former_driver(void **state)
{
    static const struct {
        const char *yaml, *driver, *former, *reason; /* former NULL: none recorded */
    } t[] = {
        {"", "", NULL, "NONE"},
        {"", "vfio-pci", NULL, "NONE"},
        {"", "nvidia", NULL, "DRIVER_IN_USE"},
        {"claim: [nvidia]", "nvidia", NULL, "NONE"},
        {"claim: [nvidia]", "", NULL, "NOT_CLAIMED"},
        {"claim: [nvidia]", "vfio-pci", NULL, "NOT_CLAIMED"},
        {"claim: [nvidia]", "vfio-pci", "nvidia", "NONE"},
        {"claim: [unbound]", "vfio-pci", "", "NONE"},
        {"claim: [unbound]", "vfio-pci", "nvidia", "NOT_CLAIMED"},
        {"claim: [unbound]", "nouveau", "", "DRIVER_IN_USE"},
        {"claim: [vfio]", "nvgrace_gpu_vfio_pci", NULL, "NONE"},
        {"claim: ['0000:41:00.0']", "nvidia", NULL, "NONE"},
        {"claim: ['0000:42:00.0']", "nvidia", NULL, "DRIVER_IN_USE"},
        {"claim: [nvidia]\nexclude: ['0000:41:00.0']", "nvidia", NULL, "NOT_CLAIMED"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        struct bus b;
        struct hwd_units *u;

        bus_init(&b, t[i].yaml);
        add(&b, "0000:41:00.0", VFIO_KIND_GPU, 0x2331, t[i].driver, 7);
        b.former[0].known = t[i].former != NULL;
        (void)snprintf(b.former[0].driver, sizeof(b.former[0].driver), "%s",
                       t[i].former ? t[i].former : "");
        u = build(&b);
        if (strcmp(reason(u, 0), t[i].reason) != 0)
            fail_msg("case %zu (%s on \"%s\"): %s", i, t[i].yaml, t[i].driver, reason(u, 0));
        assert_int_equal(!!(u->u[0].facts.flags & HWD_FACT_CLAIMED),
                         strcmp(t[i].reason, "NONE") == 0);
        hwd_units_free(u);
        hwd_config_free(&b.cfg);
    }
}

static void
standing_obstacles_are_named(void **state)
{
    struct bus b;
    struct hwd_units *u;

#define CASE(yaml, change, want)                                                                   \
    do {                                                                                           \
        struct vfio_fn *f;                                                                         \
                                                                                                   \
        bus_init(&b, (yaml));                                                                      \
        f = add(&b, "0000:41:00.0", VFIO_KIND_GPU, 0x2331, "", 7);                                 \
        change;                                                                                    \
        u = build(&b);                                                                             \
        (void)f;                                                                                   \
        if (strcmp(reason(u, 0), (want)) != 0)                                                     \
            fail_msg("%s: %s, not %s", #change, reason(u, 0), (want));                             \
        hwd_units_free(u);                                                                         \
        hwd_config_free(&b.cfg);                                                                   \
    } while (0)
    (void)state;
    CASE("", f->device = 0x20b0, "CHIP_UNKNOWN"); /* A100 */
    CASE("", f->iommu_group = -1, "NO_IOMMU");
    CASE("", f->num_vfs = 2, "VFS_ENABLED");
    CASE("", f->reason = REASON_UNREADABLE, "UNREADABLE");
    CASE("", b.scan.vfio_ready = false, "VFIO_PCI_NOT_LOADED");
    CASE("", b.scan.iommufd = false, "NO_CDEV");
    CASE("vfio_node: group", b.scan.iommufd = false, "NONE");
    CASE("", add(&b, "0000:42:00.0", VFIO_KIND_GPU, 0x2331, "", 7), "GROUP_SHARED");
    CASE("", add(&b, "0000:41:00.3", VFIO_KIND_OTHER, 0x1, "xhci_hcd", 7)->vendor = 0x8086,
         "GROUP_NOT_VIABLE");
    CASE("", add(&b, "0000:41:00.3", VFIO_KIND_OTHER, 0x1, "pci-stub", 7)->vendor = 0x8086, "NONE");
    CASE("manage: verify", f->cdev = -1, "NOT_BOUND");
    CASE("", (f->device = 0x2342, f->subsys_vendor = 0x10de, f->subsys_device = 0x16eb),
         "C2C_PART"); /* GH200 */
    CASE("modes: [on, off]",
         (f->device = 0x2342, f->subsys_vendor = 0x10de, f->subsys_device = 0x16eb), "NONE");
}

static void
virtual_functions_are_no_units(void **state)
{
    struct bus b;
    struct hwd_units *u;

    (void)state;
    bus_init(&b, "");
    add(&b, "0000:41:00.0", VFIO_KIND_GPU, 0x2bb5, "", 7)->num_vfs = 1;
    add(&b, "0000:41:00.4", VFIO_KIND_GPU, 0x2bb5, "", 8)->is_vf = true;
    u = build(&b);
    assert_int_equal(u->n, 1);
    assert_int_equal(u->u[0].n_fn, 1);
    hwd_units_free(u);
    hwd_config_free(&b.cfg);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gpu_with_its_audio_function_is_one_unit),
        cmocka_unit_test(switches_of_one_group_are_a_gang),
        cmocka_unit_test(claims_go_by_driver_address_and_former_driver),
        cmocka_unit_test(standing_obstacles_are_named),
        cmocka_unit_test(virtual_functions_are_no_units),
    };

    return cmocka_run_group_tests_name("hwd.unit", tests, NULL, NULL);
}
