/* SPDX-License-Identifier: Apache-2.0
 *
 * The simulated kernel: construction, its one lock, blocking, and the file calls that the fronts
 * use. The lock is never held while a call blocks or a callback of the front runs, except for
 * register traffic (kernel.h).
 */
#include "sim/kernel_priv.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define NS_PER_SEC UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)

/* ---- lock, clock, waiting ---- */

uint64_t
k_now(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

void
k_lock(struct sim_kernel *k)
{
    (void)pthread_mutex_lock(&k->lock);
}

void
k_changed(struct sim_kernel *k)
{
    (void)pthread_cond_broadcast(&k->cond);
}

bool
k_wait(struct sim_kernel *k, uint64_t until_ns)
{
    struct timespec ts;

    if (k->stopping)
        return false;
    k->inside++;
    if (until_ns == UINT64_MAX) {
        (void)pthread_cond_wait(&k->cond, &k->lock);
    } else {
        ts.tv_sec = (time_t)(until_ns / NS_PER_SEC);
        ts.tv_nsec = (long)(until_ns % NS_PER_SEC);
        (void)pthread_cond_timedwait(&k->cond, &k->lock, &ts);
    }
    k->inside--;
    if (k->stopping)
        k_changed(k); /* sim_kernel_free waits for `inside` to fall */
    return !k->stopping;
}

void
k_block(struct sim_kernel *k, uint64_t ns)
{
    uint64_t gen = k->wake_gen, until = ns == UINT64_MAX ? ns : k_now() + ns;

    while ((ns == UINT64_MAX ? k->wake_gen == gen : k_now() < until) && k_wait(k, until))
        ;
}

void
k_delay_ms(struct sim_kernel *k, unsigned ms)
{
    k_block(k, (uint64_t)((double)ms * (double)NS_PER_MS * k->scale));
}

void
sim_k_stop(struct sim_kernel *k)
{
    k_lock(k);
    k->stopping = true;
    k_changed(k);
    k_unlock(k);
}

/* ---- construction ---- */

static int
init_locks(struct sim_kernel *k)
{
    pthread_condattr_t attr;
    int r;

    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    r = pthread_mutex_init(&k->lock, NULL);
    if (r == 0)
        r = pthread_cond_init(&k->cond, &attr);
    (void)pthread_condattr_destroy(&attr);
    return r;
}

/* 1. static files and drivers, 2. groups with a number of their own choice are reserved by making
 * functions in the order given, 3. enumerate, 4. bind what the firmware and udev would have bound.
 */
static int
populate(struct sim_kernel *k, const struct sim_kernel_params *p, struct err *e)
{
    struct fn *f;
    size_t i;
    int r;

    r = sysfs_static_files(k, p);
    if (r < 0)
        return err_set(e, -r, ERR_CLASS_FATAL, "make the simulated tree: %s", strerror(-r));
    (void)drv_load(k, "pcieport");
    for (i = 0; i < p->n_fn; i++)
        if (p->fn[i].group >= 0)
            (void)grp_get(k, p->fn[i].group);
    for (i = 0; i < p->n_fn; i++) {
        r = fn_new(k, &p->fn[i], NULL, &f, e);
        if (r < 0)
            return r;
    }
    for (f = k->fns; f; f = f->next)
        fn_enumerate(k, f, false);
    for (f = k->fns; f; f = f->next)
        if (f->is_bridge)
            core_boot_bind(k, f, "pcieport");
    if (p->vfio_loaded)
        (void)drv_load(k, "vfio-pci");
    for (i = 0; i < p->n_fn; i++) {
        f = fn_at(k, p->fn[i].addr);
        if (p->fn[i].driver && p->fn[i].driver[0])
            core_boot_bind(k, f, p->fn[i].driver);
        if (p->fn[i].num_vfs > 0) {
            r = fn_set_vfs(k, f, p->fn[i].num_vfs, e);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

int
sim_kernel_new(const struct sim_kernel_params *p, struct sim_kernel **ret, struct err *e)
{
    struct sim_kernel *k = calloc(1, sizeof(*k));
    size_t i;
    int r;

    if (!k)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "make a simulated kernel: out of memory");
    if (init_locks(k) != 0) {
        free(k);
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "make a simulated kernel: no locks");
    }
    k->scale = p->time_scale < 0 ? 0 : p->time_scale;
    k->iommufd = p->iommufd;
    k->strict_devmem = p->strict_devmem;
    k->lockdown = p->lockdown;
    k->autoprobe = true;
    k->no_iommu = p->n_fn > 0;
    for (i = 0; i < p->n_fn; i++)
        k->no_iommu = k->no_iommu && p->fn[i].group == -2;
    if (p->state_dir && !(k->state_dir = strdup(p->state_dir)))
        abort();
    k->root = kn_root_new();
    k_lock(k);
    r = populate(k, p, e);
    k_unlock(k);
    if (r < 0) {
        sim_kernel_free(k);
        return r;
    }
    *ret = k;
    return 0;
}

void
sim_kernel_free(struct sim_kernel *k)
{
    struct fn *f;
    struct grp *g;
    struct drv *d;

    if (!k)
        return;
    sim_k_stop(k);
    k_lock(k);
    while (k->inside > 0)
        (void)pthread_cond_wait(&k->cond, &k->lock);
    vmm_free_all(k);
    rules_free(k);
    kn_remove(k->root);
    while ((f = k->fns)) {
        k->fns = f->next;
        fn_free(f);
    }
    while ((g = k->grps)) {
        k->grps = g->next;
        free(g);
    }
    while ((d = k->drvs)) {
        k->drvs = d->next;
        free(d);
    }
    k->on_uevent = NULL;
    k_unlock(k);
    (void)pthread_cond_destroy(&k->cond);
    (void)pthread_mutex_destroy(&k->lock);
    free(k->state_dir);
    free(k);
}

struct sim_gpu *
sim_k_gpu(struct sim_kernel *k, struct pci_addr a)
{
    struct fn *f;

    k_lock(k);
    f = fn_at(k, a);
    k_unlock(k);
    return f ? f->gpu : NULL;
}

void
sim_k_on_uevent(struct sim_kernel *k, void (*cb)(void *ctx, const char *payload, size_t len),
                void *ctx)
{
    k_lock(k);
    k->on_uevent = cb;
    k->uevent_ctx = ctx;
    k_unlock(k);
}

/* ---- names ---- */

int
sim_k_stat(struct sim_kernel *k, const char *path, struct sim_stat *ret)
{
    struct kn *n;
    int r;

    k_lock(k);
    r = kn_walk(k, path, false, &n);
    if (r == 0)
        kn_stat(n, ret);
    k_unlock(k);
    return r;
}

int
sim_k_readlink(struct sim_kernel *k, const char *path, char *buf, size_t size)
{
    struct kn *n;
    int r;

    k_lock(k);
    r = kn_walk(k, path, false, &n);
    if (r == 0 && !S_ISLNK(n->mode))
        r = -EINVAL;
    if (r == 0 && strlen(n->target) >= size)
        r = -ENAMETOOLONG;
    if (r == 0)
        r = snprintf(buf, size, "%s", n->target);
    k_unlock(k);
    return r;
}

int
sim_k_list(struct sim_kernel *k, const char *path, int (*each)(void *ctx, const char *name),
           void *ctx)
{
    char **names = NULL;
    size_t n = 0, i;
    struct kn *dir, *c;
    int r;

    k_lock(k);
    r = kn_walk(k, path, true, &dir);
    if (r == 0 && !S_ISDIR(dir->mode))
        r = -ENOTDIR;
    if (r == 0) {
        for (c = dir->child; c; c = c->next)
            n++;
        names = calloc(n + 1, sizeof(*names));
        if (!names)
            abort();
        for (c = dir->child, i = 0; c; c = c->next, i++)
            names[i] = strdup(c->name);
    }
    k_unlock(k);
    for (i = 0; i < n; i++) {
        if (r == 0 && names[i])
            r = each(ctx, names[i]);
        free(names[i]);
    }
    free(names);
    return r;
}

/* ---- open files ---- */

int
k_open_kn(struct sim_kernel *k, struct kn *n, int flags, struct sim_file **ret)
{
    struct sim_file *f;
    int r = 0, mode = flags & O_ACCMODE;

    if (S_ISDIR(n->mode))
        return -EISDIR;
    if (S_ISLNK(n->mode))
        return -ELOOP;
    /* kernfs refuses what the attribute cannot do, even for root */
    if (!(n->flags & KN_DEV) &&
        ((mode != O_WRONLY && !(n->mode & 0444)) || (mode != O_RDONLY && !(n->mode & 0222))))
        return -EACCES;
    r = rules_check(k, n, OP_OPEN, NULL, 0);
    if (r < 0)
        return r;
    if (n->gone)
        return n->flags & KN_DEV ? -ENXIO : -ENODEV;
    f = calloc(1, sizeof(*f));
    if (!f)
        return -ENOMEM;
    f->k = k;
    f->kn = n;
    f->flags = flags;
    kn_ref(n);
    if (n->ops && n->ops->open)
        r = n->ops->open(f);
    if (r < 0) {
        kn_unref(n);
        free(f);
        return r;
    }
    *ret = f;
    return 0;
}

int
sim_k_open(struct sim_kernel *k, const char *path, int flags, struct sim_file **ret)
{
    struct kn *n;
    int r;

    k_lock(k);
    r = kn_walk(k, path, true, &n);
    if (r == 0) {
        kn_ref(n);
        r = k_open_kn(k, n, flags, ret);
        kn_unref(n);
    }
    k_unlock(k);
    return r;
}

/* An attribute is produced when it is read from its start and then stays for this opening. */
static ssize_t
text_pread(struct sim_file *f, void *buf, size_t n, off_t off)
{
    ssize_t len;

    if (off < 0)
        return -EINVAL;
    if (off == 0) {
        if (!f->text && !(f->text = malloc(SIM_PAGE)))
            return -ENOMEM;
        f->text_len = 0;
        if (f->kn->gone)
            return -ENODEV;
        len = f->kn->ops->show(f->k, f->kn, f->text, SIM_PAGE);
        if (len < 0)
            return len;
        f->text_len = (size_t)len;
    }
    if ((size_t)off >= f->text_len)
        return 0;
    if (n > f->text_len - (size_t)off)
        n = f->text_len - (size_t)off;
    memcpy(buf, f->text + off, n);
    return (ssize_t)n;
}

ssize_t
sim_k_pread(struct sim_file *f, void *buf, size_t n, off_t off)
{
    struct sim_kernel *k = f->k;
    const struct kn_ops *ops = f->kn->ops;
    ssize_t r;

    k_lock(k);
    r = k->rules ? rules_check(k, f->kn, OP_READ, NULL, 0) : 0;
    if (r < 0)
        ;
    else if ((f->flags & O_ACCMODE) == O_WRONLY)
        r = -EBADF;
    else if (ops && ops->read)
        r = ops->read(f, buf, n, off);
    else if (ops && ops->show)
        r = text_pread(f, buf, n, off);
    else
        r = f->kn->flags & KN_DEV ? -EINVAL : -EIO;
    k_unlock(k);
    return r;
}

ssize_t
sim_k_pwrite(struct sim_file *f, const void *buf, size_t n, off_t off)
{
    struct sim_kernel *k = f->k;
    const struct kn_ops *ops = f->kn->ops;
    char text[SIM_PAGE + 1];
    ssize_t r;

    if (n == 0)
        return 0; /* sysfs_kf_write() does not call the attribute then */
    k_lock(k);
    r = rules_check(k, f->kn, OP_WRITE, buf, n);
    if (r < 0)
        ;
    else if (r > 0)
        r = (ssize_t)n;
    else if ((f->flags & O_ACCMODE) == O_RDONLY)
        r = -EBADF;
    else if (ops && ops->write)
        r = ops->write(f, buf, n, off);
    else if (!ops || !ops->store)
        r = f->kn->flags & KN_DEV ? -EINVAL : -EIO;
    else if (f->kn->gone)
        r = -ENODEV;
    else {
        /* kernfs hands an attribute one page at most and terminates it */
        if (n > SIM_PAGE)
            n = SIM_PAGE;
        memcpy(text, buf, n);
        text[n] = '\0';
        r = ops->store(k, f->kn, text, n);
        if (k->stopping)
            r = -ENODEV;
    }
    k_unlock(k);
    return r;
}

int
sim_k_ioctl(struct sim_file *f, unsigned long cmd)
{
    struct sim_kernel *k = f->k;
    int r;

    k_lock(k);
    r = rules_check(k, f->kn, OP_IOCTL, NULL, 0);
    if (r == 0)
        r = f->kn->ops && f->kn->ops->ioctl ? f->kn->ops->ioctl(f, cmd) : -ENOTTY;
    else if (r > 0)
        r = 0;
    k_unlock(k);
    return r;
}

void
k_flush(struct sim_file *f)
{
    k_lock(f->k);
    f->flushed_ns = k_now();
    k_unlock(f->k);
}

void
sim_k_close(struct sim_file *f)
{
    struct sim_kernel *k;

    if (!f)
        return;
    k = f->k;
    k_lock(k);
    if (f->kn->ops && f->kn->ops->close)
        f->kn->ops->close(f);
    kn_unref(f->kn);
    k_unlock(k);
    free(f->text);
    free(f);
}
