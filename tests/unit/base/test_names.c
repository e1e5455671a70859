/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of the small vocabularies: base/reason.c, base/cc_mode.c, base/pci_addr.c and the
 * descriptor helpers of base/cleanup.c.
 */
#include "base/cc_mode.h"
#include "base/cleanup.h"
#include "base/pci_addr.h"
#include "base/reason.h"
#include "tests/unit/base/test_support.h"

static void
every_reason_has_a_unique_name_that_leads_back_and_a_cure(void **state)
{
    (void)state;

    for (unsigned i = 0; i < REASON_COUNT; i++) {
        enum reason r = (enum reason)i;

        assert_int_equal(reason_from_name(reason_name(r)), r);
        if (r != REASON_NONE) {
            size_t n = strlen(reason_cure(r));
            assert_true(n > 0);
            assert_true(reason_cure(r)[n - 1] != '.');
        }
    }
    assert_string_equal(reason_name(REASON_FSP_SILENT), "FSP_SILENT");
}

static void
unknown_reasons_are_survived(void **state)
{
    (void)state;

    assert_string_equal(reason_name((enum reason)REASON_COUNT), "UNKNOWN");
    assert_string_equal(reason_name((enum reason) - 1), "UNKNOWN");
    assert_string_equal(reason_cure((enum reason) - 1), "");
    assert_string_equal(reason_cure(REASON_NONE), "");
    assert_int_equal(reason_from_name("no such thing"), REASON_NONE);
}

static void
settable_modes_lead_back_from_their_names(void **state)
{
    (void)state;
    static const enum cc_mode modes[] = {CC_MODE_OFF, CC_MODE_ON, CC_MODE_DEVTOOLS, CC_MODE_PPCIE};

    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        enum cc_mode m = CC_MODE_UNKNOWN;
        assert_true(cc_mode_parse(cc_mode_name(modes[i]), &m));
        assert_int_equal(m, modes[i]);
    }
}

static void
unsettable_modes_and_other_words_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"invalid", "unknown", "", "ON", "on ", "true"};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        enum cc_mode m = CC_MODE_PPCIE;
        assert_false(cc_mode_parse(bad[i], &m));
        assert_int_equal(m, CC_MODE_PPCIE);
    }
    assert_string_equal(cc_mode_name(CC_MODE_INVALID), "invalid");
    assert_string_equal(cc_mode_name((enum cc_mode)77), "unknown");
}

static void
addresses_are_written_as_they_were_read(void **state)
{
    (void)state;
    static const char *const good[] = {"0000:41:00.0", "0000:00:1f.7", "ffff:ff:1f.7",
                                       "10000:01:00.0", "ffffffff:ff:1f.7"};

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct pci_addr a;
        assert_true(pci_addr_parse(good[i], &a));
        assert_string_equal(PCI_STR(a), good[i]);
    }
}

static void
everything_but_the_full_form_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "41:00.0",
        "0000:41:00",
        "0000:41:00.",
        "0000:41:00.8",
        "0000:41:20.0",
        "0000:4g:00.0",
        "0000:4:00.0",
        "0000:041:00.0",
        "000:41:00.0",
        "00000:41:00.0",
        "00001:41:00.0",
        "123456789:41:00.0",
        "0000:41:00.0 ",
        " 0000:41:00.0",
        "0000:41:00.00",
        "0000:AB:00.0",
        "0000:41:00.0/../x",
        "0000.41:00.0",
        "0000:41.00.0",
        "-001:41:00.0",
        "0x00:41:00.0",
        "\xff\xff\xff\xff:41:00.0",
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct pci_addr a = {.domain = 7, .bus = 7, .dev = 7, .fn = 7};
        if (pci_addr_parse(bad[i], &a))
            fail_msg("accepted \"%s\"", bad[i]);
        assert_int_equal(a.domain, 7);
        assert_int_equal(a.fn, 7);
    }
}

static void
addresses_are_ordered_by_domain_bus_device_function(void **state)
{
    (void)state;
    static const char *const order[] = {"0000:00:00.0", "0000:00:00.1", "0000:00:01.0",
                                        "0000:01:00.0", "0001:00:00.0", "10000:00:00.0"};

    for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
        for (size_t j = 0; j < ARRAY_SIZE(order); j++) {
            struct pci_addr a, b;
            assert_true(pci_addr_parse(order[i], &a));
            assert_true(pci_addr_parse(order[j], &b));
            int c = pci_addr_cmp(a, b);
            assert_int_equal((c > 0) - (c < 0), (i > j) - (i < j));
        }
    }
}

static void
closing_a_descriptor_keeps_errno_and_happens_once(void **state)
{
    (void)state;
    int fd = open("/", O_PATH | O_CLOEXEC);

    assert_true(fd >= 0);
    int number = fd;
    errno = EXDEV;
    fd_close(&fd);
    assert_int_equal(errno, EXDEV);
    assert_int_equal(fd, -1);
    assert_int_equal(fcntl(number, F_GETFD), -1);
    fd_close(&fd);
}

static void
taken_things_are_gone(void **state)
{
    (void)state;
    int fd = 5;
    char *p = strdup("x");

    assert_int_equal(take_fd(&fd), 5);
    assert_int_equal(fd, -1);
    char *q = TAKE_PTR(char, p);
    assert_null(p);
    assert_string_equal(q, "x");
    free(q);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reason_has_a_unique_name_that_leads_back_and_a_cure),
        cmocka_unit_test(unknown_reasons_are_survived),
        cmocka_unit_test(settable_modes_lead_back_from_their_names),
        cmocka_unit_test(unsettable_modes_and_other_words_are_refused),
        cmocka_unit_test(addresses_are_written_as_they_were_read),
        cmocka_unit_test(everything_but_the_full_form_is_refused),
        cmocka_unit_test(addresses_are_ordered_by_domain_bus_device_function),
        cmocka_unit_test(closing_a_descriptor_keeps_errno_and_happens_once),
        cmocka_unit_test(taken_things_are_gone),
    };

    return cmocka_run_group_tests_name("base.names", tests, NULL, NULL);
}
