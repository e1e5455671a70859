/* SPDX-License-Identifier: Apache-2.0
 *
 * Command lines by a table, parsed.
 */
#include "usage_table.h"

#include "test_support.h"

static struct usage_args a;

static void
goes_on(struct printed p)
{
    assert_int_equal(p.status, -1);
    assert_string_equal(p.out, "");
    assert_string_equal(p.err, "");
}

static void
is_wrong(struct printed p, const char *part)
{
    assert_int_equal(p.status, 2);
    assert_string_equal(p.out, "");
    assert_has(p.err, part);
}

static void
is_args(int n, const char *const *v)
{
    assert_int_equal(a.n, n);
    for (int i = 0; i < n; i++)
        assert_string_equal(a.v[i], v[i]);
}

#define IS_ARGS(...)                                                                               \
    is_args((int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),                         \
            (const char *const[]){__VA_ARGS__})

static void
options_stand_anywhere_and_values_in_four_forms(void **state)
{
    (void)state;
    goes_on(PARSE(&tool_look, &a, "look", "a", "--follow", "b", "--lines", "7", "c"));
    IS_ARGS("a", "b", "c");
    assert_true(usage_flag(&a, "--follow"));
    assert_string_equal(usage_value(&a, "--lines", NULL), "7");
    goes_on(PARSE(&tool_look, &a, "look", "--lines=8"));
    assert_string_equal(usage_value(&a, "--lines", NULL), "8");
    goes_on(PARSE(&tool_look, &a, "look", "-n", "9", "-f"));
    assert_string_equal(usage_value(&a, "--lines", NULL), "9");
    assert_true(usage_flag(&a, "--follow"));
    goes_on(PARSE(&tool_look, &a, "look", "-n10"));
    assert_string_equal(usage_value(&a, "--lines", NULL), "10");
    goes_on(PARSE(&tool_look, &a, "look", "--lines", "-1", "-"));
    assert_string_equal(usage_value(&a, "--lines", NULL), "-1");
    IS_ARGS("-");
    goes_on(PARSE(&tool_look, &a, "look", "--lines="));
    assert_string_equal(usage_value(&a, "--lines", NULL), "");
    goes_on(PARSE(&tool_look, &a, "look"));
    assert_false(usage_flag(&a, "--follow"));
    assert_string_equal(usage_value(&a, "--lines", "5"), "5");
}

static void
of_a_repeated_option_the_last_counts_and_all_can_be_had(void **state)
{
    (void)state;
    goes_on(PARSE(&tool_look, &a, "look", "--lines", "1", "x", "--lines=2", "-n3"));
    assert_string_equal(usage_value(&a, "--lines", NULL), "3");
    assert_string_equal(usage_nth(&a, "--lines", 0), "1");
    assert_string_equal(usage_nth(&a, "--lines", 1), "2");
    assert_string_equal(usage_nth(&a, "--lines", 2), "3");
    assert_null(usage_nth(&a, "--lines", 3));
}

static void
two_dashes_end_the_options_also_for_the_verb_that_runs(void **state)
{
    (void)state;
    struct usage_args inner;

    goes_on(PARSE(&tool, &a, "tool", "look", "--follow", "--", "--json", "-x"));
    IS_ARGS("--json", "-x");
    assert_false(usage_flag(&a, "--json"));
    assert_int_equal(usage_parse(&tool_look, a.argc, a.argv, &inner), -1);
    assert_int_equal(inner.n, 2);
    assert_string_equal(inner.v[0], "--json");
    assert_string_equal(inner.v[1], "-x");
    assert_true(usage_flag(&inner, "--follow"));
}

