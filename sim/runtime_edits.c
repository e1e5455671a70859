/* SPDX-License-Identifier: Apache-2.0
 *
 * See sim/runtime_edits.h.
 */
#include "sim/runtime_edits.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What a list is called, in answers and in Go's words for a conflict. */
static const struct {
    const char *name, *conflict;
    bool removes; /* "-key" takes away */
} lists[RT_LISTS] = {
    [RT_ANNOTATIONS] = {"annotations", "annotation", true},
    [RT_DEVICES] = {"devices", "device", true},
    [RT_CDI] = {"cdi", "CDI device", false},
    [RT_ENV] = {"env", "env", true},
    [RT_MOUNTS] = {"mounts", "mount", true},
    [RT_HOOKS] = {"hooks", "hook", false},
};

static void
item_fini(struct rt_item *i)
{
    free(i->key);
    free(i->value);
    free(i->owner);
}

void
rt_edits_fini(struct rt_edits *x)
{
    for (size_t l = 0; l < RT_LISTS; l++) {
        for (size_t i = 0; i < x->list[l].n; i++)
            item_fini(&x->list[l].v[i]);
        free(x->list[l].v);
    }
    *x = (struct rt_edits){0};
}

struct rt_item *
rt_edits_find(const struct rt_edits *x, enum rt_list l, const char *key)
{
    for (size_t i = 0; i < x->list[l].n; i++)
        if (strcmp(x->list[l].v[i].key, key) == 0)
            return &x->list[l].v[i];
    return NULL;
}

static bool
item_init(struct rt_item *i, const char *key, const char *value, const char *owner)
{
    *i = (struct rt_item){.key = strdup(key), .value = strdup(value), .owner = strdup(owner)};
    if (i->key && i->value && i->owner)
        return true;
    item_fini(i);
    return false;
}

struct rt_item *
rt_edits_add(struct rt_edits *x, enum rt_list l, const char *key, const char *value)
{
    struct rt_item *v = realloc(x->list[l].v, (x->list[l].n + 1) * sizeof(*v));

    if (!v)
        return NULL;
    x->list[l].v = v;
    return item_init(&v[x->list[l].n], key, value, "") ? &v[x->list[l].n++] : NULL;
}

struct rt_item *
rt_edits_set(struct rt_edits *x, enum rt_list l, const char *key, const char *value,
             const char *owner)
{
    struct rt_item *i = l == RT_HOOKS ? NULL : rt_edits_find(x, l, key);
    struct rt_item new;

    if (!i)
        i = rt_edits_add(x, l, key, "");
    if (!i || !item_init(&new, key, value, owner))
        return NULL;
    item_fini(i);
    *i = new;
    return i;
}

struct rt_item *
rt_edits_copy(struct rt_edits *x, enum rt_list l, const struct rt_item *from)
{
    struct rt_item *i = rt_edits_set(x, l, from->key, from->value, from->owner);

    if (i) {
        i->type = from->type;
        i->major = from->major;
        i->minor = from->minor;
    }
    return i;
}

void
rt_edits_del(struct rt_edits *x, enum rt_list l, const char *key)
{
    struct rt_item *i = rt_edits_find(x, l, key);
    struct rt_item *end = x->list[l].v + x->list[l].n;

    if (!i)
        return;
    item_fini(i);
    memmove(i, i + 1, (size_t)(end - i - 1) * sizeof(*i));
    x->list[l].n--;
}

bool
rt_edits_dup(struct rt_edits *ret, const struct rt_edits *from)
{
    *ret = (struct rt_edits){0};
    for (size_t l = 0; l < RT_LISTS; l++)
        for (size_t i = 0; i < from->list[l].n; i++)
            if (!rt_edits_copy(ret, (enum rt_list)l, &from->list[l].v[i])) {
                rt_edits_fini(ret);
                return false;
            }
    return true;
}

