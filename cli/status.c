/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl status: what every GPU is doing and why, asked of pgpud through its control socket.
 */
#include "base/buf.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/status_nri.h"
#include "cli/status_view.h"

#include <stdio.h>
#include <string.h>

#define ANSWER_MAX (4u << 20)

/* Returns the exit status. */
static int
print_status(const struct cli *c, json_object *o, bool wide)
{
    json_object *nri;
    struct buf out;
    unsigned bad;
    struct grid *g = status_grid(o, wide, STATUS_BY_DEVICE, NULL, &bad);

    buf_init(&out, ANSWER_MAX);
    (void)status_header(o, &out, 0);
    (void)buf_put_str(&out, "\n");
    (void)grid_render(g, &out, 0, c->tty);
    (void)fwrite(buf_peek(&out), 1, buf_left(&out), stdout);
    grid_free(g);
    buf_fini(&out);
    if (json_object_object_get_ex(o, "nri", &nri)) {
        (void)putchar('\n');
        status_nri_print(nri);
    }
    return bad ? 1 : 0;
}

static int
run(const void *ctx, int argc, char **argv)
{
    const struct cli *c = ctx;
    struct err e = ERR_INIT;
    struct usage_args a;
    struct buf out;
    json_object *o;
    const char *text, *how;
    int status = usage_parse(&verb_status, argc, argv, &a);

    if (status >= 0)
        return status;
    how = usage_value(&a, "--output", "");
    if (how[0] && strcmp(how, "wide") != 0 && strcmp(how, "json") != 0)
        return usage_wrong(&a, "--output is wide or json, not \"%s\"", how);
    buf_init(&out, ANSWER_MAX);
    if (ask_line(c->control, "status\n", &out, &e) < 0 || !(text = buf_cstr(&out))) {
        (void)fprintf(stderr, "pgpuctl: %s\n", e.msg);
        (void)fputs("pgpuctl: is pgpud running? `pgpuctl devices` works without it\n", stderr);
        buf_fini(&out);
        return 1;
    }
    status = 1;
    o = json_tokener_parse(text);
    if (!json_object_is_type(o, json_type_object)) {
        (void)fputs("pgpuctl: pgpud's answer is no JSON object\n", stderr);
    } else if (c->json || strcmp(how, "json") == 0) {
        (void)fputs(text, stdout);
        status = 0;
    } else {
        status = print_status(c, o, strcmp(how, "wide") == 0);
    }
    (void)json_object_put(o);
    buf_fini(&out);
    return status;
}

const struct usage verb_status = {
    .name = "status",
    .args = "",
    .summary = "what pgpud is doing with every device, and why",
    .text = "The node's policy, the kubelet's view, a change of the mode and the labels; every "
            "device; the runtimes that pgpud talks to over NRI, and the sandboxes it guards. What "
            "is under way is shown with its phase, for how long, and how long it took the last "
            "time.\n\n"
            "Exit status: 0 every listed device is Healthy, 1 some are not or pgpud does not "
            "answer, 2 wrong usage. With JSON 0 where pgpud answers.",
    .opts =
        (const struct usage_opt[]){
            {"--output", "FORMAT",
             "wide: with NUMA node, IOMMU group, holder, resets and phases; json", "wide json",
             'o'},
            {NULL, NULL, NULL, NULL, 0}},
    .run = run,
};
