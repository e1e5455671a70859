/* SPDX-License-Identifier: Apache-2.0
 *
 * The VFIO backend on the kernel's VFIO in memory: the whole change of mode through it, what
 * opening and closing cost, every refusal by name, and a kernel that talks nonsense.
 */
#include "vfio/dev_vfio.h"

#include "ccmode/cc.h"
#include "vfio/abi.h"
#include "vfio_model.h"

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

static int
setup(void **state)
{
    struct model *m = calloc(1, sizeof(*m));

    assert_non_null(m);
    model_init(m);
    *state = m;
    return 0;
}

static int
teardown(void **state)
{
    model_fini(*state);
    free(*state);
    return 0;
}

static int
hold(struct model *m, const struct vfio_fn *fn)
{
    struct err e = ERR_INIT;
    int fd = vfio_hold_on(&m->sys, &m->fx.root, fn, &e);

    if (fd < 0)
        fail_msg("%s", e.msg);
    return fd;
}

static struct dev_vfio *
open_dev(struct model *m, const struct vfio_fn *fn, int held, int dev)
{
    struct dev_vfio *d = NULL;
    struct err e = ERR_INIT;

    if (dev_vfio_open_on(&m->sys, &m->fx.root, fn, held, dev, &d, &e) < 0)
        fail_msg("%s", e.msg);
    return d;
}

static struct cc_session
session(const struct dev_vfio *d)
{
    const struct hw_dev *hw = dev_vfio_hw(d);
    struct cc_session s = {.dev = hw, .chip = cc_chip_find(hw->vendor, hw->device, hw->class_code)};

    assert_non_null(s.chip);
    s.timing = cc_timing_default(s.chip);
    return s;
}

static void
release_fd(struct model *m, int fd)
{
    m->sys.close(m->sys.ctx, fd);
}

#define assert_cc(call)                                                                            \
    do {                                                                                           \
        if ((call) < 0)                                                                            \
            fail_msg("%s", e.msg);                                                                 \
    } while (0)

/* Three kinds of host: group and container, group and iommufd, cdev alone. */
static void
switch_mode_on(struct model *m, const char *gpu, int cdev)
{
    struct vfio_fn fn = model_add(m, ADDR, gpu, 41, cdev);
    struct cc_status st;
    struct err e = ERR_INIT;
    struct dev_vfio *d;
    struct cc_session s;
    int held;

    if (cdev >= 0) { /* a kernel without groups */
        char path[128];

        (void)snprintf(path, sizeof(path), "%s/dev/vfio/41", m->fx.dir);
        assert_int_equal(unlink(path), 0);
    }
    held = hold(m, &fn);
    assert_int_equal(model_resets(m, 0), cdev >= 0 ? 1 : 0);
    d = open_dev(m, &fn, held, -1);
    assert_int_equal(dev_vfio_was_reset(d), cdev < 0);
    assert_int_equal(model_resets(m, 0), 1);
    assert_int_equal(dev_vfio_fd(d) >= 0, cdev < 0);
    assert_true(dev_vfio_request_fd(d) >= 0);
    assert_int_equal(m->fn[0].request, dev_vfio_request_fd(d));

    s = session(d);
    assert_cc(cc_wait_boot(&s, &e));
    assert_cc(cc_sanity(&s, &e));
    assert_cc(cc_set(&s, CC_MODE_ON, &st, &e));
    assert_int_equal(st.active, CC_MODE_ON);
    assert_int_equal(sim_gpu_active_cc(model_gpu(m, 0)), 1);
    assert_int_equal(model_resets(m, 0), 2);
    assert_cc(cc_verify(&s, CC_MODE_ON, &st, &e));
    assert_cc(cc_set(&s, CC_MODE_OFF, &st, &e));
    assert_int_equal(sim_gpu_active_cc(model_gpu(m, 0)), 0);

    dev_vfio_close(d);
    release_fd(m, held);
    assert_int_equal(model_resets(m, 0), 4); /* the last close */
    assert_int_equal(sim_gpu_power(model_gpu(m, 0)), 3);
    assert_int_equal(model_open(m, M_NONE), 0);
}

static void
the_mode_is_set_and_verified_through_a_group(void **state)
{
    switch_mode_on(*state, "h100-sxm", -1);
}

static void
blackwell_boots_behind_its_firewall_through_a_group_as_well(void **state)
{
    switch_mode_on(*state, "b200", -1);
}

