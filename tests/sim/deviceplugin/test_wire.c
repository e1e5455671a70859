/* SPDX-License-Identifier: Apache-2.0
 *
 * The plugin against everybody else who may reach its socket, and our PodResources client.
 */
#include "tests/sim/deviceplugin/rig.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "deviceplugin/codec.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static struct rig *
begin(void **state)
{
    struct rig *t = *state;

    rig_kubelet(t, true);
    rig_plugin(t);
    rig_resource(t, GPU, 4);
    rig_ok(t, "wait %s healthy=4", GPU);
    rig_run(t, 0.05);
    return t;
}

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

/* ---- a client of our own ---- */

struct outcome {
    bool done;
    int status;
    char text[512];
    size_t len;
    unsigned messages;
};

static void
on_done(void *ctx, int status, const char *text, const uint8_t *data, size_t len)
{
    struct outcome *o = ctx;

    (void)data;
    o->done = true;
    o->status = status;
    o->len = len;
    (void)snprintf(o->text, sizeof(o->text), "%s", text);
}

static void
on_message(void *ctx, const uint8_t *data, size_t len)
{
    struct outcome *o = ctx;

    (void)data;
    (void)len;
    o->messages++;
}

struct client {
    struct gio *io;
    struct gio_channel *ch;
};

static void
client_open(struct rig *t, struct client *c)
{
    struct err e = ERR_INIT;
    char path[128];

    assert_true(rig_socket(t, path, sizeof(path)));
    assert_int_equal(gio_new(t->loop, &c->io, &e), 0);
    assert_int_equal(gio_channel_new(c->io, path, GIO_MESSAGE_MAX, &c->ch, &e), 0);
}

static struct outcome
call(struct rig *t, struct client *c, const char *method, const void *data, size_t len)
{
    struct outcome o = {0};
    const struct gio_req_options opt = {
        .timeout_ns = UINT64_C(5000000000), .done = on_done, .ctx = &o};
    struct err e = ERR_INIT;

    assert_int_equal(gio_request(c->ch, method, data, len, &opt, NULL, &e), 0);
    for (int i = 0; i < 600 && !o.done; i++)
        (void)sd_event_run(t->loop, 10000);
    assert_true(o.done);
    return o;
}

static struct outcome
allocate(struct rig *t, struct client *c, size_t n_containers, size_t n_ids,
         const char *(*id)(size_t))
{
    V1beta1__AllocateRequest m = V1BETA1__ALLOCATE_REQUEST__INIT;
    V1beta1__ContainerAllocateRequest part[32], *list[32];
    static char ids[2048][DP_ID_MAX + 64];
    char *pointers[2048];
    struct err e = ERR_INIT;
    struct outcome o;
    struct buf b;

    for (size_t i = 0; i < n_ids; i++) {
        if (id)
            (void)snprintf(ids[i], sizeof(ids[i]), "%s", id(i));
        else
            (void)snprintf(ids[i], sizeof(ids[i]), "dev-%zu", i);
        pointers[i] = ids[i];
    }
    for (size_t i = 0; i < n_containers; i++) {
        v1beta1__container_allocate_request__init(&part[i]);
        part[i].devices_ids = pointers;
        part[i].n_devices_ids = n_ids;
        list[i] = &part[i];
    }
    m.n_container_requests = n_containers;
    m.container_requests = list;
    buf_init(&b, GIO_MESSAGE_MAX);
    assert_int_equal(dp_pack(&m.base, &b, &e), 0);
    o = call(t, c, DP_RPC_ALLOCATE, b.data, b.len);
    buf_fini(&b);
    return o;
}

static const char *
long_id(size_t i)
{
    static char id[DP_ID_MAX + 1];

    (void)i;
    memset(id, 'x', DP_ID_MAX);
    return id;
}

static const char *
empty_id(size_t i)
{
    (void)i;
    return "";
}

static const char *
evil_id(size_t i)
{
    (void)i;
    return "0000:41:00.0\n2026 level=error";
}

