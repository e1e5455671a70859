/* SPDX-License-Identifier: Apache-2.0
 *
 * The audit log as a listener: what it writes, how it rotates and goes on, and what it does with a
 * log that was cut, edited, torn, exchanged or cannot be written.
 */
/* This file has a read() of its own, which the hardened headers define inline. */
#undef _FORTIFY_SOURCE

#include "base/chain.h"
#include "base/log.h"
#include "daemon/audit.h"
#include "daemon/node.h"
#include "daemon/timer.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* ---- the disk ---- */

static struct {
    pthread_t loop;
    atomic_int on_loop; /* how often the loop would have waited for it */
    atomic_int error;   /* what it answers */
    atomic_int reads;   /* of the whole log */
} disk;

static int
answer_sync(void)
{
    if (pthread_equal(pthread_self(), disk.loop))
        disk.on_loop++;
    errno = disk.error;
    return disk.error ? -1 : 0;
}

/* In place of the C library's. */
int
fdatasync(int fd)
{
    (void)fd;
    return answer_sync();
}

int
fsync(int fd)
{
    (void)fd;
    return answer_sync();
}

ssize_t
read(int fd, void *buf, size_t n)
{
    disk.reads += n == 8192; /* by which a chain is checked */
    return syscall(SYS_read, fd, buf, n);
}

static char dir[64];
static sd_event *loop;
static struct audit_conf conf;
static struct act_bus bus;
static struct {
    unsigned ok, bad;
    char text[ERR_MSG_MAX];
} heard;

static void
on_act(void *ctx, const struct act *a)
{
    (void)ctx;
    if (a->kind != ACT_AUDIT)
        return;
    if (a->ok)
        heard.ok++;
    else
        heard.bad++;
    if (!a->ok)
        (void)snprintf(heard.text, sizeof(heard.text), "%s", a->text);
}

static struct audit *
start(void)
{
    struct audit *a = NULL;
    struct err e = ERR_INIT;

    memset(&heard, 0, sizeof(heard));
    memset(&bus, 0, sizeof(bus));
    assert_int_equal(audit_new(loop, &conf, dir, &bus, &a, &e), 0);
    assert_non_null(a);
    act_listen(&bus, audit_act, a);
    act_listen(&bus, on_act, NULL);
    return a;
}

static void
tell(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        act_tell(&bus,
                 &(struct act){
                     .kind = ACT_REQUEST, .ok = true, .what = "mode set on", .pid = 42, .uid = 0});
}

/* ---- looking at it ---- */

struct seen {
    uint64_t problems, records, torn;
    unsigned breaks, gaps;
    struct chain_head head;
    enum chain_problem_kind first;
    char text[300];
};

static void
on_problem(void *ctx, const struct chain_problem *p)
{
    struct seen *s = ctx;

    if (s->problems++ == 0) {
        s->first = p->kind;
        (void)snprintf(s->text, sizeof(s->text), "%s:%llu: %s", p->file,
                       (unsigned long long)p->line, p->text);
    }
}

static void
on_record(void *ctx, const char *file, uint64_t line, uint64_t seq, const char *text, size_t len)
{
    struct seen *s = ctx;
    json_object *o = json_tokener_parse(text);

    (void)file;
    (void)line;
    (void)seq;
    (void)len;
    assert_non_null(o); /* every record is JSON */
    (void)json_object_put(o);
    s->gaps += strstr(text, "\"kind\":\"gap\"") != NULL;
}

static struct seen
look(void)
{
    struct chain_check *c = calloc(1, sizeof(*c));
    struct seen s = {.problems = 0};
    char(*files)[CHAIN_PATH_MAX] = NULL;
    struct err e = ERR_INIT;
    int n = chain_files(conf.file, &files, &e);

    assert_true(n >= 0);
    chain_check_init(c, on_problem, &s);
    c->record = on_record;
    for (int i = 0; i < n; i++)
        assert_int_equal(chain_check_file(c, files[i], &e), 0);
    chain_check_end(c, true);
    s.records = c->records;
    s.torn = c->torn;
    s.breaks = c->breaks;
    s.head = c->head;
    free(files);
    free(c);
    return s;
}

