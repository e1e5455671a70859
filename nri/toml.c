/* SPDX-License-Identifier: Apache-2.0
 *
 * The tree of a TOML document: adding values within the limits, finding them, reading them out.
 */
#include "nri/toml_impl.h"

#include <errno.h>
#include <search.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const type_names[] = {
    [TOML_STRING] = "string", [TOML_INT] = "integer",   [TOML_FLOAT] = "float",
    [TOML_BOOL] = "boolean",  [TOML_DATETIME] = "date", [TOML_ARRAY] = "array",
    [TOML_TABLE] = "table",
};

const char *
toml_type_name(enum toml_type type)
{
    return (size_t)type < sizeof(type_names) / sizeof(type_names[0]) ? type_names[type] : "?";
}

/* Orders values by the table they stand in, then by key. A balanced tree, not a hash table: the
 * keys are chosen by others. */
static int
by_place(const void *left, const void *right)
{
    const struct toml_value *a = left, *b = right;

    if (a->parent != b->parent)
        return (uintptr_t)a->parent < (uintptr_t)b->parent ? -1 : 1;
    return strcmp(a->key, b->key);
}

static bool
has_kids(const struct toml_value *v)
{
    return v && (v->type == TOML_ARRAY || v->type == TOML_TABLE);
}

static bool
has_text(const struct toml_value *v)
{
    return v && (v->type == TOML_STRING || v->type == TOML_DATETIME);
}

static int
append_kid(struct toml_value *parent, struct toml_value *v)
{
    if (parent->u.kids.len == parent->u.kids.cap) {
        size_t cap = parent->u.kids.cap ? 2 * parent->u.kids.cap : 4;
        struct toml_value **p = realloc(parent->u.kids.p, cap * sizeof(struct toml_value *));

        if (!p)
            return -ENOMEM;
        parent->u.kids.p = p;
        parent->u.kids.cap = cap;
    }
    parent->u.kids.p[parent->u.kids.len++] = v;
    return 0;
}

static int
already_there(struct toml_reader *r, const struct toml_value *parent, const char *key)
{
    const struct toml_value *old = toml_lookup(r->doc, parent, key);

    return toml_fail(r, r->line, "\"%.100s\" is defined twice, first in line %u", key,
                     old ? old->line : 0);
}

int
toml_add(struct toml_reader *r, struct toml_value *parent, char **key, enum toml_type type,
         struct toml_value **ret)
{
    unsigned depth = parent ? parent->depth + 1 : 0;
    struct toml_value *v;
    void *slot;

    if (depth > r->lim.depth)
        return toml_too_big(r, "nested deeper than %u levels", r->lim.depth);
    if (r->doc->nodes >= r->lim.nodes)
        return toml_too_big(r, "more than %zu values", r->lim.nodes);
    v = calloc(1, sizeof(*v));
    if (!v)
        return err_errno(r->e, ENOMEM, ERR_CLASS_FATAL, "parse %s", r->name);
    v->parent = parent;
    v->type = type;
    v->line = r->line;
    v->depth = depth;
    if (key) {
        v->key = *key;
        slot = tsearch(v, &r->doc->index, by_place);
        if (!slot || *(struct toml_value **)slot != v) {
            free(v);
            return slot ? already_there(r, parent, *key)
                        : err_errno(r->e, ENOMEM, ERR_CLASS_FATAL, "parse %s", r->name);
        }
        *key = NULL;
    }
    v->next = r->doc->all;
    r->doc->all = v;
    r->doc->nodes++;
    if (parent && append_kid(parent, v) < 0)
        return err_errno(r->e, ENOMEM, ERR_CLASS_FATAL, "parse %s", r->name);
    *ret = v;
    return 0;
}

struct toml_value *
toml_lookup(const struct toml *t, const struct toml_value *parent, const char *key)
{
    struct toml_value want = {0};
    void *slot;
    /* the comparison only reads both fields */
    void *k = NULL;

    memcpy(&k, &key, sizeof(k));
    want.key = k;
    memcpy(&k, &parent, sizeof(k));
    want.parent = k;
    slot = tfind(&want, &t->index, by_place);
    return slot ? *(struct toml_value **)slot : NULL;
}

