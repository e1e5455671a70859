/* SPDX-License-Identifier: Apache-2.0
 *
 * See kernel_kit.h.
 */
#include "kernel_kit.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

void
kit_init(struct kit *t)
{
    memset(t, 0, sizeof(*t));
    shape_init(&t->shape);
    t->shape.gpus = 2;
    t->p.iommufd = t->p.vfio_loaded = t->p.strict_devmem = true;
}

void
kit_start(struct kit *t)
{
    struct err e = ERR_INIT;

    if (shape_build(&t->shape, &t->fns, &e) < 0)
        fail_msg("%s", e.msg);
    t->p.fn = t->fns.fn;
    t->p.n_fn = t->fns.n;
    if (sim_kernel_new(&t->p, &t->k, &e) < 0)
        fail_msg("%s", e.msg);
}

void
kit_stop(struct kit *t)
{
    sim_kernel_free(t->k);
    shape_fns_fini(&t->fns);
}

int
put(struct kit *t, const char *path, const char *text)
{
    struct sim_file *f;
    ssize_t n;
    int r = sim_k_open(t->k, path, O_WRONLY, &f);

    if (r < 0)
        return r;
    n = sim_k_pwrite(f, text, strlen(text), 0);
    sim_k_close(f);
    return n < 0 ? (int)n : 0;
}

static int
get_into(struct kit *t, const char *path, char *buf, size_t size)
{
    struct sim_file *f;
    ssize_t n;
    int r = sim_k_open(t->k, path, O_RDONLY, &f);

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

const char *
get(struct kit *t, const char *path)
{
    static char buf[4][4097];
    static unsigned turn;
    char *to = buf[turn++ % 4];
    int r = get_into(t, path, to, 4097);

    if (r < 0)
        fail_msg("%s: %s", path, strerror(-r));
    return to;
}

int
get_err(struct kit *t, const char *path)
{
    char buf[4097];

    return get_into(t, path, buf, sizeof(buf));
}

const char *
link_name(struct kit *t, const char *path)
{
    static char buf[512];

    if (sim_k_readlink(t->k, path, buf, sizeof(buf)) < 0)
        return "";
    return strrchr(buf, '/') ? strrchr(buf, '/') + 1 : buf;
}

bool
there(struct kit *t, const char *path)
{
    struct sim_stat st;

    return sim_k_stat(t->k, path, &st) == 0;
}

const char *
ctl(struct kit *t, const char *line)
{
    static char reply[65536];
    struct err e = ERR_INIT;

    if (sim_k_control(t->k, line, reply, sizeof(reply), &e) < 0)
        fail_msg("%s: %s", line, e.msg);
    return reply;
}

const char *
ctl_fails(struct kit *t, const char *line)
{
    static char reply[65536];
    static struct err e;

    err_clear(&e);
    if (sim_k_control(t->k, line, reply, sizeof(reply), &e) >= 0)
        fail_msg("%s succeeded", line);
    return e.msg;
}

uint32_t
bar0(struct kit *t, const char *addr)
{
    char path[256];
    struct sim_file *f;
    uint32_t v = 0;

    (void)snprintf(path, sizeof(path), DEV "%s/resource0", addr);
    assert_int_equal(sim_k_open(t->k, path, O_RDWR, &f), 0);
    assert_int_equal(sim_k_pread(f, &v, 4, 0), 4);
    sim_k_close(f);
    return v;
}

void
bind_vfio(struct kit *t, const char *addr)
{
    char path[256];

    (void)snprintf(path, sizeof(path), DEV "%s/driver_override", addr);
    assert_int_equal(put(t, path, "vfio-pci"), 0);
    assert_int_equal(put(t, VFIO "bind", addr), 0);
}
