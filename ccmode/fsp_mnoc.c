/* SPDX-License-Identifier: Apache-2.0
 *
 * FSP transport over the MNOC mailbox (Blackwell). One INFO register per direction with size and
 * flags, one data register that pushes or pops dwords. The order of accesses is gpu-admin-tools'
 * own, as traced.
 *
 * No state of its own; the session's thread.
 */
#include "ccmode/fsp.h"
#include "ccmode/io.h"
#include "ccmode/regs.h"

#include <errno.h>

/* Messages that may pile up behind one another before we call the mailbox stuck. */
#define STALE_MAX 4

static int
info(struct cc_session *s, uint32_t off, uint32_t *ret, struct err *e)
{
    uint32_t v = 0;
    int r = cc_rd(s, off, "an FSP mailbox", &v, e);

    if (r < 0)
        return r;
    if (v & MNOC_ERROR)
        return err_reason(e, EIO, ERR_CLASS_HW, REASON_FSP_ERROR,
                          "exchange with the FSP of %s: mailbox error (0x%06x reads 0x%08x)",
                          CC_ADDR(s), off, v);
    *ret = v;
    return 0;
}

/* Pops a whole message; keeps the first FSP_REPLY_WORDS dwords. */
static int
pop(struct cc_session *s, uint32_t bytes, uint32_t *w, struct err *e)
{
    unsigned n = (unsigned)((bytes < MNOC_MAX_BYTES ? bytes : MNOC_MAX_BYTES) + 3) / 4;

    for (unsigned i = 0; i < n; i++) {
        uint32_t v = 0;
        int r = cc_rd_raw(s, REG_MNOC_TX_RDATA, &v, e);

        if (r < 0)
            return r;
        if (i < FSP_REPLY_WORDS)
            w[i] = v;
    }
    return 0;
}

static int
stuck(struct cc_session *s, const char *what, uint32_t v, struct err *e)
{
    return err_reason(e, ETIMEDOUT, ERR_CLASS_HW, REASON_FSP_STUCK,
                      "%s of %s: the mailbox does not become ready (0x%08x)", what, CC_ADDR(s), v);
}

/* Drops replies that nobody waits for. */
static int
drop_stale(struct cc_session *s, struct err *e)
{
    uint32_t junk[FSP_REPLY_WORDS], v = 0;
    int r;

    for (int i = 0; i < STALE_MAX; i++) {
        r = info(s, REG_MNOC_TX_INFO, &v, e);
        if (r < 0 || !(v & MNOC_READY))
            return r;
        r = pop(s, v & MNOC_SIZE_MASK, junk, e);
        if (r < 0)
            return r;
    }
    r = info(s, REG_MNOC_TX_INFO, &v, e);
    if (r < 0 || !(v & MNOC_READY))
        return r;
    return stuck(s, "empty the FSP mailbox", v, e);
}

static int
mnoc_open(struct cc_session *s, struct err *e)
{
    return drop_stale(s, e);
}

static int
wait_rx(struct cc_session *s, uint32_t bit, const char *what, struct err *e)
{
    struct cc_poll p;
    uint32_t v = 0;

    for (cc_poll_start(s, &p, s->timing.queue, &cc_poll_reply);;) {
        bool last = cc_poll_last(&p);
        int r = info(s, REG_MNOC_RX_INFO, &v, e);

        if (r < 0)
            return r;
        if (v & bit)
            return 0;
        if (last)
            return stuck(s, what, v, e);
        cc_poll_sleep(&p);
    }
}

/* Plan: no error and ready → size with the trigger → words, with credit before each 64 bytes → no
 * error. */
static int
mnoc_send(struct cc_session *s, const uint32_t *w, unsigned n, struct err *e)
{
    uint32_t v = 0;
    int r = drop_stale(s, e);

    if (r >= 0)
        r = wait_rx(s, MNOC_READY, "send to the FSP", e);
    if (r >= 0)
        r = cc_wr(s, REG_MNOC_RX_INFO, 4 * n | MNOC_RX_TRIGGER, e);
    for (unsigned i = 0; i < n && r >= 0; i++) {
        if (4 * i % MNOC_CREDIT_BYTES == 0)
            r = wait_rx(s, MNOC_RX_CREDIT, "send to the FSP (credit)", e);
        if (r >= 0)
            r = cc_wr(s, REG_MNOC_RX_WDATA, w[i], e);
    }
    return r < 0 ? r : info(s, REG_MNOC_RX_INFO, &v, e);
}

static int
no_answer(struct cc_session *s, struct err *e)
{
    uint32_t v = 0;
    int r = info(s, REG_MNOC_RX_INFO, &v, e);

    if (r < 0)
        return r;
    if (!(v & MNOC_READY))
        return stuck(s, "wait for the FSP's answer", v, e);
    return err_reason(e, ETIMEDOUT, ERR_CLASS_HW, REASON_FSP_SILENT,
                      "wait for the FSP's answer of %s: none within %llu ms", CC_ADDR(s),
                      (unsigned long long)(s->timing.reply / 1000000u));
}

/* Plan: ready → size → words → no error. */
static int
mnoc_recv(struct cc_session *s, uint32_t *w, unsigned *ret_n, struct err *e)
{
    struct cc_poll p;
    uint32_t v = 0, bytes, words[FSP_REPLY_WORDS] = {0};
    int r;

    for (cc_poll_start(s, &p, s->timing.reply, &cc_poll_reply);;) {
        bool last = cc_poll_last(&p);

        r = info(s, REG_MNOC_TX_INFO, &v, e);
        if (r < 0)
            return r;
        if (v & MNOC_READY)
            break;
        if (last)
            return no_answer(s, e);
        cc_poll_sleep(&p);
    }
    bytes = v & MNOC_SIZE_MASK;
    r = pop(s, bytes, words, e);
    if (r >= 0)
        r = info(s, REG_MNOC_TX_INFO, &v, e);
    if (r < 0)
        return r;
    if (bytes == 0 || bytes % 4 || bytes > 4 * FSP_REPLY_WORDS)
        return err_reason(e, EPROTO, ERR_CLASS_HW, REASON_FSP_PROTOCOL,
                          "read the FSP's answer of %s: bad length %u", CC_ADDR(s), bytes);
    for (unsigned i = 0; i < bytes / 4; i++)
        w[i] = words[i];
    *ret_n = (unsigned)(bytes / 4);
    return 0;
}

const struct fsp_ops fsp_mnoc = {
    .name = "MNOC", .open = mnoc_open, .send = mnoc_send, .recv = mnoc_recv};