static void
keep(void *p)
{
    (void)p; /* the index owns nothing */
}

void
toml_free(struct toml *t)
{
    if (!t)
        return;
    tdestroy(t->index, keep);
    while (t->all) {
        struct toml_value *v = t->all;

        t->all = v->next;
        free(v->key);
        if (has_kids(v))
            free((void *)v->u.kids.p);
        else if (has_text(v))
            free(v->u.text.p);
        free(v);
    }
    free(t);
}

/* Messages quote the text: its control characters and cut sequences must not get through. */
static int fail_at(struct toml_reader *r, int num, unsigned line, const char *fmt, va_list ap)
    __attribute__((format(printf, 4, 0)));

static int
fail_at(struct toml_reader *r, int num, unsigned line, const char *fmt, va_list ap)
{
    char msg[256];

    (void)vsnprintf(msg, sizeof(msg), fmt, ap);
    for (char *p = msg; *p; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
            *p = '?';
    return err_set(r->e, num, ERR_CLASS_INVALID, "%s:%u: %s", r->name, line, msg);
}

int
toml_fail(struct toml_reader *r, unsigned line, const char *fmt, ...)
{
    va_list ap;
    int rc;

    va_start(ap, fmt);
    rc = fail_at(r, EINVAL, line, fmt, ap);
    va_end(ap);
    return rc;
}

int
toml_too_big(struct toml_reader *r, const char *fmt, ...)
{
    va_list ap;
    int rc;

    va_start(ap, fmt);
    rc = fail_at(r, E2BIG, r->line, fmt, ap);
    va_end(ap);
    return rc;
}

const struct toml_value *
toml_root(const struct toml *t)
{
    return t->root;
}

const struct toml_value *
toml_get(const struct toml_value *table, const char *key)
{
    if (!table || table->type != TOML_TABLE)
        return NULL;
    for (size_t i = 0; i < table->u.kids.len; i++)
        if (strcmp(table->u.kids.p[i]->key, key) == 0)
            return table->u.kids.p[i];
    return NULL;
}

const struct toml_value *
toml_path(const struct toml_value *table, const char *const path[], size_t n)
{
    for (size_t i = 0; i < n; i++)
        table = toml_get(table, path[i]);
    return table;
}

enum toml_type
toml_type(const struct toml_value *v)
{
    return v->type;
}

unsigned
toml_line(const struct toml_value *v)
{
    return v->line;
}

const char *
toml_text(const struct toml_value *v, size_t *ret_len)
{
    if (!has_text(v))
        return NULL;
    if (ret_len)
        *ret_len = v->u.text.len;
    return v->u.text.p;
}

const char *
toml_string(const struct toml_value *v)
{
    return v && v->type == TOML_STRING ? v->u.text.p : NULL;
}

bool
toml_int(const struct toml_value *v, int64_t *ret)
{
    if (!v || v->type != TOML_INT)
        return false;
    *ret = v->u.i;
    return true;
}

bool
toml_float(const struct toml_value *v, double *ret)
{
    if (!v || (v->type != TOML_FLOAT && v->type != TOML_INT))
        return false;
    *ret = v->type == TOML_FLOAT ? v->u.f : (double)v->u.i;
    return true;
}

bool
toml_bool(const struct toml_value *v, bool *ret)
{
    if (!v || v->type != TOML_BOOL)
        return false;
    *ret = v->u.b;
    return true;
}

size_t
toml_count(const struct toml_value *v)
{
    return has_kids(v) ? v->u.kids.len : 0;
}

const struct toml_value *
toml_item(const struct toml_value *v, size_t i)
{
    return i < toml_count(v) ? v->u.kids.p[i] : NULL;
}

const char *
toml_key(const struct toml_value *v, size_t i)
{
    const struct toml_value *kid = toml_item(v, i);

    return kid ? kid->key : NULL;
}
