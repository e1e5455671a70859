/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by the conf_*.c files only: fields of a table as typed values. The errors set here name
 * neither file nor key; the caller puts those in front.
 */
#ifndef PGPU_BASE_CONF_IMPL_H
#define PGPU_BASE_CONF_IMPL_H

#include "base/conf.h"

#define CONF_KEYS_MAX 64      /* keys of one table */
#define CONF_LIST_DEFAULT 256 /* most elements where the table names no limit */
#define CONF_PATH_MAX 256     /* "resources[3].name" */
#define CONF_SHOWN_MAX 65     /* foreign text in a message, with its NUL */

/* Aborts, naming the key: the program's table is wrong, not its input. */
_Noreturn void conf_broken(const struct conf_key *k, const char *why);

size_t conf_count(const struct conf_key *keys);
size_t conf_names_count(const char *const *names);

/* A printable, bounded copy of untrusted text, for messages. */
const char *conf_shown(const char *s, char buf[CONF_SHOWN_MAX]);

/* Sets a scalar field from text. `plain`: written without quotes. */
int conf_set_scalar(const struct conf_key *k, void *out, const char *text, bool plain,
                    struct err *e);

/* Appends to a list of strings. */
int conf_add_string(const struct conf_key *k, struct conf_strlist *l, const char *text, bool plain,
                    struct err *e);

/* Appends an element with its defaults and returns it in *ret; it belongs to the list. */
int conf_add_object(const struct conf_key *k, struct conf_objlist *l, void **ret, struct err *e);

/* "25s": the largest unit that divides the value. */
const char *conf_duration_str(uint64_t ns, char buf[32]);

/* Reads one document into a struct that has its defaults. */
int conf_walk(const char *name, const char *text, size_t len, const struct conf_key *keys,
              void *out, struct err *e);

static inline void *
conf_field(const struct conf_key *k, void *out)
{
    return (char *)out + k->offset;
}

static inline const void *
conf_field_ro(const struct conf_key *k, const void *in)
{
    return (const char *)in + k->offset;
}

#endif
