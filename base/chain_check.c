/* SPDX-License-Identifier: Apache-2.0
 *
 * Checking chained lines. For every line:
 *
 *   1. is it a record by its form, and does its text match its hash?
 *   2. does it follow the record before it: number and prev?
 *   3. where a chain or a file begins, or something was torn: does the record say so?
 *
 * After a problem the line is taken for what it says of itself, so that one change is one problem.
 */
#include "base/chain.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEAD "{\"seq\":"
#define PREV ",\"prev\":\""
#define HASH ",\"hash\":\""
#define TAIL_LEN (sizeof(HASH) - 1 + CHAIN_HEX - 1 + 2)
#define JSON_DEPTH 8

static const char zeros[] = "0000000000000000000000000000000000000000000000000000000000000000";

const char *
chain_problem_name(enum chain_problem_kind k)
{
    static const char *const names[] = {
        [CHAIN_CHANGED] = "changed",     [CHAIN_UNLINKED] = "unlinked",
        [CHAIN_MISSING] = "missing",     [CHAIN_ORDER] = "order",
        [CHAIN_GARBAGE] = "garbage",     [CHAIN_BEGIN] = "begin",
        [CHAIN_TORN_TAIL] = "torn-tail", [CHAIN_BREAK] = "break",
        [CHAIN_OLDEST] = "oldest",       [CHAIN_CUT] = "cut",
    };

    return (size_t)k < ARRAY_SIZE(names) ? names[k] : "unknown";
}

void
chain_check_init(struct chain_check *c, void (*problem)(void *ctx, const struct chain_problem *p),
                 void *ctx)
{
    *c = (struct chain_check){.problem = problem, .ctx = ctx};
    chain_head_init(&c->head);
}

/* One line as it stands in a file. */
struct line {
    const char *file;
    uint64_t number, seq;
    const char *text; /* NUL-terminated copy without the newline */
    size_t len;
    const char *prev, *hash; /* in text, 64 digits each */
    bool changed;
    json_object *o; /* parsed on demand */
};

__attribute__((format(printf, 6, 7))) static void
complain(struct chain_check *c, enum chain_problem_kind kind, const char *file, uint64_t line,
         uint64_t seq, const char *fmt, ...)
{
    char text[400];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    c->problems++;
    if (c->problem)
        c->problem(c->ctx, &(struct chain_problem){kind, file, line, seq, text});
}

/* ---- 1. form ---- */

/* A number without leading zeros at *p, which is moved behind it. */
static bool
take_seq(const char **p, uint64_t *ret)
{
    char *end;

    if (**p < '1' || **p > '9')
        return false;
    errno = 0;
    *ret = strtoull(*p, &end, 10);
    *p = end;
    return errno == 0;
}

static bool
parse_line(struct line *l)
{
    const char *p = l->text + sizeof(HEAD) - 1;
    const char *tail = l->text + l->len - TAIL_LEN;

    if (l->len < sizeof(HEAD) + sizeof(PREV) + CHAIN_HEX + TAIL_LEN ||
        strlen(l->text) != l->len /* a NUL inside */ ||
        strncmp(l->text, HEAD, sizeof(HEAD) - 1) != 0 || !take_seq(&p, &l->seq) ||
        strncmp(p, PREV, sizeof(PREV) - 1) != 0)
        return false;
    l->prev = p + sizeof(PREV) - 1;
    l->hash = tail + sizeof(HASH) - 1;
    /* prev cannot reach into the tail: a quote and a comma stand behind it */
    return chain_is_hash(l->prev) && strncmp(l->prev + CHAIN_HEX - 1, "\",", 2) == 0 &&
           strncmp(tail, HASH, sizeof(HASH) - 1) == 0 && chain_is_hash(l->hash) &&
           strcmp(l->hash + CHAIN_HEX - 1, "\"}") == 0 && l->prev + CHAIN_HEX <= tail;
}

/* ---- 3. what a record says of the chain ---- */

static const char *
text_of(json_object *o, const char *key)
{
    json_object *v;

    return json_object_object_get_ex(o, key, &v) && json_object_is_type(v, json_type_string)
               ? json_object_get_string(v)
               : "";
}

