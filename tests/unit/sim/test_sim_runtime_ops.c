/* SPDX-License-Identifier: Apache-2.0
 *
 * The runtime stand-in: pods and containers, and what plugins may do to them.
 */
#include "tests/unit/sim/nri_end.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PODS 0x7u
#define CREATE 0x8u
#define STOP 0x200u
#define REMOVE 0x400u
#define VALIDATE 0x2000u

typedef Nri__Pkg__Api__V1alpha1__CreateContainerResponse answer_t;
typedef Nri__Pkg__Api__V1alpha1__ContainerAdjustment adjust_t;

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

static void
stop(struct rig *r)
{
    sim_runtime_free(r->rt);
    r->rt = NULL;
}

/* What came after the handshake. */
static const char *
events(const struct end *x)
{
    const char *s = strstr(x->log, "Synchronize");

    assert_non_null(s);
    return s[11] ? s + 12 : "";
}

static char *
json_text(struct json_object *o, const char *pointer)
{
    struct json_object *v = NULL;
    char *s;

    s = strdup(json_pointer_get(o, pointer, &v) == 0 && v ? json_object_get_string(v) : "none");
    assert_non_null(s);
    return s;
}

static void
expect(struct json_object *o, const char *pointer, const char *want)
{
    _cleanup_free_ char *s = json_text(o, pointer);

    assert_string_equal(s, want);
}

/* ---- an adjustment ---- */

struct adjustment {
    answer_t answer;
    adjust_t adjust;
    Nri__Pkg__Api__V1alpha1__ContainerAdjustment__AnnotationsEntry note, *notes[1];
    Nri__Pkg__Api__V1alpha1__LinuxContainerAdjustment lin;
    Nri__Pkg__Api__V1alpha1__LinuxDevice device, *devices[1];
    Nri__Pkg__Api__V1alpha1__CDIDevice cdi, *cdis[1];
};

static char *
text(const char *s)
{
    return (char *)(uintptr_t)s; /* packing only reads */
}

/* NULL: none of that kind. */
static const ProtobufCMessage *
adjust(struct adjustment *a, const char *key, const char *device, const char *cdi)
{
    nri__pkg__api__v1alpha1__create_container_response__init(&a->answer);
    nri__pkg__api__v1alpha1__container_adjustment__init(&a->adjust);
    a->answer.adjust = &a->adjust;
    if (key) {
        nri__pkg__api__v1alpha1__container_adjustment__annotations_entry__init(&a->note);
        a->note.key = text(key);
        a->note.value = text("v");
        a->notes[0] = &a->note;
        a->adjust.n_annotations = 1;
        a->adjust.annotations = a->notes;
    }
    if (device) {
        nri__pkg__api__v1alpha1__linux_container_adjustment__init(&a->lin);
        nri__pkg__api__v1alpha1__linux_device__init(&a->device);
        a->device.path = text(device);
        a->device.type = text("c");
        a->device.major = 511;
        a->device.minor = 3;
        a->devices[0] = &a->device;
        a->lin.n_devices = 1;
        a->lin.devices = a->devices;
        a->adjust.linux = &a->lin;
    }
    if (cdi) {
        nri__pkg__api__v1alpha1__cdidevice__init(&a->cdi);
        a->cdi.name = text(cdi);
        a->cdis[0] = &a->cdi;
        a->adjust.n_cdi_devices = 1;
        a->adjust.cdi_devices = a->cdis;
    }
    return &a->answer.base;
}

static void
fail_with(struct end *x, const char *method, const char *why)
{
    struct end_rule *rule = end_on(x, method, END_FAIL);

    rule->code = TTRPC_FAILED_PRECONDITION;
    rule->text = why;
}

/* ---- events ---- */

