/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of nri/toml.h. The expected readings are those of the TOML 1.0 specification; all documents
 * here were also given to Python's tomllib, which agrees on every one, but reads U+0000
 * and integers of more than 64 bits.
 */
#include "base/buf.h"
#include "base/cleanup.h"
#include "nri/toml.h"
#include "tests/unit/base/test_support.h"

#include <math.h>

#define TEXT(s) (s), sizeof(s) - 1

static void
dump_text(struct buf *b, const char *s)
{
    (void)buf_put_u8(b, '"');
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;

        if (c < 0x20 || c == '"' || c == '\\' || c == 0x7f)
            (void)buf_putf(b, "\\x%02x", c);
        else
            (void)buf_put_u8(b, c);
    }
    (void)buf_put_u8(b, '"');
}

/* One line: strings quoted, i1, f1.5, true, dates bare, [..], {key=..}. */
static void
dump(struct buf *b, const struct toml_value *v)
{
    enum toml_type type = toml_type(v);
    bool table = type == TOML_TABLE, yes = false;
    int64_t i = 0;
    double f = 0;

    switch (type) {
    case TOML_STRING:
        dump_text(b, toml_text(v, NULL));
        return;
    case TOML_DATETIME:
        (void)buf_put_str(b, toml_text(v, NULL));
        return;
    case TOML_INT:
        assert_true(toml_int(v, &i));
        (void)buf_putf(b, "i%lld", (long long)i);
        return;
    case TOML_FLOAT:
        assert_true(toml_float(v, &f));
        (void)buf_putf(b, isnan(f) ? "fnan" : "f%.17g", f);
        return;
    case TOML_BOOL:
        assert_true(toml_bool(v, &yes));
        (void)buf_put_str(b, yes ? "true" : "false");
        return;
    case TOML_ARRAY:
    case TOML_TABLE:
        break;
    }
    (void)buf_put_u8(b, table ? '{' : '[');
    for (size_t k = 0; k < toml_count(v); k++) {
        if (k > 0)
            (void)buf_put_u8(b, ',');
        if (table)
            (void)buf_putf(b, "%s=", toml_key(v, k));
        dump(b, toml_item(v, k));
    }
    (void)buf_put_u8(b, table ? '}' : ']');
}

