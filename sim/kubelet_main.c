/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpu-sim kubelet: the kubelet stand-in as a program. Exit status 0; 3 when there were violations;
 * 2 for wrong usage; 1 when it cannot start.
 */
#include "base/cleanup.h"
#include "base/log.h"
#include "sim/kubelet.h"

#include <systemd/sd-event.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXIT_VIOLATIONS 3

struct settings {
    struct sim_kubelet_options opt;
    const char *control;
    int ready_fd;
};

static bool
parse_seconds_ns(const char *s, uint64_t *ret)
{
    char *end;
    double v = strtod(s, &end);

    if (end == s || *end || !(v > 0 && v <= 86400))
        return false;
    *ret = (uint64_t)(v * 1e9);
    return true;
}

enum opt {
    OPT_DIR,
    OPT_CONTROL,
    OPT_RACE,
    OPT_LIST_TERMINATED,
    OPT_ALLOCATE_TIMEOUT,
    OPT_NO_RATE_LIMIT,
    OPT_READY,
    OPT_END,
};

static const struct usage_opt options[] = {
    [OPT_DIR] = {"--dir", "DIR", "has or gets device-plugins/ and pod-resources/", "dir", 0},
    [OPT_CONTROL] = {"--control", "SOCKET", "listen for pgpu-sim ctl here", "file", 0},
    [OPT_RACE] = {"--race", NULL, "re-registration race of kubelets up to 1.36.2", NULL, 0},
    [OPT_LIST_TERMINATED] = {"--list-terminated", NULL,
                             "PodResources List returns ended pods (up to 1.33)", NULL, 0},
    [OPT_ALLOCATE_TIMEOUT] = {"--allocate-timeout", "S", "deadline of Allocate (none by default)",
                              NULL, 0},
    [OPT_NO_RATE_LIMIT] = {"--no-rate-limit", NULL,
                           "PodResources without its limit of 100 calls a second", NULL, 0},
    [OPT_READY] = {"--ready-fd", "N", "write \"ready\" there when serving", NULL, 0},
    [OPT_END] = {NULL, NULL, NULL, NULL, 0},
};

static bool
take(struct settings *s, enum opt o, const char *arg)
{
    switch (o) {
    case OPT_DIR:
        s->opt.dir = arg;
        break;
    case OPT_CONTROL:
        s->control = arg;
        break;
    case OPT_RACE:
        s->opt.race = true;
        break;
    case OPT_LIST_TERMINATED:
        s->opt.list_terminated = true;
        break;
    case OPT_ALLOCATE_TIMEOUT:
        return parse_seconds_ns(arg, &s->opt.allocate_nsec);
    case OPT_NO_RATE_LIMIT:
        s->opt.no_rate_limit = true;
        break;
    case OPT_READY:
        s->ready_fd = (int)strtol(arg, NULL, 10);
        break;
    case OPT_END:
        break;
    }
    return true;
}

/* -1: go on; else the exit status. */
static int
parse(int argc, char **argv, struct settings *s)
{
    struct usage_args a;
    int rc = usage_parse(&sim_kubelet_usage, argc, argv, &a);

    for (unsigned i = 0; rc < 0 && i < a.n_opts; i++)
        if (!take(s, (enum opt)(a.opt[i].opt - options), a.opt[i].value))
            return usage_wrong(&a, "%s %s: bad value", a.opt[i].opt->name, a.opt[i].value);
    if (rc < 0 && (!s->opt.dir || !s->control))
        return usage_wrong(&a, "--dir and --control are needed");
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
tell_ready(int fd)
{
    if (fd < 0)
        return;
    (void)!write(fd, "ready\n", 6);
    fd_close(&fd);
}

static int
run(const void *ctx, int argc, char **argv)
{
    struct settings s = {.ready_fd = -1};
    struct sim_kubelet_control *c = NULL;
    struct sim_kubelet *k = NULL;
    struct err e = ERR_INIT;
    sd_event *loop = NULL;
    int status = parse(argc, argv, &s);

    (void)ctx;
    if (status >= 0)
        return status;
    status = EXIT_FAILURE;
    if (loop_with_signals(&loop, &e) < 0 || sim_kubelet_new(loop, &s.opt, &k, &e) < 0 ||
        sim_kubelet_control_new(loop, k, s.control, &c, &e) < 0) {
        log_error("kubelet stand-in cannot start", "error", e.msg);
    } else {
        tell_ready(s.ready_fd);
        (void)sd_event_loop(loop);
        status = sim_kubelet_violations(k) > 0 ? EXIT_VIOLATIONS : EXIT_SUCCESS;
    }
    sim_kubelet_control_free(c);
    sim_kubelet_free(k);
    sd_event_unref(loop);
    return status;
}

const struct usage sim_kubelet_usage = {
    .name = "kubelet",
    .args = "--dir DIR --control SOCKET",
    .summary = "a kubelet stand-in: device plugins and PodResources",
    .text = "A kubelet's side of the device plugin API and of PodResources. Exit status 3 when a "
            "plugin did something that would have hurt a real kubelet.",
    .opts = options,
    .run = run,
};
