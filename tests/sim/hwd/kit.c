/* SPDX-License-Identifier: Apache-2.0
 *
 * Owner of the processes and the directory of one test.
 */
#include "tests/sim/hwd/kit.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Limits of waits are written for an idle machine; a loaded one gets this on top, an emulated one
 * what PGPU_TEST_PATIENCE (seconds) says. What is waited for ends the wait at once. */
#define PATIENCE_MS 20000

#define ARGS_MAX 64
#define READY_MS 20000

static unsigned
patience_ms(void)
{
    const char *s = getenv("PGPU_TEST_PATIENCE");

    return s ? (unsigned)strtoul(s, NULL, 10) * 1000 : PATIENCE_MS;
}

uint64_t
kit_now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void
kit_sleep_ms(unsigned ms)
{
    struct timespec ts = {ms / 1000, (long)(ms % 1000) * 1000000};

    (void)nanosleep(&ts, NULL);
}

struct pci_addr
kit_addr(const char *s)
{
    struct pci_addr a = {0};

    assert_true(pci_addr_parse(s, &a));
    return a;
}

bool
kit_possible(void)
{
    if (geteuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0)
        return true;
    (void)puts("SKIP: the simulated node needs root and /dev/fuse");
    return false;
}

static const char *
bin(void)
{
    const char *d = getenv("PGPU_BIN_DIR");

    return d ? d : ".";
}

/* Splits at blanks and starts it; `fd` becomes descriptor 3, `out` 1 and 2 (each -1: as is). */
static pid_t
spawn(const char *line, int fd, int out)
{
    char *copy = strdup(line), *save = NULL;
    char *argv[ARGS_MAX] = {0};
    size_t n = 0;
    pid_t pid;

    assert_non_null(copy);
    for (char *w = strtok_r(copy, " ", &save); w && n < ARGS_MAX - 1;
         w = strtok_r(NULL, " ", &save))
        argv[n++] = w;
    pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* a failed test leaves nothing running */
        if (out >= 0) {                         /* first: `out` may be 3 */
            (void)dup2(out, 1);
            (void)dup2(out, 2);
        }
        if (fd >= 0 && fd != 3)
            (void)dup2(fd, 3);
        else if (fd == 3)
            (void)fcntl(3, F_SETFD, 0);
        (void)execv(argv[0], argv);
        _exit(127);
    }
    assert_true(pid > 0);
    free(copy);
    return pid;
}

static pid_t
spawn_ready(const char *line, const char *log)
{
    int p[2];
    char word[8];
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    struct pollfd pfd;
    pid_t pid;

    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    pid = spawn(line, p[1], out);
    (void)close(p[1]);
    (void)close(out);
    pfd = (struct pollfd){.fd = p[0], .events = POLLIN};
    if (poll(&pfd, 1, READY_MS + (int)patience_ms()) != 1 || read(p[0], word, sizeof(word)) <= 0)
        fail_msg("did not become ready (see %s): %s", log, line);
    (void)close(p[0]);
    return pid;
}

static int
reap(pid_t pid)
{
    uint64_t end = kit_now_ms() + 15000 + patience_ms();
    int st = 0;

    while (waitpid(pid, &st, WNOHANG) == 0) {
        if (kit_now_ms() > end) {
            (void)kill(pid, SIGKILL);
            (void)waitpid(pid, &st, 0);
            fail_msg("process %d does not end", (int)pid);
        }
        kit_sleep_ms(5);
    }
    return st;
}

static void
write_yaml(const struct kit *k, const char *yaml)
{
    char path[128];
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/hwd.yaml", k->dir);
    f = fopen(path, "we");
    assert_non_null(f);
    (void)fputs(yaml ? yaml : "", f);
    (void)fclose(f);
}

void
kit_start_hwd(struct kit *k, const char *yaml)
{
    char line[1024], log[128];
    const char *d = k->dir;

    write_yaml(k, yaml);
    (void)snprintf(log, sizeof(log), "%s/hwd.log", d);
    if (k->real)
        (void)snprintf(line, sizeof(line),
                       "%s/hwd/pgpu-hwd --socket %s/hwd/hwd.sock --config %s/hwd.yaml "
                       "--log-level debug --ready-fd 3",
                       bin(), d, d);
    else
        (void)snprintf(line, sizeof(line),
                       "%s/hwd/pgpu-hwd --root %s/root --socket %s/hwd/hwd.sock --config "
                       "%s/hwd.yaml --uevent-socket %s/ue.sock --log-level debug --ready-fd 3",
                       bin(), d, d, d, d);
    k->hwd = spawn_ready(line, log);
}

