/* SPDX-License-Identifier: Apache-2.0
 *
 * For the valgrind tier only: valgrind 3.19 (Debian 12) does not know openat2, and fs.c has no
 * weaker way on purpose. This preloaded library stands in for it with a walk in user space that
 * keeps RESOLVE_IN_ROOT's results, though not its safety against a tree that changes meanwhile.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LINKS_MAX 40 /* as the kernel: path_resolution(7) */

long syscall(long number, ...);

/* Cuts the last component of a path without a leading slash. */
static void
go_up(char *path)
{
    char *slash = strrchr(path, '/');

    if (slash)
        *slash = '\0';
    else
        path[0] = '\0';
}

/* Puts `first` and what follows `rest` back together; false if that is too long. */
static bool
put_in_front(char rest[2 * PATH_MAX], const char *first, const char *after)
{
    char joined[2 * PATH_MAX];
    int n = snprintf(joined, sizeof(joined), "%s/%s", first, after);

    if (n < 0 || (size_t)n >= sizeof(joined))
        return false;
    memcpy(rest, joined, (size_t)n + 1);
    return true;
}

/* Resolves `path` below root into `done`, which then has no links but perhaps the last one. */
static int
walk(int root, const char *path, bool keep_last, char done[PATH_MAX])
{
    char rest[2 * PATH_MAX], target[PATH_MAX];
    int links = 0;

    if (strlen(path) >= PATH_MAX)
        return ENAMETOOLONG;
    memcpy(rest, path, strlen(path) + 1);
    done[0] = '\0';
    for (char *p = rest;;) {
        while (*p == '/')
            p++;
        if (*p == '\0')
            return 0;
        size_t n = strcspn(p, "/");
        const char *after = p + n + strspn(p + n, "/");
        size_t have = strlen(done);

        if (n == 2 && strncmp(p, "..", 2) == 0) {
            go_up(done);
        } else if (n != 1 || p[0] != '.') {
            if (have + n + 2 > PATH_MAX)
                return ENAMETOOLONG;
            (void)snprintf(done + have, PATH_MAX - have, "%s%.*s", have ? "/" : "", (int)n, p);
            ssize_t len = *after == '\0' && keep_last
                              ? -1
                              : readlinkat(root, done, target, sizeof(target) - 1);
            if (len >= 0) {
                target[len] = '\0';
                if (++links > LINKS_MAX)
                    return ELOOP;
                done[target[0] == '/' ? 0 : have] = '\0';
                if (!put_in_front(rest, target, after))
                    return ENAMETOOLONG;
                p = rest;
                continue;
            }
        }
        p += n;
    }
}

static long
openat2_here(int root, const char *path, const struct open_how *how)
{
    int flags = (int)how->flags;
    char done[PATH_MAX];
    int num = walk(root, path, (flags & O_NOFOLLOW) != 0, done);

    if (num != 0) {
        errno = num;
        return -1;
    }
    return openat(root, done[0] ? done : ".", flags | O_NOFOLLOW, (mode_t)how->mode);
}

long
syscall(long number, ...)
{
    long a[6];
    va_list ap;

    va_start(ap, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    if (number == SYS_openat2) {
        const char *path;
        const struct open_how *how;

        memcpy(&path, &a[1], sizeof(path));
        memcpy(&how, &a[2], sizeof(how));
        return openat2_here((int)a[0], path, how);
    }
    long (*real)(long, ...);
    void *found = dlsym(RTLD_NEXT, "syscall");
    memcpy(&real, &found, sizeof(real));
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
