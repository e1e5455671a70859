/* SPDX-License-Identifier: Apache-2.0
 *
 * What listens to the node's acts and answers for it, beside the state machine: events, audit log.
 * Put together here, so that main.c does not have to know them.
 */
#ifndef PGPU_DAEMON_SERVICES_H
#define PGPU_DAEMON_SERVICES_H

#include "daemon/control.h"
#include "daemon/node.h"

struct services {
    struct events *events;
    struct audit *audit;
};

/* After the node and its control socket, before ACT_START is told. On failure *s is to be freed as
 * well. */
int services_start(struct services *s, struct node *n, struct control *c, struct err *e);
/* After the control socket and the node are gone: both still tell while they go. */
void services_stop(struct services *s);

#endif
