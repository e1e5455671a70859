/* SPDX-License-Identifier: Apache-2.0
 *
 * Validation of packets: each field out of range is refused, and only that.
 */
#include "hwd/protocol.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct hwd_request
good_request(void)
{
    return (struct hwd_request){.magic = HWD_PROTO_MAGIC,
                                .version = HWD_PROTO_VERSION,
                                .op = HWD_OP_PREPARE,
                                .unit = {.bus = 0x41},
                                .mode = CC_MODE_ON};
}

static struct hwd_message
good_message(void)
{
    struct hwd_message m = {
        .magic = HWD_PROTO_MAGIC, .version = HWD_PROTO_VERSION, .type = HWD_MSG_FACTS};

    m.facts.kind = HWD_KIND_GPU;
    return m;
}

static void
requests_are_checked_field_by_field(void **state)
{
    struct hwd_request r = good_request();
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(hwd_request_check(&r, sizeof(r), &e), 0);
    assert_true(hwd_request_check(&r, sizeof(r) - 1, &e) < 0);
    assert_true(hwd_request_check(&r, sizeof(r) + 1, &e) < 0);
    assert_true(hwd_request_check(&r, 0, &e) < 0);
    assert_int_equal(e.cls, ERR_CLASS_INVALID);
#define BAD(field, value)                                                                          \
    do {                                                                                           \
        r = good_request();                                                                        \
        r.field = (value);                                                                         \
        if (hwd_request_check(&r, sizeof(r), &e) >= 0)                                             \
            fail_msg("%s = %s accepted", #field, #value);                                          \
    } while (0)
    BAD(magic, 1);
    BAD(version, HWD_PROTO_VERSION + 1);
    BAD(op, HWD_OP_NONE);
    BAD(op, HWD_OP_COUNT);
    BAD(op, 0xffffffffu);
    BAD(flags, 1u << 16); /* our own, not the client's */
    BAD(unit.dev, 32);
    BAD(unit.fn, 8);
    BAD(mode, CC_MODE_INVALID);
    BAD(mode, 0xffffffffu);
    r = good_request();
    r.op = HWD_OP_RESET;
    r.arg = HWD_RUNG_REMOVE_RESCAN + 1;
    assert_true(hwd_request_check(&r, sizeof(r), &e) < 0);
    r.arg = HWD_RUNG_REMOVE_RESCAN;
    r.mode = 77; /* no part of a reset */
    assert_int_equal(hwd_request_check(&r, sizeof(r), &e), 0);
}

static void
messages_are_checked_field_by_field(void **state)
{
    struct hwd_message m = good_message();
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(hwd_message_check(&m, sizeof(m), &e), 0);
    assert_true(hwd_message_check(&m, sizeof(m) - 1, &e) < 0);
#undef BAD
#define BAD(field, value)                                                                          \
    do {                                                                                           \
        m = good_message();                                                                        \
        m.field = (value);                                                                         \
        if (hwd_message_check(&m, sizeof(m), &e) >= 0)                                             \
            fail_msg("%s = %s accepted", #field, #value);                                          \
    } while (0)
#define OPEN_STRING(field)                                                                         \
    do {                                                                                           \
        m = good_message();                                                                        \
        memset(m.field, 'x', sizeof(m.field));                                                     \
        if (hwd_message_check(&m, sizeof(m), &e) >= 0)                                             \
            fail_msg("unterminated %s accepted", #field);                                          \
    } while (0)
    BAD(magic, 0);
    BAD(version, 0);
    BAD(type, 0);
    BAD(type, HWD_MSG_RESULT + 1);
    BAD(phase, HWD_PHASE_COUNT);
    BAD(err_class, ERR_CLASS_FATAL + 1);
    BAD(reason, REASON_COUNT);
    BAD(unit.dev, 32);
    BAD(facts.kind, 0);
    BAD(facts.kind, 3);
    BAD(facts.state, HWD_STATE_STUCK + 1);
    BAD(facts.op, HWD_OP_COUNT);
    BAD(facts.phase, HWD_PHASE_COUNT);
    BAD(facts.use, HWD_USE_HELD + 1);
    BAD(facts.mode_active, CC_MODE_UNKNOWN + 1);
    BAD(facts.mode_configured, CC_MODE_UNKNOWN + 1);
    BAD(facts.reason, REASON_COUNT);
    BAD(facts.unit.fn, 8);
    BAD(evidence.reset_rung, HWD_RUNG_REMOVE_RESCAN + 1);
    BAD(evidence.access, HWD_ACCESS_COUNT);
    BAD(facts.access, HWD_ACCESS_COUNT);
    OPEN_STRING(text);
    OPEN_STRING(facts.holder_comm);
    OPEN_STRING(facts.chip);
    OPEN_STRING(facts.model);
    OPEN_STRING(facts.driver);
    OPEN_STRING(facts.former_driver);
    OPEN_STRING(facts.node);
    OPEN_STRING(facts.text);
    /* facts count only where there are some */
    memset(&m, 0, sizeof(m));
    m.magic = HWD_PROTO_MAGIC;
    m.version = HWD_PROTO_VERSION;
    m.type = HWD_MSG_RESULT; /* about a unit that does not exist */
    assert_int_equal(hwd_message_check(&m, sizeof(m), &e), 0);
    m.type = HWD_MSG_SYNCED;
    assert_int_equal(hwd_message_check(&m, sizeof(m), &e), 0);
}

static void
everything_has_a_name(void **state)
{
    (void)state;
    for (unsigned i = 0; i < HWD_PHASE_COUNT; i++)
        assert_string_not_equal(hwd_phase_name((enum hwd_phase)i), "?");
    for (unsigned i = 0; i < HWD_OP_COUNT; i++)
        assert_string_not_equal(hwd_op_name((enum hwd_op)i), "?");
    assert_string_equal(hwd_phase_name(HWD_PHASE_REBOOT), "reboot");
    assert_string_equal(hwd_phase_name(HWD_PHASE_COUNT), "?");
    assert_string_equal(hwd_op_name(HWD_OP_GIVE_BACK), "give-back");
    assert_string_equal(hwd_use_name(HWD_USE_HELD), "held");
    assert_string_equal(hwd_rung_name(HWD_RUNG_BUS), "bus");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_checked_field_by_field),
        cmocka_unit_test(messages_are_checked_field_by_field),
        cmocka_unit_test(everything_has_a_name),
    };

    return cmocka_run_group_tests_name("hwd.protocol", tests, NULL, NULL);
}
