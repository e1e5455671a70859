/* SPDX-License-Identifier: Apache-2.0
 *
 * Runtime stand-in: Kata's shim of a pod, as a child process (`pgpu-sim kata --hold`). It reports
 * one line, keeps the VFIO nodes open until its standard input ends, and frees them by ending.
 */
#include "sim/runtime_priv.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGS_MAX 32
#define REPORT_MAX 65536
#define END_USEC ((uint64_t)10 * 1000 * 1000) /* then it is killed */

struct rt_vmm {
    struct sim_runtime *rt;
    pid_t pid;
    bool over;
    int in, out; /* its standard input and output */
    sd_event_source *child, *report, *timer;
    struct buf text;
    struct json_object *said;
    struct rt_op *op; /* waits for the report or the end */
    bool ending;      /* what it waits for */
};

void
rt_vmm_free(struct rt_vmm *v)
{
    if (!v)
        return;
    sd_event_source_disable_unref(v->report);
    sd_event_source_disable_unref(v->timer);
    sd_event_source_disable_unref(v->child);
    if (!v->over && v->pid > 0) {
        (void)kill(v->pid, SIGKILL);
        (void)waitpid(v->pid, NULL, 0);
    }
    fd_close(&v->in);
    fd_close(&v->out);
    buf_fini(&v->text);
    json_object_put(v->said);
    free(v);
}

struct json_object *
rt_vmm_json(const struct rt_vmm *v)
{
    struct json_object *o = json_object_new_object();

    json_object_object_add(o, "pid", json_object_new_int64(v->pid));
    json_object_object_add(o, "running", json_object_new_boolean(!v->over));
    if (v->said)
        json_object_object_add(o, "report", json_object_get(v->said));
    return o;
}

/* ---- the report ---- */

static void
reported(struct rt_vmm *v)
{
    struct json_object *ok = v->said ? json_object_object_get(v->said, "ok") : NULL;
    struct rt_op *op = v->op;
    const char *why;

    if (!op || v->ending)
        return;
    v->op = NULL;
    v->report = sd_event_source_disable_unref(v->report);
    op->vmm = json_object_get(v->said);
    if (json_object_get_boolean(ok)) {
        rt_op_next(op);
        return;
    }
    why = v->said ? json_object_get_string(json_object_object_get(v->said, "error")) : NULL;
    rt_op_fail(op, "vmm", NULL, NULL, "failed to start sandbox: %s",
               why ? why : "Kata's shim ended without a word");
}

static int
on_report(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
    struct rt_vmm *v = userdata;
    char chunk[4096];
    ssize_t n = read(fd, chunk, sizeof(chunk));
    const char *text;

    (void)s;
    (void)revents;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n > 0 && buf_put(&v->text, chunk, (size_t)n) && !memchr(chunk, '\n', (size_t)n))
        return 0;
    text = buf_cstr(&v->text);
    v->said = text ? json_tokener_parse(text) : NULL;
    reported(v);
    return 0;
}

static int
on_exit_(sd_event_source *s, const siginfo_t *si, void *userdata)
{
    struct rt_vmm *v = userdata;
    struct rt_op *op = v->op;

    (void)s;
    (void)si;
    v->over = true;
    if (!v->ending)
        return 0; /* the end of its output says what has to be said */
    v->op = NULL;
    (void)sd_event_source_set_enabled(v->timer, SD_EVENT_OFF);
    if (op)
        rt_op_next(op);
    return 0;
}

static int
on_late(sd_event_source *s, uint64_t usec, void *userdata)
{
    struct rt_vmm *v = userdata;

    (void)s;
    (void)usec;
    if (!v->over)
        (void)kill(v->pid, SIGKILL);
    return 0;
}

/* ---- start ---- */

/* By its name: started as /proc/self/exe it would be shown as "exe" to whoever looks for holders.
 */