static struct seen
expect_whole(void)
{
    struct seen s = look();

    if (s.problems)
        fail_msg("%llu problems, the first: %s", (unsigned long long)s.problems, s.text);
    return s;
}

static off_t
size_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? st.st_size : -1;
}

static void
append(const char *text)
{
    int fd = open(conf.file, O_WRONLY | O_APPEND | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
}

static void
put_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
}

/* The rest of the files of the log, and the two notes. */
static const char *
near(const char *suffix)
{
    static char path[4][300];
    static unsigned i;

    i = (i + 1) % 4;
    if (strcmp(suffix, "state") == 0)
        (void)snprintf(path[i], sizeof(path[i]), "%s/audit.head", dir);
    else
        (void)snprintf(path[i], sizeof(path[i]), "%s%s", conf.file, suffix);
    return path[i];
}

static void
until_rotated(unsigned times)
{
    struct stat old, now;

    for (unsigned i = 0; i < times; i++) {
        assert_int_equal(stat(conf.file, &old), 0);
        do {
            tell(1);
            assert_int_equal(stat(conf.file, &now), 0);
        } while (now.st_ino == old.st_ino);
    }
}

/* Runs the loop until the log is as wanted. */
static void
wait_ok(const struct audit *a, bool ok)
{
    uint64_t end = now_ns() + UINT64_C(30000000000);
    const char *why;

    while (audit_is_ok(a, &why) != ok) {
        if (now_ns() > end)
            fail_msg("the log is not %s: %s", ok ? "well" : "ill", why);
        assert_true(sd_event_run(loop, 20000) >= 0);
    }
    while (sd_event_run(loop, 0) > 0)
        ;
}

/* ---- tests ---- */

static void
acts_become_records_and_a_restart_goes_on(void **state)
{
    struct audit *a = start();
    struct seen s;

    (void)state;
    tell(3);
    /* not audited: journal, runtime's requests, checks that found nothing */
    act_tell(&bus, &(struct act){.kind = ACT_JOURNAL, .ok = true});
    act_tell(&bus, &(struct act){.kind = ACT_NRI_EVENT, .ok = true, .what = "RunPodSandbox"});
    act_tell(&bus, &(struct act){.kind = ACT_STATE, .from = UNIT_READY, .to = UNIT_READY});
    assert_int_equal(heard.ok, 3);
    assert_int_equal(heard.bad, 0);
    audit_free(a);
    s = expect_whole();
    assert_int_equal(s.records, 4); /* with the first one, of the chain */
    a = start();
    tell(2);
    audit_free(a);
    s = expect_whole();
    assert_int_equal(s.records, 6);
    assert_int_equal(s.head.seq, 6);
    assert_int_equal(heard.bad, 0);
}

static void
foreign_text_stays_one_line_of_clean_json(void **state)
{
    struct audit *a = start();

    (void)state;
    act_tell(&bus, &(struct act){.kind = ACT_REFUSAL,
                                 .what = "RunPodSandbox",
                                 .pod = "x\"},\n{\"seq\":1",
                                 .ns = "\xff\xfe\x80 overlong \xc0\xaf \x1b[2J",
                                 .text = "caf\xc3\xa9 \xe2\x82\xac \xc2\x9b"});
    audit_free(a);
    assert_int_equal(expect_whole().records, 2);
    {
        char text[4096] = "";
        int fd = open(conf.file, O_RDONLY | O_CLOEXEC);

        assert_true(read(fd, text, sizeof(text) - 1) > 0);
        (void)close(fd);
        assert_non_null(strstr(text, "caf\xc3\xa9 \xe2\x82\xac ?"));
        assert_null(strchr(text, '\x1b'));
        assert_null(strstr(text, "\xff"));
    }
}

