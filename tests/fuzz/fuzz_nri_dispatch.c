/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz: a session with a runtime that does as the input says. The input is a row of requests, each
 *   method (1 byte), what the handler does with it (1 byte), length (2 bytes, big-endian), payload
 * and method 0xff sends the payload as raw bytes on the socket. Every call ends once, all text that
 * reaches the handler is clean, and the session ends without leaving anything.
 */
#include "nri/mux.h"
#include "nri/session.h"
#include "nri/ttrpc.h"
#include "nri/utf8.h"
#include "tests/fuzz/fuzz.h"

#include "base/cleanup.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *const methods[] = {
    "Configure",
    "Synchronize",
    "RunPodSandbox",
    "StopPodSandbox",
    "RemovePodSandbox",
    "CreateContainer",
    "ValidateContainerAdjustment",
    "StateChange",
    "Shutdown",
    "PostCreateContainer",
    "Unknown",
};

struct run {
    uint8_t act;
    size_t open; /* calls that were neither answered nor cancelled */
    struct nri_call *held;
    struct buf wire;
};

static void
check_text(const char *s)
{
    FUZZ_ASSERT(s && utf8_valid(s, strlen(s)));
}

static void
check_map(const struct nri_kv *kv, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        check_text(kv[i].key);
        check_text(kv[i].value);
        FUZZ_ASSERT(i == 0 || strcmp(kv[i - 1].key, kv[i].key) < 0);
    }
}

static void
check_pod(const struct nri_pod *p)
{
    check_text(p->id);
    check_text(p->name);
    check_text(p->uid);
    check_text(p->ns);
    check_text(p->handler);
    check_map(p->labels, p->n_labels);
    check_map(p->annotations, p->n_annotations);
}

static void
check_container(const struct nri_container *c)
{
    check_text(c->id);
    check_text(c->pod_id);
    check_text(c->name);
    check_map(c->annotations, c->n_annotations);
    for (size_t i = 0; i < c->n_env; i++)
        check_text(c->env[i]);
    for (size_t i = 0; i < c->n_cdi; i++)
        check_text(c->cdi[i]);
    for (size_t i = 0; i < c->n_devices; i++) {
        check_text(c->devices[i].path);
        FUZZ_ASSERT(strchr("cbp", c->devices[i].type) != NULL);
    }
}

static void
on_request(void *ctx, struct nri_call *call, const struct nri_request *q)
{
    struct run *x = ctx;
    const struct nri_kv note = {q->pod->name, q->pod->id};
    const struct nri_adjust adjust = {.n_annotations = 1, .annotations = &note};

    check_pod(q->pod);
    FUZZ_ASSERT((q->container != NULL) ==
                (q->event == NRI_CREATE_CONTAINER || q->event == NRI_VALIDATE));
    FUZZ_ASSERT((q->adjust != NULL) == (q->event == NRI_VALIDATE));
    if (q->container)
        check_container(q->container);
    if (q->adjust)
        check_map(q->adjust->annotations, q->adjust->n_annotations);
    x->open++;
    if (x->act % 4 == 3 && !x->held) {
        x->held = call;
        return;
    }
    x->open--;
    if (x->act % 4 == 0)
        nri_refuse(call, q->pod->name);
    else
        nri_accept(call, x->act % 4 == 1 ? &adjust : NULL);
}

static void
on_cancelled(void *ctx, struct nri_call *call)
{
    struct run *x = ctx;

    FUZZ_ASSERT(call == x->held && x->open == 1);
    x->held = NULL;
    x->open--;
    nri_refuse(call, "too late");
}

static void
on_synchronize(void *ctx, unsigned session, const struct nri_pod *pods, size_t n_pods,
               const struct nri_container *containers, size_t n_containers)
{
    (void)ctx;
    (void)session;
    for (size_t i = 0; i < n_pods; i++)
        check_pod(&pods[i]);
    for (size_t i = 0; i < n_containers; i++)
        check_container(&containers[i]);
}

static void
on_session(void *ctx, unsigned session, const struct nri_runtime *rt)
{
    (void)ctx;
    (void)session;
    check_text(rt->name);
    check_text(rt->version);
    check_text(rt->why);
}

static int
on_send(void *ctx, const void *m, size_t len, struct err *e)
{
    struct run *x = ctx;

    return mux_put(&x->wire, MUX_PLUGIN, m, len, e);
}

static void
on_response(void *ctx, const struct ttrpc_response *r)
{
    (void)ctx;
    (void)r;
}

/* Sends what is to be sent and lets the plugin work until it has nothing to do. */
static void
turn(sd_event *loop, struct run *x, int fd)
{
    char drop[4096];

    while (buf_left(&x->wire) > 0) {
        ssize_t n = send(fd, buf_peek(&x->wire), buf_left(&x->wire), MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n <= 0)
            break;
        (void)buf_skip(&x->wire, (size_t)n);
        while (sd_event_run(loop, 0) > 0)
            continue;
    }
    buf_clear(&x->wire);
    while (recv(fd, drop, sizeof(drop), MSG_DONTWAIT) > 0)
        continue;
}

static void
play(sd_event *loop, struct run *x, int fd, const uint8_t *p, size_t n)
{
    static const struct ttrpc_client_ops ops = {on_response, on_send};
    struct ttrpc_client *c = NULL;
    struct err e = ERR_INIT;

    FUZZ_ASSERT(ttrpc_client_new(&ops, x, &c, &e) == 0);
    while (n >= 4) {
        const size_t want = (size_t)p[2] << 8 | p[3], len = want < n - 4 ? want : n - 4;
        uint32_t stream = 0;

        x->act = p[1];
        if (p[0] == 0xff)
            (void)buf_put(&x->wire, p + 4, len);
        else if (ttrpc_client_call(c, NRI_PLUGIN_SERVICE, methods[p[0] % ARRAY_SIZE(methods)],
                                   p + 4, len, 0, &stream, &e) == 0)
            ttrpc_client_forget(c, stream);
        turn(loop, x, fd);
        if (x->held && (x->act & 4)) {
            struct nri_call *call = x->held;

            x->held = NULL;
            x->open--;
            nri_accept(call, NULL);
        }
        p += 4 + len;
        n -= 4 + len;
    }
    ttrpc_client_free(c);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static sd_event *loop; /* one for all inputs: making it is the dearest part */
    const struct nri_options opt = {.name = "pgpu", .index = "10"};
    struct run x = {.act = 0};
    const struct nri_handler h = {.request = on_request,
                                  .cancelled = on_cancelled,
                                  .synchronize = on_synchronize,
                                  .session = on_session,
                                  .ctx = &x};
    struct err e = ERR_INIT;
    struct nri *n = NULL;
    int pair[2];

    if (size > FUZZ_MAX)
        return 0;
    if (!loop)
        FUZZ_ASSERT(sd_event_new(&loop) >= 0);
    buf_init(&x.wire, 2 * FUZZ_MAX);
    FUZZ_ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    FUZZ_ASSERT(nri_new(loop, &opt, &h, &n, &e) == 0);
    FUZZ_ASSERT(launch_adopt(n, pair[1], -1, "pgpu", "10", &e) == 0);
    play(loop, &x, pair[0], data, size);
    (void)close(pair[0]);
    while (sd_event_run(loop, 0) > 0)
        continue;
    nri_free(n);
    FUZZ_ASSERT(x.open == 0 && !x.held);
    buf_fini(&x.wire);
    return 0;
}
