/* SPDX-License-Identifier: Apache-2.0
 *
 * The bounded buffer: the only way hostile bytes are collected and taken apart. It cannot be made
 * without a limit; passing the limit is an error, never a truncation. Appends that fail leave the
 * buffer as it was and set a sticky flag, so a run of appends is checked once with buf_failed().
 */
#ifndef PGPU_BASE_BUF_H
#define PGPU_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data;
    size_t len;
    size_t off; /* read position, <= len */
    size_t cap;
    size_t max;
    bool failed;
};

void buf_init(struct buf *b, size_t max);
void buf_fini(struct buf *b);
void buf_clear(struct buf *b); /* empties, keeps the memory, clears the flag */
bool buf_failed(const struct buf *b);

bool buf_put(struct buf *b, const void *p, size_t n);
bool buf_put_str(struct buf *b, const char *s);
bool buf_putf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool buf_put_u8(struct buf *b, uint8_t v);
bool buf_put_be16(struct buf *b, uint16_t v);
bool buf_put_be32(struct buf *b, uint32_t v);
bool buf_put_le16(struct buf *b, uint16_t v);
bool buf_put_le32(struct buf *b, uint32_t v);

/* Readers: false, and nothing consumed, when fewer bytes are left. */
size_t buf_left(const struct buf *b);
const uint8_t *buf_peek(const struct buf *b); /* valid for buf_left() bytes until the next put */
bool buf_get(struct buf *b, void *p, size_t n);
bool buf_skip(struct buf *b, size_t n);
bool buf_get_u8(struct buf *b, uint8_t *ret);
bool buf_get_be16(struct buf *b, uint16_t *ret);
bool buf_get_be32(struct buf *b, uint32_t *ret);
bool buf_get_le16(struct buf *b, uint16_t *ret);
bool buf_get_le32(struct buf *b, uint32_t *ret);
void buf_compact(struct buf *b); /* drops what was read */

/* NUL-terminates (not counted in len) and returns the text; NULL if that fails. */
const char *buf_cstr(struct buf *b);

#endif
