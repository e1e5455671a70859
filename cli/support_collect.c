/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the files of a support archive come from: verbs of pgpuctl, run in this process with their
 * output caught; requests to pgpud; files. The tables below are in the order of the archive.
 */
#include "base/cleanup.h"
#include "base/fs.h"
#include "cli/ask.h"
#include "cli/support.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#define ENTRIES_MAX 4096
#define SMALL_FILE_MAX 65536
#define ARGS_MAX 12

struct support_file *
support_add(struct support *s, const char *what, const char *name, ...)
{
    struct support_file *f = s->n < SUPPORT_FILES_MAX ? calloc(1, sizeof(*f)) : NULL;
    va_list ap;

    if (!f)
        return NULL;
    va_start(ap, name);
    (void)vsnprintf(f->name, sizeof(f->name), name, ap);
    va_end(ap);
    f->what = what;
    buf_init(&f->text, SUPPORT_FILE_MAX);
    s->file[s->n++] = f;
    return f;
}

static void
missing(struct support_file *f, const char *why)
{
    (void)snprintf(f->why, sizeof(f->why), "%.190s", why);
}

/* ---- verbs ---- */

static const struct {
    const char *name, *what, *verb, *sub;
    const char *args[5];
} verbs[] = {
    {"status.json", "what pgpud does with every device", "status", NULL, {NULL}},
    {"events.jsonl", "what happened since pgpud started", "events", NULL, {NULL}},
    {"devices.json", "GPUs and NVSwitches, of pgpu-hwd or of the bus", "devices", NULL, {NULL}},
    {"doctor.json", "preflight checks", "doctor", NULL, {NULL}},
    {"health.json", "liveness and readiness", "health", "ready", {NULL}},
    {"audit/tail.jsonl", "the newest records of the audit log", "audit", "tail", {"-n", "2000"}},
    {"audit/verify.json", "whether the audit log is intact", "audit", "verify", {NULL}},
};

/* Everything that `run` prints on standard output. */
static int
run_caught(const struct usage *v, const struct cli *c, int argc, char **argv, struct buf *out)
{
    _cleanup_fd_ int mem = memfd_create("pgpuctl", MFD_CLOEXEC);
    _cleanup_fd_ int keep_out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    _cleanup_fd_ int keep_err = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    char chunk[8192];
    ssize_t n;

    if (mem < 0 || keep_out < 0 || keep_err < 0)
        return -errno;
    (void)fflush(NULL);
    /* what it complains of is as telling as what it finds */
    if (dup2(mem, STDOUT_FILENO) < 0 || dup2(mem, STDERR_FILENO) < 0)
        return -errno;
    (void)v->run(c, argc, argv); /* what is wrong with the node is in the output */
    (void)fflush(NULL);
    (void)dup2(keep_out, STDOUT_FILENO);
    (void)dup2(keep_err, STDERR_FILENO);
    (void)lseek(mem, 0, SEEK_SET);
    while ((n = read(mem, chunk, sizeof(chunk))) > 0)
        if (!buf_put(out, chunk, (size_t)n))
            return -EFBIG;
    return n < 0 ? -errno : 0;
}

static void
add_verb(struct support *s, size_t i, const char *config)
{
    struct support_file *f = support_add(s, verbs[i].what, "%s", verbs[i].name);
    const struct usage *v = usage_find_verb(&pgpuctl_usage, verbs[i].verb);
    struct cli c = *s->c;
    char called[64], copy[ARGS_MAX][300];
    char *argv[ARGS_MAX];
    int argc = 0, r;

    if (v && verbs[i].sub)
        v = usage_find_verb(v, verbs[i].sub);
    if (!f || !v || !v->run) {
        if (f)
            missing(f, "this pgpuctl has no such verb");
        return;
    }
    c.json = true;
    c.tty = false;
    (void)snprintf(called, sizeof(called), "pgpuctl %s", verbs[i].verb);
    argv[argc++] = called;
    for (size_t k = 0; k < ARRAY_SIZE(verbs[i].args) && verbs[i].args[k]; k++, argc++)
        argv[argc] =
            str_copy(copy[argc], sizeof(copy[argc]), verbs[i].args[k]) ? copy[argc] : copy[0];
    if (config && strcmp(verbs[i].verb, "audit") == 0) {
        (void)str_copy(copy[argc], sizeof(copy[argc]), "--config");
        argv[argc] = copy[argc];
        argc++;
        (void)str_copy(copy[argc], sizeof(copy[argc]), config);
        argv[argc] = copy[argc];
        argc++;
    }
    argv[argc] = NULL;
    r = run_caught(v, &c, argc, argv, &f->text);
    if (r < 0)
        missing(f, strerror(-r));
    else if (f->text.len == 0)
        missing(f, "it had nothing to say");
}

