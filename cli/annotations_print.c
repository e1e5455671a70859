/* SPDX-License-Identifier: Apache-2.0
 *
 * The report of pgpuctl annotations lint, for people and for programs. No state.
 */
#include "cli/annotations.h"

#include "base/cleanup.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#define VALUE_SHOWN 72

static const char *
paint(bool colour, enum kata_outcome o)
{
    if (!colour)
        return "";
    switch (o) {
    case KATA_FAILS:
        return "\033[31m";
    case KATA_UNSURE:
    case KATA_IGNORED:
        return "\033[33m";
    case KATA_APPLIED:
    case KATA_FOREIGN:
        break;
    }
    return "";
}

/* Text of the manifest, without what a terminal would take as a command: C0, DEL and C1. */
static void
put(const char *s, size_t most)
{
    size_t n = 0;

    for (; *s && n < most; s++) {
        unsigned char c = (unsigned char)*s, next = (unsigned char)s[1];

        if (c < 0x20 || c == 0x7f) {
            (void)printf("\\x%02x", c);
            n += 4;
        } else if (c == 0xc2 && next >= 0x80 && next < 0xa0) {
            (void)printf("\\x%02x", next);
            n += 4;
            s++;
        } else {
            (void)putchar(c);
            n += (c & 0xc0) != 0x80;
            /* never cut within a character */
            while (((unsigned char)s[1] & 0xc0) == 0x80)
                (void)putchar(*++s);
        }
    }
    if (*s)
        (void)fputs("...", stdout);
}

static void
put_line(const char *title, const char *text)
{
    if (*text)
        (void)printf("           %-7s %s\n", title, text);
}

static void
print_handler(const struct kata_handler_facts *f)
{
    (void)printf("handler    ");
    put(f->name, 200);
    (void)printf("\n  runtime  %s (%s)\n  TEE      %s (%s)\n  allowed  ",
                 kata_flavour_name(f->flavour), f->flavour_from, kata_tee_name(f->tee),
                 f->tee_from);
    for (size_t i = 0; i < f->n_allowed; i++) {
        (void)fputs(i > 0 ? ", " : "", stdout);
        put(f->allowed[i], 200);
    }
    (void)printf("%s(%s)\n",
                 f->n_allowed > 0   ? " "
                 : f->allowed_known ? "nothing "
                                    : "unknown ",
                 f->allowed_from);
    for (size_t i = 0; i < f->n_unjudged; i++) {
        (void)printf("  note     cannot be evaluated here, Go and Rust have syntax of their own: ");
        put(f->unjudged[i], 200);
        (void)putchar('\n');
    }
    for (size_t i = 0; i < f->n_notes; i++)
        (void)printf("  note     %s\n", f->notes[i]);
}

static void
print_pod(const struct anno_pod *p, const char *handler, bool colour)
{
    (void)putchar('\n');
    put(p->kind, 100);
    if (*p->name)
        (void)putchar(' ');
    if (*p->namespace) {
        put(p->namespace, 100);
        (void)putchar('/');
    }
    put(p->name, 253);
    if (*p->file) {
        (void)fputs(*p->kind || *p->name ? ", " : "", stdout);
        put(p->file, 200);
        (void)printf(":%u", p->line);
    }
    if (strcmp(p->runtime_class, handler) != 0 && *p->runtime_class) {
        (void)fputs(" (asks for RuntimeClass ", stdout);
        put(p->runtime_class, 253);
        (void)putchar(')');
    }
    (void)puts(p->n == 0 ? ": no annotations" : "");
    for (size_t i = 0; i < p->n; i++) {
        const struct anno *a = &p->v[i];

        (void)printf("  %s%-8s%s ", paint(colour, a->v.outcome), kata_outcome_name(a->v.outcome),
                     colour ? "\033[0m" : "");
        put(a->key, 320);
        (void)fputs(" = ", stdout);
        put(a->value, VALUE_SHOWN);
        (void)putchar('\n');
        if (strcmp(a->v.reason, "applied") != 0)
            put_line("why", a->v.reason);
        put_line("does", a->v.effect);
        put_line("launch", a->v.measured);
        put_line("cure", a->v.cure);
    }
}

