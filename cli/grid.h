/* SPDX-License-Identifier: Apache-2.0
 *
 * Text in aligned columns, for tables that are drawn again and again: rendered into a buffer, cut
 * to the width of a terminal, with a colour for a cell where that is wanted. One thread.
 */
#ifndef PGPU_CLI_GRID_H
#define PGPU_CLI_GRID_H

#include "base/buf.h"

#include <stdbool.h>

#define GRID_COLS 20

enum grid_colour { GRID_PLAIN, GRID_GOOD, GRID_BUSY, GRID_BAD };

struct grid;

/* `titles` are borrowed. */
struct grid *grid_new(const char *const *titles, unsigned n);
void grid_free(struct grid *g);
/* A row of n texts, copied; "" is printed as "-". */
void grid_row(struct grid *g, const char *const *cells);
/* Of a cell of the last row. */
void grid_paint(struct grid *g, unsigned col, enum grid_colour c);
/* A line of its own below the last row. */
void grid_note(struct grid *g, const char *text);
/* `width` 0: as wide as it gets. Returns the number of lines. */
unsigned grid_render(const struct grid *g, struct buf *out, unsigned width, bool colours);

/* One line cut to `width` columns (0: not at all), with a newline; control bytes become '?'. */
void grid_line(struct buf *out, const char *text, unsigned width);

#endif
