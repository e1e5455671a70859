/* SPDX-License-Identifier: Apache-2.0
 *
 * How sessions begin: registration, configuration, synchronization, reconnecting.
 */
#include "wire_runtime.h"

#include "nri/pb.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

typedef Nri__Pkg__Api__V1alpha1__SynchronizeRequest Sync;
typedef Nri__Pkg__Api__V1alpha1__SynchronizeResponse SyncAnswer;

static void
it_registers_and_synchronizes(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    runtime_listen(&w.rt[0]);
    world_plugin(&w, 1, false);
    assert_true(runtime_hello(&w, &w.rt[0], "containerd", "v2.1.0", ""));
    assert_true(world_until(&w, is_up));
    assert_string_equal(w.rt[0].name, "pgpu");
    assert_string_equal(w.rt[0].index, "10");
    assert_string_equal(w.rt[0].version, NRI_VERSION_OURS);
    assert_int_equal(w.syncs, 1);
    assert_int_equal(w.n_pods, 0);
    assert_int_equal(w.ups, 1);
    assert_int_equal(w.downs, 0);

    const struct nri_runtime *rt = nri_session(w.nri, 0);

    assert_string_equal(rt->name, "containerd");
    assert_string_equal(rt->version, "v2.1.0");
    assert_true(rt->cdi);
    assert_false(rt->validates);
    assert_int_equal(rt->connects, 1);
    assert_null(nri_session(w.nri, 1));
    world_fini(&w);
}

static void
configure_may_come_before_the_answer_to_registering(void **state)
{
    struct world w;
    struct err e = ERR_INIT;

    (void)state;
    world_init(&w);
    w.rt[0].hold_reg = true;
    runtime_listen(&w.rt[0]);
    world_plugin(&w, 1, false);
    assert_true(runtime_hello(&w, &w.rt[0], "containerd", "1.7.24~ds1", ""));
    assert_true(world_until(&w, is_up));
    assert_int_equal(ttrpc_server_reply(w.rt[0].server, w.rt[0].reg_stream, NULL, 0, &e), 0);
    for (int i = 0; i < 10; i++)
        world_turn(&w);
    assert_true(is_up(&w));
    world_fini(&w);
}

static bool
refused(struct world *w)
{
    return w->downs > 0 && strstr(w->why, "no plugins today");
}

static void
a_refused_registration_is_told_and_tried_again(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    w.rt[0].refuse_reg = true;
    runtime_listen(&w.rt[0]);
    world_plugin(&w, 1, false);
    assert_true(world_until(&w, refused));
    w.rt[0].refuse_reg = false;
    assert_true(runtime_hello(&w, &w.rt[0], "containerd", "1.7.24", ""));
    assert_true(world_until(&w, is_up));
    assert_true(w.rt[0].accepted >= 2);
    world_fini(&w);
}

static void
only_events_that_the_runtime_knows_are_asked_for(void **state)
{
    static const struct {
        const char *name, *version, *nri;
        int32_t events;
    } table[] = {
        {"containerd", "1.7.24~ds1", "", 0x0f},
        {"containerd", "v2.1.9", "", 0x0f},
        {"containerd", "v2.2.0", "", 0x200f},
        {"containerd", "2.2.0-rc.1", "", 0x0f},
        {"containerd", "v2.2.7-k3s1", "", 0x200f},
        {"cri-o", "1.33.2", "", 0x0f},
        {"cri-o", "1.34.0", "", 0x200f},
        {"CRI-O", "1.35", "", 0x200f},
        {"docker", "99.1.1", "", 0x0f},
        {"docker", "1.0", "v0.12.0", 0x200f},
        {"containerd", "nonsense", "", 0x0f},
        {"containerd", "", "", 0x0f},
    };
    struct world w;

    (void)state;
    world_init(&w);
    runtime_listen(&w.rt[0]);
    world_plugin(&w, 1, false);
    assert_true(world_until(&w, has_registered));
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        assert_int_equal(
            runtime_configure(&w, &w.rt[0], table[i].name, table[i].version, table[i].nri),
            table[i].events);
    world_fini(&w);
}

