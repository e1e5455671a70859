/* SPDX-License-Identifier: Apache-2.0 */
#include "base/metrics.h"
#include "tests/unit/base/test_support.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { REQS, TEMP, TIME, STATE, BUILD, COUNT };

static const double limits[] = {0.005, 0.5, 10};
static const char *const states[] = {"red", "green"};
static const struct metric_family family[COUNT] = {
    [REQS] = {"t_requests", "Requests", NULL, METRIC_COUNTER, {"code", "who"}, 3, NULL, 0, NULL, 0},
    [TEMP] = {"t_temp_celsius",
              "Back\\slash, \"quote\"\nline",
              "celsius",
              METRIC_GAUGE,
              {NULL},
              1,
              NULL,
              0,
              NULL,
              0},
    [TIME] =
        {"t_time_seconds", "Time", "seconds", METRIC_HISTOGRAM, {"device"}, 2, limits, 3, NULL, 0},
    [STATE] = {"t_state", "State", NULL, METRIC_STATES, {"device", "state"}, 2, NULL, 0, states, 2},
    [BUILD] = {"t_build", "Build", NULL, METRIC_INFO, {"version"}, 1, NULL, 0, NULL, 0},
};

#define L(...) ((const char *const[]){__VA_ARGS__})

static struct metrics *
make(void)
{
    struct metrics *m = NULL;
    struct err e = ERR_INIT;

    assert_int_equal(metrics_new(family, COUNT, &m, &e), 0);
    return m;
}

/* The text; valid until the next call. */
static const char *
print(const struct metrics *m, enum metrics_format f)
{
    static char text[8192];
    struct err e = ERR_INIT;
    struct buf b;

    buf_init(&b, sizeof(text) - 1);
    assert_int_equal(metrics_print(m, f, &b, &e), 0);
    memcpy(text, buf_peek(&b), buf_left(&b));
    text[buf_left(&b)] = '\0';
    buf_fini(&b);
    return text;
}

static void
every_type_is_printed_in_the_text_format(void **state)
{
    struct metrics *m = make();

    (void)state;
    metric_add(m, REQS, L("200", "a"), 2);
    metric_add(m, REQS, L("200", "a"), 1);
    metric_set(m, TEMP, NULL, -1.5);
    metric_observe(m, TIME, L("x"), 0.005);
    metric_observe(m, TIME, L("x"), 0.25);
    metric_observe(m, TIME, L("x"), 100);
    metric_state(m, STATE, L("x"), 1);
    metric_set(m, BUILD, L("1.0"), 1);
    assert_string_equal(print(m, METRICS_TEXT),
                        "# HELP t_requests_total Requests\n"
                        "# TYPE t_requests_total counter\n"
                        "t_requests_total{code=\"200\",who=\"a\"} 3\n"
                        "# HELP t_temp_celsius Back\\\\slash, \"quote\"\\nline\n"
                        "# TYPE t_temp_celsius gauge\n"
                        "t_temp_celsius -1.5\n"
                        "# HELP t_time_seconds Time\n"
                        "# TYPE t_time_seconds histogram\n"
                        "t_time_seconds_bucket{device=\"x\",le=\"0.005\"} 1\n"
                        "t_time_seconds_bucket{device=\"x\",le=\"0.5\"} 2\n"
                        "t_time_seconds_bucket{device=\"x\",le=\"10.0\"} 2\n"
                        "t_time_seconds_bucket{device=\"x\",le=\"+Inf\"} 3\n"
                        "t_time_seconds_sum{device=\"x\"} 100.255\n"
                        "t_time_seconds_count{device=\"x\"} 3\n"
                        "# HELP t_state State\n"
                        "# TYPE t_state gauge\n"
                        "t_state{device=\"x\",state=\"red\"} 0\n"
                        "t_state{device=\"x\",state=\"green\"} 1\n"
                        "# HELP t_build_info Build\n"
                        "# TYPE t_build_info gauge\n"
                        "t_build_info{version=\"1.0\"} 1\n");
    metrics_free(m);
}

