/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: a vfio-user client's stream of bytes and descriptors, from the framing down to the
 * device, through several connections. Nothing may crash, every reply is well formed, and no
 * descriptor stays open. One thread.
 *
 * Input: byte 0 the model, then records of an operation byte and its operands.
 */
#include "tests/fuzz/fuzz.h"

#include "base/cleanup.h"
#include "sim/vfiouser_dev.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct input {
    const uint8_t *p, *end;
};

struct state {
    uint64_t now;
    struct vfu_dev *d;
    struct vfu_msg m;
    struct buf out;
    int fd; /* an eventfd, copies of which are sent */
};

static uint32_t
take(struct input *in, unsigned bytes)
{
    uint32_t v = 0;

    for (unsigned i = 0; i < bytes && in->p < in->end; i++)
        v |= (uint32_t)*in->p++ << (8 * i);
    return v;
}

static uint64_t
clock_now(void *ctx)
{
    const struct state *s = ctx;

    return s->now;
}

static void
reconnect(struct state *s)
{
    vfu_msg_clear(&s->m);
    vfu_dev_disconnect(s->d);
    vfu_dev_connect(s->d);
}

static void
check_reply(const struct state *s)
{
    struct vfu_hdr h;

    FUZZ_ASSERT(!buf_failed(&s->out));
    if (s->m.hdr.flags & VFU_NO_REPLY) {
        FUZZ_ASSERT(s->out.len == 0);
        return;
    }
    FUZZ_ASSERT(s->out.len >= sizeof(h) && s->out.len <= sizeof(h) + VFU_BODY_MAX);
    memcpy(&h, s->out.data, sizeof(h));
    FUZZ_ASSERT(h.id == s->m.hdr.id && h.cmd == s->m.hdr.cmd && h.size == s->out.len);
    FUZZ_ASSERT((h.flags & ~VFU_ERROR) == VFU_REPLY);
    FUZZ_ASSERT(!(h.flags & VFU_ERROR) == !h.error);
    FUZZ_ASSERT(!h.error || h.size == sizeof(h));
}

/* As the socket's thread does it. */
static void
stream(struct state *s, const uint8_t *p, size_t n)
{
    while (n > 0) {
        size_t want = vfu_msg_want(&s->m), step = n < want ? n : want;
        struct err e = ERR_INIT;

        FUZZ_ASSERT(want > 0);
        if (vfu_msg_feed(&s->m, p, step, &e) < 0) {
            FUZZ_ASSERT(e.num != 0);
            reconnect(s);
            return;
        }
        p += step;
        n -= step;
        if (vfu_msg_want(&s->m) > 0)
            continue;
        s->now += vfu_dev_handle(s->d, &s->m, &s->out);
        check_reply(s);
        vfu_msg_clear(&s->m);
    }
}

static void
message(struct state *s, struct input *in)
{
    struct vfu_hdr h = {.id = 5, .cmd = (uint16_t)(take(in, 1) % 20)};
    uint8_t body[256] = "";
    uint32_t n = take(in, 1), zeros = take(in, 1);

    h.flags = zeros & 0x80 ? VFU_NO_REPLY : 0;
    for (uint32_t i = 0; i < n; i++)
        body[i] = (uint8_t)take(in, 1);
    n += zeros & 0x7f;
    n = n < sizeof(body) ? n : sizeof(body);
    h.size = (uint32_t)(sizeof(h) + n);
    stream(s, (const uint8_t *)&h, sizeof(h));
    stream(s, body, n);
}

static void
raw(struct state *s, struct input *in)
{
    size_t n = take(in, 1), left = (size_t)(in->end - in->p);

    n = n < left ? n : left;
    stream(s, in->p, n);
    in->p += n;
}

static void
descriptors(struct state *s, unsigned n)
{
    int fd[20];
    struct err e = ERR_INIT;

    for (unsigned i = 0; i < n; i++) {
        fd[i] = dup(s->fd);
        FUZZ_ASSERT(fd[i] >= 0);
    }
    if (vfu_msg_add_fds(&s->m, fd, n, &e) < 0)
        reconnect(s);
}

static void
step(struct state *s, struct input *in)
{
    const char *fault;
    struct err e = ERR_INIT;

    switch (take(in, 1) % 8) {
    case 0:
        raw(s, in);
        break;
    case 1:
        s->now += (uint64_t)take(in, 3) << 8;
        break;
    case 2:
        fault = sim_gpu_fault_name(take(in, 1) % 40, NULL);
        (void)sim_gpu_fault(vfu_dev_gpu(s->d), fault ? fault : "clear", &e);
        break;
    case 3:
        reconnect(s);
        break;
    case 4:
        descriptors(s, take(in, 1) % 20);
        break;
    case 5:
        (void)vfu_dev_irq(s->d, take(in, 1) % 6, take(in, 1) % 40, &e);
        break;
    default:
        message(s, in);
        break;
    }
}

/* The numbers that the next descriptors get: those given out are the lowest that are free, so that
 * one left open shows as a gap. */
#define PROBES 32

static void
probe(int fd, int ret[PROBES])
{
    unsigned i;

    for (i = 0; i < PROBES; i++) {
        ret[i] = dup(fd);
        FUZZ_ASSERT(ret[i] >= 0);
    }
    for (i = 0; i < PROBES; i++)
        (void)close(ret[i]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    struct state s = {.now = 1};
    struct sim_gpu_params p = {.model = sim_model_at(take(&in, 1) % 10),
                               .now_ns = clock_now,
                               .clock_ctx = &s,
                               .time_scale = 0.001,
                               .booted = true};
    struct err e = ERR_INIT;
    struct sim_gpu *g;
    int before[PROBES], after[PROBES];

    if (!p.model || size > FUZZ_MAX || sim_gpu_new(&p, &g, &e) < 0)
        return 0;
    s.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    FUZZ_ASSERT(s.fd >= 0 && vfu_dev_new(g, &s.d, &e) == 0);
    probe(s.fd, before);
    vfu_msg_init(&s.m);
    buf_init(&s.out, sizeof(struct vfu_hdr) + VFU_BODY_MAX);
    vfu_dev_connect(s.d);
    while (in.p < in.end)
        step(&s, &in);
    vfu_msg_fini(&s.m);
    buf_fini(&s.out);
    vfu_dev_free(s.d);
    probe(s.fd, after);
    FUZZ_ASSERT(memcmp(before, after, sizeof(before)) == 0);
    (void)close(s.fd);
    return 0;
}
