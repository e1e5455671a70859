/* SPDX-License-Identifier: Apache-2.0
 *
 * NRI's connection multiplexer: several byte streams over one unix socket. A frame is an 8-byte
 * header (stream number, payload length, both big-endian u32) and the payload. Streams open by
 * being used; there is no handshake and no flow control. (containerd/nri pkg/net/multiplex)
 *
 * Pure framing over caller's buffers: no descriptors, no allocation but struct buf's, any thread.
 *
 * A frame is not a message: a message may span frames, a frame may hold several messages.
 *
 * Sending has a trap: the Go peer reads each frame with a 4096-byte buffer and gives up
 * (ENOMEM) on a larger frame that is not the continuation of a message it is already reading, and
 * it queues at most 256 frames. What works for every size is what Go itself emits: the first
 * 4096 bytes of a message in one frame, all the rest in a second one.
 */
#ifndef PGPU_NRI_MUX_H
#define PGPU_NRI_MUX_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

#define MUX_HEADER 8u
/* A ttRPC message of the largest size, header included (pkg/net/multiplex: ttrpcMessageHeader-
 * Length + ttrpcMessageLengthMax). */
#define MUX_PAYLOAD_MAX (10u + (4u << 20))
#define MUX_FIRST_FRAME 4096u

/* Streams of NRI. */
enum mux_stream {
    MUX_PLUGIN = 1,  /* service Plugin: the runtime calls the plugin */
    MUX_RUNTIME = 2, /* service Runtime: the plugin calls the runtime */
};

/* Appends one whole ttRPC message as frames that the Go peer takes. INVALID when it is larger than
 * MUX_PAYLOAD_MAX, FATAL when `out` cannot hold it; `out` is then as before. */
int mux_put(struct buf *out, enum mux_stream stream, const void *message, size_t len,
            struct err *e);

/* Takes complete frames out of `in` and appends their payload to the stream's buffer; frames for
 * unknown streams are dropped (as the Go reader does). Stops when less than a frame is left; what
 * was taken is compacted away. A frame over MUX_PAYLOAD_MAX, or a stream buffer that would pass its
 * limit, is an error (INVALID): the connection cannot go on. */
int mux_take(struct buf *in, struct buf *plugin, struct buf *runtime, struct err *e);

#endif