static void
runtimes_are_told_to_fail_what_we_do_not_answer(void **state)
{
    Nri__Pkg__Api__V1alpha1__ConfigureResponse *m;
    const struct answer *a;
    struct world w;

    (void)state;
    world_init(&w);
    runtime_listen(&w.rt[0]);
    world_plugin(&w, 1, false);
    assert_true(world_until(&w, has_registered));
    a = runtime_wait(&w, &w.rt[0], runtime_call(&w.rt[0], "Configure", NULL, 0));
    assert_non_null(a);
    m = nri__pkg__api__v1alpha1__configure_response__unpack(NULL, a->len, a->payload);
    assert_non_null(m);
    assert_int_equal(m->events, 0x0f);
    assert_non_null(m->failure_policy);
    assert_true(m->failure_policy->fail_request);
    assert_false(m->failure_policy->keep_connected);
    nri__pkg__api__v1alpha1__configure_response__free_unpacked(m, NULL);
    assert_false(is_up(&w)); /* not before Synchronize, whatever the runtime's age */
    world_fini(&w);
}

static bool
first_down(struct world *w)
{
    return w->downs == 1;
}

static bool
second_down(struct world *w)
{
    return w->downs == 2;
}

static void
a_runtime_that_hangs_up_on_validate_is_asked_for_less(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    runtime_listen(&w.rt[0]);
    world_plugin(&w, 1, false);
    assert_true(world_until(&w, has_registered));
    assert_int_equal(runtime_configure(&w, &w.rt[0], "containerd", "2.2.0", ""), 0x200f);
    runtime_hang_up(&w.rt[0]);
    assert_true(world_until(&w, first_down));
    assert_false(nri_session(w.nri, 0)->validation_refused); /* only of a session without it */
    assert_true(world_until(&w, has_registered));
    assert_int_equal(runtime_configure(&w, &w.rt[0], "containerd", "2.2.0", ""), 0x0f);
    assert_int_equal(
        runtime_wait(&w, &w.rt[0], runtime_call(&w.rt[0], "Synchronize", NULL, 0))->code, TTRPC_OK);
    assert_true(is_up(&w));
    assert_false(nri_session(w.nri, 0)->validates);
    assert_true(nri_session(w.nri, 0)->validation_refused);
    /* It may have been a coincidence: the next session asks again. */
    runtime_hang_up(&w.rt[0]);
    assert_true(world_until(&w, second_down));
    assert_true(world_until(&w, has_registered));
    assert_int_equal(runtime_configure(&w, &w.rt[0], "containerd", "2.2.0", ""), 0x200f);
    assert_false(nri_session(w.nri, 0)->validation_refused);
    world_fini(&w);
}

/* Not that it does not know the event: it may restart, or be out of memory. */
static void
a_runtime_that_tells_its_nri_version_is_asked_to_validate_however_often_it_hangs_up(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    runtime_listen(&w.rt[0]);
    world_plugin(&w, 1, false);
    assert_true(world_until(&w, has_registered));
    assert_int_equal(runtime_configure(&w, &w.rt[0], "containerd", "2.3.0", "v0.12.0"), 0x200f);
    runtime_hang_up(&w.rt[0]);
    assert_true(world_until(&w, first_down));
    assert_true(world_until(&w, has_registered));
    assert_int_equal(runtime_configure(&w, &w.rt[0], "containerd", "2.3.0", "v0.12.0"), 0x200f);
    runtime_hang_up(&w.rt[0]);
    assert_true(world_until(&w, second_down));
    assert_true(runtime_hello(&w, &w.rt[0], "containerd", "2.3.0", "v0.12.0"));
    assert_true(world_until(&w, is_up));
    assert_true(nri_session(w.nri, 0)->validates);
    assert_false(nri_session(w.nri, 0)->validation_refused);
    world_fini(&w);
}

/* An update of the runtime, in between: what its predecessor did not know says nothing of it. */
static void
a_runtime_that_tells_its_nri_version_is_asked_after_another_has_hung_up(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    runtime_listen(&w.rt[0]);
    world_plugin(&w, 1, false);
    assert_true(world_until(&w, has_registered));
    assert_int_equal(runtime_configure(&w, &w.rt[0], "containerd", "2.2.0", ""), 0x200f);
    runtime_hang_up(&w.rt[0]);
    assert_true(world_until(&w, first_down));
    assert_true(runtime_hello(&w, &w.rt[0], "containerd", "2.3.0", "v0.12.0"));
    assert_true(world_until(&w, is_up));
    assert_true(nri_session(w.nri, 0)->validates);
    assert_false(nri_session(w.nri, 0)->validation_refused);
    world_fini(&w);
}

