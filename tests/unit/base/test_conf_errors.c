/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of base/conf*.c: every kind of error, with file, line, key and what is allowed.
 */
#include "base/cleanup.h"
#include "tests/unit/base/conf_table.h"
#include "tests/unit/base/test_support.h"

static const struct sample zero;

/* Parses text that must be refused; the struct must be empty afterwards. */
static void
refused(const char *text, size_t len, struct err *e)
{
    struct sample s;

    memset(&s, 0, sizeof(s));
    err_clear(e);
    int rc = conf_parse("t.yaml", text, len, keys, &s, e);
    if (rc >= 0)
        fail_msg("accepted: %.200s", text);
    assert_int_equal(rc, -e->num);
    assert_int_equal(e->cls, ERR_CLASS_INVALID);
    assert_memory_equal(&s, &zero, sizeof(s));
}

struct row {
    const char *text;
    const char *msg;
};

static void
check_rows(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct err e = ERR_INIT;

        refused(rows[i].text, strlen(rows[i].text), &e);
        assert_string_equal(e.msg, rows[i].msg);
    }
}

static void
unknown_and_duplicate_keys_name_file_line_and_the_known_ones(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"count: 1\n\ncuont: 2\n",
         "t.yaml:3: unknown key \"cuont\" (known: enabled, count, deadline, dir, addr, mode, "
         "claim, modes, resources, log)"},
        {"log:\n  levle: info\n", "t.yaml:2: unknown key \"log.levle\" (known: level, colour)"},
        {"resources:\n- name: a\n- nmae: b\n",
         "t.yaml:3: unknown key \"resources[1].nmae\" (known: name, weight, models)"},
        {"count: 1\nmode: on\ncount: 2\n", "t.yaml:3: count: duplicate key, first given in line 1"},
        {"log: {level: info,\n  level: debug}\n",
         "t.yaml:2: log.level: duplicate key, first given in line 1"},
        {"{\"count\":1,\"count\":1}", "t.yaml:1: count: duplicate key, first given in line 1"},
        {"a\xc3\xa9: 1\n",
         "t.yaml:1: unknown key \"a??\" (known: enabled, count, deadline, dir, addr, mode, "
         "claim, modes, resources, log)"},
    };

    check_rows(rows, ARRAY_SIZE(rows));
}

static void
wrong_types_say_what_is_expected(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"enabled: yes\n", "t.yaml:1: enabled: expected true or false, found \"yes\""},
        {"enabled: \"true\"\n",
         "t.yaml:1: enabled: expected true or false, found the string \"true\""},
        {"enabled: 1\n", "t.yaml:1: enabled: expected true or false, found a number \"1\""},
        {"count: many\n", "t.yaml:1: count: expected a whole number from 1 to 64, found \"many\""},
        {"count: \"8\"\n",
         "t.yaml:1: count: expected a whole number from 1 to 64, found the string \"8\""},
        {"count: 1.5\n",
         "t.yaml:1: count: expected a whole number from 1 to 64, found a number \"1.5\""},
        {"count: [1]\n", "t.yaml:1: count: expected a single value, found a list"},
        {"count: {a: 1}\n", "t.yaml:1: count: expected a single value, found a mapping"},
        {"count:\n", "t.yaml:1: count: has no value, expected a whole number from 1 to 64"},
        {"dir: 7\n", "t.yaml:1: dir: expected a string (quote it), found a number \"7\""},
        {"dir: true\n", "t.yaml:1: dir: expected a string (quote it), found a boolean \"true\""},
        {"dir: ~\n", "t.yaml:1: dir: has no value, expected a string (quote it)"},
        {"claim: unbound\n", "t.yaml:1: claim: expected a list, found a single value"},
        {"claim: [[a]]\n", "t.yaml:1: claim: expected a single value, found a list"},
        {"resources: {name: a}\n", "t.yaml:1: resources: expected a list, found a mapping"},
        {"resources:\n- a\n", "t.yaml:2: resources[0]: expected a mapping, found a single value"},
        {"log: info\n", "t.yaml:1: log: expected a mapping, found a single value"},
        {"- a\n", "t.yaml:1: expected a mapping of keys to values, found a list"},
        {"hello\n", "t.yaml:1: expected a mapping of keys to values, found a single value"},
        {"[a]: 1\n", "t.yaml:1: key: expected a single value, found a list"},
    };

    check_rows(rows, ARRAY_SIZE(rows));
}

