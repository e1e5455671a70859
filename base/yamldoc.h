/* SPDX-License-Identifier: Apache-2.0
 *
 * A bounded reader of YAML (and so JSON) documents whose keys we do not know beforehand, e.g.
 * Kubernetes manifests; for our own configuration see base/conf.h. Several documents in one text
 * are fine. Refused: aliases (they are how a small file becomes a large one), keys that are no
 * single value, keys given twice, tags other than !!str, U+0000.
 *
 * Ownership: the whole owns its nodes and their texts; they live until yamldoc_free.
 * Threads: read-only once parsed.
 */
#ifndef PGPU_BASE_YAMLDOC_H
#define PGPU_BASE_YAMLDOC_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct yamldoc;
struct yamldoc_node;

enum yamldoc_type { YAMLDOC_SCALAR, YAMLDOC_LIST, YAMLDOC_MAP };

/* 0 in a field stands for its default. */
struct yamldoc_limits {
    size_t bytes;   /* of the text, default 4 MiB */
    unsigned depth; /* collections inside each other, default 64 */
    size_t nodes;   /* values in all, keys not counted, default 65536 */
};

/* `limits` may be NULL. Messages read "NAME:LINE: REASON". -EINVAL: no such text; -E2BIG: beyond a
 * limit; -ENOMEM. */
int yamldoc_parse(const char *name, const char *text, size_t len,
                  const struct yamldoc_limits *limits, struct yamldoc **ret, struct err *e);
void yamldoc_free(struct yamldoc *d);

static inline void
yamldoc_freep(struct yamldoc **d)
{
    yamldoc_free(*d);
}

/* Documents in the order of the text, empty ones left out. NULL beyond the last. */
const struct yamldoc_node *yamldoc_root(const struct yamldoc *d, size_t i);

enum yamldoc_type yamldoc_type(const struct yamldoc_node *n);
unsigned yamldoc_line(const struct yamldoc_node *n); /* where it begins, counted from 1 */

/* The text of a scalar, NULL for anything else or n == NULL. */
const char *yamldoc_text(const struct yamldoc_node *n);
/* Would a YAML 1.1 reader, which Kubernetes has, take this scalar for a number or a boolean? Null
 * counts as a string: the API server makes "" of it. */
bool yamldoc_is_nonstring(const struct yamldoc_node *n);

/* The value of a key of a map; NULL where there is none, or n is no map or NULL. */
const struct yamldoc_node *yamldoc_get(const struct yamldoc_node *n, const char *key);
/* The same along keys that '.' separates. */
const struct yamldoc_node *yamldoc_path(const struct yamldoc_node *n, const char *path);

/* Elements of a list or map: the first, the next; NULL at the end, for a scalar and for NULL. */
const struct yamldoc_node *yamldoc_first(const struct yamldoc_node *n);
const struct yamldoc_node *yamldoc_next(const struct yamldoc_node *n);
const char *yamldoc_key(const struct yamldoc_node *n); /* of an element of a map, else NULL */

#endif
