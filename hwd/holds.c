/* SPDX-License-Identifier: Apache-2.0
 *
 * Group holds: descriptors that keep VMMs out, counted by the units and operations that need them.
 */
#include "hwd/svc.h"

#include "base/cleanup.h"

#include <stdlib.h>
#include <unistd.h>

struct group_hold *
hold_find(struct svc *s, int group)
{
    for (struct group_hold *h = s->holds; h; h = h->next)
        if (h->group == group)
            return h;
    return NULL;
}

void
hold_add(struct svc *s, int group, int fd)
{
    struct group_hold *h = hold_find(s, group);

    if (h) { /* cannot be: the kernel lets a group be opened once */
        (void)close(fd);
        h->refs++;
        return;
    }
    h = calloc(1, sizeof(*h));
    if (!h)
        abort(); /* 32 bytes: no sane way on */
    *h = (struct group_hold){.group = group, .fd = fd, .refs = 1, .next = s->holds};
    s->holds = h;
}

void
hold_ref(struct svc *s, int group)
{
    struct group_hold *h = hold_find(s, group);

    if (h)
        h->refs++;
}

void
hold_unref(struct svc *s, int group)
{
    for (struct group_hold **p = &s->holds; *p; p = &(*p)->next) {
        struct group_hold *h = *p;

        if (h->group != group)
            continue;
        if (--h->refs == 0) {
            *p = h->next;
            fd_close(&h->fd);
            free(h);
        }
        return;
    }
}

void
unit_release(struct unit *u)
{
    u->facts.flags &= ~(uint32_t)HWD_FACT_ARMED;
    if (!u->holding)
        return;
    u->holding = false;
    if (u->facts.use == HWD_USE_OURS)
        u->facts.use = HWD_USE_FREE;
    hold_unref(u->svc, u->held_group);
}

/* ---- whose opens? ---- */

bool
group_busy(const struct svc *s, int group, const struct unit *but)
{
    for (unsigned i = 0; group >= 0 && i < s->n_units; i++)
        if (s->units[i] != but && s->units[i]->op && s->units[i]->op->group == group)
            return true;
    return false;
}

void
group_count(struct svc *s, int group, unsigned seen, unsigned own)
{
    struct group_count *c = s->counts;

    if (group < 0 || (!seen && !own))
        return;
    while (c && c->group != group)
        c = c->next;
    if (!c) {
        c = calloc(1, sizeof(*c));
        if (!c)
            abort(); /* as above */
        c->group = group;
        c->next = s->counts;
        s->counts = c;
    }
    c->seen += seen;
    c->own += own;
}

bool
group_counted(struct svc *s, int group)
{
    for (struct group_count **p = &s->counts; *p; p = &(*p)->next) {
        struct group_count *c = *p;
        bool foreign = c->seen > c->own;

        if (c->group != group)
            continue;
        *p = c->next;
        free(c);
        return foreign;
    }
    return false;
}

void
counts_free(struct svc *s)
{
    while (s->counts)
        (void)group_counted(s, s->counts->group);
}
