/* SPDX-License-Identifier: Apache-2.0
 *
 * Golden test of the emulated GPU: the register traces of NVIDIA's gpu-admin-tools, replayed. That
 * the comparison is real is tested too: with a device that differs from the recorded one, each
 * trace that shows the difference must fail.
 */
#include "replay.h"

#include "base/cleanup.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Reads compared, commands to the firmware and resets: exactly what the trace holds. */
static const struct {
    const char *name;
    unsigned compared, commands, resets;
} traces[] = {
    {"b200-query-cc-mode", 49, 0, 0},
    {"b200-query-cc-settings", 136, 6, 0},
    {"b200-set-bar0-firewall", 84, 2, 0},
    {"h100-d3hot-query-cc-mode", 50, 0, 0},
    {"h100-fsp-dead-set-cc-on", 2022, 2, 0},
    {"h100-fsp-stuckqueue-set-cc-on", 3982, 1, 0},
    {"h100-invalid-ccd-only", 48, 0, 0},
    {"h100-oldfw-no-ppcie-set-cc-on", 257, 9, 1},
    {"h100-query-cc-mode", 48, 0, 0},
    {"h100-query-cc-settings", 181, 6, 0},
    {"h100-query-ppcie-settings", 111, 2, 0},
    {"h100-reset-with-flr", 63, 0, 0},
    {"h100-reset-with-sbr", 59, 0, 1},
    {"h100-set-cc-devtools-reset", 276, 10, 1},
    {"h100-set-cc-off-reset", 204, 6, 1},
    {"h100-set-cc-on-reset", 276, 10, 1},
    {"h100-set-ppcie-on-reset", 276, 10, 1},
    {"h100-slow-fsp", 217, 6, 0},
    {"h100-write-denied-set-cc-on", 1146, 56, 0},
    {"rtxpro6000-set-cc-on-reset", 150, 6, 1},
};

static void
closedir_p(DIR **d)
{
    if (*d)
        (void)closedir(*d);
}

static const char *
dir_of(void)
{
    static char path[2048];
    const char *src = getenv("PGPU_SOURCE_DIR");

    assert_non_null(src);
    (void)snprintf(path, sizeof(path), "%s/tests/data/ccmode-traces", src);
    return path;
}

static const char *
path_of(const char *name)
{
    static char path[4096];

    (void)snprintf(path, sizeof(path), "%s/%s.txt", dir_of(), name);
    return path;
}

static void
test_traces(void **state)
{
    unsigned bad = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(traces); i++) {
        struct replay_result r = replay_trace(path_of(traces[i].name), NULL);

        print_message("%-32s compared %4u of %4u reads (%u masked), %3u writes, %2u commands, "
                      "%u resets\n",
                      traces[i].name, r.compared, r.reads, r.masked, r.writes, r.commands,
                      r.resets);
        if (r.mismatches) {
            print_error("%s: %u mismatches, first: %s\n", traces[i].name, r.mismatches, r.first);
            bad++;
        }
        bad += r.compared != traces[i].compared || r.commands != traces[i].commands ||
               r.resets != traces[i].resets;
    }
    assert_int_equal(bad, 0);
}

/* No trace in the folder is forgotten. */
static void
test_every_trace_is_here(void **state)
{
    _cleanup_(closedir_p) DIR *d = opendir(dir_of());
    const struct dirent *de;
    size_t n = 0;

    (void)state;
    assert_non_null(d);
    while ((de = readdir(d)))
        n += strstr(de->d_name, ".txt") != NULL;
    assert_int_equal(n, ARRAY_SIZE(traces));
}

static void
test_comparison_is_real(void **state)
{
    static const struct {
        const char *trace, *fault;
    } rows[] = {
        {"h100-query-cc-settings", "invalid-knob=9"},
        {"h100-query-cc-settings", "wrong-echo"},
        {"h100-query-cc-settings", "wrong-length"},
        {"h100-query-cc-settings", "no-consume"},
        {"h100-set-cc-on-reset", "mode-not-latched"},
        {"h100-set-cc-on-reset", "boot-never"},
        {"h100-set-cc-on-reset", "write-refused=8"},
        {"h100-set-cc-on-reset", "write-ignored=8"},
        {"h100-set-cc-off-reset", "write-ignored=8"},
        {"h100-set-ppcie-on-reset", "write-ignored=45"},
        {"h100-invalid-ccd-only", "recovery-mode"},
        {"h100-d3hot-query-cc-mode", "d3cold"},
        {"b200-query-cc-settings", "inband-locked=8"},
        {"b200-query-cc-settings", "wrong-type"},
        {"b200-set-bar0-firewall", "write-refused=10"},
        {"rtxpro6000-set-cc-on-reset", "firewall-stuck"},
        {"rtxpro6000-set-cc-on-reset", "sec-fault"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (replay_trace(path_of(rows[i].trace), rows[i].fault).mismatches == 0)
            fail_msg("%s with %s shows no difference", rows[i].trace, rows[i].fault);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_traces),
        cmocka_unit_test(test_every_trace_is_here),
        cmocka_unit_test(test_comparison_is_real),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
