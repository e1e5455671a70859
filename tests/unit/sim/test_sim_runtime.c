/* SPDX-License-Identifier: Apache-2.0
 *
 * The runtime stand-in: each release of NRI on the wire, connection to end. Numbers and orders from
 * containerd/nri (pkg/api/api.proto, pkg/adaptation, pkg/net/multiplex).
 */
#include "tests/unit/sim/nri_end.h"

#include "base/cleanup.h"

#include <json-c/json.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PODS 0x7u   /* RunPodSandbox, StopPodSandbox, RemovePodSandbox */
#define CREATE 0x8u /* CreateContainer */
#define VALIDATE 0x2000u

static const struct release {
    const char *name;
    uint32_t all;
    bool timeouts, split, dedicated;
    const char *told; /* NRI_version begins with it */
} releases[] = {
    {"0.6", 0x7ff, false, false, false, ""},     {"0.7", 0x7ff, true, true, false, ""},
    {"0.8", 0x7ff, true, true, false, ""},       {"0.9", 0x7ff, true, true, false, ""},
    {"0.10", 0x3fff, true, true, false, ""},     {"0.11", 0x3fff, true, true, false, ""},
    {"0.12", 0x3fff, true, true, true, "v0.12"},
};

static int
setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));

    assert_non_null(r);
    rig_init(r);
    *state = r;
    return 0;
}

static int
teardown(void **state)
{
    rig_fini(*state);
    free(*state);
    return 0;
}

static void
start(struct rig *r, const char *release)
{
    struct sim_runtime_options o = {.release = release, .cdi_enabled = -1};

    rig_start(r, &o);
}

/* A member of the first (or only) plugin, live or ended. */
static const char *
plugin_says(struct rig *r, const char *list, const char *key)
{
    static char text[512];
    struct json_object *o = rig_ask(r, "plugins"), *l = json_object_object_get(o, list), *v = NULL;

    if (json_object_array_length(l) > 0)
        v = json_object_object_get(json_object_array_get_idx(l, 0), key);
    (void)snprintf(text, sizeof(text), "%s", v ? json_object_get_string(v) : "none");
    json_object_put(o);
    return text;
}

/* ---- handshake ---- */

static void
each_release_configures_with_the_fields_that_it_has(void **state)
{
    struct rig *r = *state;

    for (size_t i = 0; i < ARRAY_SIZE(releases); i++) {
        const struct release *v = &releases[i];
        struct end x;

        start(r, v->name);
        rig_ok(r, "timeout 61000 62000");
        end_ready(&x, r, "test", "10", PODS | CREATE);
        assert_int_equal(x.first_stream, MUX_RUNTIME);
        assert_string_equal(x.log, "registered Configure Synchronize");
        assert_string_equal(x.told.runtime, "containerd");
        assert_string_equal(x.told.version, "v2.3.4");
        assert_string_equal(x.told.config, "");
        assert_int_equal(x.told.request_ms, v->timeouts ? 61000 : 0);
        assert_int_equal(x.told.registration_ms, v->timeouts ? 62000 : 0);
        assert_int_equal(strncmp(x.told.nri_version, v->told, strlen(v->told)), 0);
        assert_int_equal(x.told.nri_version[0] != '\0', v->told[0] != '\0');
        assert_string_equal(plugin_says(r, "plugins", "name"), "10-test");
        assert_string_equal(plugin_says(r, "plugins", "state"), "ready");
        end_free(&x);
        sim_runtime_free(r->rt);
        r->rt = NULL;
    }
}

static void
runtimes_have_the_release_of_their_go_mod(void **state)
{
    static const struct {
        const char *runtime, *version, *nri;
    } rows[] = {{"containerd", "1.7.24~ds1", "0.6"}, {"containerd", "v1.7.26", "0.8"},
                {"containerd", "v2.0.5", "0.8"},     {"containerd", "v2.2.0", "0.10"},
                {"containerd", "v2.2.1", "0.11"},    {"containerd", "v2.3.0", "0.12"},
                {"cri-o", "1.31.2", "0.6"},          {"cri-o", "1.33.0", "0.9"},
                {"cri-o", "1.34.1", "0.10"},         {"cri-o", "1.36.0", "0.11"}};
    struct rig *r = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct sim_runtime_options o = {
            .runtime = rows[i].runtime, .version = rows[i].version, .cdi_enabled = -1};
        struct json_object *a;

        rig_start(r, &o);
        a = rig_ask(r, "status");
        assert_string_equal(json_object_get_string(json_object_object_get(a, "nri")), rows[i].nri);
        json_object_put(a);
        sim_runtime_free(r->rt);
        r->rt = NULL;
    }
}

