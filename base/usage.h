/* SPDX-License-Identifier: Apache-2.0
 *
 * What a program's command line takes, as one table: `--help`, the shells' completions and the
 * man page's options are all printed from it.
 */
#ifndef PGPU_BASE_USAGE_H
#define PGPU_BASE_USAGE_H

#include <stdbool.h>
#include <stdio.h>

/* One option. The list ends with a NULL name. */
struct usage_opt {
    const char *name; /* "--json" */
    const char *arg;  /* "DIR"; NULL = takes none */
    const char *help; /* a phrase, lower case, no full stop */
    /* What completes the argument: "file", "dir", "device" (PCI addresses of this node), or words
     * separated by spaces ("on off ppcie"); NULL = nothing */
    const char *words;
};

/* A program, or one of its verbs; verbs nest. The list of verbs ends with a NULL name. */
struct usage {
    const char *name;
    const char *args;    /* what stands after the name: "[DEVICE...]"; "" = nothing */
    const char *summary; /* a phrase, lower case, no full stop */
    const char *text;    /* paragraphs separated by "\n\n", not wrapped; NULL = none */
    const char *words;   /* completes positional arguments, as usage_opt.words */
    const struct usage_opt *opts; /* NULL = none besides --help */
    const struct usage *verbs;    /* NULL = none: it is run */
    /* argv[0] is the verb; `ctx` is the program's own (pgpuctl: const struct cli *). Returns the
     * exit status. NULL where there are verbs, and for a program. */
    int (*run)(const void *ctx, int argc, char **argv);
};

#endif
