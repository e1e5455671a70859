/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections brought by launchers: the program pgpu-nri-launch itself, and what others may send to
 * the launch socket.
 */
#include "wire_runtime.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "nri/pb.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void
launch_path(struct world *w, char *path, size_t size)
{
    (void)snprintf(path, size, "%s/launch.sock", w->dir);
}

/* ---- the program ---- */

struct child {
    pid_t pid;
    int err; /* its standard error */
    int status;
    bool ended;
};

/* Starts it as a runtime does: the three variables and nothing else, the socket at 3. */
static void
start(struct world *w, struct child *c, char *const env[], const char *wait, int socket)
{
    char program[512], path[128];
    int err[2];

    launch_path(w, path, sizeof(path));
    (void)snprintf(program, sizeof(program), "%s/nri/pgpu-nri-launch", getenv("PGPU_BIN_DIR"));
    assert_int_equal(pipe2(err, O_CLOEXEC | O_NONBLOCK), 0);
    *c = (struct child){.pid = fork(), .err = err[0]};
    assert_true(c->pid >= 0);
    if (c->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        char *const argv[] = {program,          pb_str("--socket"), path,
                              pb_str("--wait"), pb_str(wait),       NULL};

        if (dup2(err[1], 2) < 0)
            _exit(99);
        if (socket >= 0 && (fcntl(socket, F_DUPFD, 10) < 0 || dup2(socket, 3) < 0))
            _exit(99);
        if (socket == 3)
            (void)fcntl(3, F_SETFD, 0);
        for (int fd = socket >= 0 ? 4 : 3; fd < 64; fd++)
            (void)close(fd);
        (void)execve(program, argv, env);
        _exit(98);
    }
    (void)close(err[1]);
}

static struct child *waited;

static bool
child_ended(struct world *w)
{
    int status;

    (void)w;
    if (!waited->ended && waitpid(waited->pid, &status, WNOHANG) == waited->pid) {
        waited->ended = true;
        waited->status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    return waited->ended;
}

/* Waits for the end; its status, and what it said in `text`. */
static int
finish(struct world *w, struct child *c, char *text, size_t size)
{
    ssize_t n;

    waited = c;
    assert_true(world_until(w, child_ended));
    n = read(c->err, text, size - 1);
    text[n > 0 ? n : 0] = '\0';
    (void)close(c->err);
    return c->status;
}

static char *good_env[] = {(char *)(uintptr_t) "NRI_PLUGIN_NAME=gpus",
                           (char *)(uintptr_t) "NRI_PLUGIN_IDX=07",
                           (char *)(uintptr_t) "NRI_PLUGIN_SOCKET=3", NULL};

/* A launched program whose runtime is w->rt[0]. */
static void
start_with_runtime(struct world *w, struct child *c)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    start(w, c, good_env, "20", pair[1]);
    (void)close(pair[1]);
    runtime_adopt(&w->rt[0], pair[0]);
}

static void
a_launched_plugin_is_served_until_the_runtime_kills_it(void **state)
{
    Nri__Pkg__Api__V1alpha1__ConfigureRequest m;
    struct world w;
    struct child c;
    char text[512];

    nri__pkg__api__v1alpha1__configure_request__init(&m);
    (void)state;
    world_init(&w);
    world_plugin(&w, 0, true);
    assert_int_equal(nri_sessions(w.nri), 0);
    start_with_runtime(&w, &c);
    assert_true(runtime_hello(&w, &w.rt[0], "containerd", "2.1.0", ""));
    assert_int_equal(nri_sessions(w.nri), 1);
    assert_true(is_up(&w));
    assert_string_equal(w.rt[0].name, "gpus"); /* not "pgpu", "10" */
    assert_string_equal(w.rt[0].index, "07");
    assert_string_equal(nri_session(w.nri, 0)->socket, "launched");
    assert_false(nri_session(w.nri, 0)->config_ignored);
    m.config = pb_str("mode: enforce");
    assert_non_null(runtime_wait(&w, &w.rt[0], runtime_call(&w.rt[0], "Configure", &m.base, 0)));
    assert_true(nri_session(w.nri, 0)->config_ignored);

    assert_int_equal(kill(c.pid, SIGKILL), 0);
    assert_int_equal(finish(&w, &c, text, sizeof(text)), -SIGKILL);
    assert_true(world_until(&w, is_down));
    assert_int_equal(w.ups, 1);
    assert_int_equal(w.downs, 1);

    /* The runtime sees the end as well, though the descriptor was in two processes. */
    const uint64_t end = nri_now() + UINT64_C(20000000000);

    while (!w.rt[0].closed && nri_now() < end)
        world_turn(&w);
    assert_true(w.rt[0].closed);

    /* The place is free again. */
    start_with_runtime(&w, &c);
    assert_true(runtime_hello(&w, &w.rt[0], "containerd", "2.1.0", ""));
    assert_int_equal(nri_sessions(w.nri), 1);
    runtime_hang_up(&w.rt[0]);
    assert_int_equal(finish(&w, &c, text, sizeof(text)), 0);
    assert_non_null(strstr(text, "the runtime closed the connection"));
    world_fini(&w);
}

