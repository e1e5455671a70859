/* SPDX-License-Identifier: Apache-2.0
 *
 * See dev.h.
 */
#include "dev.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
on_access(void *ctx, const struct sim_access *a)
{
    struct dev *d = ctx;
    bool note = strcmp(a->space, "note") == 0;

    if (!note && strcmp(a->space, "bar0") != 0)
        return;
    assert_true(d->n < REC_MAX);
    d->rec[d->n++] = (struct rec){.write = a->write,
                                  .note = note && strstr(a->note, "reset"),
                                  .off = a->off,
                                  .val = a->value};
    if (note && strncmp(a->note, "FLR", 3) == 0)
        d->rec[d->n - 1].note = true;
    else if (note && !d->rec[d->n - 1].note)
        d->n--;
}

void
dev_init(struct dev *d, const char *model)
{
    struct err e = ERR_INIT;
    const struct hw_dev *hw;

    memset(d, 0, sizeof(*d));
    assert_int_equal(sim_inproc_new(model, 1.0, &d->in, &e), 0);
    d->gpu = sim_inproc_gpu(d->in);
    hw = sim_inproc_hw(d->in);
    d->s.dev = hw;
    d->s.chip = cc_chip_find(hw->vendor, hw->device, hw->class_code);
    assert_non_null(d->s.chip);
    d->s.timing = cc_timing_default(d->s.chip);
    d->rec = calloc(REC_MAX, sizeof(*d->rec));
    assert_non_null(d->rec);
    sim_gpu_trace(d->gpu, on_access, d);
}

void
dev_fini(struct dev *d)
{
    sim_inproc_free(d->in);
    free(d->rec);
}

static bool
next_pair(const char **p, unsigned *knob, unsigned *val)
{
    char *end;

    if (!**p)
        return false;
    *knob = (unsigned)strtoul(*p, &end, 10);
    assert_int_equal(*end, '=');
    *val = (unsigned)strtoul(end + 1, &end, 10);
    *p = *end == ',' ? end + 1 : end;
    return true;
}

void
dev_knobs(struct dev *d, const char *spec)
{
    unsigned k = 0, v = 0;

    while (next_pair(&spec, &k, &v))
        sim_gpu_set_knob(d->gpu, k, (uint16_t)v);
    /* what was configured long ago is active now */
    uint64_t block = 0;
    if (k) {
        assert_int_equal(sim_gpu_flr(d->gpu, &block), 0);
        d->s.dev->ops->sleep_ns(d->s.dev->ctx, HW_SEC(5));
        d->n = 0;
    }
}

void
dev_faults(struct dev *d, const char *spec)
{
    char one[64];

    while (*spec) {
        struct err e = ERR_INIT;
        size_t n = strcspn(spec, " ");

        assert_true(n < sizeof(one));
        memcpy(one, spec, n);
        one[n] = '\0';
        if (sim_gpu_fault(d->gpu, one, &e) < 0)
            fail_msg("%s", e.msg);
        spec += n + (spec[n] == ' ');
    }
}

void
dev_expect_knobs(struct dev *d, const char *spec, const char *where)
{
    unsigned k = 0, v = 0;

    while (next_pair(&spec, &k, &v))
        if (sim_gpu_knob(d->gpu, k) != v)
            fail_msg("%s: knob %u is %u, expected %u", where, k, sim_gpu_knob(d->gpu, k), v);
}
