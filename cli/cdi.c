/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl cdi lint: how each consumer of the CDI directories reads every file in them. No state,
 * one thread; needs no daemon and changes nothing.
 */
#include "cdi/cdi.h"
#include "base/cleanup.h"
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#define MAX_DIRS 16

/* CDI SPEC.md, "location": static files, then generated ones, which win. */
static const char *const default_dirs[] = {"/etc/cdi", "/var/run/cdi"};

static const char *
verdict_name(enum cdi_verdict v)
{
    switch (v) {
    case CDI_OK:
        return "ok";
    case CDI_IGNORED:
        return "ignored";
    case CDI_WARN:
        return "warn";
    case CDI_POISON:
        return "POISON";
    case CDI_CRASH:
        return "CRASH";
    }
    return "?";
}

static void
json_string(const char *s)
{
    putchar('"');
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;

        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < ' ')
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

static void
print_json(const struct cdi_report *r)
{
    printf("{\"poisoned\": %zu, \"findings\": [", r->poisoned);
    for (size_t i = 0; i < r->n; i++) {
        const struct cdi_finding *f = &r->v[i];

        printf("%s\n  {\"file\": ", i > 0 ? "," : "");
        json_string(f->file);
        printf(", \"consumer\": ");
        json_string(cdi_consumer_name(f->consumer));
        printf(", \"verdict\": \"%s\", \"text\": ", verdict_name(f->verdict));
        json_string(f->text);
        putchar('}');
    }
    printf("%s]}\n", r->n > 0 ? "\n" : "");
}

static const char *
paint(const struct cli *c, enum cdi_verdict v)
{
    if (!c->tty)
        return "";
    switch (v) {
    case CDI_POISON:
    case CDI_CRASH:
        return "\033[31m";
    case CDI_WARN:
        return "\033[33m";
    case CDI_OK:
    case CDI_IGNORED:
        break;
    }
    return "";
}

/* One block a file; a consumer that has nothing to say beyond its verdict shares a line with the
 * others. */
static void
print_file(const struct cli *c, const struct cdi_finding *f)
{
    const char *off = c->tty ? "\033[0m" : "";

    printf("%s\n", f[0].file);
    for (int i = 0; i < CDI_CONSUMERS; i++)
        printf("    %-10s  %s%-7s%s  %s\n", cdi_consumer_name(f[i].consumer),
               paint(c, f[i].verdict), verdict_name(f[i].verdict), off, f[i].text);
}

static void
print_people(const struct cli *c, const struct cdi_report *r)
{
    size_t files = r->n / CDI_CONSUMERS, worst = 0;

    for (size_t i = 0; i < r->n; i++)
        worst += r->v[i].verdict == CDI_CRASH;
    for (size_t i = 0; i + CDI_CONSUMERS <= r->n; i += CDI_CONSUMERS)
        print_file(c, &r->v[i]);
    if (files == 0)
        printf("no files\n");
    else if (r->poisoned == 0)
        printf("%zu file%s, nothing in them keeps a GPU pod from starting\n", files,
               files == 1 ? "" : "s");
    else
        printf(
            "%zu file%s, %zu bad findings: no GPU pod can start under a consumer marked POISON%s "
            "until the file is gone\n",
            files, files == 1 ? "" : "s", r->poisoned, worst > 0 ? " or CRASH" : "");
}

static int run_lint(const void *ctx, int argc, char **argv);

static const struct usage verbs[] = {
    {
        .name = "lint",
        .args = "[DIR]...",
        .summary = "say what each consumer of CDI makes of every file",
        .text = "Reads CDI directories as Kata's Go shim, Kata's runtime-rs and containerd do. "
                "DIR in CDI order, lowest priority first; default /etc/cdi /var/run/cdi.\n\n"
                "Exit status: 0 fine, 1 a file keeps GPU pods of this node from starting, 2 wrong "
                "usage.",
        .words = "dir",
        .run = run_lint,
    },
    {.name = NULL},
};

const struct usage verb_cdi = {
    .name = "cdi",
    .summary = "check the CDI directories",
    .verbs = verbs,
};

static int
run_lint(const void *ctx, int argc, char **argv)
{
    const char *dirs[MAX_DIRS];
    const struct cli *c = ctx;
    struct usage_args a;
    size_t n = 0;
    int rc = usage_parse(&verbs[0], argc, argv, &a);

    if (rc >= 0)
        return rc;
    if (a.n > MAX_DIRS)
        return usage_wrong(&a, "more than %d directories", MAX_DIRS);
    for (; n < (size_t)a.n; n++)
        dirs[n] = a.v[n];
    if (n == 0) {
        for (; n < ARRAY_SIZE(default_dirs); n++)
            dirs[n] = default_dirs[n];
    }

    struct err e = ERR_INIT;
    struct cdi_report *r = NULL;
    if (cdi_lint(dirs, n, &r, &e) < 0) {
        (void)fprintf(stderr, "pgpuctl: %s\n", e.msg);
        return 1;
    }
    bool bad = r->poisoned > 0;
    if (c->json)
        print_json(r);
    else
        print_people(c, r);
    cdi_report_free(r);
    return bad ? 1 : 0;
}
