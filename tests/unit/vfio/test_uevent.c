/* SPDX-License-Identifier: Apache-2.0
 *
 * The event source on a socket of our own, and that libudev's monitor opens.
 */
#include "vfio/uevent.h"

#include "base/cleanup.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

struct server {
    char dir[64];
    struct sockaddr_un sa;
    int listener, peer;
    struct vfio_uevents *u;
};

static int
setup(void **state)
{
    struct server *s = calloc(1, sizeof(*s));
    struct err e = ERR_INIT;

    assert_non_null(s);
    (void)snprintf(s->dir, sizeof(s->dir), "/tmp/pgpu-uevent-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    s->sa.sun_family = AF_UNIX;
    (void)snprintf(s->sa.sun_path, sizeof(s->sa.sun_path), "%s/events", s->dir);
    s->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->listener, (const struct sockaddr *)&s->sa, sizeof(s->sa)), 0);
    assert_int_equal(listen(s->listener, 1), 0);
    assert_int_equal(vfio_uevents_open(s->sa.sun_path, &s->u, &e), 0);
    s->peer = accept(s->listener, NULL, NULL);
    assert_true(s->peer >= 0);
    *state = s;
    return 0;
}

static int
teardown(void **state)
{
    struct server *s = *state;

    vfio_uevents_close(s->u);
    fd_close(&s->peer);
    fd_close(&s->listener);
    (void)unlink(s->sa.sun_path);
    (void)rmdir(s->dir);
    free(s);
    return 0;
}

static void
say(struct server *s, const void *p, size_t n)
{
    assert_int_equal(send(s->peer, p, n, 0), n);
}
#define SAY(s, text) say((s), (text), sizeof(text) - 1)

static bool
drain(struct server *s)
{
    struct err e = ERR_INIT;
    bool relevant = false;

    if (vfio_uevents_drain(s->u, &relevant, &e) < 0)
        fail_msg("%s", e.msg);
    return relevant;
}

static void
relevant_events_are_told_from_others(void **state)
{
    struct server *s = *state;
    struct pollfd p = {.fd = vfio_uevents_fd(s->u), .events = POLLIN};

    assert_false(drain(s));
    SAY(s, "add@/devices/usb1\0ACTION=add\0SUBSYSTEM=usb\0");
    assert_int_equal(poll(&p, 1, 1000), 1);
    assert_false(drain(s));
    assert_int_equal(poll(&p, 1, 0), 0);
    SAY(s, "bind@/devices/pci0/0000:41:00.0\0ACTION=bind\0SUBSYSTEM=pci\0");
    SAY(s, "add@/devices/usb1\0ACTION=add\0SUBSYSTEM=usb\0");
    assert_true(drain(s));
    assert_false(drain(s));
}

static void
nonsense_is_a_hint_too_and_never_harmful(void **state)
{
    static char huge[20000];
    struct server *s = *state;

    memset(huge, 'x', sizeof(huge));
    say(s, huge, sizeof(huge));
    assert_true(drain(s));
    memcpy(huge, "add@/x", sizeof("add@/x")); /* in order as far as it goes, but cut off */
    say(s, huge, sizeof(huge));
    assert_true(drain(s));
    SAY(s, "no at sign");
    assert_true(drain(s));
    SAY(s, "\0\0\0\0");
    assert_true(drain(s));
}

static void
a_storm_is_taken_in_portions(void **state)
{
    struct server *s = *state;
    int sent = 0;

    while (send(s->peer, "add@/x\0SUBSYSTEM=pci", 20, MSG_DONTWAIT) == 20 && sent < 5000)
        sent++;
    assert_true(sent > 0);
    for (int i = 0; i < sent / 1000 + 1 && drain(s); i++)
        ;
    assert_false(drain(s));
}

static void
a_peer_that_goes_is_told(void **state)
{
    struct server *s = *state;
    struct err e = ERR_INIT;
    bool relevant = true;

    fd_close(&s->peer);
    assert_int_equal(vfio_uevents_drain(s->u, &relevant, &e), -ENOTCONN);
    assert_true(relevant); /* untouched */
}

static void
sockets_that_cannot_be_reached(void **state)
{
    struct vfio_uevents *u = NULL;
    struct err e = ERR_INIT;
    char name[200];

    (void)state;
    memset(name, 'a', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_true(vfio_uevents_open(name, &u, &e) < 0);
    assert_int_equal(e.cls, ERR_CLASS_INVALID);
    err_clear(&e);
    assert_true(vfio_uevents_open("/nonexistent/events", &u, &e) < 0);
    assert_int_equal(e.num, ENOENT);
    assert_null(u);
    vfio_uevents_close(NULL);
}

static void
the_kernels_monitor_opens(void **state)
{
    struct vfio_uevents *u = NULL;
    struct err e = ERR_INIT;
    bool relevant = true;

    (void)state;
    if (vfio_uevents_open(NULL, &u, &e) < 0) {
        print_message("no uevent socket here: %s\n", e.msg);
        skip();
    }
    assert_true(vfio_uevents_fd(u) >= 0);
    assert_int_equal(vfio_uevents_drain(u, &relevant, &e), 0);
    vfio_uevents_close(u);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(relevant_events_are_told_from_others, setup, teardown),
        cmocka_unit_test_setup_teardown(nonsense_is_a_hint_too_and_never_harmful, setup, teardown),
        cmocka_unit_test_setup_teardown(a_storm_is_taken_in_portions, setup, teardown),
        cmocka_unit_test_setup_teardown(a_peer_that_goes_is_told, setup, teardown),
        cmocka_unit_test(sockets_that_cannot_be_reached),
        cmocka_unit_test(the_kernels_monitor_opens),
    };

    return cmocka_run_group_tests_name("vfio.uevent", tests, NULL, NULL);
}
