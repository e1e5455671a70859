/* SPDX-License-Identifier: Apache-2.0
 *
 * Owner of the processes and the temporary directory of one test.
 */
#include "tests/sim/daemon/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
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

/* From linux/vfio.h: _IO(';', 100 + n). The simulated node takes them without their data. */
#define GET_DEVICE_FD _IO(';', 106)
#define BIND_IOMMUFD _IO(';', 118)

#define ARGS_MAX 64
#define REPLY_MAX (8u << 20)

static const char *const program_names[H_PROGRAMS] = {"node", "hwd", "kubelet", "pgpud", "runtime"};

struct harness {
    char dir[64];
    struct harness_options o;
    pid_t pid[H_PROGRAMS];
};

struct harness_call {
    pthread_t thread;
    char path[128];
    char line[512];
    char *reply;
};

uint64_t
h_now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void
h_sleep_ms(unsigned ms)
{
    struct timespec ts = {ms / 1000, (long)(ms % 1000) * 1000000};

    (void)nanosleep(&ts, NULL);
}

static unsigned
patience_ms(void)
{
    const char *s = getenv("PGPU_TEST_PATIENCE");

    return s ? (unsigned)strtoul(s, NULL, 10) * 1000 : PATIENCE_MS;
}

static const char *
bin_dir(void)
{
    const char *d = getenv("PGPU_BIN_DIR");

    return d ? d : ".";
}

bool
harness_possible(void)
{
    if (access("/dev/fuse", R_OK | W_OK) == 0 && geteuid() == 0)
        return true;
    (void)puts("SKIP: the simulated node needs /dev/fuse and root");
    return false;
}

const char *
harness_dir(const struct harness *h)
{
    return h->dir;
}

pid_t
harness_pid(const struct harness *h, enum harness_program p)
{
    return h->pid[p];
}

__attribute__((format(printf, 3, 4))) static void
write_file(const struct harness *h, const char *name, const char *fmt, ...)
{
    char path[128];
    va_list ap;
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/%s", h->dir, name);
    f = fopen(path, "we");
    assert_non_null(f);
    va_start(ap, fmt);
    (void)vfprintf(f, fmt, ap);
    va_end(ap);
    (void)fclose(f);
}

/* ---- starting and ending ---- */

static size_t
add_words(char *copy, char **argv, size_t n)
{
    char *save = NULL;

    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        assert_true(n < ARGS_MAX - 1);
        argv[n++] = w;
    }
    return n;
}

static void
command_line(const struct harness *h, enum harness_program p, char *buf, size_t size)
{
    const char *d = h->dir;
    const char *b = bin_dir();

    switch (p) {
    case H_NODE:
        (void)snprintf(buf, size,
                       "%s/sim/pgpu-sim node --mount %s/root --control %s/node.sock --uevents "
                       "%s/uevents.sock --state %s/nvram --time-scale 0.02 --ready-fd 3 %s",
                       b, d, d, d, d, h->o.node_args ? h->o.node_args : "");
        return;
    case H_HWD:
        if (h->o.real_node) {
            (void)snprintf(buf, size,
                           "%s/hwd/pgpu-hwd --socket %s/hwd/hwd.sock --config %s/hwd.yaml "
                           "--log-level debug --ready-fd 3",
                           b, d, d);
            return;
        }
        (void)snprintf(buf, size,
                       "%s/hwd/pgpu-hwd --root %s/root --socket %s/hwd/hwd.sock --config "
                       "%s/hwd.yaml --uevent-socket %s/uevents.sock --log-level debug --ready-fd 3",
                       b, d, d, d, d);
        return;
    case H_KUBELET:
        (void)snprintf(buf, size,
                       "%s/sim/pgpu-sim kubelet --dir %s/kubelet --control %s/kubelet.sock "
                       "--ready-fd 3 %s",
                       b, d, d, h->o.kubelet_args ? h->o.kubelet_args : "");
        return;
    case H_PGPUD:
        (void)snprintf(buf, size, "%s/daemon/pgpud --config %s/pgpud.yaml --ready-fd 3", b, d);
        return;
    case H_RUNTIME:
        (void)snprintf(buf, size,
                       "%s/sim/pgpu-sim runtime --nri %s/nri.sock --control %s/runtime.sock "
                       "--pod-resources %s/kubelet/pod-resources/kubelet.sock --root %s%s "
                       "--cdi-dir %s/cdi --ready-fd 3 %s",
                       b, d, d, d, h->o.real_node ? "" : d, h->o.real_node ? "/" : "/root", d,
                       h->o.runtime_args ? h->o.runtime_args : "");
        return;
    case H_PROGRAMS:
        break;
    }
    fail();
}

