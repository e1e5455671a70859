/* SPDX-License-Identifier: Apache-2.0
 *
 * UTF-8, as proto3 strings must be: the Go side refuses a whole message for one bad byte, and
 * protobuf-c does not look. No state, any thread.
 */
#ifndef PGPU_NRI_UTF8_H
#define PGPU_NRI_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Well-formed by RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. NUL counts as
 * a character. */
bool utf8_valid(const void *p, size_t n);

/* Copies as one line of valid UTF-8: control characters become spaces, bad bytes '?'; what does not
 * fit is cut, never inside a character. size > 0. */
void utf8_line(char *dst, size_t size, const char *src);

#endif