/* ---- files ---- */

static void
add_file(struct support *s, const char *what, const char *name, const struct fs_root *root,
         const char *path)
{
    struct support_file *f = support_add(s, what, "%s", name);
    struct err e = ERR_INIT;
    char chunk[4096];
    ssize_t n = 0;
    _cleanup_fd_ int fd = f ? fs_open(root, path, O_RDONLY | O_NONBLOCK, 0, &e) : -1;

    if (!f)
        return;
    while (fd >= 0 && f->text.len < SMALL_FILE_MAX && (n = read(fd, chunk, sizeof(chunk))) > 0)
        (void)buf_put(&f->text, chunk, (size_t)n);
    if (fd < 0)
        missing(f, e.msg);
    else if (n < 0)
        missing(f, strerror(errno));
}

static void
add_config(struct support *s)
{
    struct support_file *f =
        support_add(s, "pgpud's configuration, defaults included", "config/pgpud.yaml");

    if (f)
        conf_print(config_keys, &s->conf, &f->text);
    f = support_add(s, "the configuration that pgpud says it runs with", "config/in-force");
    if (f) {
        struct err e = ERR_INIT;

        if (ask_line(s->c->control, "config\n", &f->text, &e) < 0)
            missing(f, e.msg);
    }
}

static void
add_journal(struct support *s)
{
    struct fs_root dir;
    struct err e = ERR_INIT;
    char path[300], name[96], **names = NULL;
    struct support_file *f;
    int n;

    (void)snprintf(path, sizeof(path), "%.255s/dev", s->conf.state_dir);
    if (fs_root_open(&dir, path, &e) < 0) {
        f = support_add(s, "pgpud's journal", "journal");
        if (f)
            missing(f, e.msg);
        return;
    }
    n = fs_list(&dir, ".", ENTRIES_MAX, &names, &e);
    for (int i = 0; i < n; i++)
        if (names[i][0] != '.' && strlen(names[i]) < 60) {
            (void)snprintf(name, sizeof(name), "journal/%.60s", names[i]);
            add_file(s, "pgpud's journal", name, &dir, names[i]);
        }
    fs_names_free(names);
    fs_root_close(&dir);
}

/* Names of files of ours: "nvidia.com-pgpu.json" of the resource nvidia.com/pgpu. */
static bool
is_our_cdi(const struct config *conf, const char *name)
{
    const struct resource_conf *r;
    size_t n = config_resources(conf, &r);

    for (size_t i = 0; i < n; i++) {
        char pattern[RESOURCE_NAME_MAX + 8];
        char *brace, *slash;

        (void)snprintf(pattern, sizeof(pattern), "%s.json", r[i].name);
        slash = strchr(pattern, '/');
        if (slash)
            *slash = '-';
        brace = strchr(pattern, '{');
        if (brace) /* the model */
            (void)str_copy(brace, 7, "*.json");
        if (fnmatch(pattern, name, 0) == 0)
            return true;
    }
    return false;
}

