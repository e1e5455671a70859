/* SPDX-License-Identifier: Apache-2.0
 *
 * The GPU's security processor (FSP): two transports, EMEM queues (Hopper, NVSwitch) and the MNOC
 * mailbox (Blackwell), in front of one firmware. Register offsets and message layout:
 * gpu-admin-tools v2025.10.20 and open-gpu-kernel-modules 595.45.04. Belongs to one sim_gpu; not
 * thread-safe.
 */
#ifndef PGPU_SIM_FSP_H
#define PGPU_SIM_FSP_H

#include "sim/gpu.h"

#define FSP_PORTS 8u
#define FSP_EMEM_WORDS 2048u /* 8 KiB, 1 KiB per port */
#define FSP_PORT_BYTES 1024u
#define FSP_MSG_WORDS 1040u /* 4160 bytes, the largest MNOC packet */
#define FSP_REPLY_WORDS 8u

struct sim_fsp_rx { /* a message of one or more packets while it comes in */
    bool open;
    unsigned seq, n;
    uint32_t w[FSP_MSG_WORDS];
};

struct sim_fsp_reply {
    bool pending;
    uint64_t at_ns;
    unsigned n;
    uint32_t w[FSP_REPLY_WORDS];
};

struct sim_fsp {
    /* EMEM */
    uint32_t emem[FSP_EMEM_WORDS];
    uint32_t ememc[FSP_PORTS], qhead[FSP_PORTS], qtail[FSP_PORTS], mhead[FSP_PORTS],
        mtail[FSP_PORTS];
    struct sim_fsp_rx rx[FSP_PORTS];
    struct sim_fsp_reply reply[FSP_PORTS];
    /* MNOC, port 0 (uses rx[0] and reply[0]) */
    bool in_error, in_stuck;
    unsigned in_want, in_got;
    uint32_t in[FSP_MSG_WORDS];
    unsigned out_n, out_pos;
    uint32_t out[FSP_REPLY_WORDS];
};

/* After power-up and every reset: queues empty; a stale reply if that fault is on. */
void sim_fsp_reset(struct sim_gpu *g);
void sim_fsp_put_stale(struct sim_gpu *g);

/* BAR0 access. Returns false where the offset is none of the transport's. */
bool sim_fsp_read(struct sim_gpu *g, uint32_t off, uint32_t *ret);
bool sim_fsp_write(struct sim_gpu *g, uint32_t off, uint32_t val);

/* The firmware: runs one whole message (without transport headers) and writes the reply, transport
 * header included. Returns its words, 0 for no reply. */
unsigned sim_fsp_run(struct sim_gpu *g, const uint32_t *msg, unsigned n,
                     uint32_t reply[FSP_REPLY_WORDS]);

#endif
