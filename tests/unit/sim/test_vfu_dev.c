/* SPDX-License-Identifier: Apache-2.0
 *
 * The commands of vfio-user on the emulated functions, message by message and without sockets, on a
 * virtual clock.
 */
#include "sim/vfiouser_dev.h"

#include "base/cleanup.h"
#include "sim/vfiouser_map.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/vfio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#define MS 1000000u

static struct {
    uint64_t now, hold;
    struct vfu_dev *d;
    struct vfu_msg m;
    struct buf out;
} t;

static uint64_t
clock_now(void *ctx)
{
    (void)ctx;
    return t.now;
}

static void
begin_with(const char *model, bool no_msix)
{
    struct sim_gpu_params p = {.model = sim_model_find(model),
                               .now_ns = clock_now,
                               .time_scale = 1.0,
                               .booted = true,
                               .no_msix = no_msix};
    struct sim_gpu *g = NULL;
    struct err e = ERR_INIT;

    memset(&t, 0, sizeof(t));
    t.now = 1000 * MS;
    assert_int_equal(sim_gpu_new(&p, &g, &e), 0);
    assert_int_equal(vfu_dev_new(g, &t.d, &e), 0);
    vfu_msg_init(&t.m);
    buf_init(&t.out, sizeof(struct vfu_hdr) + VFU_BODY_MAX);
    vfu_dev_connect(t.d);
}

static void
end(void)
{
    vfu_dev_free(t.d);
    vfu_msg_fini(&t.m);
    buf_fini(&t.out);
}

static void
begin_bare(const char *model)
{
    begin_with(model, false);
}

/* One message; returns the reply's errno. The body of the reply starts at t.out.data + 16. */
static int
call(unsigned cmd, const void *body, size_t n)
{
    struct vfu_hdr h = {.id = 77, .cmd = (uint16_t)cmd, .size = (uint32_t)(sizeof(h) + n)};
    struct err e = ERR_INIT;

    assert_int_equal(vfu_msg_want(&t.m), sizeof(h));
    assert_int_equal(vfu_msg_feed(&t.m, &h, sizeof(h), &e), 0);
    assert_int_equal(vfu_msg_want(&t.m), n);
    if (n > 0)
        assert_int_equal(vfu_msg_feed(&t.m, body, n, &e), 0);
    t.hold = vfu_dev_handle(t.d, &t.m, &t.out);
    vfu_msg_clear(&t.m);
    assert_true(t.out.len >= sizeof(h));
    memcpy(&h, t.out.data, sizeof(h));
    assert_int_equal(h.id, 77);
    assert_int_equal(h.cmd, cmd);
    assert_int_equal(h.size, t.out.len);
    assert_true(h.flags == VFU_REPLY || h.flags == (VFU_REPLY | VFU_ERROR));
    if (h.flags & VFU_ERROR)
        assert_int_equal(h.size, sizeof(h));
    assert_int_equal((h.flags & VFU_ERROR) != 0, h.error != 0);
    return (int)h.error;
}

static void
result(void *p, size_t n)
{
    assert_int_equal(t.out.len, sizeof(struct vfu_hdr) + n);
    memcpy(p, t.out.data + sizeof(struct vfu_hdr), n);
}

static int
version(unsigned major, unsigned minor, const char *text, size_t n)
{
    struct vfu_version v = {(uint16_t)major, (uint16_t)minor};
    char m[8192];

    memcpy(m, &v, sizeof(v));
    if (n > 0)
        memcpy(m + sizeof(v), text, n);
    return call(VFU_VERSION, m, sizeof(v) + n);
}

static void
begin(const char *model)
{
    begin_bare(model);
    assert_int_equal(version(0, 0, "", 1), 0);
}

static int
rd(unsigned region, uint64_t off, void *p, uint32_t n)
{
    struct vfu_rw q = {.offset = off, .region = region, .count = n};
    int r = call(VFU_REGION_READ, &q, sizeof(q));

    if (r == 0) {
        assert_int_equal(t.out.len, sizeof(struct vfu_hdr) + sizeof(q) + n);
        assert_memory_equal(t.out.data + sizeof(struct vfu_hdr), &q, sizeof(q));
        memcpy(p, t.out.data + sizeof(struct vfu_hdr) + sizeof(q), n);
    }
    return r;
}

static int
wr(unsigned region, uint64_t off, const void *p, uint32_t n)
{
    struct vfu_rw q = {.offset = off, .region = region, .count = n};
    char m[256];

    memcpy(m, &q, sizeof(q));
    memcpy(m + sizeof(q), p, n);
    return call(VFU_REGION_WRITE, m, sizeof(q) + n);
}

