/* SPDX-License-Identifier: Apache-2.0
 *
 * One pod, or sandbox, in one paragraph. The kubelet does not say for which pod an Allocate is: of
 * a pod that failed there nothing is known by name, and that is said.
 */
#include "base/cleanup.h"
#include "base/fs.h"
#include "cli/act_text.h"
#include "cli/json.h"
#include "cli/why.h"

#include <inttypes.h>
#include <string.h>

/* By the names of guard_rule_name(). */
static const struct {
    const char *rule, *cure;
} cures[] = {
    {"cc",
     "wait until `pgpuctl status` shows the GPU verified, or delete the pod: pgpud scrubs the "
     "GPU and verifies it anew"},
    {"owner", "delete the pod and let its controller make it anew: the kubelet did not give these "
              "GPUs to it"},
    {"devices", "ask for GPUs by the resource alone; take device annotations, CDI names and VFIO "
                "nodes out of the pod"},
    {"initdata", "check it with `pgpuctl initdata check FILE` and put it right"},
    {"annotations", "install the admission policy of deploy/admission, or set the annotations that "
                    "the text names; `pgpuctl annotations lint` checks a pod"},
    {"plugins", "take the other NRI plugin out of the way: it adds what the guard forbids"},
};

static void
say(struct buf *b, const char *before, const char *text, const char *after)
{
    if (!text[0])
        return;
    (void)buf_put_str(b, before);
    act_put_clean(b, text);
    (void)buf_put_str(b, after);
}

static const char *
rule_cure(const char *rule)
{
    for (size_t i = 0; i < ARRAY_SIZE(cures); i++)
        if (strcmp(cures[i].rule, rule) == 0)
            return cures[i].cure;
    return "the text says what is wrong; `pgpuctl events --kind refusal` shows all refusals";
}

/* ---- what there is ---- */

static bool
owns(const struct why_target *t, json_object *u)
{
    return (json_str(u, "pod")[0] || t->kind == WHY_SANDBOX) && why_act_fits(t, u);
}

static void
say_device(struct why_answer *a, json_object *u, unsigned n, json_object *list)
{
    char age[32];

    (void)buf_putf(&a->text, "%s%s is %s since %s", n ? ", " : "", json_str(u, "id"),
                   json_str(u, "state"), why_age(json_int(u, "since_ms"), age));
    if (strcmp(json_str(u, "reason"), "NONE") != 0) {
        say(&a->text, " (", json_str(u, "reason"), "");
        say(&a->text, ": ", json_str(u, "why"), "");
        (void)buf_put_str(&a->text, ")");
        if (buf_left(&a->todo) == 0)
            (void)buf_put_str(&a->todo, json_str(u, "cure"));
    }
    (void)json_object_array_add(list, json_object_new_string(json_str(u, "id")));
}

static void
say_who(const struct why_target *t, struct why_answer *a, json_object *o)
{
    if (t->kind == WHY_SANDBOX)
        (void)buf_put_str(&a->text, "Sandbox ");
    say(&a->text, "", t->word, "");
    if (t->kind == WHY_SANDBOX || !t->ns[0]) {
        say(&a->text, " (", json_str(o, "namespace"), "/");
        say(&a->text, "", json_str(o, "pod"), ")");
    }
}

/* Devices that are its own now. */
static bool
of_devices(const struct why_sources *s, const struct why_target *t, struct why_answer *a)
{
    json_object *units, *list = json_object_new_array();
    unsigned n = 0;

    if (s->status && json_object_object_get_ex(s->status, "units", &units))
        for (size_t i = 0; i < json_object_array_length(units); i++) {
            json_object *u = json_object_array_get_idx(units, i);

            if (!owns(t, u))
                continue;
            if (n == 0) {
                say_who(t, a, u);
                (void)buf_put_str(&a->text, " has GPUs: ");
            }
            say_device(a, u, n++, list);
        }
    if (n)
        (void)buf_put_str(&a->text, ". ");
    (void)json_object_object_add(a->details, "devices", list);
    return n > 0;
}

static bool
of_sandbox(const struct why_sources *s, const struct why_target *t, struct why_answer *a,
           bool known)
{
    json_object *nri, *list, *found = NULL;
    char age[32];

    if (!s->status || !json_object_object_get_ex(s->status, "nri", &nri) ||
        !json_object_object_get_ex(nri, "sandboxes", &list))
        return false;
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        json_object *o = json_object_array_get_idx(list, i);
        bool fits = t->kind == WHY_SANDBOX
                        ? strncmp(json_str(o, "id"), t->name, strlen(t->name)) == 0
                        : why_act_fits(t, o);

        found = fits ? o : found;
    }
    if (!found)
        return false;
    if (!known)
        say_who(t, a, found);
    (void)buf_putf(&a->text, "%s sandbox %.12s is known since %s", known ? "Its" : ": its",
                   json_str(found, "id"), why_age(json_int(found, "since_ms"), age));
    say(&a->text, ", handler ", json_str(found, "handler"), "");
    say(&a->text, ", class ", json_str(found, "class"), "");
    (void)buf_put_str(&a->text, known ? ". " : ", and it has no GPU of ours. ");
    return true;
}

