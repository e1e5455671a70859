/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl events: what happened since pgpud started, and what happens now.
 */
#include "base/cleanup.h"
#include "cli/act_text.h"
#include "cli/cli.h"
#include "cli/follow.h"
#include "cli/json.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

struct view {
    const struct cli *c;
    struct act_filter filter;
    int status;
};

static bool
on_line(void *ctx, const char *text, size_t len)
{
    struct view *v = ctx;
    json_object *o = act_parse(text, len);
    json_object *error;

    if (!o) {
        (void)fputs("pgpuctl: pgpud's answer is no JSON\n", stderr);
        v->status = 1;
        return false;
    }
    if (json_object_object_get_ex(o, "error", &error)) {
        (void)fprintf(stderr, "pgpuctl: pgpud: %s\n", json_object_get_string(error));
        v->status = 1;
    } else if (json_str(o, "kind")[0] && act_filter_fits(&v->filter, o)) {
        if (v->c->json)
            (void)printf("%.*s\n", (int)len, text);
        else
            act_print(o, v->c->tty, stdout);
        (void)fflush(stdout);
    }
    (void)json_object_put(o);
    return v->status == 0 && !ferror(stdout);
}

static int
run(const void *ctx, int argc, char **argv)
{
    struct view v = {.c = ctx};
    struct err e = ERR_INIT;
    struct usage_args a;
    char request[80];
    const char *after;
    int rc = usage_parse(&verb_events, argc, argv, &a);

    if (rc >= 0)
        return rc;
    after = usage_value(&a, "--after", "0");
    if (!after[0] || strspn(after, "0123456789") != strlen(after) || strlen(after) > 19)
        return usage_wrong(&a, "--after is a number, not \"%s\"", after);
    rc = act_filter_take(&v.filter, &a, true);
    if (rc >= 0)
        return rc;
    bool more = usage_flag(&a, "--follow");
    (void)snprintf(request, sizeof(request), "events after=%s%s\n", after, more ? " follow" : "");
    if (follow_lines(v.c->control, request, more ? 0 : 5, on_line, &v, &e) < 0) {
        (void)fprintf(stderr, "pgpuctl: %s\n", e.msg);
        (void)fputs("pgpuctl: is pgpud running? `pgpuctl audit tail` works without it\n", stderr);
        return 1;
    }
    if (more && v.status == 0 && !ferror(stdout)) {
        (void)fputs("pgpuctl: pgpud has closed the connection\n", stderr);
        return 1;
    }
    return v.status;
}

const struct usage verb_events = {
    .name = "events",
    .args = "[DEVICE]...",
    .summary = "what happened to devices, pods and modes",
    .text =
        "The newest acts since pgpud started, one a line, the oldest first; what is older is in "
        "the audit log. Left out is what goes well all the time: the runtime's requests, "
        "journal records, checks of GPUs that wait.\n\n"
        "Kinds: start, stop, state, operation, allocate, refusal, owner, runtime, kubelet, "
        "hwd, cdi, unlock, mode, request, config; nri_event, journal and audit only where "
        "something failed.\n\n"
        "With --json the lines are as pgpud has them, see pgpu-audit(5).\n\n"
        "Exit status: 0 shown, 1 pgpud does not answer or went away, 2 wrong usage.",
    .words = "device",
    .opts =
        (const struct usage_opt[]){
            {"--follow", NULL, "go on until interrupted", NULL, 'f'},
            {"--after", "SEQ", "only what has a number above this", NULL, 0},
            {"--kind", "KIND", "only this kind; may be repeated",
             "start stop state operation allocate refusal owner runtime kubelet hwd cdi unlock "
             "mode request config nri_event journal audit",
             0},
            {NULL, NULL, NULL, NULL, 0}},
    .run = run,
};