static void
files_rotate_with_the_chain_kept_and_old_ones_pruned(void **state)
{
    struct audit *a = start();
    char path[300];
    struct seen s;

    (void)state;
    tell(700); /* of about 280 bytes: six files of 32 KiB */
    audit_free(a);
    s = expect_whole();
    assert_true(s.head.seq > 700);
    assert_true(s.records < s.head.seq); /* the oldest are gone, and that is fine */
    (void)snprintf(path, sizeof(path), "%s.2", conf.file);
    assert_true(size_of(path) > 0);
    (void)snprintf(path, sizeof(path), "%s.3", conf.file);
    assert_int_equal(size_of(path), -1);
    /* a file taken away is missed */
    (void)snprintf(path, sizeof(path), "%s.2", conf.file);
    assert_int_equal(unlink(path), 0);
    s = look();
    assert_int_equal(s.problems, 1);
    assert_int_equal(s.first, CHAIN_OLDEST);
}

static void
death_between_two_steps_of_a_rotation_loses_nothing(void **state)
{
    struct audit *a = start();
    char path[300];
    struct seen s;
    int fd;

    (void)state;
    tell(3);
    audit_free(a);
    (void)snprintf(path, sizeof(path), "%s.1", conf.file);
    assert_int_equal(rename(conf.file, path), 0);
    a = start();
    tell(1);
    audit_free(a);
    s = expect_whole();
    assert_int_equal(heard.bad, 0);
    assert_int_equal(s.head.seq, 6); /* begins + 3, continues + 1 */
    /* made, and nothing in it yet */
    (void)snprintf(path, sizeof(path), "%s.2", conf.file);
    assert_int_equal(rename(conf.file, path), 0);
    {
        char one[300];

        (void)snprintf(one, sizeof(one), "%s.1", conf.file);
        (void)snprintf(path, sizeof(path), "%s.3", conf.file);
        assert_int_equal(rename(one, path), 0);
    }
    fd = open(conf.file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    a = start();
    tell(1);
    audit_free(a);
    assert_int_equal(expect_whole().head.seq, 8);
    assert_int_equal(heard.bad, 0);
}

static void
a_torn_last_line_is_kept_and_recorded(void **state)
{
    struct audit *a = start();
    struct seen s;

    (void)state;
    tell(2);
    audit_free(a);
    append("{\"seq\":4,\"prev\":\"0123");
    s = look();
    assert_int_equal(s.first, CHAIN_TORN_TAIL);
    a = start();
    tell(1);
    audit_free(a);
    s = expect_whole();
    assert_int_equal(s.torn, 1);
    assert_int_equal(s.breaks, 0);
    assert_int_equal(s.head.seq, 5);
}

/* What somebody did while pgpud was down is told, and what was there is put aside. */
static void
expect_break(const char *word)
{
    struct audit *a = start();
    struct seen s;

    tell(1);
    audit_free(a);
    s = look();
    assert_int_equal(s.breaks, 1);
    assert_int_equal(s.head.seq, 2); /* a new chain */
    {
        char text[2048] = "";
        int fd = open(conf.file, O_RDONLY | O_CLOEXEC);

        assert_true(read(fd, text, sizeof(text) - 1) > 0);
        (void)close(fd);
        if (!strstr(text, "\"what\":\"break\"") || !strstr(text, word))
            fail_msg("\"%s\" is not in: %s", word, text);
    }
}

static void
an_edit_while_it_was_down_begins_a_new_chain_that_says_so(void **state)
{
    struct audit *a = start();
    int fd;

    (void)state;
    tell(3);
    audit_free(a);
    fd = open(conf.file, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "9", 1, 100), 1);
    (void)close(fd);
    expect_break("record 1 was changed");
}

