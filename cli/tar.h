/* SPDX-License-Identifier: Apache-2.0
 *
 * A tar archive (POSIX ustar), gzip-compressed, made in memory. Entries are plain files of root,
 * mode 0600, dated 1970: what is in it depends on what is put in alone. One thread.
 */
#ifndef PGPU_CLI_TAR_H
#define PGPU_CLI_TAR_H

#include "base/buf.h"
#include "base/err.h"

#include <stddef.h>

/* Adds "<name>"; at most 99 bytes, and what the limit of `tar` lets in. */
int tar_add(struct buf *tar, const char *name, const void *data, size_t len, struct err *e);
/* Ends the archive and compresses it into `out`. */
int tar_finish(struct buf *tar, struct buf *out, struct err *e);

#endif