static void
when_pgpud_stops_the_launcher_fails(void **state)
{
    struct world w;
    struct child c;
    char text[512];

    (void)state;
    world_init(&w);
    world_plugin(&w, 0, true);
    start_with_runtime(&w, &c);
    assert_true(runtime_hello(&w, &w.rt[0], "containerd", "2.1.0", ""));
    nri_free(w.nri);
    w.nri = NULL;
    assert_int_equal(finish(&w, &c, text, sizeof(text)), 1);
    assert_non_null(strstr(text, "pgpud stops"));
    world_fini(&w);
}

static void
the_launcher_waits_for_pgpud(void **state)
{
    struct world w;
    struct child c;
    char text[512];

    (void)state;
    world_init(&w);
    start_with_runtime(&w, &c);
    for (int i = 0; i < 200; i++)
        world_turn(&w);
    world_plugin(&w, 0, true);
    assert_true(runtime_hello(&w, &w.rt[0], "containerd", "2.1.0", ""));
    runtime_hang_up(&w.rt[0]);
    assert_int_equal(finish(&w, &c, text, sizeof(text)), 0);
    world_fini(&w);
}

static void
without_pgpud_or_a_runtime_there_is_a_clear_error(void **state)
{
    static char *const envs[][4] = {
        {NULL},
        {(char *)(uintptr_t) "NRI_PLUGIN_NAME=x", (char *)(uintptr_t) "NRI_PLUGIN_IDX=07", NULL},
        {(char *)(uintptr_t) "NRI_PLUGIN_NAME=a b", (char *)(uintptr_t) "NRI_PLUGIN_IDX=07",
         (char *)(uintptr_t) "NRI_PLUGIN_SOCKET=3", NULL},
        {(char *)(uintptr_t) "NRI_PLUGIN_NAME=x", (char *)(uintptr_t) "NRI_PLUGIN_IDX=7",
         (char *)(uintptr_t) "NRI_PLUGIN_SOCKET=3", NULL},
        {(char *)(uintptr_t) "NRI_PLUGIN_NAME=x", (char *)(uintptr_t) "NRI_PLUGIN_IDX=07",
         (char *)(uintptr_t) "NRI_PLUGIN_SOCKET=3x", NULL},
        {(char *)(uintptr_t) "NRI_PLUGIN_NAME=x", (char *)(uintptr_t) "NRI_PLUGIN_IDX=07",
         (char *)(uintptr_t) "NRI_PLUGIN_SOCKET=2", NULL}, /* a pipe */
    };
    static const char *const why[] = {
        "started by a container runtime", "started by a container runtime",
        "index must be two digits",       "index must be two digits",
        "not the descriptor of a socket", "not the descriptor of a socket"};
    struct world w;
    struct child c;
    char text[512];
    int pair[2];

    (void)state;
    world_init(&w);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    for (size_t i = 0; i < ARRAY_SIZE(envs); i++) {
        start(&w, &c, envs[i], "0", pair[1]);
        assert_int_equal(finish(&w, &c, text, sizeof(text)), 1);
        if (!strstr(text, why[i]))
            fail_msg("%zu: %s", i, text);
    }
    start(&w, &c, good_env, "0", pair[1]);
    assert_int_equal(finish(&w, &c, text, sizeof(text)), 1);
    assert_non_null(strstr(text, "no pgpud to hand the runtime's connection to"));
    assert_non_null(strstr(text, "No such file"));
    start(&w, &c, good_env, "x", pair[1]);
    assert_int_equal(finish(&w, &c, text, sizeof(text)), 2);

    /* The runtime gives up first. */
    start(&w, &c, good_env, "3600", pair[1]);
    (void)close(pair[1]);
    (void)close(pair[0]);
    assert_int_equal(finish(&w, &c, text, sizeof(text)), 1);
    assert_non_null(strstr(text, "the runtime closed the connection"));
    world_fini(&w);
}

