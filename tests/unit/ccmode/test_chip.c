/* SPDX-License-Identifier: Apache-2.0
 *
 * Chips by device ID, superchips by subsystem, modes by chip.
 */
#include "ccmode/cc.h"

#include "base/cleanup.h"
#include "ccmode/chip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define GPU 0x030200u
#define VGA 0x030000u
#define SWITCH 0x068000u

static void
ranges(void **state)
{
    /* both edges of each range, and what lies just outside */
    static const struct {
        uint16_t device;
        uint32_t class_code;
        const char *name;
    } t[] = {
        {0x22ef, GPU, NULL},      {0x22f0, GPU, "gh100"},   {0x2330, VGA, "gh100"},
        {0x237f, GPU, "gh100"},   {0x2380, GPU, NULL},      {0x28ff, GPU, NULL},
        {0x2900, GPU, "gb100"},   {0x297f, GPU, "gb100"},   {0x2980, GPU, "gb102"},
        {0x29ff, GPU, "gb102"},   {0x2a00, GPU, NULL},      {0x2b7f, GPU, NULL},
        {0x2b80, GPU, "gb202"},   {0x2bb5, GPU, "gb202"},   {0x2bff, GPU, "gb202"},
        {0x2c00, GPU, "gb203"},   {0x2c7f, GPU, "gb203"},   {0x2c80, GPU, NULL},
        {0x2cff, GPU, NULL},      {0x2d00, GPU, "gb206"},   {0x2d7f, GPU, "gb206"},
        {0x2d80, GPU, "gb207"},   {0x2dff, GPU, "gb207"},   {0x2e00, GPU, NULL},
        {0x2eff, GPU, NULL},      {0x2f00, GPU, "gb205"},   {0x2f7f, GPU, "gb205"},
        {0x2f80, GPU, NULL},      {0x317f, GPU, NULL},      {0x3180, GPU, "gb110"},
        {0x31ff, GPU, "gb110"},   {0x3200, GPU, "gb112"},   {0x327f, GPU, "gb112"},
        {0x3280, GPU, NULL},      {0x20b0, GPU, NULL},      {0x22a3, GPU, NULL},
        {0x22a3, SWITCH, "ls10"}, {0x22a0, SWITCH, "ls10"}, {0x22a7, SWITCH, "ls10"},
        {0x22a8, SWITCH, NULL},   {0x229f, SWITCH, NULL},   {0x1af1, SWITCH, NULL},
        {0x22b1, 0x060400, NULL}, {0x2330, SWITCH, NULL},   {0x2330, 0x040300, NULL},
        {0x2330, 0x0302, NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        const struct cc_chip *c = cc_chip_find(0x10de, t[i].device, t[i].class_code);

        if (!t[i].name != !c || (c && strcmp(cc_chip_name(c), t[i].name) != 0))
            fail_msg("%04x class %06x: %s", t[i].device, t[i].class_code,
                     c ? cc_chip_name(c) : "none");
        assert_null(cc_chip_find(0x1002, t[i].device, t[i].class_code));
    }
}

static void
architectures(void **state)
{
    static const struct {
        uint16_t device;
        uint32_t class_code;
        enum cc_arch arch;
        uint64_t boot_s;
    } t[] = {{0x2331, GPU, CC_ARCH_HOPPER, 5},
             {0x2901, GPU, CC_ARCH_BLACKWELL_GB1, 10},
             {0x3182, GPU, CC_ARCH_BLACKWELL_GB1, 10},
             {0x2bb5, GPU, CC_ARCH_BLACKWELL_GB2, 10},
             {0x22a3, SWITCH, CC_ARCH_NVSWITCH3, 5}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        const struct cc_chip *c = cc_chip_find(0x10de, t[i].device, t[i].class_code);
        struct cc_timing lim;

        assert_non_null(c);
        lim = cc_timing_default(c);
        assert_int_equal(cc_chip_arch(c), t[i].arch);
        assert_int_equal(lim.boot, HW_SEC(t[i].boot_s));
        assert_int_equal(lim.reply, HW_SEC(5));
        assert_int_equal(lim.firewall, HW_SEC(15));
    }
}

static void
modes(void **state)
{
    static const struct {
        uint16_t device, sub;
        uint32_t class_code;
        /* off, on, devtools, ppcie */
        enum reason r[4];
    } t[] = {
#define U REASON_MODE_UNSUPPORTED
#define C REASON_C2C_PART
        {0x2330, 0x16c1, GPU, {0, 0, 0, 0}},
        {0x2901, 0x1999, GPU, {0, 0, 0, U}},
        {0x2bb5, 0x204e, GPU, {0, 0, 0, U}},
        {0x22a3, 0x1796, SWITCH, {0, U, U, 0}},
        /* Grace superchips: off only */
        {0x2342, 0x16eb, GPU, {0, C, C, C}},
        {0x2342, 0x0001, GPU, {0, C, C, C}},
        {0x2343, 0x16ec, GPU, {0, C, C, C}},
        {0x2345, 0x16ed, GPU, {0, C, C, C}},
        {0x2348, 0x18d2, GPU, {0, C, C, C}},
        {0x2941, 0x2046, GPU, {0, C, C, U}},
        {0x297e, 0x2046, GPU, {0, C, C, U}},
        /* the same device ID with and without the link */
        {0x29bc, 0x2045, GPU, {0, C, C, U}},
        {0x29bc, 0x1985, GPU, {0, 0, 0, U}},
        {0x31c2, 0x21f1, GPU, {0, C, C, U}},
        {0x31c2, 0x20e5, GPU, {0, 0, 0, U}},
#undef U
#undef C
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        struct hw_dev d = {.vendor = 0x10de,
                           .device = t[i].device,
                           .subsys_vendor = 0x10de,
                           .subsys_device = t[i].sub,
                           .class_code = t[i].class_code};
        const struct cc_chip *c = cc_chip_find(d.vendor, d.device, d.class_code);

        assert_non_null(c);
        for (int m = CC_MODE_OFF; m <= CC_MODE_PPCIE; m++) {
            struct err e = ERR_INIT;
            int r = cc_mode_check(&d, c, (enum cc_mode)m, &e);

            if (e.reason != t[i].r[m] || (r < 0) != (t[i].r[m] != 0))
                fail_msg("%04x:%04x mode %d: %s", t[i].device, t[i].sub, m, reason_name(e.reason));
            if (r < 0)
                assert_int_equal(e.cls, ERR_CLASS_INVALID);
        }
        for (int m = CC_MODE_INVALID; m <= CC_MODE_UNKNOWN; m++) {
            struct err e = ERR_INIT;

            assert_true(cc_mode_check(&d, c, (enum cc_mode)m, &e) < 0);
            assert_int_equal(e.reason, REASON_MODE_UNSUPPORTED);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges),
        cmocka_unit_test(architectures),
        cmocka_unit_test(modes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
