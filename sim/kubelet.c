/* SPDX-License-Identifier: Apache-2.0
 *
 * Kubelet stand-in: life, sockets, restart, violations.
 */
#include "base/cleanup.h"
#include "base/fs.h"
#include "sim/kubelet_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- ID sets ---- */

void
ids_free(struct ids *s)
{
    free(s->v);
    *s = (struct ids){0};
}

static size_t
ids_find(const struct ids *s, const char *id)
{
    size_t i = 0;

    while (i < s->n && strcmp(s->v[i], id) != 0)
        i++;
    return i;
}

bool
ids_has(const struct ids *s, const char *id)
{
    return ids_find(s, id) < s->n;
}

bool
ids_add(struct ids *s, const char *id)
{
    if (ids_has(s, id))
        return true;
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 8;
        void *v = realloc(s->v, cap * sizeof(s->v[0]));

        if (!v)
            return false;
        s->v = v;
        s->cap = cap;
    }
    (void)str_copy(s->v[s->n], sizeof(s->v[0]), id);
    s->n++;
    return true;
}

void
ids_del(struct ids *s, const char *id)
{
    size_t i = ids_find(s, id);

    if (i == s->n)
        return;
    memmove(&s->v[i], &s->v[i + 1], (s->n - i - 1) * sizeof(s->v[0]));
    s->n--;
}

struct json_object *
ids_json(const struct ids *s)
{
    struct json_object *a = json_object_new_array();

    for (size_t i = 0; i < s->n; i++)
        json_object_array_add(a, json_object_new_string(s->v[i]));
    return a;
}

/* ---- small things ---- */

uint64_t
kube_now(const struct sim_kubelet *k)
{
    struct timespec ts;
    uint64_t usec;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    usec = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
    return usec - k->start_usec;
}

static void format(char *buf, size_t size, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));

static void
format(char *buf, size_t size, const char *fmt, va_list ap)
{
    (void)vsnprintf(buf, size, fmt, ap);
}

struct json_object *
kube_ms(uint64_t usec)
{
    char text[32];

    (void)snprintf(text, sizeof(text), "%" PRIu64 ".%03u", usec / 1000, (unsigned)(usec % 1000));
    return json_object_new_double_s((double)usec / 1000, text);
}

void
kube_violation(struct sim_kubelet *k, const char *fmt, ...)
{
    struct json_object *o = json_object_new_object();
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    format(text, sizeof(text), fmt, ap);
    va_end(ap);
    json_object_object_add(o, "ms", kube_ms(kube_now(k)));
    json_object_object_add(o, "text", json_object_new_string(text));
    if (json_object_array_length(k->violations) < KUBE_VIOLATIONS_MAX)
        json_object_array_add(k->violations, o);
    else
        json_object_put(o);
}

size_t
sim_kubelet_violations(const struct sim_kubelet *k)
{
    return json_object_array_length(k->violations);
}

struct json_object *
kube_error(const char *fmt, ...)
{
    struct json_object *o = json_object_new_object();
    char text[2048];
    va_list ap;

    va_start(ap, fmt);
    format(text, sizeof(text), fmt, ap);
    va_end(ap);
    json_object_object_add(o, "ok", json_object_new_boolean(false));
    json_object_object_add(o, "error", json_object_new_string(text));
    return o;
}

void
kube_answer(sim_kubelet_done done, void *ctx, struct json_object *answer)
{
    done(ctx, answer);
    json_object_put(answer);
}

/* ---- sockets ---- */

/* As the device manager at start: sockets go, everything else stays. */
static void
wipe_sockets(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *de;
    struct stat st;

    if (!d)
        return;
    while ((de = readdir(d)))
        if (fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(st.st_mode))
            (void)unlinkat(dirfd(d), de->d_name, 0);
    (void)closedir(d);
}

static int
join(char *buf, size_t size, const char *dir, const char *name, struct err *e)
{
    int n = snprintf(buf, size, "%s/%s", dir, name);

    if (n < 0 || (size_t)n >= size)
        return err_set(e, ENAMETOOLONG, ERR_CLASS_INVALID, "directory %s: too long for a socket",
                       dir);
    return 0;
}

static int
listen_all(struct sim_kubelet *k, struct err *e)
{
    char path[GIO_PATH_MAX + 1];

    wipe_sockets(k->plugins);
    if (join(path, sizeof(path), k->plugins, "kubelet.sock", e) < 0 ||
        gio_server_new(k->io, path, kube_registration_methods,
                       ARRAY_SIZE(kube_registration_methods), k, &k->registration, e) < 0)
        return -e->num;
    if (gio_server_new(k->io, k->pods_sock, kube_pods_methods, ARRAY_SIZE(kube_pods_methods), k,
                       &k->pod_resources, e) < 0)
        return -e->num;
    k->down = false;
    return 0;
}