static const char *
same_id(size_t i)
{
    (void)i;
    return "0000:41:00.0";
}

static const char *
bad_device(size_t i)
{
    (void)i;
    return "bad";
}

static void
still_fine(struct rig *t)
{
    static unsigned n;

    rig_ok(t, "run ns/fine%u %s=1", ++n, GPU);
    assert_int_equal(rig_status(t, GPU, "registrations"), 1);
}

static void
unknown_methods_are_unimplemented(void **state)
{
    struct rig *t = begin(state);
    struct client c;

    client_open(t, &c);
    assert_int_equal(call(t, &c, "/v1beta1.DevicePlugin/Nothing", "", 0).status, GIO_UNIMPLEMENTED);
    assert_int_equal(call(t, &c, DP_RPC_REGISTER, "", 0).status, GIO_UNIMPLEMENTED);
    assert_int_equal(call(t, &c, DP_RPC_PRE_START, "", 0).status, GIO_OK);
    assert_int_equal(call(t, &c, DP_RPC_OPTIONS, "", 0).status, GIO_OK);
    gio_free(c.io);
    still_fine(t);
}

static void
bad_allocate_requests_are_refused(void **state)
{
    struct rig *t = begin(state);
    struct outcome o;
    struct client c;

    client_open(t, &c);
    assert_int_equal(call(t, &c, DP_RPC_ALLOCATE, "\xff\xff\xff", 3).status, GIO_INVALID_ARGUMENT);
    assert_int_equal(call(t, &c, DP_RPC_ALLOCATE, "", 0).status, GIO_INVALID_ARGUMENT);
    assert_int_equal(allocate(t, &c, 1, 0, NULL).status, GIO_INVALID_ARGUMENT);
    assert_int_equal(allocate(t, &c, 17, 1, NULL).status, GIO_INVALID_ARGUMENT);
    assert_int_equal(allocate(t, &c, 1, DP_IDS_MAX + 1, NULL).status, GIO_INVALID_ARGUMENT);
    assert_int_equal(allocate(t, &c, 1, 1, long_id).status, GIO_INVALID_ARGUMENT);
    assert_int_equal(allocate(t, &c, 1, 1, empty_id).status, GIO_INVALID_ARGUMENT);
    assert_int_equal(allocate(t, &c, 1, 1, evil_id).status, GIO_INVALID_ARGUMENT);
    o = allocate(t, &c, 1, 2, same_id);
    assert_int_equal(o.status, GIO_INVALID_ARGUMENT);
    assert_string_equal(o.text, "Allocate: device 0000:41:00.0 is named twice");
    assert_int_equal(t->n_allocates, 0); /* nothing of this reached the handler */
    o = allocate(t, &c, 1, 1, bad_device);
    assert_int_equal(o.status, GIO_INTERNAL);
    assert_string_equal(o.text, "bad: does not answer");                        /* one line */
    assert_int_equal(allocate(t, &c, 4, 1, NULL).status, GIO_INVALID_ARGUMENT); /* same ID */
    assert_int_equal(allocate(t, &c, 1, 8, NULL).status, GIO_OK);
    gio_free(c.io);
    still_fine(t);
}

static void
oversized_requests_are_refused(void **state)
{
    struct rig *t = begin(state);
    size_t len = GIO_MESSAGE_MAX + 1024;
    char *big = calloc(1, len);
    struct client c;
    int status;

    client_open(t, &c);
    status = call(t, &c, DP_RPC_ALLOCATE, big, len).status;
    if (status != GIO_RESOURCE_EXHAUSTED && status != GIO_INVALID_ARGUMENT)
        fail_msg("status %d", status);
    /* Small on the wire, large in memory: empty submessages at two bytes each. */
    for (size_t i = 0; i + 1 < GIO_MESSAGE_MAX - 64; i += 2)
        big[i] = 0x0a;
    assert_int_equal(call(t, &c, DP_RPC_ALLOCATE, big, GIO_MESSAGE_MAX - 64).status,
                     GIO_INVALID_ARGUMENT);
    assert_int_equal(call(t, &c, DP_RPC_PREFERRED, big, GIO_MESSAGE_MAX - 64).status, GIO_OK);
    assert_int_equal(t->n_allocates, 0);
    free(big);
    gio_free(c.io);
    still_fine(t);
}

