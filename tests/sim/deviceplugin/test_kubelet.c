/* SPDX-License-Identifier: Apache-2.0
 *
 * The plugin against the kubelet stand-in: registration, lists, allocation.
 */
#include "tests/sim/deviceplugin/rig.h"

#include "base/fs.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static int
setup(void **state)
{
    struct rig *t = calloc(1, sizeof(*t));

    rig_init(t);
    *state = t;
    return 0;
}

static int
teardown(void **state)
{
    rig_fini(*state);
    free(*state);
    return 0;
}

static bool
is_up(struct rig *t)
{
    return t->link == DP_LINK_STREAMING;
}

static bool
is_down(struct rig *t)
{
    return t->link == DP_LINK_DOWN;
}

static bool
has_waiting(struct rig *t)
{
    return t->n_waiting > 0;
}

static bool
was_cancelled(struct rig *t)
{
    return t->n_cancelled > 0;
}

static void
no_violations(struct rig *t)
{
    struct json_object *o = rig_ask(t, "violations");

    if (sim_kubelet_violations(t->k) > 0)
        fail_msg("%s", json_object_to_json_string(o));
    json_object_put(o);
}

static void
both(struct rig *t, size_t n)
{
    rig_kubelet(t, true);
    rig_plugin(t);
    rig_resource(t, GPU, n);
    rig_ok(t, "wait %s healthy=%zu", GPU, n);
    rig_until(t, is_up, 5);
}

