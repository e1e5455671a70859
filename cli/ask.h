/* SPDX-License-Identifier: Apache-2.0
 *
 * One request to pgpud's control socket.
 */
#ifndef PGPU_CLI_ASK_H
#define PGPU_CLI_ASK_H

#include "base/buf.h"
#include "base/err.h"

/* Sends `line` (with its newline) to the socket and appends the whole answer to `out`, whose limit
 * bounds it. Waits at most 5 s for each piece. */
int ask_line(const char *path, const char *line, struct buf *out, struct err *e);
/* The same, with another limit. */
int ask_line_for(const char *path, const char *line, unsigned limit_ms, struct buf *out,
                 struct err *e);

#endif
