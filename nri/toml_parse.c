/* SPDX-License-Identifier: Apache-2.0
 *
 * The grammar of TOML 1.0: expressions, keys, headers, arrays and inline tables.
 *
 * The rules about who may add to which table are those of the specification's sections "Table" and
 * "Inline Table", kept by struct toml_value's origin:
 *   - [a.b] may pass through any table but one that is a value, and may define b only if b was so
 *     far merely passed through (or is new); [[a.b]] appends to an array made the same way;
 *   - a.b = 1 may pass through tables made by dots, and through those merely named in a header,
 *     which it thereby defines; never through one that has a header of its own.
 */
#include "base/cleanup.h"
#include "nri/toml_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct toml_limits defaults = {.bytes = 1U << 20, .depth = 32, .nodes = 65536};

bool
toml_starts(const struct toml_reader *r, const char *what)
{
    size_t n = strlen(what);

    return (size_t)(r->end - r->p) >= n && memcmp(r->p, what, n) == 0;
}

void
toml_skip_blanks(struct toml_reader *r)
{
    while (toml_cur(r) == ' ' || toml_cur(r) == '\t')
        r->p++;
}

bool
toml_newline(struct toml_reader *r)
{
    if (!toml_starts(r, "\n") && !toml_starts(r, "\r\n"))
        return false;
    r->p += *r->p == '\r' ? 2 : 1;
    r->line++;
    return true;
}

