/* SPDX-License-Identifier: Apache-2.0
 *
 * The texts of the kernel, good and bad.
 */
#include "vfio/parse.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void
hex_takes_only_whole_prefixed_numbers(void **state)
{
    uint32_t v = 7;

    (void)state;
    assert_true(vfio_parse_hex("0x10de", 0xffff, &v));
    assert_int_equal(v, 0x10de);
    assert_true(vfio_parse_hex("0x03020A", 0xffffff, &v));
    assert_int_equal(v, 0x03020a);
    v = 7;
    static const char *const bad[] = {
        "",        "0x",      "10de", "0xg",     "0x10de ",
        " 0x10de", "0x10000", "-0x1", "0x10dez", "0x00000000000010de1",
        "\xff\xfe"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(vfio_parse_hex(bad[i], 0xffff, &v));
    assert_int_equal(v, 7);
}

static void
int_is_bounded(void **state)
{
    int v = 7;

    (void)state;
    assert_true(vfio_parse_int("-1", -1, 10, &v));
    assert_int_equal(v, -1);
    assert_true(vfio_parse_int("2147483647", 0, INT_MAX, &v));
    v = 7;
    static const char *const bad[] = {
        "", "-", "-2", "11", "1x", "2147483648", "+1", "0x1", "99999999999999999999999999"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(vfio_parse_int(bad[i], -1, 10, &v));
    assert_int_equal(v, 7);
    assert_true(vfio_parse_cdev("vfio12", &v));
    assert_int_equal(v, 12);
    assert_false(vfio_parse_cdev("vfio", &v));
    assert_false(vfio_parse_cdev("vfio-1", &v));
    assert_false(vfio_parse_cdev("xvfio1", &v));
}

static void
resource_lines(void **state)
{
    static const char text[] = "0x000038c002000000 0x000038c002ffffff 0x000000000014220c\n"
                               "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
                               "0x000038a000000000 0x000038bfffffffff 0x000000000014220c";
    uint64_t start = 1, size = 1, flags = 1;

    (void)state;
    assert_true(vfio_parse_resource(text, 0, &start, &size, &flags));
    assert_true(start == 0x38c002000000 && size == 0x1000000 && flags == 0x14220c);
    assert_true(vfio_parse_resource(text, 1, &start, &size, &flags));
    assert_true(start == 0 && size == 0);
    assert_true(vfio_parse_resource(text, 2, &start, &size, &flags));
    assert_true(size == (uint64_t)128 << 30);
    assert_false(vfio_parse_resource(text, 3, &start, &size, &flags));
    static const char *const bad[] = {"",
                                      "0x1",
                                      "0x1 0x2",
                                      "0x2 0x1 0x0",
                                      "0x1  0x2 0x0",
                                      "0x1 0x2 0x0 0x0",
                                      "0x0 0xffffffffffffffff 0x0",
                                      "garbage\n",
                                      "0x00000000000000001 0x2 0x0"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(vfio_parse_resource(bad[i], 0, &start, &size, &flags));
    assert_true(size == (uint64_t)128 << 30);
}

static void
list_matches_whole_words(void **state)
{
    (void)state;
    assert_true(vfio_list_has("flr bus", "flr"));
    assert_true(vfio_list_has("flr bus", "bus"));
    assert_false(vfio_list_has("af_flr bus", "flr"));
    assert_false(vfio_list_has("", "flr"));
    assert_false(vfio_list_has("cxl_bus", "bus"));
    assert_false(vfio_list_has("flr", ""));
}

#define EVENT(s) (s), sizeof(s) - 1

static void
uevents(void **state)
{
    bool relevant = true;

    (void)state;
    assert_true(vfio_parse_uevent(
        EVENT("bind@/devices/pci0/0000:41:00.0\0ACTION=bind\0SUBSYSTEM=pci\0DRIVER=vfio-pci\0"),
        &relevant));
    assert_true(relevant);
    assert_true(vfio_parse_uevent(EVENT("add@/x\0SUBSYSTEM=vfio-dev"), &relevant));
    assert_true(relevant);
    assert_true(vfio_parse_uevent(EVENT("add@/x\0SUBSYSTEM=vfio\0"), &relevant));
    assert_true(relevant);
    assert_true(vfio_parse_uevent(EVENT("add@/x\0SUBSYSTEM=pcie\0\0\0"), &relevant));
    assert_false(relevant);
    assert_true(vfio_parse_uevent(EVENT("add@/x\0XSUBSYSTEM=pci\0"), &relevant));
    assert_false(relevant);
    assert_false(vfio_parse_uevent(EVENT(""), &relevant));
    assert_false(vfio_parse_uevent(EVENT("@/x\0SUBSYSTEM=pci\0"), &relevant));
    assert_false(vfio_parse_uevent(EVENT("libudev\0x@y"), &relevant));
    assert_false(vfio_parse_uevent(EVENT("\0\0\0"), &relevant));
}

static int
match(const char *line, char module[32])
{
    static const char gh200[] = "v000010DEd00002342sv000010DEsd000016EBbc03sc02i00";

    return vfio_match_alias(line, strlen(line), gh200, module, 32);
}

static void
aliases(void **state)
{
    char m[32] = "";

    (void)state;
    assert_int_equal(match("alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci", m), 7);
    assert_string_equal(m, "vfio_pci");
    assert_int_equal(
        match("alias vfio_pci:v000010DEd00002342sv*sd*bc*sc*i* nvgrace_gpu_vfio_pci", m), 5);
    assert_string_equal(m, "nvgrace_gpu_vfio_pci");
    assert_int_equal(match("alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci", m), -1);
    assert_int_equal(match("alias pci:v000010DEd*sv*sd*bc03sc02i00* nouveau", m), -1);
    assert_int_equal(match("alias vfio_pci:v*d*", m), -1);
    assert_int_equal(match("alias vfio_pci:* ", m), -1);
    assert_int_equal(match("alias vfio_pci:* ../x", m), -1);
    assert_int_equal(match("alias vfio_pci:* a b", m), -1);
    assert_int_equal(match("alias vfio_pci:* a_name_that_is_far_too_long_for_it", m), -1);
    assert_string_equal(m, "nvgrace_gpu_vfio_pci");
}

static void
names_come_from_the_vendors_own_section(void **state)
{
    static const char ids[] = "# comment\n10dd  Other\n\t2330  Wrong [before]\n"
                              "10de  NVIDIA Corporation\n# a comment inside\n"
                              "\t2329  GH100 [H20]\n\t2330  GH100[H100 SXM5 80GB]\n"
                              "\t\t10de 16c0  A subsystem\n\n\t2331  \xc3\xa9t\xc3\xa9\n"
                              "10df  After\n\t2332  Wrong [after]\n";
    char name[32] = "";

    (void)state;
    assert_true(vfio_ids_name(ids, sizeof(ids) - 1, 0x10de, 0x2330, name, sizeof(name)));
    assert_string_equal(name, "GH100[H100 SXM5 80GB]");
    assert_true(vfio_ids_name(ids, sizeof(ids) - 1, 0x10de, 0x2331, name, sizeof(name)));
    assert_string_equal(name, "??t??");
    assert_false(vfio_ids_name(ids, sizeof(ids) - 1, 0x10de, 0x2332, name, sizeof(name)));
    assert_false(vfio_ids_name(ids, sizeof(ids) - 1, 0x10de, 0x16c0, name, sizeof(name)));
    assert_false(vfio_ids_name(ids, sizeof(ids) - 1, 0x1234, 0x2330, name, sizeof(name)));
    assert_false(vfio_ids_name(ids, sizeof(ids) - 1, 0x10de, 0x2330, name, 8));
    /* cut off in the middle of anything: no crash, no false name */
    for (size_t n = 0; n < sizeof(ids) - 1; n++)
        (void)vfio_ids_name(ids, n, 0x10de, 0x2331, name, sizeof(name));
}

static void
device_numbers_are_two_numbers_in_range(void **state)
{
    static const char *const bad[] = {"",
                                      ":",
                                      "511",
                                      "511:",
                                      ":3",
                                      "0:3",
                                      "4096:0",
                                      "511:1048576",
                                      "511:3:4",
                                      "a:b",
                                      "-1:2",
                                      "511: 3",
                                      "99999999999999999999:1"};
    unsigned ma = 7, mi = 7;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(vfio_parse_devnum(bad[i], &ma, &mi));
    assert_int_equal(ma, 7);
    assert_true(vfio_parse_devnum("511:1048575", &ma, &mi));
    assert_int_equal(ma, 511);
    assert_int_equal(mi, 1048575);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(device_numbers_are_two_numbers_in_range),
        cmocka_unit_test(hex_takes_only_whole_prefixed_numbers),
        cmocka_unit_test(int_is_bounded),
        cmocka_unit_test(resource_lines),
        cmocka_unit_test(list_matches_whole_words),
        cmocka_unit_test(uevents),
        cmocka_unit_test(aliases),
        cmocka_unit_test(names_come_from_the_vendors_own_section),
    };

    return cmocka_run_group_tests_name("vfio.parse", tests, NULL, NULL);
}
