/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl mode: the node's confidential-computing mode, and its change, asked of pgpud.
 */
#include "base/buf.h"
#include "base/cc_mode.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ANSWER_MAX (1u << 20)
#define POLL_MS 250
#define SILENCE_MS 60000

static uint64_t
now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* The answer, to be put; NULL where there is none or it is a refusal, with a message printed. */
static json_object *
ask(const struct cli *c, const char *line, bool quiet)
{
    struct err e = ERR_INIT;
    json_object *o = NULL;
    struct buf out;
    const char *text;

    buf_init(&out, ANSWER_MAX);
    if (ask_line(c->control, line, &out, &e) < 0 || !(text = buf_cstr(&out))) {
        if (!quiet)
            (void)fprintf(stderr, "pgpuctl: %s\n", e.msg);
    } else {
        o = json_tokener_parse(text);
        if (!json_object_is_type(o, json_type_object) || json_str(o, "error")[0]) {
            (void)fprintf(stderr, "pgpuctl: %s\n",
                          json_object_is_type(o, json_type_object) ? json_str(o, "error")
                                                                   : "pgpud's answer is no object");
            (void)json_object_put(o);
            o = NULL;
        }
    }
    buf_fini(&out);
    return o;
}

static void
print_json(json_object *o)
{
    (void)puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
                                                     JSON_C_TO_STRING_NOSLASHESCAPE));
}

static void
print_units(json_object *o)
{
    json_object *list, *u;

    if (!json_object_object_get_ex(o, "units", &list))
        return;
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        u = json_object_array_get_idx(list, i);
        (void)printf("  %s %s%s%s", json_str(u, "id"), json_str(u, "state"),
                     json_str(u, "phase")[0] ? ":" : "", json_str(u, "phase"));
        if (json_str(u, "pod")[0])
            (void)printf(" %s/%s", json_str(u, "namespace"), json_str(u, "pod"));
        if (json_str(u, "stand")[0])
            (void)printf(", %s", json_str(u, "stand"));
        if (json_str(u, "when")[0])
            (void)printf(", switched %s", json_str(u, "when"));
        if (strcmp(json_str(u, "stand"), "failed") == 0)
            (void)printf(": %s: %s", json_str(u, "reason"), json_str(u, "why"));
        (void)putchar('\n');
    }
}

static void
print_mode(json_object *o)
{
    const char *mode = json_str(o, "mode"), *config = json_str(o, "config");

    (void)printf("mode %s%s", mode, strcmp(mode, config) == 0 ? ", as configured" : "");
    if (strcmp(mode, config) != 0)
        (void)printf(", set by an operator until the host is started anew; the configuration says "
                     "%s",
                     config);
    (void)putchar('\n');
    if (json_truth(o, "changing"))
        (void)printf("being changed from %s since %s: %s\n", json_str(o, "from"),
                     json_str(o, "since"), json_str(o, "progress"));
    print_units(o);
}

/* ---- the verbs ---- */

static int run_get(const void *ctx, int argc, char **argv);
static int run_set(const void *ctx, int argc, char **argv);
static int run_cancel(const void *ctx, int argc, char **argv);

#define WAIT_OPTS                                                                                  \
    {"--wait", NULL, "show the progress, and return when no device is left to be switched", NULL,  \
     'w'},                                                                                         \
    {                                                                                              \
        "--timeout", "TIME", "wait at most this long (90s, 5m, 1h); the change itself goes on",    \
            NULL, 't'                                                                              \
    }

static const struct usage_opt set_opts[] = {
    {"--dry-run", NULL, "only say what would be done, or why it cannot be", NULL, 'n'},
    WAIT_OPTS,
    {NULL, NULL, NULL, NULL, 0},
};

static const struct usage_opt cancel_opts[] = {
    WAIT_OPTS,
    {NULL, NULL, NULL, NULL, 0},
};

static const struct usage verbs[] = {
    {
        .name = "get",
        .args = "",
        .summary = "the mode in force, and how far a change of it is",
        .text =
            "Exit status: 0 every device is in it, 1 a change is under way, a device is not in it, "
            "or pgpud does not answer, 2 wrong usage.",
        .run = run_get,
    },

    {
        .name = "set",
        .args = "MODE",
        .words = "on off ppcie devtools",
        .summary = "change the mode of all GPUs of this node",
        .text =
            "The labels say \"not ready\" first. Free GPUs turn Unhealthy, are switched, reset and "
            "verified; one that a pod has stays as it is and is switched when it is given back. No "
            "GPU in the former mode is handed out from then on. A change to or from ppcie begins "
            "when every device of the board is free.\n\n"
            "The mode holds until the host is started anew, or the configuration names another one "
            "than it does now: set `mode` there as well for it to last. Killed or restarted, pgpud "
            "goes on where it was.\n\n"
            "Exit status: 0 begun (with --wait: every device is in the new mode), 1 refused, or "
            "not "
            "every device is, 2 wrong usage.",
        .opts = set_opts,
        .run = run_set,
    },

    {
        .name = "cancel",
        .args = "",
        .summary = "go back to the mode before the change that is under way",
        .opts = cancel_opts,
        .run = run_cancel,
    },
    {.name = NULL},
};

const struct usage verb_mode = {
    .name = "mode",
    .summary = "the mode of this node's GPUs: show it, change it, go back",
    .text =
        "The mode that pgpud keeps all GPUs of this node in. `cc` looks at single devices, without "
        "pgpud.",
    .verbs = verbs,
};

/* ---- get ---- */

