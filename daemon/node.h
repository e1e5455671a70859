/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon's state: one node, its units, the Allocates under way. Everything here belongs to the
 * loop thread; the files of daemon/ each own one concern of it:
 *
 *   node.c      units come, change and go; hardware service up and down
 *   machine.c   the state machine: events in, operations out and back
 *   steps.c     what a unit needs next
 *   ladder.c    recovery of quarantined units
 *   alloc.c     Allocate requests
 *   release.c   PodResources: who owns what, and what was given back
 *   sandboxes.c NRI: which sandboxes run, which units are theirs, and that they ended
 *   guard.c     NRI: what sandboxes and containers may have
 *   promise.c   what we promise outside: CDI files, then ListAndWatch
 *   journal.c   what must survive our death
 *   modeset.c   the mode that is wanted, and its change
 *   labels.c    NFD's feature file; validations.c the GPU Operator's files
 *   resource.c  which unit is listed under which resource
 *   status.c    the state as JSON; control.c serves it
 *   act.c       what happened, told to metrics, audit log and followers
 *   metrics*.c, health.c, pages.c, http.c   metrics and health, over HTTP and the control socket
 *   config_watch.c  has the configuration file changed?
 */
#ifndef PGPU_DAEMON_NODE_H
#define PGPU_DAEMON_NODE_H

#include "daemon/act.h"
#include "daemon/config.h"
#include "daemon/hwclient.h"
#include "daemon/labels.h"
#include "daemon/modeset.h"
#include "daemon/states.h"
#include "daemon/validations.h"
#include "deviceplugin/dp.h"
#include "hwd/protocol.h"

#include <systemd/sd-event.h>

#define UNITS_MAX 256
#define RESOURCES_MAX 64
#define POD_NAME_MAX 256
#define SANDBOX_ID_MAX 128

struct alloc;
struct config_watch;
struct audit;
struct guard;
struct http;
struct json_object;
struct meters;
struct node;
struct sandbox;

/* Who has a unit, as PodResources tells it; empty strings when unknown. */
struct owner {
    char ns[64];
    char pod[POD_NAME_MAX];
    char container[64];
};

struct unit {
    struct node *node;
    struct pci_addr addr;
    char id[PCI_ADDR_STR];
    struct hwd_facts facts;
    unsigned sync;                    /* of the connection that the facts came on */
    char resource[RESOURCE_NAME_MAX]; /* "" = listed nowhere */

    enum unit_state state;
    uint64_t since; /* of state */
    enum reason reason;
    char why[320];
    bool classified; /* start-up reconciliation done */

    /* operation under way, seq 0 = none */
    uint64_t op_seq;
    uint64_t op_since;
    enum hwd_op op;
    uint32_t op_flags;
    enum hwd_phase phase;

    /* recovery ladder */
    unsigned rung;
    unsigned retries; /* in a row, of a failure that no reset can cure */
    enum err_class fail_class;
    bool unfit; /* quarantined for a condition in the facts, not for a failed operation */
    sd_event_source *ladder;
    sd_event_source *again; /* step once more */
    uint64_t again_delay;
    sd_event_source *op_timer; /* the operation's result is overdue */

    /* allocation */
    struct alloc *alloc; /* waiting for this unit; NULL = none */
    struct alloc *claim; /* not answered yet; outlives `alloc` when this unit is done early */
    uint64_t handed_at;
    /* Of an Allocate's answer: a sandbox that was known before is a former pod's of the same name.
     */
    uint64_t anew_at;
    uint64_t handed_list; /* PodResources lists up to this one are older than the hand-over */
    bool placeholder;     /* known from the journal only: no facts yet */
    unsigned absent;
    bool listed; /* in the newest PodResources list */
    bool was_listed;
    struct owner owner;

    /* NRI's account */
    char sandbox[SANDBOX_ID_MAX]; /* that has it, "" = none known */
    bool stopped;  /* its sandbox ended while something was under way: take it back then */
    bool returned; /* taken back from a sandbox; its pod may make another one */

    /* Verification on record: of its last preparation, until it leaves its user's hands. */
    bool verified;
    enum cc_mode verified_mode;
    /* The node's mode (n->mode.wanted) when that preparation began, and when the operation under
     * way did; CC_MODE_UNKNOWN = not prepared. */
    enum cc_mode prepared_for, op_for;
    /* Opened and closed again since, or nobody can tell; by which sandbox, "" = none known. With
     * `used` false: the last one on record. */
    bool used;
    char used_by[SANDBOX_ID_MAX];

    char cdi_node[64]; /* what the CDI file has for it, "" = it is not in the file */

    /* journal as read at start */
    bool journal_allocated;

