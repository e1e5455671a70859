/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/act_json.h"

#include "base/cleanup.h"
#include "base/hw.h"
#include "daemon/json.h"
#include "daemon/node.h"

#include <stdio.h>
#include <string.h>

#define TEXT_MAX 1000

enum {
    P_OK = 1u << 0,       /* `ok` says something */
    P_STATES = 1u << 1,   /* from, to, event */
    P_OP = 1u << 2,       /* operation, evidence */
    P_MODE = 1u << 3,     /* mode */
    P_MODES = 1u << 4,    /* mode, from_mode */
    P_OWNER = 1u << 5,    /* the device's owner, where the act names none */
    P_PEER = 1u << 6,     /* pid, uid */
    P_AUDIT = 1u << 7,    /* audited */
    P_FAILURES = 1u << 8, /* worth showing only where it failed */
};

static const unsigned parts[ACT_KIND_COUNT] = {
    [ACT_START] = P_MODE | P_AUDIT,
    [ACT_STOP] = P_OK | P_AUDIT,
    [ACT_STATE] = P_STATES | P_OWNER | P_AUDIT,
    [ACT_OPERATION] = P_OK | P_OP | P_MODE | P_OWNER | P_AUDIT,
    [ACT_ALLOCATE] = P_OK | P_AUDIT,
    [ACT_REFUSAL] = P_AUDIT,
    [ACT_NRI_EVENT] = P_OK | P_FAILURES,
    [ACT_RUNTIME] = P_OK | P_AUDIT,
    [ACT_KUBELET] = P_OK,
    [ACT_HWD] = P_OK | P_AUDIT,
    [ACT_JOURNAL] = P_OK | P_FAILURES,
    [ACT_CDI] = P_OK,
    [ACT_UNLOCK] = P_AUDIT,
    [ACT_MODE] = P_OK | P_MODES | P_AUDIT,
    [ACT_REQUEST] = P_OK | P_PEER | P_AUDIT,
    [ACT_CONFIG] = P_OK | P_AUDIT,
    [ACT_OWNER] = P_OWNER | P_AUDIT,
    [ACT_AUDIT] = P_OK | P_FAILURES,
};

/* ---- clean text ---- */

/* Length of the well-formed UTF-8 sequence at s (Unicode 15, table 3-7), 0 if there is none. */
static size_t
utf8_len(const unsigned char *s)
{
    unsigned lo = 0x80, hi = 0xbf;
    size_t n;

    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (s[0] == 0xe0)
        lo = 0xa0;
    else if (s[0] == 0xed)
        hi = 0x9f;
    else if (s[0] == 0xf0)
        lo = 0x90;
    else if (s[0] == 0xf4)
        hi = 0x8f;
    if (s[1] < lo || s[1] > hi)
        return 0;
    for (size_t i = 2; i < n; i++)
        if (s[i] < 0x80 || s[i] > 0xbf)
            return 0;
    return n;
}

void
act_json_text(json_object *o, const char *key, const char *text)
{
    char clean[TEXT_MAX + 4];
    size_t used = 0;

    if (!text || !text[0])
        return;
    for (const unsigned char *p = (const unsigned char *)text; *p && used < TEXT_MAX;) {
        size_t n = utf8_len(p);
        /* C1 controls can move a terminal's cursor as escape sequences do */
        bool control = *p < 0x20 || *p == 0x7f || (n == 2 && p[0] == 0xc2 && p[1] < 0xa0);

        if (n == 0 || control) {
            clean[used++] = *p == '\n' || *p == '\t' ? ' ' : '?';
            p += n ? n : 1;
        } else {
            memcpy(clean + used, p, n);
            used += n;
            p += n;
        }
    }
    (void)json_object_object_add(o, key, json_object_new_string_len(clean, (int)used));
}

/* ---- parts ---- */

static void
put_devices(json_object *o, const struct act *a)
{
    json_object *list;

    if (a->unit)
        act_json_text(o, "device", a->unit->id);
    if (a->n_devices == 0)
        return;
    list = json_object_new_array();
    for (size_t i = 0; i < a->n_devices; i++)
        if (a->devices[i])
            (void)json_object_array_add(list, json_object_new_string(a->devices[i]->id));
    (void)json_object_object_add(o, "devices", list);
}

