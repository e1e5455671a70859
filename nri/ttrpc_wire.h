/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside ttRPC: what server and client share, the header and taking whole messages off a stream.
 */
#ifndef PGPU_NRI_TTRPC_WIRE_H
#define PGPU_NRI_TTRPC_WIRE_H

#include "nri/ttrpc.h"

#include <protobuf-c/protobuf-c.h>

enum ttrpc_type { TTRPC_REQUEST = 1, TTRPC_RESPONSE = 2, TTRPC_DATA = 3 };

/* Flags (PROTOCOL.md). A unary request has none, or remote-closed. */
#define TTRPC_REMOTE_OPEN 0x02u

struct ttrpc_header {
    uint32_t len, stream;
    uint8_t type, flags;
};

/* Where a reader is: `skip` bytes of a message that is too large are still to be thrown away. */
struct ttrpc_reader {
    uint32_t skip;
};

enum ttrpc_got {
    TTRPC_GOT_NOTHING,  /* not yet complete */
    TTRPC_GOT_MESSAGE,  /* data at buf_peek(in), h->len bytes; skip it with buf_skip */
    TTRPC_GOT_TOO_LARGE /* its data is being skipped */
};
enum ttrpc_got ttrpc_next(struct ttrpc_reader *r, struct buf *in, struct ttrpc_header *h);

/* Header and protobuf as one message, given to `send`. `m` is packed; EMSGSIZE (INVALID) when it is
 * larger than TTRPC_DATA_MAX or holds text that is no UTF-8, with nothing sent. */
int ttrpc_emit(int (*send)(void *ctx, const void *message, size_t len, struct err *e), void *ctx,
               uint32_t stream, enum ttrpc_type type, const ProtobufCMessage *m, struct err *e);

#endif