static int
merge_one(struct rt_edits *merged, struct rt_edits *view, enum rt_list l, const struct rt_item *i,
          const char *plugin, struct err *e)
{
    const struct rt_item *old = l == RT_HOOKS ? NULL : rt_edits_find(merged, l, i->key);
    struct rt_item *mine;

    if (old)
        return err_set(e, EEXIST, ERR_CLASS_INVALID,
                       "plugins \"%s\" and \"%s\" both tried to set %s %s", old->owner, plugin,
                       lists[l].conflict, i->key);
    mine = rt_edits_copy(merged, l, i);
    if (mine && l != RT_CDI && !rt_edits_copy(view, l, i))
        mine = NULL;
    if (!mine)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "merge adjustments: out of memory");
    free(mine->owner);
    mine->owner = strdup(plugin);
    return mine->owner ? 0 : err_set(e, ENOMEM, ERR_CLASS_FATAL, "merge: out of memory");
}

int
rt_edits_merge(struct rt_edits *merged, struct rt_edits *view, const struct rt_edits *answer,
               const char *plugin, struct err *e)
{
    int r = 0;

    /* Removals first: a plugin that takes a key away may set it anew in the same answer. */
    for (size_t l = 0; l < RT_LISTS; l++)
        for (size_t i = 0; lists[l].removes && i < answer->list[l].n; i++)
            if (answer->list[l].v[i].key[0] == '-') {
                rt_edits_del(merged, (enum rt_list)l, answer->list[l].v[i].key + 1);
                rt_edits_del(view, (enum rt_list)l, answer->list[l].v[i].key + 1);
            }
    for (size_t l = 0; l < RT_LISTS; l++)
        for (size_t i = 0; r == 0 && i < answer->list[l].n; i++)
            if (!lists[l].removes || answer->list[l].v[i].key[0] != '-')
                r = merge_one(merged, view, (enum rt_list)l, &answer->list[l].v[i], plugin, e);
    return r;
}

/* ---- JSON ---- */

static struct json_object *
device_json(const struct rt_item *i)
{
    struct json_object *o = json_object_new_object();

    json_object_object_add(o, "path", json_object_new_string(i->key));
    json_object_object_add(o, "type", json_object_new_string_len(&i->type, i->type ? 1 : 0));
    json_object_object_add(o, "major", json_object_new_int64(i->major));
    json_object_object_add(o, "minor", json_object_new_int64(i->minor));
    return o;
}

static struct json_object *
pair_json(const struct rt_item *i)
{
    struct json_object *o = json_object_new_object();

    json_object_object_add(o, "key", json_object_new_string(i->key));
    json_object_object_add(o, "value", json_object_new_string(i->value));
    return o;
}

static struct json_object *
item_json(enum rt_list l, const struct rt_item *i, bool owners)
{
    struct json_object *o = l == RT_DEVICES ? device_json(i) : pair_json(i);

    if (owners)
        json_object_object_add(o, "plugin", json_object_new_string(i->owner));
    return o;
}

static struct json_object *
list_json(const struct rt_edits *x, enum rt_list l, bool owners)
{
    bool map = l == RT_ANNOTATIONS && !owners;
    bool names = (l == RT_CDI || l == RT_HOOKS) && !owners;
    struct json_object *o = map ? json_object_new_object() : json_object_new_array();

    for (size_t i = 0; i < x->list[l].n; i++) {
        const struct rt_item *v = &x->list[l].v[i];

        if (map)
            json_object_object_add(o, v->key, json_object_new_string(v->value));
        else
            json_object_array_add(o,
                                  names ? json_object_new_string(v->key) : item_json(l, v, owners));
    }
    return o;
}

struct json_object *
rt_edits_json(const struct rt_edits *x, bool owners)
{
    struct json_object *o = json_object_new_object();

    for (size_t l = 0; l < RT_LISTS; l++)
        json_object_object_add(o, lists[l].name, list_json(x, (enum rt_list)l, owners));
    return o;
}
