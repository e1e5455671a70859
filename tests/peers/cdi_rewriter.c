/* SPDX-License-Identifier: Apache-2.0
 *
 * Helper of the peer tests: our CDI writer and our lint as a program.
 *
 *   cdi_rewriter rewrite DIR KIND TIMES NODE WITHDRAW
 *       publishes TIMES times, with other devices each time; the device "0000:41:00.0" is in every
 *       version. WITHDRAW 1: the file is also removed and written again now and then. Prints
 *       "started" after the first and the number of changes at the end.
 *   cdi_rewriter lint DIR...
 *       one line a finding: file, consumer, verdict, text, separated by tabs
 */
#include "base/cleanup.h"
#include "cdi/cdi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEVICES 16
#define EVERY_WITHDRAWAL 50

static int
say(const struct err *e)
{
    (void)fprintf(stderr, "cdi_rewriter: %s\n", e->msg);
    return 1;
}

/* Small and repeatable (Knuth's MMIX constants). */
static unsigned
next_random(unsigned long long *seed)
{
    *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(*seed >> 33);
}

static int
rewrite(const char *dir, const char *kind, long times, const char *node, int withdraw)
{
    static char names[MAX_DEVICES][32];
    struct cdi_device dev[MAX_DEVICES];
    unsigned long long seed = 1;
    long changes = 0;

    for (size_t i = 0; i < MAX_DEVICES; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "0000:%02zx:00.0", 0x41 + i);
        dev[i] = (struct cdi_device){.name = names[i], .node_path = node};
    }
    for (long t = 0; t < times; t++) {
        struct err e = ERR_INIT;
        int changed = 0;
        size_t n = 1 + next_random(&seed) % MAX_DEVICES;

        if (withdraw && t % EVERY_WITHDRAWAL == EVERY_WITHDRAWAL - 1)
            n = 0;
        if (cdi_publish(dir, kind, dev, n, &changed, &e) < 0)
            return say(&e);
        changes += changed;
        if (t == 0) {
            puts("started");
            (void)fflush(stdout);
        }
    }
    printf("%ld\n", changes);
    return 0;
}

static const char *
verdict_name(enum cdi_verdict v)
{
    static const char *const names[] = {"ok", "ignored", "warn", "POISON", "CRASH"};

    return names[v];
}

static int
lint(const char *const *dirs, size_t n)
{
    struct cdi_report *r = NULL;
    struct err e = ERR_INIT;

    if (cdi_lint(dirs, n, &r, &e) < 0)
        return say(&e);
    for (size_t i = 0; i < r->n; i++)
        printf("%s\t%s\t%s\t%s\n", r->v[i].file, cdi_consumer_name(r->v[i].consumer),
               verdict_name(r->v[i].verdict), r->v[i].text);
    cdi_report_free(r);
    return 0;
}

int
main(int argc, char **argv)
{
    if (argc == 7 && strcmp(argv[1], "rewrite") == 0)
        return rewrite(argv[2], argv[3], strtol(argv[4], NULL, 10), argv[5],
                       strcmp(argv[6], "1") == 0);
    if (argc > 2 && strcmp(argv[1], "lint") == 0)
        return lint((const char *const *)(void *)(argv + 2), (size_t)argc - 2);
    (void)fputs("usage: cdi_rewriter rewrite DIR KIND TIMES NODE WITHDRAW | lint DIR...\n", stderr);
    return 2;
}
