/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/http.h"

#include "base/cleanup.h"
#include "base/hw.h"
#include "daemon/listen.h"
#include "daemon/timer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* What is waited for ends the wait; the limit is for a loaded, emulated machine. */
#define PATIENCE HW_SEC(30)
#define SHORT HW_MS(300)
#define BIG_PAGE (6u << 20)

struct world {
    sd_event *loop;
    struct http *http;
    char dir[64];
    char address[100];
    unsigned runs; /* of the page "/hello" */
};

static unsigned
page_hello(void *ctx, const struct http_request *req, struct buf *out, const char **ret_type)
{
    struct world *w = ctx;

    w->runs++;
    *ret_type = "text/x-hello";
    (void)buf_putf(out, "hello, accept=%s\n", req->accept);
    return 200;
}

static unsigned
page_big(void *ctx, const struct http_request *req, struct buf *out, const char **ret_type)
{
    static char block[65536];

    (void)ctx;
    (void)req;
    (void)ret_type;
    memset(block, 'b', sizeof(block));
    while (buf_left(out) < BIG_PAGE)
        if (!buf_put(out, block, sizeof(block)))
            return 500;
    return 200;
}

static unsigned
page_bad(void *ctx, const struct http_request *req, struct buf *out, const char **ret_type)
{
    (void)ctx;
    (void)req;
    (void)ret_type;
    (void)buf_put_str(out, "no\n");
    return 503;
}

static const struct http_page pages[] = {
    {"/hello", "says hello", page_hello},
    {"/big", "is big", page_big},
    {"/bad", "is not well", page_bad},
};

/* ---- the world ---- */

static int
setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)snprintf(w->dir, sizeof(w->dir), "/tmp/pgpu-http-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    (void)snprintf(w->address, sizeof(w->address), "unix:%s/s", w->dir);
    assert_true(sd_event_new(&w->loop) >= 0);
    *state = w;
    return 0;
}

static int
teardown(void **state)
{
    struct world *w = *state;
    char path[100];

    http_free(w->http);
    (void)sd_event_unref(w->loop);
    (void)snprintf(path, sizeof(path), "%s/s", w->dir);
    (void)unlink(path);
    assert_int_equal(rmdir(w->dir), 0);
    free(w);
    return 0;
}

static void
start_at(struct world *w, const char *address, uint64_t request_time)
{
    struct http_options o = {.listen = address,
                             .pages = pages,
                             .n_pages = ARRAY_SIZE(pages),
                             .ctx = w,
                             .request_time = request_time,
                             .retry_time = HW_MS(20)};
    struct err e = ERR_INIT;

    assert_int_equal(http_new(w->loop, &o, &w->http, &e), 0);
}

static void
start(struct world *w, uint64_t request_time)
{
    start_at(w, w->address, request_time);
    assert_string_equal(http_why(w->http), "");
}

static void
turn(struct world *w)
{
    assert_true(sd_event_run(w->loop, 5000) >= 0);
}

static int
dial(const struct world *w)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    (void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", w->address + strlen("unix:"));
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    return fd;
}

static void
say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Turns the loop until the server closes; returns what it sent (to be freed), NUL-terminated. */
static char *
hear(struct world *w, int fd, size_t *ret_len)
{
    uint64_t end = now_ns() + PATIENCE;
    size_t len = 0, cap = 65536;
    char *text = malloc(cap);

    assert_non_null(text);
    for (;;) {
        ssize_t n = recv(fd, text + len, cap - len - 1, MSG_DONTWAIT);

        if (n == 0 || (n < 0 && errno != EAGAIN))
            break;
        if (n > 0)
            len += (size_t)n;
        else
            turn(w);
        if (len + 1 == cap) {
            text = realloc(text, cap *= 2);
            assert_non_null(text);
        }
        if (now_ns() > end)
            fail_msg("the server did not close; so far: %.*s", (int)(len < 500 ? len : 500), text);
    }
    text[len] = '\0';
    if (ret_len)
        *ret_len = len;
    return text;
}

static char *
ask(struct world *w, const char *request)
{
    _cleanup_fd_ int fd = dial(w);

    say(fd, request);
    return hear(w, fd, NULL);
}

