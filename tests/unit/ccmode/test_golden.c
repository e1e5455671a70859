/* SPDX-License-Identifier: Apache-2.0
 *
 * Our firmware exchanges against register traces of NVIDIA's gpu-admin-tools v2025.10.20: the same
 * scenario on the emulated device, and then
 *   - every knob write of the tool, in its order, and no other;
 *   - every exchange bit for bit (request words, pointers, order of tail and head, acknowledge);
 *   - every knob the tool reads is read, and no other;
 *   - no BAR0 write outside the firmware's mailbox, no BAR0 read that the tool does not make;
 *   - the same knobs configured at the end.
 * Where we differ on purpose, the scenario names it with the reason; whatever is not named fails.
 *
 * Not compared: the tool's repeated pointer reads for its log, BAR1, its device-information and
 * falcon-configuration reads, and the order among reads.
 */
#include "trace.h"

#include "base/cleanup.h"
#include "ccmode/prc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* ---- deliberate differences ---- */

/* one bit per knob, 1..47 */
#define K(n) (UINT64_C(1) << (n))

struct deviation {
    uint64_t more_reads;     /* knobs we read and the tool does not */
    uint64_t less_reads;     /* knobs the tool reads and we do not */
    const char *more_writes; /* writes at the end, "10=0" */
    uint32_t more_reg;       /* a register we read and the tool, in this trace, does not */
    const char *why;
};

static const struct deviation probe_hopper = {
    .more_reads = K(2) | K(4) | K(6) | K(8) | K(10) | K(34) | K(45),
    .why = "all knobs are read before the first write, and the deciding ones again at the end"};
static const struct deviation probe_blackwell = {
    .more_reads = K(6) | K(8) | K(10),
    .why = "all knobs are read before the first write, and the deciding ones again at the end"};
static const struct deviation permissions = {
    .more_reads = K(5) | K(7) | K(9) | K(44),
    .why = "a knob that only the BMC may change is named before anything is written"};
static const struct deviation no_legacy = {
    .less_reads = K(2) | K(4) | K(34),
    .why = "2, 4 and 34 are Hopper's; gpu-admin-tools v2026.09.16 leaves them alone too"};
static const struct deviation rollback = {
    .more_writes = "10=0",
    .why = "the tool leaves knob 10 at 2 when knob 8 is refused; we put it back"};

static const struct deviation active_first = {
    .more_reg = 0x1182cc,
    .why = "the active mode is read before anything is planned; the tool reads it after its reset"};

static const struct deviation mode_after = {
    .more_reg = 0x1182cc, .why = "a reset of ours always ends with a look at what it made active"};

/* ---- scenarios ---- */

enum action { QUERY_ACTIVE, QUERY, SET, FIREWALL_KNOB, RESET_FLR, RESET_BUS };

struct scenario {
    const char *trace, *model, *knobs, *faults;
    enum action action;
    enum cc_mode mode; /* wanted, or active for queries */
    enum reason reason;
    unsigned first; /* exchanges of the trace to compare with: behind them the tool only dumps
                       state after its failure; 0 = all */
    const struct deviation *dev[5];
};