static void
an_iommufd_serves_a_group_where_type1_is_not_loaded(void **state)
{
    struct model *m = *state;

    m->no_type1 = m->iommufd = true;
    switch_mode_on(m, "h100-sxm", -1);
}

static void
the_first_type1_serves_where_the_second_is_not_there(void **state)
{
    struct model *m = *state;

    m->type1_v1_only = true;
    switch_mode_on(m, "h100-pcie", -1);
}

static void
a_cdev_is_hold_and_device_in_one(void **state)
{
    struct model *m = *state;

    m->iommufd = true;
    switch_mode_on(m, "rtxpro6000", 3);
}

static void
a_device_that_is_passed_on_costs_no_reset(void **state)
{
    struct model *m = *state;
    struct vfio_fn fn = model_add(m, ADDR, "h100-sxm", 41, -1);
    struct dev_vfio *first, *second;
    struct cc_session s;
    struct err e = ERR_INIT;
    enum cc_mode mode;
    int held = hold(m, &fn), fd;

    first = open_dev(m, &fn, held, -1);
    fd = dev_vfio_fd(first);
    /* as after SCM_RIGHTS: another owner of the same open device */
    m->file[fd - 1000].refs++;
    dev_vfio_close(first);
    m->file[fd - 1000].open = true;
    assert_int_equal(model_resets(m, 0), 1);

    second = open_dev(m, &fn, held, fd);
    assert_false(dev_vfio_was_reset(second));
    assert_int_equal(dev_vfio_request_fd(second), -1);
    assert_int_equal(dev_vfio_fd(second), fd);
    s = session(second);
    assert_cc(cc_wait_boot(&s, &e));
    assert_cc(cc_query_active(&s, &mode, &e));
    assert_int_equal(mode, CC_MODE_OFF);
    assert_int_equal(model_resets(m, 0), 1);
    dev_vfio_close(second);
    assert_int_equal(model_resets(m, 0), 2);
    release_fd(m, held);
}

static void
a_given_device_stays_its_owners_when_it_is_refused(void **state)
{
    struct model *m = *state;
    struct vfio_fn fn = model_add(m, ADDR, "h100-sxm", 41, -1);
    struct dev_vfio *d = NULL, *none = NULL;
    struct err e = ERR_INIT;
    int held = hold(m, &fn);

    d = open_dev(m, &fn, held, -1);
    m->fail_cmd = VFIO_DEVICE_GET_INFO;
    m->fail_num = EIO;
    assert_true(dev_vfio_open_on(&m->sys, &m->fx.root, &fn, held, dev_vfio_fd(d), &none, &e) < 0);
    assert_null(none);
    assert_int_equal(model_resets(m, 0), 1);
    m->fail_cmd = ~0ul;
    dev_vfio_close(d);
    release_fd(m, held);
}

static void
the_device_keeps_others_out_of_the_group(void **state)
{
    struct model *m = *state;
    struct vfio_fn fn = model_add(m, ADDR, "h100-sxm", 41, -1);
    struct err e = ERR_INIT;
    int held = hold(m, &fn);
    struct dev_vfio *d = open_dev(m, &fn, held, -1);

    assert_int_equal(vfio_hold_on(&m->sys, &m->fx.root, &fn, &e), -EBUSY);
    assert_int_equal(e.reason, REASON_IN_USE);
    release_fd(m, held); /* with a container the device has the group's file */
    err_clear(&e);
    assert_int_equal(vfio_hold_on(&m->sys, &m->fx.root, &fn, &e), -EBUSY);
    dev_vfio_close(d);
    held = hold(m, &fn);
    release_fd(m, held);
}

static void
members_of_a_group_are_opened_one_after_the_other(void **state)
{
    struct model *m = *state;
    struct vfio_fn a = model_add(m, "0000:05:00.0", "nvswitch", 7, -1);
    struct vfio_fn b = model_add(m, "0000:06:00.0", "nvswitch", 7, -1);
    int held = hold(m, &a);
    struct dev_vfio *da = open_dev(m, &a, held, -1), *db = open_dev(m, &b, held, -1);

    assert_int_equal(model_open(m, M_DEVICE), 2);
    assert_int_equal(model_resets(m, 0), 1);
    assert_int_equal(model_resets(m, 1), 1);
    dev_vfio_close(da);
    assert_int_equal(model_resets(m, 1), 1);
    dev_vfio_close(db);
    release_fd(m, held);
}

/* ---- refusals ---- */

