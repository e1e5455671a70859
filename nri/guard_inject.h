/* SPDX-License-Identifier: Apache-2.0
 *
 * Filling an injection. What cannot be added is a refusing finding, not an error; errors are for
 * want of memory.
 */
#ifndef PGPU_NRI_GUARD_INJECT_H
#define PGPU_NRI_GUARD_INJECT_H

#include "nri/guard_priv.h"

struct guard_injection *guard_injection_new(size_t n_annotations); /* NULL: no memory */
size_t guard_annotations_max(const struct guard_case *g);

/* A device that the request lacks, at most once each. */
int guard_inject_device(struct guard_case *g, struct guard_injection *i, size_t device,
                        bool runtime_cdi, struct err *e);
/* The handler's set, for the devices in verdict->own; none where there are none. */
int guard_inject_annotations(struct guard_case *g, struct guard_injection *i, struct err *e);
void guard_injection_clear(struct guard_injection *i);

#endif