static void
preferences_never_fail(void **state)
{
    struct rig *t = begin(state);
    struct outcome o;
    struct client c;

    client_open(t, &c);
    o = call(t, &c, DP_RPC_PREFERRED, "\x0a\xff", 2);
    assert_int_equal(o.status, GIO_OK);
    assert_int_equal(o.len, 0);
    /* one request, size -1 */
    o = call(t, &c, DP_RPC_PREFERRED, "\x0a\x0b\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 13);
    assert_int_equal(o.status, GIO_OK);
    /* one request, three of the one device that is available */
    o = call(t, &c, DP_RPC_PREFERRED, "\x0a\x06\x0a\x02gg\x18\x03", 8);
    assert_int_equal(o.status, GIO_OK);
    assert_int_equal(o.len, 6);
    gio_free(c.io);
    still_fine(t);
}

static int
raw_connect(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_true(str_copy(a.sun_path, sizeof(a.sun_path), path));
    assert_int_equal(connect(fd, (struct sockaddr *)(void *)&a, sizeof(a)), 0);
    return fd;
}

static void
garbage_disturbs_nobody(void **state)
{
    struct rig *t = begin(state);
    uint32_t seed = 1;
    char path[128];
    int fd[20];

    assert_true(rig_socket(t, path, sizeof(path)));
    for (size_t i = 0; i < 20; i++) {
        char junk[997];

        fd[i] = raw_connect(path);
        for (size_t j = 0; j < sizeof(junk); j++)
            junk[j] = (char)((seed = seed * 1664525 + 1013904223) >> 24);
        if (i % 2) /* half of them begin well */
            memcpy(junk, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
        if (i % 5)
            (void)!send(fd[i], junk, sizeof(junk), MSG_NOSIGNAL);
    }
    rig_run(t, 0.2);
    still_fine(t);
    /* Some are still connected when the server goes. */
    for (size_t i = 0; i < 10; i++)
        fd_close(&fd[i]);
    rig_ok(t, "restart");
    rig_ok(t, "wait %s healthy=4", GPU);
    for (size_t i = 10; i < 20; i++)
        fd_close(&fd[i]);
}

static void
tools_may_watch_too(void **state)
{
    struct rig *t = begin(state);
    struct outcome o[20] = {0};
    struct err e = ERR_INIT;
    size_t refused = 0, answered = 0;
    struct client c;

    client_open(t, &c);
    for (size_t i = 0; i < 20; i++) {
        const struct gio_req_options opt = {.message = on_message, .done = on_done, .ctx = &o[i]};

        assert_int_equal(gio_request(c.ch, DP_RPC_LIST_AND_WATCH, NULL, 0, &opt, NULL, &e), 0);
    }
    for (size_t i = 0; i < 500 && answered < 20; i++) {
        rig_run(t, 0.01);
        answered = 0;
        for (size_t j = 0; j < 20; j++)
            answered += o[j].done || o[j].messages > 0 ? 1 : 0;
    }
    for (size_t i = 0; i < 20; i++)
        if (o[i].done) {
            assert_int_equal(o[i].status, GIO_RESOURCE_EXHAUSTED);
            refused++;
        } else {
            assert_int_equal(o[i].messages, 1);
        }
    assert_int_equal(refused, 5); /* 16 in all, one is the kubelet's */
    rig_list(t, GPU, 4, 1);
    rig_ok(t, "wait %s healthy=1", GPU);
    rig_run(t, 0.1);
    gio_free(c.io); /* their going is no reason to register again */
    rig_run(t, 0.2);
    assert_int_equal(rig_status(t, GPU, "registrations"), 1);
    assert_int_equal(t->link, DP_LINK_STREAMING);
}

static void
sockets_of_the_dead_are_swept(void **state)
{
    struct rig *t = *state;
    char dead[160], other[160], live[128];
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct dp *first;
    int fd;

    rig_kubelet(t, true);
    (void)snprintf(dead, sizeof(dead), "%s/pgpu-1-77.sock", t->plugins);
    (void)snprintf(other, sizeof(other), "%s/other.sock", t->plugins);
    for (int i = 0; i < 2; i++) {
        assert_true(str_copy(a.sun_path, sizeof(a.sun_path), i ? dead : other));
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(fd, (struct sockaddr *)(void *)&a, sizeof(a)), 0);
        fd_close(&fd); /* without an unlink, as by SIGKILL */
    }
    rig_plugin(t);
    rig_resource(t, GPU, 1);
    rig_ok(t, "wait %s healthy=1", GPU);
    assert_int_equal(access(dead, F_OK), -1);
    assert_int_equal(access(other, F_OK), 0); /* not ours */
    assert_true(rig_socket(t, live, sizeof(live)));
    rig_run(t, 0.05);
    first = t->dp;
    rig_plugin(t); /* a second instance leaves a living socket alone */
    assert_int_equal(access(live, F_OK), 0);
    dp_free(first);
}

/* ---- the race, and ghosts ---- */

static void
a_second_instance_survives_the_first(void **state)
{
    struct rig *t = begin(state);
    struct dp *first = t->dp;

    rig_plugin(t);
    rig_resource(t, GPU, 3);
    rig_ok(t, "wait %s capacity=3", GPU);
    rig_run(t, 0.05);
    dp_free(first); /* the end of its stream takes the second one down */
    rig_ok(t, "wait %s healthy=0", GPU);
    rig_ok(t, "wait %s healthy=3 8", GPU); /* the second one notices and is back */
    rig_run(t, 0.3);
    assert_int_equal(rig_status(t, GPU, "allocatable"), 3);
}

static void
a_failed_registration_makes_ghosts(void **state)
{
    struct rig *t = begin(state);
    struct outcome o;
    struct err e = ERR_INIT;
    struct client c = {0};
    struct buf b;

    assert_int_equal(gio_new(t->loop, &c.io, &e), 0);
    assert_int_equal(gio_channel_new(c.io, t->kubelet_sock, GIO_MESSAGE_MAX, &c.ch, &e), 0);
    buf_init(&b, 4096);
    assert_int_equal(dp_encode_register(GPU, "nobody.sock", &b, &e), 0);
    o = call(t, &c, DP_RPC_REGISTER, b.data, b.len);
    buf_fini(&b);
    assert_int_equal(o.status, GIO_UNKNOWN);
    assert_non_null(strstr(o.text, "failed to dial device plugin"));
    gio_free(c.io);
    dp_free(t->dp);
    t->dp = NULL;
    rig_run(t, 0.2);
    assert_int_equal(rig_status(t, GPU, "allocatable"), 4); /* ghosts, as measured on 1.36.2 */
}

/* ---- PodResources ---- */

struct pods {
    unsigned calls;
    size_t n;
    char text[512], ids[256];
    int num;
};

static void
on_pods(void *ctx, const struct dp_pod_device *dev, size_t n, const struct err *e)
{
    struct pods *p = ctx;

    p->calls++;
    p->n = n;
    p->num = e ? e->num : 0;
    p->ids[0] = p->text[0] = '\0';
    if (e) {
        assert_null(dev);
        (void)str_copy(p->text, sizeof(p->text), e->msg);
    }
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(p->ids);

        (void)snprintf(p->ids + len, sizeof(p->ids) - len, "%s/%s/%s:%s=%s ", dev[i].ns, dev[i].pod,
                       dev[i].container, dev[i].resource, dev[i].id);
    }
}

