/* SPDX-License-Identifier: Apache-2.0
 *
 * The scalars of TOML 1.0: strings in their four forms, numbers, booleans, dates and times.
 */
#include "base/cleanup.h"
#include "nri/toml_impl.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void
put_utf8(struct buf *b, uint32_t c)
{
    if (c < 0x80) {
        (void)buf_put_u8(b, (uint8_t)c);
        return;
    }
    if (c < 0x800) {
        (void)buf_put_u8(b, (uint8_t)(0xc0 | c >> 6));
    } else if (c < 0x10000) {
        (void)buf_put_u8(b, (uint8_t)(0xe0 | c >> 12));
        (void)buf_put_u8(b, (uint8_t)(0x80 | (c >> 6 & 0x3f)));
    } else {
        (void)buf_put_u8(b, (uint8_t)(0xf0 | c >> 18));
        (void)buf_put_u8(b, (uint8_t)(0x80 | (c >> 12 & 0x3f)));
        (void)buf_put_u8(b, (uint8_t)(0x80 | (c >> 6 & 0x3f)));
    }
    (void)buf_put_u8(b, (uint8_t)(0x80 | (c & 0x3f)));
}

static int
hex_digit(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static int
read_codepoint(struct toml_reader *r, unsigned digits, struct buf *b)
{
    uint32_t c = 0;

    for (unsigned i = 0; i < digits; i++) {
        int d = hex_digit(toml_cur(r));

        if (d < 0)
            return toml_fail(r, r->line, "\\%c needs %u hexadecimal digits",
                             digits == 4 ? 'u' : 'U', digits);
        c = c << 4 | (uint32_t)d;
        r->p++;
    }
    if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return toml_fail(r, r->line, "U+%04X is no character", c);
    if (c == 0)
        return toml_fail(r, r->line, "a string may not hold U+0000 here");
    put_utf8(b, c);
    return 0;
}

/* A backslash at the end of a line takes the white space after it away. False: it is no such. */
static bool
line_continues(struct toml_reader *r)
{
    struct toml_reader ahead = *r;

    toml_skip_blanks(&ahead);
    if (!toml_newline(&ahead))
        return false;
    do
        toml_skip_blanks(&ahead);
    while (toml_newline(&ahead));
    r->p = ahead.p;
    r->line = ahead.line;
    return true;
}

/* r stands behind the backslash. */
static int
read_escape(struct toml_reader *r, bool multi, struct buf *b)
{
    static const char from[] = "btnfr\"\\", to[] = "\b\t\n\f\r\"\\";
    int c = toml_cur(r);
    const char *hit = c > 0 ? strchr(from, c) : NULL;

    if (multi && line_continues(r))
        return 0;
    if (hit) {
        r->p++;
        (void)buf_put_u8(b, (uint8_t)to[hit - from]);
        return 0;
    }
    if (c == 'u' || c == 'U') {
        r->p++;
        return read_codepoint(r, c == 'u' ? 4 : 8, b);
    }
    if (c > 0x20 && c < 0x7f)
        return toml_fail(r, r->line, "\\%c is no escape of TOML 1.0", c);
    return toml_fail(r, r->line, "a backslash without an escape");
}

/* The closing delimiter of a string. Up to two quotes may stand directly before the closing three.
 */
static bool
string_ends(struct toml_reader *r, char quote, bool triple, struct buf *b)
{
    size_t n = 0;

    while (r->p + n < r->end && n < 5 && r->p[n] == quote)
        n++;
    if (!triple) {
        if (n == 0)
            return false;
        r->p++;
        return true;
    }
    if (n < 3)
        return false;
    (void)buf_put(b, r->p, n - 3);
    r->p += n;
    return true;
}

/* Copies what needs no second look; read_string_char does the rest. */
static void
read_plain_run(struct toml_reader *r, char quote, struct buf *b)
{
    const char *start = r->p;

    for (; r->p < r->end; r->p++) {
        unsigned char c = (unsigned char)*r->p;

        if (c < 0x20 || c == 0x7f || c == '\\' || *r->p == quote)
            break;
    }
    (void)buf_put(b, start, (size_t)(r->p - start));
}

static int
read_string_char(struct toml_reader *r, bool basic, bool triple, struct buf *b)
{
    int c = toml_cur(r);

    if (c == '\\' && basic) {
        r->p++;
        return read_escape(r, triple, b);
    }
    if (triple && toml_newline(r)) {
        (void)buf_put_u8(b, '\n');
        return 0;
    }
    if (c == '\n')
        return toml_fail(r, r->line, "the string is not closed on its line");
    if ((c < 0x20 && c != '\t') || c == 0x7f)
        return toml_fail(r, r->line, "control character 0x%02x in a string", (unsigned)c);
    (void)buf_put_u8(b, (uint8_t)c);
    r->p++;
    return 0;
}

int
toml_read_string(struct toml_reader *r, bool multi, char **ret, size_t *ret_len)
{
    char quote = (char)toml_cur(r);
    bool basic = quote == '"', triple = toml_starts(r, basic ? "\"\"\"" : "'''");
    unsigned line = r->line;
    _cleanup_(buf_fini) struct buf b;
    int rc;

    buf_init(&b, r->lim.bytes + 1);
    if (triple && !multi)
        return toml_fail(r, line, "a key cannot be a multi-line string");
    r->p += triple ? 3 : 1;
    if (triple)
        (void)toml_newline(r);
    while (!string_ends(r, quote, triple, &b)) {
        if (toml_cur(r) < 0)
            return toml_fail(r, line, "the string is never closed");
        rc = read_string_char(r, basic, triple, &b);
        if (rc < 0)
            return rc;
        read_plain_run(r, quote, &b);
    }
    if (!buf_cstr(&b) || buf_failed(&b))
        return err_errno(r->e, ENOMEM, ERR_CLASS_FATAL, "parse %s", r->name);
    *ret_len = b.len;
    *ret = (char *)TAKE_PTR(uint8_t, b.data);
    return 0;
}

/* Copies the digits of s without their underscores, each of which must stand between two digits.
 * False: it is no number of this base. */
static bool
plain_digits(const char *s, size_t n, int base, char *out, size_t room)
{
    size_t len = 0;

    for (size_t i = 0; i < n; i++) {
        int d = hex_digit((unsigned char)s[i]);

        if (s[i] == '_' && i > 0 && i + 1 < n && s[i - 1] != '_')
            continue;
        if (d < 0 || d >= base || len + 1 >= room)
            return false;
        out[len++] = s[i];
    }
    out[len] = '\0';
    return len > 0;
}

/* Why a word is no integer: NOT_INT lets the next type try it. */
enum int_result { INT_OK, NOT_INT, INT_RANGE, INT_ZEROES };

static enum int_result
parse_int(const char *s, size_t n, int64_t *ret)
{
    static const struct {
        const char *prefix;
        int base;
    } forms[] = {{"0x", 16}, {"0o", 8}, {"0b", 2}};
    char plain[72];
    bool minus = n > 0 && s[0] == '-', sign = n > 0 && (s[0] == '-' || s[0] == '+');
    unsigned long long v;
    int base = 10;

    for (size_t i = 0; i < ARRAY_SIZE(forms) && !sign && n > 2; i++)
        if (memcmp(s, forms[i].prefix, 2) == 0)
            base = forms[i].base;
    if (sign) {
        s++;
        n--;
    } else if (base != 10) {
        s += 2;
        n -= 2;
    }
    if (!plain_digits(s, n, base, plain, sizeof(plain)))
        return NOT_INT;
    if (base == 10 && n > 1 && s[0] == '0')
        return INT_ZEROES;
    errno = 0;
    v = strtoull(plain, NULL, base);
    if (errno != 0 || v > (unsigned long long)INT64_MAX + (minus ? 1 : 0))
        return INT_RANGE;
    *ret = minus ? (v == 0 ? 0 : -(int64_t)(v - 1) - 1) : (int64_t)v;
    return INT_OK;
}

/* [+-]digits[.digits][e[+-]digits], with at least one of the two later parts; inf and nan. */
static bool
parse_float(const char *s, size_t n, double *ret)
{
    char plain[256];
    size_t sign = n > 0 && (s[0] == '-' || s[0] == '+'), len = sign, i = sign;
    bool seen = false;

    if (n - sign == 3 && (memcmp(s + sign, "inf", 3) == 0 || memcmp(s + sign, "nan", 3) == 0)) {
        double v = s[sign] == 'i' ? (double)INFINITY : (double)NAN;

        *ret = s[0] == '-' ? -v : v;
        return true;
    }
    memcpy(plain, s, sign);
    for (int part = 0; part < 3; part++) {
        size_t start;

        if (part > 0 && (i >= n || (part == 1 ? s[i] != '.' : (s[i] != 'e' && s[i] != 'E'))))
            continue;
        if (part > 0) {
            seen = true;
            plain[len++] = s[i++];
            if (part == 2 && i < n && (s[i] == '-' || s[i] == '+'))
                plain[len++] = s[i++];
        }
        start = i;
        while (i < n && ((s[i] >= '0' && s[i] <= '9') || s[i] == '_'))
            i++;
        if (i - start > 64 || len > sizeof(plain) - 70 ||
            !plain_digits(s + start, i - start, 10, plain + len, 68))
            return false;
        if (part == 0 && i - start > 1 && s[start] == '0')
            return false;
        len += strlen(plain + len);
    }
    if (i != n || !seen)
        return false;
    *ret = strtod(plain, NULL);
    return true;
}

/* Digits of a pattern: 'd' a digit, anything else itself. Returns the length, 0 for no match. */
static size_t
match(const char *pattern, const char *s, size_t n)
{
    size_t len = strlen(pattern);

    if (n < len)
        return 0;
    for (size_t i = 0; i < len; i++)
        if (pattern[i] == 'd' ? s[i] < '0' || s[i] > '9' : s[i] != pattern[i])
            return 0;
    return len;
}

static int
two(const char *s)
{
    return (s[0] - '0') * 10 + (s[1] - '0');
}

static bool
date_ok(const char *s)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year = two(s) * 100 + two(s + 2), month = two(s + 5), day = two(s + 8);
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return month >= 1 && month <= 12 && day >= 1 &&
           day <= days[month - 1] + (month == 2 && leap ? 1 : 0);
}

