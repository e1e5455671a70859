/* SPDX-License-Identifier: Apache-2.0
 *
 * Rego by its tokens: enough to tell rules, data and strings apart, and no more. Private to
 * policy*.c.
 */
#ifndef PGPU_NRI_REGO_H
#define PGPU_NRI_REGO_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

enum rego_kind { REGO_END, REGO_BAD, REGO_NAME, REGO_STRING, REGO_SIGN };

struct rego_token {
    enum rego_kind kind;
    const char *p; /* of a string: between its quotes */
    size_t len;
    bool escapes; /* a string with a backslash: never compared */
};

/* A position in a text that outlives it. */
struct rego_scan {
    const char *p, *end;
};

/* Comments and white space are skipped. A sign is one character. REGO_BAD: a string without end. */
struct rego_token rego_next(struct rego_scan *s);

/* Inline, for `text` is known where it is called, and this is most of what reading a policy costs.
 */
static inline bool
rego_is(const struct rego_token *t, enum rego_kind kind, const char *text)
{
    return t->kind == kind && t->len == strlen(text) && !t->escapes &&
           memcmp(t->p, text, t->len) == 0;
}

/* Passes over the token if it is this one. */
bool rego_take(struct rego_scan *s, enum rego_kind kind, const char *text);
/* ":=" or "=". */
bool rego_take_assign(struct rego_scan *s);

/* Tokens in a row, the last one followed by one of kind REGO_END. */
struct rego_list {
    struct rego_token *v;
    size_t n, cap;
};

void rego_list_fini(struct rego_list *l);
/* False: more tokens than a policy's rules have, or no memory. */
bool rego_list_add(struct rego_list *l, const struct rego_token *t);

/* How many tokens it is from v[0], an opening bracket of any kind, to behind its closing one; 0: it
 * is not among the next `n`. */
size_t rego_enclosed(const struct rego_token *v, size_t n);

/* Variables of a pattern, by their digits; `constant` is what "#" stood for. */
struct rego_match {
    struct rego_token var[10];
    struct rego_token constant;
};

/* Compares the tokens from `v` on with a pattern: words, one space between them, which are
 *   $0 ... $9   a name; the same one wherever the digit is the same, also in what was matched
 * before %           a reference: names with dots between them, up to a ".Annotations" # a name or
 * a string without escapes other       that name or sign Returns how many tokens it took, 0 if they
 * differ; then *m may hold what was bound so far. */
size_t rego_match(const struct rego_token *v, const char *pattern, struct rego_match *m);

#endif
