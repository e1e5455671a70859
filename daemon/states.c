/* SPDX-License-Identifier: Apache-2.0
 *
 * The state tables. Changing a line here changes the daemon and asks for the same change in
 * docs/architecture.md.
 */
#include "daemon/states.h"

#include "base/cleanup.h"

#include <assert.h>

/* clang-format off */
static const struct unit_state_info infos[UNIT_STATE_COUNT] = {
    /*                    name           healthy lazy   cdi    alloc  journal        meaning */
    [UNIT_FOUND]       = {"found",       false,  true,  false, false, NULL,          "seen, untouched"},
    [UNIT_ARMING]      = {"arming",      false,  false, false, false, "arming",      "bind, set mode, reset, verify under way"},
    [UNIT_READY]       = {"ready",       true,   true,  true,  false, "ready",       "verified, held by pgpu-hwd ever since"},
    [UNIT_ALLOCATED]   = {"allocated",   true,   true,  true,  true,  "allocated",   "handed out, not known to be open"},
    [UNIT_IN_USE]      = {"in_use",      true,   true,  true,  true,  "allocated",   "handed out and opened by a VM"},
    [UNIT_RELEASING]   = {"releasing",   false,  false, false, false, "releasing",   "taken back: wait until free, reset, verify"},
    [UNIT_QUARANTINED] = {"quarantined", false,  false, false, false, "quarantined", "not offered, see the reason"},
    [UNIT_STUCK]       = {"stuck",       false,  false, false, false, "arming",      "the kernel has not come back from a write"},
    [UNIT_GONE]        = {"gone",        false,  false, false, false, NULL,          "left the bus"},
};

static const char *const event_names[EV_COUNT] = {
    [EV_PREPARE] = "prepare",       [EV_OP_OK_HELD] = "held",     [EV_OP_OK_HANDED] = "handed",
    [EV_OP_FAILED] = "failed",      [EV_OP_STUCK] = "stuck",      [EV_UNSTUCK] = "unstuck",
    [EV_OPENED] = "opened",         [EV_OWNER_GONE] = "owner gone", [EV_TAKE_BACK] = "take back",
    [EV_UNFIT] = "unfit",           [EV_FIT] = "fit",             [EV_HOLD_LOST] = "hold lost",
    [EV_FOUND_HANDED] = "found handed out", [EV_FOUND_HELD] = "found held",
    [EV_MODE] = "mode",             [EV_RETRY] = "retry",           [EV_GONE] = "gone",           [EV_BACK] = "back",
};