static void
expect(struct world *w, const char *request, const char *status, const char *part)
{
    char *text = ask(w, request);

    if (strncmp(text, status, strlen(status)) != 0)
        fail_msg("%s instead of %s", text, status);
    if (part && !strstr(text, part))
        fail_msg("%s does not contain %s", text, part);
    free(text);
}

/* ---- tests ---- */

static void
a_page_is_served_and_the_connection_closed(void **state)
{
    struct world *w = *state;
    char *text;

    start(w, 0);
    text = ask(w, "GET /hello?q=1 HTTP/1.1\r\nHost: x\r\nAccept: a/b\r\n\r\n");
    assert_int_equal(strncmp(text, "HTTP/1.1 200 ", 13), 0);
    assert_non_null(strstr(text, "\r\nContent-Type: text/x-hello\r\n"));
    assert_non_null(strstr(text, "\r\nConnection: close\r\n"));
    assert_non_null(strstr(text, "\r\n\r\nhello, accept=a/b\n"));
    free(text);
    assert_int_equal(http_answers(w->http, 200), 1);
}

static void
head_has_the_length_and_no_body(void **state)
{
    struct world *w = *state;
    char *text;

    start(w, 0);
    text = ask(w, "HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(strncmp(text, "HTTP/1.1 200 ", 13), 0);
    assert_non_null(strstr(text, "\r\nContent-Length: 15\r\n"));
    assert_string_equal(strstr(text, "\r\n\r\n"), "\r\n\r\n");
    free(text);
}

static void
the_root_lists_the_pages_and_others_are_not_found(void **state)
{
    struct world *w = *state;

    start(w, 0);
    expect(w, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 ", "/hello     says hello\n");
    expect(w, "GET /hello/ HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 ", NULL);
    expect(w, "GET /../hello HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 ", NULL);
    expect(w, "GET /bad HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 503 ", "no\n");
    assert_int_equal(http_answers(w->http, 404), 2);
    assert_int_equal(http_answers(w->http, 503), 1);
}

static void
other_methods_are_refused_and_their_bodies_not_read(void **state)
{
    struct world *w = *state;

    start(w, 0);
    expect(w, "POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc",
           "HTTP/1.1 405 ", "\r\nAllow: GET, HEAD\r\n");
    expect(w, "DELETE /hello HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405 ", NULL);
    expect(w, "BREW /hello HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405 ", NULL);
    assert_int_equal(w->runs, 0);
}

static void
a_pipelined_second_request_is_not_answered(void **state)
{
    struct world *w = *state;
    char *text;

    start(w, 0);
    text = ask(w, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_non_null(strstr(text, "hello, "));
    assert_null(strstr(strstr(text, "hello, "), "HTTP/1.1"));
    assert_int_equal(w->runs, 1);
    free(text);
}

static void
a_head_that_is_too_large_is_refused(void **state)
{
    struct world *w = *state;
    char *request = malloc(60000), *text;
    _cleanup_fd_ int fd = -1;

    assert_non_null(request);
    start(w, 0);
    (void)snprintf(request, 60000, "GET /hello HTTP/1.1\r\nHost: x\r\nX: %050000d\r\n\r\n", 0);
    fd = dial(w);
    say(fd, request);
    text = hear(w, fd, NULL);
    /* 4xx where there was time to say so, or just the end */
    assert_true(text[0] == '\0' || strncmp(text, "HTTP/1.1 4", 10) == 0);
    assert_int_equal(w->runs, 0);
    free(request);
    free(text);
    expect(w, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 ", NULL);
}

static void
garbage_does_no_harm(void **state)
{
    static const char *const garbage[] = {"\r\n\r\n\r\n",
                                          "\x16\x03\x01\x02\x01\x01",
                                          "GET\r\n\r\n",
                                          "GET /hello\r\n\r\n",
                                          "GET /hello HTTP/9.9\r\n\r\n",
                                          "GET /%00%ff HTTP/1.1\r\nHost: x\r\n\r\n",
                                          "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                                          "GET /hello HTTP/1.1\r\n\r\n"};
    struct world *w = *state;

    start(w, SHORT);
    for (size_t i = 0; i < ARRAY_SIZE(garbage); i++)
        free(ask(w, garbage[i])); /* ends, one way or another */
    expect(w, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 ", NULL);
}

static void
who_drips_its_request_is_cut_off_in_time(void **state)
{
    struct world *w = *state;
    uint64_t began = now_ns();
    _cleanup_fd_ int fd = -1;
    unsigned sent = 0;
    ssize_t n;
    char c;

    start(w, SHORT);
    fd = dial(w);
    say(fd, "GET /hello HTTP/1.1\r\nX: ");
    do {
        (void)nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL); /* not all in one go */
        (void)send(fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);           /* never idle */
        turn(w);
        n = recv(fd, &c, 1, MSG_DONTWAIT);
        assert_true(now_ns() - began < PATIENCE);
        sent++;
    } while (n < 0 && errno == EAGAIN);
    assert_true(sent < HTTP_HEAD_MAX / 2); /* it was time, not size */
    assert_true(now_ns() - began >= SHORT);
    assert_int_equal(w->runs, 0);
}

static void
who_does_not_read_is_cut_off_in_time(void **state)
{
    struct world *w = *state;
    uint64_t end = now_ns() + 3 * SHORT;
    _cleanup_fd_ int fd = -1;
    size_t len;
    char *text;

    start(w, SHORT);
    fd = dial(w);
    say(fd, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
    while (now_ns() < end)
        turn(w);
    text = hear(w, fd, &len);
    assert_true(len < BIG_PAGE);
    free(text);
    http_free(w->http); /* and with time enough, who does gets all */
    w->http = NULL;
    start(w, 0);
    text = ask(w, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(strlen(text) > BIG_PAGE);
    free(text);
}

static void
idle_connections_up_to_the_limit_block_others_for_a_moment_only(void **state)
{
    struct world *w = *state;
    int idle[HTTP_CONNECTIONS_MAX + 8];
    char *text;

    start(w, SHORT);
    for (size_t i = 0; i < ARRAY_SIZE(idle); i++) {
        idle[i] = dial(w);
        turn(w);
    }
    text = ask(w, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(strncmp(text, "HTTP/1.1 200 ", 13), 0);
    free(text);
    for (size_t i = 0; i < ARRAY_SIZE(idle); i++)
        (void)close(idle[i]);
}

static void
a_leftover_socket_file_is_replaced(void **state)
{
    struct world *w = *state;
    struct listen_addr a = {.len = 0};
    struct err e = ERR_INIT;
    const char *why;

    assert_true(listen_parse(w->address, &a, &why));
    (void)close(listen_open(&a, w->address, &e)); /* the file stays */
    start(w, 0);
    expect(w, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 ", NULL);
}

static void
a_file_that_is_no_leftover_is_left_alone(void **state)
{
    struct world *w = *state;
    const char *path = w->address + strlen("unix:");
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    struct stat st;

    assert_true(fd >= 0);
    (void)close(fd);
    start_at(w, w->address, 0);
    assert_non_null(strstr(http_why(w->http), "Address already in use"));
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
}

static void
a_busy_address_is_named_and_taken_when_it_is_free(void **state)
{
    struct world *w = *state;
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(sa);
    uint64_t end = now_ns() + PATIENCE;
    int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    static char address[40]; /* it is borrowed until the server is freed */

    assert_int_equal(bind(other, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(other, 1), 0);
    assert_int_equal(getsockname(other, (struct sockaddr *)&sa, &len), 0);
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", ntohs(sa.sin_port));
    start_at(w, address, 0);
    assert_non_null(strstr(http_why(w->http), address));
    assert_non_null(strstr(http_why(w->http), "Address already in use"));
    (void)close(other);
    while (http_why(w->http)[0]) {
        turn(w);
        assert_true(now_ns() < end);
    }
}

static void
nowhere_is_not_an_error(void **state)
{
    struct world *w = *state;

    start_at(w, "", 0);
    assert_string_equal(http_why(w->http), "");
}

static void
addresses_are_checked(void **state)
{
    static const char *const good[] = {"",           "127.0.0.1:9407", "0.0.0.0:1",
                                       "[::1]:9407", ":65535",         "unix:/run/pgpu/http.sock"};
    static const char *const bad[] = {
        "9407",         "127.0.0.1",  "127.0.0.1:",      "127.0.0.1:0", "127.0.0.1:65536",
        "localhost:80", "::1:9407",   "[::1]",           "[::1:80",     "[127.0.0.1]:80",
        "[]:80",        "1.2.3:80",   "unix:relative",   "unix:",       "127.0.0.1:80x",
        "127.0.0.1:-1", "1.2.3.4:+5", "http://[::1]:80", "[:80"};
    char path[120] = "unix:/";
    const char *why;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        if (!listen_parse(good[i], NULL, &why))
            fail_msg("\"%s\" is refused: %s", good[i], why);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (listen_parse(bad[i], NULL, &why))
            fail_msg("\"%s\" is accepted", bad[i]);
    memset(path + 6, 'x', sizeof(path) - 7); /* too long for a socket */
    assert_false(listen_parse(path, NULL, &why));
}

static void
every_address_means_both_families(void **state)
{
    struct listen_addr a = {.len = 0};
    struct err e = ERR_INIT;
    const char *why;
    struct sockaddr_storage sa;
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(sa);
    _cleanup_fd_ int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    _cleanup_fd_ int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char text[16];
    int fd;

    (void)state;
    /* a free port, by asking the kernel for one */
    assert_int_equal(bind(probe, (struct sockaddr *)&four, sizeof(four)), 0);
    assert_int_equal(getsockname(probe, (struct sockaddr *)&sa, &len), 0);
    four.sin_port = ((struct sockaddr_in *)&sa)->sin_port;
    fd_close(&probe);
    (void)snprintf(text, sizeof(text), ":%u", ntohs(four.sin_port));
    assert_true(listen_parse(text, &a, &why));
    fd = listen_open(&a, text, &e);
    assert_true(fd >= 0);
    assert_int_equal(connect(client, (struct sockaddr *)&four, sizeof(four)), 0);
    (void)close(fd);
}

static void
openmetrics_is_chosen_as_the_client_asks(void **state)
{
    static const struct {
        const char *accept;
        bool om;
    } cases[] = {
        {"", false},
        {"*/*", false},
        {"text/plain", false},
        {"application/openmetrics-text", true},
        {"application/openmetrics-text; version=1.0.0; charset=utf-8", true},
        {"application/openmetrics-text;version=2.0.0", false},
        {"application/openmetrics-text;version=0.0.1", false},
        /* Prometheus 2.42 and 3 */
        {"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q="
         "0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
         true},
        {"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/"
         "openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3"
         ",text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
         true},
        {"text/plain, application/openmetrics-text;q=0.5", false},
        {"application/openmetrics-text;q=0", false},
        {"application/openmetrics-text;q=0,text/plain;q=0", false},
        {",,;;,q=1", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        if (http_wants_openmetrics(cases[i].accept) != cases[i].om)
            fail_msg("\"%s\": %s", cases[i].accept, cases[i].om ? "not chosen" : "chosen");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_page_is_served_and_the_connection_closed),
        T(head_has_the_length_and_no_body),
        T(the_root_lists_the_pages_and_others_are_not_found),
        T(other_methods_are_refused_and_their_bodies_not_read),
        T(a_pipelined_second_request_is_not_answered),
        T(a_head_that_is_too_large_is_refused),
        T(garbage_does_no_harm),
        T(who_drips_its_request_is_cut_off_in_time),
        T(who_does_not_read_is_cut_off_in_time),
        T(idle_connections_up_to_the_limit_block_others_for_a_moment_only),
        T(a_leftover_socket_file_is_replaced),
        T(a_file_that_is_no_leftover_is_left_alone),
        T(a_busy_address_is_named_and_taken_when_it_is_free),
        T(nowhere_is_not_an_error),
        cmocka_unit_test(addresses_are_checked),
        cmocka_unit_test(every_address_means_both_families),
        cmocka_unit_test(openmetrics_is_chosen_as_the_client_asks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