static uint32_t
cfg(uint64_t off, uint32_t width)
{
    uint32_t v = 0;

    assert_int_equal(rd(VFU_REGION_CONFIG, off, &v, width), 0);
    return v;
}

static void
cfg_w(uint64_t off, uint32_t width, uint32_t v)
{
    assert_int_equal(wr(VFU_REGION_CONFIG, off, &v, width), 0);
}

static uint32_t
bar0(uint64_t off)
{
    uint32_t v = 0;

    assert_int_equal(rd(0, off, &v, 4), 0);
    return v;
}

static void
fault(const char *spec)
{
    struct err e = ERR_INIT;

    if (sim_gpu_fault(vfu_dev_gpu(t.d), spec, &e) < 0)
        fail_msg("%s", e.msg);
}

/* ---- version, info ---- */

static void
version_comes_first_and_once(void **state)
{
    struct vfu_info i = {.argsz = sizeof(i)};
    static const char proposed[] = "{\"capabilities\":{\"max_msg_fds\":8,\"write_multiple\":true}}";
    char big[5000];

    (void)state;
    begin_bare("h100-sxm");
    assert_int_equal(call(VFU_GET_INFO, &i, sizeof(i)), EPROTO);
    assert_int_equal(call(VFU_RESET, NULL, 0), EPROTO);
    assert_int_equal(call(VFU_VERSION, "\0\0", 2), EINVAL);
    assert_int_equal(version(1, 0, "", 0), ENOTSUP);
    assert_int_equal(version(0, 0, proposed, sizeof(proposed) - 1), EINVAL); /* without its NUL */
    memset(big, ' ', sizeof(big));
    big[sizeof(big) - 1] = '\0';
    assert_int_equal(version(0, 0, big, sizeof(big)), EINVAL);
    assert_int_equal(version(0, 3, proposed, sizeof(proposed)), 0);
    assert_memory_equal(t.out.data + 16, "\0\0\0\0{\"capabilities\":{", 21);
    assert_int_equal(t.out.data[t.out.len - 1], '\0');
    assert_null(memmem(t.out.data, t.out.len, "write_multiple", 14));
    assert_int_equal(version(0, 0, "", 0), EINVAL);
    assert_int_equal(call(VFU_GET_INFO, &i, sizeof(i)), 0);
    /* the next client has to say it again */
    vfu_dev_disconnect(t.d);
    assert_int_equal(call(VFU_GET_INFO, &i, sizeof(i)), EPROTO);
    end();
}

static void
unknown_commands_and_wrong_sizes_are_refused(void **state)
{
    static const struct {
        unsigned cmd;
        size_t size; /* right one */
    } rows[] = {{VFU_DMA_MAP, 32},         {VFU_DMA_UNMAP, 24},    {VFU_GET_INFO, 16},
                {VFU_GET_REGION_INFO, 32}, {VFU_GET_IRQ_INFO, 16}, {VFU_SET_IRQS, 20},
                {VFU_REGION_READ, 16},     {VFU_REGION_WRITE, 16}, {VFU_RESET, 0}};
    static const unsigned unknown[] = {0, 6, 11, 12, 14, 15, 16, 17, 18, 99, 0xffff};
    char zero[64] = "";

    (void)state;
    begin("h100-sxm");
    for (size_t i = 0; i < ARRAY_SIZE(unknown); i++)
        assert_int_equal(call(unknown[i], zero, i), ENOTSUP);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        for (size_t n = 0; n < rows[i].size; n++)
            assert_int_equal(call(rows[i].cmd, zero, n), EINVAL);
        assert_int_equal(call(rows[i].cmd, zero, rows[i].size + 1), EINVAL);
    }
    end();
}

static void
no_reply_means_none(void **state)
{
    struct vfu_rw q = {.offset = 0x1458, .region = 0, .count = 4};
    struct vfu_hdr h = {
        .cmd = VFU_REGION_WRITE, .size = sizeof(h) + sizeof(q) + 4, .flags = VFU_NO_REPLY};
    struct err e = ERR_INIT;

    (void)state;
    begin("h100-sxm");
    assert_int_equal(vfu_msg_feed(&t.m, &h, sizeof(h), &e), 0);
    assert_int_equal(vfu_msg_feed(&t.m, &q, sizeof(q), &e), 0);
    assert_int_equal(vfu_msg_feed(&t.m, "\1\2\3\4", 4, &e), 0);
    (void)vfu_dev_handle(t.d, &t.m, &t.out);
    vfu_msg_clear(&t.m);
    assert_int_equal(t.out.len, 0);
    assert_int_equal(bar0(0x1458), 0x04030201);
    h.cmd = 99; /* nor is an error said */
    h.size = sizeof(h);
    assert_int_equal(vfu_msg_feed(&t.m, &h, sizeof(h), &e), 0);
    (void)vfu_dev_handle(t.d, &t.m, &t.out);
    vfu_msg_clear(&t.m);
    assert_int_equal(t.out.len, 0);
    end();
}

