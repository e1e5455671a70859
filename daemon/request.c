/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/request.h"

#include "base/fs.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

void
request_add(struct request_set *s, const struct request *rows, void *ctx)
{
    assert(s->n < REQUEST_TABLES_MAX);
    s->table[s->n].rows = rows;
    s->table[s->n].ctx = ctx;
    s->n++;
}

void
request_error(struct buf *out, const char *text)
{
    json_object *o = json_object_new_object();

    (void)json_object_object_add(o, "error", json_object_new_string(text));
    (void)buf_put_str(out, json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE));
    (void)buf_put_str(out, "\n");
    (void)json_object_put(o);
}

/* Number of words, or negative: too many, or a byte that no request has. */
static int
split(char *line, char **words)
{
    char *save = NULL;
    int n = 0;

    for (const char *p = line; *p; p++)
        if (!isprint((unsigned char)*p) && *p != '\t' && *p != '\r')
            return -1;
    for (char *w = strtok_r(line, " \t\r", &save); w; w = strtok_r(NULL, " \t\r", &save)) {
        if (n == REQUEST_WORDS_MAX)
            return -1;
        words[n++] = w;
    }
    return n;
}

/* How many words of the line the name takes; 0: it is another one. */
static size_t
name_fits(const char *name, char *const *words, size_t n)
{
    for (size_t used = 0; used < n; used++) {
        size_t len = strcspn(name, " ");

        if (strlen(words[used]) != len || memcmp(name, words[used], len) != 0)
            return 0;
        if (!name[len])
            return used + 1;
        name += len + 1;
    }
    return 0;
}

static const struct request *
find(const struct request_set *s, char *const *words, size_t n, size_t *ret_used, void **ret_ctx)
{
    const struct request *best = NULL;

    *ret_used = 0;
    for (size_t t = 0; t < s->n; t++)
        for (const struct request *r = s->table[t].rows; r->name; r++) {
            size_t used = name_fits(r->name, words, n);

            if (used > *ret_used) {
                best = r;
                *ret_used = used;
                *ret_ctx = s->table[t].ctx;
            }
        }
    return best;
}

static void
say_known(const struct request_set *s, struct buf *out, struct request_result *ret)
{
    struct buf text;
    const char *c;

    buf_init(&text, sizeof(ret->why) - 1);
    (void)buf_put_str(&text, "unknown request; known:");
    for (size_t t = 0; t < s->n; t++)
        for (const struct request *r = s->table[t].rows; r->name; r++)
            (void)buf_putf(&text, "%s %s%s%s", t || r != s->table[0].rows ? "," : "", r->name,
                           r->args[0] ? " " : "", r->args);
    c = buf_cstr(&text);
    (void)str_copy(ret->why, sizeof(ret->why), c ? c : "unknown request");
    request_error(out, ret->why);
    buf_fini(&text);
}

void
request_run(const struct request_set *s, char *line, struct request_call *call, struct buf *out,
            struct request_result *ret)
{
    char *words[REQUEST_WORDS_MAX];
    struct err e = ERR_INIT;
    int n = split(line, words);
    size_t used = 0, before = out->len;
    void *ctx = NULL;

    *ret = (struct request_result){.ok = false};
    ret->row = n > 0 ? find(s, words, (size_t)n, &used, &ctx) : NULL;
    if (!ret->row) {
        say_known(s, out, ret);
        return;
    }
    call->argc = (size_t)n - used;
    call->argv = words + used;
    if (call->argc > 0 && !ret->row->args[0])
        (void)err_set(&e, EINVAL, ERR_CLASS_INVALID, "%s takes no arguments", ret->row->name);
    else if (ret->row->run(ctx, call, out, &e) >= 0)
        ret->ok = true;
    call->argc = 0;
    call->argv = NULL;
    if (ret->ok && !buf_failed(out))
        return;
    if (ret->ok)
        (void)err_set(&e, EMSGSIZE, ERR_CLASS_FATAL, "the answer is too large");
    ret->ok = false;
    (void)str_copy(ret->why, sizeof(ret->why), e.msg);
    out->len = before;
    out->failed = false;
    request_error(out, e.msg);
}

bool
request_number(const struct request_call *call, const char *key, uint64_t *ret)
{
    size_t len = strlen(key);

    for (size_t i = 0; i < call->argc; i++) {
        const char *w = call->argv[i];
        char *end;

        if (strncmp(w, key, len) != 0 || w[len] != '=' || !isdigit((unsigned char)w[len + 1]))
            continue;
        errno = 0;
        *ret = strtoull(w + len + 1, &end, 10);
        return errno == 0 && !*end;
    }
    return false;
}
