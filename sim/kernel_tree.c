/* SPDX-License-Identifier: Apache-2.0
 *
 * The tree of the simulated sysfs and devtmpfs, modelled on kernfs: nodes are made and removed by
 * the driver core, open files keep them alive. Caller holds the kernel's lock.
 */
#include "sim/kernel_priv.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LINKS_MAX 40 /* as the kernel's MAXSYMLINKS */

static struct kn *
node_new(struct sim_kernel *k, struct kn *parent, const char *name, mode_t mode)
{
    struct kn *n = calloc(1, sizeof(*n)), **at;

    if (!n || !(n->name = strdup(name)))
        abort(); /* a simulator that is out of memory has nothing to save */
    n->mode = mode;
    n->refs = 1;
    n->ino = k ? ++k->next_ino : 1;
    n->parent = parent;
    if (parent) {
        for (at = &parent->child; *at; at = &(*at)->next)
            ;
        *at = n;
    }
    return n;
}

struct kn *
kn_root_new(void)
{
    struct kn *n = node_new(NULL, NULL, "", S_IFDIR | 0755);

    n->flags = KN_STATIC;
    return n;
}

struct kn *
kn_child(const struct kn *dir, const char *name)
{
    struct kn *n;

    for (n = dir->child; n; n = n->next)
        if (strcmp(n->name, name) == 0)
            return n;
    return NULL;
}

struct kn *
kn_dir(struct sim_kernel *k, struct kn *parent, const char *name, unsigned flags)
{
    struct kn *n = kn_child(parent, name);

    if (n)
        return n;
    n = node_new(k, parent, name, S_IFDIR | 0755);
    n->flags = flags;
    return n;
}

struct kn *
kn_file(struct sim_kernel *k, struct kn *parent, const char *name, mode_t perm, off_t size,
        const struct kn_ops *ops, struct fn *fn, void *priv)
{
    struct kn *n = node_new(k, parent, name, S_IFREG | perm);

    n->size = size;
    n->ops = ops;
    n->fn = fn;
    n->priv = priv;
    return n;
}

struct kn *
kn_link(struct sim_kernel *k, struct kn *parent, const char *name, const char *target)
{
    struct kn *n = node_new(k, parent, name, S_IFLNK | 0777);

    n->target = strdup(target);
    if (!n->target)
        abort();
    n->size = (off_t)strlen(target);
    return n;
}

struct kn *
kn_mkdirs(struct sim_kernel *k, const char *path)
{
    _cleanup_free_ char *copy = strdup(path);
    struct kn *n = k->root;
    char *rest = copy, *part;

    if (!copy)
        abort();
    while ((part = strsep(&rest, "/")))
        if (*part)
            n = kn_dir(k, n, part, KN_STATIC);
    return n;
}

static ssize_t
text_show(struct sim_kernel *k, struct kn *n, char *buf, size_t size)
{
    (void)k;
    return showf(buf, size, "%s", (const char *)n->priv);
}

struct kn *
kn_text(struct sim_kernel *k, const char *path, mode_t perm, const char *text)
{
    static const struct kn_ops ops = {.show = text_show};
    _cleanup_free_ char *copy = strdup(path);
    char *slash, *value = strdup(text);
    struct kn *dir;

    if (!copy || !value)
        abort();
    slash = strrchr(copy, '/');
    *slash = '\0';
    dir = kn_mkdirs(k, copy);
    kn_remove_child(dir, slash + 1);
    /* priv is freed with the node: kn_unref knows text nodes by their show function */
    return kn_file(k, dir, slash + 1, perm, SIM_PAGE, &ops, NULL, value);
}

void
kn_ref(struct kn *n)
{
    n->refs++;
}

void
kn_unref(struct kn *n)
{
    if (!n || --n->refs > 0)
        return;
    if (n->ops && n->ops->show == text_show)
        free(n->priv);
    free(n->name);
    free(n->target);
    free(n);
}

static void
detach(struct kn *n)
{
    struct kn *c, *next;

    for (c = n->child; c; c = next) {
        next = c->next;
        detach(c);
    }
    n->child = n->next = n->parent = NULL;
    n->gone = true;
    kn_unref(n);
}