static void
the_device_describes_itself(void **state)
{
    struct vfu_info i = {.argsz = sizeof(i)};

    (void)state;
    begin("h100-sxm");
    assert_int_equal(call(VFU_GET_INFO, &i, sizeof(i)), 0);
    result(&i, sizeof(i));
    assert_int_equal(i.argsz, 16);
    assert_int_equal(i.flags, VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET);
    assert_int_equal(i.regions, 9);
    assert_int_equal(i.irqs, 5);
    i.argsz = 15;
    assert_int_equal(call(VFU_GET_INFO, &i, sizeof(i)), EINVAL);
    end();
}

static void
regions_have_the_models_sizes_and_none_can_be_mapped(void **state)
{
    struct vfu_region_info r;

    (void)state;
    for (size_t k = 0; sim_model_at(k); k++) {
        const struct sim_model *m = sim_model_at(k);
        const uint64_t want[10] = {m->bar0_size, 0, m->bar2_size, 0, m->bar4_size, 0, 0, 4096, 0};

        begin(m->name);
        for (uint32_t i = 0; i < 9; i++) {
            r = (struct vfu_region_info){.argsz = sizeof(r), .index = i};
            assert_int_equal(call(VFU_GET_REGION_INFO, &r, sizeof(r)), 0);
            result(&r, sizeof(r));
            assert_int_equal(r.index, i);
            assert_int_equal(r.argsz, 32);
            assert_true(r.size == want[i]);
            assert_int_equal(r.flags, want[i] ? 3 : 0);
        }
        r = (struct vfu_region_info){.argsz = sizeof(r), .index = 9};
        assert_int_equal(call(VFU_GET_REGION_INFO, &r, sizeof(r)), EINVAL);
        r = (struct vfu_region_info){.argsz = 31};
        assert_int_equal(call(VFU_GET_REGION_INFO, &r, sizeof(r)), EINVAL);
        end();
    }
}

/* As QEMU does it at the start: the whole of configuration space in one read, and then its
 * capabilities, BAR types and the place of the MSI-X table. */
static void
configuration_space_is_one_that_qemu_can_use(void **state)
{
    static const char *const models[] = {"h100-pcie", "h200", "b200", "rtxpro6000", "nvswitch"};
    uint8_t c[4096];
    uint32_t v;

    (void)state;
    for (size_t k = 0; k < ARRAY_SIZE(models); k++) {
        const struct sim_model *m = sim_model_find(models[k]);

        begin(models[k]);
        assert_int_equal(rd(VFU_REGION_CONFIG, 0, c, sizeof(c)), 0);
        for (uint32_t i = 0; i < sizeof(c); i += 4) {
            memcpy(&v, c + i, 4);
            assert_int_equal(cfg(i, 4), v);
        }
        assert_int_equal(c[0x10] & 0xf, 0xc); /* BAR0: 64 bit, prefetchable */
        if (m->bar2_size) {
            assert_int_equal(c[0x18] & 0xf, 0xc);
            assert_int_equal(c[0x20] & 0xf, 0xc);
        }
        memcpy(&v, c + 0xb4, 4); /* MSI-X table: in BAR0, inside, away from what is used */
        assert_int_equal(v & 7, 0);
        assert_true(v + 9 * 16 <= m->bar0_size && v >= 0x100000);
        end();
    }
}

static void
bars_are_sized_by_writing_ones(void **state)
{
    (void)state;
    begin("h100-sxm");
    for (uint32_t off = 0x10; off < 0x28; off += 4)
        cfg_w(off, 4, 0xffffffff);
    assert_int_equal(cfg(0x10, 4), 0xff00000c);
    assert_int_equal(cfg(0x14, 4), 0xffffffff);
    assert_int_equal(cfg(0x18, 4), 0x0000000c);
    assert_int_equal(cfg(0x1c, 4), 0xffffffe0); /* 128 GiB */
    assert_int_equal(cfg(0x20, 4), 0xfe00000c);
    end();
}

/* ---- regions ---- */

