/* SPDX-License-Identifier: Apache-2.0
 *
 * ttRPC: the rules of stream IDs and types, as a table of messages and what comes back.
 */
#include "nri/ttrpc.h"

#include "base/cleanup.h"

#include "proto/status.pb-c.h"
#include "proto/ttrpc.pb-c.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* One end under test, and all that it sent. */
struct end {
    struct ttrpc_server *server;
    struct ttrpc_client *client;
    struct buf in, sent;
    bool hold, send_fails;
    unsigned requests, responses;
    char seen[256];
    uint64_t timeout;
    size_t len;
    enum ttrpc_code code;
    uint32_t stream;
};

static int
on_send(void *ctx, const void *m, size_t len, struct err *e)
{
    struct end *x = ctx;

    if (x->send_fails)
        return err_set(e, EPIPE, ERR_CLASS_FATAL, "gone");
    assert_true(buf_put(&x->sent, m, len));
    return 0;
}

static void
on_request(void *ctx, const struct ttrpc_request *q)
{
    struct end *x = ctx;
    struct err e = ERR_INIT;

    x->requests++;
    x->timeout = q->timeout_ns;
    x->len = q->len;
    (void)snprintf(x->seen, sizeof(x->seen), "%u %s %s", q->stream, q->service, q->method);
    if (!x->hold)
        (void)ttrpc_server_reply(x->server, q->stream, q->payload, q->len, &e);
}

static void
on_response(void *ctx, const struct ttrpc_response *r)
{
    struct end *x = ctx;

    x->responses++;
    x->code = r->code;
    x->stream = r->stream;
    x->len = r->len;
    (void)snprintf(x->seen, sizeof(x->seen), "%s", r->text);
}

static void
end_init(struct end *x)
{
    static const struct ttrpc_server_ops server = {on_request, on_send};
    static const struct ttrpc_client_ops client = {on_response, on_send};
    struct err e = ERR_INIT;

    *x = (struct end){.hold = false};
    buf_init(&x->in, 16u << 20);
    buf_init(&x->sent, 16u << 20);
    assert_int_equal(ttrpc_server_new(&server, x, &x->server, &e), 0);
    assert_int_equal(ttrpc_client_new(&client, x, &x->client, &e), 0);
}

static void
end_fini(struct end *x)
{
    ttrpc_server_free(x->server);
    ttrpc_client_free(x->client);
    buf_fini(&x->in);
    buf_fini(&x->sent);
}

static void
put_header(struct buf *b, size_t len, uint32_t stream, unsigned type, unsigned flags)
{
    assert_true(buf_put_be32(b, (uint32_t)len) && buf_put_be32(b, stream) &&
                buf_put_u8(b, (uint8_t)type) && buf_put_u8(b, (uint8_t)flags));
}

static void
put_message(struct buf *b, uint32_t stream, unsigned type, unsigned flags,
            const ProtobufCMessage *m)
{
    size_t n = protobuf_c_message_get_packed_size(m);
    uint8_t *p = malloc(n + 1);

    assert_non_null(p);
    (void)protobuf_c_message_pack(m, p);
    put_header(b, n, stream, type, flags);
    assert_true(buf_put(b, p, n));
    free(p);
}

static void
put_request(struct buf *b, uint32_t stream, unsigned flags)
{
    Ttrpc__Request m;

    ttrpc__request__init(&m);
    m.service = (char *)(uintptr_t) "svc";
    m.method = (char *)(uintptr_t) "Do";
    m.timeout_nano = 1999900000;
    put_message(b, stream, 1, flags, &m.base);
}

/* Takes one response off what was sent: its code; -1 when there is none. */
static int
sent_code(struct end *x, uint32_t *ret_stream)
{
    Ttrpc__Response *m;
    uint32_t len = 0;
    uint8_t type = 0, flags = 0;
    int code;

    if (buf_left(&x->sent) == 0)
        return -1;
    assert_true(buf_get_be32(&x->sent, &len) && buf_get_be32(&x->sent, ret_stream) &&
                buf_get_u8(&x->sent, &type) && buf_get_u8(&x->sent, &flags));
    assert_int_equal(type, 2);
    assert_int_equal(flags, 0);
    m = ttrpc__response__unpack(NULL, len, buf_peek(&x->sent));
    assert_non_null(m);
    code = m->status ? m->status->code : 0;
    ttrpc__response__free_unpacked(m, NULL);
    assert_true(buf_skip(&x->sent, len));
    return code;
}

