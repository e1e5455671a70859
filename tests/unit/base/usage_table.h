/* SPDX-License-Identifier: Apache-2.0
 *
 * A program with verbs for the tests of base/usage.h, and what a call of it printed.
 */
#ifndef PGPU_TESTS_UNIT_BASE_USAGE_TABLE_H
#define PGPU_TESTS_UNIT_BASE_USAGE_TABLE_H

#include "base/usage.h"

/* tool [--root DIR] [--json] [-v]
 *   look [DEVICE]... [-f, --follow] [-n, --lines N] [--json]
 *   pair FIRST SECOND
 *   pass --to SOCK COMMAND [ARG]...      (verbatim)
 *   mode get | set MODE --as MODE [--wait] */
extern const struct usage tool, tool_look, tool_pass;

struct printed {
    int status;
    char out[16384], err[4096];
};

/* usage_parse() of a copy of `argv` (NULL-terminated) with what it printed. */
struct printed parse(const struct usage *u, struct usage_args *ret, const char *const *argv);

#define PARSE(u, ret, ...) parse((u), (ret), (const char *const[]){__VA_ARGS__, NULL})

#endif
