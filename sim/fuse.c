/* SPDX-License-Identifier: Apache-2.0
 *
 * The FUSE front, on the low-level API because identities matter here:
 *  - every lookup of a sysfs file gives a fresh inode, as kernfs gives every opening its own lock:
 *    with one inode the VFS would let a hanging write (unbind of one device) block the writers of
 *    all others, who write to the same file;
 *  - a device node keeps one inode, so that inotify watches and /proc see all openings of it.
 * Names are cached only for directories that never go away; attributes use direct I/O, so that each
 * read and write reaches the model. An interrupted or killed caller does not undo what it began:
 * FUSE_INTERRUPT is not looked at, and the VFS keeps the caller waiting, as the real kernel does.
 */
#define FUSE_USE_VERSION 312

#include "sim/fuse.h"

#include "base/cleanup.h"
#include "sim/kernel_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define CACHE_FOREVER 3600.0
#define MAX_THREADS 512 /* each blocked call keeps one */

/* What a FUSE node ID stands for. Stable ones hang on their tree node; fresh ones are alone. */
struct fnode {
    struct fnode *prev, *next;
    struct kn *kn;
    uint64_t lookups;
    bool fresh;
};

/* An open file; listed so that those which outlive the mount are closed. */
struct fopen {
    struct fopen *prev, *next;
    struct sim_file *file;
};

/* Both lists are protected by the kernel's lock. */
struct sim_fuse {
    struct sim_kernel *k;
    struct fuse_session *se;
    pthread_t thread;
    bool started;
    struct fnode *nodes;
    struct fopen *files;
};

#define LIST_ADD(head, x)                                                                          \
    do {                                                                                           \
        (x)->next = (head);                                                                        \
        (x)->prev = NULL;                                                                          \
        if (head)                                                                                  \
            (head)->prev = (x);                                                                    \
        (head) = (x);                                                                              \
    } while (0)
#define LIST_DEL(head, x)                                                                          \
    do {                                                                                           \
        if ((x)->next)                                                                             \
            (x)->next->prev = (x)->prev;                                                           \
        if ((x)->prev)                                                                             \
            (x)->prev->next = (x)->next;                                                           \
        else                                                                                       \
            (head) = (x)->next;                                                                    \
    } while (0)

static struct sim_fuse *
ctx_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

static struct kn *
kn_of(struct sim_kernel *k, fuse_ino_t ino)
{
    return ino == FUSE_ROOT_ID ? k->root : ((struct fnode *)ino)->kn;
}

static void
fill_attr(const struct kn *n, struct stat *st)
{
    memset(st, 0, sizeof(*st));
    st->st_ino = n->ino;
    st->st_mode = n->mode;
    st->st_nlink = S_ISDIR(n->mode) ? 2 : 1;
    st->st_size = n->size;
    st->st_uid = getuid();
    st->st_gid = getgid();
    st->st_blksize = 4096;
}

static double
timeout_of(const struct kn *n)
{
    return (n->flags & KN_STATIC) && S_ISDIR(n->mode) ? CACHE_FOREVER : 0;
}

/* ---- names ---- */

static void
fs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct sim_kernel *k = ctx_of(req)->k;
    struct fuse_entry_param p = {0};
    struct fnode *fresh = calloc(1, sizeof(*fresh)), *node;
    struct kn *n;

    if (!fresh) {
        (void)fuse_reply_err(req, ENOMEM);
        return;
    }
    k_lock(k);
    n = kn_child(kn_of(k, parent), name);
    if (n) {
        node = n->front;
        if (!node) {
            node = fresh;
            fresh = NULL;
            node->kn = n;
            kn_ref(n);
            LIST_ADD(ctx_of(req)->nodes, node);
            if (S_ISREG(n->mode) && !(n->flags & KN_DEV))
                node->fresh = true;
            else
                n->front = node;
        }
        node->lookups++;
        p.ino = (fuse_ino_t)node;
        fill_attr(n, &p.attr);
        p.attr_timeout = p.entry_timeout = timeout_of(n);
    }
    k_unlock(k);
    free(fresh);
    if (!n)
        (void)fuse_reply_err(req, ENOENT);
    else
        (void)fuse_reply_entry(req, &p);
}

