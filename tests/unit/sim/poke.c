/* SPDX-License-Identifier: Apache-2.0
 *
 * See poke.h. The constants are written out here on purpose: a wrong offset in the model must not
 * be right by sharing it.
 */
#include "poke.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

uint32_t
bar_r(struct sim_inproc *s, uint32_t off)
{
    const struct hw_dev *d = sim_inproc_hw(s);
    struct err e = ERR_INIT;
    uint32_t v = 0;

    assert_int_equal(d->ops->bar_read32(d->ctx, off, &v, &e), 0);
    return v;
}

void
bar_w(struct sim_inproc *s, uint32_t off, uint32_t val)
{
    const struct hw_dev *d = sim_inproc_hw(s);
    struct err e = ERR_INIT;

    assert_int_equal(d->ops->bar_write32(d->ctx, off, val, &e), 0);
}

uint32_t
cfg_r(struct sim_inproc *s, uint32_t off, unsigned width)
{
    const struct hw_dev *d = sim_inproc_hw(s);
    struct err e = ERR_INIT;
    uint32_t v = 0;

    assert_int_equal(d->ops->cfg_read(d->ctx, off, width, &v, &e), 0);
    return v;
}

void
cfg_w(struct sim_inproc *s, uint32_t off, unsigned width, uint32_t val)
{
    const struct hw_dev *d = sim_inproc_hw(s);
    struct err e = ERR_INIT;

    assert_int_equal(d->ops->cfg_write(d->ctx, off, width, val, &e), 0);
}

void
wait_ms(struct sim_inproc *s, unsigned ms)
{
    const struct hw_dev *d = sim_inproc_hw(s);

    d->ops->sleep_ns(d->ctx, HW_MS(ms));
}

static struct poke_reply
emem(struct sim_inproc *s, const uint32_t *body, unsigned n)
{
    struct poke_reply r = {0};
    uint64_t start;

    bar_w(s, 0x8f2ad0, 0x03000800);
    bar_w(s, 0x8f2ad4, 0xc0000000);
    for (unsigned i = 0; i < n; i++)
        bar_w(s, 0x8f2ad4, body[i]);
    bar_w(s, 0x8f2c14, 0x800 + 4 * n);
    start = sim_inproc_now(s);
    bar_w(s, 0x8f2c10, 0x800);
    while (bar_r(s, 0x8f2c90) == bar_r(s, 0x8f2c94)) {
        if (sim_inproc_now(s) - start > HW_SEC(5))
            return r;
        wait_ms(s, 1);
    }
    r.took_ns = sim_inproc_now(s) - start;
    r.n = (bar_r(s, 0x8f2c94) - bar_r(s, 0x8f2c90)) / 4 + 1;
    assert_true(r.n <= 16);
    bar_w(s, 0x8f2ad0, 0x03000800);
    for (unsigned i = 0; i < r.n; i++)
        r.w[i] = bar_r(s, 0x8f2ad4);
    bar_w(s, 0x8f2c94, bar_r(s, 0x8f2c90));
    return r;
}

static struct poke_reply
mnoc(struct sim_inproc *s, const uint32_t *body, unsigned n)
{
    struct poke_reply r = {0};
    uint64_t start = sim_inproc_now(s);

    if (!(bar_r(s, 0x8f1f84) & 1u << 24))
        return r;
    bar_w(s, 0x8f1f84, 4 * (n + 1) | 1u << 20);
    bar_w(s, 0x8f1f88, 0xc0000000);
    for (unsigned i = 0; i < n; i++)
        bar_w(s, 0x8f1f88, body[i]);
    while (!(bar_r(s, 0x8f1f04) & 1u << 24)) {
        if (sim_inproc_now(s) - start > HW_SEC(5))
            return r;
        wait_ms(s, 1);
    }
    r.took_ns = sim_inproc_now(s) - start;
    r.n = (bar_r(s, 0x8f1f04) & 0xfffff) / 4;
    assert_true(r.n <= 16);
    for (unsigned i = 0; i < r.n; i++)
        r.w[i] = bar_r(s, 0x8f1f08);
    return r;
}

static enum sim_model_kind
kind(struct sim_inproc *s)
{
    return sim_gpu_model(sim_inproc_gpu(s))->kind;
}

struct poke_reply
poke_fsp(struct sim_inproc *s, const uint32_t *body, unsigned n)
{
    return kind(s) == SIM_GPU_GB1 || kind(s) == SIM_GPU_GB2 ? mnoc(s, body, n) : emem(s, body, n);
}

uint32_t
poke_read_knob(struct sim_inproc *s, unsigned knob, uint16_t *ret)
{
    uint32_t body[] = {0x1310de7e, knob << 16 | 0x020c};
    struct poke_reply r = poke_fsp(s, body, 2);

    if (r.n == 0)
        return 0xffffffff;
    assert_int_equal(r.w[0], 0xc0000000);
    assert_int_equal(r.w[1], 0x1510de7e);
    assert_int_equal(r.w[3], 0x13);
    if (r.w[4] == 0) {
        assert_int_equal(r.n, 6);
        assert_int_not_equal(r.w[5] >> 16, 0); /* garbage on purpose */
        *ret = (uint16_t)r.w[5];
    }
    return r.w[4];
}

uint32_t
poke_write_knob(struct sim_inproc *s, unsigned knob, uint16_t val)
{
    uint32_t body[] = {0x1310de7e, knob << 16 | 0x020d, val};
    struct poke_reply r = poke_fsp(s, body, 3);

    if (r.n == 0)
        return 0xffffffff;
    assert_int_equal(r.n, 5);
    return r.w[4];
}

void
poke_reset(struct sim_inproc *s, enum hw_reset how)
{
    const struct hw_dev *d = sim_inproc_hw(s);
    struct err e = ERR_INIT;

    assert_int_equal(d->ops->reset(d->ctx, how, &e), 0);
}

unsigned
poke_boot_ms(struct sim_inproc *s)
{
    static const uint32_t boot[] = {[SIM_GPU_HOPPER] = 0x200bc,
                                    [SIM_GPU_GB1] = 0x200bc,
                                    [SIM_GPU_GB2] = 0xad00bc,
                                    [SIM_NVSWITCH3] = 0x660bc};

    for (unsigned ms = 0; ms < 30000; ms += 10) {
        if (bar_r(s, boot[kind(s)]) == 0xff)
            return ms;
        wait_ms(s, 10);
    }
    return 0xffffffff;
}

uint32_t
poke_state(struct sim_inproc *s)
{
    switch (kind(s)) {
    case SIM_GPU_HOPPER:
        return bar_r(s, 0x1182cc) & 0x63;
    case SIM_GPU_GB1:
    case SIM_GPU_GB2:
        return bar_r(s, 0x590) & 0x3;
    case SIM_NVSWITCH3:
        return (bar_r(s, 0x28c50) & 1) << 5;
    case SIM_PLAIN:
        break;
    }
    fail();
    return 0;
}

struct sim_inproc *
poke_new(const char *model, double scale)
{
    struct sim_inproc *s = NULL;
    struct err e = ERR_INIT;

    if (sim_inproc_new(model, scale, &s, &e) < 0)
        fail_msg("%s", e.msg);
    return s;
}

void
poke_fault(struct sim_inproc *s, const char *spec)
{
    struct err e = ERR_INIT;

    if (sim_gpu_fault(sim_inproc_gpu(s), spec, &e) < 0)
        fail_msg("%s", e.msg);
}