static bool
time_ok(const char *s)
{
    return two(s) <= 23 && two(s + 3) <= 59 && two(s + 6) <= 60; /* 60: RFC 3339's leap second */
}

/* Any of the four forms of RFC 3339 that TOML takes over. Returns the length, 0 where it is none.
 */
static size_t
datetime_len(const char *s, size_t n)
{
    size_t len = match("dddd-dd-dd", s, n), k;
    bool date = len > 0;

    if (date && !date_ok(s))
        return 0;
    if (date && (n == len || (s[len] != 'T' && s[len] != 't' && s[len] != ' ') ||
                 !match("dd:dd", s + len + 1, n - len - 1)))
        return len;
    if (date)
        len++;
    if (!match("dd:dd:dd", s + len, n - len) || !time_ok(s + len))
        return 0;
    len += 8;
    if (match(".d", s + len, n - len))
        for (len++; len < n && s[len] >= '0' && s[len] <= '9';)
            len++;
    if (!date || len == n)
        return len;
    if (s[len] == 'Z' || s[len] == 'z')
        return len + 1;
    k = match("+dd:dd", s + len, n - len) + match("-dd:dd", s + len, n - len);
    if (k > 0 && (two(s + len + 1) > 23 || two(s + len + 4) > 59))
        return 0;
    return len + k;
}

