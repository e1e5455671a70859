/* SPDX-License-Identifier: Apache-2.0
 *
 * See trace.h.
 */
#include "trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* channel 2 of the EMEM and port 0 of the mailbox, as in the traces */
#define C 0x8f2ad0u
#define D 0x8f2ad4u
#define QH 0x8f2c10u
#define QT 0x8f2c14u
#define MH 0x8f2c90u
#define MT 0x8f2c94u
#define TX_INFO 0x8f1f04u
#define TX_DATA 0x8f1f08u
#define RX_INFO 0x8f1f84u
#define RX_DATA 0x8f1f88u

bool
is_fsp_reg(uint32_t off)
{
    return (off >= 0x8f2ac0 && off < 0x8f2b00) || (off >= 0x8f2c00 && off < 0x8f2cc0) ||
           (off >= 0x8f1f00 && off < 0x8f2000);
}

struct reader {
    struct exchanges *out;
    struct exchange *x; /* being written, NULL between exchanges */
    unsigned words;     /* of the request */
    unsigned want;      /* MNOC: words announced */
    unsigned reads;     /* words of the reply */
    char pending[48];   /* an EMEMC write whose purpose is not yet known */
};

static void add(struct reader *rd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void
add(struct reader *rd, const char *fmt, ...)
{
    va_list ap;
    size_t n;

    assert_non_null(rd->x);
    n = strlen(rd->x->text);
    assert_true(n + 1 < sizeof(rd->x->text));
    if (n)
        rd->x->text[n++] = ' ';
    va_start(ap, fmt);
    (void)vsnprintf(rd->x->text + n, sizeof(rd->x->text) - n, fmt, ap);
    va_end(ap);
}

static void
begin(struct reader *rd)
{
    assert_true(rd->out->n < EXCHANGES_MAX);
    rd->x = &rd->out->x[rd->out->n++];
    memset(rd->x, 0, sizeof(*rd->x));
    rd->words = rd->reads = 0;
}

static void
request_word(struct reader *rd, uint32_t v)
{
    add(rd, "D=%08x", v);
    if (rd->words == 2) {
        rd->x->write = (v & 0xff) == 0x0d;
        rd->x->knob = v >> 16;
    } else if (rd->words == 3) {
        rd->x->value = v;
    }
    rd->words++;
}

static void
emem(struct reader *rd, const struct rec *r)
{
    if (r->off == C && r->write) {
        (void)snprintf(rd->pending, sizeof(rd->pending), "C=%08x", r->val);
    } else if (r->off == D && r->write) {
        if (rd->pending[0]) {
            begin(rd);
            (void)snprintf(rd->x->text, sizeof(rd->x->text), "%s", rd->pending);
            rd->pending[0] = '\0';
        }
        request_word(rd, r->val);
    } else if (r->off == QT && r->write) {
        if (rd->x) /* else: pointers put right at the opening */
            add(rd, "T=%08x", r->val);
    } else if (r->off == QH && r->write) {
        if (rd->x)
            add(rd, "H=%08x |", r->val);
    } else if (r->off == D) {
        if (rd->pending[0]) {
            size_t n = strlen(rd->x->text);

            (void)snprintf(rd->x->text + n, sizeof(rd->x->text) - n, " %s", rd->pending);
            rd->pending[0] = '\0';
        }
        rd->reads++;
    } else if (r->off == MT && r->write && rd->x && rd->reads) {
        add(rd, "R%u", rd->reads);
        add(rd, "A=%08x", r->val);
        rd->x = NULL;
    }
}

static void
mnoc(struct reader *rd, const struct rec *r)
{
    if (r->off == RX_INFO && r->write) {
        begin(rd);
        add(rd, "I=%08x", r->val);
        rd->want = (r->val & 0xfffff) / 4;
        rd->pending[0] = '\0';
    } else if (r->off == RX_INFO && rd->x && rd->words % 16 == 0 && rd->words < rd->want) {
        if (!rd->pending[0])
            add(rd, "c");
        rd->pending[0] = 'c';
    } else if (r->off == RX_DATA && r->write && rd->x) {
        rd->pending[0] = '\0';
        request_word(rd, r->val);
        if (rd->words == rd->want)
            add(rd, "|");
    } else if (r->off == TX_DATA && rd->x) {
        rd->reads++;
    } else if (r->off == TX_INFO && rd->x && rd->reads) {
        add(rd, "R%u i", rd->reads);
        rd->x = NULL;
    }
}

void
exchanges_of(const struct rec *r, unsigned n, struct exchanges *ret)
{
    struct reader rd = {.out = ret};

    ret->n = 0;
    for (unsigned i = 0; i < n; i++) {
        if (r[i].note)
            continue;
        if (r[i].off >= 0x8f2000)
            emem(&rd, &r[i]);
        else if (is_fsp_reg(r[i].off))
            mnoc(&rd, &r[i]);
    }
}

static void
line(struct trace *t, const char *text)
{
    char way, dev[8], space[8], arrow[4];
    unsigned off = 0, val = 0;
    const char *k = strstr(text, "knobs CCM=");

    if (k)
        t->has_knobs = sscanf(k, "knobs CCM=%u CCD=%u PPCIE=%u BAR0DEC=%u", &t->ccm, &t->ccd,
                              &t->ppcie, &t->decoupler) == 4;
    if (text[0] == '!' && strstr(text, "performed by device")) {
        t->rec[t->n++] = (struct rec){.note = true};
        return;
    }
    if (sscanf(text, "%c %7[a-z].%7s %x %3s %x", &way, dev, space, &off, arrow, &val) != 6)
        return;
    if ((way != 'R' && way != 'W') || strcmp(space, "bar0") != 0)
        return;
    assert_true(t->n < REC_MAX);
    t->rec[t->n++] = (struct rec){.write = way == 'W', .off = off, .val = val};
}

void
trace_load(const char *name, struct trace *ret)
{
    const char *root = getenv("PGPU_SOURCE_DIR");
    char path[512], text[512];
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/tests/data/ccmode-traces/%s.txt", root ? root : ".",
                   name);
    f = fopen(path, "re");
    if (!f)
        fail_msg("cannot open %s", path);
    *ret = (struct trace){.rec = calloc(REC_MAX, sizeof(struct rec))};
    assert_non_null(ret->rec);
    while (fgets(text, sizeof(text), f))
        line(ret, text);
    assert_int_equal(fclose(f), 0);
    assert_true(ret->n > 0);
}

void
trace_free(struct trace *t)
{
    free(t->rec);
}
