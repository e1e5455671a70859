/* SPDX-License-Identifier: Apache-2.0
 *
 * See wire_runtime.h.
 */
#include "wire_runtime.h"

#include "base/fs.h"
#include "nri/mux.h"
#include "nri/pb.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- the handler ---- */

static void
describe(struct world *w, const struct nri_request *q)
{
    char *s = w->seen;
    size_t left = sizeof(w->seen);
    int n = snprintf(s, left, "%s pod=%s/%s/%s/%s/%s", nri_event_name(q->event), q->pod->id,
                     q->pod->ns, q->pod->name, q->pod->uid, q->pod->handler);

    for (size_t i = 0; i < q->pod->n_annotations; i++)
        n += snprintf(s + n, left - (size_t)n, " %s=%s", q->pod->annotations[i].key,
                      q->pod->annotations[i].value);
    if (q->container) {
        n += snprintf(s + n, left - (size_t)n, " container=%s/%s/%s hooks=%zu", q->container->id,
                      q->container->pod_id, q->container->name, q->container->n_hooks);
        for (size_t i = 0; i < q->container->n_env; i++)
            n += snprintf(s + n, left - (size_t)n, " env:%s", q->container->env[i]);
        for (size_t i = 0; i < q->container->n_cdi; i++)
            n += snprintf(s + n, left - (size_t)n, " cdi:%s", q->container->cdi[i]);
        for (size_t i = 0; i < q->container->n_devices; i++)
            n += snprintf(s + n, left - (size_t)n, " dev:%s:%c:%lld:%lld",
                          q->container->devices[i].path,
                          q->container->devices[i].type ? q->container->devices[i].type : '0',
                          (long long)q->container->devices[i].major,
                          (long long)q->container->devices[i].minor);
    }
    if (q->adjust)
        (void)snprintf(s + n, left - (size_t)n, " adjust=%zu,%zu,%zu,%zu,%zu,%zu %s %s",
                       q->adjust->n_annotations, q->adjust->n_devices, q->adjust->n_cdi,
                       q->adjust->n_hooks, q->adjust->n_env, q->adjust->n_mounts,
                       q->adjust->n_mounts ? q->adjust->mounts[0].key : "",
                       q->adjust->n_mounts ? q->adjust->mounts[0].value : "");
}

static void
on_request(void *ctx, struct nri_call *call, const struct nri_request *q)
{
    struct world *w = ctx;

    w->requests++;
    w->last = q->event;
    w->deadline = q->deadline;
    w->seen_at = nri_now();
    describe(w, q);
    switch (w->behave) {
    case ACCEPT:
        nri_accept(call, NULL);
        break;
    case ADJUST:
        nri_accept(call, w->adjust);
        break;
    case REFUSE:
        nri_refuse(call, "GPU 0000:41:00.0 is not verified");
        break;
    case HOLD:
        w->held = call;
        break;
    }
}

static void
on_cancelled(void *ctx, struct nri_call *call)
{
    struct world *w = ctx;

    w->cancelled++;
    nri_accept(call, NULL); /* must do nothing */
    if (w->held == call)
        w->held = NULL;
}

static void
on_synchronize(void *ctx, unsigned session, const struct nri_pod *pods, size_t n_pods,
               const struct nri_container *containers, size_t n_containers)
{
    struct world *w = ctx;

    (void)session;
    w->syncs++;
    w->n_pods = n_pods;
    w->n_containers = n_containers;
    (void)snprintf(w->seen, sizeof(w->seen), "%s..%s %s..%s", n_pods ? pods[0].id : "",
                   n_pods ? pods[n_pods - 1].id : "", n_containers ? containers[0].id : "",
                   n_containers ? containers[n_containers - 1].id : "");
}

static void
on_session(void *ctx, unsigned session, const struct nri_runtime *rt)
{
    struct world *w = ctx;

    (void)session;
    if (rt->up)
        w->ups++;
    else
        w->downs++;
    (void)snprintf(w->why, sizeof(w->why), "%s", rt->why);
}

