/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests: to whom they go, how they are answered, and by when. See nri/session.h.
 */
#include "nri/session.h"

#include "base/cleanup.h"
#include "nri/pb.h"
#include "nri/utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DESCRIPTOR(x) (&nri__pkg__api__v1alpha1__##x##__descriptor)

/* ---- answers on the wire ---- */

void
peer_refuse(struct nri_peer *p, uint32_t stream, enum ttrpc_code code, const char *text)
{
    struct err e = ERR_INIT;

    if (!p->dying && ttrpc_server_fail(p->server, stream, code, text, &e) < 0)
        peer_fail(p, "%s", e.msg);
}

void
peer_answer(struct nri_peer *p, uint32_t stream, const ProtobufCMessage *m)
{
    struct err e = ERR_INIT;
    struct buf b;

    if (p->dying)
        return;
    buf_init(&b, TTRPC_DATA_MAX);
    if (m && pb_pack(m, &b, &e) < 0)
        peer_refuse(p, stream, TTRPC_INTERNAL, e.msg);
    else if (ttrpc_server_reply(p->server, stream, buf_peek(&b), b.len, &e) < 0)
        peer_fail(p, "%s", e.msg);
    buf_fini(&b);
}

/* ---- the life of a call ---- */

static void
call_free(struct nri_call *c)
{
    struct nri_call **at = &c->peer->calls;

    while (*at && *at != c)
        at = &(*at)->next;
    if (*at)
        *at = c->next;
    (void)sd_event_source_disable_unref(c->timer);
    nri_arena_free(&c->arena);
    pb_free(c->msg);
    free(c);
}

static void
call_answered(const struct nri_call *c, enum nri_answer answer)
{
    const struct nri_handler *h = &c->peer->nri->h;

    if (h->answered)
        h->answered(h->ctx, c->req.event, answer, nri_now() - c->begun);
}

/* Nobody may answer it any more. */
static void
call_cancel(struct nri_call *c)
{
    c->dead = true;
    c->peer->nri->h.cancelled(c->peer->nri->h.ctx, c);
    call_free(c);
}

void
call_cancel_all(struct nri_peer *p)
{
    while (p->calls)
        call_cancel(p->calls);
}

static int
on_deadline(sd_event_source *s, uint64_t usec, void *ctx)
{
    struct nri_call *c = ctx;
    struct nri_peer *p = c->peer;
    const uint32_t stream = c->stream;

    (void)s;
    (void)usec;
    p->rt.timeouts++;
    call_answered(c, NRI_LATE);
    call_cancel(c);
    /* Fails closed: an error on the wire is an ordinary refusal, silence would be taken as "no
     * change" (pkg/adaptation/plugin.go). */
    peer_refuse(p, stream, TTRPC_DEADLINE_EXCEEDED, "pgpu found no answer in time");
    return 0;
}

static uint64_t
answer_within(uint64_t timeout_ns)
{
    uint64_t part = timeout_ns / 100 * NRI_ANSWER_PERCENT;

    return timeout_ns > 0 && part < NRI_ANSWER_NSEC ? part : NRI_ANSWER_NSEC;
}

/* ---- decoding ---- */

/* What a message of any event holds. */
struct content {
    const Nri__Pkg__Api__V1alpha1__PodSandbox *pod;
    const Nri__Pkg__Api__V1alpha1__Container *container;
    const Nri__Pkg__Api__V1alpha1__ContainerAdjustment *adjust;
};

static bool
fill(struct nri_call *c, const struct content *x)
{
    if (!nri_decode_pod(&c->arena, x->pod, &c->pod))
        return false;
    c->req.pod = &c->pod;
    if (c->req.event != NRI_CREATE_CONTAINER && c->req.event != NRI_VALIDATE)
        return true;
    if (!nri_decode_container(&c->arena, x->container, &c->container))
        return false;
    c->req.container = &c->container;
    if (c->req.event != NRI_VALIDATE)
        return true;
    c->req.adjust = &c->adjust;
    return nri_decode_adjust(&c->arena, x->adjust, &c->adjust);
}

