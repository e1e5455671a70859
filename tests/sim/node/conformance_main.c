/* SPDX-License-Identifier: Apache-2.0
 *
 * The conformance program:
 *   conformance --mem               on the in-memory model
 *   conformance --node PGPU_SIM     on a simulated node that it starts itself
 *   --no-iommufd                    a kernel without iommufd
 *   --expected FILE                 compares instead of printing
 * Exit 0: as expected; 1: differs, or cannot be performed; 77: needs root and /dev/fuse. On the
 * real kernel the same rows are performed by tests/vm/guest/test_conformance.c.
 */
#include "conformance_mem.h"
#include "conformance_node.h"
#include "sim/shape.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SKIP 77

static const struct subjects subjects = {.gpu = "0000:18:00.0",
                                         .twin = "0000:2a:00.0",
                                         .pair = "0000:41:00.0",
                                         .audio = "0000:41:00.1",
                                         .port = "0000:40:01.0",
                                         .bridge = "0000:29:01.0",
                                         .lame = "0000:61:00.0",
                                         .spare = "0000:71:00.0",
                                         .dma_driver = "snd_hda_intel"};

/* The node that these subjects are on: two equal GPUs, one with a companion, and others. */
#define NODE_GPUS 2
#define NODE_SCALE 0.02
#define NODE_FAULT "reset-fail=bus"
static const char *const node_adds[] = {
    "0000:40:01.0=bridge,group=90",
    "0000:41:00.0=h100-pcie,group=90",
    "0000:41:00.1=audio,group=90",
    "0000:61:00.0=h100-pcie",
    "0000:51:00.0=audio,driver=snd_hda_intel", /* the driver is loaded */
};
#define N_ADDS (sizeof(node_adds) / sizeof(node_adds[0]))

static int
report(char *text, bool iommufd, const char *expected)
{
    int r = 0;

    if (!conformance_has(text, "pair") || !conformance_has(text, "spare") ||
        !conformance_has(text, "lame") ||
        !conformance_has(text, iommufd ? "iommufd" : "no iommufd"))
        r = 1;
    if (expected)
        r = conformance_compare(text, expected, false) == 0 ? r : 1;
    else
        (void)fputs(text, stdout);
    free(text);
    return r;
}

/* ---- the model in memory ---- */

static int
run_mem(bool iommufd, const char *expected)
{
    struct sim_kernel_params p = {
        .iommufd = iommufd, .vfio_loaded = true, .strict_devmem = true, .time_scale = NODE_SCALE};
    struct sim_kernel *k = NULL;
    struct err e = ERR_INIT;
    struct shape_fns fns;
    struct shape shape;
    struct backend b;
    char *text = NULL, reply[64], line[128];
    int r;

    shape_init(&shape);
    shape.gpus = NODE_GPUS;
    for (size_t i = 0; i < N_ADDS; i++)
        shape.add[shape.n_add++] = node_adds[i];
    r = shape_build(&shape, &fns, &e);
    if (r < 0) {
        (void)fprintf(stderr, "conformance: %s\n", e.msg);
        return 1;
    }
    p.fn = fns.fn;
    p.n_fn = fns.n;
    r = sim_kernel_new(&p, &k, &e);
    (void)snprintf(line, sizeof(line), "fault %s %s", subjects.lame, NODE_FAULT);
    if (r == 0)
        r = sim_k_control(k, line, reply, sizeof(reply), &e);
    if (r < 0) {
        (void)fprintf(stderr, "conformance: %s\n", e.msg);
    } else {
        b = conformance_mem(k);
        b.scale = NODE_SCALE;
        conformance_run(&b, &subjects, NULL, &text);
    }
    sim_kernel_free(k);
    shape_fns_fini(&fns);
    return text ? report(text, iommufd, expected) : 1;
}

/* ---- a simulated node ---- */

struct paths {
    char dir[64], mount[96], control[96], uevents[96];
};

/* Starts the node; returns its pid, -1 if it did not become ready. */
static pid_t
start_node(const char *program, const struct paths *at, bool iommufd)
{
    char fd[16], scale[16], gpus[16], fault[64], word[8] = "";
    const char *argv[64] = {
        program,     "node",      "--mount",      at->mount, "--control",        at->control,
        "--uevents", at->uevents, "--gpus",       gpus,      "--ready-fd",       fd,
        "--fault",   fault,       "--time-scale", scale,     "--die-with-parent"};
    size_t n = 17;
    pid_t pid;
    int p[2];

    for (size_t i = 0; i < N_ADDS; i++) {
        argv[n++] = "--add";
        argv[n++] = node_adds[i];
    }
    if (!iommufd)
        argv[n++] = "--no-iommufd";
    if (pipe(p) < 0)
        return -1;
    (void)snprintf(fd, sizeof(fd), "%d", p[1]);
    (void)snprintf(scale, sizeof(scale), "%g", NODE_SCALE);
    (void)snprintf(gpus, sizeof(gpus), "%d", NODE_GPUS);
    (void)snprintf(fault, sizeof(fault), "%s:%s", subjects.lame, NODE_FAULT);
    pid = fork();
    if (pid == 0) {
        (void)close(p[0]);
        (void)execv(program, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    (void)close(p[1]);
    (void)!read(p[0], word, sizeof(word) - 1);
    (void)close(p[0]);
    if (strcmp(word, "ready\n") == 0)
        return pid;
    if (pid > 0)
        (void)waitpid(pid, NULL, 0);
    return -1;
}

static int
run_node(const char *program, bool iommufd, const char *expected)
{
    struct paths at = {.dir = "/tmp/pgpu-conformance-XXXXXX"};
    struct backend b;
    char *text = NULL;
    pid_t pid;
    int r = 1;

    if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) < 0) {
        (void)puts("SKIP: the simulated node needs root and /dev/fuse");
        return SKIP;
    }
    if (!mkdtemp(at.dir))
        return 1;
    (void)snprintf(at.mount, sizeof(at.mount), "%s/root", at.dir);
    (void)snprintf(at.control, sizeof(at.control), "%s/control", at.dir);
    (void)snprintf(at.uevents, sizeof(at.uevents), "%s/uevents", at.dir);
    pid = mkdir(at.mount, 0700) < 0 ? -1 : start_node(program, &at, iommufd);
    if (pid > 0) {
        r = conformance_node(at.mount, at.control, at.uevents, &b);
        if (r == 0) {
            b.scale = NODE_SCALE;
            conformance_run(&b, &subjects, NULL, &text);
        }
        (void)kill(pid, SIGTERM);
        (void)waitpid(pid, NULL, 0);
        r = text ? report(text, iommufd, expected) : 1;
    } else {
        (void)fprintf(stderr, "conformance: %s did not start\n", program);
    }
    (void)rmdir(at.mount);
    (void)rmdir(at.dir);
    return r;
}

int
main(int argc, char **argv)
{
    static const struct option options[] = {
        {"mem", no_argument, NULL, 'm'},
        {"node", required_argument, NULL, 'n'},
        {"no-iommufd", no_argument, NULL, 'i'},
        {"expected", required_argument, NULL, 'e'},
        {NULL, 0, NULL, 0},
    };
    const char *node = NULL, *expected = NULL;
    bool iommufd = true;
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (c == '?')
            return 2;
        if (c == 'n')
            node = optarg;
        else if (c == 'e')
            expected = optarg;
        else if (c == 'i')
            iommufd = false;
    }
    return node ? run_node(node, iommufd, expected) : run_mem(iommufd, expected);
}
