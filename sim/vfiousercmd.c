/* SPDX-License-Identifier: Apache-2.0
 *
 * `pgpu-sim vfio-user`: emulated GPUs for a virtual machine's PCI bus, in the foreground. The main
 * thread only waits for signals.
 */
#include "sim/vfiousercmd.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "sim/vfiouser_srv.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FAULTS_MAX 64

enum opt { OPT_CONTROL, OPT_SCALE, OPT_STATE, OPT_FAULT, OPT_READY, OPT_DIE, OPT_END };

static const struct usage_opt options[] = {
    [OPT_CONTROL] = {"--control", "SOCK",
                     "listen for pgpu-sim ctl here (its command help lists all)", "file", 0},
    [OPT_SCALE] = {"--time-scale", "X", "1: as hardware (default), 0.01: fast, 0: no delays", NULL,
                   0},
    [OPT_STATE] = {"--state", "DIR", "keep firmware settings there, by NAME", "dir", 0},
    [OPT_FAULT] = {"--fault", "NAME:SPEC",
                   "inject a fault from the start (pgpu-sim ctl ... faults lists them)", NULL, 0},
    [OPT_READY] = {"--ready-fd", "N", "write \"ready\" there when serving", NULL, 0},
    [OPT_DIE] = {"--die-with-parent", NULL, "end when the process that started it does", NULL, 0},
    [OPT_END] = {NULL, NULL, NULL, NULL, 0},
};

struct opts {
    const char *control, *fault[FAULTS_MAX];
    unsigned n_fault;
    int ready_fd;
    bool die_with_parent;
    struct vfu_srv_params srv;
};

static int
fail(const struct err *e)
{
    (void)fprintf(stderr, "pgpu-sim: %s\n", e->msg);
    return EXIT_FAILURE;
}

static void
say(const char *text)
{
    (void)fprintf(stderr, "pgpu-sim: %s\n", text);
}

static int
parse_numbers(struct opts *o, int c, const char *arg, struct err *e)
{
    char *end;
    long v;

    if (c == OPT_SCALE) {
        o->srv.time_scale = strtod(arg, &end);
        if (end == arg || *end || !(o->srv.time_scale >= 0 && o->srv.time_scale <= 1000))
            return err_set(e, EINVAL, ERR_CLASS_INVALID,
                           "--time-scale %s: want a number from 0 to 1000", arg);
        return 0;
    }
    errno = 0;
    v = strtol(arg, &end, 10);
    if (errno || end == arg || *end || v < 0 || v > 65535)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "--ready-fd %s: want a number from 0 to 65535",
                       arg);
    o->ready_fd = (int)v;
    return 0;
}

static int
parse_option(struct opts *o, int c, const char *arg, struct err *e)
{
    switch (c) {
    case OPT_CONTROL:
        o->control = arg;
        return 0;
    case OPT_STATE:
        o->srv.state_dir = arg;
        return 0;
    case OPT_DIE:
        o->die_with_parent = true;
        return 0;
    case OPT_FAULT:
        if (o->n_fault == FAULTS_MAX)
            return err_set(e, E2BIG, ERR_CLASS_INVALID, "--fault: at most %d", FAULTS_MAX);
        o->fault[o->n_fault++] = arg;
        return 0;
    default:
        return parse_numbers(o, c, arg, e);
    }
}

static int
apply_faults(struct vfu_srv *s, const struct opts *o, struct err *e)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < o->n_fault; i++) {
        _cleanup_free_ char *line = NULL;
        const char *colon = strchr(o->fault[i], ':');
        char reply[64];

        if (!colon || colon == o->fault[i] || !colon[1])
            return err_set(e, EINVAL, ERR_CLASS_INVALID, "--fault %s: want NAME:SPEC", o->fault[i]);
        if (asprintf(&line, "fault %.*s %s", (int)(colon - o->fault[i]), o->fault[i], colon + 1) <
            0)
            return err_set(e, ENOMEM, ERR_CLASS_FATAL, "--fault: out of memory");
        r = vfu_srv_control(s, line, reply, sizeof(reply), e);
    }
    return r;
}

static int
serve(const struct opts *o, struct vfu_srv *s, char **spec, int n, const sigset_t *sigs,
      struct err *e)
{
    int r = 0, sig;

    for (int i = 0; r == 0 && i < n; i++)
        r = vfu_srv_add(s, spec[i], e);
    if (r == 0)
        r = apply_faults(s, o, e);
    if (r == 0)
        r = vfu_srv_start(s, o->control, e);
    if (r < 0)
        return r;
    if (o->ready_fd >= 0) {
        (void)!write(o->ready_fd, "ready\n", 6);
        (void)close(o->ready_fd);
    }
    (void)sigwait(sigs, &sig);
    return 0;
}

static void
block_signals(sigset_t *sigs)
{
    (void)sigemptyset(sigs);
    (void)sigaddset(sigs, SIGINT);
    (void)sigaddset(sigs, SIGTERM);
    (void)sigaddset(sigs, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, sigs, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

static int
run(const void *ctx, int argc, char **argv)
{
    struct opts o = {.ready_fd = -1, .srv = {.time_scale = 1.0, .say = say}};
    struct vfu_srv *s = NULL;
    struct usage_args a;
    struct err e = ERR_INIT;
    sigset_t sigs;
    int r = usage_parse(&sim_vfiouser_usage, argc, argv, &a);

    (void)ctx;
    if (r >= 0)
        return r;
    for (unsigned i = 0; i < a.n_opts; i++)
        if (parse_option(&o, (int)(a.opt[i].opt - options), a.opt[i].value, &e) < 0)
            return usage_wrong(&a, "%s", e.msg);
    if (o.srv.state_dir && fs_mkdirs(o.srv.state_dir, 0700, &e) < 0)
        return fail(&e);
    block_signals(&sigs);
    (void)umask(077); /* the sockets are for who started it */
    if (o.die_with_parent)
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    r = vfu_srv_new(&o.srv, &s, &e);
    if (r == 0)
        r = serve(&o, s, a.v, a.n, &sigs, &e);
    vfu_srv_free(s);
    return r < 0 ? fail(&e) : EXIT_SUCCESS;
}

const struct usage sim_vfiouser_usage = {
    .name = "vfio-user",
    .args = "SOCKET=MODEL[,OPT...]...",
    .summary = "emulated GPUs for QEMU's vfio-user-pci",
    .text =
        "Emulated PCI functions for a virtual machine's bus: each behind a UNIX socket of its own "
        "that speaks vfio-user, for QEMU's device vfio-user-pci (10.1 and later). The guest's "
        "kernel takes them for hardware: configuration space, BAR0, function and bus resets, power "
        "states and interrupts are there; DMA is not. Stays in the foreground; ends on SIGTERM, "
        "SIGINT and SIGHUP.\n\n"
        "SOCKET is where QEMU connects; a device's NAME is its base name without .sock. MODEL is "
        "h100-sxm, h100-pcie, h200, b200, rtxpro6000, nvswitch, audio, usb or nic; OPT is "
        "fault=SPEC, knob=N:VALUE, booting (as just powered up) or no-msix (without that "
        "capability: QEMU 11.1 aborts when a vfio-user device with MSI-X is unplugged). A socket "
        "serves one client after the other; the device stays as the last one left it.",
    .opts = options,
    .run = run,
};
