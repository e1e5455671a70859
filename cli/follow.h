/* SPDX-License-Identifier: Apache-2.0
 *
 * A request to pgpud whose answer is lines, as they come. One thread.
 */
#ifndef PGPU_CLI_FOLLOW_H
#define PGPU_CLI_FOLLOW_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

/* Sends `request` (with its newline) and calls `line` for every line (without newline) until pgpud
 * closes the connection or `line` returns false. Where `wait_s` is not 0, no piece may take longer.
 */
int follow_lines(const char *path, const char *request, unsigned wait_s,
                 bool (*line)(void *ctx, const char *text, size_t len), void *ctx, struct err *e);

#endif