static void
wait_ready(struct harness *h, enum harness_program p, int fd)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    char c[8];

    if (poll(&pfd, 1, (int)patience_ms()) == 1 && read(fd, c, sizeof(c)) > 0)
        return;
    fail_msg("%s did not become ready, see %s/%s.log", program_names[p], h->dir, program_names[p]);
}

/* In the child. It ends with the test program, so that a failed test leaves nothing running, not
 * even what it had stopped; the node has to unmount. */
static void
become(enum harness_program p, char **argv, const char *log, int ready)
{
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);

    (void)prctl(PR_SET_PDEATHSIG, p == H_NODE ? SIGTERM : SIGKILL);
    if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0 ||
        (ready == 3 ? fcntl(3, F_SETFD, 0) : dup2(ready, 3)) < 0)
        _exit(127);
    (void)execv(argv[0], argv);
    _exit(127);
}

void
harness_run(struct harness *h, enum harness_program p)
{
    char line[1024], log[128];
    char *argv[ARGS_MAX];
    int fds[2];

    assert_int_equal(h->pid[p], 0);
    command_line(h, p, line, sizeof(line));
    argv[add_words(line, argv, 0)] = NULL;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    (void)snprintf(log, sizeof(log), "%s/%s.log", h->dir, program_names[p]);
    h->pid[p] = fork();
    assert_true(h->pid[p] >= 0);
    if (h->pid[p] == 0)
        become(p, argv, log, fds[1]);
    (void)close(fds[1]);
    wait_ready(h, p, fds[0]);
    (void)close(fds[0]);
}

void
harness_kill(struct harness *h, enum harness_program p, int sig)
{
    uint64_t end = h_now_ms() + 10000 + (getenv("PGPU_TEST_PATIENCE") ? patience_ms() : 0);
    int status;

    if (h->pid[p] == 0)
        return;
    (void)kill(h->pid[p], sig);
    while (waitpid(h->pid[p], &status, WNOHANG) == 0) {
        if (h_now_ms() > end) {
            (void)kill(h->pid[p], SIGKILL);
            (void)waitpid(h->pid[p], &status, 0);
            h->pid[p] = 0;
            fail_msg("%s did not end within 10 s of signal %d, see %s/%s.log", program_names[p],
                     sig, h->dir, program_names[p]);
        }
        h_sleep_ms(2);
    }
    h->pid[p] = 0;
    if (WIFSIGNALED(status) && WTERMSIG(status) != sig)
        fail_msg("%s crashed with signal %d, see %s/%s.log", program_names[p], WTERMSIG(status),
                 h->dir, program_names[p]);
    if (sig == SIGTERM && WIFEXITED(status) && WEXITSTATUS(status) != 0)
        fail_msg("%s ended with status %d, see %s/%s.log", program_names[p], WEXITSTATUS(status),
                 h->dir, program_names[p]);
}

struct harness *
harness_start(const struct harness_options *o)
{
    struct harness *h = calloc(1, sizeof(*h));
    static const char *const dirs[] = {
        "root", "kubelet", "kubelet/device-plugins", "kubelet/pod-resources", "cdi", "nvram"};
    char path[128];

    assert_non_null(h);
    h->o = *o;
    (void)snprintf(h->dir, sizeof(h->dir), "/tmp/pgpu-test-XXXXXX");
    assert_non_null(mkdtemp(h->dir));
    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", h->dir, dirs[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    write_file(h, "hwd.yaml", "%s", o->hwd_yaml ? o->hwd_yaml : "");
    write_file(h, "pgpud.yaml",
               "kubelet:\n  plugin_dir: %s/kubelet/device-plugins\n"
               "  pod_resources: %s/kubelet/pod-resources/kubelet.sock\n"
               "cdi_dir: %s/cdi\nstate_dir: %s/state\nhwd_socket: %s/hwd/hwd.sock\n"
               "control_socket: %s/state/control.sock\nlog:\n  level: debug\n"
               "http:\n  listen: \"\"\naudit:\n  file: %s/audit/audit.log\n%s"
               "pod_poll: %s\nkubelet_settle: 500ms\nunseen_grace: 1s\nrecovery_delay: 50ms\n"
               "nri:\n  sockets: [%s/nri.sock]\n%s%s",
               h->dir, h->dir, h->dir, h->dir, h->dir, h->dir, h->dir,
               o->audit_yaml ? o->audit_yaml : "", o->pod_poll ? o->pod_poll : "200ms", h->dir,
               o->nri_yaml ? o->nri_yaml : "", o->pgpud_yaml ? o->pgpud_yaml : "");
    if (!o->real_node)
        harness_run(h, H_NODE);
    harness_run(h, H_HWD);
    if (!o->no_kubelet)
        harness_run(h, H_KUBELET);
    if (!o->no_pgpud)
        harness_run(h, H_PGPUD);
    return h;
}