static void
plugins_have_two_seconds_to_answer_and_five_to_register(void **state)
{
    struct sim_runtime_options o = {.cdi_enabled = -1, .request_usec = 2000000};
    struct rig *r = *state;
    struct end x;

    rig_start(r, &o);
    end_ready(&x, r, "test", "10", PODS);
    assert_int_equal(x.told.request_ms, 2000);
    assert_int_equal(x.told.registration_ms, 5000);
    end_free(&x);
}

static void
configure_may_come_before_the_answer_to_register(void **state)
{
    struct sim_runtime_options o = {.configure_first = true, .cdi_enabled = -1};
    struct rig *r = *state;
    struct end x;

    rig_start(r, &o);
    end_ready(&x, r, "test", "10", PODS);
    assert_int_equal(x.first_stream, MUX_PLUGIN);
    assert_true(x.registered);
    assert_string_equal(plugin_says(r, "plugins", "state"), "ready");
    end_free(&x);
}

static void
an_event_that_the_release_does_not_know_closes_the_plugin(void **state)
{
    struct rig *r = *state;

    for (size_t i = 0; i < ARRAY_SIZE(releases); i++) {
        bool knows = releases[i].all & VALIDATE;
        struct end x;

        start(r, releases[i].name);
        end_open(&x, r, -1, CREATE | VALIDATE);
        end_register(&x, "test", "10");
        rig_until(r, knows ? &x.synced : &x.closed);
        if (!knows)
            assert_string_equal(plugin_says(r, "closed", "why"), "invalid plugin events: 0x2000");
        end_free(&x);
        sim_runtime_free(r->rt);
        r->rt = NULL;
    }
}

static void
no_events_at_all_means_all_of_them(void **state)
{
    struct rig *r = *state;

    for (size_t i = 0; i < ARRAY_SIZE(releases); i++) {
        char want[16];
        struct end x;

        start(r, releases[i].name);
        end_ready(&x, r, "test", "10", 0);
        (void)snprintf(want, sizeof(want), "%u", releases[i].all);
        assert_string_equal(plugin_says(r, "plugins", "mask"), want);
        end_free(&x);
        sim_runtime_free(r->rt);
        r->rt = NULL;
    }
}

static void
a_bad_name_or_index_is_refused_and_the_next_plugin_is_served(void **state)
{
    static const struct {
        const char *name, *index, *release;
        bool ok;
    } rows[] = {{"", "10", "0.12", false},       {"test", "1", "0.12", false},
                {"test", "1a", "0.6", false},    {"test", "100", "0.6", false},
                {"te st", "10", "0.12", false},  {"te st", "10", "0.11", true},
                {"a.b-C_+9", "00", "0.12", true}};
    struct rig *r = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct end x, y;

        start(r, rows[i].release);
        end_open(&x, r, -1, PODS);
        end_register(&x, rows[i].name, rows[i].index);
        rig_until(r, rows[i].ok ? &x.synced : &x.refused);
        end_ready(&y, r, "other", "20", PODS);
        assert_false(x.closed);
        assert_int_equal(x.synced, rows[i].ok);
        end_free(&y);
        end_free(&x);
        sim_runtime_free(r->rt);
        r->rt = NULL;
    }
}

static void
external_plugins_are_served_one_at_a_time(void **state)
{
    struct rig *r = *state;
    struct end x, y;

    start(r, "0.12");
    end_open(&x, r, -1, PODS); /* connects, and says nothing */
    rig_settle(r);
    end_open(&y, r, -1, PODS);
    end_register(&y, "second", "20");
    rig_settle(r);
    assert_false(y.registered);
    end_register(&x, "first", "10");
    rig_until(r, &y.synced);
    assert_true(x.synced);
    rig_ok(r, "wait plugins=2");
    end_free(&y);
    end_free(&x);
}

