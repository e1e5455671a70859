/* SPDX-License-Identifier: Apache-2.0
 *
 * Owner of the directory, the listening sockets and the thread that answers on them.
 */
#include "tests/unit/cli/doctor_kit.h"

#include "base/buf.h"
#include "base/chain.h"
#include "base/fs.h"
#include "daemon/config.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

#define PATH_SIZE 512
#define SOCKETS_MAX 16
#define ARGS_MAX 32

static char dir[64];
struct hwd_facts doctor_facts[4];
unsigned doctor_n_facts;
json_object *doctor_found;
char doctor_out[1 << 18];

static const char healthy_status[] =
    "{\"version\":\"" PGPU_VERSION "\",\"pod_resources\":\"ok\",\"mode\":\"on\",\"resources\":["
    "{\"name\":\"nvidia.com/pgpu\",\"link\":\"streaming\",\"link_why\":\"\"}],\"units\":["
    "{\"id\":\"" DOCTOR_GPU0 "\",\"state\":\"ready\",\"reason\":\"NONE\",\"why\":\"\",\"cure\":"
    "\"\"}],\"nri\":{\"sessions\":[{\"socket\":\"/var/run/nri/nri.sock\",\"up\":true,\"why\":\"\"}"
    "]}}";

enum role { SILENT, HWD, CONTROL };

/* Shared with the thread, under `lock`. */
static struct {
    pthread_mutex_t lock;
    unsigned n;
    struct {
        int fd;
        enum role role;
    } sock[SOCKETS_MAX];
    char status[8192];
    char config[1 << 16];
} served = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- services ---- */

static void
answer_hwd(int fd)
{
    struct hwd_message m = {.magic = HWD_PROTO_MAGIC, .version = HWD_PROTO_VERSION};

    m.type = HWD_MSG_HELLO;
    (void)send(fd, &m, sizeof(m), MSG_NOSIGNAL);
    for (unsigned i = 0; i < doctor_n_facts; i++) {
        m.type = HWD_MSG_FACTS;
        m.facts = doctor_facts[i];
        m.unit = m.facts.unit;
        (void)send(fd, &m, sizeof(m), MSG_NOSIGNAL);
    }
    m.type = HWD_MSG_SYNCED;
    (void)send(fd, &m, sizeof(m), MSG_NOSIGNAL);
}

static void
answer_control(int fd)
{
    char line[64] = "";
    ssize_t n = recv(fd, line, sizeof(line) - 1, 0);
    const char *text = n > 0 && strncmp(line, "config", 6) == 0 ? served.config : served.status;

    (void)send(fd, text, strlen(text), MSG_NOSIGNAL);
}

static void
answer_one(unsigned i)
{
    int fd = accept4(served.sock[i].fd, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0)
        return;
    if (served.sock[i].role == HWD)
        answer_hwd(fd);
    else if (served.sock[i].role == CONTROL)
        answer_control(fd);
    (void)close(fd);
}

static void *
serve(void *unused)
{
    for (;;) {
        struct pollfd p[SOCKETS_MAX];
        nfds_t n;

        (void)pthread_mutex_lock(&served.lock);
        n = served.n;
        for (nfds_t i = 0; i < n; i++)
            p[i] = (struct pollfd){.fd = served.sock[i].fd, .events = POLLIN};
        if (poll(p, n, 0) > 0)
            for (nfds_t i = 0; i < n; i++)
                if (p[i].revents & POLLIN)
                    answer_one((unsigned)i);
        (void)pthread_mutex_unlock(&served.lock);
        (void)poll(NULL, 0, 1);
    }
    return unused;
}

static void
start_serving(void)
{
    static bool started;
    pthread_t t;

    if (started)
        return;
    assert_int_equal(pthread_create(&t, NULL, serve, NULL), 0);
    assert_int_equal(pthread_detach(t), 0);
    started = true;
}

/* ---- files ---- */

const char *
doctor_dir(void)
{
    return dir;
}

static const char *
full(const char *path)
{
    static char buf[PATH_SIZE];

    assert_true(snprintf(buf, sizeof(buf), "%s%s", dir, path) < (int)sizeof(buf));
    return buf;
}

void
doctor_mkdir(const char *path)
{
    struct err e = ERR_INIT;

    if (fs_mkdirs(full(path), 0755, &e) < 0)
        fail_msg("%s", e.msg);
}

