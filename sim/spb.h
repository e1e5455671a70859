/* SPDX-License-Identifier: Apache-2.0
 *
 * Protobuf by hand, as little of it as the runtime stand-in needs: a writer and a reader of fields.
 * Written apart from the generated code that the services use, so that a misreading there does not
 * hide itself here; and stricter than that code, as Go's is: strings must be valid UTF-8.
 * (https://protobuf.dev/programming-guides/encoding/)
 */
#ifndef PGPU_SIM_SPB_H
#define PGPU_SIM_SPB_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writers. What is zero, false or empty is left out, as proto3 does; spb_put_bytes leaves nothing
 * out. Failures stick to the buffer (buf_failed). */
void spb_put_varint(struct buf *b, unsigned field, uint64_t v);
void spb_put_string(struct buf *b, unsigned field, const char *s);
void spb_put_bytes(struct buf *b, unsigned field, const void *data, size_t len);
/* A sub-message that was written to `m`; frees `m`'s memory. A failure of `m` is one of `b`. */
void spb_put_message(struct buf *b, unsigned field, struct buf *m);
/* One entry of a map<string, string>. */
void spb_put_entry(struct buf *b, unsigned field, const char *key, const char *value);

struct spb {
    const uint8_t *p, *end;
    bool bad; /* malformed from here on */
};

struct spb_field {
    unsigned number;
    uint64_t varint;     /* wire type 0, 1 and 5 */
    const uint8_t *data; /* wire type 2, else NULL */
    size_t len;
};

struct spb spb_open(const void *data, size_t len);
struct spb spb_sub(const struct spb_field *f); /* of a sub-message */
/* False at the end, and when what is left is malformed (then m->bad). */
bool spb_next(struct spb *m, struct spb_field *ret);
/* A copy of a string field; NULL when it is none, is no valid UTF-8, holds a NUL, or there is no
 * memory. */
char *spb_text(const struct spb_field *f);
bool spb_utf8(const uint8_t *p, size_t len);

#endif
