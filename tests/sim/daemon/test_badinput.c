/* SPDX-License-Identifier: Apache-2.0
 *
 * What others can do wrong: configurations, Allocate requests, strangers on our sockets, a CDI
 * directory that cannot be written, a host without /dev/fuse, a user who is not root. Each gets one
 * clear line with the object in it, an exit status where one is due, and costs nothing else.
 */
#include "tests/sim/daemon/faults.h"

#include "base/cleanup.h"
#include "deviceplugin/grpc_io.h"
#include "hwd/protocol.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define NOBODY 65534
#define TEXT_MAX 8192
#define RUN_MS 10000
#define ALLOCATE "/v1beta1.DevicePlugin/Allocate"

/* ---- running a program to its end ---- */

enum as { AS_ROOT, AS_NOBODY, WITHOUT_FUSE };

static char dir[64]; /* private, open to everybody */

static const char *
program(const char *name)
{
    static char path[512];

    (void)snprintf(path, sizeof(path), "%s/%s", getenv("PGPU_BIN_DIR"), name);
    return path;
}

static void become(enum as as)
{
    switch (as) {
    case AS_ROOT:
        return;
    case AS_NOBODY:
        if (setgroups(0, NULL) < 0 || setgid(NOBODY) < 0 || setuid(NOBODY) < 0)
            _exit(120);
        return;
    case WITHOUT_FUSE:
        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("/dev/null", "/dev/fuse", NULL, MS_BIND, NULL) < 0)
            _exit(120);
        return;
    }
}

/* Runs "NAME ARG..." and returns its exit status; what it printed is in `text`. */
static int
run_program(enum as as, char *text, const char *name, const char *args)
{
    char line[1024], *argv[32], *save = NULL;
    size_t n = 0, len = 0;
    uint64_t until = h_now_ms() + RUN_MS;
    int fds[2], status;
    pid_t pid;
    int bin = open(program(name), O_RDONLY); /* the build may lie where nobody may look */

    assert_true(bin >= 0);
    (void)snprintf(line, sizeof(line), "%s %s", name, args);
    for (char *w = strtok_r(line, " ", &save); w && n < 31; w = strtok_r(NULL, " ", &save))
        argv[n++] = w;
    argv[n] = NULL;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    (void)fflush(NULL);
    pid = fork();
    if (pid == 0) {
        (void)dup2(fds[1], 1);
        (void)dup2(fds[1], 2);
        become(as);
        (void)fexecve(bin, argv, environ);
        _exit(121);
    }
    (void)close(bin);
    (void)close(fds[1]);
    for (;;) {
        struct pollfd p = {.fd = fds[0], .events = POLLIN};
        ssize_t got;

        if (h_now_ms() > until) {
            (void)kill(pid, SIGKILL);
            fail_msg("%s %s does not end", name, args);
        }
        if (poll(&p, 1, 100) <= 0)
            continue;
        got = read(fds[0], text + len, TEXT_MAX - 1 - len);
        if (got <= 0)
            break;
        len += (size_t)got;
    }
    text[len] = '\0';
    (void)close(fds[0]);
    (void)waitpid(pid, &status, 0);
    if (!WIFEXITED(status))
        fail_msg("%s %s ended by signal %d: %s", name, args, WTERMSIG(status), text);
    return WEXITSTATUS(status);
}

/* One line, not endless, with all the words ("A&B") in it; an exit status that says "failed". */
static void
expect_complaint(enum as as, const char *name, const char *args, const char *words)
{
    char text[TEXT_MAX], copy[256], *save = NULL;
    int rc = run_program(as, text, name, args);
    size_t lines = 0;

    for (const char *p = text; *p; p++)
        lines += *p == '\n';
    if (rc == 0 || rc > 2)
        fail_msg("%s %s: exit status %d: %s", name, args, rc, text);
    if (lines != 1)
        fail_msg("%s %s: %zu lines instead of one: %s", name, args, lines, text);
    (void)snprintf(copy, sizeof(copy), "%s", words);
    for (char *w = strtok_r(copy, "&", &save); w; w = strtok_r(NULL, "&", &save))
        if (!strstr(text, w))
            fail_msg("%s %s: \"%s\" is not in: %s", name, args, w, text);
}