void
doctor_write(const char *path, const char *text)
{
    char parent[PATH_SIZE];
    FILE *f;

    (void)snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(path, '/') - path), path);
    doctor_mkdir(parent);
    f = fopen(full(path), "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

void
doctor_replace(const char *path, const char *from, const char *to)
{
    struct err e = ERR_INIT;
    char *text = NULL, *at, *out;
    size_t len;

    if (fs_read_file(AT_FDCWD, full(path), 1 << 20, &text, &len, &e) < 0)
        fail_msg("%s", e.msg);
    at = strstr(text, from);
    if (!at)
        fail_msg("%s: no \"%s\" in it", path, from);
    assert_true(asprintf(&out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) > 0);
    doctor_write(path, out);
    free(text);
    free(out);
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *w)
{
    (void)st;
    (void)type;
    (void)w;
    return remove(path);
}

void
doctor_remove(const char *path)
{
    (void)nftw(full(path), remove_one, 16, FTW_DEPTH | FTW_PHYS);
    assert_int_equal(access(full(path), F_OK), -1);
}

void
doctor_link(const char *path, const char *target)
{
    char parent[PATH_SIZE];

    (void)snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(path, '/') - path), path);
    doctor_mkdir(parent);
    assert_int_equal(symlink(target, full(path)), 0);
}

void
doctor_chmod(const char *path, mode_t mode)
{
    assert_int_equal(chmod(full(path), mode), 0);
}

void
doctor_later(const char *path)
{
    struct timespec t[2] = {{.tv_sec = time(NULL) + 2 * 86400}, {.tv_sec = time(NULL) + 2 * 86400}};

    assert_int_equal(utimensat(AT_FDCWD, full(path), t, 0), 0);
}

static void
listen_at(const char *path, int type, enum role role, bool keep)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    char parent[PATH_SIZE];
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    (void)snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(path, '/') - path), path);
    doctor_mkdir(parent);
    assert_true(str_copy(sa.sun_path, sizeof(sa.sun_path), full(path)));
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(fd, 64), 0);
    if (!keep) {
        (void)close(fd);
        return;
    }
    (void)pthread_mutex_lock(&served.lock);
    assert_true(served.n < SOCKETS_MAX);
    served.sock[served.n].fd = fd;
    served.sock[served.n++].role = role;
    (void)pthread_mutex_unlock(&served.lock);
}

void
doctor_socket(const char *path, bool listening)
{
    listen_at(path, SOCK_STREAM, SILENT, listening);
}

void
doctor_process(int pid, const char *comm, const char *args)
{
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/%d/comm", pid);
    doctor_write(path, comm);
    (void)snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
    doctor_write(path, args);
}

void
doctor_audit_log(unsigned n)
{
    struct chain_head head;
    struct err e = ERR_INIT;
    struct buf b;
    char note[CHAIN_NOTE_MAX];

    buf_init(&b, 1u << 20);
    chain_head_init(&head);
    for (unsigned i = 0; i < n; i++)
        if (chain_append(&head,
                         i ? "\"kind\":\"state\",\"what\":\"ready\""
                           : "\"kind\":\"chain\",\"what\":\"begins\",\"chain\":\"c1\","
                             "\"oldest\":{\"chain\":\"c1\",\"seq\":1}",
                         &b, &e) < 0)
            fail_msg("%s", e.msg);
    doctor_write("/var/log/pgpu/audit.log", buf_cstr(&b));
    buf_fini(&b);
    assert_true(chain_note_text(&head, "-", "/var/log/pgpu/audit.log", note) > 0);
    doctor_write("/var/log/pgpu/audit.log.head", note);
}

/* ---- what services say ---- */

void
doctor_status(const char *from, const char *to)
{
    char copy[sizeof(served.status)];
    char *at;

    (void)pthread_mutex_lock(&served.lock);
    at = strstr(served.status, from);
    if (at) {
        (void)snprintf(copy, sizeof(copy), "%.*s%s%s", (int)(at - served.status), served.status, to,
                       at + strlen(from));
        (void)snprintf(served.status, sizeof(served.status), "%s", copy);
    }
    (void)pthread_mutex_unlock(&served.lock);
    assert_non_null(at);
}

void
doctor_in_force(const char *text)
{
    (void)pthread_mutex_lock(&served.lock);
    (void)snprintf(served.config, sizeof(served.config), "%s", text);
    (void)pthread_mutex_unlock(&served.lock);
}

static void
default_config(void)
{
    struct config c = {0};
    struct err e = ERR_INIT;
    struct buf out;

    assert_int_equal(config_load(NULL, &c, &e), 0);
    buf_init(&out, sizeof(served.config) - 1);
    conf_print(config_keys, &c, &out);
    doctor_in_force(buf_cstr(&out));
    buf_fini(&out);
    config_free(&c);
}

/* ---- the healthy host ---- */

