/* SPDX-License-Identifier: Apache-2.0
 *
 * The firmware of the security processor: product reconfiguration ("PRC") commands over the knobs
 * in NVRAM. Messages and error codes: gpu-admin-tools v2025.10.20, open-gpu-kernel-modules
 * 595.45.04. Untrusted input: the words come from whoever writes BAR0.
 */
#include "sim/gpu_priv.h"

#include "base/cleanup.h"

#define MCTP_SINGLE 0xc0000000u
#define MSG_TYPE_VENDOR 0x7eu
#define MSG_VENDOR 0x10deu
#define NVDM_PRC 0x13u
#define RESPONSE_HEADER 0x1510de7eu
#define RESPONSE_WRONG 0x1610de7eu
#define TASK_ID 2u
#define GARBAGE (0xbeefu << 16) /* only the low half of a knob's value is meant */

#define PRC_ECC 0x01u
#define PRC_COUPLE_RESET 0x04u
#define PRC_BLOCK_NVLINKS 0x0au
#define PRC_READ 0x0cu
#define PRC_WRITE 0x0du

/* Error codes. That a forbidden in-band write answers INVALID_STATE is a guess: the real code is
 * not known. */
#define FSP_OK 0u
#define FSP_INVALID_STATE 0x9eu
#define FSP_NOT_SUPPORTED 0xa0u
#define FSP_INVALID_DATA 0xa1u
#define FSP_INVALID_KNOB 0x1e3u

struct answer {
    uint32_t error;
    bool has_data;
    uint32_t data;
};

/* Which knob says whether the host may change which. The pairs 1/2, 3/4 and 33/34 exist too, but
 * tools clear 2, 4 and 34 without looking, so nothing is known about their refusal. */
static const struct {
    uint8_t knob, allow;
} inband[] = {{KNOB_CCD, KNOB_CCD_ALLOW},           {KNOB_CCM, KNOB_CCM_ALLOW},
              {KNOB_BAR0_DEC, KNOB_BAR0_DEC_ALLOW}, {KNOB_COUPLE, KNOB_COUPLE_ALLOW},
              {KNOB_PPCIE, KNOB_PPCIE_ALLOW},       {KNOB_CECA, KNOB_CECA_ALLOW}};

static uint16_t
knob_value(const struct sim_gpu *g, unsigned knob)
{
    for (size_t i = 0; i < ARRAY_SIZE(inband); i++)
        if (inband[i].allow == knob &&
            sim_fault_knob(&g->faults, SIM_F_INBAND_LOCKED, inband[i].knob))
            return 0;
    return g->nv.knob[knob];
}

/* A locked knob, or an attempt to give oneself the permission. */
static bool
locked(const struct sim_gpu *g, unsigned knob, uint32_t val)
{
    for (size_t i = 0; i < ARRAY_SIZE(inband); i++) {
        if (inband[i].knob == knob)
            return knob_value(g, inband[i].allow) == 0;
        if (inband[i].allow == knob)
            return val != 0 && knob_value(g, knob) == 0;
    }
    return sim_fault_knob(&g->faults, SIM_F_INBAND_LOCKED, knob);
}

static bool
no_such_knob(const struct sim_gpu *g, unsigned knob)
{
    return knob == 0 || knob >= SIM_KNOBS || sim_fault_knob(&g->faults, SIM_F_INVALID_KNOB, knob);
}

static struct answer
read_knob(struct sim_gpu *g, const uint32_t *body, unsigned n)
{
    unsigned knob = body[0] >> 16;
    struct answer a = {.error = FSP_OK};

    if (n != 1 || (body[0] >> 8 & 0xff) != 2)
        a.error = FSP_INVALID_DATA;
    else if (no_such_knob(g, knob))
        a.error = FSP_INVALID_KNOB;
    if (a.error == FSP_OK) {
        a.has_data = true;
        a.data = GARBAGE | knob_value(g, knob);
    }
    sim_access_note(g, "FSP: read knob %u: error 0x%x data 0x%x", knob, a.error, a.data);
    return a;
}

