/* SPDX-License-Identifier: Apache-2.0
 *
 * doctor's output: for people, as JSON, and as the table of docs/doctor.md. No state.
 */
#include "cli/doctor.h"

#include "base/cleanup.h"

#include <stdio.h>
#include <string.h>

#define TITLE_WIDTH 32
#define TEXT_WIDTH 88
#define INDENT 11

struct doctor_counts
doctor_count(const struct doctor *d)
{
    struct doctor_counts c = {{0}};

    for (size_t i = 0; i < d->n; i++)
        c.n[d->v[i].status]++;
    return c;
}

/* ---- for people ---- */

static const char *
colour(const struct doctor *d, enum doctor_status s)
{
    static const char *const codes[] = {"\033[32m", "\033[2m", "\033[36m", "\033[33m", "\033[31m"};

    return d->c->tty ? codes[s] : "";
}

static const char *
plain(const struct doctor *d)
{
    return d->c->tty ? "\033[0m" : "";
}

static const char *
word(enum doctor_status s)
{
    static const char *const words[] = {"ok", "unknown", "info", "WARNING", "ERROR"};

    return words[s];
}

/* Sentences, broken at blanks. Commands are never broken: they are copied. */
static void
print_wrapped(const char *label, const char *text)
{
    size_t at = 0;

    (void)printf("%*s%-5s", INDENT, "", label);
    while (*text) {
        size_t n = strcspn(text, " ");

        if (at > 0 && at + 1 + n > TEXT_WIDTH) {
            (void)printf("\n%*s", INDENT + 5, "");
            at = 0;
        }
        (void)printf("%s%.*s", at ? " " : "", (int)n, text);
        at += n + (at > 0);
        text += n;
        text += strspn(text, " ");
    }
    (void)putchar('\n');
}

static void
print_finding(const struct doctor *d, const struct doctor_finding *f, bool verbose)
{
    bool bad = f->status != DOCTOR_OK && f->status != DOCTOR_UNKNOWN;

    (void)printf("  %s%-8s%s %-*s ", colour(d, f->status), word(f->status), plain(d), TITLE_WIDTH,
                 bad ? f->check->code : f->check->title);
    (void)printf("%s%s%s\n", f->object, f->object[0] && f->seen[0] ? ": " : "", f->seen);
    if (verbose && f->status != DOCTOR_OK)
        print_wrapped("why", f->check->why);
    if (f->cure[0] && (verbose || f->status >= DOCTOR_WARNING))
        (void)printf("%*scure %s\n", INDENT, "", f->cure);
}

static void
print_summary(const struct doctor *d)
{
    struct doctor_counts c = doctor_count(d);
    const char *paint = c.n[DOCTOR_ERROR]     ? colour(d, DOCTOR_ERROR)
                        : c.n[DOCTOR_WARNING] ? colour(d, DOCTOR_WARNING)
                                              : colour(d, DOCTOR_OK);

    (void)printf("\n%s%zu error%s, %zu warning%s%s, %zu note%s, %zu fine, %zu not checked\n", paint,
                 c.n[DOCTOR_ERROR], c.n[DOCTOR_ERROR] == 1 ? "" : "s", c.n[DOCTOR_WARNING],
                 c.n[DOCTOR_WARNING] == 1 ? "" : "s", plain(d), c.n[DOCTOR_INFO],
                 c.n[DOCTOR_INFO] == 1 ? "" : "s", c.n[DOCTOR_OK], c.n[DOCTOR_UNKNOWN]);
    if (d->dropped)
        (void)printf("%zu more findings were left out\n", d->dropped);
}

void
doctor_print(const struct doctor *d, bool verbose)
{
    const struct doctor_area *last = NULL;

    for (size_t i = 0; i < d->n; i++) {
        const struct doctor_finding *f = &d->v[i];

        if (f->area != last)
            (void)printf("%s%s (%s)\n", last ? "\n" : "", f->area->title, f->area->name);
        last = f->area;
        print_finding(d, f, verbose);
    }
    print_summary(d);
}

/* ---- JSON ---- */

static void
put(json_object *o, const char *key, const char *v)
{
    (void)json_object_object_add(o, key, json_object_new_string(v));
}

static json_object *
check_json(const struct doctor_area *a, const struct doctor_check *c)
{
    json_object *o = json_object_new_object();

    put(o, "area", a->name);
    put(o, "code", c->code);
    put(o, "title", c->title);
    return o;
}

static void
print_json(json_object *o)
{
    (void)puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
                                                     JSON_C_TO_STRING_NOSLASHESCAPE));
    (void)json_object_put(o);
}

void
doctor_print_json(const struct doctor *d)
{
    json_object *a = json_object_new_array();

    for (size_t i = 0; i < d->n; i++) {
        const struct doctor_finding *f = &d->v[i];
        json_object *o = check_json(f->area, f->check);

        put(o, "severity", doctor_status_name(f->status));
        put(o, "object", f->object);
        put(o, "seen", f->seen);
        put(o, "why", f->status == DOCTOR_OK ? "" : f->check->why);
        put(o, "cure", f->cure);
        (void)json_object_array_add(a, o);
    }
    print_json(a);
}

static json_object *
explain_json(const struct doctor_area *a, const struct doctor_check *c)
{
    json_object *o = check_json(a, c);

    put(o, "severity", doctor_status_name(c->severity));
    put(o, "why", c->why);
    put(o, "cure", doctor_cure_of(c));
    return o;
}

void
doctor_explain(const struct doctor_area *a, const struct doctor_check *c, bool json)
{
    if (json) {
        print_json(explain_json(a, c));
        return;
    }
    (void)printf("%s: %s (area %s, %s)\n", c->code, c->title, a->name,
                 doctor_status_name(c->severity));
    print_wrapped("why", c->why);
    (void)printf("%*scure %s\n", INDENT, "", doctor_cure_of(c));
}

void
doctor_list(bool json)
{
    json_object *list = json_object_new_array();

    for (size_t i = 0; i < doctor_area_count(); i++)
        for (size_t k = 0; k < doctor_areas[i]->n; k++) {
            const struct doctor_check *c = &doctor_areas[i]->checks[k];

            if (json)
                (void)json_object_array_add(list, explain_json(doctor_areas[i], c));
            else
                (void)printf("%-9s %-24s %-8s %s\n", doctor_areas[i]->name, c->code,
                             doctor_status_name(c->severity), c->title);
        }
    if (json)
        print_json(list);
    else
        (void)json_object_put(list);
}

/* ---- docs/doctor.md ---- */

static void
put_cell(struct buf *out, const char *s)
{
    for (; *s; s++) {
        if (*s == '|')
            (void)buf_put_str(out, "\\");
        (void)buf_put(out, s, 1);
    }
}

void
doctor_markdown(struct buf *out)
{
    for (size_t i = 0; i < doctor_area_count(); i++) {
        const struct doctor_area *a = doctor_areas[i];

        (void)buf_putf(out, "\n### %s (`%s`)\n\n", a->title, a->name);
        (void)buf_put_str(out, "| code | severity | what is looked at | why | cure |\n"
                               "|---|---|---|---|---|\n");
        for (size_t k = 0; k < a->n; k++) {
            const struct doctor_check *c = &a->checks[k];

            (void)buf_putf(out, "| `%s` | %s | ", c->code, doctor_status_name(c->severity));
            put_cell(out, c->title);
            (void)buf_put_str(out, " | ");
            put_cell(out, c->why);
            (void)buf_put_str(out, " | ");
            put_cell(out, doctor_cure_of(c));
            (void)buf_put_str(out, " |\n");
        }
    }
}
