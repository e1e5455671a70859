/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl top: the status as a live table. It shows states, not load: a GPU in a confidential VM
 * counts nothing that the host could read.
 */
#include "base/buf.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/status_view.h"
#include "cli/top_term.h"

#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MAX (4u << 20)
#define KEY_ESCAPE '\033'
#define KEY_BACKSPACE '\177'

struct top {
    const struct cli *c;
    unsigned interval_ms;
    enum status_sort sort;
    bool wide, frozen, typing;
    char filter[64];
    json_object *status; /* the newest, NULL = none */
    char why[300];       /* why there is no newer one */
};

/* Asks again; what was seen stays where that fails. */
static void
refresh(struct top *t)
{
    struct err e = ERR_INIT;
    struct buf out;
    const char *text;
    json_object *o = NULL;

    buf_init(&out, ANSWER_MAX);
    t->why[0] = '\0';
    if (ask_line(t->c->control, "status\n", &out, &e) < 0 || !(text = buf_cstr(&out)))
        (void)snprintf(t->why, sizeof(t->why), "%.290s", e.msg);
    else
        o = json_tokener_parse(text);
    if (json_object_is_type(o, json_type_object)) {
        (void)json_object_put(t->status);
        t->status = o;
    } else {
        (void)json_object_put(o);
        if (!t->why[0])
            (void)snprintf(t->why, sizeof(t->why), "pgpud's answer is no JSON object");
    }
    buf_fini(&out);
}

/* Returns how many listed devices are not Healthy. */
static unsigned
render(const struct top *t, struct buf *out, unsigned width, bool colours)
{
    unsigned bad = 0;
    struct grid *g;

    if (t->why[0]) {
        char text[360];

        (void)snprintf(text, sizeof(text), "%s%.300s", t->status ? "NOT UP TO DATE: " : "", t->why);
        grid_line(out, text, width);
    }
    if (!t->status)
        return 1;
    (void)status_header(t->status, out, width);
    (void)buf_put_str(out, "\n");
    g = status_grid(t->status, t->wide, t->sort, t->filter, &bad);
    (void)grid_render(g, out, width, colours);
    grid_free(g);
    return bad;
}

static int
once(struct top *t)
{
    struct buf out;
    unsigned bad;

    refresh(t);
    if (!t->status) {
        (void)fprintf(stderr, "pgpuctl: %s\n", t->why);
        return 1;
    }
    if (t->c->json) {
        (void)puts(json_object_to_json_string_ext(t->status, JSON_C_TO_STRING_NOSLASHESCAPE));
        return 0;
    }
    buf_init(&out, ANSWER_MAX);
    bad = render(t, &out, 0, t->c->tty);
    (void)fwrite(buf_peek(&out), 1, buf_left(&out), stdout);
    buf_fini(&out);
    return bad ? 1 : 0;
}

/* ---- live ---- */

static void
draw(const struct top *t)
{
    unsigned cols, rows;
    struct buf screen, table;
    char line[200];

    term_size(&cols, &rows);
    if (t->typing)
        (void)snprintf(line, sizeof(line), "filter: %s_ (Enter: keep, Esc: none)", t->filter);
    else
        (void)snprintf(line, sizeof(line),
                       "q quit  s sort: %s  / filter%s%s  f %s  w %s   every %.1f s%s",
                       status_sort_name(t->sort), t->filter[0] ? ": " : "", t->filter,
                       t->frozen ? "go on" : "freeze", t->wide ? "narrow" : "wide",
                       (double)t->interval_ms / 1000, t->frozen ? "   FROZEN" : "");
    buf_init(&screen, ANSWER_MAX);
    buf_init(&table, ANSWER_MAX);
    grid_line(&screen, line, cols);
    (void)render(t, &table, cols, t->c->tty);
    (void)buf_put(&screen, buf_peek(&table), buf_left(&table));
    term_draw(&screen, rows);
    buf_fini(&table);
    buf_fini(&screen);
}

