/* SPDX-License-Identifier: Apache-2.0
 *
 * The chain of records: whatever is done to its files is found, named with file and line, and what
 * is whole is never suspected.
 */
#include "base/chain.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define LINES_MAX 64
#define ID "00112233445566778899aabbccddeeff"

static char dir[64];

/* ---- a log in memory: lines that can be handled one by one ---- */

struct log {
    struct chain_head head;
    size_t n;
    char *line[LINES_MAX]; /* with newline */
};

__attribute__((format(printf, 2, 3))) static void
add(struct log *l, const char *fmt, ...)
{
    char members[1024];
    struct err e = ERR_INIT;
    struct buf out;
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(members, sizeof(members), fmt, ap);
    va_end(ap);
    buf_init(&out, CHAIN_LINE_MAX);
    assert_int_equal(chain_append(&l->head, members, &out, &e), 0);
    assert_true(l->n < LINES_MAX);
    l->line[l->n++] = strndup((const char *)out.data, out.len);
    buf_fini(&out);
}

static void
begin(struct log *l, const char *what, unsigned oldest)
{
    add(l,
        "\"kind\":\"chain\",\"what\":\"%s\",\"chain\":\"" ID "\",\"oldest\":{\"chain\":\"" ID
        "\",\"seq\":%u}",
        what, oldest);
}

static void
make(struct log *l, unsigned records)
{
    *l = (struct log){.n = 0};
    chain_head_init(&l->head);
    begin(l, "begins", 1);
    for (unsigned i = 1; i < records; i++)
        add(l, "\"kind\":\"state\",\"number\":%u", i);
}

static void
fini(struct log *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->line[i]);
}

/* ---- checking it ---- */

struct found {
    unsigned n;
    struct {
        enum chain_problem_kind kind;
        uint64_t line;
        char file[80], text[200];
    } p[16];
};

static void
on_problem(void *ctx, const struct chain_problem *p)
{
    struct found *f = ctx;

    assert_non_null(p->text);
    assert_true(p->text[0] != '\0');
    if (f->n < 16) {
        f->p[f->n].kind = p->kind;
        f->p[f->n].line = p->line;
        (void)snprintf(f->p[f->n].file, sizeof(f->p[0].file), "%s", p->file);
        (void)snprintf(f->p[f->n].text, sizeof(f->p[0].text), "%s", p->text);
    }
    f->n++;
}

