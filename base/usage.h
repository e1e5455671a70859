/* SPDX-License-Identifier: Apache-2.0
 *
 * What a program's command line takes, as one table: it is parsed by it, and `--help`, the shells'
 * completions and the man page's options are printed from it. No state, any thread.
 *
 * A verb, in a file of its own, and how it gets its options:
 *
 *     static int
 *     run(const void *ctx, int argc, char **argv)
 *     {
 *         const struct cli *c = ctx;
 *         struct usage_args a;
 *         int rc = usage_parse(&verb_events, argc, argv, &a);
 *
 *         if (rc >= 0)
 *             return rc;
 *         bool follow = usage_flag(&a, "--follow");
 *         const char *after = usage_value(&a, "--after", "0");
 *
 *         if (!is_number(after))
 *             return usage_wrong(&a, "--after is a number, not \"%s\"", after);
 *         for (int i = 0; i < a.n; i++)
 *             look_at(a.v[i]);
 *         ...
 *     }
 *
 *     const struct usage verb_events = {
 *         .name = "events",
 *         .args = "[DEVICE]...",
 *         .summary = "what happened to devices, pods and modes",
 *         .words = "device",
 *         .opts = (const struct usage_opt[]){
 *             {"--follow", NULL, "go on until interrupted", NULL, 'f'},
 *             {"--after", "SEQ", "only what came after this one", NULL, 0},
 *             {NULL, NULL, NULL, NULL, 0}},
 *         .run = run,
 *     };
 *
 * Verbs with verbs of their own have `verbs` instead of `run`, and no options: those belong to the
 * program (they may stand anywhere) and to what is run.
 */
#ifndef PGPU_BASE_USAGE_H
#define PGPU_BASE_USAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* One option. The list ends with a NULL name. */
struct usage_opt {
    const char *name; /* "--json" */
    const char *arg;  /* "DIR"; NULL = takes none */
    const char *help; /* a phrase, lower case, no full stop */
    /* What completes the argument, separated by spaces: "file", "dir", "device" (PCI addresses of
     * this node), "verb" (the program's), and words as they are ("on off ppcie"); NULL = nothing */
    const char *words;
    char letter; /* 'o' for -o; 0 = none */
};

/* A program, or one of its verbs; verbs nest. The list of verbs ends with a NULL name. */
struct usage {
    const char *name;
    /* What stands after the name: "[DEVICE]..."; "" = nothing. Its words are counted: those in
     * brackets may be missing, "..." is any number; "--mode MODE" (an option that must be given,
     * which `run` checks) does not count. */
    const char *args;
    const char *summary; /* a phrase, lower case, no full stop */
    const char *text;    /* paragraphs separated by "\n\n", not wrapped (a line that begins with a
                            space is kept as it is); NULL = none */
    const char *words;   /* completes positional arguments, as usage_opt.words */
    const struct usage_opt *opts; /* NULL = none besides --help */
    const struct usage *verbs;    /* NULL = none: it is run */
    /* argv[0] is how it was called ("pgpuctl audit tail"), then what is its own of the command
     * line; `ctx` is the program's (pgpuctl: const struct cli *). Returns the exit status. NULL
     * where there are verbs, and for a program. */
    int (*run)(const void *ctx, int argc, char **argv);
    const struct usage_group *groups; /* of a program with many verbs, instead of `verbs` */
    const char *version;              /* of a program: it takes --version */
    bool verbatim;                    /* options end at the first positional argument */
};

/* A heading and verbs of other files. The list of groups ends with a NULL title, that of verbs with
 * NULL. */
struct usage_group {
    const char *title;
    const struct usage *const *verbs;
};

#define USAGE_DEPTH_MAX 4  /* program, verb, its verb, ... */
#define USAGE_OPTS_MAX 160 /* given at once */

struct usage_args {
    char name[64];                             /* "pgpuctl audit tail", for messages */
    const struct usage *path[USAGE_DEPTH_MAX]; /* from the one that was parsed to the last verb */
    unsigned depth;
    int n; /* positional arguments of the last verb */
    char **v;
    int argc; /* what its `run` takes */
    char **argv;
    unsigned n_opts;
    struct {
        const struct usage_opt *opt;
        const char *value; /* borrowed of argv; NULL where it takes none */
    } opt[USAGE_OPTS_MAX];
};

/* Parses argv by the table `u` and sorts it in place. Returns -1 to go on; else the exit status: 0
 * when --help or --version was printed, 2 with a message on standard error for wrong usage (also of
 * --help for a verb that there is not). For a program with verbs `ret->path[ret->depth - 1]->run`
 * is then to be called with ret->argc and ret->argv. */
int usage_parse(const struct usage *u, int argc, char **argv, struct usage_args *ret);

/* Whether the option (by its long name) was given. */
bool usage_flag(const struct usage_args *a, const char *name);
/* Its last value, or `dflt`. */
const char *usage_value(const struct usage_args *a, const char *name, const char *dflt);
/* The i-th of an option that may be repeated; NULL after the last. */
const char *usage_nth(const struct usage_args *a, const char *name, unsigned i);

/* Prints "NAME: MESSAGE (see NAME --help)" on standard error and returns 2. */
int usage_wrong(const struct usage_args *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* The help of the last one of `path` (the program, its verb, that one's verb, ...), wrapped for
 * the terminal that `f` is, or for 80 columns. */
void usage_help(FILE *f, const struct usage *const *path, unsigned depth);

/* The i-th verb of a program or verb, whether in `verbs` or `groups`; NULL after the last. `title`
 * (may be NULL) is set to its group's, "" where there are none. */
const struct usage *usage_verb(const struct usage *u, unsigned i, const char **title);
/* The verb of that name, or NULL. */
const struct usage *usage_find_verb(const struct usage *u, const char *name);

#endif
