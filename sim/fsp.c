/* SPDX-License-Identifier: Apache-2.0
 *
 * The two transports of the security processor. See sim/fsp.h.
 */
#include "sim/gpu_priv.h"

#include <string.h>

/* EMEM: offsets of port 0, 8 bytes from port to port. */
#define EMEMC 0x8f2ac0u
#define EMEMD 0x8f2ac4u
#define QUEUE_HEAD 0x8f2c00u
#define QUEUE_TAIL 0x8f2c04u
#define MSGQ_HEAD 0x8f2c80u
#define MSGQ_TAIL 0x8f2c84u
#define EMEMC_ADDR 0xfffcu
#define EMEMC_INC_WRITE (1u << 24)
#define EMEMC_INC_READ (1u << 25)

/* MNOC port 0: "send" is from the firmware to us, "receive" the other way. */
#define MNOC_SEND 0x8f1f04u
#define MNOC_RDATA 0x8f1f08u
#define MNOC_RECEIVE 0x8f1f84u
#define MNOC_WDATA 0x8f1f88u
#define MNOC_SIZE 0xfffffu
#define MNOC_TRIGGER (1u << 20)
#define MNOC_READY (1u << 24)
#define MNOC_ERROR (1u << 25)
#define MNOC_CREDIT (1u << 26)

/* MCTP transport header */
#define MCTP_SOM (1u << 31)
#define MCTP_EOM (1u << 30)
#define MCTP_SEQ(w) ((w) >> 28 & 3u)

#define CLIENT_PORT 2u /* the EMEM port of administrative tools */

static bool
uses_emem(const struct sim_gpu *g)
{
    return g->model->kind == SIM_GPU_HOPPER || g->model->kind == SIM_NVSWITCH3;
}

void
sim_fsp_reset(struct sim_gpu *g)
{
    struct sim_fsp *f = &g->fsp;

    memset(f, 0, sizeof(*f));
    for (uint32_t i = 0; i < FSP_PORTS; i++)
        f->qhead[i] = f->qtail[i] = f->mhead[i] = f->mtail[i] = i * FSP_PORT_BYTES;
    if (sim_fault(g, SIM_F_STALE_REPLY))
        sim_fsp_put_stale(g);
}

/* ---- replies ---- */

static void
deliver(struct sim_gpu *g, unsigned port, const uint32_t *w, unsigned n)
{
    struct sim_fsp *f = &g->fsp;
    uint32_t base = port * FSP_PORT_BYTES;

    if (!uses_emem(g)) {
        memcpy(f->out, w, n * sizeof(*w));
        f->out_n = n;
        f->out_pos = 0;
        return;
    }
    memcpy(&f->emem[base / 4], w, n * sizeof(*w));
    f->mhead[port] = base;
    f->mtail[port] = base + 4 * (n - 1);
}

void
sim_fsp_put_stale(struct sim_gpu *g)
{
    static const uint32_t old[] = {0xc0000000, 0x1510de7e, 2, 0x13, 0, 0xbeef0001};

    if (g->model->kind != SIM_PLAIN)
        deliver(g, uses_emem(g) ? CLIENT_PORT : 0, old, sizeof(old) / sizeof(old[0]));
}

/* Everything is computed lazily: replies whose time has come appear at the next access. */
static void
tick(struct sim_gpu *g)
{
    uint64_t now = sim_now(g);

    for (unsigned i = 0; i < FSP_PORTS; i++) {
        struct sim_fsp_reply *r = &g->fsp.reply[i];

        if (!r->pending || now < r->at_ns)
            continue;
        r->pending = false;
        deliver(g, i, r->w, r->n);
    }
}

