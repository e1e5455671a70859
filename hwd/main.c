/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpu-hwd: command line of the hardware service. Exit status 0, 1 (failed), 2 (wrong usage or
 * configuration).
 */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "hwd/service.h"
#include "hwd/usage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct options {
    const char *socket, *config, *root, *uevents, *log_format, *log_level;
    int ready_fd;
    bool check, print;
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
take(struct options *o, const struct usage_args *a, enum hwd_option opt, const char *value)
{
    switch (opt) {
    case HWD_O_SOCKET:
        o->socket = value;
        break;
    case HWD_O_CONFIG:
        o->config = value;
        break;
    case HWD_O_ROOT:
        o->root = value;
        break;
    case HWD_O_UEVENTS:
        o->uevents = value;
        break;
    case HWD_O_LOG_FORMAT:
        o->log_format = value;
        break;
    case HWD_O_LOG_LEVEL:
        o->log_level = value;
        break;
    case HWD_O_READY_FD:
        if (!parse_fd(value, &o->ready_fd))
            return usage_wrong(a, "--ready-fd %s: not an open descriptor", value);
        break;
    case HWD_O_CHECK:
        o->check = true;
        break;
    case HWD_O_PRINT:
        o->print = true;
        break;
    case HWD_O_END:
        break;
    }
    return -1;
}

static int
parse(int argc, char **argv, struct options *o)
{
    struct usage_args a;
    int rc = usage_parse(&hwd_usage, argc, argv, &a);

    for (unsigned i = 0; rc < 0 && i < a.n_opts; i++)
        rc = take(o, &a, (enum hwd_option)(a.opt[i].opt - hwd_usage.opts), a.opt[i].value);
    return rc;
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
