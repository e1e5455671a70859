/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps of the procedures. State: the struct proc of one worker process.
 */
#include "hwd/steps.h"

#include "base/cleanup.h"
#include "vfio/group.h"
#include "vfio/hold.h"
#include "vfio/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NODE_WAIT_TRIES 100 /* devtmpfs makes the node in bind's own call; a udev rule may lag */
#define NODE_WAIT_NS HW_MS(10)

uint64_t
hwd_now(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void
nap(uint64_t ns)
{
    struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000u),
                          .tv_nsec = (long)(ns % 1000000000u)};

    while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
        ;
}

int
proc_init(struct proc *p, const struct hwd_job *job, const struct hwd_io *io,
          struct hwd_outcome *out, struct err *e)
{
    size_t n = job->scan ? job->scan->inv.n : 0;

    *p = (struct proc){.job = job, .io = io, .out = out, .lock = -1, .hold = -1};
    p->lent = job->held ? job->hold_fd : -1;
    p->lent_dev = job->held ? job->dev_fd : -1;
    p->starter_has_dev = p->lent_dev >= 0;
    p->started = p->phase_since = hwd_now();
    if (!job->scan)
        return 0;
    p->scan.iommufd = job->scan->iommufd;
    p->scan.vfio_ready = job->scan->vfio_ready;
    p->scan.inv.n = job->scan->inv.n;
    p->scan.inv.fn = calloc(n ? n : 1, sizeof(*p->scan.inv.fn));
    p->scan.former = calloc(n ? n : 1, sizeof(*p->scan.former));
    if (!p->scan.inv.fn || !p->scan.former)
        return err_errno(e, ENOMEM, ERR_CLASS_RETRY, "start operation on %s",
                         PCI_STR(job->unit.addr));
    memcpy(p->scan.inv.fn, job->scan->inv.fn, n * sizeof(*p->scan.inv.fn));
    memcpy(p->scan.former, job->scan->former, n * sizeof(*p->scan.former));
    return 0;
}

void
proc_fini(struct proc *p)
{
    dev_sysfs_close(p->dev);
    dev_vfio_close(p->vdev);
    /* The hold goes before the lock: whoever gets the lock next finds the group as it is. */
    fd_close(&p->lent_dev);
    fd_close(&p->lent);
    fd_close(&p->hold);
    fd_close(&p->lock);
    free(p->scan.inv.fn);
    free(p->scan.former);
}

void
proc_phase(struct proc *p, enum hwd_phase phase, const char *detail)
{
    uint64_t now = hwd_now();

    p->out->evidence.phase_ms[p->phase] += (uint32_t)((now - p->phase_since) / HW_MS(1));
    p->out->evidence.total_ms = (uint32_t)((now - p->started) / HW_MS(1));
    p->phase_since = now;
    p->phase = phase;
    if (phase != HWD_PHASE_NONE)
        p->io->phase(p->io->ctx, phase, detail);
}

void
proc_note_modes(struct proc *p, const struct cc_status *st)
{
    p->out->status = *st;
    p->out->have_status = 1;
    p->out->mode_active = (uint32_t)st->active;
    p->out->mode_configured = (uint32_t)st->configured;
}

static struct vfio_fn *
find_mut(struct proc *p, struct pci_addr a)
{
    for (unsigned i = 0; i < p->scan.inv.n; i++)
        if (pci_addr_cmp(p->scan.inv.fn[i].addr, a) == 0)
            return &p->scan.inv.fn[i];
    return NULL;
}

const struct vfio_fn *
proc_primary(const struct proc *p)
{
    return vfio_find(&p->scan.inv, p->job->unit.addr);
}

bool
proc_bound(const struct proc *p)
{
    for (unsigned i = 0; i < p->job->unit.n_fn; i++) {
        const struct vfio_fn *f = vfio_find(&p->scan.inv, p->job->unit.fn[i]);

        if (!f || !vfio_is_vfio_driver(f->driver))
            return false;
    }
    return true;
}

