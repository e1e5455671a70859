/* SPDX-License-Identifier: Apache-2.0
 *
 * Command lines by a table. What was typed is hostile: lengths are bounded, and no control
 * character of it reaches the terminal.
 *
 *   1. Each argument is an option of the program or of the last verb so far, a verb, or positional.
 *   2. The first mistake is kept; parsing goes on, since --help may follow and counts more, unless
 *      a verb is unknown: the help would be another's.
 *   3. argv is sorted: name, the last verb's own options, "--" where it takes one, positional ones.
 */
#include "base/usage.h"

#include "base/fs.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_MAX 400

static const struct usage_opt opt_help = {"--help", NULL, "print this text and exit", NULL, 'h'};
static const struct usage_opt opt_version = {"--version", NULL, "print the version and exit", NULL,
                                             0};

struct parse {
    struct usage_args *a;
    int argc, at; /* the argument looked at */
    char **argv;
    char **own; /* options of the last verb, then positional arguments from `rest` */
    char **rest;
    int n_own, n_rest;
    bool ended, help, version;
    bool lost; /* a verb that there is not: whose help? */
    char message[MESSAGE_MAX];
};

/* ---- messages ---- */

static void
printable(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            *s = '?';
}

static void __attribute__((format(printf, 2, 3))) mistake(struct parse *p, const char *fmt, ...)
{
    va_list ap;

    if (p->message[0])
        return;
    va_start(ap, fmt);
    (void)vsnprintf(p->message, sizeof(p->message), fmt, ap);
    va_end(ap);
}

int
usage_wrong(const struct usage_args *a, const char *fmt, ...)
{
    char text[MESSAGE_MAX];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    printable(text);
    (void)fprintf(stderr, "%s: %s (see %s --help)\n", a->name, text, a->name);
    return 2;
}

/* Changes of one letter (put in, left out, replaced, swapped with its neighbour) from a to b; what
 * is longer than the row is as far as can be. */
