/* SPDX-License-Identifier: Apache-2.0
 *
 * The control socket: one request line, one answer, then the connection is closed; a follower
 * (client_follow) stays and is sent a line for everything that happens. The directory it stands in
 * (0700) is the boundary; who asked is only written down. What can be asked: daemon/request.h.
 *
 * Loop thread; never blocks. A client that does not read its answer is dropped after 5 s. A
 * follower that does not read loses its place: what does not fit its queue is not sent, its last
 * line is {"lost":true}, and then it is closed.
 */
#ifndef PGPU_DAEMON_CONTROL_H
#define PGPU_DAEMON_CONTROL_H

#include "base/err.h"
#include "daemon/node.h"
#include "daemon/request.h"

struct control;

/* Listens, and knows the request "status". */
int control_new(sd_event *loop, const char *path, struct node *node, struct control **ret,
                struct err *e);
/* One more table, before the loop runs; see request.h. */
void control_add(struct control *c, const struct request *rows, void *ctx);
void control_free(struct control *c);

#define FOLLOWERS_MAX 32

/* From a request's `run`: the client stays after its answer. `gone` is called once, when it has
 * left or was dropped, also by control_free(); the client must not be used from then on. Fails
 * where there are too many (or `cl` is NULL, as in tests). */
int client_follow(struct client *cl, void (*gone)(void *ctx, struct client *cl), void *ctx,
                  struct err *e);
/* One line, newline included. Nothing is sent from within the call, and the client is not freed. */
void client_send(struct client *cl, const char *line, size_t len);

#endif