static void
events_are_state_changes_before_0_12(void **state)
{
    static const struct {
        const char *release;
        bool knows; /* the plugin knows the dedicated methods */
        const char *want;
    } rows[] = {
        {"0.6", true, "StateChange:1 CreateContainer StateChange:2 StateChange:3"},
        {"0.11", true, "StateChange:1 CreateContainer StateChange:2 StateChange:3"},
        {"0.12", true, "RunPodSandbox CreateContainer StopPodSandbox RemovePodSandbox"},
        {"0.12", false, "RunPodSandbox StateChange:1 CreateContainer StateChange:2 StateChange:3"},
    };
    struct rig *r = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct end x;

        start(r, rows[i].release);
        end_ready(&x, r, "test", "10", PODS | CREATE);
        if (!rows[i].knows) {
            fail_with(&x, "RunPodSandbox", "unknown method");
            x.rule[0].code = TTRPC_UNIMPLEMENTED;
        }
        rig_ok(r, "run-pod ns p kata annotation a=b");
        assert_string_equal(x.pod_name, "p");
        rig_ok(r, "create-container p main");
        rig_ok(r, "stop-pod p");
        rig_ok(r, "remove-pod p");
        assert_string_equal(events(&x), rows[i].want);
        end_free(&x);
        stop(r);
    }
}

static void
a_plugin_of_all_events_sees_the_whole_life(void **state)
{
    struct rig *r = *state;
    struct end x;

    start(r, "0.12");
    end_ready(&x, r, "test", "10", 0);
    rig_ok(r, "run-pod ns p kata");
    rig_ok(r, "create-container p main");
    rig_ok(r, "create-container p side");
    rig_ok(r, "stop-container p side");
    rig_ok(r, "remove-container p side");
    rig_ok(r, "remove-pod p");
    assert_string_equal(
        events(&x),
        "RunPodSandbox "
        "CreateContainer ValidateContainerAdjustment PostCreateContainer StartContainer "
        "PostStartContainer "
        "CreateContainer ValidateContainerAdjustment PostCreateContainer StartContainer "
        "PostStartContainer "
        "StopContainer RemoveContainer StopContainer StopPodSandbox RemoveContainer "
        "RemovePodSandbox");
    end_free(&x);
}

static void
a_request_tells_the_pod_and_the_container(void **state)
{
    struct rig *r = *state;
    struct end x;

    start(r, "0.12");
    end_ready(&x, r, "test", "10", CREATE);
    rig_ok(r, "run-pod ns p kata-qemu-nvidia-gpu-snp annotation a=b");
    rig_ok(r, "create-container ns/p main device=/dev/vfio/devices/vfio0 annotation=c=d env=E=1");
    assert_string_equal(x.create->pod->namespace_, "ns");
    assert_string_equal(x.create->pod->name, "p");
    assert_string_equal(x.create->pod->runtime_handler, "kata-qemu-nvidia-gpu-snp");
    assert_int_equal(strlen(x.create->pod->id), 64);
    assert_int_equal(strlen(x.create->pod->uid), 36);
    assert_string_equal(x.create->pod->annotations[0]->key, "a");
    assert_string_equal(x.create->pod->annotations[0]->value, "b");
    assert_string_equal(x.create->container->name, "main");
    assert_string_equal(x.create->container->pod_sandbox_id, x.create->pod->id);
    assert_string_equal(x.create->container->annotations[0]->key, "c");
    assert_string_equal(x.create->container->env[0], "E=1");
    assert_int_equal(x.create->container->linux->n_devices, 1);
    assert_string_equal(x.create->container->linux->devices[0]->path, "/dev/vfio/devices/vfio0");
    assert_string_equal(x.create->container->linux->devices[0]->type, "c");
    end_free(&x);
}

/* ---- what plugins cannot or do not answer ---- */