void
kn_remove(struct kn *n)
{
    struct kn **at;

    if (!n || n->gone)
        return;
    if (n->parent) {
        for (at = &n->parent->child; *at && *at != n; at = &(*at)->next)
            ;
        if (*at)
            *at = n->next;
    }
    detach(n);
}

void
kn_remove_child(struct kn *dir, const char *name)
{
    kn_remove(kn_child(dir, name));
}

/* Writes the path backwards into the end of `buf`; returns where it starts. A removed node has lost
 * its parent, so its path is its name alone. */
const char *
kn_path(const struct kn *n, char *buf, size_t size)
{
    char *p = buf + size - 1;
    size_t len;

    *p = '\0';
    for (; n && n->name[0]; n = n->parent) {
        len = strlen(n->name);
        if ((size_t)(p - buf) < len + 1)
            break;
        p -= len;
        memcpy(p, n->name, len);
        *--p = '/';
    }
    return *p ? p : "/";
}

/* As kernfs_get_target_path (fs/kernfs/symlink.c): a link always ends in its target's name, also
 * where the target is a directory above it. */
const char *
kn_relative(const struct kn *dir, const struct kn *to, char *buf, size_t size)
{
    char a_buf[1024], b_buf[1024];
    const char *a = kn_path(dir, a_buf, sizeof(a_buf)), *b = kn_path(to, b_buf, sizeof(b_buf));
    size_t common = 0, i, used = 0;
    int n;

    /* longest common run of whole components */
    for (i = 0; a[i] && a[i] == b[i]; i++)
        if (a[i] == '/')
            common = i;
    if ((!a[i] || a[i] == '/') && (!b[i] || b[i] == '/'))
        common = i;
    if (!b[common])
        while (common > 0 && b[--common] != '/')
            continue;
    buf[0] = '\0';
    for (i = common; a[i]; i++) {
        if (a[i] != '/')
            continue;
        n = snprintf(buf + used, size - used, "../");
        if (n < 0 || (size_t)n >= size - used)
            return buf;
        used += (size_t)n;
    }
    (void)snprintf(buf + used, size - used, "%s", b[common] ? b + common + 1 : "");
    return buf;
}

struct kn *
kn_link_to(struct sim_kernel *k, struct kn *dir, const char *name, const struct kn *to)
{
    char buf[1024];

    return kn_link(k, dir, name, kn_relative(dir, to, buf, sizeof(buf)));
}

static int
walk(struct sim_kernel *k, struct kn *from, const char *path, bool follow, unsigned *links,
     struct kn **ret)
{
    struct kn *n = *path == '/' ? k->root : from, *next;
    const char *end;
    char part[256];
    size_t len;
    int r;

    for (; *path; path = end) {
        while (*path == '/')
            path++;
        end = strchrnul(path, '/');
        len = (size_t)(end - path);
        if (len == 0)
            break;
        if (len >= sizeof(part))
            return -ENAMETOOLONG;
        if (!S_ISDIR(n->mode))
            return -ENOTDIR;
        memcpy(part, path, len);
        part[len] = '\0';
        if (strcmp(part, ".") == 0)
            continue;
        if (strcmp(part, "..") == 0) {
            n = n->parent ? n->parent : n;
            continue;
        }
        next = kn_child(n, part);
        if (!next)
            return -ENOENT;
        if (S_ISLNK(next->mode) && (*end || follow)) {
            if (++*links > LINKS_MAX)
                return -ELOOP;
            r = walk(k, n, next->target, true, links, &next);
            if (r < 0)
                return r;
        }
        n = next;
    }
    *ret = n;
    return 0;
}

int
kn_walk(struct sim_kernel *k, const char *path, bool follow, struct kn **ret)
{
    unsigned links = 0;

    return walk(k, k->root, path, follow, &links, ret);
}

void
kn_stat(const struct kn *n, struct sim_stat *ret)
{
    *ret = (struct sim_stat){.mode = n->mode, .size = n->size, .ino = n->ino};
}

bool
name_in_list(const char *list, const char *name)
{
    size_t len = strlen(name), part;

    while (list && *list) {
        part = strcspn(list, ",+");
        if (part == len && memcmp(list, name, len) == 0)
            return true;
        list += part;
        if (*list)
            list++;
    }
    return false;
}
