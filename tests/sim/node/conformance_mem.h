/* SPDX-License-Identifier: Apache-2.0
 *
 * The in-memory backend of the conformance program. One at a time; `k` is borrowed and its events
 * go to the backend from then on.
 */
#ifndef PGPU_TESTS_CONFORMANCE_MEM_H
#define PGPU_TESTS_CONFORMANCE_MEM_H

#include "conformance.h"
#include "sim/kernel.h"

struct backend conformance_mem(struct sim_kernel *k);

#endif
