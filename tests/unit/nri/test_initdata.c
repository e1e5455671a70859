/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of nri/initdata.h.
 */
#include "base/cleanup.h"
#include "nri/base64.h"
#include "nri/gzip.h"
#include "nri/initdata.h"
#include "tests/unit/base/test_support.h"

#include <zlib.h>

#define TEXT(s) (s), sizeof(s) - 1

/* %s is the algorithm. */
static const char sample_format[] = "version = \"0.1.0\"\n"
                                    "algorithm = \"%s\"\n"
                                    "\n"
                                    "[data]\n"
                                    "\"aa.toml\" = '''\n"
                                    "[token_configs]\n"
                                    "[token_configs.kbs]\n"
                                    "url = \"http://kbs.example:8080\"\n"
                                    "'''\n"
                                    "\n"
                                    "\"cdh.toml\" = '''\n"
                                    "socket = \"unix:///run/confidential-containers/cdh.sock\"\n"
                                    "credentials = []\n"
                                    "\n"
                                    "[kbc]\n"
                                    "name = \"cc_kbc\"\n"
                                    "url = \"http://kbs.example:8080\"\n"
                                    "'''\n"
                                    "\n"
                                    "\"policy.rego\" = '''\n"
                                    "package agent_policy\n"
                                    "\n"
                                    "default CreateContainerRequest := true\n"
                                    "'''\n";

/* Python: base64.b64encode(gzip.compress(<the text above with sha384>, 9, mtime=0)) */
static const char sample_annotation[] =
    "H4sIAAAAAAACA42PsW7EIBBEe74C0bgKdpQUlqWr7g/SWpa1h/dsBAYHlujy91kuuSKpUmwxszuP4QNTtjHIk1SdftadE"
    "uDXmCxte/XyBi/9qxJiXIBgEgpAU9y94mXTNGKk6DDMJoarXfP0R2t3Ya8kX1Eb0TG0LVsab7AfHoe+6/nByhHKLNsvco"
    "7GIdVgCfbGwTaV0N7BCway4J9YENjAP2hruiaUMAl/9pnD48TV3cVMIsCOlWbMzFr9s9URvTWfOuEaH8UOMA5WlDyB5u8"
    "DIRa8QvEkzwmB8Pxo9obvBTPJ4SQpFbxTvwBz0wvdcwEAAA==";

/* openssl dgst -<algorithm> of the text */
static const struct {
    const char *algorithm, *digest;
} golden[] = {
    {"sha256", "7b21739ab29b521fdc6ab7e86c159adf1b08bb242a1b2a716635c40ab6df771d"},
    {"sha384",
     "fef40266ed70d3b8a5e564e9acf7dc69d133c3ff2436c70b72f481f78e40b5df5f512715c6f1b968240abe"
     "abf9ba0e67"},
    {"sha512",
     "5b82c002aa6e6a976406fa3e4c75a305d932a72881abb17fae50c6209111b17b743646ceabc04772a67821"
     "aaa99752185d900aaa778438c4f9fc0e2382d262c2"},
};

static void
sample(const char *algorithm, struct buf *b)
{
    buf_init(b, 4096);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)buf_putf(b, sample_format, algorithm);
#pragma GCC diagnostic pop
    assert_non_null(buf_cstr(b));
}

/* Base64 of gzip, by zlib at its default level. */
static void
wrap(const void *text, size_t len, struct buf *ret)
{
    z_stream z = {0};
    uint8_t out[8192];
    _cleanup_free_ char *copy = malloc(len + 1);

    assert_non_null(copy);
    memcpy(copy, text, len);
    assert_int_equal(deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY),
                     Z_OK);
    z.next_in = (Bytef *)copy;
    z.avail_in = (uInt)len;
    z.next_out = out;
    z.avail_out = sizeof(out);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    buf_init(ret, INITDATA_ANNOTATION_MAX);
    base64_encode(out, sizeof(out) - z.avail_out, ret);
    assert_int_equal(deflateEnd(&z), Z_OK);
}

static void
assert_hex(const uint8_t *p, size_t n, const char *hex)
{
    _cleanup_(buf_fini) struct buf b;

    buf_init(&b, 1024);
    hex_encode(p, n, &b);
    assert_string_equal(buf_cstr(&b), hex);
}

