/* SPDX-License-Identifier: Apache-2.0
 *
 * The node's labels, without credentials for the API: a feature file that nfd-worker reads
 * (<nfd.dir>/pgpu), written atomically; the worker passes over the hidden temporary file (NFD 0.15
 * and later, source/local/local.go; the expiry time is known since 0.14).
 *
 *   nvidia.com/cc.mode.state    on | off | ppcie | devtools when every GPU is in that mode,
 * "failed" when one cannot be brought there, absent while it is under way nvidia.com/cc.ready.state
 * as NVIDIA's cc-manager writes it: "true" in a confidential mode, "false" in mode off and while
 * anything is under way, empty where it failed and in devtools. RuntimeClasses select by it
 *   pgpu.feature.node.kubernetes.io/...
 *                               counts, and the host's TEE. The namespace is one that NFD's master
 *                               accepts whatever it is configured to deny
 *
 * "Every GPU" are those that pgpu manages; one that has left the bus counts as failed until it is
 * dropped. One that is being scrubbed between two users counts as verified, since it was and is in
 * its mode. With `prepare: allocate` one that is at rest does not: nobody has looked, so the node
 * says neither a mode nor ready. The label is a hint for the scheduler: what is handed out is
 * verified whatever it says.
 *
 * The file carries an expiry time and is refreshed at a third of it, so the labels of a dead pgpud
 * vanish. An orderly stop leaves it, like everything on the node: it expires as well.
 *
 * Where NVIDIA's cc-manager (its file in the validations directory) or another feature file sets
 * nvidia.com/cc.*, ours are left out. Loop thread.
 */
#ifndef PGPU_DAEMON_LABELS_H
#define PGPU_DAEMON_LABELS_H

#include "base/buf.h"
#include "base/err.h"
#include "daemon/config_cluster.h"

#include <systemd/sd-event.h>

#include <stdbool.h>
#include <time.h>

struct config;
struct json_object;
struct node;

#define LABELS_FILE "pgpu"
#define LABELS_SIZE_MAX 4096 /* NFD reads 64 KiB at most */

/* What the file says, besides its expiry. */
struct labels_view {
    bool cc;           /* the two of nvidia.com */
    const char *mode;  /* "" = absent */
    const char *ready; /* may be empty */
    const char *tee;   /* "" = not known */
    unsigned gpus, ready_gpus, used_gpus, failed_gpus, switches;
};

struct labels {
    bool on;          /* there is a directory to write to */
    bool settled;     /* our predecessor's file was replaced */
    bool counts_due;  /* the timer is for counts that have changed */
    bool ok;          /* the file is as it should be */
    char why[256];    /* of !on, !ok, and of !view.cc */
    char tee[8];      /* "snp", "tdx", "none", "" = not known */
    struct buf body;  /* as written last, without its expiry */
    uint64_t written; /* when, CLOCK_MONOTONIC; 0 = never */
    char until[32];
    sd_event_source *timer;
};

/* Before pgpud gives up its view of the host (confine.h): looks for the TEE and, as configured, for
 * or after the directory. Logs what is in the way. */
void labels_prepare(const struct config *c);
/* "snp", "tdx" or "none" by what KVM says below `sys` ("/sys"); "" where it cannot be read. */
const char *labels_tee(const char *sys);

void labels_start(struct node *n);
void labels_free(struct node *n);

void labels_view_of(const struct node *n, struct labels_view *ret);
void labels_body(const struct labels_view *v, struct buf *out);
/* The whole file. */
bool labels_text(const struct buf *body, time_t expires, struct buf *out);

/* Writes the file where something has changed. */
void labels_update(struct node *n);
/* The same for a change of the mode, before it begins: fails where it could not be written, and so
 * may still say that the node is ready. */
int labels_drop(struct node *n, struct err *e);

struct json_object *labels_json(const struct node *n);

#endif
