/* SPDX-License-Identifier: Apache-2.0
 *
 * The terminal while a table fills it: the alternate screen, keys without Enter, and back to what
 * it was however the program ends. One at a time, one thread.
 */
#ifndef PGPU_CLI_TOP_TERM_H
#define PGPU_CLI_TOP_TERM_H

#include "base/buf.h"
#include "base/err.h"

/* Takes over standard input and output, which must be the terminal. Until term_close() every signal
 * that would end or stop (SIGTSTP) the program restores it first. */
int term_open(struct err *e);
void term_close(void);

void term_size(unsigned *ret_cols, unsigned *ret_rows);
/* Replaces what is shown: `lines` lines of `screen`, cut to the height. */
void term_draw(const struct buf *screen, unsigned rows);

/* What happened within `ms` milliseconds. RESIZED, also after a stop: draw it anew. */
enum term_event { TERM_TIME, TERM_KEY, TERM_RESIZED, TERM_END };
enum term_event term_wait(unsigned ms, char *ret_key);
/* The signal that asked for the end; 0 = none, the input ended. */
int term_signal(void);

#endif
