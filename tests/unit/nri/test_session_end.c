/* SPDX-License-Identifier: Apache-2.0
 *
 * How connections end, at every step, and what broken or hostile runtimes get.
 */
#include "wire_runtime.h"

#include "nri/mux.h"
#include "nri/pb.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- the runtime goes away ---- */

enum step { AT_CONNECT, AT_REGISTER, AT_CONFIGURE, AT_PART, AT_UP, IN_CALL, IN_FRAME, STEPS };

static bool
connected(struct world *w)
{
    return w->rt[0].fd >= 0;
}

static bool
held(struct world *w)
{
    return w->held != NULL;
}

static unsigned downs_before;

static bool
one_more_down(struct world *w)
{
    return w->downs > downs_before;
}

static void
go_to(struct world *w, enum step step)
{
    struct runtime *r = &w->rt[0];
    Nri__Pkg__Api__V1alpha1__SynchronizeRequest part =
        NRI__PKG__API__V1ALPHA1__SYNCHRONIZE_REQUEST__INIT;

    assert_true(world_until(w, connected));
    if (step == AT_CONNECT)
        return;
    assert_true(world_until(w, has_registered));
    if (step == AT_REGISTER)
        return;
    assert_int_equal(runtime_configure(w, r, "containerd", "2.0.0", ""), 0x0f);
    if (step == AT_CONFIGURE)
        return;
    part.more = step == AT_PART;
    assert_non_null(runtime_wait(w, r, runtime_call(r, "Synchronize", &part.base, 0)));
    if (step == AT_PART || step == AT_UP)
        return;
    w->behave = HOLD;
    (void)runtime_call(r, "RunPodSandbox", NULL, 0);
    assert_true(world_until(w, held));
    if (step == IN_FRAME)
        (void)buf_put(&r->out, "\0\0\0\1\0\0\1\0half", 12);
}

static void
at_every_step_the_end_is_told_once_and_a_new_session_comes(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    runtime_listen(&w.rt[0]);
    world_plugin(&w, 1, false);
    for (int step = 0; step < STEPS; step++) {
        downs_before = w.downs;
        const unsigned cancelled = w.cancelled;

        w.behave = ACCEPT;
        go_to(&w, (enum step)step);
        runtime_hang_up(&w.rt[0]);
        assert_true(world_until(&w, one_more_down));
        assert_true(is_down(&w));
        assert_int_equal(w.cancelled, cancelled + (step >= IN_CALL ? 1u : 0u));
        assert_null(w.held);
        for (int i = 0; i < 5; i++)
            world_turn(&w);
        assert_int_equal(w.downs, downs_before + 1);
    }
    assert_true(runtime_hello(&w, &w.rt[0], "containerd", "2.0.0", ""));
    assert_true(is_up(&w));
    world_fini(&w);
}

static void
shutdown_is_answered_and_then_tried_again(void **state)
{
    struct world w;
    const struct answer *a;

    (void)state;
    world_init(&w);
    runtime_listen(&w.rt[0]);
    world_plugin(&w, 1, false);
    assert_true(runtime_hello(&w, &w.rt[0], "containerd", "2.0.0", ""));
    a = runtime_wait(&w, &w.rt[0], runtime_call(&w.rt[0], "Shutdown", NULL, 0));
    assert_non_null(a);
    assert_int_equal(a->code, TTRPC_OK);
    assert_true(world_until(&w, is_down));
    assert_true(runtime_hello(&w, &w.rt[0], "containerd", "2.0.0", ""));
    assert_int_equal(w.rt[0].accepted, 2);
    world_fini(&w);
}

static void
freeing_with_a_call_open_cancels_it(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    runtime_listen(&w.rt[0]);
    world_plugin(&w, 1, false);
    go_to(&w, IN_CALL);
    nri_free(w.nri);
    w.nri = NULL;
    assert_int_equal(w.cancelled, 1);
    assert_null(w.held);
    world_fini(&w);
}

/* ---- hostile bytes ---- */

static void
send_raw(struct world *w, const void *p, size_t n)
{
    assert_true(buf_put(&w->rt[0].out, p, n));
    world_turn(w);
}

static void
a_frame_that_is_too_large_ends_the_connection(void **state)
{
    static const uint8_t frame[] = {0, 0, 0, 1, 0, 0x40, 0, 0x0b}; /* 4 MiB + 11 */
    struct world w;

    (void)state;
    world_init(&w);
    runtime_listen(&w.rt[0]);
    world_plugin(&w, 1, false);
    assert_true(runtime_hello(&w, &w.rt[0], "containerd", "2.0.0", ""));
    send_raw(&w, frame, sizeof(frame));
    assert_true(world_until(&w, is_down));
    assert_non_null(strstr(w.why, "4194315"));
    assert_true(runtime_hello(&w, &w.rt[0], "containerd", "2.0.0", ""));
    world_fini(&w);
}

