/* SPDX-License-Identifier: Apache-2.0
 *
 * genpolicy's rules (kata: src/tools/genpolicy/rules.rego) judge every annotation of a container by
 * a function, of which it is enough that one clause holds: allow_anno_key(KEY, OCI) up to 2025
 *   allow_anno_key_value(KEY, VALUE, CONTAINER)    since GPUs are known to it (pull request 12108)
 * One of their clauses asks whether the policy's container has the key, and nothing else. Policies
 * are edited, and others have functions of these names, so that names say nothing: this looks for
 * that clause, and then at every other place where annotations are used. A place that it does not
 * understand makes the answer no.
 */
#include "nri/policy_rules.h"
#include "base/cleanup.h"

#include <string.h>

/* Heads and bodies of the clause; $0 is the key, $2 whose data is asked. */
static const char *const heads[] = {
    "allow_anno_key ( $0 , $2 ) {",
    "allow_anno_key ( $0 , $2 ) if {",
    "allow_anno_key_value ( $0 , $1 , $2 ) {",
    "allow_anno_key_value ( $0 , $1 , $2 ) if {",
};
static const char *const bodies[] = {
    "some $3 , _ in $2 . Annotations $3 = = $0 }",
    "some $3 , _ in $2 . Annotations $0 = = $3 }",
    "some $3 , _ in $2 . OCI . Annotations $3 = = $0 }",
    "some $3 , _ in $2 . OCI . Annotations $0 = = $3 }",
};

/* Every annotation is given to the function. */
static const char *const calls[] = {
    "every $0 , $1 in % . Annotations { allow_anno_key ( $0 , % ) }",
    "every $0 , $1 in % . Annotations { allow_anno_key_value ( $0 , $1 , % ) }",
    "{ $0 | some $0 , $1 in % . Annotations not allow_anno_key_value ( $0 , $1 , % ) }",
};
#define CALL_BY_KEYS                                                                               \
    "$4 : = object . keys ( % . Annotations ) every $0 in $4 { allow_anno_key ( $0 , % ) }"

/* Looks at keys that start with something. */
#define SOME_KEYS "some $0 , _ in % . Annotations startswith ( $0 , # )"
#define TO_FUNCTION "$4 ( % . Annotations )"
static const char *const functions[] = {
    "$4 ( $5 ) : = [ $6 | some $0 , _ in $5 startswith ( $0 , # )",
    "$4 ( $5 ) = [ $6 | some $0 , _ in $5 startswith ( $0 , # )",
    "$4 ( $5 ) : = { $6 | some $0 , _ in $5 startswith ( $0 , # )",
    "$4 ( $5 ) = { $6 | some $0 , _ in $5 startswith ( $0 , # )",
};

/* Tokens that may be looked at again, beyond once each: the tenant writes the policy, the guard's
 * answer has a deadline. genpolicy's rules need a third of it. */
#define AGAIN_MAX ((size_t)512 * 1024)

/* One reading of the rules. */
struct rules {
    const struct rego_list *l;
    const char *key;
    size_t rule; /* where the rule being read starts, or something before it */
    size_t depth;
    size_t again; /* of AGAIN_MAX, what is left */
    bool known;   /* the clause is there */
};

/* False: it takes too long. */
static bool
spend(struct rules *r, size_t tokens)
{
    bool enough = tokens <= r->again;

    r->again = enough ? r->again - tokens : 0;
    return enough;
}

static bool
is_name(const struct rego_token *t, const struct rego_token *name)
{
    return t->kind == REGO_NAME && t->len == name->len && memcmp(t->p, name->p, t->len) == 0;
}

static bool
is_judge(const struct rego_token *t)
{
    return rego_is(t, REGO_NAME, "allow_anno_key") || rego_is(t, REGO_NAME, "allow_anno_key_value");
}

/* Steps over braces; the depth before the token. */
static size_t
step(size_t *depth, const struct rego_token *t)
{
    size_t before = *depth;

    if (rego_is(t, REGO_SIGN, "{"))
        ++*depth;
    else if (rego_is(t, REGO_SIGN, "}") && before > 0)
        --*depth;
    return before;
}

/* The one string that stands for a name in the whole policy; NULL: none, or not only one. */
static const struct rego_token *
constant(struct rules *r, const struct rego_token *name)
{
    const struct rego_token *found = NULL, *v = r->l->v;
    size_t depth = 0;

    if (!spend(r, r->l->n))
        return NULL;
    for (size_t i = 0; i < r->l->n; i++) {
        size_t at = i + 1;

        if (step(&depth, &v[i]) > 0 || !is_name(&v[i], name))
            continue;
        at += rego_is(&v[at], REGO_SIGN, ":");
        if (!rego_is(&v[at], REGO_SIGN, "="))
            continue;
        if (found || v[at + 1].kind != REGO_STRING || v[at + 1].escapes)
            return NULL;
        found = &v[at + 1];
    }
    return found;
}