static void
a_cut_end_is_noticed_by_the_note_in_the_state_directory(void **state)
{
    struct audit *a = start();
    FILE *f;
    char line[4096];
    off_t keep = 0;

    (void)state;
    tell(3);
    audit_free(a);
    f = fopen(conf.file, "re");
    for (int i = 0; i < 2; i++)
        assert_non_null(fgets(line, sizeof(line), f));
    keep = ftello(f);
    (void)fclose(f);
    assert_int_equal(truncate(conf.file, keep), 0);
    assert_int_equal(look().problems, 0); /* the file alone does not tell */
    expect_break("record 4 should be there");
}

static void
a_log_that_is_gone_is_noticed_too(void **state)
{
    struct audit *a = start();

    (void)state;
    tell(3);
    audit_free(a);
    assert_int_equal(unlink(conf.file), 0);
    expect_break("the log is gone");
}

static void
what_others_do_to_the_file_while_it_is_open_is_noticed_at_the_next_record(void **state)
{
    struct audit *a = start();
    struct seen s;

    (void)state;
    tell(2);
    assert_int_equal(heard.bad, 0);
    append("{\"forged\":true}\n");
    tell(1);
    assert_int_equal(heard.bad, 1);
    if (!strstr(heard.text, "not a record"))
        fail_msg("it says: %s", heard.text);
    s = look();
    assert_int_equal(s.breaks, 1);
    assert_int_equal(unlink(conf.file), 0);
    tell(1);
    assert_int_equal(heard.bad, 2);
    audit_free(a);
    assert_true(size_of(conf.file) > 0);
}

static void
a_file_that_may_not_grow_loses_records_and_says_how_many(void **state)
{
    struct audit *a = start();
    struct rlimit old, small;
    struct seen s;
    struct err e = ERR_INIT;
    off_t before;

    (void)state;
    tell(2);
    before = size_of(conf.file);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = (rlim_t)before + 40; /* a part of the next record */
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    tell(3);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(heard.bad, 1); /* once, not for every record */
    assert_int_equal(size_of(conf.file), before);
    assert_true(audit_ready(a, &e)); /* not required */
    /* it is tried again by whoever needs it */
    audit_free(a);
    conf.required = true;
    a = start();
    before = size_of(conf.file);
    small.rlim_cur = (rlim_t)before + 40;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    tell(3);
    assert_false(audit_ready(a, &e));
    assert_int_equal(e.reason, REASON_AUDIT_WRITE);
    assert_non_null(strstr(e.msg, "required"));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    err_clear(&e);
    assert_true(audit_ready(a, &e));
    tell(1);
    audit_free(a);
    s = expect_whole();
    assert_int_equal(s.gaps, 1);
}

static void
a_directory_that_cannot_be_made_is_no_reason_not_to_start(void **state)
{
    struct audit *a;
    struct err e = ERR_INIT;
    char path[200];
    int fd;

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/file", dir);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    (void)snprintf(conf.file, sizeof(conf.file), "%s/file/audit.log", dir);
    a = start();
    tell(2);
    assert_int_equal(heard.ok, 0);
    assert_true(audit_ready(a, &e));
    {
        json_object *o = audit_json(a), *v;

        assert_true(json_object_object_get_ex(o, "ok", &v));
        assert_false(json_object_get_boolean(v));
        assert_true(json_object_object_get_ex(o, "lost", &v));
        assert_int_equal(json_object_get_int(v), 2);
        (void)json_object_put(o);
    }
    audit_free(a);
    (void)unlink(path);
}

static void
links_and_pipes_are_not_written_to(void **state)
{
    struct audit *a;
    char target[200];

    (void)state;
    (void)snprintf(target, sizeof(target), "%s/target", dir);
    assert_int_equal(symlink(target, conf.file), 0);
    a = start();
    tell(1);
    assert_int_equal(heard.ok, 0);
    audit_free(a);
    assert_int_equal(size_of(target), -1);
    assert_int_equal(unlink(conf.file), 0);
    assert_int_equal(mkfifo(conf.file, 0600), 0);
    a = start();
    tell(1);
    assert_int_equal(heard.ok, 0);
    audit_free(a);
}

