/* SPDX-License-Identifier: Apache-2.0
 *
 * Is pgpud alive, and is it ready for pods? Asked over HTTP (/livez, /readyz) and on the control
 * socket (`health live|ready`), which works with HTTP off.
 *
 * Ready means that what pods need from this program is in place; that a GPU is broken is not among
 * it (the kubelet knows, and the other GPUs are to be had).
 */
#ifndef PGPU_DAEMON_HEALTH_H
#define PGPU_DAEMON_HEALTH_H

#include "base/buf.h"
#include "daemon/request.h"

#include <stdbool.h>
#include <stddef.h>

#define HEALTH_CHECKS_MAX 8

struct node;

struct health_check {
    const char *name; /* "hwd", "kubelet", ... */
    bool ok;
    char why[320]; /* "" when ok */
};

struct health {
    bool ok; /* all of them */
    size_t n;
    struct health_check check[HEALTH_CHECKS_MAX];
};

void health_live(const struct node *n, struct health *ret);
void health_ready(const struct node *n, struct health *ret);

/* {"ok":false,"checks":[{"name":"hwd","ok":false,"why":"..."}]} and a newline */
void health_json(const struct health *h, struct buf *out);
/* One line for each check: "hwd: ok", "kubelet: nvidia.com/pgpu: down: ..." */
void health_text(const struct health *h, struct buf *out);

/* Rows `health live` and `health ready`; the context is the node. */
extern const struct request health_requests[];

#endif
