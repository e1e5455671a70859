/* SPDX-License-Identifier: Apache-2.0
 *
 * Kinds, device names and paths that we write, and the bytes that come of them.
 */
#include "cdi/cdi.h"
#include "cdi/names.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
parts_follow_the_specification(void **state)
{
    (void)state;
    assert_true(cdi_part_valid("nvidia.com", 10));
    assert_true(cdi_part_valid("a", 1));
    assert_true(cdi_part_valid("a-b_c.d9", 8));
    assert_false(cdi_part_valid("", 0));
    assert_false(cdi_part_valid("9a", 2));
    assert_false(cdi_part_valid("a.", 2));
    assert_false(cdi_part_valid("a b", 3));
    assert_false(cdi_part_valid("a\xc3\xa4z", 4));
    assert_true(cdi_device_name_valid("0000:41:00.0"));
    assert_true(cdi_device_name_valid("0"));
    assert_false(cdi_device_name_valid(""));
    assert_false(cdi_device_name_valid("a/b"));
    assert_false(cdi_device_name_valid(":a"));
    assert_false(cdi_device_name_valid("a:"));
    assert_false(cdi_device_name_valid("a=b"));
}

static void
kinds_that_a_consumer_would_refuse_are_refused(void **state)
{
    char vendor[300];

    (void)state;
    assert_null(cdi_kind_refused("nvidia.com/pgpu"));
    assert_non_null(cdi_kind_refused("pgpu"));
    assert_non_null(cdi_kind_refused("/pgpu"));
    assert_non_null(cdi_kind_refused("nvidia.com/"));
    assert_non_null(cdi_kind_refused("nvidia.com/x"));
    assert_non_null(cdi_kind_refused("n/pgpu"));
    assert_non_null(cdi_kind_refused("nvidia.com/a/b"));
    assert_non_null(cdi_kind_refused("nvidia.com/p.gpu"));
    assert_non_null(cdi_kind_refused("nvidia.com/9gpu"));
    memset(vendor, 'a', 254);
    memcpy(vendor + 254, "/pgpu", sizeof("/pgpu"));
    assert_non_null(cdi_kind_refused(vendor));
    assert_null(cdi_kind_refused(vendor + 1));
}

static void
names_and_nodes_are_checked(void **state)
{
    char name[70];

    (void)state;
    assert_null(cdi_device_refused("10000:41:00.0"));
    memset(name, 'a', 64);
    name[64] = '\0';
    assert_non_null(cdi_device_refused(name));
    assert_null(cdi_device_refused(name + 1));
    assert_null(cdi_node_refused("/dev/vfio/devices/vfio3"));
    assert_null(cdi_node_refused("/dev/vfio/12"));
    assert_non_null(cdi_node_refused("dev/vfio/12"));
    assert_non_null(cdi_node_refused(""));
    assert_non_null(cdi_node_refused("/dev/vfio/vfio"));
    assert_non_null(cdi_node_refused("/dev/iommu"));
    assert_non_null(cdi_node_refused("/dev/vfio/../sda"));
    assert_non_null(cdi_node_refused("/dev//vfio/1"));
    assert_non_null(cdi_node_refused("/dev/vfio/1\n"));
}

/* Every byte counts: a daemon that starts again must recognise its own file. */
static void
golden_bytes(void **state)
{
    static const struct cdi_device dev[] = {
        {.name = "0000:41:00.0", .node_path = "/dev/vfio/devices/vfio3"},
        {.name = "10000:c1:00.0", .node_path = "/dev/odd\"and\\path"},
    };
    static const char want[] =
        "{\n"
        "  \"cdiVersion\": \"0.5.0\",\n"
        "  \"kind\": \"nvidia.com/pgpu\",\n"
        "  \"devices\": [\n"
        "    {\"name\": \"0000:41:00.0\", \"containerEdits\": {\"deviceNodes\": [{\"path\": "
        "\"/dev/vfio/devices/vfio3\"}]}},\n"
        "    {\"name\": \"10000:c1:00.0\", \"containerEdits\": {\"deviceNodes\": [{\"path\": "
        "\"/dev/odd\\\"and\\\\path\"}]}}\n"
        "  ]\n"
        "}\n";
    struct err e = ERR_INIT;
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    assert_int_equal(cdi_render("nvidia.com/pgpu", dev, 2, &b, &e), 0);
    assert_string_equal(buf_cstr(&b), want);
    buf_fini(&b);
}

static void
refuse(const char *kind, const struct cdi_device *dev, size_t n, int num, const char *says)
{
    struct err e = ERR_INIT;
    struct buf b;

    buf_init(&b, 200);
    assert_int_equal(cdi_render(kind, dev, n, &b, &e), -num);
    assert_int_equal(e.cls, ERR_CLASS_INVALID);
    if (!strstr(e.msg, says))
        fail_msg("\"%s\" does not say \"%s\"", e.msg, says);
    buf_fini(&b);
}

static void
bad_input_is_named(void **state)
{
    static const struct cdi_device twice[] = {
        {"0000:41:00.0", "/dev/vfio/devices/vfio3"},
        {"0000:42:00.0", "/dev/vfio/devices/vfio4"},
        {"0000:41:00.0", "/dev/vfio/devices/vfio5"},
    };
    static const struct cdi_device name = {"0000/41", "/dev/vfio/devices/vfio3"};
    static const struct cdi_device node = {"0000:41:00.0", "/dev/iommu"};

    (void)state;
    refuse("nvidia.com/x", twice, 1, EINVAL, "panic");
    refuse("nvidia.com/pgpu", twice, 0, EINVAL, "without devices");
    refuse("nvidia.com/pgpu", twice, 3, EEXIST, "0000:41:00.0 stands twice");
    refuse("nvidia.com/pgpu", &name, 1, EINVAL, "0000/41");
    refuse("nvidia.com/pgpu", &node, 1, EINVAL, "/dev/iommu");
    refuse("nvidia.com/pgpu", twice, 2, EFBIG, "200 bytes");
}

static void
file_names(void **state)
{
    char name[64] = "untouched";
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(cdi_file_name("nvidia.com/pgpu", name, sizeof(name), &e), 0);
    assert_string_equal(name, "nvidia.com-pgpu.json");
    assert_int_equal(cdi_file_name("pgpu", name, sizeof(name), &e), -EINVAL);
    assert_int_equal(cdi_file_name("nvidia.com/pgpu", name, 10, &e), -ENAMETOOLONG);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_follow_the_specification),
        cmocka_unit_test(kinds_that_a_consumer_would_refuse_are_refused),
        cmocka_unit_test(names_and_nodes_are_checked),
        cmocka_unit_test(golden_bytes),
        cmocka_unit_test(bad_input_is_named),
        cmocka_unit_test(file_names),
    };

    return cmocka_run_group_tests_name("cdi.names", tests, NULL, NULL);
}
