/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz: manifests. A tree that is accepted has the shape that was promised, within its bounds.
 */
#include "base/yamldoc.h"

#include "tests/fuzz/fuzz.h"

#include <string.h>

#define DEPTH 64

static size_t
walk(const struct yamldoc_node *n, unsigned depth)
{
    const struct yamldoc_node *c = yamldoc_first(n);
    size_t count = 1;

    FUZZ_ASSERT(depth <= DEPTH + 1);
    FUZZ_ASSERT(yamldoc_line(n) > 0);
    FUZZ_ASSERT((yamldoc_type(n) == YAMLDOC_SCALAR) == (yamldoc_text(n) != NULL));
    FUZZ_ASSERT(!c || yamldoc_type(n) != YAMLDOC_SCALAR);
    (void)yamldoc_is_nonstring(n);
    for (; c; c = yamldoc_next(c)) {
        bool map = yamldoc_type(n) == YAMLDOC_MAP;

        FUZZ_ASSERT(map == (yamldoc_key(c) != NULL));
        FUZZ_ASSERT(!map || yamldoc_get(n, yamldoc_key(c)) == c);
        count += walk(c, depth + 1);
    }
    return count;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct yamldoc_limits limits = {.depth = DEPTH, .nodes = 2000};
    const struct yamldoc_node *root;
    struct yamldoc *d = NULL;
    struct err e = ERR_INIT;
    size_t count = 0;

    if (size > FUZZ_MAX)
        return 0;
    int rc = yamldoc_parse("fuzz", (const char *)data, size, &limits, &d, &e);
    FUZZ_ASSERT((rc < 0) == (e.msg[0] != '\0'));
    FUZZ_ASSERT((rc < 0) == (d == NULL));
    for (size_t i = 0; d && (root = yamldoc_root(d, i)) != NULL; i++)
        count += walk(root, 1);
    FUZZ_ASSERT(count <= limits.nodes);
    yamldoc_free(d);
    return 0;
}