static void
a_refused_sandbox_is_torn_down_and_plugins_hear_of_it(void **state)
{
    static const struct {
        const char *runtime, *prefix;
    } rows[] = {{"containerd", "NRI RunPodSandbox failed: "}, {"cri-o", ""}};
    struct rig *r = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct sim_runtime_options o = {
            .runtime = rows[i].runtime, .release = "0.12", .cdi_enabled = -1};
        struct json_object *a;
        char want[256];
        struct end x;

        rig_start(r, &o);
        end_ready(&x, r, "test", "10", PODS);
        fail_with(&x, "RunPodSandbox", "GPU not verified");
        a = rig_ask(r, "run-pod ns p kata");
        (void)snprintf(want, sizeof(want),
                       "%srpc error: code = FailedPrecondition desc = GPU not verified",
                       rows[i].prefix);
        expect(a, "/ok", "false");
        expect(a, "/error", want);
        expect(a, "/text", "GPU not verified");
        expect(a, "/code", "9");
        expect(a, "/plugin", "10-test");
        expect(a, "/stage", "RunPodSandbox");
        json_object_put(a);
        assert_string_equal(events(&x), "RunPodSandbox StopPodSandbox RemovePodSandbox");
        a = rig_ask(r, "pods");
        expect(a, "/pods", "[ ]");
        json_object_put(a);
        end_free(&x);
        stop(r);
    }
}

static void
a_refused_container_is_undone(void **state)
{
    struct json_object *a;
    struct rig *r = *state;
    struct end x;

    start(r, "0.12");
    end_ready(&x, r, "test", "10", CREATE | STOP | REMOVE);
    fail_with(&x, "CreateContainer", "not yours");
    rig_ok(r, "run-pod ns p kata");
    a = rig_ask(r, "create-container p main");
    expect(
        a, "/error",
        "failed to get NRI adjustment for container: rpc error: code = FailedPrecondition desc = "
        "not yours");
    json_object_put(a);
    assert_string_equal(events(&x), "CreateContainer StopContainer RemoveContainer");
    a = rig_ask(r, "pods");
    expect(a, "/pods/0/containers", "[ ]");
    json_object_put(a);
    end_free(&x);
}

static void
errors_of_later_events_change_nothing(void **state)
{
    struct rig *r = *state;
    struct end x;

    start(r, "0.12");
    end_ready(&x, r, "test", "10", 0);
    fail_with(&x, "StopPodSandbox", "no");
    fail_with(&x, "RemovePodSandbox", "no");
    fail_with(&x, "StopContainer", "no");
    fail_with(&x, "PostStartContainer", "no");
    rig_ok(r, "run-pod ns p kata");
    rig_ok(r, "create-container p main");
    rig_ok(r, "stop-pod p");
    rig_ok(r, "remove-pod p");
    fail_with(&x, "StartContainer", "no");
    rig_ok(r, "run-pod ns q kata");
    assert_non_null(strstr(rig_refused(r, "create-container q main"), "desc = no"));
    end_free(&x);
}

/* Silence and the end of the connection: the operation goes on as if nothing had been said. */
static void
a_plugin_that_is_late_or_gone_is_closed_and_does_not_count(void **state)
{
    static const struct {
        const char *method, *command;
        enum end_action action;
        const char *outcome;
    } rows[] = {
        {"RunPodSandbox", "run-pod ns q kata", END_SILENT, "timeout"},
        {"RunPodSandbox", "run-pod ns q kata", END_CLOSE, "closed"},
        {"CreateContainer", "create-container p main", END_SILENT, "timeout"},
        {"CreateContainer", "create-container p main", END_CLOSE, "closed"},
        {"StopPodSandbox", "stop-pod p", END_SILENT, "timeout"},
    };
    struct rig *r = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct json_object *a;
        struct end x, y;

        start(r, "0.12");
        rig_ok(r, "run-pod ns p kata");
        end_ready(&x, r, "test", "10", PODS | CREATE);
        end_ready(&y, r, "test", "20", PODS | CREATE);
        end_on(&x, rows[i].method, rows[i].action);
        if (rows[i].action == END_SILENT)
            rig_ok(r, "timeout 200");
        a = rig_ask(r, "%s", rows[i].command);
        expect(a, "/ok", "true");
        expect(a, "/calls/0/outcome", rows[i].outcome);
        expect(a, "/calls/1/plugin", "20-test");
        json_object_put(a);
        assert_string_equal(events(&y), rows[i].method);
        a = rig_ask(r, "plugins");
        expect(a, "/plugins/0/name", "20-test");
        expect(a, "/closed/0/name", "10-test");
        json_object_put(a);
        rig_until(r, &x.closed);
        end_free(&y);
        end_free(&x);
        stop(r);
    }
}

