/* SPDX-License-Identifier: Apache-2.0
 *
 * See nri/pb.h. Encoding: https://protobuf.dev/programming-guides/encoding/
 */
#include "nri/pb.h"

#include "nri/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* ---- the check ---- */

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_LEN = 2, WIRE_32 = 5 };

struct view {
    const uint8_t *p, *end;
};

struct scan {
    size_t fields; /* that may still come */
    struct err *e;
};

static bool
get_varint(struct view *v, uint64_t *ret)
{
    uint64_t x = 0;

    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (v->p == v->end)
            return false;
        uint8_t b = *v->p++;

        if (shift == 63 && b > 1)
            return false; /* more than 64 bits */
        x |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            *ret = x;
            return true;
        }
    }
    return false;
}

/* The wire type of a field that is not packed. */
static enum wire
wire_of(ProtobufCType t)
{
    switch (t) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return WIRE_32;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return WIRE_64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_LEN;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_ENUM:
        break;
    }
    return WIRE_VARINT;
}

static int
bad(struct scan *s, const ProtobufCMessageDescriptor *d, uint64_t field, const char *why)
{
    return err_set(s->e, EBADMSG, ERR_CLASS_INVALID, "%s, field %" PRIu64 ": %s", d->short_name,
                   field, why);
}

/* One field's tag and extent; ret_value is the content of a WIRE_LEN field. */
static int
next_field(struct scan *s, const ProtobufCMessageDescriptor *d, struct view *v, uint32_t *ret_id,
           unsigned *ret_wire, struct view *ret_value)
{
    uint64_t tag, n = 0;
    size_t skip = 0;

    if (!get_varint(v, &tag) || tag > UINT32_MAX || tag >> 3 == 0)
        return bad(s, d, 0, "no field begins here");
    if (s->fields == 0)
        return bad(s, d, tag >> 3, "too many fields");
    s->fields--;
    switch (tag & 7) {
    case WIRE_VARINT:
        if (!get_varint(v, &n))
            return bad(s, d, tag >> 3, "number cut short or too long");
        break;
    case WIRE_64:
        skip = 8;
        break;
    case WIRE_32:
        skip = 4;
        break;
    case WIRE_LEN:
        if (!get_varint(v, &n) || n > (uint64_t)(v->end - v->p))
            return bad(s, d, tag >> 3, "longer than its message");
        skip = (size_t)n;
        break;
    default:
        return bad(s, d, tag >> 3, "groups are not supported");
    }
    if (skip > (size_t)(v->end - v->p))
        return bad(s, d, tag >> 3, "longer than its message");
    *ret_id = (uint32_t)(tag >> 3);
    *ret_wire = (unsigned)(tag & 7);
    *ret_value = (struct view){v->p, v->p + skip};
    v->p += skip;
    return 0;
}

static int
scan_string(struct scan *s, const ProtobufCMessageDescriptor *d, uint32_t id, struct view v)
{
    const size_t n = (size_t)(v.end - v.p);

    if (n > 0 && memchr(v.p, '\0', n))
        return bad(s, d, id, "a string with a NUL byte inside");
    if (!utf8_valid(v.p, n))
        return bad(s, d, id, "a string that is not UTF-8");
    return 0;
}

/* Not recursive through the bytes but through the schema, which has no loops; the depth is limited
 * all the same. */
static int
scan_message(struct scan *s, const ProtobufCMessageDescriptor *d, struct view v, unsigned depth)
{
    uint64_t seen = 0; /* singular messages, by index in the descriptor */

    while (v.p < v.end) {
        const ProtobufCFieldDescriptor *f;
        struct view value = v;
        unsigned wire = 0;
        uint32_t id = 0;
        int r = next_field(s, d, &v, &id, &wire, &value);

        if (r < 0)
            return r;
        f = protobuf_c_message_descriptor_get_field(d, id);
        if (!f)
            continue;
        const bool repeated = f->label == PROTOBUF_C_LABEL_REPEATED;
        const bool packed = repeated && wire == WIRE_LEN && wire_of(f->type) != WIRE_LEN;

        if (wire != (unsigned)wire_of(f->type) && !packed)
            return bad(s, d, id, "another type than it should have");
        if (f->type == PROTOBUF_C_TYPE_STRING) {
            r = scan_string(s, d, id, value);
        } else if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
            const uint64_t bit = UINT64_C(1) << ((unsigned)(f - d->fields) & 63u);

            if (!repeated && (seen & bit))
                return bad(s, d, id, "given twice");
            seen |= bit;
            if (depth >= PB_DEPTH_MAX)
                return bad(s, d, id, "too deep");
            r = scan_message(s, f->descriptor, value, depth + 1);
        }
        if (r < 0)
            return r;
    }
    return 0;
}

int
pb_check(const ProtobufCMessageDescriptor *d, const void *data, size_t len, size_t max_fields,
         struct err *e)
{
    static const uint8_t nothing;
    struct scan s = {.fields = max_fields, .e = e};
    const uint8_t *p = len > 0 ? data : &nothing;

    return scan_message(&s, d, (struct view){p, p + len}, 0);
}

/* ---- decoding within a budget ---- */

/* A few bytes on the wire can become a struct of a hundred: the allocator counts and says no. */
static void *
budget_alloc(void *data, size_t size)
{
    size_t *left = data;

    if (size > *left)
        return NULL;
    *left -= size;
    return malloc(size);
}

static void
budget_free(void *data, void *p)
{
    (void)data;
    free(p);
}

int
pb_unpack(const ProtobufCMessageDescriptor *d, const void *data, size_t len, size_t *budget,
          ProtobufCMessage **ret, struct err *e)
{
    ProtobufCAllocator a = {.alloc = budget_alloc, .free = budget_free, .allocator_data = budget};
    ProtobufCMessage *m;
    int r = pb_check(d, data, len, PB_FIELDS_MAX, e);

    if (r < 0)
        return r;
    m = protobuf_c_message_unpack(d, &a, len, data);
    if (!m)
        return err_set(e, EBADMSG, ERR_CLASS_INVALID, "%s: malformed, or too large in memory",
                       d->short_name);
    *ret = m;
    return 0;
}

void
pb_free(ProtobufCMessage *m)
{
    size_t left = 0;
    ProtobufCAllocator a = {.alloc = budget_alloc, .free = budget_free, .allocator_data = &left};

    if (m)
        protobuf_c_message_free_unpacked(m, &a);
}

int
pb_pack(const ProtobufCMessage *m, struct buf *out, struct err *e)
{
    const size_t n = protobuf_c_message_get_packed_size(m);
    uint8_t *tmp;
    int r;

    if (buf_failed(out) || n > out->max - out->len)
        return err_set(e, EMSGSIZE, ERR_CLASS_INVALID, "encode %s: %zu bytes are too many",
                       m->descriptor->short_name, n);
    tmp = malloc(n ? n : 1);
    if (!tmp)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "encode %s: out of memory",
                       m->descriptor->short_name);
    (void)protobuf_c_message_pack(m, tmp);
    r = pb_check(m->descriptor, tmp, n, SIZE_MAX, e);
    if (r == 0 && !buf_put(out, tmp, n))
        r = err_set(e, ENOMEM, ERR_CLASS_FATAL, "encode %s: out of memory",
                    m->descriptor->short_name);
    free(tmp);
    return r;
}