static const struct {
    const char *text, *reading;
} good[] = {
    {"", "{}"},
    {"# only a comment", "{}"},
    {"\n\t \r\n# c\r\n", "{}"},
    {"a = 1 # c\nb=2", "{a=i1,b=i2}"},
    {"a-b_3 = 1\n3 = 2", "{a-b_3=i1,3=i2}"},
    {"\"a b\" = 1\n'c\"d' = 2\n\"\" = 3", "{a b=i1,c\"d=i2,=i3}"},
    {"a.b = 1\na . 'c.d' = 2", "{a={b=i1,c.d=i2}}"},
    {"3.14 = 1", "{3={14=i1}}"},
    {"a = +7\nb = -17\nc = 1_000\nd = 0\ne=-0", "{a=i7,b=i-17,c=i1000,d=i0,e=i0}"},
    {"a = 0xDEAD_beef\nb = 0o755\nc = 0b1101", "{a=i3735928559,b=i493,c=i13}"},
    {"a = 9223372036854775807\nb = -9223372036854775808",
     "{a=i9223372036854775807,b=i-9223372036854775808}"},
    {"a = 3.25\nb = -0.5\nc = 5e+2\nd = 1E06\ne = 6.5e-1\nf = 1_0.2_5",
     "{a=f3.25,b=f-0.5,c=f500,d=f1000000,e=f0.65000000000000002,f=f10.25}"},
    {"a = inf\nb = -inf\nc = +nan", "{a=finf,b=f-inf,c=fnan}"},
    {"a = true\nb = false", "{a=true,b=false}"},
    {"a = \"x\\b\\t\\n\\f\\r\\\"\\\\\\u00e9\\U0001F600\"",
     "{a=\"x\\x08\\x09\\x0a\\x0c\\x0d\\x22\\x5c\u00e9\U0001F600\"}"},
    {"a = 'c:\\n'", "{a=\"c:\\x5cn\"}"},
    {"a = \"\"\"\nx\ny\"\"\"", "{a=\"x\\x0ay\"}"},
    {"a = \"\"\"x \\\n\n   y\"\"\"", "{a=\"x y\"}"},
    {"a = \"\"\"x\\  \n y\"\"\"", "{a=\"xy\"}"},
    {"a = \"\"\"\"q\"\"\"\"\"", "{a=\"\\x22q\\x22\\x22\"}"},
    {"a = \"\"\"a\"\"b\"\"\"", "{a=\"a\\x22\\x22b\"}"},
    {"a = '''\nit's \\'''", "{a=\"it's \\x5c\"}"},
    {"a = '''''x'''''", "{a=\"''x''\"}"},
    {"a = '''x\r\ny'''", "{a=\"x\\x0ay\"}"},
    {"a = ''\nb = \"\"\nc = ''''''", "{a=\"\",b=\"\",c=\"\"}"},
    {"a = 1979-05-27T07:32:00Z\nb = 1979-05-27 00:32:00.99-07:00\nc = 1979-05-27t07:32:00",
     "{a=1979-05-27T07:32:00Z,b=1979-05-27 00:32:00.99-07:00,c=1979-05-27t07:32:00}"},
    {"a = 2000-02-29\nb = 07:32:00\nc = 00:32:00.5 # x", "{a=2000-02-29,b=07:32:00,c=00:32:00.5}"},
    {"a = []\nb = [ ]\nc = [1,2,]", "{a=[],b=[],c=[i1,i2]}"},
    {"a = [ # c\n 1, # d\n\n 'x' # e\n , [2], {b=1} ]", "{a=[i1,\"x\",[i2],{b=i1}]}"},
    {"a = {}\nb = { c = 1, d.e = 2 , d.f = [\n3] }", "{a={},b={c=i1,d={e=i2,f=[i3]}}}"},
    {"[a]\nb = 1\n[ c . \"d e\" ] # c\nf = 2", "{a={b=i1},c={d e={f=i2}}}"},
    {"[a.b.c]\nx=1\n[a]\ny=2\n[a.b]\nz=3", "{a={b={c={x=i1},z=i3},y=i2}}"},
    {"[[a]]\nx=1\n[[a]]\n[a.b]\ny=2\n[[a.c]]\n[[a.c]]\nz=3",
     "{a=[{x=i1},{b={y=i2},c=[{},{z=i3}]}]}"},
    {"[a]\nb.c = 1\nb.d.e = 2\n[a.b.f]\ng = 3", "{a={b={c=i1,d={e=i2},f={g=i3}}}}"},
    {"[a.b.c]\n[a]\nb.d = 1", "{a={b={c={},d=i1}}}"},
};

static void
documents_are_read_as_the_specification_says(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_SIZE(good); k++) {
        struct err e = ERR_INIT;
        _cleanup_(toml_freep) struct toml *t = NULL;
        _cleanup_(buf_fini) struct buf b;

        buf_init(&b, 4096);
        if (toml_parse("t", good[k].text, strlen(good[k].text), NULL, &t, &e) < 0)
            fail_msg("%s\n%s", good[k].text, e.msg);
        dump(&b, toml_root(t));
        assert_string_equal(buf_cstr(&b), good[k].reading);
    }
}