static void
no_file_is_no_log(void **state)
{
    struct audit *a = NULL;
    struct err e = ERR_INIT;

    (void)state;
    conf.file[0] = '\0';
    assert_int_equal(audit_new(loop, &conf, dir, &bus, &a, &e), 0);
    assert_null(a);
    assert_true(audit_ready(a, &e));
}

static void
sizes_are_read_as_they_are_written(void **state)
{
    (void)state;
    assert_int_equal(config_audit_bytes("64KiB"), 65536);
    assert_int_equal(config_audit_bytes("16MiB"), 16u << 20);
    assert_int_equal(config_audit_bytes("16"), 0);
    assert_int_equal(config_audit_bytes("MiB"), 0);
    assert_int_equal(config_audit_bytes("-1MiB"), 0);
    assert_int_equal(config_audit_bytes("99999999999999999999MiB"), 0);
}

static void
an_older_file_that_was_taken_away_stays_missed(void **state)
{
    struct audit *a = start();
    struct seen s;

    (void)state;
    until_rotated(2);
    assert_int_equal(expect_whole().breaks, 0);
    assert_int_equal(unlink(near(".2")), 0);
    assert_int_equal(look().first, CHAIN_OLDEST);
    assert_int_equal(heard.bad, 0);
    until_rotated(1);
    assert_int_equal(heard.bad, 1);
    assert_non_null(strstr(heard.text, "record 1, which was to be kept, was taken away"));
    s = look();
    assert_int_equal(s.problems, 1);
    assert_int_equal(s.first, CHAIN_OLDEST);
    assert_int_equal(s.breaks, 0);
    audit_free(a);
    /* a restart goes on, and says it no more */
    a = start();
    until_rotated(1);
    assert_int_equal(heard.bad, 0);
    audit_free(a);
    s = look();
    assert_int_equal(s.problems, 1);
    assert_int_equal(s.breaks, 0);
}

static void
what_is_pruned_is_never_called_missing(void **state)
{
    struct audit *a;

    (void)state;
    conf.keep = 4;
    a = start();
    until_rotated(5);
    audit_free(a);
    conf.keep = 1;
    a = start();
    (void)expect_whole();
    until_rotated(1);
    (void)expect_whole();
    audit_free(a);
    assert_int_equal(size_of(near(".2")), -1);
    conf.keep = 3;
    a = start();
    until_rotated(3);
    audit_free(a);
    assert_int_equal(heard.bad, 0);
    (void)expect_whole();
}

static void
a_rotation_that_fails_is_tried_again_and_nothing_is_pushed_out(void **state)
{
    struct rlimit old, small;
    struct audit *a = start();
    struct seen s;

    (void)state;
    until_rotated(2);
    while (size_of(conf.file) < 32768)
        tell(1);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 10;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    disk.reads = 0;
    tell(1);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(heard.bad, 1);
    assert_int_equal(size_of(conf.file), -1);
    wait_ok(a, true);
    assert_int_equal(disk.reads, 0); /* what it wrote itself it does not check again */
    audit_free(a);
    s = expect_whole();
    assert_int_equal(s.gaps, 1);
    assert_int_equal(s.breaks, 0);
    assert_true(size_of(near(".2")) > 0);
}

static void
the_loop_never_waits_for_the_disk(void **state)
{
    struct audit *a = start();

    (void)state;
    until_rotated(4);
    audit_free(a);
    (void)expect_whole();
    assert_int_equal(disk.on_loop, 0);
}

static void
what_the_disk_refuses_counts_as_not_written(void **state)
{
    struct err e = ERR_INIT;
    json_object *o, *v;
    struct audit *a;

    (void)state;
    conf.required = true;
    a = start();
    tell(1);
    assert_true(audit_has_it(a, &e));
    disk.error = EIO;
    tell(1);
    wait_ok(a, false);
    assert_int_equal(heard.bad, 1);
    assert_false(audit_ready(a, &e));
    assert_int_equal(e.reason, REASON_AUDIT_WRITE);
    assert_non_null(strstr(e.msg, strerror(EIO)));
    err_clear(&e);
    assert_false(audit_has_it(a, &e));
    err_clear(&e);
    o = audit_json(a);
    assert_true(json_object_object_get_ex(o, "ok", &v));
    assert_false(json_object_get_boolean(v));
    (void)json_object_put(o);
    /* without any act */
    disk.error = 0;
    wait_ok(a, true);
    assert_true(audit_ready(a, &e));
    audit_free(a);
    (void)expect_whole();
}

