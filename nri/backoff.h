/* SPDX-License-Identifier: Apache-2.0
 *
 * Delays between attempts to reach a runtime: 100 ms doubling to 10 s, each drawn from the upper
 * half, so that plugins that lost the same runtime do not come back in step.
 */
#ifndef PGPU_NRI_BACKOFF_H
#define PGPU_NRI_BACKOFF_H

#include <stdint.h>

#define NRI_BACKOFF_MIN_USEC UINT64_C(100000)
#define NRI_BACKOFF_MAX_USEC UINT64_C(10000000)

struct nri_backoff {
    unsigned failures; /* 0 = reset */
    uint32_t seed;
};

static inline uint64_t
nri_backoff_next(struct nri_backoff *b)
{
    const uint64_t full =
        b->failures < 7 ? NRI_BACKOFF_MIN_USEC << b->failures : NRI_BACKOFF_MAX_USEC;

    if (b->failures < 7)
        b->failures++;
    /* A linear congruential step (the constants of Numerical Recipes) is jitter enough. */
    b->seed = (uint32_t)(b->seed * UINT64_C(1664525) + UINT64_C(1013904223));
    return full / 2 + (b->seed >> 8) % (full / 2 + 1);
}

#endif
