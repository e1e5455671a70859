/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl why: one paragraph about a device, a pod or a sandbox.
 */
#include "cli/why.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "cli/act_text.h"
#include "cli/json.h"
#include "cli/node_conf.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX 16384
#define WIDTH 96
#define SHOWN_EVENTS 6

static bool
is_sandbox_id(const char *w)
{
    return strlen(w) >= 12 && strspn(w, "0123456789abcdef") == strlen(w);
}

static bool
take_target(const char *word, struct why_target *t)
{
    const char *slash = strchr(word, '/');

    *t = (struct why_target){.word = word, .name = word, .kind = WHY_POD};
    if (!word[0] || strlen(word) > 330)
        return false;
    if (slash) {
        t->name = slash + 1;
        return slash != word && slash[1] && !strchr(slash + 1, '/') &&
               (size_t)(slash - word) < sizeof(t->ns) &&
               snprintf(t->ns, sizeof(t->ns), "%.*s", (int)(slash - word), word) > 0;
    }
    if (act_device(word, t->device))
        t->kind = WHY_DEVICE;
    else if (is_sandbox_id(word))
        t->kind = WHY_SANDBOX;
    return true;
}

/* ---- output ---- */

static void
print_wrapped(const char *first, const char *text)
{
    size_t col = strlen(first);

    (void)fputs(first, stdout);
    while (*text) {
        size_t n = strcspn(text, " ");

        if (col > strlen(first) && col + 1 + n > WIDTH) {
            (void)printf("\n%*s", (int)strlen(first), "");
            col = strlen(first);
        } else if (col > strlen(first)) {
            (void)putchar(' ');
            col++;
        }
        (void)printf("%.*s", (int)n, text);
        col += n;
        text += n;
        text += strspn(text, " ");
    }
    (void)putchar('\n');
}

static const char *
text_of(struct buf *b)
{
    const char *s;

    b->failed = false;
    s = buf_cstr(b);
    return s ? s : "";
}

static void
print_people(const struct cli *c, const struct why_sources *s, struct why_answer *a)
{
    size_t n = json_object_array_length(s->acts);

    print_wrapped("", text_of(&a->text));
    if (n)
        (void)printf("\nFrom the %s:\n", s->acts_from ? s->acts_from : "log");
    for (size_t i = n > SHOWN_EVENTS ? n - SHOWN_EVENTS : 0; i < n; i++) {
        (void)fputs("  ", stdout);
        act_print(json_object_array_get_idx(s->acts, i), c->tty, stdout);
    }
    if (!s->acts_from && s->acts_why[0])
        (void)printf("\nNo events: %s\n", s->acts_why);
    if (buf_left(&a->todo) > 0) {
        (void)putchar('\n');
        print_wrapped("What to do: ", text_of(&a->todo));
    }
}

static void
print_json(const struct why_sources *s, const struct why_target *t, struct why_answer *a)
{
    static const char *const kinds[] = {"device", "pod", "sandbox"};
    json_object *o = a->details, *sources = json_object_new_object();

    (void)json_object_object_add(o, "target", json_object_new_string(t->word));
    (void)json_object_object_add(o, "kind", json_object_new_string(kinds[t->kind]));
    (void)json_object_object_add(o, "found", json_object_new_boolean(a->found));
    (void)json_object_object_add(o, "text", json_object_new_string(text_of(&a->text)));
    (void)json_object_object_add(o, "to_do", json_object_new_string(text_of(&a->todo)));
    (void)json_object_object_add(o, "events", json_object_get(s->acts));
    (void)json_object_object_add(sources, "pgpud", json_object_new_boolean(s->status != NULL));
    (void)json_object_object_add(sources, "events",
                                 json_object_new_string(s->acts_from ? s->acts_from : ""));
    (void)json_object_object_add(sources, "journal",
                                 json_object_new_boolean(json_object_array_length(s->journal) > 0));
    (void)json_object_object_add(sources, "hardware", json_object_new_boolean(s->facts != NULL));
    (void)json_object_object_add(o, "sources", sources);
    (void)puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE));
}

static int
run(const void *ctx, int argc, char **argv)
{
    const struct cli *c = ctx;
    struct usage_args a;
    struct why_target t;
    struct why_sources s;
    struct why_answer answer = {.found = false};
    int rc = usage_parse(&verb_why, argc, argv, &a);

    if (rc >= 0)
        return rc;
    if (!take_target(a.v[0], &t))
        return usage_wrong(&a, "\"%s\" is no device, pod or sandbox", a.v[0]);
    if (why_gather(c, usage_value(&a, "--config", NULL), &t, &s) < 0)
        return 1;
    buf_init(&answer.text, TEXT_MAX);
    buf_init(&answer.todo, TEXT_MAX);
    answer.details = json_object_new_object();
    if (t.kind == WHY_DEVICE && !why_unit(&s, t.device))
        why_look_at_hardware(&s);
    if (t.kind == WHY_DEVICE)
        why_device(&s, &t, &answer);
    else
        why_pod(&s, &t, &answer);
    if (c->json)
        print_json(&s, &t, &answer);
    else
        print_people(c, &s, &answer);
    (void)json_object_put(answer.details);
    buf_fini(&answer.text);
    buf_fini(&answer.todo);
    why_sources_fini(&s);
    return answer.found ? 0 : 1;
}

const struct usage verb_why = {
    .name = "why",
    .args = "POD|DEVICE",
    .summary = "one paragraph: what state, since when, what it waits for, what to do",
    .text = "POD is NAMESPACE/NAME, NAME, or the ID of a sandbox (12 digits or more); DEVICE a PCI "
            "address, with or without its domain, also as nvidia-smi prints it.\n\n"
            "From pgpud's status, the audit log (or else pgpud's events), pgpud's journal and the "
            "hardware. It works without pgpud from what is left.\n\n"
            "The kubelet names the pod of a GPU only once it has it: an Allocate that was refused "
            "has no pod. For a pod that is unknown, what was refused lately is shown.\n\n"
            "Exit status: 0 found, 1 nothing is known of it, 2 wrong usage.",
    .words = "device",
    .opts = (const struct usage_opt[]){NODE_CONF_OPT, {NULL, NULL, NULL, NULL, 0}},
    .run = run,
};
