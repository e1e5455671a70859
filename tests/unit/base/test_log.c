/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of base/log.c: stderr is caught in a pipe, the monotonic clock is moved by the test.
 */
#include "base/log.h"
#include "tests/unit/base/test_support.h"

#include <json-c/json.h>

#include <pthread.h>
#include <time.h>

int __real_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);

static time_t moved; /* seconds added to the monotonic clock */

int
__wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
    int rc = __real_clock_gettime(clock, ts);

    if (clock == CLOCK_MONOTONIC)
        ts->tv_sec += moved;
    return rc;
}

struct capture {
    int saved;
    int pipe[2];
    char text[65536];
};

static struct capture cap;

static void
capture_begin(enum log_format format, enum log_level level)
{
    log_init("testprog", format, level);
    assert_int_equal(pipe2(cap.pipe, O_CLOEXEC | O_NONBLOCK), 0);
    (void)fcntl(cap.pipe[1], F_SETPIPE_SZ, 1 << 17);
    cap.saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    assert_true(dup2(cap.pipe[1], STDERR_FILENO) >= 0);
}

static const char *
capture_end(void)
{
    size_t len = 0;

    (void)dup2(cap.saved, STDERR_FILENO);
    (void)close(cap.saved);
    (void)close(cap.pipe[1]);
    for (;;) {
        ssize_t n = read(cap.pipe[0], cap.text + len, sizeof(cap.text) - 1 - len);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    cap.text[len] = '\0';
    (void)close(cap.pipe[0]);
    return cap.text;
}

static size_t
lines(const char *s)
{
    size_t n = 0;

    for (; *s; s++)
        n += *s == '\n';
    return n;
}

/* The value of `key` in one line of JSON, or a failed test. */
static void
assert_json(const char *line, const char *key, const char *value)
{
    enum json_tokener_error err = json_tokener_success;
    size_t len = strcspn(line, "\n");
    char *copy = strndup(line, len);
    struct json_object *o = json_tokener_parse_verbose(copy, &err), *v = NULL;

    if (!o)
        fail_msg("not JSON (%s): %s", json_tokener_error_desc(err), copy);
    assert_true(json_object_object_get_ex(o, key, &v));
    if (value)
        assert_string_equal(json_object_get_string(v), value);
    json_object_put(o);
    free(copy);
}

static void
logfmt_has_time_level_program_message_and_fields(void **state)
{
    (void)state;

    capture_begin(LOG_FMT_LOGFMT, LOG_LVL_INFO);
    log_info("device ready", "device", "0000:41:00.0", "took_ms", LOG_NUM(-12), "empty", NULL);
    const char *s = capture_end();
    assert_int_equal(strncmp(s, "time=20", 7), 0);
    assert_has(s, "Z level=info program=testprog msg=\"device ready\" device=0000:41:00.0 "
                  "took_ms=-12 empty=\n");
}

static void
levels_below_the_chosen_one_are_silent(void **state)
{
    (void)state;

    capture_begin(LOG_FMT_LOGFMT, LOG_LVL_WARN);
    log_debug("a");
    log_info("b");
    log_warn("c");
    log_error("d");
    log_set_level(LOG_LVL_DEBUG);
    assert_true(log_enabled(LOG_LVL_DEBUG));
    log_debug("e");
    const char *s = capture_end();
    assert_int_equal(lines(s), 3);
    assert_has(s, "level=warn program=testprog msg=c");
    assert_has(s, "level=error program=testprog msg=d");
    assert_has(s, "level=debug program=testprog msg=e");
}

static void
hostile_values_cannot_forge_a_record_or_drive_a_terminal(void **state)
{
    (void)state;

    capture_begin(LOG_FMT_LOGFMT, LOG_LVL_INFO);
    log_info("m", "pod", "x\nlevel=error msg=forged", "esc", "\x1b[2J", "c1",
             "\xc2\x9b"
             "2J",
             "quote", "a\"b\\c", "eq", "a=b", "bad", "\xff\xc3", "uni", "gr\xc3\xbc\xc3\x9f");
    const char *s = capture_end();
    assert_int_equal(lines(s), 1);
    assert_has(s, "pod=\"x\\nlevel=error msg=forged\"");
    assert_has(s, "esc=\"\\u001b[2J\"");
    assert_has(s, "c1=\"\\u009b2J\"");
    assert_has(s, "quote=\"a\\\"b\\\\c\"");
    assert_has(s, "eq=\"a=b\"");
    assert_has(s, "bad=\"\\ufffd\\ufffd\"");
    assert_has(s, "uni=\"gr\xc3\xbc\xc3\x9f\"");
}

static void
json_records_are_valid_whatever_the_bytes(void **state)
{
    (void)state;
    char all[256];

    for (unsigned i = 1; i < 256; i++)
        all[i - 1] = (char)i;
    all[255] = '\0';
    capture_begin(LOG_FMT_JSON, LOG_LVL_INFO);
    log_info("every byte", "all", all);
    log_info("overlong", "a", "\xc0\xaf", "surrogate", "\xed\xa0\x80", "cut", "\xf0\x9f\x98",
             "high", "\xf4\x90\x80\x80", "smile", "\xf0\x9f\x98\x80");
    const char *s = capture_end();
    assert_int_equal(lines(s), 2);
    assert_json(s, "msg", "every byte");
    s = strchr(s, '\n') + 1;
    assert_json(s, "program", "testprog");
    assert_json(s, "a", "\xef\xbf\xbd\xef\xbf\xbd");
    assert_json(s, "cut", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    assert_json(s, "smile", "\xf0\x9f\x98\x80");
}

static void
a_huge_record_is_cut_marked_and_still_valid(void **state)
{
    (void)state;
    static const enum log_format formats[] = {LOG_FMT_JSON, LOG_FMT_LOGFMT};
    char big[5000];

    memset(big, '\n', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    for (size_t i = 0; i < 2; i++) {
        capture_begin(formats[i], LOG_LVL_INFO);
        log_info(big, "a", big, "b", big, "c", big, "d", big, "e", "small");
        const char *s = capture_end();
        assert_int_equal(lines(s), 1);
        assert_true(strlen(s) <= 8192);
        if (formats[i] == LOG_FMT_JSON)
            assert_json(s, "truncated", "true");
        else
            assert_has(s, " truncated=true\n");
    }
}

static void
a_key_without_a_value_is_printed_empty(void **state)
{
    (void)state;

    capture_begin(LOG_FMT_JSON, LOG_LVL_INFO);
    log_info("m", "lonely");
    log_emit(LOG_LVL_INFO, NULL, 0);
    const char *s = capture_end();
    assert_json(s, "lonely", "");
    assert_json(strchr(s, '\n') + 1, "msg", "");
}

static void
repeats_within_five_seconds_are_counted_with_the_next_other_record(void **state)
{
    (void)state;

    capture_begin(LOG_FMT_LOGFMT, LOG_LVL_INFO);
    for (int i = 0; i < 10; i++)
        log_info("same", "k", "v");
    log_info("other");
    const char *s = capture_end();
    assert_int_equal(lines(s), 3);
    assert_has(s, "msg=same k=v\n");
    assert_has(s, "msg=same k=v repeated=9\n");
    assert_has(s, "msg=other\n");
}

static void
after_five_seconds_a_repeat_is_printed_with_the_count(void **state)
{
    (void)state;

    capture_begin(LOG_FMT_JSON, LOG_LVL_INFO);
    for (int i = 0; i < 4; i++)
        log_info("same", "k", "v");
    moved += 6;
    log_info("same", "k", "v");
    moved += 6;
    log_info("same", "k", "v");
    const char *s = capture_end();
    assert_int_equal(lines(s), 3);
    s = strchr(s, '\n') + 1;
    assert_json(s, "repeated", "3");
    s = strchr(s, '\n') + 1;
    assert_json(s, "msg", "same");
    assert_has_not(s, "repeated");
}

static void
two_alternating_records_are_both_held_back(void **state)
{
    (void)state;

    capture_begin(LOG_FMT_LOGFMT, LOG_LVL_INFO);
    for (int i = 0; i < 10; i++) {
        log_info("ping");
        log_info("pong");
    }
    const char *s = capture_end();
    assert_int_equal(lines(s), 2);
}

static void
other_fields_or_levels_are_not_repeats(void **state)
{
    (void)state;

    capture_begin(LOG_FMT_LOGFMT, LOG_LVL_INFO);
    log_info("same", "k", "1");
    log_info("same", "k", "2");
    log_warn("same", "k", "2");
    assert_int_equal(lines(capture_end()), 3);
}

static void
logging_keeps_errno(void **state)
{
    (void)state;

    capture_begin(LOG_FMT_LOGFMT, LOG_LVL_INFO);
    (void)dup2(cap.pipe[0], STDERR_FILENO); /* not writable: write fails with EBADF */
    errno = EXDEV;
    log_info("lost");
    int after = errno;
    (void)capture_end();
    assert_int_equal(after, EXDEV);
}

static void
names_of_levels_and_formats_are_read(void **state)
{
    (void)state;
    enum log_level l = LOG_LVL_WARN;
    enum log_format f = LOG_FMT_LOGFMT;

    assert_true(log_level_from_name("debug", &l));
    assert_int_equal(l, LOG_LVL_DEBUG);
    assert_false(log_level_from_name("loud", &l));
    assert_int_equal(l, LOG_LVL_DEBUG);
    assert_true(log_format_from_name("json", &f));
    assert_int_equal(f, LOG_FMT_JSON);
    assert_false(log_format_from_name("xml", &f));
}

static void *
shout(void *arg)
{
    for (int i = 0; i < 200; i++)
        log_info("thread", "who", arg, "i", LOG_NUM(i));
    return NULL;
}

static void
threads_do_not_mix_their_lines(void **state)
{
    (void)state;
    static char a[] = "a", b[] = "b";
    pthread_t t[2];

    capture_begin(LOG_FMT_JSON, LOG_LVL_INFO);
    int rc = pthread_create(&t[0], NULL, shout, a) | pthread_create(&t[1], NULL, shout, b);
    (void)pthread_join(t[0], NULL);
    (void)pthread_join(t[1], NULL);
    const char *s = capture_end();
    assert_int_equal(rc, 0);
    assert_int_equal(lines(s), 400);
    for (; *s; s = strchr(s, '\n') + 1)
        assert_json(s, "msg", "thread");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logfmt_has_time_level_program_message_and_fields),
        cmocka_unit_test(levels_below_the_chosen_one_are_silent),
        cmocka_unit_test(hostile_values_cannot_forge_a_record_or_drive_a_terminal),
        cmocka_unit_test(json_records_are_valid_whatever_the_bytes),
        cmocka_unit_test(a_huge_record_is_cut_marked_and_still_valid),
        cmocka_unit_test(a_key_without_a_value_is_printed_empty),
        cmocka_unit_test(repeats_within_five_seconds_are_counted_with_the_next_other_record),
        cmocka_unit_test(after_five_seconds_a_repeat_is_printed_with_the_count),
        cmocka_unit_test(two_alternating_records_are_both_held_back),
        cmocka_unit_test(other_fields_or_levels_are_not_repeats),
        cmocka_unit_test(logging_keeps_errno),
        cmocka_unit_test(names_of_levels_and_formats_are_read),
        cmocka_unit_test(threads_do_not_mix_their_lines),
    };

    return cmocka_run_group_tests_name("base.log", tests, NULL, NULL);
}