/* clang-format off */
static const struct scenario table[] = {
    {"h100-query-cc-mode", "h100-sxm", "", "",
     QUERY_ACTIVE, CC_MODE_OFF, REASON_NONE, 0, {NULL}},
    {"h100-d3hot-query-cc-mode", "h100-sxm", "", "d3hot-start",
     QUERY_ACTIVE, CC_MODE_OFF, REASON_POWER_STATE, 0, {NULL}},
    {"h100-invalid-ccd-only", "h100-sxm", "6=1", "",
     QUERY_ACTIVE, CC_MODE_INVALID, REASON_NONE, 0, {NULL}},
    {"b200-query-cc-mode", "b200", "", "",
     QUERY_ACTIVE, CC_MODE_OFF, REASON_NONE, 0, {NULL}},
    {"h100-query-cc-settings", "h100-sxm", "", "",
     QUERY, CC_MODE_OFF, REASON_NONE, 0, {&probe_hopper, &permissions}},
    {"h100-query-ppcie-settings", "h100-sxm", "", "",
     QUERY, CC_MODE_OFF, REASON_NONE, 0, {&probe_hopper, &permissions}},
    {"h100-slow-fsp", "h100-sxm", "", "slow-reply=40",
     QUERY, CC_MODE_OFF, REASON_NONE, 0, {&probe_hopper, &permissions}},
    {"b200-query-cc-settings", "b200", "", "",
     QUERY, CC_MODE_OFF, REASON_NONE, 0, {NULL}},
    {"b200-set-bar0-firewall", "b200", "", "",
     FIREWALL_KNOB, CC_MODE_OFF, REASON_NONE, 0, {NULL}},
    {"h100-set-cc-on-reset", "h100-sxm", "", "",
     SET, CC_MODE_ON, REASON_NONE, 0, {&probe_hopper, &permissions}},
    {"h100-set-cc-devtools-reset", "h100-sxm", "", "",
     SET, CC_MODE_DEVTOOLS, REASON_NONE, 0, {&probe_hopper, &permissions}},
    {"h100-set-cc-off-reset", "h100-sxm", "8=1,10=2", "",
     SET, CC_MODE_OFF, REASON_NONE, 0, {&probe_hopper, &permissions}},
    {"h100-set-ppcie-on-reset", "h100-sxm", "", "",
     SET, CC_MODE_PPCIE, REASON_NONE, 0, {&probe_hopper, &permissions}},
    {"h100-oldfw-no-ppcie-set-cc-on", "h100-sxm", "", "invalid-knob=44 invalid-knob=45",
     SET, CC_MODE_ON, REASON_NONE, 0, {&probe_hopper, &permissions}},
    {"h100-write-denied-set-cc-on", "h100-sxm", "", "write-error=8",
     SET, CC_MODE_ON, REASON_FSP_ERROR, 9, {&probe_hopper, &permissions, &rollback, &active_first}},
    {"h100-fsp-dead-set-cc-on", "h100-sxm", "", "no-reply",
     SET, CC_MODE_ON, REASON_FSP_SILENT, 1, {&active_first}},
    {"h100-fsp-stuckqueue-set-cc-on", "h100-sxm", "", "no-consume",
     SET, CC_MODE_ON, REASON_FSP_STUCK, 0, {&active_first}},
    {"rtxpro6000-set-cc-on-reset", "rtxpro6000", "", "",
     SET, CC_MODE_ON, REASON_NONE, 0, {&probe_blackwell, &permissions, &no_legacy}},
    {"h100-reset-with-flr", "h100-sxm", "", "",
     RESET_FLR, CC_MODE_OFF, REASON_NONE, 0, {&mode_after}},
    {"h100-reset-with-sbr", "h100-sxm", "", "",
     RESET_BUS, CC_MODE_OFF, REASON_NONE, 0, {&mode_after}},
};
/* clang-format on */

static int
act(const struct scenario *sc, struct dev *d, struct err *e)
{
    struct cc_status st = {.active = CC_MODE_UNKNOWN};
    enum cc_mode m = CC_MODE_UNKNOWN;
    uint16_t v = 0;
    int r = 0;

    switch (sc->action) {
    case SET:
        return cc_set(&d->s, sc->mode, &st, e);
    case QUERY:
        r = cc_query(&d->s, &st, e);
        m = st.active;
        break;
    case FIREWALL_KNOB: /* no operation of ours; the mailbox's words all the same */
        r = cc_wait_boot(&d->s, e);
        if (r >= 0)
            r = prc_read(&d->s, 10, &v, e);
        if (r >= 0)
            r = prc_write(&d->s, 10, 2, e);
        m = CC_MODE_OFF;
        break;
    case RESET_FLR:
    case RESET_BUS:
        r = d->s.dev->ops->reset(d->s.dev->ctx,
                                 sc->action == RESET_BUS ? HW_RESET_BUS : HW_RESET_FUNCTION, e);
        if (r < 0)
            return r;
        /* fall through */
    case QUERY_ACTIVE:
        r = cc_sanity(&d->s, e);
        if (r >= 0)
            r = cc_wait_boot(&d->s, e);
        if (r >= 0)
            r = cc_query_active(&d->s, &m, e);
        break;
    }
    if (r >= 0)
        assert_int_equal(m, sc->mode);
    return r;
}