static void
server_take(struct end *x)
{
    struct err e = ERR_INIT;

    if (ttrpc_server_take(x->server, &x->in, &e) < 0)
        fail_msg("%s", e.msg);
}

static void
the_server_keeps_the_rules_of_streams(void **state)
{
    /* In this order, on one connection. */
    static const struct {
        uint32_t stream;
        unsigned type, flags;
        int code; /* -1: no answer */
        unsigned requests;
    } table[] = {
        {1, 1, 0, TTRPC_OK, 1},
        {3, 1, 1, TTRPC_OK, 2},               /* "remote closed" says no more than unary */
        {4, 1, 0, TTRPC_INVALID_ARGUMENT, 2}, /* even */
        {0, 1, 0, TTRPC_INVALID_ARGUMENT, 2},
        {3, 1, 0, TTRPC_INVALID_ARGUMENT, 2},  /* used */
        {1, 1, 0, TTRPC_INVALID_ARGUMENT, 2},  /* goes back */
        {9, 1, 2, TTRPC_INVALID_ARGUMENT, 2},  /* opens a stream */
        {7, 1, 0, TTRPC_INVALID_ARGUMENT, 2},  /* below 9 */
        {11, 3, 0, TTRPC_INVALID_ARGUMENT, 2}, /* data for nothing */
        {11, 2, 0, -1, 2},                     /* a response: not for a server */
        {11, 77, 0, -1, 2},                    /* unknown type */
        {0xffffffff, 1, 0, TTRPC_OK, 3},
    };
    struct end x;

    (void)state;
    end_init(&x);
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        uint32_t stream = 0;

        if (table[i].type == 1)
            put_request(&x.in, table[i].stream, table[i].flags);
        else
            put_header(&x.in, 0, table[i].stream, table[i].type, table[i].flags);
        server_take(&x);
        assert_int_equal(sent_code(&x, &stream), table[i].code);
        if (table[i].code >= 0)
            assert_int_equal(stream, table[i].stream);
        assert_int_equal(sent_code(&x, &stream), -1);
        assert_int_equal(x.requests, table[i].requests);
    }
    assert_int_equal(x.timeout, 1999900000);
    end_fini(&x);
}

static void
undecodable_requests_are_refused_on_their_stream(void **state)
{
    struct end x;
    uint32_t stream = 0;

    (void)state;
    end_init(&x);
    put_header(&x.in, 3, 1, 1, 0);
    assert_true(buf_put(&x.in, "\x0a\x7f!", 3));
    put_header(&x.in, 4, 3, 1, 0); /* service is not UTF-8 */
    assert_true(buf_put(&x.in, "\x0a\x02\xc3(", 4));
    put_header(&x.in, 0, 5, 1, 0); /* empty: no service, no method */
    server_take(&x);
    assert_int_equal(sent_code(&x, &stream), TTRPC_INVALID_ARGUMENT);
    assert_int_equal(sent_code(&x, &stream), TTRPC_INVALID_ARGUMENT);
    assert_int_equal(stream, 3);
    assert_int_equal(sent_code(&x, &stream), TTRPC_OK);
    assert_string_equal(x.seen, "5  ");
    end_fini(&x);
}

