/* SPDX-License-Identifier: Apache-2.0
 *
 * Configuration text: whatever is accepted prints and reads back to the same text; whatever is
 * refused leaves nothing behind and a filled error.
 */
#include "base/buf.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/base/conf_table.h"

#include <string.h>

static void
round_trip(const struct sample *s)
{
    struct err e = ERR_INIT;
    struct sample again = {0};
    struct buf one, two;

    buf_init(&one, 1u << 20);
    buf_init(&two, 1u << 20);
    conf_print(keys, s, &one);
    FUZZ_ASSERT(!buf_failed(&one));
    FUZZ_ASSERT(conf_parse("printed", buf_cstr(&one), one.len, keys, &again, &e) == 0);
    conf_print(keys, &again, &two);
    FUZZ_ASSERT(one.len == two.len && memcmp(one.data, two.data, one.len) == 0);
    conf_free(keys, &again);
    buf_fini(&one);
    buf_fini(&two);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct sample zero;
    struct sample s;
    struct err e = ERR_INIT;

    if (size > FUZZ_MAX)
        return 0;
    memset(&s, 0, sizeof(s));
    if (conf_parse("fuzz", (const char *)data, size, keys, &s, &e) < 0) {
        FUZZ_ASSERT(e.num > 0 && e.cls != ERR_CLASS_NONE && e.msg[0] != '\0');
        FUZZ_ASSERT(memcmp(&s, &zero, sizeof(s)) == 0);
        return 0;
    }
    FUZZ_ASSERT(e.num == 0);
    round_trip(&s);
    conf_free(keys, &s);
    return 0;
}
