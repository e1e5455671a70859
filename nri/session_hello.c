/* SPDX-License-Identifier: Apache-2.0
 *
 * The beginning of a session. See nri/session.h.
 *
 *   1. RegisterPlugin, as soon as connected
 *   2. Configure: who the runtime is; we say which events we want. May come before the answer to 1.
 *   3. Synchronize, whole or in parts: everything that runs. From here on the session is up.
 */
#include "nri/session.h"

#include "base/fs.h"
#include "nri/pb.h"
#include "nri/runtimes.h"
#include "nri/utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- RegisterPlugin ---- */

int
hello_register(struct nri_peer *p, struct err *e)
{
    Nri__Pkg__Api__V1alpha1__RegisterPluginRequest m;
    struct buf b;
    int r;

    nri__pkg__api__v1alpha1__register_plugin_request__init(&m);
    m.plugin_name = pb_str(p->name);
    m.plugin_idx = pb_str(p->index);
    m.nri_version = pb_str(NRI_VERSION_OURS);
    buf_init(&b, 4096);
    r = pb_pack(&m.base, &b, e);
    if (r == 0)
        r = ttrpc_client_call(p->client, NRI_RUNTIME_SERVICE, "RegisterPlugin", buf_peek(&b), b.len,
                              0, &p->register_stream, e);
    buf_fini(&b);
    return r;
}

void
hello_response(struct nri_peer *p, const struct ttrpc_response *r)
{
    if (r->stream == p->register_stream && r->code != TTRPC_OK)
        peer_fail(p, "the runtime refused the registration: %s", r->text);
}

/* ---- Configure ---- */

static void
remember_runtime(struct nri_peer *p, const Nri__Pkg__Api__V1alpha1__ConfigureRequest *m)
{
    struct nri_runtime *rt = &p->rt;

    utf8_line(rt->name, sizeof(rt->name), m->runtime_name);
    utf8_line(rt->version, sizeof(rt->version), m->runtime_version);
    utf8_line(rt->nri_version, sizeof(rt->nri_version), m->nri_version);
    rt->cdi = nri_runtime_injects_cdi(rt->name, rt->version);
    rt->config_ignored = m->config[0] != '\0';
    rt->validates = nri_runtime_validates(rt->name, rt->version, rt->nri_version);
    rt->validation_refused = rt->validates && p->minimal && !rt->nri_version[0];
    if (rt->validation_refused)
        rt->validates = false;
}

static void
go_up(struct nri_peer *p)
{
    p->timer = sd_event_source_disable_unref(p->timer);
    p->backoff.failures = 0;
    p->rt.up = true;
    p->rt.since = nri_now();
    p->rt.why[0] = '\0';
    if (p->nri->h.session)
        p->nri->h.session(p->nri->h.ctx, p->number, &p->rt);
}

void
hello_configure(struct nri_peer *p, const struct ttrpc_request *q)
{
    Nri__Pkg__Api__V1alpha1__ConfigureResponse answer =
        NRI__PKG__API__V1ALPHA1__CONFIGURE_RESPONSE__INIT;
    Nri__Pkg__Api__V1alpha1__FailurePolicy policy = NRI__PKG__API__V1ALPHA1__FAILURE_POLICY__INIT;
    size_t budget = PB_MEMORY_MAX;
    ProtobufCMessage *m = NULL;
    struct err e = ERR_INIT;

    if (pb_unpack(&nri__pkg__api__v1alpha1__configure_request__descriptor, q->payload, q->len,
                  &budget, &m, &e) < 0) {
        peer_refuse(p, q->stream, TTRPC_INVALID_ARGUMENT, e.msg);
        return;
    }
    const Nri__Pkg__Api__V1alpha1__ConfigureRequest *asked = (const void *)m;
    /* Before 0.7, which is when the request got its timeouts, nobody synchronizes a plugin that the
     * runtime launched (pkg/adaptation startPlugins): what ran before stays unknown. */
    const bool complete = p->launched && asked->request_timeout == 0;

    remember_runtime(p, asked);
    pb_free(m);
    p->configured = true;
    /* What we could not be asked about must not run; from 0.12.5 on a runtime can be told so. */
    policy.fail_request = true;
    answer.failure_policy = &policy;
    answer.events = NRI_EVENTS_ALWAYS | (p->rt.validates ? NRI_EVENT_VALIDATE : 0);
    peer_answer(p, q->stream, &answer.base);
    if (complete && !p->rt.up && !p->dying)
        go_up(p);
}

