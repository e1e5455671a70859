/* SPDX-License-Identifier: Apache-2.0
 *
 * One device in one paragraph: by pgpud's status where it answers, else by what it left behind and
 * by the hardware.
 */
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/reason.h"
#include "cli/act_text.h"
#include "cli/json.h"
#include "cli/why.h"

#include <inttypes.h>
#include <string.h>

/* What a state means to whoever waits for the GPU, and what it waits for. */
static const struct {
    const char *state, *meaning, *waits;
} states[] = {
    {"found", "it was seen and not touched", "an Allocate, or the condition named"},
    {"arming", "it is being prepared: bound, switched, reset, verified", "the operation under way"},
    {"ready", "it is verified and held until a pod gets it", "a pod"},
    {"allocated", "it is handed out and nobody has opened it yet", "the pod's VM to open it"},
    {"in_use", "a VM has it", "the end of its pod"},
    {"releasing", "its pod is gone; it is offered again once it is closed, reset and verified",
     "whoever has it open, then the scrub"},
    {"quarantined", "it is not offered", "its recovery, or the cure"},
    {"stuck", "the kernel has not come back from a write to it", "the kernel"},
    {"gone", "it has left the bus", "its return"},
};

static size_t
state_row(const char *state)
{
    size_t i = 0;

    while (i < ARRAY_SIZE(states) && strcmp(states[i].state, state) != 0)
        i++;
    return i;
}

static void
say(struct buf *b, const char *before, const char *text, const char *after)
{
    if (!text[0])
        return;
    (void)buf_put_str(b, before);
    act_put_clean(b, text);
    (void)buf_put_str(b, after);
}

static void
detail(struct why_answer *a, const char *key, const char *value)
{
    (void)json_object_object_add(a->details, key, json_object_new_string(value));
}

static void
say_owner(struct buf *b, json_object *o)
{
    if (!json_str(o, "pod")[0])
        return;
    say(b, "; it belongs to ", json_str(o, "namespace"), "/");
    act_put_clean(b, json_str(o, "pod"));
    say(b, ", sandbox ", json_str(o, "sandbox"), "");
}

static void
say_reason(struct why_answer *a, const char *reason, const char *why)
{
    const char *cure = reason_cure(reason_from_name(reason));
    bool named = reason[0] && strcmp(reason, "NONE") != 0;

    if (!named && !why[0])
        return;
    (void)buf_put_str(&a->text, ". The reason");
    say(&a->text, " is ", named ? reason : "", "");
    say(&a->text, ": ", why, "");
    detail(a, "reason", reason);
    detail(a, "why", why);
    if (named && cure[0]) {
        (void)buf_put_str(&a->todo, cure);
        detail(a, "cure", cure);
    }
}

/* In a retry the state has no reason: what it is a retry of has. */
static void
say_retry(const struct why_sources *s, struct why_answer *a)
{
    json_object *last = why_newest(s->acts, "state", NULL, NULL);
    json_object *failed = why_newest(s->acts, "state", "to", "quarantined");

    if (!last || !failed || strcmp(json_str(last, "from"), "quarantined") != 0)
        return;
    (void)buf_put_str(&a->text, ". It failed before and is tried again");
    say_reason(a, json_str(failed, "reason"), json_str(failed, "text"));
}

static void
of_status(const struct why_sources *s, struct why_answer *a, json_object *u)
{
    const char *state = json_str(u, "state");
    size_t row = state_row(state);
    char age[32];

    say(&a->text, "", json_str(u, "id"), "");
    say(&a->text, " (", json_str(u, "model"), ")");
    say(&a->text, " is ", state, "");
    (void)buf_putf(&a->text, " since %s", why_age(json_int(u, "since_ms"), age));
    say(&a->text, ": ", row < ARRAY_SIZE(states) ? states[row].meaning : "", "");
    say_owner(&a->text, u);
    say(&a->text, "; under way: ", json_str(u, "operation"), "");
    say(&a->text, ", phase ", json_str(u, "phase"), "");
    if (strcmp(json_str(u, "use"), "held") == 0 && json_str(u, "holder")[0])
        (void)buf_putf(&a->text, "; %s, pid %" PRId64 ", has it open", json_str(u, "holder"),
                       json_int(u, "holder_pid"));
    say_reason(a, json_str(u, "reason"), json_str(u, "why"));
    if (strcmp(state, "arming") == 0)
        say_retry(s, a);
    (void)buf_putf(&a->text, ". For the kubelet it is %s",
                   !json_truth(u, "listed")   ? "not listed"
                   : json_truth(u, "healthy") ? "Healthy"
                                              : "Unhealthy");
    say(&a->text, " in ", json_str(u, "resource"), "");
    say(&a->text, "; mode active ", json_str(u, "mode_active"), "");
    say(&a->text, ", configured ", json_str(u, "mode_configured"), "");
    if (row < ARRAY_SIZE(states))
        say(&a->text, ". It waits for ", states[row].waits, "");
    (void)buf_put_str(&a->text, ".");
    detail(a, "state", state);
    (void)json_object_object_add(a->details, "since_ms",
                                 json_object_new_int64(json_int(u, "since_ms")));
    detail(a, "waits_for", row < ARRAY_SIZE(states) ? states[row].waits : "");
    detail(a, "namespace", json_str(u, "namespace"));
    detail(a, "pod", json_str(u, "pod"));
    detail(a, "sandbox", json_str(u, "sandbox"));
}

