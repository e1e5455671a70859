/* SPDX-License-Identifier: Apache-2.0
 *
 * Making chained lines, and finding the files they are in. State is the caller's.
 */
#include "base/chain.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
chain_head_init(struct chain_head *h)
{
    h->seq = 0;
    memset(h->hash, '0', CHAIN_HEX - 1);
    h->hash[CHAIN_HEX - 1] = '\0';
}

bool
chain_is_hash(const char *s)
{
    for (size_t i = 0; i < CHAIN_HEX - 1; i++)
        if (!isdigit((unsigned char)s[i]) && !(s[i] >= 'a' && s[i] <= 'f'))
            return false;
    return true;
}

int
chain_sha256(const void *data, size_t len, char ret[CHAIN_HEX], struct err *e)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (EVP_Digest(data, len, md, &n, EVP_sha256(), NULL) != 1 || n != 32)
        return err_set(e, EIO, ERR_CLASS_FATAL, "SHA-256: the crypto library refuses it");
    for (unsigned i = 0; i < n; i++) {
        ret[i * 2] = digits[md[i] >> 4];
        ret[i * 2 + 1] = digits[md[i] & 15];
    }
    ret[CHAIN_HEX - 1] = '\0';
    return 0;
}

int
chain_append(struct chain_head *head, const char *members, struct buf *out, struct err *e)
{
    struct buf line;
    char hash[CHAIN_HEX];
    int r = 0;

    buf_init(&line, CHAIN_LINE_MAX);
    (void)buf_putf(&line, "{\"seq\":%" PRIu64 ",\"prev\":\"%s\",%s", head->seq + 1, head->hash,
                   members);
    if (!buf_failed(&line))
        r = chain_sha256(line.data, line.len, hash, e);
    if (r == 0)
        (void)buf_putf(&line, ",\"hash\":\"%s\"}\n", buf_failed(&line) ? "" : hash);
    if (r == 0 && (buf_failed(&line) || !buf_put(out, line.data, line.len)))
        r = err_set(e, EMSGSIZE, ERR_CLASS_INVALID, "a record for the audit log is too long");
    buf_fini(&line);
    if (r < 0)
        return r;
    head->seq++;
    memcpy(head->hash, hash, sizeof(hash));
    return 0;
}

/* The number of "audit.log.7" for the name "audit.log"; 0 for the name itself, -1 for others. */
static long
file_number(const char *entry, const char *name)
{
    size_t len = strlen(name);
    char *end;
    long v;

    if (strncmp(entry, name, len) != 0)
        return -1;
    if (!entry[len])
        return 0;
    if (entry[len] != '.' || entry[len + 1] < '1' || entry[len + 1] > '9')
        return -1;
    v = strtol(entry + len + 1, &end, 10);
    return *end || v > 100000 ? -1 : v;
}

static int
by_age(const void *a, const void *b)
{
    long x = *(const long *)a;
    long y = *(const long *)b;

    return x < y ? 1 : x > y ? -1 : 0;
}

int
chain_files(const char *path, char (**ret)[CHAIN_PATH_MAX], struct err *e)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    char dir[CHAIN_PATH_MAX], **names = NULL;
    long number[CHAIN_FILES_MAX];
    struct fs_root root;
    int count, n = 0;

    if (!name[0] || strlen(path) + 8 > CHAIN_PATH_MAX)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "%s: not a usable path", path);
    (void)snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    if (fs_root_open(&root, dir[0] ? dir : "/", e) < 0)
        return e->num == ENOENT ? (err_clear(e), *ret = NULL, 0) : -e->num;
    count = fs_list(&root, ".", 4096, &names, e);
    fs_root_close(&root);
    if (count < 0)
        return count;
    for (int i = 0; i < count && n < CHAIN_FILES_MAX; i++) {
        long v = file_number(names[i], name);

        if (v >= 0)
            number[n++] = v;
    }
    fs_names_free(names);
    char(*list)[CHAIN_PATH_MAX] = calloc((size_t)n + 1, sizeof(*list));
    if (!list)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "list %s", path);
    qsort(number, (size_t)n, sizeof(number[0]), by_age);
    for (int i = 0; i < n; i++)
        (void)(number[i] ? snprintf(list[i], sizeof(list[i]), "%s.%ld", path, number[i])
                         : snprintf(list[i], sizeof(list[i]), "%s", path));
    *ret = list;
    return n;
}
