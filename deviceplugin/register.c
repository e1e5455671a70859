/* SPDX-License-Identifier: Apache-2.0
 *
 * The registration of one resource, for ever. One attempt:
 *
 *   1. Serve on a socket whose name was never used before (kubelets from the fix of
 *      kubernetes/kubernetes#135437 on tell instances apart by it).
 *   2. Wait for kubelet.sock, if it is not there.
 *   3. Self-dial: ask ourselves for the options. A Register whose endpoint cannot be dialled makes
 *      kubelets forget the healthy instance before it, and its devices become ghosts.
 *   4. Register, on a fresh connection (an old one is in back-off), with a deadline above the 10 s
 *      that the kubelet may spend on dialling us back.
 *   5. Wait for the kubelet's ListAndWatch; it may be there before Register is answered.
 *
 * Whatever goes wrong, and whenever the kubelet's stream ends, its socket is replaced or ours is
 * removed: close the old server completely, pause, start over. The pause is needed because kubelets
 * up to 1.36 tear down the new endpoint when the stream of the old one ends after it was
 * registered.
 */
#include "deviceplugin/dp_priv.h"

#include "base/log.h"

#include <errno.h>
#include <string.h>

#define SEC ((uint64_t)1000 * 1000)
#define SELFDIAL_NSEC ((uint64_t)5 * 1000 * 1000 * 1000)
#define REGISTER_NSEC ((uint64_t)15 * 1000 * 1000 * 1000)
/* Registered, but the kubelet opens no stream. */
#define STREAM_USEC (10 * SEC)
/* After the peer ended the stream. */
#define PAUSE_USEC (1 * SEC)
/* After our socket was removed while the link was up: its remover is likely a kubelet that makes
 * its own socket in a moment. */
#define REMOVED_USEC (SEC / 4)
/* A link that lasted this long proves the way: back-off starts anew. */
#define SETTLED_USEC (10 * SEC)
/* How long the first list is waited for: long enough for a daemon that looks at its devices first,
 * short enough not to be missed. */
#define HOLD_USEC (SEC / 2)
/* Retry while the plugin directory or kubelet.sock is missing (inotify is faster, if it works). */
#define MISSING_USEC (2 * SEC)

static void attempt(struct dp_resource *r);

static void
set_link(struct dp_resource *r, enum dp_link link, const char *why)
{
    const struct dp_handler *h = &r->d->h;

    if (r->link == link && link != DP_LINK_DOWN)
        return;
    r->link = link;
    log_debug("registration", "resource", r->name, "link", LOG_NUM(link), "why", why);
    if (h->link)
        h->link(h->ctx, r->name, link, why);
}

static void
enter(struct dp_resource *r, enum reg_state state, uint64_t timer_usec)
{
    r->state = state;
    dp_timer(r, timer_usec);
}

/* ---- failing ---- */

static void
on_stopped(void *ctx)
{
    struct dp_resource *r = ctx;

    if (r->pause_usec == 0)
        attempt(r);
    else
        enter(r, REG_WAIT, r->pause_usec);
}

/* Ends the attempt; the next one comes `usec` after the old server is gone. */
static void
start_over(struct dp_resource *r, uint64_t usec, const char *why)
{
    set_link(r, DP_LINK_DOWN, why);
    gio_channel_free(r->channel);
    r->channel = NULL;
    r->pause_usec = usec;
    if (r->server) {
        enter(r, REG_STOPPING, UINT64_MAX);
        dp_server_stop(r, on_stopped);
    } else {
        enter(r, REG_WAIT, usec);
    }
}

static void
failed(struct dp_resource *r, const char *why)
{
    uint64_t usec = backoff_next(&r->backoff);

    start_over(r, usec, why);
}

/* ---- the steps ---- */

static void
registered(struct dp_resource *r)
{
    for (size_t i = 0; i < DP_STREAMS_MAX; i++)
        if (r->streams[i].r && r->streams[i].kubelet) {
            r->up_since = dp_now_usec(r->d);
            enter(r, REG_UP, UINT64_MAX);
            set_link(r, DP_LINK_STREAMING, "");
            return;
        }
    enter(r, REG_STREAM, STREAM_USEC);
    set_link(r, DP_LINK_REGISTERED, "");
}

static void
on_registered(void *ctx, int status, const char *text, const uint8_t *data, size_t len)
{
    struct dp_resource *r = ctx;
    struct err e = ERR_INIT;

    (void)data;
    (void)len;
    gio_channel_free(r->channel);
    r->channel = NULL;
    if (status == GIO_OK) {
        registered(r);
        return;
    }
    (void)err_set(&e, ECOMM, ERR_CLASS_RETRY, "register %s with %s: %s: %s", r->name, r->d->kubelet,
                  gio_status_name(status), text);
    failed(r, e.msg);
}

static void
send_register(struct dp_resource *r)
{
    const struct gio_req_options o = {.timeout_ns = REGISTER_NSEC, .done = on_registered, .ctx = r};
    struct err e = ERR_INIT;
    struct buf msg;
    int rc;

    buf_init(&msg, 4096);
    r->kubelet_id = dp_file_id(r->d->kubelet);
    rc = dp_encode_register(r->name, strrchr(r->socket, '/') + 1, &msg, &e);
    if (rc == 0)
        rc = gio_channel_new(r->d->io, r->d->kubelet, GIO_MESSAGE_MAX, &r->channel, &e);
    if (rc == 0)
        rc = gio_request(r->channel, DP_RPC_REGISTER, msg.data, msg.len, &o, NULL, &e);
    buf_fini(&msg);
    if (rc < 0)
        failed(r, e.msg);
    else
        enter(r, REG_REGISTER, UINT64_MAX);
}