static void
accesses_of_any_width_reach_the_registers(void **state)
{
    uint32_t w[3];
    uint8_t b[8];

    (void)state;
    begin("h100-sxm");
    assert_int_equal(cfg(0, 1), 0xde);
    assert_int_equal(cfg(1, 1), 0x10);
    assert_int_equal(cfg(1, 2), 0x3010); /* across words, as no bus does it */
    assert_int_equal(rd(VFU_REGION_CONFIG, 3, b, 7), 0);
    assert_memory_equal(b, "\x23\x02\x00\x10\x00\xa1\x00", 7);
    assert_int_equal(bar0(0), 0x180000a1);
    assert_int_equal(rd(0, 1, b, 2), 0);
    assert_memory_equal(b, "\x00\x00", 2);
    assert_int_equal(rd(0, 3, b, 1), 0);
    assert_int_equal(b[0], 0x18);
    w[0] = 1, w[1] = 2, w[2] = 3;
    assert_int_equal(wr(0, 0x1454, w, 12), 0);
    assert_int_equal(bar0(0x1458), 2);
    assert_int_equal(rd(0, 0x1454, w, 12), 0);
    assert_int_equal(w[1], 2);
    assert_int_equal(wr(0, 0x1458, "\xff\xff", 2), 0); /* lost: no whole word */
    assert_int_equal(bar0(0x1458), 2);
    assert_int_equal(wr(0, 0x1457, "\1\2\3\4\5\6", 6), 0); /* 0x1458 is one, its ends are not */
    assert_int_equal(bar0(0x1458), 0x05040302);
    end();
}

static void
nothing_lies_outside_of_a_region(void **state)
{
    static const struct {
        uint32_t region;
        uint64_t off;
        uint32_t n;
        int want;
    } rows[] = {{0, 0xfffffc, 4, 0},
                {0, 0xfffffd, 4, EINVAL},
                {0, 0x1000000, 0, 0},
                {0, 0x1000000, 1, EINVAL},
                {0, 0x1000001, 0, EINVAL},
                {0, UINT64_MAX, 1, EINVAL},
                {0, UINT64_MAX - 3, 8, EINVAL},
                {0, 0, 1048576, 0},
                {0, 0, 1048577, EINVAL},
                {0, 0, UINT32_MAX, EINVAL},
                {1, 0, 4, EINVAL},
                {2, (UINT64_C(128) << 30) - 4, 4, 0},
                {2, (UINT64_C(128) << 30) - 3, 4, EINVAL},
                {4, 0, 64, 0},
                {6, 0, 4, EINVAL},
                {7, 4092, 4, 0},
                {7, 4093, 4, EINVAL},
                {8, 0, 4, EINVAL},
                {9, 0, 4, EINVAL},
                {UINT32_MAX, 0, 4, EINVAL}};
    char *p = malloc(1048576);

    (void)state;
    assert_non_null(p);
    begin("h100-sxm");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int r = rd(rows[i].region, rows[i].off, p, rows[i].n);

        if (r != rows[i].want)
            fail_msg("row %zu: %d", i, r);
        if (rows[i].n <= 64) {
            memset(p, 0, 64);
            r = wr(rows[i].region, rows[i].off, p, rows[i].n);
            if (r != rows[i].want)
                fail_msg("row %zu: write %d", i, r);
        }
    }
    free(p);
    end();
}

static void
a_write_brings_as_much_as_it_says(void **state)
{
    struct vfu_rw q = {.offset = 0, .region = 0, .count = 8};
    char m[64] = "";

    (void)state;
    begin("h100-sxm");
    memcpy(m, &q, sizeof(q));
    assert_int_equal(call(VFU_REGION_WRITE, m, sizeof(q) + 4), EINVAL);
    assert_int_equal(call(VFU_REGION_WRITE, m, sizeof(q) + 9), EINVAL);
    assert_int_equal(call(VFU_REGION_WRITE, m, sizeof(q) + 8), 0);
    assert_int_equal(call(VFU_REGION_READ, m, sizeof(q) + 8), EINVAL);
    end();
}

static void
bar0_needs_power_and_decoding(void **state)
{
    (void)state;
    begin("h100-sxm");
    assert_int_equal(bar0(0), 0x180000a1);
    cfg_w(0x44, 2, 3);
    assert_int_equal(bar0(0), 0xffffffff);
    assert_int_equal(cfg(0, 2), 0x10de);
    cfg_w(0x44, 2, 0);
    t.now += 20 * MS;
    assert_int_equal(bar0(0), 0x180000a1);
    cfg_w(4, 2, 0);
    assert_int_equal(bar0(0), 0xffffffff);
    end();
}

/* ---- resets ---- */

static void
flr_is_a_configuration_write(void **state)
{
    (void)state;
    begin("h100-sxm");
    cfg_w(0x68, 2, 0x8000);
    assert_int_equal(t.hold, 0); /* the guest's kernel waits by itself */
    assert_int_equal(cfg(4, 4), 0xffffffff);
    assert_int_equal(cfg(0, 4), 0xffff0001);
    t.now += 200 * MS;
    assert_int_equal(cfg(0, 4), 0x233010de);
    assert_int_equal(cfg(4, 2), 0);
    assert_int_equal(cfg(0x10, 4), 0xc); /* lost, too */
    end();
}