static void
an_annotation_made_elsewhere_is_read_whole(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(initdata_freep) struct initdata *i = NULL;
    _cleanup_(buf_fini) struct buf text;

    sample("sha384", &text);
    if (initdata_parse(TEXT(sample_annotation), &i, &e) < 0)
        fail_msg("%s", e.msg);
    assert_string_equal(i->text, buf_cstr(&text));
    assert_int_equal(i->len, text.len);
    assert_string_equal(i->version, "0.1.0");
    assert_string_equal(i->algorithm, "sha384");
    assert_int_equal(toml_count(i->data), 3);
    assert_string_equal(toml_key(i->data, 1), "cdh.toml");
    assert_string_equal(i->policy,
                        "package agent_policy\n\ndefault CreateContainerRequest := true\n");
    assert_int_equal(i->policy_len, strlen(i->policy));
    assert_int_equal(i->digest_len, 48);
    assert_hex(i->digest, 48, golden[1].digest);
}

static void
digests_are_those_that_openssl_prints(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_SIZE(golden); k++) {
        struct err e = ERR_INIT;
        _cleanup_(initdata_freep) struct initdata *i = NULL;
        _cleanup_(buf_fini) struct buf text;

        sample(golden[k].algorithm, &text);
        assert_int_equal(initdata_parse_toml(buf_cstr(&text), text.len, &i, &e), 0);
        assert_int_equal(i->digest_len, strlen(golden[k].digest) / 2);
        assert_hex(i->digest, i->digest_len, golden[k].digest);
    }
}

static void
a_field_takes_the_digest_cut_or_filled_at_its_end(void **state)
{
    (void)state;
    static const struct {
        const char *name, *field;
        size_t len;
    } want[] = {{"snp", "HOSTDATA", 32},
                {"tdx", "MRCONFIGID", 48},
                {"cca", "CCA_REALM_PERSONALIZATION_VALUE", 64},
                {"sgx", "CONFIGID", 64},
                {"se", "user data", 256}};

    for (size_t k = 0; k < ARRAY_SIZE(golden); k++) {
        struct err e = ERR_INIT;
        _cleanup_(initdata_freep) struct initdata *i = NULL;
        _cleanup_(buf_fini) struct buf text;

        sample(golden[k].algorithm, &text);
        assert_int_equal(initdata_parse_toml(buf_cstr(&text), text.len, &i, &e), 0);
        for (size_t t = 0; t < ARRAY_SIZE(want); t++) {
            const struct initdata_tee *tee = initdata_tee_by_name(want[t].name);
            uint8_t out[INITDATA_FIELD_MAX + 1];
            char hex[2 * INITDATA_FIELD_MAX + 1];

            assert_non_null(tee);
            assert_ptr_equal(tee, initdata_tee_at(t));
            assert_string_equal(tee->field, want[t].field);
            assert_int_equal(tee->len, want[t].len);
            memset(out, 0xee, sizeof(out));
            initdata_field(i, tee, out);
            assert_int_equal(out[want[t].len], 0xee);
            memset(hex, '0', sizeof(hex));
            memcpy(hex, golden[k].digest, strlen(golden[k].digest));
            hex[2 * want[t].len] = '\0';
            assert_hex(out, want[t].len, hex);
        }
    }
    assert_null(initdata_tee_at(ARRAY_SIZE(want)));
    assert_null(initdata_tee_by_name("sev"));
}

static void
the_digest_is_over_bytes_not_over_meaning(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(initdata_freep) struct initdata *one = NULL;
    _cleanup_(initdata_freep) struct initdata *two = NULL;

    assert_int_equal(
        initdata_parse_toml(TEXT("version='0.1.0'\nalgorithm='sha256'\n[data]\n"), &one, &e), 0);
    assert_int_equal(
        initdata_parse_toml(TEXT("version='0.1.0'\nalgorithm='sha256'\n[data]\n\n"), &two, &e), 0);
    assert_memory_not_equal(one->digest, two->digest, 32);
}

#define HEAD "version = '0.1.0'\nalgorithm = 'sha256'\n"