/* ---- the socket ---- */

static int
dial(struct world *w)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char path[128];
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    launch_path(w, path, sizeof(path));
    assert_true(fd >= 0);
    assert_true(str_copy(a.sun_path, sizeof(a.sun_path), path));
    assert_int_equal(connect(fd, (const struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

static void
say(int fd, const void *p, size_t n, const int *fds, size_t n_fds)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(16 * sizeof(int))];
    } control = {.room = {0}};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)p, .iov_len = n};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

    if (n_fds > 0) {
        m.msg_control = &control;
        m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);

        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
    }
    assert_int_equal(sendmsg(fd, &m, MSG_NOSIGNAL), n);
}

/* The next answer's status; -1 when the connection was closed. */
static int
hear(struct world *w, int fd, char *text, size_t size)
{
    const uint64_t end = nri_now() + UINT64_C(20000000000);
    struct launch_answer a;

    while (nri_now() < end) {
        ssize_t n = recv(fd, &a, sizeof(a), MSG_DONTWAIT);

        if (n == (ssize_t)sizeof(a)) {
            (void)str_copy(text, size, a.text);
            return (int)a.status;
        }
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return -1;
        world_turn(w);
    }
    fail_msg("no answer");
    return -2;
}

static struct launch_hello
hello(const char *name, const char *index)
{
    struct launch_hello h = {.magic = {0}};

    memcpy(h.magic, LAUNCH_MAGIC, sizeof(h.magic));
    (void)str_copy(h.name, sizeof(h.name), name);
    (void)str_copy(h.index, sizeof(h.index), index);
    return h;
}

static void
hellos_of_any_other_shape_are_refused(void **state)
{
    struct world w;
    char text[256], big[1000] = "";
    int pair[2], dgram[2], pipes[2], fds[16];

    (void)state;
    world_init(&w);
    world_plugin(&w, 0, true);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, dgram), 0);
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    const int alone = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct launch_hello good = hello("x", "10");
    struct launch_hello magic = good, name = good, index = good;

    magic.magic[7] = '9';
    memset(name.name, 'a', sizeof(name.name));
    memset(index.index, '1', sizeof(index.index));
    for (int i = 0; i < 16; i++)
        fds[i] = pair[1];
    memcpy(big, &good, sizeof(good));

    const struct launch_hello no_name = hello("", "10"), bad_index = hello("x", "1");
    const struct {
        const void *p;
        size_t n;
        const int *fds;
        size_t n_fds;
        int status;
    } table[] = {
        {"", 1, NULL, 0, EPROTO},
        {&good, sizeof(good), NULL, 0, EPROTO},
        {&good, sizeof(good), fds, 2, EPROTO},
        {&good, sizeof(good), fds, 16, EPROTO}, /* more than there is room for */
        {&good, sizeof(good) - 1, fds, 1, EPROTO},
        {big, sizeof(big), fds, 1, EPROTO},
        {&magic, sizeof(magic), fds, 1, EPROTO},
        {&name, sizeof(name), fds, 1, EPROTO},
        {&index, sizeof(index), fds, 1, EPROTO},
        {&no_name, sizeof(no_name), fds, 1, EINVAL},
        {&bad_index, sizeof(bad_index), fds, 1, EINVAL},
        {&good, sizeof(good), &dgram[0], 1, ENOTSOCK},
        {&good, sizeof(good), &pipes[0], 1, ENOTSOCK},
        {&good, sizeof(good), &alone, 1, ENOTCONN},
    };
    size_t before = 0; /* once the loop has its own */

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        int fd = dial(&w);

        say(fd, table[i].p, table[i].n, table[i].fds, table[i].n_fds);
        int status = hear(&w, fd, text, sizeof(text));

        if (status != table[i].status)
            fail_msg("%zu: %d %s", i, status, text);
        assert_true(text[0] != '\0');
        assert_int_equal(hear(&w, fd, text, sizeof(text)), -1); /* and closed */
        (void)close(fd);
        before = i == 0 ? count_fds() : before;
    }
    int fd = dial(&w); /* gone without a word */

    (void)close(fd);
    for (int i = 0; i < 10; i++)
        world_turn(&w);
    assert_int_equal(count_fds(), before); /* no descriptor stayed */
    assert_int_equal(nri_sessions(w.nri), 0);
    (void)close(alone);
    for (int i = 0; i < 2; i++) {
        (void)close(pair[i]);
        (void)close(dgram[i]);
        (void)close(pipes[i]);
    }
    world_fini(&w);
}