static void
a_bus_reset_answers_when_the_device_does(void **state)
{
    (void)state;
    begin("h100-sxm");
    assert_int_equal(call(VFU_RESET, NULL, 0), 0);
    assert_true(t.hold > 100 * MS && t.hold < 1000 * MS);
    t.now += t.hold;
    assert_int_equal(cfg(0, 4), 0x233010de);
    assert_int_equal(cfg(4, 2), 0);
    assert_int_equal(vfu_dev_counts(t.d)->bus_resets, 1);
    end();
}

static void
a_device_that_hangs_in_its_reset_comes_back_when_told_or_in_time(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    begin("h100-sxm");
    fault("reset-hang=flr");
    cfg_w(0x68, 2, 0x8000);
    t.now += (uint64_t)3600000 * MS;
    assert_int_equal(cfg(4, 4), 0xffffffff);
    fault("clear");
    assert_int_equal(cfg(0, 4), 0x233010de);
    cfg_w(4, 2, 2);
    assert_int_equal(bar0(0x200bc), 0); /* boots from now on */
    t.now += 2000 * MS;
    assert_int_equal(bar0(0x200bc), 0xff);

    fault("reset-hang=all:30000");
    assert_int_equal(call(VFU_RESET, NULL, 0), 0);
    assert_int_equal(t.hold, 0); /* nothing to wait for */
    t.now += 29999 * (uint64_t)MS;
    assert_int_equal(cfg(4, 4), 0xffffffff);
    t.now += 2 * MS;
    assert_int_equal(cfg(0, 4), 0x233010de);

    fault("clear");
    fault("reset-hang=flr"); /* a bus reset gets it out of a hanging function reset */
    cfg_w(0x68, 2, 0x8000);
    assert_int_equal(cfg(4, 4), 0xffffffff);
    assert_int_equal(call(VFU_RESET, NULL, 0), 0);
    t.now += t.hold;
    assert_int_equal(cfg(0, 4), 0x233010de);
    assert_true(sim_gpu_fault(vfu_dev_gpu(t.d), "reset-hang=flr:0", &e) < 0);
    assert_true(sim_gpu_fault(vfu_dev_gpu(t.d), "reset-hang=flrs", &e) < 0);
    assert_true(sim_gpu_fault(vfu_dev_gpu(t.d), "reset-fail=flr:5", &e) < 0);
    end();
}

static void
a_device_off_the_bus_answers_errors(void **state)
{
    uint32_t v = 0;

    (void)state;
    begin("h100-sxm");
    fault("off-bus");
    assert_int_equal(rd(VFU_REGION_CONFIG, 0, &v, 4), EIO);
    assert_int_equal(rd(0, 0, &v, 4), EIO);
    assert_int_equal(rd(2, 0, &v, 4), EIO);
    assert_int_equal(wr(0, 0, &v, 4), EIO);
    assert_int_equal(call(VFU_RESET, NULL, 0), EIO);
    assert_int_equal(rd(0, 0x1000000, &v, 4), EINVAL);
    fault("clear");
    assert_int_equal(bar0(0), 0x180000a1);
    end();
}

static void
a_device_without_power_reads_all_ones(void **state)
{
    uint32_t v = 0;

    (void)state;
    begin("h100-sxm");
    cfg_w(0x3c, 1, 11);
    fault("d3cold");
    assert_int_equal(cfg(0, 4), 0xffffffff);
    assert_int_equal(bar0(0), 0xffffffff);
    assert_int_equal(rd(2, 0, &v, 4), 0);
    assert_int_equal(v, 0xffffffff);
    assert_int_equal(call(VFU_RESET, NULL, 0), 0);
    assert_int_equal(t.hold, 0);
    fault("clear");
    assert_int_equal(cfg(0x3c, 1), 11); /* the reset did not reach it */
    end();
}

/* ---- interrupts ---- */

static void
interrupts_are_as_many_as_the_capabilities_say(void **state)
{
    static const struct {
        const char *model;
        uint32_t count[5];
    } rows[] = {{"h100-sxm", {1, 16, 9, 1, 1}}, {"audio", {1, 1, 0, 1, 1}}};

    (void)state;
    for (size_t k = 0; k < ARRAY_SIZE(rows); k++) {
        begin(rows[k].model);
        for (uint32_t i = 0; i < 6; i++) {
            struct vfu_irq_info q = {.argsz = sizeof(q), .index = i};

            if (i == 5) {
                assert_int_equal(call(VFU_GET_IRQ_INFO, &q, sizeof(q)), EINVAL);
                continue;
            }
            assert_int_equal(call(VFU_GET_IRQ_INFO, &q, sizeof(q)), 0);
            result(&q, sizeof(q));
            assert_int_equal(q.count, rows[k].count[i]);
            assert_true(q.flags & VFIO_IRQ_INFO_EVENTFD);
        }
        end();
    }
}