/* Takes over `msg`, which `x` points into. */
static void
begin(struct nri_peer *p, const struct ttrpc_request *q, enum nri_event event,
      ProtobufCMessage *msg, const struct content *x)
{
    const uint64_t within = answer_within(q->timeout_ns);
    struct nri_call *c = calloc(1, sizeof(*c));
    bool ok = c != NULL;

    if (ok) {
        c->peer = p;
        c->stream = q->stream;
        c->msg = msg;
        c->next = p->calls;
        p->calls = c;
        c->req.event = event;
        c->req.session = p->number;
        c->begun = nri_now();
        c->req.deadline = c->begun + within;
        ok = fill(c, x) && nri_timer(p->nri, &c->timer, within / 1000, on_deadline, c) == 0;
    }
    if (!ok) {
        if (c)
            call_free(c);
        else
            pb_free(msg);
        peer_refuse(p, q->stream, TTRPC_RESOURCE_EXHAUSTED, "pgpu: out of memory");
        return;
    }
    p->rt.last_event = event;
    p->rt.last_event_at = nri_now();
    p->rt.events[event]++;
    p->nri->h.request(p->nri->h.ctx, c, &c->req);
}

/* ---- methods ---- */

struct method {
    const char *name;
    void (*serve)(struct nri_peer *p, const struct method *m, const struct ttrpc_request *q);
    const ProtobufCMessageDescriptor *d;
    enum nri_event event;
};

static void
serve_configure(struct nri_peer *p, const struct method *m, const struct ttrpc_request *q)
{
    (void)m;
    hello_configure(p, q);
}

static void
serve_synchronize(struct nri_peer *p, const struct method *m, const struct ttrpc_request *q)
{
    (void)m;
    hello_synchronize(p, q);
}

static void
serve_shutdown(struct nri_peer *p, const struct method *m, const struct ttrpc_request *q)
{
    (void)m;
    hello_shutdown(p, q);
}

/* Known, and no concern of ours: nothing is changed. The answers of all these are empty or may be.
 */
static void
serve_nothing(struct nri_peer *p, const struct method *m, const struct ttrpc_request *q)
{
    (void)m;
    peer_answer(p, q->stream, NULL);
}

/* The message of a request that only makes sense in a session that is up. */
static ProtobufCMessage *
unpack(struct nri_peer *p, const struct method *m, const struct ttrpc_request *q)
{
    size_t budget = PB_MEMORY_MAX;
    ProtobufCMessage *msg = NULL;
    struct err e = ERR_INIT;

    if (!p->rt.up)
        peer_refuse(p, q->stream, TTRPC_FAILED_PRECONDITION, "pgpu: not synchronized yet");
    else if (pb_unpack(m->d, q->payload, q->len, &budget, &msg, &e) < 0)
        peer_refuse(p, q->stream, TTRPC_INVALID_ARGUMENT, e.msg);
    return msg;
}

static void
serve_event(struct nri_peer *p, const struct method *m, const struct ttrpc_request *q)
{
    ProtobufCMessage *msg = unpack(p, m, q);
    const void *any = msg;
    struct content x = {0};

    if (!msg)
        return;
    switch (m->event) {
    case NRI_RUN_POD:
        x.pod = ((const Nri__Pkg__Api__V1alpha1__RunPodSandboxRequest *)any)->pod;
        break;
    case NRI_STOP_POD:
        x.pod = ((const Nri__Pkg__Api__V1alpha1__StopPodSandboxRequest *)any)->pod;
        break;
    case NRI_REMOVE_POD:
        x.pod = ((const Nri__Pkg__Api__V1alpha1__RemovePodSandboxRequest *)any)->pod;
        break;
    case NRI_CREATE_CONTAINER: {
        const Nri__Pkg__Api__V1alpha1__CreateContainerRequest *r = any;

        x = (struct content){.pod = r->pod, .container = r->container};
        break;
    }
    case NRI_VALIDATE: {
        const Nri__Pkg__Api__V1alpha1__ValidateContainerAdjustmentRequest *r = any;

        x = (struct content){.pod = r->pod, .container = r->container, .adjust = r->adjust};
        break;
    }
    case NRI_EVENTS:
        break;
    }
    begin(p, q, m->event, msg, &x);
}

