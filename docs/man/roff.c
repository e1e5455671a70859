/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables as roff.
 */
#include "docs/man/roff.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define REF_MAX 128

/* ---- text ---- */

/* Escapes n bytes; `start`: at the beginning of a line. */
static void
put(FILE *f, const char *s, size_t n, bool start)
{
    for (size_t i = 0; i < n; i++) {
        if (i == 0 && start && (s[i] == '.' || s[i] == '\''))
            (void)fputs("\\&", f);
        if (s[i] == '\\')
            (void)fputs("\\e", f);
        else if (s[i] == '-')
            (void)fputs("\\-", f);
        else
            (void)fputc(s[i], f);
    }
}

static void
put_str(FILE *f, const char *s)
{
    put(f, s, strlen(s), false);
}

/* Each sentence on a line of its own, as man pages are written. */
static void
put_sentences(FILE *f, const char *s, size_t n)
{
    bool start = true;

    while (n > 0) {
        const char *stop = memmem(s, n, ". ", 2);
        size_t len = stop ? (size_t)(stop - s) + 1 : n;

        put(f, s, len, start);
        (void)fputc('\n', f);
        start = true;
        if (!stop)
            break;
        s += len + 1;
        n -= len + 1;
    }
}

/* Whether the phrase begins with something that is typed as it is: a program, or a value ("full:
 * bind", "gpu | nvswitch", "on, off or ppcie"). */
static bool
begins_with_value(const char *phrase, const char *words)
{
    size_t n = strcspn(phrase, " ,"), len;

    if (strncmp(phrase, "pgpu", 4) == 0 || phrase[n - (n > 0)] == ':' ||
        strncmp(phrase + n, " |", 2) == 0)
        return true;
    for (const char *w = words ? words : ""; *w; w += len + (w[len] == ' ')) {
        len = strcspn(w, " ");
        if (len == n && strncmp(w, phrase, n) == 0)
            return true;
    }
    return false;
}

/* "Text of a phrase."; `words` (may be NULL) are values that it may begin with. */
static void
put_phrase(FILE *f, const char *phrase, const char *words)
{
    size_t n = strlen(phrase);
    char *s = NULL;

    if (n == 0 || asprintf(&s, "%s%s", phrase, strchr(".?!", phrase[n - 1]) ? "" : ".") < 0)
        return;
    if (!begins_with_value(phrase, words))
        s[0] = (char)toupper((unsigned char)s[0]);
    put_sentences(f, s, strlen(s));
    free(s);
}

/* Paragraphs of a table's text; `between` separates them (.PP, or .IP within an entry). */
static void
put_text(FILE *f, const char *text, const char *between)
{
    bool first = true;

    while (text && *text) {
        const char *stop = strstr(text, "\n\n");
        size_t len = stop ? (size_t)(stop - text) : strlen(text);

        if (!first)
            (void)fprintf(f, "%s\n", between);
        first = false;
        for (const char *line = text, *end = text + len; line < end;) {
            size_t n = strcspn(line, "\n");

            if (line + n > end)
                n = (size_t)(end - line);
            if (*line == ' ') {
                (void)fputs(".nf\n", f);
                put(f, line, n, true);
                (void)fputs("\n.fi\n", f);
            } else {
                put_sentences(f, line, n);
            }
            line += n + 1;
        }
        text = stop ? stop + 2 : NULL;
    }
}

static void
put_more(struct roff *r, const char *ref)
{
    for (size_t i = 0; i < r->n_more; i++)
        if (strcmp(r->more[i].ref, ref) == 0) {
            (void)fputs(r->more[i].text, r->f);
            r->more[i].used = true;
        }
}

/* ---- command lines ---- */

void
roff_name(struct roff *r, const struct usage *u)
{
    (void)fputs(".SH NAME\n", r->f);
    put_str(r->f, u->name);
    (void)fputs(" \\- ", r->f);
    put_str(r->f, u->summary);
    (void)fputc('\n', r->f);
}

static void
synopsis_line(struct roff *r, const struct usage *u, const struct usage *verb, bool first)
{
    const struct usage *sub;

    (void)fputs(first ? "\\fB" : ".br\n\\fB", r->f);
    put_str(r->f, u->name);
    (void)fputs("\\fR", r->f);
    if (u->opts || !verb)
        (void)fputs(" [\\fIOPTION\\fR]...", r->f);
    if (verb) {
        (void)fputs(" \\fB", r->f);
        put_str(r->f, verb->name);
        for (unsigned i = 0; (sub = usage_verb(verb, i, NULL)) != NULL; i++) {
            (void)fputs(i ? "|" : " ", r->f);
            put_str(r->f, sub->name);
        }
        (void)fputs("\\fR", r->f);
    }
    if (verb && usage_verb(verb, 0, NULL)) {
        (void)fputs(" ...", r->f);
    } else if ((verb ? verb : u)->args && (verb ? verb : u)->args[0]) {
        (void)fputs(" \\fI", r->f);
        put_str(r->f, (verb ? verb : u)->args);
        (void)fputs("\\fR", r->f);
    }
    (void)fputc('\n', r->f);
}

