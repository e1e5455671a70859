/* SPDX-License-Identifier: Apache-2.0
 *
 * Conformance on a directory: a simulated node, or the running kernel with "/".
 */
#include "conformance.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Linux 6.6; not in the headers of Debian 12 */
#define BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)
struct bind_iommufd {
    uint32_t argsz, flags;
    int32_t iommufd;
    uint32_t out_devid;
};

struct node {
    int fd;
    bool borrowed; /* a simulated device is accessed through its group's descriptor */
};

struct pending {
    pid_t pid;
};

static const char *
full(void *ctx, const char *path, char buf[static 1024])
{
    const char *root = ctx;

    (void)snprintf(buf, 1024, "%s%s", strcmp(root, "/") == 0 ? "" : root, path);
    return buf;
}

static int
dir_write(void *ctx, const char *path, const char *text, size_t len)
{
    char buf[1024];
    int fd = open(full(ctx, path, buf), O_WRONLY | O_CLOEXEC), r;

    if (fd < 0)
        return -errno;
    r = (int)write(fd, text, len);
    if (r < 0)
        r = -errno;
    (void)close(fd);
    return r;
}

static int
dir_read(void *ctx, const char *path, char *text, size_t size)
{
    char buf[1024];
    int fd = open(full(ctx, path, buf), O_RDONLY | O_CLOEXEC), r;

    if (fd < 0)
        return -errno;
    r = (int)read(fd, text, size - 1);
    if (r < 0)
        r = -errno;
    (void)close(fd);
    if (r < 0)
        return r;
    text[r] = '\0';
    if (r > 0 && text[r - 1] == '\n')
        text[r - 1] = '\0';
    return 0;
}

static int
dir_pread(void *ctx, const char *path, void *data, size_t n, off_t off)
{
    char buf[1024];
    int fd = open(full(ctx, path, buf), O_RDONLY | O_CLOEXEC);
    ssize_t r;

    if (fd < 0)
        return -errno;
    r = pread(fd, data, n, off);
    if (r < 0)
        r = -errno;
    else if ((size_t)r != n)
        r = -ENODATA;
    (void)close(fd);
    return (int)r;
}

static int
dir_readlink(void *ctx, const char *path, char *text, size_t size)
{
    char buf[1024];
    ssize_t r = readlink(full(ctx, path, buf), text, size - 1);

    if (r < 0)
        return -errno;
    text[r] = '\0';
    return 0;
}

static int
dir_mode(void *ctx, const char *path)
{
    char buf[1024];
    struct stat st;

    if (stat(full(ctx, path, buf), &st) < 0)
        return -errno;
    return (int)(st.st_mode & 07777);
}

static int
node_of(int fd, bool borrowed, struct node **ret)
{
    struct node *n = malloc(sizeof(*n));

    if (!n)
        abort();
    n->fd = fd;
    n->borrowed = borrowed;
    *ret = n;
    return 0;
}

static int
dir_open(void *ctx, const char *path, int flags, struct node **ret)
{
    char buf[1024];
    int fd = open(full(ctx, path, buf), flags | O_CLOEXEC);

    return fd < 0 ? -errno : node_of(fd, false, ret);
}

static void
dir_close(void *ctx, struct node *n)
{
    (void)ctx;
    if (n && !n->borrowed)
        (void)close(n->fd);
    free(n);
}

/* The kernel's own word on the group has to agree with what it then does; the simulated node cannot
 * carry the structure and leaves it as it is. */