/* ---- the runtime's ends ---- */

static int
put(struct runtime *r, enum mux_stream s, const void *m, size_t len, struct err *e)
{
    return r->fd < 0 ? err_set(e, EPIPE, ERR_CLASS_RETRY, "closed")
                     : mux_put(&r->out, s, m, len, e);
}

static int
send_call(void *ctx, const void *m, size_t len, struct err *e)
{
    return put(ctx, MUX_PLUGIN, m, len, e);
}

static int
send_reply(void *ctx, const void *m, size_t len, struct err *e)
{
    return put(ctx, MUX_RUNTIME, m, len, e);
}

static void
take_request(void *ctx, const struct ttrpc_request *q)
{
    struct runtime *r = ctx;
    Nri__Pkg__Api__V1alpha1__RegisterPluginRequest *m;
    struct err e = ERR_INIT;

    assert_string_equal(q->service, NRI_RUNTIME_SERVICE);
    assert_string_equal(q->method, "RegisterPlugin");
    m = nri__pkg__api__v1alpha1__register_plugin_request__unpack(NULL, q->len, q->payload);
    assert_non_null(m);
    (void)str_copy(r->name, sizeof(r->name), m->plugin_name);
    (void)str_copy(r->index, sizeof(r->index), m->plugin_idx);
    (void)str_copy(r->version, sizeof(r->version), m->nri_version);
    nri__pkg__api__v1alpha1__register_plugin_request__free_unpacked(m, NULL);
    r->registered++;
    r->reg_stream = q->stream;
    if (r->refuse_reg)
        (void)ttrpc_server_fail(r->server, q->stream, TTRPC_UNKNOWN, "no plugins today", &e);
    else if (!r->hold_reg)
        (void)ttrpc_server_reply(r->server, q->stream, NULL, 0, &e);
}

static void
take_answer(void *ctx, const struct ttrpc_response *q)
{
    struct runtime *r = ctx;
    struct answer *a = &r->answer[r->n_answers % ANSWERS_MAX];

    free(a->payload);
    *a = (struct answer){.stream = q->stream, .code = q->code, .len = q->len};
    (void)snprintf(a->text, sizeof(a->text), "%s", q->text);
    a->payload = malloc(q->len + 1);
    assert_non_null(a->payload);
    if (q->len)
        memcpy(a->payload, q->payload, q->len);
    r->n_answers++;
}

static void
close_connection(struct runtime *r)
{
    if (r->fd >= 0)
        (void)close(r->fd);
    r->fd = -1;
    ttrpc_client_free(r->client);
    ttrpc_server_free(r->server);
    r->client = NULL;
    r->server = NULL;
    buf_fini(&r->in);
    buf_fini(&r->plugin);
    buf_fini(&r->runtime);
    buf_fini(&r->out);
}

void
runtime_adopt(struct runtime *r, int fd)
{
    static const struct ttrpc_client_ops client = {take_answer, send_call};
    static const struct ttrpc_server_ops server = {take_request, send_reply};
    struct err e = ERR_INIT;

    for (int k = 0; k < ANSWERS_MAX; k++)
        free(r->answer[k].payload);
    memset(r->answer, 0, sizeof(r->answer)); /* streams are counted anew */
    r->n_answers = 0;
    r->fd = fd;
    r->closed = false;
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    buf_init(&r->in, 32u << 20);
    buf_init(&r->plugin, 32u << 20);
    buf_init(&r->runtime, 32u << 20);
    buf_init(&r->out, 64u << 20);
    assert_int_equal(ttrpc_client_new(&client, r, &r->client, &e), 0);
    assert_int_equal(ttrpc_server_new(&server, r, &r->server, &e), 0);
    r->accepted++;
}

static void
pump_out(struct runtime *r)
{
    while (r->fd >= 0 && buf_left(&r->out) > 0) {
        ssize_t n = send(r->fd, buf_peek(&r->out), buf_left(&r->out), MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0)
            break;
        (void)buf_skip(&r->out, (size_t)n);
    }
    buf_compact(&r->out);
}

