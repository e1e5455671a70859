/* SPDX-License-Identifier: Apache-2.0
 *
 * What one unit needs, whoever asks: the procedures of the protocol's operations and of offline
 * pgpuctl, as numbered plans. They run in a worker process of their own and end with it.
 *
 * PREPARE
 *   1. gate: policy, mode floor, claim and standing obstacles on fresh driver links, nobody has it
 *      open. First, because nothing of it changes anything.
 *      Where the GPU itself is on a VFIO driver already, the group is held from here on.
 *   2. bind every function of the unit, having written down what each was. Before the hold
 *      otherwise: there is no group node until one function is on a VFIO driver.
 *   3. wake: D0, or BAR0 reads all-ones.
 *   4. hold the group: from here on no VMM can open the device under us.
 *   5. boot wait; 6. query; 7. plan and write the knobs, read back.
 *   8. reset, always: also where the mode is right, the memory of the last user is still there.
 *   9. wait for boot; 10. verify active and configured mode. Where boot or latching fails, once
 *      more with a bus reset.
 *  11. the group is viable and the node is there; the starter gets the hold, and with it the open
 *      device where registers are reached through VFIO. What is handed over is closed instead,
 *      which resets it once more: harmless, since what is configured was verified.
 *
 * VERIFY and HANDOVER: 1 (read-only part), 3, 4, 5, 10, 11.
 */
#include "hwd/job.h"

#include "base/cleanup.h"
#include "hwd/steps.h"
#include "vfio/hold.h"
#include "vfio/paths.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *
hwd_job_name(uint32_t op)
{
    switch (op) {
    case HWD_JOB_SCAN:
        return "scan";
    case HWD_JOB_ACTIVE:
        return "active";
    case HWD_JOB_QUERY:
        return "query";
    case HWD_JOB_PLAN:
        return "plan";
    case HWD_JOB_SET:
        return "set";
    default:
        return hwd_op_name((enum hwd_op)op);
    }
}

/* After a refusal, what the modes are instead; the facts then tell why. */
static void
note_modes_anyway(struct proc *p)
{
    struct cc_status st;
    struct err ignored = ERR_INIT;

    if (cc_query(&p->cc, &st, &ignored) >= 0)
        proc_note_modes(p, &st);
}

static bool
mode_is_wrong(enum reason r)
{
    return r == REASON_MODE_MISMATCH || r == REASON_MODE_NOT_LATCHED || r == REASON_MODE_INVALID;
}

/* Could the stronger reset cure it? What the firmware or the system refuses is no matter of resets.
 */
static bool
worth_bus_reset(enum reason r)
{
    static const enum reason list[] = {
        REASON_RESET_FAILED, REASON_BOOT_TIMEOUT, REASON_FIREWALL_UP,   REASON_BAR_DEAD,
        REASON_DEVICE_GONE,  REASON_SEC_FAULT,    REASON_RECOVERY_MODE, REASON_FSP_SILENT,
        REASON_FSP_STUCK,    REASON_FSP_PROTOCOL, REASON_MODE_INVALID,  REASON_MODE_NOT_LATCHED,
    };

    for (size_t i = 0; i < ARRAY_SIZE(list); i++)
        if (list[i] == r)
            return true;
    return false;
}

static int
reset_and_verify(struct proc *p, enum hwd_rung how, struct err *e)
{
    struct cc_status st;
    int r = step_reset(p, how, e);

    if (r < 0)
        return r;
    proc_phase(p, HWD_PHASE_REBOOT, "");
    r = cc_wait_boot(&p->cc, e);
    if (r < 0)
        return r;
    proc_phase(p, HWD_PHASE_VERIFY, "");
    r = cc_verify(&p->cc, (enum cc_mode)p->job->mode, &st, e);
    if (r < 0)
        return r;
    proc_note_modes(p, &st);
    return 0;
}

/* Opening through VFIO resets the function, and does not bring every GPU back: where a reset is
 * what was asked for, the stronger one is tried. */
static int
open_for_change(struct proc *p, struct err *e)
{
    int r = step_open(p, e);

    if (r >= 0 || !p->vdev || !worth_bus_reset(e->reason))
        return r;
    err_clear(e);
    r = step_reset(p, HWD_RUNG_BUS, e);
    if (r < 0)
        return r;
    proc_phase(p, HWD_PHASE_REBOOT, "");
    r = cc_wait_boot(&p->cc, e);
    return r < 0 ? r : cc_sanity(&p->cc, e);
}