static void
remove_tree(const char *dir)
{
    pid_t pid;
    char *argv[] = {(char *)(uintptr_t) "rm", (char *)(uintptr_t) "-rf",
                    (char *)(uintptr_t) "--one-file-system", (char *)(uintptr_t)dir, NULL};
    int status;

    if (posix_spawnp(&pid, "rm", NULL, NULL, argv, environ) == 0)
        (void)waitpid(pid, &status, 0);
}

void
harness_stop(struct harness *h)
{
    char path[128];
    bool keep = getenv("PGPU_TEST_KEEP") != NULL;

    harness_kill(h, H_RUNTIME, SIGTERM);
    harness_kill(h, H_PGPUD, SIGTERM);
    harness_kill(h, H_KUBELET, SIGTERM);
    harness_kill(h, H_HWD, SIGTERM);
    harness_kill(h, H_NODE, SIGTERM);
    (void)snprintf(path, sizeof(path), "%s/root", h->dir);
    if (!h->o.real_node && umount2(path, MNT_DETACH) == 0)
        fail_msg("pgpu-sim left %s mounted", path);
    if (!keep)
        remove_tree(h->dir);
    free(h);
}

/* ---- talking ---- */

static char *
ask(const char *path, const char *line)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char *out = NULL;
    size_t len = 0;
    ssize_t n;

    (void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
    if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
        (void)close(fd);
        return NULL;
    }
    (void)!write(fd, line, strlen(line));
    (void)!write(fd, "\n", 1);
    do {
        char *bigger = realloc(out, len + 65537);

        assert_non_null(bigger);
        out = bigger;
        n = read(fd, out + len, 65536);
        if (n > 0)
            len += (size_t)n;
    } while (n > 0 && len < REPLY_MAX);
    (void)close(fd);
    out[len] = '\0';
    return out;
}

char *
harness_node(struct harness *h, const char *fmt, ...)
{
    char line[512], path[128];
    va_list ap;
    char *reply;

    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    (void)snprintf(path, sizeof(path), "%s/node.sock", h->dir);
    reply = ask(path, line);
    if (!reply || strncmp(reply, "ok", 2) != 0)
        fail_msg("node command \"%s\": %s", line, reply ? reply : "no answer");
    memmove(reply, reply + strcspn(reply, "\n"), strlen(reply + strcspn(reply, "\n")) + 1);
    return reply;
}

static json_object *
parse_reply(const char *line, char *reply)
{
    json_object *o = reply ? json_tokener_parse(reply) : NULL;

    if (!o)
        fail_msg("command \"%s\": not JSON: %s", line, reply ? reply : "no answer");
    free(reply);
    return o;
}

json_object *
harness_kubelet(struct harness *h, const char *fmt, ...)
{
    char line[512], path[128];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    (void)snprintf(path, sizeof(path), "%s/kubelet.sock", h->dir);
    return parse_reply(line, ask(path, line));
}

static void *
call_thread(void *arg)
{
    struct harness_call *c = arg;

    c->reply = ask(c->path, c->line);
    return NULL;
}

struct harness_call *
harness_kubelet_async(struct harness *h, const char *fmt, ...)
{
    struct harness_call *c = calloc(1, sizeof(*c));
    va_list ap;

    assert_non_null(c);
    va_start(ap, fmt);
    (void)vsnprintf(c->line, sizeof(c->line), fmt, ap);
    va_end(ap);
    (void)snprintf(c->path, sizeof(c->path), "%s/kubelet.sock", h->dir);
    assert_int_equal(pthread_create(&c->thread, NULL, call_thread, c), 0);
    return c;
}

