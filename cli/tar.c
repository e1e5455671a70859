/* SPDX-License-Identifier: Apache-2.0
 *
 * Layout of the header: POSIX.1-2017, pax, "ustar Interchange Format".
 */
#include "cli/tar.h"

#include "base/fs.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <zlib.h>

#define BLOCK 512
#define WINDOW_GZIP (15 + 16) /* deflateInit2(): the largest window, gzip's frame */

struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], chksum[8], typeflag,
        linkname[100], magic[6], version[2], uname[32], gname[32], devmajor[8], devminor[8],
        prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a header is one block");

/* All digits but the last byte, which stays NUL. */
static void
octal(char *field, size_t size, uint64_t v)
{
    for (size_t i = size - 1; i > 0; i--, v >>= 3)
        field[i - 1] = (char)('0' + (v & 7));
}

int
tar_add(struct buf *tar, const char *name, const void *data, size_t len, struct err *e)
{
    static const char zeros[BLOCK];
    struct header h = {.typeflag = '0', .magic = "ustar", .version = {'0', '0'}};
    unsigned sum = 0;

    if (!name[0] || !str_copy(h.name, sizeof(h.name), name) || len > 0x7fffffff)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "archive: \"%s\" cannot be put in", name);
    octal(h.mode, sizeof(h.mode), 0600);
    octal(h.uid, sizeof(h.uid), 0);
    octal(h.gid, sizeof(h.gid), 0);
    octal(h.size, sizeof(h.size), len);
    octal(h.mtime, sizeof(h.mtime), 0);
    (void)str_copy(h.uname, sizeof(h.uname), "root");
    (void)str_copy(h.gname, sizeof(h.gname), "root");
    memset(h.chksum, ' ', sizeof(h.chksum));
    for (size_t i = 0; i < sizeof(h); i++)
        sum += ((const unsigned char *)&h)[i];
    octal(h.chksum, 7, sum); /* six digits, NUL, blank */
    if (!buf_put(tar, &h, sizeof(h)) || !buf_put(tar, data, len) ||
        !buf_put(tar, zeros, (BLOCK - len % BLOCK) % BLOCK))
        return err_set(e, EFBIG, ERR_CLASS_INVALID, "archive: \"%s\" is too large", name);
    return 0;
}

int
tar_finish(struct buf *tar, struct buf *out, struct err *e)
{
    static const char end[2 * BLOCK];
    z_stream z = {0};
    uint8_t chunk[16384];
    int r;

    if (!buf_put(tar, end, sizeof(end)) || deflateInit2(&z, Z_BEST_COMPRESSION, Z_DEFLATED,
                                                        WINDOW_GZIP, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "archive: cannot be compressed");
    z.next_in = tar->data;
    z.avail_in = (uInt)tar->len;
    do {
        z.next_out = chunk;
        z.avail_out = sizeof(chunk);
        r = deflate(&z, Z_FINISH);
        if (!buf_put(out, chunk, sizeof(chunk) - z.avail_out))
            r = Z_BUF_ERROR;
    } while (r == Z_OK);
    (void)deflateEnd(&z);
    return r == Z_STREAM_END ? 0
                             : err_set(e, EFBIG, ERR_CLASS_FATAL, "archive: compressing it failed");
}
