/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/redact.h"

#include "base/chain.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "cli/act_text.h"
#include "cli/json.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#define NAMES_MAX 8192
/* From here on a name is looked for within words, too. */
#define LONG_NAME 6

struct redact {
    bool off;
    char salt[33];
    json_object *names; /* name -> what stands for it */
};

static const char *
name_prefix(const char *key)
{
    static const struct {
        const char *key, *prefix;
    } keys[] = {
        {"pod", "pod"},
        {"namespace", "ns"},
        {"container", "ctr"},
        {"host", "node"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (strcmp(keys[i].key, key) == 0)
            return keys[i].prefix;
    return NULL;
}

/* Says nothing about a tenant, and stands in many a sentence. */
static bool
is_common(const char *name)
{
    static const char *const common[] = {"default", "kube-system", "kube-public", "gpu-operator"};

    for (size_t i = 0; i < ARRAY_SIZE(common); i++)
        if (strcmp(common[i], name) == 0)
            return true;
    return false;
}

int
redact_new(bool off, struct redact **ret, struct err *e)
{
    struct redact *r = calloc(1, sizeof(*r));
    unsigned char salt[16];

    if (!r || getrandom(salt, sizeof(salt), 0) != (ssize_t)sizeof(salt)) {
        free(r);
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "redact: no salt");
    }
    for (size_t i = 0; i < sizeof(salt); i++)
        (void)snprintf(r->salt + i * 2, 3, "%02x", salt[i]);
    r->off = off;
    r->names = json_object_new_object();
    *ret = r;
    return 0;
}

void
redact_free(struct redact *r)
{
    if (!r)
        return;
    (void)json_object_put(r->names);
    free(r);
}

size_t
redact_count(const struct redact *r)
{
    return (size_t)json_object_object_length(r->names);
}

/* ---- learning ---- */

static void
learn_name(struct redact *r, const char *prefix, const char *name)
{
    char salted[400], hash[CHAIN_HEX], word[24];
    struct err ignored = ERR_INIT;

    if (!name[0] || strlen(name) > 300 || is_common(name) || redact_count(r) >= NAMES_MAX ||
        json_object_object_get_ex(r->names, name, NULL))
        return;
    (void)snprintf(salted, sizeof(salted), "%s/%s", r->salt, name);
    if (chain_sha256(salted, strlen(salted), hash, &ignored) < 0)
        return;
    (void)snprintf(word, sizeof(word), "%s-%.10s", prefix, hash);
    (void)json_object_object_add(r->names, name, json_object_new_string(word));
}

static void
learn_value(struct redact *r, const char *key, json_object *v)
{
    const char *prefix = name_prefix(key);

    switch (json_object_get_type(v)) {
    case json_type_string:
        if (prefix)
            learn_name(r, prefix, json_object_get_string(v));
        break;
    case json_type_object: {
        json_object_object_foreach(v, k, child) learn_value(r, k, child);
        break;
    }
    case json_type_array:
        for (size_t i = 0; i < json_object_array_length(v); i++)
            learn_value(r, key, json_object_array_get_idx(v, i));
        break;
    case json_type_null:
    case json_type_boolean:
    case json_type_double:
    case json_type_int:
        break;
    }
}

/* Calls back for the JSON values of a text: the whole of it, or its lines. */
static void
each_value(const char *text, size_t len,
           void (*fn)(void *ctx, json_object *o, const char *line, size_t n), void *ctx)
{
    json_object *o = act_parse(text, len);
    const char *nl;

    if (o) {
        fn(ctx, o, text, len);
        (void)json_object_put(o);
        return;
    }
    for (; len > 0; text += nl - text + 1) {
        size_t n;

        nl = memchr(text, '\n', len);
        n = nl ? (size_t)(nl - text) : len;
        o = act_parse(text, n);
        fn(ctx, o, text, n);
        (void)json_object_put(o);
        if (!nl)
            return;
        len -= n + 1;
    }
}

static void
learn_one(void *ctx, json_object *o, const char *line, size_t n)
{
    (void)line;
    (void)n;
    learn_value(ctx, "", o);
}

void
redact_learn(struct redact *r, const char *text, size_t len)
{
    if (!r->off)
        each_value(text, len, learn_one, r);
}

/* ---- replacing ---- */

static bool
in_word(char c)
{
    return isalnum((unsigned char)c) || c == '-' || c == '.';
}

/* Whole words first, so that short names are found without hurting longer words. */
static void
replace_words(const struct redact *r, const char *text, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len;) {
        char word[320];
        json_object *alias;
        size_t n = 0, dots = 0;

        while (i + n < len && in_word(text[i + n]))
            n++;
        while (dots < n && text[i + n - dots - 1] == '.')
            dots++; /* of a sentence */
        if (n > dots && n - dots < sizeof(word)) {
            memcpy(word, text + i, n - dots);
            word[n - dots] = '\0';
            if (json_object_object_get_ex(r->names, word, &alias)) {
                (void)buf_put_str(out, json_object_get_string(alias));
                i += n - dots;
                continue;
            }
        }
        n = n ? n : 1;
        (void)buf_put(out, text + i, n);
        i += n;
    }
}

