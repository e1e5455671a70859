/* SPDX-License-Identifier: Apache-2.0
 *
 * Initdata, from the annotation to its digest and back. The way, each step with its limit:
 *   1. base64, strict (line breaks are a finding, and skipped to find more)
 *   2. gzip: the first member, its checksum checked; what follows it is a finding
 *   3. TOML
 *   4. what the document says (initdata_rules.c)
 */
#include "nri/initdata.h"
#include "base/cleanup.h"
#include "nri/base64.h"
#include "nri/gzip.h"
#include "nri/initdata_impl.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    const EVP_MD *(*md)(void);
} algorithms[] = {{"sha256", EVP_sha256}, {"sha384", EVP_sha384}, {"sha512", EVP_sha512}};

static const struct initdata_tee tees[] = {
    {"snp", "HOSTDATA", 32, true},
    {"tdx", "MRCONFIGID", 48, true},
    {"cca", "CCA_REALM_PERSONALIZATION_VALUE", 64, false},
    {"sgx", "CONFIGID", 64, false},
    {"se", "user data", 256, false},
};

void
initdata_free(struct initdata *i)
{
    if (!i)
        return;
    toml_free(i->doc);
    free(i->text);
    free(i);
}

void
initdata_report_fini(struct initdata_report *r)
{
    initdata_free(r->initdata);
    r->initdata = NULL;
}

static int
no_memory(struct err *e)
{
    return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "read initdata");
}

static int
hash(struct initdata *i, struct err *e)
{
    for (size_t k = 0; k < ARRAY_SIZE(algorithms); k++) {
        unsigned n = 0;

        if (strcmp(i->algorithm, algorithms[k].name) != 0)
            continue;
        if (EVP_Digest(i->text, i->len, i->digest, &n, algorithms[k].md(), NULL) != 1)
            return err_set(e, EIO, ERR_CLASS_FATAL, "%s of the initdata: OpenSSL failed",
                           algorithms[k].name);
        i->digest_len = n;
    }
    return 0;
}

/* Takes the text over. */
static int
check_text(struct initdata_report *r, struct buf *text, struct err *e)
{
    struct toml_limits limits = {.bytes = INITDATA_TOML_MAX};
    _cleanup_(initdata_freep) struct initdata *i = calloc(1, sizeof(*i));
    const struct toml_value *root, *policy;
    struct err toml_err = ERR_INIT;
    int rc;

    if (!i || !buf_cstr(text))
        return no_memory(e);
    i->len = text->len;
    i->text = (char *)TAKE_PTR(uint8_t, text->data);
    rc = toml_parse("initdata", i->text, i->len, &limits, &i->doc, &toml_err);
    if (rc == -ENOMEM)
        return no_memory(e);
    if (rc < 0) {
        initdata_find(r, RULE_TOML, "%s", toml_err.msg);
        return 0;
    }
    root = toml_root(i->doc);
    i->version = toml_string(toml_get(root, "version"));
    i->algorithm = toml_string(toml_get(root, "algorithm"));
    i->version = i->version ? i->version : "";
    i->algorithm = i->algorithm ? i->algorithm : "";
    i->data = toml_get(root, "data");
    if (i->data && toml_type(i->data) != TOML_TABLE)
        i->data = NULL;
    policy = toml_get(i->data, "policy.rego");
    if (toml_string(policy))
        i->policy = toml_text(policy, &i->policy_len);
    rc = hash(i, e);
    if (rc == 0)
        rc = initdata_check_document(r, i, e);
    if (rc == 0)
        r->initdata = TAKE_PTR(struct initdata, i);
    return rc;
}

/* Steps 1 and 2. *ret_ok: there is a text to go on with. */
static int
unpack(struct initdata_report *r, const char *annotation, size_t len, struct buf *text,
       bool *ret_ok, struct err *e)
{
    _cleanup_(buf_fini) struct buf plain, packed;
    struct err why = ERR_INIT;
    size_t used = 0;

    *ret_ok = false;
    buf_init(&plain, INITDATA_ANNOTATION_MAX);
    buf_init(&packed, INITDATA_ANNOTATION_MAX);
    for (size_t i = 0; i < len; i++)
        if (annotation[i] != '\n' && annotation[i] != '\r')
            (void)buf_put_u8(&plain, (uint8_t)annotation[i]);
    if (buf_failed(&plain))
        return no_memory(e);
    if (plain.len < len)
        initdata_find(r, RULE_LINE_BREAKS, "%zu line break characters in the base64 text",
                      len - plain.len);
    if (base64_decode((const char *)plain.data, plain.len, &packed, &why) < 0) {
        initdata_find(r, RULE_BASE64, "not base64: %s", why.msg);
        return 0;
    }
    if (gzip_unpack(packed.data, packed.len, text, &used, &why) < 0) {
        if (why.num == ENOMEM)
            return no_memory(e);
        initdata_find(r, why.num == E2BIG ? RULE_TOML_SIZE : RULE_GZIP, "%s", why.msg);
        return 0;
    }
    if (used < packed.len)
        initdata_find(r, RULE_GZIP_TRAILING, "%zu bytes follow the first gzip member",
                      packed.len - used);
    *ret_ok = true;
    return 0;
}

