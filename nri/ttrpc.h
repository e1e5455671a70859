/* SPDX-License-Identifier: Apache-2.0
 *
 * ttRPC, the unary part: a message is a 10-byte header (data length u32, stream ID u32, both
 * big-endian; type; flags) and a protobuf. (containerd/ttrpc PROTOCOL.md, channel.go)
 *
 * A ttrpc_server or ttrpc_client is one end of one byte stream: bytes in, messages out, state of
 * the stream IDs in between. No descriptors, no clock; any thread, one at a time. Whoever owns it
 * moves the bytes (nri/session.c: through the mux) and keeps time.
 */
#ifndef PGPU_NRI_TTRPC_H
#define PGPU_NRI_TTRPC_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define TTRPC_HEADER 10u
#define TTRPC_DATA_MAX (4u << 20)

/* google.rpc.Code, those that are used. */
enum ttrpc_code {
    TTRPC_OK = 0,
    TTRPC_UNKNOWN = 2,
    TTRPC_INVALID_ARGUMENT = 3,
    TTRPC_DEADLINE_EXCEEDED = 4,
    TTRPC_PERMISSION_DENIED = 7,
    TTRPC_RESOURCE_EXHAUSTED = 8,
    TTRPC_FAILED_PRECONDITION = 9,
    TTRPC_UNIMPLEMENTED = 12,
    TTRPC_INTERNAL = 13,
    TTRPC_UNAVAILABLE = 14,
};

struct ttrpc_request {
    uint32_t stream;
    const char *service, *method; /* valid UTF-8, bounded */
    const uint8_t *payload;       /* valid until the handler returns */
    size_t len;
    uint64_t timeout_ns; /* 0 = none was sent */
};

struct ttrpc_response {
    uint32_t stream;
    enum ttrpc_code code; /* TTRPC_OK also where the status is absent */
    const char *text;     /* "" when OK */
    const uint8_t *payload;
    size_t len;
};

/* ---- server: requests in, responses out ---- */

struct ttrpc_server;

struct ttrpc_server_ops {
    /* A request to answer with ttrpc_server_reply or _fail, at once or later, exactly once. */
    void (*request)(void *ctx, const struct ttrpc_request *req);
    /* Takes one whole message for the wire. Negative: the connection is beyond use. */
    int (*send)(void *ctx, const void *message, size_t len, struct err *e);
};

int ttrpc_server_new(const struct ttrpc_server_ops *ops, void *ctx, struct ttrpc_server **ret,
                     struct err *e);
void ttrpc_server_free(struct ttrpc_server *s);

/* Takes complete messages from `in`. Requests that cannot be read are answered with an error on
 * their stream, as the Go server does: even or not increasing stream ID, undecodable request, data
 * for an unknown stream (INVALID_ARGUMENT); larger than TTRPC_DATA_MAX (skipped,
 * RESOURCE_EXHAUSTED); more than TTRPC_PENDING_MAX unanswered (RESOURCE_EXHAUSTED). Unknown message
 * types are skipped. An error (INVALID, FATAL) means that the connection cannot go on. */
#define TTRPC_PENDING_MAX 64u
int ttrpc_server_take(struct ttrpc_server *s, struct buf *in, struct err *e);

/* Answers; a stream on which no request waits is a defect of the caller (FATAL). A payload that
 * does not fit TTRPC_DATA_MAX is turned into RESOURCE_EXHAUSTED. `text` is cut to 1 KiB and made
 * valid UTF-8. */
int ttrpc_server_reply(struct ttrpc_server *s, uint32_t stream, const void *payload, size_t len,
                       struct err *e);
int ttrpc_server_fail(struct ttrpc_server *s, uint32_t stream, enum ttrpc_code code,
                      const char *text, struct err *e);

/* ---- client: requests out, responses in ---- */

struct ttrpc_client;

struct ttrpc_client_ops {
    /* `response` is valid until the handler returns. */
    void (*response)(void *ctx, const struct ttrpc_response *response);
    int (*send)(void *ctx, const void *message, size_t len, struct err *e);
};

int ttrpc_client_new(const struct ttrpc_client_ops *ops, void *ctx, struct ttrpc_client **ret,
                     struct err *e);
void ttrpc_client_free(struct ttrpc_client *c);
int ttrpc_client_take(struct ttrpc_client *c, struct buf *in, struct err *e);

/* Sends a unary request; the response comes with the same stream number. timeout_ns is for the
 * other side (0 = none is sent); the caller keeps its own. */
int ttrpc_client_call(struct ttrpc_client *c, const char *service, const char *method,
                      const void *payload, size_t len, uint64_t timeout_ns, uint32_t *ret_stream,
                      struct err *e);
/* A response that still comes for the stream is dropped. */
void ttrpc_client_forget(struct ttrpc_client *c, uint32_t stream);

#endif
