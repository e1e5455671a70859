/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl health: the probes of a service manager or a kubelet. They use the same sockets as the
 * programs themselves, so that they work with HTTP off.
 */
#include "base/buf.h"
#include "base/cleanup.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/online.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#define ANSWER_MAX (1u << 20)

static void
print_checks(json_object *o)
{
    json_object *checks;

    if (!json_object_object_get_ex(o, "checks", &checks) ||
        !json_object_is_type(checks, json_type_array))
        return;
    for (size_t i = 0; i < json_object_array_length(checks); i++) {
        json_object *c = json_object_array_get_idx(checks, i);

        (void)printf("%s: %s\n", json_str(c, "name"),
                     json_truth(c, "ok") ? "ok" : json_str(c, "why"));
    }
}

/* Prints pgpud's answer; the exit status. */
static int
say(const struct cli *c, const char *text, const char *name)
{
    json_object *o = json_tokener_parse(text), *known;
    bool ok = o && json_truth(o, "ok");

    if (!o || !json_object_object_get_ex(o, "ok", &known))
        (void)fprintf(stderr, "%s: pgpud answered: %s\n", name, text);
    else if (c->json)
        (void)puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE));
    else
        print_checks(o);
    (void)json_object_put(o);
    return ok ? 0 : 1;
}

static int
ask_pgpud(const struct usage *verb, const struct cli *c, int argc, char **argv, const char *line)
{
    struct usage_args a;
    struct err e = ERR_INIT;
    struct buf out;
    const char *text;
    int rc = usage_parse(verb, argc, argv, &a);

    if (rc >= 0)
        return rc;
    buf_init(&out, ANSWER_MAX);
    if (ask_line_for(c->control, line, 3000, &out, &e) < 0) {
        (void)fprintf(stderr, "%s: %s\n", a.name, e.msg);
        rc = 1;
    } else {
        text = buf_cstr(&out);
        rc = say(c, text ? text : "", a.name);
    }
    buf_fini(&out);
    return rc;
}

static int run_live(const void *ctx, int argc, char **argv);
static int run_ready(const void *ctx, int argc, char **argv);
static int run_hwd(const void *ctx, int argc, char **argv);

static const struct usage health_verbs[] = {
    {.name = "live", .args = "", .summary = "does pgpud's event loop beat?", .run = run_live},
    {.name = "ready",
     .args = "",
     .summary = "can pgpud serve pods? says what is missing",
     .text = "What it looks at: the hardware service is connected, the kubelet reads the lists of "
             "all resources, the CDI files are written, and a container runtime is connected over "
             "NRI where sockets are configured. A broken GPU does not make it fail.",
     .run = run_ready},
    {.name = "hwd",
     .args = "",
     .summary = "does pgpu-hwd answer, with all devices scanned?",
     .run = run_hwd},
    {.name = NULL},
};

const struct usage verb_health = {
    .name = "health",
    .args = "",
    .summary = "probes: exit status 0 if well, 1 if not",
    .verbs = health_verbs,
};

static int
run_live(const void *ctx, int argc, char **argv)
{
    return ask_pgpud(&health_verbs[0], ctx, argc, argv, "health live\n");
}

static int
run_ready(const void *ctx, int argc, char **argv)
{
    return ask_pgpud(&health_verbs[1], ctx, argc, argv, "health ready\n");
}

static int
run_hwd(const void *ctx, int argc, char **argv)
{
    const struct cli *c = ctx;
    struct usage_args a;
    struct err e = ERR_INIT;
    struct hwd_facts *facts = NULL;
    int n, rc = usage_parse(&health_verbs[2], argc, argv, &a);

    if (rc >= 0)
        return rc;
    if (!c->hwd)
        return usage_wrong(&a, "with --root, the service has to be named by --hwd");
    n = online_facts(c->hwd, &facts, &e);
    if (c->json)
        (void)printf("{\"ok\":%s,\"devices\":%d}\n", n >= 0 ? "true" : "false", n >= 0 ? n : 0);
    else if (n >= 0)
        (void)printf("hwd: ok, %d devices\n", n);
    if (n < 0)
        (void)fprintf(stderr, "%s: %s\n", a.name, e.msg);
    free(facts);
    return n < 0 ? 1 : 0;
}