static void
forget_one(struct sim_fuse *fs, fuse_ino_t ino, uint64_t count)
{
    struct fnode *node = (struct fnode *)ino;

    if (ino == FUSE_ROOT_ID)
        return;
    node->lookups = node->lookups > count ? node->lookups - count : 0;
    if (node->lookups > 0)
        return;
    if (!node->fresh)
        node->kn->front = NULL;
    LIST_DEL(fs->nodes, node);
    kn_unref(node->kn);
    free(node);
}

static void
fs_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
    struct sim_kernel *k = ctx_of(req)->k;

    k_lock(k);
    forget_one(ctx_of(req), ino, count);
    k_unlock(k);
    fuse_reply_none(req);
}

static void
fs_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    struct sim_kernel *k = ctx_of(req)->k;
    size_t i;

    k_lock(k);
    for (i = 0; i < count; i++)
        forget_one(ctx_of(req), forgets[i].ino, forgets[i].nlookup);
    k_unlock(k);
    fuse_reply_none(req);
}

static void
fs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct sim_kernel *k = ctx_of(req)->k;
    struct stat st;
    const struct kn *n;
    double timeout;

    (void)fi;
    k_lock(k);
    n = kn_of(k, ino);
    fill_attr(n, &st);
    timeout = timeout_of(n);
    k_unlock(k);
    (void)fuse_reply_attr(req, &st, timeout);
}

/* Truncation, as of a shell's ">", and changes of owner or times are accepted and mean nothing. */
static void
fs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
    (void)attr;
    (void)to_set;
    fs_getattr(req, ino, fi);
}

static void
fs_readlink(fuse_req_t req, fuse_ino_t ino)
{
    struct sim_kernel *k = ctx_of(req)->k;
    char buf[1024] = "";
    const struct kn *n;

    k_lock(k);
    n = kn_of(k, ino);
    if (n->target)
        (void)snprintf(buf, sizeof(buf), "%s", n->target);
    k_unlock(k);
    if (buf[0])
        (void)fuse_reply_readlink(req, buf);
    else
        (void)fuse_reply_err(req, EINVAL);
}

static void
fs_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
          struct fuse_file_info *fi)
{
    (void)parent;
    (void)name;
    (void)mode;
    (void)fi;
    (void)fuse_reply_err(req, EACCES); /* as sysfs answers */
}

/* ---- directories ---- */

struct dirbuf {
    char *data;
    size_t len;
};

static void
dir_add(fuse_req_t req, struct dirbuf *b, const char *name, const struct kn *n)
{
    size_t need = fuse_add_direntry(req, NULL, 0, name, NULL, 0);
    char *p = realloc(b->data, b->len + need);
    struct stat st;

    if (!p)
        return;
    b->data = p;
    fill_attr(n, &st);
    (void)fuse_add_direntry(req, p + b->len, need, name, &st, (off_t)(b->len + need));
    b->len += need;
}

static void
fs_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct sim_kernel *k = ctx_of(req)->k;
    struct dirbuf *b = calloc(1, sizeof(*b));
    const struct kn *n, *c;
    bool gone;

    if (!b) {
        (void)fuse_reply_err(req, ENOMEM);
        return;
    }
    k_lock(k);
    n = kn_of(k, ino);
    gone = n->gone;
    dir_add(req, b, ".", n);
    dir_add(req, b, "..", n->parent ? n->parent : n);
    for (c = n->child; c; c = c->next)
        dir_add(req, b, c->name, c);
    k_unlock(k);
    fi->fh = (uint64_t)(uintptr_t)b;
    if (gone || fuse_reply_open(req, fi) != 0) {
        if (gone)
            (void)fuse_reply_err(req, ENOENT);
        free(b->data);
        free(b);
    }
}

static void
fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    const struct dirbuf *b = (const struct dirbuf *)(uintptr_t)fi->fh;
    _cleanup_free_ char *copy = NULL;

    (void)ino;
    if (off < 0 || (size_t)off >= b->len) {
        (void)fuse_reply_buf(req, NULL, 0);
        return;
    }
    if (size > b->len - (size_t)off)
        size = b->len - (size_t)off;
    /* Once the reply is out the reader may close the directory, on another thread, while libfuse's
     * write is still returning: AddressSanitizer looks at the buffer then. */
    copy = malloc(size);
    if (!copy) {
        (void)fuse_reply_err(req, ENOMEM);
        return;
    }
    memcpy(copy, b->data + off, size);
    (void)fuse_reply_buf(req, copy, size);
}