static void
feed(struct chain_check *c, const char *name, const void *data, size_t len)
{
    struct err e = ERR_INIT;
    int fd = memfd_create(name, MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_int_equal(chain_check_fd(c, name, fd, &e), 0);
    (void)close(fd);
}

static void
feed_lines(struct chain_check *c, const char *name, const struct log *l, size_t from, size_t to)
{
    char *all = calloc(1, LINES_MAX * 1200);
    size_t len = 0;

    assert_non_null(all);
    for (size_t i = from; i < to; i++) {
        size_t n = strlen(l->line[i]);

        memcpy(all + len, l->line[i], n);
        len += n;
    }
    feed(c, name, all, len);
    free(all);
}

/* Checks the whole log as one file. */
static struct found
check(const struct log *l)
{
    struct chain_check *c = calloc(1, sizeof(*c));
    struct found f = {.n = 0};

    assert_non_null(c);
    chain_check_init(c, on_problem, &f);
    feed_lines(c, "audit.log", l, 0, l->n);
    chain_check_end(c, true);
    assert_int_equal(c->problems, f.n);
    free(c);
    return f;
}

static void
expect_one(const struct found *f, enum chain_problem_kind kind, uint64_t line)
{
    if (f->n != 1 || f->p[0].kind != kind || f->p[0].line != line)
        fail_msg("expected one problem \"%s\" at line %" PRIu64
                 ", got %u, the first \"%s\" at line "
                 "%" PRIu64 ": %s",
                 chain_problem_name(kind), line, f->n, f->n ? chain_problem_name(f->p[0].kind) : "",
                 f->n ? f->p[0].line : 0, f->n ? f->p[0].text : "");
}

/* ---- what is whole ---- */

static void
a_chain_as_written_has_no_problem(void **state)
{
    struct log l;
    struct found f;

    (void)state;
    make(&l, 10);
    f = check(&l);
    assert_int_equal(f.n, 0);
    fini(&l);
}

static void
the_hash_is_the_sha256_of_what_stands_before_it(void **state)
{
    struct log l;
    char hash[CHAIN_HEX], *at;
    struct err e = ERR_INIT;

    (void)state;
    make(&l, 2);
    at = strstr(l.line[1], ",\"hash\":\"");
    assert_non_null(at);
    assert_int_equal(chain_sha256(l.line[1], (size_t)(at - l.line[1]), hash, &e), 0);
    assert_memory_equal(at + 9, hash, 64);
    assert_string_equal(hash, l.head.hash);
    /* FIPS 180-4, the empty message */
    assert_int_equal(chain_sha256("", 0, hash, &e), 0);
    assert_string_equal(hash, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    fini(&l);
}

static void
a_chain_goes_on_across_files_and_a_pruned_beginning_is_fine(void **state)
{
    struct chain_check *c = calloc(1, sizeof(*c));
    struct found f = {.n = 0};
    struct log l;

    (void)state;
    make(&l, 4);
    begin(&l, "continues", 1);
    add(&l, "\"kind\":\"state\"");
    begin(&l, "continues", 5); /* the first file was pruned */
    add(&l, "\"kind\":\"state\"");
    chain_check_init(c, on_problem, &f);
    feed_lines(c, "audit.log.2", &l, 0, 4);
    feed_lines(c, "audit.log.1", &l, 4, 6);
    feed_lines(c, "audit.log", &l, 6, 8);
    chain_check_end(c, true);
    assert_int_equal(f.n, 0);
    assert_int_equal(c->records, 8);
    assert_int_equal(c->head.seq, 8);
    chain_check_init(c, on_problem, &f);
    feed_lines(c, "audit.log.1", &l, 4, 6);
    feed_lines(c, "audit.log", &l, 6, 8);
    chain_check_end(c, true);
    assert_int_equal(f.n, 0);
    /* but the file that begins with 5 has to be there */
    chain_check_init(c, on_problem, &f);
    feed_lines(c, "audit.log", &l, 6, 8);
    chain_check_end(c, true);
    expect_one(&f, CHAIN_OLDEST, 1);
    free(c);
    fini(&l);
}

/* ---- what was done to it ---- */

static void
every_changed_byte_is_found_in_its_line(void **state)
{
    struct log l;

    (void)state;
    make(&l, 6);
    for (size_t line = 0; line < l.n; line++)
        for (size_t at = 0; l.line[line][at] != '\n'; at++) {
            char keep = l.line[line][at];
            struct found f;

            l.line[line][at] = keep == 'x' ? 'y' : 'x';
            f = check(&l);
            /* the line itself, or one that no longer follows from it */
            if (f.n == 0 || (f.p[0].line != line + 1 && f.p[0].line != line + 2))
                fail_msg("line %zu, byte %zu: %u problems, first at %" PRIu64, line + 1, at, f.n,
                         f.n ? f.p[0].line : 0);
            l.line[line][at] = keep;
        }
    fini(&l);
}

static void
a_change_with_its_hash_made_anew_does_not_fit_the_next_record(void **state)
{
    struct log l, forged;
    struct found f;

    (void)state;
    make(&l, 6);
    make(&forged, 3);
    add(&forged, "\"kind\":\"state\",\"number\":99");
    free(l.line[3]);
    l.line[3] = strdup(forged.line[3]);
    f = check(&l);
    expect_one(&f, CHAIN_UNLINKED, 5);
    fini(&l);
    fini(&forged);
}

static void
removed_records_are_missed(void **state)
{
    struct log l;
    struct found f;
    char *taken;

    (void)state;
    make(&l, 6);
    taken = l.line[2];
    memmove(&l.line[2], &l.line[3], 3 * sizeof(l.line[0]));
    l.n = 5;
    f = check(&l);
    expect_one(&f, CHAIN_MISSING, 3);
    assert_non_null(strstr(f.p[0].text, "record 3 is missing"));
    free(taken);
    taken = l.line[0];
    memmove(&l.line[0], &l.line[1], 4 * sizeof(l.line[0]));
    l.n = 4;
    f = check(&l);
    assert_true(f.n >= 1);
    assert_int_equal(f.p[0].kind, CHAIN_BEGIN);
    free(taken);
    fini(&l);
}

static void
repeated_and_moved_records_are_out_of_order(void **state)
{
    struct log l;
    struct found f;
    char *swap;

    (void)state;
    make(&l, 6);
    l.line[l.n++] = strdup(l.line[3]);
    f = check(&l);
    expect_one(&f, CHAIN_ORDER, 7);
    free(l.line[--l.n]);
    swap = l.line[2];
    l.line[2] = l.line[3];
    l.line[3] = swap;
    f = check(&l);
    assert_true(f.n >= 2);
    assert_int_equal(f.p[0].kind, CHAIN_MISSING);
    assert_int_equal(f.p[1].kind, CHAIN_ORDER);
    fini(&l);
}

static void
a_line_put_in_is_no_record(void **state)
{
    struct log l;
    struct found f;

    (void)state;
    make(&l, 6);
    memmove(&l.line[4], &l.line[3], 3 * sizeof(l.line[0]));
    l.line[3] = strdup("{\"kind\":\"state\"}\n");
    l.n++;
    f = check(&l);
    expect_one(&f, CHAIN_GARBAGE, 4);
    fini(&l);
}

static void
a_new_chain_in_the_middle_needs_a_reason_and_is_shown_with_it(void **state)
{
    struct log l, other;
    struct found f;

    (void)state;
    make(&l, 3);
    make(&other, 2);
    l.line[l.n++] = strdup(other.line[0]);
    l.line[l.n++] = strdup(other.line[1]);
    f = check(&l);
    expect_one(&f, CHAIN_BEGIN, 4);
    fini(&other);
    free(l.line[--l.n]);
    free(l.line[--l.n]);
    chain_head_init(&l.head);
    add(&l, "\"kind\":\"chain\",\"what\":\"break\",\"chain\":\"" ID
            "\",\"text\":\"line 7 was changed\"");
    f = check(&l);
    expect_one(&f, CHAIN_BREAK, 4);
    assert_non_null(strstr(f.p[0].text, "line 7 was changed"));
    fini(&l);
}

/* ---- the end ---- */

static void
a_cut_end_is_found_by_whoever_knows_the_newest_record(void **state)
{
    struct chain_check *c = calloc(1, sizeof(*c));
    struct found f = {.n = 0};
    struct log l;

    (void)state;
    make(&l, 6);
    f = (struct found){.n = 0};
    chain_check_init(c, on_problem, &f);
    c->expect = l.head;
    feed_lines(c, "audit.log", &l, 0, 6);
    chain_check_end(c, true);
    assert_int_equal(f.n, 0);
    assert_true(c->expect_seen);
    chain_check_init(c, on_problem, &f);
    c->expect = l.head;
    feed_lines(c, "audit.log", &l, 0, 5);
    chain_check_end(c, true);
    expect_one(&f, CHAIN_CUT, 0);
    /* by number alone, and the right number with another hash */
    f.n = 0;
    chain_check_init(c, on_problem, &f);
    c->expect.seq = 6;
    feed_lines(c, "audit.log", &l, 0, 5);
    chain_check_end(c, true);
    expect_one(&f, CHAIN_CUT, 0);
    f.n = 0;
    chain_check_init(c, on_problem, &f);
    c->expect = l.head;
    c->expect.hash[0] = c->expect.hash[0] == '0' ? '1' : '0';
    feed_lines(c, "audit.log", &l, 0, 6);
    chain_check_end(c, true);
    expect_one(&f, CHAIN_CUT, 0);
    free(c);
    fini(&l);
}

static void
a_torn_line_is_a_problem_until_it_is_recorded(void **state)
{
    static const char torn[] = "{\"seq\":4,\"prev\":\"12";
    struct chain_check *c = calloc(1, sizeof(*c));
    struct found f = {.n = 0};
    struct log l;
    char hash[CHAIN_HEX], *all = calloc(1, 1u << 16);
    struct err e = ERR_INIT;
    size_t len = 0;

    (void)state;
    make(&l, 3);
    for (size_t i = 0; i < 3; i++)
        len += (size_t)snprintf(all + len, 65536 - len, "%s", l.line[i]);
    len += (size_t)snprintf(all + len, 65536 - len, "%s", torn);
    chain_check_init(c, on_problem, &f);
    feed(c, "audit.log", all, len);
    chain_check_end(c, true);
    expect_one(&f, CHAIN_TORN_TAIL, 4);
    assert_true(c->tail_torn);
    assert_int_equal(c->tail_bytes, strlen(torn));
    assert_int_equal(c->head.seq, 3);
    /* ended and recorded */
    assert_int_equal(chain_sha256(torn, strlen(torn), hash, &e), 0);
    assert_string_equal(hash, c->tail_hash);
    add(&l, "\"kind\":\"chain\",\"what\":\"torn\",\"bytes\":%zu,\"sha256\":\"%s\"", strlen(torn),
        hash);
    len += (size_t)snprintf(all + len, 65536 - len, "\n%s", l.line[3]);
    f.n = 0;
    chain_check_init(c, on_problem, &f);
    feed(c, "audit.log", all, len);
    chain_check_end(c, true);
    assert_int_equal(f.n, 0);
    assert_int_equal(c->torn, 1);
    /* another line in its place is found */
    all[strlen(l.line[0]) + strlen(l.line[1]) + strlen(l.line[2]) + 3] = 'Z';
    chain_check_init(c, on_problem, &f);
    feed(c, "audit.log", all, len);
    chain_check_end(c, true);
    expect_one(&f, CHAIN_GARBAGE, 4);
    free(all);
    free(c);
    fini(&l);
}

static void
lines_of_any_length_are_read_in_bounded_memory(void **state)
{
    struct chain_check *c = calloc(1, sizeof(*c));
    struct found f = {.n = 0};
    size_t len = 5u << 20;
    char *all = malloc(len), hash[CHAIN_HEX];
    struct err e = ERR_INIT;

    (void)state;
    assert_non_null(all);
    memset(all, 'a', len);
    all[100] = '\0';
    chain_check_init(c, on_problem, &f);
    feed(c, "audit.log", all, len);
    chain_check_end(c, true);
    expect_one(&f, CHAIN_TORN_TAIL, 1);
    assert_int_equal(c->tail_bytes, len);
    assert_int_equal(chain_sha256(all, len, hash, &e), 0);
    assert_string_equal(hash, c->tail_hash);
    free(all);
    free(c);
}

static void
a_record_that_is_too_long_is_refused_and_changes_nothing(void **state)
{
    struct chain_head h, before;
    struct err e = ERR_INIT;
    struct buf out;
    char *members = malloc(CHAIN_LINE_MAX + 1);

    (void)state;
    chain_head_init(&h);
    before = h;
    memset(members, 'a', CHAIN_LINE_MAX);
    members[CHAIN_LINE_MAX] = '\0';
    buf_init(&out, 1u << 20);
    assert_true(chain_append(&h, members, &out, &e) < 0);
    assert_int_equal(h.seq, before.seq);
    assert_string_equal(h.hash, before.hash);
    assert_int_equal(out.len, 0);
    buf_fini(&out);
    free(members);
}

static void
files_are_listed_from_the_oldest_on_and_others_are_not_taken(void **state)
{
    static const char *const names[] = {"x.log",   "x.log.1",  "x.log.10",   "x.log.2",
                                        "x.log.a", "x.log.01", "x.log.2.gz", "y.log"};
    static const char *const expected[] = {"x.log.10", "x.log.2", "x.log.1", "x.log"};
    char(*list)[CHAIN_PATH_MAX] = NULL;
    char path[160];
    struct err e = ERR_INIT;

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        (void)close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    }
    (void)snprintf(path, sizeof(path), "%s/x.log", dir);
    assert_int_equal(chain_files(path, &list, &e), 4);
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(strrchr(list[i], '/') + 1, expected[i]);
    free(list);
    assert_int_equal(chain_files("/nonexistent-dir/x.log", &list, &e), 0);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        (void)unlink(path);
    }
}

