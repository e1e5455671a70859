/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/daemon/ctl.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define ARGS_MAX 48
#define OUTPUT_MAX (4u << 20)
#define LIMIT_MS 60000 /* a loaded machine, with valgrind */

/* Copies `in` with the directory for every "@". */
static void
expand(struct harness *h, const char *in, char *out, size_t size)
{
    size_t used = 0;

    for (; *in; in++) {
        const char *piece = *in == '@' ? harness_dir(h) : (char[2]){*in, '\0'};
        size_t n = strlen(piece);

        assert_true(used + n < size);
        memcpy(out + used, piece, n);
        used += n;
    }
    out[used] = '\0';
}

static char *
collect(int fd, pid_t pid, const char *line)
{
    uint64_t end = h_now_ms() + LIMIT_MS;
    char *out = calloc(1, OUTPUT_MAX);
    size_t len = 0;

    assert_non_null(out);
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t n;

        if (h_now_ms() > end || poll(&p, 1, LIMIT_MS) != 1) {
            (void)kill(pid, SIGKILL);
            fail_msg("pgpuctl %s does not end: %s", line, out);
        }
        n = read(fd, out + len, OUTPUT_MAX - 1 - len);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    return out;
}

static char *
run(struct harness *h, int *ret_status, const char *line)
{
    const char *bin = getenv("PGPU_BIN_DIR");
    char program[256], copy[4096], text[2048], *save = NULL;
    char *argv[ARGS_MAX];
    posix_spawn_file_actions_t fa;
    size_t n = 0;
    int fds[2], status;
    char *out;
    pid_t pid;

    expand(h, line, text, sizeof(text));
    (void)snprintf(program, sizeof(program), "%s/cli/pgpuctl", bin ? bin : ".");
    (void)snprintf(
        copy, sizeof(copy),
        "pgpuctl %s --control %s/state/control.sock --hwd %s/hwd/hwd.sock --root %s/root", text,
        harness_dir(h), harness_dir(h), harness_dir(h));
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        assert_true(n < ARGS_MAX - 1);
        argv[n++] = w;
    }
    argv[n] = NULL;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(posix_spawn_file_actions_init(&fa), 0);
    (void)posix_spawn_file_actions_adddup2(&fa, fds[1], 1);
    (void)posix_spawn_file_actions_adddup2(&fa, fds[1], 2);
    assert_int_equal(posix_spawn(&pid, program, &fa, NULL, argv, environ), 0);
    (void)posix_spawn_file_actions_destroy(&fa);
    (void)close(fds[1]);
    out = collect(fds[0], pid, text);
    (void)close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status))
        fail_msg("pgpuctl %s crashed: %s", text, out);
    *ret_status = WEXITSTATUS(status);
    return out;
}

char *
h_ctl(struct harness *h, int *ret_status, const char *fmt, ...)
{
    char line[1024];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    return run(h, ret_status, line);
}

char *
h_ctl_expect(struct harness *h, int status, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    int got;
    char *out;

    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    out = run(h, &got, line);
    if (got != status)
        fail_msg("pgpuctl %s: status %d, not %d: %s", line, got, status, out);
    return out;
}

void
h_expect_words(const char *text, const char *words)
{
    char copy[512], *save = NULL;

    (void)snprintf(copy, sizeof(copy), "%s", words);
    for (char *w = strtok_r(copy, "&", &save); w; w = strtok_r(NULL, "&", &save))
        if (!strstr(text, w))
            fail_msg("\"%s\" is not in: %s", w, text);
}