/* The firmware answers no earlier than it has booted. */
static uint64_t
reply_time(const struct sim_gpu *g)
{
    uint64_t at = sim_now(g);

    if (g->boot_ns == SIM_NEVER || sim_fault(g, SIM_F_RECOVERY_MODE))
        return SIM_NEVER;
    if (at < g->boot_ns)
        at = g->boot_ns;
    at += sim_scaled(g, SIM_MS_FSP);
    if (sim_fault(g, SIM_F_SLOW_REPLY))
        at += (uint64_t)g->faults.value[SIM_F_SLOW_REPLY] * 1000000u;
    return at;
}

static void
run(struct sim_gpu *g, unsigned port)
{
    struct sim_fsp_rx *rx = &g->fsp.rx[port];
    struct sim_fsp_reply *r = &g->fsp.reply[port];
    uint64_t at = reply_time(g);

    g->counts.exchanges++;
    g->counts.delay_ns += sim_scaled(g, SIM_MS_FSP);
    rx->open = false;
    if (at == SIM_NEVER || sim_fault(g, SIM_F_NO_REPLY)) {
        sim_access_note(g, "FSP: command taken, no answer");
        return;
    }
    r->n = sim_fsp_run(g, rx->w, rx->n, r->w);
    r->at_ns = at;
    r->pending = r->n > 0 && !sim_fault(g, SIM_F_LOST_REPLY);
    tick(g);
}

/* One packet: reassembled by start, end and sequence; what is out of order is dropped. */
static void
packet(struct sim_gpu *g, unsigned port, const uint32_t *w, unsigned n)
{
    struct sim_fsp_rx *rx = &g->fsp.rx[port];

    if (w[0] & MCTP_SOM) {
        rx->open = true;
        rx->n = 0;
        rx->seq = MCTP_SEQ(w[0]);
    }
    if (!rx->open || MCTP_SEQ(w[0]) != rx->seq || rx->n + (n - 1) > FSP_MSG_WORDS) {
        rx->open = false;
        sim_access_note(g, "FSP: packet out of order or too large, dropped");
        return;
    }
    memcpy(&rx->w[rx->n], &w[1], (n - 1) * sizeof(*w));
    rx->n += n - 1;
    rx->seq = (rx->seq + 1) & 3;
    if (w[0] & MCTP_EOM)
        run(g, port);
}

/* ---- EMEM ---- */

static uint32_t *
queue_reg(struct sim_fsp *f, uint32_t off)
{
    uint32_t i = off >> 3 & 7;

    switch (off & ~0x38u) {
    case QUEUE_HEAD:
        return &f->qhead[i];
    case QUEUE_TAIL:
        return &f->qtail[i];
    case MSGQ_HEAD:
        return &f->mhead[i];
    case MSGQ_TAIL:
        return &f->mtail[i];
    case EMEMC:
        return &f->ememc[i];
    default:
        return NULL;
    }
}

static uint32_t *
emem_word(struct sim_fsp *f, uint32_t control)
{
    uint32_t word = (control & EMEMC_ADDR) / 4;

    return word < FSP_EMEM_WORDS ? &f->emem[word] : NULL;
}

static void
emem_advance(uint32_t *control, uint32_t if_bit)
{
    if (*control & if_bit)
        *control = (*control & ~EMEMC_ADDR) | ((*control + 4) & EMEMC_ADDR);
}

/* Writing the head interrupts the firmware: words from head to tail, inclusive, are a command. */
static void
doorbell(struct sim_gpu *g, unsigned port)
{
    struct sim_fsp *f = &g->fsp;
    uint32_t head = f->qhead[port], tail = f->qtail[port];

    if (head == tail || sim_fault(g, SIM_F_NO_CONSUME))
        return;
    f->qtail[port] = head;
    if (tail < head || tail - head >= FSP_PORT_BYTES || tail >= FSP_EMEM_WORDS * 4 ||
        (head | tail) & 3) {
        sim_access_note(g, "FSP: queue %u with head 0x%x and tail 0x%x makes no sense", port, head,
                        tail);
        return;
    }
    packet(g, port, &f->emem[head / 4], (tail - head) / 4 + 1);
}

