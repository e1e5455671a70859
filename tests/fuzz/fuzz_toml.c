/* SPDX-License-Identifier: Apache-2.0
 *
 * TOML: what is accepted is a tree whose parts agree with each other; what is refused leaves
 * nothing behind and an error that names the document.
 */
#include "nri/toml.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static const struct toml_limits limits = {.depth = 16, .nodes = 4096};

static void
walk(const struct toml_value *v, unsigned depth, size_t *nodes)
{
    enum toml_type type = toml_type(v);
    size_t len = 0;

    FUZZ_ASSERT(depth <= limits.depth && ++*nodes <= limits.nodes);
    FUZZ_ASSERT(toml_line(v) >= 1);
    FUZZ_ASSERT((toml_string(v) != NULL) == (type == TOML_STRING));
    if (toml_text(v, &len))
        FUZZ_ASSERT(strlen(toml_text(v, NULL)) == len);
    for (size_t k = 0; k < toml_count(v); k++) {
        const struct toml_value *item = toml_item(v, k);

        FUZZ_ASSERT(item && (toml_key(v, k) != NULL) == (type == TOML_TABLE));
        /* no key twice: the first of its name is itself */
        if (type == TOML_TABLE && toml_count(v) < 64)
            FUZZ_ASSERT(toml_get(v, toml_key(v, k)) == item);
        walk(item, depth + 1, nodes);
    }
    FUZZ_ASSERT(!toml_item(v, toml_count(v)));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct toml *t = NULL;
    struct err e = ERR_INIT;
    size_t nodes = 0;

    if (size > FUZZ_MAX)
        return 0;
    if (toml_parse("fuzz", (const char *)data, size, &limits, &t, &e) < 0) {
        FUZZ_ASSERT(!t && e.num > 0 && strncmp(e.msg, "fuzz:", 5) == 0);
        return 0;
    }
    FUZZ_ASSERT(t && e.num == 0);
    walk(toml_root(t), 0, &nodes);
    toml_free(t);
    return 0;
}
