/* SPDX-License-Identifier: Apache-2.0 */
#include "usage_table.h"

#include "test_support.h"

#define END                                                                                        \
    {                                                                                              \
        NULL, NULL, NULL, NULL, 0                                                                  \
    }
#define ARGV_MAX 20010

static const struct usage_opt look_opts[] = {
    {"--follow", NULL, "go on until interrupted", NULL, 'f'},
    {"--lines", "N", "so many", NULL, 'n'},
    {"--json", NULL, "its own", NULL, 0},
    END,
};

const struct usage tool_look = {
    .name = "look",
    .args = "[DEVICE]...",
    .summary = "what there is",
    .words = "device",
    .opts = look_opts,
};

static const struct usage pair = {.name = "pair", .args = "FIRST SECOND", .summary = "two of them"};

const struct usage tool_pass = {
    .name = "pass",
    .args = "--to SOCK COMMAND [ARG]...",
    .summary = "a command for somebody else",
    .opts = (const struct usage_opt[]){{"--to", "SOCK", "whom", "file", 0}, END},
    .verbatim = true,
};

static const struct usage modes[] = {
    {.name = "get", .args = "", .summary = "show it"},
    {
        .name = "set",
        .args = "MODE --as MODE",
        .summary = "change it",
        .text =
            "A paragraph that has more than eighty characters in it, so that it must be wrapped "
            "somewhere before its end, and more than a hundred as well.\n\n  kept  a\n  kept  "
            "b\nThen text again.",
        .opts =
            (const struct usage_opt[]){
                {"--as", "MODE", "on or off", "on off", 0},
                {"--wait", NULL,
                 "a help that is so long that it does not fit into one line of eighty columns "
                 "beside "
                 "its option",
                 NULL, 0},
                {"--an-option-with-a-long-name", "ARGUMENT", "stands on two lines", NULL, 0},
                END,
            },
    },
    {.name = NULL},
};

static const struct usage mode = {.name = "mode", .summary = "of the node", .verbs = modes};

static const struct usage *const first[] = {&tool_look, &pair, NULL};
static const struct usage *const second[] = {&tool_pass, &mode, NULL};

const struct usage tool = {
    .name = "tool",
    .args = "VERB ...",
    .summary = "does things",
    .opts =
        (const struct usage_opt[]){
            {"--root", "DIR", "below it", "dir", 0},
            {"--json", NULL, "for programs", NULL, 0},
            {"--verbose", NULL, "say more", NULL, 'v'},
            END,
        },
    .groups = (const struct usage_group[]){{"First", first}, {"Second", second}, {NULL, NULL}},
    .version = "1.2.3",
};

static int
capture(FILE *f, FILE *into)
{
    int saved = dup(fileno(f));

    (void)fflush(f);
    assert_true(saved >= 0);
    assert_true(dup2(fileno(into), fileno(f)) >= 0);
    return saved;
}

static void
release(FILE *f, int saved, FILE *from, char *buf, size_t size)
{
    (void)fflush(f);
    assert_true(dup2(saved, fileno(f)) >= 0);
    (void)close(saved);
    rewind(from);
    buf[fread(buf, 1, size - 1, from)] = '\0';
    (void)fclose(from);
}

struct printed
parse(const struct usage *u, struct usage_args *ret, const char *const *argv)
{
    static char *copy[ARGV_MAX + 1];
    struct printed p;
    FILE *out = tmpfile(), *err = tmpfile();
    int argc = 0, saved_out, saved_err;

    assert_non_null(out);
    assert_non_null(err);
    for (; argv[argc]; argc++) {
        assert_true(argc < ARGV_MAX);
        copy[argc] = (char *)(uintptr_t)argv[argc]; /* sorted, not written to */
    }
    copy[argc] = NULL;
    saved_out = capture(stdout, out);
    saved_err = capture(stderr, err);
    p.status = usage_parse(u, argc, copy, ret);
    release(stderr, saved_err, err, p.err, sizeof(p.err));
    release(stdout, saved_out, out, p.out, sizeof(p.out));
    return p;
}
