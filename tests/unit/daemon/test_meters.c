/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/metrics.h"

#include "base/hw.h"
#include "daemon/metrics_impl.h"
#include "daemon/states.h"
#include "nri/guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define BEGIN "<!-- metrics: printed by print_metrics -->\n"
#define END "<!-- end of metrics -->"

/* Nothing is connected here. */
bool __wrap_hwclient_is_up(const struct hwclient *c);
bool __wrap_guard_is_up(const struct node *n);

bool
__wrap_hwclient_is_up(const struct hwclient *c)
{
    (void)c;
    return false;
}

bool
__wrap_guard_is_up(const struct node *n)
{
    (void)n;
    return false;
}

struct world {
    struct node *node;
    struct config conf;
    struct meters *t;
};

static int
setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct err e = ERR_INIT;

    assert_non_null(w);
    w->node = calloc(1, sizeof(*w->node));
    assert_non_null(w->node);
    w->node->conf = &w->conf;
    assert_true(sd_event_new(&w->node->loop) >= 0);
    assert_int_equal(meters_new(w->node, &w->t, &e), 0);
    *state = w;
    return 0;
}

static int
teardown(void **state)
{
    struct world *w = *state;

    meters_free(w->t);
    for (size_t i = 0; i < w->node->n_units; i++)
        free(w->node->unit[i]);
    (void)sd_event_unref(w->node->loop);
    free(w->node);
    free(w);
    return 0;
}

static struct unit *
add_unit(struct world *w, const char *id, enum unit_state s)
{
    struct unit *u = calloc(1, sizeof(*u));

    assert_non_null(u);
    u->node = w->node;
    (void)snprintf(u->id, sizeof(u->id), "%s", id);
    (void)snprintf(u->resource, sizeof(u->resource), "nvidia.com/pgpu");
    u->state = s;
    u->facts.flags = HWD_FACT_CLAIMED;
    u->facts.mode_active = CC_MODE_OFF;
    u->facts.mode_configured = CC_MODE_ON;
    w->node->unit[w->node->n_units++] = u;
    return u;
}

static char *
print(struct world *w)
{
    struct err e = ERR_INIT;
    struct buf b;
    char *text;

    buf_init(&b, 1u << 20);
    assert_int_equal(meters_print(w->t, METRICS_TEXT, &b, &e), 0);
    text = strdup(buf_cstr(&b));
    assert_non_null(text);
    buf_fini(&b);
    return text;
}

static void
has(struct world *w, const char *line)
{
    char *text = print(w), want[300];

    (void)snprintf(want, sizeof(want), "\n%s\n", line);
    if (!strstr(text, want))
        fail_msg("no line \"%s\" in:\n%s", line, text);
    free(text);
}

static void
has_not(struct world *w, const char *part)
{
    char *text = print(w);

    if (strstr(text, part))
        fail_msg("\"%s\" is in:\n%s", part, text);
    free(text);
}

static void
tell(struct world *w, const struct act *a)
{
    act_tell(&w->node->acts, a);
}

/* ---- tests ---- */

static void
the_document_has_the_table_of_the_code(void **state)
{
    const char *src = getenv("PGPU_SOURCE_DIR");
    char path[300], *text = calloc(1, 1u << 20), *begin, *end;
    struct buf want;
    FILE *f;

    (void)state;
    assert_non_null(text);
    (void)snprintf(path, sizeof(path), "%s/docs/metrics.md", src ? src : ".");
    f = fopen(path, "re");
    assert_non_null(f);
    assert_true(fread(text, 1, (1u << 20) - 1, f) > 0);
    (void)fclose(f);
    begin = strstr(text, BEGIN);
    end = begin ? strstr(begin, END) : NULL;
    assert_non_null(end);
    begin += strlen(BEGIN);
    *end = '\0';
    buf_init(&want, 1u << 16);
    meters_markdown(&want);
    assert_string_equal(begin, buf_cstr(&want));
    buf_fini(&want);
    free(text);
}

