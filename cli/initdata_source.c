/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/initdata_source.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "nri/initdata.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* One byte more than is read, so that the check says what is too long. */
#define INPUT_MAX (INITDATA_TOML_MAX + 1)

void
initdata_source_fini(struct initdata_source *s)
{
    free(s->text);
}

/* Characters of base64 in any of its variants, then "=". TOML never looks like that: it has
 * something behind its "=". */
static bool
looks_encoded(const char *s, size_t len)
{
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                              "0123456789+/-_\r\n";
    size_t n = strspn(s, set);

    n += strspn(s + n, "=\r\n");
    return len > 0 && n == len;
}

static int
read_stdin(struct initdata_source *s, struct err *e)
{
    _cleanup_(buf_fini) struct buf b;
    char chunk[16384];
    ssize_t n;

    buf_init(&b, INPUT_MAX);
    while ((n = read(STDIN_FILENO, chunk, sizeof(chunk))) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(e, errno, ERR_CLASS_FATAL, "read standard input");
        if (!buf_put(&b, chunk, (size_t)n))
            return err_set(e, EFBIG, ERR_CLASS_INVALID, "standard input: more than %u bytes",
                           INPUT_MAX);
    }
    if (!buf_cstr(&b))
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "read standard input");
    s->name = "standard input";
    s->len = b.len;
    s->text = (char *)TAKE_PTR(uint8_t, b.data);
    return 0;
}

int
initdata_source_load(const char *arg, struct initdata_source *s, struct err *e)
{
    struct err why = ERR_INIT;
    int rc;

    s->name = arg;
    s->from_file = true;
    if (strcmp(arg, "-") == 0) {
        rc = read_stdin(s, e);
    } else {
        rc = fs_read_file(AT_FDCWD, arg, INPUT_MAX, &s->text, &s->len, &why);
        if (rc < 0 && strlen(arg) >= 20 && looks_encoded(arg, strlen(arg))) {
            s->name = "the annotation";
            s->from_file = false;
            s->text = strdup(arg);
            s->len = strlen(arg);
            rc = s->text ? 0 : err_errno(e, ENOMEM, ERR_CLASS_FATAL, "read the annotation");
        } else if (rc < 0) {
            *e = why;
        }
    }
    if (rc < 0)
        return rc;
    if (s->len >= 2 && memcmp(s->text, "\x1f\x8b", 2) == 0)
        return err_set(e, EINVAL, ERR_CLASS_INVALID,
                       "%s: this is gzip; gunzip it to its TOML, or encode it with base64 -w0",
                       s->name);
    s->annotation = looks_encoded(s->text, s->len);
    if (s->annotation && s->from_file)
        while (s->len > 0 && strchr("\r\n", s->text[s->len - 1]))
            s->text[--s->len] = '\0'; /* the file's last line end is not the annotation's */
    return 0;
}