static uint32_t
write_error(const struct sim_gpu *g, unsigned knob, uint32_t val)
{
    if (no_such_knob(g, knob))
        return FSP_INVALID_KNOB;
    if (sim_fault_knob(&g->faults, SIM_F_WRITE_ERROR, knob))
        return g->faults.error[knob];
    if (sim_fault_knob(&g->faults, SIM_F_WRITE_REFUSED, knob) || locked(g, knob, val))
        return FSP_INVALID_STATE;
    return FSP_OK;
}

static struct answer
write_knob(struct sim_gpu *g, const uint32_t *body, unsigned n)
{
    unsigned knob = body[0] >> 16;
    struct answer a = {.error = FSP_OK};
    struct err e = ERR_INIT;

    if (n != 2 || (body[0] >> 8 & 0xff) != 2 || body[1] > 0xffff)
        a.error = FSP_INVALID_DATA;
    else
        a.error = write_error(g, knob, body[1]);
    if (a.error == FSP_OK && !sim_fault_knob(&g->faults, SIM_F_WRITE_IGNORED, knob) &&
        sim_nvram_set(&g->nv, knob, (uint16_t)body[1], &e) < 0) {
        sim_access_note(g, "%s", e.msg);
        a.error = FSP_INVALID_STATE;
    }
    sim_access_note(g, "FSP: write knob %u value 0x%x: error 0x%x", knob, n == 2 ? body[1] : 0,
                    a.error);
    return a;
}

/* Commands without an effect on what is modelled. */
static struct answer
accept_only(struct sim_gpu *g, const uint32_t *body, unsigned n)
{
    (void)n;
    sim_access_note(g, "FSP: PRC command 0x%x accepted", body[0] & 0xff);
    return (struct answer){.error = FSP_OK};
}

static const struct {
    uint8_t sub;
    struct answer (*run)(struct sim_gpu *g, const uint32_t *body, unsigned n);
} commands[] = {{PRC_READ, read_knob},
                {PRC_WRITE, write_knob},
                {PRC_ECC, accept_only},
                {PRC_COUPLE_RESET, accept_only},
                {PRC_BLOCK_NVLINKS, accept_only}};

static struct answer
command(struct sim_gpu *g, unsigned nvdm, const uint32_t *body, unsigned n)
{
    if (sim_fault(g, SIM_F_FSP_ERROR)) {
        sim_access_note(g, "FSP: error 0x%x for everything", g->faults.value[SIM_F_FSP_ERROR]);
        return (struct answer){.error = g->faults.value[SIM_F_FSP_ERROR]};
    }
    if (nvdm == NVDM_PRC && n >= 1)
        for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
            if (commands[i].sub == (body[0] & 0xff))
                return commands[i].run(g, body, n);
    sim_access_note(g, "FSP: message type 0x%x not supported", nvdm);
    return (struct answer){.error = FSP_NOT_SUPPORTED};
}

unsigned
sim_fsp_run(struct sim_gpu *g, const uint32_t *msg, unsigned n, uint32_t reply[FSP_REPLY_WORDS])
{
    unsigned nvdm, len = 5;
    struct answer a;

    if (n < 1 || (msg[0] & 0x7f) != MSG_TYPE_VENDOR || (msg[0] >> 8 & 0xffff) != MSG_VENDOR) {
        sim_access_note(g, "FSP: message header not understood, dropped");
        return 0;
    }
    nvdm = msg[0] >> 24;
    a = command(g, nvdm, msg + 1, n - 1);
    reply[0] = MCTP_SINGLE;
    reply[1] = sim_fault(g, SIM_F_WRONG_TYPE) ? RESPONSE_WRONG : RESPONSE_HEADER;
    reply[2] = TASK_ID;
    reply[3] = sim_fault(g, SIM_F_WRONG_ECHO) ? nvdm ^ 1u : nvdm;
    reply[4] = a.error;
    if (a.has_data)
        reply[len++] = a.data;
    if (sim_fault(g, SIM_F_WRONG_LENGTH))
        reply[len++] = 0;
    return sim_fault(g, SIM_F_SHORT_REPLY) ? 3 : len;
}