static int
setup(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof(dir), "/tmp/pgpu-chain-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int
teardown(void **state)
{
    (void)state;
    return rmdir(dir);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chain_as_written_has_no_problem),
        cmocka_unit_test(the_hash_is_the_sha256_of_what_stands_before_it),
        cmocka_unit_test(a_chain_goes_on_across_files_and_a_pruned_beginning_is_fine),
        cmocka_unit_test(every_changed_byte_is_found_in_its_line),
        cmocka_unit_test(a_change_with_its_hash_made_anew_does_not_fit_the_next_record),
        cmocka_unit_test(removed_records_are_missed),
        cmocka_unit_test(repeated_and_moved_records_are_out_of_order),
        cmocka_unit_test(a_line_put_in_is_no_record),
        cmocka_unit_test(a_new_chain_in_the_middle_needs_a_reason_and_is_shown_with_it),
        cmocka_unit_test(a_cut_end_is_found_by_whoever_knows_the_newest_record),
        cmocka_unit_test(a_torn_line_is_a_problem_until_it_is_recorded),
        cmocka_unit_test(lines_of_any_length_are_read_in_bounded_memory),
        cmocka_unit_test(a_record_that_is_too_long_is_refused_and_changes_nothing),
        cmocka_unit_test(files_are_listed_from_the_oldest_on_and_others_are_not_taken),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
