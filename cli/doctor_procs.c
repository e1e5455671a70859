/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the host's /proc. Owner of the list.
 */
#include "cli/doctor_procs.h"

#include "base/cleanup.h"
#include "cli/doctor_files.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* PROC_PID_INIT_INO of Linux's include/linux/proc_ns.h: the namespace that the machine booted. */
#define PID_NS_INITIAL 0xEFFFFFFCu
#define NS_NAME_MAX 64

/* "mnt:[4026531841]"; "" where it may not be read. */
static void
mount_ns(const struct fs_root *host, const char *pid, char *buf)
{
    struct err e = ERR_INIT;
    char path[64];
    ssize_t n = -1;

    (void)snprintf(path, sizeof(path), "/proc/%s/ns", pid);
    _cleanup_fd_ int dir = fs_open(host, path, O_PATH | O_DIRECTORY, 0, &e);
    if (dir >= 0)
        n = readlinkat(dir, "mnt", buf, NS_NAME_MAX - 1);
    buf[n > 0 ? n : 0] = '\0';
}

/* "812 (comm) S 1 ...": the comm may have blanks and brackets. */
static int
parent_of(const struct fs_root *host, const char *pid)
{
    char path[64], line[512];
    const char *at;

    (void)snprintf(path, sizeof(path), "/proc/%s/stat", pid);
    if (!doctor_line(host, path, line, sizeof(line)) || !(at = strrchr(line, ')')) ||
        strlen(at) < 5)
        return 0;
    return (int)strtol(at + 4, NULL, 10);
}

static bool
read_one(const struct fs_root *host, const char *pid, struct doctor_proc *ret)
{
    char path[64];
    _cleanup_free_ char *args = NULL;
    size_t n;

    (void)snprintf(path, sizeof(path), "/proc/%s/comm", pid);
    if (!doctor_line(host, path, ret->comm, sizeof(ret->comm)))
        return false;
    (void)snprintf(path, sizeof(path), "/proc/%s/cmdline", pid);
    if (doctor_read(host, path, 1u << 20, &args) < 0)
        return false;
    n = strnlen(args, PROC_ARGS_MAX);
    while (n > 0 && args[n - 1] == ' ')
        n--;
    args[n] = '\0';
    ret->pid = (int)strtol(pid, NULL, 10);
    ret->parent = parent_of(host, pid);
    ret->args = TAKE_PTR(char, args);
    return true;
}

bool
doctor_procs_whole(const char *root, ino_t ns_ino)
{
    return strcmp(root, "/") != 0 || ns_ino == 0 || ns_ino == PID_NS_INITIAL;
}

void
doctor_procs_read(const struct fs_root *host, struct doctor_procs *ret)
{
    struct err e = ERR_INIT;
    char first[NS_NAME_MAX], ns[NS_NAME_MAX];
    char **names = NULL;
    struct stat st;
    int n;

    if (!doctor_procs_whole(host->path, stat("/proc/self/ns/pid", &st) == 0 ? st.st_ino : 0))
        return;
    n = fs_list(host, "/proc", (size_t)PROCS_MAX + 1024, &names, &e);
    if (n < 0)
        return;
    mount_ns(host, "1", first);
    ret->v = calloc((size_t)n + 1, sizeof(*ret->v));
    for (int i = 0; ret->v && i < n; i++) {
        if (names[i][strspn(names[i], "0123456789")] != '\0' ||
            !read_one(host, names[i], &ret->v[ret->n]))
            continue;
        mount_ns(host, names[i], ns);
        ret->v[ret->n++].foreign = first[0] && ns[0] && strcmp(first, ns) != 0;
    }
    ret->readable = ret->n > 0;
    fs_names_free(names);
}

void
doctor_procs_free(struct doctor_procs *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->v[i].args);
    free(p->v);
    *p = (struct doctor_procs){0};
}

static bool
runs(const struct doctor_proc *p, const char *program)
{
    size_t len = strcspn(p->args, " ");
    const char *base = p->args;
    char name[256];

    for (const char *c = p->args; c < p->args + len; c++)
        if (*c == '/')
            base = c + 1;
    (void)snprintf(name, sizeof(name), "%.*s", (int)(len - (size_t)(base - p->args)), base);
    return fnmatch(program, name, 0) == 0 || fnmatch(program, p->comm, 0) == 0;
}

const struct doctor_proc *
doctor_proc_next(const struct doctor_procs *p, const struct doctor_proc *prev, const char *program)
{
    for (size_t i = prev ? (size_t)(prev - p->v) + 1 : 0; i < p->n; i++)
        if (runs(&p->v[i], program))
            return &p->v[i];
    return NULL;
}

const struct doctor_proc *
doctor_proc_find(const struct doctor_procs *p, const char *program)
{
    const struct doctor_proc *best = NULL, *at = NULL;

    while ((at = doctor_proc_next(p, at, program))) {
        bool first = at->parent == 1;

        if (!at->foreign && (!best || (first && best->parent != 1) ||
                             (first == (best->parent == 1) && at->pid < best->pid)))
            best = at;
    }
    return best;
}

bool
doctor_proc_option(const struct doctor_proc *p, const char *option, char *buf, size_t size)
{
    char key[64];
    const char *at;
    size_t n;

    (void)snprintf(key, sizeof(key), "%s=", option);
    if (doctor_word(p->args, key, buf, size))
        return true;
    n = strlen(option);
    for (at = p->args; (at = strstr(at, option)); at += n) {
        const char *v = at + n;

        if ((at > p->args && at[-1] != ' ') || *v != ' ')
            continue;
        v += strspn(v, " ");
        n = strcspn(v, " ");
        if (n == 0 || n >= size)
            return false;
        memcpy(buf, v, n);
        buf[n] = '\0';
        return true;
    }
    return false;
}