    /* evidence of the last preparation, and when that was; the last reset, and how many there were
     */
    struct hwd_evidence evidence;
    uint64_t prepared_at;
    struct {
        uint64_t at, count; /* at 0 = none since our start */
        uint32_t rung, took_ms;
    } reset;
    uint64_t phase_since;
    uint64_t gone_at;
};

/* One line of the newest PodResources list, of a device of ours. */
struct pod_device {
    char id[PCI_ADDR_STR];
    struct owner owner;
};

/* Position in the sequence of PodResources lists: a list is fresh for an event if it was asked for
 * after it. */
struct pods {
    sd_event_source *timer;
    uint64_t asked, answered; /* numbers of lists */
    uint64_t asked_at;        /* of the one under way */
    uint64_t due;             /* when the timer fires; 0 = off */
    bool again;               /* one more is wanted */
    bool ok;                  /* the last one succeeded */
    bool ever;                /* one has succeeded or failed */
    char why[200];
    /* the newest list that succeeded, and its number */
    size_t n_dev;
    struct pod_device *dev;
    uint64_t number;
};

struct resource_state {
    char name[RESOURCE_NAME_MAX];
    bool added; /* to the device plugin */
    bool cdi_ok;
    bool cdi_known; /* what the file has is known: written or removed since our start */
    char cdi_why[200];
    enum dp_link link;
    uint64_t link_since;
    char link_why[200];
};

struct node {
    sd_event *loop;
    const struct config *conf;
    struct modeset mode; /* what the GPUs are wanted in; not always what `conf` says */
    struct labels labels;
    struct validations validations;
    struct act_bus acts;   /* who hears of what happens */
    struct audit *audit;   /* the log, for audit_ready(); NULL = there is none */
    struct meters *meters; /* pages.c; NULL before */
    struct http *http;
    struct config_watch *config_watch; /* NULL: no file */
    struct hwclient *hw;
    unsigned sync; /* counts connections to the hardware service */
    struct dp *dp;
    struct unit *unit[UNITS_MAX];
    size_t n_units;
    struct resource_state resource[RESOURCES_MAX];
    size_t n_resources;
    struct alloc *allocs;
    struct pods pods;
    struct sandbox *sandboxes;
    size_t n_sandboxes;
    struct guard *guard;
    sd_event_source *promise_retry;
    sd_event_source *gone_timer;
    sd_event_source *health_timer;
    int journal_fd;
    char boot_id[40];
    bool settled; /* PodResources was asked once: units may be classified */
    uint64_t started_at;
    struct {
        uint64_t allocs, alloc_failures;
    } count;
};

/* ---- node.c ---- */
int node_new(sd_event *loop, const struct config *conf, struct node **ret, struct err *e);
void node_free(struct node *n);
struct unit *node_find(struct node *n, const char *id);
/* Handed over and watched from before that on, and nobody has opened it. */
bool unit_untouched(const struct unit *u);
/* By the facts: was it used since it was handed out, and let go of? */
void unit_note_use(struct unit *u);

/* ---- machine.c ---- */

/* Applies an event of the table: state, journal, promises, log. An event that the table does not
 * have for the state is a defect: logged, nothing happens, false. `reason`/`why` go into the unit
 * for quarantine and stuck; NONE and NULL elsewhere. */
bool unit_event(struct unit *u, enum unit_event ev, enum reason reason, const char *why);

void unit_progress(struct unit *u, const struct hwd_message *m);
void unit_result(struct unit *u, const struct hwd_message *m);
void unit_hwd_down(struct unit *u);
/* Sends an operation for the unit; false (and quarantine or wait arranged) if it could not. */
bool unit_start_op(struct unit *u, enum hwd_op op, uint32_t flags, uint32_t arg,
                   uint64_t deadline_ns);
bool unit_is_healthy(const struct unit *u);
/* Why the sandbox must not have it, a phrase in `buf`; NULL: it is handed out, and verified since
 * its last use by another one. */
const char *unit_unverified(const struct unit *u, const char *sandbox, char *buf, size_t size);
/* Writes down whose the unit is. */
void unit_set_sandbox(struct unit *u, const char *sandbox);
/* Is it shown to the kubelet at all? */
bool unit_is_listed(const struct unit *u);

void unit_set_reason(struct unit *u, enum reason reason, const char *why);
/* Steps the unit once more soon; each time in a row it takes twice as long. */
void unit_step_again(struct unit *u);
/* The mode this unit has to be in (enum cc_mode). */
uint32_t unit_wanted_mode(const struct unit *u);

/* ---- steps.c ---- */

