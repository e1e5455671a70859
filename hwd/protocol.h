/* SPDX-License-Identifier: Apache-2.0
 *
 * The typed protocol between pgpud (or any client) and pgpu-hwd, over SOCK_SEQPACKET: one struct is
 * one packet, fixed size, host byte order, no paths or strings towards the service. This is the
 * only header of hwd/ that daemon/ includes.
 *
 * On connect the service sends HWD_MSG_HELLO, then HWD_MSG_FACTS for every unit, then
 * HWD_MSG_SYNCED; after that HWD_MSG_FACTS whenever something about a unit changes, and for each
 * request any number of HWD_MSG_PROGRESS and exactly one HWD_MSG_RESULT. FACTS that an operation
 * changes are sent before its RESULT. Requests on different units run in parallel; a second request
 * on a busy unit is refused with BUSY/OP_PENDING (STUCK while the kernel holds it).
 *
 * A unit is a set of PCI functions that are handed out together, named by its primary function: a
 * GPU with its companion functions, or one NVSwitch. Units of one IOMMU group form a gang
 * (`gang` = group number, `gang_size` > 1) and only make sense handed out together.
 *
 * The service trusts the client for nothing: every gate is run again in the worker.
 */
#ifndef PGPU_HWD_PROTOCOL_H
#define PGPU_HWD_PROTOCOL_H

#include "base/cc_mode.h"
#include "base/err.h"
#include "base/pci_addr.h"

#include <stddef.h>
#include <stdint.h>

/* Where pgpu-hwd listens unless told otherwise; the directory is 0700 and the service's own. */
#define HWD_SOCKET_DEFAULT "/run/pgpu-hwd/hwd.sock"

#define HWD_PROTO_MAGIC 0x44574850u /* "PHWD" */
#define HWD_PROTO_VERSION 4u

enum hwd_op {
    HWD_OP_NONE = 0,
    /* Everything that is missing for the mode: bind the group, wake, hold, set the mode if it
     * differs, reset in any case, wait for boot, verify active and configured mode. Leaves the
     * unit held (ARMED), or handed over with HWD_REQ_HANDOVER. */
    HWD_OP_PREPARE,
    /* Read-only check of everything PREPARE ends with; no reset, no write but waking the device.
     * A look does not arm: with `manage: full` what was ARMED before stays so, and what was not
     * stays as it was, with HWD_REQ_HOLD too (its user's memory may still be there). With
     * `manage: verify` of the service HWD_REQ_HOLD holds a free unit (ARMED). */
    HWD_OP_VERIFY,
    /* VERIFY, then let go of the hold so that a VMM can open the node; opens are watched from
     * before the release on. With `manage: full` only of an ARMED unit, otherwise refused
     * (RETRY/HWD_REFUSED): PREPARE it first. */
    HWD_OP_HANDOVER,
    /* One rung of the recovery ladder; `arg` is an enum hwd_rung. Leaves the unit not held. */
    HWD_OP_RESET,
    /* Restore power policy, clear the override and give the functions back to the drivers they
     * had. */
    HWD_OP_GIVE_BACK,
    /* Is anybody holding it? Answers through the facts of the result (use, holder). Refused
     * (BUSY) for a unit handed over and not yet opened, unless HWD_REQ_FORCE_PROBE. */
    HWD_OP_PROBE_USE,
    /* Rescan the bus now; unit is ignored. */
    HWD_OP_RESCAN,
    HWD_OP_COUNT
};

enum hwd_rung { HWD_RUNG_FUNCTION, HWD_RUNG_BUS, HWD_RUNG_REMOVE_RESCAN };

enum { HWD_REQ_HANDOVER = 1u << 0, HWD_REQ_HOLD = 1u << 1, HWD_REQ_FORCE_PROBE = 1u << 2 };

struct hwd_request {
    uint32_t magic, version;
    uint32_t op; /* enum hwd_op */
    uint32_t flags;
    uint64_t seq; /* chosen by the client, echoed */
    struct pci_addr unit;
    uint32_t mode;        /* enum cc_mode, for PREPARE, VERIFY, HANDOVER */
    uint32_t arg;         /* op-specific */
    uint32_t deadline_ms; /* 0 = the service's default for the op; it also caps it */
};

enum hwd_msg_type {
    HWD_MSG_HELLO = 1,
    HWD_MSG_FACTS,
    HWD_MSG_GONE, /* unit left the bus */
    HWD_MSG_SYNCED,
    HWD_MSG_PROGRESS,
    HWD_MSG_RESULT,
};

/* Steps of an operation, in order; sent as progress, kept in the facts of a busy or stuck unit. */
enum hwd_phase {
    HWD_PHASE_NONE,
    HWD_PHASE_GATE,  /* claim, group, holders */
    HWD_PHASE_BIND,  /* driver */
    HWD_PHASE_WAKE,  /* power */
    HWD_PHASE_HOLD,  /* exclusion */
    HWD_PHASE_BOOT,  /* waiting for the firmware before we start */
    HWD_PHASE_QUERY, /* reading modes */
    HWD_PHASE_WRITE, /* writing knobs */
    HWD_PHASE_RESET,
    HWD_PHASE_REBOOT, /* waiting for the firmware after reset */
    HWD_PHASE_VERIFY,
    HWD_PHASE_RELEASE, /* letting go, giving back */
    HWD_PHASE_COUNT
};
const char *hwd_phase_name(enum hwd_phase p);
const char *hwd_op_name(enum hwd_op op);