static const struct unit_transition transitions[] = {
    {UNIT_FOUND,       EV_PREPARE,      UNIT_ARMING,      "policy eager, or an Allocate asks for it, or a pod has it since before a reboot"},
    {UNIT_FOUND,       EV_UNFIT,        UNIT_QUARANTINED, "facts name a condition (group, driver, cdev)"},
    {UNIT_FOUND,       EV_FOUND_HANDED, UNIT_ALLOCATED,   "at start: handed out in this boot (journal, or the service knows)"},
    {UNIT_FOUND,       EV_FOUND_HELD,   UNIT_IN_USE,      "at start: handed out and open"},
    {UNIT_FOUND,       EV_OP_FAILED,    UNIT_QUARANTINED, "an Allocate could not use it"},
    {UNIT_FOUND,       EV_OP_STUCK,     UNIT_STUCK,       "the facts say so at start"},
    {UNIT_FOUND,       EV_GONE,         UNIT_GONE,        "PCI remove"},
    {UNIT_ARMING,      EV_OP_OK_HELD,   UNIT_READY,       "PREPARE or VERIFY succeeded"},
    {UNIT_ARMING,      EV_OP_OK_HANDED, UNIT_ALLOCATED,   "PREPARE with hand-over succeeded"},
    {UNIT_ARMING,      EV_TAKE_BACK,    UNIT_RELEASING,   "handed over for an Allocate that had ended"},
    {UNIT_ARMING,      EV_OP_FAILED,    UNIT_QUARANTINED, "PREPARE or VERIFY failed"},
    {UNIT_ARMING,      EV_OP_STUCK,     UNIT_STUCK,       "deadline passed, the worker cannot be killed"},
    {UNIT_ARMING,      EV_UNFIT,        UNIT_QUARANTINED, "facts name a condition"},
    {UNIT_ARMING,      EV_GONE,         UNIT_GONE,        "PCI remove"},
    {UNIT_READY,       EV_OP_OK_HANDED, UNIT_ALLOCATED,   "Allocate: HANDOVER verified it and let go"},
    {UNIT_READY,       EV_OP_OK_HELD,   UNIT_READY,       "periodic check"},
    {UNIT_READY,       EV_FOUND_HANDED, UNIT_ALLOCATED,   "its pod is listed: its sandbox ended and it makes another one, or the node was rebooted"},
    {UNIT_READY,       EV_OP_FAILED,    UNIT_QUARANTINED, "hand-over or periodic check found it not as verified"},
    {UNIT_READY,       EV_OP_STUCK,     UNIT_STUCK,       "Allocate: the kernel did not come back"},
    {UNIT_READY,       EV_TAKE_BACK,    UNIT_RELEASING,   "handed over for an Allocate that had ended"},
    {UNIT_READY,       EV_HOLD_LOST,    UNIT_ARMING,      "pgpu-hwd restarted, or the hold is gone"},
    {UNIT_READY,       EV_MODE,         UNIT_ARMING,      "the node's mode was changed"},
    {UNIT_READY,       EV_UNFIT,        UNIT_QUARANTINED, "facts name a condition"},
    {UNIT_READY,       EV_GONE,         UNIT_GONE,        "PCI remove"},
    {UNIT_ALLOCATED,   EV_OPENED,       UNIT_IN_USE,      "a VMM opened the node"},
    {UNIT_ALLOCATED,   EV_OP_OK_HANDED, UNIT_ALLOCATED,   "Allocate again, not opened in between"},
    {UNIT_ALLOCATED,   EV_OWNER_GONE,   UNIT_RELEASING,   "absent from two PodResources lists and free, or its sandbox ended"},
    {UNIT_ALLOCATED,   EV_TAKE_BACK,    UNIT_RELEASING,   "its Allocate failed, was cancelled, or came again after use"},
    {UNIT_ALLOCATED,   EV_OP_FAILED,    UNIT_QUARANTINED, "Allocate again: not as verified"},
    {UNIT_ALLOCATED,   EV_OP_STUCK,     UNIT_STUCK,       "the kernel did not come back"},
    {UNIT_ALLOCATED,   EV_GONE,         UNIT_GONE,        "PCI remove"},
    {UNIT_IN_USE,      EV_OWNER_GONE,   UNIT_RELEASING,   "absent from two PodResources lists, or its sandbox ended; open or not"},
    {UNIT_IN_USE,      EV_TAKE_BACK,    UNIT_RELEASING,   "Allocate of a unit that was used before"},
    {UNIT_IN_USE,      EV_GONE,         UNIT_GONE,        "PCI remove"},
    {UNIT_RELEASING,   EV_OP_OK_HELD,   UNIT_READY,       "scrubbed: reset and verified"},
    {UNIT_RELEASING,   EV_OP_OK_HANDED, UNIT_ALLOCATED,   "scrubbed for a waiting Allocate"},
    {UNIT_RELEASING,   EV_TAKE_BACK,    UNIT_RELEASING,   "handed over for an Allocate that had ended"},
    {UNIT_RELEASING,   EV_FOUND_HELD,   UNIT_IN_USE,      "listed again while open: the kubelet had only restarted"},
    {UNIT_RELEASING,   EV_OP_FAILED,    UNIT_QUARANTINED, "scrub failed"},
    {UNIT_RELEASING,   EV_OP_STUCK,     UNIT_STUCK,       "deadline passed, the worker cannot be killed"},
    {UNIT_RELEASING,   EV_UNFIT,        UNIT_QUARANTINED, "facts name a condition"},
    {UNIT_RELEASING,   EV_GONE,         UNIT_GONE,        "PCI remove"},
    {UNIT_QUARANTINED, EV_RETRY,        UNIT_ARMING,      "the ladder's next rung is due"},
    {UNIT_QUARANTINED, EV_FIT,          UNIT_FOUND,       "the facts' condition is gone"},
    {UNIT_QUARANTINED, EV_FOUND_HANDED, UNIT_ALLOCATED,   "PodResources lists it"},
    {UNIT_QUARANTINED, EV_FOUND_HELD,   UNIT_IN_USE,      "PodResources lists it and it is open"},
    {UNIT_QUARANTINED, EV_OP_STUCK,     UNIT_STUCK,       "the kernel did not come back"},
    {UNIT_QUARANTINED, EV_GONE,         UNIT_GONE,        "PCI remove"},
    {UNIT_STUCK,       EV_UNSTUCK,      UNIT_RELEASING,   "the worker came back: wait until free, reset, verify"},
    {UNIT_STUCK,       EV_GONE,         UNIT_GONE,        "PCI remove"},
    {UNIT_GONE,        EV_BACK,         UNIT_FOUND,       "PCI add"},
};
/* clang-format on */

const struct unit_state_info *
unit_state_info(enum unit_state s)
{
    assert(s < UNIT_STATE_COUNT);
    return &infos[s];
}

const char *
unit_event_name(enum unit_event ev)
{
    assert(ev < EV_COUNT);
    return event_names[ev];
}

bool
unit_state_next(enum unit_state from, enum unit_event ev, enum unit_state *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(transitions); i++)
        if (transitions[i].from == from && transitions[i].ev == ev) {
            *ret = transitions[i].to;
            return true;
        }
    return false;
}

size_t
unit_transition_count(void)
{
    return ARRAY_SIZE(transitions);
}

const struct unit_transition *
unit_transition_at(size_t i)
{
    assert(i < ARRAY_SIZE(transitions));
    return &transitions[i];
}

static const char *
yes(bool b)
{
    return b ? "yes" : "no";
}

void
unit_states_markdown(struct buf *out)
{
    (void)buf_put_str(out, "| state | meaning | Healthy (eager) | Healthy (allocate) | in CDI | "
                           "journal |\n|---|---|---|---|---|---|\n");
    for (int s = 0; s < UNIT_STATE_COUNT; s++) {
        const struct unit_state_info *i = &infos[s];

        (void)buf_putf(out, "| %s | %s | %s | %s | %s | %s |\n", i->name, i->meaning,
                       yes(i->healthy), yes(i->healthy_lazy), yes(i->in_cdi),
                       i->journal ? i->journal : "none");
    }
    (void)buf_put_str(out, "\n| from | event | to | trigger |\n|---|---|---|---|\n");
    for (size_t i = 0; i < ARRAY_SIZE(transitions); i++) {
        const struct unit_transition *t = &transitions[i];

        (void)buf_putf(out, "| %s | %s | %s | %s |\n", infos[t->from].name, event_names[t->ev],
                       infos[t->to].name, t->trigger);
    }
}