static void
put_file(const char *name, const void *data, size_t len)
{
    char path[128];
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    (void)fclose(f);
    (void)chmod(path, 0644);
}

/* ---- configurations ---- */

static void
bad_configurations_are_named_with_file_and_line(void **state)
{
    static const struct {
        const char *program, *text, *words;
    } cases[] = {
        {"daemon/pgpud", "prepare: never\n", "bad.yaml:1&prepare&eager"},
        {"daemon/pgpud", "mode: on\n\nprepair: eager\n", "bad.yaml:3&prepair&prepare"},
        {"daemon/pgpud", "mode: on\nmode: off\n", "bad.yaml:2&mode"},
        {"daemon/pgpud", "mode: devtools\n", "bad.yaml&devtools&unlock_devtools"},
        {"daemon/pgpud", "allocate_deadline: 1ms\n", "bad.yaml:1&allocate_deadline"},
        {"daemon/pgpud", "allocate_deadline: soon\n", "bad.yaml:1&allocate_deadline"},
        {"daemon/pgpud", "cdi_dir: relative\n", "bad.yaml:1&cdi_dir&absolute"},
        {"daemon/pgpud", "kubelet: 5\n", "bad.yaml:1&kubelet"},
        {"daemon/pgpud", "resources:\n  - name: nvidia.com/p\n", "bad.yaml:2&name"},
        {"daemon/pgpud", "resources: {name: a}\n", "bad.yaml:1&resources"},
        {"daemon/pgpud", "cdi_devices: maybe\n", "bad.yaml:1&cdi_devices"},
        {"daemon/pgpud", "log: {level: loud}\n", "bad.yaml:1&level&debug"},
        {"daemon/pgpud", "mode: [on\n", "bad.yaml"},
        {"daemon/pgpud", "\tmode: on\n", "bad.yaml:1"},
        {"daemon/pgpud", "- mode\n", "bad.yaml"},
        {"daemon/pgpud", "a: &a [1]\nb: *a\n", "bad.yaml"},
        {"hwd/pgpu-hwd", "prepare: eager\n", "bad.yaml:1&prepare&claim"},
        {"hwd/pgpu-hwd", "claim: [\"not a word\"]\n", "bad.yaml:1&claim"},
        {"hwd/pgpu-hwd", "exclude: [41:00.0]\n", "bad.yaml:1&exclude&0000:41:00.0"},
        {"hwd/pgpu-hwd", "modes: [everything]\n", "bad.yaml:1&modes&ppcie"},
        {"hwd/pgpu-hwd", "deadlines: {prepare: 1ns}\n", "bad.yaml:1&prepare"},
        {"hwd/pgpu-hwd", "deadlines:\n  prepare: -1s\n", "bad.yaml:2&prepare"},
        {"hwd/pgpu-hwd", "manage: maybe\n", "bad.yaml:1&manage&verify"},
        {"hwd/pgpu-hwd", "}{\n", "bad.yaml:1"},
    };
    char args[256];

    (void)state;
    (void)snprintf(args, sizeof(args), "--config %s/bad.yaml --check-config", dir);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        put_file("bad.yaml", cases[i].text, strlen(cases[i].text));
        expect_complaint(AS_ROOT, cases[i].program, args, cases[i].words);
    }
    /* and not only when asked to check */
    (void)snprintf(args, sizeof(args), "--config %s/bad.yaml", dir);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i += 6) {
        put_file("bad.yaml", cases[i].text, strlen(cases[i].text));
        expect_complaint(AS_ROOT, cases[i].program, args, cases[i].words);
    }
}

