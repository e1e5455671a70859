/* SPDX-License-Identifier: Apache-2.0
 *
 * Effective configuration as YAML that conf_parse reads back to the same values. No state.
 */
#include "base/conf_impl.h"

#include <inttypes.h>
#include <stdio.h>

#define INDENT 2

static void
put_indent(struct buf *out, unsigned depth)
{
    for (unsigned i = 0; i < depth * INDENT; i++)
        (void)buf_put_u8(out, ' ');
}

/* Double-quoted YAML, which for these escapes is also JSON. */
static void
put_quoted(struct buf *out, const char *s)
{
    (void)buf_put_u8(out, '"');
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;

        if (c == '"' || c == '\\')
            (void)buf_putf(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            (void)buf_putf(out, "\\u%04x", c);
        else
            (void)buf_put_u8(out, c);
    }
    (void)buf_put_u8(out, '"');
}

static void
put_strlist(struct buf *out, const struct conf_strlist *l)
{
    (void)buf_put_str(out, " [");
    for (size_t i = 0; i < l->n; i++) {
        if (i > 0)
            (void)buf_put_str(out, ", ");
        put_quoted(out, l->v[i]);
    }
    (void)buf_put_str(out, "]\n");
}

static void
put_scalar(struct buf *out, const struct conf_key *k, const void *field)
{
    char text[32];

    switch (k->type) {
    case CONF_BOOL:
        (void)buf_put_str(out, *(const bool *)field ? "true" : "false");
        break;
    case CONF_U32:
        (void)buf_putf(out, "%" PRIu32, *(const uint32_t *)field);
        break;
    case CONF_DURATION:
        (void)buf_put_str(out, conf_duration_str(*(const uint64_t *)field, text));
        break;
    case CONF_STRING:
        put_quoted(out, field);
        break;
    case CONF_ENUM: {
        int v = *(const int *)field;
        if (v < 0 || (size_t)v >= conf_names_count(k->names))
            conf_broken(k, "value without a name");
        (void)buf_put_str(out, k->names[v]);
        break;
    }
    case CONF_STRLIST:
    case CONF_OBJLIST:
    case CONF_OBJECT:
        conf_broken(k, "not a scalar");
    }
}

static void print_keys(const struct conf_key *keys, const void *in, unsigned depth, bool dash,
                       struct buf *out);

static void
print_objlist(const struct conf_key *k, const struct conf_objlist *l, unsigned depth,
              struct buf *out)
{
    if (l->n == 0) {
        (void)buf_put_str(out, " []\n");
        return;
    }
    (void)buf_put_u8(out, '\n');
    for (size_t i = 0; i < l->n; i++) {
        put_indent(out, depth + 1);
        (void)buf_put_str(out, "- ");
        print_keys(k->sub, (const char *)l->v + i * l->elem_size, depth + 2, true, out);
    }
}

/* `dash`: the first key stands behind "- " of its list element, and help was said elsewhere. */
static void
print_keys(const struct conf_key *keys, const void *in, unsigned depth, bool dash, struct buf *out)
{
    for (const struct conf_key *k = keys; k->name; k++) {
        const void *field = conf_field_ro(k, in);

        if (k->help && !dash) {
            put_indent(out, depth);
            (void)buf_putf(out, "# %s\n", k->help);
        }
        if (!dash || k != keys)
            put_indent(out, depth);
        (void)buf_putf(out, "%s:", k->name);
        if (k->type == CONF_OBJECT) {
            (void)buf_put_u8(out, '\n');
            print_keys(k->sub, field, depth + 1, false, out);
        } else if (k->type == CONF_OBJLIST) {
            print_objlist(k, field, depth, out);
        } else if (k->type == CONF_STRLIST) {
            put_strlist(out, field);
        } else {
            (void)buf_put_u8(out, ' ');
            put_scalar(out, k, field);
            (void)buf_put_u8(out, '\n');
        }
    }
}

void
conf_print(const struct conf_key *keys, const void *in, struct buf *out)
{
    print_keys(keys, in, 0, false, out);
}
