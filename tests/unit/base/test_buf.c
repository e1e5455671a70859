/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of base/buf.c.
 */
#include "base/buf.h"
#include "tests/unit/base/test_support.h"

static void
what_was_put_is_got_back_in_both_byte_orders(void **state)
{
    (void)state;
    struct buf b;
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;

    buf_init(&b, 100);
    assert_true(buf_put_u8(&b, 0xab));
    assert_true(buf_put_be16(&b, 0x1234));
    assert_true(buf_put_le16(&b, 0x1234));
    assert_true(buf_put_be32(&b, 0xdeadbeef));
    assert_true(buf_put_le32(&b, 0xdeadbeef));
    assert_int_equal(buf_left(&b), 13);
    assert_memory_equal(buf_peek(&b), "\xab\x12\x34\x34\x12\xde\xad\xbe\xef\xef\xbe\xad\xde", 13);
    assert_true(buf_get_u8(&b, &u8));
    assert_int_equal(u8, 0xab);
    assert_true(buf_get_be16(&b, &u16));
    assert_int_equal(u16, 0x1234);
    assert_true(buf_get_le16(&b, &u16));
    assert_int_equal(u16, 0x1234);
    assert_true(buf_get_be32(&b, &u32));
    assert_int_equal(u32, 0xdeadbeef);
    assert_true(buf_get_le32(&b, &u32));
    assert_int_equal(u32, 0xdeadbeef);
    assert_int_equal(buf_left(&b), 0);
    buf_fini(&b);
}

static void
the_limit_is_an_error_and_not_a_truncation(void **state)
{
    (void)state;
    struct buf b;

    buf_init(&b, 5);
    assert_true(buf_put_str(&b, "abc"));
    assert_false(buf_put_str(&b, "def"));
    assert_true(buf_failed(&b));
    assert_int_equal(b.len, 3);
    assert_null(buf_cstr(&b));
    buf_fini(&b);
}

static void
exactly_the_limit_fits_and_can_still_be_terminated(void **state)
{
    (void)state;
    struct buf b;

    buf_init(&b, 5);
    assert_true(buf_put_str(&b, "abcde"));
    assert_false(buf_failed(&b));
    assert_string_equal(buf_cstr(&b), "abcde");
    assert_int_equal(b.len, 5);
    assert_true(b.cap <= 6);
    assert_false(buf_put_u8(&b, 'f'));
    buf_fini(&b);
}

static void
a_failure_is_sticky_so_that_no_middle_part_is_lost(void **state)
{
    (void)state;
    struct buf b;

    buf_init(&b, 4);
    assert_false(buf_put_str(&b, "too long"));
    assert_false(buf_put_u8(&b, 'x'));
    assert_int_equal(b.len, 0);
    buf_clear(&b);
    assert_false(buf_failed(&b));
    assert_true(buf_put_u8(&b, 'x'));
    buf_fini(&b);
}

static void
formatted_text_obeys_the_limit(void **state)
{
    (void)state;
    struct buf b;

    buf_init(&b, 8);
    assert_true(buf_putf(&b, "%d-%s", 12, "abc"));
    assert_string_equal(buf_cstr(&b), "12-abc");
    assert_false(buf_putf(&b, "%s", "def"));
    assert_int_equal(b.len, 6);
    buf_fini(&b);
}

static void
short_reads_consume_nothing(void **state)
{
    (void)state;
    struct buf b;
    uint32_t u32 = 7;
    uint8_t bytes[4];

    buf_init(&b, 8);
    assert_true(buf_put(&b, "\1\2\3", 3));
    assert_false(buf_get_be32(&b, &u32));
    assert_false(buf_get_le32(&b, &u32));
    assert_false(buf_get(&b, bytes, 4));
    assert_false(buf_skip(&b, 4));
    assert_false(buf_skip(&b, SIZE_MAX));
    assert_int_equal(u32, 7);
    assert_int_equal(buf_left(&b), 3);
    assert_true(buf_skip(&b, 3));
    assert_false(buf_get_u8(&b, bytes));
    buf_fini(&b);
}

static void
compacting_keeps_what_was_not_read(void **state)
{
    (void)state;
    struct buf b;

    buf_init(&b, 4);
    assert_true(buf_put(&b, "abcd", 4));
    assert_true(buf_skip(&b, 3));
    buf_compact(&b);
    assert_int_equal(b.len, 1);
    assert_true(buf_put(&b, "efg", 3));
    assert_memory_equal(buf_peek(&b), "defg", 4);
    buf_fini(&b);
}

static void
an_empty_buffer_can_be_peeked_cleared_and_freed(void **state)
{
    (void)state;
    struct buf b;

    buf_init(&b, 0);
    assert_non_null(buf_peek(&b));
    assert_int_equal(buf_left(&b), 0);
    assert_true(buf_put(&b, NULL, 0));
    assert_false(buf_put_u8(&b, 1));
    buf_clear(&b);
    buf_compact(&b);
    assert_string_equal(buf_cstr(&b), "");
    buf_fini(&b);
    buf_fini(&b);
}

static void
growth_never_passes_the_limit(void **state)
{
    (void)state;
    struct buf b;

    buf_init(&b, 1000);
    for (unsigned i = 0; i < 1000; i++)
        assert_true(buf_put_u8(&b, (uint8_t)(i & 0xff)));
    assert_true(b.cap <= 1001);
    for (unsigned i = 0; i < 1000; i++) {
        uint8_t v;
        assert_true(buf_get_u8(&b, &v));
        assert_int_equal(v, i & 0xff);
    }
    assert_false(buf_put_u8(&b, 0));
    buf_fini(&b);
}

static void
absurd_lengths_fail_without_overflow(void **state)
{
    (void)state;
    struct buf b;

    buf_init(&b, SIZE_MAX);
    assert_true(buf_put_u8(&b, 1));
    assert_false(buf_put(&b, "x", SIZE_MAX));
    buf_clear(&b);
    assert_false(buf_put(&b, "x", SIZE_MAX));
    buf_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_got_back_in_both_byte_orders),
        cmocka_unit_test(the_limit_is_an_error_and_not_a_truncation),
        cmocka_unit_test(exactly_the_limit_fits_and_can_still_be_terminated),
        cmocka_unit_test(a_failure_is_sticky_so_that_no_middle_part_is_lost),
        cmocka_unit_test(formatted_text_obeys_the_limit),
        cmocka_unit_test(short_reads_consume_nothing),
        cmocka_unit_test(compacting_keeps_what_was_not_read),
        cmocka_unit_test(an_empty_buffer_can_be_peeked_cleared_and_freed),
        cmocka_unit_test(growth_never_passes_the_limit),
        cmocka_unit_test(absurd_lengths_fail_without_overflow),
    };

    return cmocka_run_group_tests_name("base.buf", tests, NULL, NULL);
}