static void
too_large_messages_are_skipped(void **state)
{
    struct end x;
    uint32_t stream = 0;
    const size_t large = TTRPC_DATA_MAX + 1;
    uint8_t *zero = calloc(1, large);

    (void)state;
    assert_non_null(zero);
    end_init(&x);
    put_header(&x.in, large, 1, 1, 0);
    for (size_t off = 0; off < large; off += 1000000) {
        server_take(&x);
        assert_int_equal(buf_left(&x.in), 0); /* not collected */
        assert_true(buf_put(&x.in, zero, large - off < 1000000 ? large - off : 1000000));
    }
    put_request(&x.in, 3, 0);
    server_take(&x);
    assert_int_equal(sent_code(&x, &stream), TTRPC_RESOURCE_EXHAUSTED);
    assert_int_equal(stream, 1);
    assert_int_equal(sent_code(&x, &stream), TTRPC_OK);
    assert_int_equal(stream, 3);

    /* An answer of ours that would be too large. */
    x.hold = true;
    put_request(&x.in, 5, 0);
    server_take(&x);
    struct err e = ERR_INIT;

    assert_int_equal(ttrpc_server_reply(x.server, 5, zero, TTRPC_DATA_MAX - 2, &e), 0);
    assert_int_equal(sent_code(&x, &stream), TTRPC_RESOURCE_EXHAUSTED);
    put_request(&x.in, 7, 0);
    server_take(&x);
    assert_int_equal(ttrpc_server_reply(x.server, 7, zero, TTRPC_DATA_MAX - 5, &e), 0);
    assert_int_equal(sent_code(&x, &stream), TTRPC_OK);
    free(zero);
    end_fini(&x);
}

static void
at_most_so_many_requests_wait(void **state)
{
    struct end x;
    struct err e = ERR_INIT;
    uint32_t stream = 0;

    (void)state;
    end_init(&x);
    x.hold = true;
    for (uint32_t i = 0; i <= TTRPC_PENDING_MAX; i++)
        put_request(&x.in, 2 * i + 1, 0);
    server_take(&x);
    assert_int_equal(x.requests, TTRPC_PENDING_MAX);
    assert_int_equal(sent_code(&x, &stream), TTRPC_RESOURCE_EXHAUSTED);
    /* Data for one that waits is not answered: that would be its answer. */
    put_header(&x.in, 0, 1, 3, 1);
    server_take(&x);
    assert_int_equal(sent_code(&x, &stream), -1);
    /* In any order, each once. */
    assert_int_equal(ttrpc_server_fail(x.server, 5, TTRPC_UNKNOWN, "a\nb", &e), 0);
    assert_int_equal(ttrpc_server_reply(x.server, 1, NULL, 0, &e), 0);
    assert_int_equal(sent_code(&x, &stream), TTRPC_UNKNOWN);
    assert_int_equal(sent_code(&x, &stream), TTRPC_OK);
    assert_true(ttrpc_server_reply(x.server, 1, NULL, 0, &e) < 0);
    assert_int_equal(sent_code(&x, &stream), -1);
    put_request(&x.in, 999, 0);
    server_take(&x);
    assert_int_equal(x.requests, TTRPC_PENDING_MAX + 1);
    end_fini(&x);
}

static void
a_broken_wire_is_an_error(void **state)
{
    struct end x;
    struct err e = ERR_INIT;

    (void)state;
    end_init(&x);
    x.send_fails = true;
    put_request(&x.in, 2, 0);
    assert_true(ttrpc_server_take(x.server, &x.in, &e) < 0);
    uint32_t stream;

    assert_true(ttrpc_client_call(x.client, "s", "m", NULL, 0, 0, &stream, &e) < 0);
    end_fini(&x);
}

/* ---- client ---- */

static void
put_response(struct buf *b, uint32_t stream, int code, const char *text)
{
    Ttrpc__Response m = TTRPC__RESPONSE__INIT;
    Google__Rpc__Status st;

    google__rpc__status__init(&st);
    st.code = code;
    st.message = (char *)(uintptr_t)text;
    if (code >= 0)
        m.status = &st;
    put_message(b, stream, 2, 0, &m.base);
}

static void
client_take(struct end *x)
{
    struct err e = ERR_INIT;

    assert_int_equal(ttrpc_client_take(x->client, &x->in, &e), 0);
}

