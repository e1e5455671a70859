/* SPDX-License-Identifier: Apache-2.0
 *
 * See vfu_client.h.
 */
#include "vfu_client.h"

#include "base/cleanup.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 20000

void
vfuc_connect(struct vfuc *c, const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};

    assert_true(strlen(path) < sizeof(sa.sun_path));
    memcpy(sa.sun_path, path, strlen(path));
    memset(c, 0, sizeof(*c));
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(c->fd >= 0);
    assert_int_equal(connect(c->fd, (const struct sockaddr *)&sa, sizeof(sa)), 0);
}

void
vfuc_close(struct vfuc *c)
{
    fd_close(&c->fd);
}

bool
vfuc_send(struct vfuc *c, const void *p, size_t n, const int *fd, unsigned n_fd)
{
    union {
        char space[CMSG_SPACE(sizeof(int) * 64)];
        struct cmsghdr align;
    } control;
    struct iovec iov;
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
    const char *at = p;

    memset(&control, 0, sizeof(control));
    if (n_fd > 0) {
        mh.msg_control = control.space;
        mh.msg_controllen = CMSG_SPACE(sizeof(int) * n_fd);
        *CMSG_FIRSTHDR(&mh) = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int) * n_fd),
                                               .cmsg_level = SOL_SOCKET,
                                               .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&mh)), fd, sizeof(int) * n_fd);
    }
    while (n > 0) {
        char copy[4096];
        ssize_t r;

        iov.iov_base = copy;
        iov.iov_len = n < sizeof(copy) ? n : sizeof(copy);
        memcpy(copy, at, iov.iov_len);
        r = sendmsg(c->fd, &mh, MSG_NOSIGNAL);
        if (r <= 0)
            return false;
        at += r;
        n -= (size_t)r;
        mh.msg_control = NULL;
        mh.msg_controllen = 0;
    }
    return true;
}

static bool
receive(struct vfuc *c, void *p, size_t n)
{
    char *at = p;

    while (n > 0) {
        struct pollfd pf = {.fd = c->fd, .events = POLLIN};
        ssize_t r;

        if (poll(&pf, 1, PATIENCE_MS) != 1)
            return false;
        r = recv(c->fd, at, n, 0);
        if (r <= 0)
            return false;
        at += r;
        n -= (size_t)r;
    }
    return true;
}

static int
answer(struct vfuc *c, unsigned cmd, void *reply, size_t size, size_t *ret_n)
{
    struct vfu_hdr h;
    size_t n;

    if (!receive(c, &h, sizeof(h)))
        return -1;
    assert_int_equal(h.id, c->id);
    assert_int_equal(h.cmd, cmd);
    assert_int_equal(h.flags & ~VFU_ERROR, VFU_REPLY);
    n = h.size - sizeof(h);
    if (h.flags & VFU_ERROR) {
        assert_int_equal(n, 0);
        assert_int_not_equal(h.error, 0);
        return (int)h.error;
    }
    assert_true(n <= size);
    if (!receive(c, reply, n))
        return -1;
    if (ret_n)
        *ret_n = n;
    return 0;
}

static bool
command(struct vfuc *c, unsigned cmd, const void *body, size_t n, const int *fd, unsigned n_fd)
{
    struct vfu_hdr h = {.id = ++c->id, .cmd = (uint16_t)cmd, .size = (uint32_t)(sizeof(h) + n)};
    char *m = malloc(sizeof(h) + n);
    bool ok;

    assert_non_null(m);
    memcpy(m, &h, sizeof(h));
    if (n > 0)
        memcpy(m + sizeof(h), body, n);
    ok = vfuc_send(c, m, sizeof(h) + n, fd, n_fd);
    free(m);
    return ok;
}

int
vfuc_call(struct vfuc *c, unsigned cmd, const void *body, size_t n, void *reply, size_t size,
          size_t *ret_n)
{
    return command(c, cmd, body, n, NULL, 0) ? answer(c, cmd, reply, size, ret_n) : -1;
}

int
vfuc_call_fds(struct vfuc *c, unsigned cmd, const void *body, size_t n, const int *fd,
              unsigned n_fd)
{
    return command(c, cmd, body, n, fd, n_fd) ? answer(c, cmd, NULL, 0, NULL) : -1;
}

void
vfuc_hello(struct vfuc *c)
{
    struct vfu_version v = {0};
    char reply[512] = "";
    size_t n = 0;

    assert_int_equal(vfuc_call(c, VFU_VERSION, &v, sizeof(v), reply, sizeof(reply), &n), 0);
    assert_true(n > sizeof(v) && reply[n - 1] == '\0');
}

int
vfuc_read(struct vfuc *c, unsigned region, uint64_t off, void *p, uint32_t n)
{
    struct vfu_rw q = {.offset = off, .region = region, .count = n};
    char *reply = malloc(sizeof(q) + n);
    size_t got = 0;
    int r;

    assert_non_null(reply);
    r = vfuc_call(c, VFU_REGION_READ, &q, sizeof(q), reply, sizeof(q) + n, &got);
    if (r == 0) {
        assert_int_equal(got, sizeof(q) + n);
        assert_memory_equal(reply, &q, sizeof(q));
        memcpy(p, reply + sizeof(q), n);
    }
    free(reply);
    return r;
}

