/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokens, lists of them, and patterns over lists.
 */
#include "nri/rego.h"

#include <stdlib.h>
#include <string.h>

/* genpolicy's rules have some 10,000, those of a fork with many additions 25,000. */
#define TOKENS_MAX (64u * 1024)

static bool
name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static void
skip_space(struct rego_scan *s)
{
    while (s->p < s->end) {
        if (*s->p == '#')
            while (s->p < s->end && *s->p != '\n')
                s->p++;
        else if (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r')
            s->p++;
        else
            return;
    }
}

/* "..." with JSON's escapes on one line, or `...` as it is. */
static struct rego_token
scan_string(struct rego_scan *s)
{
    char quote = *s->p++;
    struct rego_token t = {.kind = REGO_STRING, .p = s->p};

    for (; s->p < s->end && *s->p != quote; s->p++) {
        if (quote == '`')
            continue;
        if (*s->p == '\n')
            return (struct rego_token){.kind = REGO_BAD};
        if (*s->p == '\\') {
            t.escapes = true;
            s->p++;
            if (s->p == s->end)
                break;
        }
    }
    if (s->p == s->end)
        return (struct rego_token){.kind = REGO_BAD};
    t.len = (size_t)(s->p - t.p);
    s->p++;
    return t;
}

struct rego_token
rego_next(struct rego_scan *s)
{
    struct rego_token t = {.kind = REGO_END};

    skip_space(s);
    if (s->p == s->end)
        return t;
    if (*s->p == '"' || *s->p == '`')
        return scan_string(s);
    t.p = s->p;
    t.kind = name_char(*s->p) ? REGO_NAME : REGO_SIGN;
    do
        s->p++;
    while (t.kind == REGO_NAME && s->p < s->end && name_char(*s->p));
    t.len = (size_t)(s->p - t.p);
    return t;
}

bool
rego_take(struct rego_scan *s, enum rego_kind kind, const char *text)
{
    struct rego_scan ahead = *s;
    struct rego_token t = rego_next(&ahead);

    if (!rego_is(&t, kind, text))
        return false;
    *s = ahead;
    return true;
}

bool
rego_take_assign(struct rego_scan *s)
{
    (void)rego_take(s, REGO_SIGN, ":");
    return rego_take(s, REGO_SIGN, "=") && !rego_take(s, REGO_SIGN, "=");
}

void
rego_list_fini(struct rego_list *l)
{
    free(l->v);
    *l = (struct rego_list){0};
}

bool
rego_list_add(struct rego_list *l, const struct rego_token *t)
{
    /* room for the end, too */
    if (l->n + 2 > l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 1024;
        struct rego_token *v = cap > TOKENS_MAX ? NULL : realloc(l->v, cap * sizeof(*v));

        if (!v)
            return false;
        l->v = v;
        l->cap = cap;
    }
    l->v[l->n++] = *t;
    l->v[l->n] = (struct rego_token){.kind = REGO_END};
    return true;
}

size_t
rego_enclosed(const struct rego_token *v, size_t n)
{
    size_t depth = 0;

    for (size_t i = 0; i < n; i++) {
        if (v[i].kind == REGO_SIGN && strchr("{[(", *v[i].p))
            depth++;
        else if (v[i].kind == REGO_SIGN && strchr("}])", *v[i].p) && depth > 0)
            depth--;
        if (depth == 0)
            return i + 1;
    }
    return 0;
}

static bool
same(const struct rego_token *a, const struct rego_token *b)
{
    return a->kind == b->kind && a->len == b->len && memcmp(a->p, b->p, a->len) == 0;
}

/* Names with dots between them; what the reference is of comes after it. */
static size_t
match_reference(const struct rego_token *v)
{
    size_t n = 1;

    if (v[0].kind != REGO_NAME)
        return 0;
    while (rego_is(&v[n], REGO_SIGN, ".") && v[n + 1].kind == REGO_NAME &&
           !rego_is(&v[n + 1], REGO_NAME, "Annotations"))
        n += 2;
    return n;
}

static size_t
match_word(const struct rego_token *v, const char *word, size_t len, struct rego_match *m)
{
    struct rego_token *var;

    if (len == 1 && *word == '%')
        return match_reference(v);
    if (len == 1 && *word == '#') {
        m->constant = v[0];
        return v[0].kind == REGO_NAME || (v[0].kind == REGO_STRING && !v[0].escapes);
    }
    if (len == 2 && *word == '$') {
        var = &m->var[word[1] - '0'];
        if (v[0].kind != REGO_NAME || (var->p && !same(var, &v[0])))
            return 0;
        *var = v[0];
        return 1;
    }
    return (v[0].kind == REGO_NAME || v[0].kind == REGO_SIGN) && v[0].len == len &&
           memcmp(v[0].p, word, len) == 0;
}

size_t
rego_match(const struct rego_token *v, const char *pattern, struct rego_match *m)
{
    size_t n = 0;

    while (*pattern) {
        size_t len = strcspn(pattern, " ");
        size_t took = match_word(v + n, pattern, len, m);

        if (took == 0)
            return 0;
        n += took;
        pattern += len + (pattern[len] == ' ');
    }
    return n;
}
