/* SPDX-License-Identifier: Apache-2.0
 *
 * Field names and types, as each consumer's decoder takes them: one table for all, in which every
 * field says who knows it. No state.
 */
#include "base/cleanup.h"
#include "cdi/lint.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum type { T_STR, T_INT, T_U32, T_BOOL, T_STRLIST, T_U32LIST, T_STRMAP, T_OBJ, T_OBJLIST };

#define GO (1u << CDI_KATA_GO)
#define RS (1u << CDI_KATA_RS)
#define CD (1u << CDI_CONTAINERD)
#define ALL (GO | RS | CD)

struct field {
    const char *name;
    enum type type;
    unsigned known;    /* who has the field */
    bool must;         /* runtime-rs refuses the file without it; Go takes the zero value */
    bool null_crashes; /* T_OBJLIST of pointers: Go dereferences a null element */
    const struct field *sub;
};

static const struct field node_fields[] = {
    {.name = "path", .type = T_STR, .known = ALL, .must = true},
    {.name = "hostPath", .type = T_STR, .known = ALL},
    {.name = "type", .type = T_STR, .known = ALL},
    {.name = "major", .type = T_INT, .known = ALL},
    {.name = "minor", .type = T_INT, .known = ALL},
    {.name = "fileMode", .type = T_U32, .known = ALL},
    {.name = "permissions", .type = T_STR, .known = ALL},
    {.name = "uid", .type = T_U32, .known = ALL},
    {.name = "gid", .type = T_U32, .known = ALL},
    {0},
};

static const struct field mount_fields[] = {
    {.name = "hostPath", .type = T_STR, .known = ALL, .must = true},
    {.name = "containerPath", .type = T_STR, .known = ALL, .must = true},
    {.name = "options", .type = T_STRLIST, .known = ALL},
    {.name = "type", .type = T_STR, .known = ALL},
    {0},
};

static const struct field hook_fields[] = {
    {.name = "hookName", .type = T_STR, .known = ALL, .must = true},
    {.name = "path", .type = T_STR, .known = ALL, .must = true},
    {.name = "args", .type = T_STRLIST, .known = ALL},
    {.name = "env", .type = T_STRLIST, .known = ALL},
    {.name = "timeout", .type = T_INT, .known = ALL},
    {0},
};

static const struct field net_fields[] = {
    {.name = "hostInterfaceName", .type = T_STR, .known = RS | CD, .must = true},
    {.name = "name", .type = T_STR, .known = RS | CD, .must = true},
    {0},
};

static const struct field rdt_fields[] = {
    {.name = "closID", .type = T_STR, .known = RS | CD},
    {.name = "l3CacheSchema", .type = T_STR, .known = RS | CD},
    {.name = "memBwSchema", .type = T_STR, .known = RS | CD},
    {.name = "schemata", .type = T_STRLIST, .known = RS | CD},
    {.name = "enableMonitoring", .type = T_BOOL, .known = RS | CD},
    {.name = "enableCMT", .type = T_BOOL, .known = RS},
    {.name = "enableMBM", .type = T_BOOL, .known = RS},
    {0},
};

static const struct field edit_fields[] = {
    {.name = "env", .type = T_STRLIST, .known = ALL},
    {.name = "deviceNodes",
     .type = T_OBJLIST,
     .known = ALL,
     .null_crashes = true,
     .sub = node_fields},
    {.name = "netDevices",
     .type = T_OBJLIST,
     .known = RS | CD,
     .null_crashes = true,
     .sub = net_fields},
    {.name = "hooks", .type = T_OBJLIST, .known = ALL, .null_crashes = true, .sub = hook_fields},
    {.name = "mounts", .type = T_OBJLIST, .known = ALL, .null_crashes = true, .sub = mount_fields},
    {.name = "intelRdt", .type = T_OBJ, .known = RS | CD, .sub = rdt_fields},
    {.name = "additionalGids", .type = T_U32LIST, .known = RS | CD},
    {0},
};

static const struct field device_fields[] = {
    {.name = "name", .type = T_STR, .known = ALL, .must = true},
    {.name = "annotations", .type = T_STRMAP, .known = ALL},
    {.name = "containerEdits", .type = T_OBJ, .known = ALL, .must = true, .sub = edit_fields},
    {0},
};

static const struct field spec_fields[] = {
    {.name = "cdiVersion", .type = T_STR, .known = ALL, .must = true},
    {.name = "kind", .type = T_STR, .known = ALL, .must = true},
    {.name = "annotations", .type = T_STRMAP, .known = ALL},
    {.name = "devices", .type = T_OBJLIST, .known = ALL, .must = true, .sub = device_fields},
    {.name = "containerEdits", .type = T_OBJ, .known = ALL, .sub = edit_fields},
    {0},
};

