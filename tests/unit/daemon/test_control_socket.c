/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests and the control socket: tables, followers, and clients that do not behave.
 */
#include "base/log.h"
#include "daemon/control.h"
#include "daemon/events.h"
#include "daemon/timer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define WAIT_NS 30000000000u

static char dir[64], path[108];
static sd_event *loop;
static struct node *node;
static struct control *control;
static struct events *events;

/* ---- requests of the test ---- */

static struct client *followers[FOLLOWERS_MAX + 1];
static unsigned n_followers, n_gone;
static struct act last;
static char last_what[64];

static void
gone(void *ctx, struct client *cl)
{
    (void)ctx;
    for (unsigned i = 0; i < n_followers; i++)
        if (followers[i] == cl)
            followers[i] = NULL;
    n_gone++;
}

static int
run_follow(void *ctx, const struct request_call *call, struct buf *out, struct err *e)
{
    int r = client_follow(call->client, gone, ctx, e);

    if (r >= 0)
        followers[n_followers++] = call->client;
    (void)buf_put_str(out, "hello\n");
    return r;
}

static int
run_echo(void *ctx, const struct request_call *call, struct buf *out, struct err *e)
{
    (void)e;
    (void)buf_putf(out, "%s", (const char *)ctx);
    for (size_t i = 0; i < call->argc; i++)
        (void)buf_putf(out, " %s", call->argv[i]);
    (void)buf_put_str(out, "\n");
    return 0;
}

static int
run_fail(void *ctx, const struct request_call *call, struct buf *out, struct err *e)
{
    (void)ctx;
    (void)call;
    (void)buf_put_str(out, "half an answer");
    return err_set(e, EINVAL, ERR_CLASS_INVALID, "no \"such\" thing");
}

static const struct request rows[] = {
    {.name = "mode", .args = "[ANY]", .run = run_echo},
    {.name = "mode set", .args = "MODE", .changes = true, .run = run_echo},
    {.name = "mode break", .args = "", .changes = true, .run = run_fail},
    {.name = "follow", .args = "", .run = run_follow},
    {.name = NULL},
};

static char ctx_text[] = "row";

static void
on_act(void *ctx, const struct act *a)
{
    (void)ctx;
    last = *a;
    (void)snprintf(last_what, sizeof(last_what), "%s", a->what ? a->what : "");
}

/* ---- helpers ---- */

static int
connect_to(const char *request)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    (void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
    return fd;
}

static void
turn(void)
{
    assert_true(sd_event_run(loop, 1000) >= 0);
}

/* Reads until the connection is closed, or until `word` has come. */
static char *
answer(int fd, const char *word)
{
    uint64_t end = now_ns() + WAIT_NS;
    char *text = calloc(1, 4u << 20);
    size_t len = 0;

    assert_non_null(text);
    for (;;) {
        ssize_t n = recv(fd, text + len, (4u << 20) - 1 - len, 0);

        if (n > 0)
            len += (size_t)n;
        if (n == 0 || (n < 0 && errno != EAGAIN) || (word && strstr(text, word)))
            return text;
        if (now_ns() > end)
            fail_msg("no answer: %s", text);
        if (n < 0)
            turn();
    }
}

static void
expect(const char *request, const char *words)
{
    int fd = connect_to(request);
    char *text = answer(fd, NULL);

    if (!strstr(text, words))
        fail_msg("\"%s\" is not answered with \"%s\": %s", request, words, text);
    free(text);
    (void)close(fd);
}

/* ---- tests ---- */

static void
the_longest_name_that_fits_is_meant(void **state)
{
    (void)state;
    expect("mode\n", "row\n");
    expect("mode get\n", "row get\n");
    expect("  mode   set\ton \r\n", "row on\n");
    expect("mode settle\n", "row settle\n");
    expect("modes\n", "{\"error\":\"unknown request; known: status, mode [ANY], mode set MODE");
    expect("\n", "unknown request");
    expect("mode break now\n", "mode break takes no arguments");
    expect("mode \x01\n", "unknown request");
    expect("mode a b c d e f g h i j k l m n o p q r\n", "unknown request");
}

static void
a_failed_request_answers_its_reason_alone_and_as_json(void **state)
{
    (void)state;
    expect("mode break\n", "{\"error\":\"no \\\"such\\\" thing\"}\n");
}

static void
what_changes_something_is_told_with_who_asked(void **state)
{
    (void)state;
    memset(&last, 0, sizeof(last));
    expect("mode get\n", "row");
    assert_int_equal(last.pid, 0);
    expect("mode set off\n", "row off");
    assert_int_equal(last.kind, ACT_REQUEST);
    assert_true(last.ok);
    assert_string_equal(last_what, "mode set off");
    assert_int_equal(last.pid, getpid());
    assert_int_equal(last.uid, getuid());
    expect("mode break\n", "error");
    assert_false(last.ok);
    assert_string_equal(last_what, "mode break");
}

static void
a_request_that_does_not_end_is_dropped(void **state)
{
    char junk[REQUEST_LINE_MAX + 2];
    int fd;
    char *text;

    (void)state;
    memset(junk, 'a', sizeof(junk) - 1);
    junk[sizeof(junk) - 1] = '\0';
    fd = connect_to(junk);
    text = answer(fd, NULL);
    assert_string_equal(text, "");
    free(text);
    (void)close(fd);
}