static uint64_t
number_of(json_object *o, const char *key)
{
    json_object *v;

    return json_object_object_get_ex(o, key, &v) && json_object_is_type(v, json_type_int)
               ? json_object_get_uint64(v)
               : 0;
}

/* The record's `what` if it is of the kind "chain", else "". */
static const char *
chain_word(struct line *l)
{
    if (!l->o && !l->changed) {
        struct json_tokener *t = json_tokener_new_ex(JSON_DEPTH);

        l->o = t ? json_tokener_parse_ex(t, l->text, (int)l->len + 1) : NULL;
        json_tokener_free(t);
    }
    if (!json_object_is_type(l->o, json_type_object) || strcmp(text_of(l->o, "kind"), "chain") != 0)
        return "";
    return text_of(l->o, "what");
}

static void
note_first(struct chain_check *c, struct line *l)
{
    struct chain_origin o = {.seq = l->seq};
    json_object *oldest;

    if (chain_word(l)[0]) {
        (void)str_copy(o.id, sizeof(o.id), text_of(l->o, "chain"));
        if (json_object_object_get_ex(l->o, "oldest", &oldest) &&
            json_object_is_type(oldest, json_type_object)) {
            c->oldest.seq = number_of(oldest, "seq");
            (void)str_copy(c->oldest.id, sizeof(c->oldest.id), text_of(oldest, "chain"));
            (void)str_copy(c->oldest_file, sizeof(c->oldest_file), l->file);
        }
        if (json_object_object_get_ex(l->o, "missing", &oldest))
            complain(c, CHAIN_OLDEST, l->file, l->number, l->seq,
                     "pgpud found that the file that begins with record %" PRIu64
                     ", which was to be kept, had been taken away",
                     number_of(oldest, "seq"));
    }
    if (c->n_firsts < CHAIN_FILES_MAX)
        c->first[c->n_firsts++] = o;
}

static void
set_origin(struct chain_check *c, struct line *l)
{
    c->origin.seq = l->seq;
    (void)chain_word(l);
    (void)str_copy(c->origin.id, sizeof(c->origin.id), text_of(l->o, "chain"));
}

/* ---- 2. links ---- */

/* A line with seq 1 and a prev of zeros. */
static void
check_beginning(struct chain_check *c, struct line *l)
{
    const char *word = chain_word(l);

    if (strcmp(word, "break") == 0) {
        c->breaks++;
        complain(c, CHAIN_BREAK, l->file, l->number, l->seq, "a new chain, because pgpud found: %s",
                 text_of(l->o, "text"));
    } else if (c->begun || strcmp(word, "begins") != 0) {
        complain(c, CHAIN_BEGIN, l->file, l->number, l->seq,
                 c->begun ? "a new chain begins here, and nothing says why"
                          : "a chain begins here with a record that is none for that");
    }
    set_origin(c, l);
}

static void
check_link(struct chain_check *c, struct line *l)
{
    if (l->seq == 1 && strncmp(l->prev, zeros, CHAIN_HEX - 1) == 0) {
        if (c->begun || !l->changed)
            check_beginning(c, l);
        return;
    }
    if (!c->begun) {
        /* Older files are gone. Were they pruned? chain_check_end() knows. */
        if (!l->changed && strcmp(chain_word(l), "continues") != 0)
            complain(c, CHAIN_BEGIN, l->file, l->number, l->seq,
                     "the first record is number %" PRIu64 ": those before it are missing", l->seq);
        set_origin(c, l);
    } else if (l->seq <= c->head.seq) {
        complain(c, CHAIN_ORDER, l->file, l->number, l->seq,
                 "record %" PRIu64 " stands behind record %" PRIu64 ": put in, repeated or moved",
                 l->seq, c->head.seq);
    } else if (l->seq > c->head.seq + 1) {
        complain(c, CHAIN_MISSING, l->file, l->number, l->seq,
                 l->seq == c->head.seq + 2 ? "record %" PRIu64 " is missing before it"
                                           : "records %" PRIu64 " to %" PRIu64
                                             " are missing before it",
                 c->head.seq + 1, l->seq - 1);
    } else if (strncmp(l->prev, c->head.hash, CHAIN_HEX - 1) != 0) {
        complain(c, CHAIN_UNLINKED, l->file, l->number, l->seq,
                 "it does not follow from the record before it: one of the two was exchanged");
    }
}