/* Steps 5 to 10. */
int
switch_mode(struct proc *p, struct err *e)
{
    struct cc_status st;
    struct cc_plan plan;
    char detail[64];
    int r;

    proc_phase(p, HWD_PHASE_BOOT, "");
    r = open_for_change(p, e);
    if (r < 0)
        return r;
    r = cc_mode_check(p->cc.dev, p->cc.chip, (enum cc_mode)p->job->mode, e);
    if (r < 0)
        return r;
    r = cc_wait_boot(&p->cc, e);
    if (r < 0)
        return r;
    proc_phase(p, HWD_PHASE_QUERY, "");
    r = cc_query(&p->cc, &st, e);
    if (r < 0)
        return r;
    proc_note_modes(p, &st);
    r = cc_plan(p->cc.chip, &st, (enum cc_mode)p->job->mode, &plan, e);
    if (r < 0)
        return r;
    if (plan.n > 0) {
        (void)snprintf(detail, sizeof(detail), "%s: %u knobs", cc_mode_name(plan.mode), plan.n);
        proc_phase(p, HWD_PHASE_WRITE, detail);
        r = cc_plan_write(&p->cc, &plan, e);
        if (r < 0)
            return r;
        p->out->evidence.knobs_written = plan.n;
    }
    r = reset_and_verify(p, HWD_RUNG_FUNCTION, e);
    if (r < 0 && worth_bus_reset(e->reason)) {
        struct err first = *e;

        err_clear(e);
        r = reset_and_verify(p, HWD_RUNG_BUS, e);
        if (r < 0 && e->reason == REASON_RESET_FAILED) /* the first failure tells more */
            (void)err_reason(e, first.num, first.cls, first.reason,
                             "%.300s; the bus reset as second try failed as well", first.msg);
        else if (r < 0)
            (void)err_prefix(e, "after function and bus reset");
    }
    if (r < 0 && mode_is_wrong(e->reason))
        note_modes_anyway(p);
    return r;
}

/* A unit of a gang becomes viable when its siblings are bound as well; only what is about to be
 * handed out has to be. */
static int
ready_for_vmm(struct proc *p, bool handover, struct err *e)
{
    int r = step_refresh(p, e);

    if (r < 0)
        return r;
    r = step_node(p, e);
    if (r < 0)
        return r;
    return p->job->unit.facts.gang_size > 1 && !handover ? 0 : step_viable(p, e);
}

static int
do_prepare(struct proc *p, struct err *e)
{
    int r;

    proc_phase(p, HWD_PHASE_GATE, "");
    if ((r = step_policy(p, e)) < 0 || (r = step_floor(p, e)) < 0 || (r = step_lock(p, e)) < 0 ||
        (r = step_refresh(p, e)) < 0 || (r = step_gate(p, e)) < 0)
        return r;
    /* /proc as well as the hold: a VMM that has opened its cdev and not yet bound it to an iommufd
     * does not keep us from taking the group. */
    r = step_not_in_use(p, e);
    if (r < 0)
        return r;
    /* A user that /proc does not show must not find its companion unbound or its power changed. */
    if (vfio_is_vfio_driver(proc_primary(p)->driver) &&
        ((r = step_node(p, e)) < 0 || (r = step_hold(p, e)) < 0))
        return r;
    proc_phase(p, HWD_PHASE_BIND, "");
    r = step_bind(p, e);
    if (r < 0)
        return r;
    proc_phase(p, HWD_PHASE_WAKE, "");
    r = step_wake(p, e);
    if (r < 0)
        return r;
    proc_phase(p, HWD_PHASE_HOLD, "");
    r = step_node(p, e);
    if (r < 0)
        return r;
    r = step_hold(p, e);
    if (r < 0)
        return r;
    r = switch_mode(p, e);
    if (r < 0)
        return r;
    r = ready_for_vmm(p, (p->job->flags & HWD_REQ_HANDOVER) != 0, e);
    if (r < 0)
        return r;
    p->out->verified = 1;
    r = step_keep_hold(p, (p->job->flags & HWD_REQ_HANDOVER) != 0, e);
    if (r >= 0 && (p->job->flags & HWD_REQ_HANDOVER))
        r = step_let_go(p, e);
    return r;
}

/* What we armed we keep awake, and this is the path of every Allocate: the power files are read
 * only where the registers do not answer, or where nobody has looked before. */
static int
open_awake(struct proc *p, struct err *e)
{
    int r;

    if (!p->job->held)
        return step_open(p, e);
    r = step_open(p, e);
    if (r >= 0)
        return r;
    err_clear(e);
    r = step_wake(p, e);
    return r < 0 ? r : step_open(p, e);
}