/* A plugin that answers DEADLINE_EXCEEDED itself has answered. */
static void
an_answer_of_deadline_exceeded_is_an_error_like_others(void **state)
{
    struct rig *r = *state;
    struct end x;

    start(r, "0.12");
    end_ready(&x, r, "test", "10", PODS);
    fail_with(&x, "RunPodSandbox", "busy");
    x.rule[0].code = TTRPC_DEADLINE_EXCEEDED;
    assert_string_equal(rig_refused(r, "run-pod ns p kata"),
                        "NRI RunPodSandbox failed: rpc error: code = DeadlineExceeded desc = busy");
    assert_false(x.closed);
    end_free(&x);
}

/* ---- adjustments ---- */

static void
adjustments_are_applied_and_seen_by_the_next_plugin(void **state)
{
    struct rig *r = *state;
    struct adjustment a1, a2;
    struct json_object *a;
    struct end x, y;

    start(r, "0.12");
    end_ready(&y, r, "late", "20", CREATE);
    end_ready(&x, r, "early", "10", CREATE);
    end_on(&x, "CreateContainer", END_ANSWER)->reply = adjust(&a1, "one", "/dev/vfio/7", NULL);
    end_on(&y, "CreateContainer", END_ANSWER)->reply = adjust(&a2, "two", NULL, NULL);
    rig_ok(r, "run-pod ns p kata");
    a = rig_ask(r, "create-container p main annotation=own=1");
    expect(a, "/ok", "true");
    expect(a, "/container/annotations/own", "1");
    expect(a, "/container/annotations/one", "v");
    expect(a, "/container/annotations/two", "v");
    expect(a, "/container/devices/0/path", "/dev/vfio/7");
    expect(a, "/container/devices/0/major", "511");
    expect(a, "/container/state", "running");
    expect(a, "/adjusted/annotations/0/plugin", "10-early");
    expect(a, "/adjusted/annotations/1/plugin", "20-late");
    expect(a, "/adjusted/devices/0/plugin", "10-early");
    json_object_put(a);
    assert_int_equal(x.create->container->n_annotations, 1);
    assert_int_equal(y.create->container->n_annotations, 2);
    assert_string_equal(y.create->container->linux->devices[0]->path, "/dev/vfio/7");
    end_free(&y);
    end_free(&x);
}

static void
two_plugins_cannot_set_the_same_thing(void **state)
{
    static const struct {
        const char *key, *device, *cdi, *what;
    } rows[] = {{"k", NULL, NULL, "annotation k"},
                {NULL, "/dev/x", NULL, "device /dev/x"},
                {NULL, NULL, "a.com/b=c", "CDI device a.com/b=c"}};
    struct rig *r = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct adjustment a;
        char want[128];
        struct end x, y;

        start(r, "0.12");
        end_ready(&x, r, "a", "10", CREATE);
        end_ready(&y, r, "b", "20", CREATE);
        end_on(&x, "CreateContainer", END_ANSWER)->reply =
            adjust(&a, rows[i].key, rows[i].device, rows[i].cdi);
        end_on(&y, "CreateContainer", END_ANSWER)->reply = &a.answer.base;
        rig_ok(r, "run-pod ns p kata");
        (void)snprintf(want, sizeof(want), "plugins \"10-a\" and \"20-b\" both tried to set %s",
                       rows[i].what);
        assert_non_null(strstr(rig_refused(r, "create-container p main"), want));
        end_free(&y);
        end_free(&x);
        stop(r);
    }
}

