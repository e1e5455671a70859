/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz: a security processor (and a configuration space) that answers anything. Both transports,
 * every operation. Whatever comes, the code must not crash, must end within its time limits (on a
 * virtual clock) and a bounded number of accesses, and must fill the error exactly when it fails.
 *
 * Input: byte 0 chip, byte 1 operation, mode, knobs and muteness, then for each fuzzed register
 * read one byte that says what the device answers: like a healthy one, or with the bytes that
 * follow. One thread.
 */
#include "tests/fuzz/fuzz.h"

#include "ccmode/cc.h"

#include <errno.h>
#include <string.h>

/* Longest chain of waits in cc_set: two resets with firewall, boot and knobs, and a roll-back. */
#define TIME_MAX HW_SEC(300)
#define ACCESS_MAX 400000u

enum mute { MUTE_NOT, MUTE_NOW, MUTE_LATER, MUTE_STUCK };

struct fz {
    const uint8_t *p;
    size_t left;
    uint64_t now;
    unsigned accesses;
    uint16_t knob[48];
    uint32_t req[8], rsp[6];
    unsigned req_n, req_want, rsp_n, rsp_pos;
    uint32_t qh, qt, mh, mt;
    bool mnoc;
    uint16_t device;
    bool boot_ok;
    uint8_t mute; /* enum mute */
    unsigned exchanges;
};

static bool
take(struct fz *f, void *out, size_t n)
{
    if (f->left < n)
        return false;
    memcpy(out, f->p, n);
    f->p += n;
    f->left -= n;
    return true;
}

/* The healthy value, or the input's. */
static uint32_t
bend(struct fz *f, uint32_t healthy)
{
    uint8_t how = 0;
    uint32_t raw = healthy;

    if (!take(f, &how, 1) || how < 160)
        return healthy;
    if (how < 176)
        return how & 1 ? 0xffffffff : 0xbadf5108;
    if (how < 200) /* near misses: lengths and pointers off by a little */
        return healthy + (uint32_t)(how - 188) * 4;
    (void)take(f, &raw, how < 220 ? 1 : how < 240 ? 2 : 4);
    return raw;
}

static void
firmware(struct fz *f)
{
    uint32_t body = f->req[2], knob = body >> 16;
    bool write = (body & 0xff) == 0x0d, ok = knob < 48;

    f->exchanges++;
    f->req_n = 0;
    if (f->mute == MUTE_NOW || (f->mute == MUTE_LATER && f->exchanges > 9))
        return;
    if (write && ok)
        f->knob[knob] = (uint16_t)f->req[3];
    f->rsp[0] = 0xc0000000;
    f->rsp[1] = 0x1510de7e;
    f->rsp[2] = 2;
    f->rsp[3] = 0x13;
    f->rsp[4] = ok ? 0 : 0x1e3;
    f->rsp[5] = ok ? 0xbeef0000u | f->knob[knob] : 0;
    f->rsp_n = write ? 5 : 6;
    f->rsp_pos = 0;
    f->mh = 0x800;
    f->mt = 0x800 + 4 * (f->rsp_n - 1);
}

static uint32_t
fsp_read(struct fz *f, uint32_t off)
{
    bool waiting = f->rsp_pos < f->rsp_n;

    switch (off) {
    case 0x8f2c10:
        return bend(f, f->qh);
    case 0x8f2c14:
        return bend(f, f->qt);
    case 0x8f2c90:
        return bend(f, f->mh);
    case 0x8f2c94:
        return bend(f, f->mt);
    case 0x8f1f04:
        return bend(f, waiting ? 1u << 24 | 4 * f->rsp_n : 0);
    case 0x8f1f84:
        return bend(f, 1u << 24 | 1u << 26);
    case 0x8f2ad4:
    case 0x8f1f08:
        return bend(f, waiting ? f->rsp[f->rsp_pos++] : 0);
    default:
        return 0;
    }
}

static int
bar_read(void *ctx, uint32_t off, uint32_t *ret, struct err *e)
{
    struct fz *f = ctx;

    (void)e;
    FUZZ_ASSERT(++f->accesses <= ACCESS_MAX);
    f->now += 1000;
    switch (off) {
    case 0x0:
        *ret = bend(f, 0x180000a1);
        return 0;
    case 0x200bc:
    case 0xad00bc:
    case 0x660bc:
        *ret = f->boot_ok ? 0xff : bend(f, 0xff);
        return 0;
    case 0x1182cc:
        *ret = bend(f, f->knob[8] | (uint32_t)f->knob[6] << 1 | (uint32_t)f->knob[45] << 5);
        return 0;
    case 0x590:
        *ret = bend(f, f->knob[8] | (uint32_t)f->knob[6] << 1);
        return 0;
    case 0x28c50:
        *ret = bend(f, f->knob[45]);
        return 0;
    default:
        *ret = off >= 0x8f0000 ? fsp_read(f, off) : 0;
        return 0;
    }
}