/* The old form of all events without an answer (before NRI 0.12). */
static void
serve_state_change(struct nri_peer *p, const struct method *m, const struct ttrpc_request *q)
{
    ProtobufCMessage *msg = unpack(p, m, q);
    const Nri__Pkg__Api__V1alpha1__StateChangeEvent *ev = (const void *)msg;
    static const struct {
        Nri__Pkg__Api__V1alpha1__Event wire;
        enum nri_event event;
    } events[] = {
        {NRI__PKG__API__V1ALPHA1__EVENT__RUN_POD_SANDBOX, NRI_RUN_POD},
        {NRI__PKG__API__V1ALPHA1__EVENT__STOP_POD_SANDBOX, NRI_STOP_POD},
        {NRI__PKG__API__V1ALPHA1__EVENT__REMOVE_POD_SANDBOX, NRI_REMOVE_POD},
    };

    if (!msg)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(events); i++)
        if (ev->event == events[i].wire) {
            const struct content x = {.pod = ev->pod};

            p->rt.state_change = true;
            begin(p, q, events[i].event, msg, &x);
            return;
        }
    pb_free(msg);
    peer_answer(p, q->stream, NULL);
}

/* Service Plugin, pkg/api/api.proto 0.12. A runtime that gets UNIMPLEMENTED for one of the newer
 * ones says everything by StateChange from then on. */
static const struct method methods[] = {
    {"Configure", serve_configure, NULL, NRI_EVENTS},
    {"Synchronize", serve_synchronize, NULL, NRI_EVENTS},
    {"Shutdown", serve_shutdown, NULL, NRI_EVENTS},
    {"RunPodSandbox", serve_event, DESCRIPTOR(run_pod_sandbox_request), NRI_RUN_POD},
    {"StopPodSandbox", serve_event, DESCRIPTOR(stop_pod_sandbox_request), NRI_STOP_POD},
    {"RemovePodSandbox", serve_event, DESCRIPTOR(remove_pod_sandbox_request), NRI_REMOVE_POD},
    {"CreateContainer", serve_event, DESCRIPTOR(create_container_request), NRI_CREATE_CONTAINER},
    {"ValidateContainerAdjustment", serve_event, DESCRIPTOR(validate_container_adjustment_request),
     NRI_VALIDATE},
    {"StateChange", serve_state_change, DESCRIPTOR(state_change_event), NRI_EVENTS},
    {"UpdatePodSandbox", serve_nothing, NULL, NRI_EVENTS},
    {"PostUpdatePodSandbox", serve_nothing, NULL, NRI_EVENTS},
    {"PostCreateContainer", serve_nothing, NULL, NRI_EVENTS},
    {"StartContainer", serve_nothing, NULL, NRI_EVENTS},
    {"PostStartContainer", serve_nothing, NULL, NRI_EVENTS},
    {"UpdateContainer", serve_nothing, NULL, NRI_EVENTS},
    {"PostUpdateContainer", serve_nothing, NULL, NRI_EVENTS},
    {"StopContainer", serve_nothing, NULL, NRI_EVENTS},
    {"RemoveContainer", serve_nothing, NULL, NRI_EVENTS},
};

void
call_dispatch(struct nri_peer *p, const struct ttrpc_request *q)
{
    if (strcmp(q->service, NRI_PLUGIN_SERVICE) == 0)
        for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
            if (strcmp(q->method, methods[i].name) == 0) {
                methods[i].serve(p, &methods[i], q);
                return;
            }
    peer_refuse(p, q->stream, TTRPC_UNIMPLEMENTED, "pgpu has no such service or method");
}

/* ---- answers of the handler ---- */

/* The parts of an adjustment, in one allocation each. */
struct adjustment {
    struct nri_arena arena;
    Nri__Pkg__Api__V1alpha1__ContainerAdjustment msg;
    Nri__Pkg__Api__V1alpha1__LinuxContainerAdjustment linux;
};

/* An array of n messages of type T and the array of pointers to them, as protobuf-c has lists. */
#define MESSAGES(arena, n, T, ret_m, ret_list)                                                     \
    (((ret_m) = nri_arena_get(arena, n, sizeof(T))) != NULL &&                                     \
     ((ret_list) = nri_arena_get(arena, n, sizeof(T *))) != NULL)

