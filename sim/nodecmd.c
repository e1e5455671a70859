/* SPDX-License-Identifier: Apache-2.0
 *
 * `pgpu-sim node`: a simulated node in the foreground; `pgpu-sim ctl`: commands to it. Main thread
 * only waits for signals; FUSE and the control server have threads of their own.
 */
#include "sim/nodecmd.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "sim/control.h"
#include "sim/fuse.h"
#include "sim/shape.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FAULTS_MAX 64

enum opt {
    OPT_MOUNT,
    OPT_CONTROL,
    OPT_UEVENTS,
    OPT_GPUS,
    OPT_MODEL,
    OPT_SWITCHES,
    OPT_SWITCH_GROUPS,
    OPT_GROUP_SIZE,
    OPT_DOMAIN,
    OPT_VFS,
    OPT_COMPANIONS,
    OPT_NO_BRIDGES,
    OPT_NUMA,
    OPT_DRIVER,
    OPT_MISSING,
    OPT_GARBAGE,
    OPT_ADD,
    OPT_WITH,
    OPT_NO_IOMMU,
    OPT_NO_IOMMUFD,
    OPT_NO_VFIO,
    OPT_NO_STRICT,
    OPT_LOCKDOWN,
    OPT_VARIANT,
    OPT_HOST,
    OPT_SCALE,
    OPT_STATE,
    OPT_FAULT,
    OPT_READY,
    OPT_DIE,
    OPT_END,
};

#define MODELS "h100-sxm h100-pcie h200 b200 rtxpro6000"

static const struct usage_opt options[] = {
    [OPT_MOUNT] = {"--mount", "DIR", "show the node as DIR/sys and DIR/dev (FUSE); DIR must exist",
                   "dir", 0},
    [OPT_CONTROL] = {"--control", "SOCK", "listen for pgpu-sim ctl", "file", 0},
    [OPT_UEVENTS] = {"--uevents", "SOCK",
                     "send kernel uevents to whoever connects (SOCK_SEQPACKET)", "file", 0},
    [OPT_GPUS] = {"--gpus", "N", "number of GPUs (default 8)", NULL, 0},
    [OPT_MODEL] = {"--model", "M[:N][,M[:N]...]",
                   "h100-sxm (default), h100-pcie, h200, b200, rtxpro6000; with counts, a mixture",
                   MODELS, 0},
    [OPT_SWITCHES] = {"--nvswitches", "N", "number of NVSwitches (default 0)", NULL, 0},
    [OPT_SWITCH_GROUPS] = {"--switch-groups", "own|shared",
                           "each switch in an IOMMU group of its own, or all in one", "own shared",
                           0},
    [OPT_GROUP_SIZE] = {"--gpus-per-group", "N", "GPUs that share an IOMMU group (default 1)", NULL,
                        0},
    [OPT_DOMAIN] = {"--domain", "HEX", "PCI domain (default 0000)", NULL, 0},
    [OPT_VFS] = {"--vfs", "N", "virtual functions enabled on each GPU", NULL, 0},
    [OPT_COMPANIONS] = {"--companions", "audio,usb",
                        "further functions of each GPU's slot and group", "audio usb audio,usb", 0},
    [OPT_NO_BRIDGES] = {"--no-bridges", NULL, "GPUs directly on root buses", NULL, 0},
    [OPT_NUMA] = {"--numa", "N", "NUMA node of all, -1: unknown", NULL, 0},
    [OPT_DRIVER] = {"--driver", "NAME", "bound at start (nvidia, vfio-pci)", "nvidia vfio-pci", 0},
    [OPT_MISSING] = {"--missing", "A,B", "attributes that GPUs lack", NULL, 0},
    [OPT_GARBAGE] = {"--garbage", "A,B", "attributes that read as garbage", NULL, 0},
    [OPT_ADD] = {"--add", "ADDR=MODEL[,OPT...]",
                 "one more function; OPT: group= numa= vfs= driver= missing=a+b garbage=a+b root",
                 NULL, 0},
    [OPT_WITH] = {"--with", "ADDR=OPT[,OPT...]", "the same options for one of the functions above",
                  NULL, 0},
    [OPT_NO_IOMMU] = {"--no-iommu", NULL, "no IOMMU", NULL, 0},
    [OPT_NO_IOMMUFD] = {"--no-iommufd", NULL, "no /dev/iommu and no VFIO character devices", NULL,
                        0},
    [OPT_NO_VFIO] = {"--no-vfio", NULL, "the vfio-pci driver is not loaded", NULL, 0},
    [OPT_NO_STRICT] = {"--no-strict-devmem", NULL,
                       "resource0 can be used while a VFIO user has the device open", NULL, 0},
    [OPT_LOCKDOWN] = {"--lockdown", NULL, "kernel lockdown: no resource0, no configuration writes",
                      NULL, 0},
    [OPT_VARIANT] = {"--variant", "DRIVER=V:D",
                     "a variant VFIO driver for that vendor and device ID", NULL, 0},
    [OPT_HOST] = {"--host", "snp|tdx|none", "what the host's confidential computing looks like",
                  "snp tdx none", 0},
    [OPT_SCALE] = {"--time-scale", "X", "1: as hardware (default), 0.01: fast, 0: no delays", NULL,
                   0},
    [OPT_STATE] = {"--state", "DIR", "keep firmware settings there", "dir", 0},
    [OPT_FAULT] = {"--fault", "ADDR:SPEC",
                   "inject a fault from the start (pgpu-sim ctl ... faults lists them)", NULL, 0},
    [OPT_READY] = {"--ready-fd", "N", "write \"ready\" there when serving", NULL, 0},
    [OPT_DIE] = {"--die-with-parent", NULL, "end when the process that started it does", NULL, 0},
    [OPT_END] = {NULL, NULL, NULL, NULL, 0},
};