json_object *
harness_join(struct harness_call *c)
{
    json_object *o;

    (void)pthread_join(c->thread, NULL);
    o = parse_reply(c->line, c->reply);
    free(c);
    return o;
}

json_object *
harness_status(struct harness *h)
{
    char path[128];
    char *reply;

    (void)snprintf(path, sizeof(path), "%s/state/control.sock", h->dir);
    reply = ask(path, "status");
    return reply && *reply ? parse_reply("status", reply) : (free(reply), NULL);
}

json_object *
harness_unit(json_object *status, const char *id)
{
    json_object *units, *u;

    if (!json_object_object_get_ex(status, "units", &units))
        return NULL;
    for (size_t i = 0; i < json_object_array_length(units); i++) {
        u = json_object_array_get_idx(units, i);
        if (strcmp(jstr(u, "id"), id) == 0)
            return u;
    }
    return NULL;
}

void
harness_wait_unit(struct harness *h, const char *id, const char *key, const char *value,
                  unsigned ms)
{
    uint64_t end = h_now_ms() + ms + patience_ms();
    char last[256] = "no answer";

    for (;;) {
        json_object *s = harness_status(h);
        json_object *u = s ? harness_unit(s, id) : NULL;
        bool found = u && strcmp(jstr(u, key), value) == 0;

        if (u)
            (void)snprintf(last, sizeof(last), "%s=%s state=%s reason=%s: %s", key, jstr(u, key),
                           jstr(u, "state"), jstr(u, "reason"), jstr(u, "why"));
        (void)json_object_put(s);
        if (found)
            return;
        if (h_now_ms() > end)
            fail_msg("%s: %s did not become %s within %u ms, it is: %s (logs in %s)", id, key,
                     value, ms, last, h->dir);
        h_sleep_ms(5);
    }
}

static json_object *
find_resource(json_object *status, const char *resource)
{
    json_object *list, *r;

    if (!json_object_object_get_ex(status, "resources", &list))
        return NULL;
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        r = json_object_array_get_idx(list, i);
        if (strcmp(jstr(r, "name"), resource) == 0)
            return r;
    }
    return NULL;
}

void
harness_wait_healthy(struct harness *h, const char *resource, unsigned n, unsigned ms)
{
    uint64_t end = h_now_ms() + ms + patience_ms();
    int64_t last = -1;

    for (;;) {
        json_object *s = harness_kubelet(h, "status");
        json_object *r = find_resource(s, resource);

        last = r ? jint(r, "allocatable") : -1;
        (void)json_object_put(s);
        if (last == (int64_t)n)
            return;
        if (h_now_ms() > end)
            fail_msg("%s: %lld allocatable after %u ms, wanted %u (logs in %s)", resource,
                     (long long)last, ms, n, h->dir);
        h_sleep_ms(10);
    }
}

void
harness_cdi_node(struct harness *h, const char *id, char *buf, size_t size)
{
    char path[128];
    json_object *o, *devices, *d, *edits, *nodes;

    buf[0] = '\0';
    (void)snprintf(path, sizeof(path), "%s/cdi/nvidia.com-pgpu.json", h->dir);
    o = json_object_from_file(path);
    if (!o)
        return;
    if (json_object_object_get_ex(o, "devices", &devices))
        for (size_t i = 0; i < json_object_array_length(devices); i++) {
            d = json_object_array_get_idx(devices, i);
            if (strcmp(jstr(d, "name"), id) == 0 &&
                json_object_object_get_ex(d, "containerEdits", &edits) &&
                json_object_object_get_ex(edits, "deviceNodes", &nodes) &&
                json_object_array_length(nodes) == 1)
                (void)snprintf(buf, size, "%s", jstr(json_object_array_get_idx(nodes, 0), "path"));
        }
    (void)json_object_put(o);
}

const char *
jstr(json_object *o, const char *key)
{
    json_object *v;

    return o && json_object_object_get_ex(o, key, &v) && v ? json_object_get_string(v) : "";
}

int64_t
jint(json_object *o, const char *key)
{
    json_object *v;

    return o && json_object_object_get_ex(o, key, &v) ? json_object_get_int64(v) : -1;
}

bool
jbool(json_object *o, const char *key)
{
    json_object *v;

    return o && json_object_object_get_ex(o, key, &v) && json_object_get_boolean(v);
}