static bool
in_unit(const struct hwd_unit *u, struct pci_addr a)
{
    for (unsigned i = 0; i < u->n_fn; i++)
        if (pci_addr_cmp(u->fn[i], a) == 0)
            return true;
    return false;
}

static int
refresh_one(struct proc *p, unsigned i, struct err *e)
{
    struct vfio_fn *f = &p->scan.inv.fn[i];
    int r = vfio_driver_of(p->job->root, f->addr, f->driver, sizeof(f->driver), e);

    if (r < 0)
        return r;
    if (!in_unit(&p->job->unit, f->addr))
        return 0;
    vfio_read_nodes(p->job->root, f);
    p->io->fn(p->io->ctx, f, &p->scan.former[i]);
    return 0;
}

int
step_refresh(struct proc *p, struct err *e)
{
    const struct vfio_fn *primary = proc_primary(p);
    int r;

    if (!primary || !vfio_present(p->job->root, primary->addr))
        return err_reason(e, ENODEV, ERR_CLASS_HW, REASON_DEVICE_GONE, "%s is not on the bus",
                          PCI_STR(p->job->unit.addr));
    for (unsigned i = 0; i < p->scan.inv.n; i++) {
        const struct vfio_fn *f = &p->scan.inv.fn[i];

        if (f->kind == VFIO_KIND_BRIDGE ||
            !(in_unit(&p->job->unit, f->addr) ||
              (f->iommu_group >= 0 && f->iommu_group == primary->iommu_group)))
            continue;
        r = refresh_one(p, i, e);
        if (r < 0)
            return r;
    }
    return 0;
}

int
step_lock(struct proc *p, struct err *e)
{
    return hwd_state_lock(p->job->statedir, p->job->unit.addr, &p->lock, e);
}

int
step_floor(struct proc *p, struct err *e)
{
    if (p->job->by_operator || hwd_config_mode_allowed(p->job->cfg, (enum cc_mode)p->job->mode))
        return 0;
    /* A switch has no CC mode of its own: off is what it is beside GPUs in CC mode. */
    if (p->job->unit.facts.kind == HWD_KIND_NVSWITCH && p->job->mode == CC_MODE_OFF)
        return 0;
    return err_reason(e, EPERM, ERR_CLASS_INVALID, REASON_MODE_FORBIDDEN,
                      "set %s to mode %s: `modes` of pgpu-hwd's configuration does not list it",
                      PCI_STR(p->job->unit.addr), cc_mode_name((enum cc_mode)p->job->mode));
}

int
step_policy(struct proc *p, struct err *e)
{
    if (p->job->by_operator || p->job->cfg->manage == HWD_MANAGE_FULL)
        return 0;
    return err_reason(e, EPERM, ERR_CLASS_INVALID, REASON_HWD_REFUSED,
                      "%s %s: `manage: verify` of pgpu-hwd's configuration changes nothing",
                      hwd_job_name(p->job->op), PCI_STR(p->job->unit.addr));
}

int
step_claim(struct proc *p, struct err *e)
{
    const struct vfio_fn *f = proc_primary(p);

    if (!f || !p->job->unit.chip)
        return err_reason(e, ENODEV, ERR_CLASS_INVALID, REASON_CHIP_UNKNOWN,
                          "%s is no GPU or NVSwitch that we know", PCI_STR(p->job->unit.addr));
    if (p->job->by_operator) {
        if (f->driver[0] && !vfio_is_vfio_driver(f->driver))
            return err_reason(e, EBUSY, ERR_CLASS_BUSY, REASON_DRIVER_IN_USE,
                              "%s is bound to %s: unbind it first", PCI_STR(f->addr), f->driver);
        return 0;
    }
    return hwd_claim_check(p->job->cfg, f->addr, f->driver, &p->scan.former[f - p->scan.inv.fn], e);
}

int
step_gate(struct proc *p, struct err *e)
{
    return hwd_unit_check(&p->job->unit, &p->scan, p->job->cfg, e);
}