void
roff_synopsis(struct roff *r, const struct usage *u)
{
    const struct usage *v;
    unsigned i;

    (void)fputs(".SH SYNOPSIS\n", r->f);
    for (i = 0; (v = usage_verb(u, i, NULL)) != NULL; i++)
        synopsis_line(r, u, v, i == 0);
    if (i == 0)
        synopsis_line(r, u, NULL, true);
}

/* `ref` is "" or "cc "; `with` (may be empty) is said at the end. */
static void
option(struct roff *r, const struct usage_opt *o, const char *ref, const char *with)
{
    char whole[REF_MAX];

    (void)fputs(".TP\n", r->f);
    if (o->letter)
        (void)fprintf(r->f, "\\fB\\-%c\\fR, ", o->letter);
    (void)fputs("\\fB", r->f);
    put_str(r->f, o->name);
    (void)fputs("\\fR", r->f);
    if (o->arg) {
        (void)fputs(" \\fI", r->f);
        put_str(r->f, o->arg);
        (void)fputs("\\fR", r->f);
    }
    (void)fputc('\n', r->f);
    put_phrase(r->f, o->help, o->words);
    if (with[0])
        put_phrase(r->f, with, NULL);
    (void)snprintf(whole, sizeof(whole), "%s%s", ref, o->name);
    put_more(r, whole);
}

void
roff_options(struct roff *r, const struct usage *u)
{
    static const struct usage_opt version = {"--version", NULL, "print the version and exit", NULL,
                                             0};
    static const struct usage_opt help = {"--help", NULL, "print a summary and exit", NULL, 0};
    static const struct usage_opt verbs_help = {
        "--help", NULL, "print a summary and exit; every verb has its own", NULL, 0};

    for (const struct usage_opt *o = u->opts; o && o->name; o++)
        option(r, o, "", "");
    if (u->version)
        option(r, &version, "", "");
    option(r, usage_verb(u, 0, NULL) ? &verbs_help : &help, "", "");
}

static bool
same(const struct usage_opt *a, const struct usage_opt *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->help, b->help) == 0;
}

static const struct usage_opt *
find_same(const struct usage *u, const struct usage_opt *o)
{
    for (const struct usage_opt *x = u->opts; x && x->name; x++)
        if (same(x, o))
            return x;
    return NULL;
}

/* Says which of a verb's verbs take the option, where not all do; false when that was told at an
 * earlier one than the i-th. */
static bool
takers(const struct usage *verb, const struct usage_opt *o, unsigned i, char *buf, size_t size)
{
    size_t n = (size_t)snprintf(buf, size, "with ");
    const struct usage *sub;
    unsigned k, count = 0;

    for (k = 0; (sub = usage_verb(verb, k, NULL)) != NULL; k++) {
        if (!find_same(sub, o))
            continue;
        if (k < i)
            return false;
        n += (size_t)snprintf(buf + n, n < size ? size - n : 0, "%s%s", count ? ", " : "",
                              sub->name);
        count++;
    }
    if (count == k)
        buf[0] = '\0';
    return true;
}

/* The options of a verb's verbs, each once. */
static void
sub_options(struct roff *r, const struct usage *verb)
{
    const struct usage *sub;
    char ref[REF_MAX], with[REF_MAX];

    (void)snprintf(ref, sizeof(ref), "%s ", verb->name);
    for (unsigned i = 0; (sub = usage_verb(verb, i, NULL)) != NULL; i++)
        for (const struct usage_opt *o = sub->opts; o && o->name; o++)
            if (takers(verb, o, i, with, sizeof(with)))
                option(r, o, ref, with);
}

static void
sub_verb(struct roff *r, const struct usage *verb, const struct usage *sub)
{
    char ref[REF_MAX];

    (void)fputs(".TP\n\\fB", r->f);
    put_str(r->f, verb->name);
    (void)fputc(' ', r->f);
    put_str(r->f, sub->name);
    (void)fputs("\\fR", r->f);
    if (sub->args && sub->args[0]) {
        (void)fputs(" \\fI", r->f);
        put_str(r->f, sub->args);
        (void)fputs("\\fR", r->f);
    }
    (void)fputc('\n', r->f);
    put_phrase(r->f, sub->summary, NULL);
    if (sub->text)
        (void)fputs(".IP\n", r->f);
    put_text(r->f, sub->text, ".IP");
    (void)snprintf(ref, sizeof(ref), "%s %s", verb->name, sub->name);
    put_more(r, ref);
}

