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

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Annotations of a pod have up to 256 KiB in Kubernetes (TotalAnnotationSizeLimitB). */
#define LINE_BYTES ((size_t)1 << 20)

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

enum opt {
    OPT_NRI,
    OPT_CONTROL,
    OPT_RUNTIME,
    OPT_VERSION,
    OPT_NRI_VERSION,
    OPT_CONFIGURE_FIRST,
    OPT_SYNC_CHUNK,
    OPT_SYNC_ORDER,
    OPT_TIMEOUT,
    OPT_PLUGIN_PATH,
    OPT_PLUGIN_CONFIG_PATH,
    OPT_CDI,
    OPT_CDI_DIR,
    OPT_ROOT,
    OPT_POD_RESOURCES,
    OPT_READY,
    OPT_END,
};

static const struct usage_opt options[] = {
    [OPT_NRI] = {"--nri", "SOCKET", "where plugins connect", "file", 0},
    [OPT_CONTROL] = {"--control", "SOCKET", "listen for pgpu-sim ctl here", "file", 0},
    [OPT_RUNTIME] = {"--runtime", "NAME", "containerd (default) or cri-o", "containerd cri-o", 0},
    [OPT_VERSION] = {"--version", "V", "its version, v2.3.4 or 1.36.0", NULL, 0},
    [OPT_NRI_VERSION] = {"--nri-version", "V", "0.6 to 0.12; by default what that version has",
                         NULL, 0},
    [OPT_CONFIGURE_FIRST] = {"--configure-first", NULL,
                             "Configure before the answer to RegisterPlugin", NULL, 0},
    [OPT_SYNC_CHUNK] = {"--sync-chunk", "BYTES", "split Synchronize beyond so many bytes", NULL, 0},
    [OPT_SYNC_ORDER] = {"--sync-order", "newest|oldest",
                        "what Synchronize has first (default newest)", "newest oldest", 0},
    [OPT_TIMEOUT] = {"--timeout", "MS", "for a plugin's answer (default 2000)", NULL, 0},
    [OPT_PLUGIN_PATH] = {"--plugin-path", "DIR", "launch the plugins there, files NN-NAME", "dir",
                         0},
    [OPT_PLUGIN_CONFIG_PATH] = {"--plugin-config-path", "DIR",
                                "their configuration, NN-NAME.conf or NAME.conf", "dir", 0},
    [OPT_CDI] = {"--cdi", "on|off", "CDI switched on in the runtime (default: as its version)",
                 "on off", 0},
    [OPT_CDI_DIR] = {"--cdi-dir", "DIR", "CDI directory; may be repeated, later ones go first",
                     "dir", 0},
    [OPT_ROOT] = {"--root", "DIR", "the simulated node", "dir", 0},
    [OPT_POD_RESOURCES] = {"--pod-resources", "SOCKET", "the kubelet's, for pods with a VM", "file",
                           0},
    [OPT_READY] = {"--ready-fd", "N", "write \"ready\" there when serving", NULL, 0},
    [OPT_END] = {NULL, NULL, NULL, NULL, 0},
};

/* Options that take a text as it is. */
static const char **
text_option(struct settings *s, enum opt o)
{
    const char **const texts[OPT_END] = {
        [OPT_NRI] = &s->opt.nri,
        [OPT_CONTROL] = &s->control,
        [OPT_RUNTIME] = &s->opt.runtime,
        [OPT_VERSION] = &s->opt.version,
        [OPT_NRI_VERSION] = &s->opt.release,
        [OPT_PLUGIN_PATH] = &s->opt.plugin_path,
        [OPT_PLUGIN_CONFIG_PATH] = &s->opt.plugin_config_path,
        [OPT_ROOT] = &s->opt.root,
        [OPT_POD_RESOURCES] = &s->opt.pod_resources,
    };

    return texts[o];
}

static bool
take(struct settings *s, enum opt o, const char *arg)
{
    const char **text = text_option(s, o);
    unsigned long n = 0;

    if (text) {
        *text = arg;
        return true;
    }
    if (o == OPT_CONFIGURE_FIRST) {
        s->opt.configure_first = true;
        return true;
    }
    if (o == OPT_SYNC_CHUNK) {
        s->opt.sync_chunk = parse_number(arg, 1ul << 22, &n) ? n : 0;
        return n > 0;
    }
    if (o == OPT_SYNC_ORDER) {
        s->opt.sync_oldest_first = strcmp(arg, "oldest") == 0;
        return s->opt.sync_oldest_first || strcmp(arg, "newest") == 0;
    }
    if (o == OPT_TIMEOUT) {
        s->opt.request_usec = parse_number(arg, 86400000, &n) ? n * 1000 : 0;
        return n > 0;
    }
    if (o == OPT_CDI) {
        s->opt.cdi_enabled = strcmp(arg, "on") == 0;
        return s->opt.cdi_enabled || strcmp(arg, "off") == 0;
    }
    if (o == OPT_CDI_DIR) {
        if (s->opt.n_cdi == SIM_RUNTIME_CDI_DIRS)
            return false;
        s->opt.cdi[s->opt.n_cdi++] = arg;
    }
    if (o == OPT_READY)
        s->ready_fd = (int)strtol(arg, NULL, 10);
    return true;
}

/* -1: go on; else the exit status. */
static int
parse(int argc, char **argv, struct settings *s)
{
    struct usage_args a;
    int rc = usage_parse(&sim_runtime_usage, argc, argv, &a);

    for (unsigned i = 0; rc < 0 && i < a.n_opts; i++)
        if (!take(s, (enum opt)(a.opt[i].opt - options), a.opt[i].value))
            return usage_wrong(&a, "%s %s: bad value", a.opt[i].opt->name, a.opt[i].value);
    if (rc < 0 && (!s->opt.nri || !s->control))
        return usage_wrong(&a, "--nri and --control are needed");
    return rc;
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

static int
run(const void *ctx, int argc, char **argv)
{
    struct settings s = {.ready_fd = -1, .opt = {.cdi_enabled = -1}};
    struct sim_runtime *rt = NULL;
    struct sim_jsonctl *c = NULL;
    struct err e = ERR_INIT;
    sd_event *loop = NULL;
    int status = parse(argc, argv, &s);

    (void)ctx;
    if (status >= 0)
        return status;
    status = EXIT_FAILURE;
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

const struct usage sim_runtime_usage = {
    .name = "runtime",
    .args = "--nri SOCKET --control SOCKET",
    .summary = "a container runtime stand-in: NRI plugins, pods, containers",
    .text = "The NRI side of containerd or CRI-O: plugins register and are asked as those do it, "
            "each release of NRI as it is. Pods and containers are entries in a table; with kata a "
            "pod also gets a VM, which is pgpu-sim kata as a child process.",
    .opts = options,
    .run = run,
};
