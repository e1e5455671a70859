/* SPDX-License-Identifier: Apache-2.0
 *
 * Register access, polls, capability walks. No state; the session's thread.
 */
#include "ccmode/io.h"

#include "ccmode/chip.h"
#include "ccmode/regs.h"

#include <errno.h>

/* 1/32 of what was waited: a 10 ms answer is seen at most 0.3 ms late, so that verifying an armed
 * GPU (three exchanges) costs about its firmware's own time. */
const struct cc_poll_kind cc_poll_reply = {HW_MS(1) / 5, HW_MS(10), 32};
const struct cc_poll_kind cc_poll_boot = {HW_MS(1), HW_MS(10), 32};

int
cc_rd_raw(struct cc_session *s, uint32_t off, uint32_t *ret, struct err *e)
{
    return s->dev->ops->bar_read32(s->dev->ctx, off, ret, e);
}

int
cc_rd(struct cc_session *s, uint32_t off, const char *what, uint32_t *ret, struct err *e)
{
    uint32_t v = UINT32_MAX;
    int r = cc_rd_raw(s, off, &v, e);

    if (r < 0)
        return r;
    if (cc_is_bad(v))
        return cc_dead(s, what, off, v, e);
    *ret = v;
    return 0;
}

int
cc_wr(struct cc_session *s, uint32_t off, uint32_t val, struct err *e)
{
    return s->dev->ops->bar_write32(s->dev->ctx, off, val, e);
}

int
cc_cfg_rd(struct cc_session *s, uint32_t off, unsigned width, uint32_t *ret, struct err *e)
{
    return s->dev->ops->cfg_read(s->dev->ctx, off, width, ret, e);
}

void
cc_poll_start(struct cc_session *s, struct cc_poll *p, uint64_t limit,
              const struct cc_poll_kind *kind)
{
    p->dev = s->dev;
    p->kind = kind;
    p->start = s->dev->ops->now_ns(s->dev->ctx);
    p->limit = limit;
}

bool
cc_poll_last(const struct cc_poll *p)
{
    return p->dev->ops->now_ns(p->dev->ctx) - p->start >= p->limit;
}

void
cc_poll_sleep(const struct cc_poll *p)
{
    uint64_t waited = p->dev->ops->now_ns(p->dev->ctx) - p->start;
    uint64_t ns = waited / p->kind->fraction;

    if (ns < p->kind->min)
        ns = p->kind->min;
    if (ns > p->kind->max)
        ns = p->kind->max;
    if (waited < p->limit && ns > p->limit - waited)
        ns = p->limit - waited;
    p->dev->ops->sleep_ns(p->dev->ctx, ns);
}

int
cc_cap_find(struct cc_session *s, uint8_t id, uint32_t *ret, struct err *e)
{
    uint32_t off = 0, head = 0;
    int r = cc_cfg_rd(s, CFG_CAP_PTR, 1, &off, e);

    if (r < 0)
        return r;
    /* 48 capabilities of 4 bytes fill the space above the header: a longer walk is a loop */
    for (int i = 0; i < 48; i++) {
        off &= 0xfcu;
        if (off < 0x40)
            break;
        r = cc_cfg_rd(s, off, 2, &head, e);
        if (r < 0)
            return r;
        if (head == 0xffffu)
            break;
        if ((head & 0xffu) == id) {
            *ret = off;
            return 0;
        }
        off = head >> 8;
    }
    *ret = 0;
    return 0;
}

/* Does the capability at `off` hold this chip's words? Fills `sec` if so. */
static int
sec_match(struct cc_session *s, uint32_t off, uint32_t head, struct cc_sec *sec, struct err *e)
{
    const struct cc_family *f = s->chip->fam;
    uint32_t h1 = 0, h2 = 0, len;
    uint16_t want = f->cap == CC_CAP_DVSEC ? CFG_EXT_DVSEC : CFG_EXT_VSEC;
    int r;

    if ((head & 0xffffu) != want || off > 0x1000 - 0x1c)
        return 0;
    r = cc_cfg_rd(s, off + 4, 4, &h1, e);
    if (r < 0)
        return r;
    len = h1 >> 20;
    if (f->cap == CC_CAP_VSEC) {
        if ((h1 & 0xfffffu) != (VSEC_REV << 16 | VSEC_ID))
            return 0;
        if (len >= VSEC_SEC_FAULT + 4)
            sec->fault_off = off + VSEC_SEC_FAULT;
        /* the word after it exists only where the capability is long enough: on GH100 the next
         * capability begins there */
        if (f->firewall && len >= VSEC_FLAGS + 4) {
            sec->flags_off = off + VSEC_FLAGS;
            sec->firewall_bit = VSEC_FLAGS_FIREWALL;
        }
        return 1;
    }
    if ((h1 & 0xffffu) != 0x10deu || len < DVSEC_FLAGS + 4)
        return 0;
    r = cc_cfg_rd(s, off + DVSEC_FLAGS, 4, &h2, e);
    if (r < 0)
        return r;
    if ((h2 & 0xffffu) != 0)
        return 0;
    sec->flags_off = off + DVSEC_FLAGS;
    sec->firewall_bit = DVSEC_FLAGS_FIREWALL;
    sec->recovery_bit = DVSEC_FLAGS_RECOVERY;
    if (len >= DVSEC_SEC_FAULT + 4)
        sec->fault_off = off + DVSEC_SEC_FAULT;
    return 1;
}

int
cc_sec_find(struct cc_session *s, struct cc_sec *ret, struct err *e)
{
    struct cc_sec sec = {0};
    uint32_t off = CFG_EXT_START, head = 0;
    int r = 0;

    /* capabilities take at least 8 bytes of the 3840: a longer walk is a loop */
    for (int i = 0; i < 480 && s->chip->fam->cap != CC_CAP_NONE; i++) {
        r = cc_cfg_rd(s, off, 4, &head, e);
        if (r < 0)
            return r;
        if (head == UINT32_MAX || head == 0)
            break;
        r = sec_match(s, off, head, &sec, e);
        if (r < 0)
            return r;
        off = (head >> 20) & 0xffcu;
        if (r > 0 || off < CFG_EXT_START)
            break;
    }
    *ret = sec;
    return 0;
}

void
cc_step(const struct cc_session *s, enum cc_step step, const char *detail)
{
    if (s->progress && s->progress->step)
        s->progress->step(s->progress->ctx, step, detail);
}
