/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl completion, version and help: what it says about itself.
 */
#include "base/usage_print.h"
#include "cli/cli.h"
#include "vfio/scan.h"

#include <stdio.h>
#include <string.h>

/* What the scripts ask for while somebody types: attributes of the bus are read, no device is
 * opened or woken, nothing is written. Failures are silent: there is nothing to offer then. */
static int
print_devices(const struct cli *c)
{
    struct vfio_inventory *inv = NULL;
    struct fs_root root;
    struct err e = ERR_INIT;

    if (fs_root_open(&root, c->root, &e) < 0)
        return 1;
    if (vfio_scan(&root, &inv, &e) == 0)
        for (unsigned i = 0; i < inv->n; i++)
            if (inv->fn[i].kind == VFIO_KIND_GPU || inv->fn[i].kind == VFIO_KIND_NVSWITCH)
                (void)puts(PCI_STR(inv->fn[i].addr));
    vfio_inventory_free(inv);
    fs_root_close(&root);
    return 0;
}

static int
run_completion(const void *ctx, int argc, char **argv)
{
    struct usage_args a;
    enum usage_shell shell;
    int rc = usage_parse(&verb_completion, argc, argv, &a);

    if (rc >= 0)
        return rc;
    if (strcmp(a.v[0], "devices") == 0)
        return print_devices(ctx);
    if (!usage_shell_parse(a.v[0], &shell))
        return usage_wrong(&a, "bash, zsh or fish, not \"%s\"", a.v[0]);
    usage_completion(stdout, &pgpuctl_usage, shell);
    return 0;
}

const struct usage verb_completion = {
    .name = "completion",
    .args = "bash|zsh|fish",
    .summary = "print the completions of a shell",
    .text = "Packages install them. By hand, for bash:\n\n  . <(pgpuctl completion bash)\n\n"
            "The scripts themselves ask for the word \"devices\": the PCI addresses of the GPUs "
            "and NVSwitches of this node, or of --root.",
    .words = "bash zsh fish",
    .run = run_completion,
};

static int
run_version(const void *ctx, int argc, char **argv)
{
    const struct cli *c = ctx;
    struct usage_args a;
    int rc = usage_parse(&verb_version, argc, argv, &a);

    if (rc >= 0)
        return rc;
    if (c->json)
        (void)printf("{\"program\":\"pgpuctl\",\"version\":\"%s\"}\n", pgpuctl_usage.version);
    else
        (void)printf("pgpuctl %s\n", pgpuctl_usage.version);
    return 0;
}

const struct usage verb_version = {
    .name = "version",
    .args = "",
    .summary = "print the version",
    .run = run_version,
};

static int
run_help(const void *ctx, int argc, char **argv)
{
    const struct usage *path[USAGE_DEPTH_MAX] = {&pgpuctl_usage};
    struct usage_args a;
    unsigned depth = 1;
    int rc = usage_parse(&verb_help, argc, argv, &a);

    (void)ctx;
    if (rc >= 0)
        return rc;
    for (int i = 0; i < a.n; i++) {
        const struct usage *v = usage_find_verb(path[depth - 1], a.v[i]);

        if (!v || depth == USAGE_DEPTH_MAX)
            return usage_wrong(&a, "no verb \"%s\" of %s", a.v[i], path[depth - 1]->name);
        path[depth++] = v;
    }
    usage_help(stdout, path, depth);
    return 0;
}

const struct usage verb_help = {
    .name = "help",
    .args = "[VERB]...",
    .summary = "print the help of a verb",
    .words = "verb",
    .run = run_help,
};
