/* SPDX-License-Identifier: Apache-2.0
 *
 * Recovery of a unit that an operation failed on: retry → function reset → bus reset →
 * remove/rescan → "needs a power cycle". Each rung is followed by a whole preparation; a rung that
 * fails leads to the next. Faults that no reset can cure (a mode that the part, the firmware or a
 * configuration does not allow) get no rung: they are tried again now and then, and when the
 * hardware service comes back with another configuration.
 */
#include "daemon/node.h"

#include "base/fs.h"
#include "base/hw.h"
#include "base/log.h"
#include "daemon/timer.h"

#include <stdio.h>
#include <string.h>

/* The last rung is repeated with this pause, for a device that somebody repaired meanwhile. */
#define SLOW_RETRY HW_SEC(600)
#define HELD_RETRY HW_SEC(10)
#define RETRY_DOUBLINGS 10u
/* So many failures in a row are "somebody has it for a moment". */
#define SOON_RETRIES 5u

enum { RUNG_RETRY, RUNG_FUNCTION, RUNG_BUS, RUNG_REMOVE_RESCAN, RUNG_HOPELESS };

static const struct {
    const char *name;
    unsigned delay_factor; /* of recovery_delay */
} rungs[] = {
    [RUNG_RETRY] = {"retry", 1},
    [RUNG_FUNCTION] = {"function reset", 2},
    [RUNG_BUS] = {"bus reset", 4},
    [RUNG_REMOVE_RESCAN] = {"remove and rescan", 8},
    [RUNG_HOPELESS] = {"needs a power cycle", 0},
};

static void
prepare_again(struct unit *u)
{
    if (unit_event(u, EV_RETRY, REASON_NONE, NULL))
        unit_step(u);
}

/* Not the device's fault (somebody holds it, our own side is down, a configuration or the part says
 * no): resets would be wrong, trying again is right. */
static bool
only_wait(const struct unit *u)
{
    return u->fail_class != ERR_CLASS_HW;
}

static bool
held_for_now(const struct unit *u)
{
    return u->fail_class == ERR_CLASS_BUSY || u->fail_class == ERR_CLASS_RETRY;
}

/* Twice as long each time: what somebody holds is looked at often, what is refused ever less. */
static uint64_t
retry_delay(struct unit *u, uint64_t base)
{
    uint64_t most = held_for_now(u) ? HELD_RETRY : SLOW_RETRY;
    uint64_t delay = base << (u->retries < RETRY_DOUBLINGS ? u->retries : RETRY_DOUBLINGS);

    u->retries++;
    return delay < most ? delay : most;
}

bool
ladder_at_work(const struct unit *u)
{
    if (u->state != UNIT_QUARANTINED || u->unfit)
        return false;
    if (u->op_seq)
        return true; /* a reset */
    if (only_wait(u))
        return held_for_now(u) && u->retries <= SOON_RETRIES;
    return u->rung < RUNG_HOPELESS && u->node->conf->manage != MANAGE_VERIFY;
}

static int
on_ladder(sd_event_source *s, uint64_t usec, void *ctx)
{
    struct unit *u = ctx;
    unsigned rung = u->rung > RUNG_HOPELESS ? RUNG_HOPELESS : u->rung;

    (void)s;
    (void)usec;
    if (u->state != UNIT_QUARANTINED || u->op_seq)
        return 0;
    if (!hwclient_is_up(u->node->hw) || u->facts.state != HWD_STATE_IDLE) {
        ladder_arm(u);
        return 0;
    }
    log_info("recovering device", "device", u->id, "rung", rungs[rung].name, "reason",
             reason_name(u->reason));
    if (rung == RUNG_RETRY || rung == RUNG_HOPELESS || only_wait(u) ||
        u->node->conf->manage == MANAGE_VERIFY) {
        u->rung = rung + (rung == RUNG_RETRY && !only_wait(u));
        prepare_again(u);
        return 0;
    }
    u->rung = rung + 1;
    if (!unit_start_op(u, HWD_OP_RESET, 0, HWD_RUNG_FUNCTION + rung - RUNG_FUNCTION,
                       u->node->conf->arm_deadline))
        ladder_arm(u);
    return 0;
}

void
ladder_arm(struct unit *u)
{
    uint64_t base = u->node->conf->recovery_delay;

    if (only_wait(u)) {
        timer_arm(u->node->loop, &u->ladder, retry_delay(u, base), on_ladder, u);
        return;
    }
    if (u->rung >= RUNG_HOPELESS) {
        char text[sizeof(u->why)];

        if (!strstr(u->why, "power-cycle")) {
            (void)snprintf(text, sizeof(text), "every reset was tried, power-cycle the host: %.*s",
                           (int)sizeof(text) - 48, u->why);
            (void)str_copy(u->why, sizeof(u->why), text);
        }
        u->rung = RUNG_HOPELESS;
        timer_arm(u->node->loop, &u->ladder, SLOW_RETRY, on_ladder, u);
        promise_update(u->node); /* a change of the mode has nothing to wait for any more */
        return;
    }
    timer_arm(u->node->loop, &u->ladder, base * rungs[u->rung].delay_factor, on_ladder, u);
}

void
ladder_reset(struct unit *u)
{
    u->rung = RUNG_RETRY;
    u->retries = 0;
    u->unfit = false;
    timer_stop(u->ladder);
}

void
ladder_result(struct unit *u, const struct hwd_message *m)
{
    if (u->state != UNIT_QUARANTINED) {
        unit_step(u); /* remove/rescan took it away and brought it back meanwhile */
        return;
    }
    if (m->err_class == ERR_CLASS_NONE) {
        prepare_again(u);
        return;
    }
    u->fail_class = (enum err_class)m->err_class;
    log_warn("recovery failed", "device", u->id, "why", m->text);
    if (m->reason == REASON_STUCK) {
        (void)unit_event(u, EV_OP_STUCK, REASON_STUCK, m->text);
        return;
    }
    ladder_arm(u);
}