static void
flush_bad(struct chain_check *c)
{
    if (!c->bad_pending)
        return;
    c->bad_pending = false;
    complain(c, CHAIN_GARBAGE, c->bad.file, c->bad.line, 0,
             c->bad.count == 1 ? "not a record" : "not a record, and neither are the next %" PRIu64,
             c->bad.count - 1);
}

/* Does this record explain the bad line in front of it? */
static bool
explains(const struct chain_check *c, struct line *l)
{
    return c->bad_pending && c->bad.count == 1 && strcmp(chain_word(l), "torn") == 0 &&
           number_of(l->o, "bytes") == c->bad.bytes &&
           strcmp(text_of(l->o, "sha256"), c->bad.hash) == 0;
}

static void
check_record(struct chain_check *c, struct line *l, bool first)
{
    char hash[CHAIN_HEX];
    struct err ignored = ERR_INIT;

    l->changed = chain_sha256(l->text, l->len - TAIL_LEN, hash, &ignored) < 0 ||
                 strncmp(hash, l->hash, CHAIN_HEX - 1) != 0;
    if (explains(c, l)) {
        c->bad_pending = false;
        c->torn++;
    }
    flush_bad(c);
    if (l->changed)
        complain(c, CHAIN_CHANGED, l->file, l->number, l->seq,
                 "record %" PRIu64 " was changed: its text does not match its hash", l->seq);
    if (first)
        note_first(c, l);
    check_link(c, l);
    c->begun = true;
    c->records++;
    c->head.seq = l->seq;
    memcpy(c->head.hash, l->hash, CHAIN_HEX - 1);
    c->expect_seen = c->expect_seen ||
                     (c->expect.seq == l->seq && !l->changed &&
                      (!c->expect.hash[0] || strncmp(c->expect.hash, l->hash, CHAIN_HEX - 1) == 0));
    if (c->record)
        c->record(c->ctx, l->file, l->number, l->seq, l->text, l->len);
}

/* ---- reading ---- */

/* A line that grows beyond what a record can be is only hashed. */
struct reader {
    char text[CHAIN_LINE_MAX + 1];
    size_t len;
    uint64_t bytes; /* of the line so far */
    EVP_MD_CTX *long_line;
    uint64_t number;
    bool any; /* record in this file */
};

static bool
line_hash(struct reader *r, char ret[CHAIN_HEX])
{
    unsigned char md[EVP_MAX_MD_SIZE];
    struct err ignored = ERR_INIT;
    unsigned n = 0;

    if (!r->long_line)
        return chain_sha256(r->text, r->len, ret, &ignored) >= 0;
    if (EVP_DigestUpdate(r->long_line, r->text, r->len) != 1 ||
        EVP_DigestFinal_ex(r->long_line, md, &n) != 1)
        return false;
    for (unsigned i = 0; i < n && i < 32; i++)
        (void)snprintf(ret + (size_t)i * 2, 3, "%02x", md[i]);
    return true;
}

static void
start_line(struct reader *r)
{
    EVP_MD_CTX_free(r->long_line);
    r->long_line = NULL;
    r->len = 0;
    r->bytes = 0;
}

static void
end_line(struct chain_check *c, const char *name, struct reader *r)
{
    struct line l = {.file = name, .number = ++r->number, .text = r->text, .len = r->len};

    r->text[r->len] = '\0';
    if (!r->long_line && parse_line(&l)) {
        check_record(c, &l, !r->any);
        r->any = true;
        (void)json_object_put(l.o);
    } else {
        if (!c->bad_pending) {
            c->bad.count = 0;
            c->bad.line = r->number;
            c->bad.bytes = r->bytes;
            (void)str_copy(c->bad.file, sizeof(c->bad.file), name);
            c->bad_pending = true;
            if (!line_hash(r, c->bad.hash))
                c->bad.hash[0] = '\0';
        }
        c->bad.count++;
    }
    start_line(r);
}

