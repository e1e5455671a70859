/* SPDX-License-Identifier: Apache-2.0
 *
 * What the daemon did or learned, told once. Whoever wants to count it (metrics), keep it (audit
 * log) or show it (event followers) listens; the places where it happens know none of them.
 *
 * Loop thread. An act and everything it points to is valid during the call only. A listener must
 * not change the node and must not block for longer than a write to a local file takes.
 */
#ifndef PGPU_DAEMON_ACT_H
#define PGPU_DAEMON_ACT_H

#include "base/cc_mode.h"
#include "base/reason.h"
#include "daemon/states.h"
#include "hwd/protocol.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct node;
struct unit;

enum act_kind {
    ACT_START,     /* pgpud serves; text = version */
    ACT_STOP,      /* pgpud ends by request */
    ACT_STATE,     /* unit, from, to, event, reason, text */
    ACT_OPERATION, /* an operation of the hardware service ended: unit, op, ok, reason, text,
                      evidence, mode (the wanted one), took_ns */
    ACT_ALLOCATE,  /* an Allocate was answered: ok, resource, devices, reason, text, took_ns */
    ACT_REFUSAL,   /* the guard refused: what (NRI event), rule, ns, pod, sandbox, text */
    ACT_NRI_EVENT, /* a runtime's request was answered: what, ok, took_ns */
    ACT_RUNTIME,   /* a runtime's session: what = socket, ok = up, text */
    ACT_KUBELET,   /* a resource's link: resource, what = "down", "registered", "streaming", text */
    ACT_HWD,       /* connection to the hardware service: ok = up, text */
    ACT_JOURNAL,   /* a journal record was written or removed: unit, ok */
    ACT_CDI,       /* a CDI file was written or removed: resource, ok, text */
    ACT_UNLOCK,    /* something dangerous is unlocked by configuration: what, text */
    ACT_MODE,      /* the node's mode was changed by an operator: mode, from_mode, text */
    ACT_REQUEST,   /* a changing request on the control socket: what, ok, text, pid, uid */
    ACT_CONFIG,    /* configuration read again: ok, text */
    ACT_OWNER,     /* a device's pod or sandbox became known: unit; ns, pod, sandbox, where they are
                      not those of the unit */
    ACT_AUDIT, /* the audit log: a record was written (ok), or could not be, or something is wrong
                  with the log: reason, text */
    ACT_KIND_COUNT
};

struct act {
    enum act_kind kind;
    const struct unit *unit; /* NULL: of no one device */
    bool ok;
    enum reason reason;
    const char *text;     /* for people; NULL = none */
    const char *what;     /* see the kind; NULL = none */
    const char *rule;     /* guard_rule_name() */
    const char *resource; /* NULL = none */
    const char *ns, *pod, *sandbox;
    enum unit_state from, to;
    enum unit_event event;
    enum hwd_op op;
    const struct hwd_evidence *evidence;
    enum cc_mode mode, from_mode;
    const struct unit *const *devices; /* ALLOCATE: the units asked for */
    size_t n_devices;
    uint64_t took_ns; /* 0 = unknown */
    int pid, uid;     /* REQUEST: who asked, as far as the socket tells */
};

const char *act_kind_name(enum act_kind k); /* "state", "operation", ... */

typedef void (*act_listener)(void *ctx, const struct act *a);

/* At most ACT_LISTENERS_MAX, before the loop runs; called in the order in which they were added. */
#define ACT_LISTENERS_MAX 8
struct act_bus {
    struct {
        act_listener fn;
        void *ctx;
    } listener[ACT_LISTENERS_MAX];
    size_t n;
};
void act_listen(struct act_bus *b, act_listener fn, void *ctx);
void act_tell(const struct act_bus *b, const struct act *a);

#endif