static void
put_evidence(json_object *o, const struct hwd_evidence *v)
{
    json_object *all = json_object_new_object();

    put_int(all, "total_ms", v->total_ms);
    put_int(all, "knobs_written", v->knobs_written);
    put_int(all, "resets", v->resets);
    if (v->resets)
        act_json_text(all, "reset", hwd_rung_name((enum hwd_rung)v->reset_rung));
    for (int p = HWD_PHASE_GATE; p < HWD_PHASE_COUNT; p++)
        if (v->phase_ms[p])
            put_int(all, hwd_phase_name((enum hwd_phase)p), v->phase_ms[p]);
    (void)json_object_object_add(o, "evidence", all);
}

static void
put_operation(json_object *o, const struct act *a)
{
    act_json_text(o, "operation", hwd_op_name(a->op));
    act_json_text(o, "mode", cc_mode_name(a->mode));
    if (a->unit && a->ok) {
        act_json_text(o, "mode_active", cc_mode_name((enum cc_mode)a->unit->facts.mode_active));
        act_json_text(o, "mode_configured",
                      cc_mode_name((enum cc_mode)a->unit->facts.mode_configured));
    }
    if (a->evidence)
        put_evidence(o, a->evidence);
}

static void
put_owner(json_object *o, const struct act *a, unsigned p)
{
    const struct unit *u = p & P_OWNER ? a->unit : NULL;

    act_json_text(o, "namespace", a->ns ? a->ns : u ? u->owner.ns : NULL);
    act_json_text(o, "pod", a->pod ? a->pod : u ? u->owner.pod : NULL);
    act_json_text(o, "sandbox", a->sandbox ? a->sandbox : u ? u->sandbox : NULL);
}

void
act_json_put(json_object *o, const struct act *a)
{
    unsigned p = (unsigned)a->kind < ACT_KIND_COUNT ? parts[a->kind] : 0;

    act_json_text(o, "kind", act_kind_name(a->kind));
    put_devices(o, a);
    act_json_text(o, "resource", a->resource);
    if (p & P_OK)
        put_bool(o, "ok", a->ok);
    if (p & P_STATES) {
        act_json_text(o, "from", unit_state_info(a->from)->name);
        act_json_text(o, "to", unit_state_info(a->to)->name);
        act_json_text(o, "event", unit_event_name(a->event));
    }
    if (p & P_OP)
        put_operation(o, a);
    if (p & (P_MODE | P_MODES) && !(p & P_OP))
        act_json_text(o, "mode", cc_mode_name(a->mode));
    if (p & P_MODES)
        act_json_text(o, "from_mode", cc_mode_name(a->from_mode));
    if (a->reason != REASON_NONE) {
        act_json_text(o, "reason", reason_name(a->reason));
        act_json_text(o, "cure", reason_cure(a->reason));
    }
    act_json_text(o, "what", a->what);
    act_json_text(o, "rule", a->rule);
    put_owner(o, a, p);
    act_json_text(o, "text", a->text);
    if (a->took_ns)
        put_int(o, "took_ms", (int64_t)(a->took_ns / HW_MS(1)));
    if (p & P_PEER) {
        put_int(o, "pid", a->pid);
        put_int(o, "uid", a->uid);
    }
}

const char *
act_time(const struct timespec *t, char buf[ACT_TIME_MAX])
{
    struct tm tm;
    size_t n;

    (void)gmtime_r(&t->tv_sec, &tm);
    n = strftime(buf, ACT_TIME_MAX - 8, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(buf + n, ACT_TIME_MAX - n, ".%03uZ", (unsigned)(t->tv_nsec / 1000000) % 1000);
    return buf;
}

/* ---- who hears of it ---- */

/* A look at a device that changed nothing. */
static bool
is_routine(const struct act *a)
{
    return (a->kind == ACT_STATE && a->from == a->to) ||
           (a->kind == ACT_OPERATION && a->ok &&
            (a->op == HWD_OP_VERIFY || a->op == HWD_OP_PROBE_USE || a->op == HWD_OP_RESCAN));
}

bool
act_is_news(const struct act *a)
{
    unsigned p = (unsigned)a->kind < ACT_KIND_COUNT ? parts[a->kind] : 0;

    return !is_routine(a) && !(p & P_FAILURES && a->ok);
}

bool
act_is_audited(const struct act *a)
{
    return (unsigned)a->kind < ACT_KIND_COUNT && parts[a->kind] & P_AUDIT && !is_routine(a);
}