static void
sessions_and_launchers_are_limited(void **state)
{
    int runtime[NRI_SESSIONS_MAX + 1], launcher[NRI_SESSIONS_MAX + 1], idle[NRI_LAUNCHERS_MAX + 1];
    const struct launch_hello good = hello("x", "10");
    struct world w;
    char text[256];

    (void)state;
    world_init(&w);
    world_plugin(&w, 0, true);
    for (int i = 0; i <= NRI_SESSIONS_MAX; i++) {
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        runtime[i] = pair[0];
        launcher[i] = dial(&w);
        say(launcher[i], &good, sizeof(good), &pair[1], 1);
        (void)close(pair[1]);
        assert_int_equal(hear(&w, launcher[i], text, sizeof(text)),
                         i < NRI_SESSIONS_MAX ? 0 : EUSERS);
    }
    assert_int_equal(nri_sessions(w.nri), NRI_SESSIONS_MAX);
    /* A launcher that speaks twice, and one that hangs up, end their sessions. */
    say(launcher[1], &good, sizeof(good), NULL, 0);
    assert_int_equal(hear(&w, launcher[1], text, sizeof(text)), -1);
    assert_int_equal(shutdown(launcher[0], SHUT_WR), 0);
    assert_int_equal(hear(&w, launcher[0], text, sizeof(text)), 0);
    assert_string_equal(text, "the launched program ended");
    assert_int_equal(hear(&w, launcher[0], text, sizeof(text)), -1);
    assert_int_equal(nri_sessions(w.nri), NRI_SESSIONS_MAX); /* stays readable */

    for (int i = 0; i <= NRI_LAUNCHERS_MAX; i++)
        idle[i] = dial(&w);
    assert_int_equal(hear(&w, idle[NRI_LAUNCHERS_MAX], text, sizeof(text)), EBUSY);
    for (int i = 0; i <= NRI_SESSIONS_MAX; i++) {
        (void)close(runtime[i]);
        (void)close(launcher[i]);
    }
    for (int i = 0; i <= NRI_LAUNCHERS_MAX; i++)
        (void)close(idle[i]);
    world_fini(&w);
}

static void
the_socket_is_private_and_replaces_a_dead_one(void **state)
{
    struct world w;
    struct nri_options o = {.name = "pgpu", .index = "10"};
    struct err e = ERR_INIT;
    struct nri *second = NULL;
    struct stat st;
    char path[128];

    (void)state;
    world_init(&w);
    launch_path(&w, path, sizeof(path));
    o.launch_socket = path;
    /* Left over by a crash: a socket without a listener. */
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int dead = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    assert_true(str_copy(a.sun_path, sizeof(a.sun_path), path));
    assert_int_equal(bind(dead, (const struct sockaddr *)&a, sizeof(a)), 0);
    (void)close(dead);
    const mode_t old = umask(0);

    world_plugin(&w, 0, true);
    (void)umask(old);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    /* One that lives is left alone. */
    assert_true(nri_new(w.loop, &o, &w.h, &second, &e) < 0);
    assert_int_equal(e.cls, ERR_CLASS_FATAL);
    int fd = dial(&w);

    (void)close(fd);
    nri_free(w.nri);
    w.nri = NULL;
    assert_int_equal(stat(path, &st), -1);
    world_fini(&w);
}

static bool
launched_registered(struct world *w)
{
    return w->rt[0].registered == 1;
}

