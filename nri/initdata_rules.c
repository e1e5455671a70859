/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules that initdata must keep, with what breaks where one is violated, and those of them that
 * are about the document. Who reads initdata (kata-containers 4.1.0):
 *   Go shim      src/runtime/pkg/oci/utils.go
 *   runtime-rs   src/libs/kata-types/src/initdata.rs and annotations/mod.rs, which unwraps its
 * result kata-agent   src/agent/src/initdata.rs
 */
#include "base/cleanup.h"
#include "nri/initdata_impl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct rule {
    const char *name;
    bool error;
    const char *breaks;
} rules[RULES] = {
    [RULE_EMPTY] =
        {"empty", true,
         "the Go shim refuses the sandbox, runtime-rs starts the guest without initdata"},
    [RULE_ANNOTATION_SIZE] = {"annotation-size", true,
                              "the API server refuses a pod with that many bytes of annotations"},
    [RULE_BASE64] = {"base64", true, "the Go shim refuses the sandbox, runtime-rs panics"},
    [RULE_LINE_BREAKS] = {"base64-line-breaks", true,
                          "runtime-rs panics (the Go shim skips them); encode with base64 -w0"},
    [RULE_GZIP] = {"gzip", true, "the Go shim refuses the sandbox, runtime-rs panics"},
    [RULE_GZIP_TRAILING] =
        {"gzip-trailing", true,
         "the Go shim reads on after the first member or fails there, runtime-rs "
         "ignores the rest: which digest is measured depends on the runtime"},
    [RULE_TOML_SIZE] = {"toml-size", true,
                        "pgpu reads no more; the guest would have to hold it in memory"},
    [RULE_TOML] = {"toml", true,
                   "both shims refuse the sandbox, and so would the kata-agent in the guest"},
    [RULE_VERSION] = {"version", true,
                      "runtime-rs refuses the sandbox; the Go shim does not look, but then the "
                      "kata-agent in the guest does not start"},
    [RULE_ALGORITHM] = {"algorithm", true,
                        "the Go shim panics, it has no hash then; runtime-rs refuses the sandbox"},
    [RULE_DATA] = {"data", true,
                   "runtime-rs refuses the sandbox, the kata-agent in the guest does not start"},
    [RULE_DATA_VALUE] = {"data-value", true,
                         "runtime-rs refuses the sandbox, the kata-agent in the guest does not "
                         "start"},
    [RULE_UNKNOWN_KEY] = {"unknown-key", false, "nobody reads it: it is measured, and that is all"},
    [RULE_AA] =
        {"aa.toml", true,
         "the attestation-agent in the guest cannot read its configuration: no attestation"},
    [RULE_AA_URL] = {"aa.toml-url", false,
                     "the attestation-agent knows no service that it could ask for a token"},
    [RULE_CDH] =
        {"cdh.toml", true,
         "the confidential-data-hub in the guest cannot read its configuration: no secrets, "
         "no encrypted or signed images"},
    [RULE_CDH_KBC] = {"cdh.toml-kbc", false,
                      "the confidential-data-hub knows no key broker: no secrets"},
    [RULE_POLICY] = {"policy.rego", false,
                     "the kata-agent asks for rules of the package agent_policy and takes what it "
                     "does not find for a refusal: no container starts"},
};

const char *
initdata_rule(size_t i, const char **ret_breaks)
{
    if (i >= RULES)
        return NULL;
    *ret_breaks = rules[i].breaks;
    return rules[i].name;
}

