/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of nri/base64.h.
 */
#include "base/cleanup.h"
#include "nri/base64.h"
#include "tests/unit/base/test_support.h"

/* RFC 4648 section 10, and all 64 characters. */
static const struct {
    const char *plain, *text, *hex;
} pairs[] = {
    {"", "", ""},
    {"f", "Zg==", "66"},
    {"fo", "Zm8=", "666f"},
    {"foo", "Zm9v", "666f6f"},
    {"foob", "Zm9vYg==", "666f6f62"},
    {"fooba", "Zm9vYmE=", "666f6f6261"},
    {"foobar", "Zm9vYmFy", "666f6f626172"},
    {"\xfb\xef\xbe\xff", "++++/w==", "fbefbeff"},
};

static void
known_pairs_go_both_ways(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_SIZE(pairs); k++) {
        struct err e = ERR_INIT;
        _cleanup_(buf_fini) struct buf plain, text, hex;

        buf_init(&plain, 100);
        buf_init(&text, 100);
        buf_init(&hex, 100);
        base64_encode(pairs[k].plain, strlen(pairs[k].plain), &text);
        assert_string_equal(buf_cstr(&text), pairs[k].text);
        hex_encode(pairs[k].plain, strlen(pairs[k].plain), &hex);
        assert_string_equal(buf_cstr(&hex), pairs[k].hex);
        assert_int_equal(base64_decode(pairs[k].text, strlen(pairs[k].text), &plain, &e), 0);
        assert_string_equal(buf_cstr(&plain), pairs[k].plain);
    }
}

static void
every_byte_value_survives(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(buf_fini) struct buf text, plain;
    uint8_t all[256];

    for (unsigned k = 0; k < sizeof(all); k++)
        all[k] = (uint8_t)k;
    for (size_t n = 253; n <= 256; n++) {
        buf_init(&text, 1000);
        buf_init(&plain, 256);
        base64_encode(all, n, &text);
        assert_int_equal(base64_decode((const char *)text.data, text.len, &plain, &e), 0);
        assert_int_equal(plain.len, n);
        assert_memory_equal(plain.data, all, n);
        buf_fini(&text);
        buf_fini(&plain);
    }
    buf_init(&text, 0);
    buf_init(&plain, 0);
}

static void
anything_but_canonical_text_is_refused_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"Zg", "no multiple of 4"},
        {"Zg=", "\"=\" before the end, at offset 2"},
        {"Zm9vY", "no multiple of 4"},
        {"=", "\"=\" before the end, at offset 0"},
        {"====", "at offset"},
        {"Z===", "at offset 1"},
        {"Zg==Zg==", "\"=\" before the end, at offset 2"},
        {"Zg=v", "\"=\" before the end, at offset 2"},
        {"Zh==", "\"h\" has bits left over"},
        {"Zm9=", "\"9\" has bits left over"},
        {"Zm9v\n", "byte 0x0a at offset 4"},
        {"Zm\n9v", "byte 0x0a at offset 2"},
        {"Zm9v YmE", "byte 0x20 at offset 4"},
        {"Zm-v", "URL-safe"},
        {"Zm_v", "URL-safe"},
        {"Zm*v", "\"*\" at offset 2"},
        {"Zm\xc3\xa4", "byte 0xc3 at offset 2"},
    };

    for (size_t k = 0; k < ARRAY_SIZE(bad); k++) {
        struct err e = ERR_INIT;
        _cleanup_(buf_fini) struct buf b;

        buf_init(&b, 100);
        if (base64_decode(bad[k].text, strlen(bad[k].text), &b, &e) == 0)
            fail_msg("accepted: %s", bad[k].text);
        assert_int_equal(e.num, EINVAL);
        assert_has(e.msg, bad[k].why);
    }
}

static void
the_output_is_bounded(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(buf_fini) struct buf b;

    buf_init(&b, 5);
    assert_fails(base64_decode("Zm9vYmFy", 8, &b, &e), e, E2BIG);
    assert_true(b.len <= 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_pairs_go_both_ways),
        cmocka_unit_test(every_byte_value_survives),
        cmocka_unit_test(anything_but_canonical_text_is_refused_with_its_place),
        cmocka_unit_test(the_output_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