static void
states_and_modes_are_called_as_everywhere(void **state)
{
    const struct metric_family *f = &meter_families[METER_DEVICE_STATE];

    (void)state;
    assert_int_equal(f->n_states, UNIT_STATE_COUNT);
    for (size_t i = 0; i < f->n_states; i++)
        assert_string_equal(f->states[i], unit_state_info((enum unit_state)i)->name);
    f = &meter_families[METER_DEVICE_MODE];
    assert_int_equal(f->n_states, CC_MODE_UNKNOWN + 1);
    for (size_t i = 0; i < f->n_states; i++)
        assert_string_equal(f->states[i], cc_mode_name((enum cc_mode)i));
}

static void
counters_begin_at_zero(void **state)
{
    struct world *w = *state;

    has(w, "pgpud_kubelet_registrations_total 0");
    has(w, "pgpud_scrub_verified_total{result=\"error\"} 0");
    has(w, "pgpud_audit_failures_total 0");
    for (int r = 0; r < GUARD_RULES; r++) {
        char line[100];

        (void)snprintf(line, sizeof(line), "pgpud_policy_denials_total{reason=\"%s\"} 0",
                       guard_rule_name((enum guard_rule)r));
        has(w, line);
    }
    /* a burst of a reason that is new is an increase as well */
    has(w, "pgpud_allocations_total{result=\"ok\",reason=\"NONE\"} 0");
    for (int r = 0; r < REASON_COUNT; r++) {
        char line[100];

        (void)snprintf(line, sizeof(line),
                       "pgpud_allocations_total{result=\"error\",reason=\"%s\"} 0",
                       reason_name((enum reason)r));
        has(w, line);
        (void)snprintf(line, sizeof(line), "pgpud_quarantine_total{reason=\"%s\"} 0",
                       reason_name((enum reason)r));
        has(w, line);
    }
    has(w, "pgpud_metrics_dropped_total 0");
}

static void
steps_are_called_by_what_happens_to_the_device(void **state)
{
    static const struct {
        enum hwd_phase phase;
        const char *label;
    } names[] = {
        {HWD_PHASE_BIND, "bind"},     {HWD_PHASE_WRITE, "knob_write"}, {HWD_PHASE_RESET, "reset"},
        {HWD_PHASE_VERIFY, "verify"}, {HWD_PHASE_RELEASE, "unbind"},   {HWD_PHASE_GATE, "gate"},
        {HWD_PHASE_WAKE, "wake"},     {HWD_PHASE_HOLD, "hold"},        {HWD_PHASE_QUERY, "query"},
    };
    struct world *w = *state;
    struct unit *u = add_unit(w, "0000:18:00.0", UNIT_READY);
    struct hwd_evidence v = {0};
    char line[100];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        v.phase_ms[names[i].phase] = 1000 + (uint32_t)names[i].phase;
    v.phase_ms[HWD_PHASE_BOOT] = 500;
    v.phase_ms[HWD_PHASE_REBOOT] = 2000;
    tell(w,
         &(struct act){
             .kind = ACT_OPERATION, .unit = u, .op = HWD_OP_PREPARE, .ok = true, .evidence = &v});
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(line, sizeof(line), "pgpud_phase_duration_seconds_sum{phase=\"%s\"} %g",
                       names[i].label, (double)v.phase_ms[names[i].phase] / 1e3);
        has(w, line);
    }
    /* waiting for the firmware is one step, wherever it is */
    has(w, "pgpud_phase_duration_seconds_count{phase=\"boot_wait\"} 2");
    has(w, "pgpud_phase_duration_seconds_sum{phase=\"boot_wait\"} 2.5");
}

