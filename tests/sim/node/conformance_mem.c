/* SPDX-License-Identifier: Apache-2.0
 *
 * Conformance on the in-memory model. A blocked writer is a thread here; abandoning it leaves it to
 * the model, which is what the kernel does with a killed one.
 */
#include "conformance_mem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)

struct node {
    struct sim_file *file;
    bool borrowed;
};

struct pending {
    struct sim_kernel *k;
    char path[512], text[128];
    atomic_int result; /* 1: not yet */
    atomic_int owners; /* the thread and the caller */
};

static int
mem_open(void *ctx, const char *path, int flags, struct node **ret)
{
    struct node *n = calloc(1, sizeof(*n));
    int r;

    if (!n)
        abort();
    r = sim_k_open(ctx, path, flags, &n->file);
    if (r < 0) {
        free(n);
        return r;
    }
    *ret = n;
    return 0;
}

static void
mem_close(void *ctx, struct node *n)
{
    (void)ctx;
    if (n && !n->borrowed)
        sim_k_close(n->file);
    free(n);
}

static int
mem_write(void *ctx, const char *path, const char *text, size_t len)
{
    struct sim_file *f;
    int r = sim_k_open(ctx, path, O_WRONLY, &f);

    if (r < 0)
        return r;
    r = (int)sim_k_pwrite(f, text, len, 0);
    sim_k_close(f);
    return r;
}

static int
mem_read(void *ctx, const char *path, char *buf, size_t size)
{
    struct sim_file *f;
    ssize_t n;
    int r = sim_k_open(ctx, path, O_RDONLY, &f);

    if (r < 0)
        return r;
    n = sim_k_pread(f, buf, size - 1, 0);
    sim_k_close(f);
    if (n < 0)
        return (int)n;
    buf[n] = '\0';
    if (n > 0 && buf[n - 1] == '\n')
        buf[n - 1] = '\0';
    return 0;
}

static int
mem_pread(void *ctx, const char *path, void *data, size_t n, off_t off)
{
    struct sim_file *f;
    ssize_t r = sim_k_open(ctx, path, O_RDONLY, &f);

    if (r < 0)
        return (int)r;
    r = sim_k_pread(f, data, n, off);
    sim_k_close(f);
    return r >= 0 && (size_t)r != n ? -ENODATA : (int)r;
}

static int
mem_readlink(void *ctx, const char *path, char *buf, size_t size)
{
    int r = sim_k_readlink(ctx, path, buf, size);

    return r < 0 ? r : 0;
}

static int
mem_mode(void *ctx, const char *path)
{
    struct sim_stat st;
    int r = sim_k_stat(ctx, path, &st);

    return r < 0 ? r : (int)(st.mode & 07777);
}

static int
mem_set_container(void *ctx, struct node *group, struct node *container)
{
    int r = sim_k_ioctl(group->file, VFIO_GROUP_SET_CONTAINER);

    (void)ctx;
    return r < 0 ? r : sim_k_ioctl(container->file, VFIO_SET_IOMMU);
}

static int
mem_get_device(void *ctx, struct node *group, const char *addr, struct node **ret)
{
    int r = sim_k_ioctl(group->file, VFIO_GROUP_GET_DEVICE_FD);
    struct node *n;

    (void)ctx;
    (void)addr;
    if (r < 0)
        return r;
    n = calloc(1, sizeof(*n));
    if (!n)
        abort();
    n->file = group->file;
    n->borrowed = true;
    *ret = n;
    return 0;
}

static int
mem_bind_iommufd(void *ctx, struct node *cdev, struct node *iommufd)
{
    (void)ctx;
    (void)iommufd;
    return sim_k_ioctl(cdev->file, BIND_IOMMUFD);
}

static int
mem_vfio_bar0(void *ctx, struct node *device, uint32_t *ret)
{
    (void)ctx;
    return (int)sim_k_pread(device->file, ret, sizeof(*ret), 0);
}

static int
mem_resource0(void *ctx, const char *path, uint32_t off, bool write, uint32_t *val)
{
    struct sim_file *f;
    ssize_t r = sim_k_open(ctx, path, O_RDWR, &f);

    if (r < 0)
        return (int)r;
    r = write ? sim_k_pwrite(f, val, sizeof(*val), off) : sim_k_pread(f, val, sizeof(*val), off);
    sim_k_close(f);
    return r < 0 ? (int)r : 0;
}