static void
values_out_of_range_say_the_range(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"\ncount: 0\n",
         "t.yaml:2: count: expected a whole number from 1 to 64, found a number \"0\""},
        {"count: 65\n",
         "t.yaml:1: count: expected a whole number from 1 to 64, found a number \"65\""},
        {"count: -1\n",
         "t.yaml:1: count: expected a whole number from 1 to 64, found a number \"-1\""},
        {"count: 18446744073709551617\n", "t.yaml:1: count: expected a whole number from 1 to 64, "
                                          "found a number \"18446744073709551617\""},
        {"resources: [{weight: 4294967296}]\n",
         "t.yaml:1: resources[0].weight: expected a whole number from 0 to 4294967295, found a "
         "number \"4294967296\""},
        {"deadline: 3m\n", "t.yaml:1: deadline: expected a duration like \"25s\", from 1ms to 2m, "
                           "found \"3m\""},
        {"deadline: 0s\n", "t.yaml:1: deadline: expected a duration like \"25s\", from 1ms to 2m, "
                           "found \"0s\""},
        {"deadline: 25\n", "t.yaml:1: deadline: expected a duration like \"25s\", from 1ms to 2m, "
                           "found a number \"25\""},
        {"deadline: 99999999999999999999h\n",
         "t.yaml:1: deadline: expected a duration like \"25s\", from 1ms to 2m, found "
         "\"99999999999999999999h\""},
        {"deadline: 307445735m\n",
         "t.yaml:1: deadline: expected a duration like \"25s\", from 1ms to 2m, found "
         "\"307445735m\""},
        {"deadline: \"25 s\"\n",
         "t.yaml:1: deadline: expected a duration like \"25s\", from 1ms to 2m, found the string "
         "\"25 s\""},
        {"dir: /0123456789abcdef\n", "t.yaml:1: dir: longer than 15 bytes"},
        {"claim: [a, b, c, d]\n", "t.yaml:1: claim: more than 3 elements"},
        {"resources: [{}, {}, {}, {},\n {}]\n", "t.yaml:2: resources: more than 4 elements"},
        {"claim: [a, b, a]\n", "t.yaml:1: claim: \"a\" is listed twice"},
    };

    check_rows(rows, ARRAY_SIZE(rows));
}

static void
words_that_are_not_allowed_come_with_the_allowed_ones(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"mode: loud\n",
         "t.yaml:1: mode: \"loud\" is not allowed (allowed: off, on, devtools, ppcie)"},
        {"mode: ON\n", "t.yaml:1: mode: \"ON\" is not allowed (allowed: off, on, devtools, ppcie)"},
        {"mode: true\n",
         "t.yaml:1: mode: expected one of: off, on, devtools, ppcie, found a boolean \"true\""},
        {"mode:\n", "t.yaml:1: mode: has no value, expected one of: off, on, devtools, ppcie"},
        {"modes: [on, loud]\n",
         "t.yaml:1: modes: \"loud\" is not allowed (allowed: off, on, devtools, ppcie)"},
        {"addr: 41:00.0\n", "t.yaml:1: addr: \"41:00.0\": not a full PCI address"},
        {"log:\n  colour: true\n  level: warn\n",
         "t.yaml:3: log.level: \"warn\" is not allowed (allowed: debug, info)"},
    };

    check_rows(rows, ARRAY_SIZE(rows));
}

static void
anchors_aliases_tags_and_more_documents_are_refused(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"count: &a 1\n", "t.yaml:1: anchors are not allowed"},
        {"claim: &a [x]\n", "t.yaml:1: anchors are not allowed"},
        {"log: &a {level: info}\n", "t.yaml:1: anchors are not allowed"},
        {"count: *a\n", "t.yaml:1: aliases are not allowed"},
        {"dir: !!str 1\n", "t.yaml:1: tags are not allowed"},
        {"claim: !x [a]\n", "t.yaml:1: tags are not allowed"},
        {"!!map {count: 1}\n", "t.yaml:1: tags are not allowed"},
        {"count: 1\n---\ncount: 2\n", "t.yaml:2: a second document is not allowed"},
        {"---\n---\n", "t.yaml:2: a second document is not allowed"},
    };

    check_rows(rows, ARRAY_SIZE(rows));
}

static void
syntax_errors_name_the_line(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"count: 1\nlog: {level: info\n", "t.yaml:3: "},
        {"a: b: c\n", "t.yaml:1: "},
        {"count: 1\n\tmode: on\n", "t.yaml:2: "},
        {"count: \"1\n", "t.yaml:2: "},
        {"{\"count\": 1,}}", "t.yaml:1: "},
        {"count: 1\nmode: \xff\n", "t.yaml:2: "},
        {"count: 1\nmode: \"\\uD800\"\n", "t.yaml:2: "},
        {"dir: \x01\n", "t.yaml:1: "},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct err e = ERR_INIT;

        refused(rows[i].text, strlen(rows[i].text), &e);
        if (strncmp(e.msg, rows[i].msg, strlen(rows[i].msg)) != 0)
            fail_msg("%zu: %s", i, e.msg);
    }
}

