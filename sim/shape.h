/* SPDX-License-Identifier: Apache-2.0
 *
 * Shapes of simulated nodes: options of `pgpu-sim node` turned into the list of functions that hang
 * on the bus. Also used by tests that build the same node in memory.
 */
#ifndef PGPU_SIM_SHAPE_H
#define PGPU_SIM_SHAPE_H

#include "sim/kernel.h"

#define SHAPE_FNS_MAX 256
#define SHAPE_MODELS_MAX 8
#define SHAPE_ADDS_MAX 32

struct shape {
    unsigned gpus; /* 8 */
    struct {
        char name[24];
        unsigned count; /* 0: all that are left */
    } models[SHAPE_MODELS_MAX];
    unsigned n_models;
    unsigned nvswitches;
    bool switches_share;     /* one IOMMU group, as on HGX boards */
    unsigned gpus_per_group; /* 1 */
    uint32_t domain;
    unsigned vfs;    /* virtual functions on each GPU */
    bool audio, usb; /* companions of each GPU, in its group */
    bool no_bridges;
    bool no_iommu;
    int numa;                        /* -2: as the board (0 and 1); else this for all */
    const char *driver;              /* bound at start, GPUs and switches */
    const char *missing, *garbage;   /* of every GPU */
    const char *add[SHAPE_ADDS_MAX]; /* ADDR=MODEL[,OPTION...] */
    unsigned n_add;
    const char *with[SHAPE_ADDS_MAX]; /* ADDR=OPTION[,OPTION...] */
    unsigned n_with;
};

void shape_init(struct shape *s);

/* "h100-sxm" or "h100-sxm:4,b200:4". */
int shape_models(struct shape *s, const char *text, struct err *e);

struct shape_fns {
    struct sim_fn_spec fn[SHAPE_FNS_MAX];
    size_t n;
    char *text[2 * SHAPE_ADDS_MAX]; /* owned copies that fn[] points into */
    size_t n_text;
};

/* Strings of `s` are borrowed by the result. */
int shape_build(const struct shape *s, struct shape_fns *ret, struct err *e);
void shape_fns_fini(struct shape_fns *f);

#endif