/* The key is none of those that start with the constant. */
static bool
is_other_prefix(struct rules *r, const struct rego_token *prefix)
{
    const struct rego_token *t = prefix->kind == REGO_STRING ? prefix : constant(r, prefix);

    return t && strncmp(r->key, t->p, t->len) != 0;
}

static bool
mentions(const struct rego_token *v, size_t n, const struct rego_token *name)
{
    for (size_t i = 0; i < n; i++)
        if (is_name(&v[i], name))
            return true;
    return false;
}

/* A function that is given the annotations makes nothing of the key, in none of its clauses. */
static bool
function_ignores(struct rules *r, const struct rego_token *name)
{
    const struct rego_token *v = r->l->v;
    size_t depth = 0, clauses = 0;

    if (!spend(r, r->l->n))
        return false;
    for (size_t i = 0; i < r->l->n; i++) {
        struct rego_match m = {.var[4] = *name};
        size_t head = 0, n;

        if (step(&depth, &v[i]) > 0 || !is_name(&v[i], name))
            continue;
        for (size_t k = 0; k < ARRAY_SIZE(functions) && head == 0; k++) {
            m = (struct rego_match){.var[4] = *name};
            head = rego_match(&v[i], functions[k], &m);
        }
        if (head == 0 || !is_other_prefix(r, &m.constant) || !spend(r, r->l->n - i))
            return false;
        /* from the comprehension's bracket on, the annotations are used no more */
        for (n = 0; !rego_is(&v[i + n], REGO_SIGN, "[") && !rego_is(&v[i + n], REGO_SIGN, "{");)
            n++;
        n += rego_enclosed(&v[i + n], r->l->n - i - n);
        if (n < head || mentions(&v[i + head], n - head, &m.var[5]))
            return false;
        clauses++;
    }
    return clauses > 0;
}

/* Is this what may be between the ")" of a rule's parameters and its body. */
static bool
is_rest_of_head(const struct rego_token *v, const struct rego_token *body)
{
    v += rego_is(v, REGO_SIGN, ":");
    if (rego_is(v, REGO_SIGN, "=")) {
        v++;
        v += rego_is(v, REGO_SIGN, "{") ? rego_enclosed(v, (size_t)(body - v))
                                        : v->kind == REGO_NAME;
    }
    v += rego_is(v, REGO_NAME, "if");
    return v == body;
}

/* A name that has one value where it is used, so that a subscript with it is a look-up: a parameter
 * of the rule, assigned in its body, or a constant. Else Rego would try every key. */
static bool
is_bound(struct rules *r, size_t use)
{
    const struct rego_token *v = r->l->v, *name = &v[use];
    size_t nesting = 0, parameters = 0, end = 0;
    bool assigned = false, parameter = false;

    if (!spend(r, use - r->rule))
        return false;
    for (size_t i = r->rule; i < use; i++) {
        if (v[i].kind == REGO_SIGN && strchr("{[(", *v[i].p)) {
            if (nesting == 0 && *v[i].p == '{')
                parameter = end > 0 && is_rest_of_head(&v[end], &v[i]) &&
                            mentions(&v[parameters], end - parameters, name);
            if (nesting == 0 && *v[i].p == '(')
                parameters = i;
            nesting++;
        } else if (v[i].kind == REGO_SIGN && strchr("}])", *v[i].p) && nesting > 0) {
            nesting--;
            if (nesting == 0 && *v[i].p == ')')
                end = i + 1;
        }
        assigned =
            assigned || (nesting == 1 && is_name(&v[i], name) &&
                         rego_is(&v[i + 1], REGO_SIGN, ":") && rego_is(&v[i + 2], REGO_SIGN, "="));
    }
    return parameter || assigned || constant(r, name) != NULL;
}

/* The annotation of one key: "x.Annotations[...]", from "Annotations" on. */
static size_t
look_up(struct rules *r, size_t at)
{
    const struct rego_token *v = r->l->v, *key = &v[at + 2];
    struct rego_match m = {0};
    size_t n = rego_match(&v[at], "Annotations [ # ]", &m);

    if (n == 0 || at == 0 || !rego_is(&v[at - 1], REGO_SIGN, "."))
        return 0;
    if (key->kind == REGO_STRING)
        return rego_is(key, REGO_STRING, r->key) ? 0 : n;
    return rego_is(key, REGO_NAME, "_") || !is_bound(r, at + 2) ? 0 : n;
}

