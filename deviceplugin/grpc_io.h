/* SPDX-License-Identifier: Apache-2.0
 *
 * gRPC over UNIX sockets, as little of it as kubelets need: a server with named methods (unary and
 * server-streaming, answers at once or later) and a client (unary and server-streaming). The one
 * place that knows gRPC C core; whoever replaces it replaces these two files.
 *
 * Threads: everything here is called from the thread of the sd_event loop, and every callback runs
 * on it. One thread of our own waits for the completion queue and does nothing but hand its events
 * to the loop (a locked list and an eventfd). C core keeps a few helper threads; all are started
 * with every signal blocked. The process must not fork after gio_new().
 *
 * Bytes given to callbacks are valid during the callback only.
 */
#ifndef PGPU_DEVICEPLUGIN_GRPC_IO_H
#define PGPU_DEVICEPLUGIN_GRPC_IO_H

#include "base/err.h"

#include <systemd/sd-event.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The largest message taken in either direction; gRPC's own default (grpc-go and C core). */
#define GIO_MESSAGE_MAX ((size_t)4 << 20)
/* Calls alive at once on one server; more are answered RESOURCE_EXHAUSTED. */
#define GIO_CALLS_MAX 256
/* sun_path less its NUL. */
#define GIO_PATH_MAX 107
#define GIO_METHODS_MAX 8
#define GIO_TEXT_MAX 1024

/* The status codes of the gRPC specification that we name. */
enum gio_status {
    GIO_OK = 0,
    GIO_CANCELLED = 1,
    GIO_UNKNOWN = 2,
    GIO_INVALID_ARGUMENT = 3,
    GIO_DEADLINE_EXCEEDED = 4,
    GIO_NOT_FOUND = 5,
    GIO_RESOURCE_EXHAUSTED = 8,
    GIO_FAILED_PRECONDITION = 9,
    GIO_UNIMPLEMENTED = 12,
    GIO_INTERNAL = 13,
    GIO_UNAVAILABLE = 14,
};

/* "Unavailable", … as Go prints them; "Code(99)" style numbers are not named: "Unknown". */
const char *gio_status_name(int status);

struct gio;
struct gio_server;
struct gio_call; /* an incoming call */
struct gio_channel;
struct gio_req; /* an outgoing call */

int gio_new(sd_event *loop, struct gio **ret, struct err *e);

/* Ends everything that is left, without any further callback; answers already given get a moment
 * to leave. Waits for C core's threads. Not to be called from a callback of this file. */
void gio_free(struct gio *g);

/* ---- server ---- */

struct gio_method {
    const char *path; /* "/v1beta1.DevicePlugin/Allocate" */
    /* Takes the call over: it must end in gio_call_reply, gio_call_fail or gio_call_end, exactly
     * once, at any time. */
    void (*handler)(void *ctx, struct gio_call *c, const uint8_t *req, size_t len);
};

/* Listens on `path` (mode 0600; a stale socket there is replaced). Unknown methods are answered
 * UNIMPLEMENTED. `methods` and `ctx` must outlive the server. */
int gio_server_new(struct gio *g, const char *path, const struct gio_method *methods, size_t n,
                   void *ctx, struct gio_server **ret, struct err *e);

/* Stops listening, cuts what is left of the connections, removes the socket. `done` (may be NULL)
 * comes later, from the loop, when nothing of the server is left; the pointer is gone then. Calls
 * that were not answered yet report `closed` first. */
void gio_server_stop(struct gio_server *s, void (*done)(void *ctx), void *ctx);

struct gio_call_events {
    /* Streams: the message is out, the next may be sent. */
    void (*sent)(void *ctx, struct gio_call *c);
    /* The peer is gone or gave up before the call was ended by us. The call is still to be ended
     * as always; what is sent is dropped. */
    void (*closed)(void *ctx, struct gio_call *c);
};
void gio_call_watch(struct gio_call *c, const struct gio_call_events *ev, void *ctx);

/* Unary answer. The pointer is gone after it. */
void gio_call_reply(struct gio_call *c, const void *data, size_t len);
/* `text` reaches people: it is cut at GIO_TEXT_MAX and made one line. The pointer is gone. */
void gio_call_fail(struct gio_call *c, enum gio_status status, const char *text);
/* One message of a stream; -EBUSY while the last one is not out, -EPIPE when the peer is gone. */
int gio_call_send(struct gio_call *c, const void *data, size_t len);
/* Ends a stream with status OK. The pointer is gone. */
void gio_call_end(struct gio_call *c);

/* ---- client ---- */

/* Connects lazily, on a connection of its own. `message_max` bounds what is received. */
int gio_channel_new(struct gio *g, const char *path, size_t message_max, struct gio_channel **ret,
                    struct err *e);
/* Cancels its calls without a callback. NULL is fine. */
void gio_channel_free(struct gio_channel *ch);

struct gio_req_options {
    uint64_t timeout_ns; /* 0: none */
    /* Keep trying to connect until the deadline instead of failing at once. */
    bool wait_for_ready;
    /* Streams: each message. NULL makes the call unary. */
    void (*message)(void *ctx, const uint8_t *data, size_t len);
    /* Comes exactly once unless the call was cancelled; the gio_req is gone then. `data` is the
     * answer of a unary call. */
    void (*done)(void *ctx, int status, const char *text, const uint8_t *data, size_t len);
    void *ctx;
};
/* `ret` may be NULL. */
int gio_request(struct gio_channel *ch, const char *method, const void *data, size_t len,
                const struct gio_req_options *o, struct gio_req **ret, struct err *e);
/* No callback comes any more; the pointer is gone. NULL is fine. */
void gio_req_cancel(struct gio_req *r);

#endif