static void
a_device_can_go_without_msix(void **state)
{
    struct vfu_irq_info q = {.argsz = sizeof(q), .index = 2};
    unsigned at, caps = 0;

    (void)state;
    begin_with("h100-sxm", true);
    assert_int_equal(version(0, 0, "", 1), 0);
    assert_int_equal(call(VFU_GET_IRQ_INFO, &q, sizeof(q)), 0);
    result(&q, sizeof(q));
    assert_int_equal(q.count, 0);
    for (at = cfg(0x34, 1); at; at = cfg(at + 1, 1)) {
        assert_int_not_equal(cfg(at, 1), 0x11);
        caps++;
    }
    assert_int_equal(caps, 4); /* PM, MSI, PCIe, vendor */
    end();
}

static int
set_irqs(uint32_t flags, uint32_t index, uint32_t start, uint32_t count, const char *bools)
{
    struct vfu_irq_set s = {
        .argsz = sizeof(s), .flags = flags, .index = index, .start = start, .count = count};
    size_t n = bools ? strlen(bools) : 0;
    char m[64];

    memcpy(m, &s, sizeof(s));
    for (size_t i = 0; i < n; i++)
        m[sizeof(s) + i] = bools[i] == '1';
    return call(VFU_SET_IRQS, m, sizeof(s) + n);
}

/* `n` copies of `fd` go along. */
static void
with_fds(int fd, unsigned n)
{
    struct err e = ERR_INIT;

    for (unsigned i = 0; i < n; i++) {
        int copy = dup(fd);

        assert_true(copy >= 0);
        assert_int_equal(vfu_msg_add_fds(&t.m, &copy, 1, &e), 0);
    }
}

static unsigned
signalled(int fd)
{
    uint64_t v = 0;

    return read(fd, &v, sizeof(v)) == (ssize_t)sizeof(v) ? (unsigned)v : 0;
}

static void
set_irqs_is_strict(void **state)
{
    static const struct {
        uint32_t flags, index, start, count;
        const char *bools;
        int want;
    } rows[] = {{0, 0, 0, 1, NULL, EINVAL},
                {1, 0, 0, 1, NULL, EINVAL},           /* no action */
                {32, 0, 0, 1, NULL, EINVAL},          /* no data */
                {1 | 2 | 32, 0, 0, 1, "1", EINVAL},   /* two sorts of data */
                {1 | 16 | 32, 0, 0, 1, NULL, EINVAL}, /* two actions */
                {1 | 32 | 64, 0, 0, 1, NULL, EINVAL},
                {1 | 32, 5, 0, 1, NULL, EINVAL},
                {1 | 32, 2, 0, 10, NULL, EINVAL},
                {1 | 32, 2, 9, 1, NULL, EINVAL},
                {1 | 32, 2, 9, 0, NULL, 0},
                {1 | 32, 2, 10, 0, NULL, EINVAL},
                {1 | 32, 2, 1, UINT32_MAX, NULL, EINVAL},
                {1 | 32, 2, UINT32_MAX, 1, NULL, EINVAL},
                {1 | 32, 2, 0, 9, NULL, 0},
                {2 | 32, 2, 0, 3, "10", EINVAL},
                {2 | 32, 2, 0, 3, "1011", EINVAL},
                {2 | 32, 2, 0, 3, "101", 0},
                {1 | 8, 0, 0, 1, NULL, 0},
                {1 | 16, 0, 0, 1, NULL, 0},
                {1 | 8, 2, 0, 1, NULL, EINVAL}, /* not maskable here */
                {4 | 32, 2, 0, 9, NULL, 0}};    /* no descriptors: taken away */

    (void)state;
    begin("h100-sxm");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int r = set_irqs(rows[i].flags, rows[i].index, rows[i].start, rows[i].count, rows[i].bools);

        if (r != rows[i].want)
            fail_msg("row %zu: %d", i, r);
    }
    end();
}