int
kit_end_hwd(struct kit *k, int sig)
{
    int st;

    assert_true(k->hwd > 0);
    (void)kill(k->hwd, sig);
    st = reap(k->hwd);
    k->hwd = 0;
    return st;
}

static struct kit *
kit_new(bool real)
{
    struct kit *k = calloc(1, sizeof(*k));

    assert_non_null(k);
    k->real = real;
    (void)snprintf(k->dir, sizeof(k->dir), "/tmp/pgpu-hwd-test.XXXXXX");
    assert_non_null(mkdtemp(k->dir));
    return k;
}

struct kit *
kit_start_real(const char *yaml)
{
    struct kit *k = kit_new(true);

    kit_start_hwd(k, yaml);
    return k;
}

struct kit *
kit_start(const char *node, const char *yaml)
{
    struct kit *k = kit_new(false);
    char line[1024], log[128], path[128];

    (void)snprintf(path, sizeof(path), "%s/root", k->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(log, sizeof(log), "%s/sim.log", k->dir);
    (void)snprintf(line, sizeof(line),
                   "%s/sim/pgpu-sim node --mount %s/root --control %s/ctl.sock --uevents "
                   "%s/ue.sock --ready-fd 3 %s",
                   bin(), k->dir, k->dir, k->dir, node);
    k->sim = spawn_ready(line, log);
    kit_start_hwd(k, yaml);
    return k;
}

static int
rm_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    (void)remove(path);
    return 0;
}