struct node_opts {
    const char *mount, *control, *uevents, *fault[FAULTS_MAX];
    unsigned n_fault;
    int ready_fd;
    bool die_with_parent;
    struct shape shape;
    struct sim_kernel_params k;
};

static int
fail(const struct err *e)
{
    (void)fprintf(stderr, "pgpu-sim: %s\n", e->msg);
    return EXIT_FAILURE;
}

/* ---- options ---- */

static int
parse_num(const char *name, const char *text, int base, long min, long max, long *ret,
          struct err *e)
{
    char *end;
    long v;

    errno = 0;
    v = strtol(text, &end, base);
    if (errno || end == text || *end || v < min || v > max)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "--%s %s: want a number from %ld to %ld", name,
                       text, min, max);
    *ret = v;
    return 0;
}

static int
parse_words(struct node_opts *o, int c, const char *arg, struct err *e)
{
    char *end;

    switch (c) {
    case OPT_MODEL:
        return shape_models(&o->shape, arg, e);
    case OPT_SWITCH_GROUPS:
        o->shape.switches_share = strcmp(arg, "shared") == 0;
        if (!o->shape.switches_share && strcmp(arg, "own") != 0)
            return err_set(e, EINVAL, ERR_CLASS_INVALID, "--switch-groups %s: want own or shared",
                           arg);
        return 0;
    case OPT_COMPANIONS:
        o->shape.audio = strstr(arg, "audio") != NULL;
        o->shape.usb = strstr(arg, "usb") != NULL;
        if (!o->shape.audio && !o->shape.usb)
            return err_set(e, EINVAL, ERR_CLASS_INVALID, "--companions %s: want audio,usb", arg);
        return 0;
    case OPT_ADD:
        if (o->shape.n_add == SHAPE_ADDS_MAX)
            return err_set(e, E2BIG, ERR_CLASS_INVALID, "--add: at most %d", SHAPE_ADDS_MAX);
        o->shape.add[o->shape.n_add++] = arg;
        return 0;
    case OPT_WITH:
        if (o->shape.n_with == SHAPE_ADDS_MAX)
            return err_set(e, E2BIG, ERR_CLASS_INVALID, "--with: at most %d", SHAPE_ADDS_MAX);
        o->shape.with[o->shape.n_with++] = arg;
        return 0;
    case OPT_FAULT:
        if (o->n_fault == FAULTS_MAX)
            return err_set(e, E2BIG, ERR_CLASS_INVALID, "--fault: at most %d", FAULTS_MAX);
        o->fault[o->n_fault++] = arg;
        return 0;
    case OPT_HOST:
        if (strcmp(arg, "snp") != 0 && strcmp(arg, "tdx") != 0 && strcmp(arg, "none") != 0)
            return err_set(e, EINVAL, ERR_CLASS_INVALID, "--host %s: want snp, tdx or none", arg);
        o->k.host = arg;
        return 0;
    case OPT_SCALE:
        o->k.time_scale = strtod(arg, &end);
        if (end == arg || *end || !(o->k.time_scale >= 0 && o->k.time_scale <= 1000))
            return err_set(e, EINVAL, ERR_CLASS_INVALID,
                           "--time-scale %s: want a number from 0 to 1000", arg);
        return 0;
    default:
        return 0; /* parse_option() has them */
    }
}