/* The rules that a text violates, in the order they are found. Given as TOML and as annotation. */
static const struct {
    const char *text, *rules;
} documents[] = {
    {HEAD "[data]", ""},
    {HEAD "[data]\nx = 'y'", ""},
    {"algorithm = 'sha256'\n[data]", "version"},
    {"version = '0.2.0'\nalgorithm = 'sha256'\n[data]", "version"},
    {"version = 0.1\nalgorithm = 'sha256'\n[data]", "version"},
    {"version = '0.1.0'\n[data]", "algorithm"},
    {"version = '0.1.0'\nalgorithm = 'sha-256'\n[data]", "algorithm"},
    {"version = '0.1.0'\nalgorithm = 'SHA256'\n[data]", "algorithm"},
    {"version = '0.1.0'\nalgorithm = 'md5'\n[data]", "algorithm"},
    {"version = '0.1.0'\nalgorithm = 256\n[data]", "algorithm"},
    {HEAD, "data"},
    {HEAD "data = 'x'", "data"},
    {HEAD "[[data]]\nx = 'y'", "data"},
    {HEAD "[data]\nx = 1", "data-value"},
    {HEAD "[data]\naa.toml = 'the quotes are missing'", "data-value"},
    {HEAD "[data]\nx = 'y'\nx = 'z'", "toml"},
    {"{\"version\": \"0.1.0\"}", "toml"},
    {HEAD "[data]\nx = '\xff'", "toml"},
    {HEAD "x = 1\n[data]", "unknown-key"},
    {"x = 1", "version algorithm data unknown-key"},
    {HEAD "[data]\n'aa.toml' = '''[token_configs'''", "aa.toml"},
    {HEAD "[data]\n'aa.toml' = '''[token_configs]'''", "aa.toml-url"},
    {HEAD "[data]\n'aa.toml' = '''[token_configs.coco_as]\nurl = \"http://x\"'''", ""},
    {HEAD "[data]\n'cdh.toml' = '''kbc'''", "cdh.toml"},
    {HEAD "[data]\n'cdh.toml' = '''[kbc]\nname = \"cc_kbc\"'''", "cdh.toml-kbc"},
    {HEAD "[data]\n'policy.rego' = '''package coco_policy'''", "policy.rego"},
    {HEAD "[data]\n'policy.rego' = '''# package agent_policy'''", "policy.rego"},
    {HEAD "[data]\n'policy.rego' = '''package agent_policy2'''", "policy.rego"},
    {HEAD "[data]\n'policy.rego' = '''# x\n\npackage agent_policy\n'''", ""},
};

/* The same for annotations. */
static const struct {
    const char *text, *rules;
} annotations[] = {
    {"", "empty"},
    {"H4sI*", "base64"},
    {"H4sIA", "base64"},
    {"\nH4sI*", "base64-line-breaks base64"},
    {"H4sI", "gzip"},         /* only the beginning of its header */
    {"dmVyc2lvbg==", "gzip"}, /* the text itself in base64 */
};

/* Rules that were violated so far, by index. */
static bool seen[64];

static void
assert_rules(const struct initdata_report *r, const char *want)
{
    char got[1024] = "";
    size_t errors = 0;

    for (size_t k = 0; k < r->n; k++) {
        const char *name, *breaks;

        (void)snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s", k > 0 ? " " : "",
                       r->v[k].rule);
        errors += r->v[k].error;
        assert_true(r->v[k].what[0] != '\0' && r->v[k].breaks[0] != '\0');
        for (size_t i = 0; (name = initdata_rule(i, &breaks)) != NULL; i++)
            if (strcmp(name, r->v[k].rule) == 0) {
                assert_string_equal(breaks, r->v[k].breaks);
                seen[i] = true;
            }
    }
    assert_string_equal(got, want);
    assert_int_equal(r->errors, errors);
}

/* What initdata_parse says must agree: it fails exactly if there is an error. */
static void
check(const char *text, size_t len, bool annotation, const char *rules)
{
    struct err e = ERR_INIT;
    struct initdata_report r;
    struct initdata *i = NULL;
    int rc;

    assert_int_equal(
        annotation ? initdata_check(text, len, &r, &e) : initdata_check_toml(text, len, &r, &e), 0);
    assert_rules(&r, rules);
    rc = annotation ? initdata_parse(text, len, &i, &e) : initdata_parse_toml(text, len, &i, &e);
    assert_int_equal(rc<0, r.errors> 0);
    if (rc < 0) {
        size_t first = 0;

        while (!r.v[first].error)
            first++;
        assert_null(i);
        assert_int_equal(e.num, r.v[first].num);
        assert_has(e.msg, r.v[first].what);
        assert_has(e.msg, r.v[first].breaks);
    } else {
        assert_true(i->digest_len > 0);
    }
    initdata_free(i);
    initdata_report_fini(&r);
}

static void
check_packed(const struct buf *packed, const char *rules)
{
    _cleanup_(buf_fini) struct buf text;

    buf_init(&text, INITDATA_ANNOTATION_MAX);
    base64_encode(packed->data, packed->len, &text);
    check((const char *)text.data, text.len, true, rules);
}