static void
what_happens_is_counted(void **state)
{
    struct world *w = *state;
    struct unit *u = add_unit(w, "0000:18:00.0", UNIT_READY);
    struct hwd_evidence v = {.resets = 2, .reset_rung = HWD_RUNG_BUS};

    v.phase_ms[HWD_PHASE_RESET] = 120;
    tell(w, &(struct act){.kind = ACT_OPERATION,
                          .unit = u,
                          .op = HWD_OP_PREPARE,
                          .ok = true,
                          .evidence = &v,
                          .took_ns = HW_MS(700)});
    has(w, "pgpud_operations_total{op=\"prepare\",result=\"ok\"} 1");
    has(w, "pgpud_resets_total{device=\"0000:18:00.0\",method=\"bus\",result=\"ok\"} 2");
    has(w, "pgpud_phase_duration_seconds_sum{phase=\"reset\"} 0.12");
    has(w, "pgpud_operation_duration_seconds_sum{op=\"prepare\"} 0.7");
    tell(w, &(struct act){.kind = ACT_ALLOCATE, .ok = true, .took_ns = HW_MS(3)});
    tell(w, &(struct act){.kind = ACT_ALLOCATE, .reason = REASON_DEADLINE, .took_ns = HW_SEC(25)});
    has(w, "pgpud_allocations_total{result=\"ok\",reason=\"NONE\"} 1");
    has(w, "pgpud_allocations_total{result=\"error\",reason=\"DEADLINE\"} 1");
    has(w, "pgpud_rpc_duration_seconds_bucket{rpc=\"Allocate\",le=\"0.005\"} 1");
    has(w, "pgpud_rpc_duration_seconds_count{rpc=\"Allocate\"} 2");
    tell(w, &(struct act){.kind = ACT_REFUSAL, .rule = "owner"});
    has(w, "pgpud_policy_denials_total{reason=\"owner\"} 1");
    tell(w, &(struct act){.kind = ACT_NRI_EVENT,
                          .what = "RunPodSandbox",
                          .took_ns = HW_MS(600),
                          .text = "late"});
    has(w, "pgpud_nri_event_duration_seconds_count{event=\"RunPodSandbox\"} 1");
    has(w, "pgpud_nri_late_answers_total 1");
    tell(w, &(struct act){.kind = ACT_JOURNAL, .unit = u, .ok = false});
    has(w, "pgpud_state_writes_total{result=\"error\"} 1");
    tell(w, &(struct act){.kind = ACT_CDI, .resource = "nvidia.com/pgpu", .ok = true});
    has(w, "pgpud_cdi_writes_total{result=\"ok\"} 1");
    tell(w, &(struct act){.kind = ACT_AUDIT, .ok = true});
    tell(w, &(struct act){.kind = ACT_AUDIT, .ok = false});
    has(w, "pgpud_audit_records_total 1");
    has(w, "pgpud_audit_failures_total 1");
    has(w, "pgpud_audit_last_write_successful 1"); /* asked of the log, and there is none */
    has(w, "pgpud_config_last_reload_successful 1");
    has(w, "pgpud_metrics_dropped_total 0");
}

static void
a_scrub_and_a_quarantine_are_counted_once(void **state)
{
    struct world *w = *state;
    struct unit *u = add_unit(w, "0000:18:00.0", UNIT_READY);

    tell(w, &(struct act){.kind = ACT_STATE,
                          .unit = u,
                          .from = UNIT_RELEASING,
                          .to = UNIT_READY,
                          .event = EV_OP_OK_HELD});
    has(w, "pgpud_scrub_verified_total{result=\"ok\"} 1");
    tell(w, &(struct act){.kind = ACT_STATE,
                          .unit = u,
                          .from = UNIT_RELEASING,
                          .to = UNIT_QUARANTINED,
                          .event = EV_OP_FAILED,
                          .reason = REASON_FSP_SILENT});
    has(w, "pgpud_scrub_verified_total{result=\"error\"} 1");
    has(w, "pgpud_quarantine_total{reason=\"FSP_SILENT\"} 1");
    /* arming is no scrub; a holder that came back neither */
    tell(w, &(struct act){.kind = ACT_STATE,
                          .unit = u,
                          .from = UNIT_ARMING,
                          .to = UNIT_READY,
                          .event = EV_OP_OK_HELD});
    tell(w, &(struct act){.kind = ACT_STATE,
                          .unit = u,
                          .from = UNIT_RELEASING,
                          .to = UNIT_IN_USE,
                          .event = EV_FOUND_HELD});
    has(w, "pgpud_scrub_verified_total{result=\"ok\"} 1");
}

static void
a_registration_is_counted_in_whatever_order_it_is_heard_of(void **state)
{
    struct world *w = *state;
    static const char *const order[] = {"streaming", "registered", "down", "streaming"};

    (void)snprintf(w->node->resource[0].name, RESOURCE_NAME_MAX, "nvidia.com/pgpu");
    w->node->n_resources = 1;
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        tell(w, &(struct act){.kind = ACT_KUBELET,
                              .resource = "nvidia.com/pgpu",
                              .what = order[i],
                              .ok = strcmp(order[i], "down") != 0});
    has(w, "pgpud_kubelet_registrations_total 2");
}

