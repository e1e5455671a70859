/* SPDX-License-Identifier: Apache-2.0
 *
 * Closing a device in a process of its own, which begins late: until it has begun it has a copy of
 * everything that the service had open.
 */
#include "base/hw.h"
#include "hwd/svc.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define LATE_MS 300
#define LIMIT_MS 30000

pid_t __real_fork(void);
pid_t __wrap_fork(void);

static pid_t forked;

/* The linker puts it in the place of fork(). */
pid_t
__wrap_fork(void)
{
    pid_t pid = __real_fork();

    if (pid == 0)
        (void)poll(NULL, 0, LATE_MS);
    else
        forked = pid;
    return pid;
}

/* Is the write end of the pipe closed everywhere? */
static bool
is_closed(int fd, int timeout_ms)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    char c;

    return poll(&pfd, 1, timeout_ms) == 1 && read(fd, &c, 1) == 0;
}

static void
node(struct svc *s, struct unit *u, struct unit **list)
{
    sigset_t chld;

    (void)sigemptyset(&chld);
    (void)sigaddset(&chld, SIGCHLD);
    assert_int_equal(sigprocmask(SIG_BLOCK, &chld, NULL), 0); /* as the service has it */
    s->inotify = -1;
    assert_true(sd_event_new(&s->loop) >= 0);
    s->units = list;
    s->n_units = 1;
    list[0] = u;
    u->svc = s;
    u->dev_fd = u->request_fd = -1;
    u->held_group = u->desc.facts.iommu_group = 7;
    u->wd_group = u->wd_cdev = -1;
}

static void
another_device_is_closed_by_its_own_close_alone(void **state)
{
    struct svc s = {0};
    struct unit u = {0}, *list[1];
    int dev[2], other[2];

    (void)state;
    node(&s, &u, list);
    assert_int_equal(pipe2(dev, O_CLOEXEC), 0); /* the write ends stand for open devices */
    assert_int_equal(pipe2(other, O_CLOEXEC), 0);
    away_close(&u, dev[1], -1);
    assert_non_null(u.away);
    assert_int_equal(close(other[1]), 0);
    assert_true(is_closed(other[0], 0));
    assert_true(is_closed(dev[0], LIMIT_MS));
    assert_int_equal(waitpid(forked, NULL, 0), forked);
    away_free(&s);
    assert_null(u.away);
    (void)sd_event_unref(s.loop);
    (void)close(dev[0]);
    (void)close(other[0]);
}

/* The group's hold is away with one member: the other one's requests wait as well. */
static void
a_group_that_is_being_closed_is_waited_for_by_all_its_units(void **state)
{
    struct svc s = {0};
    struct unit u = {0}, *list[1];
    struct unit sibling = {.svc = &s}, stranger = {.svc = &s};
    int dev[2], hold[2];

    (void)state;
    node(&s, &u, list);
    sibling.desc.facts.iommu_group = 7;
    stranger.desc.facts.iommu_group = 8;
    assert_int_equal(pipe2(dev, O_CLOEXEC), 0);
    assert_int_equal(pipe2(hold, O_CLOEXEC), 0);
    away_close(&u, dev[1], -1); /* its device alone: the group stays held */
    assert_ptr_equal(away_of(&u), u.away);
    assert_null(away_of(&sibling));
    assert_int_equal(waitpid(forked, NULL, 0), forked);
    away_close(&u, -1, hold[1]);
    assert_ptr_equal(away_of(&sibling), u.away);
    assert_null(away_of(&stranger));
    assert_int_equal(waitpid(forked, NULL, 0), forked);
    away_free(&s);
    assert_null(away_of(&sibling));
    (void)sd_event_unref(s.loop);
    (void)close(dev[0]);
    (void)close(hold[0]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_device_is_closed_by_its_own_close_alone),
        cmocka_unit_test(a_group_that_is_being_closed_is_waited_for_by_all_its_units),
    };

    return cmocka_run_group_tests_name("hwd.away", tests, NULL, NULL);
}
