/* SPDX-License-Identifier: Apache-2.0
 *
 * The real system calls behind struct vfio_sys. No state.
 */
#include "vfio/sys.h"

#include "vfio/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int
sys_open(void *ctx, const struct fs_root *root, const char *path)
{
    struct err ignored = ERR_INIT;

    (void)ctx;
    return fs_open(root, path, O_RDWR | O_CLOEXEC, 0, &ignored);
}

static int
sys_ioctl(void *ctx, int fd, unsigned long cmd, uintptr_t arg)
{
    int r = ioctl(fd, cmd, arg);

    (void)ctx;
    return r < 0 ? -errno : r;
}

static ssize_t
sys_pread(void *ctx, int fd, void *buf, size_t n, uint64_t off)
{
    ssize_t r = pread(fd, buf, n, (off_t)off);

    (void)ctx;
    return r < 0 ? -errno : r;
}

static ssize_t
sys_pwrite(void *ctx, int fd, const void *buf, size_t n, uint64_t off)
{
    ssize_t r = pwrite(fd, buf, n, (off_t)off);

    (void)ctx;
    return r < 0 ? -errno : r;
}

static int
sys_eventfd(void *ctx)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    (void)ctx;
    return fd < 0 ? -errno : fd;
}

static void
sys_close(void *ctx, int fd)
{
    (void)ctx;
    if (fd >= 0)
        (void)close(fd);
}

static uint64_t
sys_now_ns(void *ctx)
{
    (void)ctx;
    return clock_now_ns();
}

static void
sys_sleep_ns(void *ctx, uint64_t ns)
{
    (void)ctx;
    clock_sleep_ns(ns);
}

const struct vfio_sys vfio_sys_linux = {
    .open = sys_open,
    .ioctl = sys_ioctl,
    .pread = sys_pread,
    .pwrite = sys_pwrite,
    .eventfd = sys_eventfd,
    .close = sys_close,
    .now_ns = sys_now_ns,
    .sleep_ns = sys_sleep_ns,
};
