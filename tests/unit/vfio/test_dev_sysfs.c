/* SPDX-License-Identifier: Apache-2.0
 *
 * The register backend on plain files (pread and pwrite; mapping needs a real sysfs).
 */
#include "vfio/dev_sysfs.h"

#include "fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ADDR "0000:41:00.0"
#define BAR_SIZE 0x2000u

static int
setup(void **state)
{
    static const uint32_t bar[BAR_SIZE / 4] = {0x180000a1, 0, 0x11223344};
    uint8_t config[257]; /* one byte of a word that does not answer as a whole */
    struct fixture *f = calloc(1, sizeof(*f));
    const struct fixture_fn fn = {ADDR, 0x10de, 0x2330, 0x030200, NULL, 41};

    assert_non_null(f);
    fixture_init(f);
    fixture_add(f, &fn);
    fixture_attr_text(f, ADDR, "resource", "0x1000 0x2fff 0x14220c\n");
    fixture_attr(f, ADDR, "resource0", bar, sizeof(bar));
    for (unsigned i = 0; i < sizeof(config); i++)
        config[i] = (uint8_t)i;
    fixture_attr(f, ADDR, "config", config, sizeof(config));
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

static struct vfio_fn
function(void)
{
    return (struct vfio_fn){
        .addr = fixture_addr(ADDR), .vendor = 0x10de, .device = 0x2330, .class_code = 0x030200};
}

static void
registers_and_configuration_space(void **state)
{
    struct fixture *f = *state;
    const struct vfio_fn fn = function();
    struct dev_sysfs *d = NULL;
    struct err e = ERR_INIT;
    const struct hw_dev *hw;
    uint32_t v = 0;

    assert_int_equal(dev_sysfs_open(&f->root, &fn, &d, &e), 0);
    hw = dev_sysfs_hw(d);
    assert_int_equal(hw->device, 0x2330);
    assert_int_equal(hw->ops->bar_read32(hw->ctx, 8, &v, &e), 0);
    assert_int_equal(v, 0x11223344);
    assert_int_equal(hw->ops->bar_write32(hw->ctx, BAR_SIZE - 4, 0xcafe, &e), 0);
    assert_int_equal(hw->ops->bar_read32(hw->ctx, BAR_SIZE - 4, &v, &e), 0);
    assert_int_equal(v, 0xcafe);
    assert_int_equal(hw->ops->cfg_read(hw->ctx, 0x11, 1, &v, &e), 0);
    assert_int_equal(v, 0x11);
    assert_int_equal(hw->ops->cfg_read(hw->ctx, 0x12, 2, &v, &e), 0);
    assert_int_equal(v, 0x1312);
    assert_int_equal(hw->ops->cfg_write(hw->ctx, 0x10, 2, 0xaabb, &e), 0);
    assert_int_equal(hw->ops->cfg_read(hw->ctx, 0x10, 4, &v, &e), 0);
    assert_int_equal(v, 0x1312aabb);
    /* extended space that this function lacks does not answer */
    assert_int_equal(hw->ops->cfg_read(hw->ctx, 0x100, 4, &v, &e), 0);
    assert_int_equal(v, 0xffffffff);
    assert_int_equal(hw->ops->cfg_read(hw->ctx, 0x100, 2, &v, &e), 0);
    assert_int_equal(v, 0xffff);
    assert_true(hw->ops->now_ns(hw->ctx) > 0);
    dev_sysfs_close(d);
}

static void
accesses_outside_are_refused(void **state)
{
    struct fixture *f = *state;
    const struct vfio_fn fn = function();
    struct dev_sysfs *d = NULL;
    struct err e = ERR_INIT;
    const struct hw_dev *hw;
    uint32_t v = 7;

    assert_int_equal(dev_sysfs_open(&f->root, &fn, &d, &e), 0);
    hw = dev_sysfs_hw(d);
    assert_true(hw->ops->bar_read32(hw->ctx, 2, &v, &e) < 0);
    assert_true(hw->ops->bar_read32(hw->ctx, BAR_SIZE, &v, &e) < 0);
    assert_true(hw->ops->bar_read32(hw->ctx, 0xfffffffc, &v, &e) < 0);
    assert_true(hw->ops->bar_write32(hw->ctx, BAR_SIZE, 0, &e) < 0);
    assert_true(hw->ops->cfg_read(hw->ctx, 1, 2, &v, &e) < 0);
    assert_true(hw->ops->cfg_read(hw->ctx, 0, 3, &v, &e) < 0);
    assert_true(hw->ops->cfg_read(hw->ctx, 4096, 4, &v, &e) < 0);
    assert_true(hw->ops->cfg_write(hw->ctx, 2, 4, 0, &e) < 0);
    assert_int_equal(v, 7);
    assert_int_equal(e.cls, ERR_CLASS_INVALID);
    dev_sysfs_close(d);
}

static void
unusable_bars_have_a_reason(void **state)
{
    static const char *const bad[] = {
        "0x0 0x0 0x0\n",            /* no address space left at a rescan */
        "0x1000 0x2fff 0x100\n",    /* I/O ports */
        "0x1000 0x10ff 0x200\n",    /* too small */
        "0x0 0x1fffffffff 0x200\n", /* absurd */
        "garbage\n",
        "",
    };
    struct fixture *f = *state;
    const struct vfio_fn fn = function();

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct dev_sysfs *d = NULL;
        struct err e = ERR_INIT;

        fixture_attr_text(f, ADDR, "resource", bad[i]);
        assert_true(dev_sysfs_open(&f->root, &fn, &d, &e) < 0);
        assert_null(d);
        assert_int_equal(e.reason, REASON_BAR_DEAD);
    }
}