/* ---- scalars ---- */

static const char *
scalar(const yaml_node_t *n)
{
    return n && n->type == YAML_SCALAR_NODE ? (const char *)n->data.scalar.value : NULL;
}

static bool
is_plain(const yaml_node_t *n)
{
    return n->type == YAML_SCALAR_NODE && n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

bool
lint_is_null(const yaml_node_t *n)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};

    if (!n)
        return true;
    if (!is_plain(n))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (strcmp(scalar(n), words[i]) == 0)
            return true;
    }
    return false;
}

/* An integer as YAML writes it. serde_yaml follows YAML 1.2, where 0660 is a string; the Go parsers
 * follow 1.1, where it is octal. */
static bool
is_int(const yaml_node_t *n, enum cdi_consumer who, int64_t lo, int64_t hi)
{
    if (!is_plain(n))
        return false;

    const char *s = scalar(n);
    bool neg = *s == '-';
    const char *digits = *s == '-' || *s == '+' ? s + 1 : s;
    int base = 10;

    if (digits[0] == '0' && digits[1] == 'x')
        base = 16;
    else if (digits[0] == '0' && digits[1] == 'o')
        base = 8;
    else if (digits[0] == '0' && digits[1] == 'b')
        base = 2;
    if (base != 10) {
        digits += 2;
    } else if (digits[0] == '0' && digits[1] != '\0') {
        if (who == CDI_KATA_RS)
            return false;
        base = 8;
    }
    if (*digits == '\0' || strspn(digits, "0123456789abcdefABCDEF") != strlen(digits) ||
        strlen(digits) > 18)
        return false;

    char *end;
    long long v = strtoll(digits, &end, base);
    if (*end != '\0')
        return false;
    v = neg ? -v : v;
    return v >= lo && v <= hi;
}

static bool
is_bool(const yaml_node_t *n)
{
    const char *s = is_plain(n) ? scalar(n) : "";

    return strcasecmp(s, "true") == 0 || strcasecmp(s, "false") == 0;
}

/* ---- containers ---- */

size_t
lint_count(const yaml_node_t *n)
{
    if (n && n->type == YAML_SEQUENCE_NODE)
        return (size_t)(n->data.sequence.items.top - n->data.sequence.items.start);
    if (n && n->type == YAML_MAPPING_NODE)
        return (size_t)(n->data.mapping.pairs.top - n->data.mapping.pairs.start);
    return 0;
}

yaml_node_t *
lint_item(const struct lint_ctx *c, const yaml_node_t *seq, size_t i)
{
    return yaml_document_get_node(c->doc, seq->data.sequence.items.start[i]);
}

/* The JSON decoder of Kata's Go shim takes field names in any case. */
static bool
same_name(const struct lint_ctx *c, const char *a, const char *b)
{
    return c->who == CDI_KATA_GO ? strcasecmp(a, b) == 0 : strcmp(a, b) == 0;
}

yaml_node_t *
lint_member(const struct lint_ctx *c, const yaml_node_t *map, const char *key)
{
    if (!map || map->type != YAML_MAPPING_NODE)
        return NULL;
    for (size_t i = 0; i < lint_count(map); i++) {
        const yaml_node_pair_t *p = &map->data.mapping.pairs.start[i];
        const char *name = scalar(yaml_document_get_node(c->doc, p->key));

        if (name && same_name(c, name, key))
            return yaml_document_get_node(c->doc, p->value);
    }
    return NULL;
}

const char *
lint_text(const struct lint_ctx *c, const yaml_node_t *map, const char *key)
{
    const yaml_node_t *n = lint_member(c, map, key);
    const char *s = scalar(n);

    /* runtime-rs reads an unquoted null where it wants text as the text "null" */
    return !s || (c->who != CDI_KATA_RS && lint_is_null(n)) ? "" : s;
}

bool
lint_visit(struct lint_ctx *c)
{
    if (c->budget == 0)
        return lint_say(c, CDI_WARN, "look at it by hand", "too large to be judged");
    c->budget--;
    return true;
}

/* ---- the decoder ---- */

#define SHAPE "write it as the CDI specification says, or remove the file"

static bool
wrong_type(struct lint_ctx *c, const struct field *f, const char *want)
{
    return lint_refuse(c, SHAPE, "\"%s\" is not %s", f->name, want);
}

static bool decode(struct lint_ctx *c, const yaml_node_t *n, const struct field *table,
                   const char *what);

