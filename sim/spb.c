/* SPDX-License-Identifier: Apache-2.0
 *
 * See sim/spb.h.
 */
#include "sim/spb.h"

#include <stdlib.h>
#include <string.h>

enum wire { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

static void
put_raw(struct buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        (void)buf_put_u8(b, (uint8_t)(v | 0x80));
    (void)buf_put_u8(b, (uint8_t)v);
}

void
spb_put_varint(struct buf *b, unsigned field, uint64_t v)
{
    if (v == 0)
        return;
    put_raw(b, (uint64_t)field << 3 | VARINT);
    put_raw(b, v);
}

void
spb_put_bytes(struct buf *b, unsigned field, const void *data, size_t len)
{
    put_raw(b, (uint64_t)field << 3 | BYTES);
    put_raw(b, len);
    if (len > 0)
        (void)buf_put(b, data, len);
}

void
spb_put_string(struct buf *b, unsigned field, const char *s)
{
    if (s && *s)
        spb_put_bytes(b, field, s, strlen(s));
}

void
spb_put_message(struct buf *b, unsigned field, struct buf *m)
{
    if (buf_failed(m))
        b->failed = true;
    else
        spb_put_bytes(b, field, m->data, m->len);
    buf_fini(m);
}

void
spb_put_entry(struct buf *b, unsigned field, const char *key, const char *value)
{
    struct buf m;

    buf_init(&m, b->max);
    spb_put_string(&m, 1, key);
    spb_put_string(&m, 2, value);
    spb_put_message(b, field, &m);
}

/* ---- reading ---- */

struct spb
spb_open(const void *data, size_t len)
{
    const uint8_t *p = data;

    return (struct spb){.p = p, .end = len > 0 ? p + len : p};
}

struct spb
spb_sub(const struct spb_field *f)
{
    struct spb m = spb_open(f->data, f->len);

    m.bad = !f->data;
    return m;
}

static bool
get_raw(struct spb *m, uint64_t *ret)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 64 && m->p < m->end; shift += 7) {
        uint8_t c = *m->p++;

        v |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80) {
            *ret = v;
            return true;
        }
    }
    m->bad = true;
    return false;
}

static bool
get_fixed(struct spb *m, size_t n, uint64_t *ret)
{
    uint64_t v = 0;

    if ((size_t)(m->end - m->p) < n) {
        m->bad = true;
        return false;
    }
    for (size_t i = n; i-- > 0;)
        v = v << 8 | m->p[i];
    m->p += n;
    *ret = v;
    return true;
}

bool
spb_next(struct spb *m, struct spb_field *ret)
{
    struct spb_field f = {0};
    uint64_t key, len;

    if (m->bad || m->p == m->end || !get_raw(m, &key))
        return false;
    f.number = (unsigned)(key >> 3);
    switch (key & 7) {
    case VARINT:
        (void)get_raw(m, &f.varint);
        break;
    case FIXED64:
        (void)get_fixed(m, 8, &f.varint);
        break;
    case FIXED32:
        (void)get_fixed(m, 4, &f.varint);
        break;
    case BYTES:
        if (!get_raw(m, &len))
            break;
        m->bad = len > (uint64_t)(m->end - m->p);
        f.data = m->p;
        f.len = m->bad ? 0 : (size_t)len;
        m->p += f.len;
        break;
    default:
        m->bad = true;
    }
    if (m->bad || f.number == 0) {
        m->bad = true;
        return false;
    }
    *ret = f;
    return true;
}

/* Length of the sequence that begins with `c`, and the least code point that needs it. */
static size_t
sequence(uint8_t c, uint32_t *least, uint32_t *bits)
{
    if (c < 0x80) {
        *least = 0;
        *bits = c;
        return 1;
    }
    if (c >= 0xc2 && c < 0xe0) {
        *least = 0x80;
        *bits = c & 0x1fu;
        return 2;
    }
    if (c >= 0xe0 && c < 0xf0) {
        *least = 0x800;
        *bits = c & 0x0fu;
        return 3;
    }
    if (c >= 0xf0 && c < 0xf5) {
        *least = 0x10000;
        *bits = c & 0x07u;
        return 4;
    }
    return 0;
}

bool
spb_utf8(const uint8_t *p, size_t len)
{
    while (len > 0) {
        uint32_t least, v;
        size_t n = sequence(*p, &least, &v);

        if (n == 0 || n > len)
            return false;
        for (size_t i = 1; i < n; i++) {
            if ((p[i] & 0xc0) != 0x80)
                return false;
            v = v << 6 | (p[i] & 0x3fu);
        }
        if (v < least || v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
            return false;
        p += n;
        len -= n;
    }
    return true;
}

char *
spb_text(const struct spb_field *f)
{
    if (!f->data || memchr(f->data, 0, f->len) || !spb_utf8(f->data, f->len))
        return NULL;
    return strndup((const char *)f->data, f->len);
}