static void
files_that_are_no_configuration(void **state)
{
    static const char *const programs[] = {"daemon/pgpud", "hwd/pgpu-hwd"};
    static const char zeros[256], deep[] = "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[";
    char args[256], *big = malloc(4u << 20);
    char text[TEXT_MAX];

    (void)state;
    assert_non_null(big);
    memset(big, 'a', 4u << 20);
    for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
        (void)snprintf(args, sizeof(args), "--config %s/bad.yaml --check-config", dir);
        put_file("bad.yaml", zeros, sizeof(zeros));
        expect_complaint(AS_ROOT, programs[i], args, "bad.yaml");
        put_file("bad.yaml", "\xff\xfe\x00\x01garbage", 11);
        expect_complaint(AS_ROOT, programs[i], args, "bad.yaml");
        put_file("bad.yaml", deep, sizeof(deep) - 1);
        expect_complaint(AS_ROOT, programs[i], args, "bad.yaml");
        put_file("bad.yaml", big, 4u << 20);
        expect_complaint(AS_ROOT, programs[i], args, "bad.yaml");
        /* nothing said is fine: every key has its default */
        put_file("bad.yaml", "", 0);
        assert_int_equal(run_program(AS_ROOT, text, programs[i], args), 0);
        expect_complaint(AS_ROOT, programs[i], "--config /nonexistent/file --check-config",
                         "/nonexistent/file&No such file");
        (void)snprintf(args, sizeof(args), "--config %s --check-config", dir);
        expect_complaint(AS_ROOT, programs[i], args, dir);
        expect_complaint(AS_ROOT, programs[i], "--check-config surplus", "surplus");
    }
    free(big);
}

/* ---- not root, no FUSE, second instances ---- */

static void
whoever_is_not_root_is_told_so(void **state)
{
    char args[512];

    (void)state;
    (void)snprintf(args, sizeof(args),
                   "state_dir: /root/pgpu-none\ncdi_dir: %s/cdi\ncontrol_socket: %s/c.sock\n"
                   "kubelet: {plugin_dir: %s}\n",
                   dir, dir, dir);
    put_file("nobody.yaml", args, strlen(args));
    (void)snprintf(args, sizeof(args), "--config %s/nobody.yaml", dir);
    expect_complaint(AS_NOBODY, "daemon/pgpud", args, "/root/pgpu-none&Permission denied&root");
    (void)snprintf(args, sizeof(args), "--root %s --socket /root/pgpu-none/h.sock", dir);
    expect_complaint(AS_NOBODY, "hwd/pgpu-hwd", args, "/root/pgpu-none&Permission denied&root");
    (void)snprintf(args, sizeof(args), "node --gpus 1 --mount %s/mnt", dir);
    expect_complaint(AS_NOBODY, "sim/pgpu-sim", args, "fuse");
}

static void
without_fuse_the_simulated_node_says_what_to_do(void **state)
{
    char args[128];

    (void)state;
    (void)snprintf(args, sizeof(args), "node --gpus 1 --mount %s/mnt", dir);
    expect_complaint(WITHOUT_FUSE, "sim/pgpu-sim", args, "/dev/fuse");
}

static void
bad_options_are_named(void **state)
{
    char args[128];

    (void)state;
    (void)snprintf(args, sizeof(args), "node --mount %s/none --gpus 1", dir);
    expect_complaint(AS_ROOT, "sim/pgpu-sim", args, "/none");
    (void)snprintf(args, sizeof(args), "node --mount %s/mnt --gpus many", dir);
    expect_complaint(AS_ROOT, "sim/pgpu-sim", args, "many");
    (void)snprintf(args, sizeof(args), "node --mount %s/mnt --gpus 1 --model x100", dir);
    expect_complaint(AS_ROOT, "sim/pgpu-sim", args, "x100&h100-sxm");
    (void)snprintf(args, sizeof(args), "node --mount %s/mnt --gpus 1 --fault 0000:18:00.0:x", dir);
    expect_complaint(AS_ROOT, "sim/pgpu-sim", args, "\"x\"&boot-never");
    expect_complaint(AS_ROOT, "daemon/pgpud", "--ready-fd x", "--ready-fd");
    expect_complaint(AS_ROOT, "hwd/pgpu-hwd", "--log-level loud --check-config", "--log-level");
}

