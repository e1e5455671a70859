/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of sessions. See nri/session.h.
 */
#include "nri/session.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t
nri_now(void)
{
    struct timespec t = {0};

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

int
nri_timer(struct nri *n, sd_event_source **s, uint64_t usec, sd_event_time_handler_t f, void *ctx)
{
    *s = sd_event_source_disable_unref(*s);
    /* Accuracy 1 ms: the default is 250. */
    int r = sd_event_add_time_relative(n->loop, s, CLOCK_MONOTONIC, usec, 1000, f, ctx);

    return r < 0 ? r : 0;
}

const char *
nri_event_name(enum nri_event ev)
{
    static const char *const names[] = {
        [NRI_RUN_POD] = "RunPodSandbox",
        [NRI_STOP_POD] = "StopPodSandbox",
        [NRI_REMOVE_POD] = "RemovePodSandbox",
        [NRI_CREATE_CONTAINER] = "CreateContainer",
        [NRI_VALIDATE] = "ValidateContainerAdjustment",
        [NRI_EVENTS] = "none",
    };

    return ev <= NRI_EVENTS ? names[ev] : "none";
}

static int
check_options(const struct nri_options *opt, struct err *e)
{
    if (!nri_name_valid(opt->name))
        return err_set(e, EINVAL, ERR_CLASS_INVALID,
                       "NRI plugin name %s: 1 to %d letters, digits and _.+- are allowed",
                       opt->name, LAUNCH_NAME_MAX - 1);
    if (!nri_index_valid(opt->index))
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "NRI plugin index %s: must be two digits",
                       opt->index);
    if (opt->n_sockets > NRI_SOCKETS_MAX)
        return err_set(e, E2BIG, ERR_CLASS_INVALID, "NRI: %zu sockets, at most %d are allowed",
                       opt->n_sockets, NRI_SOCKETS_MAX);
    for (size_t i = 0; i < opt->n_sockets; i++)
        if (opt->sockets[i][0] != '/' ||
            strlen(opt->sockets[i]) >= sizeof(((struct nri_runtime *)NULL)->socket))
            return err_set(e, EINVAL, ERR_CLASS_INVALID,
                           "NRI socket %s: must be an absolute path of at most 107 bytes",
                           opt->sockets[i]);
    return 0;
}

static void
init_peer(struct nri *n, unsigned i)
{
    struct nri_peer *p = &n->peer[i];

    p->nri = n;
    p->number = i;
    p->fd = -1;
    p->launcher = -1;
    p->backoff.seed = (uint32_t)nri_now() ^ (uint32_t)getpid() << 8 ^ i;
    p->rt.last_event = NRI_EVENTS;
}

int
nri_new(sd_event *loop, const struct nri_options *opt, const struct nri_handler *h,
        struct nri **ret, struct err *e)
{
    struct nri *n;
    int r = check_options(opt, e);

    if (r < 0)
        return r;
    n = calloc(1, sizeof(*n));
    if (!n)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "NRI: out of memory");
    n->loop = sd_event_ref(loop);
    n->h = *h;
    n->launch_fd = -1;
    for (unsigned i = 0; i < NRI_LAUNCHERS_MAX; i++)
        n->launcher[i] = (struct nri_launcher){.nri = n, .fd = -1};
    for (unsigned i = 0; i < NRI_SESSIONS_MAX; i++)
        init_peer(n, i);
    n->n = n->n_sockets = (unsigned)opt->n_sockets;
    for (unsigned i = 0; i < n->n; i++) {
        struct nri_peer *p = &n->peer[i];

        p->used = true;
        (void)str_copy(p->rt.socket, sizeof(p->rt.socket), opt->sockets[i]);
        (void)str_copy(p->name, sizeof(p->name), opt->name);
        (void)str_copy(p->index, sizeof(p->index), opt->index);
        peer_retry(p, 0);
    }
    if (opt->launch_socket && opt->launch_socket[0])
        r = launch_listen(n, opt->launch_socket, e);
    if (r < 0) {
        nri_free(n);
        return r;
    }
    *ret = n;
    return 0;
}

void
nri_free(struct nri *n)
{
    if (!n)
        return;
    launch_close(n);
    for (unsigned i = 0; i < NRI_SESSIONS_MAX; i++) {
        struct nri_peer *p = &n->peer[i];

        peer_close(p);
        (void)sd_event_source_disable_unref(p->watch);
        if (p->launcher >= 0)
            launch_end(p, ESHUTDOWN, "pgpud stops");
    }
    (void)sd_event_unref(n->loop);
    free(n);
}

size_t
nri_sessions(const struct nri *n)
{
    return n->n;
}

const struct nri_runtime *
nri_session(const struct nri *n, unsigned session)
{
    return session < n->n ? &n->peer[session].rt : NULL;
}
