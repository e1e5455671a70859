/* SPDX-License-Identifier: Apache-2.0
 *
 * The state table is consistent, and the documentation prints exactly it.
 */
#include "base/cleanup.h"
#include "base/fs.h"
#include "daemon/states.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define BEGIN "<!-- states: printed by print_states -->\n"
#define END "<!-- end of states -->"

static void
the_document_prints_the_table(void **state)
{
    const char *src = getenv("PGPU_SOURCE_DIR");
    struct err e = ERR_INIT;
    struct buf want;
    char path[512];
    char *text = NULL;
    size_t len;

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/docs/architecture.md", src ? src : ".");
    assert_int_equal(fs_read_file(AT_FDCWD, path, 1u << 20, &text, &len, &e), 0);
    char *begin = strstr(text, BEGIN);
    char *end = begin ? strstr(begin, END) : NULL;
    assert_non_null(end);
    begin += strlen(BEGIN);
    *end = '\0';
    buf_init(&want, 1u << 16);
    unit_states_markdown(&want);
    assert_string_equal(begin, buf_cstr(&want));
    buf_fini(&want);
    free(text);
}

static void
no_state_has_two_answers_to_an_event(void **state)
{
    (void)state;
    for (size_t i = 0; i < unit_transition_count(); i++)
        for (size_t j = i + 1; j < unit_transition_count(); j++) {
            const struct unit_transition *a = unit_transition_at(i), *b = unit_transition_at(j);

            assert_false(a->from == b->from && a->ev == b->ev);
        }
}

static void
every_state_is_reached_and_left(void **state)
{
    (void)state;
    for (int s = 0; s < UNIT_STATE_COUNT; s++) {
        bool in = s == UNIT_FOUND, out = false;

        for (size_t i = 0; i < unit_transition_count(); i++) {
            in |= (int)unit_transition_at(i)->to == s;
            out |= (int)unit_transition_at(i)->from == s;
        }
        assert_true(in && out);
    }
}

static void
every_state_survives_the_loss_of_the_device(void **state)
{
    enum unit_state next;

    (void)state;
    for (int s = 0; s < UNIT_STATE_COUNT; s++)
        if (s != UNIT_GONE) {
            assert_true(unit_state_next((enum unit_state)s, EV_GONE, &next));
            assert_int_equal(next, UNIT_GONE);
        }
}

/* The two promises that other tenants' safety hangs on. */
static void
only_verified_states_are_healthy_under_eager(void **state)
{
    (void)state;
    for (int s = 0; s < UNIT_STATE_COUNT; s++) {
        const struct unit_state_info *i = unit_state_info((enum unit_state)s);
        bool verified = s == UNIT_READY || s == UNIT_ALLOCATED || s == UNIT_IN_USE;

        assert_int_equal(i->healthy, verified);
        assert_int_equal(i->in_cdi, verified);
    }
}

static void
a_unit_given_back_is_only_ready_after_a_scrub(void **state)
{
    enum unit_state next;

    (void)state;
    assert_true(unit_state_next(UNIT_IN_USE, EV_OWNER_GONE, &next));
    assert_int_equal(next, UNIT_RELEASING);
    for (size_t i = 0; i < unit_transition_count(); i++) {
        const struct unit_transition *t = unit_transition_at(i);

        if (t->to == UNIT_READY && t->from != UNIT_READY)
            assert_int_equal(t->ev, EV_OP_OK_HELD);
        if (t->from == UNIT_IN_USE || t->from == UNIT_ALLOCATED)
            assert_int_not_equal(t->to, UNIT_READY);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_document_prints_the_table),
        cmocka_unit_test(no_state_has_two_answers_to_an_event),
        cmocka_unit_test(every_state_is_reached_and_left),
        cmocka_unit_test(every_state_survives_the_loss_of_the_device),
        cmocka_unit_test(only_verified_states_are_healthy_under_eager),
        cmocka_unit_test(a_unit_given_back_is_only_ready_after_a_scrub),
    };

    return cmocka_run_group_tests_name("daemon.states", tests, NULL, NULL);
}
