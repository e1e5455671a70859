/* SPDX-License-Identifier: Apache-2.0
 *
 * --help: a table as text, wrapped.
 */
#include "base/usage.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WIDTH 80
#define WIDTH_MIN 40
#define WIDTH_MAX 110 /* longer lines are hard to read */
#define LEFT_MAX 24   /* an entry that is longer has its text on the next line */

struct help {
    FILE *f;
    unsigned width;
};

static unsigned
width_of(FILE *f)
{
    struct winsize w;

    if (!isatty(fileno(f)) || ioctl(fileno(f), TIOCGWINSZ, &w) < 0 || w.ws_col == 0)
        return WIDTH;
    return w.ws_col < WIDTH_MIN ? WIDTH_MIN : w.ws_col > WIDTH_MAX ? WIDTH_MAX : w.ws_col;
}

/* Columns that n bytes of UTF-8 take. */
static unsigned
columns(const char *s, size_t n)
{
    unsigned c = 0;

    for (size_t i = 0; i < n; i++)
        c += ((unsigned char)s[i] & 0xc0) != 0x80;
    return c;
}

/* Writes the words of one paragraph, from column `at`; further lines begin at `indent`. */
static void
wrap(const struct help *h, const char *s, size_t len, unsigned at, unsigned indent)
{
    const char *end = s + len;
    bool first = true;

    while (s < end) {
        size_t n = 0;

        while (s < end && *s == ' ')
            s++;
        while (s + n < end && s[n] != ' ' && s[n] != '\n')
            n++;
        unsigned c = columns(s, n);
        if (!first && at + 1 + c > h->width - 1) {
            (void)fprintf(h->f, "\n%*s", (int)indent, "");
            at = indent;
        } else if (!first) {
            (void)fputc(' ', h->f);
            at++;
        }
        (void)fwrite(s, 1, n, h->f);
        at += c;
        first = false;
        s += n;
        while (s < end && (*s == '\n' || *s == ' '))
            s++;
    }
    (void)fputc('\n', h->f);
}

/* Paragraphs with an empty line before each; lines that begin with a space are kept. */
static void
paragraphs(const struct help *h, const char *text)
{
    while (text && *text) {
        const char *stop = strstr(text, "\n\n");
        size_t len = stop ? (size_t)(stop - text) : strlen(text);

        (void)fputc('\n', h->f);
        for (const char *line = text, *end = text + len; line < end;) {
            size_t n = strcspn(line, "\n"), more;

            if (*line == ' ') {
                (void)fprintf(h->f, "%.*s\n", (int)n, line);
                line += n + 1;
                continue;
            }
            /* up to the next kept line */
            while (line + n + 1 < end && line[n + 1] != ' ') {
                more = strcspn(line + n + 1, "\n");
                n += 1 + more;
            }
            wrap(h, line, n, 0, 0);
            line += n + 1;
        }
        text = stop ? stop + 2 : NULL;
    }
}

/* "Text of a phrase."; a program keeps its small letter. */
static void
sentence(const struct help *h, const char *phrase)
{
    _cleanup_free_ char *s = NULL;
    size_t n = strlen(phrase);

    if (n == 0 || asprintf(&s, "%s%s", phrase, strchr(".?!", phrase[n - 1]) ? "" : ".") < 0) {
        s = NULL;
        return;
    }
    if (strncmp(s, "pgpu", 4) != 0)
        s[0] = (char)toupper((unsigned char)s[0]);
    wrap(h, s, strlen(s), 0, 0);
}

static void
entry(const struct help *h, const char *left, const char *help, unsigned column)
{
    unsigned n = columns(left, strlen(left)) + 2;

    (void)fprintf(h->f, "  %s", left);
    if (n + 2 > column)
        (void)fprintf(h->f, "\n%*s", (int)column, "");
    else
        (void)fprintf(h->f, "%*s", (int)(column - n), "");
    wrap(h, help, strlen(help), column, column);
}

static void
option_left(const struct usage_opt *o, bool letters, char *buf, size_t size)
{
    char letter[8] = "";

    if (letters && o->letter)
        (void)snprintf(letter, sizeof(letter), "-%c, ", o->letter);
    else if (letters)
        (void)snprintf(letter, sizeof(letter), "    ");
    (void)snprintf(buf, size, "%s%s%s%s", letter, o->name, o->arg ? " " : "", o->arg ? o->arg : "");
}

