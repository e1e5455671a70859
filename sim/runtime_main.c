/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpu-sim runtime: the container runtime stand-in as a program. Exit status 0; 2 for wrong usage;
 * 1 when it cannot start.
 */
#include "base/cleanup.h"
#include "base/log.h"
#include "sim/jsonctl.h"
#include "sim/runtime.h"

#include <systemd/sd-event.h>

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXIT_USAGE 2
/* Annotations of a pod have up to 256 KiB in Kubernetes (TotalAnnotationSizeLimitB). */
#define LINE_BYTES ((size_t)1 << 20)

static const char usage[] =
    "usage: pgpu-sim runtime --nri SOCKET --control SOCKET [options]\n"
    "  --nri SOCKET            where plugins connect\n"
    "  --control SOCKET        takes commands, one line each (try: help)\n"
    "  --runtime NAME          containerd (default) or cri-o\n"
    "  --version V             its version, v2.3.4 or 1.36.0\n"
    "  --nri-version V         0.6 to 0.12; by default what that version has\n"
    "  --configure-first       Configure before the answer to RegisterPlugin\n"
    "  --sync-chunk BYTES      split Synchronize beyond so many bytes\n"
    "  --sync-order ORDER      of Synchronize: newest first (default) or oldest\n"
    "  --timeout MS            for a plugin's answer, 2000\n"
    "  --plugin-path DIR       plugins to launch\n"
    "  --plugin-config-path DIR  their configuration\n"
    "  --cdi on|off            CDI switched on in the runtime\n"
    "  --cdi-dir DIR           CDI directory; may be repeated, later ones go first\n"
    "  --root DIR              the simulated node\n"
    "  --pod-resources SOCKET  the kubelet's, for pods with a VM\n"
    "  --ready-fd N            write \"ready\" there when serving\n"
    "  --help                  this text\n";

struct settings {
    struct sim_runtime_options opt;
    const char *control;
    int ready_fd;
};

static bool
parse_number(const char *s, unsigned long max, unsigned long *ret)
{
    char *end;

    *ret = strtoul(s, &end, 10);
    return end != s && *end == '\0' && *s != '-' && *ret > 0 && *ret <= max;
}

/* Options that take a text as it is. */
static const char **
text_option(struct settings *s, int o)
{
    switch (o) {
    case 'n':
        return &s->opt.nri;
    case 'c':
        return &s->control;
    case 'r':
        return &s->opt.runtime;
    case 'v':
        return &s->opt.version;
    case 'V':
        return &s->opt.release;
    case 'p':
        return &s->opt.plugin_path;
    case 'P':
        return &s->opt.plugin_config_path;
    case 'R':
        return &s->opt.root;
    case 'k':
        return &s->opt.pod_resources;
    default:
        return NULL;
    }
}

static bool
take(struct settings *s, int o, const char *arg)
{
    const char **text = text_option(s, o);
    unsigned long n = 0;

    if (text) {
        *text = arg;
        return true;
    }
    switch (o) {
    case 'f':
        s->opt.configure_first = true;
        return true;
    case 's':
        s->opt.sync_chunk = parse_number(arg, 1ul << 22, &n) ? n : 0;
        return n > 0;
    case 'o':
        s->opt.sync_oldest_first = strcmp(arg, "oldest") == 0;
        return s->opt.sync_oldest_first || strcmp(arg, "newest") == 0;
    case 't':
        s->opt.request_usec = parse_number(arg, 86400000, &n) ? n * 1000 : 0;
        return n > 0;
    case 'C':
        s->opt.cdi_enabled = strcmp(arg, "on") == 0;
        return s->opt.cdi_enabled || strcmp(arg, "off") == 0;
    case 'd':
        if (s->opt.n_cdi == SIM_RUNTIME_CDI_DIRS)
            return false;
        s->opt.cdi[s->opt.n_cdi++] = arg;
        return true;
    case 'y':
        s->ready_fd = (int)strtol(arg, NULL, 10);
        return true;
    default:
        return false;
    }
}

static bool
parse(int argc, char **argv, struct settings *s)
{
    static const struct option options[] = {{"nri", required_argument, NULL, 'n'},
                                            {"control", required_argument, NULL, 'c'},
                                            {"runtime", required_argument, NULL, 'r'},
                                            {"version", required_argument, NULL, 'v'},
                                            {"nri-version", required_argument, NULL, 'V'},
                                            {"configure-first", no_argument, NULL, 'f'},
                                            {"sync-chunk", required_argument, NULL, 's'},
                                            {"sync-order", required_argument, NULL, 'o'},
                                            {"timeout", required_argument, NULL, 't'},
                                            {"plugin-path", required_argument, NULL, 'p'},
                                            {"plugin-config-path", required_argument, NULL, 'P'},
                                            {"cdi", required_argument, NULL, 'C'},
                                            {"cdi-dir", required_argument, NULL, 'd'},
                                            {"root", required_argument, NULL, 'R'},
                                            {"pod-resources", required_argument, NULL, 'k'},
                                            {"ready-fd", required_argument, NULL, 'y'},
                                            {NULL, 0, NULL, 0}};
    int o;

    optind = 1;
    while ((o = getopt_long(argc, argv, "", options, NULL)) != -1)
        if (!take(s, o, optarg))
            return false;
    return s->opt.nri && s->control && optind == argc;
}

static int
loop_with_signals(sd_event **ret, struct err *e)
{
    sigset_t set;
    int r;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    r = sd_event_new(ret);
    if (r >= 0)
        r = sd_event_add_signal(*ret, NULL, SIGTERM, NULL, NULL); /* NULL: ends the loop */
    if (r >= 0)
        r = sd_event_add_signal(*ret, NULL, SIGINT, NULL, NULL);
    if (r < 0)
        return err_errno(e, -r, ERR_CLASS_FATAL, "event loop");
    return 0;
}

static void
command(void *target, const char *line, sim_jsonctl_done done, void *ctx)
{
    sim_runtime_command(target, line, done, ctx);
}

static void
tell_ready(void *ctx)
{
    int *fd = ctx;

    if (*fd < 0)
        return;
    (void)!write(*fd, "ready\n", 6);
    fd_close(fd);
}

int
sim_runtime_main(int argc, char **argv)
{
    struct settings s = {.ready_fd = -1, .opt = {.cdi_enabled = -1}};
    struct sim_runtime *rt = NULL;
    struct sim_jsonctl *c = NULL;
    struct err e = ERR_INIT;
    sd_event *loop = NULL;
    int status = EXIT_FAILURE;

    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        (void)fputs(usage, stdout);
        return EXIT_SUCCESS;
    }
    if (!parse(argc, argv, &s)) {
        (void)fputs(usage, stderr);
        return EXIT_USAGE;
    }
    if (loop_with_signals(&loop, &e) < 0 || sim_runtime_new(loop, &s.opt, &rt, &e) < 0 ||
        sim_jsonctl_new(loop, s.control, LINE_BYTES, command, rt, &c, &e) < 0) {
        log_error("runtime stand-in cannot start", "error", e.msg);
    } else {
        sim_runtime_on_ready(rt, tell_ready, &s.ready_fd);
        status = sd_event_loop(loop);
    }
    sim_jsonctl_free(c);
    sim_runtime_free(rt);
    sd_event_unref(loop);
    return status < 0 ? EXIT_FAILURE : status;
}
