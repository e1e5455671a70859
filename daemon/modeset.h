/* SPDX-License-Identifier: Apache-2.0
 *
 * The owner of the mode that the node's GPUs are wanted in, and of its change.
 *
 * The configuration's `mode` counts, unless an operator has set another one (`pgpuctl mode set`).
 * That one is on record in <state_dir>/mode.json: it survives a crash and a restart of pgpud, and
 * ends with the boot, or when the configuration names another mode than it did then. So what the
 * configuration says is what a node comes back with, and nothing drifts away from it unseen.
 *
 * A change, in order; killed after any step, a restart goes on from there:
 *   1. refuse what cannot end well: devtools without its unlock, a mode that the hardware service
 *      does not allow, Protected PCIe on a node that lacks a part of it
 *   2. the node's labels say "not ready"; if they cannot be written, nothing is changed
 *   3. the record is on disk
 *   4. free devices turn Unhealthy and are prepared in the new mode; one that is handed out stays
 *      Healthy and untouched until it is given back. An Allocate that was under way fails, unless
 *      it can still be answered in the new mode
 *   5. when no device is left to be switched the change is over, and the labels follow the devices
 *
 * Only one change is under way at a time: meanwhile there is the way back (cancel), and back again,
 * but no third mode.
 *
 * Protected PCIe is a property of the whole board: nothing is switched to it or away from it before
 * every device is free. That goes by what the devices in use were prepared for, so it holds across
 * restarts and new configurations as well.
 *
 * Loop thread.
 */
#ifndef PGPU_DAEMON_MODESET_H
#define PGPU_DAEMON_MODESET_H

#include "base/buf.h"
#include "base/cc_mode.h"
#include "base/err.h"
#include "daemon/request.h"

#include <systemd/sd-event.h>

#include <stdbool.h>
#include <stdint.h>

struct json_object;
struct node;
struct unit;

struct modeset {
    enum cc_mode wanted; /* in force */
    enum cc_mode from;   /* before the last change; as `wanted` where there was none */
    bool changing;
    bool cancelled; /* on the way back: `wanted` is what it was before the change began */
    char since[32]; /* of the change, RFC 3339 */
    sd_event_source *kick;
};

/* Where a unit stands in the change. */
enum modeset_stand {
    MODESET_APART,  /* not concerned: not ours, or its mode does not differ */
    MODESET_DONE,   /* verified in the wanted mode, or at rest (`prepare: allocate`) */
    MODESET_USED,   /* handed out in the former mode */
    MODESET_UNDER,  /* being switched, or next; failed, and its recovery is at work */
    MODESET_FAILED, /* quarantined or stuck, and there is nothing to wait for */
};

/* The configuration's mode, or the one on record. */
void modeset_load(struct node *n);
void modeset_free(struct node *n);

/* Was it prepared for the mode that is wanted now? */
bool unit_in_mode(const struct unit *u);
/* Must it wait for other devices before it may be switched? */
bool modeset_holds(const struct unit *u);
enum modeset_stand modeset_stand_of(const struct unit *u);

/* Devices have changed: is the change over, may those that wait go on? Called from promises. */
void modeset_look(struct node *n);

/* Begins a change to `mode`, or only says whether it could be begun. Setting the mode in force is
 * no change. INVALID: it cannot be; RETRY: not now; BUSY: a change is under way, and this is
 * neither its mode nor the one before it. */
int modeset_set(struct node *n, enum cc_mode mode, bool dry_run, struct err *e);
/* Back to the mode before the change that is under way; INVALID where none is. Done already where
 * it is on its way back. */
int modeset_cancel(struct node *n, struct err *e);

/* `{"mode": …, "config": …, "change": …}`; to be put. */
struct json_object *modeset_json(const struct node *n);
/* "5 of 8 switched, 2 in use by default/model, 1 arming: reset" */
void modeset_text(const struct node *n, struct buf *out);

/* "mode get", "mode set", "mode cancel"; the context is the node. */
extern const struct request mode_requests[];

#endif
