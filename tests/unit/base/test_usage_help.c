/* SPDX-License-Identifier: Apache-2.0
 *
 * Command lines by a table, as help and as completions.
 */
#include "usage_table.h"

#include "base/usage_print.h"
#include "test_support.h"

#include <pty.h>

static void
no_line_is_longer(const char *text, size_t max)
{
    while (*text) {
        size_t n = strcspn(text, "\n");

        if (n > max)
            fail_msg("%zu columns: %.*s", n, (int)n, text);
        text += n;
        text += *text == '\n';
    }
}

static void
the_help_of_a_program_has_its_groups_and_all_options(void **state)
{
    struct usage_args a;
    struct printed p = PARSE(&tool, &a, "tool", "--help");

    (void)state;
    assert_string_equal(p.out, "Usage: tool [OPTION]... VERB ...\n"
                               "Does things.\n"
                               "\n"
                               "First:\n"
                               "  look  what there is\n"
                               "  pair  two of them\n"
                               "\n"
                               "Second:\n"
                               "  pass  a command for somebody else\n"
                               "  mode  of the node\n"
                               "\n"
                               "tool VERB --help says more about each.\n"
                               "\n"
                               "Options:\n"
                               "      --root DIR  below it\n"
                               "      --json      for programs\n"
                               "  -v, --verbose   say more\n"
                               "      --version   print the version and exit\n"
                               "  -h, --help      print this text and exit\n");
}

static void
the_help_of_a_verb_is_wrapped_and_keeps_indented_lines(void **state)
{
    struct usage_args a;
    struct printed p = PARSE(&tool, &a, "tool", "mode", "set", "--help");

    (void)state;
    assert_string_equal(
        p.out, "Usage: tool mode set [OPTION]... MODE --as MODE\n"
               "Change it.\n"
               "\n"
               "Options:\n"
               "  --as MODE  on or off\n"
               "  --wait     a help that is so long that it does not fit into one line of\n"
               "             eighty columns beside its option\n"
               "  --an-option-with-a-long-name ARGUMENT\n"
               "             stands on two lines\n"
               "  --help     print this text and exit\n"
               "\n"
               "Of every verb: --root=DIR --json --verbose\n"
               "\n"
               "A paragraph that has more than eighty characters in it, so that it must be\n"
               "wrapped somewhere before its end, and more than a hundred as well.\n"
               "\n"
               "  kept  a\n"
               "  kept  b\n"
               "Then text again.\n");
    no_line_is_longer(p.out, 79);
}

/* What a terminal of so many columns shows. */
static void
shown(unsigned short columns, char *buf, size_t size)
{
    const struct winsize w = {.ws_row = 24, .ws_col = columns};
    const struct usage *path[] = {&tool, usage_find_verb(&tool, "mode"), NULL};
    size_t n = 0;
    int outer, inner;

    path[2] = usage_find_verb(path[1], "set");
    assert_int_equal(openpty(&outer, &inner, NULL, NULL, &w), 0);
    FILE *f = fdopen(inner, "w");
    assert_non_null(f);
    usage_help(f, path, 3);
    assert_int_equal(fflush(f), 0);
    /* all of it is in the terminal's buffer; the last line is known */
    while (n < size - 1 && !(n > 10 && memcmp(buf + n - 8, "again.\r\n", 8) == 0)) {
        ssize_t r = read(outer, buf + n, size - 1 - n);

        assert_true(r > 0);
        n += (size_t)r;
    }
    buf[n] = '\0';
    (void)fclose(f);
    (void)close(outer);
}

static void
a_terminals_width_is_kept_within_bounds(void **state)
{
    char narrow[4096], wide[4096], tiny[4096];

    (void)state;
    shown(50, narrow, sizeof(narrow));
    no_line_is_longer(narrow, 50); /* the carriage return included */
    assert_has(narrow, "A paragraph that has more than eighty characters\r\n");
    shown(300, wide, sizeof(wide));
    no_line_is_longer(wide, 110);
    shown(1, tiny, sizeof(tiny));
    assert_has(tiny, "A paragraph that has more than eighty\r\n");
}

static void
a_verb_is_found_by_its_name_in_groups_and_lists(void **state)
{
    const struct usage *mode = usage_find_verb(&tool, "mode");
    const char *title;

    (void)state;
    assert_non_null(mode);
    assert_string_equal(usage_find_verb(mode, "set")->summary, "change it");
    assert_null(usage_find_verb(mode, "look"));
    assert_null(usage_find_verb(&tool, ""));
    assert_string_equal(usage_verb(&tool, 2, &title)->name, "pass");
    assert_string_equal(title, "Second");
    assert_null(usage_verb(&tool, 4, &title));
    assert_null(usage_verb(&tool_look, 0, NULL));
}

/* That the shells understand it is tested with the shells (tests/unit/cli/completion.py). */
static void
completions_are_named_and_quoted(void **state)
{
    static const struct usage verbs[] = {
        {.name = "go", .args = "", .summary = "it's \\ $(touch x)"},
        {.name = NULL},
    };
    static const struct usage odd = {
        .name = "odd-tool", .summary = "it's \"odd\" $(touch x) `y`", .verbs = verbs};
    const char *const names[] = {"bash", "zsh", "fish"};
    const char *const quoted[] = {"complete -F _odd_tool odd-tool", "'go:it'\\''s \\ $(touch x)'",
                                  "'it\\'s \\\\ $(touch x)'"};
    enum usage_shell shell;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char text[16384];
        FILE *f = tmpfile();

        assert_non_null(f);
        assert_true(usage_shell_parse(names[i], &shell));
        usage_completion(f, &odd, shell);
        rewind(f);
        text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
        (void)fclose(f);
        assert_has(text, quoted[i]);
    }
    assert_false(usage_shell_parse("csh", &shell));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_help_of_a_program_has_its_groups_and_all_options),
        cmocka_unit_test(the_help_of_a_verb_is_wrapped_and_keeps_indented_lines),
        cmocka_unit_test(a_terminals_width_is_kept_within_bounds),
        cmocka_unit_test(a_verb_is_found_by_its_name_in_groups_and_lists),
        cmocka_unit_test(completions_are_named_and_quoted),
    };

    return cmocka_run_group_tests_name("base_usage_help", tests, NULL, NULL);
}