static void
openmetrics_has_family_names_units_and_an_end(void **state)
{
    struct metrics *m = make();

    (void)state;
    metric_add(m, REQS, L("200", "a"), 3);
    metric_set(m, TEMP, NULL, 20);
    metric_set(m, BUILD, L("1.0"), 1);
    assert_string_equal(print(m, METRICS_OPENMETRICS),
                        "# HELP t_requests Requests\n"
                        "# TYPE t_requests counter\n"
                        "t_requests_total{code=\"200\",who=\"a\"} 3\n"
                        "# HELP t_temp_celsius Back\\\\slash, \\\"quote\\\"\\nline\n"
                        "# TYPE t_temp_celsius gauge\n"
                        "# UNIT t_temp_celsius celsius\n"
                        "t_temp_celsius 20\n"
                        "# HELP t_build Build\n"
                        "# TYPE t_build info\n"
                        "t_build_info{version=\"1.0\"} 1\n"
                        "# EOF\n");
    metrics_free(m);
}

static void
label_values_are_escaped_and_always_utf8(void **state)
{
    struct metrics *m = make();
    const char *text;

    (void)state;
    metric_add(m, REQS, L("a\\b\"c\nd", "\xc3\xa9 \xff \xc3"), 1);
    metric_add(m, REQS, L(NULL, "\xed\xa0\x80|\xf0\x9f\x98\x80|\xe2\x82"), 1);
    text = print(m, METRICS_TEXT);
    assert_non_null(
        strstr(text, "code=\"a\\\\b\\\"c\\nd\",who=\"\xc3\xa9 \xef\xbf\xbd \xef\xbf\xbd\""));
    /* a surrogate is three bad bytes; a whole emoji stays; the half one at the end is two */
    assert_non_null(strstr(text, "code=\"\",who=\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd|"
                                 "\xf0\x9f\x98\x80|\xef\xbf\xbd\xef\xbf\xbd\""));
    metrics_free(m);
}

static void
numbers_read_back_as_they_were(void **state)
{
    static const double numbers[] = {0, 1, 0.1, 1.0 / 3, 1e21, 1785570000.123, 5e-324, 1.7e308};
    struct metrics *m = make();

    (void)state;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        const char *v;

        metric_set(m, TEMP, NULL, numbers[i]);
        v = strstr(print(m, METRICS_TEXT), "\nt_temp_celsius ");
        assert_non_null(v);
        assert_true(strtod(v + strlen("\nt_temp_celsius "), NULL) == numbers[i]);
    }
    metric_set(m, TEMP, NULL, INFINITY);
    assert_non_null(strstr(print(m, METRICS_TEXT), "\nt_temp_celsius +Inf\n"));
    metric_set(m, TEMP, NULL, NAN);
    assert_non_null(strstr(print(m, METRICS_TEXT), "\nt_temp_celsius NaN\n"));
    metrics_free(m);
}

static void
a_family_never_holds_more_series_than_its_limit(void **state)
{
    struct metrics *m = make();
    char who[16];

    (void)state;
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(who, sizeof(who), "%d", i);
        metric_add(m, REQS, L("200", who), 1);
    }
    assert_int_equal(metrics_dropped(m), 997);
    assert_non_null(strstr(print(m, METRICS_TEXT), "who=\"2\"} 1\n"));
    assert_null(strstr(print(m, METRICS_TEXT), "who=\"3\""));
    metric_add(m, REQS, L("200", "0"), 1); /* those that are there go on */
    assert_non_null(strstr(print(m, METRICS_TEXT), "who=\"0\"} 2\n"));
    metrics_free(m);
}

static void
a_device_that_is_gone_leaves_no_series(void **state)
{
    struct metrics *m = make();

    (void)state;
    metric_observe(m, TIME, L("x"), 1);
    metric_observe(m, TIME, L("y"), 1);
    metric_state(m, STATE, L("x"), 0);
    metric_add(m, REQS, L("x", "x"), 1); /* no label of this name */
    metrics_forget(m, "device", "x");
    assert_null(strstr(print(m, METRICS_TEXT), "device=\"x\""));
    assert_null(strstr(print(m, METRICS_TEXT), "t_state"));
    assert_non_null(strstr(print(m, METRICS_TEXT), "device=\"y\""));
    assert_non_null(strstr(print(m, METRICS_TEXT), "who=\"x\""));
    metric_observe(m, TIME, L("z"), 1); /* its place is free again */
    assert_non_null(strstr(print(m, METRICS_TEXT), "device=\"z\""));
    assert_int_equal(metrics_dropped(m), 0);
    metrics_free(m);
}

