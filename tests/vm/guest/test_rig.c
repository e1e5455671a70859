/* SPDX-License-Identifier: Apache-2.0
 *
 * The rig itself.
 */
#include "tests/vm/guest/host.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void
a_refused_command_says_why(void **state)
{
    char why[256] = "";

    (void)state;
    assert_null(vm_host_try(why, sizeof(why), "nonsense"));
    assert_non_null(strstr(why, "unknown command"));
}

static void
the_emulated_machine_answers(void **state)
{
    char *text = vm_host("qmp {\"execute\":\"query-status\"}");

    (void)state;
    assert_non_null(strstr(text, "running"));
    free(text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refused_command_says_why),
        cmocka_unit_test(the_emulated_machine_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
