/* SPDX-License-Identifier: Apache-2.0
 *
 * Standard base64 (RFC 4648 section 4), strict: padding is required, the unused bits of the last
 * character are 0, and nothing else may stand in the text, no line breaks either. Any thread.
 */
#ifndef PGPU_NRI_BASE64_H
#define PGPU_NRI_BASE64_H

#include "base/buf.h"
#include "base/err.h"

/* Appends the decoded bytes to `out`. -EINVAL: no such text, and the message says where;
 * -E2BIG: more than `out` may hold. `out` is then as it was, or longer. */
int base64_decode(const char *text, size_t len, struct buf *out, struct err *e);

/* Appends the text, without line breaks; check buf_failed. */
void base64_encode(const void *data, size_t len, struct buf *out);

/* Appends two lower-case hexadecimal digits a byte; check buf_failed. */
void hex_encode(const void *data, size_t len, struct buf *out);

#endif