static bool
word_char(int c)
{
    return toml_bare_char(c) || c == '+' || c == '.' || c == ':';
}

/* Everything that is no string: the longest run of characters such values consist of. */
static int
read_word(struct toml_reader *r, struct toml_value *v)
{
    size_t left = (size_t)(r->end - r->p), n = 0, date = datetime_len(r->p, left);
    enum int_result number;

    while (n < left && word_char((unsigned char)r->p[n]))
        n++;
    if (n == 0)
        return toml_fail(r, r->line, "a value should stand here");
    if (date > 0 && date >= n) {
        v->u.text.p = strndup(r->p, date);
        if (!v->u.text.p)
            return err_errno(r->e, ENOMEM, ERR_CLASS_FATAL, "parse %s", r->name);
        v->u.text.len = date;
        v->type = TOML_DATETIME;
        r->p += date;
        return 0;
    }
    number = parse_int(r->p, n, &v->u.i);
    if (number == INT_RANGE)
        return toml_fail(r, r->line, "the integer does not fit in 64 bits");
    if (number == INT_ZEROES)
        return toml_fail(r, r->line, "a number may not begin with 0");
    if (number == INT_OK)
        v->type = TOML_INT;
    else if (parse_float(r->p, n, &v->u.f))
        v->type = TOML_FLOAT;
    else if ((n == 4 && memcmp(r->p, "true", 4) == 0) || (n == 5 && memcmp(r->p, "false", 5) == 0))
        v->u.b = n == 4;
    else
        return toml_fail(r, r->line, "\"%.*s\" is no value (strings need quotes)",
                         n > 40 ? 40 : (int)n, r->p);
    r->p += n;
    return 0;
}

/* v was added as TOML_BOOL, which owns nothing should reading it fail. */
int
toml_read_scalar(struct toml_reader *r, struct toml_value *v)
{
    char *text = NULL;
    size_t len = 0;
    int rc;

    if (toml_cur(r) != '"' && toml_cur(r) != '\'')
        return read_word(r, v);
    rc = toml_read_string(r, true, &text, &len);
    if (rc < 0)
        return rc;
    v->type = TOML_STRING;
    v->u.text.p = text;
    v->u.text.len = len;
    return 0;
}
