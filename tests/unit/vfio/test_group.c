/* SPDX-License-Identifier: Apache-2.0
 *
 * IOMMU groups as a table: who may go to one VM, and what the kernel would say.
 */
#include "vfio/group.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GPU(bus, drv)                                                                              \
    {                                                                                              \
        .addr = {0, bus, 0, 0}, .kind = VFIO_KIND_GPU, .vendor = 0x10de, .name = "GH100",          \
        .driver = drv, .iommu_group = 5                                                            \
    }
#define SWITCH(bus, drv)                                                                           \
    {                                                                                              \
        .addr = {0, bus, 0, 0}, .kind = VFIO_KIND_NVSWITCH, .vendor = 0x10de, .name = "NVSwitch",  \
        .driver = drv, .iommu_group = 5                                                            \
    }
#define OTHER(vnd, bus, fun, drv)                                                                  \
    {                                                                                              \
        .addr = {0, bus, 0, fun}, .kind = VFIO_KIND_OTHER, .vendor = vnd, .driver = drv,           \
        .iommu_group = 5                                                                           \
    }

struct row {
    const char *what;
    struct vfio_fn fn[4];
    unsigned n;
    enum reason shape, viable;
    const char *named; /* address that the error names */
};

static const struct row rows[] = {
    {"one GPU", {GPU(1, "vfio-pci")}, 1, REASON_NONE, REASON_NONE, NULL},
    {"one GPU on a variant driver",
     {GPU(1, "nvgrace_gpu_vfio_pci")},
     1,
     REASON_NONE,
     REASON_NONE,
     NULL},
    {"one GPU on nvidia", {GPU(1, "nvidia")}, 1, REASON_NONE, REASON_GROUP_NOT_VIABLE, "0000:01"},
    {"audio of the GPU on its host driver",
     {GPU(1, "vfio-pci"), OTHER(0x10de, 1, 1, "snd_hda_intel")},
     2,
     REASON_NONE,
     REASON_GROUP_NOT_VIABLE,
     "0000:01:00.1"},
    {"companion of another vendor in the slot",
     {GPU(1, ""), OTHER(0x1b73, 1, 2, "xhci_hcd")},
     2,
     REASON_NONE,
     REASON_GROUP_NOT_VIABLE,
     "0000:01:00.2"},
    {"two GPUs", {GPU(1, ""), GPU(2, "")}, 2, REASON_GROUP_SHARED, REASON_NONE, "0000:02:00.0"},
    {"a GPU and a switch",
     {GPU(1, ""), SWITCH(2, "")},
     2,
     REASON_GROUP_SHARED,
     REASON_NONE,
     "0000:01:00.0"},
    {"a switch and a GPU",
     {SWITCH(1, ""), GPU(2, "")},
     2,
     REASON_GROUP_SHARED,
     REASON_NONE,
     "0000:01:00.0"},
    {"three switches",
     {SWITCH(1, "vfio-pci"), SWITCH(2, "vfio-pci"), SWITCH(3, "")},
     3,
     REASON_NONE,
     REASON_NONE,
     NULL},
    {"a foreign card at work",
     {GPU(1, "vfio-pci"), OTHER(0x8086, 9, 0, "igb")},
     2,
     REASON_GROUP_NOT_VIABLE,
     REASON_GROUP_NOT_VIABLE,
     "0000:09:00.0"},
    {"a foreign card without a driver",
     {GPU(1, "vfio-pci"), OTHER(0x8086, 9, 0, "")},
     2,
     REASON_NONE,
     REASON_NONE,
     NULL},
    {"a foreign card on pci-stub",
     {GPU(1, "vfio-pci"), OTHER(0x8086, 9, 0, "pci-stub")},
     2,
     REASON_NONE,
     REASON_NONE,
     NULL},
};

static void
check(const struct row *row, int r, enum reason want, const struct err *e)
{
    if ((r < 0) != (want != REASON_NONE) || (r < 0 && e->reason != want))
        fail_msg("%s: got %s (%s), want %s", row->what, reason_name(e->reason), e->msg,
                 reason_name(want));
    if (r < 0 && !strstr(e->msg, row->named))
        fail_msg("%s: \"%s\" does not name %s", row->what, e->msg, row->named);
}

static void
groups_by_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct vfio_fn fn[5];
        struct vfio_inventory inv = {.n = rows[i].n + 1, .fn = fn};
        struct vfio_group g;
        struct err e = ERR_INIT;

        memcpy(fn, rows[i].fn, sizeof(rows[i].fn));
        /* a bridge in the group never counts */
        fn[rows[i].n] = (struct vfio_fn){
            .addr = {0, 0, 1, 0}, .kind = VFIO_KIND_BRIDGE, .driver = "pcieport", .iommu_group = 5};
        assert_int_equal(vfio_group_of(&inv, &fn[0], &g, &e), 0);
        assert_int_equal(g.n, rows[i].n);
        assert_int_equal(g.id, 5);
        check(&rows[i], vfio_group_shape(&g, &e), rows[i].shape, &e);
        err_clear(&e);
        check(&rows[i], vfio_group_viable(&g, &e), rows[i].viable, &e);
    }
}

static void
vfs_and_unreadable_members_refuse_the_group(void **state)
{
    struct vfio_fn fn[2] = {GPU(1, ""), OTHER(0x10de, 1, 1, "")};
    struct vfio_inventory inv = {.n = 2, .fn = fn};
    struct vfio_group g;
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(vfio_group_of(&inv, &fn[0], &g, &e), 0);
    fn[0].num_vfs = 16;
    assert_true(vfio_group_shape(&g, &e) < 0);
    assert_int_equal(e.reason, REASON_VFS_ENABLED);
    fn[0].num_vfs = 0;
    fn[0].is_vf = true;
    err_clear(&e);
    assert_true(vfio_group_shape(&g, &e) < 0);
    assert_int_equal(e.reason, REASON_VFS_ENABLED);
    fn[0].is_vf = false;
    fn[1].reason = REASON_UNREADABLE;
    err_clear(&e);
    assert_true(vfio_group_shape(&g, &e) < 0);
    assert_int_equal(e.reason, REASON_UNREADABLE);
    assert_non_null(strstr(e.msg, "0000:01:00.1"));
}

static void
no_group_and_too_large_a_group(void **state)
{
    struct vfio_fn fn[VFIO_GROUP_FNS_MAX + 1];
    struct vfio_inventory inv = {.n = VFIO_GROUP_FNS_MAX + 1, .fn = fn};
    struct vfio_group g = {.id = 77};
    struct err e = ERR_INIT;

    (void)state;
    for (unsigned i = 0; i < inv.n; i++)
        fn[i] = (struct vfio_fn){.addr = {0, (uint8_t)i, 0, 0}, .iommu_group = -1};
    assert_true(vfio_group_of(&inv, &fn[0], &g, &e) < 0);
    assert_int_equal(e.reason, REASON_NO_IOMMU);
    for (unsigned i = 0; i < inv.n; i++)
        fn[i].iommu_group = 4;
    err_clear(&e);
    assert_true(vfio_group_of(&inv, &fn[0], &g, &e) < 0);
    assert_int_equal(g.id, 77);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_by_table),
        cmocka_unit_test(vfs_and_unreadable_members_refuse_the_group),
        cmocka_unit_test(no_group_and_too_large_a_group),
    };

    return cmocka_run_group_tests_name("vfio.group", tests, NULL, NULL);
}
