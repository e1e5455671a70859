/* SPDX-License-Identifier: Apache-2.0
 *
 * What a harness implements. It is called many times in one process and must leave nothing behind;
 * it returns 0. Inputs above FUZZ_MAX should be returned from at once.
 */
#ifndef PGPU_TESTS_FUZZ_FUZZ_H
#define PGPU_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define FUZZ_MAX 65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A broken promise of the code under test; libFuzzer and the replay both take abort for a find. */
#define FUZZ_ASSERT(x)                                                                             \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            (void)fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #x);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
