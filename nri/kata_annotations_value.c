/* SPDX-License-Identifier: Apache-2.0
 *
 * What each runtime makes of a value. Go reads with strconv, strictly and without trimming;
 * runtime-rs trims, then reads with FromStr. No state.
 */
#include "nri/kata_annotations_impl.h"

#include "base/cleanup.h"
#include "nri/initdata.h"

#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* kata-containers virtcontainers/hypervisor.go MinHypervisorMemory */
#define GO_MEMORY_MIN 256
/* kata-types config/default.rs MIN_QEMU_MEMORY_SIZE_MB, MAX_QEMU_VCPUS */
#define RS_MEMORY_MIN 64
#define RS_VCPUS_MAX 256
/* both: more would use up the root bus */
#define PORTS_MAX 16

void
kata_say(char out[KATA_TEXT_MAX], const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(out, KATA_TEXT_MAX, fmt, ap);
    va_end(ap);
}

const char *
kata_shown(const char *text, char buf[KATA_SHOWN_MAX])
{
    size_t n = strlen(text), most = KATA_SHOWN_MAX - 4;
    size_t keep = n > most ? most : n;

    for (size_t i = 0; i < keep; i++)
        buf[i] = text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?';
    (void)snprintf(buf + keep, KATA_SHOWN_MAX - keep, "%s", n > most ? "..." : "");
    return buf;
}

static void fails(struct kata_verdict *v, const char *value, const char *expected, const char *cure)
    __attribute__((nonnull(1)));

/* A value of the wrong kind ends the sandbox in both runtimes. */
static void
fails(struct kata_verdict *v, const char *value, const char *expected, const char *cure)
{
    char shown[KATA_SHOWN_MAX];

    v->outcome = KATA_FAILS;
    kata_say(v->reason, "\"%s\" is not %s", kata_shown(value, shown), expected);
    kata_say(v->cure, "%s", cure);
}

static bool
is_word(const char *words, const char *value)
{
    size_t n = strlen(value);

    for (const char *w = words;; w++) {
        size_t len = strcspn(w, "|");

        if (len == n && memcmp(w, value, n) == 0)
            return true;
        w += len;
        if (*w == '\0')
            return false;
    }
}

/* White space as Rust's str::trim sees it, ASCII only. */
static bool
is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Copies without white space around; false where it does not fit, so it can be no number. */
static bool
trimmed(const char *value, char *buf, size_t size)
{
    size_t n;

    while (is_space(*value))
        value++;
    n = strlen(value);
    while (n > 0 && is_space(value[n - 1]))
        n--;
    if (n >= size)
        return false;
    memcpy(buf, value, n);
    buf[n] = '\0';
    return true;
}

/* Digits alone, at most `max`. */
static bool
to_uint(const char *s, uint64_t max, uint64_t *ret)
{
    uint64_t v = 0;

    if (*s == '\0')
        return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9')
            return false;
        uint64_t d = (uint64_t)(*s - '0');
        if (v > (max - d) / 10)
            return false;
        v = v * 10 + d;
    }
    *ret = v;
    return true;
}

/* Rust: a plus sign is fine. */
static bool
to_rs_uint(const char *value, uint64_t max, uint64_t *ret)
{
    char s[64];

    if (!trimmed(value, s, sizeof(s)))
        return false;
    return to_uint(s[0] == '+' ? s + 1 : s, max, ret);
}

/* A decimal float. strtod alone would take hexadecimal, leading blanks and "nan(...)". */
static bool
to_float(const char *s, double *ret)
{
    char *end = NULL;

    if (*s == '\0' || strspn(s, "0123456789.eE+-") != strlen(s) || strlen(s) > 60)
        return false;
    *ret = strtod(s, &end);
    return *end == '\0';
}