static int
bar_write(void *ctx, uint32_t off, uint32_t val, struct err *e)
{
    struct fz *f = ctx;

    (void)e;
    f->now += 1000;
    switch (off) {
    case 0x8f2ad4:
    case 0x8f1f88:
        if (f->req_n < 8)
            f->req[f->req_n++] = val;
        if (f->mnoc && f->req_n == f->req_want)
            firmware(f);
        break;
    case 0x8f1f84:
        f->req_want = f->mute == MUTE_STUCK ? 0 : (val & 0xfffff) / 4;
        f->req_n = 0;
        break;
    case 0x8f2c14:
        f->qt = val;
        break;
    case 0x8f2c10:
        f->qh = val;
        if (f->mute == MUTE_STUCK)
            break;
        if (f->qt != f->qh)
            firmware(f);
        f->qt = f->qh;
        break;
    case 0x8f2c94:
        f->mt = val;
        f->rsp_n = 0;
        break;
    default:
        break;
    }
    return 0;
}

static int
cfg_read(void *ctx, uint32_t off, unsigned width, uint32_t *ret, struct err *e)
{
    struct fz *f = ctx;
    uint32_t v = 0;

    (void)e;
    FUZZ_ASSERT(++f->accesses <= ACCESS_MAX);
    FUZZ_ASSERT(off + width <= 4096);
    f->now += 1000;
    if (off == 0)
        v = (uint32_t)f->device << 16 | 0x10de;
    else if (off == 4)
        v = 2;
    else if (off == 0x34)
        v = bend(f, 0x40);
    else if (off >= 0x40)
        v = bend(f, off == 0x40 ? 0x0001 : off == 0x100 ? 0xaf010001 : off == 0xaf0 ? 0x10023 : 0);
    *ret = width == 4 ? v : v & ((1u << 8 * width) - 1);
    return 0;
}

static int
cfg_write(void *ctx, uint32_t off, unsigned width, uint32_t val, struct err *e)
{
    (void)ctx;
    (void)off;
    (void)width;
    (void)val;
    return err_set(e, EPERM, ERR_CLASS_INVALID, "no configuration write is expected");
}

static int
reset(void *ctx, enum hw_reset how, struct err *e)
{
    struct fz *f = ctx;

    f->now += HW_MS(100);
    f->qh = f->qt = f->mh = f->mt = 0x800;
    f->req_n = f->rsp_n = f->rsp_pos = 0;
    if (bend(f, 0) == 1)
        return err_reason(e, ENOTTY, ERR_CLASS_HW, REASON_RESET_FAILED, "reset %d refused", how);
    return 0;
}

static uint64_t
now_ns(void *ctx)
{
    const struct fz *f = ctx;

    return f->now;
}

static void
sleep_ns(void *ctx, uint64_t ns)
{
    struct fz *f = ctx;

    FUZZ_ASSERT(ns > 0); /* a poll that does not wait never ends */
    f->now += ns;
}

static const struct hw_dev_ops ops = {bar_read, bar_write, cfg_read, cfg_write,
                                      reset,    now_ns,    sleep_ns};

static int
operate(struct cc_session *s, uint8_t what, struct cc_status *st, struct err *e)
{
    static const enum cc_mode modes[] = {CC_MODE_OFF, CC_MODE_ON, CC_MODE_DEVTOOLS, CC_MODE_PPCIE};
    static const struct cc_plan plan = {
        .mode = CC_MODE_ON, .n = 3, .w = {{10, 0, 2}, {8, 0, 1}, {6, 1, 0}}};
    enum cc_mode mode = modes[what & 3];

    switch (what >> 2 & 3) {
    case 0:
        return cc_query(s, st, e);
    case 1:
        return cc_verify(s, mode, st, e);
    case 2:
        return cc_plan_write(s, &plan, e);
    default:
        return cc_set(s, mode, st, e);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct {
        uint16_t device;
        uint32_t class_code;
    } chips[] = {{0x2330, 0x030200}, {0x2901, 0x030200}, {0x2bb5, 0x030200}, {0x22a3, 0x068000}};
    struct fz f = {.p = data, .left = size, .qh = 0x800, .qt = 0x800, .mh = 0x800, .mt = 0x800};
    struct cc_status st, before;
    struct err e = ERR_INIT;
    struct hw_dev hw = {.ops = &ops, .ctx = &f, .vendor = 0x10de};
    struct cc_session s = {.dev = &hw};
    uint8_t head[2] = {0};
    int r;

    if (!take(&f, head, 2))
        return 0;
    hw.device = f.device = chips[head[0] & 3].device;
    hw.class_code = chips[head[0] & 3].class_code;
    f.mnoc = (head[0] & 3) == 1 || (head[0] & 3) == 2;
    f.boot_ok = head[0] & 0x10;
    f.mute = head[1] >> 6;
    for (unsigned i = 0; i < 48; i++)
        f.knob[i] = i % 2 ? 1 : head[0] >> 5 & 1;
    f.knob[45] = head[1] >> 4 & 1;
    f.knob[8] = head[1] >> 5 & 1;
    s.chip = cc_chip_find(hw.vendor, hw.device, hw.class_code);
    FUZZ_ASSERT(s.chip);
    s.timing = cc_timing_default(s.chip);
    memset(&st, 0x5a, sizeof(st));
    before = st;
    r = operate(&s, head[1], &st, &e);
    FUZZ_ASSERT((r < 0) == (e.cls != ERR_CLASS_NONE));
    FUZZ_ASSERT(r <= 0);
    FUZZ_ASSERT(f.now <= TIME_MAX);
    if (r < 0) {
        FUZZ_ASSERT(r == -e.num && e.msg[0]);
        FUZZ_ASSERT(memcmp(&st, &before, sizeof(st)) == 0);
    }
    return 0;
}