static const struct hwd_facts *
facts_of(const struct why_sources *s, const char *device)
{
    for (int i = 0; i < s->n_facts; i++)
        if (strcmp(PCI_STR(s->facts[i].unit), device) == 0)
            return &s->facts[i];
    return NULL;
}

static void
of_hardware(struct why_answer *a, const struct hwd_facts *f)
{
    say(&a->text, "On the bus it is ", f->model[0] ? f->model : "a device", "");
    say(&a->text, ", driver ", f->driver[0] ? f->driver : "none", "");
    if (f->use == HWD_USE_HELD)
        (void)buf_putf(&a->text, ", held by %s, pid %d", f->holder_comm, f->holder_pid);
    say_reason(a, reason_name((enum reason)f->reason), f->text);
    (void)buf_put_str(&a->text, ". ");
}

/* pgpud does not answer: its last words. */
static void
of_leftovers(const struct why_sources *s, const struct why_target *t, struct why_answer *a)
{
    json_object *last = why_newest(s->acts, "state", NULL, NULL);
    json_object *record = json_object_array_get_idx(s->journal, 0);
    const struct hwd_facts *f = facts_of(s, t->device);
    char age[32];

    if (!last && !record && !f)
        return;
    a->found = true;
    (void)buf_putf(&a->text, "%s: pgpud does not answer. ", t->device);
    if (last) {
        say(&a->text, "By its audit log it was last ", json_str(last, "to"), "");
        say(&a->text, ", ", why_age_of(json_str(last, "time"), age), " ago");
        say(&a->text, ", for ", json_str(last, "reason"), "");
        say(&a->text, ": ", json_str(last, "text"), "");
        say_owner(&a->text, last);
        (void)buf_put_str(&a->text, ". ");
        detail(a, "state", json_str(last, "to"));
        detail(a, "since", json_str(last, "time"));
    }
    if (record) {
        say(&a->text, "Its journal has it as ", json_str(record, "intent"), "");
        say_owner(&a->text, record);
        (void)buf_put_str(&a->text, ". ");
        detail(a, "journal", json_str(record, "intent"));
    }
    if (f)
        of_hardware(a, f);
    detail(a, "waits_for", "pgpud");
    if (buf_left(&a->todo) > 0)
        (void)buf_put_str(&a->todo, "; and ");
    (void)buf_put_str(&a->todo, "start pgpud (systemctl status pgpud says why it is down); running "
                                "VMs are not disturbed by it");
}

void
why_device(const struct why_sources *s, const struct why_target *t, struct why_answer *a)
{
    json_object *u = why_unit(s, t->device);
    const struct hwd_facts *f;

    if (u) {
        a->found = true;
        of_status(s, a, u);
        return;
    }
    if (!s->status) {
        of_leftovers(s, t, a);
    } else if ((f = facts_of(s, t->device))) {
        a->found = true;
        (void)buf_putf(&a->text, "%s: pgpud does not know it. ", t->device);
        of_hardware(a, f);
    }
    if (!a->found) {
        (void)buf_putf(&a->text,
                       "No device %s is known: it is not on the bus, and neither pgpud nor its "
                       "audit log has it.",
                       t->device);
        (void)buf_put_str(&a->todo, "`pgpuctl devices` lists what there is; `lspci -d 10de:` says "
                                    "whether the kernel sees it");
    }
}