/* ---- pods ---- */

void
h_grant_of(json_object *reply, struct h_grant *ret)
{
    json_object *granted, *ids, *resp, *devices;

    memset(ret, 0, sizeof(*ret));
    if (!jbool(reply, "ok") || !json_object_object_get_ex(reply, "granted", &granted))
        fail_msg("not admitted: %s", json_object_to_json_string(reply));
    for (size_t i = 0; i < json_object_array_length(granted); i++) {
        json_object *g = json_object_array_get_idx(granted, i);

        assert_true(json_object_object_get_ex(g, "ids", &ids));
        assert_true(json_object_object_get_ex(g, "response", &resp));
        assert_true(json_object_object_get_ex(resp, "devices", &devices));
        assert_int_equal(json_object_array_length(ids), json_object_array_length(devices));
        for (size_t k = 0; k < json_object_array_length(ids) && ret->n < 16; k++, ret->n++) {
            (void)snprintf(ret->id[ret->n], sizeof(ret->id[0]), "%s",
                           json_object_get_string(json_object_array_get_idx(ids, k)));
            (void)snprintf(ret->node[ret->n], sizeof(ret->node[0]), "%s",
                           jstr(json_object_array_get_idx(devices, k), "host_path"));
        }
    }
}

void
h_run(struct harness *h, struct h_grant *ret, const char *what)
{
    json_object *reply = harness_kubelet(h, "run %s", what);

    if (!jbool(reply, "ok"))
        fail_msg("run %s: %s (logs in %s)", what, json_object_to_json_string(reply), h->dir);
    h_grant_of(reply, ret);
    (void)json_object_put(reply);
}

void
h_expect_refusal(json_object *reply, const char *words)
{
    const char *text = json_object_to_json_string(reply);
    char copy[256], *save = NULL;

    if (jbool(reply, "ok"))
        fail_msg("admitted, though it should be refused: %s", text);
    (void)snprintf(copy, sizeof(copy), "%s", words);
    for (char *w = strtok_r(copy, "|", &save); w; w = strtok_r(NULL, "|", &save))
        if (strstr(text, w)) {
            (void)json_object_put(reply);
            return;
        }
    fail_msg("refused without saying \"%s\": %s", words, text);
}

void
h_run_fails(struct harness *h, const char *what, const char *words)
{
    h_expect_refusal(harness_kubelet(h, "run %s", what), words);
}

void
h_end(struct harness *h, const char *pod)
{
    (void)json_object_put(harness_kubelet(h, "end %s", pod));
}

void
h_no_violations(struct harness *h)
{
    json_object *o = harness_kubelet(h, "violations");
    json_object *list;

    if (!json_object_object_get_ex(o, "violations", &list) || json_object_array_length(list) != 0)
        fail_msg("the kubelet stand-in saw: %s", json_object_to_json_string(o));
    (void)json_object_put(o);
}

int
h_ever_healthy(struct harness *h, const char *resource, const char *id)
{
    json_object *o = harness_kubelet(h, "history %s", resource);
    json_object *lists, *devices;
    int n = 0;

    if (!json_object_object_get_ex(o, "history", &lists))
        fail_msg("history: %s", json_object_to_json_string(o));
    for (size_t i = 0; i < json_object_array_length(lists); i++) {
        if (!json_object_object_get_ex(json_object_array_get_idx(lists, i), "devices", &devices))
            continue;
        for (size_t k = 0; k < json_object_array_length(devices); k++) {
            json_object *d = json_object_array_get_idx(devices, k);

            n += strcmp(jstr(d, "id"), id) == 0 && jbool(d, "healthy");
        }
    }
    (void)json_object_put(o);
    return n;
}

/* ---- the simulated hardware's own account ---- */

static json_object *
show(struct harness *h, const char *id, json_object **ret_fn)
{
    char *text = harness_node(h, "show json");
    json_object *o = json_tokener_parse(text);

    if (!json_object_is_type(o, json_type_array))
        fail_msg("show: %s", text);
    free(text);
    *ret_fn = NULL;
    for (size_t i = 0; i < json_object_array_length(o); i++)
        if (strcmp(jstr(json_object_array_get_idx(o, i), "address"), id) == 0)
            *ret_fn = json_object_array_get_idx(o, i);
    return o;
}

