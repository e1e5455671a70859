/* SPDX-License-Identifier: Apache-2.0
 *
 * See replay.h. The traces' format: "R|W <gpu|rp>.<space> <offset> -> <value>" (reads), "<-" for
 * writes; "# the next N line(s) repeat M times"; "! text" for what the kernel or the device did.
 */
#include "replay.h"

#include "base/cleanup.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define LINE_SIZE 512
#define REPEAT_LINES 8
#define POLL_STEP_MS 1
#define POLL_MAX_MS 20000

/* What the header line of a trace says about the device, as the trace's author worded it. */
static const struct {
    const char *words;
    const char *model;
    unsigned knob;
    uint16_t value;
    const char *fault;
} presets[] = {
    {.words = "H100 0x2330", .model = "h100-sxm"},
    {.words = "B200 0x2901", .model = "b200"},
    {.words = "RTX PRO 6000 0x2bb5", .model = "rtxpro6000"},
    {.words = "knobs 8=1 10=2", .knob = 8, .value = 1},
    {.words = "knobs 8=1 10=2", .knob = 10, .value = 2},
    {.words = "knob 6 (devtools) set without knob 8", .knob = 6, .value = 1},
    {.words = "in D3hot", .fault = "d3hot-start"},
    {.words = "consumes the command but never answers", .fault = "no-reply"},
    {.words = "never consumes the command", .fault = "no-consume"},
    {.words = "answers 0x1e3 for knobs 44,45", .fault = "invalid-knob=44"},
    {.words = "answers 0x1e3 for knobs 44,45", .fault = "invalid-knob=45"},
    {.words = "error 0x1e5 (invented code) on write of knob 8", .fault = "write-error=8:0x1e5"},
    {.words = "response appears after 3 polls", .fault = "slow-reply=30"},
};

/* Where the recorded device and ours differ on purpose: only the masked bits are compared. */
static const struct {
    const char *space;
    uint32_t first, last, mask;
    const char *why;
} differences[] = {
    {"cfg32", 0x040, 0x040, 0x000000ff, "capability list of real parts, PM version 3"},
    {"cfg32", 0x060, 0x060, 0x000f00ff, "next capability and port type"},
    {"cfg32", 0x064, 0x064, 0x10000000, "device capabilities of real parts; FLR is what counts"},
    {"cfg32", 0x06c, 0x06c, 0, "link capabilities"},
    {"cfg16", 0x072, 0x072, 0, "link status"},
    {"cfg16", 0x044, 0x044, 0x00000003, "NoSoftRst is set on real parts"},
    {"cfg32", 0x100, 0x110, 0, "AER lies at 0x1b8 on real parts, not at 0x100"},
    {"cfg32", 0x2a4, 0x2a4, 0x000fffff, "the extended list goes on here"},
    {"cfg32", 0x010, 0x010, 0xfc00000f, "BAR0 of the RTX PRO 6000 is 64 MiB, aligned to that"},
    {"cfg32", 0x018, 0x018, 0, "BAR2 was absent"},
    {"cfg32", 0x01c, 0x01c, 0, "BAR2 was absent"},
    {"cfg32", 0x020, 0x020, 0, "BAR4 was absent"},
    {"cfg32", 0x024, 0x024, 0, "BAR4 was absent"},
    {"bar0", 0x1182cc, 0x1182cc, 0x00000063, "bits beside the mode are set on purpose"},
    {"bar0", 0x000590, 0x000590, 0x00000047, "bits beside the mode are set on purpose"},
};

/* Registers that software polls: the time that passes between the reads is not in the trace. */
static const struct {
    const char *space;
    uint32_t off;
} polled[] = {{"bar0", 0x000000}, {"bar0", 0x0200bc}, {"bar0", 0xad00bc}, {"bar0", 0x8f2c90},
              {"bar0", 0x8f2c94}, {"bar0", 0x8f1f04}, {"bar0", 0x8f1f84}, {"cfg32", 0x000},
              {"cfg32", 0xaf8},   {"cfg16", 0x0f0}};

struct replay {
    struct sim_inproc *dev;
    struct replay_result r;
};

static unsigned
width_of(const char *space)
{
    return strcmp(space, "cfg8") == 0 ? 1 : strcmp(space, "cfg16") == 0 ? 2 : 4;
}

static uint32_t
dev_read(struct replay *p, const char *space, uint32_t off)
{
    struct sim_gpu *g = sim_inproc_gpu(p->dev);

    return strcmp(space, "bar0") == 0 ? sim_gpu_bar_read(g, off)
                                      : sim_gpu_cfg_read(g, off, width_of(space));
}

static uint32_t
compare_mask(const char *space, uint32_t off)
{
    for (size_t i = 0; i < ARRAY_SIZE(differences); i++)
        if (strcmp(differences[i].space, space) == 0 && off >= differences[i].first &&
            off <= differences[i].last)
            return differences[i].mask;
    return 0xffffffff;
}

static bool
is_polled(const char *space, uint32_t off)
{
    for (size_t i = 0; i < ARRAY_SIZE(polled); i++)
        if (strcmp(polled[i].space, space) == 0 && polled[i].off == off)
            return true;
    return false;
}