static unsigned
distance(const char *a, const char *b)
{
    enum { MAX = 32 };
    unsigned d[MAX + 1][MAX + 1];
    size_t n = strlen(a), m = strlen(b);

    if (n > MAX || m > MAX)
        return MAX;
    for (unsigned i = 0; i <= n; i++)
        d[i][0] = i;
    for (unsigned j = 0; j <= m; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= n; i++)
        for (size_t j = 1; j <= m; j++) {
            unsigned best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

            best = d[i - 1][j] + 1 < best ? d[i - 1][j] + 1 : best;
            best = d[i][j - 1] + 1 < best ? d[i][j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    return d[n][m];
}

struct nearest {
    const char *typed, *name;
    unsigned off;
};

/* Takes `name` if it is nearer than what there was; a beginning of it is near. */
static void
nearer(struct nearest *n, const char *name)
{
    size_t len = strlen(n->typed);
    unsigned off = distance(n->typed, name);

    if (len >= 3 && off > 1 && strncmp(n->typed, name, len) == 0)
        off = 1;
    if (off < n->off) {
        n->off = off;
        n->name = name;
    }
}

/* How far off a guess may be: two letters, one in a short word. */
static struct nearest
nearest_of(const char *typed)
{
    return (struct nearest){.typed = typed, .off = strlen(typed) > 4 ? 3 : 2};
}

/* ---- tables ---- */

const struct usage *
usage_verb(const struct usage *u, unsigned i, const char **title)
{
    unsigned n = 0;

    if (title)
        *title = "";
    for (const struct usage *v = u->verbs; v && v->name; v++)
        if (n++ == i)
            return v;
    for (const struct usage_group *g = u->groups; g && g->title; g++)
        for (const struct usage *const *v = g->verbs; *v; v++)
            if (n++ == i) {
                if (title)
                    *title = g->title;
                return *v;
            }
    return NULL;
}

const struct usage *
usage_find_verb(const struct usage *u, const char *name)
{
    const struct usage *v;

    for (unsigned i = 0; (v = usage_verb(u, i, NULL)) != NULL; i++)
        if (strcmp(v->name, name) == 0)
            return v;
    return NULL;
}

static const struct usage *
last(const struct usage_args *a)
{
    return a->path[a->depth - 1];
}

/* The option that `text` (of n bytes) or, without a name, the letter means; the last verb's own
 * come first. */
static const struct usage_opt *
find_opt(const struct usage_args *a, const char *text, size_t n, char letter)
{
    for (unsigned k = a->depth; k-- > 0;)
        for (const struct usage_opt *o = a->path[k]->opts; o && o->name; o++)
            if (letter ? o->letter == letter : strlen(o->name) == n && !strncmp(o->name, text, n))
                return o;
    if (letter ? letter == opt_help.letter : n == 6 && strncmp(opt_help.name, text, n) == 0)
        return &opt_help;
    if (!letter && n == 9 && a->path[0]->version && strncmp(opt_version.name, text, n) == 0)
        return &opt_version;
    return NULL;
}

static bool
is_own(const struct usage_args *a, const struct usage_opt *opt)
{
    for (const struct usage_opt *o = last(a)->opts; o && o->name; o++)
        if (o == opt)
            return true;
    return false;
}

static void
unknown_option(struct parse *p, const char *text, size_t n)
{
    char typed[64];
    struct nearest near;

    (void)snprintf(typed, sizeof(typed), "%.*s", n < 60 ? (int)n : 60, text);
    near = nearest_of(typed);
    for (unsigned k = 0; k < p->a->depth; k++)
        for (const struct usage_opt *o = p->a->path[k]->opts; o && o->name; o++)
            nearer(&near, o->name);
    nearer(&near, opt_help.name);
    if (p->a->path[0]->version)
        nearer(&near, opt_version.name);
    if (near.name)
        mistake(p, "unknown option %s, did you mean %s?", typed, near.name);
    else
        mistake(p, "unknown option %s", typed);
}

/* ---- one argument ---- */

static void
record(struct parse *p, const struct usage_opt *o, const char *value)
{
    struct usage_args *a = p->a;

    if (o == &opt_help) {
        p->help = true;
    } else if (o == &opt_version) {
        p->version = true;
    } else if (a->n_opts == USAGE_OPTS_MAX) {
        mistake(p, "more than %d options", USAGE_OPTS_MAX);
    } else {
        a->opt[a->n_opts].opt = o;
        a->opt[a->n_opts++].value = value;
    }
}

/* The next argument as a value. What is an option by its whole name is not meant as one. */
static char *
next_value(struct parse *p)
{
    char *next = p->at + 1 < p->argc ? p->argv[p->at + 1] : NULL;

    if (!next || (strncmp(next, "--", 2) == 0 && find_opt(p->a, next, strlen(next), 0)))
        return NULL;
    p->at++;
    return next;
}

static void
take_option(struct parse *p)
{
    char *text = p->argv[p->at];
    bool is_long = text[1] == '-';
    size_t n = is_long ? strcspn(text, "=") : 2;
    const struct usage_opt *o = find_opt(p->a, text, n, is_long ? '\0' : text[1]);
    char *value = text[n] == '\0' ? NULL : text + n + (is_long ? 1 : 0);
    int first = p->at;

    if (!o) {
        unknown_option(p, text, n);
        return;
    }
    if (value && !o->arg) {
        mistake(p, "%s takes no value", o->name);
        return;
    }
    if (!value && o->arg) {
        value = next_value(p);
        if (!value) {
            mistake(p, "%s lacks its value %s", o->name, o->arg);
            return;
        }
    }
    record(p, o, value);
    for (int i = first; i <= p->at && is_own(p->a, o); i++)
        p->own[p->n_own++] = p->argv[i];
}

static void
take_verb(struct parse *p, const char *text)
{
    struct usage_args *a = p->a;
    const struct usage *v = usage_find_verb(last(a), text), *other;
    struct nearest near = nearest_of(text);

    if (v && a->depth < USAGE_DEPTH_MAX) {
        size_t n = strlen(a->name);

        (void)snprintf(a->name + n, sizeof(a->name) - n, " %s", v->name);
        a->path[a->depth++] = v;
        p->n_own = 0; /* what came before is the program's */
        return;
    }
    p->lost = true;
    for (unsigned i = 0; (other = usage_verb(last(a), i, NULL)) != NULL; i++)
        nearer(&near, other->name);
    if (near.name)
        mistake(p, "unknown verb \"%.60s\", did you mean \"%s\"?", text, near.name);
    else
        mistake(p, "unknown verb \"%.60s\"", text);
}

static void
take(struct parse *p)
{
    char *text = p->argv[p->at];
    const struct usage *u = last(p->a);

    if (!p->ended && strcmp(text, "--") == 0) {
        p->ended = true;
    } else if (!p->ended && text[0] == '-' && text[1]) {
        take_option(p);
    } else if (usage_verb(u, 0, NULL)) {
        if (!p->message[0])
            take_verb(p, text);
    } else {
        p->rest[p->n_rest++] = text;
        p->ended = p->ended || u->verbatim;
    }
}

/* ---- positional arguments ---- */

/* Of "ADDR|all [KEY] --mode MODE": at least 1, at most 2. */
static void
count_args(const char *args, int *ret_min, int *ret_max)
{
    int depth = 0, min = 0, max = 0;
    bool option = false;

    for (const char *s = args ? args : "";;) {
        s += strspn(s, " ");
        size_t n = strcspn(s, " ");
        if (n == 0)
            break;
        if (*s == '-') {
            option = true; /* and the next word is its value */
        } else {
            max += !option;
            min += !option && depth == 0 && *s != '[';
            option = false;
        }
        for (size_t i = 0; i < n; i++)
            depth += (s[i] == '[') - (s[i] == ']');
        s += n;
    }
    *ret_min = min;
    *ret_max = args && strstr(args, "...") ? -1 : max;
}

static void
check_args(struct parse *p)
{
    const struct usage *u = last(p->a);
    int min, max;

    count_args(u->args, &min, &max);
    if (p->n_rest < min)
        mistake(p, "expected %s", u->args);
    else if (max >= 0 && p->n_rest > max)
        mistake(p, "unexpected argument \"%.60s\"", p->rest[max]);
}

static void
sort(struct parse *p)
{
    struct usage_args *a = p->a;
    static char end_of_options[] = "--";
    bool dashes = false;
    int n = 0;

    for (int i = 0; i < p->n_rest; i++)
        dashes = dashes || p->rest[i][0] == '-';
    a->argv = p->argv;
    a->argv[n++] = a->name;
    for (int i = 0; i < p->n_own; i++)
        a->argv[n++] = p->own[i];
    /* Its place is that of the verb that is in the name now, or of the one that was typed. */
    if (dashes && n + p->n_rest < p->argc)
        a->argv[n++] = end_of_options;
    a->v = a->argv + n;
    a->n = p->n_rest;
    for (int i = 0; i < p->n_rest; i++)
        a->argv[n++] = p->rest[i];
    a->argc = n;
    a->argv[n] = NULL;
}

/* ---- the whole ---- */

static bool
ends_with_word(const char *text, const char *word)
{
    size_t n = strlen(text), m = strlen(word);

    return n > m && text[n - m - 1] == ' ' && strcmp(text + n - m, word) == 0;
}

static int
conclude(struct parse *p)
{
    struct usage_args *a = p->a;

    if (p->lost)
        return usage_wrong(a, "%s", p->message);
    if (p->help) {
        usage_help(stdout, a->path, a->depth);
        return 0;
    }
    if (p->version) {
        (void)printf("%s %s\n", a->path[0]->name, a->path[0]->version);
        return 0;
    }
    if (!p->message[0] && usage_verb(last(a), 0, NULL)) {
        usage_help(stderr, a->path, a->depth);
        return 2;
    }
    check_args(p);
    if (p->message[0])
        return usage_wrong(a, "%s", p->message);
    sort(p);
    return -1;
}

int
usage_parse(const struct usage *u, int argc, char **argv, struct usage_args *ret)
{
    char **room = calloc(2 * (size_t)(argc > 0 ? argc : 1), sizeof(*room));
    struct parse p = {.a = ret, .argc = argc, .argv = argv, .own = room};
    int rc;

    ret->depth = 1;
    ret->path[0] = u;
    ret->n_opts = 0;
    (void)str_copy(ret->name, sizeof(ret->name),
                   argc > 0 && ends_with_word(argv[0], u->name) ? argv[0] : u->name);
    if (!room || argc < 1) {
        (void)fprintf(stderr, "%s: no memory for the command line\n", u->name);
        free(room);
        return 2;
    }
    p.rest = room + argc;
    for (p.at = 1; p.at < argc; p.at++)
        take(&p);
    rc = conclude(&p);
    free(room);
    return rc;
}

/* ---- what was found ---- */

bool
usage_flag(const struct usage_args *a, const char *name)
{
    for (unsigned i = 0; i < a->n_opts; i++)
        if (strcmp(a->opt[i].opt->name, name) == 0)
            return true;
    return false;
}

const char *
usage_value(const struct usage_args *a, const char *name, const char *dflt)
{
    for (unsigned i = a->n_opts; i-- > 0;)
        if (strcmp(a->opt[i].opt->name, name) == 0)
            return a->opt[i].value;
    return dflt;
}

const char *
usage_nth(const struct usage_args *a, const char *name, unsigned i)
{
    for (unsigned k = 0; k < a->n_opts; k++)
        if (strcmp(a->opt[k].opt->name, name) == 0 && i-- == 0)
            return a->opt[k].value;
    return NULL;
}