void
roff_verbs(struct roff *r, const struct usage *u)
{
    const struct usage *v, *sub;
    char ref[REF_MAX];

    (void)fputs(".SH VERBS\n", r->f);
    for (unsigned i = 0; (v = usage_verb(u, i, NULL)) != NULL; i++) {
        (void)fputs(".SS ", r->f);
        put_str(r->f, v->name);
        (void)fputc('\n', r->f);
        put_phrase(r->f, v->summary, NULL);
        if (v->text)
            (void)fputs(".PP\n", r->f);
        put_text(r->f, v->text, ".PP");
        put_more(r, v->name);
        for (unsigned k = 0; (sub = usage_verb(v, k, NULL)) != NULL; k++)
            sub_verb(r, v, sub);
        sub_options(r, v);
        (void)snprintf(ref, sizeof(ref), "%s ", v->name);
        for (const struct usage_opt *o = v->opts; o && o->name; o++)
            option(r, o, ref, "");
    }
}

/* ---- configurations ---- */

/* The default as --print-config writes it. */
static void
put_default(FILE *f, const struct conf_key *k)
{
    bool list = k->type == CONF_STRLIST || k->type == CONF_OBJLIST;
    const char *d = k->dflt ? k->dflt : "";

    if (k->type == CONF_BOOL && !d[0])
        d = "false";
    else if (k->type == CONF_U32 && !d[0])
        d = "0";
    else if (k->type == CONF_DURATION && !d[0])
        d = "0s";
    (void)fputs(list ? " = [" : " = ", f);
    for (; *d; d++) {
        put(f, d, 1, false);
        if (list && *d == ',' && d[1] != ' ')
            (void)fputc(' ', f);
    }
    (void)fputs(list ? "]" : "", f);
}

static void
duration_str(uint64_t ns, char *buf, size_t size)
{
    static const struct {
        uint64_t ns;
        const char *unit;
    } units[] = {{UINT64_C(3600000000000), "h"},
                 {UINT64_C(60000000000), "m"},
                 {UINT64_C(1000000000), "s"},
                 {UINT64_C(1000000), "ms"},
                 {1, "ns"}};
    size_t i = 0;

    while (ns % units[i].ns != 0)
        i++;
    (void)snprintf(buf, size, "%" PRIu64 "%s", ns / units[i].ns, units[i].unit);
}

/* Whether the help says every word already. */
static bool
tells_words(const struct conf_key *k)
{
    for (size_t i = 0; k->names[i]; i++)
        if (!k->help || !strstr(k->help, k->names[i]))
            return false;
    return true;
}

static void
put_limits(FILE *f, const struct conf_key *k)
{
    char low[32], high[32];

    if (k->type == CONF_DURATION) {
        duration_str(k->min, low, sizeof(low));
        duration_str(k->max, high, sizeof(high));
        if (k->min > 0)
            (void)fprintf(f, "%s to %s.\n", low, high);
        else
            (void)fprintf(f, "Up to %s.\n", high);
    } else if (k->type == CONF_U32) {
        (void)fprintf(f, "%" PRIu64 " to %" PRIu64 ".\n", k->min, k->max);
    } else if ((k->type == CONF_STRLIST || k->type == CONF_OBJLIST) && k->max > 0) {
        (void)fprintf(f, "Up to %" PRIu64 ".\n", k->max);
    } else if (k->type == CONF_ENUM && !tells_words(k)) {
        for (size_t i = 0; k->names[i]; i++) {
            (void)fputs(i == 0 ? "One of " : ", ", f);
            put_str(f, k->names[i]);
        }
        (void)fputs(".\n", f);
    }
}

static void
keys_below(struct roff *r, const struct conf_key *keys, const char *before)
{
    char name[REF_MAX];

    for (const struct conf_key *k = keys; k->name; k++) {
        (void)snprintf(name, sizeof(name), "%s%s%s", before, before[0] ? "." : "", k->name);
        if (k->type != CONF_OBJECT) {
            (void)fputs(".TP\n\\fB", r->f);
            put_str(r->f, name);
            if (k->type != CONF_STRING || (k->dflt && k->dflt[0]))
                put_default(r->f, k);
            (void)fputs("\\fR\n", r->f);
            if (k->help)
                put_phrase(r->f, k->help, NULL);
            put_limits(r->f, k);
            put_more(r, name);
        }
        if (k->sub)
            keys_below(r, k->sub, name);
    }
}

void
roff_keys(struct roff *r, const struct conf_key *keys)
{
    keys_below(r, keys, "");
}