/* ---- another thread that writes ---- */

static void
pending_put(struct pending *p)
{
    if (atomic_fetch_sub(&p->owners, 1) == 1)
        free(p);
}

static void *
pending_run(void *arg)
{
    struct pending *p = arg;
    int r = mem_write(p->k, p->path, p->text, strlen(p->text));

    atomic_store(&p->result, r < 0 ? r : 0);
    pending_put(p);
    return NULL;
}

static struct pending *
mem_start(void *ctx, const char *path, const char *text)
{
    struct pending *p = calloc(1, sizeof(*p));
    pthread_t t;

    if (!p)
        abort();
    p->k = ctx;
    (void)snprintf(p->path, sizeof(p->path), "%s", path);
    (void)snprintf(p->text, sizeof(p->text), "%s", text);
    atomic_store(&p->result, 1);
    atomic_store(&p->owners, 2);
    if (pthread_create(&t, NULL, pending_run, p) != 0)
        abort();
    (void)pthread_detach(t);
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
mem_wait(void *ctx, struct pending *p, unsigned ms)
{
    struct timespec nap = {.tv_nsec = 2000000};
    uint64_t end = now_ms() + ms;
    int r;

    (void)ctx;
    for (;;) {
        r = atomic_load(&p->result);
        if (r <= 0) {
            pending_put(p);
            return r;
        }
        if (now_ms() >= end)
            return -EINPROGRESS;
        (void)nanosleep(&nap, NULL);
    }
}

static void
mem_abandon(void *ctx, struct pending *p)
{
    (void)ctx;
    pending_put(p);
}

/* ---- control, events ---- */

static int
mem_control(struct sim_kernel *k, const char *line)
{
    char reply[256];
    struct err e = ERR_INIT;

    return sim_k_control(k, line, reply, sizeof(reply), &e) < 0 ? -e.num : 0;
}

static int
mem_modprobe(void *ctx, const char *module, bool load)
{
    char line[128];

    (void)snprintf(line, sizeof(line), "%s %s", load ? "load" : "unload", module);
    return mem_control(ctx, line);
}

static int
mem_hardware(void *ctx, const char *verb, const char *who, const char *addr, const char *arg)
{
    char line[128];

    (void)who;
    (void)snprintf(line, sizeof(line), "%s %s %s", verb, addr, arg);
    return mem_control(ctx, line);
}

/* A pipe that keeps payloads apart; whoever causes an event writes it, the caller reads it. */
static int event_fds[2] = {-1, -1};

static void
on_event(void *ctx, const char *payload, size_t len)
{
    (void)ctx;
    (void)!send(event_fds[1], payload, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int
mem_event(void *ctx, char *payload, size_t size, size_t *ret_len, unsigned ms)
{
    struct pollfd p = {.fd = event_fds[0], .events = POLLIN};
    ssize_t n;

    (void)ctx;
    if (poll(&p, 1, (int)ms) <= 0)
        return -EAGAIN;
    n = recv(event_fds[0], payload, size, 0);
    if (n < 0)
        return -errno;
    *ret_len = (size_t)n;
    return 0;
}

struct backend
conformance_mem(struct sim_kernel *k)
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, event_fds) < 0)
        abort();
    sim_k_on_uevent(k, on_event, NULL);
    return (struct backend){.ctx = k,
                            .write = mem_write,
                            .read = mem_read,
                            .pread = mem_pread,
                            .readlink = mem_readlink,
                            .mode = mem_mode,
                            .open = mem_open,
                            .close = mem_close,
                            .set_container = mem_set_container,
                            .get_device = mem_get_device,
                            .bind_iommufd = mem_bind_iommufd,
                            .vfio_bar0 = mem_vfio_bar0,
                            .resource0 = mem_resource0,
                            .start = mem_start,
                            .wait = mem_wait,
                            .abandon = mem_abandon,
                            .modprobe = mem_modprobe,
                            .hardware = mem_hardware,
                            .event = mem_event,
                            .blocked_ms = 150,
                            .patience_ms = 30000,
                            .scale = 1.0};
}
