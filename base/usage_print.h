/* SPDX-License-Identifier: Apache-2.0
 *
 * What else is printed from a table of base/usage.h: completions for shells, and the parts of man
 * pages. No state, any thread.
 */
#ifndef PGPU_BASE_USAGE_PRINT_H
#define PGPU_BASE_USAGE_PRINT_H

#include "base/usage.h"

enum usage_shell {
    USAGE_BASH,
    USAGE_ZSH,
    USAGE_FISH,
};

bool usage_shell_parse(const char *name, enum usage_shell *ret);

/* A script for the shell that completes verbs, options and their values. Device addresses come from
 * the program itself: "PROGRAM [--root DIR] completion devices". */
void usage_completion(FILE *f, const struct usage *program, enum usage_shell shell);

#endif