void
proc_name_holder(struct proc *p, struct err *e)
{
    struct vfio_holder h[1];
    struct err ignored = ERR_INIT;
    const struct vfio_fn *f = proc_primary(p);

    p->out->use = HWD_USE_HELD;
    if (p->out->holder_pid || !f ||
        vfio_holders(p->job->root, f, getpid(), h, ARRAY_SIZE(h), &ignored) <= 0)
        return;
    p->out->holder_pid = (int32_t)h[0].pid;
    (void)str_copy(p->out->holder_comm, sizeof(p->out->holder_comm), h[0].comm);
    if (e)
        (void)err_prefix(e, "held by %s (pid %d)", h[0].comm, (int)h[0].pid);
}

/* Our starter and its other workers: a sibling of the gang may be held right now. */
static bool
is_ours(pid_t pid)
{
    char path[48], stat[512];
    const char *after;
    int ppid = 0;
    ssize_t n;
    _cleanup_fd_ int fd = -1;

    if (pid == getppid())
        return true;
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, stat, sizeof(stat) - 1);
    stat[n > 0 ? n : 0] = '\0';
    after = strrchr(stat, ')'); /* the command may contain anything, brackets included */
    return after && sscanf(after, ") %*c %d", &ppid) == 1 && ppid == (int)getppid();
}

/* Before every unbind and reset: nobody has the VFIO node open. What we (or our starter) hold
 * ourselves nobody else can have. */
int
step_not_in_use(struct proc *p, struct err *e)
{
    return p->job->held || p->hold >= 0 ? 0 : proc_holders(p, e);
}

int
proc_holders(struct proc *p, struct err *e)
{
    const struct vfio_fn *f = proc_primary(p);
    struct vfio_holder h[4];
    int n;

    if (!vfio_is_vfio_driver(f->driver))
        return 0;
    n = vfio_holders(p->job->root, f, getpid(), h, ARRAY_SIZE(h), e);
    for (int i = 0; i < n; i++) {
        if (is_ours(h[i].pid))
            continue;
        p->out->use = HWD_USE_HELD;
        p->out->holder_pid = (int32_t)h[i].pid;
        (void)str_copy(p->out->holder_comm, sizeof(p->out->holder_comm), h[i].comm);
        return err_reason(e, EBUSY, ERR_CLASS_BUSY, REASON_IN_USE, "use %s: held by %s (pid %d)",
                          PCI_STR(f->addr), h[i].comm, (int)h[i].pid);
    }
    return n < 0 ? n : 0;
}

/* One function: remember what it was, then bind. */
static int
bind_one(struct proc *p, struct pci_addr a, struct err *e)
{
    struct vfio_fn *f = find_mut(p, a);
    struct hwd_former *former;
    struct hwd_record rec;
    char want[32];
    int r;

    if (!f)
        return 0;
    former = &p->scan.former[f - p->scan.inv.fn];
    hwd_state_load(p->job->statedir, a, &rec);
    if (!rec.former.known) {
        rec.former.known = true;
        (void)str_copy(rec.former.driver, sizeof(rec.former.driver), f->driver);
        r = hwd_state_store(p->job->statedir, a, &rec, e);
        if (r < 0)
            return r;
    }
    *former = rec.former;
    if (vfio_is_vfio_driver(f->driver))
        return 0;
    r = vfio_wanted_driver(p->job->root, f, want, sizeof(want), e);
    if (r < 0)
        return r;
    return vfio_bind(p->job->root, a, want, e);
}

int
step_bind(struct proc *p, struct err *e)
{
    int r = 0;

    for (unsigned i = 0; i < p->job->unit.n_fn; i++) {
        r = bind_one(p, p->job->unit.fn[i], e);
        if (r < 0)
            break;
    }
    if (r < 0) {
        struct err ignored = ERR_INIT;

        (void)step_refresh(p, &ignored);
        return r;
    }
    return step_refresh(p, e);
}

