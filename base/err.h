/* SPDX-License-Identifier: Apache-2.0
 *
 * The error object. Every function that can fail takes a `struct err *` as its last parameter and
 * fills it exactly when its result is negative; on success it is left untouched. It lives on the
 * caller's stack and never allocates, so reporting an error cannot itself fail.
 *
 * Message grammar: what we tried, on which object, why it failed:
 *   "bind 0000:3b:00.0 to vfio-pci: write driver_override: Permission denied".
 *
 * Threads: an err belongs to the thread that owns it. `e` may be NULL nowhere.
 */
#ifndef PGPU_BASE_ERR_H
#define PGPU_BASE_ERR_H

#include "base/reason.h"

#include <stddef.h>

#define ERR_MSG_MAX 512

/* The class decides what the program does; the text is for people. */
enum err_class {
    ERR_CLASS_NONE = 0,
    ERR_CLASS_INVALID, /* the caller's fault: bad request, bad configuration */
    ERR_CLASS_BUSY,    /* somebody else holds the object: retry later */
    ERR_CLASS_RETRY,   /* transient: retry soon */
    ERR_CLASS_HW,      /* the device misbehaves: quarantine it */
    ERR_CLASS_FATAL,   /* the program cannot go on */
};

struct err {
    int num;            /* errno-like, positive */
    enum err_class cls; /* never ERR_CLASS_NONE in a filled error */
    enum reason reason; /* named condition, REASON_NONE where none applies */
    char msg[ERR_MSG_MAX];
};

/* clang-format off */
#define ERR_INIT {0}
/* clang-format on */

/* Fills `e` and returns -num (num 0 is taken as EIO), so that `return err_set(e, ...)` works. */
int err_set(struct err *e, int num, enum err_class cls, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* As err_set, with a named condition. */
int err_reason(struct err *e, int num, enum err_class cls, enum reason reason, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* As err_set; appends ": <strerror(num)>". `num` is passed so that errno is never read late. */
int err_errno(struct err *e, int num, enum err_class cls, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Puts "<text>: " in front of the message; keeps num, class and reason. Returns -e->num. */
int err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Empties `e`, for a caller that has dealt with the error. */
void err_clear(struct err *e);

const char *err_class_name(enum err_class cls);

/* A static analyzer looks at one file at a time: tell it what err.c makes sure of, that these are
 * negative, or it follows paths where a failed function has "succeeded". */
#if defined(__clang_analyzer__) && !defined(PGPU_ERR_C)
#define err_set(...) ((void)err_set(__VA_ARGS__), -5)
#define err_reason(...) ((void)err_reason(__VA_ARGS__), -5)
#define err_errno(...) ((void)err_errno(__VA_ARGS__), -5)
#define err_prefix(...) ((void)err_prefix(__VA_ARGS__), -5)
#endif

#endif