static void
control_characters_are_refused_in_values_and_keys(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"dir: \"a\\0b\"\n", "t.yaml:1: dir: contains a control character"},
        {"dir: \"a\\nb\"\n", "t.yaml:1: dir: contains a control character"},
        {"dir: |\n  a\n", "t.yaml:1: dir: contains a control character"},
        {"dir: \"\\e[2J\"\n", "t.yaml:1: dir: contains a control character"},
        {"dir: \"\\x9f\"\n", "t.yaml:1: dir: contains a control character"},
        {"dir: \"\\u2028\"\n", "t.yaml:1: dir: contains a control character"},
        {"dir: \"\\ufeff\"\n", "t.yaml:1: dir: contains a control character"},
        {"dir: \"\\uffff\"\n", "t.yaml:1: dir: contains a control character"},
        {"claim: [\"\\t\"]\n", "t.yaml:1: claim: contains a control character"},
        {"\"di\\0r\": 1\n", "t.yaml:1: key: contains a control character"},
        {"log: {\"\\x07\": 1}\n", "t.yaml:1: log: contains a control character"},
    };
    static const char raw[] = "dir: a\0b\n";
    struct err e = ERR_INIT;

    check_rows(rows, ARRAY_SIZE(rows));
    refused(raw, sizeof(raw) - 1, &e);
}

static void
an_error_behind_good_values_frees_everything(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    static const char text[] = "claim: [a, b]\nresources: [{name: x, models: [a]}, {name: y}]\n"
                               "log: {level: debug}\nnope: 1\n";

    refused(text, sizeof(text) - 1, &e);
    assert_has(e.msg, "t.yaml:4: unknown key \"nope\"");
}

static char *
repeat(const char *part, size_t n)
{
    size_t len = strlen(part);
    char *s = malloc(len * n + 1);

    for (size_t i = 0; i < n; i++)
        memcpy(s + i * len, part, len);
    s[len * n] = '\0';
    return s;
}

static void
huge_and_deep_input_is_bounded(void **state)
{
    (void)state;
    static const char *const parts[] = {"[", "{a: ", "- ", "? ",  "log: {", "\n",   "#",  "a: [",
                                        "!", "\"",   "'",  "&a ", "*a ",    "- - ", "{? "};

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        struct sample s = {0};
        struct err e = ERR_INIT;
        char *text = repeat(parts[i], 200000 / strlen(parts[i]));

        /* Blank lines and comments are legal; what counts is that all of them end soon. */
        (void)conf_parse("t", text, strlen(text), keys, &s, &e);
        conf_free(keys, &s);
        free(text);
    }
    struct err e = ERR_INIT;
    char *big = repeat("\n", 300000);
    refused(big, 300000, &e);
    assert_int_equal(e.num, EFBIG);
    free(big);
}

static void
long_names_and_values_do_not_break_the_message(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    char *x = repeat("x", 900);
    char text[1024];

    (void)snprintf(text, sizeof(text), "%s: 1\n", x);
    refused(text, strlen(text), &e);
    assert_has(e.msg, "unknown key \"xxx");
    assert_has(e.msg, "(known: enabled");
    (void)snprintf(text, sizeof(text), "mode: %s\n", x);
    refused(text, strlen(text), &e);
    assert_has(e.msg, "(allowed: off, on, devtools, ppcie)");
    free(x);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_and_duplicate_keys_name_file_line_and_the_known_ones),
        cmocka_unit_test(wrong_types_say_what_is_expected),
        cmocka_unit_test(values_out_of_range_say_the_range),
        cmocka_unit_test(words_that_are_not_allowed_come_with_the_allowed_ones),
        cmocka_unit_test(anchors_aliases_tags_and_more_documents_are_refused),
        cmocka_unit_test(syntax_errors_name_the_line),
        cmocka_unit_test(control_characters_are_refused_in_values_and_keys),
        cmocka_unit_test(an_error_behind_good_values_frees_everything),
        cmocka_unit_test(huge_and_deep_input_is_bounded),
        cmocka_unit_test(long_names_and_values_do_not_break_the_message),
    };

    return cmocka_run_group_tests_name("base.conf_errors", tests, NULL, NULL);
}
