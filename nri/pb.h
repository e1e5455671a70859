/* SPDX-License-Identifier: Apache-2.0
 *
 * Protobuf for hostile bytes. What protobuf-c does not check is checked before it sees anything,
 * over the wire bytes and driven by the same descriptors: UTF-8 and embedded NULs of strings (it
 * would cut them there), wire types, lengths, sub-messages given twice (its merging is the part
 * with a history of defects), depth and number of fields. Memory that decoding takes is limited.
 *
 * Stricter than Go where no Go encoder goes: a known field of another wire type, groups, and
 * repeated singular messages are refused. Unknown fields are skipped, so newer peers are
 * understood. No state, any thread.
 */
#ifndef PGPU_NRI_PB_H
#define PGPU_NRI_PB_H

#include "base/buf.h"
#include "base/err.h"

#include <protobuf-c/protobuf-c.h>

#include <stddef.h>
#include <stdint.h>

#define PB_DEPTH_MAX 8u /* messages in messages; a hook of a container of a request is at 4 */

/* For one ttRPC message (4 MiB): the largest honest one, all of it strings of five bytes, fits. */
#define PB_FIELDS_MAX ((size_t)1 << 20)
#define PB_MEMORY_MAX ((size_t)64 << 20)

/* INVALID, with message and field in the text. */
int pb_check(const ProtobufCMessageDescriptor *d, const void *data, size_t len, size_t max_fields,
             struct err *e);

/* Checks, then decodes. INVALID for bad bytes, more than PB_FIELDS_MAX fields, and more memory than
 * *budget, from which what was taken is subtracted (also on failure). Free with pb_free. */
int pb_unpack(const ProtobufCMessageDescriptor *d, const void *data, size_t len, size_t *budget,
              ProtobufCMessage **ret, struct err *e);
void pb_free(ProtobufCMessage *m); /* or NULL */

/* Appends the message. INVALID when it does not fit, or when pb_check finds a string that Go would
 * refuse: nothing is appended then. */
int pb_pack(const ProtobufCMessage *m, struct buf *out, struct err *e);

/* protobuf-c's messages have writable strings; packing only reads them. */
static inline char *
pb_str(const char *s)
{
    return (char *)(uintptr_t)s;
}

#endif
