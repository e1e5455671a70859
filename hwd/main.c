/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpu-hwd: command line of the hardware service. Exit status 0, 1 (failed), 2 (wrong usage or
 * configuration).
 */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "hwd/service.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef PGPU_VERSION
#define PGPU_VERSION "unknown"
#endif

static const char usage[] =
    "usage: pgpu-hwd [options]\n"
    "The hardware service of pgpu: the only program that binds, switches, resets and verifies\n"
    "GPUs. It obeys typed requests on its socket, within the limits of its own configuration.\n"
    "\n"
    "  --socket PATH         listen here (default " HWD_SOCKET_DEFAULT "); the directory\n"
    "                        must be ours and closed to others (0700); it is made if missing\n"
    "  --config FILE         YAML or JSON; without it every key has its default\n"
    "  --root DIR            hardware below DIR/sys and DIR/dev (default /)\n"
    "  --uevent-socket PATH  kernel events of a simulated node\n"
    "  --log-format FORMAT   logfmt or json\n"
    "  --log-level LEVEL     debug, info, warn or error\n"
    "  --ready-fd N          write \"ready\" to descriptor N when serving\n"
    "  --check-config        check the configuration and leave\n"
    "  --print-config        print the effective configuration and leave\n"
    "  --version, --help\n";

struct options {
    const char *socket, *config, *root, *uevents, *log_format, *log_level;
    int ready_fd;
    bool check, print;
};

enum {
    O_SOCKET = 1,
    O_CONFIG,
    O_ROOT,
    O_UEVENTS,
    O_FORMAT,
    O_LEVEL,
    O_READY,
    O_CHECK,
    O_PRINT,
    O_VERSION,
    O_HELP
};

static bool
parse_fd(const char *s, int *ret)
{
    char *end;
    long v;

    errno = 0;
    v = strtol(s, &end, 10);
    if (errno || !*s || *end || v < 0 || v > 1 << 20 || fcntl((int)v, F_GETFD) < 0)
        return false;
    *ret = (int)v;
    return true;
}

/* -1: go on; else the exit status. */
static int
parse(int argc, char **argv, struct options *o)
{
    static const struct option opts[] = {
        {"socket", required_argument, NULL, O_SOCKET},
        {"config", required_argument, NULL, O_CONFIG},
        {"root", required_argument, NULL, O_ROOT},
        {"uevent-socket", required_argument, NULL, O_UEVENTS},
        {"log-format", required_argument, NULL, O_FORMAT},
        {"log-level", required_argument, NULL, O_LEVEL},
        {"ready-fd", required_argument, NULL, O_READY},
        {"check-config", no_argument, NULL, O_CHECK},
        {"print-config", no_argument, NULL, O_PRINT},
        {"version", no_argument, NULL, O_VERSION},
        {"help", no_argument, NULL, O_HELP},
        {NULL, 0, NULL, 0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "", opts, NULL)) != -1) {
        switch (c) {
        case O_SOCKET:
            o->socket = optarg;
            break;
        case O_CONFIG:
            o->config = optarg;
            break;
        case O_ROOT:
            o->root = optarg;
            break;
        case O_UEVENTS:
            o->uevents = optarg;
            break;
        case O_FORMAT:
            o->log_format = optarg;
            break;
        case O_LEVEL:
            o->log_level = optarg;
            break;
        case O_READY:
            if (!parse_fd(optarg, &o->ready_fd)) {
                (void)fprintf(stderr, "pgpu-hwd: --ready-fd %s: not an open descriptor\n", optarg);
                return 2;
            }
            break;
        case O_CHECK:
            o->check = true;
            break;
        case O_PRINT:
            o->print = true;
            break;
        case O_VERSION:
            (void)puts("pgpu-hwd " PGPU_VERSION);
            return 0;
        case O_HELP:
            (void)fputs(usage, stdout);
            return 0;
        default:
            (void)fputs("pgpu-hwd: see --help\n", stderr);
            return 2;
        }
    }
    if (optind < argc) {
        (void)fprintf(stderr, "pgpu-hwd: unexpected argument \"%s\", see --help\n", argv[optind]);
        return 2;
    }
    return -1;
}

static int
init_log(const struct options *o, const struct hwd_config *cfg)
{
    enum log_format f = (enum log_format)cfg->log.format;
    enum log_level l = (enum log_level)cfg->log.level;

    if ((o->log_format && !log_format_from_name(o->log_format, &f)) ||
        (o->log_level && !log_level_from_name(o->log_level, &l))) {
        (void)fputs("pgpu-hwd: --log-format is logfmt or json, --log-level is debug, info, warn or "
                    "error\n",
                    stderr);
        return 2;
    }
    log_init("pgpu-hwd", f, l);
    return 0;
}

static int
print_config(const struct hwd_config *cfg)
{
    struct buf b;
    const char *text;
    int rc = 1;

    buf_init(&b, 64 * 1024);
    conf_print(hwd_config_keys, cfg, &b);
    text = buf_cstr(&b);
    if (text && !buf_failed(&b) && fputs(text, stdout) >= 0)
        rc = 0;
    buf_fini(&b);
    return rc;
}

/* Descriptors 0 to 2 must be taken, or a socket could end up where somebody writes messages. */
static void
fill_stdio(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    } while (fd >= 0 && fd <= 2);
    if (fd > 2)
        (void)close(fd);
}

static int
serve(const struct options *o, const struct hwd_config *cfg)
{
    struct fs_root root;
    struct err e = ERR_INIT;
    int r = fs_root_open(&root, o->root, &e);

    if (r >= 0) {
        const struct hwd_service_params p = {
            .root = &root,
            .cfg = cfg,
            .socket = o->socket,
            .uevent_socket = o->uevents,
            .ready_fd = o->ready_fd,
        };

        r = hwd_service_run(&p, &e);
        fs_root_close(&root);
    }
    if (r < 0) {
        if (e.reason == REASON_NONE && (e.num == EACCES || e.num == EPERM))
            e.reason = REASON_PERMISSION;
        log_error("giving up", "error", e.msg, "cure", reason_cure(e.reason));
        return 1;
    }
    log_info("stopped");
    return 0;
}

int
main(int argc, char **argv)
{
    struct options o = {.socket = HWD_SOCKET_DEFAULT, .root = "/", .ready_fd = -1};
    struct hwd_config cfg = {0};
    struct err e = ERR_INIT;
    int rc;

    fill_stdio();
    rc = parse(argc, argv, &o);
    if (rc >= 0)
        return rc;
    log_init("pgpu-hwd", LOG_FMT_LOGFMT, LOG_LVL_INFO);
    if (hwd_config_load(o.config, &cfg, &e) < 0) {
        log_error("bad configuration", "error", e.msg);
        return 2;
    }
    rc = init_log(&o, &cfg);
    if (rc == 0 && o.print)
        rc = print_config(&cfg);
    else if (rc == 0 && !o.check)
        rc = serve(&o, &cfg);
    hwd_config_free(&cfg);
    return rc;
}