static void
who_does_not_register_in_time_is_closed(void **state)
{
    struct rig *r = *state;
    struct end x;

    start(r, "0.12");
    rig_ok(r, "timeout 60000 20");
    end_open(&x, r, -1, PODS);
    rig_until(r, &x.closed);
    assert_string_equal(plugin_says(r, "closed", "why"), "plugin registration timed out");
    end_free(&x);
}

static void
who_fails_or_is_late_in_the_handshake_is_closed(void **state)
{
    static const struct {
        const char *method;
        enum end_action action;
        const char *why;
    } rows[] = {
        {"Configure", END_FAIL,
         "failed to configure plugin: rpc error: code = FailedPrecondition desc = no"},
        {"Configure", END_SILENT, "context deadline exceeded"},
        {"Configure", END_CLOSE, "ttrpc: closed"},
        {"Synchronize", END_FAIL,
         "failed to synchronize plugin: rpc error: code = FailedPrecondition desc = no"},
        {"Synchronize", END_SILENT, "context deadline exceeded"},
    };
    struct rig *r = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct end_rule *rule;
        struct end x;

        start(r, "0.12");
        if (rows[i].action == END_SILENT)
            rig_ok(r, "timeout 30");
        end_open(&x, r, -1, PODS);
        rule = end_on(&x, rows[i].method, rows[i].action);
        rule->code = TTRPC_FAILED_PRECONDITION;
        rule->text = "no";
        end_register(&x, "test", "10");
        rig_ok(r, "wait plugins=0 closed=1");
        assert_string_equal(plugin_says(r, "closed", "why"), rows[i].why);
        end_free(&x);
        sim_runtime_free(r->rt);
        r->rt = NULL;
    }
}

/* ---- Synchronize ---- */

static void
start_with_pods(struct rig *r, const char *release, size_t chunk)
{
    struct sim_runtime_options o = {.release = release, .sync_chunk = chunk, .cdi_enabled = -1};

    rig_start(r, &o);
    for (int i = 0; i < 12; i++) {
        rig_ok(r, "run-pod ns pod%d kata-qemu-nvidia-gpu-snp annotation x=%0200d", i, i);
        if (i % 2 == 0)
            rig_ok(r, "create-container pod%d c%d annotation=y=%0200d", i, i, i);
    }
    rig_ok(r, "create-container pod0 done");
    rig_ok(r, "stop-container pod0 done"); /* is not listed */
}

static void
the_list_is_split_from_0_7_on_and_complete(void **state)
{
    struct rig *r = *state;

    for (size_t i = 0; i < ARRAY_SIZE(releases); i++) {
        struct end x;

        start_with_pods(r, releases[i].name, 2000);
        end_ready(&x, r, "test", "10", PODS);
        assert_int_equal(x.pods, 12);
        assert_int_equal(x.containers, 6);
        assert_string_equal(x.names, "c10 c8 c6 c4 c2 c0 ");
        if (releases[i].split)
            assert_true(x.parts >= 4);
        else
            assert_int_equal(x.parts, 1);
        end_free(&x);
        sim_runtime_free(r->rt);
        r->rt = NULL;
    }
}

/* Real runtimes keep no order (containerd has a map), so plugins must do with any. */
static void
the_newest_or_the_oldest_come_first_in_parts_too(void **state)
{
    static const size_t chunks[] = {0, 1, 300};
    struct rig *r = *state;

    for (size_t i = 0; i < 2 * ARRAY_SIZE(chunks); i++) {
        struct sim_runtime_options o = {
            .sync_chunk = chunks[i / 2], .sync_oldest_first = i % 2, .cdi_enabled = -1};
        struct end x;

        rig_start(r, &o);
        for (int pod = 0; pod < 4; pod++) {
            rig_ok(r, "run-pod ns pod%d kata-qemu-nvidia-gpu-snp", pod);
            rig_ok(r, "create-container pod%d a%d", pod, pod);
            rig_ok(r, "create-container pod%d b%d", pod, pod);
        }
        rig_ok(r, "stop-pod pod1");
        rig_ok(r, "remove-pod pod1");
        rig_ok(r, "stop-container pod2 a2");
        end_ready(&x, r, "test", "10", PODS);
        assert_true(chunks[i / 2] ? x.parts > 1 : x.parts == 1);
        assert_string_equal(x.pod_names, i % 2 ? "pod0 pod2 pod3 " : "pod3 pod2 pod0 ");
        assert_string_equal(x.names, i % 2 ? "a0 b0 b2 a3 b3 " : "b3 a3 b2 b0 a0 ");
        end_free(&x);
        sim_runtime_free(r->rt);
        r->rt = NULL;
    }
}