static void
every_refusal_has_a_name(void **state)
{
    static const struct {
        const char *what;
        unsigned long cmd;
        int num;
        enum reason reason;
        enum err_class cls;
    } rows[] = {
        {"status", VFIO_GROUP_GET_STATUS, ENODEV, REASON_DEVICE_GONE, ERR_CLASS_HW},
        {"status", VFIO_GROUP_GET_STATUS, ENOTTY, REASON_NODE_MISSING, ERR_CLASS_HW},
        {"into /dev/vfio/vfio", VFIO_GROUP_SET_CONTAINER, EPERM, REASON_GROUP_NOT_VIABLE,
         ERR_CLASS_BUSY},
        {"into /dev/vfio/vfio", VFIO_GROUP_SET_CONTAINER, EBUSY, REASON_IN_USE, ERR_CLASS_BUSY},
        {"IOMMU type", VFIO_SET_IOMMU, ENODEV, REASON_VFIO_TYPE1_NOT_LOADED, ERR_CLASS_INVALID},
        {"interrupt remapping", VFIO_SET_IOMMU, EPERM, REASON_NO_IOMMU, ERR_CLASS_INVALID},
        {"get the device", VFIO_GROUP_GET_DEVICE_FD, ENODEV, REASON_NOT_BOUND, ERR_CLASS_RETRY},
        {"get the device", VFIO_GROUP_GET_DEVICE_FD, EBUSY, REASON_IN_USE, ERR_CLASS_BUSY},
        {"get the device", VFIO_GROUP_GET_DEVICE_FD, EAGAIN, REASON_OP_PENDING, ERR_CLASS_RETRY},
        {"in other hands", VFIO_GROUP_GET_DEVICE_FD, EPERM, REASON_GROUP_NOT_VIABLE,
         ERR_CLASS_BUSY},
        {"does not answer", VFIO_GROUP_GET_DEVICE_FD, EIO, REASON_DEVICE_GONE, ERR_CLASS_HW},
        {"what it is", VFIO_DEVICE_GET_INFO, ENODEV, REASON_DEVICE_GONE, ERR_CLASS_HW},
        {"what it is", VFIO_DEVICE_GET_INFO, EINVAL, REASON_NOT_BOUND, ERR_CLASS_HW},
        {"BAR0", VFIO_DEVICE_GET_REGION_INFO, EIO, REASON_BAR_DEAD, ERR_CLASS_HW},
    };
    struct model *m = *state;
    struct vfio_fn fn = model_add(m, ADDR, "h100-sxm", 41, -1);

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct dev_vfio *d = NULL;
        struct err e = ERR_INIT;
        int held = hold(m, &fn);

        m->fail_cmd = rows[i].cmd;
        m->fail_num = rows[i].num;
        assert_int_equal(dev_vfio_open_on(&m->sys, &m->fx.root, &fn, held, -1, &d, &e),
                         -rows[i].num);
        m->fail_cmd = ~0ul;
        assert_null(d);
        if (e.reason != rows[i].reason || e.cls != rows[i].cls || !strstr(e.msg, rows[i].what) ||
            !strstr(e.msg, ADDR))
            fail_msg("row %zu: %s %s: %s", i, err_class_name(e.cls), reason_name(e.reason), e.msg);
        release_fd(m, held);
        assert_int_equal(model_open(m, M_NONE), 0);
    }
}

static void
a_host_that_cannot_is_named(void **state)
{
    struct model *m = *state;
    struct vfio_fn fn = model_add(m, ADDR, "h100-sxm", 41, -1);
    struct dev_vfio *d = NULL;
    struct err e = ERR_INIT;
    int held;

    assert_true(dev_vfio_open_on(&m->sys, &m->fx.root, &fn, -1, -1, &d, &e) < 0);
    assert_int_equal(e.reason, REASON_NOT_BOUND);
    held = hold(m, &fn);
    m->no_type1 = true;
    err_clear(&e);
    assert_true(dev_vfio_open_on(&m->sys, &m->fx.root, &fn, held, -1, &d, &e) < 0);
    assert_int_equal(e.reason, REASON_VFIO_TYPE1_NOT_LOADED);
    m->no_container = true;
    err_clear(&e);
    assert_true(dev_vfio_open_on(&m->sys, &m->fx.root, &fn, held, -1, &d, &e) < 0);
    assert_int_equal(e.reason, REASON_VFIO_TYPE1_NOT_LOADED);
    m->no_container = m->no_type1 = false;
    m->not_viable = true;
    err_clear(&e);
    assert_true(dev_vfio_open_on(&m->sys, &m->fx.root, &fn, held, -1, &d, &e) < 0);
    assert_int_equal(e.reason, REASON_GROUP_NOT_VIABLE);
    m->no_type1 = m->iommufd = true; /* which says so later only */
    err_clear(&e);
    assert_true(dev_vfio_open_on(&m->sys, &m->fx.root, &fn, held, -1, &d, &e) < 0);
    assert_int_equal(e.reason, REASON_GROUP_NOT_VIABLE);
    m->not_viable = m->no_type1 = false;
    m->no_irq_remapping = true;
    err_clear(&e);
    assert_true(dev_vfio_open_on(&m->sys, &m->fx.root, &fn, held, -1, &d, &e) < 0);
    assert_int_equal(e.reason, REASON_NO_IOMMU);
    /* the group was left as it was found: it can be used once the cause is gone */
    m->no_irq_remapping = false;
    d = open_dev(m, &fn, held, -1);
    dev_vfio_close(d);
    release_fd(m, held);
    assert_int_equal(model_resets(m, 0), 2);
}