static void
replace_long(const char *name, const char *alias, struct buf *text)
{
    size_t n = strlen(name);
    struct buf out;
    const char *p = (const char *)text->data, *hit;
    size_t left = text->len;

    if (n < LONG_NAME || !p || !memmem(p, left, name, n))
        return;
    buf_init(&out, text->max);
    while ((hit = memmem(p, left, name, n))) {
        (void)buf_put(&out, p, (size_t)(hit - p));
        (void)buf_put_str(&out, alias);
        left -= (size_t)(hit - p) + n;
        p = hit + n;
    }
    (void)buf_put(&out, p, left);
    buf_fini(text);
    *text = out;
}

static void
replace_text(const struct redact *r, const char *text, size_t len, struct buf *out)
{
    struct buf b;

    if (r->off) {
        (void)buf_put(out, text, len);
        return;
    }
    buf_init(&b, 8u << 20);
    replace_words(r, text, len, &b);
    {
        json_object_object_foreach(r->names, name, alias)
            replace_long(name, json_object_get_string(alias), &b);
    }
    (void)buf_put(out, b.data, b.len);
    buf_fini(&b);
}

/* What a tenant wrote may be quoted in it. */
static bool
is_tenants(json_object *parent, const char *key)
{
    return strncmp(key, "initdata", 8) == 0 ||
           (strcmp(key, "text") == 0 && strcmp(json_str(parent, "kind"), "refusal") == 0);
}

/* A new value in the place of the old one. */
static json_object *
redacted(const struct redact *r, json_object *parent, const char *key, json_object *v)
{
    json_object *o;

    switch (json_object_get_type(v)) {
    case json_type_string: {
        struct buf b;

        if (json_object_get_string_len(v) > 0 && is_tenants(parent, key))
            return json_object_new_string("(left out)");
        buf_init(&b, 8u << 20);
        replace_text(r, json_object_get_string(v), (size_t)json_object_get_string_len(v), &b);
        o = json_object_new_string_len((const char *)buf_peek(&b), (int)buf_left(&b));
        buf_fini(&b);
        return o;
    }
    case json_type_object: {
        o = json_object_new_object();
        json_object_object_foreach(v, k, child)(void)
            json_object_object_add(o, k, redacted(r, v, k, child));
        return o;
    }
    case json_type_array:
        o = json_object_new_array();
        for (size_t i = 0; i < json_object_array_length(v); i++)
            (void)json_object_array_add(o, redacted(r, v, key, json_object_array_get_idx(v, i)));
        return o;
    case json_type_null:
    case json_type_boolean:
    case json_type_double:
    case json_type_int:
        return json_object_get(v);
    }
    return NULL;
}

struct apply {
    const struct redact *r;
    struct buf *out;
};

static void
apply_one(void *ctx, json_object *o, const char *line, size_t n)
{
    const struct apply *a = ctx;
    json_object *clean;

    if (!o) {
        replace_text(a->r, line, n, a->out);
    } else {
        clean = redacted(a->r, o, "", o);
        (void)buf_put_str(a->out,
                          json_object_to_json_string_ext(
                              clean, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
        (void)json_object_put(clean);
    }
    (void)buf_put_str(a->out, "\n");
}

void
redact_apply(const struct redact *r, const char *text, size_t len, struct buf *out)
{
    struct apply a = {r, out};

    each_value(text, len, apply_one, &a);
}