int64_t
h_resets(struct harness *h, const char *id)
{
    json_object *fn;
    json_object *o = show(h, id, &fn);
    int64_t n = jint(fn, "resets");

    (void)json_object_put(o);
    if (n < 0)
        fail_msg("%s is not on the simulated node", id);
    return n;
}

const char *
h_driver(struct harness *h, const char *id)
{
    static char buf[64];
    json_object *fn;
    json_object *o = show(h, id, &fn);

    (void)snprintf(buf, sizeof(buf), "%s", jstr(fn, "driver"));
    (void)json_object_put(o);
    return buf;
}

bool
h_is_on(struct harness *h, const char *id)
{
    json_object *fn;
    json_object *o = show(h, id, &fn);
    bool on = strcmp(jstr(fn, "active"), "on") == 0;

    (void)json_object_put(o);
    return on;
}

int
h_vmm_open(struct harness *h, const char *node)
{
    char path[256];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/root%s", h->dir, node);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (ioctl(fd, strstr(node, "/devices/") ? BIND_IOMMUFD : GET_DEVICE_FD, 0) < 0) {
        int num = errno;

        (void)close(fd);
        return -num;
    }
    return fd;
}

static void
write_attr(const struct harness *h, const char *attr, const char *text)
{
    char path[256];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/root/sys/bus/pci/%s", h->dir, attr);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        fail_msg("write %s to %s: %s", text, path, strerror(errno));
    (void)close(fd);
}

void
h_bind_vfio(struct harness *h, const char *id)
{
    char attr[128];

    (void)snprintf(attr, sizeof(attr), "devices/%s/driver_override", id);
    write_attr(h, attr, "vfio-pci");
    write_attr(h, "drivers/vfio-pci/bind", id);
}

void
h_unbind(struct harness *h, const char *id)
{
    char attr[128];

    (void)snprintf(attr, sizeof(attr), "devices/%s/driver_override", id);
    write_attr(h, attr, "\n");
    if (h_driver(h, id)[0]) {
        (void)snprintf(attr, sizeof(attr), "devices/%s/driver/unbind", id);
        write_attr(h, attr, id);
    }
}

void
h_reset(struct harness *h, const char *id)
{
    char attr[128];

    (void)snprintf(attr, sizeof(attr), "devices/%s/reset", id);
    write_attr(h, attr, "1");
}

void
h_forget(struct harness *h)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/state/dev", h->dir);
    remove_tree(path);
    (void)snprintf(path, sizeof(path), "%s/hwd/former", h->dir);
    remove_tree(path);
}

void
h_kill_children(struct harness *h, enum harness_program p)
{
    char path[128];
    FILE *f;
    int pid;

    (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)h->pid[p], (int)h->pid[p]);
    f = fopen(path, "re");
    assert_non_null(f);
    while (fscanf(f, "%d", &pid) == 1)
        (void)kill((pid_t)pid, SIGKILL);
    (void)fclose(f);
}

/* ---- the container runtime's stand-in ---- */

static json_object *runtime_ask(struct harness *h, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));

static json_object *
runtime_ask(struct harness *h, const char *fmt, va_list ap)
{
    char line[4096], path[128];

    (void)vsnprintf(line, sizeof(line), fmt, ap);
    (void)snprintf(path, sizeof(path), "%s/runtime.sock", h->dir);
    return parse_reply(line, ask(path, line));
}

json_object *
h_runtime(struct harness *h, const char *fmt, ...)
{
    json_object *o;
    va_list ap;

    va_start(ap, fmt);
    o = runtime_ask(h, fmt, ap);
    va_end(ap);
    return o;
}

void
h_runtime_ok(struct harness *h, const char *fmt, ...)
{
    json_object *o;
    va_list ap;

    va_start(ap, fmt);
    o = runtime_ask(h, fmt, ap);
    va_end(ap);
    if (!jbool(o, "ok"))
        fail_msg("runtime: %s: %s", fmt, jstr(o, "error"));
    json_object_put(o);
}

void
h_runtime_refused(struct harness *h, const char *words, const char *fmt, ...)
{
    json_object *o;
    va_list ap;

    va_start(ap, fmt);
    o = runtime_ask(h, fmt, ap);
    va_end(ap);
    h_expect_refusal(o, words);
}

void
h_runtime_ready(struct harness *h)
{
    h_runtime_ok(h, "wait plugins=1 20");
}