/* ---- Synchronize ---- */

/* Sends pods and containers first..first+n-1; the answer's `more`, -1 for an error. */
static int
send_part(struct world *w, unsigned first, unsigned n, bool more, enum ttrpc_code *ret_code)
{
    Nri__Pkg__Api__V1alpha1__PodSandbox *pods = calloc(n + 1, sizeof(*pods));
    Nri__Pkg__Api__V1alpha1__Container *cts = calloc(n + 1, sizeof(*cts));
    Nri__Pkg__Api__V1alpha1__PodSandbox **pod_list = calloc(n + 1, sizeof(*pod_list));
    Nri__Pkg__Api__V1alpha1__Container **ct_list = calloc(n + 1, sizeof(*ct_list));
    char(*ids)[2][16] = calloc(n + 1, sizeof(*ids));
    Sync m = NRI__PKG__API__V1ALPHA1__SYNCHRONIZE_REQUEST__INIT;
    const struct answer *a;
    int ret = -1;

    for (unsigned i = 0; i < n; i++) {
        nri__pkg__api__v1alpha1__pod_sandbox__init(&pods[i]);
        nri__pkg__api__v1alpha1__container__init(&cts[i]);
        (void)snprintf(ids[i][0], 16, "pod%u", first + i);
        (void)snprintf(ids[i][1], 16, "ct%u", first + i);
        pods[i].id = ids[i][0];
        cts[i].id = ids[i][1];
        cts[i].pod_sandbox_id = ids[i][0];
        pod_list[i] = &pods[i];
        ct_list[i] = &cts[i];
    }
    m.n_pods = m.n_containers = n;
    m.pods = pod_list;
    m.containers = ct_list;
    m.more = more;
    a = runtime_wait(w, &w->rt[0], runtime_call(&w->rt[0], "Synchronize", &m.base, 0));
    *ret_code = a ? a->code : TTRPC_UNAVAILABLE;
    if (a && a->code == TTRPC_OK) {
        SyncAnswer *out =
            nri__pkg__api__v1alpha1__synchronize_response__unpack(NULL, a->len, a->payload);

        assert_non_null(out);
        assert_int_equal(out->n_update, 0);
        ret = out->more;
        nri__pkg__api__v1alpha1__synchronize_response__free_unpacked(out, NULL);
    }
    free(pods);
    free(cts);
    free(pod_list);
    free(ct_list);
    free(ids);
    return ret;
}

static void
a_split_list_is_joined(void **state)
{
    enum ttrpc_code code;
    struct world w;

    (void)state;
    world_init(&w);
    runtime_listen(&w.rt[0]);
    world_plugin(&w, 1, false);
    assert_true(world_until(&w, has_registered));
    assert_int_equal(send_part(&w, 0, 1, false, &code), -1);
    assert_int_equal(code, TTRPC_FAILED_PRECONDITION); /* before Configure */
    assert_true(runtime_configure(&w, &w.rt[0], "containerd", "2.0.0", "") > 0);
    assert_int_equal(send_part(&w, 0, 3, true, &code), 1);
    assert_int_equal(w.syncs, 0);
    assert_int_equal(send_part(&w, 3, 300, true, &code), 1);
    assert_int_equal(w.syncs, 0);
    assert_false(is_up(&w));
    assert_int_equal(send_part(&w, 303, 2, false, &code), 0);
    assert_int_equal(w.syncs, 1);
    assert_int_equal(w.n_pods, 305);
    assert_int_equal(w.n_containers, 305);
    assert_string_equal(w.seen, "pod0..pod304 ct0..ct304");
    assert_true(is_up(&w));
    world_fini(&w);
}

