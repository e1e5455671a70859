/* SPDX-License-Identifier: Apache-2.0
 *
 * See rig.h.
 */
#include "tests/sim/deviceplugin/rig.h"

#include "base/fs.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static uint64_t
now_usec(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* ---- the handler of the plugin ---- */

static void
answer(struct dp_call *call, const struct dp_container_request *req, size_t n_req)
{
    struct dp_container_response resp[4] = {0};
    struct dp_device_spec spec[4][8];
    char cdi[4][8][256];

    for (size_t i = 0; i < n_req && i < 4; i++) {
        for (size_t j = 0; j < req[i].n_ids && j < 8; j++) {
            memset(&spec[i][j], 0, sizeof(spec[i][j]));
            (void)snprintf(spec[i][j].host_path, sizeof(spec[i][j].host_path),
                           "/dev/vfio/devices/vfio%zu", j);
            (void)str_copy(spec[i][j].container_path, sizeof(spec[i][j].container_path),
                           spec[i][j].host_path);
            (void)str_copy(spec[i][j].permissions, sizeof(spec[i][j].permissions), "mrw");
            (void)snprintf(cdi[i][j], sizeof(cdi[i][j]), "%s=%s", GPU, req[i].ids[j]);
        }
        resp[i].n_devices = resp[i].n_cdi = req[i].n_ids;
        resp[i].devices = spec[i];
        resp[i].cdi = cdi[i];
    }
    dp_reply(call, resp, n_req);
}

static void
on_allocate(void *ctx, struct dp_call *call, const char *resource,
            const struct dp_container_request *req, size_t n_req)
{
    struct rig *t = ctx;
    struct err e = ERR_INIT;

    (void)resource;
    t->n_allocates++;
    if (strstr(req[0].ids[0], "bad")) {
        (void)err_reason(&e, EIO, ERR_CLASS_HW, REASON_FSP_SILENT, "%s: does\nnot answer",
                         req[0].ids[0]);
        dp_fail(call, &e);
    } else if (t->defer) {
        assert_true(t->n_waiting < RIG_CALLS);
        (void)str_copy(t->waiting_id[t->n_waiting], DP_ID_MAX, req[0].ids[0]);
        t->waiting[t->n_waiting++] = call;
    } else {
        answer(call, req, n_req);
    }
}

/* `must` first, then from the end of `available`, so that the choice is seen to be ours. */
static size_t
on_prefer(void *ctx, const char *resource, const char *const *available, size_t n_available,
          const char *const *must, size_t n_must, size_t size, const char **ret)
{
    struct rig *t = ctx;
    size_t n = 0;

    (void)resource;
    t->n_prefers++;
    while (n < size && n < n_must) {
        ret[n] = must[n];
        n++;
    }
    while (n < size && n_available > 0)
        ret[n++] = available[--n_available];
    return n;
}

static void
on_cancelled(void *ctx, struct dp_call *call)
{
    struct rig *t = ctx;

    (void)call;
    t->n_cancelled++;
}

static void
on_link(void *ctx, const char *resource, enum dp_link link, const char *why)
{
    struct rig *t = ctx;

    if (strcmp(resource, GPU) != 0)
        return;
    t->link = link;
    t->n_links_up += link == DP_LINK_STREAMING ? 1 : 0;
    if (why[0])
        (void)snprintf(t->why, sizeof(t->why), "%s", why);
}

/* ---- life ---- */

void
rig_init(struct rig *t)
{
    memset(t, 0, sizeof(*t));
    (void)str_copy(t->dir, sizeof(t->dir), "/tmp/pgpu-dp-XXXXXX");
    assert_non_null(mkdtemp(t->dir));
    (void)snprintf(t->plugins, sizeof(t->plugins), "%s/device-plugins", t->dir);
    (void)snprintf(t->pods_sock, sizeof(t->pods_sock), "%s/pod-resources/kubelet.sock", t->dir);
    (void)snprintf(t->kubelet_sock, sizeof(t->kubelet_sock), "%s/kubelet.sock", t->plugins);
    assert_true(sd_event_new(&t->loop) >= 0);
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void
rig_fini(struct rig *t)
{
    dp_free(t->dp);
    sim_kubelet_free(t->k);
    sd_event_unref(t->loop);
    (void)nftw(t->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

void
rig_kubelet(struct rig *t, bool race)
{
    const struct sim_kubelet_options o = {
        .dir = t->dir, .race = race, .dial_nsec = UINT64_C(1000000000), .no_rate_limit = true};
    struct err e = ERR_INIT;

    if (sim_kubelet_new(t->loop, &o, &t->k, &e) < 0)
        fail_msg("%s", e.msg);
}

void
rig_plugin(struct rig *t)
{
    const struct dp_options o = {.plugin_dir = t->plugins, .socket_prefix = "pgpu"};
    const struct dp_handler h = {.allocate = on_allocate,
                                 .prefer = on_prefer,
                                 .cancelled = on_cancelled,
                                 .link = on_link,
                                 .ctx = t};
    struct err e = ERR_INIT;

    if (dp_new(t->loop, &o, &h, &t->dp, &e) < 0)
        fail_msg("%s", e.msg);
}

void
rig_list(struct rig *t, const char *resource, size_t n, size_t unhealthy_from)
{
    struct dp_device dev[16] = {0};
    struct err e = ERR_INIT;

    for (size_t i = 0; i < n; i++) {
        (void)snprintf(dev[i].id, sizeof(dev[i].id), "0000:%s%zu:00.0",
                       strcmp(resource, GPU) == 0 ? "4" : "8", i);
        dev[i].healthy = i < unhealthy_from;
        dev[i].numa_node = (int)(i % 3) - 1;
    }
    if (dp_set_devices(t->dp, resource, dev, n, &e) < 0)
        fail_msg("%s", e.msg);
}

void
rig_resource(struct rig *t, const char *resource, size_t n)
{
    struct err e = ERR_INIT;

    if (dp_add_resource(t->dp, resource, &e) < 0)
        fail_msg("%s", e.msg);
    rig_list(t, resource, n, n);
}

/* ---- running ---- */

void
rig_until(struct rig *t, bool (*over)(struct rig *t), double seconds)
{
    uint64_t end = now_usec() + (uint64_t)(seconds * 1e6);

    while (!over(t)) {
        if (now_usec() > end)
            fail_msg("time is up after %.1f s (link %d, last reason: %s)", seconds, (int)t->link,
                     t->why);
        (void)sd_event_run(t->loop, 20000);
    }
}

void
rig_run(struct rig *t, double seconds)
{
    uint64_t end = now_usec() + (uint64_t)(seconds * 1e6);

    while (now_usec() < end)
        (void)sd_event_run(t->loop, 10000);
}

static void
on_answer(void *ctx, struct json_object *o)
{
    struct rig_answer *a = ctx;

    a->o = json_object_get(o);
}

void
rig_start(struct rig *t, struct rig_answer *a, const char *line)
{
    a->o = NULL;
    sim_kubelet_command(t->k, line, on_answer, a);
}

struct json_object *
rig_wait(struct rig *t, struct rig_answer *a, double seconds)
{
    uint64_t end = now_usec() + (uint64_t)(seconds * 1e6);

    while (!a->o) {
        if (now_usec() > end)
            fail_msg("no answer after %.1f s (link %d, last reason: %s)", seconds, (int)t->link,
                     t->why);
        (void)sd_event_run(t->loop, 20000);
    }
    return a->o;
}

struct json_object *
rig_ask(struct rig *t, const char *fmt, ...)
{
    struct rig_answer a;
    char line[512];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    rig_start(t, &a, line);
    return rig_wait(t, &a, 20);
}

void
rig_ok(struct rig *t, const char *fmt, ...)
{
    struct json_object *o;
    char line[512];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    o = rig_ask(t, "%s", line);
    if (!json_object_get_boolean(json_object_object_get(o, "ok")))
        fail_msg("%s: %s (last reason: %s)", line, json_object_to_json_string(o), t->why);
    json_object_put(o);
}

const char *
rig_text(struct json_object *o, const char *key)
{
    const char *s = json_object_get_string(json_object_object_get(o, key));

    return s ? s : "";
}

int64_t
rig_status(struct rig *t, const char *resource, const char *key)
{
    struct json_object *o = rig_ask(t, "status"), *list = json_object_object_get(o, "resources");
    int64_t v = -1;

    for (size_t i = 0; i < json_object_array_length(list); i++) {
        struct json_object *r = json_object_array_get_idx(list, i);

        if (strcmp(rig_text(r, "name"), resource) == 0)
            v = json_object_get_int64(json_object_object_get(r, key));
    }
    json_object_put(o);
    return v;
}

/* ---- looking ---- */

static size_t
count_dir(const char *path, const char *prefix, char *first, size_t size)
{
    DIR *d = opendir(path);
    struct dirent *de;
    size_t n = 0;

    while (d && (de = readdir(d)))
        if (strncmp(de->d_name, prefix, strlen(prefix)) == 0 && strcmp(de->d_name, ".") != 0 &&
            strcmp(de->d_name, "..") != 0 && n++ == 0 && first)
            (void)snprintf(first, size, "%s/%s", path, de->d_name);
    if (d)
        (void)closedir(d);
    return n;
}

size_t
rig_sockets(const struct rig *t)
{
    return count_dir(t->plugins, "pgpu-", NULL, 0);
}

bool
rig_socket(const struct rig *t, char *path, size_t size)
{
    return count_dir(t->plugins, "pgpu-", path, size) > 0;
}

size_t
rig_fds(void)
{
    return count_dir("/proc/self/fd", "", NULL, 0);
}