static void
list_pods(struct rig *t, struct pods *p)
{
    unsigned before = p->calls;
    struct err e = ERR_INIT;

    if (dp_pod_resources_list(t->dp, t->pods_sock, UINT64_C(2000000000), on_pods, p, &e) < 0)
        fail_msg("%s", e.msg);
    assert_int_equal(
        dp_pod_resources_list(t->dp, t->pods_sock, UINT64_C(2000000000), on_pods, p, &e), -EBUSY);
    for (int i = 0; i < 300 && p->calls == before; i++)
        (void)sd_event_run(t->loop, 10000);
    assert_int_equal(p->calls, before + 1);
}

static void
pods_are_listed(void **state)
{
    struct rig *t = begin(state);
    struct rig_answer up;
    struct pods p = {0};

    list_pods(t, &p);
    assert_int_equal(p.num, 0);
    assert_int_equal(p.n, 0);
    rig_ok(t, "run ns/a %s=1", GPU);
    rig_ok(t, "run ns/b %s=2 --container c", GPU);
    list_pods(t, &p);
    assert_string_equal(p.ids, "ns/a/main:nvidia.com/pgpu=0000:43:00.0 "
                               "ns/b/c:nvidia.com/pgpu=0000:42:00.0 "
                               "ns/b/c:nvidia.com/pgpu=0000:41:00.0 ");
    rig_ok(t, "end ns/a");
    list_pods(t, &p);
    assert_int_equal(p.n, 2);
    /* A kubelet that is away, and one that is back. */
    rig_start(t, &up, "restart 2");
    rig_run(t, 0.1);
    list_pods(t, &p);
    assert_int_not_equal(p.num, 0);
    assert_non_null(strstr(p.text, "PodResources List at "));
    json_object_put(rig_wait(t, &up, 10));
    list_pods(t, &p);
    assert_int_equal(p.num, 0);
    assert_int_equal(p.n, 2);
    /* Kubelets up to 1.33. */
    rig_ok(t, "quirk list-terminated on");
    rig_ok(t, "end ns/b");
    list_pods(t, &p);
    assert_int_equal(p.n, 2);
    rig_ok(t, "forget");
    list_pods(t, &p);
    assert_int_equal(p.n, 0);
}