static void
check_uint(const char *value, bool rs, uint64_t max, struct kata_verdict *v)
{
    uint64_t n;

    if (rs ? !to_rs_uint(value, max, &n) : !to_uint(value, UINT64_MAX, &n))
        fails(v, value, "a number of 0 or more", "give a plain decimal number");
    else if (n > max)
        /* Go reads 64 bits and keeps 32 of them */
        kata_say(v->cure, "keep it below 4294967296: the runtime drops the upper bits");
}

static void
check_ports(const char *value, bool rs, struct kata_verdict *v)
{
    uint64_t n = 0;

    check_uint(value, rs, UINT32_MAX, v);
    if (v->outcome != KATA_APPLIED)
        return;
    (void)(rs ? to_rs_uint(value, UINT32_MAX, &n) : to_uint(value, UINT64_MAX, &n));
    if (n > PORTS_MAX) {
        fails(v, value, "at most 16 ports", "ask for at most 16");
    } else if (n == 0 && !rs) {
        v->outcome = KATA_IGNORED;
        kata_say(v->reason, "0 leaves the configured number of ports");
        kata_say(v->cure, "remove it");
    }
}

static void
check_vcpus(const char *value, bool rs, struct kata_verdict *v)
{
    char s[64];
    double d = 0;

    if (!trimmed(value, s, sizeof(s)) || (!rs && strcmp(s, value) != 0) || !to_float(s, &d)) {
        fails(v, value, "a number of vCPUs", "give a number, e.g. \"2\"");
    } else if (!rs && d < 0) {
        fails(v, value, "a number of 0 or more", "give a number, e.g. \"2\"");
    } else if (rs && d > RS_VCPUS_MAX) {
        fails(v, value, "at most 256 vCPUs", "give at most 256");
    } else if (!rs) {
        kata_say(v->reason, "applied; fails on a node with fewer CPUs than that");
    }
}

static void
check_go_memory(const char *value, struct kata_verdict *v)
{
    uint64_t n;

    if (!to_uint(value, UINT64_MAX, &n))
        fails(v, value, "a number of MiB", "give MiB as a plain number, e.g. \"8192\"");
    else if (n < GO_MEMORY_MIN)
        fails(v, value, "at least 256 MiB", "give MiB as a plain number, e.g. \"8192\"");
}

/* kata-types convert_to_megabytes: byte_unit, any case; a bare number is MiB. */
static bool
to_rs_memory(const char *value, double *ret_mib, bool *ret_bare)
{
    static const char scale[] = "kmgtpe";
    char s[64];
    size_t n;

    if (!trimmed(value, s, sizeof(s)))
        return false;
    n = strspn(s, "0123456789.");
    const char *unit = s + n;
    while (*unit == ' ')
        unit++;
    char number[64];
    (void)snprintf(number, sizeof(number), "%.*s", (int)n, s);
    if (!isdigit((unsigned char)number[0]) || !to_float(number, ret_mib))
        return false;
    *ret_bare = *unit == '\0' && strchr(number, '.') == NULL;
    if (*ret_bare)
        return true;
    const char *p = *unit ? strchr(scale, tolower((unsigned char)*unit)) : NULL;
    double factor = 1;
    if (p) {
        unit++;
        bool binary = tolower((unsigned char)*unit) == 'i';
        unit += binary;
        for (const char *c = scale; c <= p; c++)
            factor *= binary ? 1024 : 1000;
    }
    unit += tolower((unsigned char)*unit) == 'b';
    *ret_mib = *ret_mib * factor / (1024.0 * 1024.0);
    return *unit == '\0';
}

