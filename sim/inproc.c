/* SPDX-License-Identifier: Apache-2.0
 *
 * In-process front with a virtual clock. See sim/inproc.h. One thread.
 */
#include "sim/inproc.h"

#include <errno.h>
#include <stdlib.h>

/* What one register access takes on the bus; it also ends a polling loop that forgot to sleep. */
#define ACCESS_NS 1000u

struct sim_inproc {
    struct sim_gpu *gpu;
    uint64_t now;
    struct hw_dev hw;
};

static uint64_t
clock_now(void *ctx)
{
    const struct sim_inproc *s = ctx;

    return s->now;
}

static int
op_bar_read32(void *ctx, uint32_t off, uint32_t *ret, struct err *e)
{
    struct sim_inproc *s = ctx;

    (void)e;
    s->now += ACCESS_NS;
    *ret = sim_gpu_bar_read(s->gpu, off);
    return 0;
}

static int
op_bar_write32(void *ctx, uint32_t off, uint32_t val, struct err *e)
{
    struct sim_inproc *s = ctx;

    (void)e;
    s->now += ACCESS_NS;
    sim_gpu_bar_write(s->gpu, off, val);
    return 0;
}

static int
op_cfg_read(void *ctx, uint32_t off, unsigned width, uint32_t *ret, struct err *e)
{
    struct sim_inproc *s = ctx;

    (void)e;
    s->now += ACCESS_NS;
    *ret = sim_gpu_cfg_read(s->gpu, off, width);
    return 0;
}

static int
op_cfg_write(void *ctx, uint32_t off, unsigned width, uint32_t val, struct err *e)
{
    struct sim_inproc *s = ctx;

    (void)e;
    s->now += ACCESS_NS;
    sim_gpu_cfg_write(s->gpu, off, width, val);
    return 0;
}

static int
op_reset(void *ctx, enum hw_reset how, struct err *e)
{
    struct sim_inproc *s = ctx;
    const char *what = how == HW_RESET_FUNCTION ? "reset function" : "reset bus of";
    uint64_t block = 0;
    int num;

    num =
        how == HW_RESET_FUNCTION ? sim_gpu_flr(s->gpu, &block) : sim_gpu_bus_reset(s->gpu, &block);
    if (block == UINT64_MAX)
        return err_reason(e, ETIMEDOUT, ERR_CLASS_HW, REASON_STUCK,
                          "%s %s: the kernel does not come back", what, PCI_STR(s->hw.addr));
    s->now += block;
    if (num)
        return err_reason(e, num, ERR_CLASS_HW, REASON_RESET_FAILED, "%s %s: the kernel refused",
                          what, PCI_STR(s->hw.addr));
    return 0;
}

static void
op_sleep_ns(void *ctx, uint64_t ns)
{
    struct sim_inproc *s = ctx;

    s->now += ns;
}

static const struct hw_dev_ops ops = {
    .bar_read32 = op_bar_read32,
    .bar_write32 = op_bar_write32,
    .cfg_read = op_cfg_read,
    .cfg_write = op_cfg_write,
    .reset = op_reset,
    .now_ns = clock_now,
    .sleep_ns = op_sleep_ns,
};

int
sim_inproc_new(const char *model, double time_scale, struct sim_inproc **ret, struct err *e)
{
    const struct sim_model *m = sim_model_find(model);
    struct sim_inproc *s;
    int r;

    if (!m)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "make an emulated GPU: no model \"%.40s\"",
                       model);
    s = calloc(1, sizeof(*s));
    if (!s)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "make an emulated GPU: out of memory");
    s->now = HW_SEC(1000);
    s->hw = (struct hw_dev){.ops = &ops,
                            .ctx = s,
                            .addr = {.bus = 0x41},
                            .vendor = m->vendor,
                            .device = m->device,
                            .subsys_vendor = m->subsys_vendor,
                            .subsys_device = m->subsys_device,
                            .class_code = m->class_code};
    r = sim_gpu_new(&(struct sim_gpu_params){.model = m,
                                             .now_ns = clock_now,
                                             .clock_ctx = s,
                                             .time_scale = time_scale,
                                             .booted = true},
                    &s->gpu, e);
    if (r < 0) {
        free(s);
        return r;
    }
    *ret = s;
    return 0;
}

void
sim_inproc_free(struct sim_inproc *s)
{
    if (!s)
        return;
    sim_gpu_free(s->gpu);
    free(s);
}

struct sim_gpu *
sim_inproc_gpu(const struct sim_inproc *s)
{
    return s->gpu;
}

const struct hw_dev *
sim_inproc_hw(const struct sim_inproc *s)
{
    return &s->hw;
}

uint64_t
sim_inproc_now(const struct sim_inproc *s)
{
    return s->now;
}