/* ---- restart ---- */

static void
come_up(struct sim_kubelet *k)
{
    struct json_object *answer;
    struct err e = ERR_INIT;

    k->restarts++;
    if (listen_all(k, &e) < 0) {
        answer = kube_error("%s", e.msg);
    } else {
        answer = json_object_new_object();
        json_object_object_add(answer, "ok", json_object_new_boolean(true));
        json_object_object_add(answer, "restarts", json_object_new_int64(k->restarts));
    }
    kube_answer(k->restart_done, k->restart_ctx, answer);
}

static int
on_up_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
    (void)s;
    (void)usec;
    come_up(userdata);
    return 0;
}

static void
on_server_gone(void *ctx)
{
    struct sim_kubelet *k = ctx;

    if (--k->stopping > 0)
        return;
    if (k->up_after_usec == 0) {
        come_up(k);
        return;
    }
    (void)sd_event_source_set_time_relative(k->up_timer, k->up_after_usec);
    (void)sd_event_source_set_enabled(k->up_timer, SD_EVENT_ONESHOT);
}

void
kube_restart(struct sim_kubelet *k, uint64_t down_usec, sim_kubelet_done done, void *ctx)
{
    if (k->down) {
        kube_answer(done, ctx, kube_error("the kubelet is down already"));
        return;
    }
    k->down = true;
    k->up_after_usec = down_usec;
    k->restart_done = done;
    k->restart_ctx = ctx;
    kube_jobs_abort(k, "the kubelet was restarted");
    kube_forget_plugins(k);
    k->stopping = 2;
    gio_server_stop(k->registration, on_server_gone, k);
    gio_server_stop(k->pod_resources, on_server_gone, k);
    k->registration = k->pod_resources = NULL;
}

/* ---- life ---- */

static int
setup(struct sim_kubelet *k, struct err *e)
{
    char pods[GIO_PATH_MAX + 1];
    int r;

    if (k->opt.dir[0] != '/' || !str_copy(k->dir, sizeof(k->dir), k->opt.dir))
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "directory %s: not an absolute short path",
                       k->opt.dir);
    k->opt.dir = k->dir;
    if (join(k->plugins, sizeof(k->plugins), k->dir, "device-plugins", e) < 0 ||
        join(pods, sizeof(pods), k->dir, "pod-resources", e) < 0 ||
        join(k->pods_sock, sizeof(k->pods_sock), pods, "kubelet.sock", e) < 0)
        return -e->num;
    if (fs_mkdirs(k->plugins, 0750, e) < 0 || fs_mkdirs(pods, 0750, e) < 0)
        return -e->num;
    r = sd_event_add_time_relative(k->loop, &k->up_timer, CLOCK_MONOTONIC, 0, 1000, on_up_timer, k);
    if (r >= 0)
        r = sd_event_source_set_enabled(k->up_timer, SD_EVENT_OFF);
    if (r < 0)
        return err_errno(e, -r, ERR_CLASS_FATAL, "kubelet stand-in: timer");
    if (gio_new(k->loop, &k->io, e) < 0)
        return -e->num;
    return listen_all(k, e);
}

int
sim_kubelet_new(sd_event *loop, const struct sim_kubelet_options *opt, struct sim_kubelet **ret,
                struct err *e)
{
    struct sim_kubelet *k = calloc(1, sizeof(*k));

    if (!k)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "kubelet stand-in: out of memory");
    k->start_usec = kube_now(k);
    k->opt = *opt;
    if (!k->opt.dial_nsec)
        k->opt.dial_nsec = UINT64_C(10000000000);
    k->loop = sd_event_ref(loop);
    k->queue_tail = &k->queue;
    k->violations = json_object_new_array();
    k->tokens = 10;
    if (setup(k, e) < 0) {
        sim_kubelet_free(k);
        return -e->num;
    }
    *ret = k;
    return 0;
}

void
sim_kubelet_free(struct sim_kubelet *k)
{
    if (!k)
        return;
    gio_free(k->io);
    kube_job_free(k->job);
    for (struct kube_job *j = k->queue, *next; j; j = next) {
        next = j->next;
        kube_job_free(j);
    }
    for (struct kube_pod *p = k->pods, *next; p; p = next) {
        next = p->next;
        kube_pod_free(p);
    }
    for (struct kube_resource *r = k->resources, *next; r; r = next) {
        next = r->next;
        kube_resource_free(r);
    }
    for (struct kube_client *c = k->clients, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    for (size_t i = 0; i < KUBE_WAITS_MAX; i++)
        sd_event_source_disable_unref(k->waits[i].timer);
    sd_event_source_disable_unref(k->up_timer);
    sd_event_unref(k->loop);
    json_object_put(k->violations);
    free(k);
}
