/* SPDX-License-Identifier: Apache-2.0
 *
 * `pgpu-sim vfio-user` as a program: that it says when it serves, ends when told to, leaves nothing
 * behind, and says what is wrong where it cannot start.
 */
#include "vfu_client.h"

#include "base/cleanup.h"
#include "sim/control.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ARGS_MAX 16

static char dir[32];

static int
setup(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof(dir), "/tmp/pgpu-vfup-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static const char *
in(const char *name)
{
    static char buf[8][128];
    static unsigned turn;
    char *to = buf[turn++ % 8];

    (void)snprintf(to, sizeof(buf[0]), "%s/%s", dir, name);
    return to;
}

/* Starts it with standard error at `err` (-1: as it is) and `ready` as descriptor 9. */
static pid_t
start(int err, int ready, const char *const *args)
{
    const char *argv[ARGS_MAX + 3] = {"pgpu-sim", "vfio-user"};
    char program[512];
    pid_t pid;

    (void)snprintf(program, sizeof(program), "%s/sim/pgpu-sim", getenv("PGPU_BIN_DIR"));
    for (size_t i = 0; args[i]; i++) {
        assert_true(i < ARGS_MAX);
        argv[2 + i] = args[i];
    }
    pid = fork();
    if (pid == 0) {
        if (err >= 0)
            (void)dup2(err, 2);
        if (ready >= 0)
            (void)dup2(ready, 9);
        (void)execv(program, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    assert_true(pid > 0);
    return pid;
}

static int
finish(pid_t pid)
{
    int st = -1;

    assert_int_equal(waitpid(pid, &st, 0), pid);
    return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}

static void
read_all(int fd, char *buf, size_t size)
{
    size_t n = 0;
    ssize_t r;

    while (n < size - 1 && (r = read(fd, buf + n, size - 1 - n)) > 0)
        n += (size_t)r;
    buf[n] = '\0';
}

static void
it_serves_until_it_is_told_to_end(void **state)
{
    char gpu[160], sw[160], word[16] = "", reply[4096];
    const char *const args[] = {
        "--control", in("ctl"), "--state",    in("state"), "--time-scale",      "0",
        "--fault",   "sw:mute", "--ready-fd", "9",         "--die-with-parent", gpu,
        sw,          NULL};
    struct err e = ERR_INIT;
    struct stat st;
    struct vfuc c;
    int p[2];
    pid_t pid;

    (void)state;
    (void)snprintf(gpu, sizeof(gpu), "%s=h100-pcie,knob=8:1", in("gpu.sock"));
    (void)snprintf(sw, sizeof(sw), "%s=nvswitch", in("sw.sock"));
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    pid = start(-1, p[1], args);
    (void)close(p[1]);
    read_all(p[0], word, sizeof(word));
    (void)close(p[0]);
    assert_string_equal(word, "ready\n");

    vfuc_connect(&c, in("gpu.sock"));
    vfuc_hello(&c);
    assert_int_equal(vfuc_bar0(&c, 0), 0x180000a1);
    if (sim_ctl_call(in("ctl"), "show", reply, sizeof(reply), &e) < 0)
        fail_msg("%s", e.msg);
    assert_non_null(strstr(reply, "gpu              h100-pcie   yes    D0     off      on"));
    assert_non_null(strstr(reply, "sw               nvswitch    no "));
    assert_int_equal(stat(in("gpu.sock"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700 & st.st_mode); /* nobody else's */
    assert_int_equal(kill(pid, SIGTERM), 0);
    assert_int_equal(finish(pid), 0);
    assert_true(vfuc_closed(&c));
    vfuc_close(&c);
    assert_int_equal(unlink(in("state/gpu.nvram")), 0);
    assert_int_equal(rmdir(in("state")), 0);
    assert_int_equal(rmdir(dir), 0); /* no socket left */
    assert_int_equal(mkdir(dir, 0700), 0);
}

static void
it_says_why_it_cannot_start(void **state)
{
    static const struct {
        const char *args[5];
        int status;
        const char *says;
    } rows[] = {
        {{NULL}, 2, "expected SOCKET=MODEL"},
        {{"--time-scale", "fast", "x.sock=nic"}, 2, "--time-scale fast"},
        {{"--ready-fd", "-1", "x.sock=nic"}, 2, "--ready-fd -1"},
        {{"--no-such-option"}, 2, "no-such-option"},
        {{"/nonexistent/x.sock=nic"}, 1, "listen at /nonexistent/x.sock: No such file"},
        {{"/nonexistent/x.sock=vic"}, 1, "device x: no model \"vic\""},
        {{"--fault", "y:mute", "/nonexistent/x.sock=nic"}, 1, "no device \"y\""},
        {{"--fault", "mute", "/nonexistent/x.sock=nic"}, 1, "--fault mute: want NAME:SPEC"},
        {{"--state", "/proc/x", "/nonexistent/x.sock=nic"}, 1, "/proc/x"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char text[4096];
        int p[2], status;
        pid_t pid;

        assert_int_equal(pipe2(p, O_CLOEXEC), 0);
        pid = start(p[1], -1, rows[i].args);
        (void)close(p[1]);
        read_all(p[0], text, sizeof(text));
        (void)close(p[0]);
        status = finish(pid);
        if (status != rows[i].status || !strstr(text, rows[i].says))
            fail_msg("row %zu: status %d, \"%s\"", i, status, text);
    }
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
        cmocka_unit_test_setup_teardown(it_serves_until_it_is_told_to_end, setup, teardown),
        cmocka_unit_test_setup_teardown(it_says_why_it_cannot_start, setup, teardown),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
