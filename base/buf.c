/* SPDX-License-Identifier: Apache-2.0
 *
 * The bounded buffer. State is the caller's; one thread at a time per buffer.
 */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void
buf_fini(struct buf *b)
{
    free(b->data);
    *b = (struct buf){.max = b->max};
}

void
buf_clear(struct buf *b)
{
    b->len = 0;
    b->off = 0;
    b->failed = false;
}

bool
buf_failed(const struct buf *b)
{
    return b->failed;
}

static bool
fail(struct buf *b)
{
    b->failed = true;
    return false;
}

/* Makes room for n more bytes plus one, so that buf_cstr never has to grow a full buffer. After a
 * failure nothing is appended any more: a run of appends must not lose one from the middle. */
static bool
reserve(struct buf *b, size_t n)
{
    if (b->failed || n > b->max - b->len)
        return fail(b);
    if (b->max == SIZE_MAX && b->len + n == SIZE_MAX)
        return fail(b);

    size_t need = b->len + n + 1;
    if (need <= b->cap)
        return true;

    size_t cap = b->cap < 64 ? 64 : b->cap;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    if (b->max < SIZE_MAX && cap > b->max + 1)
        cap = b->max + 1;

    uint8_t *p = realloc(b->data, cap);
    if (!p)
        return fail(b);
    b->data = p;
    b->cap = cap;
    return true;
}

bool
buf_put(struct buf *b, const void *p, size_t n)
{
    if (!reserve(b, n))
        return false;
    if (n > 0)
        memcpy(b->data + b->len, p, n);
    b->len += n;
    return true;
}

bool
buf_put_str(struct buf *b, const char *s)
{
    return buf_put(b, s, strlen(s));
}

bool
buf_putf(struct buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || !reserve(b, (size_t)n))
        return fail(b);

    va_start(ap, fmt);
    int m = vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    if (m != n)
        return fail(b);
    b->len += (size_t)n;
    return true;
}

bool
buf_put_u8(struct buf *b, uint8_t v)
{
    return buf_put(b, &v, 1);
}

bool
buf_put_be16(struct buf *b, uint16_t v)
{
    const uint8_t x[2] = {(uint8_t)(v >> 8), (uint8_t)(v & 0xff)};

    return buf_put(b, x, sizeof(x));
}

bool
buf_put_be32(struct buf *b, uint32_t v)
{
    const uint8_t x[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16 & 0xff), (uint8_t)(v >> 8 & 0xff),
                          (uint8_t)(v & 0xff)};

    return buf_put(b, x, sizeof(x));
}

bool
buf_put_le16(struct buf *b, uint16_t v)
{
    const uint8_t x[2] = {(uint8_t)(v & 0xff), (uint8_t)(v >> 8)};

    return buf_put(b, x, sizeof(x));
}

bool
buf_put_le32(struct buf *b, uint32_t v)
{
    const uint8_t x[4] = {(uint8_t)(v & 0xff), (uint8_t)(v >> 8 & 0xff), (uint8_t)(v >> 16 & 0xff),
                          (uint8_t)(v >> 24)};

    return buf_put(b, x, sizeof(x));
}

size_t
buf_left(const struct buf *b)
{
    return b->len - b->off;
}

const uint8_t *
buf_peek(const struct buf *b)
{
    static const uint8_t nothing;

    return b->data ? b->data + b->off : &nothing;
}

bool
buf_get(struct buf *b, void *p, size_t n)
{
    if (n > buf_left(b))
        return false;
    if (n > 0)
        memcpy(p, b->data + b->off, n);
    b->off += n;
    return true;
}

bool
buf_skip(struct buf *b, size_t n)
{
    if (n > buf_left(b))
        return false;
    b->off += n;
    return true;
}

bool
buf_get_u8(struct buf *b, uint8_t *ret)
{
    return buf_get(b, ret, 1);
}

bool
buf_get_be16(struct buf *b, uint16_t *ret)
{
    uint8_t x[2];

    if (!buf_get(b, x, sizeof(x)))
        return false;
    *ret = (uint16_t)(x[0] << 8 | x[1]);
    return true;
}

bool
buf_get_be32(struct buf *b, uint32_t *ret)
{
    uint8_t x[4];

    if (!buf_get(b, x, sizeof(x)))
        return false;
    *ret = (uint32_t)x[0] << 24 | (uint32_t)x[1] << 16 | (uint32_t)x[2] << 8 | x[3];
    return true;
}

bool
buf_get_le16(struct buf *b, uint16_t *ret)
{
    uint8_t x[2];

    if (!buf_get(b, x, sizeof(x)))
        return false;
    *ret = (uint16_t)(x[1] << 8 | x[0]);
    return true;
}

bool
buf_get_le32(struct buf *b, uint32_t *ret)
{
    uint8_t x[4];

    if (!buf_get(b, x, sizeof(x)))
        return false;
    *ret = (uint32_t)x[3] << 24 | (uint32_t)x[2] << 16 | (uint32_t)x[1] << 8 | x[0];
    return true;
}

void
buf_compact(struct buf *b)
{
    if (b->off == 0)
        return;
    memmove(b->data, b->data + b->off, b->len - b->off);
    b->len -= b->off;
    b->off = 0;
}

const char *
buf_cstr(struct buf *b)
{
    if (b->failed || !reserve(b, 0))
        return NULL;
    b->data[b->len] = '\0';
    return (const char *)b->data;
}
