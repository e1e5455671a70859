/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of a unit, as one table: what each state means to the kubelet, to CDI and to the
 * journal, and every transition with its trigger. docs/architecture.md prints the same table; a
 * test fails when they differ. Nothing else in the daemon decides what a state means.
 */
#ifndef PGPU_DAEMON_STATES_H
#define PGPU_DAEMON_STATES_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

enum unit_state {
    UNIT_FOUND,       /* seen, not prepared; with `prepare: allocate` the resting state */
    UNIT_ARMING,      /* bind, knobs, reset, boot wait, verify under way, or waiting its turn */
    UNIT_READY,       /* verified, and held by the hardware service since */
    UNIT_ALLOCATED,   /* handed out, not known to be open */
    UNIT_IN_USE,      /* handed out and opened */
    UNIT_RELEASING,   /* taken back: waiting until free, then scrub */
    UNIT_QUARANTINED, /* not offered, with a reason; the recovery ladder may be at work */
    UNIT_STUCK,       /* the kernel has not come back from a write */
    UNIT_GONE,        /* left the bus; listed for a while, so that no kubelet trips over it */
    UNIT_STATE_COUNT
};

enum unit_event {
    EV_PREPARE,      /* policy wants it armed */
    EV_OP_OK_HELD,   /* prepared or verified; the hardware service holds it */
    EV_OP_OK_HANDED, /* prepared or verified and handed over to the VMM-to-be */
    EV_OP_FAILED,    /* the hardware service says no, with a reason */
    EV_OP_STUCK,     /* the kernel holds the operation */
    EV_UNSTUCK,      /* the kernel let it go */
    EV_OPENED,       /* somebody opened the node */
    EV_OWNER_GONE,   /* no pod lists it any more, and nobody holds it */
    EV_TAKE_BACK,    /* handed over for an Allocate that failed or was cancelled */
    EV_UNFIT,        /* the facts name a condition that forbids preparing it */
    EV_FIT,          /* the condition is gone */
    EV_HOLD_LOST,    /* the hardware service restarted: nobody held it for a while */
    EV_FOUND_HANDED, /* at start: handed out before, by hardware, PodResources or journal */
    EV_FOUND_HELD,   /* at start: open by somebody, and it was handed out */
    EV_MODE,         /* the wanted mode is another one than it was prepared for */
    EV_RETRY,        /* the recovery ladder takes its next rung */
    EV_GONE,
    EV_BACK,
    EV_COUNT
};

struct unit_state_info {
    const char *name;
    bool healthy;        /* ListAndWatch, `prepare: eager` */
    bool healthy_lazy;   /* ListAndWatch, `prepare: allocate` */
    bool in_cdi;         /* in the CDI file, provided it is bound and has a node */
    bool allocated;      /* must never leave ListAndWatch */
    const char *journal; /* the intent that is written; NULL = record removed */
    const char *meaning;
};

struct unit_transition {
    enum unit_state from;
    enum unit_event ev;
    enum unit_state to;
    const char *trigger;
};

const struct unit_state_info *unit_state_info(enum unit_state s);
const char *unit_event_name(enum unit_event ev);

/* True and *ret set if the table has the transition. */
bool unit_state_next(enum unit_state from, enum unit_event ev, enum unit_state *ret);

size_t unit_transition_count(void);
const struct unit_transition *unit_transition_at(size_t i);

/* Both tables as Markdown, for docs/architecture.md. */
void unit_states_markdown(struct buf *out);

#endif
