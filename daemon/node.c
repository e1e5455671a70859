/* SPDX-License-Identifier: Apache-2.0
 *
 * Units come, change and go as the hardware service tells; the service itself goes and comes back.
 */
#include "daemon/node.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/hw.h"
#include "base/log.h"
#include "daemon/sandboxes.h"
#include "daemon/timer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A device that left the bus stays listed (Unhealthy) this long: an Allocate that the kubelet
 * started before it heard of the loss must find the entry, or the kubelet panics. */
#define GONE_LISTED HW_SEC(60)

struct unit *
node_find(struct node *n, const char *id)
{
    for (size_t i = 0; i < n->n_units; i++)
        if (strcmp(n->unit[i]->id, id) == 0)
            return n->unit[i];
    return NULL;
}

static void
unit_free(struct unit *u)
{
    (void)sd_event_source_unref(u->ladder);
    (void)sd_event_source_unref(u->again);
    (void)sd_event_source_unref(u->op_timer);
    free(u);
}

static struct unit *
unit_add(struct node *n, const struct hwd_facts *f)
{
    struct unit *u;

    if (n->n_units == UNITS_MAX || !(u = calloc(1, sizeof(*u)))) {
        log_error("too many devices, this one is ignored", "device", PCI_STR(f->unit));
        return NULL;
    }
    u->node = n;
    u->addr = f->unit;
    (void)pci_addr_str(f->unit, u->id);
    u->facts = *f;
    u->prepared_for = CC_MODE_UNKNOWN;
    u->sync = n->sync;
    u->since = now_ns();
    resource_of(n->conf, f, u->resource);
    journal_get(u);
    /* sorted by address, so that every list and file is in a stable order */
    size_t at = n->n_units;
    while (at > 0 && pci_addr_cmp(n->unit[at - 1]->addr, u->addr) > 0) {
        n->unit[at] = n->unit[at - 1];
        at--;
    }
    n->unit[at] = u;
    n->n_units++;
    return u;
}

static void
log_found(const struct unit *u)
{
    const struct hwd_facts *f = &u->facts;

    log_info("device found", "device", u->id, "model", f->model, "resource", u->resource, "driver",
             f->driver, "reason", reason_name((enum reason)f->reason), "why", f->text);
}

bool
unit_untouched(const struct unit *u)
{
    return (u->facts.flags & HWD_FACT_HANDED_OVER) && !(u->facts.flags & HWD_FACT_OPENED) &&
           u->facts.use != HWD_USE_HELD;
}

/* Since it was handed over: was it let go of after a use? A service that restarted has watched
 * nothing: then it may have been. */
static bool
may_be_used(const struct hwd_facts *f)
{
    if (!(f->flags & HWD_FACT_HANDED_OVER))
        return true;
    return (f->flags & HWD_FACT_REOPENED) ||
           ((f->flags & HWD_FACT_OPENED) && f->use == HWD_USE_FREE);
}

void
unit_note_use(struct unit *u)
{
    if (u->used || !unit_state_info(u->state)->allocated || (u->facts.flags & HWD_FACT_ARMED) ||
        !may_be_used(&u->facts))
        return;
    u->used = true;
    if (u->sandbox[0])
        memcpy(u->used_by, u->sandbox, sizeof(u->used_by));
    journal_put(u, unit_state_info(u->state)->journal);
}

static void
on_facts(void *ctx, const struct hwd_facts *f)
{
    struct node *n = ctx;
    struct unit *u = node_find(n, PCI_STR(f->unit));
    struct hwd_facts old;

    if (!u) {
        u = unit_add(n, f);
        if (u)
            log_found(u);
        if (u && hwclient_is_up(n->hw)) {
            promise_update(n);
            unit_step(u);
        }
        return;
    }
    old = u->facts;
    u->facts = *f;
    u->sync = n->sync;
    if (u->placeholder) {
        u->placeholder = false;
        resource_of(n->conf, f, u->resource);
        log_found(u);
    }
    if (u->state == UNIT_GONE && unit_event(u, EV_BACK, REASON_NONE, NULL)) {
        u->classified = false; /* it may still be some pod's */
        pods_refresh(n);
    }
    unit_note_use(u);
    if (!hwclient_is_up(n->hw))
        return; /* still synchronising: stepped when it is complete */
    if (old.use == HWD_USE_HELD && f->use != HWD_USE_HELD && unit_state_info(u->state)->allocated) {
        log_info("device closed", "device", u->id, "pod", u->owner.pod);
        pods_refresh(n);
        /* A runtime tells of every sandbox that started: the VM of this one did not get so far. */
        if (!u->sandbox[0] && guard_is_up(n) && n->pods.ok && pods_know(u))
            unit_sandbox_gone(u);
    }
    if (strcmp(old.node, f->node) != 0 || old.flags != f->flags || old.reason != f->reason ||
        old.numa_node != f->numa_node)
        promise_update(n);
    unit_step(u);
}