static void
a_list_without_end_is_refused(void **state)
{
    enum ttrpc_code code = TTRPC_OK;
    struct world w;
    unsigned parts = 0;

    (void)state;
    world_init(&w);
    runtime_listen(&w.rt[0]);
    world_plugin(&w, 1, false);
    assert_true(world_until(&w, has_registered));
    assert_true(runtime_configure(&w, &w.rt[0], "containerd", "2.0.0", "") > 0);
    while (code == TTRPC_OK && parts <= NRI_SYNC_PARTS_MAX) {
        (void)send_part(&w, 0, 1, true, &code);
        parts++;
    }
    assert_int_equal(parts, NRI_SYNC_PARTS_MAX + 1);
    assert_int_equal(code, TTRPC_RESOURCE_EXHAUSTED);
    assert_true(world_until(&w, first_down));
    assert_non_null(strstr(w.why, "more than 256 parts"));
    assert_int_equal(w.syncs, 0);
    world_fini(&w);
}

static void
text_that_is_not_utf8_is_refused(void **state)
{
    static const uint8_t bad[] = {0x0a, 0x04, 0x0a, 0x02, 0xc3, 0x28}; /* pods[0].id */
    static const uint8_t nul[] = {0x0a, 0x05, 0x0a, 0x03, 'a', 0, 'b'};
    struct world w;
    const struct answer *a;

    (void)state;
    world_init(&w);
    runtime_listen(&w.rt[0]);
    world_plugin(&w, 1, false);
    assert_true(world_until(&w, has_registered));
    assert_true(runtime_configure(&w, &w.rt[0], "containerd", "2.0.0", "") > 0);
    a = runtime_wait(
        &w, &w.rt[0],
        runtime_call_bytes(&w.rt[0], NRI_PLUGIN_SERVICE, "Synchronize", bad, sizeof(bad), 0));
    assert_non_null(a);
    assert_int_not_equal(a->code, TTRPC_OK);
    assert_non_null(strstr(a->text, "UTF-8"));
    assert_true(world_until(&w, first_down));
    assert_true(world_until(&w, has_registered));
    assert_true(runtime_configure(&w, &w.rt[0], "containerd", "2.0.0", "") > 0);
    a = runtime_wait(
        &w, &w.rt[0],
        runtime_call_bytes(&w.rt[0], NRI_PLUGIN_SERVICE, "Synchronize", nul, sizeof(nul), 0));
    assert_non_null(a);
    assert_non_null(strstr(a->text, "NUL"));
    world_fini(&w);
}

/* ---- reconnecting ---- */

static void
it_reconnects_200_times_and_leaks_no_descriptor(void **state)
{
    struct world w;
    size_t before = 0;

    (void)state;
    world_init(&w);
    world_plugin(&w, 1, false);
    for (unsigned i = 0; i < 200; i++) {
        runtime_listen(&w.rt[0]); /* a restarted runtime has a new socket: found at once */
        assert_true(runtime_hello(&w, &w.rt[0], "containerd", "2.1.0", ""));
        assert_true(is_up(&w));
        runtime_stop(&w.rt[0]);
        assert_true(world_until(&w, is_down));
        if (i == 2)
            before = count_fds();
    }
    assert_int_equal(count_fds(), before);
    assert_int_equal(w.syncs, 200);
    assert_int_equal(w.ups, 200);
    assert_true(w.downs >= 200);
    assert_int_equal(nri_session(w.nri, 0)->connects, 200);
    world_fini(&w);
}

static bool
three_attempts(struct world *w)
{
    return w->nri->peer[0].backoff.failures >= 3;
}