static void
add_cdi(struct support *s)
{
    struct support_file *list = support_add(s, "files of the CDI directory", "cdi/list.txt");
    struct fs_root dir;
    struct err e = ERR_INIT;
    char name[96], **names = NULL;
    int n;

    if (!list)
        return;
    if (fs_root_open(&dir, s->conf.cdi_dir, &e) < 0) {
        missing(list, e.msg);
        return;
    }
    n = fs_list(&dir, ".", ENTRIES_MAX, &names, &e);
    if (n < 0)
        missing(list, e.msg);
    for (int i = 0; i < n; i++) {
        struct stat st = {0};

        (void)fstatat(dir.fd, names[i], &st, AT_SYMLINK_NOFOLLOW);
        (void)buf_putf(&list->text, "%04o %u %lld %s\n", st.st_mode & 07777, st.st_uid,
                       (long long)st.st_size, names[i]);
        if (is_our_cdi(&s->conf, names[i]) && strlen(names[i]) < 60) {
            (void)snprintf(name, sizeof(name), "cdi/%.60s", names[i]);
            add_file(s, "a CDI file of ours", name, &dir, names[i]);
        }
    }
    fs_names_free(names);
    fs_root_close(&dir);
}

/* ---- the host ---- */

static void
add_link(const struct fs_root *root, const char *dir, const char *name, struct buf *out)
{
    char path[200], to[256];
    struct err e = ERR_INIT;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (fs_link_name(root, path, to, sizeof(to), &e) >= 0)
        (void)buf_putf(out, "%s -> %s\n", name, to);
}

/* Attributes that explain most failures; reading them wakes and changes nothing. */
static void
add_function(struct support *s, const struct fs_root *root, const char *addr)
{
    static const char *const attrs[] = {"vendor",           "device",          "subsystem_vendor",
                                        "subsystem_device", "class",           "revision",
                                        "numa_node",        "power_state",     "d3cold_allowed",
                                        "reset_method",     "driver_override", "current_link_speed",
                                        "max_link_speed",   "sriov_numvfs",    "resource",
                                        "power/control",    "enable",          "iommu_group/type"};
    struct support_file *f = support_add(s, "attributes of a PCI function", "sysfs/%s.txt", addr);
    char dir[120], path[200], text[4096];

    if (!f)
        return;
    (void)snprintf(dir, sizeof(dir), "sys/bus/pci/devices/%.60s", addr);
    for (size_t i = 0; i < ARRAY_SIZE(attrs); i++) {
        struct err e = ERR_INIT;

        (void)snprintf(path, sizeof(path), "%s/%s", dir, attrs[i]);
        if (fs_read_attr(root, path, text, sizeof(text), &e) >= 0)
            (void)buf_putf(&f->text, "%s: %s\n", attrs[i], text);
        else
            (void)buf_putf(&f->text, "%s: (%s)\n", attrs[i], strerror(e.num));
    }
    add_link(root, dir, "driver", &f->text);
    add_link(root, dir, "iommu_group", &f->text);
}

static void
add_host(struct support *s)
{
    struct support_file *f = support_add(s, "versions of kernel and programs", "versions.txt");
    char **names = NULL, path[120], vendor[16];
    struct fs_root root;
    struct utsname u;
    struct err e = ERR_INIT;
    int n;

    if (f && uname(&u) == 0) /* without the name of the machine */
        (void)buf_putf(&f->text, "pgpuctl %s\nkernel %s %s %s\n", pgpuctl_usage.version, u.sysname,
                       u.release, u.machine);
    if (fs_root_open(&root, s->c->root, &e) < 0)
        return;
    add_file(s, "kernel command line", "cmdline.txt", &root, "proc/cmdline");
    add_file(s, "distribution", "os-release.txt", &root, "etc/os-release");
    add_file(s, "kernel lockdown", "lockdown.txt", &root, "sys/kernel/security/lockdown");
    n = fs_list(&root, "sys/bus/pci/devices", ENTRIES_MAX, &names, &e);
    for (int i = 0; i < n; i++) {
        (void)snprintf(path, sizeof(path), "sys/bus/pci/devices/%.60s/vendor", names[i]);
        if (fs_read_attr(&root, path, vendor, sizeof(vendor), &e) >= 0 &&
            strcmp(vendor, "0x10de") == 0)
            add_function(s, &root, names[i]);
    }
    fs_names_free(names);
    fs_root_close(&root);
}

void
support_collect(struct support *s)
{
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        (void)fprintf(stderr, "pgpuctl: %s\n", verbs[i].name);
        add_verb(s, i, s->config);
    }
    (void)fputs("pgpuctl: configuration, journal, CDI, host\n", stderr);
    add_config(s);
    add_journal(s);
    add_cdi(s);
    add_host(s);
}
