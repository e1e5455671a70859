/* SPDX-License-Identifier: Apache-2.0
 *
 * The service's inside, shared by its files: service.c (loop, socket), client.c, units.c (facts),
 * scanner.c, ops.c and op_end.c (operations), holds.c, away.c, watch.c. All of it belongs to the
 * one thread of the process, which never touches a device itself: whatever may block runs in a
 * worker.
 */
#ifndef PGPU_HWD_SVC_H
#define PGPU_HWD_SVC_H

#include "hwd/service.h"
#include "hwd/worker.h"
#include "vfio/uevent.h"

#include <systemd/sd-event.h>

#define CLIENTS_MAX 8
#define CLIENT_QUEUE_MAX 256 /* messages beyond what the kernel buffers */
#define RESCAN_WAITERS_MAX 16

struct svc;
struct unit;

struct client; /* client.c */
struct away;   /* away.c */

/* One running operation. */
struct op {
    struct svc *svc;
    struct unit *unit;
    struct hwd_worker *worker;
    struct hwd_job job;
    uint64_t client, seq; /* client 0: our own probe, invisible to clients */
    sd_event_source *io, *child, *timer;
    bool have_outcome;
    struct hwd_outcome out;
    bool wants_hold;     /* asked; a sibling is just taking it */
    bool taking;         /* told to take the group itself */
    bool took;           /* was told so once */
    bool hold_ref;       /* the operation holds a reference on the hold of `group` */
    int group;           /* of the unit when it began: the bus may change meanwhile */
    bool was_armed;      /* when it began */
    bool dropped;        /* the hold was the open device, and only the worker has it now */
    unsigned cdev_opens; /* seen while it ran, its own included */
    bool killed, stuck;
    char broken[128];  /* why we gave up on the worker; "" = did not */
    uint64_t started;  /* ns */
    uint64_t deadline; /* ns */
};

struct unit {
    struct svc *svc;
    struct hwd_unit desc;
    struct hwd_facts facts, sent;
    bool announced; /* `sent` is valid */
    bool seen;      /* by the scan being merged */
    struct op *op;
    bool has_queued; /* a request that waits for our own probe to end */
    struct hwd_request queued;
    uint64_t queued_client;
    uint64_t touched; /* number of the scan that may be older than what an operation reported */
    bool holding;     /* a reference on the hold of held_group */
    int held_group;
    int dev_fd;     /* the open device, where registers are reached through VFIO; -1: none */
    int request_fd; /* readable: somebody wants the device back */
    sd_event_source *request;
    bool wanted;       /* so it is, but an operation is under way */
    struct away *away; /* descriptors of it are being closed */
    bool rebound;      /* driver or nodes were replaced since the last operation began */
    int wd_group, wd_cdev;
    int watched_group, watched_cdev; /* numbers the watches are for */
    sd_event_source *probe;
    uint64_t probe_backoff; /* ns; 0 = no reason to look again */
    bool probe_proc_only;
    uint64_t last_open; /* ns */
    unsigned opens;     /* events of opening minus those of closing, since the hand-over */
    bool let_go;        /* it came back to none */
    unsigned early;     /* opens of the cdev while we hold or work on it, less closes; ours too */
};

/* The hold of one IOMMU group, shared by the units of a gang. */
struct group_hold {
    int group, fd;
    bool is_cdev; /* `fd` is an open device: closing it takes its time */
    unsigned refs;
    struct group_hold *next;
};

/* Opens of one group's node while operations of its units run: seen, and made by ourselves. */
struct group_count {
    int group;
    unsigned seen, own;
    struct group_count *next;
};

struct rescan_waiter {
    uint64_t client, seq;
    uint64_t scan; /* the first scan that answers it */
};

struct svc {
    const struct hwd_service_params *p;
    sd_event *loop;
    int statedir, listen_fd, instance_fd;
    struct client *clients[CLIENTS_MAX];
    uint64_t last_client;
    struct hwd_scan *scan; /* the last one; NULL before the first */
    unsigned n_units;
    struct unit **units;
    struct group_hold *holds;
    struct group_count *counts;
    struct away *aways;
    /* scanner */
    struct hwd_worker *scan_worker;
    sd_event_source *scan_io, *scan_child, *scan_timer, *scan_later;
    struct hwd_scan *scan_new;
    unsigned scan_want;
    bool scan_bad, scan_killed;
    struct hwd_outcome scan_out;
    bool scan_have_outcome;
    uint64_t scan_number; /* of the running or last scan */
    struct rescan_waiter waiters[RESCAN_WAITERS_MAX];
    unsigned n_waiters;
    /* hints */
    struct vfio_uevents *uevents;
    sd_event_source *uevent_io, *uevent_retry;
    int inotify;
    bool stopping;
};