static void
a_socket_that_appears_is_found_long_before_the_back_off_ends(void **state)
{
    char dir[80], sub[84];
    struct world w;

    (void)state;
    world_init(&w);
    (void)snprintf(dir, sizeof(dir), "%s/a", w.dir);
    (void)snprintf(sub, sizeof(sub), "%s/b", dir);
    (void)snprintf(w.rt[0].path, sizeof(w.rt[0].path), "%s/n.sock", sub);
    world_plugin(&w, 1, false);
    assert_true(world_until(&w, three_attempts));
    assert_int_equal(w.downs, 1); /* told once, not for every attempt */

    const unsigned far = 7; /* the next delay by back-off alone: 5 to 10 s */
    w.nri->peer[0].backoff.failures = far;
    peer_retry(&w.nri->peer[0], UINT64_C(3600) * 1000000);
    assert_int_equal(mkdir(dir, 0700), 0);
    for (int i = 0; i < 20; i++)
        world_turn(&w);
    assert_int_equal(mkdir(sub, 0700), 0);
    for (int i = 0; i < 20; i++)
        world_turn(&w);
    runtime_listen(&w.rt[0]);
    assert_true(runtime_hello(&w, &w.rt[0], "containerd", "2.1.0", ""));
    assert_true(world_until(&w, is_up));
    runtime_stop(&w.rt[0]);

    /* The directory is replaced as a whole. */
    assert_true(world_until(&w, is_down));
    assert_int_equal(rmdir(sub), 0);
    assert_int_equal(rmdir(dir), 0);
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(mkdir(sub, 0700), 0);
    runtime_listen(&w.rt[0]);
    assert_true(runtime_hello(&w, &w.rt[0], "containerd", "2.1.0", ""));
    assert_true(world_until(&w, is_up));
    runtime_stop(&w.rt[0]);
    assert_int_equal(rmdir(sub), 0);
    world_fini(&w);
}

static bool
both_up(struct world *w)
{
    return nri_session(w->nri, 0)->up && nri_session(w->nri, 1)->up;
}

static bool
only_second_up(struct world *w)
{
    return !nri_session(w->nri, 0)->up && nri_session(w->nri, 1)->up;
}

static void
several_runtimes_have_a_session_each(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    runtime_listen(&w.rt[0]);
    runtime_listen(&w.rt[1]);
    world_plugin(&w, 2, false);
    assert_int_equal(nri_sessions(w.nri), 2);
    assert_true(runtime_hello(&w, &w.rt[0], "containerd", "2.1.0", ""));
    assert_true(runtime_hello(&w, &w.rt[1], "cri-o", "1.35.0", ""));
    assert_true(world_until(&w, both_up));
    assert_string_equal(nri_session(w.nri, 1)->name, "cri-o");
    runtime_stop(&w.rt[0]);
    assert_true(world_until(&w, only_second_up));
    world_fini(&w);
}

static void
bad_options_are_refused(void **state)
{
    static const char *const many[NRI_SOCKETS_MAX + 1] = {"/a", "/a", "/a", "/a", "/a",
                                                          "/a", "/a", "/a", "/a"};
    static const char *const relative[] = {"nri.sock"};
    const struct nri_options bad[] = {
        {.name = "", .index = "10"},       {.name = "a b", .index = "10"},
        {.name = "pgpu", .index = "1"},    {.name = "pgpu", .index = "1a"},
        {.name = "pgpu", .index = "100"},  {NRI_SOCKETS_MAX + 1, many, "pgpu", "10", NULL},
        {1, relative, "pgpu", "10", NULL}, {0, NULL, "pgpu", "10", "/nowhere/at/all.sock"},
    };
    struct world w;

    (void)state;
    world_init(&w);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct nri *n = NULL;
        struct err e = ERR_INIT;

        assert_true(nri_new(w.loop, &bad[i], &w.h, &n, &e) < 0);
        assert_null(n);
        assert_true(e.msg[0] != '\0');
    }
    world_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_registers_and_synchronizes),
        cmocka_unit_test(configure_may_come_before_the_answer_to_registering),
        cmocka_unit_test(a_refused_registration_is_told_and_tried_again),
        cmocka_unit_test(only_events_that_the_runtime_knows_are_asked_for),
        cmocka_unit_test(runtimes_are_told_to_fail_what_we_do_not_answer),
        cmocka_unit_test(a_runtime_that_hangs_up_on_validate_is_asked_for_less),
        cmocka_unit_test(
            a_runtime_that_tells_its_nri_version_is_asked_to_validate_however_often_it_hangs_up),
        cmocka_unit_test(a_runtime_that_tells_its_nri_version_is_asked_after_another_has_hung_up),
        cmocka_unit_test(a_split_list_is_joined),
        cmocka_unit_test(a_list_without_end_is_refused),
        cmocka_unit_test(text_that_is_not_utf8_is_refused),
        cmocka_unit_test(it_reconnects_200_times_and_leaks_no_descriptor),
        cmocka_unit_test(a_socket_that_appears_is_found_long_before_the_back_off_ends),
        cmocka_unit_test(several_runtimes_have_a_session_each),
        cmocka_unit_test(bad_options_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