static void
gpu(unsigned i, const char *addr)
{
    struct hwd_facts *f = &doctor_facts[i];
    char path[128];
    const struct {
        const char *name, *text;
    } attrs[] = {
        {"vendor", "0x10de\n"},
        {"device", "0x2330\n"},
        {"class", "0x030200\n"},
        {"subsystem_vendor", "0x10de\n"},
        {"subsystem_device", "0x16c1\n"},
        {"numa_node", "0\n"},
        {"power_state", "D0\n"},
        {"d3cold_allowed", "0\n"},
        {"reset_method", "flr bus\n"},
        {"resource", "0x000038c002000000 0x000038c002ffffff 0x000000000014220c\n"
                     "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
                     "0x000038a000000000 0x000038bfffffffff 0x000000000014220c\n"},
    };

    for (size_t k = 0; k < sizeof(attrs) / sizeof(attrs[0]); k++) {
        (void)snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", addr, attrs[k].name);
        doctor_write(path, attrs[k].text);
    }
    (void)snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%u/devices", i);
    doctor_mkdir(path);
    *f = (struct hwd_facts){.kind = HWD_KIND_GPU,
                            .vendor = 0x10de,
                            .device = 0x2330,
                            .use = HWD_USE_OURS,
                            .iommu_group = (int)i,
                            .gang_size = 1,
                            .flags = HWD_FACT_CLAIMED | HWD_FACT_BOUND | HWD_FACT_IOMMUFD,
                            .mode_active = CC_MODE_ON,
                            .mode_configured = CC_MODE_ON};
    assert_true(pci_addr_parse(addr, &f->unit));
    (void)snprintf(f->chip, sizeof(f->chip), "gh100");
    (void)snprintf(f->model, sizeof(f->model), "GH100 [H100 SXM5 80GB]");
    (void)snprintf(f->driver, sizeof(f->driver), "vfio-pci");
}

static void
hardware(void)
{
    doctor_write("/sys/module/kvm_amd/parameters/sev_snp", "Y\n");
    doctor_write("/sys/fs/cgroup/misc.capacity", "sev 410\nsev_es 99\n");
    doctor_write("/sys/fs/cgroup/misc.current", "sev 0\nsev_es 3\n");
    doctor_write("/sys/kernel/security/lockdown", "[none] integrity confidentiality\n");
    doctor_mkdir("/sys/bus/pci/drivers/vfio-pci");
    doctor_write("/dev/sev", "");
    doctor_write("/dev/iommu", "");
    gpu(0, DOCTOR_GPU0);
    gpu(1, DOCTOR_GPU1);
    doctor_n_facts = 2;
}

static int
execute(const char *program, const char *const *argv, bool nobody)
{
    char path[PATH_SIZE];
    const char *bin = getenv("PGPU_BIN_DIR");
    char *copy[ARGS_MAX + 2] = {0};
    int back[2], st = 0, exe;
    size_t len = 0;
    ssize_t n;

    (void)snprintf(path, sizeof(path), "%s/%s", bin ? bin : ".", program);
    /* By descriptor: nobody may not be allowed to walk to the program. */
    exe = open(path, O_RDONLY | O_CLOEXEC); /* NOLINT(android-cloexec-open) */
    assert_true(exe >= 0);
    assert_int_equal(pipe2(back, O_CLOEXEC), 0);
    for (size_t i = 0; argv[i]; i++)
        assert_non_null(copy[i] = strdup(argv[i]));
    pid_t pid = fork();
    if (pid == 0) {
        if (dup2(back[1], 1) < 0 || dup2(back[1], 2) < 0 ||
            (nobody && geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0)))
            _exit(126);
        (void)fexecve(exe, copy, environ);
        _exit(127);
    }
    assert_true(pid > 0);
    (void)close(back[1]);
    while (len < sizeof(doctor_out) - 1 &&
           (n = read(back[0], doctor_out + len, sizeof(doctor_out) - 1 - len)) > 0)
        len += (size_t)n;
    doctor_out[len] = '\0';
    (void)close(back[0]);
    (void)close(exe);
    assert_int_equal(waitpid(pid, &st, 0), pid);
    for (size_t i = 0; copy[i]; i++)
        free(copy[i]);
    assert_true(WIFEXITED(st));
    return WEXITSTATUS(st);
}

static size_t
add_words(char *text, const char **argv, size_t n)
{
    char *save = NULL;

    for (char *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        assert_true(n < ARGS_MAX);
        argv[n++] = w;
    }
    return n;
}