static void
the_client_matches_responses_to_calls(void **state)
{
    struct end x;
    struct err e = ERR_INIT;
    uint32_t s[4];

    (void)state;
    end_init(&x);
    for (int i = 0; i < 4; i++)
        assert_int_equal(ttrpc_client_call(x.client, "svc", "Do", "xy", 2, 0, &s[i], &e), 0);
    assert_int_equal(s[0], 1);
    assert_int_equal(s[3], 7);
    put_response(&x.in, 5, -1, ""); /* no status is success; any order */
    client_take(&x);
    assert_int_equal(x.stream, 5);
    assert_int_equal(x.code, TTRPC_OK);
    put_response(&x.in, 1, 0, "ignored"); /* so is code 0 */
    client_take(&x);
    assert_int_equal(x.code, TTRPC_OK);
    assert_string_equal(x.seen, "");
    put_response(&x.in, 1, 2, "twice");
    put_response(&x.in, 99, 2, "never asked");
    put_header(&x.in, 0, 3, 3, 0);
    put_request(&x.in, 3, 0);
    client_take(&x);
    assert_int_equal(x.responses, 2);
    ttrpc_client_forget(x.client, 3);
    put_response(&x.in, 3, -1, "");
    client_take(&x);
    assert_int_equal(x.responses, 2);
    put_response(&x.in, 7, 12, "no such method");
    client_take(&x);
    assert_int_equal(x.code, TTRPC_UNIMPLEMENTED);
    assert_string_equal(x.seen, "no such method");
    end_fini(&x);
}

static void
bad_responses_end_their_call(void **state)
{
    struct end x;
    struct err e = ERR_INIT;
    uint8_t *zero = calloc(1, TTRPC_DATA_MAX + 1);
    uint32_t s;

    (void)state;
    assert_non_null(zero);
    end_init(&x);
    assert_int_equal(ttrpc_client_call(x.client, "svc", "Do", NULL, 0, 0, &s, &e), 0);
    put_header(&x.in, 1, s, 2, 0);
    assert_true(buf_put_u8(&x.in, 0x0a));
    client_take(&x);
    assert_int_equal(x.code, TTRPC_INTERNAL);
    assert_int_equal(ttrpc_client_call(x.client, "svc", "Do", NULL, 0, 0, &s, &e), 0);
    put_header(&x.in, TTRPC_DATA_MAX + 1, s, 2, 0);
    assert_true(buf_put(&x.in, zero, TTRPC_DATA_MAX + 1));
    client_take(&x);
    assert_int_equal(x.code, TTRPC_RESOURCE_EXHAUSTED);
    assert_int_equal(x.responses, 2);
    assert_int_equal(buf_left(&x.in), 0);
    free(zero);
    end_fini(&x);
}

static void
a_call_is_the_bytes_of_the_specification(void **state)
{
    static const uint8_t want[] = {0,   0,    0, 13,  0,    0, 0,   1,   1,    0,    0x0a, 1,
                                   's', 0x12, 1, 'm', 0x1a, 2, 'x', 'y', 0x20, 0x80, 0x01};
    struct end x;
    struct err e = ERR_INIT;
    uint32_t s;

    (void)state;
    end_init(&x);
    assert_int_equal(ttrpc_client_call(x.client, "s", "m", "xy", 2, 128, &s, &e), 0);
    assert_int_equal(x.sent.len, sizeof(want));
    assert_memory_equal(x.sent.data, want, sizeof(want));
    assert_true(ttrpc_client_call(x.client, "\xff", "m", NULL, 0, 0, &s, &e) < 0);
    for (unsigned i = 1; i < TTRPC_PENDING_MAX; i++)
        assert_int_equal(ttrpc_client_call(x.client, "s", "m", NULL, 0, 0, &s, &e), 0);
    assert_true(ttrpc_client_call(x.client, "s", "m", NULL, 0, 0, &s, &e) < 0);
    assert_int_equal(e.cls, ERR_CLASS_BUSY);
    end_fini(&x);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_server_keeps_the_rules_of_streams),
        cmocka_unit_test(undecodable_requests_are_refused_on_their_stream),
        cmocka_unit_test(too_large_messages_are_skipped),
        cmocka_unit_test(at_most_so_many_requests_wait),
        cmocka_unit_test(a_broken_wire_is_an_error),
        cmocka_unit_test(the_client_matches_responses_to_calls),
        cmocka_unit_test(bad_responses_end_their_call),
        cmocka_unit_test(a_call_is_the_bytes_of_the_specification),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