static void
a_long_label_value_is_cut_and_stays_one_series(void **state)
{
    struct metrics *m = make();
    char who[2 * METRIC_VALUE_MAX];

    (void)state;
    memset(who, 'w', sizeof(who) - 1);
    who[sizeof(who) - 1] = '\0';
    metric_add(m, REQS, L("200", who), 1);
    metric_add(m, REQS, L("200", who), 1);
    who[METRIC_VALUE_MAX - 1] = '\0';
    assert_non_null(strstr(print(m, METRICS_TEXT), who));
    assert_non_null(strstr(print(m, METRICS_TEXT), "w\"} 2\n"));
    metrics_free(m);
}

static void
counters_never_go_down_and_nan_is_not_observed(void **state)
{
    struct metrics *m = make();

    (void)state;
    metric_add(m, REQS, L("200", "a"), 1);
    metric_add(m, REQS, L("200", "a"), -5);
    metric_add(m, REQS, L("200", "a"), NAN);
    metric_observe(m, TIME, L("x"), NAN);
    assert_non_null(strstr(print(m, METRICS_TEXT), "who=\"a\"} 1\n"));
    assert_null(strstr(print(m, METRICS_TEXT), "t_time_seconds"));
    metrics_free(m);
}

static void
a_full_buffer_is_an_error(void **state)
{
    struct metrics *m = make();
    struct err e = ERR_INIT;
    struct buf b;

    (void)state;
    metric_set(m, TEMP, NULL, 1);
    buf_init(&b, 20);
    assert_int_equal(metrics_print(m, METRICS_TEXT, &b, &e), -EMSGSIZE);
    buf_fini(&b);
    metrics_free(m);
}

static void
wrong_tables_are_refused(void **state)
{
    static const double falling[] = {2, 1};
    static const struct metric_family wrong[] = {
        {.name = "9a", .help = "h", .type = METRIC_GAUGE, .max = 1},
        {.name = "a-b", .help = "h", .type = METRIC_GAUGE, .max = 1},
        {.name = "a_total", .help = "h", .type = METRIC_COUNTER, .max = 1},
        {.name = "a", .help = "", .type = METRIC_GAUGE, .max = 1},
        {.name = "a", .help = "h", .type = METRIC_GAUGE, .max = 0},
        {.name = "a", .help = "h", .unit = "seconds", .type = METRIC_GAUGE, .max = 1},
        {.name = "a", .help = "h", .type = METRIC_GAUGE, .label = {"le"}, .max = 1},
        {.name = "a", .help = "h", .type = METRIC_HISTOGRAM, .max = 1},
        {.name = "a",
         .help = "h",
         .type = METRIC_HISTOGRAM,
         .max = 1,
         .buckets = falling,
         .n_buckets = 2},
        {.name = "a", .help = "h", .type = METRIC_STATES, .max = 1, .label = {"s"}},
    };
    static const struct metric_family twice[] = {
        {.name = "a", .help = "h", .type = METRIC_GAUGE, .max = 1},
        {.name = "a", .help = "h", .type = METRIC_COUNTER, .max = 1},
    };
    struct metrics *m = NULL;
    struct err e = ERR_INIT;

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(metrics_new(&wrong[i], 1, &m, &e), -EINVAL);
        err_clear(&e);
    }
    assert_int_equal(metrics_new(twice, 2, &m, &e), -EINVAL);
    assert_null(m);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_is_printed_in_the_text_format),
        cmocka_unit_test(openmetrics_has_family_names_units_and_an_end),
        cmocka_unit_test(label_values_are_escaped_and_always_utf8),
        cmocka_unit_test(numbers_read_back_as_they_were),
        cmocka_unit_test(a_family_never_holds_more_series_than_its_limit),
        cmocka_unit_test(a_device_that_is_gone_leaves_no_series),
        cmocka_unit_test(a_long_label_value_is_cut_and_stays_one_series),
        cmocka_unit_test(counters_never_go_down_and_nan_is_not_observed),
        cmocka_unit_test(a_full_buffer_is_an_error),
        cmocka_unit_test(wrong_tables_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
