/* SPDX-License-Identifier: Apache-2.0
 *
 * `pgpu-sim node` and `pgpu-sim ctl` as programs: the mount, the sockets, what is said when it
 * cannot work, and that nothing is left behind.
 */
#include "sim/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define GPU0 "0000:18:00.0"
#define GPU1 "0000:2a:00.0"

struct node {
    char dir[64], mount[80], control[80], uevents[80];
    pid_t pid;
};

static const char *
program(void)
{
    static char path[512];

    (void)snprintf(path, sizeof(path), "%s/sim/pgpu-sim", getenv("PGPU_BIN_DIR"));
    return path;
}

static int
node_start(void **state)
{
    static struct node n;
    char fd[16], word[8] = "";
    int p[2];

    (void)snprintf(n.dir, sizeof(n.dir), "/tmp/pgpu-node-XXXXXX");
    if (!mkdtemp(n.dir) || pipe(p) < 0)
        return -1;
    (void)snprintf(n.mount, sizeof(n.mount), "%s/m", n.dir);
    (void)snprintf(n.control, sizeof(n.control), "%s/c", n.dir);
    (void)snprintf(n.uevents, sizeof(n.uevents), "%s/u", n.dir);
    (void)mkdir(n.mount, 0700);
    (void)snprintf(fd, sizeof(fd), "%d", p[1]);
    n.pid = fork();
    if (n.pid == 0) {
        (void)execl(program(), program(), "node", "--mount", n.mount, "--control", n.control,
                    "--uevents", n.uevents, "--gpus", "2", "--time-scale", "0.02", "--ready-fd", fd,
                    "--die-with-parent", (char *)NULL);
        _exit(127);
    }
    (void)close(p[1]);
    (void)!read(p[0], word, sizeof(word) - 1);
    (void)close(p[0]);
    *state = &n;
    return strcmp(word, "ready\n") == 0 ? 0 : -1;
}

static int
node_stop(void **state)
{
    struct node *n = *state;
    int st = -1;

    (void)kill(n->pid, SIGTERM);
    (void)waitpid(n->pid, &st, 0);
    /* unmounted, sockets gone: the directories are empty */
    if (!WIFEXITED(st) || WEXITSTATUS(st) != 0 || rmdir(n->mount) < 0 || rmdir(n->dir) < 0)
        return -1;
    return 0;
}

static const char *
in(const struct node *n, const char *path)
{
    static char buf[4][512];
    static unsigned turn;
    char *to = buf[turn++ % 4];

    (void)snprintf(to, 512, "%s%s", n->mount, path);
    return to;
}

static int
put(const struct node *n, const char *path, const char *text)
{
    int fd = open(in(n, path), O_WRONLY | O_CLOEXEC), r = 0;

    if (fd < 0)
        return -errno;
    if (write(fd, text, strlen(text)) < 0)
        r = -errno;
    (void)close(fd);
    return r;
}

static void
ctl(const struct node *n, const char *line)
{
    char reply[8192];
    struct err e = ERR_INIT;

    if (sim_ctl_call(n->control, line, reply, sizeof(reply), &e) < 0)
        fail_msg("%s: %s", line, e.msg);
}

static void
bind_gpu(const struct node *n, const char *addr)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver_override", addr);
    assert_int_equal(put(n, path, "vfio-pci"), 0);
    assert_int_equal(put(n, "/sys/bus/pci/drivers/vfio-pci/bind", addr), 0);
}

static void
one_hanging_write_disturbs_no_other(void **state)
{
    const struct node *n = *state;
    struct timespec ts = {.tv_nsec = 20000000};
    pid_t pid;
    int st, shell, i;

    bind_gpu(n, GPU0);
    bind_gpu(n, GPU1);
    ctl(n, "vmm-open " GPU0);
    pid = fork();
    if (pid == 0)
        _exit(put(n, "/sys/bus/pci/drivers/vfio-pci/unbind", GPU0) == 0 ? 0 : 1);
    /* the link goes first, then the writer blocks */
    for (i = 0; i < 500 && access(in(n, "/sys/bus/pci/devices/" GPU0 "/driver"), F_OK) == 0; i++)
        (void)nanosleep(&ts, NULL);
    assert_int_equal(waitpid(pid, &st, WNOHANG), 0);
    /* the same file, as a program and as a shell would write it */
    assert_int_equal(put(n, "/sys/bus/pci/drivers/vfio-pci/unbind", GPU1), 0);
    shell = open(in(n, "/sys/bus/pci/drivers/vfio-pci/bind"), O_WRONLY | O_TRUNC | O_CREAT, 0644);
    assert_true(shell >= 0);
    assert_int_equal(write(shell, GPU1 "\n", sizeof(GPU1)), sizeof(GPU1));
    (void)close(shell);
    /* killed, it stays where it is and takes effect later */
    (void)kill(pid, SIGKILL);
    (void)nanosleep(&ts, NULL);
    assert_int_equal(waitpid(pid, &st, WNOHANG), 0);
    ctl(n, "vmm-close " GPU0);
    assert_int_equal(waitpid(pid, &st, 0), pid);
    assert_true(WIFSIGNALED(st));
    assert_int_equal(put(n, "/sys/bus/pci/devices/" GPU0 "/enable", "1"), 0);
    assert_int_equal(access(in(n, "/sys/bus/pci/devices/" GPU0 "/driver"), F_OK), -1);
}

