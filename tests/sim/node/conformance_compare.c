/* SPDX-License-Identifier: Apache-2.0
 *
 * The output of the conformance program against the file of what is expected.
 */
#include "conformance.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX_BYTES 131072

static char *
slurp(const char *path)
{
    char *text = calloc(1, FILE_MAX_BYTES);
    FILE *f = fopen(path, "re");

    if (!f || !text) {
        (void)fprintf(stderr, "conformance: open %s: %s\n", path, strerror(errno));
        if (f)
            (void)fclose(f);
        free(text);
        return NULL;
    }
    (void)!fread(text, 1, FILE_MAX_BYTES - 1, f);
    (void)fclose(f);
    return text;
}

struct lines {
    char *text; /* cut into the lines */
    const char **line;
    size_t n;
};

static bool
has_line(const char *text, const char *line, size_t len)
{
    for (const char *at = text; (at = strstr(at, "# ")); at += 2)
        if ((at == text || at[-1] == '\n') && strncmp(at, line, len) == 0 &&
            (at[len] == '\n' || at[len] == '\0'))
            return true;
    return false;
}

bool
conformance_has(const char *got, const char *need)
{
    char word[32];

    (void)snprintf(word, sizeof(word), " [%s]\n", need);
    if (strstr(got, word))
        return true;
    (void)fprintf(stderr, "conformance: no section for [%s] was performed\n", need);
    return false;
}

/* Whether the output has this section, or another one of the same need. */
static bool
section_counts(const char *heading, const char *got, bool partial)
{
    const char *need = strchr(heading, '[');

    if (partial)
        return has_line(got, heading, strlen(heading));
    return !need || strstr(got, need);
}

/* The lines that count: neither empty nor of a section for another kernel. */
static struct lines
split(char *text, const char *got, bool partial)
{
    struct lines l = {.text = text, .line = calloc(strlen(text) + 1, sizeof(*l.line))};
    bool counts = true;
    char *rest = text, *line;

    if (!l.line)
        abort();
    while ((line = strsep(&rest, "\n"))) {
        if (strncmp(line, "# ", 2) == 0)
            counts = section_counts(line, got, partial);
        if (*line && counts)
            l.line[l.n++] = line;
    }
    return l;
}

static void
lines_fini(struct lines *l)
{
    free(l->line);
    free(l->text);
}

/* Longest common subsequence of what follows, for every pair of places. */
static uint16_t *
common(const struct lines *a, const struct lines *b)
{
    size_t w = b->n + 1;
    uint16_t *t = calloc((a->n + 1) * w, sizeof(*t));

    if (!t)
        abort();
    for (size_t i = a->n; i-- > 0;)
        for (size_t j = b->n; j-- > 0;) {
            uint16_t down = t[(i + 1) * w + j], right = t[i * w + j + 1];

            t[i * w + j] = strcmp(a->line[i], b->line[j]) == 0
                               ? (uint16_t)(t[(i + 1) * w + j + 1] + 1)
                           : down > right ? down
                                          : right;
        }
    return t;
}

static int
print_differences(const struct lines *a, const struct lines *b)
{
    uint16_t *t = common(a, b);
    size_t i = 0, j = 0, w = b->n + 1;
    const char *where = "", *told = NULL;
    int bad = 0;

    while (i < a->n || j < b->n) {
        bool same = i < a->n && j < b->n && strcmp(a->line[i], b->line[j]) == 0;

        if (j < b->n && strncmp(b->line[j], "# ", 2) == 0)
            where = b->line[j];
        if (same) {
            i++;
            j++;
            continue;
        }
        if (told != where)
            (void)fprintf(stderr, "%s\n", where);
        told = where;
        if (j == b->n || (i < a->n && t[(i + 1) * w + j] >= t[i * w + j + 1]))
            (void)fprintf(stderr, "  want: %s\n", a->line[i++]);
        else
            (void)fprintf(stderr, "  got:  %s\n", b->line[j++]);
        bad++;
    }
    free(t);
    return bad;
}

int
conformance_compare(const char *got, const char *path, bool partial)
{
    char *want = slurp(path), *copy = strdup(got);
    struct lines a, b;
    int bad;

    if (!want || !copy) {
        free(want);
        free(copy);
        return -1;
    }
    a = split(want, got, partial);
    b = split(copy, got, false);
    bad = print_differences(&a, &b);
    if (b.n == 0)
        bad++; /* nothing was performed */
    lines_fini(&a);
    lines_fini(&b);
    return bad;
}
