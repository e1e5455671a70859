/* SPDX-License-Identifier: Apache-2.0
 *
 * What we promise outside. For every resource: first the CDI file, true at every moment, then the
 * list for the kubelet. A unit whose CDI entry could not be written is not Healthy and not handed
 * out.
 */
#include "daemon/node.h"

#include "base/fs.h"
#include "base/hw.h"
#include "base/log.h"
#include "cdi/cdi.h"
#include "daemon/timer.h"

#include <stdlib.h>
#include <string.h>

#define RETRY_DELAY HW_SEC(5)

static void
tell(struct node *n, const struct resource_state *r, bool ok, const char *text)
{
    act_tell(&n->acts, &(struct act){.kind = ACT_CDI, .resource = r->name, .ok = ok, .text = text});
}

static bool
wants_cdi(const struct unit *u)
{
    return unit_state_info(u->state)->in_cdi && (u->facts.flags & HWD_FACT_BOUND) &&
           u->facts.node[0];
}

static struct resource_state *
find_resource(struct node *n, const char *name)
{
    for (size_t i = 0; i < n->n_resources; i++)
        if (strcmp(n->resource[i].name, name) == 0)
            return &n->resource[i];
    return NULL;
}

bool
promise_in_cdi(const struct unit *u)
{
    const struct resource_state *r = find_resource(u->node, u->resource);

    return r && r->cdi_ok && wants_cdi(u);
}

static int
on_retry(sd_event_source *s, uint64_t usec, void *ctx)
{
    (void)s;
    (void)usec;
    promise_update(ctx);
    return 0;
}

/* The file is as the units are, or (`empty`) is not there. */
static void
note_file(struct node *n, struct resource_state *r, bool empty)
{
    for (size_t i = 0; i < n->n_units; i++) {
        struct unit *u = n->unit[i];

        if (strcmp(u->resource, r->name) == 0)
            (void)str_copy(u->cdi_node, sizeof(u->cdi_node),
                           !empty && wants_cdi(u) ? u->facts.node : "");
    }
    r->cdi_known = true;
}

static bool
file_is_true(const struct node *n, const struct resource_state *r)
{
    for (size_t i = 0; i < n->n_units; i++) {
        const struct unit *u = n->unit[i];

        if (strcmp(u->resource, r->name) == 0 && u->cdi_node[0] &&
            (!wants_cdi(u) || strcmp(u->cdi_node, u->facts.node) != 0))
            return false;
    }
    return r->cdi_known;
}

/* It could not be written: one that lacks a device is only short, one that has a device too many
 * sends a VMM to a GPU that is not ours to give. Removing needs no space. */
static void
withdraw_untrue(struct node *n, struct resource_state *r)
{
    struct err e = ERR_INIT;
    int changed = 0;

    if (file_is_true(n, r))
        return;
    r->cdi_known = false;
    if (cdi_publish(n->conf->cdi_dir, r->name, NULL, 0, &changed, &e) < 0)
        return;
    note_file(n, r, true);
    if (changed)
        log_warn("CDI file removed: it was out of date and could not be rewritten", "resource",
                 r->name, "dir", n->conf->cdi_dir);
}

static void
publish_cdi(struct node *n, struct resource_state *r)
{
    struct cdi_device dev[UNITS_MAX];
    struct err e = ERR_INIT;
    size_t count = 0;
    int changed = 0;

    for (size_t i = 0; i < n->n_units; i++)
        if (strcmp(n->unit[i]->resource, r->name) == 0 && wants_cdi(n->unit[i]))
            dev[count++] = (struct cdi_device){n->unit[i]->id, n->unit[i]->facts.node};
    if (cdi_publish(n->conf->cdi_dir, r->name, dev, count, &changed, &e) == 0) {
        if (!r->cdi_ok)
            log_info("CDI file is written again", "resource", r->name, "dir", n->conf->cdi_dir);
        if (changed || !r->cdi_ok)
            tell(n, r, true, NULL);
        r->cdi_ok = true;
        r->cdi_why[0] = '\0';
        note_file(n, r, false);
        return;
    }
    tell(n, r, false, e.msg);
    if (r->cdi_ok || strcmp(r->cdi_why, e.msg) != 0)
        log_error("cannot write the CDI file: its devices are Unhealthy", "resource", r->name,
                  "why", e.msg, "cure", reason_cure(REASON_CDI_WRITE));
    r->cdi_ok = false;
    if (!str_copy(r->cdi_why, sizeof(r->cdi_why), e.msg))
        (void)str_copy(r->cdi_why, sizeof(r->cdi_why), "see the log");
    withdraw_untrue(n, r);
    timer_arm(n->loop, &n->promise_retry, RETRY_DELAY, on_retry, n);
}

static void
publish_list(struct node *n, struct resource_state *r)
{
    struct dp_device dev[UNITS_MAX];
    struct err e = ERR_INIT;
    size_t count = 0;

    for (size_t i = 0; i < n->n_units; i++) {
        const struct unit *u = n->unit[i];

        if (strcmp(u->resource, r->name) != 0 || !unit_is_listed(u))
            continue;
        (void)str_copy(dev[count].id, sizeof(dev[count].id), u->id);
        dev[count].healthy = unit_is_healthy(u);
        dev[count].numa_node = u->facts.numa_node;
        count++;
    }
    if (dp_set_devices(n->dp, r->name, dev, count, &e) < 0)
        log_error("cannot send the device list", "resource", r->name, "why", e.msg);
}

void
promise_add_resource(struct node *n, const char *name)
{
    struct resource_state *r;
    struct err e = ERR_INIT;

    if (!name[0] || find_resource(n, name))
        return;
    if (n->n_resources == RESOURCES_MAX) {
        log_error("too many resources, devices of this one are not offered", "resource", name);
        return;
    }
    r = &n->resource[n->n_resources];
    memset(r, 0, sizeof(*r));
    r->cdi_ok = true; /* until a write says otherwise */
    (void)str_copy(r->name, sizeof(r->name), name);
    if (dp_add_resource(n->dp, name, &e) < 0) {
        log_error("cannot serve the resource", "resource", name, "why", e.msg);
        return;
    }
    r->added = true;
    n->n_resources++;
}

void
promise_update(struct node *n)
{
    for (size_t i = 0; i < n->n_units; i++)
        promise_add_resource(n, n->unit[i]->resource);
    for (size_t i = 0; i < n->n_resources; i++) {
        /* Until every unit is classified the files of our predecessor stand. */
        if (n->settled)
            publish_cdi(n, &n->resource[i]);
        publish_list(n, &n->resource[i]);
    }
    modeset_look(n);
    labels_update(n);
    validations_update(n);
}
