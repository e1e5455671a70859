/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: random accesses to an emulated device, faults, resets and time in between. Nothing
 * may crash, and reads outside of what decodes stay all-ones. One thread.
 *
 * Input: byte 0 the model, then records of an operation byte and its operands.
 */
#include "tests/fuzz/fuzz.h"

#include "base/cleanup.h"
#include "sim/gpu.h"

struct input {
    const uint8_t *p, *end;
};

static uint32_t
take(struct input *in, unsigned bytes)
{
    uint32_t v = 0;

    for (unsigned i = 0; i < bytes && in->p < in->end; i++)
        v |= (uint32_t)*in->p++ << (8 * i);
    return v;
}

/* Places where something happens, so that the fuzzer need not find them. */
static uint32_t
bar_offset(struct input *in)
{
    static const uint32_t hot[] = {0x8f2ac0, 0x8f2ac4, 0x8f2ad0, 0x8f2ad4, 0x8f2c00, 0x8f2c04,
                                   0x8f2c10, 0x8f2c14, 0x8f2c90, 0x8f2c94, 0x8f1f04, 0x8f1f08,
                                   0x8f1f84, 0x8f1f88, 0x001458, 0x0200bc};
    uint32_t sel = take(in, 1);

    return sel < 0xf0 ? hot[sel % ARRAY_SIZE(hot)] : take(in, 4);
}

static uint64_t
clock_now(void *ctx)
{
    const uint64_t *now = ctx;

    return *now;
}

static void
fault(struct sim_gpu *g, struct input *in)
{
    struct err e = ERR_INIT;
    char spec[24];
    size_t n = take(in, 1) % sizeof(spec);

    if (take(in, 1) & 1) {
        const char *name = sim_gpu_fault_name(n, NULL);

        (void)sim_gpu_fault(g, name ? name : "clear", &e);
        return;
    }
    for (size_t i = 0; i < n; i++)
        spec[i] = (char)take(in, 1);
    spec[n ? n - 1 : 0] = '\0';
    (void)sim_gpu_fault(g, spec, &e);
}

static void
step(struct sim_gpu *g, struct input *in, uint64_t *now)
{
    static const unsigned widths[] = {1, 2, 4, 3};
    uint64_t block;
    uint32_t off;
    unsigned w;

    switch (take(in, 1) % 10) {
    case 0:
    case 1:
        (void)sim_gpu_bar_read(g, bar_offset(in));
        break;
    case 2:
    case 3:
    case 4:
        off = bar_offset(in);
        sim_gpu_bar_write(g, off, take(in, 4));
        break;
    case 5:
        w = widths[take(in, 1) & 3];
        (void)sim_gpu_cfg_read(g, take(in, 2), w);
        break;
    case 6:
        w = widths[take(in, 1) & 3];
        off = take(in, 2);
        sim_gpu_cfg_write(g, off, w, take(in, 4));
        break;
    case 7:
        *now += (uint64_t)take(in, 3) << 8;
        break;
    case 8:
        fault(g, in);
        break;
    default:
        off = take(in, 1);
        (void)(off & 1 ? sim_gpu_flr(g, &block) : sim_gpu_bus_reset(g, &block));
        sim_gpu_set_power(g, off >> 1 & 7);
        break;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    const struct sim_model *m = sim_model_at(take(&in, 1) % 10);
    struct err e = ERR_INIT;
    struct sim_gpu *g;
    uint64_t now = 1;
    struct sim_gpu_params p = {
        .model = m, .now_ns = clock_now, .clock_ctx = &now, .time_scale = 0.001, .booted = true};

    if (!m || size > FUZZ_MAX || sim_gpu_new(&p, &g, &e) < 0)
        return 0;
    while (in.p < in.end)
        step(g, &in, &now);
    FUZZ_ASSERT(m->kind == SIM_PLAIN || sim_gpu_bar_read(g, 0xfffffffc) == 0xffffffff);
    FUZZ_ASSERT(sim_gpu_power(g) == 0 || sim_gpu_bar_read(g, 0) == 0xffffffff);
    sim_gpu_free(g);
    return 0;
}
