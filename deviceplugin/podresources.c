/* SPDX-License-Identifier: Apache-2.0
 *
 * PodResources List, one call at a time. The channel is kept while it works; after a failure the
 * next call gets a fresh one, since an old channel sits in its reconnect back-off while the kubelet
 * may be back already.
 */
#include "deviceplugin/dp_priv.h"

#include "base/fs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct dp_pods {
    struct gio_channel *channel;
    char socket[GIO_PATH_MAX + 1];
    bool busy;
    void (*done)(void *ctx, const struct dp_pod_device *dev, size_t n, const struct err *e);
    void *ctx;
};

static enum err_class
class_of(int status)
{
    if (status == GIO_UNIMPLEMENTED || status == GIO_INVALID_ARGUMENT)
        return ERR_CLASS_INVALID;
    return ERR_CLASS_RETRY;
}

static void
on_list(void *ctx, int status, const char *text, const uint8_t *data, size_t len)
{
    struct dp_pods *p = ctx;
    struct dp_pod_table t = {0};
    struct err e = ERR_INIT;

    if (status != GIO_OK) {
        gio_channel_free(p->channel);
        p->channel = NULL;
        (void)err_set(&e, status == GIO_DEADLINE_EXCEEDED ? ETIMEDOUT : ECOMM, class_of(status),
                      "PodResources List at %s: %s: %s", p->socket, gio_status_name(status), text);
    } else {
        (void)dp_decode_pods(data, len, &t, &e);
    }
    p->busy = false; /* `done` may ask again */
    if (e.num)
        p->done(p->ctx, NULL, 0, &e);
    else
        p->done(p->ctx, t.v, t.n, NULL);
    dp_pod_table_fini(&t);
}

static int
pods_channel(struct dp *d, const char *socket, struct err *e)
{
    struct dp_pods *p = d->pods;

    if (!p) {
        p = calloc(1, sizeof(*p));
        if (!p)
            return err_set(e, ENOMEM, ERR_CLASS_FATAL, "PodResources List: out of memory");
        d->pods = p;
    }
    if (p->busy)
        return err_set(e, EBUSY, ERR_CLASS_BUSY, "PodResources List: a call is under way already");
    if (p->channel && strcmp(p->socket, socket) == 0)
        return 0;
    gio_channel_free(p->channel);
    p->channel = NULL;
    if (!str_copy(p->socket, sizeof(p->socket), socket))
        return err_set(e, ENAMETOOLONG, ERR_CLASS_INVALID,
                       "PodResources List: the socket path is too long: %s", socket);
    return gio_channel_new(d->io, socket, DP_PODS_MESSAGE_MAX, &p->channel, e);
}

int
dp_pod_resources_list(struct dp *d, const char *socket, uint64_t timeout_ns,
                      void (*done)(void *ctx, const struct dp_pod_device *dev, size_t n,
                                   const struct err *e),
                      void *ctx, struct err *e)
{
    struct gio_req_options o = {.timeout_ns = timeout_ns, .done = on_list};
    int r = pods_channel(d, socket, e);

    if (r < 0)
        return r;
    o.ctx = d->pods;
    r = gio_request(d->pods->channel, DP_RPC_PODS_LIST, NULL, 0, &o, NULL, e);
    if (r < 0)
        return r;
    d->pods->busy = true;
    d->pods->done = done;
    d->pods->ctx = ctx;
    return 0;
}

void
dp_pods_free(struct dp_pods *p)
{
    free(p); /* the channel went with gRPC */
}
