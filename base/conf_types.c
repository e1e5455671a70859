/* SPDX-License-Identifier: Apache-2.0
 *
 * Configuration values: text to typed fields. No state.
 */
#include "base/conf_impl.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct unit {
    const char *name;
    uint64_t ns;
} units[] = {
    /* largest first, for printing */
    {"h", 3600000000000u}, {"m", 60000000000u}, {"s", 1000000000u},
    {"ms", 1000000u},      {"us", 1000u},       {"ns", 1u},
};

size_t
conf_names_count(const char *const *names)
{
    size_t n = 0;

    while (names && names[n])
        n++;
    return n;
}

const char *
conf_shown(const char *s, char buf[CONF_SHOWN_MAX])
{
    size_t n = 0;

    for (; s[n] && n < CONF_SHOWN_MAX - 1; n++) {
        buf[n] = s[n];
        if (s[n] < ' ' || s[n] > '~')
            buf[n] = '?';
    }
    buf[n] = '\0';
    return buf;
}

const char *
conf_duration_str(uint64_t ns, char buf[32])
{
    for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
        if (ns % units[i].ns == 0 && (ns != 0 || strcmp(units[i].name, "s") == 0)) {
            (void)snprintf(buf, 32, "%" PRIu64 "%s", ns / units[i].ns, units[i].name);
            break;
        }
    }
    return buf;
}

/* Reads decimal digits; returns what follows them, NULL if there are none or too many. */
static const char *
digits(const char *s, uint64_t *ret)
{
    uint64_t v = 0;
    const char *p = s;

    for (; *p >= '0' && *p <= '9'; p++) {
        uint64_t d = (uint64_t)(*p - '0');

        if (v > (UINT64_MAX - d) / 10)
            return NULL;
        v = v * 10 + d;
    }
    if (p == s)
        return NULL;
    *ret = v;
    return p;
}

static bool
is_number(const char *s)
{
    bool seen = false;

    if (*s == '-' || *s == '+')
        s++;
    for (; *s; s++) {
        if (*s >= '0' && *s <= '9')
            seen = true;
        else if (*s != '.')
            return false;
    }
    return seen;
}

/* What a YAML reader would take unquoted text for, where that is not a string; else NULL. "on" and
 * "off" are words here, as in YAML 1.2: they name CC modes. */
static const char *
plain_type(const char *s)
{
    if (*s == '\0' || strcmp(s, "~") == 0 || strcmp(s, "null") == 0)
        return "nothing";
    if (strcmp(s, "true") == 0 || strcmp(s, "false") == 0)
        return "a boolean";
    if (is_number(s))
        return "a number";
    return NULL;
}

static int
wrong(struct err *e, const char *expected, const char *text, bool plain)
{
    const char *type = plain ? plain_type(text) : NULL;
    char shown[CONF_SHOWN_MAX];

    if (type && strcmp(type, "nothing") == 0)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "has no value, expected %s", expected);
    return err_set(e, EINVAL, ERR_CLASS_INVALID, "expected %s, found %s%s\"%s\"", expected,
                   type    ? type
                   : plain ? ""
                           : "the string",
                   type || !plain ? " " : "", conf_shown(text, shown));
}

/* "a, b, c"; what does not fit is left out with "...". */
static void
join_names(const char *const *names, char *buf, size_t size)
{
    size_t len = 0;

    buf[0] = '\0';
    for (size_t i = 0; names && names[i]; i++) {
        int n = snprintf(buf + len, size - len, "%s%s", i ? ", " : "", names[i]);

        if (n < 0 || (size_t)n >= size - len) {
            (void)snprintf(buf + len, size - len, "...");
            break;
        }
        len += (size_t)n;
    }
}

static bool
name_index(const char *const *names, const char *text, int *ret)
{
    for (int i = 0; names[i]; i++) {
        if (strcmp(names[i], text) == 0) {
            *ret = i;
            return true;
        }
    }
    return false;
}

static int
not_allowed(struct err *e, const char *const *names, const char *text)
{
    char list[256], shown[CONF_SHOWN_MAX];

    join_names(names, list, sizeof(list));
    return err_set(e, EINVAL, ERR_CLASS_INVALID, "\"%s\" is not allowed (allowed: %s)",
                   conf_shown(text, shown), list);
}

static int
check_string(const struct conf_key *k, const char *text, bool plain, struct err *e)
{
    const char *why = "refused";
    char shown[CONF_SHOWN_MAX];
    int index;

    if (k->names && !name_index(k->names, text, &index))
        return not_allowed(e, k->names, text);
    if (plain && plain_type(text))
        return wrong(e, "a string (quote it)", text, plain);
    if (k->check && !k->check(text, &why))
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "\"%s\": %s", conf_shown(text, shown), why);
    return 0;
}

static int
set_bool(const struct conf_key *k, void *out, const char *text, bool plain, struct err *e)
{
    bool yes = strcmp(text, "true") == 0;

    if (!plain || (!yes && strcmp(text, "false") != 0))
        return wrong(e, "true or false", text, plain);
    *(bool *)conf_field(k, out) = yes;
    return 0;
}

