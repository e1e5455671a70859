/* SPDX-License-Identifier: Apache-2.0
 *
 * Knob reads and writes: one request packet, one reply packet, everything in the reply checked.
 * No state but the session's `fsp_open`; the session's thread.
 */
#include "ccmode/prc.h"

#include "base/cleanup.h"
#include "ccmode/chip.h"
#include "ccmode/io.h"
#include "ccmode/regs.h"

#include <errno.h>

/* Words of a reply: transport header, message header, task, echoed type, error, payload. */
#define REPLY_HEAD 5u

static const struct {
    uint8_t knob;
    const char *name;
} names[] = {
    {KNOB_2, "legacy 2"},
    {KNOB_4, "legacy 4"},
    {KNOB_CCD, "CC devtools"},
    {KNOB_CCM, "CC mode"},
    {KNOB_34, "legacy 34"},
    {KNOB_DECOUPLER, "BAR0 decoupler"},
    {KNOB_PPCIE, "Protected PCIe"},
    {KNOB_INBAND(KNOB_2), "legacy 2 in-band permission"},
    {KNOB_INBAND(KNOB_4), "legacy 4 in-band permission"},
    {KNOB_INBAND(KNOB_CCD), "CC devtools in-band permission"},
    {KNOB_INBAND(KNOB_CCM), "CC mode in-band permission"},
    {KNOB_INBAND(KNOB_34), "legacy 34 in-band permission"},
    {KNOB_INBAND(KNOB_DECOUPLER), "BAR0 decoupler in-band permission"},
    {KNOB_INBAND(KNOB_PPCIE), "Protected PCIe in-band permission"},
};

/* RM's names for the FSP's codes; 0x202 was seen for every read on an H100 NVL whose driver did
 * not start either (gpu-admin-tools issue 13). */
static const struct {
    uint32_t code;
    const char *text;
} codes[] = {
    {0x9e, "invalid state"},
    {0x9f, "file not found"},
    {0xa0, "not supported"},
    {0xa1, "invalid data"},
    {FSP_ERR_KNOB_ID, "unknown knob"},
    {0x202, "seen on unhealthy GPUs: power-cycle, update the VBIOS"},
};

const char *
prc_knob_name(unsigned knob)
{
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (names[i].knob == knob)
            return names[i].name;
    return "unnamed";
}

const char *
prc_error_text(uint32_t code)
{
    for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
        if (codes[i].code == code)
            return codes[i].text;
    return "no known meaning";
}

static int
nonsense(struct cc_session *s, const char *what, uint32_t got, struct err *e)
{
    return err_reason(e, EPROTO, ERR_CLASS_HW, REASON_FSP_PROTOCOL,
                      "read the FSP's answer of %s: %s (0x%x)", CC_ADDR(s), what, got);
}

/* A word of all-ones is what a device gives that left in the middle of its answer. */
static int
check_alive(struct cc_session *s, const uint32_t *w, unsigned n, struct err *e)
{
    uint32_t v = 0;

    for (unsigned i = 0; i < n; i++)
        if (w[i] == UINT32_MAX)
            return cc_rd(s, s->chip->fam->reg_boot, "the boot register", &v, e);
    return 0;
}

/* Everything before the error code, then the code, then the length. */
static int
check_reply(struct cc_session *s, const uint32_t *w, unsigned n, unsigned payload, struct err *e)
{
    int r = check_alive(s, w, n, e);

    if (r < 0)
        return r;
    if (n < REPLY_HEAD)
        return nonsense(s, "too short", n, e);
    if ((w[0] & MCTP_SOM_EOM) != MCTP_SOM_EOM)
        return nonsense(s, "not a single packet", w[0], e);
    if (w[1] != MCTP_NVDM(NVDM_RESPONSE))
        return nonsense(s, "not an FSP response", w[1], e);
    if (w[3] != NVDM_PRC)
        return nonsense(s, "answers another request", w[3], e);
    if (w[4] == FSP_ERR_KNOB_ID)
        return err_reason(e, ENOENT, ERR_CLASS_HW, REASON_KNOB_MISSING,
                          "the firmware of %s does not know it (0x%x)", CC_ADDR(s), w[4]);
    if (w[4] != 0)
        return err_reason(e, EIO, ERR_CLASS_HW, REASON_FSP_ERROR, "the FSP of %s answers 0x%x (%s)",
                          CC_ADDR(s), w[4], prc_error_text(w[4]));
    if (n != REPLY_HEAD + payload)
        return nonsense(s, "wrong length", n, e);
    return 0;
}

static int
exchange(struct cc_session *s, const uint32_t *req, unsigned n, uint32_t *rsp, unsigned *ret_n,
         struct err *e)
{
    const struct fsp_ops *t = s->chip->fam->fsp;
    int r = 0;

    if (!s->fsp_open)
        r = t->open(s, e);
    if (r >= 0)
        r = t->send(s, req, n, e);
    if (r >= 0)
        r = t->recv(s, rsp, ret_n, e);
    /* after a failure an answer may still come late: the next open drops it */
    s->fsp_open = r >= 0;
    return r;
}

int
prc_read(struct cc_session *s, unsigned knob, uint16_t *ret, struct err *e)
{
    const uint32_t req[] = {MCTP_SINGLE, MCTP_NVDM(NVDM_PRC),
                            (uint32_t)knob << 16 | PRC_BYTES << 8 | PRC_READ};
    uint32_t rsp[FSP_REPLY_WORDS] = {0};
    unsigned n = 0;
    int r = exchange(s, req, ARRAY_SIZE(req), rsp, &n, e);

    if (r >= 0)
        r = check_reply(s, rsp, n, 1, e);
    if (r < 0)
        return err_prefix(e, "read knob %u (%s)", knob, prc_knob_name(knob));
    *ret = (uint16_t)(rsp[REPLY_HEAD] & 0xffffu); /* the upper half is garbage (GAT masks it) */
    return 0;
}

int
prc_write(struct cc_session *s, unsigned knob, uint16_t val, struct err *e)
{
    const uint32_t req[] = {MCTP_SINGLE, MCTP_NVDM(NVDM_PRC),
                            (uint32_t)knob << 16 | PRC_BYTES << 8 | PRC_WRITE, val};
    uint32_t rsp[FSP_REPLY_WORDS] = {0};
    unsigned n = 0;
    int r = exchange(s, req, ARRAY_SIZE(req), rsp, &n, e);

    if (r >= 0)
        r = check_reply(s, rsp, n, 0, e);
    if (r < 0)
        return err_prefix(e, "write knob %u (%s) = %u", knob, prc_knob_name(knob), val);
    return 0;
}

int
prc_read_opt(struct cc_session *s, unsigned knob, int *ret, struct err *e)
{
    struct err miss = ERR_INIT;
    uint16_t v = 0;
    int r = prc_read(s, knob, &v, &miss);

    if (r < 0 && miss.reason != REASON_KNOB_MISSING) {
        *e = miss;
        return r;
    }
    *ret = r < 0 ? -1 : v;
    return 0;
}
