/* SPDX-License-Identifier: Apache-2.0
 *
 * Names of pods and namespaces out of text: each is replaced by the same word everywhere, "pod-" or
 * "ns-" and ten digits of a salted hash. Learned from JSON members (namespace, pod, container),
 * then found in all text, also in that for people. One thread.
 */
#ifndef PGPU_CLI_REDACT_H
#define PGPU_CLI_REDACT_H

#include "base/buf.h"
#include "base/err.h"

#include <stddef.h>

struct redact;

/* `off`: names stay; what tenants wrote goes all the same. */
int redact_new(bool off, struct redact **ret, struct err *e);
void redact_free(struct redact *r);

/* Learns the names in a text: one JSON value, or one a line; other text has none. */
void redact_learn(struct redact *r, const char *text, size_t len);
/* Appends the text without the names. JSON stays JSON; what tenants wrote (texts of refusals,
 * digests of initdata) is left out of it. */
void redact_apply(const struct redact *r, const char *text, size_t len, struct buf *out);

size_t redact_count(const struct redact *r); /* names learned */

#endif