static int
on_gone_timer(sd_event_source *s, uint64_t usec, void *ctx)
{
    struct node *n = ctx;
    size_t k = 0;
    bool later = false;

    (void)s;
    (void)usec;
    for (size_t i = 0; i < n->n_units; i++) {
        struct unit *u = n->unit[i];
        bool drop = u->state == UNIT_GONE && !u->listed && !u->claim && !u->op_seq &&
                    now_ns() - u->gone_at >= GONE_LISTED;

        later |= u->state == UNIT_GONE && !drop;
        if (drop)
            unit_free(u);
        else
            n->unit[k++] = u;
    }
    n->n_units = k;
    promise_update(n);
    if (later) {
        pods_refresh(n); /* is it still listed? */
        timer_arm(n->loop, &n->gone_timer, GONE_LISTED / 4, on_gone_timer, n);
    }
    return 0;
}

static void
unit_gone(struct unit *u)
{
    struct node *n = u->node;

    if (u->state == UNIT_GONE)
        return;
    u->gone_at = now_ns();
    u->journal_allocated = unit_state_info(u->state)->allocated;
    (void)unit_event(u, EV_GONE, REASON_DEVICE_GONE, "the device left the PCI bus");
    u->classified = true;
    timer_stop(u->ladder);
    if (u->alloc && !u->op_seq)
        alloc_unit_failed(u, "the device left the PCI bus");
    timer_arm(n->loop, &n->gone_timer, GONE_LISTED, on_gone_timer, n);
}

static void
on_gone(void *ctx, struct pci_addr addr)
{
    struct node *n = ctx;
    struct unit *u = node_find(n, PCI_STR(addr));

    if (u)
        unit_gone(u);
}

static void
on_hello(void *ctx)
{
    struct node *n = ctx;

    n->sync++;
}

static void
on_up(void *ctx)
{
    struct node *n = ctx;

    log_info("pgpu-hwd is up", "devices", LOG_NUM(n->n_units));
    act_tell(&n->acts, &(struct act){.kind = ACT_HWD, .ok = true});
    for (size_t i = 0; i < n->n_units; i++)
        if (n->unit[i]->sync != n->sync)
            unit_gone(n->unit[i]); /* it left while nobody told us */
        else if (n->unit[i]->state == UNIT_QUARANTINED && !n->unit[i]->unfit &&
                 n->unit[i]->fail_class != ERR_CLASS_HW)
            (void)unit_event(n->unit[i], EV_RETRY, REASON_NONE, NULL); /* it may say yes now */
    promise_update(n);
    sandboxes_attribute(n);
    if (!n->settled)
        pods_refresh(n); /* then every unit is classified and stepped */
    else
        for (size_t i = 0; i < n->n_units; i++)
            unit_step(n->unit[i]);
}

static void
on_down(void *ctx, const char *why)
{
    struct node *n = ctx;

    log_warn("pgpu-hwd is down: nothing new is handed out", "why", why, "cure",
             reason_cure(REASON_HWD_DOWN));
    act_tell(&n->acts, &(struct act){.kind = ACT_HWD, .text = why});
    for (size_t i = 0; i < n->n_units; i++)
        unit_hwd_down(n->unit[i]);
    promise_update(n);
}

static struct unit *
unit_of(struct node *n, const struct hwd_message *m)
{
    return node_find(n, PCI_STR(m->unit));
}

static void
on_progress(void *ctx, const struct hwd_message *m)
{
    struct unit *u = unit_of(ctx, m);

    if (u)
        unit_progress(u, m);
}

static void
on_result(void *ctx, const struct hwd_message *m)
{
    struct unit *u = unit_of(ctx, m);

    if (u)
        unit_result(u, m);
}

/* Units that wait armed are verified again now and then, so that one that dies is found before a
 * pod gets it. */
static int
on_health(sd_event_source *s, uint64_t usec, void *ctx)
{
    struct node *n = ctx;

    (void)s;
    (void)usec;
    for (size_t i = 0; i < n->n_units; i++) {
        struct unit *u = n->unit[i];

        if (u->state == UNIT_READY && !u->op_seq && !u->alloc && hwclient_is_up(n->hw) &&
            unit_in_mode(u) && u->facts.state == HWD_STATE_IDLE)
            (void)unit_start_op(u, HWD_OP_VERIFY, HWD_REQ_HOLD, 0, HW_SEC(10));
    }
    timer_arm(n->loop, &n->health_timer, n->conf->health_interval, on_health, n);
    return 0;
}