static void
on_selfdial(void *ctx, int status, const char *text, const uint8_t *data, size_t len)
{
    struct dp_resource *r = ctx;
    struct err e = ERR_INIT;

    (void)data;
    (void)len;
    gio_channel_free(r->channel);
    r->channel = NULL;
    if (status == GIO_OK) {
        send_register(r);
        return;
    }
    (void)err_set(&e, ECOMM, ERR_CLASS_RETRY, "dial our own socket %s: %s: %s", r->socket,
                  gio_status_name(status), text);
    failed(r, e.msg);
}

static void
selfdial(struct dp_resource *r)
{
    const struct gio_req_options o = {.timeout_ns = SELFDIAL_NSEC, .done = on_selfdial, .ctx = r};
    struct err e = ERR_INIT;

    if (gio_channel_new(r->d->io, r->socket, GIO_MESSAGE_MAX, &r->channel, &e) < 0 ||
        gio_request(r->channel, DP_RPC_OPTIONS, NULL, 0, &o, NULL, &e) < 0)
        failed(r, e.msg);
    else
        enter(r, REG_SELFDIAL, UINT64_MAX);
}

/* Serves; goes on to the self-dial when there is a kubelet to register with. */
static void
attempt(struct dp_resource *r)
{
    struct dp_file_id dir = dp_file_id(r->d->dir), kubelet = dp_file_id(r->d->kubelet);
    struct err e = ERR_INIT;

    if (dp_file_none(&dir)) {
        (void)err_set(&e, ENOENT, ERR_CLASS_RETRY, "plugin directory %s does not exist", r->d->dir);
        start_over(r, MISSING_USEC, e.msg);
        return;
    }
    if (!r->server && dp_server_start(r, &e) < 0) {
        failed(r, e.msg);
        return;
    }
    if (!r->listed) {
        if (r->state != REG_HOLD)
            enter(r, REG_HOLD, HOLD_USEC);
        return;
    }
    if (dp_file_none(&kubelet)) {
        (void)err_set(&e, ENOENT, ERR_CLASS_RETRY, "%s does not exist: is the kubelet running?",
                      r->d->kubelet);
        if (r->state != REG_KUBELET)
            set_link(r, DP_LINK_DOWN, e.msg);
        enter(r, REG_KUBELET, MISSING_USEC);
        return;
    }
    selfdial(r);
}

/* ---- what happens ---- */

void
dp_register_begin(struct dp_resource *r)
{
    /* Serve at once, but do not show an empty list for a blink: the kubelet would take it for
     * devices that vanished. */
    enter(r, REG_HOLD, HOLD_USEC);
    attempt(r);
}

void
dp_register_listed(struct dp_resource *r)
{
    if (r->state == REG_HOLD)
        attempt(r);
}

void
dp_register_timer(struct dp_resource *r)
{
    switch (r->state) {
    case REG_HOLD:
        r->listed = true; /* nobody called: the empty list is the list */
        attempt(r);
        break;
    case REG_WAIT:
    case REG_KUBELET:
        attempt(r);
        break;
    case REG_STREAM:
        failed(r, "registered, but the kubelet opens no ListAndWatch stream");
        break;
    case REG_STOPPING:
    case REG_SELFDIAL:
    case REG_REGISTER:
    case REG_UP:
        break;
    }
}

void
dp_register_stream_opened(struct dp_resource *r, struct dp_stream *s)
{
    /* Whoever comes when we are up already is some tool, and may go as it came. */
    s->kubelet = r->state == REG_REGISTER || r->state == REG_STREAM;
    if (r->state == REG_STREAM)
        registered(r);
}

void
dp_register_stream_closed(struct dp_resource *r, bool kubelet)
{
    uint64_t usec;

    if (!kubelet || r->state == REG_STOPPING || r->state == REG_WAIT)
        return;
    if (r->state == REG_UP && dp_now_usec(r->d) - r->up_since >= SETTLED_USEC)
        backoff_reset(&r->backoff);
    usec = backoff_next(&r->backoff);
    start_over(r, usec < PAUSE_USEC ? PAUSE_USEC : usec,
               "the kubelet ended the ListAndWatch stream");
}

static bool
kubelet_is_new(const struct dp_resource *r)
{
    struct dp_file_id now = dp_file_id(r->d->kubelet);

    return !dp_file_none(&now) && !dp_file_same(&now, &r->kubelet_id);
}

void
dp_register_check(struct dp_resource *r)
{
    struct dp_file_id own = dp_file_id(r->socket);

    /* Usually a kubelet that starts: it wipes the directory, then makes its own socket. Where that
     * is there already, the new kubelet is dealt with below. */
    if (r->server && !dp_file_same(&own, &r->socket_id))
        start_over(r, r->state == REG_UP ? REMOVED_USEC : 0, "our socket was removed");
    switch (r->state) {
    case REG_KUBELET:
        attempt(r);
        break;
    case REG_WAIT:
    case REG_STOPPING:
        if (!kubelet_is_new(r))
            break;
        r->kubelet_id = dp_file_id(r->d->kubelet); /* once per new kubelet */
        backoff_reset(&r->backoff);
        r->pause_usec = 0;
        if (r->state == REG_WAIT)
            attempt(r);
        break;
    case REG_REGISTER:
    case REG_STREAM:
    case REG_UP:
        if (!kubelet_is_new(r))
            break;
        /* A new kubelet knows nothing of us and holds no old stream: no pause. */
        backoff_reset(&r->backoff);
        start_over(r, 0, "kubelet.sock was replaced");
        break;
    case REG_HOLD:
    case REG_SELFDIAL:
        break;
    }
}
