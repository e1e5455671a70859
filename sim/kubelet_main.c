/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpu-sim kubelet: the kubelet stand-in as a program. Exit status 0; 3 when there were violations;
 * 2 for wrong usage; 1 when it cannot start.
 */
#include "base/cleanup.h"
#include "base/log.h"
#include "sim/kubelet.h"

#include <systemd/sd-event.h>

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXIT_USAGE 2
#define EXIT_VIOLATIONS 3

static const char usage[] =
    "usage: pgpu-sim kubelet --dir DIR --control SOCKET [options]\n"
    "  --dir DIR             has or gets device-plugins/ and pod-resources/\n"
    "  --control SOCKET      takes commands, one line each (try: help)\n"
    "  --race                re-registration race of kubelets up to 1.36.2\n"
    "  --list-terminated     PodResources List returns ended pods (up to 1.33)\n"
    "  --allocate-timeout S  deadline of Allocate (none by default)\n"
    "  --no-rate-limit       PodResources without its limit of 100 calls a second\n"
    "  --ready-fd N          write \"ready\" there when serving\n"
    "  --help                this text\n";

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

static bool
parse(int argc, char **argv, struct settings *s)
{
    static const struct option options[] = {{"dir", required_argument, NULL, 'd'},
                                            {"control", required_argument, NULL, 'c'},
                                            {"race", no_argument, NULL, 'r'},
                                            {"list-terminated", no_argument, NULL, 't'},
                                            {"allocate-timeout", required_argument, NULL, 'a'},
                                            {"no-rate-limit", no_argument, NULL, 'n'},
                                            {"ready-fd", required_argument, NULL, 'f'},
                                            {NULL, 0, NULL, 0}};
    int o;

    optind = 1;
    while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (o) {
        case 'd':
            s->opt.dir = optarg;
            break;
        case 'c':
            s->control = optarg;
            break;
        case 'r':
            s->opt.race = true;
            break;
        case 't':
            s->opt.list_terminated = true;
            break;
        case 'a':
            if (!parse_seconds_ns(optarg, &s->opt.allocate_nsec))
                return false;
            break;
        case 'n':
            s->opt.no_rate_limit = true;
            break;
        case 'f':
            s->ready_fd = (int)strtol(optarg, NULL, 10);
            break;
        default:
            return false;
        }
    }
    return s->opt.dir && s->control && optind == argc;
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

int
sim_kubelet_main(int argc, char **argv)
{
    struct settings s = {.ready_fd = -1};
    struct sim_kubelet_control *c = NULL;
    struct sim_kubelet *k = NULL;
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
