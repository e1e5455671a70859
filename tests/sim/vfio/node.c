/* SPDX-License-Identifier: Apache-2.0
 *
 * See node.h.
 */
#include "node.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ARGS_MAX 48
#define READY_MS 20000
#define STOP_MS 10000

static const char *
program(char buf[512])
{
    const char *bin = getenv("PGPU_BIN_DIR");

    (void)snprintf(buf, 512, "%s/sim/pgpu-sim", bin ? bin : ".");
    return buf;
}

bool
node_possible(void)
{
    char path[512];

    if (access("/dev/fuse", R_OK | W_OK) < 0 || geteuid() != 0) {
        (void)fprintf(stderr, "SKIP: needs root and /dev/fuse\n");
        return false;
    }
    if (access(program(path), X_OK) < 0) {
        (void)fprintf(stderr, "SKIP: %s is not built\n", path);
        return false;
    }
    return true;
}

static void
exec_node(const struct node *n, const char *const *args, int ready)
{
    char prog[512], mount[96], control[96], fd[16], log[96];
    const char *argv[ARGS_MAX] = {program(prog), "node",  "--mount",      mount,
                                  "--control",   control, "--uevents",    n->uevents,
                                  "--ready-fd",  fd,      "--time-scale", "0.02"};
    size_t k = 12;
    int out;

    (void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* a test that crashes leaves no mount behind */
    (void)snprintf(mount, sizeof(mount), "%s/root", n->dir);
    (void)snprintf(control, sizeof(control), "%s/control", n->dir);
    (void)snprintf(log, sizeof(log), "%s/log", n->dir);
    (void)snprintf(fd, sizeof(fd), "%d", ready);
    for (; args && *args && k < ARGS_MAX - 1; args++)
        argv[k++] = *args;
    out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (out < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 || fcntl(ready, F_SETFD, 0) < 0)
        _exit(126);
    (void)execv(prog, (char *const *)(uintptr_t)argv);
    _exit(127);
}

void
node_start(struct node *n, const char *const *args)
{
    struct err e = ERR_INIT;
    struct pollfd p = {.events = POLLIN};
    char path[96], c;
    int pipes[2];

    *n = (struct node){.root.fd = -1};
    (void)str_copy(n->dir, sizeof(n->dir), "/tmp/pgpu-vfio-sim-XXXXXX");
    assert_non_null(mkdtemp(n->dir));
    (void)snprintf(n->uevents, sizeof(n->uevents), "%s/uevents", n->dir);
    (void)snprintf(path, sizeof(path), "%s/root", n->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    n->pid = fork();
    assert_true(n->pid >= 0);
    if (n->pid == 0)
        exec_node(n, args, pipes[1]);
    (void)close(pipes[1]);
    p.fd = pipes[0];
    if (poll(&p, 1, READY_MS) != 1 || read(pipes[0], &c, 1) != 1)
        fail_msg("the simulated node did not become ready, see %s/log", n->dir);
    (void)close(pipes[0]);
    if (fs_root_open(&n->root, path, &e) < 0)
        fail_msg("%s", e.msg);
}

static int
remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static void
print_log(const struct node *n)
{
    char path[96], *text = NULL;
    struct err e = ERR_INIT;
    size_t len;

    (void)snprintf(path, sizeof(path), "%s/log", n->dir);
    if (fs_read_file(AT_FDCWD, path, 1u << 20, &text, &len, &e) == 0)
        print_message("%s\n", text);
    free(text);
}

void
node_stop(struct node *n)
{
    char path[96];
    bool mounted;
    int status;

    fs_root_close(&n->root);
    (void)kill(n->pid, SIGTERM);
    status = node_wait(n->pid, STOP_MS);
    if (status < 0) {
        (void)kill(n->pid, SIGKILL);
        (void)waitpid(n->pid, NULL, 0);
    }
    if (status != 0) {
        print_message("the simulated node ended with %d\n", status);
        print_log(n);
    }
    (void)snprintf(path, sizeof(path), "%s/root", n->dir);
    mounted = umount2(path, MNT_DETACH) == 0;
    (void)nftw(n->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    assert_false(mounted);
}

const char *
node_ctl(struct node *n, const char *fmt, ...)
{
    static char reply[65536];
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    char line[256];
    size_t len = 0;
    ssize_t k;
    va_list ap;
    int fd;

    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof(line) - 1, fmt, ap);
    va_end(ap);
    (void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/control", n->dir);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_true(dprintf(fd, "%s\n", line) > 0);
    (void)shutdown(fd, SHUT_WR);
    while (len < sizeof(reply) - 1 && (k = read(fd, reply + len, sizeof(reply) - 1 - len)) > 0)
        len += (size_t)k;
    reply[len] = '\0';
    (void)close(fd);
    if (strncmp(reply, "error", 5) == 0)
        fail_msg("%s: %s", line, reply);
    return reply;
}

struct vfio_inventory *
node_scan(struct node *n)
{
    struct vfio_inventory *inv = NULL;
    struct err e = ERR_INIT;

    if (vfio_scan(&n->root, &inv, &e) < 0)
        fail_msg("%s", e.msg);
    return inv;
}

struct vfio_fn
node_fn(struct node *n, struct pci_addr a)
{
    struct vfio_inventory *inv = node_scan(n);
    const struct vfio_fn *found = vfio_find(inv, a);
    struct vfio_fn fn;

    if (!found)
        fail_msg("%s is not on the bus", PCI_STR(a));
    fn = *found;
    vfio_inventory_free(inv);
    return fn;
}

struct pci_addr
node_gpu(struct node *n, unsigned i)
{
    struct vfio_inventory *inv = node_scan(n);
    struct pci_addr a = {0};
    unsigned k;

    for (k = 0; k < inv->n; k++)
        if (inv->fn[k].kind == VFIO_KIND_GPU && i-- == 0) {
            a = inv->fn[k].addr;
            break;
        }
    assert_true(k < inv->n);
    vfio_inventory_free(inv);
    return a;
}

const char *
node_attr(struct node *n, struct pci_addr a, const char *attr)
{
    static char buf[4096];
    struct err e = ERR_INIT;
    char path[160];

    (void)snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", PCI_STR(a), attr);
    return fs_read_attr(&n->root, path, buf, sizeof(buf), &e) < 0 ? "" : buf;
}

pid_t
node_fork(int (*fn)(struct node *n, struct pci_addr a), struct node *n, struct pci_addr a)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(fn(n, a));
    }
    return pid;
}

int
node_wait(pid_t pid, unsigned ms)
{
    int status;

    for (unsigned i = 0; i <= ms / 5; i++) {
        pid_t r = waitpid(pid, &status, WNOHANG);

        if (r == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        (void)usleep(5000);
    }
    return -1;
}