/* Runtimes before NRI 0.7 do not synchronize the plugins that they launch. */
static void
a_launched_plugin_is_up_without_a_list_where_none_will_come(void **state)
{
    Nri__Pkg__Api__V1alpha1__ConfigureRequest m;
    struct world w;
    struct err e = ERR_INIT;
    int pair[2];

    (void)state;
    world_init(&w);
    world_plugin(&w, 0, true);
    for (int timeout = 2000; timeout >= 0; timeout -= 2000) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
                         0);
        runtime_adopt(&w.rt[0], pair[0]);
        w.rt[0].registered = 0;
        assert_int_equal(launch_adopt(w.nri, pair[1], -1, "pgpu", "10", &e), 0);
        assert_true(world_until(&w, launched_registered));
        nri__pkg__api__v1alpha1__configure_request__init(&m);
        m.request_timeout = timeout;
        assert_non_null(
            runtime_wait(&w, &w.rt[0], runtime_call(&w.rt[0], "Configure", &m.base, 0)));
        assert_int_equal(is_up(&w), timeout == 0);
        const struct answer *a =
            runtime_wait(&w, &w.rt[0], runtime_call(&w.rt[0], "RunPodSandbox", NULL, 0));

        assert_non_null(a);
        assert_int_equal(a->code, timeout == 0 ? TTRPC_OK : TTRPC_FAILED_PRECONDITION);
        runtime_hang_up(&w.rt[0]);
        assert_true(world_until(&w, is_down));
        for (int i = 0; i < 10; i++)
            world_turn(&w);
    }
    assert_int_equal(w.syncs, 0);
    assert_int_equal(w.ups, 1);
    world_fini(&w);
}

/* ---- one session for each runtime ---- */

/* Another process as a runtime: it makes a socket pair, whose one end we get, and listens. */
static pid_t
foreign_runtime(struct world *w, int *ret_fd)
{
    int way[2];
    char go = 0;
    pid_t pid;

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, way), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int pair[2];

        /* Not even a failing test leaves it behind. */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
            _exit(1);
        runtime_listen(&w->rt[0]);
        say(way[1], "x", 1, &pair[1], 1);
        for (;;)
            (void)pause();
    }
    (void)close(way[1]);
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = &go, .iov_len = 1};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof(control)};

    assert_int_equal(recvmsg(way[0], &m, MSG_CMSG_CLOEXEC), 1);
    memcpy(ret_fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(int));
    (void)close(way[0]);
    return pid;
}

static bool
held_back(struct world *w)
{
    return strstr(nri_session(w->nri, 0)->why, "one session is enough") != NULL;
}

static bool
dialled(struct world *w)
{
    return nri_session(w->nri, 0)->connects == 1;
}

static void
a_runtime_that_launched_us_is_not_dialled_as_well(void **state)
{
    struct err e = ERR_INIT;
    struct world w;
    int fd = -1, again;
    pid_t pid;

    (void)state;
    world_init(&w);
    pid = foreign_runtime(&w, &fd);
    again = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    world_plugin(&w, 1, true);
    assert_int_equal(launch_adopt(w.nri, fd, -1, "pgpu", "10", &e), 0);
    assert_true(world_until(&w, held_back));
    assert_int_equal(nri_session(w.nri, 0)->connects, 0);
    /* When the launched session ends, the socket takes its place; then the launcher is refused. */
    peer_fail(&w.nri->peer[w.nri->n_sockets], "test");
    assert_true(world_until(&w, dialled));
    assert_true(launch_adopt(w.nri, again, -1, "pgpu", "10", &e) < 0);
    assert_int_equal(e.num, EALREADY);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    world_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_launched_plugin_is_served_until_the_runtime_kills_it),
        cmocka_unit_test(when_pgpud_stops_the_launcher_fails),
        cmocka_unit_test(the_launcher_waits_for_pgpud),
        cmocka_unit_test(without_pgpud_or_a_runtime_there_is_a_clear_error),
        cmocka_unit_test(hellos_of_any_other_shape_are_refused),
        cmocka_unit_test(sessions_and_launchers_are_limited),
        cmocka_unit_test(the_socket_is_private_and_replaces_a_dead_one),
        cmocka_unit_test(a_launched_plugin_is_up_without_a_list_where_none_will_come),
        cmocka_unit_test(a_runtime_that_launched_us_is_not_dialled_as_well),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