/* ---- a running node ---- */

static struct harness *h;

static int
start_node(void **state)
{
    (void)state;
    h = harness_start(&(struct harness_options){.node_args = "--gpus 2 --time-scale 0.005",
                                                .hwd_yaml = F_HWD_YAML,
                                                .pgpud_yaml = F_PGPUD_YAML});
    return 0;
}

static int
stop_node(void **state)
{
    (void)state;
    if (h)
        f_abandon(h); /* a case that failed */
    h = NULL;
    return 0;
}

/* The case is over: everything ends in order, too. */
static void
end_node(void)
{
    harness_stop(h);
    h = NULL;
}

static void
still_works(void)
{
    struct h_grant g;

    harness_wait_healthy(h, F_RES, 2, 10000);
    h_run(h, &g, "default/works " F_RES "=2");
    f_check_grant(h, &g);
    h_end(h, "default/works");
    harness_wait_unit(h, H_GPU0, "state", "ready", 10000);
    harness_wait_unit(h, H_GPU1, "state", "ready", 10000);
    harness_wait_healthy(h, F_RES, 2, 10000);
    h_no_violations(h);
}

static void
second_instances_are_refused(void **state)
{
    char args[256];

    (void)state;
    harness_wait_healthy(h, F_RES, 2, 10000);
    (void)snprintf(args, sizeof(args), "--config %s/pgpud.yaml", harness_dir(h));
    expect_complaint(AS_ROOT, "daemon/pgpud", args, "another pgpud&stop it first");
    (void)snprintf(args, sizeof(args), "--root %s/root --socket %s/hwd/hwd.sock", harness_dir(h),
                   harness_dir(h));
    expect_complaint(AS_ROOT, "hwd/pgpu-hwd", args, "another pgpu-hwd&hwd.sock");
    still_works();
    end_node();
}

/* ---- Allocate requests that no kubelet sends ---- */

struct request {
    uint8_t data[300000];
    size_t n;
};

static void
put_bytes(struct request *q, const void *p, size_t n)
{
    assert_true(q->n + n <= sizeof(q->data));
    memcpy(q->data + q->n, p, n);
    q->n += n;
}

