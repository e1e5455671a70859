/* SPDX-License-Identifier: Apache-2.0
 *
 * FSP transport over EMEM (Hopper, NVSwitch gen3). Requests and replies share one window; four
 * pointer registers hold byte addresses into it, the tail naming the last dword, so that head ==
 * tail means empty. The order of accesses is gpu-admin-tools' own, as traced.
 *
 * No state of its own; the session's thread.
 */
#include "ccmode/fsp.h"
#include "ccmode/io.h"
#include "ccmode/regs.h"

#include <errno.h>

static int
pair(struct cc_session *s, uint32_t head_off, uint32_t tail_off, uint32_t *ret_h, uint32_t *ret_t,
     struct err *e)
{
    int r = cc_rd(s, head_off, "an FSP queue head", ret_h, e);

    return r < 0 ? r : cc_rd(s, tail_off, "an FSP queue tail", ret_t, e);
}

/* A reply that nobody waits for: acknowledge it unread. */
static int
drop_stale(struct cc_session *s, struct err *e)
{
    uint32_t mh = 0, mt = 0;
    int r = pair(s, REG_MSGQ_HEAD, REG_MSGQ_TAIL, &mh, &mt, e);

    if (r < 0 || mh == mt)
        return r;
    return cc_wr(s, REG_MSGQ_TAIL, mh, e);
}

/* 0 when the request queue is empty, 1 when it still is not after `limit`. */
static int
wait_queue(struct cc_session *s, uint64_t limit, uint32_t *ret_h, uint32_t *ret_t, struct err *e)
{
    struct cc_poll p;

    for (cc_poll_start(s, &p, limit, &cc_poll_reply);;) {
        bool last = cc_poll_last(&p);
        int r = pair(s, REG_QUEUE_HEAD, REG_QUEUE_TAIL, ret_h, ret_t, e);

        if (r >= 0)
            r = drop_stale(s, e);
        if (r < 0)
            return r;
        if (*ret_h == *ret_t)
            return 0;
        if (last)
            return 1;
        cc_poll_sleep(&p);
    }
}

static int
stuck(struct cc_session *s, uint32_t h, uint32_t t, const char *what, struct err *e)
{
    return err_reason(e, ETIMEDOUT, ERR_CLASS_HW, REASON_FSP_STUCK,
                      "%s of %s: the request queue stays full (head %u, tail %u)", what, CC_ADDR(s),
                      h, t);
}

/* A queue left full by an interrupted user is given the time of a reply, then emptied by hand. */
static int
emem_open(struct cc_session *s, struct err *e)
{
    static const uint32_t order[] = {REG_QUEUE_TAIL, REG_QUEUE_HEAD, REG_MSGQ_TAIL, REG_MSGQ_HEAD};
    uint32_t h = 0, t = 0;
    int r = wait_queue(s, s->timing.reply, &h, &t, e);

    if (r <= 0)
        return r;
    /* tail first: with both equal the write to the head is no command */
    for (unsigned i = 0; i < 4; i++) {
        r = cc_wr(s, order[i], EMEM_BASE, e);
        if (r < 0)
            return r;
    }
    r = pair(s, REG_QUEUE_HEAD, REG_QUEUE_TAIL, &h, &t, e);
    if (r < 0)
        return r;
    return h == t ? 0 : stuck(s, h, t, "open the FSP queue", e);
}

/* Plan: queue empty → window → words → tail → head. The write to the head interrupts the FSP, so
 * it must be last. */
static int
emem_send(struct cc_session *s, const uint32_t *w, unsigned n, struct err *e)
{
    uint32_t h = 0, t = 0;
    int r = wait_queue(s, s->timing.queue, &h, &t, e);

    if (r < 0)
        return r;
    if (r > 0)
        return stuck(s, h, t, "send to the FSP", e);
    r = cc_wr(s, REG_EMEMC, EMEM_BASE | EMEMC_AUTO_INCR, e);
    for (unsigned i = 0; i < n && r >= 0; i++)
        r = cc_wr(s, REG_EMEMD, w[i], e);
    if (r >= 0)
        r = cc_wr(s, REG_QUEUE_TAIL, EMEM_BASE + 4 * (n - 1), e);
    if (r >= 0)
        r = cc_wr(s, REG_QUEUE_HEAD, EMEM_BASE, e);
    return r;
}

static int
no_answer(struct cc_session *s, struct err *e)
{
    uint32_t h = 0, t = 0;
    int r = pair(s, REG_QUEUE_HEAD, REG_QUEUE_TAIL, &h, &t, e);

    if (r < 0)
        return r;
    if (h != t)
        return stuck(s, h, t, "wait for the FSP's answer", e);
    return err_reason(e, ETIMEDOUT, ERR_CLASS_HW, REASON_FSP_SILENT,
                      "wait for the FSP's answer of %s: none within %llu ms", CC_ADDR(s),
                      (unsigned long long)(s->timing.reply / 1000000u));
}

/* Plan: message there → size (read afresh) → window → words → acknowledge (tail := head), whatever
 * they say. */
static int
emem_recv(struct cc_session *s, uint32_t *w, unsigned *ret_n, struct err *e)
{
    struct cc_poll p;
    uint32_t mh = 0, mt = 0, words[FSP_REPLY_WORDS] = {0};
    unsigned n;
    bool sane;
    int r;

    for (cc_poll_start(s, &p, s->timing.reply, &cc_poll_reply);;) {
        bool last = cc_poll_last(&p);

        r = pair(s, REG_MSGQ_HEAD, REG_MSGQ_TAIL, &mh, &mt, e);
        if (r < 0)
            return r;
        if (mh != mt)
            break;
        if (last)
            return no_answer(s, e);
        cc_poll_sleep(&p);
    }
    /* once more: the firmware may have been between its two pointers when we saw them differ */
    r = pair(s, REG_MSGQ_HEAD, REG_MSGQ_TAIL, &mh, &mt, e);
    if (r < 0)
        return r;
    sane = mt > mh && (mt - mh) % 4 == 0 && (mt - mh) / 4 < FSP_REPLY_WORDS;
    n = sane ? (mt - mh) / 4 + 1 : 0;
    if (n) {
        r = cc_wr(s, REG_EMEMC, EMEM_BASE | EMEMC_AUTO_INCR, e);
        if (r < 0)
            return r;
    }
    for (unsigned i = 0; i < n; i++) {
        r = cc_rd_raw(s, REG_EMEMD, &words[i], e);
        if (r < 0)
            return r;
    }
    r = cc_wr(s, REG_MSGQ_TAIL, mh, e);
    if (r < 0)
        return r;
    if (!sane)
        return err_reason(e, EPROTO, ERR_CLASS_HW, REASON_FSP_PROTOCOL,
                          "read the FSP's answer of %s: bad length (head %u, tail %u)", CC_ADDR(s),
                          mh, mt);
    for (unsigned i = 0; i < n; i++)
        w[i] = words[i];
    *ret_n = n;
    return 0;
}

const struct fsp_ops fsp_emem = {
    .name = "EMEM", .open = emem_open, .send = emem_send, .recv = emem_recv};
