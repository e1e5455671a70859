/* SPDX-License-Identifier: Apache-2.0
 *
 * Runtime stand-in: what a container has, and what plugins want to change of it: the same lists.
 */
#ifndef PGPU_SIM_RUNTIME_EDITS_H
#define PGPU_SIM_RUNTIME_EDITS_H

#include "base/err.h"

#include <json-c/json.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rt_list {
    RT_ANNOTATIONS, /* key, value */
    RT_DEVICES,     /* key: path in the container; type, major, minor */
    RT_CDI,         /* key: CDI name */
    RT_ENV,         /* key, value */
    RT_MOUNTS,      /* key: destination, value: source */
    RT_HOOKS,       /* key: path */
    RT_LISTS
};

struct rt_item {
    char *key, *value; /* never NULL */
    char *owner;       /* plugin that wants it; "" in a container */
    char type;
    int64_t major, minor;
};

struct rt_edits {
    struct {
        size_t n;
        struct rt_item *v;
    } list[RT_LISTS];
};

void rt_edits_fini(struct rt_edits *x);

struct rt_item *rt_edits_find(const struct rt_edits *x, enum rt_list l, const char *key);
/* Adds, or replaces what has the key (hooks are only added). NULL without memory. */
struct rt_item *rt_edits_set(struct rt_edits *x, enum rt_list l, const char *key, const char *value,
                             const char *owner);
/* Adds without looking, as a list on the wire may have a key twice. */
struct rt_item *rt_edits_add(struct rt_edits *x, enum rt_list l, const char *key,
                             const char *value);
struct rt_item *rt_edits_copy(struct rt_edits *x, enum rt_list l, const struct rt_item *from);
void rt_edits_del(struct rt_edits *x, enum rt_list l, const char *key);
/* A copy of everything. */
bool rt_edits_dup(struct rt_edits *ret, const struct rt_edits *from);

/* One plugin's answer joins those of the plugins before it (pkg/adaptation/result.go): every key
 * has one owner; a key that begins with '-' removes; `view` is what the next plugin gets to see,
 * which has all but CDI devices. -EEXIST on a conflict. */
int rt_edits_merge(struct rt_edits *merged, struct rt_edits *view, const struct rt_edits *answer,
                   const char *plugin, struct err *e);

struct json_object *rt_edits_json(const struct rt_edits *x, bool owners);

#endif