bool
toml_bare_char(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

/* The document is UTF-8 (checked before): what is left to refuse are control characters. */
static int
skip_comment(struct toml_reader *r)
{
    if (toml_cur(r) != '#')
        return 0;
    for (; r->p < r->end && *r->p != '\n'; r->p++) {
        int c = toml_cur(r);

        if (c == '\r' && toml_starts(r, "\r\n"))
            break;
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return toml_fail(r, r->line, "control character 0x%02x in a comment", (unsigned)c);
    }
    return 0;
}

/* What must follow an expression: blanks, perhaps a comment, then the end of the line. */
static int
end_of_line(struct toml_reader *r)
{
    toml_skip_blanks(r);
    if (skip_comment(r) < 0)
        return -EINVAL;
    if (r->p < r->end && !toml_newline(r)) {
        int c = toml_cur(r);

        if (c > 0x20 && c < 0x7f)
            return toml_fail(r, r->line, "'%c' where the line should end", c);
        return toml_fail(r, r->line, "byte 0x%02x where the line should end", (unsigned)c);
    }
    return 0;
}

/* Between the elements of an array. */
static int
skip_lines(struct toml_reader *r)
{
    do {
        toml_skip_blanks(r);
        if (skip_comment(r) < 0)
            return -EINVAL;
    } while (toml_newline(r));
    return 0;
}

static int
read_key(struct toml_reader *r, char **ret)
{
    const char *start = r->p;
    size_t len;

    if (toml_cur(r) == '"' || toml_cur(r) == '\'')
        return toml_read_string(r, false, ret, &len);
    while (toml_bare_char(toml_cur(r)))
        r->p++;
    if (r->p == start)
        return toml_fail(r, r->line, "a key should stand here");
    *ret = strndup(start, (size_t)(r->p - start));
    if (!*ret)
        return err_errno(r->e, ENOMEM, ERR_CLASS_FATAL, "parse %s", r->name);
    return 0;
}

/* True when another part of a dotted key follows; r is then at that part. */
static bool
another_part(struct toml_reader *r)
{
    toml_skip_blanks(r);
    if (toml_cur(r) != '.')
        return false;
    r->p++;
    toml_skip_blanks(r);
    return true;
}

/* One step of a header but the last: into a table, or into the last element of [[array]]. */
static int
header_step(struct toml_reader *r, struct toml_value **at, char **key)
{
    struct toml_value *v = toml_lookup(r->doc, *at, *key);

    if (!v) {
        int rc = toml_add(r, *at, key, TOML_TABLE, &v);

        if (rc < 0)
            return rc;
        v->origin = TOML_FROM_SUPER;
    } else if (v->type == TOML_ARRAY && v->origin == TOML_FROM_LIST) {
        v = v->u.kids.p[v->u.kids.len - 1];
    } else if (v->type != TOML_TABLE || v->origin == TOML_FROM_VALUE) {
        return toml_fail(r, r->line,
                         "\"%.100s\" was closed in line %u: no table may be added to it", *key,
                         v->line);
    }
    *at = v;
    return 0;
}

static int
define_table(struct toml_reader *r, struct toml_value **at, char **key)
{
    struct toml_value *v = toml_lookup(r->doc, *at, *key);
    int rc;

    if (!v) {
        rc = toml_add(r, *at, key, TOML_TABLE, &v);
        if (rc < 0)
            return rc;
    } else if (v->type != TOML_TABLE || v->origin != TOML_FROM_SUPER) {
        return toml_fail(r, r->line, "[%.100s] is defined twice, first in line %u", *key, v->line);
    }
    v->origin = TOML_FROM_HEADER;
    v->line = r->line;
    *at = v;
    return 0;
}

static int
append_table(struct toml_reader *r, struct toml_value **at, char **key)
{
    struct toml_value *list = toml_lookup(r->doc, *at, *key), *v;
    int rc;

    if (!list) {
        rc = toml_add(r, *at, key, TOML_ARRAY, &list);
        if (rc < 0)
            return rc;
        list->origin = TOML_FROM_LIST;
    } else if (list->type != TOML_ARRAY || list->origin != TOML_FROM_LIST) {
        return toml_fail(r, r->line, "[[%.100s]] appends to what line %u defined otherwise", *key,
                         list->line);
    }
    rc = toml_add(r, list, NULL, TOML_TABLE, &v);
    if (rc < 0)
        return rc;
    v->origin = TOML_FROM_HEADER;
    *at = v;
    return 0;
}

/* [a.b] or [[a.b]]; *ret_at is the table that the following lines fill. */
static int
read_header(struct toml_reader *r, struct toml_value **ret_at)
{
    bool list = toml_starts(r, "[[");
    struct toml_value *at = r->doc->root;
    bool more;
    int rc;

    r->p += list ? 2 : 1;
    toml_skip_blanks(r);
    do {
        _cleanup_free_ char *key = NULL;

        rc = read_key(r, &key);
        if (rc < 0)
            return rc;
        more = another_part(r);
        if (more)
            rc = header_step(r, &at, &key);
        else if (toml_starts(r, list ? "]]" : "]"))
            rc = list ? append_table(r, &at, &key) : define_table(r, &at, &key);
        else
            rc = toml_fail(r, r->line, "the header lacks its \"%s\"", list ? "]]" : "]");
        if (rc < 0)
            return rc;
    } while (more);
    r->p += list ? 2 : 1;
    *ret_at = at;
    return end_of_line(r);
}

static int
dotted_step(struct toml_reader *r, struct toml_value **at, char **key)
{
    struct toml_value *v = toml_lookup(r->doc, *at, *key);

    if (!v) {
        int rc = toml_add(r, *at, key, TOML_TABLE, &v);

        if (rc < 0)
            return rc;
    } else if (v->type != TOML_TABLE ||
               (v->origin != TOML_FROM_DOTS && v->origin != TOML_FROM_SUPER)) {
        return toml_fail(r, r->line,
                         "\"%.100s\" was defined in line %u: a dotted key may not add to it", *key,
                         v->line);
    }
    v->origin = TOML_FROM_DOTS;
    *at = v;
    return 0;
}

static int read_value(struct toml_reader *r, struct toml_value *parent, char **key);

/* a.b = value, below `at`. */
static int
read_pair(struct toml_reader *r, struct toml_value *at)
{
    bool more;
    int rc;

    do {
        _cleanup_free_ char *key = NULL;

        rc = read_key(r, &key);
        if (rc < 0)
            return rc;
        more = another_part(r);
        if (more) {
            rc = dotted_step(r, &at, &key);
        } else if (toml_cur(r) != '=') {
            rc = toml_fail(r, r->line, "the key \"%.100s\" lacks its \"=\"", key);
        } else {
            r->p++;
            toml_skip_blanks(r);
            rc = read_value(r, at, &key);
        }
        if (rc < 0)
            return rc;
    } while (more);
    return 0;
}

static int
read_array(struct toml_reader *r, struct toml_value *v)
{
    unsigned line = r->line;
    int rc;

    r->p++;
    for (;;) {
        if (skip_lines(r) < 0)
            return -EINVAL;
        if (toml_cur(r) == ']')
            break;
        if (toml_cur(r) < 0)
            return toml_fail(r, line, "the array lacks its \"]\"");
        rc = read_value(r, v, NULL);
        if (rc < 0)
            return rc;
        if (skip_lines(r) < 0)
            return -EINVAL;
        if (toml_cur(r) == ',')
            r->p++;
        else if (toml_cur(r) != ']')
            return toml_fail(r, toml_cur(r) < 0 ? line : r->line,
                             "the array lacks a \",\" or its \"]\"");
    }
    r->p++;
    return 0;
}

/* On one line, without a trailing comma (1.0). */
static int
read_inline_table(struct toml_reader *r, struct toml_value *v)
{
    int rc;

    r->p++;
    toml_skip_blanks(r);
    if (toml_cur(r) == '}') {
        r->p++;
        return 0;
    }
    for (;;) {
        rc = read_pair(r, v);
        if (rc < 0)
            return rc;
        toml_skip_blanks(r);
        if (toml_cur(r) == '}')
            break;
        if (toml_cur(r) != ',')
            return toml_fail(r, r->line, "the inline table lacks a \",\" or its \"}\"");
        r->p++;
        toml_skip_blanks(r);
    }
    r->p++;
    return 0;
}

/* The recursion is bounded by toml_add's depth limit. */
static int
read_value(struct toml_reader *r, struct toml_value *parent, char **key)
{
    struct toml_value *v;
    int c = toml_cur(r), rc;

    rc = toml_add(r, parent, key, c == '[' ? TOML_ARRAY : c == '{' ? TOML_TABLE : TOML_BOOL, &v);
    if (rc < 0)
        return rc;
    v->origin = TOML_FROM_VALUE;
    if (c == '[')
        return read_array(r, v);
    if (c == '{')
        return read_inline_table(r, v);
    return toml_read_scalar(r, v);
}

static int
read_document(struct toml_reader *r)
{
    struct toml_value *at = r->doc->root;
    int rc;

    while (r->p < r->end) {
        toml_skip_blanks(r);
        if (toml_cur(r) == '[') {
            rc = read_header(r, &at);
        } else if (toml_cur(r) == '#' || toml_cur(r) == '\n' || toml_cur(r) == '\r' ||
                   toml_cur(r) < 0) {
            rc = end_of_line(r);
        } else {
            rc = read_pair(r, at);
            if (rc == 0)
                rc = end_of_line(r);
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Length of the UTF-8 sequence at s, 0 where it is none (RFC 3629: shortest form, no surrogates,
 * up to U+10FFFF). */
static size_t
utf8_len(const unsigned char *s, size_t left)
{
    static const struct {
        unsigned char lo, hi, lo2, hi2;
        size_t len;
    } forms[] = {
        {0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };

    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        if (s[0] < forms[i].lo || s[0] > forms[i].hi || left < forms[i].len)
            continue;
        if (forms[i].len > 1 && (s[1] < forms[i].lo2 || s[1] > forms[i].hi2))
            return 0;
        for (size_t k = 2; k < forms[i].len; k++)
            if ((s[k] & 0xc0) != 0x80)
                return 0;
        return forms[i].len;
    }
    return 0;
}

static int
check_utf8(struct toml_reader *r)
{
    const unsigned char *s = (const unsigned char *)r->p;
    size_t len = (size_t)(r->end - r->p), n;
    unsigned line = 1;

    for (size_t i = 0; i < len; i += n) {
        n = s[i] < 0x80 ? 1 : utf8_len(s + i, len - i);
        if (n == 0)
            return toml_fail(r, line, "byte 0x%02x is not UTF-8", (unsigned)s[i]);
        if (s[i] == '\n')
            line++;
    }
    if (toml_starts(r, "\xef\xbb\xbf"))
        return toml_fail(r, 1,
                         "the text begins with a byte order mark, which TOML 1.0 does not know");
    return 0;
}

int
toml_parse(const char *name, const char *text, size_t len, const struct toml_limits *limits,
           struct toml **ret, struct err *e)
{
    struct toml_reader r = {
        .name = name, .p = text, .end = text + len, .line = 1, .lim = defaults, .e = e};
    _cleanup_(toml_freep) struct toml *doc = NULL;
    int rc;

    if (limits && limits->bytes)
        r.lim.bytes = limits->bytes;
    if (limits && limits->depth)
        r.lim.depth = limits->depth;
    if (limits && limits->nodes)
        r.lim.nodes = limits->nodes;
    if (len > r.lim.bytes)
        return err_set(e, E2BIG, ERR_CLASS_INVALID, "%s: %zu bytes, at most %zu are read", name,
                       len, r.lim.bytes);
    r.doc = doc = calloc(1, sizeof(*doc));
    if (!doc)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "parse %s", name);
    rc = toml_add(&r, NULL, NULL, TOML_TABLE, &doc->root);
    if (rc == 0)
        rc = check_utf8(&r);
    if (rc == 0)
        rc = read_document(&r);
    if (rc < 0)
        return rc;
    *ret = TAKE_PTR(struct toml, doc);
    return 0;
}