static void
after_a_failed_write_the_log_is_not_read_anew_and_works_without_a_new_act(void **state)
{
    struct rlimit old, small;
    struct audit *a = start();
    struct err e = ERR_INIT;
    struct seen s;

    (void)state;
    tell(20);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = (rlim_t)size_of(conf.file) + 40;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    disk.reads = 0;
    tell(2);
    assert_true(audit_has_it(a, &e)); /* not required */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    wait_ok(a, true);
    assert_int_equal(disk.reads, 0);
    audit_free(a);
    s = expect_whole();
    assert_int_equal(s.gaps, 1);
    assert_int_equal(s.head.seq, 22);
}

static void
an_act_that_was_lost_is_not_on_record_though_writing_would_work_again(void **state)
{
    struct rlimit old, small;
    struct err e = ERR_INIT;
    struct audit *a;

    (void)state;
    conf.required = true;
    a = start();
    tell(1);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = (rlim_t)size_of(conf.file) + 40;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    tell(1);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_false(audit_has_it(a, &e));
    assert_int_equal(e.reason, REASON_AUDIT_WRITE);
    err_clear(&e);
    assert_true(audit_ready(a, &e));
    audit_free(a);
}

/* Cuts the newest file behind its first records. */
static void
cut_after(unsigned records)
{
    char line[4096];
    FILE *f = fopen(conf.file, "re");
    off_t keep;

    assert_non_null(f);
    for (unsigned i = 0; i < records; i++)
        assert_non_null(fgets(line, sizeof(line), f));
    keep = ftello(f);
    (void)fclose(f);
    assert_int_equal(truncate(conf.file, keep), 0);
}

static void
a_cut_end_is_noticed_after_a_reboot_by_the_note_beside_the_log(void **state)
{
    struct audit *a = start();

    (void)state;
    tell(3);
    audit_free(a);
    assert_int_equal(unlink(near("state")), 0);
    cut_after(2);
    expect_break("record 4 should be there");
}

#define HASH64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void
a_note_of_another_boot_or_log_or_a_damaged_one_is_not_believed(void **state)
{
    static const char *const notes[] = {
        "99 " HASH64 " 11111111-2222-3333-4444-555555555555 LOG\n", /* ahead, by a power cut */
        "",
        "99",
        "99 " HASH64,
        "99 " HASH64 "\n",
        "x " HASH64 " - LOG\n",
        "0 " HASH64 " - LOG\n",
        "-1 " HASH64 " - LOG\n",
        "99 0123 - LOG\n",
    };
    char text[600];

    (void)state;
    for (size_t i = 0; i < sizeof(notes) / sizeof(notes[0]); i++) {
        struct audit *a = start();

        tell(1);
        audit_free(a);
        (void)snprintf(text, sizeof(text), "%s", notes[i]);
        if (strstr(text, "LOG"))
            (void)snprintf(strstr(text, "LOG"), 300, "%s\n", conf.file);
        put_file(near("state"), text);
        if (i > 0)
            put_file(near(".head"), text[0] == '9' && strchr(text, '/') ? "" : text);
        a = start();
        audit_free(a);
        if (heard.bad || look().problems)
            fail_msg("\"%s\": %s", text, heard.text);
    }
    assert_int_equal(expect_whole().breaks, 0);
}

