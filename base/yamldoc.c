/* SPDX-License-Identifier: Apache-2.0
 *
 * Builds a tree from libyaml's events, with an explicit stack.
 */
#include "base/yamldoc.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

#define DEPTH_DEFAULT 64
#define DEPTH_MOST 256

struct yamldoc_node {
    enum yamldoc_type type;
    unsigned line;
    bool plain; /* scalar without quotes or tag */
    uint32_t hash;
    char *key;  /* owned; NULL outside a map */
    char *text; /* owned; scalars */
    struct yamldoc_node *first, *last, *next;
    struct yamldoc_node *made_before; /* all nodes, for freeing */
};

struct yamldoc {
    struct yamldoc_node *roots; /* a list: its elements are the documents */
    struct yamldoc_node *made;
};

#define _cleanup_event_ _cleanup_(yaml_event_delete)

struct build {
    yaml_parser_t parser;
    const char *name, *text;
    size_t len;
    struct yamldoc_limits max;
    size_t nodes;
    struct yamldoc *doc;
    struct yamldoc_node *stack[DEPTH_MOST];
    unsigned depth;
    char *key; /* owned; of the map on top of the stack, its value comes next */
};

static int
no_memory(const struct build *b, struct err *e)
{
    return err_set(e, ENOMEM, ERR_CLASS_FATAL, "%s: out of memory", b->name);
}

static int
bad(const struct build *b, const yaml_event_t *ev, const char *what, struct err *e)
{
    return err_set(e, EINVAL, ERR_CLASS_INVALID, "%s:%zu: %s", b->name, ev->start_mark.line + 1,
                   what);
}

static int
bad_syntax(const struct build *b, struct err *e)
{
    const yaml_parser_t *p = &b->parser;
    size_t line = p->problem_mark.line + 1;

    if (p->error == YAML_MEMORY_ERROR)
        return no_memory(b, e);
    if (p->error == YAML_READER_ERROR) {
        /* the reader knows the byte, not the line */
        line = 1;
        for (size_t i = 0; i < p->problem_offset && i < b->len; i++)
            line += b->text[i] == '\n';
    }
    return err_set(e, EINVAL, ERR_CLASS_INVALID, "%s:%zu: %s", b->name, line,
                   p->problem ? p->problem : "malformed");
}