static void
a_programs_options_may_stand_before_and_behind_the_verb(void **state)
{
    struct usage_args inner;

    (void)state;
    goes_on(PARSE(&tool, &a, "/usr/bin/tool", "--root", "mode", "mode", "-v", "set", "on", "--as=x",
                  "--json"));
    assert_int_equal(a.depth, 3);
    assert_string_equal(a.path[2]->name, "set");
    assert_string_equal(a.name, "tool mode set");
    assert_string_equal(usage_value(&a, "--root", "/"), "mode");
    assert_true(usage_flag(&a, "--verbose"));
    assert_true(usage_flag(&a, "--json"));
    IS_ARGS("on");
    /* what the verb gets is its own alone */
    assert_int_equal(a.argc, 3);
    assert_string_equal(a.argv[0], "tool mode set");
    assert_string_equal(a.argv[1], "--as=x");
    assert_string_equal(a.argv[2], "on");
    assert_null(a.argv[3]);
    assert_int_equal(usage_parse(a.path[2], a.argc, a.argv, &inner), -1);
    assert_string_equal(inner.name, "tool mode set");
    assert_string_equal(usage_value(&inner, "--as", NULL), "x");
}

static void
a_verbs_own_option_goes_before_the_programs_of_that_name(void **state)
{
    (void)state;
    goes_on(PARSE(&tool, &a, "tool", "look", "--json"));
    assert_int_equal(a.argc, 2);
    assert_ptr_equal(a.opt[0].opt, &tool_look.opts[2]);
    goes_on(PARSE(&tool, &a, "tool", "--json", "look"));
    assert_int_equal(a.argc, 1);
    assert_ptr_equal(a.opt[0].opt, &tool.opts[1]);
}

static void
what_is_mistyped_is_named_with_what_is_nearest(void **state)
{
    (void)state;
    is_wrong(PARSE(&tool, &a, "tool", "look", "--folow"),
             "tool look: unknown option --folow, did you mean --follow? (see tool look --help)\n");
    is_wrong(PARSE(&tool, &a, "tool", "look", "--jsno"), "did you mean --json?");
    is_wrong(PARSE(&tool, &a, "tool", "look", "--fol"), "did you mean --follow?");
    is_wrong(PARSE(&tool, &a, "tool", "--halp"), "did you mean --help?");
    is_wrong(PARSE(&tool, &a, "tool", "--verison"), "did you mean --version?");
    is_wrong(PARSE(&tool, &a, "tool", "lokk"),
             "tool: unknown verb \"lokk\", did you mean \"look\"? (see tool --help)\n");
    is_wrong(PARSE(&tool, &a, "tool", "mode", "gte"), "did you mean \"get\"?");
    is_wrong(PARSE(&tool, &a, "tool", "look", "-x"), "unknown option -x (see");
    is_wrong(PARSE(&tool, &a, "tool", "frobnicate"), "unknown verb \"frobnicate\" (see");
    is_wrong(PARSE(&tool, &a, "tool", "look", "--colour=red"), "unknown option --colour (see");
}

static void
a_value_that_is_missing_or_too_much_is_named(void **state)
{
    (void)state;
    is_wrong(PARSE(&tool, &a, "tool", "look", "--lines"), "--lines lacks its value N");
    is_wrong(PARSE(&tool, &a, "tool", "look", "--lines", "--follow"), "--lines lacks its value N");
    is_wrong(PARSE(&tool, &a, "tool", "--root", "--json", "look"), "--root lacks its value DIR");
    is_wrong(PARSE(&tool, &a, "tool", "look", "-n"), "--lines lacks its value N");
    is_wrong(PARSE(&tool, &a, "tool", "look", "--follow=1"), "--follow takes no value");
    is_wrong(PARSE(&tool, &a, "tool", "look", "-fx"), "--follow takes no value");
    is_wrong(PARSE(&tool, &a, "tool", "--help=look"), "--help takes no value");
}

static void
arguments_are_counted_by_the_text_of_the_help(void **state)
{
    (void)state;
    is_wrong(PARSE(&tool, &a, "tool", "pair", "x"), "expected FIRST SECOND");
    goes_on(PARSE(&tool, &a, "tool", "pair", "x", "y"));
    is_wrong(PARSE(&tool, &a, "tool", "pair", "x", "y", "z"), "unexpected argument \"z\"");
    is_wrong(PARSE(&tool, &a, "tool", "mode", "get", "x"), "unexpected argument \"x\"");
    is_wrong(PARSE(&tool, &a, "tool", "mode", "set", "--as", "on"), "expected MODE --as MODE");
    goes_on(PARSE(&tool, &a, "tool", "mode", "set", "x"));
    is_wrong(PARSE(&tool, &a, "tool", "mode", "set", "x", "y"), "unexpected argument \"y\"");
    is_wrong(PARSE(&tool, &a, "tool", "pass"), "expected --to SOCK COMMAND");
    goes_on(PARSE(&tool, &a, "tool", "look"));
    goes_on(PARSE(&tool, &a, "tool", "look", "a", "b", "c", "d"));
    static const struct usage two = {.name = "two", .args = "[SINCE UNTIL]", .summary = "a span"};
    goes_on(PARSE(&two, &a, "two"));
    goes_on(PARSE(&two, &a, "two", "1", "2"));
    is_wrong(PARSE(&two, &a, "two", "1", "2", "3"), "unexpected argument \"3\"");
}