static void
check_rs_memory(const char *value, struct kata_verdict *v)
{
    char shown[KATA_SHOWN_MAX];
    double mib = 0;
    bool bare = false;

    if (!to_rs_memory(value, &mib, &bare)) {
        v->outcome = KATA_IGNORED;
        kata_say(v->reason, "\"%s\" is no size: runtime-rs logs an error and keeps its own",
                 kata_shown(value, shown));
        kata_say(v->cure, "give MiB as a plain number, or e.g. \"8 GiB\"");
    } else if (mib < RS_MEMORY_MIN) {
        fails(v, value, "at least 64 MiB", "give MiB as a plain number, or e.g. \"8 GiB\"");
    } else if (bare) {
        kata_say(v->reason,
                 "applied; runtime-rs before kata#13129 (2026-06) takes a number without "
                 "a unit as bytes and fails");
        kata_say(v->cure, "write the unit: \"%s MiB\"", kata_shown(value, shown));
    }
}

/* Standard base64 with padding; Go skips line breaks. */
static bool
is_base64(const char *s)
{
    size_t n = 0, pad = 0;

    for (; *s; s++) {
        if (*s == '\n' || *s == '\r')
            continue;
        if (*s == '=') {
            pad++;
        } else if (pad > 0 || !(isalnum((unsigned char)*s) || *s == '+' || *s == '/')) {
            return false;
        }
        n++;
    }
    return n % 4 == 0 && pad <= 2;
}

/* Go globs the file system and compares; runtime-rs matches the pattern. Here: the pattern. */
static void
check_glob(const struct kata_handler *h, const struct kata_key *k, const char *value,
           struct kata_verdict *v)
{
    const struct toml_value *list = kata_handler_value(h, k->list);
    bool go = h->facts.flavour == KATA_FLAVOUR_GO;
    char shown[KATA_SHOWN_MAX];

    (void)kata_shown(value, shown);
    if (h->n_files == 0) {
        v->outcome = KATA_UNSURE;
        kata_say(v->reason, "applied if %s of the handler allows the path, else the sandbox fails",
                 k->list);
        kata_say(v->cure, "give the handler's file by --kata-config");
        return;
    }
    for (size_t i = 0; i < toml_count(list); i++) {
        const char *glob = toml_string(toml_item(list, i));

        if (glob && fnmatch(glob, value, go ? FNM_PATHNAME : 0) == 0) {
            kata_say(v->reason, "%s allows the path%s", k->list,
                     go ? ", if it is there on the node" : "");
            return;
        }
    }
    v->outcome = KATA_FAILS;
    kata_say(v->reason, "%s of the handler does not allow \"%s\"", k->list, shown);
    kata_say(v->cure, "remove it, or add the path to %s", k->list);
}

static void
check_words(const struct kata_key *k, bool open, const char *value, struct kata_verdict *v)
{
    char shown[KATA_SHOWN_MAX], list[128];
    size_t n = 0;

    if (is_word(k->words, value))
        return;
    for (const char *w = k->words + (k->words[0] == '|'); *w && n + 2 < sizeof(list); w++)
        n += (size_t)snprintf(list + n, sizeof(list) - n, *w == '|' ? ", " : "%c", *w);
    if (open) {
        v->outcome = KATA_UNSURE;
        kata_say(v->reason, "\"%s\" is applied by some releases and ends the sandbox in others",
                 kata_shown(value, shown));
    } else {
        v->outcome = KATA_FAILS;
        kata_say(v->reason, "\"%s\" is not one of %s", kata_shown(value, shown), list);
    }
    kata_say(v->cure, "use one of %s", list);
}

/* A fault that a consumer in the guest finds ends the pod as well, only later. */
static void
check_initdata(const struct kata_handler *h, const char *value, struct kata_verdict *v)
{
    struct initdata *i = NULL;
    struct err e = ERR_INIT;

    if (*value == '\0' && h->facts.flavour == KATA_FLAVOUR_GO) {
        v->outcome = KATA_IGNORED;
        kata_say(v->reason, "empty: no initdata");
        kata_say(v->cure, "remove it");
        return;
    }
    int rc = initdata_parse(value, strlen(value), &i, &e);
    if (rc == 0) {
        kata_say(v->reason, "applied; %s over %zu bytes", i->algorithm, i->len);
        initdata_free(i);
        return;
    }
    v->outcome = rc == -EINVAL ? KATA_FAILS : KATA_UNSURE;
    kata_say(v->reason, "%.300s", e.msg);
    for (char *c = v->reason; *c; c++)
        if (*c < 0x20 || *c >= 0x7f)
            *c = '?';
    kata_say(v->cure, "see pgpuctl initdata check");
}

