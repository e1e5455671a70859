/* SPDX-License-Identifier: Apache-2.0
 *
 * Parsers of sysfs attributes, uevents and modules.alias. Stateless.
 */
#include "vfio/parse.h"

#include "base/fs.h"

#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* Consumes "0x" and hex digits of a 64-bit number. */
static bool
take_hex(const char **s, uint64_t *ret)
{
    const char *p = *s;
    uint64_t v = 0;
    unsigned digits = 0;

    if (p[0] != '0' || p[1] != 'x')
        return false;
    for (p += 2; digits < 17; p++, digits++) {
        unsigned d;

        if (*p >= '0' && *p <= '9')
            d = (unsigned)(*p - '0');
        else if (*p >= 'a' && *p <= 'f')
            d = (unsigned)(*p - 'a') + 10;
        else if (*p >= 'A' && *p <= 'F')
            d = (unsigned)(*p - 'A') + 10;
        else
            break;
        v = v << 4 | d;
    }
    if (digits == 0 || digits > 16)
        return false;
    *s = p;
    *ret = v;
    return true;
}

bool
vfio_parse_hex(const char *s, uint32_t max, uint32_t *ret)
{
    uint64_t v;

    if (!take_hex(&s, &v) || *s != '\0' || v > max)
        return false;
    *ret = (uint32_t)v;
    return true;
}

bool
vfio_parse_int(const char *s, int min, int max, int *ret)
{
    bool neg = *s == '-';
    long long v = 0;

    s += neg;
    if (*s == '\0')
        return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9')
            return false;
        v = v * 10 + (*s - '0');
        if (v > INT_MAX)
            return false;
    }
    v = neg ? -v : v;
    if (v < min || v > max)
        return false;
    *ret = (int)v;
    return true;
}

bool
vfio_parse_cdev(const char *s, int *ret)
{
    static const char prefix[] = "vfio";

    return strncmp(s, prefix, sizeof(prefix) - 1) == 0 &&
           vfio_parse_int(s + sizeof(prefix) - 1, 0, INT_MAX, ret);
}

bool
vfio_parse_devnum(const char *s, unsigned *ret_major, unsigned *ret_minor)
{
    const char *colon = strchr(s, ':');
    char text[16];
    int ma, mi;

    if (!colon || (size_t)(colon - s) >= sizeof(text))
        return false;
    memcpy(text, s, (size_t)(colon - s));
    text[colon - s] = '\0';
    /* include/linux/kdev_t.h: 12 bits of major, 20 of minor */
    if (!vfio_parse_int(text, 1, 0xfff, &ma) || !vfio_parse_int(colon + 1, 0, 0xfffff, &mi))
        return false;
    *ret_major = (unsigned)ma;
    *ret_minor = (unsigned)mi;
    return true;
}

bool
vfio_parse_resource(const char *text, unsigned line, uint64_t *ret_start, uint64_t *ret_size,
                    uint64_t *ret_flags)
{
    uint64_t start, end, flags;

    for (; line > 0; line--) {
        text = strchr(text, '\n');
        if (!text)
            return false;
        text++;
    }
    if (!take_hex(&text, &start) || *text++ != ' ' || !take_hex(&text, &end) || *text++ != ' ' ||
        !take_hex(&text, &flags) || (*text != '\n' && *text != '\0'))
        return false;
    if (end < start || (end == UINT64_MAX && start == 0))
        return false;
    *ret_start = start;
    *ret_size = start == 0 && end == 0 ? 0 : end - start + 1;
    *ret_flags = flags;
    return true;
}

bool
vfio_list_has(const char *list, const char *word)
{
    size_t n = strlen(word);

    while (*list) {
        size_t l;

        list += strspn(list, " \t\n");
        l = strcspn(list, " \t\n");
        if (l == n && n > 0 && memcmp(list, word, n) == 0)
            return true;
        list += l;
    }
    return false;
}

bool
vfio_parse_uevent(const char *p, size_t len, bool *ret_relevant)
{
    static const char *const subsystems[] = {"SUBSYSTEM=pci", "SUBSYSTEM=vfio",
                                             "SUBSYSTEM=vfio-dev"};
    const char *end = p + len;
    bool relevant = false;

    if (len == 0 || !memchr(p, '@', strnlen(p, len)) || *p == '@')
        return false;
    while (p < end) {
        size_t n = strnlen(p, (size_t)(end - p));

        /* Only the last string may lack its NUL; it is compared by length all the same. */
        for (size_t i = 0; i < sizeof(subsystems) / sizeof(subsystems[0]); i++)
            if (n == strlen(subsystems[i]) && memcmp(p, subsystems[i], n) == 0)
                relevant = true;
        p += n < (size_t)(end - p) ? n + 1 : n;
    }
    *ret_relevant = relevant;
    return true;
}

static bool
is_module_name(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(s[i] >= 'a' && s[i] <= 'z') && !(s[i] >= 'A' && s[i] <= 'Z') &&
            !(s[i] >= '0' && s[i] <= '9') && s[i] != '_' && s[i] != '-')
            return false;
    return n > 0;
}

int
vfio_match_alias(const char *line, size_t len, const char *modalias, char *module, size_t size)
{
    static const char prefix[] = "alias vfio_pci:";
    const size_t plen = sizeof(prefix) - 1;
    char pattern[128];
    const char *name;
    size_t n, nlen;
    int wild = 0;

    if (len <= plen || memcmp(line, prefix, plen) != 0)
        return -1;
    line += plen;
    len -= plen;
    name = memchr(line, ' ', len);
    if (!name)
        return -1;
    n = (size_t)(name - line);
    name++;
    nlen = len - n - 1;
    if (n == 0 || n >= sizeof(pattern) || nlen >= size || !is_module_name(name, nlen))
        return -1;
    memcpy(pattern, line, n);
    pattern[n] = '\0';
    if (strlen(pattern) != n || fnmatch(pattern, modalias, FNM_NOESCAPE) != 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        wild += pattern[i] == '*';
    memcpy(module, name, nlen);
    module[nlen] = '\0';
    return wild;
}

/* What follows `key` in the text. Keys begin with a newline, so only a line's start matches. */
static const char *
find_key(const char *text, size_t len, const char *key)
{
    const char *p = memmem(text, len, key, strlen(key));

    return p ? p + strlen(key) : NULL;
}

bool
vfio_ids_name(const char *text, size_t len, uint16_t vendor, uint16_t device, char *buf,
              size_t size)
{
    const char *end = text + len, *p, *section_end;
    char key[16];
    size_t n;

    (void)snprintf(key, sizeof(key), "\n%04x  ", vendor);
    p = find_key(text, len, key);
    if (!p)
        return false;
    /* The vendor's section ends at the next line that is neither indented nor a comment. */
    for (section_end = p; section_end < end; section_end++) {
        const char *nl = memchr(section_end, '\n', (size_t)(end - section_end));

        if (!nl || nl + 1 >= end) {
            section_end = end;
            break;
        }
        section_end = nl;
        if (nl[1] != '\t' && nl[1] != '#' && nl[1] != '\n')
            break;
    }
    (void)snprintf(key, sizeof(key), "\n\t%04x  ", device);
    p = find_key(p, (size_t)(section_end - p), key);
    if (!p)
        return false;
    for (n = 0; p + n < section_end && p[n] != '\n'; n++)
        ;
    if (n == 0 || n >= size)
        return false;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];

        buf[i] = c < 0x20 || c > 0x7e ? '?' : (char)c;
    }
    buf[n] = '\0';
    return true;
}
