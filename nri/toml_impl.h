/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the TOML reader: the tree (toml.c), the scalars (toml_scalar.c) and the grammar of keys,
 * tables and headers (toml_parse.c).
 */
#ifndef PGPU_NRI_TOML_IMPL_H
#define PGPU_NRI_TOML_IMPL_H

#include "base/buf.h"
#include "nri/toml.h"

/* How a table or array came to be decides who may still add to it. */
enum toml_origin {
    TOML_FROM_VALUE,  /* the right side of "=": closed once read */
    TOML_FROM_SUPER,  /* a table named only in a longer header: [a] by [a.b] */
    TOML_FROM_HEADER, /* [a], or one element of [[a]] */
    TOML_FROM_DOTS,   /* a table by a.b = 1 */
    TOML_FROM_LIST,   /* the array of [[a]] */
};

struct toml_value {
    struct toml_value *next; /* of the document's list of all values, for freeing */
    struct toml_value *parent;
    char *key; /* in a table, else NULL */
    enum toml_type type;
    enum toml_origin origin;
    unsigned line, depth;
    union {
        struct {
            char *p;
            size_t len;
        } text; /* strings, dates and times */
        int64_t i;
        double f;
        bool b;
        struct {
            struct toml_value **p;
            size_t len, cap;
        } kids; /* arrays and tables */
    } u;
};

struct toml {
    struct toml_value *root, *all;
    void *index; /* tsearch tree of every value with a key, by (parent, key) */
    size_t nodes;
};

struct toml_reader {
    const char *name;
    const char *p, *end; /* what is left */
    unsigned line;       /* of p */
    struct toml_limits lim;
    struct toml *doc;
    struct err *e;
};

/* Errors at a line; both return the negative number. */
int toml_fail(struct toml_reader *r, unsigned line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int toml_too_big(struct toml_reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The tree. `key` is taken over on success; NULL in an array. Fails at a limit and when the key
 * is there already. */
int toml_add(struct toml_reader *r, struct toml_value *parent, char **key, enum toml_type type,
             struct toml_value **ret);
struct toml_value *toml_lookup(const struct toml *t, const struct toml_value *parent,
                               const char *key);

/* Reading: toml_cur is -1 at the end, so no byte is ever read beyond it. */
static inline int
toml_cur(const struct toml_reader *r)
{
    return r->p < r->end ? (unsigned char)*r->p : -1;
}

bool toml_starts(const struct toml_reader *r, const char *what);
void toml_skip_blanks(struct toml_reader *r); /* spaces and tabs */
bool toml_newline(struct toml_reader *r);     /* takes one LF or CR LF */

/* Scalars. toml_read_string reads any of the four forms from its first quote on; `multi` says
 * whether the triple forms are allowed (they are not for keys). */
int toml_read_string(struct toml_reader *r, bool multi, char **ret, size_t *ret_len);
int toml_read_scalar(struct toml_reader *r, struct toml_value *v);

/* A bare word's bytes: what can stand in numbers, booleans, dates and bare keys. */
bool toml_bare_char(int c);

#endif