static void
a_message_that_is_too_large_is_skipped_and_the_session_stays(void **state)
{
    /* ttRPC header: 5 MiB of data, stream 99, a request; then its data in pieces. */
    static const uint8_t head[] = {0, 0, 0, 1, 0, 0, 0, 10, 0, 0x50, 0, 0, 0, 0, 0, 99, 1, 0};
    static const uint8_t part[] = {0, 0, 0, 1, 0, 0x10, 0, 0}; /* 1 MiB */
    const size_t mib = 1u << 20;
    uint8_t *zero = calloc(1, mib);
    struct world w;
    uint32_t stream;

    (void)state;
    assert_non_null(zero);
    world_init(&w);
    runtime_listen(&w.rt[0]);
    world_plugin(&w, 1, false);
    assert_true(runtime_hello(&w, &w.rt[0], "containerd", "2.0.0", ""));
    send_raw(&w, head, sizeof(head));
    for (int i = 0; i < 5; i++) {
        send_raw(&w, part, sizeof(part));
        send_raw(&w, zero, mib);
    }
    /* Frames of streams that nobody knows are dropped. */
    send_raw(&w, "\0\0\0\7\0\0\0\3abc", 11);
    stream = runtime_call(&w.rt[0], "RunPodSandbox", NULL, 0);
    const struct answer *a = runtime_wait(&w, &w.rt[0], stream);

    assert_non_null(a);
    assert_int_equal(a->code, TTRPC_OK);
    assert_true(is_up(&w));
    free(zero);
    world_fini(&w);
}

static void
a_runtime_that_does_not_read_is_dropped(void **state)
{
    char *text = malloc(1u << 20);
    const struct nri_kv big = {"x", text};
    const struct nri_adjust adjust = {.n_annotations = 1, .annotations = &big};
    struct world w;

    (void)state;
    assert_non_null(text);
    memset(text, 'a', (1u << 20) - 1);
    text[(1u << 20) - 1] = '\0';
    world_init(&w);
    runtime_listen(&w.rt[0]);
    world_plugin(&w, 1, false);
    assert_true(runtime_hello(&w, &w.rt[0], "containerd", "2.0.0", ""));
    w.behave = ADJUST;
    w.adjust = &adjust;
    w.rt[0].deaf = true;
    for (int i = 0; i < 20; i++)
        (void)runtime_call(&w.rt[0], "CreateContainer", NULL, 0);
    assert_true(world_until(&w, is_down));
    assert_non_null(strstr(w.why, "output buffer is full"));
    w.rt[0].deaf = false;
    free(text);
    world_fini(&w);
}

static void
more_requests_than_can_wait_are_refused(void **state)
{
    struct world w;
    uint32_t last = 0;
    const struct answer *a;

    (void)state;
    world_init(&w);
    runtime_listen(&w.rt[0]);
    world_plugin(&w, 1, false);
    assert_true(runtime_hello(&w, &w.rt[0], "containerd", "2.0.0", ""));
    w.behave = HOLD;
    /* Our own client takes no more than that either: one is made to forget. */
    for (unsigned i = 0; i <= TTRPC_PENDING_MAX; i++) {
        last = runtime_call(&w.rt[0], "RunPodSandbox", NULL, 0);
        if (i < TTRPC_PENDING_MAX)
            ttrpc_client_forget(w.rt[0].client, last);
    }
    a = runtime_wait(&w, &w.rt[0], last);
    assert_non_null(a);
    assert_int_equal(a->code, TTRPC_RESOURCE_EXHAUSTED);
    assert_int_equal(w.requests, TTRPC_PENDING_MAX);
    assert_true(is_up(&w));
    world_fini(&w);
}

static bool
all_bytes_sent(struct world *w)
{
    return buf_left(&w->rt[0].out) == 0;
}

static void
memory_of_large_lists_is_given_back(void **state)
{
    struct world w;
    struct runtime *r = &w.rt[0];
    const size_t n = 3u << 20;
    uint8_t *p = calloc(1, n);

    (void)state;
    assert_non_null(p);
    world_init(&w);
    runtime_listen(r);
    world_plugin(&w, 1, false);
    assert_true(runtime_hello(&w, r, "containerd", "2.0.0", ""));
    /* An unknown field (100) with all the rest as its content. */
    memcpy(p, "\xa2\x06", 2);
    size_t left = n - 6;

    for (int i = 0; i < 4; i++, left >>= 7)
        p[2 + i] = (uint8_t)((left & 0x7f) | (i < 3 ? 0x80 : 0));
    const struct answer *a =
        runtime_wait(&w, r, runtime_call_bytes(r, NRI_PLUGIN_SERVICE, "RunPodSandbox", p, n, 0));

    assert_non_null(a);
    assert_int_equal(a->code, TTRPC_OK);
    assert_true(world_until(&w, all_bytes_sent));
    assert_true(w.nri->peer[0].in.cap <= 256u * 1024);
    assert_true(w.nri->peer[0].plugin.cap <= 256u * 1024);
    free(p);
    world_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(at_every_step_the_end_is_told_once_and_a_new_session_comes),
        cmocka_unit_test(shutdown_is_answered_and_then_tried_again),
        cmocka_unit_test(freeing_with_a_call_open_cancels_it),
        cmocka_unit_test(a_frame_that_is_too_large_ends_the_connection),
        cmocka_unit_test(a_message_that_is_too_large_is_skipped_and_the_session_stays),
        cmocka_unit_test(a_runtime_that_does_not_read_is_dropped),
        cmocka_unit_test(more_requests_than_can_wait_are_refused),
        cmocka_unit_test(memory_of_large_lists_is_given_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
