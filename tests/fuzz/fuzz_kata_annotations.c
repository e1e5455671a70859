/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz: a handler's name, a pod's annotations and a configuration file. First line: the name; then
 * lines KEY=VALUE up to an empty one; the rest is TOML. Whatever they are, each verdict explains
 * itself in printable text, and claims a changed launch only for what is applied.
 */
#include "nri/kata_annotations.h"

#include "base/cleanup.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void
check_text(const char *s)
{
    FUZZ_ASSERT(memchr(s, '\0', KATA_TEXT_MAX) != NULL);
    for (; *s; s++)
        FUZZ_ASSERT(*s >= 0x20 && *s < 0x7f);
}

static void
check_verdict(const struct kata_handler *h, const char *key, const char *value)
{
    const struct kata_handler_facts *f = kata_handler_facts(h);
    struct kata_verdict v;

    kata_annotation_verdict(h, key, value, &v);
    check_text(v.reason);
    check_text(v.cure);
    FUZZ_ASSERT(v.reason[0] != '\0' && v.effect && v.measured);
    FUZZ_ASSERT((v.outcome != KATA_FAILS && v.outcome != KATA_UNSURE) || v.cure[0] != '\0');
    FUZZ_ASSERT(!v.changes_launch || v.outcome == KATA_APPLIED);
    FUZZ_ASSERT(v.measured[0] == '\0' || v.outcome == KATA_APPLIED || v.outcome == KATA_UNSURE);
    if (strncmp(key, KATA_ANNOTATION_HYPERVISOR, strlen(KATA_ANNOTATION_HYPERVISOR)) != 0 ||
        !f->allowed_known || f->n_allowed > 0)
        return;
    /* nothing is allowed */
    if (f->flavour == KATA_FLAVOUR_GO)
        FUZZ_ASSERT(v.outcome == KATA_FAILS);
    if (f->flavour == KATA_FLAVOUR_RS)
        FUZZ_ASSERT(v.outcome == KATA_IGNORED);
}

static void
check_all(const struct kata_handler *h, const char *lines)
{
    char line[4096];

    while (*lines && *lines != '\n') {
        size_t n = strcspn(lines, "\n");
        size_t keep = n < sizeof(line) ? n : sizeof(line) - 1;

        memcpy(line, lines, keep);
        line[keep] = '\0';
        char *eq = strchr(line, '=');
        if (eq)
            *eq = '\0';
        check_verdict(h, line, eq ? eq + 1 : NULL);
        lines += n + (lines[n] == '\n');
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct kata_handler_opts told[] = {
        {KATA_FLAVOUR_UNKNOWN, KATA_CRI_UNKNOWN, {0, 0}},
        {KATA_FLAVOUR_GO, KATA_CRI_CONTAINERD, {3, 23}},
        {KATA_FLAVOUR_RS, KATA_CRI_CRIO, {4, 1}},
    };
    struct kata_handler *h = NULL;
    struct err e = ERR_INIT;

    if (size > FUZZ_MAX)
        return 0;
    char *text = calloc(1, size + 2);
    FUZZ_ASSERT(text != NULL);
    memcpy(text, data, size);
    char *lines = text + strcspn(text, "\n");
    if (*lines)
        *lines++ = '\0';
    const char *toml = strstr(lines, "\n\n");
    for (size_t i = 0; i < ARRAY_SIZE(told); i++) {
        int rc = kata_handler_new(text, &told[i], &h, &e);

        FUZZ_ASSERT((rc < 0) == (e.msg[0] != '\0'));
        if (rc < 0)
            break;
        check_all(h, lines);
        if (toml) {
            rc = kata_handler_config(h, "fuzz", toml, strlen(toml), &e);
            FUZZ_ASSERT((rc < 0) == (e.msg[0] != '\0'));
            err_clear(&e);
            check_all(h, lines);
        }
        kata_handler_free(h);
    }
    free(text);
    return 0;
}