static void
fs_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct dirbuf *b = (struct dirbuf *)(uintptr_t)fi->fh;

    (void)ino;
    free(b->data);
    free(b);
    (void)fuse_reply_err(req, 0);
}

/* ---- files ---- */

static void
file_close(struct sim_fuse *f, struct fopen *o)
{
    k_lock(f->k);
    LIST_DEL(f->files, o);
    k_unlock(f->k);
    sim_k_close(o->file);
    free(o);
}

static void
fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct sim_kernel *k = ctx_of(req)->k;
    struct fopen *o = calloc(1, sizeof(*o));
    int r;

    if (!o) {
        (void)fuse_reply_err(req, ENOMEM);
        return;
    }
    k_lock(k);
    r = k_open_kn(k, kn_of(k, ino), fi->flags, &o->file);
    if (r == 0) {
        o->file->pid = fuse_req_ctx(req)->pid;
        LIST_ADD(ctx_of(req)->files, o);
    }
    k_unlock(k);
    if (r < 0) {
        free(o);
        (void)fuse_reply_err(req, -r);
        return;
    }
    fi->fh = (uint64_t)(uintptr_t)o;
    fi->direct_io = 1;
    if (fuse_reply_open(req, fi) != 0)
        file_close(ctx_of(req), o);
}

static struct sim_file *
file_of(const struct fuse_file_info *fi)
{
    return ((struct fopen *)(uintptr_t)fi->fh)->file;
}

static void
fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    char buf[4096];
    ssize_t r;

    (void)ino;
    if (size > sizeof(buf))
        size = sizeof(buf); /* a short read is fine with direct I/O */
    r = sim_k_pread(file_of(fi), buf, size, off);
    if (r < 0)
        (void)fuse_reply_err(req, (int)-r);
    else
        (void)fuse_reply_buf(req, buf, (size_t)r);
}

static void
fs_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
         struct fuse_file_info *fi)
{
    ssize_t r = sim_k_pwrite(file_of(fi), buf, size, off);

    (void)ino;
    if (r < 0)
        (void)fuse_reply_err(req, (int)-r);
    else
        (void)fuse_reply_write(req, (size_t)r);
}

static void
fs_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg, struct fuse_file_info *fi,
         unsigned flags, const void *in_buf, size_t in_bufsz, size_t out_bufsz)
{
    int r;

    (void)ino;
    (void)arg;
    (void)flags;
    (void)in_buf;
    (void)in_bufsz;
    (void)out_bufsz;
    r = sim_k_ioctl(file_of(fi), cmd);
    if (r < 0)
        (void)fuse_reply_err(req, -r);
    else
        (void)fuse_reply_ioctl(req, r, NULL, 0);
}

/* close(2) waits for this, not for the release that follows it. */
static void
fs_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    k_flush(file_of(fi));
    (void)fuse_reply_err(req, 0);
}

static void
fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    file_close(ctx_of(req), (struct fopen *)(uintptr_t)fi->fh);
    (void)fuse_reply_err(req, 0);
}

static const struct fuse_lowlevel_ops ops = {
    .lookup = fs_lookup,
    .forget = fs_forget,
    .forget_multi = fs_forget_multi,
    .getattr = fs_getattr,
    .setattr = fs_setattr,
    .readlink = fs_readlink,
    .create = fs_create,
    .opendir = fs_opendir,
    .readdir = fs_readdir,
    .releasedir = fs_releasedir,
    .open = fs_open,
    .read = fs_read,
    .write = fs_write,
    .ioctl = fs_ioctl,
    .flush = fs_flush,
    .release = fs_release,
};

/* ---- mounting ---- */