static void
uevents_and_traffic_come_over_sockets(void **state)
{
    const struct node *n = *state;
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct pollfd p = {.events = POLLIN};
    char buf[4096];
    ssize_t len;
    int fd, bar;

    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    (void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", n->uevents);
    assert_int_equal(connect(fd, (const struct sockaddr *)&sa, sizeof(sa)), 0);
    (void)nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    bind_gpu(n, GPU0);
    len = recv(fd, buf, sizeof(buf), 0);
    assert_true(len > 20);
    assert_int_equal(strncmp(buf, "add@/devices/virtual/vfio/", 26), 0);
    (void)close(fd);

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", n->control);
    assert_int_equal(connect(fd, (const struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(write(fd, "trace " GPU1 "\n", 19), 19);
    assert_int_equal(recv(fd, buf, 3, MSG_WAITALL), 3);
    (void)nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    bar = open(in(n, "/sys/bus/pci/devices/" GPU1 "/resource0"), O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(bar, buf, 4, 0), 4);
    (void)close(bar);
    p.fd = fd;
    assert_int_equal(poll(&p, 1, 2000), 1);
    len = recv(fd, buf, sizeof(buf) - 1, 0);
    assert_true(len > 0);
    buf[len] = '\0';
    assert_non_null(strstr(buf, "R gpu.bar0 0x000000 -> 0x180000a1\n"));
    (void)close(fd);
}

static void
opens_of_a_node_are_seen_by_inotify(void **state)
{
    const struct node *n = *state;
    struct pollfd p = {.events = POLLIN};
    char buf[4096];
    int fd, ino = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

    bind_gpu(n, GPU0);
    assert_true(inotify_add_watch(ino, in(n, "/dev/vfio/devices/vfio0"), IN_OPEN | IN_CLOSE) >= 0);
    fd = open(in(n, "/dev/vfio/devices/vfio0"), O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    p.fd = ino;
    assert_int_equal(poll(&p, 1, 1000), 1);
    assert_true(read(ino, buf, sizeof(buf)) > 0);
    (void)close(fd);
    assert_int_equal(poll(&p, 1, 1000), 1);
    (void)close(ino);
}

static void
it_ends_while_somebody_is_blocked(void **state)
{
    const struct node *n = *state;
    pid_t pid;

    bind_gpu(n, GPU0);
    ctl(n, "vmm-open " GPU0);
    pid = fork();
    if (pid == 0)
        _exit(put(n, "/sys/bus/pci/drivers/vfio-pci/unbind", GPU0) < 0 ? 0 : 1);
    (void)nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    (void)kill(n->pid, SIGTERM); /* node_stop waits for it and checks */
}

/* ---- what it says when it cannot work ---- */

static int
run(char *const argv[], char *said, size_t size)
{
    int p[2], st;
    ssize_t len;
    pid_t pid;

    assert_int_equal(pipe(p), 0);
    pid = fork();
    if (pid == 0) {
        (void)dup2(p[1], STDERR_FILENO);
        (void)execv(program(), argv);
        _exit(127);
    }
    (void)close(p[1]);
    len = read(p[0], said, size - 1);
    said[len > 0 ? len : 0] = '\0';
    (void)close(p[0]);
    assert_int_equal(waitpid(pid, &st, 0), pid);
    return WIFEXITED(st) ? WEXITSTATUS(st) : -1;
}

static void
errors_are_one_line_that_names_the_object(void **state)
{
    static const struct {
        const char *args[6], *names;
    } cases[] = {
        {{"node", "--mount", "/no/such/dir"}, "/no/such/dir"},
        {{"node"}, "--mount"},
        {{"node", "--mount", "/tmp", "--gpus", "99"}, "--gpus 99"},
        {{"node", "--mount", "/tmp", "--model", "h9000"}, "h9000"},
        {{"node", "--mount", "/tmp", "--add", "xyz"}, "xyz"},
        {{"node", "--mount", "/tmp", "--time-scale", "fast"}, "fast"},
        {{"node", "--mount", "/dev/null"}, "/dev/null"},
        {{"ctl", "--control", "/no/such/socket", "show"}, "/no/such/socket"},
    };
    char said[2048], *nl;
    size_t i, j;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char words[6][64], name[] = "pgpu-sim", *argv[8] = {name};

        for (j = 0; j < 6 && cases[i].args[j]; j++) {
            (void)snprintf(words[j], sizeof(words[j]), "%s", cases[i].args[j]);
            argv[j + 1] = words[j];
        }
        assert_int_not_equal(run(argv, said, sizeof(said)), 0);
        if (!strstr(said, cases[i].names))
            fail_msg("\"%s\" does not name %s", said, cases[i].names);
        nl = strchr(said, '\n');
        assert_non_null(nl);
        assert_string_equal(nl, "\n");
    }
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, node_start, node_stop)
    const struct CMUnitTest tests[] = {
        T(one_hanging_write_disturbs_no_other),
        T(uevents_and_traffic_come_over_sockets),
        T(opens_of_a_node_are_seen_by_inotify),
        T(it_ends_while_somebody_is_blocked),
        cmocka_unit_test(errors_are_one_line_that_names_the_object),
    };

    if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) < 0) {
        (void)puts("SKIP: the simulated node needs root and /dev/fuse");
        return 77;
    }
    if (!getenv("PGPU_BIN_DIR")) {
        (void)fputs("PGPU_BIN_DIR is not set\n", stderr);
        return 1;
    }
    return cmocka_run_group_tests_name("sim.node_program", tests, NULL, NULL);
}
