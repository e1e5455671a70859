/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of base/err.c.
 */
#include "tests/unit/base/test_support.h"

static void
set_fills_everything_and_returns_the_negative_number(void **state)
{
    (void)state;
    struct err e = ERR_INIT;

    assert_int_equal(err_set(&e, EBUSY, ERR_CLASS_BUSY, "group %u held", 7u), -EBUSY);
    assert_int_equal(e.num, EBUSY);
    assert_int_equal(e.cls, ERR_CLASS_BUSY);
    assert_int_equal(e.reason, REASON_NONE);
    assert_string_equal(e.msg, "group 7 held");
}

static void
a_failure_is_negative_and_classified_even_if_the_caller_gave_neither(void **state)
{
    (void)state;
    struct err e = ERR_INIT;

    assert_int_equal(err_set(&e, 0, ERR_CLASS_NONE, "x"), -EIO);
    assert_int_equal(e.num, EIO);
    assert_int_not_equal(e.cls, ERR_CLASS_NONE);
    assert_int_equal(err_set(&e, -EPERM, ERR_CLASS_HW, "x"), -EIO);
}

static void
reason_is_kept_through_prefixes(void **state)
{
    (void)state;
    struct err e = ERR_INIT;

    assert_int_equal(err_reason(&e, ETIMEDOUT, ERR_CLASS_HW, REASON_FSP_SILENT, "no answer"),
                     -ETIMEDOUT);
    assert_int_equal(err_prefix(&e, "query %s", "0000:41:00.0"), -ETIMEDOUT);
    assert_string_equal(e.msg, "query 0000:41:00.0: no answer");
    assert_int_equal(e.reason, REASON_FSP_SILENT);
    assert_int_equal(e.cls, ERR_CLASS_HW);
}

static void
errno_text_is_appended(void **state)
{
    (void)state;
    struct err e = ERR_INIT;

    assert_int_equal(err_errno(&e, EACCES, ERR_CLASS_RETRY, "write %s", "bind"), -EACCES);
    assert_string_equal(e.msg, "write bind: Permission denied");
}

static void
a_new_error_replaces_the_reason_of_the_old_one(void **state)
{
    (void)state;
    struct err e = ERR_INIT;

    (void)err_reason(&e, EIO, ERR_CLASS_HW, REASON_STUCK, "a");
    (void)err_set(&e, EIO, ERR_CLASS_HW, "b");
    assert_int_equal(e.reason, REASON_NONE);
}

static void
long_messages_are_cut_and_stay_terminated(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    char big[2 * ERR_MSG_MAX];

    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    (void)err_set(&e, EIO, ERR_CLASS_HW, "%s", big);
    assert_int_equal(strlen(e.msg), ERR_MSG_MAX - 1);
    (void)err_errno(&e, EIO, ERR_CLASS_HW, "%s", big);
    assert_int_equal(strlen(e.msg), ERR_MSG_MAX - 1);
    (void)err_prefix(&e, "%s", big);
    assert_int_equal(strlen(e.msg), ERR_MSG_MAX - 1);
    (void)err_set(&e, EIO, ERR_CLASS_HW, "end");
    (void)err_prefix(&e, "%.500s", big);
    assert_has(e.msg, ": end");
}

static void
a_cut_message_never_ends_in_half_a_character(void **state)
{
    (void)state;

    for (int pad = 0; pad < 4; pad++) {
        struct err e = ERR_INIT;
        char big[2 * ERR_MSG_MAX] = "";

        memset(big, 'x', (size_t)pad);
        for (size_t n = (size_t)pad; n + 4 < sizeof(big); n += 3)
            memcpy(big + n, "\xe2\x82\xac", 4); /* the euro sign */
        (void)err_set(&e, EIO, ERR_CLASS_HW, "%s", big);
        size_t n = strlen(e.msg);
        assert_int_equal((n - (size_t)pad) % 3, 0);
        assert_true(n >= ERR_MSG_MAX - 4);
    }
}

static void
clear_empties(void **state)
{
    (void)state;
    struct err e = ERR_INIT;

    (void)err_set(&e, EIO, ERR_CLASS_HW, "x");
    err_clear(&e);
    assert_int_equal(e.num, 0);
    assert_int_equal(e.cls, ERR_CLASS_NONE);
    assert_string_equal(e.msg, "");
}

static void
every_class_has_a_name(void **state)
{
    (void)state;

    for (int c = ERR_CLASS_NONE; c <= ERR_CLASS_FATAL; c++)
        assert_string_not_equal(err_class_name((enum err_class)c), "unknown");
    assert_string_equal(err_class_name((enum err_class)99), "unknown");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_fills_everything_and_returns_the_negative_number),
        cmocka_unit_test(a_failure_is_negative_and_classified_even_if_the_caller_gave_neither),
        cmocka_unit_test(reason_is_kept_through_prefixes),
        cmocka_unit_test(errno_text_is_appended),
        cmocka_unit_test(a_new_error_replaces_the_reason_of_the_old_one),
        cmocka_unit_test(long_messages_are_cut_and_stay_terminated),
        cmocka_unit_test(a_cut_message_never_ends_in_half_a_character),
        cmocka_unit_test(clear_empties),
        cmocka_unit_test(every_class_has_a_name),
    };

    return cmocka_run_group_tests_name("base.err", tests, NULL, NULL);
}