void
initdata_find(struct initdata_report *r, enum initdata_rule_id rule, const char *fmt, ...)
{
    struct initdata_finding *f;
    va_list ap;

    r->errors += rules[rule].error;
    if (r->n == INITDATA_FINDINGS_MAX)
        return;
    f = &r->v[r->n++];
    f->rule = rules[rule].name;
    f->error = rules[rule].error;
    f->num = rule == RULE_ANNOTATION_SIZE || rule == RULE_TOML_SIZE ? E2BIG : EINVAL;
    f->breaks = rules[rule].breaks;
    va_start(ap, fmt);
    (void)vsnprintf(f->what, sizeof(f->what), fmt, ap);
    va_end(ap);
    for (char *p = f->what; *p; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
            *p = '?'; /* it quotes the tenant's text and ends in logs and on terminals */
}

static void
check_version(struct initdata_report *r, const struct initdata *i)
{
    const struct toml_value *v = toml_get(toml_root(i->doc), "version");

    if (!v)
        initdata_find(r, RULE_VERSION, "there is no version, it must be \"0.1.0\"");
    else if (!toml_string(v))
        initdata_find(r, RULE_VERSION,
                      "line %u: version is of type %s, it must be the string \"0.1.0\"",
                      toml_line(v), toml_type_name(toml_type(v)));
    else if (strcmp(i->version, "0.1.0") != 0)
        initdata_find(r, RULE_VERSION, "line %u: version is \"%.40s\", it must be \"0.1.0\"",
                      toml_line(v), i->version);
}

static void
check_algorithm(struct initdata_report *r, const struct initdata *i)
{
    const struct toml_value *v = toml_get(toml_root(i->doc), "algorithm");

    if (!v)
        initdata_find(r, RULE_ALGORITHM,
                      "there is no algorithm, it must be sha256, sha384 or sha512");
    else if (!toml_string(v))
        initdata_find(r, RULE_ALGORITHM, "line %u: algorithm is of type %s, it must be a string",
                      toml_line(v), toml_type_name(toml_type(v)));
    else if (strncmp(i->algorithm, "sha-", 4) == 0)
        initdata_find(r, RULE_ALGORITHM,
                      "line %u: algorithm is \"%.40s\": the specification spells it so, the code "
                      "knows only sha256, sha384 and sha512",
                      toml_line(v), i->algorithm);
    else if (i->digest_len == 0)
        initdata_find(r, RULE_ALGORITHM,
                      "line %u: algorithm is \"%.40s\", it must be sha256, sha384 or sha512 (in "
                      "lower case)",
                      toml_line(v), i->algorithm);
}

static void
check_data(struct initdata_report *r, const struct initdata *i)
{
    const struct toml_value *root = toml_root(i->doc), *v = toml_get(root, "data");

    if (!v)
        initdata_find(r, RULE_DATA, "there is no table [data]");
    else if (!i->data)
        initdata_find(r, RULE_DATA, "line %u: data is of type %s, it must be a table", toml_line(v),
                      toml_type_name(toml_type(v)));
    for (size_t k = 0; k < toml_count(i->data); k++) {
        const struct toml_value *item = toml_item(i->data, k);

        if (!toml_string(item))
            initdata_find(r, RULE_DATA_VALUE,
                          "line %u: data \"%.60s\" is of type %s, it must be a string",
                          toml_line(item), toml_key(i->data, k), toml_type_name(toml_type(item)));
    }
    for (size_t k = 0; k < toml_count(root); k++) {
        const char *key = toml_key(root, k);

        if (strcmp(key, "version") != 0 && strcmp(key, "algorithm") != 0 &&
            strcmp(key, "data") != 0)
            initdata_find(r, RULE_UNKNOWN_KEY, "line %u: \"%.60s\" stands outside [data]",
                          toml_line(toml_item(root, k)), key);
    }
}

/* A configuration inside the initdata: *ret is NULL where there is none, or none that parses. */
static int
inner(struct initdata_report *r, const struct initdata *i, const char *key,
      enum initdata_rule_id rule, struct toml **ret, struct err *e)
{
    const struct toml_value *v = toml_get(i->data, key);
    struct toml_limits limits = {.bytes = INITDATA_TOML_MAX};
    struct err inner_err = ERR_INIT;
    const char *text;
    size_t len = 0;
    int rc;

    *ret = NULL;
    if (!v || !toml_string(v))
        return 0;
    text = toml_text(v, &len);
    rc = toml_parse(key, text, len, &limits, ret, &inner_err);
    if (rc == -ENOMEM) {
        *e = inner_err;
        return rc;
    }
    if (rc < 0)
        initdata_find(r, rule, "%s", inner_err.msg);
    return 0;
}

static bool
has_text_at(const struct toml *t, const char *const path[], size_t n)
{
    const char *s = toml_string(toml_path(toml_root(t), path, n));

    return s && s[0] != '\0';
}

static int
check_configs(struct initdata_report *r, const struct initdata *i, struct err *e)
{
    /* guest-components: attestation-agent and confidential-data-hub, their example configurations
     */
    static const char *const as_url[] = {"token_configs", "coco_as", "url"};
    static const char *const kbs_url[] = {"token_configs", "kbs", "url"};
    static const char *const kbc_name[] = {"kbc", "name"};
    static const char *const kbc_url[] = {"kbc", "url"};
    _cleanup_(toml_freep) struct toml *aa = NULL;
    _cleanup_(toml_freep) struct toml *cdh = NULL;
    int rc = inner(r, i, "aa.toml", RULE_AA, &aa, e);

    if (rc == 0)
        rc = inner(r, i, "cdh.toml", RULE_CDH, &cdh, e);
    if (rc < 0)
        return rc;
    if (aa && !has_text_at(aa, as_url, 3) && !has_text_at(aa, kbs_url, 3))
        initdata_find(r, RULE_AA_URL,
                      "aa.toml has no url in [token_configs.kbs] or [token_configs.coco_as]");
    if (cdh && (!has_text_at(cdh, kbc_name, 2) || !has_text_at(cdh, kbc_url, 2)))
        initdata_find(r, RULE_CDH_KBC, "cdh.toml has no name and url in [kbc]");
    return 0;
}

/* The package clause comes first in Rego, after comments. */
static bool
is_agent_policy(const char *p)
{
    static const char clause[] = "package";

    for (;;) {
        p += strspn(p, " \t\r\n");
        if (*p != '#')
            break;
        p += strcspn(p, "\n");
    }
    if (strncmp(p, clause, sizeof(clause) - 1) != 0)
        return false;
    p += sizeof(clause) - 1;
    p += strspn(p, " \t");
    return strncmp(p, "agent_policy", 12) == 0 && (p[12] == '\0' || strchr(" \t\r\n#;", p[12]));
}

int
initdata_check_document(struct initdata_report *r, struct initdata *i, struct err *e)
{
    check_version(r, i);
    check_algorithm(r, i);
    check_data(r, i);
    if (i->policy && !is_agent_policy(i->policy))
        initdata_find(r, RULE_POLICY, "policy.rego does not begin with \"package agent_policy\"");
    return check_configs(r, i, e);
}