/* Both lists in one column: 1. are there letters, 2. how wide, 3. print. */
static void
options(const struct help *h, const struct usage_opt *list, const struct usage_opt *more)
{
    unsigned column = 0;
    bool letters = false;
    char left[160];

    for (int pass = 0; pass < 3; pass++)
        for (int which = 0; which < 2; which++)
            for (const struct usage_opt *o = which ? more : list; o && o->name; o++) {
                letters = letters || (!which && o->letter);
                if (pass == 0)
                    continue;
                option_left(o, letters, left, sizeof(left));
                unsigned n = columns(left, strlen(left)) + 4;
                if (pass == 1 && n > column && n <= LEFT_MAX + 4)
                    column = n;
                if (pass == 2)
                    entry(h, left, o->help, column);
            }
}

static void
synopsis(const struct help *h, const char *name, const struct usage *u)
{
    bool has_verbs = usage_verb(u, 0, NULL) != NULL;
    const char *args = has_verbs && !(u->args && u->args[0]) ? "VERB ..." : u->args ? u->args : "";
    _cleanup_free_ char *line = NULL;

    if (asprintf(&line, "Usage: %s%s%s%s", name, u->verbatim || u->opts ? " [OPTION]..." : "",
                 args[0] ? " " : "", args) < 0) {
        line = NULL;
        return;
    }
    wrap(h, line, strlen(line), 0, 7);
}

static void
verbs(const struct help *h, const char *name, const struct usage *u)
{
    const struct usage *v;
    const char *title, *before = NULL;
    unsigned column = 0;

    for (unsigned i = 0; (v = usage_verb(u, i, NULL)) != NULL; i++)
        if (strlen(v->name) + 4 > column && strlen(v->name) <= LEFT_MAX)
            column = (unsigned)strlen(v->name) + 4;
    for (unsigned i = 0; (v = usage_verb(u, i, &title)) != NULL; i++) {
        if (!before || strcmp(before, title) != 0)
            (void)fprintf(h->f, "\n%s:\n", title[0] ? title : "Verbs");
        before = title;
        entry(h, v->name, v->summary, column);
    }
    if (before)
        (void)fprintf(h->f, "\n%s VERB --help says more about each.\n", name);
}

/* The program's own options, in a verb's help: their names alone. */
static void
common(const struct help *h, const struct usage *program)
{
    char line[600];
    size_t n = (size_t)snprintf(line, sizeof(line), "Of every verb:");

    for (const struct usage_opt *o = program->opts; o && o->name && n < sizeof(line); o++)
        n += (size_t)snprintf(line + n, sizeof(line) - n, " %s%s%s", o->name, o->arg ? "=" : "",
                              o->arg ? o->arg : "");
    if (!program->opts || !program->opts->name)
        return;
    (void)fputc('\n', h->f);
    wrap(h, line, n < sizeof(line) ? n : sizeof(line) - 1, 0, 2);
}

void
usage_help(FILE *f, const struct usage *const *path, unsigned depth)
{
    static const struct usage_opt end[] = {{"--help", NULL, "print this text and exit", NULL, 'h'},
                                           {NULL, NULL, NULL, NULL, 0}};
    static const struct usage_opt end_version[] = {
        {"--version", NULL, "print the version and exit", NULL, 0},
        {"--help", NULL, "print this text and exit", NULL, 'h'},
        {NULL, NULL, NULL, NULL, 0}};
    const struct help h = {.f = f, .width = width_of(f)};
    const struct usage *u = path[depth - 1];
    char name[96] = "";
    size_t n = 0;

    for (unsigned i = 0; i < depth && n < sizeof(name); i++)
        n += (size_t)snprintf(name + n, sizeof(name) - n, "%s%s", i ? " " : "", path[i]->name);
    synopsis(&h, name, u);
    sentence(&h, u->summary);
    verbs(&h, name, u);
    (void)fputs("\nOptions:\n", f);
    options(&h, u->opts, u->version ? end_version : end);
    if (depth > 1)
        common(&h, path[0]);
    paragraphs(&h, u->text);
}
