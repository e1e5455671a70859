/* SPDX-License-Identifier: Apache-2.0
 *
 * Walks libyaml's events along a table of keys. Nothing is built in memory but the program's own
 * struct, and the depth of the recursion is that of the table, whatever the input nests. Anchors,
 * aliases, tags and further documents are refused: nobody needs them here, and aliases are how a
 * small file becomes a large one.
 */
#include "base/conf_impl.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

struct walk {
    yaml_parser_t parser;
    const char *name;
    const char *text;
    size_t len;
};

#define _cleanup_event_ _cleanup_(yaml_event_delete)

static size_t
event_line(const yaml_event_t *ev)
{
    return ev->start_mark.line + 1;
}

static int
bad_syntax(const struct walk *w, struct err *e)
{
    const yaml_parser_t *p = &w->parser;
    const char *problem = p->problem ? p->problem : "malformed";
    size_t line = p->problem_mark.line + 1;

    if (p->error == YAML_MEMORY_ERROR)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "%s: out of memory", w->name);
    if (p->error == YAML_READER_ERROR) {
        /* The reader knows the byte, not the line. */
        line = 1;
        for (size_t i = 0; i < p->problem_offset && i < w->len; i++)
            line += w->text[i] == '\n';
    }
    return err_set(e, EINVAL, ERR_CLASS_INVALID, "%s:%zu: %s%s%s", w->name, line, problem,
                   p->context ? " " : "", p->context ? p->context : "");
}

/* The next event that we allow; on failure nothing is to be deleted. */
static int
next(struct walk *w, yaml_event_t *ev, struct err *e)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;

    memset(ev, 0, sizeof(*ev));
    if (!yaml_parser_parse(&w->parser, ev))
        return bad_syntax(w, e);

    if (ev->type == YAML_SCALAR_EVENT) {
        anchor = ev->data.scalar.anchor;
        tag = ev->data.scalar.tag;
    } else if (ev->type == YAML_SEQUENCE_START_EVENT) {
        anchor = ev->data.sequence_start.anchor;
        tag = ev->data.sequence_start.tag;
    } else if (ev->type == YAML_MAPPING_START_EVENT) {
        anchor = ev->data.mapping_start.anchor;
        tag = ev->data.mapping_start.tag;
    }
    const char *what = ev->type == YAML_ALIAS_EVENT ? "aliases"
                       : anchor                     ? "anchors"
                       : tag                        ? "tags"
                                                    : NULL;
    if (what) {
        int rc = err_set(e, EINVAL, ERR_CLASS_INVALID, "%s:%zu: %s are not allowed", w->name,
                         event_line(ev), what);
        yaml_event_delete(ev);
        return rc;
    }
    return 0;
}

static const char *
event_name(const yaml_event_t *ev)
{
    if (ev->type == YAML_MAPPING_START_EVENT)
        return "a mapping";
    if (ev->type == YAML_SEQUENCE_START_EVENT)
        return "a list";
    if (ev->type == YAML_SCALAR_EVENT)
        return "a single value";
    return "the end";
}

static int
unexpected(const struct walk *w, const yaml_event_t *ev, const char *path, const char *expected,
           struct err *e)
{
    return err_set(e, EINVAL, ERR_CLASS_INVALID, "%s:%zu: %s%sexpected %s, found %s", w->name,
                   event_line(ev), path, *path ? ": " : "", expected, event_name(ev));
}

/* Control characters, line separators and what YAML cannot hold unescaped (U+FEFF, U+FFFE, U+FFFF).
 * libyaml hands out valid UTF-8 only. */
static bool
is_control(const char *s)
{
    static const char *const wide[] = {"\xe2\x80\xa8", "\xe2\x80\xa9", "\xef\xbb\xbf",
                                       "\xef\xbf\xbe", "\xef\xbf\xbf"};
    unsigned char c = (unsigned char)*s;

    if (c < 0x20 || c == 0x7f)
        return true;
    if (c == 0xc2 && (unsigned char)s[1] < 0xa0)
        return true;
    for (size_t i = 0; i < ARRAY_SIZE(wide); i++)
        if (strncmp(s, wide[i], 3) == 0)
            return true;
    return false;
}

