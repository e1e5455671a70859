/* SPDX-License-Identifier: Apache-2.0
 *
 * Trees of documents: shape, what counts as a string, what is refused, bounds.
 */
#include "base/yamldoc.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct yamldoc *
parse(const char *text)
{
    struct yamldoc *d = NULL;
    struct err e = ERR_INIT;

    if (yamldoc_parse("t.yaml", text, strlen(text), NULL, &d, &e) < 0)
        fail_msg("%s", e.msg);
    return d;
}

static void
maps_lists_and_lines_are_found(void **state)
{
    _cleanup_(yamldoc_freep) struct yamldoc *d =
        parse("# c\nkind: Pod\nspec:\n  list:\n  - a\n  - {b: \"2\"}\n  x.y: dotted\n");
    const struct yamldoc_node *r = yamldoc_root(d, 0);
    const struct yamldoc_node *list = yamldoc_path(r, "spec.list");

    (void)state;
    assert_null(yamldoc_root(d, 1));
    assert_int_equal(yamldoc_type(r), YAMLDOC_MAP);
    assert_string_equal(yamldoc_text(yamldoc_get(r, "kind")), "Pod");
    assert_int_equal(yamldoc_line(yamldoc_get(r, "kind")), 2);
    assert_int_equal(yamldoc_type(list), YAMLDOC_LIST);
    assert_string_equal(yamldoc_text(yamldoc_first(list)), "a");
    assert_null(yamldoc_key(yamldoc_first(list)));
    list = yamldoc_next(yamldoc_first(list));
    assert_int_equal(yamldoc_line(list), 6);
    assert_string_equal(yamldoc_text(yamldoc_get(list, "b")), "2");
    assert_null(yamldoc_next(list));
    assert_string_equal(yamldoc_text(yamldoc_get(yamldoc_get(r, "spec"), "x.y")), "dotted");
    assert_null(yamldoc_path(r, "spec.none.more"));
    assert_null(yamldoc_path(r, "kind.more"));
    assert_null(yamldoc_text(yamldoc_get(r, "spec")));
    assert_null(yamldoc_get(NULL, "x"));
    assert_null(yamldoc_first(NULL));
}

static void
documents_follow_each_other_and_empty_ones_do_not_count(void **state)
{
    _cleanup_(yamldoc_freep) struct yamldoc *d =
        parse("---\n---\na: 1\n---\n# none\n---\n[x]\n---\n");
    _cleanup_(yamldoc_freep) struct yamldoc *none = parse("");
    _cleanup_(yamldoc_freep) struct yamldoc *json = parse("{\"a\": {\"b\": [1, null]}}");

    (void)state;
    assert_int_equal(yamldoc_type(yamldoc_root(d, 0)), YAMLDOC_MAP);
    assert_int_equal(yamldoc_type(yamldoc_root(d, 1)), YAMLDOC_LIST);
    assert_null(yamldoc_root(d, 2));
    assert_null(yamldoc_root(none, 0));
    assert_int_equal(yamldoc_type(yamldoc_path(yamldoc_root(json, 0), "a.b")), YAMLDOC_LIST);
}

static void
plain_numbers_and_booleans_are_no_strings(void **state)
{
    static const char *const others[] = {"1",    "-1",   "+1.5", ".5",    "5.",   "1e3", "1_000",
                                         "0x1f", "0b01", "0o17", "0777",  "true", "No",  "ON",
                                         "y",    "off",  ".inf", "-.INF", ".NaN"};
    static const char *const strings[] = {
        "root-port", "1.2.3", "10.0.0.1", "8 GiB", "1-2", "\"1\"", "'true'", "!!str 1", "null", "~",
        "",          "-",     "+",        ".",     "0x",  "e3",    "_1",     "1e",      "0xg"};
    char text[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(others) + ARRAY_SIZE(strings); i++) {
        bool other = i < ARRAY_SIZE(others);
        const char *s = other ? others[i] : strings[i - ARRAY_SIZE(others)];

        (void)snprintf(text, sizeof(text), "k: %s%s\n", strcmp(s, "-") == 0 ? "\\" : "", s);
        _cleanup_(yamldoc_freep) struct yamldoc *d = parse(text);
        if (yamldoc_is_nonstring(yamldoc_get(yamldoc_root(d, 0), "k")) != other)
            fail_msg("%s", s);
    }
}

static void
what_is_refused_is_refused_with_its_line(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"a: &x 1\nb: *x\n", "t.yaml:2: aliases"},
        {"a: 1\nb: 2\na: 3\n", "t.yaml:3: a key is given twice, first in line 1"},
        {"a: !!binary aGk=\n", "t.yaml:1: tags"},
        {"a: !!map {}\n", "tags"},
        {"? [a]\n: 1\n", "a key is no single value"},
        {"? {a: 1}\n: 1\n", "a key is no single value"},
        {"a: \"x\\0y\"\n", "U+0000"},
        {"a: [1\n", "t.yaml:2:"},
        {"a: 1\n b: 2\n", "t.yaml:2:"},
        {"a\tb: \xff\n", "t.yaml:1:"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct yamldoc *d = NULL;
        struct err e = ERR_INIT;

        if (yamldoc_parse("t.yaml", rows[i].text, strlen(rows[i].text), NULL, &d, &e) != -EINVAL)
            fail_msg("accepted: %s", rows[i].text);
        if (!strstr(e.msg, rows[i].says))
            fail_msg("no \"%s\" in \"%s\"", rows[i].says, e.msg);
        assert_null(d);
    }
}

static void
bytes_depth_and_values_are_bounded(void **state)
{
    static const struct yamldoc_limits limits = {.bytes = 40, .depth = 3, .nodes = 6};
    static const struct {
        const char *text;
        int rc;
    } rows[] = {
        {"[[[1]]]", 0},
        {"[[[[1]]]]", -E2BIG},
        {"[1,2,3,4,5]", 0},
        {"[1,2,3,4,5,6]", -E2BIG},
        {"a: 1234567890123456789012345678901234567", 0},
        {"a: 12345678901234567890123456789012345678", -E2BIG},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_(yamldoc_freep) struct yamldoc *d = NULL;
        struct err e = ERR_INIT;
        int rc = yamldoc_parse("t", rows[i].text, strlen(rows[i].text), &limits, &d, &e);

        if (rc != rows[i].rc)
            fail_msg("%s: %d %s", rows[i].text, rc, e.msg);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_lists_and_lines_are_found),
        cmocka_unit_test(documents_follow_each_other_and_empty_ones_do_not_count),
        cmocka_unit_test(plain_numbers_and_booleans_are_no_strings),
        cmocka_unit_test(what_is_refused_is_refused_with_its_line),
        cmocka_unit_test(bytes_depth_and_values_are_bounded),
    };

    return cmocka_run_group_tests_name("base_yamldoc", tests, NULL, NULL);
}
