/* SPDX-License-Identifier: Apache-2.0 */
#include "nri/gzip.h"

#include <errno.h>
#include <limits.h>
#include <zlib.h>

#define CHUNK 16384
#define WINDOW_GZIP (15 + 16) /* zlib.h: 15 bits of window, +16 for the gzip wrapper */

/* zlib's next_in is not const, though it only reads. */
static Bytef *
input(const void *data)
{
    union {
        const void *in;
        Bytef *out;
    } u = {.in = data};

    return u.out;
}

static int
inflate_all(z_stream *z, struct buf *out, struct err *e)
{
    uint8_t chunk[CHUNK];

    for (;;) {
        int rc;

        z->next_out = chunk;
        z->avail_out = sizeof(chunk);
        rc = inflate(z, Z_NO_FLUSH);
        if (rc == Z_MEM_ERROR)
            return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "unpack gzip");
        if (rc == Z_NEED_DICT || (rc < 0 && rc != Z_BUF_ERROR))
            return err_set(e, EINVAL, ERR_CLASS_INVALID, "gzip: %s", z->msg ? z->msg : "damaged");
        if (!buf_put(out, chunk, sizeof(chunk) - z->avail_out))
            return err_set(e, E2BIG, ERR_CLASS_INVALID, "unpacks to more than %zu bytes", out->max);
        if (rc == Z_STREAM_END)
            return 0;
        if (z->avail_in == 0 && z->avail_out > 0)
            return err_set(e, EINVAL, ERR_CLASS_INVALID, "gzip: cut short");
    }
}

int
gzip_unpack(const void *data, size_t n, struct buf *out, size_t *ret_used, struct err *e)
{
    z_stream z = {0};
    int rc;

    if (n > UINT_MAX)
        return err_set(e, E2BIG, ERR_CLASS_INVALID, "gzip: %zu bytes", n);
    z.next_in = input(data);
    z.avail_in = (uInt)n;
    if (inflateInit2(&z, WINDOW_GZIP) != Z_OK)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "unpack gzip");
    rc = inflate_all(&z, out, e);
    if (rc == 0)
        *ret_used = n - z.avail_in;
    (void)inflateEnd(&z);
    return rc;
}

static int
deflate_all(z_stream *z, struct buf *out, struct err *e)
{
    uint8_t chunk[CHUNK];
    int rc;

    do {
        z->next_out = chunk;
        z->avail_out = sizeof(chunk);
        rc = deflate(z, Z_FINISH);
        if (rc != Z_OK && rc != Z_STREAM_END)
            return err_set(e, EIO, ERR_CLASS_FATAL, "pack gzip: zlib error %d", rc);
        if (!buf_put(out, chunk, sizeof(chunk) - z->avail_out))
            return err_set(e, E2BIG, ERR_CLASS_INVALID, "packs to more than %zu bytes", out->max);
    } while (rc != Z_STREAM_END);
    return 0;
}

int
gzip_pack(const void *data, size_t n, struct buf *out, struct err *e)
{
    z_stream z = {0};
    int rc;

    if (n > UINT_MAX)
        return err_set(e, E2BIG, ERR_CLASS_INVALID, "gzip: %zu bytes", n);
    z.next_in = input(data);
    z.avail_in = (uInt)n;
    if (deflateInit2(&z, Z_BEST_COMPRESSION, Z_DEFLATED, WINDOW_GZIP, 8, Z_DEFAULT_STRATEGY) !=
        Z_OK)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "pack gzip");
    rc = deflate_all(&z, out, e);
    (void)deflateEnd(&z);
    return rc;
}