int
step_node(struct proc *p, struct err *e)
{
    const struct vfio_fn *f = proc_primary(p);
    char node[64];
    int r = vfio_node_path(f, p->job->cfg->vfio_node == HWD_NODE_GROUP, node, sizeof(node), e);

    if (r < 0)
        return r;
    for (int i = 0; i < NODE_WAIT_TRIES; i++) {
        if (fs_exists(p->job->root, node))
            return 0;
        nap(NODE_WAIT_NS);
    }
    return err_reason(e, ENOENT, ERR_CLASS_RETRY, REASON_NODE_MISSING, "%s: %s does not appear",
                      PCI_STR(f->addr), node);
}

int
step_viable(struct proc *p, struct err *e)
{
    struct vfio_group g;
    int r = vfio_group_of(&p->scan.inv, proc_primary(p), &g, e);

    return r < 0 ? r : vfio_group_viable(&g, e);
}

/* An open cdev is the hold of its own device alone: closing one member's for its hand-over would
 * leave the others armed and open to everybody. The operator's own, offline, lasts for one run. */
static int
no_gang_by_cdev(const struct proc *p, struct err *e)
{
    const struct vfio_fn *f = proc_primary(p);

    if (p->job->by_operator || p->job->unit.facts.gang_size <= 1 ||
        !vfio_is_vfio_driver(f->driver) || !vfio_hold_is_cdev(p->job->root, f))
        return 0;
    return err_reason(e, ENOTSUP, ERR_CLASS_INVALID, REASON_GROUP_SHARED,
                      "hold %s: it shares IOMMU group %d, and this kernel has no group nodes "
                      "(CONFIG_VFIO_GROUP)",
                      PCI_STR(f->addr), f->iommu_group);
}

int
step_hold(struct proc *p, struct err *e)
{
    int r;

    if (p->job->held || p->covered || p->hold >= 0)
        return 0;
    r = no_gang_by_cdev(p, e);
    if (r < 0)
        return r;
    r = p->io->ask_hold(p->io->ctx, &p->lent, e);
    p->covered = r > 0;
    if (r != 0) /* a sibling's hold covers us, or the starter is gone */
        return r < 0 ? r : 0;
    p->hold = vfio_hold(p->job->root, proc_primary(p), e);
    if (p->hold >= 0) {
        p->out->group_opens++;
        return 0;
    }
    r = p->hold;
    p->hold = -1;
    if (e->reason == REASON_IN_USE) /* the name costs a walk through /proc: only now */
        proc_name_holder(p, e);
    return r;
}

int
step_keep_hold(struct proc *p, bool handover, struct err *e)
{
    struct hwd_grip g = {.hold = p->hold,
                         .dev = -1,
                         .request = -1,
                         .hold_is_cdev = vfio_hold_is_cdev(p->job->root, proc_primary(p))};

    if (handover && g.hold_is_cdev)
        return 0; /* it is let go of here and now */
    if (!handover && p->vdev && !p->starter_has_dev) {
        g.dev = dev_vfio_fd(p->vdev);
        g.request = dev_vfio_request_fd(p->vdev);
    }
    if (g.hold < 0 && g.dev < 0)
        return 0;
    return p->io->give_hold(p->io->ctx, &g, e);
}

int
step_let_go(struct proc *p, struct err *e)
{
    bool cdev = vfio_hold_is_cdev(p->job->root, proc_primary(p));
    int r;

    if (!p->vdev && p->lent_dev < 0 && !cdev)
        return 0;
    proc_phase(p, HWD_PHASE_RELEASE, "closing the device resets it");
    if (p->starter_has_dev || (cdev && p->lent >= 0)) {
        r = p->io->drop_dev(p->io->ctx, e);
        if (r < 0)
            return r;
        p->starter_has_dev = false;
    }
    dev_sysfs_close(p->dev);
    p->dev = NULL;
    dev_vfio_close(p->vdev);
    p->vdev = NULL;
    fd_close(&p->lent_dev);
    if (cdev) {
        fd_close(&p->lent);
        fd_close(&p->hold);
        p->out->let_go = 1;
    }
    return 0;
}