static void
do_read(struct replay *p, const char *space, uint32_t off, uint32_t want)
{
    const struct hw_dev *hw = sim_inproc_hw(p->dev);
    uint32_t mask = compare_mask(space, off);
    uint32_t got = dev_read(p, space, off);

    p->r.reads++;
    if (mask != 0xffffffff)
        p->r.masked++;
    if (mask == 0)
        return;
    if (is_polled(space, off))
        for (unsigned ms = 0; ((got ^ want) & mask) && ms < POLL_MAX_MS; ms += POLL_STEP_MS) {
            hw->ops->sleep_ns(hw->ctx, HW_MS(POLL_STEP_MS));
            got = dev_read(p, space, off);
        }
    p->r.compared++;
    if (((got ^ want) & mask) == 0)
        return;
    if (p->r.mismatches++ == 0)
        (void)snprintf(p->r.first, sizeof(p->r.first),
                       "%s 0x%x: recorded 0x%x, emulated 0x%x (mask 0x%x), read number %u", space,
                       off, want, got, mask, p->r.reads);
}

static void
do_write(struct replay *p, const char *space, uint32_t off, uint32_t val)
{
    struct sim_gpu *g = sim_inproc_gpu(p->dev);

    p->r.writes++;
    if (strcmp(space, "bar0") == 0) {
        p->r.commands += off == 0x8f2c10 || (off == 0x8f1f84 && (val & 1u << 20));
        sim_gpu_bar_write(g, off, val);
    } else {
        sim_gpu_cfg_write(g, off, width_of(space), val);
    }
}

/* What others did to the device: power, and the resets that are no access of the device itself. */
static void
do_note(struct replay *p, const char *text)
{
    struct sim_gpu *g = sim_inproc_gpu(p->dev);
    const struct hw_dev *hw = sim_inproc_hw(p->dev);

    if (strstr(text, "write 'on' to") && strstr(text, "power/control"))
        sim_gpu_set_power(g, 0);
    if (strstr(text, "kernel: write '1' to") && strstr(text, "/reset")) {
        uint64_t now = sim_inproc_now(p->dev);
        uint64_t block = 0;

        /* without the kernel's wait: the recorded device's clock ran slower than its resets */
        assert_int_equal(sim_gpu_flr(g, &block), 0);
        assert_true(block > 0 && sim_inproc_now(p->dev) == now);
        p->r.resets++;
    }
    if (strstr(text, "SBR performed")) {
        sim_gpu_hot_reset(g);
        hw->ops->sleep_ns(hw->ctx, HW_MS(300));
        p->r.resets++;
    }
}

static void
do_line(struct replay *p, const char *line)
{
    char op = 0, who[8], space[8], arrow[3];
    uint32_t off = 0, val = 0;

    if (line[0] == '!') {
        do_note(p, line);
        return;
    }
    if (sscanf(line, "%c %7[a-z].%7s 0x%" SCNx32 " %2s 0x%" SCNx32, &op, who, space, &off, arrow,
               &val) != 6)
        fail_msg("trace line not understood: %s", line);
    if (strcmp(who, "rp") == 0) /* its root port */
        return;
    if (op == 'R')
        do_read(p, space, off, val);
    else
        do_write(p, space, off, val);
}

/* The device of the "# case:" line. BARs and command as the recorded device had them at first. */
static void
set_up(struct replay *p, const char *line, const char *extra_fault)
{
    const char *model = NULL;
    struct err e = ERR_INIT;
    struct sim_gpu *g;

    for (size_t i = 0; i < ARRAY_SIZE(presets); i++)
        if (presets[i].model && strstr(line, presets[i].words))
            model = presets[i].model;
    assert_non_null(model);
    assert_int_equal(sim_inproc_new(model, 1.0, &p->dev, &e), 0);
    g = sim_inproc_gpu(p->dev);
    for (size_t i = 0; i < ARRAY_SIZE(presets); i++)
        if (presets[i].knob && strstr(line, presets[i].words))
            sim_gpu_set_knob(g, presets[i].knob, presets[i].value);
    sim_gpu_hot_reset(g); /* the knobs become active */
    sim_inproc_hw(p->dev)->ops->sleep_ns(sim_inproc_hw(p->dev)->ctx, HW_SEC(10));
    sim_gpu_cfg_write(g, 0x10, 4, 0x42000000);
    sim_gpu_cfg_write(g, 0x14, 4, 0xa0);
    for (size_t i = 0; i < ARRAY_SIZE(presets); i++)
        if (presets[i].fault && strstr(line, presets[i].words) &&
            sim_gpu_fault(g, presets[i].fault, &e) < 0)
            fail_msg("%s", e.msg);
    if (extra_fault && sim_gpu_fault(g, extra_fault, &e) < 0)
        fail_msg("%s", e.msg);
}

static void
repeat(struct replay *p, FILE *f, unsigned lines, unsigned times)
{
    char text[REPEAT_LINES][LINE_SIZE];

    assert_in_range(lines, 1, REPEAT_LINES);
    for (unsigned i = 0; i < lines; i++)
        assert_non_null(fgets(text[i], LINE_SIZE, f));
    for (unsigned t = 0; t < times; t++)
        for (unsigned i = 0; i < lines; i++)
            do_line(p, text[i]);
}

struct replay_result
replay_trace(const char *file, const char *extra_fault)
{
    _cleanup_fclose_ FILE *f = fopen(file, "r");
    struct replay p = {0};
    char line[LINE_SIZE];
    unsigned lines, times;

    if (!f)
        fail_msg("open %s", file);
    while (fgets(line, sizeof(line), f)) {
        if (strncmp(line, "# case:", 7) == 0)
            set_up(&p, line, extra_fault);
        else if (sscanf(line, "# the next %u line(s) repeat %u times", &lines, &times) == 2)
            repeat(&p, f, lines, times);
        else if (line[0] != '#')
            do_line(&p, line);
    }
    sim_inproc_free(p.dev);
    return p.r;
}
