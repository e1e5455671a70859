/* SPDX-License-Identifier: Apache-2.0
 *
 * Runtime stand-in: one connection to a plugin, from the runtime's end. Frames of NRI's
 * multiplexer, and in them ttRPC: we call on stream 1, answer on stream 2.
 *
 * What it takes is what containerd's Go code takes, so that a plugin that only happens to work with
 * more patient code fails here:
 *   - A frame is read by one Read of the consumer. The consumer reads through a buffer of 4096
 * bytes, or straight into what is missing of a message where that is more; a frame that is larger
 * than what is read into ends the connection (ENOMEM). So the first frame of a message may have
 * 4096 bytes, and all the rest may come in a second one.
 *   - 256 frames are queued. How fast Go takes them out is a race; here a message that comes in
 * more frames than that ends the connection.
 *   - Strings that are no valid UTF-8 make an answer an error (INTERNAL).
 * (containerd/nri pkg/net/multiplex/mux.go, containerd/ttrpc channel.go)
 *
 * What it sends has Go's pattern: the first 4096 bytes of a message in a frame, the rest in
 * another.
 */
#ifndef PGPU_SIM_RUNTIME_WIRE_H
#define PGPU_SIM_RUNTIME_WIRE_H

#include "base/buf.h"
#include "base/err.h"

#include <systemd/sd-event.h>

#include <stdbool.h>
#include <stdint.h>

/* google.rpc.Code, those that occur. */
enum rt_code {
    RT_OK = 0,
    RT_UNKNOWN = 2,
    RT_INVALID_ARGUMENT = 3,
    RT_RESOURCE_EXHAUSTED = 8,
    RT_UNIMPLEMENTED = 12,
    RT_INTERNAL = 13,
};
/* As Go prints them: "FailedPrecondition". */
const char *rt_code_name(int code);

#define RT_MESSAGE_MAX (4u << 20) /* data of a ttRPC message (containerd/ttrpc channel.go) */

struct rt_wire_ops {
    /* An answer to our call, and a request to answer. Both may close the connection. */
    void (*response)(void *ctx, uint32_t stream, int code, const char *text, const void *payload,
                     size_t len);
    void (*request)(void *ctx, uint32_t stream, const char *service, const char *method,
                    const void *payload, size_t len);
    /* The connection ended, not by rt_wire_close: at most once. */
    void (*ended)(void *ctx, const char *why);
};

/* One direction of a stream, as its reader sees it. */
struct rt_reader {
    struct buf in;   /* bytes of messages that are not complete yet */
    unsigned frames; /* that the message under way has come in */
};

struct rt_wire {
    sd_event *loop;
    sd_event_source *source;
    int fd; /* -1: closed */
    bool paused;
    const struct rt_wire_ops *ops;
    void *ctx;
    struct buf in, out;         /* raw */
    struct rt_reader stream[2]; /* of streams 1 and 2 */
    uint32_t next_call, last_request;
};

/* Takes over `fd`, whatever comes of it. */
int rt_wire_open(struct rt_wire *w, sd_event *loop, int fd, const struct rt_wire_ops *ops,
                 void *ctx, struct err *e);
/* Closes; may be called from the ops, and more than once. */
void rt_wire_close(struct rt_wire *w);
void rt_wire_fini(struct rt_wire *w); /* not from the ops */
/* Reads nothing until told otherwise. */
void rt_wire_pause(struct rt_wire *w, bool on);

/* -EMSGSIZE when it is larger than RT_MESSAGE_MAX: nothing is sent, as Go's client. */
int rt_wire_call(struct rt_wire *w, const char *service, const char *method,
                 const struct buf *payload, uint64_t timeout_ns, uint32_t *ret_stream,
                 struct err *e);
/* code RT_OK: with `payload` (NULL: empty); else with `text`. */
void rt_wire_reply(struct rt_wire *w, uint32_t stream, int code, const char *text,
                   const struct buf *payload);

#endif
