/* SPDX-License-Identifier: Apache-2.0
 *
 * The support archive's parts: names out of text, and a tar that other programs read.
 */
#include "cli/redact.h"
#include "cli/tar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static char *
apply(const struct redact *r, const char *text)
{
    struct buf out;
    char *copy;

    buf_init(&out, 1u << 20);
    redact_apply(r, text, strlen(text), &out);
    assert_non_null(buf_cstr(&out));
    copy = strdup((const char *)out.data);
    buf_fini(&out);
    return copy;
}

static void
a_name_is_replaced_wherever_it_stands_and_by_the_same_word(void **state)
{
    static const char learned[] =
        "{\"units\":[{\"namespace\":\"bank\",\"pod\":\"payroll-llm-0\",\"state\":\"in_use\"}]}";
    struct redact *r = NULL;
    struct err e = ERR_INIT;
    char *json, *text, word[32] = "";

    (void)state;
    assert_int_equal(redact_new(false, &r, &e), 0);
    redact_learn(r, learned, strlen(learned));
    assert_int_equal(redact_count(r), 2);
    json = apply(r, learned);
    assert_null(strstr(json, "bank"));
    assert_null(strstr(json, "payroll"));
    assert_non_null(strstr(json, "\"state\":\"in_use\""));
    assert_int_equal(sscanf(strstr(json, "\"pod\":\""), "\"pod\":\"%30[a-z0-9-]", word), 1);
    assert_int_equal(strncmp(word, "pod-", 4), 0);
    /* in text for people, and within a longer word */
    text = apply(
        r,
        "waits for bank/payroll-llm-0. See k8s_main_payroll-llm-0_x, riverbank; xpayroll-llm-0y");
    assert_null(strstr(text, "payroll"));
    assert_null(strstr(text, " bank/"));
    assert_non_null(strstr(text, "riverbank"));
    assert_non_null(strstr(text, word));
    free(json);
    free(text);
    redact_free(r);
}

static void
another_archive_has_other_words(void **state)
{
    static const char learned[] = "{\"pod\":\"payroll\"}";
    struct redact *a = NULL, *b = NULL;
    struct err e = ERR_INIT;
    char *one, *two;

    (void)state;
    assert_int_equal(redact_new(false, &a, &e), 0);
    assert_int_equal(redact_new(false, &b, &e), 0);
    redact_learn(a, learned, strlen(learned));
    redact_learn(b, learned, strlen(learned));
    one = apply(a, learned);
    two = apply(b, learned);
    assert_string_not_equal(one, two);
    free(one);
    free(two);
    redact_free(a);
    redact_free(b);
}

static void
what_a_tenant_wrote_is_left_out_even_with_names(void **state)
{
    static const char lines[] =
        "{\"kind\":\"refusal\",\"pod\":\"p\",\"rule\":\"devices\",\"text\":\"annotation SECRET\"}\n"
        "no JSON at all\n"
        "{\"initdata_digest\":\"SECRET\",\"pod\":\"p\"}\n";
    struct redact *r = NULL;
    struct err e = ERR_INIT;
    char *text;

    (void)state;
    assert_int_equal(redact_new(true, &r, &e), 0);
    redact_learn(r, lines, strlen(lines));
    text = apply(r, lines);
    assert_null(strstr(text, "SECRET"));
    assert_non_null(strstr(text, "\"pod\":\"p\""));
    assert_non_null(strstr(text, "\"rule\":\"devices\""));
    assert_non_null(strstr(text, "no JSON at all\n"));
    free(text);
    redact_free(r);
}

static void
the_archive_is_a_tar_that_depends_on_its_contents_alone(void **state)
{
    struct buf tar, one, two;
    struct err e = ERR_INIT;
    unsigned char raw[8192];
    z_stream z = {0};
    char big[1000];
    unsigned sum = 0, stored = 0;

    (void)state;
    memset(big, 'b', sizeof(big));
    buf_init(&one, 1u << 20);
    buf_init(&two, 1u << 20);
    for (int i = 0; i < 2; i++) {
        buf_init(&tar, 1u << 20);
        assert_int_equal(tar_add(&tar, "top/a.txt", "hello\n", 6, &e), 0);
        assert_int_equal(tar_add(&tar, "top/b.txt", big, sizeof(big), &e), 0);
        assert_int_equal(tar_finish(&tar, i ? &two : &one, &e), 0);
        buf_fini(&tar);
    }
    assert_int_equal(one.len, two.len);
    assert_memory_equal(one.data, two.data, one.len);
    z.next_in = one.data;
    z.avail_in = (uInt)one.len;
    z.next_out = raw;
    z.avail_out = sizeof(raw);
    assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    /* header, content, header, content in two blocks, two empty blocks */
    assert_int_equal(z.total_out, 512 * (1 + 1 + 1 + 2 + 2));
    (void)inflateEnd(&z);
    assert_string_equal((char *)raw, "top/a.txt");
    assert_memory_equal(raw + 257,
                        "ustar\0"
                        "00",
                        8);
    assert_memory_equal(raw + 124, "00000000006", 12);
    assert_memory_equal(raw + 512, "hello\n", 6);
    assert_string_equal((char *)raw + 1024, "top/b.txt");
    assert_int_equal(sscanf((char *)raw + 148, "%o", &stored), 1);
    for (size_t i = 0; i < 512; i++)
        sum += i >= 148 && i < 156 ? ' ' : raw[i];
    assert_int_equal(sum, stored);
    buf_fini(&one);
    buf_fini(&two);
}

static void
a_name_that_is_too_long_is_refused(void **state)
{
    struct buf tar;
    struct err e = ERR_INIT;
    char name[200];

    (void)state;
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    buf_init(&tar, 1u << 20);
    assert_true(tar_add(&tar, name, "x", 1, &e) < 0);
    assert_true(tar_add(&tar, "", "x", 1, &e) < 0);
    buf_fini(&tar);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_replaced_wherever_it_stands_and_by_the_same_word),
        cmocka_unit_test(another_archive_has_other_words),
        cmocka_unit_test(what_a_tenant_wrote_is_left_out_even_with_names),
        cmocka_unit_test(the_archive_is_a_tar_that_depends_on_its_contents_alone),
        cmocka_unit_test(a_name_that_is_too_long_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