static int
run_get(const void *ctx, int argc, char **argv)
{
    const struct cli *c = ctx;
    struct usage_args a;
    json_object *o;
    int rc = usage_parse(&verbs[0], argc, argv, &a);

    if (rc >= 0)
        return rc;
    o = ask(c, "mode get\n", false);
    if (!o)
        return 1;
    if (c->json)
        print_json(o);
    else
        print_mode(o);
    rc = json_truth(o, "changing") || json_int(o, "failed") > 0;
    (void)json_object_put(o);
    return rc;
}

/* ---- waiting ---- */

/* A failed device whose recovery is at work may still succeed. */
static bool
any_recovering(json_object *o)
{
    json_object *list;

    if (!json_object_object_get_ex(o, "units", &list))
        return false;
    for (size_t i = 0; i < json_object_array_length(list); i++)
        if (json_truth(json_object_array_get_idx(list, i), "recovering"))
            return true;
    return false;
}

/* Says what has changed until there is nothing to wait for; `limit_ms` 0 = for ever. */
static int
wait_for(const struct cli *c, uint64_t limit_ms)
{
    const struct timespec pause = {0, POLL_MS * 1000000L};
    const uint64_t end = now_ms() + limit_ms;
    uint64_t heard = now_ms();
    char last[1024] = "";
    int rc = -1;

    while (rc < 0) {
        /* it may be started anew meanwhile: the change goes on then */
        bool patient = now_ms() - heard < SILENCE_MS && !(limit_ms && now_ms() >= end);
        json_object *o = ask(c, "mode get\n", patient);
        bool over, good;

        if (!o && !patient)
            return 1;
        if (!o) {
            (void)nanosleep(&pause, NULL);
            continue;
        }
        heard = now_ms();
        if (!c->json && strcmp(last, json_str(o, "progress")) != 0) {
            (void)snprintf(last, sizeof(last), "%.1000s", json_str(o, "progress"));
            (void)printf("%s\n", last);
            (void)fflush(stdout);
        }
        good = !json_truth(o, "changing") && json_int(o, "done") == json_int(o, "of");
        over = good || (!json_truth(o, "changing") && json_int(o, "under_way") == 0 &&
                        json_int(o, "failed") > 0 && !any_recovering(o));
        if (over || (limit_ms && now_ms() >= end)) {
            rc = good ? 0 : 1;
            if (c->json)
                print_json(o);
            else if (!over)
                (void)fputs("pgpuctl: not done yet; it goes on without being waited for\n", stderr);
        }
        (void)json_object_put(o);
        if (rc < 0)
            (void)nanosleep(&pause, NULL);
    }
    return rc;
}

/* "90", "90s", "5m", "1h" in milliseconds; "" is 0; false for anything else. */
static bool
parse_time(const char *s, uint64_t *ret)
{
    char *end;
    unsigned long v = strtoul(s, &end, 10);
    unsigned long unit = *end == 'm' ? 60 : *end == 'h' ? 3600 : 1;

    *ret = 0;
    if (!*s)
        return true;
    if (end == s || v == 0 || v > 1000000 || *s == '-' ||
        (*end && (!strchr("smh", *end) || end[1])))
        return false;
    *ret = (uint64_t)v * unit * 1000;
    return true;
}

static int
finish(const struct cli *c, const struct usage_args *a, json_object *o, uint64_t limit)
{
    bool wait = usage_flag(a, "--wait") || usage_flag(a, "--timeout");

    if (!wait) {
        if (c->json)
            print_json(o);
        else
            print_mode(o);
    }
    (void)json_object_put(o);
    return wait ? wait_for(c, limit) : 0;
}

/* ---- set ---- */

static void
print_plan(json_object *o)
{
    json_object *list;

    if (strcmp(json_str(o, "mode"), json_str(o, "from")) == 0) {
        (void)printf("mode %s is in force already\n", json_str(o, "mode"));
        return;
    }
    (void)printf("mode %s instead of %s; nothing was changed (--dry-run)\n", json_str(o, "mode"),
                 json_str(o, "from"));
    print_units(o);
    if (json_object_object_get_ex(o, "units", &list) && json_object_array_length(list) == 0)
        (void)puts("  no device is concerned");
}

static int
run_set(const void *ctx, int argc, char **argv)
{
    const struct cli *c = ctx;
    struct usage_args a;
    enum cc_mode mode;
    uint64_t limit;
    char line[64];
    json_object *o;
    bool dry_run;
    int rc = usage_parse(&verbs[1], argc, argv, &a);

    if (rc >= 0)
        return rc;
    if (!cc_mode_parse(a.v[0], &mode))
        return usage_wrong(&a, "\"%s\" is no mode: on, off, ppcie or devtools", a.v[0]);
    if (!parse_time(usage_value(&a, "--timeout", ""), &limit))
        return usage_wrong(&a, "--timeout takes a time (90s, 5m), not \"%s\"",
                           usage_value(&a, "--timeout", ""));
    dry_run = usage_flag(&a, "--dry-run");
    (void)snprintf(line, sizeof(line), "mode set %s%s\n", cc_mode_name(mode),
                   dry_run ? " dry-run" : "");
    o = ask(c, line, false);
    if (!o)
        return 1;
    if (!dry_run)
        return finish(c, &a, o, limit);
    if (c->json)
        print_json(o);
    else
        print_plan(o);
    (void)json_object_put(o);
    return 0;
}

static int
run_cancel(const void *ctx, int argc, char **argv)
{
    const struct cli *c = ctx;
    struct usage_args a;
    uint64_t limit;
    json_object *o;
    int rc = usage_parse(&verbs[2], argc, argv, &a);

    if (rc >= 0)
        return rc;
    if (!parse_time(usage_value(&a, "--timeout", ""), &limit))
        return usage_wrong(&a, "--timeout takes a time (90s, 5m), not \"%s\"",
                           usage_value(&a, "--timeout", ""));
    o = ask(c, "mode cancel\n", false);
    return o ? finish(c, &a, o, limit) : 1;
}
