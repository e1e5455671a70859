/* SPDX-License-Identifier: Apache-2.0
 *
 * The log sink: one record is one line and one write(2) to stderr. Owns the only global state of
 * the project, guarded by a mutex. Any thread.
 *
 * Values come from tenants and firmware too, so everything that could start a new line, a terminal
 * escape or invalid UTF-8 is escaped, and every record is bounded.
 */
#include "base/log.h"

#include "base/cleanup.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RECORD_MAX 8192 /* one line */
#define BODY_MAX 7680   /* message and fields: leaves room for the head and the repeat count */
#define VALUE_MAX 2048  /* one value, escaped */
#define TAIL_ROOM 32    /* kept free for the truncation mark and the end of the record */
#define REPEAT_SLOTS 8
#define REPEAT_TEXT 1024
#define REPEAT_NS 5000000000ull

/* What was printed lately. `text` is the record without its time, level and program; records that
 * do not fit are told apart by hash and length. */
struct repeat {
    uint64_t hash;
    uint64_t printed_ns;
    unsigned count;
    enum log_level level;
    size_t len;
    char text[REPEAT_TEXT];
};

static struct {
    pthread_mutex_t lock;
    const char *program;
    enum log_format format;
    enum log_level level;
    struct repeat repeats[REPEAT_SLOTS];
} sink = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .program = "pgpu",
    .format = LOG_FMT_LOGFMT,
    .level = LOG_LVL_INFO,
};

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static const char *const format_names[] = {"logfmt", "json"};

struct out {
    char text[RECORD_MAX];
    size_t len;
    size_t max; /* <= RECORD_MAX - TAIL_ROOM */
    bool first; /* the next field opens the record */
};

static bool
put(struct out *o, const char *s, size_t n)
{
    if (n > o->max - o->len)
        return false;
    memcpy(o->text + o->len, s, n);
    o->len += n;
    return true;
}

static bool
put_str(struct out *o, const char *s)
{
    return put(o, s, strlen(s));
}

/* Length of the valid UTF-8 sequence at s, 0 if there is none (RFC 3629: no overlong forms, no
 * surrogates, nothing above U+10FFFF). */
static size_t
utf8_len(const unsigned char *s)
{
    if (s[0] < 0x80)
        return 1;
    size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

/* One character of a quoted value into `x`; returns how many input bytes it stands for. The
 * escapes are those of JSON; logfmt readers take the same ones. */
static size_t
escape_char(const char *s, char x[8])
{
    const unsigned char *u = (const unsigned char *)s;
    size_t n = utf8_len(u);

    if (n == 0) {
        memcpy(x, "\\ufffd", 7);
        return 1;
    }
    /* C0, DEL and C1 controls: terminals act on them. */
    unsigned c = n == 2 && u[0] == 0xc2 && u[1] < 0xa0 ? u[1] : u[0];
    if (n == 1 && (c == '"' || c == '\\')) {
        x[0] = '\\';
        x[1] = (char)c;
        x[2] = '\0';
    } else if (c == '\n') {
        memcpy(x, "\\n", 3);
    } else if (c == '\t') {
        memcpy(x, "\\t", 3);
    } else if ((n == 1 && (c < 0x20 || c == 0x7f)) || (n == 2 && c < 0xa0)) {
        (void)snprintf(x, 8, "\\u%04x", c);
    } else {
        memcpy(x, s, n);
        x[n] = '\0';
    }
    return n;
}

static bool
put_quoted(struct out *o, const char *s)
{
    size_t start = o->len;

    if (!put(o, "\"", 1))
        return false;
    while (*s) {
        char x[8];
        size_t n = escape_char(s, x);

        if (o->len - start > VALUE_MAX) {
            if (!put_str(o, "..."))
                return false;
            break;
        }
        if (!put_str(o, x))
            return false;
        s += n;
    }
    return put(o, "\"", 1);
}

static bool
plain(const char *s)
{
    size_t n = 0;

    for (; s[n]; n++)
        if (s[n] <= ' ' || s[n] > '~' || s[n] == '"' || s[n] == '=' || s[n] == '\\')
            return false;
    return n <= VALUE_MAX;
}

/* Appends one field, or nothing if it does not fit. */
static bool
put_field(struct out *o, enum log_format format, const char *key, const char *value)
{
    size_t before = o->len;
    bool ok;

    if (!value)
        value = "";
    if (format == LOG_FMT_JSON) {
        ok = put(o, o->first ? "{" : ",", 1) && put_quoted(o, key) && put(o, ":", 1) &&
             put_quoted(o, value);
    } else {
        ok = (o->first || put(o, " ", 1)) && put_str(o, key) && put(o, "=", 1) &&
             (plain(value) ? put_str(o, value) : put_quoted(o, value));
    }
    if (ok)
        o->first = false;
    else
        o->len = before;
    return ok;
}

static void
put_head(struct out *o, enum log_level level)
{
    struct timespec now = {0};
    struct tm tm = {0};
    char date[40], stamp[64];

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &tm);
    (void)strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(stamp, sizeof(stamp), "%s.%03ldZ", date, now.tv_nsec / 1000000);
    (void)put_field(o, sink.format, "time", stamp);
    (void)put_field(o, sink.format, "level", level_names[level]);
    (void)put_field(o, sink.format, "program", sink.program);
}

/* Ends the record and writes it. What stderr does not take is lost: logging never blocks twice and
 * never fails its caller. */
