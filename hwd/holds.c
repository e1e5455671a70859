/* SPDX-License-Identifier: Apache-2.0
 *
 * Group holds: descriptors that keep VMMs out, counted by the units and operations that need them;
 * and the open devices of units whose registers are reached through VFIO.
 */
#include "hwd/svc.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

struct group_hold *
hold_find(struct svc *s, int group)
{
    for (struct group_hold *h = s->holds; h; h = h->next)
        if (h->group == group)
            return h;
    return NULL;
}

bool
hold_is_there(const struct group_hold *h)
{
    return h && h->fd >= 0;
}

void
hold_add(struct svc *s, int group, int fd, bool is_cdev)
{
    struct group_hold *h = hold_find(s, group);

    if (h) { /* the kernel lets a group be opened once: what we had is closed already */
        fd_close(&h->fd);
        h->fd = fd;
        h->is_cdev = is_cdev;
        h->refs++;
        return;
    }
    h = calloc(1, sizeof(*h));
    if (!h)
        abort(); /* 32 bytes: no sane way on */
    *h = (struct group_hold){
        .group = group, .fd = fd, .is_cdev = is_cdev, .refs = 1, .next = s->holds};
    s->holds = h;
}

void
hold_ref(struct svc *s, int group)
{
    struct group_hold *h = hold_find(s, group);

    if (h)
        h->refs++;
}

/* Returns the descriptor to close where the last reference is gone, else -1. */
static int
take_last(struct svc *s, int group, bool *ret_is_cdev)
{
    for (struct group_hold **p = &s->holds; *p; p = &(*p)->next) {
        struct group_hold *h = *p;
        int fd = -1;

        if (h->group != group)
            continue;
        if (--h->refs == 0) {
            *p = h->next;
            *ret_is_cdev = h->is_cdev;
            fd = h->fd;
            free(h);
        }
        return fd;
    }
    return -1;
}

void
hold_unref(struct svc *s, int group, struct unit *u)
{
    bool is_cdev = false;
    int fd = take_last(s, group, &is_cdev);

    if (is_cdev)
        away_close(u, -1, fd);
    else
        fd_close(&fd);
}

void
unit_release(struct unit *u)
{
    bool is_cdev = false;
    int dev = take_fd(&u->dev_fd), hold = -1;

    unit_drop_dev(u);
    u->facts.flags &= ~(uint32_t)HWD_FACT_ARMED;
    if (u->holding) {
        u->holding = false;
        if (u->facts.use == HWD_USE_OURS)
            u->facts.use = HWD_USE_FREE;
        hold = take_last(u->svc, u->held_group, &is_cdev);
    }
    if (dev >= 0 || is_cdev)
        away_close(u, dev, hold);
    else
        fd_close(&hold);
}

/* ---- open devices ---- */

/* Somebody unbinds the function, or it is being unplugged: the kernel waits until we let go. */
static int
on_request(sd_event_source *src, int fd, uint32_t revents, void *ctx)
{
    struct unit *u = ctx;

    (void)fd;
    (void)revents;
    (void)sd_event_source_set_enabled(src, SD_EVENT_OFF); /* it would come again every 10 s */
    log_info("device is wanted back, letting go", "unit", PCI_STR(u->desc.addr));
    u->wanted = true;
    if (u->op)
        return 0; /* at its end */
    unit_lost(u);
    unit_tell(u);
    scan_soon(u->svc, 0);
    return 0;
}

bool
unit_take_dev(struct unit *u, int dev, int request)
{
    if (u->dev_fd >= 0 || u->request_fd >= 0)
        return false;
    u->dev_fd = dev;
    u->request_fd = request;
    u->wanted = false;
    if (request >= 0)
        (void)sd_event_add_io(u->svc->loop, &u->request, request, EPOLLIN, on_request, u);
    return true;
}

void
unit_drop_dev(struct unit *u)
{
    u->request = sd_event_source_disable_unref(u->request);
    fd_close(&u->request_fd);
    fd_close(&u->dev_fd);
    u->wanted = false;
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