/* As in the runtimes: a sandbox is listed until it is removed, a container until it has ended. */
static void
a_stopped_sandbox_is_listed_without_its_containers(void **state)
{
    struct rig *r = *state;

    for (int oldest = 0; oldest < 2; oldest++) {
        struct sim_runtime_options o = {.sync_oldest_first = oldest, .cdi_enabled = -1};
        struct end x;

        rig_start(r, &o);
        rig_ok(r, "run-pod ns former kata-qemu-nvidia-gpu-snp");
        rig_ok(r, "create-container former c");
        rig_ok(r, "run-pod ns removed kata-qemu-nvidia-gpu-snp");
        rig_ok(r, "stop-pod former");
        rig_ok(r, "stop-pod removed");
        rig_ok(r, "remove-pod removed");
        rig_ok(r, "run-pod ns pod kata-qemu-nvidia-gpu-snp");
        rig_ok(r, "create-container pod main");
        end_ready(&x, r, "test", "10", PODS);
        assert_string_equal(x.pod_names, oldest ? "former pod " : "pod former ");
        assert_string_equal(x.names, "main ");
        end_free(&x);
        sim_runtime_free(r->rt);
        r->rt = NULL;
    }
}

static void
a_list_that_fits_is_sent_whole(void **state)
{
    struct rig *r = *state;
    struct end x;

    start_with_pods(r, "0.12", 0);
    end_ready(&x, r, "test", "10", PODS);
    assert_int_equal(x.parts, 1);
    assert_int_equal(x.pods, 12);
    end_free(&x);
}

static void
parts_of_one_object_each_come_to_an_end(void **state)
{
    struct rig *r = *state;
    struct end x;

    start_with_pods(r, "0.12", 1);
    end_ready(&x, r, "test", "10", PODS);
    assert_int_equal(x.pods, 12);
    assert_int_equal(x.containers, 6);
    assert_int_equal(x.parts, 12); /* a pod and, while there are, a container each */
    end_free(&x);
}

static void
a_plugin_that_does_not_know_of_parts_is_closed(void **state)
{
    struct rig *r = *state;
    struct end x;

    start_with_pods(r, "0.12", 2000);
    end_open(&x, r, -1, PODS);
    x.no_split = true;
    end_register(&x, "test", "10");
    rig_until(r, &x.closed);
    assert_string_equal(plugin_says(r, "closed", "why"),
                        "plugin does not handle split sync requests");
    end_free(&x);
}

/* ---- frames, as Go reads them ---- */

/* A RegisterPlugin request with a name of `n` letters: a whole ttRPC message. */
static size_t
register_message(uint8_t *to, size_t size, size_t n)
{
    Nri__Pkg__Api__V1alpha1__RegisterPluginRequest m;
    static const char head[] = "\x0a\x1cnri.pkg.api.v1alpha1.Runtime\x12\x0eRegisterPlugin";
    _cleanup_free_ char *version = calloc(1, n + 1);
    size_t len = sizeof(head) - 1, payload;
    uint8_t *p = to + 10;

    assert_non_null(version);
    memset(version, 'v', n);
    nri__pkg__api__v1alpha1__register_plugin_request__init(&m);
    m.plugin_name = (char *)(uintptr_t) "test";
    m.plugin_idx = (char *)(uintptr_t) "10";
    m.nri_version = version;
    payload = protobuf_c_message_get_packed_size(&m.base);
    assert_true(10 + len + 4 + payload <= size && payload < 1u << 14);
    memcpy(p, head, len);
    p[len++] = 0x1a; /* field 3 in two bytes of length */
    p[len++] = (uint8_t)(payload | 0x80);
    p[len++] = (uint8_t)(payload >> 7);
    len += protobuf_c_message_pack(&m.base, p + len);
    memset(to, 0, 10);
    to[2] = (uint8_t)(len >> 8);
    to[3] = (uint8_t)len;
    to[7] = 1; /* stream */
    to[8] = 1; /* request */
    return 10 + len;
}