static uint32_t
hash_of(const char *s)
{
    uint32_t h = 2166136261u; /* FNV-1a */

    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

/* A new node below the top of the stack, or a new document. */
static int
add_node(struct build *b, const yaml_event_t *ev, enum yamldoc_type type, struct yamldoc_node **ret,
         struct err *e)
{
    struct yamldoc_node *up = b->depth > 0 ? b->stack[b->depth - 1] : b->doc->roots;
    struct yamldoc_node *n;

    if (++b->nodes > b->max.nodes)
        return err_set(e, E2BIG, ERR_CLASS_INVALID, "%s:%zu: more than %zu values", b->name,
                       ev->start_mark.line + 1, b->max.nodes);
    n = calloc(1, sizeof(*n));
    if (!n)
        return no_memory(b, e);
    n->made_before = b->doc->made;
    b->doc->made = n;
    n->type = type;
    n->line = (unsigned)ev->start_mark.line + 1;
    n->key = TAKE_PTR(char, b->key);
    if (n->key)
        n->hash = hash_of(n->key);
    for (const struct yamldoc_node *o = up->first; n->key && o; o = o->next)
        if (o->hash == n->hash && strcmp(o->key, n->key) == 0)
            return err_set(e, EINVAL, ERR_CLASS_INVALID,
                           "%s:%u: a key is given twice, first in line %u", b->name, n->line,
                           o->line);
    if (up->last)
        up->last->next = n;
    else
        up->first = n;
    up->last = n;
    *ret = n;
    return 0;
}

static bool
is_str_tag(const yaml_char_t *tag)
{
    return strcmp((const char *)tag, YAML_STR_TAG) == 0;
}

/* The next value belongs to a key that is not there yet. */
static bool
wants_key(const struct build *b)
{
    return b->depth > 0 && b->stack[b->depth - 1]->type == YAMLDOC_MAP && !b->key;
}

static int
on_scalar(struct build *b, const yaml_event_t *ev, struct err *e)
{
    const char *s = (const char *)ev->data.scalar.value;
    const yaml_char_t *tag = ev->data.scalar.tag;
    bool plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !tag;
    struct yamldoc_node *n = NULL;

    if (tag && !is_str_tag(tag))
        return bad(b, ev, "tags are not allowed", e);
    if (memchr(s, '\0', ev->data.scalar.length))
        return bad(b, ev, "U+0000 in a text", e);
    if (wants_key(b)) {
        b->key = strdup(s);
        return b->key ? 0 : no_memory(b, e);
    }
    /* an empty document, e.g. after a last "---" */
    if (b->depth == 0 && plain && *s == '\0')
        return 0;
    int rc = add_node(b, ev, YAMLDOC_SCALAR, &n, e);
    if (rc < 0)
        return rc;
    n->plain = plain;
    n->text = strdup(s);
    return n->text ? 0 : no_memory(b, e);
}

static int
on_start(struct build *b, const yaml_event_t *ev, enum yamldoc_type type, const yaml_char_t *tag,
         struct err *e)
{
    struct yamldoc_node *n = NULL;

    if (tag)
        return bad(b, ev, "tags are not allowed", e);
    if (wants_key(b))
        return bad(b, ev, "a key is no single value", e);
    if (b->depth == b->max.depth)
        return err_set(e, E2BIG, ERR_CLASS_INVALID, "%s:%zu: nested more than %u deep", b->name,
                       ev->start_mark.line + 1, b->max.depth);
    int rc = add_node(b, ev, type, &n, e);
    if (rc == 0)
        b->stack[b->depth++] = n;
    return rc;
}

static int
on_event(struct build *b, const yaml_event_t *ev, struct err *e)
{
    switch (ev->type) {
    case YAML_ALIAS_EVENT:
        return bad(b, ev, "aliases are not allowed", e);
    case YAML_SCALAR_EVENT:
        return on_scalar(b, ev, e);
    case YAML_SEQUENCE_START_EVENT:
        return on_start(b, ev, YAMLDOC_LIST, ev->data.sequence_start.tag, e);
    case YAML_MAPPING_START_EVENT:
        return on_start(b, ev, YAMLDOC_MAP, ev->data.mapping_start.tag, e);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        b->depth--;
        return 0;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        break;
    }
    return 0;
}

static int
build(struct build *b, struct err *e)
{
    for (;;) {
        _cleanup_event_ yaml_event_t ev;
        memset(&ev, 0, sizeof(ev));

        if (!yaml_parser_parse(&b->parser, &ev))
            return bad_syntax(b, e);
        if (ev.type == YAML_STREAM_END_EVENT)
            return 0;
        int rc = on_event(b, &ev, e);
        if (rc < 0)
            return rc;
    }
}

int
yamldoc_parse(const char *name, const char *text, size_t len, const struct yamldoc_limits *limits,
              struct yamldoc **ret, struct err *e)
{
    struct build b = {.name = name, .text = text, .len = len};
    struct yamldoc_node *roots = calloc(1, sizeof(*roots));

    if (limits)
        b.max = *limits;
    b.max.bytes = b.max.bytes ? b.max.bytes : (size_t)4 << 20;
    b.max.nodes = b.max.nodes ? b.max.nodes : 65536;
    b.max.depth = b.max.depth ? b.max.depth : DEPTH_DEFAULT;
    if (b.max.depth > DEPTH_MOST)
        b.max.depth = DEPTH_MOST;
    b.doc = calloc(1, sizeof(*b.doc));
    if (!b.doc || !roots || !yaml_parser_initialize(&b.parser)) {
        free(roots);
        free(b.doc);
        return no_memory(&b, e);
    }
    roots->type = YAMLDOC_LIST;
    b.doc->roots = b.doc->made = roots;
    /* not guessed from the first bytes: UTF-16 would move the offsets of messages */
    yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&b.parser, (const unsigned char *)text, len);
    int rc = len > b.max.bytes ? err_set(e, E2BIG, ERR_CLASS_INVALID, "%s: more than %zu bytes",
                                         name, b.max.bytes)
                               : build(&b, e);
    yaml_parser_delete(&b.parser);
    free(b.key);
    if (rc < 0) {
        yamldoc_free(b.doc);
        return rc;
    }
    *ret = b.doc;
    return 0;
}

