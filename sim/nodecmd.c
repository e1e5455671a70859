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
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FAULTS_MAX 64
#define EXIT_USAGE 2

enum opt {
    OPT_MOUNT = 256,
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
    OPT_NO_IOMMU,
    OPT_NUMA,
    OPT_DRIVER,
    OPT_MISSING,
    OPT_GARBAGE,
    OPT_ADD,
    OPT_WITH,
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
    OPT_HELP,
};

static const struct option options[] = {
    {"mount", required_argument, NULL, OPT_MOUNT},
    {"control", required_argument, NULL, OPT_CONTROL},
    {"uevents", required_argument, NULL, OPT_UEVENTS},
    {"gpus", required_argument, NULL, OPT_GPUS},
    {"model", required_argument, NULL, OPT_MODEL},
    {"nvswitches", required_argument, NULL, OPT_SWITCHES},
    {"switch-groups", required_argument, NULL, OPT_SWITCH_GROUPS},
    {"gpus-per-group", required_argument, NULL, OPT_GROUP_SIZE},
    {"domain", required_argument, NULL, OPT_DOMAIN},
    {"vfs", required_argument, NULL, OPT_VFS},
    {"companions", required_argument, NULL, OPT_COMPANIONS},
    {"no-bridges", no_argument, NULL, OPT_NO_BRIDGES},
    {"no-iommu", no_argument, NULL, OPT_NO_IOMMU},
    {"numa", required_argument, NULL, OPT_NUMA},
    {"driver", required_argument, NULL, OPT_DRIVER},
    {"missing", required_argument, NULL, OPT_MISSING},
    {"garbage", required_argument, NULL, OPT_GARBAGE},
    {"add", required_argument, NULL, OPT_ADD},
    {"with", required_argument, NULL, OPT_WITH},
    {"no-iommufd", no_argument, NULL, OPT_NO_IOMMUFD},
    {"no-vfio", no_argument, NULL, OPT_NO_VFIO},
    {"no-strict-devmem", no_argument, NULL, OPT_NO_STRICT},
    {"lockdown", no_argument, NULL, OPT_LOCKDOWN},
    {"variant", required_argument, NULL, OPT_VARIANT},
    {"host", required_argument, NULL, OPT_HOST},
    {"time-scale", required_argument, NULL, OPT_SCALE},
    {"state", required_argument, NULL, OPT_STATE},
    {"fault", required_argument, NULL, OPT_FAULT},
    {"ready-fd", required_argument, NULL, OPT_READY},
    {"die-with-parent", no_argument, NULL, OPT_DIE},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

static const char usage[] =
    "usage: pgpu-sim node --mount DIR [OPTION...]\n"
    "  --mount DIR              show the node as DIR/sys and DIR/dev (FUSE)\n"
    "  --control SOCK           listen for `pgpu-sim ctl`\n"
    "  --uevents SOCK           send kernel uevents to whoever connects (SOCK_SEQPACKET)\n"
    "  --gpus N                 default 8\n"
    "  --model M[:N][,M[:N]...] h100-sxm (default), h100-pcie, h200, b200, rtxpro6000\n"
    "  --nvswitches N           default 0\n"
    "  --switch-groups own|shared\n"
    "  --gpus-per-group N       GPUs that share an IOMMU group, default 1\n"
    "  --domain HEX             PCI domain, default 0000\n"
    "  --vfs N                  virtual functions enabled on each GPU\n"
    "  --companions audio,usb   further functions of each GPU's slot and group\n"
    "  --no-bridges             GPUs directly on root buses\n"
    "  --numa N                 NUMA node of all, -1: unknown\n"
    "  --driver NAME            bound at start (nvidia, vfio-pci)\n"
    "  --missing A,B            attributes that GPUs lack\n"
    "  --garbage A,B            attributes that read as garbage\n"
    "  --add ADDR=MODEL[,OPT..] one more function; OPT: group= numa= vfs= driver= missing=a+b\n"
    "                           garbage=a+b root\n"
    "  --with ADDR=OPT[,OPT...] the same options for one of the functions above\n"
    "  --no-iommu --no-iommufd --no-vfio --no-strict-devmem --lockdown\n"
    "  --variant DRIVER=V:D     a variant VFIO driver for that vendor and device ID\n"
    "  --host snp|tdx|none      what the host's confidential computing looks like\n"
    "  --time-scale X           1: as hardware (default), 0.01: fast, 0: no delays\n"
    "  --state DIR              keep firmware settings there\n"
    "  --fault ADDR:SPEC        inject a fault from the start (pgpu-sim ctl ... faults)\n"
    "  --ready-fd N             write \"ready\" there when serving\n"
    "  --die-with-parent        end when the process that started it does\n"
    "  --help                   this text\n";

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
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "unknown option; try --help");
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

int
sim_node_main(int argc, char **argv)
{
    struct node_opts o = {
        .ready_fd = -1,
        .k = {.iommufd = true, .vfio_loaded = true, .strict_devmem = true, .time_scale = 1.0}};
    struct sim_kernel *k = NULL;
    struct shape_fns fns;
    struct err e = ERR_INIT;
    sigset_t sigs;
    int c, r;

    shape_init(&o.shape);
    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (c == OPT_HELP) {
            (void)fputs(usage, stdout);
            return EXIT_SUCCESS;
        }
        if (c == '?')
            return EXIT_USAGE;
        if (parse_option(&o, c, optarg, &e) < 0) {
            (void)fail(&e);
            return EXIT_USAGE;
        }
    }
    if (!o.mount || optind < argc) {
        (void)fprintf(stderr, "pgpu-sim node: %s; try --help\n",
                      o.mount ? "unexpected argument" : "--mount DIR is missing");
        return EXIT_USAGE;
    }
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

static const char ctl_usage[] =
    "usage: pgpu-sim ctl --control SOCK COMMAND...\n"
    "  --control SOCK  of `pgpu-sim node` or `pgpu-sim kubelet`; the command help lists theirs\n"
    "  --help          this text\n";

int
sim_ctl_main(int argc, char **argv)
{
    static const struct option opts[] = {{"control", required_argument, NULL, 'c'},
                                         {"help", no_argument, NULL, 'h'},
                                         {NULL, 0, NULL, 0}};
    const char *control = NULL;
    char line[4000] = "";
    _cleanup_free_ char *reply = malloc(SIM_REPLY_MAX);
    struct err e = ERR_INIT;
    size_t used = 0;
    int c, n;

    while ((c = getopt_long(argc, argv, "+", opts, NULL)) >= 0) {
        if (c == 'h') {
            (void)fputs(ctl_usage, stdout);
            return EXIT_SUCCESS;
        }
        if (c == '?')
            return EXIT_USAGE;
        if (c == 'c')
            control = optarg;
    }
    if (!control || optind == argc) {
        (void)fputs(ctl_usage, stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[optind], "trace") == 0 && optind + 1 < argc)
        return sim_ctl_trace(control, argv[optind + 1], &e) < 0 ? fail(&e) : EXIT_SUCCESS;
    for (; optind < argc; optind++) {
        n = snprintf(line + used, sizeof(line) - used, "%s%s", used ? " " : "", argv[optind]);
        if (n < 0 || (size_t)n >= sizeof(line) - used) {
            (void)fprintf(stderr, "pgpu-sim ctl: the command is too long\n");
            return EXIT_USAGE;
        }
        used += (size_t)n;
    }
    if (!reply || sim_ctl_call(control, line, reply, SIM_REPLY_MAX, &e) < 0)
        return fail(&e);
    (void)fputs(reply, stdout);
    return EXIT_SUCCESS;
}
