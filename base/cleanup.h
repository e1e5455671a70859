/* SPDX-License-Identifier: Apache-2.0
 *
 * Ownership by attribute: `_cleanup_(x)` frees a variable when it goes out of scope, TAKE_PTR and
 * take_fd hand it on.
 */
#ifndef PGPU_BASE_CLEANUP_H
#define PGPU_BASE_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

/* Closes *fd if >= 0, sets it to -1, keeps errno. close() is never retried: on Linux the
 * descriptor is gone whatever it returns. */
void fd_close(int *fd);

int take_fd(int *fd);

static inline void
free_charp(char **p)
{
    free(*p);
}

static inline void
fclose_p(FILE **f)
{
    if (*f)
        (void)fclose(*f);
}

#define _cleanup_fd_ _cleanup_(fd_close)
#define _cleanup_free_ _cleanup_(free_charp)
#define _cleanup_fclose_ _cleanup_(fclose_p)

/* Returns the pointer and leaves NULL behind; `p` must be an lvalue of pointer type T. */
#define TAKE_PTR(T, p) ((T *)take_ptr_((void **)(void *)&(p)))
static inline void *
take_ptr_(void **p)
{
    void *v = *p;

    *p = NULL;
    return v;
}

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#endif