static void
put_field(struct request *q, const void *p, size_t n)
{
    uint8_t head[6] = {0x0a}; /* field 1, length-delimited */
    size_t k = 1;
    size_t v = n;

    do {
        head[k++] = (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
        v >>= 7;
    } while (v);
    put_bytes(q, head, k);
    put_bytes(q, p, n);
}

/* An AllocateRequest of one container with `count` times these IDs ("A B"). */
static void
make_request(struct request *q, const char *ids, unsigned count)
{
    static struct request inner;

    inner.n = q->n = 0;
    for (unsigned i = 0; i < count; i++) {
        char copy[512], *save = NULL;

        (void)snprintf(copy, sizeof(copy), "%s", ids);
        for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
            put_field(&inner, w, strlen(w));
    }
    put_field(q, inner.data, inner.n);
}

struct answer {
    sd_event *loop;
    int status;
    char text[2048];
};

static void
on_done(void *ctx, int status, const char *text, const uint8_t *data, size_t len)
{
    struct answer *a = ctx;

    (void)data;
    (void)len;
    a->status = status;
    (void)snprintf(a->text, sizeof(a->text), "%s", text ? text : "");
    (void)sd_event_exit(a->loop, 0);
}

/* Our socket for the resource with the GPUs: the one that knows its device. */
static void
plugin_sockets(char path[4][512], size_t *ret_n)
{
    char base[128];
    struct dirent *d;
    DIR *dp;

    *ret_n = 0;
    (void)snprintf(base, sizeof(base), "%s/kubelet/device-plugins", harness_dir(h));
    dp = opendir(base);
    assert_non_null(dp);
    while ((d = readdir(dp)) && *ret_n < 4)
        if (strncmp(d->d_name, "pgpu-", 5) == 0)
            (void)snprintf(path[(*ret_n)++], 512, "%s/%s", base, d->d_name);
    (void)closedir(dp);
    assert_true(*ret_n > 0);
}

/* Asks every plugin of ours; each has to refuse. Returns true if one text had all the words. */
static void
expect_rpc_refusal(const char *what, const char *method, const struct request *q, const char *words)
{
    char path[4][512], seen[4096] = "";
    size_t n;
    bool named = false;

    plugin_sockets(path, &n);
    for (size_t i = 0; i < n; i++) {
        struct answer a = {.status = -1};
        struct gio *g = NULL;
        struct gio_channel *ch = NULL;
        struct err e = ERR_INIT;
        struct gio_req_options o = {.timeout_ns = 8000000000u, .done = on_done, .ctx = &a};

        assert_true(sd_event_new(&a.loop) >= 0);
        assert_int_equal(gio_new(a.loop, &g, &e), 0);
        assert_int_equal(gio_channel_new(g, path[i], 1u << 20, &ch, &e), 0);
        if (gio_request(ch, method, q->data, q->n, &o, NULL, &e) < 0)
            fail_msg("%s: not sent: %s", what, e.msg);
        (void)sd_event_loop(a.loop);
        if (a.status == GIO_OK)
            fail_msg("%s: answered with success by %s", what, path[i]);
        if (a.status == GIO_DEADLINE_EXCEEDED || a.status == -1)
            fail_msg("%s: not answered by %s", what, path[i]);
        if (!a.text[0] || strchr(a.text, '\n'))
            fail_msg("%s: \"%s\" is not one line", what, a.text);
        named |= f_has_word(a.text, words);
        (void)snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen), " %d \"%.600s\"", a.status,
                       a.text);
        gio_channel_free(ch);
        gio_free(g);
        (void)sd_event_unref(a.loop);
    }
    if (!named)
        fail_msg("%s: nobody said \"%s\", but:%s", what, words, seen);
}

static void
requests_that_no_kubelet_sends_are_refused(void **state)
{
    static struct request q;

    (void)state;
    harness_wait_healthy(h, F_RES, 2, 10000);
    make_request(&q, "0000:ff:00.0", 1);
    expect_rpc_refusal("unknown ID", ALLOCATE, &q,
                       "0000:ff:00.0 is not a device of nvidia.com/pgpu");
    make_request(&q, "../../etc/passwd", 1);
    expect_rpc_refusal("path as ID", ALLOCATE, &q, "../../etc/passwd");
    make_request(&q, "\x1b[31mred\x07", 1);
    expect_rpc_refusal("escape sequence as ID", ALLOCATE, &q, "device ID|not a device|malformed");
    make_request(&q, H_GPU0 " " H_GPU0, 1);
    expect_rpc_refusal("the same ID twice", ALLOCATE, &q, "twice");
    make_request(&q, "", 1);
    expect_rpc_refusal("no ID", ALLOCATE, &q, "names no device|no device");
    make_request(&q, H_GPU0 " 0000:ff:00.0", 1);
    expect_rpc_refusal("one known, one unknown", ALLOCATE, &q, "0000:ff:00.0");
    make_request(&q, H_GPU0, 2000);
    expect_rpc_refusal("2000 IDs", ALLOCATE, &q, "1024|too many|more than");
    q.n = 0;
    expect_rpc_refusal("empty message", ALLOCATE, &q, "container requests");
    q.n = 4096;
    memset(q.data, 0xff, q.n);
    expect_rpc_refusal("garbage", ALLOCATE, &q, "malformed|not an AllocateRequest|cannot be read");
    make_request(&q, H_GPU0, 1);
    q.n -= 3;
    expect_rpc_refusal("a cut message", ALLOCATE, &q, "malformed|not an AllocateRequest|cannot be");
    make_request(&q, H_GPU0, 1);
    expect_rpc_refusal("unknown method", "/v1beta1.DevicePlugin/Format", &q,
                       "nknown method|nimplemented|not implemented|Format");
    /* nothing was handed out by any of them */
    harness_wait_unit(h, H_GPU0, "state", "ready", 2000);
    still_works();
    end_node();
}