static void
send_frames(struct end *x, const uint8_t *data, size_t len, size_t first, size_t rest)
{
    while (len > 0) {
        size_t n = len < first ? len : first;
        uint8_t head[8] = {0, 0, 0, MUX_RUNTIME, 0, 0, (uint8_t)(n >> 8), (uint8_t)n};

        end_raw(x, head, sizeof(head));
        end_raw(x, data, n);
        data += n;
        len -= n;
        first = rest;
    }
}

static void
frames_are_taken_and_refused_as_go_does(void **state)
{
    static const struct {
        size_t name, first, rest;
        const char *why; /* NULL: taken */
    } rows[] = {
        {3000, 65535, 0, NULL},                                             /* one, up to 4096 */
        {5000, 65535, 0, "frame larger than the reader's buffer (ENOMEM)"}, /* one, larger */
        {9000, 4096, 65535, NULL},                                          /* what Go sends */
        {9000, 4096, 4096, NULL},
        {9000, 10, 65535, NULL}, /* the rest straight into the message */
        {9000, 9, 65535, "frame larger than the reader's buffer (ENOMEM)"},
        {200, 1, 1, "failed to queue payload for reading"}, /* more than 256 */
        {100, 1, 1, NULL},                                  /* fewer */
    };
    struct rig *r = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint8_t message[16384];
        size_t n = register_message(message, sizeof(message), rows[i].name);
        struct end x;

        start(r, "0.12");
        end_open(&x, r, -1, PODS);
        send_frames(&x, message, n, rows[i].first, rows[i].rest);
        rig_until(r, rows[i].why ? &x.closed : &x.synced);
        if (rows[i].why)
            assert_string_equal(plugin_says(r, "closed", "why"), rows[i].why);
        end_free(&x);
        sim_runtime_free(r->rt);
        r->rt = NULL;
    }
}

static void
frames_for_other_streams_are_dropped_and_huge_ones_end_it(void **state)
{
    static const uint8_t other[] = {0, 0, 0, 7, 0, 0, 0, 3, 'a', 'b', 'c'};
    static const uint8_t huge[] = {0, 0, 0, 1, 0, 0x40, 0, 11};
    struct rig *r = *state;
    struct end x;

    start(r, "0.12");
    end_open(&x, r, -1, PODS);
    end_raw(&x, other, sizeof(other));
    end_register(&x, "test", "10");
    rig_until(r, &x.synced);
    end_raw(&x, huge, sizeof(huge));
    rig_until(r, &x.closed);
    assert_string_equal(plugin_says(r, "closed", "why"), "frame larger than any message");
    end_free(&x);
}

static void
what_is_no_service_of_a_runtime_is_unimplemented(void **state)
{
    struct err e = ERR_INIT;
    struct rig *r = *state;
    uint32_t stream;
    struct end x;

    start(r, "0.12");
    end_ready(&x, r, "test", "10", PODS);
    assert_int_equal(ttrpc_client_call(x.client, "nri.pkg.api.v1alpha1.Runtime", "NoSuch", NULL, 0,
                                       0, &stream, &e),
                     0);
    x.refused = false;
    rig_until(r, &x.refused);
    assert_int_equal(ttrpc_client_call(x.client, "nri.pkg.api.v1alpha1.Runtime", "UpdateContainers",
                                       NULL, 0, 0, &stream, &e),
                     0);
    x.registered = false;
    rig_until(r, &x.registered);
    assert_string_equal(plugin_says(r, "plugins", "updates"), "1");
    end_free(&x);
}

/* ---- the runtime's own life ---- */

static void
a_restart_closes_all_and_pods_stay(void **state)
{
    struct rig *r = *state;
    struct end x, y;

    start(r, "0.12");
    rig_ok(r, "run-pod ns p h");
    end_ready(&x, r, "test", "10", PODS);
    rig_ok(r, "restart");
    rig_until(r, &x.closed);
    end_ready(&y, r, "test", "10", PODS);
    assert_int_equal(y.pods, 1);
    assert_string_equal(y.pod_name, "p");
    end_free(&y);
    end_free(&x);
}

static void
a_runtime_that_is_down_leaves_a_socket_only_when_killed(void **state)
{
    struct rig *r = *state;

    start(r, "0.12");
    rig_ok(r, "down");
    assert_int_equal(access(r->socket, F_OK), -1);
    assert_string_equal(rig_refused(r, "wait plugins=0 0"),
                        "wait: time is up: down, 0 plugins ready, 0 connected, 0 closed");
    rig_ok(r, "up");
    assert_int_equal(access(r->socket, F_OK), 0);
    rig_ok(r, "down stale");
    assert_int_equal(access(r->socket, F_OK), 0);
    rig_ok(r, "up");
    assert_string_equal(rig_refused(r, "up"), "the runtime is up");
}