enum hwd_kind { HWD_KIND_GPU = 1, HWD_KIND_NVSWITCH = 2 };
#define HWD_OPENS_MAX 9 /* this many or more */

enum hwd_state { HWD_STATE_IDLE, HWD_STATE_BUSY, HWD_STATE_STUCK };
enum hwd_use {
    HWD_USE_UNKNOWN, /* not looked at since the service started */
    HWD_USE_FREE,
    HWD_USE_OURS, /* held by this service */
    HWD_USE_HELD, /* somebody else has the node open */
};

enum {
    HWD_FACT_CLAIMED = 1u << 0, /* the claim rules let us touch it */
    HWD_FACT_BOUND = 1u << 1,   /* every function of the unit is on its VFIO driver */
    HWD_FACT_ARMED = 1u << 2,   /* prepared (`manage: verify`: verified), held by us ever since */
    HWD_FACT_HANDED_OVER = 1u << 3, /* handed over by this service, not prepared since */
    HWD_FACT_OPENED = 1u << 4,      /* with HANDED_OVER: the node was opened since (held or not) */
    HWD_FACT_IOMMUFD = 1u << 5,     /* the host has /dev/iommu */
    HWD_FACT_REOPENED = 1u << 6,    /* with OPENED: let go of since, and opened again */
};

/* How registers are reached. */
enum hwd_access {
    HWD_ACCESS_AUTO,  /* resource0, and VFIO where that is refused; in evidence: not at all */
    HWD_ACCESS_SYSFS, /* resource0 */
    HWD_ACCESS_VFIO,  /* an open VFIO device: opening it and closing it reset it */
    HWD_ACCESS_COUNT
};

struct hwd_facts {
    struct pci_addr unit;
    uint16_t vendor, device, subsys_vendor, subsys_device;
    uint32_t class_code;
    uint32_t kind;                        /* enum hwd_kind */
    uint32_t state;                       /* enum hwd_state */
    uint32_t op, phase;                   /* of a busy or stuck unit */
    uint64_t op_since_ns;                 /* CLOCK_MONOTONIC */
    uint32_t flags;                       /* HWD_FACT_* */
    uint32_t use;                         /* enum hwd_use */
    int32_t holder_pid;                   /* 0 = unknown */
    int32_t numa_node, iommu_group, cdev; /* -1 = none */
    uint32_t gang_size;
    uint32_t opens; /* of the node since the hand-over, as far as seen; at most HWD_OPENS_MAX */
    /* How its registers were last reached. By VFIO: while it is ARMED the device is held open, and
     * letting go of it (HANDOVER) resets it. */
    uint32_t access;                       /* enum hwd_access; AUTO: not yet */
    uint32_t node_major, node_minor;       /* device number of `node`; major 0 = unknown */
    uint32_t mode_active, mode_configured; /* enum cc_mode, as last read */
    uint32_t reason; /* enum reason: why the unit cannot be prepared as it is; NONE = it can */
    char holder_comm[32];
    char chip[16];          /* "gh100" */
    char model[96];         /* pci.ids */
    char driver[32];        /* of the primary function, "" unbound */
    char former_driver[32]; /* what GIVE_BACK restores */
    char node[64];          /* what a VMM opens, "" where there is none (yet) */
    char text[256];         /* people's version of reason */
};

/* Evidence of an operation, for log, journal and audit. */
struct hwd_evidence {
    uint32_t phase_ms[HWD_PHASE_COUNT];
    uint32_t total_ms;
    uint32_t knobs_written;
    uint32_t reset_rung; /* enum hwd_rung that worked */
    uint32_t resets;     /* asked for; those of opening and closing a VFIO device come on top */
    uint32_t access;     /* enum hwd_access */
};

struct hwd_message {
    uint32_t magic, version;
    uint32_t type;  /* enum hwd_msg_type */
    uint32_t phase; /* PROGRESS */
    uint64_t seq;   /* PROGRESS, RESULT */
    struct pci_addr unit;
    uint32_t modes; /* HELLO: those that the configuration allows, 1 << enum cc_mode each */
    /* RESULT: ERR_CLASS_NONE = success */
    uint32_t err_class, err_num, reason;
    char text[ERR_MSG_MAX];       /* RESULT: the error; PROGRESS: detail; HELLO: service version */
    struct hwd_facts facts;       /* FACTS, RESULT */
    struct hwd_evidence evidence; /* RESULT */
};

const char *hwd_kind_name(enum hwd_kind k);     /* "gpu", "nvswitch" */
const char *hwd_state_name(enum hwd_state s);   /* "idle", "busy", "stuck" */
const char *hwd_use_name(enum hwd_use u);       /* "unknown", "free", "ours", "held" */
const char *hwd_rung_name(enum hwd_rung r);     /* "function", "bus", "remove-rescan" */
const char *hwd_access_name(enum hwd_access a); /* "auto", "sysfs", "vfio" */

/* Checks a packet of `len` bytes from the other side before anything in it is used: size, magic,
 * version, ranges of enums, terminated strings, a valid PCI address. INVALID. */
int hwd_request_check(const struct hwd_request *r, size_t len, struct err *e);
int hwd_message_check(const struct hwd_message *m, size_t len, struct err *e);

#endif