static void
pump_in(struct runtime *r)
{
    uint8_t chunk[65536];
    struct err e = ERR_INIT;

    while (r->fd >= 0 && !r->deaf) {
        ssize_t n = recv(r->fd, chunk, sizeof(chunk), MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0) {
            r->closed = true;
            close_connection(r);
            break;
        }
        assert_true(buf_put(&r->in, chunk, (size_t)n));
        assert_int_equal(mux_take(&r->in, &r->plugin, &r->runtime, &e), 0);
        assert_int_equal(ttrpc_client_take(r->client, &r->plugin, &e), 0);
        assert_int_equal(ttrpc_server_take(r->server, &r->runtime, &e), 0);
    }
}

static void
runtime_turn(struct runtime *r)
{
    if (r->fd < 0 && r->listener >= 0) {
        int fd = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC);

        if (fd >= 0)
            runtime_adopt(r, fd);
    }
    pump_in(r);
    pump_out(r);
}

void
runtime_listen(struct runtime *r)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    r->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(r->listener >= 0);
    assert_true(str_copy(a.sun_path, sizeof(a.sun_path), r->path));
    assert_int_equal(bind(r->listener, (const struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(r->listener, 16), 0);
}

void
runtime_hang_up(struct runtime *r)
{
    pump_out(r);
    close_connection(r);
}

void
runtime_stop(struct runtime *r)
{
    close_connection(r);
    if (r->listener >= 0)
        (void)close(r->listener);
    r->listener = -1;
    (void)unlink(r->path);
}

uint32_t
runtime_call_bytes(struct runtime *r, const char *service, const char *method, const void *p,
                   size_t n, uint64_t timeout_ns)
{
    struct err e = ERR_INIT;
    uint32_t stream = 0;
    int rc = ttrpc_client_call(r->client, service, method, p, n, timeout_ns, &stream, &e);

    if (rc < 0)
        fail_msg("%s", e.msg);
    pump_out(r);
    return stream;
}

uint32_t
runtime_call(struct runtime *r, const char *method, const ProtobufCMessage *m, uint64_t timeout_ns)
{
    size_t n = m ? protobuf_c_message_get_packed_size(m) : 0;
    uint8_t *p = malloc(n + 1);
    uint32_t stream;

    assert_non_null(p);
    if (m)
        (void)protobuf_c_message_pack(m, p);
    stream = runtime_call_bytes(r, NRI_PLUGIN_SERVICE, method, p, n, timeout_ns);
    free(p);
    return stream;
}

static const struct answer *
find_answer(const struct runtime *r, uint32_t stream)
{
    const size_t have = r->n_answers < ANSWERS_MAX ? r->n_answers : ANSWERS_MAX;

    for (size_t i = 0; i < have; i++)
        if (r->answer[i].stream == stream)
            return &r->answer[i];
    return NULL;
}

/* ---- turning ---- */

void
world_turn(struct world *w)
{
    for (size_t i = 0; i < 2; i++)
        runtime_turn(&w->rt[i]);
    assert_true(sd_event_run(w->loop, 1000) >= 0);
    for (size_t i = 0; i < 2; i++)
        runtime_turn(&w->rt[i]);
}

bool
world_until(struct world *w, world_cond cond)
{
    const uint64_t end = nri_now() + UINT64_C(20000000000);

    while (!cond(w)) {
        if (nri_now() > end)
            return false;
        world_turn(w);
    }
    return true;
}

const struct answer *
runtime_wait(struct world *w, struct runtime *r, uint32_t stream)
{
    const uint64_t end = nri_now() + UINT64_C(20000000000);

    while (!find_answer(r, stream) && r->fd >= 0 && nri_now() < end)
        world_turn(w);
    return find_answer(r, stream);
}

/* ---- the world ---- */

void
world_init(struct world *w)
{
    char dir[] = "/tmp/pgpu-nri-XXXXXX";

    *w = (struct world){.behave = ACCEPT, .last = NRI_EVENTS};
    assert_non_null(mkdtemp(dir));
    (void)str_copy(w->dir, sizeof(w->dir), dir);
    assert_true(sd_event_new(&w->loop) >= 0);
    w->h = (struct nri_handler){.request = on_request,
                                .cancelled = on_cancelled,
                                .synchronize = on_synchronize,
                                .session = on_session,
                                .ctx = w};
    for (int i = 0; i < 2; i++) {
        w->rt[i].listener = w->rt[i].fd = -1;
        (void)snprintf(w->rt[i].path, sizeof(w->rt[i].path), "%.*s/nri%d.sock", (int)sizeof(dir),
                       dir, i);
    }
}

void
world_plugin(struct world *w, size_t n, bool launch)
{
    const char *sockets[2] = {w->rt[0].path, w->rt[1].path};
    char path[128];
    struct nri_options o = {.n_sockets = n, .sockets = sockets, .name = "pgpu", .index = "10"};
    struct err e = ERR_INIT;

    (void)snprintf(path, sizeof(path), "%s/launch.sock", w->dir);
    o.launch_socket = launch ? path : NULL;
    if (nri_new(w->loop, &o, &w->h, &w->nri, &e) < 0)
        fail_msg("%s", e.msg);
}

void
world_fini(struct world *w)
{
    DIR *d;
    struct dirent *ent;

    nri_free(w->nri);
    for (int i = 0; i < 2; i++) {
        runtime_stop(&w->rt[i]);
        for (int k = 0; k < ANSWERS_MAX; k++)
            free(w->rt[i].answer[k].payload);
    }
    (void)sd_event_unref(w->loop);
    d = opendir(w->dir);
    while (d && (ent = readdir(d)))
        if (ent->d_name[0] != '.')
            (void)unlinkat(dirfd(d), ent->d_name, ent->d_type == DT_DIR ? AT_REMOVEDIR : 0);
    if (d)
        (void)closedir(d);
    assert_int_equal(rmdir(w->dir), 0);
}

bool
is_up(struct world *w)
{
    return nri_session(w->nri, 0)->up;
}

bool
is_down(struct world *w)
{
    for (unsigned i = 0; i < nri_sessions(w->nri); i++)
        if (nri_session(w->nri, i)->up)
            return false;
    return true;
}

bool
has_registered(struct world *w)
{
    return w->rt[0].fd >= 0 && w->rt[0].registered == w->rt[0].accepted;
}

int32_t
runtime_configure(struct world *w, struct runtime *r, const char *name, const char *version,
                  const char *nri_version)
{
    Nri__Pkg__Api__V1alpha1__ConfigureRequest m;
    Nri__Pkg__Api__V1alpha1__ConfigureResponse *out;
    const struct answer *a;
    int32_t events;

    nri__pkg__api__v1alpha1__configure_request__init(&m);
    m.runtime_name = pb_str(name);
    m.runtime_version = pb_str(version);
    m.nri_version = pb_str(nri_version);
    a = runtime_wait(w, r, runtime_call(r, "Configure", &m.base, UINT64_C(2000000000)));
    if (!a || a->code != TTRPC_OK)
        return -1;
    out = nri__pkg__api__v1alpha1__configure_response__unpack(NULL, a->len, a->payload);
    assert_non_null(out);
    events = out->events;
    nri__pkg__api__v1alpha1__configure_response__free_unpacked(out, NULL);
    return events;
}

bool
runtime_hello(struct world *w, struct runtime *r, const char *name, const char *version,
              const char *nri_version)
{
    const uint64_t end = nri_now() + UINT64_C(20000000000);
    const struct answer *a;

    while ((r->fd < 0 || r->registered < r->accepted) && nri_now() < end)
        world_turn(w);
    if (r->fd < 0 || runtime_configure(w, r, name, version, nri_version) < 0)
        return false;
    a = runtime_wait(w, r, runtime_call(r, "Synchronize", NULL, UINT64_C(2000000000)));
    return a && a->code == TTRPC_OK;
}

size_t
count_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    size_t n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    (void)closedir(d);
    return n;
}
