/* SPDX-License-Identifier: Apache-2.0
 *
 * The conformance program:
 *   conformance --mem                    on the in-memory model
 *   conformance --node PGPU_SIM          on a simulated node that it starts itself
 *   conformance --root DIR [--gpu ADDR --twin ADDR --pair ADDR --audio ADDR --bridge ADDR --dma
 *               DRIVER]                  on a directory; "/" is the running kernel
 *   --expected FILE                      compares instead of printing
 * Exit 0: as expected; 1: differs; 77: no FUSE here.
 */
#include "conformance.h"

#ifdef CONFORMANCE_MEM
#include "conformance_mem.h"
#include "sim/shape.h"
#endif

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SKIP 77

static struct subjects subjects = {.gpu = "0000:18:00.0",
                                   .twin = "0000:2a:00.0",
                                   .pair = "0000:41:00.0",
                                   .audio = "0000:41:00.1",
                                   .bridge = "0000:29:01.0",
                                   .dma_driver = "snd_hda_intel"};

/* The node that these subjects are on: two equal GPUs, and one with a companion and its driver. */
#define NODE_GPUS "2"
#define NODE_PAIR "0000:41:00.0=h100-pcie,group=90"
#define NODE_AUDIO "0000:41:00.1=audio,group=90"
#define NODE_LOADER "0000:51:00.0=audio,driver=snd_hda_intel"
#define NODE_SCALE 0.02

/* ---- comparing ---- */

static char *
slurp(const char *path)
{
    char *text = calloc(1, 65536);
    FILE *f = fopen(path, "re");

    if (!f || !text) {
        (void)fprintf(stderr, "conformance: open %s: %s\n", path, strerror(errno));
        free(text);
        return NULL;
    }
    (void)!fread(text, 1, 65535, f);
    (void)fclose(f);
    return text;
}

static int
compare(const char *got, const char *path)
{
    char *want = slurp(path), *w = want, *a, *b, *copy = strdup(got), *g = copy;
    int line = 0, bad = 0;

    if (!want || !copy) {
        free(want);
        free(copy);
        return 1;
    }
    while (w || g) {
        a = w ? strsep(&w, "\n") : NULL;
        b = g ? strsep(&g, "\n") : NULL;
        line++;
        if ((!a || !b || strcmp(a, b) != 0) && !((!a || !*a) && (!b || !*b))) {
            (void)fprintf(stderr, "line %d\n  want: %s\n  got:  %s\n", line, a ? a : "(end)",
                          b ? b : "(end)");
            bad++;
        }
    }
    free(want);
    free(copy);
    return bad ? 1 : 0;
}

static int
report(char *text, const char *expected)
{
    int r = 0;

    if (expected)
        r = compare(text, expected);
    else
        (void)fputs(text, stdout);
    free(text);
    return r;
}

/* ---- backends ---- */

static char *
run_dir(const char *root)
{
    struct backend b = conformance_dir(root);
    char *text;

    conformance_run(&b, &subjects, &text);
    return text;
}

#ifdef CONFORMANCE_MEM
static char *
run_mem(void)
{
    struct shape shape;
    struct shape_fns fns;
    struct sim_kernel_params p = {
        .iommufd = true, .vfio_loaded = true, .strict_devmem = true, .time_scale = NODE_SCALE};
    struct sim_kernel *k;
    struct backend b;
    struct err e = ERR_INIT;
    char *text = NULL;

    shape_init(&shape);
    shape.gpus = 2;
    shape.add[shape.n_add++] = NODE_PAIR;
    shape.add[shape.n_add++] = NODE_AUDIO;
    shape.add[shape.n_add++] = NODE_LOADER;
    if (shape_build(&shape, &fns, &e) < 0) {
        (void)fprintf(stderr, "conformance: %s\n", e.msg);
        return NULL;
    }
    p.fn = fns.fn;
    p.n_fn = fns.n;
    if (sim_kernel_new(&p, &k, &e) < 0) {
        (void)fprintf(stderr, "conformance: %s\n", e.msg);
        shape_fns_fini(&fns);
        return NULL;
    }
    b = conformance_mem(k);
    conformance_run(&b, &subjects, &text);
    sim_kernel_free(k);
    shape_fns_fini(&fns);
    return text;
}
#endif

/* Starts the node; returns its pid, 0 where FUSE cannot be used. */
static pid_t
start_node(const char *program, const char *mount)
{
    char fd[16], scale[16];
    int p[2];
    char word[8] = "";
    pid_t pid;

    if (pipe(p) < 0)
        return -1;
    (void)snprintf(fd, sizeof(fd), "%d", p[1]);
    (void)snprintf(scale, sizeof(scale), "%g", NODE_SCALE);
    pid = fork();
    if (pid == 0) {
        (void)close(p[0]);
        (void)execl(program, program, "node", "--mount", mount, "--gpus", NODE_GPUS, "--add",
                    NODE_PAIR, "--add", NODE_AUDIO, "--add", NODE_LOADER, "--time-scale", scale,
                    "--die-with-parent", "--ready-fd", fd, (char *)NULL);
        _exit(127);
    }
    (void)close(p[1]);
    (void)!read(p[0], word, sizeof(word) - 1);
    (void)close(p[0]);
    if (strcmp(word, "ready\n") == 0)
        return pid;
    (void)waitpid(pid, NULL, 0);
    return 0;
}

static int
run_node(const char *program, const char *expected)
{
    char dir[] = "/tmp/pgpu-conformance-XXXXXX";
    char *text = NULL;
    pid_t pid;
    int r = 1;

    if (!mkdtemp(dir))
        return 1;
    pid = start_node(program, dir);
    if (pid > 0) {
        text = run_dir(dir);
        (void)kill(pid, SIGTERM);
        (void)waitpid(pid, NULL, 0);
        r = report(text, expected);
    } else if (pid == 0) {
        (void)fprintf(stderr, "conformance: skipped: no FUSE here\n");
        r = SKIP;
    }
    (void)rmdir(dir);
    return r;
}

int
main(int argc, char **argv)
{
    static const struct option options[] = {
        {"mem", no_argument, NULL, 'm'},
        {"root", required_argument, NULL, 'r'},
        {"node", required_argument, NULL, 'n'},
        {"expected", required_argument, NULL, 'e'},
        {"gpu", required_argument, NULL, 'g'},
        {"twin", required_argument, NULL, 't'},
        {"pair", required_argument, NULL, 'p'},
        {"audio", required_argument, NULL, 'a'},
        {"bridge", required_argument, NULL, 'b'},
        {"dma", required_argument, NULL, 'd'},
        {NULL, 0, NULL, 0},
    };
    const char *root = NULL, *node = NULL, *expected = NULL;
    char *text = NULL;
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        const struct {
            int c;
            const char **to;
        } words[] = {{'r', &root},
                     {'n', &node},
                     {'e', &expected},
                     {'g', &subjects.gpu},
                     {'t', &subjects.twin},
                     {'p', &subjects.pair},
                     {'a', &subjects.audio},
                     {'b', &subjects.bridge},
                     {'d', &subjects.dma_driver}};
        size_t i;

        if (c == '?')
            return 2;
        for (i = 0; i < sizeof(words) / sizeof(words[0]); i++)
            if (words[i].c == c)
                *words[i].to = optarg;
    }
    if (node)
        return run_node(node, expected);
#ifdef CONFORMANCE_MEM
    if (!root)
        text = run_mem();
#endif
    if (root)
        text = run_dir(root);
    return text ? report(text, expected) : 2;
}