static void
what_follows_a_command_for_somebody_else_is_not_looked_at(void **state)
{
    struct usage_args inner;

    (void)state;
    goes_on(PARSE(&tool, &a, "tool", "pass", "--to", "s", "run", "--to", "--help", "--", "-x"));
    IS_ARGS("run", "--to", "--help", "--", "-x");
    assert_int_equal(usage_parse(&tool_pass, a.argc, a.argv, &inner), -1);
    assert_int_equal(inner.n, 5);
    assert_string_equal(inner.v[3], "--");
    assert_string_equal(usage_value(&inner, "--to", NULL), "s");
}

static void
help_counts_more_than_mistakes_wherever_it_stands(void **state)
{
    struct printed p;

    (void)state;
    p = PARSE(&tool, &a, "tool", "--help", "mode", "set");
    assert_int_equal(p.status, 0);
    assert_has(p.out, "Usage: tool mode set [OPTION]... MODE --as MODE\n");
    p = PARSE(&tool, &a, "tool", "look", "--bogus", "x", "-h");
    assert_int_equal(p.status, 0);
    assert_has(p.out, "Usage: tool look");
    assert_string_equal(p.err, "");
    p = PARSE(&tool, &a, "tool", "look", "--lines", "--help");
    assert_int_equal(p.status, 0);
    p = PARSE(&tool, &a, "tool", "look", "--", "--help");
    assert_int_equal(p.status, -1);
}

static void
there_is_no_help_for_a_verb_that_there_is_not(void **state)
{
    (void)state;
    is_wrong(PARSE(&tool, &a, "tool", "lokk", "--help"),
             "tool: unknown verb \"lokk\", did you mean \"look\"? (see tool --help)\n");
    is_wrong(PARSE(&tool, &a, "tool", "--help", "frobnicate"), "unknown verb \"frobnicate\"");
    is_wrong(PARSE(&tool, &a, "tool", "mode", "gte", "-h"), "tool mode: unknown verb \"gte\"");
    is_wrong(PARSE(&tool, &a, "tool", "--version", "frobnicate"), "unknown verb");
}

static void
the_version_is_the_programs_alone(void **state)
{
    struct printed p = PARSE(&tool, &a, "tool", "--version");

    (void)state;
    assert_int_equal(p.status, 0);
    assert_string_equal(p.out, "tool 1.2.3\n");
    is_wrong(PARSE(&tool_look, &a, "look", "--version"), "unknown option --version");
}

static void
without_a_verb_the_help_goes_to_standard_error(void **state)
{
    struct printed p = PARSE(&tool, &a, "tool", "--json");

    (void)state;
    is_wrong(p, "Usage: tool [OPTION]... VERB ...");
    p = PARSE(&tool, &a, "tool", "mode");
    is_wrong(p, "Usage: tool mode VERB ...");
}

static void
no_control_character_of_the_command_line_is_printed(void **state)
{
    struct printed p = PARSE(&tool, &a, "tool", "look\033[31m\n\x7f");

    (void)state;
    is_wrong(p, "look?[31m??");
    for (const char *s = p.err; *s; s++)
        assert_true(*s == '\n' || (*s >= 0x20 && *s != 0x7f));
    assert_string_equal(strchr(p.err, '\n'), "\n");
    p = PARSE(&tool, &a, "tool", "pair", "x", "y", "\r\033]0;t\a");
    is_wrong(p, "unexpected argument \"??]0;t?\"");
    p = PARSE(&tool, &a, "tool", "--\033\n");
    is_wrong(p, "unknown option --??");
}