static void
eventfds_are_signalled(void **state)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), pipefd[2];
    struct err e = ERR_INIT;

    (void)state;
    begin("h100-sxm");
    with_fds(fd, 9);
    assert_int_equal(set_irqs(4 | 32, 2, 0, 9, NULL), 0);
    assert_int_equal(vfu_dev_irq(t.d, 2, 8, &e), 0);
    assert_int_equal(signalled(fd), 1);
    assert_int_equal(set_irqs(2 | 32, 2, 0, 3, "101"), 0); /* loopback */
    assert_int_equal(signalled(fd), 2);
    assert_int_equal(vfu_dev_irq(t.d, 2, 9, &e), -EINVAL);
    assert_int_equal(vfu_dev_irq(t.d, 1, 0, &e), -ENOTCONN);
    assert_int_equal(set_irqs(4 | 32, 2, 8, 1, NULL), 0);
    assert_int_equal(vfu_dev_irq(t.d, 2, 8, &e), -ENOTCONN);
    assert_int_equal(vfu_dev_irq(t.d, 2, 7, &e), 0);
    assert_int_equal(set_irqs(1 | 32, 2, 0, 0, NULL), 0);
    assert_int_equal(vfu_dev_irq(t.d, 2, 7, &e), -ENOTCONN);
    assert_int_equal(signalled(fd), 1);

    with_fds(fd, 2); /* too few and too many */
    assert_int_equal(set_irqs(4 | 32, 2, 0, 3, NULL), EINVAL);
    with_fds(fd, 2);
    assert_int_equal(set_irqs(4 | 32, 2, 0, 1, NULL), EINVAL);
    with_fds(fd, 1);
    assert_int_equal(set_irqs(1 | 32, 2, 0, 1, NULL), EINVAL);
    assert_int_equal(pipe(pipefd), 0); /* what can block whoever writes is not taken */
    with_fds(pipefd[1], 1);
    assert_int_equal(set_irqs(4 | 32, 2, 0, 1, NULL), EINVAL);
    (void)close(pipefd[0]);
    (void)close(pipefd[1]);
    end();
    assert_int_equal(signalled(fd), 0);
    (void)close(fd);
}

static void
intx_masks_itself(void **state)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    struct err e = ERR_INIT;

    (void)state;
    begin("h100-sxm");
    with_fds(fd, 1);
    assert_int_equal(set_irqs(4 | 32, 0, 0, 1, NULL), 0);
    assert_int_equal(vfu_dev_irq(t.d, 0, 0, &e), 0);
    assert_int_equal(vfu_dev_irq(t.d, 0, 0, &e), -EBUSY);
    assert_int_equal(set_irqs(1 | 16, 0, 0, 1, NULL), 0);
    assert_int_equal(vfu_dev_irq(t.d, 0, 0, &e), 0);
    assert_int_equal(signalled(fd), 2);
    /* a counter that nobody reads is not waited for, though writing to it would block */
    assert_int_equal(write(fd, &(uint64_t){UINT64_MAX - 1}, 8), 8);
    assert_int_equal(set_irqs(1 | 16, 0, 0, 1, NULL), 0);
    assert_int_equal(vfu_dev_irq(t.d, 0, 0, &e), -EBUSY);
    end();
    (void)close(fd);
}

/* ---- DMA windows ---- */

static int
dma(unsigned cmd, uint32_t flags, uint64_t addr, uint64_t size)
{
    struct vfu_dma_map map = {.argsz = 32, .flags = flags, .addr = addr, .size = size};
    struct vfu_dma_unmap un = {.argsz = 24, .flags = flags, .addr = addr, .size = size};

    return cmd == VFU_DMA_MAP ? call(cmd, &map, sizeof(map)) : call(cmd, &un, sizeof(un));
}

static void
dma_windows_are_kept_account_of(void **state)
{
    static const struct {
        unsigned cmd;
        uint32_t flags;
        uint64_t addr, size;
        int want;
        size_t windows;
    } rows[] = {
        {VFU_DMA_MAP, 3, 0, 0xa0000, 0, 1},
        {VFU_DMA_MAP, 3, 0xa0000, 0x1000, 0, 2},
        {VFU_DMA_MAP, 3, 0x9f000, 0x1000, EEXIST, 2},
        {VFU_DMA_MAP, 3, 0xa0000, 0x2000, EEXIST, 2},
        {VFU_DMA_MAP, 1, 0x100000, 0, EINVAL, 2},
        {VFU_DMA_MAP, 1, 0x100000, 0x10, EINVAL, 2},
        {VFU_DMA_MAP, 1, 0x100010, 0x1000, EINVAL, 2},
        {VFU_DMA_MAP, 8, 0x100000, 0x1000, EINVAL, 2},
        {VFU_DMA_MAP, 1, 0xfffffffffffff000, 0x1000, 0, 3},
        {VFU_DMA_MAP, 1, 0xfffffffffffff000, 0x2000, EINVAL, 3},
        {VFU_DMA_UNMAP, 0, 0x1000, 0x1000, EINVAL, 3}, /* would cut one */
        {VFU_DMA_UNMAP, 0, 0x90000, 0x11000, EINVAL, 3},
        {VFU_DMA_UNMAP, 0, 0x200000, 0x1000, 0, 3}, /* none there */
        {VFU_DMA_UNMAP, 0, 0, 0xa1000, 0, 1},       /* both at once */
        {VFU_DMA_UNMAP, 0, 0xfffffffffffff000, 0x1000, 0, 0},
        {VFU_DMA_MAP, 2, 0x1000, 0x1000, 0, 1},
        {VFU_DMA_UNMAP, 4, 0x1000, 0x1000, EINVAL, 1},
        {VFU_DMA_UNMAP, 2, 0x1000, 0x1000, EINVAL, 1},
        {VFU_DMA_UNMAP, 2, 0, 0, 0, 0}, /* all */
    };

    (void)state;
    begin("h100-sxm");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int r = dma(rows[i].cmd, rows[i].flags, rows[i].addr, rows[i].size);

        if (r != rows[i].want || vfu_dev_maps(t.d) != rows[i].windows)
            fail_msg("row %zu: %d, %zu windows", i, r, vfu_dev_maps(t.d));
    }
    assert_int_equal(dma(VFU_DMA_MAP, 3, 0, 0x1000), 0);
    vfu_dev_disconnect(t.d);
    assert_int_equal(vfu_dev_maps(t.d), 0);
    end();
}