/* ---- a kernel that talks nonsense ---- */

static struct {
    unsigned long cmd;
    uint32_t index;
    size_t at; /* byte of the answer */
    uint64_t value;
    size_t width;
} lie;

static void
tell_lie(unsigned long cmd, uintptr_t arg)
{
    char *p = (char *)arg; /* NOLINT(performance-no-int-to-ptr): an ioctl's argument */
    uint32_t index;

    if (cmd != lie.cmd)
        return;
    memcpy(&index, p + 8, sizeof(index));
    if (cmd == VFIO_DEVICE_GET_REGION_INFO && index != lie.index)
        return;
    memcpy(p + lie.at, &lie.value, lie.width);
}

static void
nonsense_about_the_device_is_refused(void **state)
{
#define REGION(i, field, v)                                                                        \
    {                                                                                              \
        VFIO_DEVICE_GET_REGION_INFO, i, offsetof(struct vfio_region_info, field), v,               \
            sizeof(((struct vfio_region_info *)0)->field)                                          \
    }
#define INFO(field, v)                                                                             \
    {                                                                                              \
        VFIO_DEVICE_GET_INFO, 0, offsetof(struct vfio_device_info, field), v, sizeof(uint32_t)     \
    }
    static const struct {
        unsigned long cmd;
        uint32_t index;
        size_t at;
        uint64_t value;
        size_t width;
    } rows[] = {
        REGION(0, size, 0),
        REGION(0, size, 0xfff),
        REGION(0, size, ((uint64_t)256 << 20) + 1),
        REGION(0, size, UINT64_MAX),
        REGION(0, offset, UINT64_MAX),
        REGION(0, offset, INT64_MAX),
        REGION(0, offset, (uint64_t)INT64_MAX - (16u << 20) + 1),
        REGION(0, flags, VFIO_REGION_INFO_FLAG_READ),
        REGION(0, flags, VFIO_REGION_INFO_FLAG_WRITE | VFIO_REGION_INFO_FLAG_MMAP),
        REGION(0, argsz, 8),
        REGION(0, index, 5),
        REGION(7, size, 0),
        REGION(7, size, 63),
        REGION(7, size, 8192),
        REGION(7, flags, 0),
        REGION(7, offset, UINT64_MAX - 4095),
        INFO(flags, VFIO_DEVICE_FLAGS_RESET),
        INFO(flags, VFIO_DEVICE_FLAGS_PLATFORM),
        INFO(num_regions, 0),
        INFO(num_regions, 7),
        INFO(argsz, 12),
    };
    struct model *m = *state;
    struct vfio_fn fn = model_add(m, ADDR, "h100-sxm", 41, -1);
    int held = hold(m, &fn);

    m->tamper = tell_lie;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct dev_vfio *d = NULL;
        struct err e = ERR_INIT;

        memcpy(&lie, &rows[i], sizeof(lie));
        if (dev_vfio_open_on(&m->sys, &m->fx.root, &fn, held, -1, &d, &e) >= 0)
            fail_msg("row %zu was believed", i);
        assert_int_equal(e.reason, REASON_BAR_DEAD);
        assert_int_equal(model_open(m, M_DEVICE), 0);
    }
    release_fd(m, held);
}