static void
a_hung_runtime_takes_nothing_and_then_goes_on(void **state)
{
    struct rig_call c;
    struct rig *r = *state;
    struct end x;

    start(r, "0.12");
    rig_ok(r, "hang on");
    end_open(&x, r, -1, PODS);
    end_register(&x, "test", "10");
    rig_begin(r, &c, "run-pod ns p h");
    rig_settle(r);
    assert_false(x.registered);
    assert_false(c.over);
    rig_ok(r, "hang off");
    rig_until(r, &x.synced);
    rig_until(r, &c.over);
    json_object_put(c.answer);
    rig_ok(r, "hang on");
    rig_begin(r, &c, "run-pod ns q h");
    rig_settle(r);
    assert_null(strstr(x.log, "RunPodSandbox RunPodSandbox"));
    rig_ok(r, "hang off");
    rig_until(r, &c.over);
    json_object_put(c.answer);
    end_free(&x);
}

static void
wrong_commands_and_settings_are_refused(void **state)
{
    static const struct sim_runtime_options bad[] = {
        {.release = "0.5"}, {.runtime = "docker"}, {.version = "1.6.9"}, {.version = "two"}};
    static const char *const lines[] = {"",
                                        "fly",
                                        "run-pod ns p",
                                        "run-pod ns p h device=/dev/x",
                                        "run-pod ns p h annotation nokey",
                                        "run-pod ns p h annotation \"open=1",
                                        "create-container",
                                        "create-container p c device=",
                                        "stop-pod",
                                        "stop-pod p q",
                                        "stop-pod nobody",
                                        "remove-container nobody c",
                                        "hang maybe",
                                        "timeout 0",
                                        "wait plugins=x",
                                        "down slowly"};
    struct rig *r = *state;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct sim_runtime_options o = bad[i];
        struct sim_runtime *rt = NULL;
        struct err e = ERR_INIT;

        o.nri = r->socket;
        assert_true(sim_runtime_new(r->loop, &o, &rt, &e) < 0);
        assert_non_null(strstr(e.msg, "is not known"));
    }
    start(r, "0.12");
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
        assert_true(strlen(rig_refused(r, "%s", lines[i])) > 5);
    rig_ok(r, "help");
    rig_ok(r, "run-pod ns p h annotation \"k=a b \\\" c\"");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_release_configures_with_the_fields_that_it_has, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(runtimes_have_the_release_of_their_go_mod, setup, teardown),
        cmocka_unit_test_setup_teardown(plugins_have_two_seconds_to_answer_and_five_to_register,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(configure_may_come_before_the_answer_to_register, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_event_that_the_release_does_not_know_closes_the_plugin,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(no_events_at_all_means_all_of_them, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_bad_name_or_index_is_refused_and_the_next_plugin_is_served, setup, teardown),
        cmocka_unit_test_setup_teardown(external_plugins_are_served_one_at_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(who_does_not_register_in_time_is_closed, setup, teardown),
        cmocka_unit_test_setup_teardown(who_fails_or_is_late_in_the_handshake_is_closed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_list_is_split_from_0_7_on_and_complete, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_list_that_fits_is_sent_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(the_newest_or_the_oldest_come_first_in_parts_too, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_stopped_sandbox_is_listed_without_its_containers, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(parts_of_one_object_each_come_to_an_end, setup, teardown),
        cmocka_unit_test_setup_teardown(a_plugin_that_does_not_know_of_parts_is_closed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(frames_are_taken_and_refused_as_go_does, setup, teardown),
        cmocka_unit_test_setup_teardown(frames_for_other_streams_are_dropped_and_huge_ones_end_it,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_service_of_a_runtime_is_unimplemented, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_restart_closes_all_and_pods_stay, setup, teardown),
        cmocka_unit_test_setup_teardown(a_runtime_that_is_down_leaves_a_socket_only_when_killed,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_hung_runtime_takes_nothing_and_then_goes_on, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(wrong_commands_and_settings_are_refused, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
