/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz: frames from a runtime, in two pieces. However they are cut the streams must be the same,
 * nothing may be taken twice, and what is put on the wire again must come off it the same.
 */
#include "nri/mux.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

struct streams {
    struct buf in, plugin, runtime;
    int r;
};

static void
run(struct streams *s, const uint8_t *p, size_t n, size_t cut)
{
    struct err e = ERR_INIT;

    buf_init(&s->in, FUZZ_MAX + 8);
    buf_init(&s->plugin, FUZZ_MAX);
    buf_init(&s->runtime, 4096);
    FUZZ_ASSERT(buf_put(&s->in, p, cut));
    s->r = mux_take(&s->in, &s->plugin, &s->runtime, &e);
    if (s->r == 0) {
        FUZZ_ASSERT(buf_put(&s->in, p + cut, n - cut));
        s->r = mux_take(&s->in, &s->plugin, &s->runtime, &e);
    }
    FUZZ_ASSERT((s->r < 0) == (e.msg[0] != '\0'));
    FUZZ_ASSERT(s->in.off == 0);
    FUZZ_ASSERT(s->plugin.len + s->runtime.len + s->in.len <= n);
}

static void
fini(struct streams *s)
{
    buf_fini(&s->in);
    buf_fini(&s->plugin);
    buf_fini(&s->runtime);
}

static void
round_trip(const uint8_t *p, size_t n)
{
    struct err e = ERR_INIT;
    struct streams s = {.r = 0};
    struct buf out;

    if (n == 0)
        return;
    buf_init(&out, FUZZ_MAX + 64);
    FUZZ_ASSERT(mux_put(&out, MUX_PLUGIN, p, n, &e) == 0);
    run(&s, out.data, out.len, out.len);
    FUZZ_ASSERT(s.r == 0 && s.plugin.len == n && memcmp(s.plugin.data, p, n) == 0);
    FUZZ_ASSERT(s.in.len == 0 && s.runtime.len == 0);
    fini(&s);
    buf_fini(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct streams whole, parts;

    if (size < 2 || size > FUZZ_MAX - 64)
        return 0;
    const uint8_t *p = data + 2;
    const size_t n = size - 2;

    run(&whole, p, n, n);
    run(&parts, p, n, n ? (data[0] | (size_t)data[1] << 8) % (n + 1) : 0);
    FUZZ_ASSERT((whole.r < 0) == (parts.r < 0));
    FUZZ_ASSERT(whole.plugin.len == parts.plugin.len && whole.runtime.len == parts.runtime.len);
    FUZZ_ASSERT(whole.plugin.len == 0 ||
                memcmp(whole.plugin.data, parts.plugin.data, whole.plugin.len) == 0);
    fini(&whole);
    fini(&parts);
    round_trip(p, n);
    return 0;
}