static int
check_annotation(struct initdata_report *r, const char *annotation, size_t len, struct err *e)
{
    _cleanup_(buf_fini) struct buf text;
    bool ok;
    int rc;

    buf_init(&text, INITDATA_TOML_MAX);
    if (len == 0) {
        initdata_find(r, RULE_EMPTY, "the annotation is empty");
        return 0;
    }
    if (len > INITDATA_ANNOTATION_MAX) {
        initdata_find(r, RULE_ANNOTATION_SIZE, "%zu bytes, annotations may have %u together", len,
                      INITDATA_ANNOTATION_MAX);
        return 0;
    }
    rc = unpack(r, annotation, len, &text, &ok, e);
    if (rc < 0 || !ok)
        return rc;
    return check_text(r, &text, e);
}

static int
check_toml(struct initdata_report *r, const char *text, size_t len, struct err *e)
{
    _cleanup_(buf_fini) struct buf copy;

    buf_init(&copy, INITDATA_TOML_MAX);
    if (len == 0) {
        initdata_find(r, RULE_EMPTY, "the text is empty");
        return 0;
    }
    if (len > INITDATA_TOML_MAX) {
        initdata_find(r, RULE_TOML_SIZE, "%zu bytes, at most %u are read", len, INITDATA_TOML_MAX);
        return 0;
    }
    if (!buf_put(&copy, text, len))
        return no_memory(e);
    return check_text(r, &copy, e);
}

typedef int check_fn(struct initdata_report *r, const char *text, size_t len, struct err *e);

static int
check(check_fn *fn, const char *text, size_t len, struct initdata_report *ret, struct err *e)
{
    struct initdata_report r = {0};
    int rc = fn(&r, text, len, e);

    if (rc < 0)
        initdata_report_fini(&r);
    else
        *ret = r;
    return rc;
}

int
initdata_check(const char *annotation, size_t len, struct initdata_report *ret, struct err *e)
{
    return check(check_annotation, annotation, len, ret, e);
}

int
initdata_check_toml(const char *text, size_t len, struct initdata_report *ret, struct err *e)
{
    return check(check_toml, text, len, ret, e);
}

static int
parse(check_fn *fn, const char *text, size_t len, struct initdata **ret, struct err *e)
{
    struct initdata_report r = {0};
    int rc = fn(&r, text, len, e);

    for (size_t i = 0; i < r.n && rc == 0; i++)
        if (r.v[i].error)
            rc = err_set(e, r.v[i].num, ERR_CLASS_INVALID, "%s (%s)", r.v[i].what, r.v[i].breaks);
    if (rc == 0)
        *ret = TAKE_PTR(struct initdata, r.initdata);
    initdata_report_fini(&r);
    return rc;
}

int
initdata_parse(const char *annotation, size_t len, struct initdata **ret, struct err *e)
{
    return parse(check_annotation, annotation, len, ret, e);
}

int
initdata_parse_toml(const char *text, size_t len, struct initdata **ret, struct err *e)
{
    return parse(check_toml, text, len, ret, e);
}

int
initdata_encode(const char *text, size_t len, struct buf *out, struct err *e)
{
    _cleanup_(initdata_freep) struct initdata *i = NULL;
    _cleanup_(buf_fini) struct buf packed;
    size_t before = out->len;
    int rc;

    buf_init(&packed, INITDATA_ANNOTATION_MAX);
    rc = initdata_parse_toml(text, len, &i, e);
    if (rc == 0)
        rc = gzip_pack(text, len, &packed, e);
    if (rc < 0)
        return rc;
    base64_encode(packed.data, packed.len, out);
    if (buf_failed(out) || out->len - before > INITDATA_ANNOTATION_MAX)
        return err_set(e, E2BIG, ERR_CLASS_INVALID,
                       "encodes to more than the %u bytes that annotations may have together",
                       INITDATA_ANNOTATION_MAX);
    return 0;
}

const struct initdata_tee *
initdata_tee_at(size_t i)
{
    return i < ARRAY_SIZE(tees) ? &tees[i] : NULL;
}

const struct initdata_tee *
initdata_tee_by_name(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(tees); i++)
        if (strcmp(tees[i].name, name) == 0)
            return &tees[i];
    return NULL;
}

void
initdata_field(const struct initdata *i, const struct initdata_tee *tee, uint8_t *out)
{
    size_t n = i->digest_len < tee->len ? i->digest_len : tee->len;

    memset(out, 0, tee->len);
    memcpy(out, i->digest, n);
}