static bool
of_refusal(const struct why_sources *s, const struct why_target *t, struct why_answer *a,
           bool known)
{
    json_object *r = why_newest(s->acts, "refusal", NULL, NULL);
    json_object *got = why_newest(s->acts, "owner", NULL, NULL);
    char age[32];

    /* A refusal that was followed by success is history. */
    if (!r || (got && known && strcmp(json_str(got, "time"), json_str(r, "time")) > 0))
        return false;
    if (known)
        (void)buf_put_str(&a->text, "It");
    else
        say_who(t, a, r);
    say(&a->text, " was refused at ", json_str(r, "what"), "");
    say(&a->text, ", ", why_age_of(json_str(r, "time"), age), " ago");
    say(&a->text, ", by the guard's rule ", json_str(r, "rule"), "");
    say(&a->text, ": ", json_str(r, "text"), "");
    (void)buf_put_str(&a->text, ". ");
    buf_clear(&a->todo);
    (void)buf_put_str(&a->todo, rule_cure(json_str(r, "rule")));
    (void)json_object_object_add(a->details, "state", json_object_new_string("refused"));
    (void)json_object_object_add(a->details, "rule", json_object_new_string(json_str(r, "rule")));
    (void)json_object_object_add(a->details, "why", json_object_new_string(json_str(r, "text")));
    (void)json_object_object_add(a->details, "since", json_object_new_string(json_str(r, "time")));
    return true;
}

/* pgpud is down: the journal says who had what. */
static bool
of_journal(const struct why_sources *s, const struct why_target *t, struct why_answer *a)
{
    size_t n = json_object_array_length(s->journal);

    if (n == 0 || s->status)
        return false;
    say_who(t, a, json_object_array_get_idx(s->journal, 0));
    (void)buf_put_str(&a->text, ": by pgpud's journal it has");
    for (size_t i = 0; i < n; i++)
        say(&a->text, i ? ", " : " ", json_str(json_object_array_get_idx(s->journal, i), "device"),
            "");
    (void)buf_put_str(&a->text, ". ");
    return true;
}

static bool
of_past(const struct why_sources *s, const struct why_target *t, struct why_answer *a)
{
    size_t n = json_object_array_length(s->acts);
    json_object *last = n ? json_object_array_get_idx(s->acts, n - 1) : NULL;
    char age[32];

    if (!last)
        return false;
    say_who(t, a, last);
    (void)buf_put_str(&a->text, s->status ? " has no GPU now. The last that is known of it, "
                                          : ": the last that is known of it, ");
    say(&a->text, "", why_age_of(json_str(last, "time"), age), " ago: ");
    act_text(last, &a->text);
    (void)buf_put_str(&a->text, ". ");
    return true;
}

/* ---- nothing ---- */

static void
unknown(const struct why_sources *s, const struct why_target *t, struct why_answer *a)
{
    size_t n = json_object_array_length(s->refused);
    unsigned spare, listed;
    char age[32];

    (void)buf_put_str(&a->text, "Nobody here knows ");
    say(&a->text, "", t->word, "");
    (void)buf_putf(&a->text, ": neither %s nor %s names it. ",
                   s->status
                       ? "pgpud, the kubelet's list of allocations and the runtime's sandboxes"
                       : "pgpud's journal (pgpud itself does not answer)",
                   s->acts_from ? s->acts_from : "any log");
    why_count(s, &spare, &listed);
    if (s->status)
        (void)buf_putf(&a->text,
                       "%u of this node's %u GPUs are free; a pod that asks for more waits in the "
                       "scheduler, or failed before it came here. ",
                       spare, listed);
    if (n)
        (void)buf_put_str(&a->text,
                          "An Allocate does not say for which pod it is; refused lately: ");
    for (size_t i = 0; i < n; i++) {
        json_object *o = json_object_array_get_idx(s->refused, i);

        say(&a->text, i ? "; " : "", why_age_of(json_str(o, "time"), age), " ago ");
        act_text(o, &a->text);
    }
    if (n)
        (void)buf_put_str(&a->text, ". ");
    (void)buf_put_str(
        &a->todo, "`kubectl describe pod` shows it: Pending with \"Insufficient nvidia.com/...\" "
                  "means no free GPU on any node; UnexpectedAdmissionError has the text of a "
                  "refused Allocate; is it on this node, and does it ask for a resource that "
                  "`pgpuctl status` lists?");
}

void
why_pod(const struct why_sources *s, const struct why_target *t, struct why_answer *a)
{
    bool has = of_devices(s, t, a);
    bool known = of_journal(s, t, a) || has;

    known = of_sandbox(s, t, a, known) || known;
    known = of_refusal(s, t, a, known) || known;
    known = known || of_past(s, t, a);
    a->found = known;
    if (!known)
        unknown(s, t, a);
    else if (!s->status)
        (void)buf_put_str(&a->todo, "start pgpud: it does not answer");
    if (known && !json_object_object_get(a->details, "state"))
        (void)json_object_object_add(a->details, "state",
                                     json_object_new_string(has         ? "running"
                                                            : s->status ? "without"
                                                                        : "unknown"));
}