static int
check_can_mount(const char *dir, struct err *e)
{
    struct stat st;

    if (stat(dir, &st) < 0)
        return errno == ENOTCONN
                   ? err_set(e, ENOTCONN, ERR_CLASS_FATAL,
                             "mount %s: a dead mount is still there: umount -l %s", dir, dir)
                   : err_errno(e, errno, ERR_CLASS_FATAL, "mount point %s", dir);
    if (!S_ISDIR(st.st_mode))
        return err_set(e, ENOTDIR, ERR_CLASS_FATAL, "mount point %s: not a directory", dir);
    if (access("/dev/fuse", R_OK | W_OK) < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL,
                         "open /dev/fuse (load the fuse module, or give the container the device)");
    if (stat("/dev/fuse", &st) < 0 || !S_ISCHR(st.st_mode) || major(st.st_rdev) != 10 ||
        minor(st.st_rdev) != 229)
        return err_set(e, ENODEV, ERR_CLASS_FATAL,
                       "open /dev/fuse: that is not the FUSE device (mknod /dev/fuse c 10 229)");
    return 0;
}

/* libfuse prints why a mount failed; we say it ourselves. */
static void
no_log(enum fuse_log_level level, const char *fmt, va_list ap)
{
    (void)level;
    (void)fmt;
    (void)ap;
}

int
sim_fuse_mount(struct sim_kernel *k, const char *dir, struct sim_fuse **ret, struct err *e)
{
    char prog[] = "pgpu-sim", opt[] = "-ofsname=pgpu-sim,subtype=pgpu-sim";
    char *argv[] = {prog, opt, NULL};
    struct fuse_args args = FUSE_ARGS_INIT(2, argv);
    struct sim_fuse *f;
    int r = check_can_mount(dir, e);

    if (r < 0)
        return r;
    f = calloc(1, sizeof(*f));
    if (!f)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "mount %s: out of memory", dir);
    f->k = k;
    fuse_set_log_func(no_log);
    f->se = fuse_session_new(&args, &ops, sizeof(ops), f);
    fuse_opt_free_args(&args);
    if (f->se && fuse_session_mount(f->se, dir) == 0) {
        *ret = f;
        return 0;
    }
    if (f->se)
        fuse_session_destroy(f->se);
    free(f);
    return err_set(e, EPERM, ERR_CLASS_FATAL,
                   "mount a FUSE file system at %s: not permitted: needs root with CAP_SYS_ADMIN, "
                   "or fusermount3 (package fuse3)",
                   dir);
}

static void
on_wake(int sig)
{
    (void)sig;
}

static void *
serve(void *arg)
{
    struct sim_fuse *f = arg;
    struct fuse_loop_config *cfg = fuse_loop_cfg_create();

    fuse_loop_cfg_set_max_threads(cfg, MAX_THREADS);
    (void)fuse_session_loop_mt(f->se, cfg);
    fuse_loop_cfg_destroy(cfg);
    return NULL;
}

int
sim_fuse_start(struct sim_fuse *f, struct err *e)
{
    struct sigaction sa = {.sa_handler = on_wake};
    int r;

    (void)sigemptyset(&sa.sa_mask);
    (void)sigaction(SIGUSR2, &sa, NULL); /* wakes the loop's semaphore wait; no SA_RESTART */
    r = pthread_create(&f->thread, NULL, serve, f);
    if (r != 0)
        return err_errno(e, r, ERR_CLASS_FATAL, "start the FUSE thread");
    f->started = true;
    return 0;
}

/* 1. blocked calls end, 2. the loop is told to leave and woken until it does, 3. unmount. */
void
sim_fuse_stop(struct sim_fuse *f)
{
    struct timespec ts;

    if (!f)
        return;
    sim_k_stop(f->k);
    if (f->started) {
        fuse_session_exit(f->se);
        do {
            (void)pthread_kill(f->thread, SIGUSR2);
            (void)clock_gettime(CLOCK_REALTIME, &ts);
            ts.tv_nsec += 10000000;
            if (ts.tv_nsec >= 1000000000) {
                ts.tv_sec++;
                ts.tv_nsec -= 1000000000;
            }
        } while (pthread_timedjoin_np(f->thread, NULL, &ts) != 0);
    }
    fuse_session_unmount(f->se);
    fuse_session_destroy(f->se);
    while (f->files) /* whose owners learnt of the end by ENOTCONN */
        file_close(f, f->files);
    k_lock(f->k);
    while (f->nodes)
        forget_one(f, (fuse_ino_t)f->nodes, UINT64_MAX);
    k_unlock(f->k);
    free(f);
}