/* The text of a scalar; NULL and an error for anything else. No setting needs control characters,
 * and names and paths with them end up in logs, file names and terminals. */
static const char *
scalar(const struct walk *w, const yaml_event_t *ev, const char *path, struct err *e)
{
    if (ev->type != YAML_SCALAR_EVENT) {
        (void)unexpected(w, ev, path, "a single value", e);
        return NULL;
    }
    const char *s = (const char *)ev->data.scalar.value;
    for (size_t i = 0; i < ev->data.scalar.length; i++) {
        if (is_control(s + i)) {
            (void)err_set(e, EINVAL, ERR_CLASS_INVALID, "%s:%zu: %s: contains a control character",
                          w->name, event_line(ev), path);
            return NULL;
        }
    }
    return s;
}

static bool
is_plain(const yaml_event_t *ev)
{
    return ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static int
at(const struct walk *w, const yaml_event_t *ev, const char *path, struct err *e)
{
    return err_prefix(e, "%s:%zu: %s", w->name, event_line(ev), path);
}

static int walk_mapping(struct walk *w, const struct conf_key *keys, void *out, const char *prefix,
                        struct err *e);

static int
walk_strlist(struct walk *w, const struct conf_key *k, struct conf_strlist *l, const char *path,
             struct err *e)
{
    for (;;) {
        _cleanup_event_ yaml_event_t ev;
        int rc = next(w, &ev, e);

        if (rc < 0)
            return rc;
        if (ev.type == YAML_SEQUENCE_END_EVENT)
            return 0;
        const char *s = scalar(w, &ev, path, e);
        if (!s)
            return -e->num;
        if (conf_add_string(k, l, s, is_plain(&ev), e) < 0)
            return at(w, &ev, path, e);
    }
}

static int
walk_objlist(struct walk *w, const struct conf_key *k, struct conf_objlist *l, const char *path,
             struct err *e)
{
    for (;;) {
        _cleanup_event_ yaml_event_t ev;
        char sub[CONF_PATH_MAX];
        void *elem = NULL;
        int rc = next(w, &ev, e);

        if (rc < 0)
            return rc;
        if (ev.type == YAML_SEQUENCE_END_EVENT)
            return 0;
        (void)snprintf(sub, sizeof(sub), "%.240s[%zu]", path, l->n);
        if (ev.type != YAML_MAPPING_START_EVENT)
            return unexpected(w, &ev, sub, "a mapping", e);
        if (conf_add_object(k, l, &elem, e) < 0)
            return at(w, &ev, path, e);
        rc = walk_mapping(w, k->sub, elem, sub, e);
        if (rc < 0)
            return rc;
    }
}

static int
walk_value(struct walk *w, const struct conf_key *k, void *out, const char *path, struct err *e)
{
    _cleanup_event_ yaml_event_t ev;
    int rc = next(w, &ev, e);

    if (rc < 0)
        return rc;
    if (k->type == CONF_OBJECT) {
        if (ev.type != YAML_MAPPING_START_EVENT)
            return unexpected(w, &ev, path, "a mapping", e);
        return walk_mapping(w, k->sub, conf_field(k, out), path, e);
    }
    if (k->type == CONF_STRLIST || k->type == CONF_OBJLIST) {
        if (ev.type != YAML_SEQUENCE_START_EVENT)
            return unexpected(w, &ev, path, "a list", e);
        /* What the file lists replaces the default list. */
        struct conf_key one[2] = {*k, {0}};
        conf_free(one, out);
        return k->type == CONF_STRLIST ? walk_strlist(w, k, conf_field(k, out), path, e)
                                       : walk_objlist(w, k, conf_field(k, out), path, e);
    }
    const char *s = scalar(w, &ev, path, e);
    if (!s)
        return -e->num;
    if (conf_set_scalar(k, out, s, is_plain(&ev), e) < 0)
        return at(w, &ev, path, e);
    return 0;
}

static int
unknown_key(const struct walk *w, const yaml_event_t *ev, const struct conf_key *keys,
            const char *prefix, const char *name, struct err *e)
{
    char list[320] = "", shown[CONF_SHOWN_MAX];
    size_t len = 0;

    for (const struct conf_key *k = keys; k->name && len < sizeof(list); k++) {
        int n = snprintf(list + len, sizeof(list) - len, "%s%s", len ? ", " : "", k->name);
        len += n > 0 ? (size_t)n : 0;
    }
    return err_set(e, EINVAL, ERR_CLASS_INVALID, "%s:%zu: unknown key \"%.96s%s%s\" (known: %s)",
                   w->name, event_line(ev), prefix, *prefix ? "." : "", conf_shown(name, shown),
                   list);
}

static int
walk_mapping(struct walk *w, const struct conf_key *keys, void *out, const char *prefix,
             struct err *e)
{
    size_t seen[CONF_KEYS_MAX] = {0}; /* line of each key, 0: not there yet */

    for (;;) {
        _cleanup_event_ yaml_event_t ev;
        char path[CONF_PATH_MAX];
        size_t i = 0;
        int rc = next(w, &ev, e);

        if (rc < 0)
            return rc;
        if (ev.type == YAML_MAPPING_END_EVENT)
            return 0;
        const char *name = scalar(w, &ev, *prefix ? prefix : "key", e);
        if (!name)
            return -e->num;
        while (keys[i].name && strcmp(keys[i].name, name) != 0)
            i++;
        if (!keys[i].name)
            return unknown_key(w, &ev, keys, prefix, name, e);
        (void)snprintf(path, sizeof(path), "%.160s%s%.80s", prefix, *prefix ? "." : "",
                       keys[i].name);
        if (seen[i] != 0)
            return err_set(e, EINVAL, ERR_CLASS_INVALID,
                           "%s:%zu: %s: duplicate key, first given in line %zu", w->name,
                           event_line(&ev), path, seen[i]);
        seen[i] = event_line(&ev);
        rc = walk_value(w, &keys[i], out, path, e);
        if (rc < 0)
            return rc;
    }
}

/* A document of nothing but comments is an empty scalar. */
static bool
is_empty_document(const yaml_event_t *ev)
{
    return ev->type == YAML_SCALAR_EVENT && is_plain(ev) && ev->data.scalar.length == 0;
}

static int
walk_document(struct walk *w, const struct conf_key *keys, void *out, struct err *e)
{
    _cleanup_event_ yaml_event_t top, end;
    memset(&end, 0, sizeof(end));

    int rc = next(w, &top, e);
    if (rc < 0)
        return rc;
    if (top.type == YAML_MAPPING_START_EVENT)
        rc = walk_mapping(w, keys, out, "", e);
    else if (!is_empty_document(&top))
        rc = unexpected(w, &top, "", "a mapping of keys to values", e);
    if (rc == 0)
        rc = next(w, &end, e); /* the document's end */
    return rc;
}

static int
walk_stream(struct walk *w, const struct conf_key *keys, void *out, struct err *e)
{
    bool had_document = false;

    for (;;) {
        _cleanup_event_ yaml_event_t ev;
        int rc = next(w, &ev, e);

        if (rc < 0)
            return rc;
        if (ev.type == YAML_STREAM_END_EVENT)
            return 0;
        if (ev.type != YAML_DOCUMENT_START_EVENT)
            continue; /* the stream's start */
        if (had_document)
            return err_set(e, EINVAL, ERR_CLASS_INVALID, "%s:%zu: a second document is not allowed",
                           w->name, event_line(&ev));
        had_document = true;
        rc = walk_document(w, keys, out, e);
        if (rc < 0)
            return rc;
    }
}

int
conf_walk(const char *name, const char *text, size_t len, const struct conf_key *keys, void *out,
          struct err *e)
{
    struct walk w = {.name = name, .text = text, .len = len};

    if (!yaml_parser_initialize(&w.parser))
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "%s: out of memory", name);
    /* Not guessed from the first bytes: UTF-16 would move the offsets of messages. */
    yaml_parser_set_encoding(&w.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&w.parser, (const unsigned char *)text, len);
    int rc = walk_stream(&w, keys, out, e);
    yaml_parser_delete(&w.parser);
    return rc;
}
