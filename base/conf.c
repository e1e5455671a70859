/* SPDX-License-Identifier: Apache-2.0
 *
 * Configuration: defaults, loading and freeing of a program's struct. No state; any thread.
 */
#include "base/conf.h"

#include "base/cleanup.h"
#include "base/conf_impl.h"
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A configuration is written by people; larger is a mistake or an attack. */
#define CONF_FILE_MAX (256u * 1024u)

void
conf_broken(const struct conf_key *k, const char *why)
{
    (void)fprintf(stderr, "configuration table: key \"%s\": %s\n", k->name ? k->name : "", why);
    abort();
}

size_t
conf_count(const struct conf_key *keys)
{
    size_t n = 0;

    while (keys[n].name) {
        if (++n > CONF_KEYS_MAX)
            conf_broken(&keys[n - 1], "too many keys");
    }
    return n;
}

static void
free_field(const struct conf_key *k, void *in)
{
    switch (k->type) {
    case CONF_BOOL:
        *(bool *)conf_field(k, in) = false;
        break;
    case CONF_U32:
        *(uint32_t *)conf_field(k, in) = 0;
        break;
    case CONF_DURATION:
        *(uint64_t *)conf_field(k, in) = 0;
        break;
    case CONF_STRING:
        memset(conf_field(k, in), 0, k->size);
        break;
    case CONF_ENUM:
        *(int *)conf_field(k, in) = 0;
        break;
    case CONF_STRLIST: {
        struct conf_strlist *l = conf_field(k, in);
        for (size_t i = 0; i < l->n; i++)
            free(l->v[i]);
        free(l->v);
        *l = (struct conf_strlist){0};
        break;
    }
    case CONF_OBJLIST: {
        struct conf_objlist *l = conf_field(k, in);
        for (size_t i = 0; i < l->n; i++)
            conf_free(k->sub, (char *)l->v + i * l->elem_size);
        free(l->v);
        *l = (struct conf_objlist){0};
        break;
    }
    case CONF_OBJECT:
        conf_free(k->sub, conf_field(k, in));
        break;
    }
}

void
conf_free(const struct conf_key *keys, void *in)
{
    for (const struct conf_key *k = keys; k->name; k++)
        free_field(k, in);
}

static void
check_table(const struct conf_key *k)
{
    bool list_of_objects = k->type == CONF_OBJLIST;

    if ((k->type == CONF_OBJECT || list_of_objects) && !k->sub)
        conf_broken(k, "no table for the object");
    if ((k->type == CONF_OBJECT || list_of_objects) && k->dflt)
        conf_broken(k, "an object cannot have a default of its own");
    if ((k->type == CONF_STRING || list_of_objects) && k->size == 0)
        conf_broken(k, "no size");
    if (k->type == CONF_ENUM && conf_names_count(k->names) == 0)
        conf_broken(k, "no names");
    if (k->max != 0 && k->min > k->max)
        conf_broken(k, "min is above max");
}

/* "a, b" → elements; blanks around an element do not count. */
static int
default_list(const struct conf_key *k, struct conf_strlist *l, struct err *e)
{
    _cleanup_free_ char *copy = strdup(k->dflt);
    char *save = NULL;

    if (!copy)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "out of memory");
    for (char *s = strtok_r(copy, ", ", &save); s; s = strtok_r(NULL, ", ", &save)) {
        int rc = conf_add_string(k, l, s, false, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void
default_field(const struct conf_key *k, void *out)
{
    struct err e = ERR_INIT;
    int rc = 0;

    if (k->type == CONF_OBJECT) {
        conf_defaults(k->sub, conf_field(k, out));
        return;
    }
    if (!k->dflt)
        return;
    if (k->type == CONF_STRLIST)
        rc = default_list(k, conf_field(k, out), &e);
    else
        rc = conf_set_scalar(k, out, k->dflt, k->type != CONF_STRING, &e);
    if (rc < 0)
        conf_broken(k, e.msg);
}

void
conf_defaults(const struct conf_key *keys, void *out)
{
    (void)conf_count(keys);
    for (const struct conf_key *k = keys; k->name; k++)
        check_table(k);
    conf_free(keys, out);
    for (const struct conf_key *k = keys; k->name; k++)
        default_field(k, out);
}

int
conf_parse(const char *name, const char *text, size_t len, const struct conf_key *keys, void *out,
           struct err *e)
{
    conf_defaults(keys, out);

    int rc = len > CONF_FILE_MAX ? err_set(e, EFBIG, ERR_CLASS_INVALID, "%s: larger than %u bytes",
                                           name, CONF_FILE_MAX)
                                 : conf_walk(name, text, len, keys, out, e);
    if (rc < 0)
        conf_free(keys, out);
    return rc;
}

int
conf_load(const char *path, const struct conf_key *keys, void *out, struct err *e)
{
    _cleanup_free_ char *text = NULL;
    size_t len = 0;
    int rc = fs_read_file(AT_FDCWD, path, CONF_FILE_MAX, &text, &len, e);

    if (rc < 0) {
        conf_free(keys, out);
        return err_prefix(e, "configuration");
    }
    return conf_parse(path, text, len, keys, out, e);
}