static void
lengths_and_numbers_have_their_limits(void **state)
{
    static const char *argv[20001];
    static char big[100001];
    int n = 0;

    (void)state;
    memset(big, 'x', sizeof(big) - 1);
    memcpy(big, "--", 2);
    is_wrong(PARSE(&tool, &a, "tool", big), "unknown option --xxx");
    is_wrong(PARSE(&tool, &a, "tool", big + 2), "unknown verb \"xxx");
    argv[n++] = "look";
    while (n < 20000)
        argv[n++] = big + 2;
    argv[n] = NULL;
    goes_on(parse(&tool_look, &a, argv));
    assert_int_equal(a.n, 19999);
    for (n = 1; n < 20000; n++)
        argv[n] = "-f";
    is_wrong(parse(&tool_look, &a, argv), "more than 160 options");
    goes_on(PARSE(&tool_look, &a, "look", "", ""));
    assert_int_equal(a.n, 2);
}

/* Whatever is typed: an answer, and no argument that was not typed. */
static void
any_command_line_has_an_answer(void **state)
{
    static const char *const parts[] = {
        "tool", "look", "pair", "pass",    "mode", "set",    "--lines", "-n", "-n5",   "--",
        "-",    "",     "-f",   "--json",  "-h",   "--help", "--as=",   "=",  "--=",   "--=x",
        "x",    "-x",   "--to", "--lines", "on",   "---",    "--as",    "-v", "--root"};
    const size_t n_parts = sizeof(parts) / sizeof(parts[0]);
    const char *argv[12];
    uint32_t seed = 7;
    unsigned went_on = 0;

    (void)state;
    for (int round = 0; round < 1500; round++) {
        int n = 0;

        argv[n++] = "tool";
        seed = seed * 1664525 + 1013904223;
        for (uint32_t k = seed >> 24; n < 11 && k > 40; k = k * 3 / 4) {
            seed = seed * 1664525 + 1013904223;
            argv[n++] = parts[(seed >> 16) % n_parts];
        }
        argv[n] = NULL;
        struct printed p = parse(&tool, &a, argv);
        assert_true(p.status == -1 || p.status == 0 || p.status == 2);
        if (p.status == 2)
            assert_true(p.err[0] != '\0');
        if (p.status != -1)
            continue;
        went_on++;
        assert_true(a.n <= n && a.argc <= n);
        for (int i = 0; i < a.n; i++) {
            bool typed = false;

            for (int k = 0; k < n; k++)
                typed = typed || argv[k] == a.v[i];
            assert_true(typed);
        }
    }
    assert_true(went_on > 20);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_stand_anywhere_and_values_in_four_forms),
        cmocka_unit_test(of_a_repeated_option_the_last_counts_and_all_can_be_had),
        cmocka_unit_test(two_dashes_end_the_options_also_for_the_verb_that_runs),
        cmocka_unit_test(a_programs_options_may_stand_before_and_behind_the_verb),
        cmocka_unit_test(a_verbs_own_option_goes_before_the_programs_of_that_name),
        cmocka_unit_test(what_is_mistyped_is_named_with_what_is_nearest),
        cmocka_unit_test(a_value_that_is_missing_or_too_much_is_named),
        cmocka_unit_test(arguments_are_counted_by_the_text_of_the_help),
        cmocka_unit_test(what_follows_a_command_for_somebody_else_is_not_looked_at),
        cmocka_unit_test(help_counts_more_than_mistakes_wherever_it_stands),
        cmocka_unit_test(there_is_no_help_for_a_verb_that_there_is_not),
        cmocka_unit_test(the_version_is_the_programs_alone),
        cmocka_unit_test(without_a_verb_the_help_goes_to_standard_error),
        cmocka_unit_test(no_control_character_of_the_command_line_is_printed),
        cmocka_unit_test(lengths_and_numbers_have_their_limits),
        cmocka_unit_test(any_command_line_has_an_answer),
    };

    return cmocka_run_group_tests_name("base_usage", tests, NULL, NULL);
}