void
yamldoc_free(struct yamldoc *d)
{
    struct yamldoc_node *n = d ? d->made : NULL;

    while (n) {
        struct yamldoc_node *before = n->made_before;

        free(n->key);
        free(n->text);
        free(n);
        n = before;
    }
    free(d);
}

const struct yamldoc_node *
yamldoc_root(const struct yamldoc *d, size_t i)
{
    const struct yamldoc_node *n = d->roots->first;

    for (; n && i > 0; i--)
        n = n->next;
    return n;
}

enum yamldoc_type
yamldoc_type(const struct yamldoc_node *n)
{
    return n->type;
}

unsigned
yamldoc_line(const struct yamldoc_node *n)
{
    return n->line;
}

const char *
yamldoc_text(const struct yamldoc_node *n)
{
    return n ? n->text : NULL;
}

/* Digits with '_' between them; 0: none. */
static size_t
digits(const char *s)
{
    return *s == '_' ? 0 : strspn(s, "0123456789_");
}

/* A decimal number as YAML 1.1 knows them: [+-]1_000.5e+3, .5, 5. */
static bool
is_decimal(const char *s)
{
    size_t n;

    s += *s == '+' || *s == '-';
    n = digits(s);
    s += n;
    if (*s == '.') {
        size_t fraction = digits(s + 1);

        n += fraction;
        s += 1 + fraction;
    }
    if (n == 0)
        return false;
    if (*s == 'e' || *s == 'E') {
        s++;
        s += *s == '+' || *s == '-';
        n = digits(s);
        s += n;
    }
    return n > 0 && *s == '\0';
}

static bool
is_based(const char *s)
{
    static const struct {
        const char *prefix, *set;
    } bases[] = {{"0x", "0123456789abcdefABCDEF_"}, {"0b", "01_"}, {"0o", "01234567_"}};

    s += *s == '+' || *s == '-';
    for (size_t i = 0; i < ARRAY_SIZE(bases); i++)
        if (strncmp(s, bases[i].prefix, 2) == 0)
            return s[2] && strspn(s + 2, bases[i].set) == strlen(s + 2);
    return false;
}

/* Words: https://yaml.org/type/bool.html and float.html. */
bool
yamldoc_is_nonstring(const struct yamldoc_node *n)
{
    static const char *const words[] = {"true", "false", "yes",  "no",    "on",    "off",
                                        "y",    "n",     ".inf", "+.inf", "-.inf", ".nan"};
    const char *s = yamldoc_text(n);

    if (!s || !n->plain)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (strcasecmp(s, words[i]) == 0)
            return true;
    return is_decimal(s) || is_based(s);
}

const struct yamldoc_node *
yamldoc_get(const struct yamldoc_node *n, const char *key)
{
    if (!n || n->type != YAMLDOC_MAP)
        return NULL;
    for (const struct yamldoc_node *c = n->first; c; c = c->next)
        if (strcmp(c->key, key) == 0)
            return c;
    return NULL;
}

const struct yamldoc_node *
yamldoc_path(const struct yamldoc_node *n, const char *path)
{
    char key[64];

    for (;;) {
        size_t len = strcspn(path, ".");

        if (len >= sizeof(key))
            return NULL;
        memcpy(key, path, len);
        key[len] = '\0';
        n = yamldoc_get(n, key);
        if (!n || path[len] == '\0')
            return n;
        path += len + 1;
    }
}

const struct yamldoc_node *
yamldoc_first(const struct yamldoc_node *n)
{
    return n ? n->first : NULL;
}

const struct yamldoc_node *
yamldoc_next(const struct yamldoc_node *n)
{
    return n->next;
}

const char *
yamldoc_key(const struct yamldoc_node *n)
{
    return n->key;
}
