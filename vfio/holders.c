/* SPDX-License-Identifier: Apache-2.0
 *
 * Who has a node of a function open (VFIO's, or the nvidia driver's), by /proc. Best effort and for
 * people: processes of other PID namespaces and those that end meanwhile are not seen. Stateless.
 */
#include "vfio/hold.h"

#include "base/cleanup.h"
#include "vfio/nodes.h"
#include "vfio/parse.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* More than a busy host has; bounds the walk, which otherwise follows whatever processes open. */
#define HOLDER_FDS_MAX 1000000u

struct node {
    char base[32]; /* last component, "17" or "vfio3" */
    struct stat st;
};

struct walk {
    struct node node[3];
    unsigned n_node;
    unsigned budget;
};

static void
closedir_p(DIR **d)
{
    if (*d)
        (void)closedir(*d);
}

static void
add_node(struct walk *w, const struct fs_root *root, const char *path)
{
    struct node *n = &w->node[w->n_node];
    const char *base = strrchr(path, '/') + 1;
    struct err ignored = ERR_INIT;
    /* O_PATH: looks at the node without opening it, which VFIO would notice. */
    _cleanup_fd_ int fd = fs_open(root, path, O_PATH | O_CLOEXEC, 0, &ignored);

    if (fd >= 0 && fstat(fd, &n->st) == 0 && str_copy(n->base, sizeof(n->base), base))
        w->n_node++;
}

/* The nvidia driver's node of this GPU: whoever has it open would make an unbind block in the
 * kernel until it is closed. */
static void
add_nvidia_node(struct walk *w, const struct fs_root *root, const struct vfio_fn *fn)
{
    static const char key[] = "Device Minor:";
    char path[VFIO_PATH_MAX], text[4096];
    struct err ignored = ERR_INIT;
    const char *at;
    char *end;
    long minor;

    (void)snprintf(path, sizeof(path), PATH_NVIDIA_GPUS "/%s/information", PCI_STR(fn->addr));
    if (fs_read_attr(root, path, text, sizeof(text), &ignored) < 0 || !(at = strstr(text, key)))
        return;
    minor = strtol(at + sizeof(key) - 1, &end, 10);
    if (end == at + sizeof(key) - 1 || minor < 0 || minor > 255)
        return;
    (void)snprintf(path, sizeof(path), PATH_DEV_NVIDIA "%ld", minor);
    add_node(w, root, path);
}

/* A runtime makes nodes of its own for a container: same device number, another inode. */
static bool
same_node(const struct node *n, const struct stat *st)
{
    if (S_ISCHR(n->st.st_mode))
        return S_ISCHR(st->st_mode) && st->st_rdev == n->st.st_rdev;
    return st->st_dev == n->st.st_dev && st->st_ino == n->st.st_ino;
}

/* Stat-ing every descriptor of every process would ask foreign file servers and may hang on them;
 * so only those whose link ends in the node's name are looked at. */
static bool
fd_is_node(const struct walk *w, int dirfd, const char *name)
{
    char link[PATH_MAX];
    ssize_t len = readlinkat(dirfd, name, link, sizeof(link) - 1);
    const char *base;
    struct stat st;

    if (len <= 0)
        return false;
    link[len] = '\0';
    base = strrchr(link, '/');
    if (!base)
        return false; /* "socket:[…]" and the like */
    base++;
    for (unsigned i = 0; i < w->n_node; i++) {
        size_t n = strlen(w->node[i].base);

        /* "17", or "17 (deleted)" after the node was unlinked under its holder */
        if (strncmp(base, w->node[i].base, n) != 0 || (base[n] != '\0' && base[n] != ' '))
            continue;
        if (fstatat(dirfd, name, &st, 0) == 0 && same_node(&w->node[i], &st))
            return true;
    }
    return false;
}

static bool
process_holds(struct walk *w, int proc, const char *pid)
{
    char path[32];
    _cleanup_(closedir_p) DIR *d = NULL;
    _cleanup_fd_ int fd = -1;

    if (!str_copy(path, sizeof(path) - 3, pid))
        return false;
    memcpy(path + strlen(path), "/fd", 4);
    fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    d = fdopendir(fd);
    if (!d)
        return false;
    fd = -1; /* owned by d now */
    for (const struct dirent *ent; w->budget > 0 && (ent = readdir(d));) {
        if (ent->d_name[0] == '.')
            continue;
        w->budget--;
        if (fd_is_node(w, dirfd(d), ent->d_name))
            return true;
    }
    return false;
}

static void
read_comm(int proc, const char *pid, char *buf, size_t size)
{
    char path[32];
    _cleanup_fd_ int fd = -1;
    ssize_t n = -1;

    if (str_copy(path, sizeof(path) - 5, pid)) {
        memcpy(path + strlen(path), "/comm", 6);
        fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0)
            n = read(fd, buf, size - 1);
    }
    buf[n > 0 ? n : 0] = '\0';
    /* A process chooses its own name: nothing but printable characters goes into our logs. */
    for (char *p = buf; *p; p++) {
        if (*p == '\n')
            *p = '\0';
        else if (*p < 0x20 || *p > 0x7e)
            *p = '?';
        if (!*p)
            break;
    }
}

int
vfio_holders(const struct fs_root *root, const struct vfio_fn *fn, pid_t self,
             struct vfio_holder *ret, unsigned max, struct err *e)
{
    struct walk w = {.budget = HOLDER_FDS_MAX};
    char path[VFIO_PATH_MAX];
    _cleanup_(closedir_p) DIR *proc = NULL;
    unsigned n = 0;

    if (fn->iommu_group >= 0)
        add_node(&w, root, node_of_group(fn, path));
    if (fn->cdev >= 0)
        add_node(&w, root, node_of_cdev(fn, path));
    if (strcmp(fn->driver, "nvidia") == 0)
        add_nvidia_node(&w, root, fn);
    if (w.n_node == 0)
        return 0; /* no node, nobody holds it */
    proc = opendir(PATH_PROC);
    if (!proc)
        return err_errno(e, errno, ERR_CLASS_RETRY, "find who holds %s: open %s", PCI_STR(fn->addr),
                         PATH_PROC);
    for (const struct dirent *ent; n < max && (ent = readdir(proc));) {
        int pid;

        if (!vfio_parse_int(ent->d_name, 1, INT_MAX, &pid) || pid == self ||
            !process_holds(&w, dirfd(proc), ent->d_name))
            continue;
        ret[n].pid = pid;
        read_comm(dirfd(proc), ent->d_name, ret[n].comm, sizeof(ret[n].comm));
        n++;
    }
    return (int)n;
}
