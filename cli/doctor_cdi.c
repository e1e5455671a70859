/* SPDX-License-Identifier: Apache-2.0
 *
 * doctor's area `cdi`: the two directories in which Kata and containerd look devices up, judged by
 * the same rules as `pgpuctl cdi lint`.
 */
#include "cli/doctor.h"

#include "base/cleanup.h"
#include "cdi/cdi.h"
#include "cli/doctor_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define STATIC_DIR "/etc/cdi"

enum {
    C_CDI_POISON,
    C_CDI_WARNING,
    C_CDI_STALE_NVIDIA,
    C_CDI_DIR_OPEN,
    C_CDI_WRITE,
    C_CDI_UNREADABLE,
};

static const struct doctor_check checks[] = {
    [C_CDI_POISON] = {"CDI_POISON", DOCTOR_ERROR, "every file is accepted",
                      "Kata reads all files of both directories and fails on any error in any of "
                      "them, whoever wrote it: no GPU pod of the node starts.",
                      "move the file away; `pgpuctl cdi lint` says what is wrong with it"},
    [C_CDI_WARNING] = {"CDI_WARNING", DOCTOR_WARNING, "no surprises in accepted files",
                       "The file is accepted, and something in it hurts a pod later.",
                       "`pgpuctl cdi lint` says who is hurt; correct or remove the file"},
    [C_CDI_STALE_NVIDIA] = {"CDI_STALE_NVIDIA", DOCTOR_WARNING, "files of NVIDIA's plugin",
                            "NVIDIA's plugin writes its file once and never removes it. Beside "
                            "pgpud's, one device in two files is an error for every GPU pod.",
                            "take NVIDIA's sandbox device plugin off the node, then remove the "
                            "file"},
    [C_CDI_DIR_OPEN] = {"CDI_DIR_OPEN", DOCTOR_ERROR, "who may write there",
                        "Whoever may write a CDI file decides which device nodes containers and "
                        "VMs get.",
                        "chown root:root and chmod 0755 the directory"},
    [C_CDI_WRITE] = {"CDI_WRITE", DOCTOR_ERROR, "pgpud's CDI directory",
                     "A GPU is offered only after its CDI file is on disk.", NULL},
    [C_CDI_UNREADABLE] = {"CDI_UNREADABLE", DOCTOR_ERROR, "directories can be read",
                          "Kata fails where the directories cannot be read.",
                          "look at the directory's owner, mode and type"},
};

struct dirs {
    size_t n;
    const char *name[2]; /* as on the host */
    char real[2][64];
    int fd[2];
};

/* "/proc/self/fd/7/x.json" -> "/etc/cdi/x.json" */
static void
host_name(const struct dirs *s, const char *file, char *buf, size_t size)
{
    (void)snprintf(buf, size, "%s", file);
    for (size_t i = 0; i < s->n; i++)
        if (strncmp(file, s->real[i], strlen(s->real[i])) == 0)
            (void)snprintf(buf, size, "%s%s", s->name[i], file + strlen(s->real[i]));
}

static bool
about_this_host(const struct doctor *d)
{
    return strcmp(d->host.path, "/") == 0 && strcmp(d->hw.path, "/") == 0;
}

/* The lint looks for device nodes on the machine it runs on; the host's may be elsewhere, and those
 * of a simulated one are plain files. */
static bool
node_is_there(const struct doctor *d, const char *text)
{
    const char *begin = strchr(text, '/'), *end = strstr(text, " is not there");
    char path[96];
    struct stat st;

    if (!end)
        end = strstr(text, " is not a device");
    if (about_this_host(d) || !begin || !end || end < begin ||
        (size_t)(end - begin) >= sizeof(path))
        return false;
    (void)snprintf(path, sizeof(path), "%.*s", (int)(end - begin), begin);
    return doctor_stat(&d->hw, path, &st) == 0;
}

/* The worst that any of the three readers says of one file. */
static void
judge_file(struct doctor *d, const struct dirs *s, const struct cdi_finding *f, size_t *bad)
{
    const struct cdi_finding *worst = &f[0];
    char name[300], text[300];

    for (int i = 1; i < CDI_CONSUMERS; i++)
        if (f[i].verdict > worst->verdict)
            worst = &f[i];
    if (worst->verdict < CDI_WARN || (worst->verdict == CDI_WARN && node_is_there(d, worst->text)))
        return;
    ++*bad;
    host_name(s, f[0].file, name, sizeof(name));
    (void)snprintf(text, sizeof(text), "%s", worst->text);
    for (size_t i = 0; i < s->n; i++)
        doctor_rename(text, sizeof(text), s->real[i], s->name[i]);
    if (worst->verdict >= CDI_POISON) {
        doctor_bad(d, &checks[C_CDI_POISON], name, "%s%s: %s",
                   worst->verdict == CDI_CRASH ? "crashes " : "refused by ",
                   cdi_consumer_name(worst->consumer), text);
        doctor_cure(d, "mv %s %s.bad", name, name);
    } else {
        doctor_bad(d, &checks[C_CDI_WARNING], name, "%s: %s", cdi_consumer_name(worst->consumer),
                   text);
    }
}

