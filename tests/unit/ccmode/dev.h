/* SPDX-License-Identifier: Apache-2.0
 *
 * What the CC-mode tests share: an emulated device with a session on it, and its recorded register
 * traffic. One thread.
 */
#ifndef PGPU_TESTS_CCMODE_DEV_H
#define PGPU_TESTS_CCMODE_DEV_H

#include "ccmode/cc.h"
#include "sim/inproc.h"

struct rec {
    bool write, note;
    uint32_t off, val;
};

#define REC_MAX 65536u

struct dev {
    struct sim_inproc *in;
    struct sim_gpu *gpu;
    struct cc_session s;
    struct rec *rec;
    unsigned n; /* recorded BAR0 accesses and notes; more than REC_MAX fails the test */
};

/* Full-speed hardware times on a virtual clock. Fails the test when the model is unknown. */
void dev_init(struct dev *d, const char *model);
void dev_fini(struct dev *d);

/* "" or "8=1,10=2" */
void dev_knobs(struct dev *d, const char *spec);
/* "" or faults separated by spaces */
void dev_faults(struct dev *d, const char *spec);

/* Fails the test unless the knobs named in `spec` have these values. */
void dev_expect_knobs(struct dev *d, const char *spec, const char *where);

#endif
