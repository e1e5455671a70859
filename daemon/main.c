/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpud: options, start order, the loop. The order matters: signals are blocked and everything that
 * forks has forked before gRPC starts its threads.
 */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/log.h"
#include "daemon/config_request.h"
#include "daemon/confine.h"
#include "daemon/control.h"
#include "daemon/metrics.h"
#include "daemon/node.h"
#include "daemon/pages.h"
#include "daemon/services.h"
#include "daemon/usage.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define SPAWN_ARGS_MAX 32

struct options {
    const char *config;
    const char *spawn_hwd;
    bool check, print;
    int ready_fd;
};

static int
parse_options(int argc, char **argv, struct options *o)
{
    struct usage_args a;
    int rc = usage_parse(&pgpud_usage, argc, argv, &a);
    const char *fd;

    if (rc >= 0)
        return rc;
    o->config = usage_value(&a, "--config", NULL);
    o->check = usage_flag(&a, "--check-config");
    o->print = usage_flag(&a, "--print-config");
    o->spawn_hwd = usage_value(&a, "--spawn-hwd", NULL);
    fd = usage_value(&a, "--ready-fd", NULL);
    if (fd) {
        char *end;
        long v = strtol(fd, &end, 10);

        if (!*fd || *end || v < 0 || v > 65535)
            return usage_wrong(&a, "--ready-fd %s: not a descriptor number", fd);
        o->ready_fd = (int)v;
    }
    return -1;
}

/* One instance per state directory: a second one would fight over the kubelet's registration. */
static int
take_lock(const struct config *c, struct err *e)
{
    char path[300];
    int r = fs_mkdirs(c->state_dir, 0700, e);

    if (r < 0)
        return r;
    (void)snprintf(path, sizeof(path), "%s/pgpud.lock", c->state_dir);
    _cleanup_fd_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "open %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return err_set(e, EBUSY, ERR_CLASS_FATAL,
                       "another pgpud is running (it holds %s); stop it first", path);
    return take_fd(&fd);
}

static int
spawn_hwd(const char *args, pid_t *ret, struct err *e)
{
    const char *program = getenv("PGPU_HWD");
    char *argv[SPAWN_ARGS_MAX + 2];
    _cleanup_free_ char *copy = strdup(args);
    char *save = NULL;
    size_t n = 0;
    posix_spawnattr_t attr;
    sigset_t none;
    int r;

    if (!copy)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "start pgpu-hwd");
    argv[n++] = (char *)(uintptr_t)(program ? program : "pgpu-hwd");
    for (char *a = strtok_r(copy, " ", &save); a; a = strtok_r(NULL, " ", &save)) {
        if (n > SPAWN_ARGS_MAX)
            return err_set(e, E2BIG, ERR_CLASS_INVALID, "--spawn-hwd: more than %d arguments",
                           SPAWN_ARGS_MAX);
        argv[n++] = a;
    }
    argv[n] = NULL;
    (void)sigemptyset(&none);
    (void)posix_spawnattr_init(&attr);
    (void)posix_spawnattr_setsigmask(&attr, &none);
    (void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    r = posix_spawnp(ret, argv[0], NULL, &attr, argv, environ);
    (void)posix_spawnattr_destroy(&attr);
    if (r != 0)
        return err_errno(e, r, ERR_CLASS_FATAL, "start %s", argv[0]);
    log_warn("pgpu-hwd runs as a child: for development only", "pid", LOG_NUM(*ret));
    return 0;
}

static void
say_ready(int fd)
{
    (void)sd_notify(0, "READY=1");
    if (fd >= 0) {
        (void)!write(fd, "ready\n", 6);
        (void)close(fd);
    }
}

static void
tell_start(struct node *n)
{
    act_tell(
        &n->acts,
        &(struct act){.kind = ACT_START, .ok = true, .mode = n->mode.wanted, .text = PGPU_VERSION});
    if (n->conf->unlock_devtools)
        act_tell(&n->acts, &(struct act){.kind = ACT_UNLOCK,
                                         .what = "devtools",
                                         .ok = true,
                                         .text = "unlock_devtools is set: GPUs in this mode "
                                                 "protect nothing"});
}