/* client.c */
int clients_listen(struct svc *s, struct err *e);
void clients_close(struct svc *s);
void clients_synced(struct svc *s); /* the first scan is in */
void client_result(struct svc *s, uint64_t client, uint64_t seq, const struct unit *u,
                   struct pci_addr addr, const struct err *e, const struct hwd_evidence *ev);
void client_progress(struct svc *s, uint64_t client, uint64_t seq, const struct unit *u,
                     enum hwd_phase phase, const char *detail);
void clients_facts(struct svc *s, const struct hwd_facts *f);
void clients_gone(struct svc *s, struct pci_addr unit);

/* units.c */
struct unit *unit_find(struct svc *s, struct pci_addr a);
void units_refresh(struct svc *s); /* rebuild from s->scan, tell what changed */
void units_free(struct svc *s);
void unit_tell(struct unit *u); /* FACTS, if they differ from what was told */
/* Its driver or its nodes are not those that we knew: no hold, no hand-over and nothing about users
 * is true any more. */
void unit_lost(struct unit *u);
void units_note_fn(struct svc *s, const struct vfio_fn *fn, const struct hwd_former *former);

/* scanner.c */
void scan_soon(struct svc *s, uint64_t delay_ns);
void scan_request(struct svc *s, uint64_t client, uint64_t seq);
void scan_free(struct svc *s);

/* ops.c */
void op_request(struct svc *s, uint64_t client, const struct hwd_request *r);
void op_probe(struct unit *u, bool proc_only);
void op_answer_siblings(struct svc *s, int group);
unsigned ops_running(const struct svc *s);
void op_abandon(struct op *op); /* at the end of the program */
void op_start_queued(struct unit *u);

bool op_is_probe(const struct op *op);
void op_free(struct op *op);

/* op_end.c */
void op_finish(struct op *op); /* its worker has been reaped */
int op_on_deadline(sd_event_source *src, uint64_t usec, void *ctx);

/* holds.c */
struct group_hold *hold_find(struct svc *s, int group);
/* False for none, and for one whose device a worker has just closed for a hand-over. */
bool hold_is_there(const struct group_hold *h);
void hold_add(struct svc *s, int group, int fd, bool is_cdev); /* takes fd, one reference */
void hold_ref(struct svc *s, int group);
void hold_unref(struct svc *s, int group, struct unit *u); /* `u`: for whom it was held */
void unit_release(struct unit *u); /* the unit's reference, and its open device */
/* Takes both descriptors; nothing is taken where the unit has one already. */
bool unit_take_dev(struct unit *u, int dev, int request);
/* Closes our copies of the open device; the worker has its own. */
void unit_drop_dev(struct unit *u);
/* Has a unit of the group, other than this one (NULL: any), an operation or probe under way? */
bool group_busy(const struct svc *s, int group, const struct unit *but);
void group_count(struct svc *s, int group, unsigned seen, unsigned own);
/* Ends the counting: were there opens that were not ours? */
bool group_counted(struct svc *s, int group);
void counts_free(struct svc *s);

/* away.c: closing an open device resets it and blocks for as long as that takes, so that a process
 * of its own does it. Takes the descriptors, -1: none. */
void away_close(struct unit *u, int dev, int hold);
/* What the unit has to wait for: the closing of its own device, or of its group's hold. */
const struct away *away_of(const struct unit *u);
bool away_late(const struct away *a); /* not back after seconds: nobody waits for it */
void away_free(struct svc *s);

/* watch.c */
int watch_init(struct svc *s, struct err *e);
bool watch_update(struct unit *u); /* true: a watched node was replaced by another */
void watch_remove(struct unit *u);
void watch_drain(struct svc *s);
/* Lets go of the hold with the watches running; false (and still held) where one is missing. */
bool watch_handover(struct unit *u);
void watch_probe_again(struct unit *u, uint64_t delay_ns, bool proc_only);
/* Somebody opened the group's node while we were busy with it; when, we cannot tell. */
void watch_foreign_open(struct svc *s, int group);
/* The unit's own node was opened, as far as events tell. */
void watch_opened(struct unit *u);
/* After a close: soon, then ever later. */
void watch_probe_close(struct unit *u);

#endif