static const char *
self_path(char *buf, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", buf, size - 1);

    if (n <= 0)
        return "/proc/self/exe";
    buf[n] = '\0';
    return buf;
}

static int
run(struct rt_vmm *v, const struct rt_op *op, struct err *e)
{
    const struct sim_runtime_options *o = &v->rt->opt;
    char self[4096];
    const char *program = o->kata ? o->kata : self_path(self, sizeof(self));
    char pod[RT_NAME_MAX * 2];
    const char *argv[ARGS_MAX] = {"pgpu-sim",        "kata",           "--hold",
                                  "--pod-resources", o->pod_resources, "--root",
                                  o->root,           "--pod",          pod};
    int in[2], out[2], r;
    size_t n = 9;

    (void)snprintf(pod, sizeof(pod), "%s/%s", op->pod->ns, op->pod->name);
    for (size_t i = 0; i < o->n_cdi; i++) {
        argv[n++] = "--cdi";
        argv[n++] = o->cdi[i];
    }
    if (op->confidential)
        argv[n++] = "--confidential";
    argv[n] = NULL;
    if (pipe2(in, O_CLOEXEC) < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "pipe to Kata's shim");
    v->in = in[1];
    if (pipe2(out, O_CLOEXEC) < 0) {
        (void)close(in[0]);
        return err_errno(e, errno, ERR_CLASS_FATAL, "pipe from Kata's shim");
    }
    v->out = out[0];
    r = rt_spawn(program, (char *const *)(void *)argv, environ, (const int[]){in[0], out[1], 2, -1},
                 &v->pid, e);
    (void)close(in[0]);
    (void)close(out[1]);
    return r;
}

static int
start(struct rt_vmm *v, const struct rt_op *op, struct err *e)
{
    sd_event *loop = v->rt->loop;
    int r;

    if (!v->rt->opt.pod_resources || !v->rt->opt.root || v->rt->opt.n_cdi == 0)
        return err_set(e, EINVAL, ERR_CLASS_INVALID,
                       "a VM needs --pod-resources, --root and --cdi-dir");
    if (run(v, op, e) < 0)
        return -e->num;
    r = sd_event_add_child(loop, &v->child, v->pid, WEXITED, on_exit_, v);
    if (r >= 0)
        r = sd_event_add_io(loop, &v->report, v->out, EPOLLIN, on_report, v);
    if (r >= 0)
        r = sd_event_add_time(loop, &v->timer, CLOCK_MONOTONIC, 0, 1000, on_late, v);
    if (r >= 0)
        r = sd_event_source_set_enabled(v->timer, SD_EVENT_OFF);
    return r < 0 ? err_errno(e, -r, ERR_CLASS_FATAL, "watch Kata's shim") : 0;
}

void
rt_vmm_start(struct rt_op *op)
{
    struct rt_vmm *v = calloc(1, sizeof(*v));
    struct err e = ERR_INIT;

    if (!v) {
        rt_op_fail(op, "vmm", NULL, NULL, "out of memory");
        return;
    }
    *v = (struct rt_vmm){.rt = op->rt, .in = -1, .out = -1};
    buf_init(&v->text, REPORT_MAX);
    if (start(v, op, &e) < 0) {
        rt_vmm_free(v);
        rt_op_fail(op, "vmm", NULL, NULL, "failed to start sandbox: %s", e.msg);
        return;
    }
    v->op = op;
    op->pod->vmm = v;
}

/* ---- end ---- */

void
rt_vmm_stop(struct rt_op *op, int sig)
{
    struct rt_vmm *v = op->pod->vmm;

    if (!v || v->over) {
        rt_op_next(op);
        return;
    }
    v->op = op;
    v->ending = true;
    if (sig)
        (void)kill(v->pid, sig);
    else
        fd_close(&v->in);
    (void)sd_event_source_set_time(v->timer, rt_now() + END_USEC);
    (void)sd_event_source_set_enabled(v->timer, SD_EVENT_ONESHOT);
}