static int
dir_set_container(void *ctx, struct node *group, struct node *container)
{
    struct vfio_group_status status = {.argsz = sizeof(status), .flags = UINT32_MAX};
    bool viable;
    int r = 0;

    (void)ctx;
    if (ioctl(group->fd, VFIO_GROUP_GET_STATUS, &status) < 0)
        return -errno;
    viable = status.flags & VFIO_GROUP_FLAGS_VIABLE;
    if (ioctl(group->fd, VFIO_GROUP_SET_CONTAINER, &container->fd) < 0)
        r = -errno;
    if (status.flags != UINT32_MAX && viable != (r == 0))
        return -EPROTO;
    if (r == 0 && ioctl(container->fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0)
        r = -errno;
    return r;
}

static int
dir_get_device(void *ctx, struct node *group, const char *addr, struct node **ret)
{
    int fd = ioctl(group->fd, VFIO_GROUP_GET_DEVICE_FD, addr);

    (void)ctx;
    if (fd < 0)
        return -errno;
    return fd == 0 ? node_of(group->fd, true, ret) : node_of(fd, false, ret);
}

static int
dir_bind_iommufd(void *ctx, struct node *cdev, struct node *iommufd)
{
    struct bind_iommufd b = {.argsz = sizeof(b), .iommufd = iommufd->fd};

    (void)ctx;
    return ioctl(cdev->fd, BIND_IOMMUFD, &b) < 0 ? -errno : 0;
}

static int
dir_vfio_bar0(void *ctx, struct node *device, uint32_t *ret)
{
    (void)ctx;
    return pread(device->fd, ret, sizeof(*ret), 0) < 0 ? -errno : 0;
}

/* By mmap as on hardware; the simulated file cannot do that and answers pread. */
static int
dir_resource0(void *ctx, const char *path, uint32_t off, bool write, uint32_t *val)
{
    off_t page = off & ~4095u;
    uint32_t in_page = off & 4095u;
    char buf[1024];
    int fd = open(full(ctx, path, buf), O_RDWR | O_CLOEXEC), r = 0;
    char *p;

    if (fd < 0)
        return -errno;
    p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, page);
    if (p != MAP_FAILED) {
        volatile uint32_t *word = (volatile uint32_t *)(void *)(p + in_page);

        if (write)
            *word = *val;
        else
            *val = *word;
        (void)munmap(p, 4096);
    } else if (errno == ENODEV) {
        r = (int)(write ? pwrite(fd, val, sizeof(*val), off) : pread(fd, val, sizeof(*val), off));
        r = r < 0 ? -errno : 0;
    } else {
        r = -errno;
    }
    (void)close(fd);
    return r;
}

/* ---- another process that writes ---- */

static struct pending *
dir_start(void *ctx, const char *path, const char *text)
{
    struct pending *p = malloc(sizeof(*p));
    int r;

    if (!p)
        abort();
    p->pid = fork();
    if (p->pid == 0) {
        /* a copy of a VFIO descriptor would keep the device open for as long as this one blocks */
        (void)close_range(3, ~0u, 0);
        r = dir_write(ctx, path, text, strlen(text));
        _exit(r < 0 ? -r : 0);
    }
    return p;
}

static uint64_t
now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int
dir_wait(void *ctx, struct pending *p, unsigned ms)
{
    struct timespec nap = {.tv_nsec = 2000000};
    uint64_t end = now_ms() + ms;
    int st;

    (void)ctx;
    for (;;) {
        if (waitpid(p->pid, &st, WNOHANG) == p->pid) {
            free(p);
            return WIFEXITED(st) ? -WEXITSTATUS(st) : -EINTR;
        }
        if (now_ms() >= end)
            return -EINPROGRESS;
        (void)nanosleep(&nap, NULL);
    }
}

/* The process is gone only when the kernel lets it go: reap it later, if at all. */
static void
dir_abandon(void *ctx, struct pending *p)
{
    (void)ctx;
    (void)kill(p->pid, SIGKILL);
    free(p);
}

/* ---- what a directory cannot do ---- */

static int
dir_modprobe(void *ctx, const char *module, bool load)
{
    (void)ctx;
    (void)module;
    (void)load;
    return -ENOSYS;
}

static int
dir_hardware(void *ctx, const char *verb, const char *who, const char *addr, const char *arg)
{
    (void)ctx;
    (void)verb;
    (void)who;
    (void)addr;
    (void)arg;
    return -ENOSYS;
}

static int
dir_event(void *ctx, char *payload, size_t size, size_t *ret_len, unsigned ms)
{
    (void)ctx;
    (void)payload;
    (void)size;
    (void)ret_len;
    (void)ms;
    return -ENOSYS;
}

struct backend
conformance_dir(const char *root)
{
    return (struct backend){.ctx = (void *)(uintptr_t)root,
                            .write = dir_write,
                            .read = dir_read,
                            .pread = dir_pread,
                            .readlink = dir_readlink,
                            .mode = dir_mode,
                            .open = dir_open,
                            .close = dir_close,
                            .set_container = dir_set_container,
                            .get_device = dir_get_device,
                            .bind_iommufd = dir_bind_iommufd,
                            .vfio_bar0 = dir_vfio_bar0,
                            .resource0 = dir_resource0,
                            .start = dir_start,
                            .wait = dir_wait,
                            .abandon = dir_abandon,
                            .modprobe = dir_modprobe,
                            .hardware = dir_hardware,
                            .event = dir_event,
                            .blocked_ms = 150,
                            .patience_ms = 30000,
                            .scale = 1.0};
}