static struct deviation
allowed(const struct scenario *sc)
{
    struct deviation sum = {.more_writes = ""};

    for (size_t i = 0; i < ARRAY_SIZE(sc->dev) && sc->dev[i]; i++) {
        assert_non_null(sc->dev[i]->why);
        sum.more_reads |= sc->dev[i]->more_reads;
        sum.less_reads |= sc->dev[i]->less_reads;
        if (sc->dev[i]->more_reg)
            sum.more_reg = sc->dev[i]->more_reg;
        if (sc->dev[i]->more_writes)
            sum.more_writes = sc->dev[i]->more_writes;
    }
    return sum;
}

/* "10=2 8=1", and the set of knobs read */
static uint64_t
summary(const struct exchanges *x, unsigned n, char *writes, size_t size)
{
    uint64_t reads = 0;
    size_t len = 0;

    writes[0] = '\0';
    for (unsigned i = 0; i < n; i++) {
        if (x->x[i].write)
            len += (size_t)snprintf(writes + len, size - len, "%s%u=%u", len ? " " : "",
                                    x->x[i].knob, x->x[i].value);
        else
            reads |= K(x->x[i].knob);
        assert_true(len < size);
    }
    return reads;
}

/* Does every exchange of `a` look exactly as one of `b` for the same knob? */
static void
same_bits(const char *name, const struct exchanges *tool, unsigned n, const struct exchanges *our)
{
    for (unsigned i = 0; i < n; i++) {
        const struct exchange *t = &tool->x[i];
        unsigned seen = 0;

        for (unsigned k = 0; k < our->n; k++) {
            const struct exchange *o = &our->x[k];

            if (o->write != t->write || o->knob != t->knob || o->value != t->value)
                continue;
            seen++;
            if (strcmp(o->text, t->text) != 0)
                fail_msg("%s: knob %u:\n tool \"%s\"\n ours \"%s\"", name, t->knob, t->text,
                         o->text);
        }
        /* the tool's words of a knob that we do not read are covered by the sets */
        assert_true(seen > 0 || !t->write);
    }
}

/* Every exchange of ours has the form of the tool's for its kind, whatever the knob. */
static void
same_form(const char *name, const struct exchanges *tool, unsigned n, const struct exchanges *our)
{
    for (unsigned k = 0; k < our->n; k++) {
        char want[sizeof(tool->x[0].text)], got[sizeof(our->x[0].text)];
        bool found = n == 0;

        (void)snprintf(got, sizeof(got), "%s", our->x[k].text);
        for (unsigned i = 0; i < n && !found; i++) {
            char *p, *q;

            if (tool->x[i].write != our->x[k].write)
                continue;
            (void)snprintf(want, sizeof(want), "%s", tool->x[i].text);
            /* blank out knob and value: what follows the message header up to the doorbell */
            p = strstr(want, "1310de7e ");
            q = strstr(got, "1310de7e ");
            assert_true(p && q);
            for (p += 9, q += 9; *p && *q && *p != 'T' && *p != '|'; p++, q++)
                if (*p != *q && *p != ' ' && *q != ' ')
                    *p = *q = '.';
            found = strcmp(want, got) == 0;
            if (!found)
                (void)snprintf(got, sizeof(got), "%s", our->x[k].text);
        }
        /* a write of ours where the tool made none: the rollback tests see to it */
        if (!found && !our->x[k].write)
            fail_msg("%s: no exchange of the tool looks like \"%s\"", name, our->x[k].text);
    }
}

static void
other_accesses(const char *name, const struct trace *t, const struct dev *d, uint32_t more)
{
    for (unsigned i = 0; i < d->n; i++) {
        bool known = d->rec[i].note || is_fsp_reg(d->rec[i].off);

        if (!known && d->rec[i].write)
            fail_msg("%s: writes 0x%06x", name, d->rec[i].off);
        known = known || (more && d->rec[i].off == more);
        for (unsigned k = 0; k < t->n && !known; k++)
            known = !t->rec[k].note && t->rec[k].off == d->rec[i].off;
        if (!known)
            fail_msg("%s: reads 0x%06x, which the tool does not", name, d->rec[i].off);
    }
}