static int
parse_number(struct node_opts *o, int c, const char *arg, struct err *e)
{
    long v = 0;
    int r;

    switch (c) {
    case OPT_GPUS:
        r = parse_num("gpus", arg, 10, 0, 32, &v, e);
        o->shape.gpus = (unsigned)v;
        return r;
    case OPT_SWITCHES:
        r = parse_num("nvswitches", arg, 10, 0, 8, &v, e);
        o->shape.nvswitches = (unsigned)v;
        return r;
    case OPT_GROUP_SIZE:
        r = parse_num("gpus-per-group", arg, 10, 1, 32, &v, e);
        o->shape.gpus_per_group = (unsigned)v;
        return r;
    case OPT_DOMAIN:
        r = parse_num("domain", arg, 16, 0, 0x7fffffff, &v, e);
        o->shape.domain = (uint32_t)v;
        return r;
    case OPT_VFS:
        r = parse_num("vfs", arg, 10, 0, 64, &v, e);
        o->shape.vfs = (unsigned)v;
        return r;
    case OPT_NUMA:
        r = parse_num("numa", arg, 10, -1, 1023, &v, e);
        o->shape.numa = (int)v;
        return r;
    case OPT_READY:
        r = parse_num("ready-fd", arg, 10, 0, 65535, &v, e);
        o->ready_fd = (int)v;
        return r;
    default:
        return parse_words(o, c, arg, e);
    }
}

static int
parse_option(struct node_opts *o, int c, const char *arg, struct err *e)
{
    const struct {
        int opt;
        const char **word;
        bool *flag;
        bool value;
    } simple[] = {
        {OPT_MOUNT, &o->mount, NULL, false},
        {OPT_CONTROL, &o->control, NULL, false},
        {OPT_UEVENTS, &o->uevents, NULL, false},
        {OPT_DRIVER, &o->shape.driver, NULL, false},
        {OPT_MISSING, &o->shape.missing, NULL, false},
        {OPT_GARBAGE, &o->shape.garbage, NULL, false},
        {OPT_VARIANT, &o->k.variant, NULL, false},
        {OPT_STATE, &o->k.state_dir, NULL, false},
        {OPT_DIE, NULL, &o->die_with_parent, true},
        {OPT_NO_BRIDGES, NULL, &o->shape.no_bridges, true},
        {OPT_NO_IOMMU, NULL, &o->shape.no_iommu, true},
        {OPT_NO_IOMMUFD, NULL, &o->k.iommufd, false},
        {OPT_NO_VFIO, NULL, &o->k.vfio_loaded, false},
        {OPT_NO_STRICT, NULL, &o->k.strict_devmem, false},
        {OPT_LOCKDOWN, NULL, &o->k.lockdown, true},
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(simple); i++) {
        if (simple[i].opt != c)
            continue;
        if (simple[i].word)
            *simple[i].word = arg;
        else
            *simple[i].flag = simple[i].value;
        return 0;
    }
    return parse_number(o, c, arg, e);
}

/* ---- running ---- */

static int
apply_faults(struct sim_kernel *k, const struct node_opts *o, struct err *e)
{
    char line[512], reply[64], addr[PCI_ADDR_STR + 1];
    const char *colon;
    unsigned i;
    int r;

    for (i = 0; i < o->n_fault; i++) {
        /* the last colon before the fault's name: addresses hold two themselves */
        colon = strchr(o->fault[i], '.');
        colon = colon ? strchr(colon, ':') : NULL;
        if (!colon || (size_t)(colon - o->fault[i]) >= sizeof(addr))
            return err_set(e, EINVAL, ERR_CLASS_INVALID, "--fault %s: want ADDR:SPEC", o->fault[i]);
        memcpy(addr, o->fault[i], (size_t)(colon - o->fault[i]));
        addr[colon - o->fault[i]] = '\0';
        (void)snprintf(line, sizeof(line), "fault %s %s", addr, colon + 1);
        r = sim_k_control(k, line, reply, sizeof(reply), e);
        if (r < 0)
            return r;
    }
    return 0;
}

static int
serve(const struct node_opts *o, struct sim_kernel *k, const sigset_t *sigs, struct err *e)
{
    struct sim_server *server = NULL;
    struct sim_fuse *fuse = NULL;
    int r, sig;

    r = sim_fuse_mount(k, o->mount, &fuse, e);
    if (r < 0)
        return r;
    r = sim_server_start(k, o->control, o->uevents, &server, e);
    if (r == 0)
        r = sim_fuse_start(fuse, e);
    if (r == 0) {
        if (o->ready_fd >= 0) {
            (void)!write(o->ready_fd, "ready\n", 6);
            (void)close(o->ready_fd);
        }
        (void)sigwait(sigs, &sig);
    }
    sim_fuse_stop(fuse);
    sim_server_stop(server);
    return r;
}

