/* SPDX-License-Identifier: Apache-2.0
 *
 * The system calls that vfio/ makes on VFIO's own nodes, as a table, so that tests can put a model
 * of the kernel behind them. Private to vfio/. Results are the call's, or -errno; all of them may
 * block.
 */
#ifndef PGPU_VFIO_SYS_H
#define PGPU_VFIO_SYS_H

#include "base/fs.h"

#include <stdint.h>

struct vfio_sys {
    void *ctx;
    int (*open)(void *ctx, const struct fs_root *root, const char *path); /* O_RDWR | O_CLOEXEC */
    int (*ioctl)(void *ctx, int fd, unsigned long cmd, uintptr_t arg);
    ssize_t (*pread)(void *ctx, int fd, void *buf, size_t n, uint64_t off);
    ssize_t (*pwrite)(void *ctx, int fd, const void *buf, size_t n, uint64_t off);
    int (*eventfd)(void *ctx);
    void (*close)(void *ctx, int fd);
    uint64_t (*now_ns)(void *ctx); /* monotonic */
    void (*sleep_ns)(void *ctx, uint64_t ns);
};

extern const struct vfio_sys vfio_sys_linux;

struct vfio_fn;

/* vfio/hold.h's and vfio/dev_vfio.h's functions on a given table. */
struct dev_vfio;
int vfio_hold_on(const struct vfio_sys *sys, const struct fs_root *root, const struct vfio_fn *fn,
                 struct err *e);
int dev_vfio_open_on(const struct vfio_sys *sys, const struct fs_root *root,
                     const struct vfio_fn *fn, int hold, int dev, struct dev_vfio **ret,
                     struct err *e);

/* The open device of a held group: container or iommufd, then the device's descriptor. */
int vfio_group_device(const struct vfio_sys *sys, const struct fs_root *root,
                      const struct vfio_fn *fn, int group, struct err *e);

#endif
