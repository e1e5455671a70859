/* SPDX-License-Identifier: Apache-2.0
 *
 * The binary files of a PCI function: `config` and `resourceN`. Accesses are split as the kernel
 * splits them. `resource0` stands for an mmap: it answers pread and pwrite of whole 32-bit words
 * and refuses where mmap would (kernel lockdown, strict devmem). Caller holds the kernel's lock.
 */
#include "sim/kernel_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define CONFIG_SIZE 4096
#define BAR_CHUNK 4096u /* most bytes of one resource0 call: bounds the time under the lock */
#define GARBAGE_BYTE 0x5a

static uint32_t
ones(unsigned width)
{
    return width == 1 ? 0xffu : width == 2 ? 0xffffu : 0xffffffffu;
}

uint32_t
fn_bar_read(struct fn *f, uint32_t off)
{
    return f->plugged ? sim_gpu_bar_read(f->gpu, off) : 0xffffffffu;
}

uint32_t
fn_cfg_read(struct fn *f, uint32_t off, unsigned width)
{
    return f->plugged ? sim_gpu_cfg_read(f->gpu, off, width) : ones(width);
}

/* ---- config ---- */

/* pci_read_config(): a byte and a word up to alignment, then dwords, then the rest. */
static unsigned
next_width(size_t off, size_t left)
{
    if ((off & 1) || left < 2)
        return 1;
    if ((off & 2) || left < 4)
        return 2;
    return 4;
}

static ssize_t
config_read(struct sim_file *file, void *buf, size_t n, off_t off)
{
    struct fn *f = file->kn->fn;
    uint8_t *p = buf;
    size_t done = 0;
    unsigned w;
    uint32_t v;

    if (off < 0)
        return -EINVAL;
    if (off >= CONFIG_SIZE)
        return 0;
    if (n > (size_t)(CONFIG_SIZE - off))
        n = (size_t)(CONFIG_SIZE - off);
    if (name_in_list(f->garbage, "config")) {
        memset(buf, GARBAGE_BYTE, n);
        return (ssize_t)n;
    }
    while (done < n) {
        w = next_width((size_t)off + done, n - done);
        v = fn_cfg_read(f, (uint32_t)((size_t)off + done), w);
        memcpy(p + done, &v, w); /* little-endian hosts only, as everything here */
        done += w;
    }
    return (ssize_t)n;
}

static ssize_t
config_write(struct sim_file *file, const void *buf, size_t n, off_t off)
{
    struct fn *f = file->kn->fn;
    const uint8_t *p = buf;
    size_t done = 0;
    unsigned w;
    uint32_t v;

    if (f->k->lockdown)
        return -EPERM; /* security_locked_down(LOCKDOWN_PCI_ACCESS) */
    if (off < 0)
        return -EINVAL;
    if (off >= CONFIG_SIZE)
        return 0;
    if (n > (size_t)(CONFIG_SIZE - off))
        n = (size_t)(CONFIG_SIZE - off);
    while (done < n) {
        w = next_width((size_t)off + done, n - done);
        v = 0;
        memcpy(&v, p + done, w);
        if (f->plugged)
            sim_gpu_cfg_write(f->gpu, (uint32_t)((size_t)off + done), w, v);
        done += w;
    }
    return (ssize_t)n;
}

/* ---- resourceN ---- */

static int
bar_allowed(const struct fn *f, size_t n, off_t off)
{
    if (f->k->lockdown)
        return -EPERM;
    /* iomem_is_exclusive(): only once the VFIO user has claimed the region */
    if (f->k->strict_devmem && f->holder && f->touched)
        return -EINVAL;
    if (off < 0 || off % 4 != 0 || n % 4 != 0)
        return -EINVAL;
    return 0;
}

static ssize_t
bar_read(struct sim_file *file, void *buf, size_t n, off_t off)
{
    struct fn *f = file->kn->fn;
    uint8_t *p = buf;
    size_t done;
    uint32_t v;
    int r = bar_allowed(f, n, off);

    if (r < 0)
        return r;
    if (off >= file->kn->size)
        return 0;
    if (n > BAR_CHUNK)
        n = BAR_CHUNK;
    for (done = 0; done < n; done += 4) {
        /* BAR2 and BAR4 are framebuffer and RAM: nothing of interest */
        v = file->kn->priv ? fn_bar_read(f, (uint32_t)((size_t)off + done)) : 0;
        memcpy(p + done, &v, 4);
    }
    return (ssize_t)n;
}

static ssize_t
bar_write(struct sim_file *file, const void *buf, size_t n, off_t off)
{
    struct fn *f = file->kn->fn;
    const uint8_t *p = buf;
    size_t done;
    uint32_t v;
    int r = bar_allowed(f, n, off);

    if (r < 0)
        return r;
    if (off >= file->kn->size)
        return -EFBIG;
    if (n > BAR_CHUNK)
        n = BAR_CHUNK;
    for (done = 0; done < n; done += 4) {
        memcpy(&v, p + done, 4);
        if (file->kn->priv && f->plugged)
            sim_gpu_bar_write(f->gpu, (uint32_t)((size_t)off + done), v);
    }
    return (ssize_t)n;
}

static const struct kn_ops config_ops = {.read = config_read, .write = config_write};
static const struct kn_ops bar_ops = {.read = bar_read, .write = bar_write};

void
sysfs_fn_bin_files(struct sim_kernel *k, struct fn *f)
{
    const struct sim_model *m = f->model;
    const uint64_t sizes[] = {m->bar0_size, 0, m->bar2_size, 0, m->bar4_size};
    char name[32];
    unsigned i;

    if (!fn_attr_missing(f, "config"))
        (void)kn_file(k, f->dir, "config", 0644, CONFIG_SIZE, &config_ops, f, NULL);
    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        (void)snprintf(name, sizeof(name), "resource%u", i);
        if (sizes[i] == 0 || fn_attr_missing(f, name))
            continue;
        (void)kn_file(k, f->dir, name, 0600, (off_t)sizes[i], &bar_ops, f, i == 0 ? f : NULL);
        if (m->kind == SIM_PLAIN)
            continue;
        (void)snprintf(name, sizeof(name), "resource%u_wc", i);
        (void)kn_file(k, f->dir, name, 0600, (off_t)sizes[i], &bar_ops, f, i == 0 ? f : NULL);
    }
}