static void
a_removal_lets_the_next_plugin_set_it(void **state)
{
    struct rig *r = *state;
    struct adjustment a1, a2;
    struct json_object *a;
    struct end x, y;

    start(r, "0.12");
    end_ready(&x, r, "a", "10", CREATE);
    end_ready(&y, r, "b", "20", CREATE);
    end_on(&x, "CreateContainer", END_ANSWER)->reply = adjust(&a1, "k", NULL, NULL);
    end_on(&y, "CreateContainer", END_ANSWER)->reply = adjust(&a2, "-k", NULL, NULL);
    rig_ok(r, "run-pod ns p kata");
    a = rig_ask(r, "create-container p main");
    expect(a, "/container/annotations/k", "none");
    json_object_put(a);
    end_free(&y);
    end_free(&x);
}

static void
an_answer_that_go_would_not_read_is_an_error(void **state)
{
    struct rig *r = *state;
    struct adjustment a;
    struct end x;

    start(r, "0.12");
    end_ready(&x, r, "a", "10", CREATE);
    end_on(&x, "CreateContainer", END_ANSWER)->reply = adjust(&a, "bad \xff", NULL, NULL);
    rig_ok(r, "run-pod ns p kata");
    assert_non_null(strstr(rig_refused(r, "create-container p main"), "failed to unmarshal"));
    assert_false(x.closed);
    end_free(&x);
}

/* ---- validation ---- */

static void
validators_see_the_sum_and_may_reject_it_from_0_10_on(void **state)
{
    static const char *const releases[] = {"0.9", "0.10", "0.11", "0.12"};
    Nri__Pkg__Api__V1alpha1__ValidateContainerAdjustmentResponse no;
    struct rig *r = *state;

    nri__pkg__api__v1alpha1__validate_container_adjustment_response__init(&no);
    no.reject = 1;
    no.reason = text("a VFIO node of somebody else");
    for (size_t i = 0; i < ARRAY_SIZE(releases); i++) {
        struct adjustment a;
        struct end x;

        start(r, releases[i]);
        end_ready(&x, r, "pgpu", "10", i == 0 ? CREATE : CREATE | VALIDATE);
        end_on(&x, "CreateContainer", END_ANSWER)->reply = adjust(&a, "k", NULL, NULL);
        end_on(&x, "ValidateContainerAdjustment", END_ANSWER)->reply = &no.base;
        rig_ok(r, "run-pod ns p kata");
        if (i == 0) { /* nobody stops the other plugin */
            rig_ok(r, "create-container p main foreign-device=/dev/vfio/9");
        } else {
            const adjust_t *sum;

            assert_non_null(strstr(
                rig_refused(r,
                            "create-container p main device=/dev/own "
                            "foreign-device=/dev/vfio/9 foreign-hook=/bin/x foreign-cdi=a.b/c=d"),
                "validator \"10-pgpu\" rejected container adjustment, reason: a VFIO node of "
                "somebody else"));
            sum = x.validate->adjust;
            assert_int_equal(x.validate->container->n_annotations, 0);
            assert_int_equal(x.validate->container->linux->n_devices, 1);
            assert_string_equal(sum->annotations[0]->key, "k");
            assert_int_equal(sum->linux->n_devices, 1);
            assert_string_equal(sum->linux->devices[0]->path, "/dev/vfio/9");
            assert_string_equal(sum->cdi_devices[0]->name, "a.b/c=d");
            assert_string_equal(sum->hooks->create_runtime[0]->path, "/bin/x");
            assert_int_equal(x.validate->n_plugins, 2);
            assert_string_equal(x.validate->plugins[0]->name, "pgpu");
            assert_string_equal(x.validate->plugins[0]->index, "10");
            assert_string_equal(x.validate->plugins[1]->name, "foreign");
        }
        end_free(&x);
        stop(r);
    }
}

/* Other than everywhere else, a validator's silence fails the container. */
static void
a_silent_or_failing_validator_fails_the_container(void **state)
{
    struct rig *r = *state;

    for (int silent = 0; silent < 2; silent++) {
        struct end x;

        start(r, "0.12");
        end_ready(&x, r, "pgpu", "10", VALIDATE);
        if (silent)
            end_on(&x, "ValidateContainerAdjustment", END_SILENT);
        else
            fail_with(&x, "ValidateContainerAdjustment", "broken");
        rig_ok(r, "run-pod ns p kata");
        if (silent)
            rig_ok(r, "timeout 30");
        assert_non_null(strstr(rig_refused(r, "create-container p main"),
                               silent ? "validator plugin 10-pgpu failed: context deadline exceeded"
                                      : "desc = broken"));
        end_free(&x);
        stop(r);
    }
}

