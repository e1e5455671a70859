/* SPDX-License-Identifier: Apache-2.0
 *
 * See nri/utf8.h.
 */
#include "nri/utf8.h"

#include <stdint.h>
#include <string.h>

/* Lead bytes, and what their second byte may be (RFC 3629 section 4). */
static const struct {
    uint8_t first, last, lo, hi;
    uint8_t len;
} forms[] = {
    {0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
    {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
    {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
};

/* Length of the character at p, 0 when it is none. */
static size_t
character(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (p[0] < forms[i].first || p[0] > forms[i].last)
            continue;
        if (forms[i].len > n)
            return 0;
        if (forms[i].len > 1 && (p[1] < forms[i].lo || p[1] > forms[i].hi))
            return 0;
        for (size_t k = 2; k < forms[i].len; k++)
            if ((p[k] & 0xc0) != 0x80)
                return 0;
        return forms[i].len;
    }
    return 0;
}

bool
utf8_valid(const void *p, size_t n)
{
    const uint8_t *s = p;

    for (size_t i = 0; i < n;) {
        size_t len = s[i] < 0x80 ? 1 : character(s + i, n - i);

        if (len == 0)
            return false;
        i += len;
    }
    return true;
}

void
utf8_line(char *dst, size_t size, const char *src)
{
    size_t left = strlen(src), out = 0;

    while (left > 0) {
        const uint8_t *p = (const uint8_t *)src;
        size_t len = character(p, left);

        if (out + (len ? len : 1) >= size)
            break;
        if (len == 0)
            dst[out] = '?';
        else if (len == 1 && (p[0] < 0x20 || p[0] == 0x7f))
            dst[out] = ' ';
        else
            memcpy(dst + out, src, len);
        len = len ? len : 1;
        out += len;
        src += len;
        left -= len;
    }
    dst[out] = '\0';
}