static int
set_u32(const struct conf_key *k, void *out, const char *text, bool plain, struct err *e)
{
    uint64_t max = k->max == 0 || k->max > UINT32_MAX ? UINT32_MAX : k->max;
    uint64_t v = 0;
    char range[64];

    (void)snprintf(range, sizeof(range), "a whole number from %" PRIu64 " to %" PRIu64, k->min,
                   max);
    const char *end = plain ? digits(text, &v) : NULL;
    if (!end || *end || v < k->min || v > max)
        return wrong(e, range, text, plain);
    *(uint32_t *)conf_field(k, out) = (uint32_t)v;
    return 0;
}

static bool
parse_duration(const char *text, uint64_t *ret)
{
    uint64_t v = 0;
    const char *end = digits(text, &v);

    for (size_t i = 0; end && i < ARRAY_SIZE(units); i++) {
        if (strcmp(end, units[i].name) == 0 && v <= UINT64_MAX / units[i].ns) {
            *ret = v * units[i].ns;
            return true;
        }
    }
    return false;
}

static int
set_duration(const struct conf_key *k, void *out, const char *text, bool plain, struct err *e)
{
    uint64_t max = k->max == 0 ? UINT64_MAX : k->max, v = 0;
    char lo[32], hi[32], range[128];

    if (!parse_duration(text, &v) || v < k->min || v > max) {
        if (k->max == 0 && k->min == 0)
            (void)snprintf(range, sizeof(range), "a duration like \"250ms\", \"25s\" or \"2m\"");
        else
            (void)snprintf(range, sizeof(range), "a duration like \"25s\", from %s to %s",
                           conf_duration_str(k->min, lo), conf_duration_str(max, hi));
        return wrong(e, range, text, plain);
    }
    *(uint64_t *)conf_field(k, out) = v;
    return 0;
}

static int
set_string(const struct conf_key *k, void *out, const char *text, bool plain, struct err *e)
{
    int rc = check_string(k, text, plain, e);

    if (rc < 0)
        return rc;
    if (strlen(text) >= k->size)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "longer than %zu bytes", k->size - 1);
    (void)str_copy(conf_field(k, out), k->size, text);
    return 0;
}

static int
set_enum(const struct conf_key *k, void *out, const char *text, bool plain, struct err *e)
{
    char list[256], expected[280];
    int index = 0;

    if (!name_index(k->names, text, &index)) {
        if (!plain || !plain_type(text))
            return not_allowed(e, k->names, text);
        join_names(k->names, list, sizeof(list));
        (void)snprintf(expected, sizeof(expected), "one of: %s", list);
        return wrong(e, expected, text, plain);
    }
    *(int *)conf_field(k, out) = index;
    return 0;
}

int
conf_set_scalar(const struct conf_key *k, void *out, const char *text, bool plain, struct err *e)
{
    switch (k->type) {
    case CONF_BOOL:
        return set_bool(k, out, text, plain, e);
    case CONF_U32:
        return set_u32(k, out, text, plain, e);
    case CONF_DURATION:
        return set_duration(k, out, text, plain, e);
    case CONF_STRING:
        return set_string(k, out, text, plain, e);
    case CONF_ENUM:
        return set_enum(k, out, text, plain, e);
    case CONF_STRLIST:
    case CONF_OBJLIST:
    case CONF_OBJECT:
        break;
    }
    conf_broken(k, "not a scalar");
}

/* Room for one more element, or an error. */
static int
list_room(const struct conf_key *k, size_t n, struct err *e)
{
    uint64_t max = k->max == 0 ? CONF_LIST_DEFAULT : k->max;

    if (n >= max)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "more than %" PRIu64 " elements", max);
    return 0;
}

int
conf_add_string(const struct conf_key *k, struct conf_strlist *l, const char *text, bool plain,
                struct err *e)
{
    int rc = list_room(k, l->n, e);

    if (rc == 0)
        rc = check_string(k, text, plain, e);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < l->n; i++) {
        char shown[CONF_SHOWN_MAX];

        if (strcmp(l->v[i], text) == 0)
            return err_set(e, EINVAL, ERR_CLASS_INVALID, "\"%s\" is listed twice",
                           conf_shown(text, shown));
    }
    _cleanup_free_ char *copy = strdup(text);
    char **more = copy ? reallocarray(l->v, l->n + 1, sizeof(*more)) : NULL;
    if (!more)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "out of memory");
    l->v = more;
    l->v[l->n++] = TAKE_PTR(char, copy);
    return 0;
}

int
conf_add_object(const struct conf_key *k, struct conf_objlist *l, void **ret, struct err *e)
{
    int rc = list_room(k, l->n, e);

    if (rc < 0)
        return rc;
    void *more = reallocarray(l->v, l->n + 1, k->size);
    if (!more)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "out of memory");
    l->v = more;
    l->elem_size = k->size;
    void *elem = (char *)l->v + l->n * k->size;
    memset(elem, 0, k->size);
    l->n++;
    conf_defaults(k->sub, elem);
    *ret = elem;
    return 0;
}