void
kit_stop(struct kit *k)
{
    char path[128];

    if (!k)
        return;
    if (k->hwd) {
        int st = kit_end_hwd(k, SIGTERM);

        if (!WIFEXITED(st) || WEXITSTATUS(st) != 0)
            fail_msg("pgpu-hwd ended badly: status 0x%x, see %s/hwd.log", (unsigned)st, k->dir);
    }
    if (k->sim) {
        (void)kill(k->sim, SIGTERM);
        (void)reap(k->sim);
    }
    (void)snprintf(path, sizeof(path), "%s/root", k->dir);
    if (!k->real)
        (void)umount2(path, MNT_DETACH);
    if (!getenv("PGPU_KEEP"))
        (void)nftw(k->dir, rm_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    free(k);
}

/* Runs a program to its end; output into buf. */
static int
run(const char *line, char *buf, size_t size)
{
    int p[2], st;
    size_t n = 0;
    ssize_t r;
    pid_t pid;

    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    pid = spawn(line, -1, p[1]);
    (void)close(p[1]);
    while (n < size - 1 && (r = read(p[0], buf + n, size - 1 - n)) > 0)
        n += (size_t)r;
    buf[n] = '\0';
    (void)close(p[0]);
    st = reap(pid);
    return WIFEXITED(st) ? WEXITSTATUS(st) : -1;
}

void
kit_ctl(const struct kit *k, const char *fmt, ...)
{
    char words[512], line[768], out[4096];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(words, sizeof(words), fmt, ap);
    va_end(ap);
    (void)snprintf(line, sizeof(line), "%s/sim/pgpu-sim ctl --control %s/ctl.sock %s", bin(),
                   k->dir, words);
    if (run(line, out, sizeof(out)) != 0)
        fail_msg("ctl %s: %s", words, out);
}

int
kit_pgpuctl(const struct kit *k, char *buf, size_t size, const char *fmt, ...)
{
    char words[512], line[768];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(words, sizeof(words), fmt, ap);
    va_end(ap);
    if (k->real)
        (void)snprintf(line, sizeof(line), "%s/cli/pgpuctl --hwd %s/hwd/hwd.sock %s", bin(), k->dir,
                       words);
    else
        (void)snprintf(line, sizeof(line), "%s/cli/pgpuctl --root %s/root --hwd %s/hwd/hwd.sock %s",
                       bin(), k->dir, k->dir, words);
    return run(line, buf, size);
}

int
kit_open(const struct kit *k, const char *path, int flags)
{
    char full[256];

    if (k->real)
        (void)snprintf(full, sizeof(full), "%s", path);
    else
        (void)snprintf(full, sizeof(full), "%s/root%s", k->dir, path);
    return open(full, flags | O_CLOEXEC);
}

void
kit_read(const struct kit *k, char *buf, size_t size, const char *path)
{
    int fd = kit_open(k, path, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

    buf[n > 0 ? n : 0] = '\0';
    buf[strcspn(buf, "\n")] = '\0';
    if (fd >= 0)
        (void)close(fd);
}

/* ---- client ---- */

int
client_connect_raw(const struct kit *k)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    (void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/hwd/hwd.sock", k->dir);
    assert_true(fd >= 0);
    if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
        fail_msg("connect %s: %s", sa.sun_path, strerror(errno));
    return fd;
}

static void
note(struct client *c, const struct hwd_message *m)
{
    unsigned i;

    if (m->type == HWD_MSG_GONE)
        c->gone++;
    if (m->type == HWD_MSG_PROGRESS) {
        c->n_progress++;
        c->phases |= 1u << m->phase;
    }
    if (m->type != HWD_MSG_FACTS)
        return;
    for (i = 0; i < c->n && pci_addr_cmp(c->f[i].unit, m->unit) != 0; i++)
        ;
    assert_true(i < KIT_UNITS);
    if (i == c->n)
        c->n++;
    c->f[i] = m->facts;
}

/* 1 a message, 0 none in time, -1 closed. */
static int
next(struct client *c, struct hwd_message *m, unsigned ms)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    struct err e = ERR_INIT;
    ssize_t n;

    if (c->closed || poll(&p, 1, (int)ms) != 1)
        return 0;
    n = recv(c->fd, m, sizeof(*m), MSG_TRUNC);
    if (n <= 0) {
        c->closed = true;
        return -1;
    }
    if (hwd_message_check(m, (size_t)n, &e) < 0)
        fail_msg("bad message: %s", e.msg);
    note(c, m);
    return 1;
}

struct client *
client_open(const struct kit *k)
{
    struct client *c = calloc(1, sizeof(*c));
    struct hwd_message m;

    assert_non_null(c);
    c->fd = client_connect_raw(k);
    assert_int_equal(next(c, &m, 5000 + patience_ms()), 1);
    assert_int_equal(m.type, HWD_MSG_HELLO);
    assert_true(m.text[0]);
    do
        assert_int_equal(next(c, &m, 10000 + patience_ms()), 1);
    while (m.type != HWD_MSG_SYNCED);
    /* The service looks at bound units once at start. */
    while (client_pump(c, 150))
        ;
    return c;
}

void
client_close(struct client *c)
{
    if (c)
        (void)close(c->fd);
    free(c);
}

uint64_t
client_send(struct client *c, enum hwd_op op, const char *unit, enum cc_mode mode, uint32_t flags,
            uint32_t arg, uint32_t deadline_ms)
{
    struct hwd_request r = {.magic = HWD_PROTO_MAGIC,
                            .version = HWD_PROTO_VERSION,
                            .op = (uint32_t)op,
                            .flags = flags,
                            .seq = ++c->seq,
                            .mode = (uint32_t)mode,
                            .arg = arg,
                            .deadline_ms = deadline_ms};

    if (unit)
        r.unit = kit_addr(unit);
    assert_int_equal(send(c->fd, &r, sizeof(r), MSG_NOSIGNAL), sizeof(r));
    return r.seq;
}

struct hwd_message
client_result(struct client *c, uint64_t seq, unsigned ms)
{
    uint64_t end = kit_now_ms() + ms + patience_ms();
    struct hwd_message m = {0};

    while (kit_now_ms() < end) {
        int r = next(c, &m, 50);

        if (r < 0)
            fail_msg("the service closed the connection");
        if (r > 0 && m.type == HWD_MSG_RESULT && m.seq == seq)
            return m;
    }
    fail_msg("no result within %u ms", ms);
    return m;
}

struct hwd_message
client_do(struct client *c, enum hwd_op op, const char *unit, enum cc_mode mode, uint32_t flags)
{
    return client_result(c, client_send(c, op, unit, mode, flags, 0, 0), 30000);
}

bool
client_pump(struct client *c, unsigned ms)
{
    struct hwd_message m;

    return next(c, &m, ms) > 0;
}

const struct hwd_facts *
client_facts(struct client *c, const char *unit)
{
    struct pci_addr a = kit_addr(unit);

    for (unsigned i = 0; i < c->n; i++)
        if (pci_addr_cmp(c->f[i].unit, a) == 0)
            return &c->f[i];
    fail_msg("no facts of %s", unit);
    return NULL;
}

const struct hwd_facts *
client_wait(struct client *c, const char *unit, uint32_t mask, uint32_t want, int use, unsigned ms)
{
    uint64_t end = kit_now_ms() + ms + patience_ms();
    const struct hwd_facts *f;

    for (;;) {
        f = client_facts(c, unit);
        if ((f->flags & mask) == want && (use < 0 || f->use == (uint32_t)use))
            return f;
        if (kit_now_ms() > end)
            fail_msg("%s: flags 0x%x use %s state %s", unit, f->flags,
                     hwd_use_name((enum hwd_use)f->use), hwd_state_name((enum hwd_state)f->state));
        (void)client_pump(c, 20);
    }
}