static void
registers_and_lists_at_once(void **state)
{
    struct rig *t = *state;
    struct timespec a, b;
    char path[128];
    struct stat st;
    double ms;

    rig_kubelet(t, true);
    clock_gettime(CLOCK_MONOTONIC, &a);
    rig_plugin(t);
    rig_resource(t, GPU, 8);
    rig_ok(t, "wait %s healthy=8", GPU);
    clock_gettime(CLOCK_MONOTONIC, &b);
    ms = (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6;
    print_message("start to 8 devices listed: %.1f ms\n", ms);
    rig_until(t, is_up, 5);
    assert_int_equal(rig_status(t, GPU, "capacity"), 8);
    assert_int_equal(rig_status(t, GPU, "lists"), 1); /* never a blink of an empty list */
    assert_true(rig_socket(t, path, sizeof(path)));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    no_violations(t);
}

static void
lists_only_what_changed(void **state)
{
    struct rig *t = *state;

    both(t, 4);
    rig_list(t, GPU, 4, 4);
    rig_run(t, 0.1);
    assert_int_equal(rig_status(t, GPU, "lists"), 1);
    rig_list(t, GPU, 4, 2);
    rig_ok(t, "wait %s healthy=2 capacity=4", GPU);
    assert_int_equal(rig_status(t, GPU, "lists"), 2);
    /* Many changes in a row coalesce; the last one wins. */
    for (size_t i = 0; i < 100; i++)
        rig_list(t, GPU, 4, i % 4);
    rig_list(t, GPU, 4, 4);
    rig_ok(t, "wait %s healthy=4", GPU);
    rig_run(t, 0.1);
    assert_true(rig_status(t, GPU, "lists") < 100);
    assert_int_equal(rig_status(t, GPU, "allocatable"), 4);
    rig_list(t, GPU, 0, 0);
    rig_ok(t, "wait %s capacity=0", GPU); /* an empty list is sent */
    no_violations(t);
}

static void
allocates_what_it_prefers(void **state)
{
    struct rig *t = *state;
    struct json_object *o, *grant;

    both(t, 4);
    o = rig_ask(t, "run ns/p1 %s=2", GPU);
    assert_true(json_object_get_boolean(json_object_object_get(o, "ok")));
    grant = json_object_array_get_idx(json_object_object_get(o, "granted"), 0);
    assert_string_equal(rig_text(grant, "ids"), "[ \"0000:43:00.0\", \"0000:42:00.0\" ]");
    assert_non_null(strstr(rig_text(grant, "response"), "nvidia.com\\/pgpu=0000:43:00.0"));
    assert_non_null(strstr(rig_text(grant, "response"), "\"permissions\": \"mrw\""));
    json_object_put(o);
    assert_int_equal(t->n_allocates, 1);
    assert_int_equal(t->n_prefers, 1);
    /* A container restart replays, and so does a second admission of the same container. */
    rig_ok(t, "restart-container ns/p1");
    rig_ok(t, "run ns/p1 %s=2", GPU);
    assert_int_equal(t->n_allocates, 1);
    rig_ok(t, "run ns/p2 %s=2", GPU);
    o = rig_ask(t, "run ns/p3 %s=1", GPU);
    assert_non_null(strstr(rig_text(o, "error"), "Requested: 1, Available: 0"));
    json_object_put(o);
    rig_ok(t, "end ns/p1");
    rig_ok(t, "run ns/p4 %s=1", GPU);
    no_violations(t);
}

static void
init_containers_hand_on(void **state)
{
    struct rig *t = *state;
    struct json_object *o;

    both(t, 2);
    rig_ok(t, "run ns/p %s=1 --container setup --init", GPU);
    o = rig_ask(t, "run ns/p %s=1 --container main", GPU);
    assert_non_null(strstr(rig_text(o, "granted"), "0000:41:00.0"));
    json_object_put(o);
    assert_int_equal(t->n_allocates, 2);
    no_violations(t);
}

static void
deferred_answers(void **state)
{
    struct rig *t = *state;
    struct err e = ERR_INIT;
    struct rig_answer a, b;
    struct json_object *o;

    both(t, 2);
    t->defer = true;
    rig_start(t, &a, "run ns/a " GPU "=1");
    rig_start(t, &b, "run ns/b " GPU "=1");
    rig_until(t, has_waiting, 5);
    rig_run(t, 0.1);
    assert_int_equal(t->n_waiting, 1); /* the sync loop: one at a time */
    rig_list(t, GPU, 2, 1);            /* lists go on meanwhile */
    rig_ok(t, "wait %s healthy=1 capacity=2", GPU);
    rig_list(t, GPU, 2, 2);
    rig_ok(t, "wait %s healthy=2", GPU);
    (void)err_set(&e, EIO, ERR_CLASS_HW, "%s: the GPU did not boot", t->waiting_id[0]);
    dp_fail(t->waiting[0], &e);
    t->defer = false;
    o = rig_wait(t, &a, 5);
    assert_non_null(strstr(rig_text(o, "error"),
                           "rpc error: code = Internal desc = 0000:41:00.0: the GPU did not boot"));
    json_object_put(o);
    o = rig_wait(t, &b, 5);
    assert_true(json_object_get_boolean(json_object_object_get(o, "ok")));
    json_object_put(o);
    /* The error gave the device back. */
    rig_ok(t, "run ns/c %s=1", GPU);
    no_violations(t);
}

static void
kubelet_gives_up_a_call(void **state)
{
    struct rig *t = *state;
    struct err e = ERR_INIT;
    struct rig_answer a;

    both(t, 2);
    t->defer = true;
    rig_start(t, &a, "run ns/a " GPU "=1");
    rig_until(t, has_waiting, 5);
    rig_ok(t, "restart");
    json_object_put(rig_wait(t, &a, 5));
    rig_until(t, was_cancelled, 5);
    rig_ok(t, "wait %s healthy=2", GPU);
    /* The late answer is dropped, and its server is long gone. */
    (void)err_set(&e, EIO, ERR_CLASS_HW, "late");
    dp_fail(t->waiting[0], &e);
    t->defer = false;
    rig_ok(t, "run ns/b %s=1", GPU);
}

static void
pending_calls_at_the_end(void **state)
{
    struct rig *t = *state;
    struct rig_answer a;
    struct json_object *o;

    both(t, 1);
    t->defer = true;
    rig_start(t, &a, "run ns/a " GPU "=1");
    rig_until(t, has_waiting, 5);
    dp_free(t->dp);
    t->dp = NULL;
    o = rig_wait(t, &a, 5);
    /* the end of the stream may overtake the answer */
    assert_true(strstr(rig_text(o, "error"), "the device plugin is stopping") ||
                strstr(rig_text(o, "error"), "connection is closing"));
    json_object_put(o);
    assert_int_equal(rig_sockets(t), 0);
    rig_ok(t, "wait %s healthy=0 capacity=1", GPU);
}

static void
vanishing_during_allocate_is_seen(void **state)
{
    struct rig *t = *state;
    struct rig_answer a;
    struct json_object *o;

    both(t, 2);
    t->defer = true;
    rig_start(t, &a, "run ns/a " GPU "=1");
    rig_until(t, has_waiting, 5);
    rig_list(t, GPU, 0, 0);
    rig_ok(t, "wait %s capacity=0", GPU);
    dp_reply(t->waiting[0], &(struct dp_container_response){0}, 1);
    json_object_put(rig_wait(t, &a, 5));
    o = rig_ask(t, "violations");
    assert_non_null(strstr(rig_text(o, "violations"), "panic"));
    json_object_put(o);
}

static void
never_answers_without_a_container(void **state)
{
    struct rig *t = *state;
    struct rig_answer a;
    struct json_object *o;

    both(t, 1);
    t->defer = true;
    rig_start(t, &a, "run ns/a " GPU "=1");
    rig_until(t, has_waiting, 5);
    dp_reply(t->waiting[0], NULL, 0);
    o = rig_wait(t, &a, 5);
    assert_non_null(strstr(rig_text(o, "error"), "code = Internal"));
    json_object_put(o);
    t->defer = false;
    rig_ok(t, "run ns/b %s=1", GPU);
    no_violations(t);
}

static void
two_resources(void **state)
{
    struct rig *t = *state;

    rig_kubelet(t, true);
    rig_plugin(t);
    rig_resource(t, GPU, 4);
    rig_resource(t, SWITCH, 2);
    rig_ok(t, "wait %s healthy=4", GPU);
    rig_ok(t, "wait %s healthy=2", SWITCH);
    assert_int_equal(rig_sockets(t), 2);
    rig_ok(t, "run ns/p %s=4,%s=2", GPU, SWITCH);
    assert_int_equal(t->n_allocates, 2);
    rig_ok(t, "cancel %s", SWITCH);
    rig_ok(t, "wait %s healthy=2", SWITCH);
    assert_int_equal(rig_status(t, GPU, "registrations"), 1); /* not disturbed */
    no_violations(t);
}

/* ---- losing the kubelet ---- */

static void
kubelet_restarts_20_times(void **state)
{
    struct rig *t = *state;
    size_t fds = 0;

    both(t, 3);
    rig_ok(t, "run ns/p %s=1", GPU);
    for (int i = 0; i < 20; i++) {
        rig_ok(t, "restart");
        rig_ok(t, "wait %s healthy=3 5", GPU);
        rig_until(t, is_up, 5);
        rig_run(t, 0.02);
        if (i == 4)
            fds = rig_fds();
    }
    rig_run(t, 0.3);
    if (rig_fds() > fds + 2)
        fail_msg("%zu descriptors after 5 restarts, %zu after 20", fds, rig_fds());
    assert_int_equal(rig_sockets(t), 1);
    assert_int_equal(t->n_allocates, 1); /* never again for a pod that runs */
    rig_ok(t, "run ns/q %s=2", GPU);
    no_violations(t);
}

static void
kubelet_comes_late(void **state)
{
    struct rig *t = *state;

    rig_plugin(t); /* not even the directory is there */
    rig_resource(t, GPU, 2);
    rig_run(t, 0.2);
    assert_true(is_down(t));
    assert_non_null(strstr(t->why, "does not exist"));
    rig_kubelet(t, true);
    rig_ok(t, "wait %s healthy=2 8", GPU);
    no_violations(t);
}

static void
kubelet_stays_away(void **state)
{
    struct rig *t = *state;

    both(t, 2);
    rig_ok(t, "restart 2.5");
    rig_ok(t, "wait %s healthy=2 5", GPU);
    no_violations(t);
}

static void
stream_cancelled_with_the_race(void **state)
{
    struct rig *t = *state;

    both(t, 2);
    for (int i = 0; i < 3; i++) {
        rig_ok(t, "cancel %s", GPU);
        assert_int_equal(rig_status(t, GPU, "allocatable"), 0);
        rig_ok(t, "wait %s healthy=2 8", GPU);
        rig_until(t, is_up, 5);
    }
    rig_run(t, 0.5);
    assert_int_equal(rig_status(t, GPU, "allocatable"), 2);
    assert_int_equal(rig_sockets(t), 1);
    no_violations(t);
}

static bool
other_socket(struct rig *t)
{
    static char first[128];
    char now[128] = "";

    if (!first[0])
        return !rig_socket(t, first, sizeof(first)) || !first[0];
    return rig_socket(t, now, sizeof(now)) && strcmp(now, first) != 0;
}

static void
own_socket_removed(void **state)
{
    struct rig *t = *state;
    char path[128];

    both(t, 2);
    (void)other_socket(t);
    assert_true(rig_socket(t, path, sizeof(path)));
    assert_int_equal(unlink(path), 0);
    rig_until(t, other_socket, 5);
    rig_until(t, is_up, 5);
    rig_ok(t, "wait %s healthy=2", GPU);
    rig_run(t, 0.3);
    assert_int_equal(rig_status(t, GPU, "allocatable"), 2);
    no_violations(t);
}

static bool
was_refused(struct rig *t)
{
    return strstr(t->why, "refused on demand") != NULL;
}

static bool
saw_replacement(struct rig *t)
{
    return strstr(t->why, "kubelet.sock was replaced") != NULL;
}

/* The stream goes on and our socket stays: only the kubelet's own socket tells. */
static void
kubelet_socket_replaced(void **state)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct rig *t = *state;
    int fd;

    both(t, 2);
    assert_int_equal(unlink(t->kubelet_sock), 0);
    assert_true(str_copy(a.sun_path, sizeof(a.sun_path), t->kubelet_sock));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)(void *)&a, sizeof(a)), 0);
    rig_until(t, saw_replacement, 8);
    assert_int_equal(close(fd), 0);
    rig_ok(t, "restart");
    rig_ok(t, "wait %s healthy=2", GPU);
    no_violations(t);
}

