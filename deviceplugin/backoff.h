/* SPDX-License-Identifier: Apache-2.0
 *
 * Back-off with jitter: 0.5 s doubling to 30 s, each delay drawn from its upper half so that
 * plugins that lost the same kubelet do not come back in step. Owned by its embedder; no thread.
 */
#ifndef PGPU_DEVICEPLUGIN_BACKOFF_H
#define PGPU_DEVICEPLUGIN_BACKOFF_H

#include <stdint.h>

#define BACKOFF_MIN_USEC ((uint64_t)500 * 1000)
#define BACKOFF_MAX_USEC ((uint64_t)30 * 1000 * 1000)

struct backoff {
    unsigned failures;
    uint32_t seed; /* any value; the state of the generator */
};

void backoff_reset(struct backoff *b);

/* The next delay, between half and all of min(30 s, 0.5 s * 2^failures). */
uint64_t backoff_next(struct backoff *b);

#endif
