/* SPDX-License-Identifier: Apache-2.0
 *
 * The last acts, kept for whoever asks, and told to followers as they come. Bounded by number and
 * bytes; what is older is in the audit log. Loop thread.
 *
 * Request `events [after=SEQ] [follow]`. Answer, one JSON object a line: first
 *
 *     {"events":1,"started":"<time>","first":F,"last":L}
 *
 * (F..L are kept; numbers begin with 1 at every start of pgpud), then every act that is news
 * (act_is_news) with a number above SEQ: {"seq":..,"time":..,...} as in daemon/act_json.h.
 */
#ifndef PGPU_DAEMON_EVENTS_H
#define PGPU_DAEMON_EVENTS_H

#include "base/err.h"
#include "daemon/act.h"
#include "daemon/request.h"

#define EVENTS_MAX 1024
#define EVENTS_BYTES_MAX (384u << 10) /* less than half of what a follower may lag behind */

struct events;

int events_new(struct events **ret, struct err *e);
/* Followers must be gone: after control_free(). */
void events_free(struct events *ev);

/* act_listener; ctx is the struct events. */
void events_act(void *ctx, const struct act *a);

/* For control_add(); ctx is the struct events. */
extern const struct request events_requests[];

#endif
