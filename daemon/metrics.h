/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon's metrics: counted from acts as they happen, read from the node's state when somebody
 * asks. No pod, namespace or sandbox is in any label: the port is open to whoever reaches it.
 *
 * Loop thread.
 */
#ifndef PGPU_DAEMON_METRICS_H
#define PGPU_DAEMON_METRICS_H

#include "base/buf.h"
#include "base/err.h"
#include "base/metrics.h"

#include <stdint.h>

struct act;
struct meters;
struct node;

/* Listens to the node's acts from now on; the node must outlive it. */
int meters_new(struct node *n, struct meters **ret, struct err *e);
void meters_free(struct meters *m); /* NULL is fine */

/* An answer to a call that no act tells of. `rpc` is one of METERS_RPCS. */
#define METERS_RPC_LIST "PodResources/List"
void meters_rpc(struct meters *m, const char *rpc, uint64_t took_ns);

/* How late the loop's last beat was, and how long ago it was, in nanoseconds. */
uint64_t meters_lag(const struct meters *m, uint64_t *ret_age);

/* Appends everything. */
int meters_print(struct meters *m, enum metrics_format f, struct buf *out, struct err *e);

/* All families as a table in Markdown, for docs/metrics.md. */
void meters_markdown(struct buf *out);

#endif
