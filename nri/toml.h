/* SPDX-License-Identifier: Apache-2.0
 *
 * A bounded reader of TOML 1.0 documents (https://toml.io/en/v1.0.0): Kata's configuration-*.toml,
 * their drop-ins, and initdata. Everything of 1.0 is understood; three things are narrower:
 *   - a string that holds U+0000 is refused, so that every string is also a C string;
 *   - dates and times are checked for shape and range and kept as their text;
 *   - CR LF inside a multi-line string becomes LF.
 * Keys defined twice, tables extended after they were closed and invalid UTF-8 are errors, as 1.0
 * demands. Time and memory are linear in the input (times its logarithm) and capped by the limits.
 *
 * Ownership: a document owns all its values and their strings; they live until toml_free.
 * Threads: a parsed document is immutable and may be read by several threads.
 */
#ifndef PGPU_NRI_TOML_H
#define PGPU_NRI_TOML_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct toml;       /* a document */
struct toml_value; /* a value in it; tables and arrays are values too */

enum toml_type {
    TOML_STRING,
    TOML_INT,
    TOML_FLOAT,
    TOML_BOOL,
    TOML_DATETIME, /* any of the four date and time types */
    TOML_ARRAY,    /* [1, 2] and arrays of tables alike */
    TOML_TABLE,    /* [a], a.b = 1 and inline tables alike */
};

/* 0 in a field stands for its default. */
struct toml_limits {
    size_t bytes;   /* of the text, default 1 MiB */
    unsigned depth; /* values inside values, the document itself not counted, default 32 */
    size_t nodes;   /* values in all, tables and arrays included, default 65536 */
};

/* Parses `len` bytes of `text`; `limits` may be NULL. `name` is used in messages only, which read
 * "NAME:LINE: REASON". -EINVAL: not TOML; -E2BIG: beyond a limit; -ENOMEM. */
int toml_parse(const char *name, const char *text, size_t len, const struct toml_limits *limits,
               struct toml **ret, struct err *e);

void toml_free(struct toml *t);

static inline void
toml_freep(struct toml **t)
{
    toml_free(*t);
}

/* The table that is the whole document. */
const struct toml_value *toml_root(const struct toml *t);

/* The value of one key (taken whole: dots in it mean nothing), or of a path of keys, below `table`;
 * NULL where there is none, where the way leads through something that is no table, or where
 * `table` is NULL or no table. */
const struct toml_value *toml_get(const struct toml_value *table, const char *key);
const struct toml_value *toml_path(const struct toml_value *table, const char *const path[],
                                   size_t n);

enum toml_type toml_type(const struct toml_value *v);
const char *toml_type_name(enum toml_type type); /* "string", "array", ... for messages */
unsigned toml_line(const struct toml_value *v);  /* where it begins, counted from 1 */

/* The text of a string (any length, NUL-terminated, without other NULs) or of a date or time;
 * NULL for another type or v == NULL. ret_len may be NULL. */
const char *toml_text(const struct toml_value *v, size_t *ret_len);
const char *toml_string(const struct toml_value *v); /* strings only */

/* False, and *ret untouched, for another type or v == NULL. */
bool toml_int(const struct toml_value *v, int64_t *ret);
bool toml_float(const struct toml_value *v, double *ret); /* takes an integer as well */
bool toml_bool(const struct toml_value *v, bool *ret);

/* Elements of an array or entries of a table, in the order of the text; 0 for any other value. */
size_t toml_count(const struct toml_value *v);
const struct toml_value *toml_item(const struct toml_value *v, size_t i); /* NULL beyond the end */
const char *toml_key(const struct toml_value *v, size_t i); /* NULL beyond the end, or no table */

#endif