int
vfuc_write(struct vfuc *c, unsigned region, uint64_t off, const void *p, uint32_t n)
{
    struct vfu_rw q = {.offset = off, .region = region, .count = n}, echo;
    char *m = malloc(sizeof(q) + n);
    size_t got = 0;
    int r;

    assert_non_null(m);
    memcpy(m, &q, sizeof(q));
    memcpy(m + sizeof(q), p, n);
    r = vfuc_call(c, VFU_REGION_WRITE, m, sizeof(q) + n, &echo, sizeof(echo), &got);
    free(m);
    if (r == 0) {
        assert_int_equal(got, sizeof(q));
        assert_memory_equal(&echo, &q, sizeof(q));
    }
    return r;
}

static uint32_t
word(struct vfuc *c, unsigned region, uint32_t off, unsigned width)
{
    uint32_t v = 0;

    if (vfuc_read(c, region, off, &v, width) != 0)
        memset(&v, 0xff, width);
    return v;
}

uint32_t
vfuc_cfg(struct vfuc *c, uint32_t off, unsigned width)
{
    return word(c, VFU_REGION_CONFIG, off, width);
}

uint32_t
vfuc_bar0(struct vfuc *c, uint32_t off)
{
    return word(c, 0, off, 4);
}

bool
vfuc_silent(struct vfuc *c, int ms)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};

    return poll(&p, 1, ms) == 0;
}

bool
vfuc_closed(struct vfuc *c)
{
    char drop[4096];

    for (;;) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};

        if (poll(&p, 1, PATIENCE_MS) != 1)
            return false;
        if (recv(c->fd, drop, sizeof(drop), 0) <= 0)
            return true;
    }
}

/* ---- hw_dev ---- */

static uint64_t
op_now(void *ctx)
{
    struct timespec ts;

    (void)ctx;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void
op_sleep(void *ctx, uint64_t ns)
{
    struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000u),
                          .tv_nsec = (long)(ns % 1000000000u)};

    (void)ctx;
    (void)nanosleep(&ts, NULL);
}

static int
op_bar_read(void *ctx, uint32_t off, uint32_t *ret, struct err *e)
{
    (void)e;
    *ret = vfuc_bar0(ctx, off);
    return 0;
}

static int
op_bar_write(void *ctx, uint32_t off, uint32_t val, struct err *e)
{
    (void)e;
    (void)vfuc_write(ctx, 0, off, &val, 4);
    return 0;
}

static int
op_cfg_read(void *ctx, uint32_t off, unsigned width, uint32_t *ret, struct err *e)
{
    (void)e;
    *ret = vfuc_cfg(ctx, off, width);
    return 0;
}

static int
op_cfg_write(void *ctx, uint32_t off, unsigned width, uint32_t val, struct err *e)
{
    (void)e;
    (void)vfuc_write(ctx, VFU_REGION_CONFIG, off, &val, width);
    return 0;
}

/* Saves the header, resets, waits until the device answers, restores. */
static int
op_reset(void *ctx, enum hw_reset how, struct err *e)
{
    struct vfuc *c = ctx;
    uint32_t saved[16], v;
    uint64_t start = op_now(NULL);
    unsigned i;

    for (i = 0; i < 16; i++)
        saved[i] = vfuc_cfg(c, 4 * i, 4);
    if (how == HW_RESET_FUNCTION) {
        v = vfuc_cfg(c, 0x68, 2) | 0x8000; /* Device Control */
        assert_int_equal(vfuc_write(c, VFU_REGION_CONFIG, 0x68, &v, 2), 0);
    } else {
        assert_int_equal(vfuc_call(c, VFU_RESET, NULL, 0, NULL, 0, NULL), 0);
    }
    while (vfuc_cfg(c, 4, 4) == 0xffffffff) {
        if (op_now(NULL) - start > HW_SEC(20))
            return err_reason(e, ENOTTY, ERR_CLASS_HW, REASON_RESET_FAILED, "reset: no answer");
        op_sleep(NULL, 1000000);
    }
    assert_int_equal(vfuc_cfg(c, 4, 2), 0); /* that it was lost */
    for (i = 15; i >= 1; i--)
        assert_int_equal(vfuc_write(c, VFU_REGION_CONFIG, 4 * i, &saved[i], 4), 0);
    return 0;
}

static const struct hw_dev_ops ops = {
    .bar_read32 = op_bar_read,
    .bar_write32 = op_bar_write,
    .cfg_read = op_cfg_read,
    .cfg_write = op_cfg_write,
    .reset = op_reset,
    .now_ns = op_now,
    .sleep_ns = op_sleep,
};

const struct hw_dev *
vfuc_hw(struct vfuc *c)
{
    c->hw = (struct hw_dev){.ops = &ops,
                            .ctx = c,
                            .addr = {.bus = 1},
                            .vendor = (uint16_t)vfuc_cfg(c, 0, 2),
                            .device = (uint16_t)vfuc_cfg(c, 2, 2),
                            .subsys_vendor = (uint16_t)vfuc_cfg(c, 0x2c, 2),
                            .subsys_device = (uint16_t)vfuc_cfg(c, 0x2e, 2),
                            .class_code = vfuc_cfg(c, 8, 4) >> 8};
    return &c->hw;
}