static bool
put_annotations(struct adjustment *a, const struct nri_adjust *in)
{
    Nri__Pkg__Api__V1alpha1__ContainerAdjustment__AnnotationsEntry *m;

    if (!MESSAGES(&a->arena, in->n_annotations,
                  Nri__Pkg__Api__V1alpha1__ContainerAdjustment__AnnotationsEntry, m,
                  a->msg.annotations))
        return false;
    for (size_t i = 0; i < in->n_annotations; i++) {
        nri__pkg__api__v1alpha1__container_adjustment__annotations_entry__init(&m[i]);
        m[i].key = pb_str(in->annotations[i].key);
        m[i].value = pb_str(in->annotations[i].value);
        a->msg.annotations[i] = &m[i];
    }
    a->msg.n_annotations = in->n_annotations;
    return true;
}

static bool
put_devices(struct adjustment *a, const struct nri_adjust *in)
{
    static const char *const types[] = {['b'] = "b", ['c'] = "c", ['p'] = "p"};
    Nri__Pkg__Api__V1alpha1__LinuxDevice *m;

    if (in->n_devices == 0)
        return true;
    nri__pkg__api__v1alpha1__linux_container_adjustment__init(&a->linux);
    if (!MESSAGES(&a->arena, in->n_devices, Nri__Pkg__Api__V1alpha1__LinuxDevice, m,
                  a->linux.devices))
        return false;
    for (size_t i = 0; i < in->n_devices; i++) {
        const unsigned char t = (unsigned char)in->devices[i].type;

        nri__pkg__api__v1alpha1__linux_device__init(&m[i]);
        m[i].path = pb_str(in->devices[i].path);
        m[i].type = pb_str(t < ARRAY_SIZE(types) && types[t] ? types[t] : "");
        m[i].major = in->devices[i].major;
        m[i].minor = in->devices[i].minor;
        a->linux.devices[i] = &m[i];
    }
    a->linux.n_devices = in->n_devices;
    a->msg.linux = &a->linux;
    return true;
}

static bool
put_cdi(struct adjustment *a, const struct nri_adjust *in)
{
    Nri__Pkg__Api__V1alpha1__CDIDevice *m;

    if (!MESSAGES(&a->arena, in->n_cdi, Nri__Pkg__Api__V1alpha1__CDIDevice, m, a->msg.cdi_devices))
        return false;
    for (size_t i = 0; i < in->n_cdi; i++) {
        nri__pkg__api__v1alpha1__cdidevice__init(&m[i]);
        m[i].name = pb_str(in->cdi[i]);
        a->msg.cdi_devices[i] = &m[i];
    }
    a->msg.n_cdi_devices = in->n_cdi;
    return true;
}

static void
answer_create(struct nri_peer *p, uint32_t stream, const struct nri_adjust *in)
{
    Nri__Pkg__Api__V1alpha1__CreateContainerResponse m =
        NRI__PKG__API__V1ALPHA1__CREATE_CONTAINER_RESPONSE__INIT;
    struct adjustment a = {0};

    nri__pkg__api__v1alpha1__container_adjustment__init(&a.msg);
    m.adjust = &a.msg;
    if (put_annotations(&a, in) && put_devices(&a, in) && put_cdi(&a, in))
        peer_answer(p, stream, &m.base);
    else
        peer_refuse(p, stream, TTRPC_RESOURCE_EXHAUSTED, "pgpu: out of memory");
    nri_arena_free(&a.arena);
}

void
nri_accept(struct nri_call *c, const struct nri_adjust *adjust)
{
    if (c->dead)
        return;
    if (adjust && c->req.event == NRI_CREATE_CONTAINER)
        answer_create(c->peer, c->stream, adjust);
    else
        peer_answer(c->peer, c->stream, NULL);
    call_answered(c, NRI_ACCEPTED);
    call_free(c);
}

void
nri_refuse(struct nri_call *c, const char *text)
{
    Nri__Pkg__Api__V1alpha1__ValidateContainerAdjustmentResponse m;
    char line[1024];

    nri__pkg__api__v1alpha1__validate_container_adjustment_response__init(&m);
    if (c->dead)
        return;
    c->peer->rt.refusals++;
    utf8_line(line, sizeof(line), text);
    if (c->req.event == NRI_VALIDATE) {
        m.reject = true;
        m.reason = line;
        peer_answer(c->peer, c->stream, &m.base);
    } else {
        peer_refuse(c->peer, c->stream, TTRPC_FAILED_PRECONDITION, line);
    }
    call_answered(c, NRI_REFUSED);
    call_free(c);
}
