/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of base/ share: cmocka's headers in their order, and a private directory.
 */
#ifndef PGPU_TESTS_UNIT_BASE_TEST_SUPPORT_H
#define PGPU_TESTS_UNIT_BASE_TEST_SUPPORT_H

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A failure must return -num with num, class and message filled. */
#define assert_fails(rc, e, errnum)                                                                \
    do {                                                                                           \
        assert_int_equal((rc), -(errnum));                                                         \
        assert_int_equal((e).num, (errnum));                                                       \
        assert_int_not_equal((e).cls, ERR_CLASS_NONE);                                             \
        assert_true((e).msg[0] != '\0');                                                           \
    } while (0)

#define assert_has(text, part)                                                                     \
    do {                                                                                           \
        if (!strstr((text), (part)))                                                               \
            fail_msg("\"%s\" does not contain \"%s\"", (text), (part));                            \
    } while (0)

#define assert_has_not(text, part)                                                                 \
    do {                                                                                           \
        if (strstr((text), (part)))                                                                \
            fail_msg("\"%s\" contains \"%s\"", (text), (part));                                    \
    } while (0)

#endif