static void
check_sizes(void)
{
    _cleanup_free_ char *huge = malloc(INITDATA_TOML_MAX + 1);

    assert_non_null(huge);
    memset(huge, '\n', INITDATA_TOML_MAX + 1);
    memcpy(huge, TEXT(HEAD "[data]"));
    check(huge, INITDATA_TOML_MAX, false, "");
    check(huge, INITDATA_TOML_MAX + 1, false, "toml-size");
    memset(huge, 'A', INITDATA_ANNOTATION_MAX + 1);
    check(huge, INITDATA_ANNOTATION_MAX, true, "gzip");
    check(huge, INITDATA_ANNOTATION_MAX + 1, true, "annotation-size");
}

static void
every_violated_rule_is_named_and_every_rule_can_be_violated(void **state)
{
    (void)state;
    const char *breaks;
    struct err e = ERR_INIT;
    _cleanup_(buf_fini) struct buf packed, text;

    for (size_t k = 0; k < ARRAY_SIZE(documents); k++) {
        _cleanup_(buf_fini) struct buf b;

        check(documents[k].text, strlen(documents[k].text), false, documents[k].rules);
        wrap(documents[k].text, strlen(documents[k].text), &b);
        check((const char *)b.data, b.len, true, documents[k].rules);
    }
    for (size_t k = 0; k < ARRAY_SIZE(annotations); k++)
        check(annotations[k].text, strlen(annotations[k].text), true, annotations[k].rules);
    check("", 0, false, "empty");
    check_sizes();

    /* one member and a stray byte, then two members: Go reads both, Rust's GzDecoder the first */
    buf_init(&packed, 4096);
    assert_int_equal(gzip_pack(TEXT(HEAD "[data]\n"), &packed, &e), 0);
    check_packed(&packed, "");
    assert_true(buf_put_u8(&packed, 0));
    check_packed(&packed, "gzip-trailing");
    packed.len--;
    assert_int_equal(gzip_pack(TEXT("x = 1\n"), &packed, &e), 0);
    check_packed(&packed, "gzip-trailing");

    buf_init(&text, 4096);
    (void)buf_put_str(&text, sample_annotation);
    check((const char *)text.data, text.len, true, "");
    (void)buf_put_u8(&text, '\n'); /* what base64 without -w0 makes */
    check((const char *)text.data, text.len, true, "base64-line-breaks");

    for (size_t i = 0; initdata_rule(i, &breaks); i++)
        if (!seen[i])
            fail_msg("no test violates %s", initdata_rule(i, &breaks));
}

static void
a_bomb_is_cut_off_at_the_limit(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(buf_fini) struct buf packed, text;
    struct initdata_report r;
    const size_t big = 64u << 20;
    _cleanup_free_ char *zeroes = calloc(1, big);

    assert_non_null(zeroes);
    buf_init(&packed, 1u << 20);
    buf_init(&text, 1u << 20);
    assert_int_equal(gzip_pack(zeroes, big, &packed, &e), 0);
    assert_true(packed.len < 100000);
    base64_encode(packed.data, packed.len, &text);
    assert_int_equal(initdata_check((const char *)text.data, text.len, &r, &e), 0);
    assert_rules(&r, "toml-size");
    assert_null(r.initdata);
    initdata_report_fini(&r);
}

static void
damage_to_the_packed_text_never_changes_the_text_unseen(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(buf_fini) struct buf packed, plain;
    size_t used = 0, passed = 0;

    buf_init(&packed, 4096);
    assert_int_equal(base64_decode(TEXT(sample_annotation), &packed, &e), 0);
    buf_init(&plain, 4096);
    assert_int_equal(gzip_unpack(packed.data, packed.len, &plain, &used, &e), 0);
    assert_int_equal(used, packed.len);
    for (size_t n = 0; n < packed.len; n++) {
        _cleanup_(buf_fini) struct buf b;

        err_clear(&e);
        buf_init(&b, 4096);
        assert_fails(gzip_unpack(packed.data, n, &b, &used, &e), e, EINVAL);
    }
    for (size_t n = 0; n < packed.len * 8; n++) {
        _cleanup_(buf_fini) struct buf b;

        err_clear(&e);
        buf_init(&b, 4096);
        packed.data[n / 8] ^= (uint8_t)(1u << n % 8);
        /* time, flags, system and bits between the parts mean nothing: those may pass */
        if (gzip_unpack(packed.data, packed.len, &b, &used, &e) == 0) {
            assert_int_equal(b.len, plain.len);
            assert_memory_equal(b.data, plain.data, b.len);
            passed++;
        }
        packed.data[n / 8] ^= (uint8_t)(1u << n % 8);
    }
    assert_in_range(passed, 6 * 8, 6 * 8 + 1 + 7); /* bytes 4 to 9, "is text", the last bits */
}