static void
windows_end_at_their_limit(void **state)
{
    struct vfu_maps m = {0};
    uint64_t size = 0;

    (void)state;
    for (uint64_t i = 0; i < VFU_MAPS_MAX; i++)
        assert_int_equal(vfu_maps_add(&m, i * 2 * VFU_PAGE, VFU_PAGE), 0);
    assert_int_equal(vfu_maps_add(&m, VFU_PAGE, VFU_PAGE), -ENOSPC);
    assert_int_equal(vfu_maps_remove(&m, 0, UINT64_C(1) << 40, &size), 0);
    assert_true(size == (uint64_t)VFU_MAPS_MAX * VFU_PAGE);
    assert_int_equal(m.n, 0);
    vfu_maps_clear(&m);
}

/* ---- framing ---- */

static void
a_message_takes_no_more_than_its_size(void **state)
{
    struct vfu_hdr h = {.cmd = VFU_RESET, .size = sizeof(h) + 3};
    struct err e = ERR_INIT;
    struct vfu_msg m;

    (void)state;
    vfu_msg_init(&m);
    assert_int_equal(vfu_msg_feed(&m, &h, 10, &e), 0);
    assert_int_equal(vfu_msg_want(&m), 6);
    assert_int_equal(vfu_msg_feed(&m, &h, 7, &e), -EINVAL);
    assert_int_equal(vfu_msg_feed(&m, (const char *)&h + 10, 6, &e), 0);
    assert_int_equal(vfu_msg_want(&m), 3);
    assert_int_equal(vfu_msg_feed(&m, "abcd", 4, &e), -EINVAL);
    assert_int_equal(vfu_msg_feed(&m, "abc", 3, &e), 0);
    assert_int_equal(vfu_msg_want(&m), 0);
    vfu_msg_clear(&m);
    assert_int_equal(vfu_msg_want(&m), 16);
    vfu_msg_fini(&m);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_comes_first_and_once),
        cmocka_unit_test(unknown_commands_and_wrong_sizes_are_refused),
        cmocka_unit_test(no_reply_means_none),
        cmocka_unit_test(the_device_describes_itself),
        cmocka_unit_test(regions_have_the_models_sizes_and_none_can_be_mapped),
        cmocka_unit_test(configuration_space_is_one_that_qemu_can_use),
        cmocka_unit_test(bars_are_sized_by_writing_ones),
        cmocka_unit_test(accesses_of_any_width_reach_the_registers),
        cmocka_unit_test(nothing_lies_outside_of_a_region),
        cmocka_unit_test(a_write_brings_as_much_as_it_says),
        cmocka_unit_test(bar0_needs_power_and_decoding),
        cmocka_unit_test(flr_is_a_configuration_write),
        cmocka_unit_test(a_bus_reset_answers_when_the_device_does),
        cmocka_unit_test(a_device_that_hangs_in_its_reset_comes_back_when_told_or_in_time),
        cmocka_unit_test(a_device_off_the_bus_answers_errors),
        cmocka_unit_test(a_device_without_power_reads_all_ones),
        cmocka_unit_test(interrupts_are_as_many_as_the_capabilities_say),
        cmocka_unit_test(a_device_can_go_without_msix),
        cmocka_unit_test(set_irqs_is_strict),
        cmocka_unit_test(eventfds_are_signalled),
        cmocka_unit_test(intx_masks_itself),
        cmocka_unit_test(dma_windows_are_kept_account_of),
        cmocka_unit_test(windows_end_at_their_limit),
        cmocka_unit_test(a_message_takes_no_more_than_its_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
