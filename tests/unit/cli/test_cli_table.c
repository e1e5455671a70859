/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables: aligned columns, notes, JSON.
 */
#include "cli/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* What the function prints on stdout. */
static void
capture(const struct table *t, bool json, char *buf, size_t size)
{
    FILE *f = tmpfile();
    int saved = dup(1);
    size_t n;

    assert_non_null(f);
    (void)fflush(stdout);
    (void)dup2(fileno(f), 1);
    table_print(t, json);
    (void)fflush(stdout);
    (void)dup2(saved, 1);
    (void)close(saved);
    rewind(f);
    n = fread(buf, 1, size - 1, f);
    buf[n] = '\0';
    (void)fclose(f);
}

static void
columns_align_and_notes_follow(void **state)
{
    struct table *t = table_new((const char *const[]){"ADDRESS", "GROUP", "REASON"}, 3);
    char buf[1024];

    (void)state;
    table_row(t, (const char *const[]){"0000:41:00.0", "7", ""});
    table_row(t, (const char *const[]){"0000:42:00.0", "", "NO_IOMMU"});
    table_note(t, "cure", "enable \"it\"");
    table_note(t, "why", "");
    capture(t, false, buf, sizeof(buf));
    assert_string_equal(buf, "ADDRESS       GROUP  REASON\n"
                             "0000:41:00.0  7      -\n"
                             "0000:42:00.0  -      NO_IOMMU\n"
                             "0000:42:00.0 cure: enable \"it\"\n");
    capture(t, true, buf, sizeof(buf));
    assert_non_null(strstr(buf, "\"group\":7"));
    assert_non_null(strstr(buf, "\"group\":null"));
    assert_non_null(strstr(buf, "\"cure\":\"enable \\\"it\\\"\""));
    assert_null(strstr(buf, "why"));
    table_free(t);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_align_and_notes_follow),
    };

    return cmocka_run_group_tests_name("cli.table", tests, NULL, NULL);
}