static void
on_link(void *ctx, const char *resource, enum dp_link link, const char *why)
{
    static const char *const names[] = {"down", "registered", "streaming"};
    struct node *n = ctx;

    for (size_t i = 0; i < n->n_resources; i++)
        if (strcmp(n->resource[i].name, resource) == 0) {
            struct resource_state *r = &n->resource[i];

            if (r->link != link || strcmp(r->link_why, why) != 0)
                log_info("kubelet link", "resource", resource, "link", names[link], "why", why);
            if (r->link != link) {
                r->link_since = now_ns();
                act_tell(&n->acts, &(struct act){.kind = ACT_KUBELET,
                                                 .resource = resource,
                                                 .what = names[link],
                                                 .ok = link != DP_LINK_DOWN,
                                                 .text = why});
            }
            r->link = link;
            if (!str_copy(r->link_why, sizeof(r->link_why), why))
                (void)str_copy(r->link_why, sizeof(r->link_why), "see the log");
        }
}

static void
add_fixed_resources(struct node *n)
{
    const struct resource_conf *r;
    size_t count = config_resources(n->conf, &r);

    for (size_t i = 0; i < count; i++)
        if (!strchr(r[i].name, '{'))
            promise_add_resource(n, r[i].name);
}

/* A device that the journal of this boot knows is listed at once, in use as Healthy: the kubelet
 * must not see it vanish because the hardware service is slow or away when we start. */
static void
add_placeholder(struct node *n, const char *id, const char *intent, const char *resource)
{
    struct hwd_facts f = {.numa_node = -1,
                          .iommu_group = -1,
                          .cdev = -1,
                          .mode_active = CC_MODE_UNKNOWN,
                          .mode_configured = CC_MODE_UNKNOWN,
                          .flags = HWD_FACT_CLAIMED};
    struct unit *u;

    if (!pci_addr_parse(id, &f.unit) || !(u = unit_add(n, &f)))
        return;
    u->placeholder = true;
    (void)str_copy(u->resource, sizeof(u->resource), resource);
    log_info("device known from before", "device", u->id, "resource", u->resource, "was", intent);
    if (strcmp(intent, unit_state_info(UNIT_ALLOCATED)->journal) == 0) {
        u->state = UNIT_ALLOCATED;
        u->classified = true;
        u->handed_at = now_ns();
    }
}

int
node_new(sd_event *loop, const struct config *conf, struct node **ret, struct err *e)
{
    struct node *n = calloc(1, sizeof(*n));
    struct dp_options opt = {.plugin_dir = conf->kubelet.plugin_dir, .socket_prefix = "pgpu"};
    struct dp_handler dh = {.allocate = alloc_request,
                            .prefer = prefer_devices,
                            .cancelled = alloc_cancelled,
                            .link = on_link,
                            .ctx = n};
    struct hwclient_handler hh = {.hello = on_hello,
                                  .facts = on_facts,
                                  .gone = on_gone,
                                  .up = on_up,
                                  .down = on_down,
                                  .progress = on_progress,
                                  .result = on_result,
                                  .ctx = n};
    int r;

    if (!n)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "start");
    n->loop = loop;
    n->conf = conf;
    n->journal_fd = -1;
    n->started_at = now_ns();
    r = fs_mkdirs(conf->cdi_dir, 0755, e);
    if (r >= 0)
        r = journal_open(n, e);
    if (r >= 0) {
        modeset_load(n);
        validations_start(n);
    }
    if (r >= 0)
        r = dp_new(loop, &opt, &dh, &n->dp, e);
    if (r >= 0) {
        add_fixed_resources(n);
        journal_each(n, add_placeholder);
        r = hwclient_new(loop, conf->hwd_socket, &hh, &n->hw, e);
    }
    if (r >= 0)
        r = guard_new(n, e);
    if (r < 0) {
        node_free(n);
        return r;
    }
    labels_start(n);
    if (n->n_units > 0)
        promise_update(n);
    timer_arm(loop, &n->health_timer, conf->health_interval, on_health, n);
    *ret = n;
    return 0;
}

void
node_free(struct node *n)
{
    if (!n)
        return;
    if (n->dp)
        alloc_fail_all(n, "pgpud is stopping");
    pods_stop(n);
    guard_free(n);
    sandboxes_free(n);
    dp_free(n->dp);
    hwclient_free(n->hw);
    for (size_t i = 0; i < n->n_units; i++)
        unit_free(n->unit[i]);
    (void)sd_event_source_unref(n->pods.timer);
    (void)sd_event_source_unref(n->promise_retry);
    (void)sd_event_source_unref(n->gone_timer);
    (void)sd_event_source_unref(n->health_timer);
    modeset_free(n);
    labels_free(n);
    validations_free(n);
    fd_close(&n->journal_fd);
    free(n->pods.dev);
    free(n);
}