static bool
emem_read(struct sim_gpu *g, uint32_t off, uint32_t *ret)
{
    struct sim_fsp *f = &g->fsp;
    uint32_t *reg = queue_reg(f, off), *word;

    if (reg) {
        *ret = *reg;
        return true;
    }
    if ((off & ~0x38u) != EMEMD)
        return false;
    reg = &f->ememc[off >> 3 & 7];
    word = emem_word(f, *reg);
    *ret = word ? *word : 0;
    emem_advance(reg, EMEMC_INC_READ);
    return true;
}

static bool
emem_write(struct sim_gpu *g, uint32_t off, uint32_t val)
{
    struct sim_fsp *f = &g->fsp;
    uint32_t *reg = queue_reg(f, off), *word;

    if (reg) {
        *reg = val;
        if ((off & ~0x38u) == QUEUE_HEAD)
            doorbell(g, off >> 3 & 7);
        return true;
    }
    if ((off & ~0x38u) != EMEMD)
        return false;
    reg = &f->ememc[off >> 3 & 7];
    word = emem_word(f, *reg);
    if (word)
        *word = val;
    emem_advance(reg, EMEMC_INC_WRITE);
    return true;
}

/* ---- MNOC ---- */

static uint32_t
mnoc_receive_info(const struct sim_fsp *f)
{
    bool idle = f->in_want == 0 && !f->in_stuck;

    return (idle ? MNOC_READY : 0) | MNOC_CREDIT | (f->in_error ? MNOC_ERROR : 0);
}

static bool
mnoc_read(struct sim_gpu *g, uint32_t off, uint32_t *ret)
{
    struct sim_fsp *f = &g->fsp;
    bool waiting = f->out_pos < f->out_n;

    switch (off) {
    case MNOC_SEND:
        *ret = waiting ? MNOC_READY | (f->out_n * 4) : 0;
        return true;
    case MNOC_RDATA:
        *ret = waiting ? f->out[f->out_pos++] : 0;
        return true;
    case MNOC_RECEIVE:
        *ret = mnoc_receive_info(f);
        return true;
    case MNOC_WDATA:
        *ret = 0;
        return true;
    default:
        return false;
    }
}

static void
mnoc_start(struct sim_fsp *f, uint32_t val)
{
    uint32_t size = val & MNOC_SIZE;

    if (!(val & MNOC_TRIGGER) || f->in_stuck)
        return;
    f->in_error = size < 8 || size % 4 || size > FSP_MSG_WORDS * 4;
    f->in_want = f->in_error ? 0 : size / 4;
    f->in_got = 0;
}

static void
mnoc_push(struct sim_gpu *g, uint32_t val)
{
    struct sim_fsp *f = &g->fsp;
    unsigned n = f->in_want;

    if (n == 0)
        return;
    f->in[f->in_got++] = val;
    if (f->in_got < n)
        return;
    f->in_want = 0;
    if (sim_fault(g, SIM_F_NO_CONSUME))
        f->in_stuck = true;
    else
        packet(g, 0, f->in, n);
}

static bool
mnoc_write(struct sim_gpu *g, uint32_t off, uint32_t val)
{
    switch (off) {
    case MNOC_RECEIVE:
        mnoc_start(&g->fsp, val);
        return true;
    case MNOC_WDATA:
        mnoc_push(g, val);
        return true;
    case MNOC_SEND:
    case MNOC_RDATA:
        return true;
    default:
        return false;
    }
}

bool
sim_fsp_read(struct sim_gpu *g, uint32_t off, uint32_t *ret)
{
    tick(g);
    return uses_emem(g) ? emem_read(g, off, ret) : mnoc_read(g, off, ret);
}

bool
sim_fsp_write(struct sim_gpu *g, uint32_t off, uint32_t val)
{
    tick(g);
    return uses_emem(g) ? emem_write(g, off, val) : mnoc_write(g, off, val);
}