static void
what_is_encoded_is_the_same_each_time_and_reads_back(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(buf_fini) struct buf text, one, two, packed;
    _cleanup_(initdata_freep) struct initdata *i = NULL;

    sample("sha512", &text);
    buf_init(&one, INITDATA_ANNOTATION_MAX);
    buf_init(&two, INITDATA_ANNOTATION_MAX);
    buf_init(&packed, INITDATA_ANNOTATION_MAX);
    assert_int_equal(initdata_encode(buf_cstr(&text), text.len, &one, &e), 0);
    assert_int_equal(initdata_encode(buf_cstr(&text), text.len, &two, &e), 0);
    assert_string_equal(buf_cstr(&one), buf_cstr(&two));
    assert_int_equal(initdata_parse(buf_cstr(&one), one.len, &i, &e), 0);
    assert_string_equal(i->text, buf_cstr(&text));
    assert_hex(i->digest, i->digest_len, golden[2].digest);
    /* RFC 1952: magic, deflate, no flags, no time */
    assert_int_equal(base64_decode(buf_cstr(&one), one.len, &packed, &e), 0);
    assert_memory_equal(packed.data, "\x1f\x8b\x08\0\0\0\0\0", 8);
}

static void
what_breaks_a_rule_or_is_too_long_is_not_encoded(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(buf_fini) struct buf out, big;
    uint64_t noise = 88172645463325252u;

    buf_init(&out, INITDATA_ANNOTATION_MAX);
    buf_init(&big, INITDATA_TOML_MAX);
    assert_fails(initdata_encode(TEXT("version = '0.1.0'\n[data]"), &out, &e), e, EINVAL);
    assert_has(e.msg, "algorithm");
    err_clear(&e);
    (void)buf_put_str(&big, HEAD "[data]\nx = '");
    while (big.len <
           450000) { /* noise in hex packs to half its length: above the limit in base64 */
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        (void)buf_putf(&big, "%016llx", (unsigned long long)noise);
    }
    (void)buf_put_str(&big, "'\n");
    assert_fails(initdata_encode((const char *)big.data, big.len, &out, &e), e, E2BIG);
    assert_has(e.msg, "262144");
}

static void
findings_quote_foreign_text_without_control_characters(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct initdata_report r;

    assert_int_equal(
        initdata_check_toml(
            TEXT("version = '0.1.0'\nalgorithm = \"\\u001b[31m\\nsha\"\n\"\\u001b\" = 1\n[data]"),
            &r, &e),
        0);
    assert_rules(&r, "algorithm unknown-key");
    for (size_t k = 0; k < r.n; k++)
        for (const char *p = r.v[k].what; *p; p++)
            assert_in_range(*p, 0x20, 0x7e);
    assert_has(r.v[0].what, "?[31m?sha");
    initdata_report_fini(&r);
}

static void
a_report_has_room_for_the_first_findings_and_counts_all(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct initdata_report r;
    _cleanup_(buf_fini) struct buf b;

    buf_init(&b, 65536);
    (void)buf_put_str(&b, HEAD "[data]\n");
    for (int k = 0; k < 500; k++)
        (void)buf_putf(&b, "k%d = 1\n", k);
    assert_int_equal(initdata_check_toml((const char *)b.data, b.len, &r, &e), 0);
    assert_int_equal(r.n, INITDATA_FINDINGS_MAX);
    assert_int_equal(r.errors, 500);
    initdata_report_fini(&r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_annotation_made_elsewhere_is_read_whole),
        cmocka_unit_test(digests_are_those_that_openssl_prints),
        cmocka_unit_test(a_field_takes_the_digest_cut_or_filled_at_its_end),
        cmocka_unit_test(the_digest_is_over_bytes_not_over_meaning),
        cmocka_unit_test(every_violated_rule_is_named_and_every_rule_can_be_violated),
        cmocka_unit_test(a_bomb_is_cut_off_at_the_limit),
        cmocka_unit_test(damage_to_the_packed_text_never_changes_the_text_unseen),
        cmocka_unit_test(what_is_encoded_is_the_same_each_time_and_reads_back),
        cmocka_unit_test(what_breaks_a_rule_or_is_too_long_is_not_encoded),
        cmocka_unit_test(findings_quote_foreign_text_without_control_characters),
        cmocka_unit_test(a_report_has_room_for_the_first_findings_and_counts_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