/* ---- the control socket ---- */

static void
the_control_socket_answers(void **state)
{
    struct rig *t = begin(state);
    struct sim_kubelet_control *c;
    struct err e = ERR_INIT;
    char path[128], answer[4096] = "";
    size_t n = 0;
    int fd;

    (void)snprintf(path, sizeof(path), "%s/control.sock", t->dir);
    if (sim_kubelet_control_new(t->loop, t->k, path, &c, &e) < 0)
        fail_msg("%s", e.msg);
    for (int round = 0; round < 2; round++) {
        fd = raw_connect(path);
        assert_int_equal(send(fd, "run ns/x nvidia.com/pgpu=1\n", 27, MSG_NOSIGNAL), 27);
        for (int i = 0; i < 300; i++) {
            ssize_t got = recv(fd, answer + n, sizeof(answer) - 1 - n, MSG_DONTWAIT);

            if (got == 0)
                break;
            n += got > 0 ? (size_t)got : 0;
            (void)sd_event_run(t->loop, 10000);
        }
        answer[n] = '\0';
        assert_non_null(strstr(answer, "\"ok\":true"));
        assert_non_null(strstr(answer, "0000:43:00.0"));
        assert_int_equal(answer[n - 1], '\n');
        n = 0;
        fd_close(&fd);
    }
    assert_int_equal(t->n_allocates, 1);
    sim_kubelet_control_free(c);
    assert_int_equal(access(path, F_OK), -1);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(unknown_methods_are_unimplemented),
        T(bad_allocate_requests_are_refused),
        T(oversized_requests_are_refused),
        T(preferences_never_fail),
        T(garbage_disturbs_nobody),
        T(tools_may_watch_too),
        T(sockets_of_the_dead_are_swept),
        T(a_second_instance_survives_the_first),
        T(a_failed_registration_makes_ghosts),
        T(pods_are_listed),
        T(the_control_socket_answers),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("deviceplugin.wire", tests, NULL, NULL);
}