/* Does what the unit needs next: starts an operation, waits, answers its Allocate. Cheap, may be
 * called at any time. */
void unit_step(struct unit *u);
/* Do the facts name a condition that forbids preparing it? */
bool unit_unfit(const struct unit *u, enum reason *ret, const char **ret_why);
/* PodResources has been asked (or does not answer): what was every unit before we came? */
void units_settle(struct node *n);

/* ---- ladder.c ---- */
void ladder_arm(struct unit *u);   /* the unit was quarantined by a failed operation */
void ladder_reset(struct unit *u); /* it became ready */
void ladder_result(struct unit *u, const struct hwd_message *m); /* of HWD_OP_RESET */
/* Quarantined, and what is tried next may cure it soon: not when only the slow retries are left. */
bool ladder_at_work(const struct unit *u);

/* ---- alloc.c ---- */
void alloc_request(void *ctx, struct dp_call *call, const char *resource,
                   const struct dp_container_request *req, size_t n_req);
void alloc_cancelled(void *ctx, struct dp_call *call);
/* The unit is handed over for its waiting Allocate. */
void alloc_unit_done(struct unit *u);
/* It cannot be: the Allocate fails with this text. */
void alloc_unit_failed(struct unit *u, const char *why);
/* Nanoseconds until the Allocate of this unit has to be answered. */
uint64_t alloc_time_left(const struct unit *u);
/* `wish`, or a quarter of the configured deadline where that is less. */
uint64_t alloc_enough(const struct unit *u, uint64_t wish);
/* A PodResources list that was asked for after the Allocate arrived has been answered. */
bool alloc_list_is_fresh(const struct unit *u);
void alloc_fail_all(struct node *n, const char *why);
/* Another mode is wanted from now on: no answer gives a unit in the former one. */
void alloc_mode_changed(struct node *n);

/* ---- release.c ---- */
void pods_refresh(struct node *n); /* ask now, or once more after the one under way */
void pods_schedule(struct node *n);
void pods_stop(struct node *n);
/* Does the newest list say of every unit that is handed out whose it is? */
bool pods_complete(const struct node *n);
/* Is the list newer than the unit's hand-over? */
bool pods_know(const struct unit *u);

/* ---- promise.c ---- */
/* Brings CDI files and lists in line with the units; CDI first. */
void promise_update(struct node *n);
/* Starts serving a resource, once; "" is ignored. */
void promise_add_resource(struct node *n, const char *name);
/* Is the unit in a CDI file that is on disk? */
bool promise_in_cdi(const struct unit *u);

/* ---- sandboxes.c, see daemon/sandboxes.h for the rest ---- */
/* A list has arrived, or units have: which sandbox has which? */
void sandboxes_attribute(struct node *n);
/* Does a container of a running sandbox have the unit, by a synchronization? */
bool sandboxes_hold(const struct unit *u);
/* Is the unit's sandbox known, and running by NRI's account? */
bool sandbox_runs(const struct unit *u);
/* The unit's user is gone by NRI's account: release it as soon as nothing is under way. */
void unit_sandbox_gone(struct unit *u);
struct json_object *sandboxes_json(const struct node *n);

/* ---- guard.c ---- */
int guard_new(struct node *n, struct err *e);
void guard_free(struct node *n);
/* Is a runtime telling us of its sandboxes? */
bool guard_is_up(const struct node *n);
/* A PodResources list was answered: requests may be waiting for it. */
void guard_list_answered(struct node *n);
struct json_object *guard_json(const struct node *n);

/* ---- journal.c ---- */
int journal_open(struct node *n, struct err *e);
/* Writes (intent != NULL) or removes the record of the unit; logs a failure. */
void journal_put(struct unit *u, const char *intent);
/* Reads the unit's record, if it is of this boot. */
void journal_get(struct unit *u);
/* Calls back for every record of this boot. */
void journal_each(struct node *n, void (*each)(struct node *n, const char *id, const char *intent,
                                               const char *resource));

/* ---- resource.c ---- */
/* Name of the resource the unit is listed under, "" if none matches. */
void resource_of(const struct config *c, const struct hwd_facts *f, char ret[RESOURCE_NAME_MAX]);
/* "GH100 [H100 SXM5 80GB]" -> "GH100_H100_SXM5_80GB", as NVIDIA's plugin spells per-model names. */
void resource_model_name(const char *model, char *buf, size_t size);

/* ---- prefer.c ---- */
size_t prefer_devices(void *ctx, const char *resource, const char *const *available,
                      size_t n_available, const char *const *must, size_t n_must, size_t size,
                      const char **ret);

/* ---- status.c ---- */
int status_json(const struct node *n, struct buf *out, struct err *e);

#endif