static void
check_bool(enum kata_kind kind, const char *value, struct kata_verdict *v)
{
    static const char go[] = "1|t|T|TRUE|true|True|0|f|F|FALSE|false|False"; /* strconv.ParseBool */
    char s[16];

    if (kind == KV_RS_BOOL) {
        if (!trimmed(value, s, sizeof(s)) || !is_word("true|false", s))
            fails(v, value, "true or false", "write \"true\" or \"false\"");
    } else if (!is_word(go, value)) {
        if (kind == KV_GO_BOOL) {
            fails(v, value, "true or false", "write \"true\" or \"false\"");
            return;
        }
        v->outcome = KATA_IGNORED;
        kata_say(v->reason, "not a boolean, taken as false");
        kata_say(v->cure, "write \"true\" or \"false\"");
    }
}

static void
check_json(char open, const char *value, struct kata_verdict *v)
{
    while (is_space(*value))
        value++;
    if (*value == open || strcmp(value, "null") == 0)
        return;
    fails(v, value, "a JSON list", "write e.g. [\"--log-level=warn\"]");
}

static void
check_remote(const struct kata_handler *h, struct kata_verdict *v)
{
    if (h->remote)
        return;
    v->outcome = KATA_IGNORED;
    kata_say(v->reason, "read for the remote hypervisor only, which this handler does not use");
    kata_say(v->cure, "remove it; GPUs are asked for by resource limits");
}

void
kata_value_check(const struct kata_handler *h, const struct kata_key *k, enum kata_kind kind,
                 const char *value, struct kata_verdict *v)
{
    bool rs = h->facts.flavour == KATA_FLAVOUR_RS;
    char shown[KATA_SHOWN_MAX];

    switch (kind) {
    case KV_ABSENT:
    case KV_STRING:
        break;
    case KV_GO_BOOL:
    case KV_GO_LAX_BOOL:
    case KV_RS_BOOL:
        check_bool(kind, value, v);
        break;
    case KV_GO_UINT:
    case KV_RS_U32:
        check_uint(value, rs, UINT32_MAX, v);
        break;
    case KV_RS_U64:
        check_uint(value, rs, UINT64_MAX, v);
        break;
    case KV_GO_PORTS:
    case KV_RS_PORTS:
        check_ports(value, rs, v);
        break;
    case KV_GO_VCPUS:
    case KV_RS_VCPUS:
        check_vcpus(value, rs, v);
        break;
    case KV_GO_MEMORY:
        check_go_memory(value, v);
        break;
    case KV_RS_MEMORY:
        check_rs_memory(value, v);
        break;
    case KV_GO_JSON:
    case KV_RS_JSON:
        check_json('[', value, v);
        break;
    case KV_WORDS:
        check_words(k, false, value, v);
        break;
    case KV_MAYBE:
        check_words(k, true, value, v);
        break;
    case KV_GLOB:
        check_glob(h, k, value, v);
        break;
    case KV_FILE:
        kata_say(v->reason, "applied, if \"%s\" is there on the node", kata_shown(value, shown));
        break;
    case KV_BASE64:
        if (!is_base64(value))
            fails(v, value, "base64", "encode the policy with base64 -w0");
        break;
    case KV_INITDATA:
        check_initdata(h, value, v);
        break;
    case KV_REMOTE:
        check_remote(h, v);
        break;
    case KV_EXPERIMENT:
        v->outcome = KATA_UNSURE;
        kata_say(v->reason, "fails unless the release has a feature named \"%s\"",
                 kata_shown(value, shown));
        kata_say(v->cure, "remove it");
        break;
    }
}
