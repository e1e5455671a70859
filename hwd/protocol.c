/* SPDX-License-Identifier: Apache-2.0
 *
 * Names and validation for the typed protocol: pure functions, no state. Its own small library, so
 * that the daemon links this and nothing else of hwd/.
 */
#include "hwd/protocol.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static const char *
name_at(const char *const *names, size_t n, unsigned i)
{
    return i < n ? names[i] : "?";
}

const char *
hwd_phase_name(enum hwd_phase p)
{
    static const char *const n[] = {"none",  "gate",  "bind",  "wake",   "hold",   "boot",
                                    "query", "write", "reset", "reboot", "verify", "release"};

    _Static_assert(ARRAY_SIZE(n) == HWD_PHASE_COUNT, "one name per phase");
    return name_at(n, ARRAY_SIZE(n), (unsigned)p);
}

const char *
hwd_op_name(enum hwd_op op)
{
    static const char *const n[] = {"none",  "prepare",   "verify",    "handover",
                                    "reset", "give-back", "probe-use", "rescan"};

    _Static_assert(ARRAY_SIZE(n) == HWD_OP_COUNT, "one name per operation");
    return name_at(n, ARRAY_SIZE(n), (unsigned)op);
}

const char *
hwd_kind_name(enum hwd_kind k)
{
    static const char *const n[] = {"?", "gpu", "nvswitch"};

    return name_at(n, ARRAY_SIZE(n), (unsigned)k);
}

const char *
hwd_state_name(enum hwd_state s)
{
    static const char *const n[] = {"idle", "busy", "stuck"};

    return name_at(n, ARRAY_SIZE(n), (unsigned)s);
}

const char *
hwd_use_name(enum hwd_use u)
{
    static const char *const n[] = {"unknown", "free", "ours", "held"};

    return name_at(n, ARRAY_SIZE(n), (unsigned)u);
}

const char *
hwd_rung_name(enum hwd_rung r)
{
    static const char *const n[] = {"function", "bus", "remove-rescan"};

    return name_at(n, ARRAY_SIZE(n), (unsigned)r);
}

const char *
hwd_access_name(enum hwd_access a)
{
    static const char *const n[] = {"auto", "sysfs", "vfio"};

    return name_at(n, ARRAY_SIZE(n), (unsigned)a);
}

static bool
addr_ok(struct pci_addr a)
{
    return a.dev < 32 && a.fn < 8;
}

int
hwd_request_check(const struct hwd_request *r, size_t len, struct err *e)
{
    if (len != sizeof(*r))
        return err_set(e, EPROTO, ERR_CLASS_INVALID, "request: %zu bytes, expected %zu", len,
                       sizeof(*r));
    if (r->magic != HWD_PROTO_MAGIC)
        return err_set(e, EPROTO, ERR_CLASS_INVALID, "request: wrong magic 0x%08x", r->magic);
    if (r->version != HWD_PROTO_VERSION)
        return err_set(e, EPROTO, ERR_CLASS_INVALID,
                       "request: protocol version %u, this side speaks %u", r->version,
                       HWD_PROTO_VERSION);
    if (r->op == HWD_OP_NONE || r->op >= HWD_OP_COUNT)
        return err_set(e, EPROTO, ERR_CLASS_INVALID, "request: unknown operation %u", r->op);
    if (r->flags & ~(uint32_t)(HWD_REQ_HANDOVER | HWD_REQ_HOLD | HWD_REQ_FORCE_PROBE))
        return err_set(e, EPROTO, ERR_CLASS_INVALID, "request: unknown flags 0x%x", r->flags);
    if (!addr_ok(r->unit))
        return err_set(e, EPROTO, ERR_CLASS_INVALID, "request: impossible PCI address");
    if ((r->op == HWD_OP_PREPARE || r->op == HWD_OP_VERIFY || r->op == HWD_OP_HANDOVER) &&
        r->mode > CC_MODE_PPCIE)
        return err_set(e, EPROTO, ERR_CLASS_INVALID, "request: mode %u cannot be asked for",
                       r->mode);
    if (r->op == HWD_OP_RESET && r->arg > HWD_RUNG_REMOVE_RESCAN)
        return err_set(e, EPROTO, ERR_CLASS_INVALID, "request: unknown reset %u", r->arg);
    return 0;
}

#define ENDS(field) (memchr((field), '\0', sizeof(field)) != NULL)

static bool
facts_ok(const struct hwd_facts *f)
{
    return addr_ok(f->unit) && (f->kind == HWD_KIND_GPU || f->kind == HWD_KIND_NVSWITCH) &&
           f->state <= HWD_STATE_STUCK && f->op < HWD_OP_COUNT && f->phase < HWD_PHASE_COUNT &&
           f->use <= HWD_USE_HELD && f->access < HWD_ACCESS_COUNT &&
           f->mode_active <= CC_MODE_UNKNOWN && f->mode_configured <= CC_MODE_UNKNOWN &&
           f->reason < REASON_COUNT && ENDS(f->holder_comm) && ENDS(f->chip) && ENDS(f->model) &&
           ENDS(f->driver) && ENDS(f->former_driver) && ENDS(f->node) && ENDS(f->text);
}

int
hwd_message_check(const struct hwd_message *m, size_t len, struct err *e)
{
    static const struct hwd_facts none;
    bool facts;

    if (len != sizeof(*m))
        return err_set(e, EPROTO, ERR_CLASS_INVALID, "message: %zu bytes, expected %zu", len,
                       sizeof(*m));
    if (m->magic != HWD_PROTO_MAGIC || m->version != HWD_PROTO_VERSION)
        return err_set(e, EPROTO, ERR_CLASS_INVALID,
                       "message: magic 0x%08x version %u, this side speaks version %u", m->magic,
                       m->version, HWD_PROTO_VERSION);
    if (m->type < HWD_MSG_HELLO || m->type > HWD_MSG_RESULT)
        return err_set(e, EPROTO, ERR_CLASS_INVALID, "message: unknown type %u", m->type);
    /* A result about a unit that does not exist carries empty facts. */
    facts = m->type == HWD_MSG_FACTS || m->type == HWD_MSG_RESULT;
    if (m->phase >= HWD_PHASE_COUNT || m->err_class > ERR_CLASS_FATAL ||
        m->reason >= REASON_COUNT || !addr_ok(m->unit) || !ENDS(m->text) || m->modes > 0xf ||
        m->evidence.reset_rung > HWD_RUNG_REMOVE_RESCAN || m->evidence.access >= HWD_ACCESS_COUNT)
        return err_set(e, EPROTO, ERR_CLASS_INVALID, "message: a field is out of range");
    if (facts && !facts_ok(&m->facts) &&
        /* Wire bytes. NOLINTNEXTLINE(bugprone-suspicious-memory-comparison) */
        !(m->type == HWD_MSG_RESULT && memcmp(&m->facts, &none, sizeof(none)) == 0))
        return err_set(e, EPROTO, ERR_CLASS_INVALID, "message: facts are out of range");
    return 0;
}