static int
run_node(const void *ctx, int argc, char **argv)
{
    struct node_opts o = {
        .ready_fd = -1,
        .k = {.iommufd = true, .vfio_loaded = true, .strict_devmem = true, .time_scale = 1.0}};
    struct sim_kernel *k = NULL;
    struct shape_fns fns;
    struct usage_args a;
    struct err e = ERR_INIT;
    sigset_t sigs;
    int r = usage_parse(&sim_node_usage, argc, argv, &a);

    (void)ctx;
    if (r >= 0)
        return r;
    shape_init(&o.shape);
    for (unsigned i = 0; i < a.n_opts; i++)
        if (parse_option(&o, (int)(a.opt[i].opt - options), a.opt[i].value, &e) < 0)
            return usage_wrong(&a, "%s", e.msg);
    if (!o.mount)
        return usage_wrong(&a, "--mount DIR is missing");
    if (shape_build(&o.shape, &fns, &e) < 0)
        return fail(&e);
    if (o.k.state_dir && fs_mkdirs(o.k.state_dir, 0700, &e) < 0)
        return fail(&e);
    (void)sigemptyset(&sigs);
    (void)sigaddset(&sigs, SIGINT);
    (void)sigaddset(&sigs, SIGTERM);
    (void)sigaddset(&sigs, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &sigs, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    if (o.die_with_parent)
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    o.k.fn = fns.fn;
    o.k.n_fn = fns.n;
    r = sim_kernel_new(&o.k, &k, &e);
    if (r == 0)
        r = apply_faults(k, &o, &e);
    if (r == 0)
        r = serve(&o, k, &sigs, &e);
    sim_kernel_free(k);
    shape_fns_fini(&fns);
    return r < 0 ? fail(&e) : EXIT_SUCCESS;
}

const struct usage sim_node_usage = {
    .name = "node",
    .args = "--mount DIR",
    .summary = "a node with emulated GPUs, as a FUSE file system",
    .text =
        "Mounts a FUSE file system with the sys and dev of a node whose GPUs are emulated, with "
        "the "
        "rules of the kernel (Linux 6.12) for binding, IOMMU groups, VFIO, power and resets. Stays "
        "in the foreground; ends, and unmounts, on SIGTERM, SIGINT and SIGHUP. Needs root and "
        "/dev/fuse.",
    .opts = options,
    .run = run_node,
};

/* ---- commands ---- */

static int
run_ctl(const void *ctx, int argc, char **argv)
{
    char line[4000] = "";
    _cleanup_free_ char *reply = malloc(SIM_REPLY_MAX);
    struct usage_args a;
    struct err e = ERR_INIT;
    const char *control;
    size_t used = 0;
    int n, r = usage_parse(&sim_ctl_usage, argc, argv, &a);

    (void)ctx;
    if (r >= 0)
        return r;
    control = usage_value(&a, "--control", NULL);
    if (!control)
        return usage_wrong(&a, "--control SOCK is missing");
    if (strcmp(a.v[0], "trace") == 0 && a.n > 1)
        return sim_ctl_trace(control, a.v[1], &e) < 0 ? fail(&e) : EXIT_SUCCESS;
    for (int i = 0; i < a.n; i++) {
        n = snprintf(line + used, sizeof(line) - used, "%s%s", used ? " " : "", a.v[i]);
        if (n < 0 || (size_t)n >= sizeof(line) - used)
            return usage_wrong(&a, "the command is too long");
        used += (size_t)n;
    }
    if (!reply || sim_ctl_call(control, line, reply, SIM_REPLY_MAX, &e) < 0)
        return fail(&e);
    (void)fputs(reply, stdout);
    return EXIT_SUCCESS;
}

const struct usage sim_ctl_usage = {
    .name = "ctl",
    .args = "--control SOCK COMMAND [ARG]...",
    .summary = "commands to a running node or server: faults, VMMs, hot-plug, traffic",
    .text = "Sends one command to a node, vfio-user, kubelet or runtime and prints the answer; the "
            "command help lists theirs. Exit status 1 when the command was refused.",
    .opts =
        (const struct usage_opt[]){
            {"--control", "SOCK", "control socket of the one that is meant", "file", 0},
            {NULL, NULL, NULL, NULL, 0},
        },
    .run = run_ctl,
    .verbatim = true,
};