/* ---- strangers on the sockets ---- */

static int
connect_to(int type, const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = 2};
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    (void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static void
noise(uint8_t *p, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1103515245u + 12345u;
        p[i] = (uint8_t)(seed >> 16);
    }
}

/* Noise, a line without an end, half-open connections; then the socket answers as before. */
static void
babble(const char *path)
{
    static uint8_t junk[65536];
    int open_fds[40];

    for (unsigned k = 0; k < 20; k++) {
        int fd = connect_to(SOCK_STREAM, path);

        if (fd < 0)
            continue;
        noise(junk, sizeof(junk), k + 1);
        if (k % 2)
            memset(junk, 'x', sizeof(junk));
        (void)!send(fd, junk, k < 4 ? k * 3 : sizeof(junk), MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)close(fd);
    }
    for (size_t i = 0; i < ARRAY_SIZE(open_fds); i++)
        open_fds[i] = connect_to(SOCK_STREAM, path);
    h_sleep_ms(50);
    for (size_t i = 0; i < ARRAY_SIZE(open_fds); i++)
        if (open_fds[i] >= 0)
            (void)close(open_fds[i]);
}

static void
babbling_on_the_control_socket_hurts_nobody(void **state)
{
    char path[128];
    pid_t before = harness_pid(h, H_PGPUD);

    (void)state;
    harness_wait_healthy(h, F_RES, 2, 10000);
    (void)snprintf(path, sizeof(path), "%s/state/control.sock", harness_dir(h));
    babble(path);
    assert_int_equal(kill(before, 0), 0);
    still_works();
    end_node();
}

static void
babbling_on_the_device_plugin_socket_hurts_nobody(void **state)
{
    char path[4][512];
    size_t n;

    (void)state;
    harness_wait_healthy(h, F_RES, 2, 10000);
    plugin_sockets(path, &n);
    for (size_t i = 0; i < n; i++)
        babble(path[i]);
    still_works();
    end_node();
}

static void
drain(int fd)
{
    struct hwd_message m;

    while (recv(fd, &m, sizeof(m), MSG_DONTWAIT) > 0)
        ;
}

static void
babbling_on_the_hardware_service_hurts_nobody(void **state)
{
    static uint8_t junk[65536];
    char path[128];
    struct hwd_request q = {.magic = HWD_PROTO_MAGIC, .version = HWD_PROTO_VERSION, .seq = 1};
    const char *ids[] = {H_GPU0, H_GPU1};

    (void)state;
    harness_wait_healthy(h, F_RES, 2, 10000);
    (void)snprintf(path, sizeof(path), "%s/hwd/hwd.sock", harness_dir(h));
    for (unsigned k = 0; k < 30; k++) {
        int fd = connect_to(SOCK_SEQPACKET, path);

        assert_true(fd >= 0);
        noise(junk, sizeof(junk), k + 7);
        /* noise of any size; of the right size; with the right head */
        if (k % 3 == 2)
            memcpy(junk, &q, 8);
        (void)!send(fd, junk, k % 3 ? sizeof(q) : (size_t)k * 2000 + 1,
                    MSG_NOSIGNAL | MSG_DONTWAIT);
        drain(fd);
        (void)close(fd);
    }
    /* well-formed requests that must not be obeyed: a mode that is not allowed, an operation and a
     * rung that do not exist, a device that does not */
    for (unsigned k = 0; k < 4; k++) {
        int fd = connect_to(SOCK_SEQPACKET, path);
        struct hwd_request bad = q;

        assert_true(fd >= 0);
        assert_true(pci_addr_parse(ids[k % 2], &bad.unit));
        bad.op = k == 1 ? 99 : HWD_OP_PREPARE;
        bad.mode = k == 0 ? CC_MODE_DEVTOOLS : CC_MODE_ON;
        if (k == 2) {
            bad.op = HWD_OP_RESET;
            bad.arg = 77;
        }
        if (k == 3)
            assert_true(pci_addr_parse("0000:ff:1f.7", &bad.unit));
        (void)!send(fd, &bad, sizeof(bad), MSG_NOSIGNAL);
        h_sleep_ms(100);
        drain(fd);
        (void)close(fd);
    }
    assert_true(f_is_verified(h, H_GPU0));
    assert_true(f_is_verified(h, H_GPU1));
    still_works();
    end_node();
}