static void
a_note_that_is_older_than_a_rotation_is_no_sign_of_a_cut(void **state)
{
    struct audit *a = start();
    char old[600] = "";
    int fd;

    (void)state;
    tell(3);
    audit_free(a);
    fd = open(near(".head"), O_RDONLY | O_CLOEXEC);
    assert_true(read(fd, old, sizeof(old) - 1) > 0);
    (void)close(fd);
    a = start();
    until_rotated(1);
    audit_free(a);
    assert_int_equal(unlink(near("state")), 0);
    put_file(near(".head"), old);
    a = start();
    tell(1);
    audit_free(a);
    assert_int_equal(heard.bad, 0);
    assert_int_equal(expect_whole().breaks, 0);
}

/* ---- a directory for each ---- */

static int
setup(void **state)
{
    (void)state;
    log_set_level(LOG_LVL_ERROR + 1);
    (void)snprintf(dir, sizeof(dir), "/tmp/pgpu-audit-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    memset(&conf, 0, sizeof(conf));
    disk.error = disk.on_loop = disk.reads = 0;
    disk.loop = pthread_self();
    if (sd_event_new(&loop) < 0)
        return -1;
    (void)snprintf(conf.file, sizeof(conf.file), "%s/log/audit.log", dir);
    (void)snprintf(conf.max_size, sizeof(conf.max_size), "32KiB");
    conf.keep = 2;
    /* the directory is made by the log itself, but for the test that puts a link there */
    (void)snprintf(heard.text, sizeof(heard.text), "%s/log", dir);
    return mkdir(heard.text, 0700);
}

static int
teardown(void **state)
{
    char path[200];

    (void)state;
    (void)snprintf(conf.file, sizeof(conf.file), "%s/log/audit.log", dir);
    (void)unlink(conf.file);
    loop = sd_event_unref(loop);
    (void)unlink(near(".head"));
    for (int i = 1; i < 6; i++) {
        (void)snprintf(path, sizeof(path), "%s/log/audit.log.%d", dir, i);
        (void)unlink(path);
    }
    (void)snprintf(path, sizeof(path), "%s/audit.head", dir);
    (void)unlink(path);
    (void)snprintf(path, sizeof(path), "%s/log", dir);
    (void)rmdir(path);
    return rmdir(dir);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(acts_become_records_and_a_restart_goes_on),
        TEST(foreign_text_stays_one_line_of_clean_json),
        TEST(files_rotate_with_the_chain_kept_and_old_ones_pruned),
        TEST(death_between_two_steps_of_a_rotation_loses_nothing),
        TEST(a_torn_last_line_is_kept_and_recorded),
        TEST(an_edit_while_it_was_down_begins_a_new_chain_that_says_so),
        TEST(a_cut_end_is_noticed_by_the_note_in_the_state_directory),
        TEST(a_log_that_is_gone_is_noticed_too),
        TEST(what_others_do_to_the_file_while_it_is_open_is_noticed_at_the_next_record),
        TEST(a_file_that_may_not_grow_loses_records_and_says_how_many),
        TEST(a_directory_that_cannot_be_made_is_no_reason_not_to_start),
        TEST(links_and_pipes_are_not_written_to),
        TEST(an_older_file_that_was_taken_away_stays_missed),
        TEST(what_is_pruned_is_never_called_missing),
        TEST(a_rotation_that_fails_is_tried_again_and_nothing_is_pushed_out),
        TEST(the_loop_never_waits_for_the_disk),
        TEST(what_the_disk_refuses_counts_as_not_written),
        TEST(after_a_failed_write_the_log_is_not_read_anew_and_works_without_a_new_act),
        TEST(an_act_that_was_lost_is_not_on_record_though_writing_would_work_again),
        TEST(a_cut_end_is_noticed_after_a_reboot_by_the_note_beside_the_log),
        TEST(a_note_of_another_boot_or_log_or_a_damaged_one_is_not_believed),
        TEST(a_note_that_is_older_than_a_rotation_is_no_sign_of_a_cut),
        TEST(no_file_is_no_log),
        TEST(sizes_are_read_as_they_are_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