static int
check_mode(struct proc *p, struct err *e)
{
    struct cc_status st;
    int r;

    proc_phase(p, HWD_PHASE_BOOT, "");
    r = open_awake(p, e);
    if (r < 0)
        return r;
    r = cc_mode_check(p->cc.dev, p->cc.chip, (enum cc_mode)p->job->mode, e);
    if (r < 0)
        return r;
    proc_phase(p, HWD_PHASE_VERIFY, "");
    r = cc_verify(&p->cc, (enum cc_mode)p->job->mode, &st, e);
    if (r < 0) {
        if (mode_is_wrong(e->reason))
            note_modes_anyway(p);
        return r;
    }
    proc_note_modes(p, &st);
    return 0;
}

static int
verify_awake(struct proc *p, struct err *e)
{
    bool handover = p->job->op == HWD_OP_HANDOVER;
    int r;

    proc_phase(p, HWD_PHASE_HOLD, "");
    r = step_hold(p, e);
    if (r < 0)
        return r;
    r = check_mode(p, e);
    if (r < 0)
        return r;
    r = ready_for_vmm(p, handover, e);
    if (r < 0)
        return r;
    p->out->verified = 1;
    if (!handover && !(p->job->flags & HWD_REQ_HOLD))
        return 0;
    r = step_keep_hold(p, handover, e);
    return r >= 0 && handover ? step_let_go(p, e) : r;
}

static int
do_verify(struct proc *p, struct err *e)
{
    int r;

    proc_phase(p, HWD_PHASE_GATE, "");
    if ((r = step_floor(p, e)) < 0 || (r = step_lock(p, e)) < 0 || (r = step_refresh(p, e)) < 0 ||
        (r = step_gate(p, e)) < 0)
        return r;
    if (!proc_bound(p))
        return err_reason(e, ENODEV, ERR_CLASS_INVALID, REASON_NOT_BOUND,
                          "%s %s: not bound to a VFIO driver", hwd_job_name(p->job->op),
                          PCI_STR(p->job->unit.addr));
    proc_phase(p, HWD_PHASE_WAKE, "");
    r = p->job->held ? 0 : step_wake(p, e);
    if (r >= 0)
        r = verify_awake(p, e);
    step_unwake(p);
    return r;
}

/* Through VFIO only what is bound and held can be looked at. Where the reset leaves nothing of that
 * kind (it was not bound, or left the bus), whoever prepares it next sees whether it boots. */
static int
boots_again(struct proc *p, struct err *e)
{
    bool held = p->hold >= 0 || p->lent >= 0;
    int r = open_for_change(p, e);

    if (r >= 0)
        return cc_wait_boot(&p->cc, e);
    if (held || p->vdev || p->job->cfg->access == HWD_ACCESS_SYSFS ||
        (e->reason != REASON_NOT_BOUND && e->reason != REASON_LOCKDOWN &&
         e->reason != REASON_STRICT_DEVMEM))
        return r;
    err_clear(e);
    proc_phase(p, HWD_PHASE_REBOOT, "not held by VFIO: nobody looks whether it boots");
    return 0;
}

/* RESET: 1. claim, and nobody has it open: hold it where it is on a VFIO driver. 2. the rung (the
 * hold goes first where the function leaves the bus). 3. wake and wait for boot: a reset that
 * leaves a dead device has not worked. */
static int
do_reset(struct proc *p, struct err *e)
{
    enum hwd_rung how = (enum hwd_rung)p->job->rung;
    int r;

    proc_phase(p, HWD_PHASE_GATE, "");
    if ((r = step_policy(p, e)) < 0 || (r = step_lock(p, e)) < 0 || (r = step_refresh(p, e)) < 0 ||
        (r = step_claim(p, e)) < 0)
        return r;
    r = step_not_in_use(p, e);
    if (r < 0)
        return r;
    proc_phase(p, HWD_PHASE_HOLD, "");
    r = vfio_is_vfio_driver(proc_primary(p)->driver) ? step_hold(p, e) : 0;
    if (r < 0)
        return r;
    if (how == HWD_RUNG_REMOVE_RESCAN) { /* it would wait for us */
        fd_close(&p->lent_dev);
        fd_close(&p->lent);
        fd_close(&p->hold);
    }
    r = step_reset(p, how, e);
    if (r < 0)
        return r;
    proc_phase(p, HWD_PHASE_REBOOT, "");
    r = step_refresh(p, e);
    if (r < 0)
        return r;
    r = step_wake(p, e);
    if (r >= 0)
        r = boots_again(p, e);
    step_unwake(p);
    return r;
}

