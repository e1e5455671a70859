/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of deviceplugin/ share: the objects behind deviceplugin/dp.h.
 *
 *   dp.c           life of the whole, the resources, the plugin directory
 *   server.c       the DevicePlugin service of one resource
 *   register.c     the registration of one resource
 *   podresources.c the PodResources client
 */
#ifndef PGPU_DEVICEPLUGIN_DP_PRIV_H
#define PGPU_DEVICEPLUGIN_DP_PRIV_H

#include "base/buf.h"
#include "base/err.h"
#include "deviceplugin/backoff.h"
#include "deviceplugin/codec.h"
#include "deviceplugin/dp.h"
#include "deviceplugin/grpc_io.h"

#include <systemd/sd-event.h>

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define DP_RESOURCE_MAX                                                                            \
    256 /* a Kubernetes qualified name: prefix 253 and name 63, less in practice */
#define DP_STREAMS_MAX 16 /* ListAndWatch streams of one resource */
#define DP_CALLS_MAX 64   /* Allocate calls waiting for an answer, per resource */

/* Which file a path names just now; all zero when there is none. The birth time tells a new file
 * from an old one whose inode number it got. */
struct dp_file_id {
    dev_t dev;
    ino_t ino;
    int64_t born_ns; /* 0 where the file system does not say */
};
struct dp_file_id dp_file_id(const char *path);
bool dp_file_same(const struct dp_file_id *a, const struct dp_file_id *b);
bool dp_file_none(const struct dp_file_id *a);

enum reg_state {
    REG_HOLD,     /* serving or not, waits for its first device list */
    REG_STOPPING, /* the old server is going down */
    REG_WAIT,     /* no server; the timer starts the next attempt */
    REG_KUBELET,  /* serving; waits for kubelet.sock to appear */
    REG_SELFDIAL, /* serving; asks itself for the options */
    REG_REGISTER, /* Register is under way */
    REG_STREAM,   /* registered; waits for the kubelet's ListAndWatch */
    REG_UP,       /* registered and streaming */
};

struct dp_stream {
    struct dp_resource *r; /* NULL: free */
    struct gio_call *call;
    bool sending;
    bool kubelet;        /* opened while we were registering: the one whose end counts */
    uint64_t generation; /* of the list last sent, 0: none */
    struct buf last;     /* its bytes: a change that was taken back is not sent again */
};

struct dp_call {
    struct dp_resource *r;
    struct dp_call *next, *prev;
    struct gio_call *call;
    struct dp_allocate_request req;
    bool cancelled; /* the handler was told; the answer goes nowhere */
};

struct dp_resource {
    struct dp *d;
    struct dp_resource *next;
    char name[DP_RESOURCE_MAX];

    /* what is listed */
    struct buf list;     /* packed ListAndWatchResponse */
    uint64_t generation; /* of `list`, from 1 */
    bool listed;         /* dp_set_devices was called */

    /* service */
    struct gio_server *server;
    char socket[GIO_PATH_MAX + 1];
    struct dp_file_id socket_id;
    struct dp_stream streams[DP_STREAMS_MAX];
    struct dp_call *calls;
    size_t n_calls;

    /* registration */
    enum reg_state state;
    enum dp_link link;
    sd_event_source *timer;
    struct backoff backoff;
    struct gio_channel *channel;  /* of the self-dial or Register */
    struct dp_file_id kubelet_id; /* kubelet.sock as it was when Register was sent */
    uint64_t up_since;
    uint64_t pause_usec; /* what to wait once the server is down */
};

struct dp {
    sd_event *loop;
    struct gio *io;
    struct dp_handler h;
    char dir[GIO_PATH_MAX + 1];
    char kubelet[GIO_PATH_MAX + 1];
    char prefix[32];
    unsigned sequence;
    struct dp_resource *resources;

    int inotify;
    sd_event_source *watch_source;
    sd_event_source *poll_timer;
    struct dp_file_id watched; /* the directory the inotify watch is on */

    struct dp_pods *pods;
};

uint64_t dp_now_usec(const struct dp *d);

/* Arms r's timer `usec` from now (again), or disarms it with UINT64_MAX. */
void dp_timer(struct dp_resource *r, uint64_t usec);

/* ---- server.c ---- */
/* New socket name, listening. */
int dp_server_start(struct dp_resource *r, struct err *e);
/* Ends the streams and tells handlers that their calls are cancelled; `done` from the loop. */
void dp_server_stop(struct dp_resource *r, void (*done)(void *ctx));
/* Sends the list to every stream that has not got it yet. */
void dp_server_flush(struct dp_resource *r);
/* Fails every waiting call (dp_free). The streams are left to gio_free: a kubelet that sees its
 * stream end first would drop the answers. */
void dp_server_fail_calls(struct dp_resource *r);

/* ---- register.c ---- */
/* First attempt: at once if there is a list, otherwise after a moment. */
void dp_register_begin(struct dp_resource *r);
void dp_register_listed(struct dp_resource *r); /* the first list is there */
void dp_register_timer(struct dp_resource *r);
/* Something in the directory may have changed. */
void dp_register_check(struct dp_resource *r);
void dp_register_stream_opened(struct dp_resource *r, struct dp_stream *s);
void dp_register_stream_closed(struct dp_resource *r, bool kubelet);

/* ---- podresources.c ---- */
void dp_pods_free(struct dp_pods *p);

#endif