/* More clients than there is room for, who say nothing: pgpud's own connection stays. */
static void
a_crowd_at_the_hardware_service_is_sent_away(void **state)
{
    char path[128];
    int fd[64];

    (void)state;
    harness_wait_healthy(h, F_RES, 2, 10000);
    (void)snprintf(path, sizeof(path), "%s/hwd/hwd.sock", harness_dir(h));
    for (size_t i = 0; i < ARRAY_SIZE(fd); i++)
        fd[i] = connect_to(SOCK_SEQPACKET, path);
    still_works();
    for (size_t i = 0; i < ARRAY_SIZE(fd); i++)
        if (fd[i] >= 0)
            (void)close(fd[i]);
    still_works();
    end_node();
}

/* ---- the CDI directory ---- */

static void
expect_cdi_trouble(const char *words)
{
    json_object *s, *list;
    uint64_t until = h_now_ms() + 5000;
    bool told = false;

    while (!told && h_now_ms() < until) {
        s = harness_status(h);
        if (s && json_object_object_get_ex(s, "resources", &list))
            for (size_t i = 0; i < json_object_array_length(list); i++) {
                json_object *r = json_object_array_get_idx(list, i);

                told |= !jbool(r, "cdi_ok") && strstr(jstr(r, "cdi_why"), words) &&
                        strstr(jstr(r, "cdi_why"), "/cdi");
            }
        (void)json_object_put(s);
        h_sleep_ms(10);
    }
    if (!told)
        fail_msg("the status does not name the CDI directory and \"%s\"", words);
    assert_true(f_log_has(h, "pgpud", "make the CDI directory writable"));
}

static void
a_read_only_cdi_directory_is_named_and_heals(void **state)
{
    char path[128];

    (void)state;
    h = harness_start(
        &(struct harness_options){.node_args = "--gpus 2 --time-scale 0.005", .no_pgpud = true});
    (void)snprintf(path, sizeof(path), "%s/cdi", harness_dir(h));
    assert_int_equal(mount("tmpfs", path, "tmpfs", MS_RDONLY, "size=64k"), 0);
    harness_run(h, H_PGPUD);
    harness_wait_unit(h, H_GPU0, "state", "ready", 10000);
    expect_cdi_trouble("Read-only");
    f_capacity(h, 2, 0);
    assert_int_equal(h_ever_healthy(h, F_RES, H_GPU0), 0);
    h_run_fails(h, "default/a " F_RES "=1", "no healthy devices");
    assert_int_equal(mount("tmpfs", path, "tmpfs", MS_REMOUNT, "size=64k"), 0);
    still_works();
    harness_kill(h, H_PGPUD, SIGTERM);
    assert_int_equal(umount(path), 0);
    harness_stop(h);
    h = NULL;
}

static void
fill(const char *path)
{
    static const char block[4096];
    char name[160];
    int fd;

    (void)snprintf(name, sizeof(name), "%s/filler", path);
    fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    while (write(fd, block, sizeof(block)) > 0)
        ;
    (void)close(fd);
}