static int
run(const struct options *o, const struct config *conf, struct err *e)
{
    sd_event *loop = NULL;
    struct node *node = NULL;
    struct control *control = NULL;
    struct services services = {0};
    struct meters *meters;
    pid_t hwd = 0;
    sigset_t mask;
    int r;
    _cleanup_fd_ int lock = take_lock(conf, e);

    if (lock < 0)
        return lock;
    /* 1. block signals in every thread to come, 2. fork, 3. give up power, 4. only then gRPC */
    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, SIGTERM);
    (void)sigaddset(&mask, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &mask, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    if (o->spawn_hwd) {
        r = spawn_hwd(o->spawn_hwd, &hwd, e);
        if (r < 0)
            return r;
    }
    labels_prepare(conf);
    confine_enter(conf);
    r = sd_event_default(&loop);
    if (r >= 0)
        (void)sd_event_set_watchdog(loop, true); /* only where systemd asks for it */
    if (r < 0 || (r = sd_event_add_signal(loop, NULL, SIGTERM, NULL, NULL)) < 0 ||
        (r = sd_event_add_signal(loop, NULL, SIGINT, NULL, NULL)) < 0)
        r = err_errno(e, -r, ERR_CLASS_FATAL, "event loop");
    if (r >= 0)
        r = node_new(loop, conf, &node, e);
    if (r >= 0)
        r = control_new(loop, conf->control_socket, node, &control, e);
    if (r >= 0)
        r = pages_new(node, control, o->config, e);
    if (r >= 0)
        control_add(control, config_requests, (void *)(uintptr_t)conf);
    if (r >= 0)
        r = services_start(&services, node, control, e);
    if (r >= 0)
        control_add(control, mode_requests, node);
    if (r >= 0) {
        log_info("pgpud is running", "version", PGPU_VERSION, "mode",
                 cc_mode_name(node->mode.wanted), "prepare",
                 conf->prepare == PREPARE_EAGER ? "eager" : "allocate", "manage",
                 conf->manage == MANAGE_FULL ? "full" : "verify");
        tell_start(node);
        say_ready(o->ready_fd);
        r = sd_event_loop(loop);
        if (r < 0)
            (void)err_errno(e, -r, ERR_CLASS_FATAL, "event loop");
        else
            log_info("pgpud is stopping: the node stays as it is");
        act_tell(&node->acts, &(struct act){.kind = ACT_STOP, .ok = r >= 0});
    }
    (void)sd_notify(0, "STOPPING=1");
    control_free(control);
    pages_stop(node);
    meters = node ? node->meters : NULL;
    node_free(node); /* ends the Allocates under way, and tells: the listeners outlive it */
    meters_free(meters);
    services_stop(&services);
    (void)sd_event_unref(loop);
    if (hwd > 0)
        (void)kill(hwd, SIGTERM);
    return r < 0 ? r : 0;
}

int
main(int argc, char **argv)
{
    struct options o = {.ready_fd = -1};
    struct config conf = {0};
    struct err e = ERR_INIT;
    int r = parse_options(argc, argv, &o);

    if (r >= 0)
        return r;
    if (config_load(o.config, &conf, &e) < 0) {
        (void)fprintf(stderr, "pgpud: %s\n", e.msg);
        return 2;
    }
    log_init("pgpud", (enum log_format)conf.log.format, (enum log_level)conf.log.level);
    if (o.print) {
        struct buf out;

        buf_init(&out, 1u << 20);
        conf_print(config_keys, &conf, &out);
        (void)fwrite(buf_peek(&out), 1, buf_left(&out), stdout);
        buf_fini(&out);
    } else if (o.check) {
        (void)printf("%s: good\n", o.config ? o.config : "defaults");
    } else {
        r = run(&o, &conf, &e);
        if (r < 0) {
            if (e.reason == REASON_NONE && (e.num == EACCES || e.num == EPERM))
                e.reason = REASON_PERMISSION;
            (void)fprintf(stderr, "pgpud: %s%s%s\n", e.msg, e.reason ? ": " : "",
                          reason_cure(e.reason));
        }
    }
    config_free(&conf);
    return r < 0 && e.cls != ERR_CLASS_NONE ? 1 : 0;
}