static int
give_back_one(struct proc *p, struct pci_addr a, struct err *e)
{
    const struct vfio_fn *f = vfio_find(&p->scan.inv, a);
    struct hwd_record rec;
    int r = 0;

    hwd_state_load(p->job->statedir, a, &rec);
    if (!f || !rec.former.known)
        return 0;
    r = vfio_power_restore(p->job->root, a, &rec.power, e);
    if (r < 0)
        err_clear(e); /* not worth keeping the device for */
    if (!vfio_is_vfio_driver(rec.former.driver)) {
        r = vfio_give_back(p->job->root, a, rec.former.driver, e);
        if (r < 0)
            return r;
    }
    p->scan.former[f - p->scan.inv.fn] = (struct hwd_former){0};
    return hwd_state_drop(p->job->statedir, a, e);
}

/* GIVE_BACK: 1. claim, nobody has it open. 2. companions first, so that the GPU is the last to
 * leave; each: power policy, then driver, then forget. The group cannot be held meanwhile: a host
 * driver does not probe in a group that a VFIO user owns (EINVAL, Linux 6.12). */
static int
do_give_back(struct proc *p, struct err *e)
{
    int r;

    proc_phase(p, HWD_PHASE_GATE, "");
    if ((r = step_policy(p, e)) < 0 || (r = step_lock(p, e)) < 0 || (r = step_refresh(p, e)) < 0 ||
        (r = step_claim(p, e)) < 0 || (r = step_not_in_use(p, e)) < 0)
        return r;
    if (vfio_is_vfio_driver(proc_primary(p)->driver)) {
        r = vfio_in_use(p->job->root, proc_primary(p), e);
        if (r < 0)
            return r;
        p->out->group_opens += r == 0;
        if (r > 0) {
            p->out->use = HWD_USE_HELD;
            return err_reason(e, EBUSY, ERR_CLASS_BUSY, REASON_IN_USE,
                              "give back %s: somebody has it open", PCI_STR(p->job->unit.addr));
        }
    }
    proc_phase(p, HWD_PHASE_RELEASE, "");
    for (unsigned i = p->job->unit.n_fn; i > 0; i--) {
        r = give_back_one(p, p->job->unit.fn[i - 1], e);
        if (r < 0) {
            struct err ignored = ERR_INIT;

            (void)step_refresh(p, &ignored);
            return r;
        }
    }
    return step_refresh(p, e);
}

static int
dispatch(struct proc *p, struct err *e)
{
    switch (p->job->op) {
    case HWD_OP_PREPARE:
        return do_prepare(p, e);
    case HWD_OP_VERIFY:
    case HWD_OP_HANDOVER:
        return do_verify(p, e);
    case HWD_OP_RESET:
        return do_reset(p, e);
    case HWD_OP_GIVE_BACK:
        return do_give_back(p, e);
    case HWD_OP_PROBE_USE:
        return do_probe(p, e);
    case HWD_JOB_SCAN:
        return do_scan(p, e);
    case HWD_JOB_ACTIVE:
        return do_active(p, e);
    case HWD_JOB_QUERY:
    case HWD_JOB_PLAN:
    case HWD_JOB_SET:
        return do_offline(p, e);
    default:
        return err_reason(e, EINVAL, ERR_CLASS_INVALID, REASON_INTERNAL, "unknown operation %u",
                          p->job->op);
    }
}

void
hwd_job_run(const struct hwd_job *job, const struct hwd_io *io, struct hwd_outcome *ret)
{
    struct err e = ERR_INIT;
    struct proc p;
    int r;

    memset(ret, 0, sizeof(*ret));
    ret->mode_active = ret->mode_configured = CC_MODE_UNKNOWN;
    r = proc_init(&p, job, io, ret, &e);
    if (r >= 0)
        r = dispatch(&p, &e);
    proc_phase(&p, HWD_PHASE_NONE, "");
    /* Before the outcome is reported nothing of ours may be open any more: who reads it may let a
     * VMM open the node at once. */
    proc_fini(&p);
    if (r >= 0)
        return;
    ret->verified = 0;
    ret->err_class = (uint32_t)e.cls;
    ret->err_num = (uint32_t)e.num;
    ret->reason = (uint32_t)e.reason;
    (void)str_copy(ret->text, sizeof(ret->text), e.msg);
}
