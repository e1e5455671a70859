/* SPDX-License-Identifier: Apache-2.0
 *
 * Configuration of pgpu-hwd: safe defaults, named errors, deadlines.
 */
#include "base/hw.h"
#include "hwd/config.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static int
parse(const char *text, struct hwd_config *c, struct err *e)
{
    memset(c, 0, sizeof(*c));
    return conf_parse("hwd.yaml", text, strlen(text), hwd_config_keys, c, e);
}

static void
an_empty_file_is_safe(void **state)
{
    struct hwd_config c;
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(parse("", &c, &e), 0);
    assert_int_equal(c.claim.n, 2);
    assert_int_equal(c.manage, HWD_MANAGE_FULL);
    assert_int_equal(c.vfio_node, HWD_NODE_CDEV);
    assert_int_equal(c.access, HWD_ACCESS_AUTO);
    assert_true(hwd_config_mode_allowed(&c, CC_MODE_ON));
    assert_true(hwd_config_mode_allowed(&c, CC_MODE_PPCIE));
    assert_false(hwd_config_mode_allowed(&c, CC_MODE_OFF));
    assert_false(hwd_config_mode_allowed(&c, CC_MODE_DEVTOOLS));
    hwd_config_free(&c);
}

static void
what_is_printed_can_be_read_again(void **state)
{
    struct hwd_config a, b;
    struct err e = ERR_INIT;
    struct buf text;

    (void)state;
    assert_int_equal(
        parse("claim: [nvidia, '0000:41:00.0']\nmodes: [devtools]\nmanage: verify\n"
              "access: vfio\ndeadlines: {prepare: 2m}\nrescan: 5s\nlog: {format: json}\n",
              &a, &e),
        0);
    buf_init(&text, 65536);
    conf_print(hwd_config_keys, &a, &text);
    if (parse(buf_cstr(&text), &b, &e) < 0)
        fail_msg("%s in:\n%s", e.msg, buf_cstr(&text));
    assert_int_equal(b.claim.n, 2);
    assert_string_equal(b.claim.v[1], "0000:41:00.0");
    assert_int_equal(b.manage, HWD_MANAGE_VERIFY);
    assert_int_equal(b.access, HWD_ACCESS_VFIO);
    assert_int_equal(b.deadline.prepare, HW_SEC(120));
    assert_int_equal(b.rescan, HW_SEC(5));
    assert_int_equal(b.log.format, 1);
    buf_fini(&text);
    hwd_config_free(&a);
    hwd_config_free(&b);
}

static void
bad_values_are_refused_by_name(void **state)
{
    static const struct {
        const char *text, *says;
    } t[] = {
        {"colour: red\n", "colour"},
        {"claim: ['a b']\n", "claim"},
        {"exclude: [nvidia]\n", "exclude"},
        {"exclude: ['41:00.0']\n", "exclude"},
        {"modes: [purple]\n", "modes"},
        {"manage: maybe\n", "manage"},
        {"vfio_node: both\n", "vfio_node"},
        {"access: mmap\n", "access"},
        {"deadlines: {prepare: 1ms}\n", "prepare"},
        {"deadlines: {prepare: 1h}\n", "prepare"},
        {"log: {level: loud}\n", "level"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        struct hwd_config c;
        struct err e = ERR_INIT;

        if (parse(t[i].text, &c, &e) >= 0)
            fail_msg("accepted: %s", t[i].text);
        if (!strstr(e.msg, t[i].says))
            fail_msg("\"%s\" does not name %s", e.msg, t[i].says);
    }
}

static void
the_client_can_shorten_a_deadline_but_not_stretch_it(void **state)
{
    struct hwd_config c;
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(parse("deadlines: {prepare: 30s}\n", &c, &e), 0);
    assert_int_equal(hwd_config_deadline(&c, HWD_OP_PREPARE, 0), HW_SEC(30));
    assert_int_equal(hwd_config_deadline(&c, HWD_OP_PREPARE, 5000), HW_SEC(5));
    assert_int_equal(hwd_config_deadline(&c, HWD_OP_PREPARE, 0xffffffffu), HW_SEC(30));
    assert_int_equal(hwd_config_deadline(&c, HWD_OP_PROBE_USE, 0), c.deadline.probe);
    hwd_config_free(&c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_file_is_safe),
        cmocka_unit_test(what_is_printed_can_be_read_again),
        cmocka_unit_test(bad_values_are_refused_by_name),
        cmocka_unit_test(the_client_can_shorten_a_deadline_but_not_stretch_it),
    };

    return cmocka_run_group_tests_name("hwd.config", tests, NULL, NULL);
}
