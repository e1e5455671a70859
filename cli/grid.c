/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/grid.h"

#include "base/cleanup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GAP 2

struct row {
    char *cell[GRID_COLS];
    enum grid_colour colour[GRID_COLS];
    char *note;
};

struct grid {
    const char *const *titles;
    unsigned cols;
    size_t n;
    struct row *row;
};

/* SGR: green, yellow, red. */
static const char *const colours_on[] = {
    [GRID_PLAIN] = "", [GRID_GOOD] = "\033[32m", [GRID_BUSY] = "\033[33m", [GRID_BAD] = "\033[31m"};
static const char colours_off[] = "\033[0m";

static char *
copy(const char *s)
{
    char *p = strdup(s);

    if (!p)
        abort();
    return p;
}

struct grid *
grid_new(const char *const *titles, unsigned n)
{
    struct grid *g = calloc(1, sizeof(*g));

    if (!g || n > GRID_COLS)
        abort();
    g->titles = titles;
    g->cols = n;
    return g;
}

void
grid_free(struct grid *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n; i++) {
        for (unsigned c = 0; c < g->cols; c++)
            free(g->row[i].cell[c]);
        free(g->row[i].note);
    }
    free(g->row);
    free(g);
}

void
grid_row(struct grid *g, const char *const *cells)
{
    struct row *rows = reallocarray(g->row, g->n + 1, sizeof(*rows));

    if (!rows)
        abort();
    g->row = rows;
    memset(&g->row[g->n], 0, sizeof(*g->row));
    for (unsigned c = 0; c < g->cols; c++)
        g->row[g->n].cell[c] = copy(cells[c][0] ? cells[c] : "-");
    g->n++;
}

void
grid_paint(struct grid *g, unsigned col, enum grid_colour c)
{
    if (g->n > 0 && col < g->cols)
        g->row[g->n - 1].colour[col] = c;
}

void
grid_note(struct grid *g, const char *text)
{
    struct row *r = g->n ? &g->row[g->n - 1] : NULL;

    if (!r || !text[0])
        return;
    free(r->note);
    r->note = copy(text);
}

/* How many columns of a terminal the text takes: its bytes that begin a UTF-8 character. */
static unsigned
columns_of(const char *s)
{
    unsigned n = 0;

    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

/* At most `left` columns of the text. What a terminal would obey is not for it: names come from
 * pods. */
static void
put_text(struct buf *out, const char *s, unsigned left)
{
    for (; *s; s++) {
        unsigned char b = (unsigned char)*s;

        if ((b & 0xc0) != 0x80 && left-- == 0)
            return;
        (void)buf_put_u8(out, b < 0x20 || b == 0x7f ? '?' : b);
    }
}

static void
put_cell(struct buf *out, const char *text, unsigned width, unsigned *left, bool last)
{
    unsigned have = columns_of(text);
    unsigned pad = last || have >= width + GAP ? 0 : width + GAP - have;

    put_text(out, text, *left);
    *left -= have > *left ? *left : have;
    for (; pad > 0 && *left > 0; pad--, (*left)--)
        (void)buf_put_u8(out, ' ');
}

static void
put_row(const struct grid *g, const struct row *r, const unsigned *width, struct buf *out,
        unsigned left, bool colours)
{
    for (unsigned c = 0; c < g->cols && left > 0; c++) {
        const char *on = colours && r ? colours_on[r->colour[c]] : "";

        (void)buf_put_str(out, on);
        put_cell(out, r ? r->cell[c] : g->titles[c], width[c], &left, c + 1 == g->cols);
        if (on[0])
            (void)buf_put_str(out, colours_off);
    }
    (void)buf_put_str(out, "\n");
}

void
grid_line(struct buf *out, const char *text, unsigned width)
{
    put_text(out, text, width ? width : UINT32_MAX);
    (void)buf_put_str(out, "\n");
}

unsigned
grid_render(const struct grid *g, struct buf *out, unsigned width, bool colours)
{
    const unsigned left = width ? width : UINT32_MAX;
    unsigned widths[GRID_COLS] = {0}, lines = 1;

    for (unsigned c = 0; c < g->cols; c++) {
        widths[c] = columns_of(g->titles[c]);
        for (size_t i = 0; i < g->n; i++) {
            unsigned w = columns_of(g->row[i].cell[c]);

            widths[c] = w > widths[c] ? w : widths[c];
        }
    }
    put_row(g, NULL, widths, out, left, colours);
    for (size_t i = 0; i < g->n; i++) {
        put_row(g, &g->row[i], widths, out, left, colours);
        lines++;
        if (g->row[i].note) {
            grid_line(out, g->row[i].note, width);
            lines++;
        }
    }
    return lines;
}