/* ---- Synchronize ---- */

void
hello_sync_free(struct nri_peer *p)
{
    if (!p->sync)
        return;
    for (size_t i = 0; i < p->sync->n; i++)
        pb_free(p->sync->part[i]);
    free(p->sync);
    p->sync = NULL;
}

static const Nri__Pkg__Api__V1alpha1__SynchronizeRequest *
part_of(const struct nri_sync *s, size_t i)
{
    return (const Nri__Pkg__Api__V1alpha1__SynchronizeRequest *)(const void *)s->part[i];
}

static int
add_part(struct nri_peer *p, const struct ttrpc_request *q, struct err *e)
{
    struct nri_sync *s = p->sync;
    int r;

    if (!s) {
        s = p->sync = calloc(1, sizeof(*s));
        if (!s)
            return err_set(e, ENOMEM, ERR_CLASS_FATAL, "Synchronize: out of memory");
        s->budget = NRI_SYNC_MEMORY_MAX;
    }
    if (s->n == NRI_SYNC_PARTS_MAX || q->len > NRI_SYNC_BYTES_MAX - s->bytes)
        return err_set(e, E2BIG, ERR_CLASS_INVALID,
                       "Synchronize: more than %u parts or %zu bytes are not taken",
                       NRI_SYNC_PARTS_MAX, NRI_SYNC_BYTES_MAX);
    r = pb_unpack(&nri__pkg__api__v1alpha1__synchronize_request__descriptor, q->payload, q->len,
                  &s->budget, &s->part[s->n], e);
    if (r < 0)
        return r;
    s->bytes += q->len;
    s->n++;
    return 0;
}

/* All parts as one list, handed to the handler. */
static int
deliver(struct nri_peer *p, struct err *e)
{
    const struct nri_sync *s = p->sync;
    struct nri_arena a = {0};
    size_t n_pods = 0, n_containers = 0, pod = 0, container = 0;
    bool ok;

    for (size_t i = 0; i < s->n; i++) {
        n_pods += part_of(s, i)->n_pods;
        n_containers += part_of(s, i)->n_containers;
    }
    struct nri_pod *pods = nri_arena_get(&a, n_pods, sizeof(*pods));
    struct nri_container *containers = nri_arena_get(&a, n_containers, sizeof(*containers));

    ok = pods && containers;
    for (size_t i = 0; ok && i < s->n; i++) {
        const Nri__Pkg__Api__V1alpha1__SynchronizeRequest *m = part_of(s, i);

        for (size_t k = 0; ok && k < m->n_pods; k++)
            ok = nri_decode_pod(&a, m->pods[k], &pods[pod++]);
        for (size_t k = 0; ok && k < m->n_containers; k++)
            ok = nri_decode_container(&a, m->containers[k], &containers[container++]);
    }
    if (ok)
        p->nri->h.synchronize(p->nri->h.ctx, p->number, pods, n_pods, containers, n_containers);
    nri_arena_free(&a);
    return ok ? 0 : err_set(e, ENOMEM, ERR_CLASS_FATAL, "Synchronize: out of memory");
}

void
hello_synchronize(struct nri_peer *p, const struct ttrpc_request *q)
{
    Nri__Pkg__Api__V1alpha1__SynchronizeResponse answer =
        NRI__PKG__API__V1ALPHA1__SYNCHRONIZE_RESPONSE__INIT;
    struct err e = ERR_INIT;

    if (!p->configured) {
        peer_refuse(p, q->stream, TTRPC_FAILED_PRECONDITION, "Synchronize before Configure");
        return;
    }
    if (add_part(p, q, &e) == 0) {
        answer.more = part_of(p->sync, p->sync->n - 1)->more;
        if (answer.more || deliver(p, &e) == 0) {
            if (!answer.more)
                hello_sync_free(p);
            peer_answer(p, q->stream, &answer.base);
            if (!answer.more && !p->rt.up && !p->dying)
                go_up(p);
            return;
        }
    }
    hello_sync_free(p);
    peer_refuse(p, q->stream, TTRPC_RESOURCE_EXHAUSTED, e.msg);
    /* The runtime hangs up on it; without the list there is nothing to stay for either. */
    peer_fail(p, "%s", e.msg);
}

/* ---- Shutdown ---- */

void
hello_shutdown(struct nri_peer *p, const struct ttrpc_request *q)
{
    peer_answer(p, q->stream, NULL);
    peer_fail(p, "the runtime shut the plugin down");
}