static void
accesses_outside_are_refused_and_a_short_space_does_not_answer(void **state)
{
    struct model *m = *state;
    struct vfio_fn fn = model_add(m, ADDR, "h100-sxm", 41, -1);
    int held = hold(m, &fn);
    struct dev_vfio *d;
    const struct hw_dev *hw;
    struct err e = ERR_INIT;
    uint32_t v = 7;

    lie.cmd = VFIO_DEVICE_GET_REGION_INFO;
    lie.index = 7;
    lie.at = offsetof(struct vfio_region_info, size);
    lie.value = 256;
    lie.width = 8;
    m->tamper = tell_lie;
    d = open_dev(m, &fn, held, -1);
    hw = dev_vfio_hw(d);
    assert_true(hw->ops->bar_read32(hw->ctx, 2, &v, &e) < 0);
    assert_true(hw->ops->bar_read32(hw->ctx, 16u << 20, &v, &e) < 0);
    assert_true(hw->ops->bar_read32(hw->ctx, 0xfffffffc, &v, &e) < 0);
    assert_true(hw->ops->bar_write32(hw->ctx, 16u << 20, 0, &e) < 0);
    assert_true(hw->ops->cfg_read(hw->ctx, 1, 2, &v, &e) < 0);
    assert_true(hw->ops->cfg_read(hw->ctx, 0, 3, &v, &e) < 0);
    assert_true(hw->ops->cfg_read(hw->ctx, 4096, 4, &v, &e) < 0);
    assert_int_equal(v, 7);
    assert_int_equal(hw->ops->cfg_read(hw->ctx, 0x100, 4, &v, &e), 0);
    assert_int_equal(v, 0xffffffff);
    assert_true(hw->ops->cfg_write(hw->ctx, 0x100, 4, 0, &e) < 0);
    assert_int_equal(hw->ops->cfg_read(hw->ctx, 0, 2, &v, &e), 0);
    assert_int_equal(v, 0x10de);
    assert_int_equal(hw->ops->cfg_write(hw->ctx, 0x3c, 1, 0x2a, &e), 0);
    assert_int_equal(hw->ops->cfg_read(hw->ctx, 0x3c, 1, &v, &e), 0);
    assert_int_equal(v, 0x2a);
    dev_vfio_close(d);
    release_fd(m, held);
}

static void
a_function_that_does_not_decode_is_diagnosed_and_ends_nobody(void **state)
{
    struct model *m = *state;
    struct vfio_fn fn = model_add(m, ADDR, "h100-sxm", 41, -1);
    int held = hold(m, &fn);
    struct dev_vfio *d = open_dev(m, &fn, held, -1);
    struct cc_session s = session(d);
    struct err e = ERR_INIT;
    uint32_t v = 0;

    assert_cc(cc_wait_boot(&s, &e));
    assert_int_equal(s.dev->ops->cfg_write(s.dev->ctx, 4, 2, 0, &e), 0);
    assert_int_equal(s.dev->ops->bar_read32(s.dev->ctx, 0, &v, &e), 0);
    assert_int_equal(v, 0xffffffff);
    assert_true(s.dev->ops->bar_write32(s.dev->ctx, 0, 0, &e) < 0);
    assert_int_equal(e.reason, REASON_BAR_DEAD);
    err_clear(&e);
    assert_true(cc_sanity(&s, &e) < 0);
    assert_non_null(strstr(e.msg, "memory decode is off"));
    dev_vfio_close(d);
    release_fd(m, held);
}

/* ---- resets ---- */

static int
bus_reset(const struct dev_vfio *d, struct err *e)
{
    const struct hw_dev *hw = dev_vfio_hw(d);

    return hw->ops->reset(hw->ctx, HW_RESET_BUS, e);
}

static void
a_function_without_a_reset_says_so_and_the_bus_serves(void **state)
{
    struct model *m = *state;
    struct vfio_fn fn = model_add(m, ADDR, "h100-sxm", 41, -1);
    const struct hw_dev *hw;
    struct dev_vfio *d;
    struct err e = ERR_INIT;
    int held = hold(m, &fn);

    m->fn[0].no_reset = true;
    d = open_dev(m, &fn, held, -1);
    hw = dev_vfio_hw(d);
    assert_true(hw->ops->reset(hw->ctx, HW_RESET_FUNCTION, &e) < 0);
    assert_int_equal(e.reason, REASON_RESET_FAILED);
    assert_int_equal(model_resets(m, 0), 0);
    assert_cc(bus_reset(d, &e));
    assert_int_equal(model_resets(m, 0), 1);
    m->fail_cmd = VFIO_DEVICE_PCI_HOT_RESET;
    m->fail_num = ENOTTY;
    err_clear(&e);
    assert_int_equal(bus_reset(d, &e), -ENOTTY);
    assert_int_equal(e.reason, REASON_RESET_FAILED);
    m->fail_cmd = VFIO_DEVICE_GET_PCI_HOT_RESET_INFO;
    m->fail_num = ENODEV; /* the slot cannot be reset: pciehp off, root complex device */
    err_clear(&e);
    assert_int_equal(bus_reset(d, &e), -ENODEV);
    m->fail_cmd = ~0ul;
    dev_vfio_close(d);
    release_fd(m, held);
}