static void
devices_are_shown_as_they_are_now(void **state)
{
    struct world *w = *state;
    struct unit *u = add_unit(w, "0000:18:00.0", UNIT_ARMING);

    w->node->mode.wanted = CC_MODE_ON;
    (void)snprintf(w->node->resource[0].name, RESOURCE_NAME_MAX, "nvidia.com/pgpu");
    w->node->n_resources = 1;
    has(w, "pgpud_device_state{device=\"0000:18:00.0\",state=\"arming\"} 1");
    has(w, "pgpud_device_state{device=\"0000:18:00.0\",state=\"ready\"} 0");
    has(w, "pgpud_device_cc_mode{device=\"0000:18:00.0\",mode=\"off\"} 1");
    has(w, "pgpud_device_cc_mode_configured{device=\"0000:18:00.0\",mode=\"on\"} 1");
    has(w, "pgpud_device_cc_mode_wanted{device=\"0000:18:00.0\",mode=\"on\"} 1");
    has(w, "pgpud_devices_expected{resource=\"nvidia.com/pgpu\"} 1");
    has_not(w, "pgpud_device_reason{");
    u->state = UNIT_QUARANTINED;
    u->reason = REASON_FSP_SILENT;
    has(w, "pgpud_device_reason{device=\"0000:18:00.0\",reason=\"FSP_SILENT\"} 1");
    u->reason = REASON_NONE;
    has(w, "pgpud_device_reason{device=\"0000:18:00.0\",reason=\"NONE\"} 1");
    has_not(w, "pgpud_device_reason{device=\"0000:18:00.0\",reason=\"FSP_SILENT\"}");
}

static void
a_device_that_is_not_ours_is_not_expected_and_has_no_wanted_mode(void **state)
{
    struct world *w = *state;
    struct unit *u = add_unit(w, "0000:18:00.0", UNIT_QUARANTINED);

    u->facts.flags = 0;
    u->reason = REASON_NOT_CLAIMED;
    (void)snprintf(w->node->resource[0].name, RESOURCE_NAME_MAX, "nvidia.com/pgpu");
    w->node->n_resources = 1;
    has(w, "pgpud_devices_expected{resource=\"nvidia.com/pgpu\"} 0");
    has_not(w, "pgpud_device_cc_mode_wanted{");
}

static void
a_device_that_left_for_good_leaves_nothing(void **state)
{
    struct world *w = *state;
    struct unit *u = add_unit(w, "0000:18:00.0", UNIT_READY);
    struct hwd_evidence v = {.resets = 1};

    tell(w,
         &(struct act){
             .kind = ACT_OPERATION, .unit = u, .op = HWD_OP_PREPARE, .ok = true, .evidence = &v});
    has(w, "pgpud_resets_total{device=\"0000:18:00.0\",method=\"function\",result=\"ok\"} 1");
    w->node->n_units = 0;
    has_not(w, "0000:18:00.0");
    free(u);
}

static void
every_device_of_a_full_node_has_its_series(void **state)
{
    struct world *w = *state;
    char id[PCI_ADDR_STR];

    for (unsigned i = 0; i < UNITS_MAX; i++) {
        (void)snprintf(id, sizeof(id), "0000:%02x:00.0", i);
        (void)add_unit(w, id, UNIT_READY);
    }
    has(w, "pgpud_device_state{device=\"0000:ff:00.0\",state=\"ready\"} 1");
    has(w, "pgpud_metrics_dropped_total 0");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_document_has_the_table_of_the_code),
        cmocka_unit_test(states_and_modes_are_called_as_everywhere),
        T(counters_begin_at_zero),
        T(steps_are_called_by_what_happens_to_the_device),
        T(what_happens_is_counted),
        T(a_scrub_and_a_quarantine_are_counted_once),
        T(a_registration_is_counted_in_whatever_order_it_is_heard_of),
        T(devices_are_shown_as_they_are_now),
        T(a_device_that_is_not_ours_is_not_expected_and_has_no_wanted_mode),
        T(a_device_that_left_for_good_leaves_nothing),
        T(every_device_of_a_full_node_has_its_series),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