static void
lint(struct doctor *d, const struct dirs *s)
{
    const char *paths[2];
    struct cdi_report *r = NULL;
    struct err e = ERR_INIT;
    size_t bad = 0;

    for (size_t i = 0; i < s->n; i++)
        paths[i] = s->real[i];
    if (cdi_lint(paths, s->n, &r, &e) < 0) {
        for (size_t i = 0; i < s->n; i++)
            doctor_rename(e.msg, sizeof(e.msg), s->real[i], s->name[i]);
        doctor_bad(d, &checks[C_CDI_UNREADABLE], NULL, "%s", e.msg);
        return;
    }
    for (size_t i = 0; i + CDI_CONSUMERS <= r->n; i += CDI_CONSUMERS)
        judge_file(d, s, &r->v[i], &bad);
    if (bad == 0)
        doctor_ok(d, &checks[C_CDI_POISON], "%zu file%s, all fine", r->n / CDI_CONSUMERS,
                  r->n / CDI_CONSUMERS == 1 ? "" : "s");
    cdi_report_free(r);
}

/* sandbox-device-plugin and k8s-kata-manager write these (YAML; ours are .json). */
static void
check_nvidia(struct doctor *d, const char *dir)
{
    static const char *const names[] = {"nvidia.com-pgpu.yaml", "nvidia.com-nvswitch.yaml"};
    char path[320];
    struct stat st;

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        if (doctor_stat(&d->host, doctor_path(d, path), &st) < 0)
            continue;
        doctor_bad(d, &checks[C_CDI_STALE_NVIDIA], path, "written by NVIDIA's plugin");
        doctor_cure(d, "take NVIDIA's sandbox device plugin off the node, then: rm %s", path);
    }
}

static void
check_dir(struct doctor *d, const struct dirs *s, size_t i)
{
    struct statvfs vfs;
    struct stat st;

    if (fstat(s->fd[i], &st) < 0)
        return;
    if (st.st_uid != 0 || (st.st_mode & 0022)) {
        doctor_bad(d, &checks[C_CDI_DIR_OPEN], s->name[i], "owner %u, mode %04o",
                   (unsigned)st.st_uid, (unsigned)(st.st_mode & 07777));
        doctor_cure(d, "chown root:root %s; chmod 0755 %s", s->name[i], s->name[i]);
    } else {
        doctor_ok(d, &checks[C_CDI_DIR_OPEN], "%s: root only", s->name[i]);
    }
    if (strcmp(s->name[i], d->conf.cdi_dir) != 0)
        return;
    /* A read-only mount of the host's root for doctor itself says nothing about pgpud's. */
    if (fstatvfs(s->fd[i], &vfs) == 0 && vfs.f_bavail == 0)
        doctor_bad(d, &checks[C_CDI_WRITE], s->name[i], "no space is left there");
    else if (about_this_host(d) && (vfs.f_flag & ST_RDONLY))
        doctor_bad(d, &checks[C_CDI_WRITE], s->name[i], "mounted read-only");
    else
        doctor_ok(d, &checks[C_CDI_WRITE], "%s", s->name[i]);
}

static void
run(struct doctor *d)
{
    const char *const want[] = {STATIC_DIR, d->conf.cdi_dir};
    struct dirs s = {.n = 0};

    for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
        struct stat st;
        int r = doctor_stat(&d->host, doctor_path(d, want[i]), &st);
        int fd;

        if (r == -ENOENT) {
            if (i == 1) {
                doctor_bad(d, &checks[C_CDI_WRITE], want[i], "does not exist yet");
                doctor_cure(d, "mkdir -p %s (pgpud makes it when it starts)", want[i]);
                doctor_severity(d, DOCTOR_INFO);
            }
            continue;
        }
        if (r >= 0 && !S_ISDIR(st.st_mode)) {
            doctor_bad(d, &checks[C_CDI_UNREADABLE], want[i], "is no directory");
            continue;
        }
        fd = doctor_real(&d->host, doctor_path(d, want[i]), O_RDONLY | O_DIRECTORY | O_NOFOLLOW,
                         s.real[s.n], sizeof(s.real[0]));
        if (fd == -ENOTDIR || fd == -ELOOP) {
            doctor_bad(d, &checks[C_CDI_WARNING], want[i],
                       "is a symbolic link: Kata's Go shim reads nothing in it");
            doctor_cure(d, "make it a directory, or bind-mount it");
            continue;
        }
        if (fd < 0) {
            doctor_unknown(d, &checks[C_CDI_POISON], want[i], "%s", strerror(-fd));
            continue;
        }
        /* the directory, not the link that /proc shows */
        (void)snprintf(s.real[s.n], sizeof(s.real[0]), "/proc/self/fd/%d/.", fd);
        s.name[s.n] = want[i];
        s.fd[s.n++] = fd;
        check_nvidia(d, want[i]);
    }
    for (size_t i = 0; i < s.n; i++)
        check_dir(d, &s, i);
    lint(d, &s);
    for (size_t i = 0; i < s.n; i++)
        (void)close(s.fd[i]);
}

const struct doctor_area doctor_cdi = {"cdi", "CDI files", checks, ARRAY_SIZE(checks), run};
