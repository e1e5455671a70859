/* SPDX-License-Identifier: Apache-2.0
 *
 * The expressions of enable_annotations. Go (RE2) and runtime-rs (the regex crate) search for them
 * anywhere in the key's last part, so "image" admits "image_hash". Here POSIX extended expressions
 * do the same, for those that mean the same in all three; of the others we say that we cannot tell.
 */
#include "nri/kata_annotations_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PATTERN_MAX 256 /* bytes */
#define REPEATS_MAX 256 /* product of all upper bounds: glibc unrolls them */

/* A repeat "{n}", "{n,}" or "{n,m}" at p: its end, with the bound that counts; NULL for others,
 * which Go takes as text and POSIX does not. */
static const char *
repeat_end(const char *p, unsigned *ret_most)
{
    unsigned n[2] = {0, 0};
    int i = 0;

    for (p++; *p && *p != '}'; p++) {
        if (*p == ',' && i == 0 && p[-1] != '{') {
            i = 1;
        } else if (*p >= '0' && *p <= '9' && n[i] < REPEATS_MAX) {
            n[i] = n[i] * 10 + (unsigned)(*p - '0');
        } else {
            return NULL;
        }
    }
    if (*p != '}' || p[-1] == '{')
        return NULL;
    *ret_most = n[0] > n[1] ? n[0] : n[1];
    return p + 1;
}

/* A bracket expression at p: its end; NULL where an escape, a set operation of Rust's or a POSIX
 * class makes it mean different things. */
static const char *
bracket_end(const char *p)
{
    const char *start = ++p;

    if (*p == '^')
        start = ++p;
    for (; *p && (*p != ']' || p == start); p++) {
        if (*p == '\\' || *p == '[')
            return NULL;
        if ((*p == '&' || *p == '~' || *p == '-') && p[1] == *p)
            return NULL;
    }
    return *p == ']' && start[0] != ']' ? p + 1 : NULL;
}

/* Does the expression mean the same to Go, Rust and POSIX? */
static bool
is_common(const char *p)
{
    unsigned product = 1, open = 0;
    bool item = false; /* something that a quantifier may follow */

    if (strlen(p) > PATTERN_MAX)
        return false;
    while (*p) {
        if (*p == '\\') {
            /* other escapes are classes, anchors or back references somewhere */
            if (p[1] == '\0' || !strchr(".+*?()|[]{}^$\\", p[1]))
                return false;
            p += 2;
            item = true;
        } else if (*p == '[') {
            p = bracket_end(p);
            if (!p)
                return false;
            item = true;
        } else if (*p == '*' || *p == '+' || *p == '?' || *p == '{') {
            unsigned most = 1;
            const char *end = *p == '{' ? repeat_end(p, &most) : p + 1;

            product *= most > 0 ? most : 1;
            if (!item || !end || product > REPEATS_MAX)
                return false;
            item = false; /* "a**" and "a*?" differ */
            p = end;
        } else if (*p == '}' || *p == ']' || (unsigned char)*p >= 0x80 ||
                   (*p == '(' && (p[1] == '?' || p[1] == ')'))) {
            return false;
        } else {
            /* a lone ')' is text to POSIX and an error to Go */
            if (*p == ')' && open == 0)
                return false;
            open += (unsigned)(*p == '(') - (unsigned)(*p == ')');
            item = *p != '(' && *p != '|' && *p != '^' && *p != '$';
            p++;
        }
    }
    return open == 0;
}

void
kata_patterns_free(struct kata_pattern *p, size_t n)
{
    for (size_t i = 0; p && i < n; i++) {
        if (p[i].ok)
            regfree(&p[i].re);
        free(p[i].text);
    }
    free(p);
}

int
kata_patterns_compile(const char *const *v, size_t n, struct kata_pattern **ret, struct err *e)
{
    struct kata_pattern *p = calloc(n + 1, sizeof(*p));

    for (size_t i = 0; p && i < n; i++) {
        p[i].text = strdup(v[i]);
        if (!p[i].text) {
            kata_patterns_free(p, i);
            p = NULL;
            break;
        }
        p[i].ok = is_common(v[i]) && regcomp(&p[i].re, v[i], REG_EXTENDED | REG_NOSUB) == 0;
    }
    if (!p)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "out of memory");
    *ret = p;
    return 0;
}

int
kata_patterns_match(const struct kata_handler *h, const char *suffix, const char **ret_by)
{
    int rc = 0;

    for (size_t i = 0; i < h->n_patterns; i++) {
        const struct kata_pattern *p = &h->patterns[i];

        if (!p->ok) {
            rc = -1;
        } else if (regexec(&p->re, suffix, 0, NULL, 0) == 0) {
            *ret_by = p->text;
            return 1;
        }
    }
    return rc;
}