/* What is wrong, and in which line it is said to be. */
static const struct {
    const char *text;
    unsigned line;
    const char *why;
} bad[] = {
    {"a", 1, "lacks its \"=\""},
    {"a =", 1, "a value should stand here"},
    {"\n= 1", 2, "a key should stand here"},
    {"a = 1 b = 2", 1, "where the line should end"},
    {"a = 1\rb = 2", 1, "byte 0x0d where the line should end"},
    {"\"\\u001b[m\u00e4\" = 1\n\"\\u001b[m\u00e4\" = 2", 2, "\"?[m??\" is defined twice"},
    {"a = yes", 1, "\"yes\" is no value"},
    {"a = 1\n\na = 2", 3, "defined twice, first in line 1"},
    {"a = 1\na.b = 2", 2, "may not add"},
    {"a.b = 1\na = 2", 2, "defined twice"},
    {"[a]\n[a]", 2, "defined twice, first in line 1"},
    {"a.b = 1\n[a]", 2, "defined twice"},
    {"a = 1\n[a]", 2, "defined twice"},
    {"a = {}\n[a.b]", 2, "closed in line 1"},
    {"a = {b = 1}\na.c = 2", 2, "may not add"},
    {"a = {b = {}, b.c = 1}", 1, "may not add"},
    {"a = [{}]\n[[a]]", 2, "defined otherwise"},
    {"a = []\n[a.b]", 2, "closed in line 1"},
    {"[a]\n[[a]]", 2, "defined otherwise"},
    {"[[a]]\n[a]", 2, "defined twice"},
    {"[[a]]\n[[a.b]]\n[a.b]", 3, "defined twice"},
    {"[a.b]\n[a]\nb.c = 1", 3, "may not add"},
    {"[[a.b]]\n[a]\nb.c = 1", 3, "may not add"},
    {"[a.b.c]\n[a]\nb.d = 1\n[a.b]", 4, "defined twice"},
    {"[a", 1, "lacks its \"]\""},
    {"[[a]", 1, "lacks its \"]]\""},
    {"[]", 1, "a key should stand here"},
    {"[a.]", 1, "a key should stand here"},
    {"[a] b = 1", 1, "where the line should end"},
    {"\"\"\"a\"\"\" = 1", 1, "multi-line"},
    {"a = \"x", 1, "never closed"},
    {"a = \"x\ny\"", 1, "not closed on its line"},
    {"\na = '''x\n", 2, "never closed"},
    {"a = \"\\q\"", 1, "\\q is no escape"},
    {"a = \"\\", 1, "a backslash without an escape"},
    {"a = \"\\u12\"", 1, "4 hexadecimal digits"},
    {"a = \"\\ud800\"", 1, "U+D800 is no character"},
    {"a = \"\\U00110000\"", 1, "U+110000 is no character"},
    {"a = \"\\u0000\"", 1, "U+0000"},
    {"a = \"\x01\"", 1, "control character 0x01 in a string"},
    {"a = '\x7f'", 1, "control character 0x7f in a string"},
    {"# \x02", 1, "control character 0x02 in a comment"},
    {"a = 01", 1, "may not begin with 0"},
    {"a = 1__0", 1, "no value"},
    {"a = _1", 1, "no value"},
    {"a = 1_", 1, "no value"},
    {"a = 0x", 1, "no value"},
    {"a = +0x1", 1, "no value"},
    {"a = 0o8", 1, "no value"},
    {"a = 9223372036854775808", 1, "64 bits"},
    {"a = -9223372036854775809", 1, "64 bits"},
    {"a = 1.", 1, "no value"},
    {"a = .5", 1, "no value"},
    {"a = 1.e2", 1, "no value"},
    {"a = 01.5", 1, "no value"},
    {"a = 1e", 1, "no value"},
    {"a = 2001-02-29", 1, "no value"},
    {"a = 2001-13-01", 1, "no value"},
    {"a = 24:00:00", 1, "no value"},
    {"a = 1979-05-27T07:32", 1, "no value"},
    {"a = 1979-05-27T07:32:00+24:00", 1, "no value"},
    {"a = [1", 1, "lacks a \",\" or its \"]\""},
    {"a = [1\n2]", 2, "lacks a \",\" or its \"]\""},
    {"a = [,]", 1, "a value should stand here"},
    {"a = {b = 1,}", 1, "a key should stand here"},
    {"a = {b = 1\n}", 1, "lacks a \",\" or its \"}\""},
    {"a = \"\xff\"", 1, "byte 0xff is not UTF-8"},
    {"\na = \"\xed\xa0\x80\"", 2, "byte 0xed is not UTF-8"},
    {"a = \"\xc0\x80\"", 1, "byte 0xc0 is not UTF-8"},
    {"a = \"\xf4\x90\x80\x80\"", 1, "byte 0xf4 is not UTF-8"},
    {"a = \"\xe2\x82", 1, "byte 0xe2 is not UTF-8"},
    {"a = \"\xe2\x82x\"", 1, "byte 0xe2 is not UTF-8"},
    {"\xef\xbb\xbf"
     "a = 1",
     1, "byte order mark"},
};