static void
one(const struct scenario *sc)
{
    static struct exchanges tool, our;
    const struct deviation dev = allowed(sc);
    char tw[256], ow[256], want[320];
    uint64_t tr, or ;
    struct err e = ERR_INIT;
    struct trace t;
    struct dev d;
    unsigned n;
    int r;

    trace_load(sc->trace, &t);
    dev_init(&d, sc->model);
    dev_knobs(&d, sc->knobs);
    dev_faults(&d, sc->faults);
    r = act(sc, &d, &e);
    if (sc->reason == REASON_POWER_STATE && r < 0) {
        /* the tool wakes the device itself; with us that is the caller's matter */
        assert_int_equal(e.reason, REASON_POWER_STATE);
        assert_int_equal(d.n, 0);
        err_clear(&e);
        sim_gpu_set_power(d.gpu, 0);
        d.s.dev->ops->sleep_ns(d.s.dev->ctx, HW_MS(20));
        assert_int_equal(act(sc, &d, &e), 0);
    } else if ((r < 0) != (sc->reason != REASON_NONE) || e.reason != sc->reason) {
        fail_msg("%s: %s: %s", sc->trace, reason_name(e.reason), e.msg);
    }

    exchanges_of(t.rec, t.n, &tool);
    exchanges_of(d.rec, d.n, &our);
    n = sc->first ? sc->first : tool.n;
    assert_true(n <= tool.n);
    tr = summary(&tool, n, tw, sizeof(tw));
    or = summary(&our, our.n, ow, sizeof(ow));
    (void)snprintf(want, sizeof(want), "%s%s%s", tw, *tw && *dev.more_writes ? " " : "",
                   dev.more_writes);
    if (strcmp(ow, want) != 0)
        fail_msg("%s: writes \"%s\", expected \"%s\"", sc->trace, ow, want);
    if (or &~tr & ~dev.more_reads)
        fail_msg("%s: reads too much: %llx", sc->trace, (unsigned long long)(or &~tr));
    if (tr & ~ or &~dev.less_reads)
        fail_msg("%s: reads too little: %llx", sc->trace, (unsigned long long)(tr & ~ or));
    same_bits(sc->trace, &tool, n, &our);
    same_form(sc->trace, &tool, n, &our);
    other_accesses(sc->trace, &t, &d, dev.more_reg);
    if (t.has_knobs) {
        assert_int_equal(sim_gpu_knob(d.gpu, 8), t.ccm);
        assert_int_equal(sim_gpu_knob(d.gpu, 6), t.ccd);
        assert_int_equal(sim_gpu_knob(d.gpu, 45), t.ppcie);
        assert_int_equal(sim_gpu_knob(d.gpu, 10), t.decoupler);
    }
    dev_fini(&d);
    trace_free(&t);
}

static void
all_traces(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        one(&table[i]);
}

/* The reader itself: it must see what is there, or the comparison proves nothing. */
static void
reader(void **state)
{
    static struct exchanges x;
    struct trace t;
    char w[256];

    (void)state;
    trace_load("h100-set-cc-on-reset", &t);
    exchanges_of(t.rec, t.n, &x);
    assert_int_equal(x.n, 10);
    assert_int_equal(summary(&x, x.n, w, sizeof(w)),
                     K(45) | K(2) | K(4) | K(34) | K(10) | K(8) | K(6));
    assert_string_equal(w, "10=2 8=1");
    assert_string_equal(x.x[0].text, "C=03000800 D=c0000000 D=1310de7e D=002d020c T=00000808 "
                                     "H=00000800 | C=03000800 R6 A=00000800");
    assert_true(t.has_knobs);
    assert_int_equal(t.decoupler, 2);
    trace_free(&t);

    trace_load("b200-set-bar0-firewall", &t);
    exchanges_of(t.rec, t.n, &x);
    assert_int_equal(x.n, 2);
    assert_string_equal(x.x[1].text, "I=00100010 c D=c0000000 D=1310de7e D=000a020d D=00000002 | "
                                     "R5 i");
    trace_free(&t);

    trace_load("h100-fsp-stuckqueue-set-cc-on", &t);
    exchanges_of(t.rec, t.n, &x);
    assert_int_equal(x.n, 1);
    trace_free(&t);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reader),
        cmocka_unit_test(all_traces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
