/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz: the contents of a CDI file that anybody on the node may have written, judged for all
 * consumers. Every verdict other than "ok" must say something, and a file may only be crash-worthy
 * to a consumer that is written in Go.
 */
#include "cdi/lint.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lint_file f = {0};
    struct err e = ERR_INIT;

    if (size > FUZZ_MAX)
        return 0;
    for (int c = 0; c < CDI_CONSUMERS; c++)
        f.view[c].reads = true;
    int rc = lint_bytes(&f, (const char *)data, size, &e);
    FUZZ_ASSERT((rc < 0) == (e.msg[0] != '\0'));
    for (int c = 0; c < CDI_CONSUMERS; c++) {
        const struct lint_view *v = &f.view[c];

        FUZZ_ASSERT(memchr(v->text, '\0', sizeof(v->text)) != NULL);
        FUZZ_ASSERT(rc < 0 || (v->verdict == CDI_OK) == (v->text[0] == '\0'));
        FUZZ_ASSERT(!v->loaded || v->verdict < CDI_POISON);
    }
    FUZZ_ASSERT(f.view[CDI_KATA_RS].verdict != CDI_CRASH);
    lint_file_free(&f);
    return 0;
}