/* ---- CDI ---- */

static void
put(const struct rig *r, const char *name, const char *content)
{
    struct err e = ERR_INIT;
    char path[160];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/%s", r->dir, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(fs_write_all(fd, content, strlen(content), &e), 0);
    (void)close(fd);
}

static void
make_dir(const struct rig *r, const char *name)
{
    struct err e = ERR_INIT;
    char path[160];

    (void)snprintf(path, sizeof(path), "%s/%s", r->dir, name);
    assert_int_equal(fs_mkdirs(path, 0755, &e), 0);
}

#define SPEC(node)                                                                                 \
    "{\"cdiVersion\":\"0.5.0\",\"kind\":\"nvidia.com/pgpu\",\"devices\":[{\"name\":\"g0\","        \
    "\"containerEdits\":{\"deviceNodes\":[{\"path\":\"" node "\"}]}}]}"

static void
cdi_devices_of_plugins_depend_on_the_runtime(void **state)
{
    enum what { DROPPED, INJECTED, REFUSED };
    static const struct {
        const char *runtime, *version;
        int cdi; /* the runtime's setting; -1: default */
        enum what what;
        const char *release;
    } rows[] = {
        {"containerd", "1.7.24~ds1", 1, DROPPED, NULL},
        {"containerd", "v1.7.29", 1, DROPPED, NULL},
        {"containerd", "v1.7.30", -1, REFUSED, NULL},
        {"containerd", "v1.7.30", 1, INJECTED, NULL},
        {"containerd", "v2.0.11", -1, DROPPED, NULL},
        {"containerd", "v2.1.0", 0, INJECTED, NULL},
        {"containerd", "v2.3.4", -1, INJECTED, NULL},
        {"containerd", "v2.3.4", -1, DROPPED, "0.6"}, /* does not know the field */
        {"cri-o", "1.31.0", -1, DROPPED, NULL},
        {"cri-o", "1.33.9", -1, DROPPED, NULL},
        {"cri-o", "1.34.0", -1, INJECTED, NULL},
    };
    struct rig *r = *state;
    char dir[96];

    make_dir(r, "cdi");
    put(r, "cdi/pgpu.json", SPEC("/dev/vfio/devices/vfio0"));
    put(r, "cdi/broken.json", "{");
    (void)snprintf(dir, sizeof(dir), "%s/cdi", r->dir);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct sim_runtime_options o = {.runtime = rows[i].runtime,
                                        .version = rows[i].version,
                                        .release = rows[i].release,
                                        .cdi_enabled = rows[i].cdi,
                                        .n_cdi = 1,
                                        .cdi = {dir}};
        struct adjustment adj;
        struct json_object *a;
        struct end x;

        rig_start(r, &o);
        end_ready(&x, r, "pgpu", "10", CREATE);
        end_on(&x, "CreateContainer", END_ANSWER)->reply =
            adjust(&adj, NULL, NULL, "nvidia.com/pgpu=g0");
        rig_ok(r, "run-pod ns p kata");
        a = rig_ask(r, "create-container p main");
        expect(a, "/ok", rows[i].what == REFUSED ? "false" : "true");
        expect(a, "/container/devices/0/path",
               rows[i].what == INJECTED ? "/dev/vfio/devices/vfio0" : "none");
        if (rows[i].what == REFUSED)
            expect(a, "/error",
                   "failed to NRI-adjust container Spec: can't inject CDI devices "
                   "([nvidia.com/pgpu=g0]): CDI is disabled by configuration");
        json_object_put(a);
        end_free(&x);
        stop(r);
    }
}

