/* SPDX-License-Identifier: Apache-2.0
 *
 * The check before decoding: what protobuf-c would take, cut or choke on.
 */
#include "nri/pb.h"

#include "base/cleanup.h"

#include "proto/nri.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RUN (&nri__pkg__api__v1alpha1__run_pod_sandbox_request__descriptor)
#define POD (&nri__pkg__api__v1alpha1__pod_sandbox__descriptor)
#define CREATE (&nri__pkg__api__v1alpha1__create_container_request__descriptor)

/* Length is given, so NULs may stand inside. */
#define BYTES(s) (s), sizeof(s) - 1

static void
bytes_are_judged(void **state)
{
    static const struct {
        const ProtobufCMessageDescriptor *d;
        const char *bytes;
        size_t len;
        const char *why; /* NULL: fine */
    } table[] = {
        {POD, BYTES(""), NULL},
        {POD, BYTES("\x0a\x03pod"), NULL},
        {POD, BYTES("\x0a\x03pod\x0a\x01x"), NULL}, /* a string twice: the last wins */
        {POD, BYTES("\x0a\x00"), NULL},
        {POD, BYTES("\x0a\x02\xc3\xa4"), NULL},
        {POD, BYTES("\x0a\x02\xc3("), "field 1: a string that is not UTF-8"},
        {POD, BYTES("\x0a\x03\xed\xa0\x80"), "not UTF-8"}, /* a surrogate */
        {POD, BYTES("\x0a\x03\x61\x00\x62"), "NUL byte"},
        {POD, BYTES("\x0a\x04pod"), "longer than its message"},
        {POD, BYTES("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "longer than its message"},
        {POD, BYTES("\x0a"), "longer than its message"},
        {POD, BYTES("\x08\x01"), "another type"},  /* id as a number */
        {POD, BYTES("\x4a\x01x"), "another type"}, /* pid as a string */
        {POD, BYTES("\x48\x80"), "number cut short"},
        {POD, BYTES("\x48\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), NULL}, /* 64 bits */
        {POD, BYTES("\x48\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), "too long"},
        {POD, BYTES("\x48\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"), "too long"},
        {POD, BYTES("\x00\x01"), "no field"}, /* field 0 */
        {POD, BYTES("\x80"), "no field"},
        {POD, BYTES("\xff\xff\xff\xff\xff\x01\x00"), "no field"}, /* above 2^29 */
        {POD, BYTES("\x0b\x0c"), "groups"},
        {POD, BYTES("\xa3\x06"), "groups"}, /* of an unknown field, too */
        {POD, BYTES("\x0f"), "groups"},     /* type 7 is nothing */
        /* Unknown fields of every type are skipped, whatever is in them. */
        {POD, BYTES("\xa0\x06\x01\xa1\x06\0\0\0\0\0\0\0\0\xa2\x06\x02\xff\0\xa5\x06\0\0\0\0"),
         NULL},
        {POD, BYTES("\xa1\x06\0\0\0\0\0\0\0"), "longer"},
        {POD, BYTES("\xa5\x06\0\0\0"), "longer"},
        /* Labels: a map is repeated messages. */
        {POD, BYTES("\x2a\x06\x0a\x01k\x12\x01v\x2a\x00"), NULL},
        {POD, BYTES("\x2a\x06\x0a\x01k\x12\x01\xff"), "LabelsEntry, field 2"},
        {RUN, BYTES("\x0a\x00"), NULL},
        {RUN, BYTES("\x0a\x00\x0a\x00"), "given twice"},
        {CREATE, BYTES("\x0a\x00\x12\x00"), NULL},
        {CREATE, BYTES("\x12\x04\x5a\x02\x12\x00"), NULL}, /* container.linux.devices[0] */
        {CREATE, BYTES("\x12\x06\x5a\x04\x12\x02\x0a\x01"), "LinuxDevice, field 1: longer"},
    };
    struct err e = ERR_INIT;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        /* Exactly as long as it is, so that reading beyond the end is seen by a sanitizer. */
        uint8_t *p = malloc(table[i].len ? table[i].len : 1);
        ProtobufCMessage *m = NULL;
        size_t budget = PB_MEMORY_MAX;

        assert_non_null(p);
        memcpy(p, table[i].bytes, table[i].len);
        err_clear(&e);
        int r = pb_unpack(table[i].d, p, table[i].len, &budget, &m, &e);

        if ((r == 0) != (table[i].why == NULL))
            fail_msg("row %zu: %d %s", i, r, e.msg);
        if (table[i].why && !strstr(e.msg, table[i].why))
            fail_msg("row %zu: %s, not %s", i, e.msg, table[i].why);
        assert_int_equal(m != NULL, r == 0);
        pb_free(m);
        free(p);
    }
}

static void
numbers_of_fields_are_limited(void **state)
{
    static const uint8_t three[] = {0x2a, 0x00, 0x2a, 0x02, 0x0a, 0x00};
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(pb_check(POD, three, sizeof(three), 3, &e), 0);
    assert_true(pb_check(POD, three, sizeof(three), 2, &e) < 0);
    assert_non_null(strstr(e.msg, "too many fields"));
}

static void
memory_is_limited(void **state)
{
    const size_t n = 100000;
    uint8_t *p = malloc(2 * n);
    struct err e = ERR_INIT;
    ProtobufCMessage *m = NULL;
    size_t budget = 1u << 20, before;

    (void)state;
    assert_non_null(p);
    for (size_t i = 0; i < n; i++) {
        p[2 * i] = 0x2a; /* an empty label: 2 bytes that become more than 50 */
        p[2 * i + 1] = 0;
    }
    assert_true(pb_unpack(POD, p, 2 * n, &budget, &m, &e) < 0);
    assert_non_null(strstr(e.msg, "too large in memory"));
    assert_null(m);
    before = budget = 64u << 20;
    assert_int_equal(pb_unpack(POD, p, 2 * n, &budget, &m, &e), 0);
    assert_true(before - budget > 50 * n);
    pb_free(m);
    free(p);
}

static void
packing_refuses_what_go_would_refuse(void **state)
{
    Nri__Pkg__Api__V1alpha1__ContainerUpdate m;
    struct err e = ERR_INIT;
    struct buf b;

    nri__pkg__api__v1alpha1__container_update__init(&m);
    (void)state;
    buf_init(&b, 8);
    m.container_id = pb_str("abc");
    assert_int_equal(pb_pack(&m.base, &b, &e), 0);
    assert_int_equal(b.len, 5);
    assert_true(pb_pack(&m.base, &b, &e) < 0); /* no room */
    assert_int_equal(b.len, 5);
    assert_false(buf_failed(&b));
    m.container_id = pb_str("\xff");
    assert_true(pb_pack(&m.base, &b, &e) < 0);
    assert_non_null(strstr(e.msg, "UTF-8"));
    assert_int_equal(b.len, 5);
    buf_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_judged),
        cmocka_unit_test(numbers_of_fields_are_limited),
        cmocka_unit_test(memory_is_limited),
        cmocka_unit_test(packing_refuses_what_go_would_refuse),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
