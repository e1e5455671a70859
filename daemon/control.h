/* SPDX-License-Identifier: Apache-2.0
 *
 * The control socket: one request line, one JSON answer, then the connection is closed. The
 * directory it stands in (0700) is the boundary. Requests: "status". Loop thread; never blocks: a
 * client that does not read its answer is dropped.
 */
#ifndef PGPU_DAEMON_CONTROL_H
#define PGPU_DAEMON_CONTROL_H

#include "base/err.h"
#include "daemon/node.h"

struct control;

int control_new(sd_event *loop, const char *path, struct node *node, struct control **ret,
                struct err *e);
void control_free(struct control *c);

#endif
