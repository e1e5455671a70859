/* SPDX-License-Identifier: Apache-2.0
 *
 * The in-process front of the emulated GPU: an hw_dev over a sim_gpu with a virtual clock, for unit
 * tests. Sleeping advances the clock at once, so a 5 s timeout costs nothing.
 */
#ifndef PGPU_SIM_INPROC_H
#define PGPU_SIM_INPROC_H

#include "base/hw.h"
#include "sim/gpu.h"

struct sim_inproc;

/* Makes a GPU of `model` in D0, memory decode on, booted. Fails only on unknown model. */
int sim_inproc_new(const char *model, double time_scale, struct sim_inproc **ret, struct err *e);
void sim_inproc_free(struct sim_inproc *s);
struct sim_gpu *sim_inproc_gpu(const struct sim_inproc *s);
const struct hw_dev *sim_inproc_hw(const struct sim_inproc *s);
uint64_t sim_inproc_now(const struct sim_inproc *s);

#endif