static void
a_bus_reset_hits_only_what_is_held(void **state)
{
    struct model *m = *state;
    struct vfio_fn fn = model_add(m, ADDR, "h100-pcie", 41, -1);
    struct err e = ERR_INIT;
    struct dev_vfio *d;
    int held;

    (void)model_add(m, "0000:41:00.1", "audio", 41, -1);
    held = hold(m, &fn);
    d = open_dev(m, &fn, held, -1);
    assert_cc(bus_reset(d, &e)); /* a companion of the same group is ours */
    assert_int_equal(model_resets(m, 1), 1);
    m->fn[1].group = 42;
    assert_true(bus_reset(d, &e) < 0);
    assert_int_equal(e.reason, REASON_RESET_FAILED);
    assert_non_null(strstr(e.msg, "0000:41:00.1"));
    assert_int_equal(model_resets(m, 1), 1);
    dev_vfio_close(d);
    release_fd(m, held);
}

static void
a_cdev_shows_no_group_for_a_bus_reset(void **state)
{
    struct model *m = *state;
    struct vfio_fn fn = model_add(m, ADDR, "h100-pcie", -1, 3);
    struct err e = ERR_INIT;
    struct dev_vfio *d;
    int held;

    (void)model_add(m, "0000:41:00.1", "audio", -1, 4);
    m->iommufd = true;
    held = hold(m, &fn);
    d = open_dev(m, &fn, held, -1);
    assert_cc(bus_reset(d, &e));
    m->fn[1].group = 42;
    assert_true(bus_reset(d, &e) < 0);
    assert_non_null(strstr(e.msg, "0000:41:00.1"));
    dev_vfio_close(d);
    release_fd(m, held);
}

static void
nonsense_about_the_bus_is_refused(void **state)
{
    static const uint32_t counts[] = {0, 65, UINT32_MAX};
    struct model *m = *state;
    struct vfio_fn fn = model_add(m, ADDR, "h100-sxm", 41, -1);
    int held = hold(m, &fn);
    struct dev_vfio *d = open_dev(m, &fn, held, -1);

    m->tamper = tell_lie;
    lie.cmd = VFIO_DEVICE_GET_PCI_HOT_RESET_INFO;
    lie.at = 8;
    lie.width = 4;
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct err e = ERR_INIT;

        lie.value = counts[i];
        assert_int_equal(bus_reset(d, &e), -EPROTO);
        assert_int_equal(e.reason, REASON_RESET_FAILED);
    }
    assert_int_equal(model_resets(m, 0), 1);
    dev_vfio_close(d);
    release_fd(m, held);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
        T(the_mode_is_set_and_verified_through_a_group),
        T(blackwell_boots_behind_its_firewall_through_a_group_as_well),
        T(an_iommufd_serves_a_group_where_type1_is_not_loaded),
        T(the_first_type1_serves_where_the_second_is_not_there),
        T(a_cdev_is_hold_and_device_in_one),
        T(a_device_that_is_passed_on_costs_no_reset),
        T(a_given_device_stays_its_owners_when_it_is_refused),
        T(the_device_keeps_others_out_of_the_group),
        T(members_of_a_group_are_opened_one_after_the_other),
        T(every_refusal_has_a_name),
        T(a_host_that_cannot_is_named),
        T(nonsense_about_the_device_is_refused),
        T(accesses_outside_are_refused_and_a_short_space_does_not_answer),
        T(a_function_that_does_not_decode_is_diagnosed_and_ends_nobody),
        T(a_function_without_a_reset_says_so_and_the_bus_serves),
        T(a_bus_reset_hits_only_what_is_held),
        T(a_cdev_shows_no_group_for_a_bus_reset),
        T(nonsense_about_the_bus_is_refused),
#undef T
    };

    return cmocka_run_group_tests_name("vfio.dev_vfio", tests, NULL, NULL);
}