void
doctor_host_remove(void)
{
    (void)pthread_mutex_lock(&served.lock);
    for (unsigned i = 0; i < served.n; i++)
        (void)close(served.sock[i].fd);
    served.n = 0;
    (void)pthread_mutex_unlock(&served.lock);
    if (dir[0])
        doctor_remove("");
    dir[0] = '\0';
    (void)json_object_put(doctor_found);
    doctor_found = NULL;
}

void
doctor_host(const char *sim)
{
    const char *argv[ARGS_MAX + 1] = {"pgpu-sim", "host", "--dir", dir};
    char words[256];

    start_serving();
    doctor_host_remove();
    (void)snprintf(dir, sizeof(dir), "/tmp/pgpu-doctor-XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chmod(dir, 0755), 0);
    (void)snprintf(words, sizeof(words), "%s", sim);
    (void)add_words(words, argv, 4);
    if (execute("sim/pgpu-sim", argv, false) != 0)
        fail_msg("%s", doctor_out);
    /* As on every host; /var/run is a link to /run, and does not leave the tree. */
    assert_int_equal(symlink("/run", full("/var/run")), 0);
    doctor_mkdir("/run/cdi");
    hardware();
    (void)pthread_mutex_lock(&served.lock);
    (void)snprintf(served.status, sizeof(served.status), "%s", healthy_status);
    (void)pthread_mutex_unlock(&served.lock);
    default_config();
    listen_at("/var/lib/kubelet/device-plugins/kubelet.sock", SOCK_STREAM, SILENT, true);
    listen_at("/var/lib/kubelet/pod-resources/kubelet.sock", SOCK_STREAM, SILENT, true);
    listen_at("/run/nri/nri.sock", SOCK_STREAM, SILENT, true);
    listen_at("/run/pgpu-hwd/hwd.sock", SOCK_SEQPACKET, HWD, true);
    listen_at("/run/pgpu/control.sock", SOCK_STREAM, CONTROL, true);
}

/* ---- running it ---- */

int
doctor_ctl(const char *args)
{
    const char *argv[ARGS_MAX + 1] = {"pgpuctl"};
    char words[1024];

    (void)snprintf(words, sizeof(words), "%s", args);
    argv[add_words(words, argv, 1)] = NULL;
    return execute("cli/pgpuctl", argv, false);
}

static int
run(const char *args, bool nobody)
{
    const char *argv[ARGS_MAX + 1] = {"pgpuctl", "--root", dir, "--json", "doctor"};
    char words[1024];
    int rc;

    (void)snprintf(words, sizeof(words), "%s", args);
    argv[add_words(words, argv, 5)] = NULL;
    /* What the test changed in doctor_facts, the thread sees from here on. */
    (void)pthread_mutex_lock(&served.lock);
    (void)pthread_mutex_unlock(&served.lock);
    rc = execute("cli/pgpuctl", argv, nobody);
    (void)json_object_put(doctor_found);
    doctor_found = json_tokener_parse(doctor_out);
    if (!json_object_is_type(doctor_found, json_type_array))
        fail_msg("no list: %s", doctor_out);
    return rc;
}

int
doctor_run(const char *args)
{
    return run(args, false);
}

int
doctor_run_as_nobody(const char *args)
{
    return run(args, true);
}

static const char *
member(json_object *o, const char *key)
{
    json_object *v;

    return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : "";
}

static json_object *
worst(const char *code)
{
    static const char *const order[] = {"error", "warning", "info", "unknown", "ok"};

    for (size_t k = 0; k < sizeof(order) / sizeof(order[0]); k++)
        for (size_t i = 0; i < json_object_array_length(doctor_found); i++) {
            json_object *o = json_object_array_get_idx(doctor_found, i);

            if (strcmp(member(o, "code"), code) == 0 &&
                strcmp(member(o, "severity"), order[k]) == 0)
                return o;
        }
    return NULL;
}

const char *
doctor_severity_of(const char *code)
{
    json_object *o = worst(code);

    return o ? member(o, "severity") : NULL;
}

const char *
doctor_text_of(const char *code, const char *key)
{
    json_object *o = worst(code);

    return o ? member(o, key) : "";
}

const char *
doctor_bad_codes(void)
{
    static char list[4096];
    size_t used = 0;

    list[0] = '\0';
    for (size_t i = 0; i < json_object_array_length(doctor_found) && used < sizeof(list); i++) {
        json_object *o = json_object_array_get_idx(doctor_found, i);

        if (strcmp(member(o, "severity"), "warning") == 0 ||
            strcmp(member(o, "severity"), "error") == 0)
            used += (size_t)snprintf(list + used, sizeof(list) - used, "%s (%s: %s) ",
                                     member(o, "code"), member(o, "object"), member(o, "seen"));
    }
    return list;
}
