/* SPDX-License-Identifier: Apache-2.0
 *
 * See deviceplugin/backoff.h.
 */
#include "deviceplugin/backoff.h"

void
backoff_reset(struct backoff *b)
{
    b->failures = 0;
}

/* A linear congruential step (the constants of Numerical Recipes) is jitter enough. */
static uint32_t
next_random(struct backoff *b)
{
    b->seed = (uint32_t)(b->seed * UINT64_C(1664525) + UINT64_C(1013904223));
    return b->seed >> 8; /* the low bits of such a generator have short periods */
}

uint64_t
backoff_next(struct backoff *b)
{
    uint64_t full = BACKOFF_MAX_USEC;

    if (b->failures < 6) {
        full = BACKOFF_MIN_USEC << b->failures;
        b->failures++;
    }
    if (full > BACKOFF_MAX_USEC)
        full = BACKOFF_MAX_USEC;
    return full / 2 + next_random(b) % (full / 2 + 1);
}
