/* SPDX-License-Identifier: Apache-2.0
 *
 * Register pokes for the tests of the emulated GPU: the exchange with the security processor spelt
 * out once more, apart from the code under test and from ccmode/. One thread.
 */
#ifndef PGPU_TEST_POKE_H
#define PGPU_TEST_POKE_H

#include "sim/gpu.h"
#include "sim/inproc.h"

uint32_t bar_r(struct sim_inproc *s, uint32_t off);
void bar_w(struct sim_inproc *s, uint32_t off, uint32_t val);
uint32_t cfg_r(struct sim_inproc *s, uint32_t off, unsigned width);
void cfg_w(struct sim_inproc *s, uint32_t off, unsigned width, uint32_t val);
void wait_ms(struct sim_inproc *s, unsigned ms);

struct poke_reply {
    unsigned n; /* 0: no reply within 5 s */
    uint32_t w[16];
    uint64_t took_ns;
};
/* One command by the transport that the model has: the words after the transport header. */
struct poke_reply poke_fsp(struct sim_inproc *s, const uint32_t *body, unsigned n);

/* Returns the FSP's error code; 0xffffffff: no reply. */
uint32_t poke_read_knob(struct sim_inproc *s, unsigned knob, uint16_t *ret);
uint32_t poke_write_knob(struct sim_inproc *s, unsigned knob, uint16_t val);

/* Resets by the kernel's way and asserts success. */
void poke_reset(struct sim_inproc *s, enum hw_reset how);
/* ms until the boot register says done; 0xffffffff: not within 30 s. */
unsigned poke_boot_ms(struct sim_inproc *s);
/* The mode bits of the state register: 0 off, 1 on, 3 devtools; +0x20 PPCIe. */
uint32_t poke_state(struct sim_inproc *s);

struct sim_inproc *poke_new(const char *model, double scale);
void poke_fault(struct sim_inproc *s, const char *spec);

#endif