void
anno_print_people(const struct kata_handler_facts *f, const struct anno_pods *p,
                  const struct anno_count *count, bool colour)
{
    const char *sep = ": ";

    print_handler(f);
    for (size_t i = 0; i < p->n; i++)
        print_pod(&p->v[i], f->name, colour);
    (void)printf("\n%zu pod%s, %zu annotation%s", p->n, p->n == 1 ? "" : "s", count->n,
                 count->n == 1 ? "" : "s");
    for (size_t o = 0; o < ARRAY_SIZE(count->by); o++) {
        if (count->by[o] > 0) {
            (void)printf("%s%zu %s", sep, count->by[o], kata_outcome_name((enum kata_outcome)o));
            sep = ", ";
        }
    }
    (void)putchar('\n');
}

static void
put_text(struct json_object *o, const char *key, const char *text)
{
    (void)json_object_object_add(o, key, *text ? json_object_new_string(text) : NULL);
}

static struct json_object *
texts(const char *const *v, size_t n)
{
    struct json_object *a = json_object_new_array();

    for (size_t i = 0; i < n; i++)
        (void)json_object_array_add(a, json_object_new_string(v[i]));
    return a;
}

static struct json_object *
handler_json(const struct kata_handler_facts *f)
{
    struct json_object *o = json_object_new_object();

    put_text(o, "name", f->name);
    put_text(o, "runtime", kata_flavour_name(f->flavour));
    put_text(o, "runtime_from", f->flavour_from);
    put_text(o, "tee", kata_tee_name(f->tee));
    put_text(o, "tee_from", f->tee_from);
    (void)json_object_object_add(o, "enable_annotations",
                                 f->allowed_known ? texts(f->allowed, f->n_allowed) : NULL);
    put_text(o, "enable_annotations_from", f->allowed_from);
    (void)json_object_object_add(o, "not_evaluated", texts(f->unjudged, f->n_unjudged));
    (void)json_object_object_add(o, "notes", texts(f->notes, f->n_notes));
    return o;
}

static struct json_object *
anno_json(const struct anno *a)
{
    struct json_object *o = json_object_new_object();

    (void)json_object_object_add(o, "key", json_object_new_string(a->key));
    (void)json_object_object_add(o, "value", json_object_new_string(a->value));
    (void)json_object_object_add(o, "line",
                                 a->line > 0 ? json_object_new_int64((int64_t)a->line) : NULL);
    put_text(o, "outcome", kata_outcome_name(a->v.outcome));
    put_text(o, "reason", a->v.reason);
    put_text(o, "effect", a->v.effect);
    put_text(o, "launch", a->v.measured);
    (void)json_object_object_add(o, "changes_launch", json_object_new_boolean(a->v.changes_launch));
    put_text(o, "cure", a->v.cure);
    return o;
}

static struct json_object *
pod_json(const struct anno_pod *p)
{
    struct json_object *o = json_object_new_object();
    struct json_object *list = json_object_new_array();

    put_text(o, "kind", p->kind);
    put_text(o, "namespace", p->namespace);
    put_text(o, "name", p->name);
    put_text(o, "file", p->file);
    (void)json_object_object_add(o, "line",
                                 p->line > 0 ? json_object_new_int64((int64_t)p->line) : NULL);
    put_text(o, "runtime_class", p->runtime_class);
    for (size_t i = 0; i < p->n; i++)
        (void)json_object_array_add(list, anno_json(&p->v[i]));
    (void)json_object_object_add(o, "annotations", list);
    return o;
}

void
anno_print_json(const struct kata_handler_facts *f, const struct anno_pods *p,
                const struct anno_count *count)
{
    struct json_object *o = json_object_new_object();
    struct json_object *pods = json_object_new_array();
    struct json_object *by = json_object_new_object();

    (void)json_object_object_add(o, "handler", handler_json(f));
    for (size_t i = 0; i < p->n; i++)
        (void)json_object_array_add(pods, pod_json(&p->v[i]));
    (void)json_object_object_add(o, "pods", pods);
    for (size_t i = 0; i < ARRAY_SIZE(count->by); i++)
        (void)json_object_object_add(by, kata_outcome_name((enum kata_outcome)i),
                                     json_object_new_int64((int64_t)count->by[i]));
    (void)json_object_object_add(o, "count", by);
    (void)puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
                                                     JSON_C_TO_STRING_NOSLASHESCAPE));
    (void)json_object_put(o);
}
