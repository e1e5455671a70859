/* SPDX-License-Identifier: Apache-2.0
 *
 * The lint on the directories of cases.txt, and on what a table of texts cannot say.
 */
#include "base/cleanup.h"
#include "base/fs.h"
#include "cdi/cdi.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct tree {
    char top[64];
    char dir[2][80];
};

static int
remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static void
tree_new(struct tree *t)
{
    (void)snprintf(t->top, sizeof(t->top), "/tmp/pgpu-test-lint-XXXXXX");
    assert_non_null(mkdtemp(t->top));
    for (int i = 0; i < 2; i++) {
        (void)str_copy(t->dir[i], sizeof(t->dir[i]), t->top);
        (void)str_copy(t->dir[i] + strlen(t->top), 3, i ? "/1" : "/0");
        assert_int_equal(mkdir(t->dir[i], 0755), 0);
    }
}

static void
tree_free(struct tree *t)
{
    (void)nftw(t->top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void
put(const struct tree *t, const char *rel, const char *text, size_t len)
{
    char path[4096];
    struct err e = ERR_INIT;

    (void)snprintf(path, sizeof(path), "%s/%s", t->top, rel);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    assert_int_equal(fs_mkdirs(path, 0755, &e), 0);
    *slash = '/';
    _cleanup_fd_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(fs_write_all(fd, text, len, &e), 0);
}

static struct cdi_report *
lint(const struct tree *t)
{
    const char *dirs[] = {t->dir[0], t->dir[1]};
    struct cdi_report *r = NULL;
    struct err e = ERR_INIT;

    if (cdi_lint(dirs, 2, &r, &e) != 0)
        fail_msg("%s", e.msg);
    return r;
}

static enum cdi_verdict
worst(const struct cdi_report *r, enum cdi_consumer who)
{
    enum cdi_verdict v = CDI_OK;

    for (size_t i = 0; i < r->n; i++) {
        if (r->v[i].consumer == who && r->v[i].verdict != CDI_IGNORED && r->v[i].verdict > v)
            v = r->v[i].verdict;
    }
    return v;
}

/* ---- cases.txt ---- */

static const char *
verdict_word(enum cdi_verdict v)
{
    switch (v) {
    case CDI_OK:
        return "ok";
    case CDI_IGNORED:
        return "ignored";
    case CDI_WARN:
        return "warn";
    case CDI_POISON:
        return "POISON";
    case CDI_CRASH:
        return "CRASH";
    }
    return "?";
}

static void
say_findings(const struct cdi_report *r)
{
    for (size_t i = 0; i < r->n; i++)
        print_message("    %s %s %s: %s\n", r->v[i].file, cdi_consumer_name(r->v[i].consumer),
                      verdict_word(r->v[i].verdict), r->v[i].text);
}

/* A finding that is neither fine nor "not looked at" says why, and what to do. */
static int
texts_missing(const struct cdi_report *r)
{
    int bad = 0;

    for (size_t i = 0; i < r->n; i++) {
        if (r->v[i].verdict >= CDI_WARN && !strstr(r->v[i].text, "cure: "))
            bad++;
    }
    return bad;
}

static int
check_case(const struct tree *t, const char *name, const char *want)
{
    struct cdi_report *r = lint(t);
    char have[64];
    int bad;

    (void)snprintf(have, sizeof(have), "%s %s %s", verdict_word(worst(r, CDI_KATA_GO)),
                   verdict_word(worst(r, CDI_KATA_RS)), verdict_word(worst(r, CDI_CONTAINERD)));
    bad = strcmp(have, want) != 0 || texts_missing(r) > 0;
    if (bad) {
        print_message("%s: %s, wanted %s\n", name, have, want);
        say_findings(r);
    }
    cdi_report_free(r);
    return bad;
}

struct reader {
    struct tree tree;
    char name[80], want[64], file[256];
    struct buf text;
    bool open;
    int cases, bad;
};

static void
end_file(struct reader *rd)
{
    if (rd->file[0])
        put(&rd->tree, rd->file, (const char *)rd->text.data, rd->text.len);
    rd->file[0] = '\0';
    buf_clear(&rd->text);
}

static void
end_case(struct reader *rd)
{
    end_file(rd);
    if (!rd->open)
        return;
    rd->cases++;
    rd->bad += check_case(&rd->tree, rd->name, rd->want);
    tree_free(&rd->tree);
    rd->open = false;
}

static void
directive(struct reader *rd, char *line)
{
    char path[512], *target;

    line[strcspn(line, "\n")] = '\0';
    end_file(rd);
    if (strncmp(line, "@case ", 6) == 0) {
        end_case(rd);
        tree_new(&rd->tree);
        rd->open = true;
        assert_true(str_copy(rd->name, sizeof(rd->name), line + 6));
    } else if (strncmp(line, "@want ", 6) == 0) {
        assert_true(str_copy(rd->want, sizeof(rd->want), line + 6));
    } else if (strncmp(line, "@file ", 6) == 0) {
        assert_true(str_copy(rd->file, sizeof(rd->file), line + 6));
    } else if (strncmp(line, "@link ", 6) == 0) {
        target = strchr(line + 6, ' ');
        assert_non_null(target);
        *target++ = '\0';
        (void)snprintf(path, sizeof(path), "%s/%s", rd->tree.top, line + 6);
        assert_int_equal(symlink(target, path), 0);
    } else {
        fail_msg("cases.txt: %s", line);
    }
}

static void
cases_are_judged_as_the_consumers_do(void **state)
{
    struct reader rd = {0};
    char path[4096], *line = NULL;
    size_t cap = 0;
    const char *source = getenv("PGPU_SOURCE_DIR");

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/tests/unit/cdi/cases.txt", source ? source : ".");
    _cleanup_fclose_ FILE *f = fopen(path, "re");
    assert_non_null(f);
    buf_init(&rd.text, 65536);
    while (getline(&line, &cap, f) >= 0) {
        if (*line == '@')
            directive(&rd, line);
        else if (rd.file[0] && !(line[0] == '\n'))
            assert_true(buf_put_str(&rd.text, line));
    }
    end_case(&rd);
    free(line);
    buf_fini(&rd.text);
    assert_true(rd.cases > 60);
    assert_int_equal(rd.bad, 0);
}

/* ---- the rest ---- */

static const char good[] = "{\"cdiVersion\":\"0.5.0\",\"kind\":\"nvidia.com/pgpu\",\"devices\":[{"
                           "\"name\":\"0000:41:00.0\",\"containerEdits\":{\"deviceNodes\":[{"
                           "\"path\":\"/dev/null\"}]}}]}";

static const struct cdi_finding *
finding(const struct cdi_report *r, const char *file_end, enum cdi_consumer who)
{
    for (size_t i = 0; i < r->n; i++) {
        size_t len = strlen(r->v[i].file), tail = strlen(file_end);

        if (r->v[i].consumer == who && len >= tail &&
            strcmp(r->v[i].file + len - tail, file_end) == 0)
            return &r->v[i];
    }
    fail_msg("no finding on %s", file_end);
    return NULL;
}

static void
winner_between_directories_is_named(void **state)
{
    struct tree t;

    (void)state;
    tree_new(&t);
    put(&t, "0/static.json", good, sizeof(good) - 1);
    put(&t, "1/dynamic.json", good, sizeof(good) - 1);
    struct cdi_report *r = lint(&t);
    const struct cdi_finding *f = finding(r, "0/static.json", CDI_KATA_GO);
    assert_int_equal(f->verdict, CDI_WARN);
    assert_non_null(strstr(f->text, "1/dynamic.json wins"));
    assert_non_null(strstr(f->text, "nvidia.com/pgpu=0000:41:00.0"));
    f = finding(r, "1/dynamic.json", CDI_KATA_RS);
    assert_int_equal(f->verdict, CDI_WARN);
    assert_non_null(strstr(f->text, "0/static.json wins"));
    assert_int_equal(finding(r, "1/dynamic.json", CDI_KATA_GO)->verdict, CDI_OK);
    assert_int_equal(r->poisoned, 0);
    cdi_report_free(r);
    tree_free(&t);
}

static void
both_files_of_a_conflict_are_named(void **state)
{
    struct tree t;

    (void)state;
    tree_new(&t);
    put(&t, "1/a.json", good, sizeof(good) - 1);
    put(&t, "1/b.json", good, sizeof(good) - 1);
    put(&t, "1/c.json", good, sizeof(good) - 1);
    struct cdi_report *r = lint(&t);
    assert_int_equal(r->poisoned, 6);
    assert_non_null(strstr(finding(r, "1/a.json", CDI_KATA_GO)->text, "1/b.json"));
    assert_int_equal(finding(r, "1/c.json", CDI_KATA_RS)->verdict, CDI_POISON);
    cdi_report_free(r);
    tree_free(&t);
}

static void
what_blocks_or_never_ends_is_survived(void **state)
{
    struct tree t;
    char path[256];
    char *big = malloc(2 * 1024 * 1024);

    (void)state;
    assert_non_null(big);
    memset(big, ' ', 2 * 1024 * 1024);
    tree_new(&t);
    (void)snprintf(path, sizeof(path), "%s/fifo.json", t.dir[1]);
    assert_int_equal(mkfifo(path, 0600), 0);
    put(&t, "1/big.json", big, 2 * 1024 * 1024);
    free(big);
    struct cdi_report *r = lint(&t);
    assert_int_equal(finding(r, "fifo.json", CDI_KATA_GO)->verdict, CDI_POISON);
    assert_int_equal(finding(r, "big.json", CDI_KATA_GO)->verdict, CDI_WARN);
    assert_non_null(strstr(finding(r, "big.json", CDI_KATA_GO)->text, "not judged"));
    cdi_report_free(r);
    tree_free(&t);
}

/* A few bytes that unfold to a hundred million nodes. */
static void
aliases_do_not_explode(void **state)
{
    struct buf b;
    struct tree t;

    (void)state;
    buf_init(&b, 1 << 20);
    buf_put_str(&b, "cdiVersion: 0.5.0\nkind: other.com/thing\ncontainerEdits: &e\n  env: [");
    for (int i = 0; i < 10000; i++)
        buf_put_str(&b, "a=b,");
    buf_put_str(&b, "]\ndevices:\n");
    for (int i = 0; i < 10000; i++)
        buf_putf(&b, "- {name: d%d, containerEdits: *e}\n", i);
    assert_false(buf_failed(&b));
    tree_new(&t);
    put(&t, "1/x.yaml", (const char *)b.data, b.len);
    buf_fini(&b);
    struct cdi_report *r = lint(&t);
    assert_int_equal(finding(r, "x.yaml", CDI_KATA_GO)->verdict, CDI_WARN);
    assert_non_null(strstr(finding(r, "x.yaml", CDI_KATA_GO)->text, "too large"));
    cdi_report_free(r);
    tree_free(&t);
}

static void
too_many_files_and_levels_are_errors(void **state)
{
    const char *dirs[1];
    struct cdi_report *r = NULL;
    struct err e = ERR_INIT;
    struct tree t;
    char path[256];

    (void)state;
    tree_new(&t);
    dirs[0] = t.dir[1];
    put(&t, "1/1/2/3/4/5/6/7/8/9/x.json", good, sizeof(good) - 1);
    assert_int_equal(cdi_lint(dirs, 1, &r, &e), -ELOOP);
    assert_non_null(strstr(e.msg, t.dir[1]));
    dirs[0] = t.dir[0];
    for (int i = 0; i < 1001; i++) {
        (void)snprintf(path, sizeof(path), "0/%d.txt", i);
        put(&t, path, "", 0);
    }
    err_clear(&e);
    assert_true(cdi_lint(dirs, 1, &r, &e) < 0);
    assert_null(r);
    assert_non_null(strstr(e.msg, t.dir[0]));
    tree_free(&t);
}

static void
directories_missing_linked_or_not(void **state)
{
    struct tree t;
    char link[256];
    struct cdi_report *r = NULL;
    struct err e = ERR_INIT;

    (void)state;
    tree_new(&t);
    put(&t, "1/x.json", "{", 1);
    (void)snprintf(link, sizeof(link), "%s/link", t.top);
    assert_int_equal(symlink("1", link), 0);
    const char *dirs[] = {"/nonexistent/cdi", link};
    assert_int_equal(cdi_lint(dirs, 2, &r, &e), 0);
    assert_int_equal(finding(r, "/link", CDI_KATA_GO)->verdict, CDI_WARN);
    assert_int_equal(finding(r, "/link/x.json", CDI_KATA_GO)->verdict, CDI_IGNORED);
    assert_int_equal(finding(r, "/link/x.json", CDI_KATA_RS)->verdict, CDI_POISON);
    cdi_report_free(r);
    const char *file[] = {"/dev/null"};
    assert_int_equal(cdi_lint(file, 1, &r, &e), -ENOTDIR);
    tree_free(&t);
}

static void
texts_name_device_and_cure(void **state)
{
    static const char bad[] =
        "{\"cdiVersion\":\"0.5.0\",\"kind\":\"nvidia.com/pgpu\",\"devices\":[{"
        "\"name\":\"0000:41:00.0\",\"containerEdits\":{}}]}";
    struct tree t;

    (void)state;
    tree_new(&t);
    put(&t, "1/x.json", bad, sizeof(bad) - 1);
    struct cdi_report *r = lint(&t);
    assert_string_equal(finding(r, "x.json", CDI_KATA_GO)->text,
                        "device 0000:41:00.0: its \"containerEdits\" are empty; cure: give it a "
                        "device node or remove the device");
    cdi_report_free(r);
    tree_free(&t);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cases_are_judged_as_the_consumers_do),
        cmocka_unit_test(winner_between_directories_is_named),
        cmocka_unit_test(both_files_of_a_conflict_are_named),
        cmocka_unit_test(what_blocks_or_never_ends_is_survived),
        cmocka_unit_test(aliases_do_not_explode),
        cmocka_unit_test(too_many_files_and_levels_are_errors),
        cmocka_unit_test(directories_missing_linked_or_not),
        cmocka_unit_test(texts_name_device_and_cure),
    };

    return cmocka_run_group_tests_name("cdi.lint", tests, NULL, NULL);
}
