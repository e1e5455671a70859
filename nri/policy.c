/* SPDX-License-Identifier: Apache-2.0
 *
 * A reading of Rego by its tokens: enough to tell rules, data and strings apart, and no more.
 */
#include "nri/policy.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "nri/base64.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Kubernetes: all annotations of an object together (apimachinery, TotalAnnotationSizeLimitB). */
#define ANNOTATION_MAX (256u * 1024)

enum token_kind { TOKEN_END, TOKEN_BAD, TOKEN_NAME, TOKEN_STRING, TOKEN_SIGN };

struct token {
    enum token_kind kind;
    const char *p; /* of a string: between its quotes */
    size_t len;
    bool escapes; /* a string with a backslash: never compared */
};

struct scan {
    const char *p, *end;
};

static bool
name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static void
skip_space(struct scan *s)
{
    while (s->p < s->end) {
        if (*s->p == '#')
            while (s->p < s->end && *s->p != '\n')
                s->p++;
        else if (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r')
            s->p++;
        else
            return;
    }
}

/* "..." with JSON's escapes on one line, or `...` as it is. */
static struct token
scan_string(struct scan *s)
{
    char quote = *s->p++;
    struct token t = {.kind = TOKEN_STRING, .p = s->p};

    for (; s->p < s->end && *s->p != quote; s->p++) {
        if (quote == '`')
            continue;
        if (*s->p == '\n')
            return (struct token){.kind = TOKEN_BAD};
        if (*s->p == '\\') {
            t.escapes = true;
            s->p++;
            if (s->p == s->end)
                break;
        }
    }
    if (s->p == s->end)
        return (struct token){.kind = TOKEN_BAD};
    t.len = (size_t)(s->p - t.p);
    s->p++;
    return t;
}

static struct token
next(struct scan *s)
{
    struct token t = {.kind = TOKEN_END};

    skip_space(s);
    if (s->p == s->end)
        return t;
    if (*s->p == '"' || *s->p == '`')
        return scan_string(s);
    t.p = s->p;
    t.kind = name_char(*s->p) ? TOKEN_NAME : TOKEN_SIGN;
    do
        s->p++;
    while (t.kind == TOKEN_NAME && s->p < s->end && name_char(*s->p));
    t.len = (size_t)(s->p - t.p);
    return t;
}

static bool
is(const struct token *t, enum token_kind kind, const char *text)
{
    return t->kind == kind && !t->escapes && t->len == strlen(text) &&
           memcmp(t->p, text, t->len) == 0;
}

static bool
take(struct scan *s, enum token_kind kind, const char *text)
{
    struct scan ahead = *s;
    struct token t = next(&ahead);

    if (!is(&t, kind, text))
        return false;
    *s = ahead;
    return true;
}

/* ":=" or "=". */
static bool
take_assign(struct scan *s)
{
    (void)take(s, TOKEN_SIGN, ":");
    return take(s, TOKEN_SIGN, "=") && !take(s, TOKEN_SIGN, "=");
}

/* Says of one rule name whether it is true by default and nothing else is said about it. */
struct default_rule {
    const char *name;
    size_t seen;
    bool is_true;
};

struct reading {
    struct default_rule create, failing;
    bool package;    /* agent_policy: what the agent asks (data.agent_policy.<request>) */
    bool knows_keys; /* genpolicy's rule about annotation keys is there */
    size_t data;     /* definitions of policy_data */
    size_t oci;      /* containers in it */
    size_t annotations, sandboxes;
    size_t with_key; /* of the annotations that are no sandbox's */
};

/* One annotations object; the "{" is taken. False: the text ends in it. */
static bool
read_annotations(struct scan *s, const char *key, struct reading *r)
{
    bool has_key = false, sandbox = false;
    unsigned depth = 1;

    while (depth > 0) {
        struct token t = next(s);
        bool is_key;

        if (t.kind == TOKEN_END || t.kind == TOKEN_BAD)
            return false;
        if (t.kind == TOKEN_SIGN && (*t.p == '{' || *t.p == '['))
            depth++;
        else if (t.kind == TOKEN_SIGN && (*t.p == '}' || *t.p == ']'))
            depth--;
        is_key = depth == 1 && t.kind == TOKEN_STRING && take(s, TOKEN_SIGN, ":");
        if (is_key && is(&t, TOKEN_STRING, key))
            has_key = true;
        if (is_key && is(&t, TOKEN_STRING, "io.kubernetes.cri.container-type"))
            sandbox = take(s, TOKEN_STRING, "sandbox");
    }
    r->annotations++;
    r->sandboxes += sandbox;
    r->with_key += has_key && !sandbox;
    return true;
}

/* policy_data := {...}; the "{" is taken. */
static bool
read_data(struct scan *s, const char *key, struct reading *r)
{
    unsigned depth = 1;

    r->data++;
    while (depth > 0) {
        struct token t = next(s);

        if (t.kind == TOKEN_END || t.kind == TOKEN_BAD)
            return false;
        if (t.kind == TOKEN_SIGN && (*t.p == '{' || *t.p == '['))
            depth++;
        else if (t.kind == TOKEN_SIGN && (*t.p == '}' || *t.p == ']'))
            depth--;
        else if (t.kind == TOKEN_STRING && take(s, TOKEN_SIGN, ":")) {
            /* "OCI": {"Annotations": {...}}, in older releases in lower case */
            struct scan ahead = *s;

            if (!take(&ahead, TOKEN_SIGN, "{"))
                continue;
            r->oci += is(&t, TOKEN_STRING, "OCI") || is(&t, TOKEN_STRING, "oci");
            if (!is(&t, TOKEN_STRING, "Annotations") && !is(&t, TOKEN_STRING, "annotations"))
                continue;
            *s = ahead;
            if (!read_annotations(s, key, r))
                return false;
        }
    }
    return true;
}

/* A name that stands for a default rule; `by_default` says that the word before was "default". */
static void
read_default(struct scan *s, const struct token *t, bool by_default, struct default_rule *d)
{
    struct scan ahead = *s;

    if (!is(t, TOKEN_NAME, d->name))
        return;
    d->seen++;
    if (by_default && take_assign(&ahead) && take(&ahead, TOKEN_NAME, "true"))
        d->is_true = true;
}

/* False: no policy that could be read to its end. */
static bool
read_policy(struct scan *s, const char *key, struct reading *r)
{
    bool by_default = false;

    r->package = take(s, TOKEN_NAME, "package") && take(s, TOKEN_NAME, "agent_policy") &&
                 !take(s, TOKEN_SIGN, ".") && !take(s, TOKEN_SIGN, "[");
    for (;;) {
        struct token t = next(s);

        if (t.kind == TOKEN_END)
            return true;
        if (t.kind == TOKEN_BAD)
            return false;
        read_default(s, &t, by_default, &r->create);
        read_default(s, &t, by_default, &r->failing);
        r->knows_keys = r->knows_keys || is(&t, TOKEN_NAME, "allow_anno_key");
        by_default = is(&t, TOKEN_NAME, "default");
        if (is(&t, TOKEN_NAME, "policy_data") && take_assign(s) &&
            (!take(s, TOKEN_SIGN, "{") || !read_data(s, key, r)))
            return false;
    }
}

static bool
always(const struct default_rule *d)
{
    return d->is_true && d->seen == 1;
}

bool
policy_allows_annotation(const char *rego, size_t len, const char *key)
{
    struct scan s = {.p = rego, .end = rego + len};
    struct reading r = {.create.name = "CreateContainerRequest",
                        .failing.name = "AllowRequestsFailingPolicy"};

    if (!read_policy(&s, key, &r) || !r.package)
        return false;
    if (always(&r.create) || always(&r.failing))
        return true;
    return r.knows_keys && r.data == 1 && r.annotations == r.oci && r.annotations > r.sandboxes &&
           r.with_key == r.annotations - r.sandboxes;
}

int
policy_decode(const char *annotation, size_t len, char **ret, size_t *ret_len, struct err *e)
{
    _cleanup_(buf_fini) struct buf plain, out;
    int rc;

    buf_init(&plain, ANNOTATION_MAX);
    buf_init(&out, ANNOTATION_MAX);
    if (len > ANNOTATION_MAX)
        return err_set(e, E2BIG, ERR_CLASS_INVALID,
                       POLICY_ANNOTATION ": %zu bytes, an object's annotations have at most %u",
                       len, ANNOTATION_MAX);
    for (size_t i = 0; i < len; i++)
        if (annotation[i] != '\n' && annotation[i] != '\r')
            (void)buf_put_u8(&plain, (uint8_t)annotation[i]);
    if (buf_failed(&plain))
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, POLICY_ANNOTATION);
    rc = base64_decode((const char *)plain.data, plain.len, &out, e);
    if (rc < 0)
        return err_prefix(e, POLICY_ANNOTATION ": not base64");
    if (!buf_cstr(&out))
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, POLICY_ANNOTATION);
    *ret_len = out.len;
    *ret = (char *)TAKE_PTR(uint8_t, out.data);
    return 0;
}
