/* SPDX-License-Identifier: Apache-2.0
 *
 * Output of lists, the same data as a table for people or as JSON for programs. One thread.
 */
#ifndef PGPU_CLI_TABLE_H
#define PGPU_CLI_TABLE_H

#include <stdbool.h>

#define TABLE_COLS 12

struct table;

/* `cols` are the titles; the JSON keys are the same in lower case. */
struct table *table_new(const char *const *cols, unsigned n);
void table_free(struct table *t);

/* One row of n texts. "" is "-" in the table and null in JSON; a text that is a plain decimal
 * number becomes a JSON number. */
void table_row(struct table *t, const char *const *cells);
/* A longer text that belongs to the last row: a line of its own below the table (with the row's
 * first cell), or this key in JSON. Ignored when empty. */
void table_note(struct table *t, const char *key, const char *text);
void table_print(const struct table *t, bool json);

#endif
