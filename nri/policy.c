/* SPDX-License-Identifier: Apache-2.0
 *
 * What a policy has as data and by default, in one pass; its rules are kept for policy_rules.c.
 */
#include "nri/policy.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "nri/base64.h"
#include "nri/policy_rules.h"
#include "nri/rego.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Kubernetes: all annotations of an object together (apimachinery, TotalAnnotationSizeLimitB). */
#define ANNOTATION_MAX (256u * 1024)

/* Says of one rule name whether it is true by default and nothing else is said about it. */
struct default_rule {
    const char *name;
    size_t seen;
    bool is_true;
};

struct reading {
    struct default_rule create, failing;
    bool package;           /* agent_policy: what the agent asks (data.agent_policy.<request>) */
    struct rego_list rules; /* all but the data */
    size_t data;            /* definitions of policy_data */
    size_t oci;             /* containers in it */
    size_t annotations, sandboxes;
    size_t with_key; /* of the annotations that are no sandbox's */
};

/* One annotations object; the "{" is taken. False: the text ends in it. */
static bool
read_annotations(struct rego_scan *s, const char *key, struct reading *r)
{
    bool has_key = false, sandbox = false;
    unsigned depth = 1;

    while (depth > 0) {
        struct rego_token t = rego_next(s);
        bool is_key;

        if (t.kind == REGO_END || t.kind == REGO_BAD)
            return false;
        if (t.kind == REGO_SIGN && (*t.p == '{' || *t.p == '['))
            depth++;
        else if (t.kind == REGO_SIGN && (*t.p == '}' || *t.p == ']'))
            depth--;
        is_key = depth == 1 && t.kind == REGO_STRING && rego_take(s, REGO_SIGN, ":");
        if (is_key && rego_is(&t, REGO_STRING, key))
            has_key = true;
        if (is_key && rego_is(&t, REGO_STRING, "io.kubernetes.cri.container-type"))
            sandbox = rego_take(s, REGO_STRING, "sandbox");
    }
    r->annotations++;
    r->sandboxes += sandbox;
    r->with_key += has_key && !sandbox;
    return true;
}

/* policy_data := {...}; the "{" is taken. */
static bool
read_data(struct rego_scan *s, const char *key, struct reading *r)
{
    unsigned depth = 1;

    r->data++;
    while (depth > 0) {
        struct rego_token t = rego_next(s);

        if (t.kind == REGO_END || t.kind == REGO_BAD)
            return false;
        if (t.kind == REGO_SIGN && (*t.p == '{' || *t.p == '['))
            depth++;
        else if (t.kind == REGO_SIGN && (*t.p == '}' || *t.p == ']'))
            depth--;
        else if (t.kind == REGO_STRING && rego_take(s, REGO_SIGN, ":")) {
            /* "OCI": {"Annotations": {...}}, in older releases in lower case */
            struct rego_scan ahead = *s;

            if (!rego_take(&ahead, REGO_SIGN, "{"))
                continue;
            r->oci += rego_is(&t, REGO_STRING, "OCI") || rego_is(&t, REGO_STRING, "oci");
            if (!rego_is(&t, REGO_STRING, "Annotations") &&
                !rego_is(&t, REGO_STRING, "annotations"))
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
read_default(struct rego_scan *s, const struct rego_token *t, bool by_default,
             struct default_rule *d)
{
    struct rego_scan ahead = *s;

    if (!rego_is(t, REGO_NAME, d->name))
        return;
    d->seen++;
    if (by_default && rego_take_assign(&ahead) && rego_take(&ahead, REGO_NAME, "true"))
        d->is_true = true;
}

static bool
is_call(const struct rego_token *t, const char *name, const struct rego_scan *s)
{
    struct rego_scan ahead = *s;

    return rego_is(t, REGO_NAME, name) && rego_take(&ahead, REGO_SIGN, "(");
}

/* From "(" to behind its ")". False: the text ends in it. */
static bool
skip_call(struct rego_scan *s)
{
    unsigned depth = 0;

    do {
        struct rego_token t = rego_next(s);

        if (t.kind == REGO_END || t.kind == REGO_BAD)
            return false;
        depth += rego_is(&t, REGO_SIGN, "(");
        depth -= rego_is(&t, REGO_SIGN, ")");
    } while (depth > 0);
    return true;
}

/* False: no policy that could be read to its end. */
static bool
read_policy(struct rego_scan *s, const char *key, struct reading *r)
{
    bool by_default = false;

    r->package = rego_take(s, REGO_NAME, "package") && rego_take(s, REGO_NAME, "agent_policy") &&
                 !rego_take(s, REGO_SIGN, ".") && !rego_take(s, REGO_SIGN, "[");
    for (;;) {
        struct rego_token t = rego_next(s);

        if (t.kind == REGO_END)
            return true;
        if (t.kind == REGO_BAD)
            return false;
        if (is_call(&t, "print", s)) {
            if (!skip_call(s))
                return false;
            continue;
        }
        if (rego_is(&t, REGO_SIGN, ";"))
            continue;
        if (!rego_list_add(&r->rules, &t))
            return false;
        read_default(s, &t, by_default, &r->create);
        read_default(s, &t, by_default, &r->failing);
        by_default = rego_is(&t, REGO_NAME, "default");
        if (rego_is(&t, REGO_NAME, "policy_data") && rego_take_assign(s) &&
            (!rego_take(s, REGO_SIGN, "{") || !read_data(s, key, r)))
            return false;
    }
}

static bool
always(const struct default_rule *d)
{
    return d->is_true && d->seen == 1;
}

static bool
allows(const struct reading *r, const char *key)
{
    if (!r->package)
        return false;
    if (always(&r->create) || always(&r->failing))
        return true;
    return r->data == 1 && r->annotations == r->oci && r->annotations > r->sandboxes &&
           r->with_key == r->annotations - r->sandboxes && policy_rules_know_keys(&r->rules, key);
}

bool
policy_allows_annotation(const char *rego, size_t len, const char *key)
{
    struct rego_scan s = {.p = rego, .end = rego + len};
    struct reading r = {.create.name = "CreateContainerRequest",
                        .failing.name = "AllowRequestsFailingPolicy"};
    bool yes = read_policy(&s, key, &r) && allows(&r, key);

    rego_list_fini(&r.rules);
    return yes;
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
