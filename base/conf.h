/* SPDX-License-Identifier: Apache-2.0
 *
 * Configuration files: YAML through libyaml, JSON as its subset. A program describes its keys in a
 * table; unknown key, duplicate key, wrong type and out of range are errors that name file, line,
 * key and the allowed values. Anchors, aliases and multiple documents are refused. An empty file
 * is valid: every key has a default.
 *
 * The same table prints the effective configuration (--print-config), so that what is printed can
 * be fed back.
 */
#ifndef PGPU_BASE_CONF_H
#define PGPU_BASE_CONF_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum conf_type {
    CONF_BOOL,     /* bool */
    CONF_U32,      /* uint32_t, min..max */
    CONF_DURATION, /* uint64_t nanoseconds; written "250ms", "25s", "2m"; min..max in ns */
    CONF_STRING,   /* char[size]; max bytes size-1; `check` may refuse it */
    CONF_ENUM,     /* int; `names` lists the allowed words, the index is the value */
    CONF_STRLIST,  /* struct conf_strlist */
    CONF_OBJLIST,  /* struct conf_objlist of objects described by `sub` */
    CONF_OBJECT,   /* nested object described by `sub`, fields at offset */
};

struct conf_strlist {
    size_t n;
    char **v; /* owned */
};

struct conf_objlist {
    size_t n;
    size_t elem_size;
    void *v; /* owned array of n elements of elem_size bytes */
};

struct conf_key {
    const char *name;
    enum conf_type type;
    size_t offset;              /* in the program's struct */
    size_t size;                /* CONF_STRING: size of the array; CONF_OBJLIST: element size */
    uint64_t min, max;          /* CONF_U32, CONF_DURATION; CONF_*LIST: max = most elements */
    const char *const *names;   /* CONF_ENUM, and CONF_STRLIST where only these words are allowed;
                                   NULL-terminated */
    const struct conf_key *sub; /* CONF_OBJECT, CONF_OBJLIST; table ends with name == NULL */
    const char *dflt;           /* default as it would be written; lists: comma-separated;
                                   NULL = zero value */
    const char *help;           /* one line, printed by --print-config as a comment */
    /* optional: returns false and a reason in `why` for a bad string (also for list elements) */
    bool (*check)(const char *value, const char **why);
};

/* Sets every field to its default. `out` must be zeroed or have been filled before (then it is
 * freed first). Dies (assert) on a broken table. */
void conf_defaults(const struct conf_key *keys, void *out);

/* Defaults, then the file. On failure `out` is freed and zeroed. */
int conf_load(const char *path, const struct conf_key *keys, void *out, struct err *e);

/* The same from memory; `name` stands for the file in messages. */
int conf_parse(const char *name, const char *text, size_t len, const struct conf_key *keys,
               void *out, struct err *e);

/* Effective values as YAML, with help comments. */
void conf_print(const struct conf_key *keys, const void *in, struct buf *out);

void conf_free(const struct conf_key *keys, void *in);

#endif