static void
the_kubelets_cdi_devices_are_there_before_plugins_look(void **state)
{
    struct rig *r = *state;
    struct json_object *a;
    char dir[96];
    struct sim_runtime_options o = {.cdi_enabled = -1, .n_cdi = 1, .cdi = {dir}};
    struct end x;

    make_dir(r, "cdi");
    put(r, "cdi/pgpu.json", SPEC("/dev/vfio/devices/vfio0"));
    (void)snprintf(dir, sizeof(dir), "%s/cdi", r->dir);
    rig_start(r, &o);
    end_ready(&x, r, "pgpu", "10", CREATE);
    rig_ok(r, "run-pod ns p kata");
    rig_ok(r, "create-container p main cdi=nvidia.com/pgpu=g0");
    assert_string_equal(x.create->container->linux->devices[0]->path, "/dev/vfio/devices/vfio0");
    assert_string_equal(x.create->container->cdi_devices[0]->name, "nvidia.com/pgpu=g0");
    rig_ok(r, "create-container p second annotation=cdi.k8s.io/x=nvidia.com/pgpu=g0");
    assert_string_equal(x.create->container->linux->devices[0]->path, "/dev/vfio/devices/vfio0");
    assert_non_null(strstr(rig_refused(r, "create-container p third cdi=nvidia.com/pgpu=g1"),
                           "unresolvable CDI devices nvidia.com/pgpu=g1"));
    a = rig_ask(r, "pods");
    expect(a, "/pods/0/containers/2", "none");
    json_object_put(a);
    put(r, "cdi/again.json", SPEC("/dev/vfio/devices/vfio1"));
    assert_non_null(
        strstr(rig_refused(r, "create-container p third cdi=nvidia.com/pgpu=g0"), "unresolvable"));
    end_free(&x);
}

static void
device_numbers_come_from_the_nodes_sysfs(void **state)
{
    struct rig *r = *state;
    struct json_object *a;
    char root[96];
    struct sim_runtime_options o = {.cdi_enabled = -1, .root = root};

    (void)snprintf(root, sizeof(root), "%s/root", r->dir);
    make_dir(r, "root/sys/class/vfio-dev/vfio3");
    make_dir(r, "root/sys/class/vfio/17");
    put(r, "root/sys/class/vfio-dev/vfio3/dev", "511:3\n");
    put(r, "root/sys/class/vfio/17/dev", "242:17\n");
    rig_start(r, &o);
    rig_ok(r, "run-pod ns p kata");
    a = rig_ask(r, "create-container p main device=/dev/vfio/devices/vfio3 device=/dev/vfio/17");
    expect(a, "/container/devices/0/major", "511");
    expect(a, "/container/devices/0/minor", "3");
    expect(a, "/container/devices/1/major", "242");
    expect(a, "/container/devices/1/minor", "17");
    json_object_put(a);
    assert_non_null(strstr(rig_refused(r, "create-container p no device=/dev/vfio/devices/vfio4"),
                           "No such file"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(events_are_state_changes_before_0_12, setup, teardown),
        cmocka_unit_test_setup_teardown(a_plugin_of_all_events_sees_the_whole_life, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_request_tells_the_pod_and_the_container, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_sandbox_is_torn_down_and_plugins_hear_of_it,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_container_is_undone, setup, teardown),
        cmocka_unit_test_setup_teardown(errors_of_later_events_change_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_plugin_that_is_late_or_gone_is_closed_and_does_not_count,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_of_deadline_exceeded_is_an_error_like_others,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(adjustments_are_applied_and_seen_by_the_next_plugin, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(two_plugins_cannot_set_the_same_thing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_removal_lets_the_next_plugin_set_it, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_that_go_would_not_read_is_an_error, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(validators_see_the_sum_and_may_reject_it_from_0_10_on,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_silent_or_failing_validator_fails_the_container, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(cdi_devices_of_plugins_depend_on_the_runtime, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_kubelets_cdi_devices_are_there_before_plugins_look,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(device_numbers_come_from_the_nodes_sysfs, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
