/* SPDX-License-Identifier: Apache-2.0
 *
 * The error object: formatting into the caller's storage. No state, any thread.
 */
#define PGPU_ERR_C
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void
fill(struct err *e, int num, enum err_class cls, enum reason reason)
{
    e->num = num > 0 ? num : EIO;
    /* A filled error always has a class: an unclassified failure is taken for a transient one. */
    e->cls = cls == ERR_CLASS_NONE ? ERR_CLASS_RETRY : cls;
    e->reason = reason;
}

/* A message that was cut must not end in half a UTF-8 character: it goes into JSON and gRPC. */
static void
trim_utf8(char *s)
{
    size_t n = strlen(s), i = n;

    while (i > 0 && n - i < 4 && ((unsigned char)s[i - 1] & 0xc0) == 0x80)
        i--;
    if (i == 0)
        return;
    unsigned char lead = (unsigned char)s[i - 1];
    size_t want = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    if (want > 1 && n - (i - 1) < want)
        s[i - 1] = '\0';
}

__attribute__((format(printf, 2, 0))) static void
put_msg(struct err *e, const char *fmt, va_list ap)
{
    int n = vsnprintf(e->msg, sizeof(e->msg), fmt, ap);

    if (n < 0)
        e->msg[0] = '\0';
    else if ((size_t)n >= sizeof(e->msg))
        trim_utf8(e->msg);
}

/* Appends as much of `s` as fits. */
static void
append(struct err *e, const char *s)
{
    size_t have = strlen(e->msg);
    size_t room = sizeof(e->msg) - have - 1;
    size_t n = strnlen(s, room + 1);

    if (n > room)
        n = room;
    memcpy(e->msg + have, s, n);
    e->msg[have + n] = '\0';
    trim_utf8(e->msg);
}

int
err_set(struct err *e, int num, enum err_class cls, const char *fmt, ...)
{
    va_list ap;

    fill(e, num, cls, REASON_NONE);
    va_start(ap, fmt);
    put_msg(e, fmt, ap);
    va_end(ap);
    return -e->num;
}

int
err_reason(struct err *e, int num, enum err_class cls, enum reason reason, const char *fmt, ...)
{
    va_list ap;

    fill(e, num, cls, reason);
    va_start(ap, fmt);
    put_msg(e, fmt, ap);
    va_end(ap);
    return -e->num;
}

int
err_errno(struct err *e, int num, enum err_class cls, const char *fmt, ...)
{
    char text[128];
    va_list ap;

    fill(e, num, cls, REASON_NONE);
    va_start(ap, fmt);
    put_msg(e, fmt, ap);
    va_end(ap);
    append(e, ": ");
    /* The GNU form (we build with _GNU_SOURCE) returns the text, not always in `text`. */
    append(e, strerror_r(e->num, text, sizeof(text)));
    return -e->num;
}

int
err_prefix(struct err *e, const char *fmt, ...)
{
    char old[ERR_MSG_MAX];
    va_list ap;

    memcpy(old, e->msg, sizeof(old));
    va_start(ap, fmt);
    put_msg(e, fmt, ap);
    va_end(ap);
    append(e, ": ");
    append(e, old);
    return -e->num;
}

void
err_clear(struct err *e)
{
    *e = (struct err)ERR_INIT;
}

const char *
err_class_name(enum err_class cls)
{
    switch (cls) {
    case ERR_CLASS_NONE:
        return "none";
    case ERR_CLASS_INVALID:
        return "invalid";
    case ERR_CLASS_BUSY:
        return "busy";
    case ERR_CLASS_RETRY:
        return "retry";
    case ERR_CLASS_HW:
        return "hw";
    case ERR_CLASS_FATAL:
        return "fatal";
    }
    return "unknown";
}