static bool
put_bytes(struct reader *r, const char *p, size_t n)
{
    r->bytes += n;
    while (n > 0) {
        size_t room = CHAIN_LINE_MAX - r->len;
        size_t k = n < room ? n : room;

        memcpy(r->text + r->len, p, k);
        r->len += k;
        p += k;
        n -= k;
        if (n == 0)
            return true;
        if (!r->long_line && (!(r->long_line = EVP_MD_CTX_new()) ||
                              EVP_DigestInit_ex(r->long_line, EVP_sha256(), NULL) != 1))
            return false;
        if (EVP_DigestUpdate(r->long_line, r->text, r->len) != 1)
            return false;
        r->len = 0;
    }
    return true;
}

static bool
feed(struct chain_check *c, const char *name, struct reader *r, const char *p, size_t n)
{
    while (n > 0) {
        const char *nl = memchr(p, '\n', n);
        size_t k = nl ? (size_t)(nl - p) : n;

        if (!put_bytes(r, p, k))
            return false;
        if (nl) {
            end_line(c, name, r);
            k++;
        }
        p += k;
        n -= k;
    }
    return true;
}

static void
end_file(struct chain_check *c, const char *name, struct reader *r)
{
    c->tail_torn = r->bytes > 0;
    c->tail_bytes = r->bytes;
    if (!c->tail_torn)
        return;
    flush_bad(c);
    if (!line_hash(r, c->tail_hash))
        c->tail_hash[0] = '\0';
    complain(c, CHAIN_TORN_TAIL, name, r->number + 1, 0,
             "the file ends within a line: a record was cut off or is just being written");
}

int
chain_check_fd(struct chain_check *c, const char *name, int fd, struct err *e)
{
    struct reader *r = calloc(1, sizeof(*r));
    char chunk[8192];
    ssize_t n = 0;
    bool ok = r != NULL;

    while (ok && (n = read(fd, chunk, sizeof(chunk))) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        ok = feed(c, name, r, chunk, (size_t)n);
    }
    if (!ok)
        (void)err_errno(e, ENOMEM, ERR_CLASS_FATAL, "read %s", name);
    else if (n < 0)
        (void)err_errno(e, errno, ERR_CLASS_FATAL, "read %s", name);
    else
        end_file(c, name, r);
    if (r)
        start_line(r);
    free(r);
    return ok && n == 0 ? 0 : -e->num;
}

int
chain_check_file(struct chain_check *c, const char *path, struct err *e)
{
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (fd < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "open %s", path);
    return chain_check_fd(c, path, fd, e);
}

void
chain_check_end(struct chain_check *c, bool whole)
{
    bool found = c->oldest.seq == 0;

    flush_bad(c);
    for (size_t i = 0; whole && i < c->n_firsts; i++)
        found = found ||
                (c->first[i].seq == c->oldest.seq && strcmp(c->first[i].id, c->oldest.id) == 0);
    if (whole && !found)
        complain(c, CHAIN_OLDEST, c->oldest_file, 1, 0,
                 "the file that begins with record %" PRIu64
                 " should still be kept, and is not there",
                 c->oldest.seq);
    if (whole && c->begun && c->n_firsts > 0 && c->first[0].seq > 1 && c->oldest.seq == 0)
        complain(c, CHAIN_OLDEST, c->oldest_file, 0, 0, "nothing says where the log should begin");
    if (c->expect.seq && !c->expect_seen && (c->expect.hash[0] || c->head.seq < c->expect.seq))
        complain(c, CHAIN_CUT, "", 0, c->expect.seq,
                 "record %" PRIu64 " should be there%s, and is not: the end was cut off or changed",
                 c->expect.seq, c->expect.hash[0] ? " with the hash that was given" : "");
}

bool
chain_first(const char *path, struct chain_origin *ret)
{
    char *text = calloc(1, CHAIN_LINE_MAX + 1);
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    ssize_t n = fd >= 0 && text ? read(fd, text, CHAIN_LINE_MAX) : -1;
    char *nl = n > 0 ? memchr(text, '\n', (size_t)n) : NULL;
    struct line l = {.file = path, .number = 1, .text = text};
    bool ok = false;

    if (nl) {
        *nl = '\0';
        l.len = (size_t)(nl - text);
        ok = parse_line(&l) && chain_word(&l)[0];
    }
    if (ok) {
        ret->seq = l.seq;
        ok = str_copy(ret->id, sizeof(ret->id), text_of(l.o, "chain"));
    }
    (void)json_object_put(l.o);
    free(text);
    return ok;
}