static void
refused_registrations_are_repeated(void **state)
{
    struct rig *t = *state;

    rig_kubelet(t, true);
    rig_ok(t, "refuse 2");
    rig_plugin(t);
    rig_resource(t, GPU, 1);
    rig_until(t, was_refused, 5);
    rig_ok(t, "wait %s healthy=1 6", GPU);
    assert_int_equal(rig_sockets(t), 1);
}

static void
an_empty_list_is_registered_too(void **state)
{
    struct rig *t = *state;
    struct err e = ERR_INIT;

    rig_kubelet(t, true);
    rig_plugin(t);
    assert_int_equal(dp_add_resource(t->dp, GPU, &e), 0); /* and nobody says what it has */
    assert_int_equal(dp_add_resource(t->dp, GPU, &e), -EEXIST);
    rig_until(t, is_up, 5);
    rig_ok(t, "wait %s capacity=0", GPU);
    for (int i = 0; i < 500 && rig_status(t, GPU, "lists") == 0; i++)
        rig_run(t, 0.01);
    assert_int_equal(dp_link(t->dp, GPU), DP_LINK_STREAMING);
    assert_int_equal(rig_status(t, GPU, "capacity"), 0);
    assert_int_equal(rig_status(t, GPU, "lists"), 1);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(registers_and_lists_at_once),
        T(lists_only_what_changed),
        T(allocates_what_it_prefers),
        T(init_containers_hand_on),
        T(deferred_answers),
        T(kubelet_gives_up_a_call),
        T(pending_calls_at_the_end),
        T(vanishing_during_allocate_is_seen),
        T(never_answers_without_a_container),
        T(two_resources),
        T(kubelet_restarts_20_times),
        T(kubelet_comes_late),
        T(kubelet_stays_away),
        T(stream_cancelled_with_the_race),
        T(own_socket_removed),
        T(kubelet_socket_replaced),
        T(refused_registrations_are_repeated),
        T(an_empty_list_is_registered_too),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("deviceplugin.kubelet", tests, NULL, NULL);
}