/* Are there any: "not x.Annotations". */
static size_t
are_there(struct rules *r, size_t at)
{
    const struct rego_token *v = r->l->v;
    struct rego_match m = {0};
    size_t n = rego_match(&v[at], "not % . Annotations", &m);

    return n > 0 && !rego_is(&v[at + n], REGO_SIGN, "[") && !rego_is(&v[at + n], REGO_SIGN, ".")
               ? n
               : 0;
}

/* Every annotation goes to the function that judges it. */
static size_t
judged(struct rules *r, size_t at)
{
    const struct rego_token *v = r->l->v;
    struct rego_match m = {0};
    size_t n = rego_match(&v[at], CALL_BY_KEYS, &m), depth = 1;

    if (n > 0) {
        /* the set of keys is used for nothing else in what is left of the rule */
        if (!spend(r, r->l->n - at))
            return 0;
        for (size_t i = at + n; i < r->l->n && depth > 0; i++) {
            (void)step(&depth, &v[i]);
            if (is_name(&v[i], &m.var[4]))
                return 0;
        }
        return n;
    }
    for (size_t k = 0; k < ARRAY_SIZE(calls) && n == 0; k++) {
        m = (struct rego_match){0};
        n = rego_match(&v[at], calls[k], &m);
    }
    return n;
}

/* May something start here that `harmless` knows: almost nothing does. */
static bool
may_start(const struct rego_token *v)
{
    if (v[0].kind != REGO_NAME)
        return rego_is(&v[0], REGO_SIGN, "{");
    return rego_is(&v[1], REGO_SIGN, "(") || rego_is(&v[1], REGO_SIGN, ":") ||
           rego_is(&v[0], REGO_NAME, "every") || rego_is(&v[0], REGO_NAME, "some") ||
           rego_is(&v[0], REGO_NAME, "not") || rego_is(&v[0], REGO_NAME, "Annotations");
}

/* Uses of annotations that one more of the key does not change; the tokens of it. */
static size_t
harmless(struct rules *r, size_t at)
{
    const struct rego_token *v = r->l->v;
    struct rego_match m = {0};
    size_t n;

    if (!may_start(&v[at]))
        return 0;
    n = judged(r, at);
    if (n > 0)
        return n;
    n = rego_match(&v[at], SOME_KEYS, &m);
    if (n > 0)
        return is_other_prefix(r, &m.constant) ? n : 0;
    m = (struct rego_match){0};
    n = rego_match(&v[at], TO_FUNCTION, &m);
    if (n > 0)
        return (at == 0 || !rego_is(&v[at - 1], REGO_SIGN, ".")) && function_ignores(r, &m.var[4])
                   ? n
                   : 0;
    n = are_there(r, at);
    return n > 0 ? n : look_up(r, at);
}

/* A clause of the function that judges: its tokens, 0 if it has none of the heads. A clause more
 * can only let more through, whatever is in it. */
static size_t
clause(struct rules *r, size_t at)
{
    const struct rego_token *v = r->l->v + at;

    for (size_t k = 0; k < ARRAY_SIZE(heads); k++) {
        struct rego_match head = {0};
        size_t n = rego_match(v, heads[k], &head), body;

        if (n == 0)
            continue;
        body = rego_enclosed(v + n - 1, r->l->n - at - n + 1);
        if (body == 0 || rego_is(&v[n - 1 + body], REGO_NAME, "else"))
            return 0;
        for (size_t b = 0; b < ARRAY_SIZE(bodies); b++) {
            struct rego_match m = head;

            r->known = r->known || rego_match(v + n, bodies[b], &m) > 0;
        }
        return n - 1 + body;
    }
    return 0;
}

/* What the loop below must not pass over without having understood it. */
static bool
is_of_annotations(struct rules *r, const struct rego_token *t)
{
    return is_judge(t) || rego_is(t, REGO_NAME, "Annotations") ||
           rego_is(t, REGO_STRING, "Annotations") || rego_is(t, REGO_STRING, r->key);
}

bool
policy_rules_know_keys(const struct rego_list *l, const char *key)
{
    struct rules r = {.l = l, .key = key, .again = AGAIN_MAX};
    size_t n;

    for (size_t i = 0; i < l->n; i += n) {
        const struct rego_token *t = &l->v[i];

        if (r.depth == 0 && is_judge(t)) {
            n = clause(&r, i);
            r.rule = i + n;
        } else {
            n = harmless(&r, i);
        }
        if (n > 0)
            continue;
        if (is_of_annotations(&r, t))
            return false;
        n = 1;
        /* behind its body a rule ends, unless that was an object in its head */
        if (step(&r.depth, t) > 0 && r.depth == 0 && !rego_is(t + 1, REGO_NAME, "if") &&
            !rego_is(t + 1, REGO_SIGN, "{"))
            r.rule = i + 1;
    }
    return r.known;
}
