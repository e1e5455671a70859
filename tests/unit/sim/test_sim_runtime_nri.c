/* SPDX-License-Identifier: Apache-2.0
 *
 * The runtime stand-in and the services' own NRI sessions, over every release.
 */
#include "tests/unit/sim/nri_end.h"

#include "base/cleanup.h"
#include "nri/nri.h"

#include <json-c/json.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct world {
    struct rig r;
    struct nri *nri;
    char log[2048];
    bool refuse, silent;
    size_t pods, containers;
    unsigned syncs;
};

static void
note(struct world *w, const char *what)
{
    size_t n = strlen(w->log);

    (void)snprintf(w->log + n, sizeof(w->log) - n, "%s%s", n ? " " : "", what);
}

static void
on_request(void *ctx, struct nri_call *call, const struct nri_request *req)
{
    static const struct nri_kv annotations[] = {{"nvidia.com/pgpu.count", "1"}};
    static const struct nri_device devices[] = {{"/dev/vfio/devices/vfio0", 'c', 511, 0}};
    static const struct nri_adjust adjust = {
        .n_annotations = 1, .annotations = annotations, .n_devices = 1, .devices = devices};
    struct world *w = ctx;

    note(w, nri_event_name(req->event));
    if (w->silent)
        return;
    if (w->refuse && req->event != NRI_STOP_POD && req->event != NRI_REMOVE_POD)
        nri_refuse(call, "not verified");
    else
        nri_accept(call, req->event == NRI_CREATE_CONTAINER ? &adjust : NULL);
}

static void
on_cancelled(void *ctx, struct nri_call *call)
{
    (void)call;
    note(ctx, "cancelled");
}

static void
on_synchronize(void *ctx, unsigned session, const struct nri_pod *pods, size_t n_pods,
               const struct nri_container *containers, size_t n_containers)
{
    struct world *w = ctx;

    (void)session;
    (void)pods;
    (void)containers;
    w->pods = n_pods;
    w->containers = n_containers;
    w->syncs++;
}

static int
setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    rig_init(&w->r);
    *state = w;
    return 0;
}

static int
teardown(void **state)
{
    struct world *w = *state;

    nri_free(w->nri);
    rig_fini(&w->r);
    free(w);
    return 0;
}

static void
connect_plugin(struct world *w)
{
    const struct nri_handler h = {
        .request = on_request, .cancelled = on_cancelled, .synchronize = on_synchronize, .ctx = w};
    const char *const sockets[] = {w->r.socket};
    const struct nri_options o = {
        .n_sockets = 1, .sockets = sockets, .name = "pgpu", .index = "10"};
    struct err e = ERR_INIT;

    w->log[0] = '\0';
    if (nri_new(w->r.loop, &o, &h, &w->nri, &e) < 0)
        fail_msg("%s", e.msg);
    rig_ok(&w->r, "wait plugins=1");
}

static void
disconnect_all(struct world *w)
{
    nri_free(w->nri);
    w->nri = NULL;
    sim_runtime_free(w->r.rt);
    w->r.rt = NULL;
}

static const char *const releases[] = {"0.6", "0.7", "0.8", "0.9", "0.10", "0.11", "0.12"};

static void
a_pod_lives_its_life_with_every_release(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < ARRAY_SIZE(releases) * 2; i++) {
        struct sim_runtime_options o = {
            .release = releases[i / 2], .configure_first = i % 2 == 1, .cdi_enabled = -1};
        struct json_object *a;

        rig_start(&w->r, &o);
        connect_plugin(w);
        rig_ok(&w->r, "run-pod ns p kata-qemu-nvidia-gpu-snp");
        a = rig_ask(&w->r, "create-container p main");
        assert_non_null(strstr(json_object_to_json_string_ext(a, JSON_C_TO_STRING_PLAIN),
                               "\"annotations\":{\"nvidia.com\\/pgpu.count\":\"1\"},\"devices\":[{"
                               "\"path\":\"\\/dev\\/vfio\\/devices\\/vfio0\",\"type\":\"c\","
                               "\"major\":511,\"minor\":0}]"));
        json_object_put(a);
        rig_ok(&w->r, "stop-pod p");
        rig_ok(&w->r, "remove-pod p");
        w->refuse = true;
        assert_non_null(strstr(rig_refused(&w->r, "run-pod ns p kata-qemu-nvidia-gpu-snp"),
                               "code = FailedPrecondition desc = not verified"));
        w->refuse = false;
        assert_int_equal(strncmp(w->log, "RunPodSandbox CreateContainer ", 30), 0);
        assert_non_null(strstr(w->log, " StopPodSandbox RemovePodSandbox RunPodSandbox "
                                       "StopPodSandbox RemovePodSandbox"));
        disconnect_all(w);
    }
}

static void
a_split_list_arrives_whole_and_again_after_a_restart(void **state)
{
    struct sim_runtime_options o = {.sync_chunk = 700, .cdi_enabled = -1};
    struct world *w = *state;

    rig_start(&w->r, &o);
    for (int i = 0; i < 30; i++) {
        rig_ok(&w->r, "run-pod ns p%d kata", i);
        rig_ok(&w->r, "create-container p%d main", i);
    }
    connect_plugin(w);
    assert_int_equal(w->pods, 30);
    assert_int_equal(w->containers, 30);
    assert_int_equal(w->syncs, 1);
    rig_ok(&w->r, "restart");
    rig_ok(&w->r, "wait plugins=1 connects=2 closed=1 20");
    assert_int_equal(w->pods, 30);
    assert_int_equal(w->syncs, 2);
}

/* The plugin's own watchdog answers in its handler's place before the runtime gives it up. */
static void
a_handler_that_does_not_answer_fails_closed(void **state)
{
    struct sim_runtime_options o = {.cdi_enabled = -1};
    struct world *w = *state;

    rig_start(&w->r, &o);
    connect_plugin(w);
    w->silent = true;
    assert_non_null(
        strstr(rig_refused(&w->r, "run-pod ns p kata"), "code = DeadlineExceeded desc ="));
    assert_non_null(strstr(w->log, "cancelled"));
    rig_ok(&w->r, "wait plugins=1");
}

static void
a_foreign_device_is_rejected_where_the_release_can(void **state)
{
    static const struct {
        const char *version;
        bool can;
    } rows[] = {{"v2.1.9", false}, {"v2.2.1", true}, {"v2.3.4", true}};
    struct world *w = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct sim_runtime_options o = {.version = rows[i].version, .cdi_enabled = -1};

        rig_start(&w->r, &o);
        connect_plugin(w);
        rig_ok(&w->r, "run-pod ns p kata");
        rig_ok(&w->r, "create-container p one foreign-device=/dev/vfio/9");
        assert_int_equal(strstr(w->log, "ValidateContainerAdjustment") != NULL, rows[i].can);
        disconnect_all(w);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_pod_lives_its_life_with_every_release, setup, teardown),
        cmocka_unit_test_setup_teardown(a_split_list_arrives_whole_and_again_after_a_restart, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_handler_that_does_not_answer_fails_closed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_foreign_device_is_rejected_where_the_release_can, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