static void
a_follower_stays_and_hears_what_is_sent(void **state)
{
    int fd = connect_to("follow\n");
    char *text = answer(fd, "hello\n");

    (void)state;
    assert_int_equal(n_followers, 1);
    free(text);
    client_send(followers[0], "one\n", 4);
    client_send(followers[0], "two\n", 4);
    text = answer(fd, "two\n");
    assert_string_equal(text, "one\ntwo\n");
    free(text);
    assert_int_equal(n_gone, 0);
    (void)close(fd);
    while (n_gone == 0)
        turn();
    assert_null(followers[0]);
}

static void
a_follower_that_only_ends_its_own_side_is_kept(void **state)
{
    int fd = connect_to("follow\n");
    char *text;

    (void)state;
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    free(answer(fd, "hello\n"));
    client_send(followers[0], "one\n", 4);
    text = answer(fd, "one\n");
    assert_string_equal(text, "one\n");
    free(text);
    assert_int_equal(n_gone, 0);
    (void)close(fd);
}

static void
a_follower_that_does_not_read_is_told_that_it_lost_and_is_closed(void **state)
{
    int fd = connect_to("follow\n");
    char line[512], *text;
    size_t sent = 0, len;

    (void)state;
    free(answer(fd, "hello\n"));
    memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    for (unsigned i = 0; i < 8192; i++, sent += sizeof(line)) {
        assert_non_null(followers[0]);
        client_send(followers[0], line, sizeof(line));
    }
    /* others are served meanwhile */
    expect("mode get\n", "row get");
    text = answer(fd, NULL);
    len = strlen(text);
    assert_true(len < sent);
    assert_true(len > 512 * 1024);
    assert_non_null(strstr(text, "x\n{\"lost\":true,"));
    assert_int_equal(text[len - 1], '\n');
    free(text);
    while (n_gone == 0)
        turn();
    (void)close(fd);
}

static void
there_are_only_so_many_followers_and_they_are_not_in_the_way(void **state)
{
    int fd[FOLLOWERS_MAX];

    (void)state;
    for (size_t i = 0; i < FOLLOWERS_MAX; i++) {
        fd[i] = connect_to("follow\n");
        free(answer(fd[i], "hello\n"));
    }
    expect("follow\n", "followers already");
    expect("mode get\n", "row get");
    for (size_t i = 0; i < FOLLOWERS_MAX; i++)
        (void)close(fd[i]);
    while (n_gone < FOLLOWERS_MAX)
        turn();
}

/* ---- events ---- */

static void
tell(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        act_tell(&node->acts, &(struct act){.kind = ACT_HWD, .ok = true, .text = "up"});
}

static void
events_are_numbered_bounded_and_shown_after_a_number(void **state)
{
    int fd;
    char *text;

    (void)state;
    tell(3);
    act_tell(&node->acts, &(struct act){.kind = ACT_JOURNAL, .ok = true});
    act_tell(&node->acts, &(struct act){.kind = ACT_JOURNAL, .ok = false});
    expect("events\n", "\"first\":1,\"last\":4}\n{\"seq\":1,");
    expect("events after=3\n", "}\n{\"seq\":4,");
    expect("events after=99\n", "\"last\":4}\n");
    expect("events after=18446744073709551615\n", "\"last\":4}\n");
    tell(3000);
    fd = connect_to("events\n");
    text = answer(fd, NULL);
    (void)close(fd);
    assert_null(strstr(text, "{\"seq\":1,"));
    assert_non_null(strstr(text, "{\"seq\":3004,"));
    assert_true(strlen(text) <= EVENTS_BYTES_MAX + 200);
    free(text);
}

static void
a_follower_of_events_sees_what_was_and_what_comes_without_a_gap(void **state)
{
    int fd;
    char *text;

    (void)state;
    tell(2);
    fd = connect_to("events after=1 follow\n");
    text = answer(fd, "\"seq\":2,");
    assert_null(strstr(text, "\"seq\":1,"));
    free(text);
    tell(1);
    text = answer(fd, "\n");
    assert_int_equal(strncmp(text, "{\"seq\":3,", 9), 0);
    free(text);
    (void)close(fd);
}

/* ---- frame ---- */

static int
setup(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    log_set_level(LOG_LVL_ERROR);
    n_followers = n_gone = 0;
    (void)snprintf(dir, sizeof(dir), "/tmp/pgpu-control-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    (void)snprintf(path, sizeof(path), "%s/control.sock", dir);
    node = calloc(1, sizeof(*node));
    assert_non_null(node);
    assert_true(sd_event_new(&loop) >= 0);
    act_listen(&node->acts, on_act, NULL);
    assert_int_equal(control_new(loop, path, node, &control, &e), 0);
    control_add(control, rows, ctx_text);
    assert_int_equal(events_new(&events, &e), 0);
    act_listen(&node->acts, events_act, events);
    control_add(control, events_requests, events);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    control_free(control);
    events_free(events);
    (void)sd_event_unref(loop);
    free(node);
    return rmdir(dir);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_longest_name_that_fits_is_meant),
        TEST(a_failed_request_answers_its_reason_alone_and_as_json),
        TEST(what_changes_something_is_told_with_who_asked),
        TEST(a_request_that_does_not_end_is_dropped),
        TEST(a_follower_stays_and_hears_what_is_sent),
        TEST(a_follower_that_only_ends_its_own_side_is_kept),
        TEST(a_follower_that_does_not_read_is_told_that_it_lost_and_is_closed),
        TEST(there_are_only_so_many_followers_and_they_are_not_in_the_way),
        TEST(events_are_numbered_bounded_and_shown_after_a_number),
        TEST(a_follower_of_events_sees_what_was_and_what_comes_without_a_gap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
