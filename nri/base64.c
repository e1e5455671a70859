/* SPDX-License-Identifier: Apache-2.0 */
#include "nri/base64.h"

#include <errno.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int
value_of(char c)
{
    const char *hit = c != '\0' ? strchr(alphabet, c) : NULL;

    return hit ? (int)(hit - alphabet) : -1;
}

static int
bad_byte(unsigned char c, size_t at, struct err *e)
{
    if (c == '=')
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "\"=\" before the end, at offset %zu", at);
    if (c == '-' || c == '_')
        return err_set(e, EINVAL, ERR_CLASS_INVALID,
                       "\"%c\" at offset %zu: this is the URL-safe alphabet, not the standard one",
                       c, at);
    if (c > 0x20 && c < 0x7f)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "\"%c\" at offset %zu", c, at);
    return err_set(e, EINVAL, ERR_CLASS_INVALID, "byte 0x%02x at offset %zu", c, at);
}

/* Four characters, the last `pad` of which are "=". */
static int
decode_group(const char *s, size_t at, size_t pad, struct buf *out, struct err *e)
{
    uint8_t bytes[3];
    uint32_t bits = 0;

    for (size_t i = 0; i < 4; i++) {
        int v = i + pad < 4 ? value_of(s[i]) : 0;

        if (v < 0)
            return bad_byte((unsigned char)s[i], at + i, e);
        bits = bits << 6 | (uint32_t)v;
    }
    if ((pad == 1 && (bits & 0xff) != 0) || (pad == 2 && (bits & 0xffff) != 0))
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "the last character \"%c\" has bits left over",
                       s[3 - pad]);
    bytes[0] = (uint8_t)(bits >> 16);
    bytes[1] = (uint8_t)(bits >> 8);
    bytes[2] = (uint8_t)bits;
    if (!buf_put(out, bytes, 3 - pad))
        return err_set(e, E2BIG, ERR_CLASS_INVALID, "decodes to more than %zu bytes", out->max);
    return 0;
}

int
base64_decode(const char *text, size_t len, struct buf *out, struct err *e)
{
    for (size_t i = 0; i < len; i += 4) {
        size_t left = len - i, pad = 0;
        int rc;

        if (left < 4) {
            /* a foreign byte explains more than a length */
            for (size_t k = i; k < len; k++)
                if (value_of(text[k]) < 0)
                    return bad_byte((unsigned char)text[k], k, e);
            return err_set(e, EINVAL, ERR_CLASS_INVALID,
                           "%zu characters, no multiple of 4: cut short, or its \"=\" are missing",
                           len);
        }
        if (left == 4 && text[i + 3] == '=')
            pad = text[i + 2] == '=' ? 2 : 1;
        rc = decode_group(text + i, i, pad, out, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

void
base64_encode(const void *data, size_t len, struct buf *out)
{
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i += 3) {
        size_t n = len - i < 3 ? len - i : 3;
        uint32_t bits = (uint32_t)p[i] << 16;
        char group[4];

        bits |= n > 1 ? (uint32_t)p[i + 1] << 8 : 0;
        bits |= n > 2 ? (uint32_t)p[i + 2] : 0;
        group[0] = alphabet[bits >> 18 & 63];
        group[1] = alphabet[bits >> 12 & 63];
        group[2] = n > 1 ? alphabet[bits >> 6 & 63] : '=';
        group[3] = n > 2 ? alphabet[bits & 63] : '=';
        (void)buf_put(out, group, 4);
    }
}

void
hex_encode(const void *data, size_t len, struct buf *out)
{
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i++)
        (void)buf_putf(out, "%02x", p[i]);
}