static void
errors_name_the_line_and_the_reason(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_SIZE(bad); k++) {
        struct err e = ERR_INIT;
        struct toml *t = NULL;
        char where[32];

        (void)snprintf(where, sizeof(where), "file:%u: ", bad[k].line);
        if (toml_parse("file", bad[k].text, strlen(bad[k].text), NULL, &t, &e) == 0)
            fail_msg("accepted: %s", bad[k].text);
        assert_null(t);
        assert_int_equal(e.num, EINVAL);
        assert_has(e.msg, where);
        assert_has(e.msg, bad[k].why);
    }
}

static void
a_nul_byte_is_no_text(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len;
    } texts[] = {{TEXT("a = 'x\0y'")},
                 {TEXT("# \0")},
                 {TEXT("\0")},
                 {TEXT("a\0 = 1")},
                 {TEXT("a = \0")},
                 {TEXT("a = 1\0")},
                 {TEXT("a = 1979-05-27\00007:32:00Z")}};

    for (size_t k = 0; k < ARRAY_SIZE(texts); k++) {
        struct err e = ERR_INIT;
        struct toml *t = NULL;

        assert_fails(toml_parse("t", texts[k].text, texts[k].len, NULL, &t, &e), e, EINVAL);
    }
}

static void
accessors_answer_only_for_their_type(void **state)
{
    (void)state;
    static const char *const path[] = {"hypervisor", "qemu", "default_vcpus"};
    struct err e = ERR_INIT;
    _cleanup_(toml_freep) struct toml *t = NULL;
    const struct toml_value *qemu, *v;
    int64_t i = 5;
    double f = 0;
    bool b = true;
    size_t len = 0;

    assert_int_equal(
        toml_parse("configuration-qemu.toml",
                   TEXT("# Kata\n[hypervisor.qemu]\npath = \"/opt/kata/bin/qemu\"\n"
                        "enable_annotations = [\"enable_iommu\", \"kernel_params\"]\n"
                        "default_vcpus = 1\noverhead = 0.5\nconfidential_guest = true\n"
                        "day = 2026-01-01\n[agent.kata]\nkernel_modules=[]\n"),
                   NULL, &t, &e),
        0);
    v = toml_path(toml_root(t), path, 3);
    assert_non_null(v);
    assert_int_equal(toml_type(v), TOML_INT);
    assert_int_equal(toml_line(v), 5);
    assert_true(toml_int(v, &i));
    assert_int_equal(i, 1);
    assert_true(toml_float(v, &f));
    assert_true(f == 1.0);
    assert_false(toml_bool(v, &b));
    assert_true(b);
    assert_null(toml_string(v));
    assert_null(toml_text(v, NULL));
    assert_int_equal(toml_count(v), 0);

    qemu = toml_path(toml_root(t), path, 2);
    assert_int_equal(toml_line(qemu), 2);
    assert_int_equal(toml_count(qemu), 6);
    assert_string_equal(toml_key(qemu, 1), "enable_annotations");
    assert_null(toml_key(qemu, 6));
    assert_null(toml_item(qemu, 6));
    v = toml_get(qemu, "enable_annotations");
    assert_string_equal(toml_type_name(toml_type(v)), "array");
    assert_string_equal(toml_string(toml_item(v, 1)), "kernel_params");
    assert_null(toml_key(v, 0));
    assert_string_equal(toml_text(toml_get(qemu, "path"), &len), "/opt/kata/bin/qemu");
    assert_int_equal(len, 18);
    v = toml_get(qemu, "day");
    assert_null(toml_string(v));
    assert_string_equal(toml_text(v, NULL), "2026-01-01");
    assert_false(toml_int(toml_get(qemu, "overhead"), &i));
    assert_int_equal(i, 1);

    assert_null(toml_get(qemu, "nothing"));
    assert_null(toml_get(toml_get(qemu, "path"), "x"));
    assert_null(toml_get(NULL, "x"));
    assert_null(toml_string(NULL));
    assert_false(toml_int(NULL, &i));
    assert_int_equal(toml_count(NULL), 0);
}

