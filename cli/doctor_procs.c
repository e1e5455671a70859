/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the host's /proc. Owner of the list.
 */
#include "cli/doctor_procs.h"

#include "base/cleanup.h"
#include "cli/doctor_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    ret->args = TAKE_PTR(char, args);
    return true;
}

void
doctor_procs_read(const struct fs_root *host, struct doctor_procs *ret)
{
    struct err e = ERR_INIT;
    char **names = NULL;
    int n = fs_list(host, "/proc", (size_t)PROCS_MAX + 1024, &names, &e);

    if (n < 0)
        return;
    ret->v = calloc((size_t)n + 1, sizeof(*ret->v));
    for (int i = 0; ret->v && i < n; i++)
        if (names[i][strspn(names[i], "0123456789")] == '\0' &&
            read_one(host, names[i], &ret->v[ret->n]))
            ret->n++;
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

const struct doctor_proc *
doctor_proc_find(const struct doctor_procs *p, const char *program)
{
    for (size_t i = 0; i < p->n; i++) {
        const char *args = p->v[i].args;
        size_t len = strcspn(args, " ");
        const char *base = args;

        for (const char *c = args; c < args + len; c++)
            if (*c == '/')
                base = c + 1;
        len -= (size_t)(base - args);
        if ((len == strlen(program) && memcmp(base, program, len) == 0) ||
            strcmp(p->v[i].comm, program) == 0)
            return &p->v[i];
    }
    return NULL;
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
