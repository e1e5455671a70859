/* SPDX-License-Identifier: Apache-2.0
 *
 * See nri_end.h.
 */
#include "tests/unit/sim/nri_end.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <errno.h>
#include <ftw.h>
#include <json-c/json.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_USEC ((uint64_t)10 * 1000 * 1000)
#define IN_MAX ((size_t)16 << 20)

/* ---- the rig ---- */

void
rig_init(struct rig *r)
{
    *r = (struct rig){0};
    (void)snprintf(r->dir, sizeof(r->dir), "/tmp/pgpu-test-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    (void)snprintf(r->socket, sizeof(r->socket), "%s/nri.sock", r->dir);
    assert_true(sd_event_new(&r->loop) >= 0);
}

void
rig_start(struct rig *r, struct sim_runtime_options *opt)
{
    struct err e = ERR_INIT;

    opt->nri = r->socket;
    if (!opt->request_usec)
        opt->request_usec = opt->registration_usec = 6 * LIMIT_USEC;
    if (sim_runtime_new(r->loop, opt, &r->rt, &e) < 0)
        fail_msg("runtime stand-in: %s", e.msg);
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
    (void)st;
    (void)type;
    (void)f;
    return remove(path);
}

void
rig_fini(struct rig *r)
{
    sim_runtime_free(r->rt);
    sd_event_unref(r->loop);
    (void)nftw(r->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static uint64_t
now_usec(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

void
rig_until(struct rig *r, const bool *flag)
{
    uint64_t end = now_usec() + LIMIT_USEC;

    while (!*flag) {
        assert_true(sd_event_run(r->loop, 100000) >= 0);
        if (now_usec() > end)
            fail_msg("it did not happen within 10 s");
    }
}

void
rig_settle(struct rig *r)
{
    int n;

    do {
        n = sd_event_run(r->loop, 0);
        assert_true(n >= 0);
    } while (n > 0);
}

static void
on_answer(void *ctx, struct json_object *answer)
{
    struct rig_call *c = ctx;

    c->answer = json_object_get(answer);
    c->over = true;
}

__attribute__((format(printf, 3, 0))) static void
begin(struct rig *r, struct rig_call *c, const char *fmt, va_list ap)
{
    char *line = NULL;

    *c = (struct rig_call){0};
    assert_true(vasprintf(&line, fmt, ap) >= 0);
    sim_runtime_command(r->rt, line, on_answer, c);
    free(line);
}

void
rig_begin(struct rig *r, struct rig_call *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    begin(r, c, fmt, ap);
    va_end(ap);
}

struct json_object *
rig_ask(struct rig *r, const char *fmt, ...)
{
    struct rig_call c;
    va_list ap;

    va_start(ap, fmt);
    begin(r, &c, fmt, ap);
    va_end(ap);
    rig_until(r, &c.over);
    return c.answer;
}

static const char *
member(struct json_object *o, const char *key)
{
    struct json_object *v = json_object_object_get(o, key);

    return v ? json_object_get_string(v) : "";
}

void
rig_ok(struct rig *r, const char *fmt, ...)
{
    struct rig_call c;
    va_list ap;

    va_start(ap, fmt);
    begin(r, &c, fmt, ap);
    va_end(ap);
    rig_until(r, &c.over);
    if (!json_object_get_boolean(json_object_object_get(c.answer, "ok")))
        fail_msg("%s: %s", fmt, member(c.answer, "error"));
    json_object_put(c.answer);
}

const char *
rig_refused(struct rig *r, const char *fmt, ...)
{
    static char text[2048];
    struct rig_call c;
    va_list ap;

    va_start(ap, fmt);
    begin(r, &c, fmt, ap);
    va_end(ap);
    rig_until(r, &c.over);
    if (json_object_get_boolean(json_object_object_get(c.answer, "ok")))
        fail_msg("%s: was not refused", fmt);
    (void)snprintf(text, sizeof(text), "%s", member(c.answer, "error"));
    json_object_put(c.answer);
    return text;
}

/* ---- bytes ---- */

void
end_close(struct end *x)
{
    x->source = sd_event_source_disable_unref(x->source);
    fd_close(&x->fd);
    x->closed = true;
}

void
end_raw(struct end *x, const void *data, size_t len)
{
    const uint8_t *p = data;

    while (len > 0 && x->fd >= 0) {
        ssize_t n = send(x->fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN) { /* the stand-in reads on this thread */
            rig_settle(x->rig);
            continue;
        }
        if (n < 0)
            return; /* closed meanwhile: the reader will see it */
        p += n;
        len -= (size_t)n;
    }
}

static int
send_on(struct end *x, enum mux_stream stream, const void *message, size_t len, struct err *e)
{
    struct buf out;
    int r;

    buf_init(&out, IN_MAX);
    r = mux_put(&out, stream, message, len, e);
    if (r == 0)
        end_raw(x, out.data, out.len);
    buf_fini(&out);
    return r;
}

static int
server_send(void *ctx, const void *message, size_t len, struct err *e)
{
    return send_on(ctx, MUX_PLUGIN, message, len, e);
}

static int
client_send(void *ctx, const void *message, size_t len, struct err *e)
{
    return send_on(ctx, MUX_RUNTIME, message, len, e);
}

static int
on_io(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
    struct err e = ERR_INIT;
    struct end *x = userdata;
    char chunk[65536];
    ssize_t n = recv(fd, chunk, sizeof(chunk), MSG_DONTWAIT);

    (void)s;
    (void)revents;
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0) {
        end_close(x);
        return 0;
    }
    assert_true(buf_put(&x->in, chunk, (size_t)n));
    if (!x->first_stream && n >= 4)
        x->first_stream = (uint8_t)chunk[3];
    assert_int_equal(mux_take(&x->in, &x->plugin, &x->runtime, &e), 0);
    assert_int_equal(ttrpc_client_take(x->client, &x->runtime, &e), 0);
    assert_int_equal(ttrpc_server_take(x->server, &x->plugin, &e), 0);
    return 0;
}

/* ---- what comes ---- */

__attribute__((format(printf, 2, 3))) static void
note(struct end *x, const char *fmt, ...)
{
    size_t n = strlen(x->log);
    va_list ap;

    if (n > 0 && n < sizeof(x->log) - 1)
        x->log[n++] = ' ';
    va_start(ap, fmt);
    (void)vsnprintf(x->log + n, sizeof(x->log) - n, fmt, ap);
    va_end(ap);
}

static void
reply(struct end *x, uint32_t stream, const ProtobufCMessage *m)
{
    struct err e = ERR_INIT;
    uint8_t *data = NULL;
    size_t len = 0;

    if (m) {
        len = protobuf_c_message_get_packed_size(m);
        data = malloc(len + 1);
        assert_non_null(data);
        (void)protobuf_c_message_pack(m, data);
    }
    assert_int_equal(ttrpc_server_reply(x->server, stream, data, len, &e), 0);
    free(data);
}

static void
on_configure(struct end *x, const struct ttrpc_request *q)
{
    Nri__Pkg__Api__V1alpha1__ConfigureResponse a;
    Nri__Pkg__Api__V1alpha1__ConfigureRequest *m =
        nri__pkg__api__v1alpha1__configure_request__unpack(NULL, q->len, q->payload);

    assert_non_null(m);
    (void)str_copy(x->told.runtime, sizeof(x->told.runtime), m->runtime_name);
    (void)str_copy(x->told.version, sizeof(x->told.version), m->runtime_version);
    (void)str_copy(x->told.nri_version, sizeof(x->told.nri_version), m->nri_version);
    (void)str_copy(x->told.config, sizeof(x->told.config), m->config);
    x->told.registration_ms = m->registration_timeout;
    x->told.request_ms = m->request_timeout;
    nri__pkg__api__v1alpha1__configure_request__free_unpacked(m, NULL);
    nri__pkg__api__v1alpha1__configure_response__init(&a);
    a.events = (int32_t)x->mask;
    reply(x, q->stream, &a.base);
}

static void
see_pod(struct end *x, const Nri__Pkg__Api__V1alpha1__PodSandbox *p)
{
    free(x->pod_name);
    x->pod_name = p ? strdup(p->name) : NULL;
}

static void
on_synchronize(struct end *x, const struct ttrpc_request *q)
{
    Nri__Pkg__Api__V1alpha1__SynchronizeResponse a;
    Nri__Pkg__Api__V1alpha1__SynchronizeRequest *m =
        nri__pkg__api__v1alpha1__synchronize_request__unpack(NULL, q->len, q->payload);

    assert_non_null(m);
    x->parts++;
    x->pods += m->n_pods;
    x->containers += m->n_containers;
    for (size_t i = 0; i < m->n_containers; i++) {
        size_t n = strlen(x->names);

        (void)snprintf(x->names + n, sizeof(x->names) - n, "%s ", m->containers[i]->name);
    }
    for (size_t i = 0; i < m->n_pods; i++) {
        size_t n = strlen(x->pod_names);

        (void)snprintf(x->pod_names + n, sizeof(x->pod_names) - n, "%s ", m->pods[i]->name);
    }
    if (m->n_pods > 0)
        see_pod(x, m->pods[0]);
    nri__pkg__api__v1alpha1__synchronize_response__init(&a);
    a.more = m->more && !x->no_split;
    x->synced = !m->more;
    nri__pkg__api__v1alpha1__synchronize_request__free_unpacked(m, NULL);
    reply(x, q->stream, &a.base);
}

static int
on_state_change(struct end *x, const struct ttrpc_request *q)
{
    Nri__Pkg__Api__V1alpha1__StateChangeEvent *m =
        nri__pkg__api__v1alpha1__state_change_event__unpack(NULL, q->len, q->payload);
    int event;

    assert_non_null(m);
    event = (int)m->event;
    see_pod(x, m->pod);
    nri__pkg__api__v1alpha1__state_change_event__free_unpacked(m, NULL);
    return event;
}

static void
keep(struct end *x, const struct ttrpc_request *q)
{
    if (strcmp(q->method, "CreateContainer") == 0) {
        if (x->create)
            nri__pkg__api__v1alpha1__create_container_request__free_unpacked(x->create, NULL);
        x->create =
            nri__pkg__api__v1alpha1__create_container_request__unpack(NULL, q->len, q->payload);
        assert_non_null(x->create);
    }
    if (strcmp(q->method, "ValidateContainerAdjustment") == 0) {
        if (x->validate)
            nri__pkg__api__v1alpha1__validate_container_adjustment_request__free_unpacked(
                x->validate, NULL);
        x->validate = nri__pkg__api__v1alpha1__validate_container_adjustment_request__unpack(
            NULL, q->len, q->payload);
        assert_non_null(x->validate);
    }
    if (strcmp(q->method, "RunPodSandbox") == 0) {
        Nri__Pkg__Api__V1alpha1__RunPodSandboxRequest *m =
            nri__pkg__api__v1alpha1__run_pod_sandbox_request__unpack(NULL, q->len, q->payload);

        assert_non_null(m);
        see_pod(x, m->pod);
        nri__pkg__api__v1alpha1__run_pod_sandbox_request__free_unpacked(m, NULL);
    }
}

static bool
by_rule(struct end *x, const struct ttrpc_request *q)
{
    const struct end_rule *r = NULL;
    struct err e = ERR_INIT;

    for (size_t i = 0; i < x->n_rules; i++)
        if (strcmp(x->rule[i].method, q->method) == 0)
            r = &x->rule[i];
    if (!r)
        return false;
    switch (r->action) {
    case END_ANSWER:
        reply(x, q->stream, r->reply);
        break;
    case END_FAIL:
        assert_int_equal(ttrpc_server_fail(x->server, q->stream, r->code, r->text, &e), 0);
        break;
    case END_SILENT:
        break;
    case END_CLOSE:
        end_close(x);
        break;
    }
    return true;
}

static void
on_request(void *ctx, const struct ttrpc_request *q)
{
    struct end *x = ctx;

    assert_string_equal(q->service, "nri.pkg.api.v1alpha1.Plugin");
    assert_true(q->timeout_ns > 0);
    if (strcmp(q->method, "StateChange") == 0)
        note(x, "StateChange:%d", on_state_change(x, q));
    else
        note(x, "%s", q->method);
    keep(x, q);
    if (x->hook)
        x->hook(x, q->method);
    if (by_rule(x, q))
        return;
    if (strcmp(q->method, "Configure") == 0)
        on_configure(x, q);
    else if (strcmp(q->method, "Synchronize") == 0)
        on_synchronize(x, q);
    else
        reply(x, q->stream, NULL);
}

static void
on_response(void *ctx, const struct ttrpc_response *a)
{
    struct end *x = ctx;

    x->registered = a->code == TTRPC_OK;
    x->refused = a->code != TTRPC_OK;
    note(x, x->refused ? "refused" : "registered");
}

/* ---- life ---- */

void
end_open(struct end *x, struct rig *r, int fd, uint32_t mask)
{
    static const struct ttrpc_server_ops server_ops = {.request = on_request, .send = server_send};
    static const struct ttrpc_client_ops client_ops = {.response = on_response,
                                                       .send = client_send};
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct err e = ERR_INIT;

    *x = (struct end){.rig = r, .mask = mask, .fd = fd};
    if (fd < 0) {
        x->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(str_copy(sa.sun_path, sizeof(sa.sun_path), r->socket));
        assert_int_equal(connect(x->fd, (const struct sockaddr *)&sa, sizeof(sa)), 0);
    }
    buf_init(&x->in, IN_MAX);
    buf_init(&x->plugin, IN_MAX);
    buf_init(&x->runtime, IN_MAX);
    assert_int_equal(ttrpc_server_new(&server_ops, x, &x->server, &e), 0);
    assert_int_equal(ttrpc_client_new(&client_ops, x, &x->client, &e), 0);
    assert_true(sd_event_add_io(r->loop, &x->source, x->fd, EPOLLIN, on_io, x) >= 0);
}

void
end_register(struct end *x, const char *name, const char *index)
{
    Nri__Pkg__Api__V1alpha1__RegisterPluginRequest m;
    struct err e = ERR_INIT;
    uint8_t data[1024];
    uint32_t stream;

    nri__pkg__api__v1alpha1__register_plugin_request__init(&m);
    m.plugin_name = (char *)(uintptr_t)name;
    m.plugin_idx = (char *)(uintptr_t)index;
    assert_true(protobuf_c_message_get_packed_size(&m.base) <= sizeof(data));
    assert_int_equal(ttrpc_client_call(x->client, "nri.pkg.api.v1alpha1.Runtime", "RegisterPlugin",
                                       data, protobuf_c_message_pack(&m.base, data), 0, &stream,
                                       &e),
                     0);
}

void
end_ready(struct end *x, struct rig *r, const char *name, const char *index, uint32_t mask)
{
    end_open(x, r, -1, mask);
    end_register(x, name, index);
    rig_until(r, &x->synced);
    rig_settle(r);
}

struct end_rule *
end_on(struct end *x, const char *method, enum end_action action)
{
    struct end_rule *r;

    assert_true(x->n_rules < END_RULES);
    r = &x->rule[x->n_rules++];
    *r = (struct end_rule){.method = method, .action = action};
    return r;
}

void
end_free(struct end *x)
{
    end_close(x);
    buf_fini(&x->in);
    buf_fini(&x->plugin);
    buf_fini(&x->runtime);
    ttrpc_server_free(x->server);
    ttrpc_client_free(x->client);
    free(x->pod_name);
    if (x->create)
        nri__pkg__api__v1alpha1__create_container_request__free_unpacked(x->create, NULL);
    if (x->validate)
        nri__pkg__api__v1alpha1__validate_container_adjustment_request__free_unpacked(x->validate,
                                                                                      NULL);
}
