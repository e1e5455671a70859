/* SPDX-License-Identifier: Apache-2.0
 *
 * What the kubelet's side sends us: an AllocateRequest, or its list of pods (PodResources). The
 * first byte chooses. What is accepted keeps the promises of codec.h.
 */
#include "deviceplugin/codec.h"

#include "tests/fuzz/fuzz.h"

#include <string.h>

static void
allocate(const uint8_t *data, size_t size)
{
    struct dp_allocate_request r = {0};
    struct err e = ERR_INIT;
    size_t total = 0;

    if (dp_decode_allocate(data, size, &r, &e) < 0) {
        FUZZ_ASSERT(e.msg[0] != '\0');
        FUZZ_ASSERT(!r.msg && r.n == 0);
        return;
    }
    FUZZ_ASSERT(r.n <= DP_CONTAINERS_MAX);
    for (size_t i = 0; i < r.n; i++) {
        total += r.req[i].n_ids;
        for (size_t k = 0; k < r.req[i].n_ids; k++)
            FUZZ_ASSERT(dp_id_valid(r.req[i].ids[k]));
    }
    FUZZ_ASSERT(total <= DP_IDS_MAX);
    dp_allocate_request_fini(&r);
}

static void
pods(const uint8_t *data, size_t size)
{
    struct dp_pod_table t = {0};
    struct err e = ERR_INIT;
    size_t letters = 0;

    if (dp_decode_pods(data, size, &t, &e) < 0) {
        FUZZ_ASSERT(e.msg[0] != '\0');
        FUZZ_ASSERT(!t.msg && t.n == 0 && !t.v);
        return;
    }
    for (size_t i = 0; i < t.n; i++) {
        /* Every string can be read to its end. */
        letters += strlen(t.v[i].ns) + strlen(t.v[i].pod) + strlen(t.v[i].container) +
                   strlen(t.v[i].resource) + strlen(t.v[i].id);
    }
    FUZZ_ASSERT(letters <= size * t.n); /* a pod's name stands in each of its rows */
    dp_pod_table_fini(&t);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > FUZZ_MAX)
        return 0;
    if (data[0] == 'a')
        allocate(data + 1, size - 1);
    else if (data[0] == 'p')
        pods(data + 1, size - 1);
    return 0;
}