static void
missing_files_have_a_reason(void **state)
{
    struct fixture *f = *state;
    struct vfio_fn fn = function();
    struct dev_sysfs *d = NULL;
    struct err e = ERR_INIT;

    fixture_unlink(f, ADDR, "config");
    assert_true(dev_sysfs_open(&f->root, &fn, &d, &e) < 0);
    assert_int_equal(e.reason, REASON_UNREADABLE);
    err_clear(&e);
    fixture_unlink(f, ADDR, "resource0");
    assert_true(dev_sysfs_open(&f->root, &fn, &d, &e) < 0);
    assert_int_equal(e.reason, REASON_BAR_DEAD);
    err_clear(&e);
    fn.addr = fixture_addr("0000:99:00.0");
    assert_true(dev_sysfs_open(&f->root, &fn, &d, &e) < 0);
    assert_int_equal(e.reason, REASON_DEVICE_GONE);
    assert_null(d);
    dev_sysfs_close(NULL);
}

static void
a_file_that_ends_early_is_an_error(void **state)
{
    struct fixture *f = *state;
    const struct vfio_fn fn = function();
    struct dev_sysfs *d = NULL;
    struct err e = ERR_INIT;
    const struct hw_dev *hw;
    uint32_t v = 7;

    fixture_attr(f, ADDR, "resource0", "1234567", 7);
    assert_int_equal(dev_sysfs_open(&f->root, &fn, &d, &e), 0);
    hw = dev_sysfs_hw(d);
    assert_true(hw->ops->bar_read32(hw->ctx, 4, &v, &e) < 0);
    assert_int_equal(e.reason, REASON_BAR_DEAD);
    assert_int_equal(v, 7);
    dev_sysfs_close(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
        T(registers_and_configuration_space),  T(accesses_outside_are_refused),
        T(unusable_bars_have_a_reason),        T(missing_files_have_a_reason),
        T(a_file_that_ends_early_is_an_error),
#undef T
    };

    return cmocka_run_group_tests_name("vfio.dev_sysfs", tests, NULL, NULL);
}
