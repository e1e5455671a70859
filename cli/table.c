/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables. Rows are kept as JSON objects, widths are counted on printing.
 */
#include "cli/table.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

struct table {
    unsigned n;
    char key[TABLE_COLS][24];
    char title[TABLE_COLS][24];
    json_object *rows;
};

struct table *
table_new(const char *const *cols, unsigned n)
{
    struct table *t = calloc(1, sizeof(*t));

    if (!t || n > TABLE_COLS)
        abort();
    t->n = n;
    t->rows = json_object_new_array();
    for (unsigned i = 0; i < n; i++) {
        (void)snprintf(t->title[i], sizeof(t->title[i]), "%s", cols[i]);
        for (size_t j = 0; t->title[i][j]; j++)
            t->key[i][j] = (char)tolower((unsigned char)t->title[i][j]);
    }
    return t;
}

void
table_free(struct table *t)
{
    if (!t)
        return;
    (void)json_object_put(t->rows);
    free(t);
}

static json_object *
cell(const char *s)
{
    size_t n = strlen(s);

    if (n == 0)
        return NULL;
    if (n < 10 && strspn(s, "0123456789") == n)
        return json_object_new_int((int32_t)strtol(s, NULL, 10));
    return json_object_new_string(s);
}

void
table_row(struct table *t, const char *const *cells)
{
    json_object *o = json_object_new_object();

    for (unsigned i = 0; i < t->n; i++)
        (void)json_object_object_add(o, t->key[i], cell(cells[i]));
    (void)json_object_array_add(t->rows, o);
}

void
table_note(struct table *t, const char *key, const char *text)
{
    size_t n = json_object_array_length(t->rows);

    if (n == 0 || !text[0])
        return;
    (void)json_object_object_add(json_object_array_get_idx(t->rows, n - 1), key,
                                 json_object_new_string(text));
}

static const char *
text_of(json_object *row, const char *key)
{
    json_object *v = json_object_object_get(row, key);

    return v ? json_object_get_string(v) : "-";
}

static bool
is_column(const struct table *t, const char *key)
{
    for (unsigned i = 0; i < t->n; i++)
        if (strcmp(t->key[i], key) == 0)
            return true;
    return false;
}

static void
print_notes(const struct table *t, json_object *row)
{
    json_object_object_foreach(row, key, val)
    {
        if (!is_column(t, key))
            (void)printf("%s %s: %s\n", text_of(row, t->key[0]), key, json_object_get_string(val));
    }
}

static void
print_line(const struct table *t, json_object *row, const unsigned *width)
{
    for (unsigned i = 0; i < t->n; i++) {
        const char *s = row ? text_of(row, t->key[i]) : t->title[i];

        if (i + 1 == t->n)
            (void)printf("%s\n", s);
        else
            (void)printf("%-*s  ", (int)width[i], s);
    }
}

void
table_print(const struct table *t, bool json)
{
    size_t n = json_object_array_length(t->rows);
    unsigned width[TABLE_COLS] = {0};

    if (json) {
        (void)puts(json_object_to_json_string_ext(t->rows, JSON_C_TO_STRING_PRETTY |
                                                               JSON_C_TO_STRING_NOSLASHESCAPE));
        return;
    }
    for (unsigned i = 0; i < t->n; i++) {
        width[i] = (unsigned)strlen(t->title[i]);
        for (size_t r = 0; r < n; r++) {
            size_t l = strlen(text_of(json_object_array_get_idx(t->rows, r), t->key[i]));

            width[i] = l > width[i] ? (unsigned)l : width[i];
        }
    }
    print_line(t, NULL, width);
    for (size_t r = 0; r < n; r++)
        print_line(t, json_object_array_get_idx(t->rows, r), width);
    for (size_t r = 0; r < n; r++)
        print_notes(t, json_object_array_get_idx(t->rows, r));
}