static bool
decode_list(struct lint_ctx *c, const yaml_node_t *n, const struct field *f)
{
    if (n->type != YAML_SEQUENCE_NODE)
        return wrong_type(c, f, "a list");
    for (size_t i = 0; i < lint_count(n); i++) {
        const yaml_node_t *item = lint_item(c, n, i);

        if (!lint_visit(c))
            return false;
        switch (f->type) {
        case T_STRLIST:
            if (!scalar(item))
                return wrong_type(c, f, "a list of strings");
            break;
        case T_U32LIST:
            if (!is_int(item, c->who, 0, UINT32_MAX))
                return wrong_type(c, f, "a list of numbers");
            break;
        case T_OBJLIST:
            if (lint_is_null(item) && c->who != CDI_KATA_RS) {
                /* found again by the rules, in the order in which the library meets it */
                break;
            }
            if (!decode(c, item, f->sub, f->name))
                return false;
            break;
        case T_STR:
        case T_INT:
        case T_U32:
        case T_BOOL:
        case T_STRMAP:
        case T_OBJ:
            break;
        }
    }
    return true;
}

static bool
decode_strmap(struct lint_ctx *c, const yaml_node_t *n, const struct field *f)
{
    if (n->type != YAML_MAPPING_NODE)
        return wrong_type(c, f, "a map of strings");
    for (size_t i = 0; i < lint_count(n); i++) {
        const yaml_node_pair_t *p = &n->data.mapping.pairs.start[i];

        if (!lint_visit(c))
            return false;
        if (!scalar(yaml_document_get_node(c->doc, p->key)) ||
            !scalar(yaml_document_get_node(c->doc, p->value)))
            return wrong_type(c, f, "a map of strings");
    }
    return true;
}

static bool
decode_value(struct lint_ctx *c, const yaml_node_t *n, const struct field *f)
{
    if (lint_is_null(n)) {
        /* Go: the zero value. runtime-rs: none for what is optional, text for what is text. */
        bool rs_refuses = f->type == T_STRMAP || (f->must && f->type != T_STR);

        if (c->who == CDI_KATA_RS && rs_refuses)
            return wrong_type(c, f, "set");
        return true;
    }
    switch (f->type) {
    case T_STR:
        return scalar(n) || wrong_type(c, f, "a string");
    case T_INT:
        return is_int(n, c->who, INT64_MIN, INT64_MAX) || wrong_type(c, f, "a whole number");
    case T_U32:
        return is_int(n, c->who, 0, UINT32_MAX) ||
               wrong_type(c, f, "a whole number between 0 and 4294967295");
    case T_BOOL:
        return is_bool(n) || wrong_type(c, f, "true or false");
    case T_STRLIST:
    case T_U32LIST:
    case T_OBJLIST:
        return decode_list(c, n, f);
    case T_STRMAP:
        return decode_strmap(c, n, f);
    case T_OBJ:
        return decode(c, n, f->sub, f->name);
    }
    return true;
}

/* Index in the table, or -1. */
static int
lookup(const struct lint_ctx *c, const struct field *table, const char *name)
{
    for (int i = 0; table[i].name; i++) {
        if ((table[i].known & (1u << c->who)) && same_name(c, table[i].name, name))
            return i;
    }
    return -1;
}

static bool
decode(struct lint_ctx *c, const yaml_node_t *n, const struct field *table, const char *what)
{
    unsigned seen = 0;

    if (n->type != YAML_MAPPING_NODE)
        return lint_refuse(c, SHAPE, "%s is not a map of fields", what);
    for (size_t i = 0; i < lint_count(n); i++) {
        const yaml_node_pair_t *p = &n->data.mapping.pairs.start[i];
        const char *name = scalar(yaml_document_get_node(c->doc, p->key));

        if (!lint_visit(c))
            return false;
        if (!name)
            return lint_refuse(c, SHAPE, "%s has a field whose name is not text", what);
        if (strcmp(name, "<<") == 0 && c->who != CDI_KATA_RS)
            return lint_say(c, CDI_WARN, "write the fields out",
                            "uses YAML merge keys, which are not judged here");

        int f = lookup(c, table, name);
        if (f < 0)
            return lint_refuse(c, "remove the field, or move the file out of the directory",
                               "unknown field \"%.60s\" in %s", name, what);
        if (seen & (1u << f))
            return lint_refuse(c, "remove one of them", "field \"%s\" stands twice in %s",
                               table[f].name, what);
        seen |= 1u << f;
        if (!decode_value(c, yaml_document_get_node(c->doc, p->value), &table[f]))
            return false;
    }
    for (int f = 0; table[f].name; f++) {
        if (c->who == CDI_KATA_RS && table[f].must && !(seen & (1u << f)))
            return lint_refuse(c, SHAPE, "%s has no \"%s\"", what, table[f].name);
    }
    return true;
}

bool
lint_schema(struct lint_ctx *c)
{
    return decode(c, c->root, spec_fields, "the spec");
}
