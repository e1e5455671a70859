/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the printers of base/usage_print.h.
 */
#ifndef PGPU_BASE_USAGE_WALK_H
#define PGPU_BASE_USAGE_WALK_H

#include "base/usage.h"

/* A verb and its place: "pgpuctl cc query". */
struct usage_node {
    const struct usage *program, *u;
    const char *path;
};

/* Calls `each` for the program, then for its verbs, each before its own. */
void usage_walk(const struct usage *program, void (*each)(FILE *f, const struct usage_node *n),
                FILE *f);

/* Writes `text` with @F@ replaced by `func` and @P@ by `name`. */
void usage_emit(FILE *f, const char *text, const char *func, const char *name);

/* The name as a shell function's: "_pgpu_sim". */
void usage_func(const struct usage *program, char *buf, size_t size);

/* Writes the text in single quotes, as the shell takes it. */
void usage_quote_sh(FILE *f, const char *text);

/* Calls `each` with every word of a list; "verb" is replaced by the program's verbs. */
void usage_words(const struct usage *program, const char *words,
                 void (*each)(FILE *f, const char *word, size_t len), FILE *f);
bool usage_has_word(const char *words, const char *word);
/* Whether anything of the program is completed by that kind of word. */
bool usage_any(const struct usage *program, const char *word);

void usage_bash(FILE *f, const struct usage *program);
void usage_zsh(FILE *f, const struct usage *program);
void usage_fish(FILE *f, const struct usage *program);

#endif
