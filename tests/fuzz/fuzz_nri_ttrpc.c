/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz: one byte stream, read by a server and by a client that waits for three answers. No stream
 * is answered twice by the server, the client tells each call's end at most once, text is clean.
 */
#include "nri/ttrpc.h"
#include "nri/utf8.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

struct run {
    struct ttrpc_server *server;
    uint32_t told; /* bits of the client's streams */
    unsigned requests, sent;
};

static int
on_send(void *ctx, const void *m, size_t len, struct err *e)
{
    struct run *x = ctx;

    (void)e;
    FUZZ_ASSERT(len >= TTRPC_HEADER && len <= TTRPC_HEADER + TTRPC_DATA_MAX);
    FUZZ_ASSERT(((const uint8_t *)m)[0] == 0);
    x->sent++;
    return 0;
}

static void
on_request(void *ctx, const struct ttrpc_request *q)
{
    struct run *x = ctx;
    struct err e = ERR_INIT;

    FUZZ_ASSERT(q->stream % 2 == 1);
    FUZZ_ASSERT(utf8_valid(q->service, strlen(q->service)));
    FUZZ_ASSERT(utf8_valid(q->method, strlen(q->method)));
    x->requests++;
    /* Some wait for ever. */
    if (q->len % 3 == 0)
        FUZZ_ASSERT(ttrpc_server_reply(x->server, q->stream, q->payload, q->len, &e) == 0);
    else if (q->len % 3 == 1)
        FUZZ_ASSERT(ttrpc_server_fail(x->server, q->stream, TTRPC_UNKNOWN, q->method, &e) == 0);
}

static void
on_response(void *ctx, const struct ttrpc_response *r)
{
    struct run *x = ctx;

    FUZZ_ASSERT(r->stream < 6 && r->stream % 2 == 1);
    FUZZ_ASSERT(!(x->told & 1u << r->stream));
    FUZZ_ASSERT(utf8_valid(r->text, strlen(r->text)));
    FUZZ_ASSERT(r->code != TTRPC_OK || r->text[0] == '\0');
    x->told |= 1u << r->stream;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct ttrpc_server_ops server = {on_request, on_send};
    static const struct ttrpc_client_ops client = {on_response, on_send};
    struct run x = {.server = NULL};
    struct ttrpc_client *c = NULL;
    struct err e = ERR_INIT;
    struct buf a, b;
    uint32_t stream;

    if (size < 1 || size > FUZZ_MAX)
        return 0;
    const size_t cut = size > 1 ? data[0] % size : 0;

    buf_init(&a, FUZZ_MAX);
    buf_init(&b, FUZZ_MAX);
    FUZZ_ASSERT(ttrpc_server_new(&server, &x, &x.server, &e) == 0);
    FUZZ_ASSERT(ttrpc_client_new(&client, &x, &c, &e) == 0);
    for (int i = 0; i < 3; i++)
        FUZZ_ASSERT(ttrpc_client_call(c, "s", "m", NULL, 0, 0, &stream, &e) == 0);
    FUZZ_ASSERT(buf_put(&a, data, cut) && buf_put(&b, data, cut));
    FUZZ_ASSERT(ttrpc_server_take(x.server, &a, &e) == 0);
    FUZZ_ASSERT(ttrpc_client_take(c, &b, &e) == 0);
    FUZZ_ASSERT(buf_put(&a, data + cut, size - cut) && buf_put(&b, data + cut, size - cut));
    FUZZ_ASSERT(ttrpc_server_take(x.server, &a, &e) == 0);
    FUZZ_ASSERT(ttrpc_client_take(c, &b, &e) == 0);
    FUZZ_ASSERT(e.msg[0] == '\0');
    FUZZ_ASSERT(buf_left(&a) == buf_left(&b));
    ttrpc_server_free(x.server);
    ttrpc_client_free(c);
    buf_fini(&a);
    buf_fini(&b);
    return 0;
}