static void
finish(struct out *o, bool truncated)
{
    const char *end = sink.format == LOG_FMT_JSON ? "}\n" : "\n";

    /* TAIL_ROOM is for exactly this. */
    if (truncated) {
        const char *mark =
            sink.format == LOG_FMT_JSON ? ",\"truncated\":\"true\"" : " truncated=true";
        memcpy(o->text + o->len, mark, strlen(mark));
        o->len += strlen(mark);
    }
    memcpy(o->text + o->len, end, strlen(end));
    o->len += strlen(end);

    ssize_t n;
    do
        n = write(STDERR_FILENO, o->text, o->len);
    while (n < 0 && errno == EINTR);
}

/* Formats message and fields alone, separator first, so that the text can follow a head; true if
 * some field did not fit. */
static bool
put_body(struct out *o, enum log_format format, const char *const *kv, size_t n)
{
    bool truncated = !put_field(o, format, "msg", n > 0 ? kv[0] : "");

    for (size_t i = 1; i < n; i += 2)
        if (!put_field(o, format, kv[i] ? kv[i] : "", i + 1 < n ? kv[i + 1] : NULL))
            truncated = true;
    return truncated;
}

static uint64_t
now_ns(void)
{
    struct timespec ts = {0};

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* FNV-1a, 64 bit (offset basis and prime from the FNV draft, draft-eastlake-fnv). */
static uint64_t
hash_text(const char *s, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)s[i]) * 0x100000001b3u;
    return h;
}

static bool
same(const struct repeat *r, enum log_level level, uint64_t hash, const struct out *body)
{
    return r->printed_ns != 0 && r->level == level && r->hash == hash && r->len == body->len &&
           (r->len > sizeof(r->text) || memcmp(r->text, body->text, r->len) == 0);
}

static void
print_record(enum log_level level, const char *body, size_t len, bool truncated, unsigned repeated)
{
    struct out o;
    char num[24];

    o.len = 0;
    o.max = RECORD_MAX - TAIL_ROOM;
    o.first = true;
    put_head(&o, level);
    if (!put(&o, body, len))
        truncated = true;
    if (repeated > 0)
        (void)put_field(&o, sink.format, "repeated", log_num_(num, sizeof(num), repeated));
    finish(&o, truncated);
}

/* Prints how often the others were held back, so that no count waits longer than for the next
 * printed record. */
static void
print_held_back(const struct repeat *except)
{
    for (size_t i = 0; i < REPEAT_SLOTS; i++) {
        struct repeat *r = &sink.repeats[i];

        if (r == except || r->count == 0)
            continue;
        if (r->len <= sizeof(r->text))
            print_record(r->level, r->text, r->len, false, r->count);
        else
            print_record(r->level, "", 0, true, r->count);
        r->count = 0;
    }
}

static void
emit_locked(enum log_level level, const struct out *body, bool truncated)
{
    uint64_t now = now_ns();
    uint64_t hash = hash_text(body->text, body->len);
    struct repeat *slot = NULL, *oldest = &sink.repeats[0];

    for (size_t i = 0; i < REPEAT_SLOTS; i++) {
        struct repeat *r = &sink.repeats[i];

        if (same(r, level, hash, body))
            slot = r;
        if (r->printed_ns < oldest->printed_ns)
            oldest = r;
    }
    if (slot && now - slot->printed_ns < REPEAT_NS) {
        slot->count++;
        return;
    }
    print_held_back(slot);
    if (!slot) {
        slot = oldest;
        *slot = (struct repeat){.hash = hash, .level = level, .len = body->len};
        if (body->len <= sizeof(slot->text))
            memcpy(slot->text, body->text, body->len);
    }
    print_record(level, body->text, body->len, truncated, slot->count);
    slot->count = 0;
    slot->printed_ns = now > 0 ? now : 1;
}

void
log_init(const char *program, enum log_format format, enum log_level level)
{
    (void)pthread_mutex_lock(&sink.lock);
    sink.program = program;
    sink.format = format;
    __atomic_store_n(&sink.level, level, __ATOMIC_RELAXED);
    /* The kept texts are in the old format. */
    memset(sink.repeats, 0, sizeof(sink.repeats));
    (void)pthread_mutex_unlock(&sink.lock);
}

void
log_set_level(enum log_level level)
{
    __atomic_store_n(&sink.level, level, __ATOMIC_RELAXED);
}

bool
log_enabled(enum log_level level)
{
    return level >= __atomic_load_n(&sink.level, __ATOMIC_RELAXED);
}

bool
log_level_from_name(const char *name, enum log_level *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(level_names); i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *ret = (enum log_level)i;
            return true;
        }
    }
    return false;
}

bool
log_format_from_name(const char *name, enum log_format *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(format_names); i++) {
        if (strcmp(name, format_names[i]) == 0) {
            *ret = (enum log_format)i;
            return true;
        }
    }
    return false;
}

void
log_emit(enum log_level level, const char *const *kv, size_t n)
{
    int saved = errno;
    struct out body;

    if (!log_enabled(level))
        return;
    body.len = 0;
    body.max = BODY_MAX;
    body.first = false;
    (void)pthread_mutex_lock(&sink.lock);
    bool truncated = put_body(&body, sink.format, kv, n);
    emit_locked(level, &body, truncated);
    (void)pthread_mutex_unlock(&sink.lock);
    errno = saved;
}

const char *
log_num_(char *buf, size_t size, long long v)
{
    (void)snprintf(buf, size, "%lld", v);
    return buf;
}