/* It fills up while all is well; then the file has to change. */
static void
a_cdi_directory_that_fills_up_later(void **state)
{
    char path[128], filler[160], node[128];

    (void)state;
    h = harness_start(
        &(struct harness_options){.node_args = "--gpus 2 --time-scale 0.005", .no_pgpud = true});
    (void)snprintf(path, sizeof(path), "%s/cdi", harness_dir(h));
    (void)snprintf(filler, sizeof(filler), "%s/filler", path);
    assert_int_equal(mount("tmpfs", path, "tmpfs", 0, "size=64k"), 0);
    harness_run(h, H_PGPUD);
    harness_wait_healthy(h, F_RES, 2, 10000);
    fill(path);
    h_sleep_ms(200); /* nothing has to be written, nothing is lost */
    f_capacity(h, 2, 2);
    free(harness_node(h, "unplug %s", H_GPU0));
    harness_wait_unit(h, H_GPU0, "state", "gone", 10000);
    expect_cdi_trouble("No space");
    f_capacity(h, 2, 0);
    harness_cdi_node(h, H_GPU0, node, sizeof(node));
    if (node[0])
        fail_msg("the CDI file still has %s, which has left the bus", H_GPU0);
    assert_int_equal(unlink(filler), 0);
    harness_wait_healthy(h, F_RES, 1, 10000);
    free(harness_node(h, "plug %s", H_GPU0));
    still_works();
    harness_kill(h, H_PGPUD, SIGTERM);
    assert_int_equal(umount(path), 0);
    harness_stop(h);
    h = NULL;
}

static int
drop_cdi_mount(void **state)
{
    char path[128];

    (void)state;
    if (!h)
        return 0;
    (void)snprintf(path, sizeof(path), "%s/cdi", harness_dir(h));
    f_abandon(h);
    (void)umount2(path, MNT_DETACH);
    h = NULL;
    return 0;
}

static int
make_dir(void **state)
{
    char path[128];

    (void)state;
    (void)snprintf(dir, sizeof(dir), "/tmp/pgpu-test-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    (void)chmod(dir, 0755);
    (void)snprintf(path, sizeof(path), "%s/mnt", dir);
    return mkdir(path, 0777);
}

static int
remove_dir(void **state)
{
    static const char *const files[] = {"bad.yaml", "nobody.yaml"};
    char path[128];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
        (void)unlink(path);
    }
    (void)snprintf(path, sizeof(path), "%s/mnt", dir);
    (void)rmdir(path);
    return rmdir(dir);
}

int
main(int argc, char **argv)
{
#define ON_NODE(f)                                                                                 \
    {                                                                                              \
#f, f, start_node, stop_node, NULL                                                         \
    }
#define CDI(f)                                                                                     \
    {                                                                                              \
#f, f, NULL, drop_cdi_mount, NULL                                                          \
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_configurations_are_named_with_file_and_line),
        cmocka_unit_test(files_that_are_no_configuration),
        cmocka_unit_test(whoever_is_not_root_is_told_so),
        cmocka_unit_test(without_fuse_the_simulated_node_says_what_to_do),
        cmocka_unit_test(bad_options_are_named),
        ON_NODE(second_instances_are_refused),
        ON_NODE(babbling_on_the_control_socket_hurts_nobody),
        ON_NODE(babbling_on_the_device_plugin_socket_hurts_nobody),
        ON_NODE(babbling_on_the_hardware_service_hurts_nobody),
        ON_NODE(a_crowd_at_the_hardware_service_is_sent_away),
        CDI(a_read_only_cdi_directory_is_named_and_heals),
        CDI(a_cdi_directory_that_fills_up_later),
        /* last: from here on this process has gRPC's threads and must not fork */
        ON_NODE(requests_that_no_kubelet_sends_are_refused),
    };
#undef ON_NODE
#undef CDI

    if (!harness_possible())
        return 77;
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("daemon.badinput", tests, make_dir, remove_dir);
}
