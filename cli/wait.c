/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl wait: returns when no device is on its way any more, or after a time. For the start of a
 * node: pgpu-wait.service lets the kubelet's start wait for it, since a pod that the kubelet admits
 * again before its GPU is there has failed for ever.
 */
#include "base/buf.h"
#include "base/hw.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ANSWER_MAX (4u << 20)
#define PAUSE_NS 200000000
#define TIMEOUT_MAX 3600

/* How things stand, for the message at the end. */
struct look {
    bool settled;
    unsigned ready, waiting, out;
    char text[ERR_MSG_MAX];
};

static uint64_t
now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return HW_SEC((uint64_t)t.tv_sec) + (uint64_t)t.tv_nsec;
}

/* Offered, or for a reason not: what is neither is being armed or scrubbed. */
static void
count_unit(json_object *u, struct look *l)
{
    static const char *const busy[] = {"found", "arming", "releasing"};
    const char *state = json_str(u, "state");

    if (!json_truth(u, "listed"))
        return;
    if (json_truth(u, "healthy")) {
        l->ready++;
        return;
    }
    for (size_t i = 0; i < sizeof(busy) / sizeof(busy[0]); i++)
        if (strcmp(state, busy[i]) == 0) {
            l->waiting++;
            return;
        }
    l->out++;
}

static void
look(const struct cli *c, struct look *l)
{
    struct err e = ERR_INIT;
    struct buf out;
    json_object *o = NULL, *units;
    const char *text;

    *l = (struct look){0};
    buf_init(&out, ANSWER_MAX);
    if (ask_line(c->control, "status\n", &out, &e) < 0 || !(text = buf_cstr(&out)) ||
        !(o = json_tokener_parse(text))) {
        (void)snprintf(l->text, sizeof(l->text), "%s", e.msg[0] ? e.msg : "pgpud gave no answer");
    } else if (strcmp(json_str(o, "hwd"), "up") != 0) {
        (void)snprintf(l->text, sizeof(l->text), "pgpud waits for pgpu-hwd: %s",
                       json_str(o, "hwd_why"));
    } else if (json_object_object_get_ex(o, "units", &units)) {
        for (size_t i = 0; i < json_object_array_length(units); i++)
            count_unit(json_object_array_get_idx(units, i), l);
        l->settled = l->waiting == 0;
        (void)snprintf(l->text, sizeof(l->text), "%u ready, %u under way, %u not to be had",
                       l->ready, l->waiting, l->out);
    }
    (void)json_object_put(o);
    buf_fini(&out);
}

static int
run(const void *ctx, int argc, char **argv)
{
    const struct cli *c = ctx;
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    struct usage_args a;
    struct look l;
    char *end;
    long limit;
    uint64_t last;
    int status = usage_parse(&verb_wait, argc, argv, &a);

    if (status >= 0)
        return status;
    limit = strtol(usage_value(&a, "--timeout", "120"), &end, 10);
    if (*end || limit < 0 || limit > TIMEOUT_MAX)
        return usage_wrong(&a, "--timeout is a number of seconds up to %d, not \"%s\"", TIMEOUT_MAX,
                           usage_value(&a, "--timeout", ""));
    last = now() + HW_SEC((uint64_t)limit);
    for (look(c, &l); !l.settled && now() < last; look(c, &l))
        (void)nanosleep(&pause, NULL);
    if (c->json)
        (void)printf("{\"settled\":%s,\"ready\":%u,\"under_way\":%u,\"out\":%u}\n",
                     l.settled ? "true" : "false", l.ready, l.waiting, l.out);
    else
        (void)printf("%s\n", l.text);
    if (!l.settled)
        (void)fprintf(stderr, "pgpuctl: not settled after %ld s\n", limit);
    return l.settled ? 0 : 1;
}

const struct usage verb_wait = {
    .name = "wait",
    .args = "",
    .summary = "until every GPU is armed, or for a reason will not be",
    .text = "What the start of the kubelet waits for (pgpu-wait.service). It does not wait for the "
            "kubelet.\n\n"
            "Exit status: 0 nothing is under way any more, 1 something still is or pgpud does not "
            "answer, 2 wrong usage.",
    .opts = (const struct usage_opt[]){{"--timeout", "SECONDS", "at most so long (default 120)",
                                        NULL, 0},
                                       {NULL, NULL, NULL, NULL, 0}},
    .run = run,
};