static void
type_key(struct top *t, char key)
{
    size_t n = strlen(t->filter);

    if (key == '\n' || key == '\r') {
        t->typing = false;
    } else if (key == KEY_ESCAPE) {
        t->typing = false;
        t->filter[0] = '\0';
    } else if (key == KEY_BACKSPACE || key == '\b') {
        t->filter[n ? n - 1 : 0] = '\0';
    } else if (isprint((unsigned char)key) && n + 1 < sizeof(t->filter)) {
        t->filter[n] = key;
        t->filter[n + 1] = '\0';
    }
}

/* False: quit. */
static bool
on_key(struct top *t, char key)
{
    if (t->typing) {
        type_key(t, key);
        return true;
    }
    switch (key) {
    case 'q':
    case 'Q':
        return false;
    case 's':
        t->sort = (enum status_sort)((t->sort + 1) % STATUS_SORTS);
        return true;
    case 'f':
    case ' ':
        t->frozen = !t->frozen;
        return true;
    case '/':
        t->typing = true;
        return true;
    case 'w':
        t->wide = !t->wide;
        return true;
    default:
        return true;
    }
}

static uint64_t
now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int
live(struct top *t)
{
    struct err e = ERR_INIT;
    uint64_t due = 0;
    bool more = true;

    if (term_open(&e) < 0) {
        (void)fprintf(stderr, "pgpuctl: %s\n", e.msg);
        return 1;
    }
    while (more) {
        uint64_t now = now_ms();
        char key = 0;

        if (now >= due) {
            if (!t->frozen)
                refresh(t);
            due = now_ms() + t->interval_ms;
            now = now_ms();
        }
        draw(t);
        switch (term_wait((unsigned)(due > now ? due - now : 0), &key)) {
        case TERM_KEY:
            more = on_key(t, key);
            break;
        case TERM_END:
            more = false;
            break;
        case TERM_TIME:
        case TERM_RESIZED:
            break;
        }
    }
    term_close();
    /* as if it had not been caught; Ctrl-C is a way to quit */
    if (term_signal() && term_signal() != SIGINT) {
        (void)signal(term_signal(), SIG_DFL);
        (void)raise(term_signal());
    }
    return 0;
}

static bool
parse_seconds(const char *s, unsigned *ret_ms)
{
    char *end;
    double v = strtod(s, &end);

    if (end == s || *end || !(v >= 0.1 && v <= 3600))
        return false;
    *ret_ms = (unsigned)(v * 1000);
    return true;
}

static int
run(const void *ctx, int argc, char **argv)
{
    const char *terminal = getenv("TERM");
    struct top t = {.c = ctx};
    struct usage_args a;
    int rc = usage_parse(&verb_top, argc, argv, &a);

    if (rc >= 0)
        return rc;
    if (!parse_seconds(usage_value(&a, "--interval", "1"), &t.interval_ms))
        return usage_wrong(&a, "--interval takes seconds from 0.1 to 3600, not \"%s\"",
                           usage_value(&a, "--interval", "1"));
    t.wide = usage_flag(&a, "--wide");
    if (usage_flag(&a, "--once") || t.c->json || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) ||
        !terminal || strcmp(terminal, "dumb") == 0)
        rc = once(&t);
    else
        rc = live(&t);
    (void)json_object_put(t.status);
    return rc;
}

const struct usage verb_top = {
    .name = "top",
    .args = "",
    .summary = "the status as a table that is kept up to date",
    .text =
        "Keys: q quit, s sort (device, state, age, resets), / filter, f freeze, w wide or "
        "narrow.\n\n"
        "Shows what devices are doing, not how busy they are: of a GPU in a confidential VM the "
        "host can read no such numbers. Where standard input or output is no terminal it is "
        "printed once.\n\n"
        "Exit status: 0 left by a key or Ctrl-C; printed once: 0 every listed device is "
        "Healthy, 1 some are not or pgpud does not answer; 2 wrong usage.",
    .opts = (const struct usage_opt[]){{"--once", NULL, "print it once", NULL, '1'},
                                       {"--interval", "SECONDS", "between two looks (default 1)",
                                        NULL, 'i'},
                                       {"--wide", NULL, "begin with all columns", NULL, 'w'},
                                       {NULL, NULL, NULL, NULL, 0}},
    .run = run,
};
