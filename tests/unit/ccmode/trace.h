/* SPDX-License-Identifier: Apache-2.0
 *
 * FSP exchanges taken out of register traffic, be it a trace file of the vendor's tool or what our
 * own code did to the emulated device. One thread.
 */
#ifndef PGPU_TESTS_CCMODE_TRACE_H
#define PGPU_TESTS_CCMODE_TRACE_H

#include "dev.h"

/* One exchange: the accesses that make it up, written down in their order, the tool's repeated
 * reads of the same register aside:
 *   EMEM  "C=03000800 D=c0000000 … T=00000808 H=00000800 | C=03000800 R6 A=00000800"
 *   MNOC  "I=0010000c c D=c0000000 … | R6 i"   (c: credit looked at; i: INFO looked at again)
 * Behind the bar is the reply; nothing there when none was read. */
struct exchange {
    bool write;
    unsigned knob;
    uint32_t value; /* of a write */
    char text[256];
};

#define EXCHANGES_MAX 128u

struct exchanges {
    unsigned n;
    struct exchange x[EXCHANGES_MAX];
};

void exchanges_of(const struct rec *r, unsigned n, struct exchanges *ret);

struct trace {
    struct rec *rec; /* BAR0 only, before the mode's end state is dumped */
    unsigned n;
    bool has_knobs; /* a reset was seen: these were configured then */
    unsigned ccm, ccd, ppcie, decoupler;
};

/* Reads tests/data/ccmode-traces/<name>.txt; fails the test where it cannot. */
void trace_load(const char *name, struct trace *ret);
void trace_free(struct trace *t);

bool is_fsp_reg(uint32_t off);

#endif
