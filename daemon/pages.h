/* SPDX-License-Identifier: Apache-2.0
 *
 * What the daemon shows to monitoring: the pages /metrics, /livez and /readyz over HTTP, and the
 * same on the control socket. Makes the node's meters and HTTP server. Loop thread.
 */
#ifndef PGPU_DAEMON_PAGES_H
#define PGPU_DAEMON_PAGES_H

#include "base/err.h"

struct control;
struct node;

/* Fills node->meters, node->http and node->config_watch; `config_path` may be NULL. Before the loop
 * runs, and before acts are told. */
int pages_new(struct node *n, struct control *c, const char *config_path, struct err *e);
/* Nobody is shown anything any more; the control socket must be gone. Before node_free(). */
void pages_stop(struct node *n);

#endif
