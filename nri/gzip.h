/* SPDX-License-Identifier: Apache-2.0
 *
 * One gzip member (RFC 1952) in memory, with bounds. Any thread.
 */
#ifndef PGPU_NRI_GZIP_H
#define PGPU_NRI_GZIP_H

#include "base/buf.h"
#include "base/err.h"

/* Appends what the first member holds; its checksum and length are checked. *ret_used is how many
 * of the n bytes it took. -EINVAL: no gzip, damaged, or cut short; -E2BIG: more than `out` may
 * hold; -ENOMEM. On failure `out` has undefined contents. */
int gzip_unpack(const void *data, size_t n, struct buf *out, size_t *ret_used, struct err *e);

/* Appends one member: no name, time 0, highest level, so the same bytes each time (with the same
 * zlib). -E2BIG: more than `out` may hold. */
int gzip_pack(const void *data, size_t n, struct buf *out, struct err *e);

#endif
