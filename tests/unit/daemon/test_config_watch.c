/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/config_watch.h"

#include "base/hw.h"
#include "daemon/node.h"
#include "daemon/timer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define PATIENCE HW_SEC(30)

struct world {
    struct node *node;
    struct config conf;
    struct config_watch *watch;
    char dir[64], path[100];
    unsigned told;
    bool ok;
    char text[ERR_MSG_MAX];
};

static void
on_act(void *ctx, const struct act *a)
{
    struct world *w = ctx;

    assert_int_equal(a->kind, ACT_CONFIG);
    w->told++;
    w->ok = a->ok;
    (void)snprintf(w->text, sizeof(w->text), "%s", a->text);
}

/* As an editor does it: another file in its place. */
static void
put(const struct world *w, const char *text)
{
    char tmp[120];
    FILE *f;

    (void)snprintf(tmp, sizeof(tmp), "%s/new", w->dir);
    f = fopen(tmp, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    (void)fclose(f);
    assert_int_equal(rename(tmp, w->path), 0);
}

static int
setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct err e = ERR_INIT;

    assert_non_null(w);
    w->node = calloc(1, sizeof(*w->node));
    assert_non_null(w->node);
    (void)snprintf(w->dir, sizeof(w->dir), "/tmp/pgpu-watch-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    (void)snprintf(w->path, sizeof(w->path), "%s/pgpud.yaml", w->dir);
    put(w, "mode: on\n");
    assert_int_equal(config_load(w->path, &w->conf, &e), 0);
    w->node->conf = &w->conf;
    assert_true(sd_event_new(&w->node->loop) >= 0);
    act_listen(&w->node->acts, on_act, w);
    assert_int_equal(config_watch_new(w->node, w->path, HW_MS(5), &w->watch, &e), 0);
    assert_non_null(w->watch);
    *state = w;
    return 0;
}

static int
teardown(void **state)
{
    struct world *w = *state;

    config_watch_free(w->watch);
    config_free(&w->conf);
    (void)unlink(w->path);
    assert_int_equal(rmdir(w->dir), 0);
    (void)sd_event_unref(w->node->loop);
    free(w->node);
    free(w);
    return 0;
}

static void
wait_told(struct world *w, unsigned times)
{
    uint64_t end = now_ns() + PATIENCE;

    while (w->told < times) {
        assert_true(sd_event_run(w->node->loop, 10000) >= 0);
        assert_true(now_ns() < end);
    }
}

static void
a_bad_file_is_told_of_once_with_its_fault(void **state)
{
    struct world *w = *state;

    put(w, "mode: onn\n");
    wait_told(w, 1);
    assert_false(w->ok);
    assert_non_null(strstr(w->text, "mode"));
    assert_true(config_watch_bad(w->watch));
    assert_false(config_watch_pending(w->watch));
    for (int i = 0; i < 20; i++)
        assert_true(sd_event_run(w->node->loop, 10000) >= 0);
    assert_int_equal(w->told, 1);
    put(w, "mode: on\n");
    wait_told(w, 2);
    assert_true(w->ok);
    assert_false(config_watch_bad(w->watch));
}

static void
other_values_are_pending_until_they_are_taken_back(void **state)
{
    struct world *w = *state;

    put(w, "mode: off\n");
    wait_told(w, 1);
    assert_true(w->ok);
    assert_true(config_watch_pending(w->watch));
    put(w, "mode: on\n");
    wait_told(w, 2);
    assert_false(config_watch_pending(w->watch));
}

static void
a_file_that_says_the_same_is_no_news(void **state)
{
    struct world *w = *state;

    put(w, "# a comment\nmode: \"on\"\n");
    for (int i = 0; i < 20; i++)
        assert_true(sd_event_run(w->node->loop, 10000) >= 0);
    assert_int_equal(w->told, 0);
    assert_false(config_watch_pending(w->watch));
}

static void
a_file_that_is_gone_is_bad(void **state)
{
    struct world *w = *state;

    assert_int_equal(unlink(w->path), 0);
    wait_told(w, 1);
    assert_false(w->ok);
    assert_non_null(strstr(w->text, "No such file"));
}

static void
without_a_file_there_is_nothing_to_watch(void **state)
{
    struct world *w = *state;
    struct config_watch *none = w->watch;
    struct err e = ERR_INIT;

    assert_int_equal(config_watch_new(w->node, NULL, 0, &none, &e), 0);
    assert_null(none);
    assert_false(config_watch_bad(none));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_bad_file_is_told_of_once_with_its_fault),
        T(other_values_are_pending_until_they_are_taken_back),
        T(a_file_that_says_the_same_is_no_news),
        T(a_file_that_is_gone_is_bad),
        T(without_a_file_there_is_nothing_to_watch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