/* `n` times `unit`, with `head` before. */
static char *
repeat(const char *head, const char *unit, size_t n)
{
    size_t h = strlen(head), u = strlen(unit);
    char *s = malloc(h + n * u + 1);

    assert_non_null(s);
    memcpy(s, head, h + 1);
    for (size_t k = 0; k < n; k++)
        memcpy(s + h + k * u, unit, u + 1);
    return s;
}

static int
parse_repeated(const char *head, const char *unit, size_t n, const struct toml_limits *limits,
               struct err *e)
{
    _cleanup_(toml_freep) struct toml *t = NULL;
    _cleanup_free_ char *s = repeat(head, unit, n);

    return toml_parse("t", s, strlen(s), limits, &t, e);
}

static void
every_limit_holds_to_the_last(void **state)
{
    (void)state;
    const struct toml_limits small = {.bytes = 10, .depth = 3, .nodes = 4};
    struct toml *t = NULL;
    struct err e = ERR_INIT;

    assert_int_equal(toml_parse("t", TEXT("a=12345678"), &small, &t, &e), 0);
    toml_free(t);
    t = NULL;
    assert_fails(toml_parse("t", TEXT("a=123456789"), &small, &t, &e), e, E2BIG);
    err_clear(&e);
    /* the document is a value too, and counts */
    assert_int_equal(toml_parse("t", TEXT("a=[1,2]"), &small, &t, &e), 0);
    toml_free(t);
    t = NULL;
    assert_fails(toml_parse("t", TEXT("a=[1,2,3]"), &small, &t, &e), e, E2BIG);
    assert_has(e.msg, "more than 4 values");
    err_clear(&e);
    assert_int_equal(toml_parse("t", TEXT("a=[[[]]]"), &small, &t, &e), 0);
    toml_free(t);
    t = NULL;
    assert_fails(toml_parse("t", TEXT("a=[[[1]]]"), &small, &t, &e), e, E2BIG);
    assert_has(e.msg, "nested deeper than 3");
    assert_null(t);
}

static void
nesting_as_deep_as_the_text_is_long_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *head, *unit;
    } deep[] = {{"a = ", "["}, {"a = ", "{a="}, {"a", ".a"}, {"[a", ".a"}, {"[[a", ".a"}};

    for (size_t k = 0; k < ARRAY_SIZE(deep); k++) {
        struct err e = ERR_INIT;

        assert_fails(parse_repeated(deep[k].head, deep[k].unit, 200000, NULL, &e), e, E2BIG);
        assert_has(e.msg, "nested deeper");
    }
}

static void
many_keys_and_many_tables_are_no_burden(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct toml *t = NULL;
    _cleanup_(buf_fini) struct buf b;
    int64_t last = 0;

    buf_init(&b, 1u << 20);
    for (int k = 0; k < 50000; k++)
        (void)buf_putf(&b, "k%d=%d\n", k, k);
    assert_int_equal(toml_parse("t", (const char *)b.data, b.len, NULL, &t, &e), 0);
    assert_int_equal(toml_count(toml_root(t)), 50000);
    assert_true(toml_int(toml_get(toml_root(t), "k49999"), &last));
    assert_int_equal(last, 49999);
    toml_free(t);
    assert_int_equal(parse_repeated("", "[[a]]\n", 60000, NULL, &e), 0);
    assert_fails(parse_repeated("", "[[a]]\n", 70000, NULL, &e), e, E2BIG);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_are_read_as_the_specification_says),
        cmocka_unit_test(errors_name_the_line_and_the_reason),
        cmocka_unit_test(a_nul_byte_is_no_text),
        cmocka_unit_test(accessors_answer_only_for_their_type),
        cmocka_unit_test(every_limit_holds_to_the_last),
        cmocka_unit_test(nesting_as_deep_as_the_text_is_long_is_refused),
        cmocka_unit_test(many_keys_and_many_tables_are_no_burden),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
