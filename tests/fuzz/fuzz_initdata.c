/* SPDX-License-Identifier: Apache-2.0
 *
 * Initdata, read as annotation, as TOML and as a policy: never two opinions about one input, and
 * what is accepted as TOML encodes to an annotation with the same digest.
 */
#include "base/cleanup.h"
#include "nri/initdata.h"
#include "nri/policy.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void
check_report(const struct initdata_report *r, const struct initdata *i, const struct err *e)
{
    size_t errors = 0;

    for (size_t k = 0; k < r->n; k++) {
        errors += r->v[k].error;
        for (const char *p = r->v[k].what; *p; p++)
            FUZZ_ASSERT(*p >= 0x20 && *p < 0x7f);
    }
    FUZZ_ASSERT(r->n == INITDATA_FINDINGS_MAX || errors == r->errors);
    FUZZ_ASSERT((i != NULL) == (r->errors == 0) && (e->num != 0) == (i == NULL));
    if (i) {
        FUZZ_ASSERT(i->digest_len >= 32 && i->digest_len <= INITDATA_DIGEST_MAX);
        FUZZ_ASSERT(strlen(i->text) == i->len && i->data);
    }
}

static void
as_annotation(const char *text, size_t len)
{
    _cleanup_(initdata_freep) struct initdata *i = NULL;
    struct initdata_report r;
    struct err e = ERR_INIT, unused = ERR_INIT;

    FUZZ_ASSERT(initdata_check(text, len, &r, &unused) == 0);
    (void)!initdata_parse(text, len, &i, &e);
    check_report(&r, i, &e);
    initdata_report_fini(&r);
}

static void
as_toml(const char *text, size_t len)
{
    _cleanup_(initdata_freep) struct initdata *i = NULL;
    _cleanup_(initdata_freep) struct initdata *again = NULL;
    _cleanup_(buf_fini) struct buf b;
    struct initdata_report r;
    struct err e = ERR_INIT, unused = ERR_INIT;

    buf_init(&b, INITDATA_ANNOTATION_MAX);
    FUZZ_ASSERT(initdata_check_toml(text, len, &r, &unused) == 0);
    (void)!initdata_parse_toml(text, len, &i, &e);
    check_report(&r, i, &e);
    initdata_report_fini(&r);
    if (!i)
        return;
    FUZZ_ASSERT(initdata_encode(text, len, &b, &unused) == 0);
    FUZZ_ASSERT(initdata_parse((const char *)b.data, b.len, &again, &unused) == 0);
    FUZZ_ASSERT(again->len == len && memcmp(again->text, text, len) == 0);
    FUZZ_ASSERT(memcmp(again->digest, i->digest, i->digest_len) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct err e = ERR_INIT;
    char *rego = NULL;
    size_t len;

    if (size > FUZZ_MAX)
        return 0;
    as_annotation(text, size);
    as_toml(text, size);
    (void)policy_allows_annotation(text, size, "nvidia.com/pgpu.cc-mode");
    if (policy_decode(text, size, &rego, &len, &e) == 0)
        free(rego);
    else
        FUZZ_ASSERT(!rego && e.num > 0);
    return 0;
}
