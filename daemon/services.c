/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/services.h"

#include "daemon/audit.h"
#include "daemon/events.h"

int
services_start(struct services *s, struct node *n, struct control *c, struct err *e)
{
    int r = events_new(&s->events, e);

    if (r < 0)
        return r;
    act_listen(&n->acts, events_act, s->events);
    control_add(c, events_requests, s->events);
    r = audit_new(n->loop, &n->conf->audit, n->conf->state_dir, &n->acts, &s->audit, e);
    if (r < 0)
        return r;
    n->audit = s->audit;
    if (s->audit)
        act_listen(&n->acts, audit_act, s->audit);
    return 0;
}

void
services_stop(struct services *s)
{
    audit_free(s->audit);
    events_free(s->events);
}
