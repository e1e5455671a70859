/* SPDX-License-Identifier: Apache-2.0
 *
 * Kubelet stand-in: the commands. A table of words; each takes the rest of the line.
 */
#include "base/cleanup.h"
#include "base/fs.h"
#include "sim/kubelet_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WORDS_MAX 16
#define LINE_MAX_BYTES 4096
#define WAIT_DEFAULT_USEC ((uint64_t)10 * 1000 * 1000)

struct line {
    char text[LINE_MAX_BYTES];
    size_t n;
    char *word[WORDS_MAX];
};

/* Numbers with an optional fraction are seconds; at most a day. */
static bool
parse_seconds(const char *s, uint64_t *ret_usec)
{
    char *end;
    double v = strtod(s, &end);

    if (end == s || *end || !(v >= 0 && v <= 86400))
        return false;
    *ret_usec = (uint64_t)(v * 1e6);
    return true;
}

static bool
parse_number(const char *s, long max, long *ret)
{
    char *end;
    long v;

    errno = 0;
    v = strtol(s, &end, 10);
    if (end == s || *end || errno || v < 0 || v > max)
        return false;
    *ret = v;
    return true;
}

static bool
parse_pod(const char *s, char ns[KUBE_NAME_MAX], char name[KUBE_NAME_MAX])
{
    const char *slash = strchr(s, '/');
    size_t n = slash ? (size_t)(slash - s) : 0;

    if (!slash || n == 0 || n >= KUBE_NAME_MAX || !slash[1] || strchr(slash + 1, '/'))
        return false;
    memcpy(ns, s, n);
    ns[n] = '\0';
    return str_copy(name, KUBE_NAME_MAX, slash + 1);
}

static struct json_object *
ok_object(void)
{
    struct json_object *o = json_object_new_object();

    json_object_object_add(o, "ok", json_object_new_boolean(true));
    return o;
}

/* ---- looking ---- */

static struct json_object *
resource_json(const struct kube_resource *r)
{
    struct json_object *o = json_object_new_object(), *list = json_object_new_array();

    json_object_object_add(o, "name", json_object_new_string(r->name));
    json_object_object_add(o, "capacity", json_object_new_int64((int64_t)r->n));
    json_object_object_add(o, "allocatable", json_object_new_int64((int64_t)kube_healthy(r)));
    json_object_object_add(o, "registered",
                           json_object_new_boolean(r->endpoint && r->endpoint->channel));
    json_object_object_add(o, "stopped", json_object_new_boolean(r->stopped));
    json_object_object_add(
        o, "endpoint",
        json_object_new_string(r->endpoint ? strrchr(r->endpoint->endpoint, '/') + 1 : ""));
    json_object_object_add(o, "registrations", json_object_new_int64(r->registrations));
    json_object_object_add(o, "lists", json_object_new_int64(r->lists));
    json_object_object_add(o, "preferred", json_object_new_int64(r->preferred));
    json_object_object_add(o, "allocates", json_object_new_int64(r->allocates));
    json_object_object_add(o, "allocated", ids_json(&r->allocated));
    for (size_t i = 0; i < r->n; i++) {
        struct json_object *d = json_object_new_object();

        json_object_object_add(d, "id", json_object_new_string(r->devices[i].id));
        json_object_object_add(d, "healthy", json_object_new_boolean(r->devices[i].healthy));
        json_object_object_add(d, "numa", json_object_new_int64(r->devices[i].numa));
        json_object_object_add(d, "allocated",
                               json_object_new_boolean(ids_has(&r->allocated, r->devices[i].id)));
        json_object_array_add(list, d);
    }
    json_object_object_add(o, "devices", list);
    return o;
}

static void
cmd_status(struct sim_kubelet *k, struct line *l, sim_kubelet_done done, void *ctx)
{
    struct json_object *o = ok_object(), *list = json_object_new_array();

    (void)l;
    for (const struct kube_resource *r = k->resources; r; r = r->next)
        json_object_array_add(list, resource_json(r));
    json_object_object_add(o, "down", json_object_new_boolean(k->down));
    json_object_object_add(o, "restarts", json_object_new_int64(k->restarts));
    json_object_object_add(o, "admitting", json_object_new_boolean(k->job != NULL));
    json_object_object_add(o, "violations",
                           json_object_new_int64((int64_t)sim_kubelet_violations(k)));
    json_object_object_add(o, "resources", list);
    kube_answer(done, ctx, o);
}

static void
cmd_pods(struct sim_kubelet *k, struct line *l, sim_kubelet_done done, void *ctx)
{
    struct json_object *o = ok_object(), *list = json_object_new_array();

    (void)l;
    for (const struct kube_pod *p = k->pods; p; p = p->next)
        json_object_array_add(list, kube_pod_json(p));
    json_object_object_add(o, "pods", list);
    kube_answer(done, ctx, o);
}

static void
cmd_violations(struct sim_kubelet *k, struct line *l, sim_kubelet_done done, void *ctx)
{
    struct json_object *o = ok_object();

    (void)l;
    json_object_object_add(o, "violations", json_object_get(k->violations));
    kube_answer(done, ctx, o);
}

static void
cmd_history(struct sim_kubelet *k, struct line *l, sim_kubelet_done done, void *ctx)
{
    struct kube_resource *r = l->n > 1 ? kube_resource_find(k, l->word[1]) : NULL;
    struct json_object *o;

    if (!r) {
        kube_answer(done, ctx, kube_error("history: name a known resource"));
        return;
    }
    o = ok_object();
    json_object_object_add(o, "history", json_object_get(r->history));
    kube_answer(done, ctx, o);
}

/* ---- pods ---- */

static bool
parse_requests(struct kube_job *j, char *s)
{
    char *p;

    while ((p = strsep(&s, ","))) {
        char *eq = strchr(p, '=');
        long n;

        if (!eq || j->n >= KUBE_REQUESTS_MAX || !parse_number(eq + 1, DP_IDS_MAX, &n) || n < 1)
            return false;
        *eq = '\0';
        if (!str_copy(j->req[j->n].resource, KUBE_NAME_MAX, p))
            return false;
        j->req[j->n++].want = (size_t)n;
    }
    return j->n > 0;
}

static bool
parse_run(struct kube_job *j, struct line *l)
{
    (void)str_copy(j->container, sizeof(j->container), "main");
    if (l->n < 3 || !parse_pod(l->word[1], j->ns, j->name) || !parse_requests(j, l->word[2]))
        return false;
    for (size_t i = 3; i < l->n; i++) {
        if (strcmp(l->word[i], "--init") == 0)
            j->init = true;
        else if (strcmp(l->word[i], "--container") != 0 || ++i == l->n ||
                 !str_copy(j->container, sizeof(j->container), l->word[i]))
            return false;
    }
    return true;
}

static void
cmd_run(struct sim_kubelet *k, struct line *l, sim_kubelet_done done, void *ctx)
{
    struct kube_job *j = calloc(1, sizeof(*j));

    if (!j || !parse_run(j, l)) {
        free(j);
        kube_answer(done, ctx,
                    kube_error("run NS/POD RESOURCE=N[,RESOURCE=N...] [--container C] [--init]"));
        return;
    }
    if (k->down) {
        free(j);
        kube_answer(done, ctx, kube_error("the kubelet is down"));
        return;
    }
    j->done = done;
    j->ctx = ctx;
    kube_job_add(k, j);
}

static struct kube_pod *
pod_arg(struct sim_kubelet *k, const struct line *l)
{
    char ns[KUBE_NAME_MAX], name[KUBE_NAME_MAX];

    if (l->n != 2 || !parse_pod(l->word[1], ns, name))
        return NULL;
    return kube_pod_find(k, ns, name);
}

static void
cmd_end(struct sim_kubelet *k, struct line *l, sim_kubelet_done done, void *ctx)
{
    struct kube_pod *p = pod_arg(k, l);

    if (!p) {
        kube_answer(done, ctx, kube_error("end: no such running pod"));
        return;
    }
    if (k->job && k->job->pod == p) {
        kube_answer(done, ctx, kube_error("end: the pod is being admitted"));
        return;
    }
    p->phase = KUBE_ENDED;
    kube_answer(done, ctx, ok_object());
}

static void
cmd_restart_container(struct sim_kubelet *k, struct line *l, sim_kubelet_done done, void *ctx)
{
    struct kube_pod *p = pod_arg(k, l);
    struct json_object *o;

    if (!p) {
        kube_answer(done, ctx, kube_error("restart-container: no such running pod"));
        return;
    }
    /* The remembered answers are used; nobody is asked. */
    o = kube_pod_json(p);
    json_object_object_add(o, "ok", json_object_new_boolean(true));
    kube_answer(done, ctx, o);
}

/* Drops ended pods from memory, so that list_terminated does not show them for ever. */
static void
cmd_forget(struct sim_kubelet *k, struct line *l, sim_kubelet_done done, void *ctx)
{
    (void)l;
    for (struct kube_pod **p = &k->pods; *p;) {
        struct kube_pod *gone = *p;

        if (gone->phase == KUBE_RUNNING) {
            p = &gone->next;
            continue;
        }
        kube_collect(k);
        *p = gone->next;
        kube_pod_free(gone);
    }
    kube_answer(done, ctx, ok_object());
}

/* ---- the kubelet itself ---- */

static void
cmd_restart(struct sim_kubelet *k, struct line *l, sim_kubelet_done done, void *ctx)
{
    uint64_t usec = 0;

    if (l->n > 2 || (l->n == 2 && !parse_seconds(l->word[1], &usec)))
        kube_answer(done, ctx, kube_error("restart [SECONDS down]"));
    else
        kube_restart(k, usec, done, ctx);
}

static void
cmd_cancel(struct sim_kubelet *k, struct line *l, sim_kubelet_done done, void *ctx)
{
    struct kube_resource *r = l->n == 2 ? kube_resource_find(k, l->word[1]) : NULL;

    if (!r) {
        kube_answer(done, ctx, kube_error("cancel: name a known resource"));
        return;
    }
    kube_cancel_stream(r);
    kube_answer(done, ctx, ok_object());
}

static void
cmd_refuse(struct sim_kubelet *k, struct line *l, sim_kubelet_done done, void *ctx)
{
    long n;

    if (l->n != 2 || !parse_number(l->word[1], 1000000, &n)) {
        kube_answer(done, ctx, kube_error("refuse N: refuse the next N Register calls"));
        return;
    }
    k->refuse = (unsigned)n;
    kube_answer(done, ctx, ok_object());
}

static void
cmd_quirk(struct sim_kubelet *k, struct line *l, sim_kubelet_done done, void *ctx)
{
    const struct {
        const char *name;
        bool *value;
    } quirks[] = {{"race", &k->opt.race}, {"list-terminated", &k->opt.list_terminated}};

    for (size_t i = 0; l->n == 3 && i < ARRAY_SIZE(quirks); i++) {
        bool on = strcmp(l->word[2], "on") == 0;

        if (strcmp(l->word[1], quirks[i].name) != 0 || (!on && strcmp(l->word[2], "off") != 0))
            continue;
        *quirks[i].value = on;
        kube_answer(done, ctx, ok_object());
        return;
    }
    kube_answer(done, ctx, kube_error("quirk race|list-terminated on|off"));
}

/* ---- waiting ---- */

static void
wait_end(struct kube_wait *w, struct json_object *answer)
{
    sim_kubelet_done done = w->done;

    w->done = NULL;
    (void)sd_event_source_set_enabled(w->timer, SD_EVENT_OFF);
    kube_answer(done, w->ctx, answer);
}

static bool
wait_met(const struct kube_wait *w)
{
    const struct kube_resource *r = kube_resource_find(w->k, w->resource);

    return r && (w->healthy < 0 || kube_healthy(r) == (size_t)w->healthy) &&
           (w->capacity < 0 || r->n == (size_t)w->capacity);
}

void
kube_waits_check(struct sim_kubelet *k)
{
    for (size_t i = 0; i < KUBE_WAITS_MAX; i++)
        if (k->waits[i].done && wait_met(&k->waits[i]))
            wait_end(&k->waits[i], ok_object());
}

static int
on_wait_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
    struct kube_wait *w = userdata;
    const struct kube_resource *r = kube_resource_find(w->k, w->resource);

    (void)s;
    (void)usec;
    if (w->done)
        wait_end(w, kube_error("wait: time is up: %s has %zu devices, %zu healthy", w->resource,
                               r ? r->n : 0, r ? kube_healthy(r) : 0));
    return 0;
}

static bool
parse_wait(struct kube_wait *w, const struct line *l, uint64_t *usec)
{
    w->healthy = w->capacity = -1;
    if (l->n < 3 || !str_copy(w->resource, sizeof(w->resource), l->word[1]))
        return false;
    for (size_t i = 2; i < l->n; i++)
        if (!(strncmp(l->word[i], "healthy=", 8) == 0 &&
              parse_number(l->word[i] + 8, DP_IDS_MAX, &w->healthy)) &&
            !(strncmp(l->word[i], "capacity=", 9) == 0 &&
              parse_number(l->word[i] + 9, DP_IDS_MAX, &w->capacity)) &&
            !parse_seconds(l->word[i], usec))
            return false;
    return true;
}

static void
cmd_wait(struct sim_kubelet *k, struct line *l, sim_kubelet_done done, void *ctx)
{
    uint64_t usec = WAIT_DEFAULT_USEC;
    struct kube_wait *w = NULL;
    int r = 0;

    for (size_t i = 0; i < KUBE_WAITS_MAX && !w; i++)
        w = k->waits[i].done ? NULL : &k->waits[i];
    if (!w || !parse_wait(w, l, &usec)) {
        kube_answer(done, ctx,
                    kube_error("wait RESOURCE [healthy=N] [capacity=N] [SECONDS] (at most %d)",
                               KUBE_WAITS_MAX));
        return;
    }
    w->k = k;
    if (!w->timer)
        r = sd_event_add_time_relative(k->loop, &w->timer, CLOCK_MONOTONIC, usec, 1000,
                                       on_wait_timer, w);
    else
        r = sd_event_source_set_time_relative(w->timer, usec);
    if (r >= 0)
        r = sd_event_source_set_enabled(w->timer, SD_EVENT_ONESHOT);
    if (r < 0) {
        kube_answer(done, ctx, kube_error("wait: timer: %s", strerror(-r)));
        return;
    }
    w->done = done;
    w->ctx = ctx;
    if (wait_met(w))
        wait_end(w, ok_object());
}

/* ---- the table ---- */

static void cmd_help(struct sim_kubelet *k, struct line *l, sim_kubelet_done done, void *ctx);

static const struct command {
    const char *name;
    void (*run)(struct sim_kubelet *k, struct line *l, sim_kubelet_done done, void *ctx);
    const char *help;
} commands[] = {
    {"status", cmd_status, "status: resources, devices, capacity, allocatable"},
    {"run", cmd_run,
     "run NS/POD RESOURCE=N[,RESOURCE=N...] [--container C] [--init]: admit a container"},
    {"end", cmd_end, "end NS/POD: the pod is over; its devices are freed lazily"},
    {"pods", cmd_pods, "pods: all pods and what they got"},
    {"forget", cmd_forget, "forget: drop ended pods from memory"},
    {"restart", cmd_restart, "restart [SECONDS]: end, stay down, wipe the sockets, start"},
    {"restart-container", cmd_restart_container,
     "restart-container NS/POD: replay the remembered answers"},
    {"wait", cmd_wait, "wait RESOURCE [healthy=N] [capacity=N] [SECONDS]"},
    {"history", cmd_history, "history RESOURCE: every list received, with times"},
    {"violations", cmd_violations, "violations: what would have hurt a real kubelet"},
    {"cancel", cmd_cancel, "cancel RESOURCE: close the connection to its plugin"},
    {"refuse", cmd_refuse, "refuse N: refuse the next N Register calls"},
    {"quirk", cmd_quirk, "quirk race|list-terminated on|off"},
    {"help", cmd_help, "help"},
};

static void
cmd_help(struct sim_kubelet *k, struct line *l, sim_kubelet_done done, void *ctx)
{
    struct json_object *o = ok_object(), *list = json_object_new_array();

    (void)k;
    (void)l;
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        json_object_array_add(list, json_object_new_string(commands[i].help));
    json_object_object_add(o, "commands", list);
    kube_answer(done, ctx, o);
}

void
sim_kubelet_command(struct sim_kubelet *k, const char *line, sim_kubelet_done done, void *ctx)
{
    struct line l = {0};
    char *rest = l.text, *p;

    if (!str_copy(l.text, sizeof(l.text), line)) {
        kube_answer(done, ctx, kube_error("the line is longer than %d bytes", LINE_MAX_BYTES - 1));
        return;
    }
    while (l.n < WORDS_MAX && (p = strsep(&rest, " \t\r\n")))
        if (*p)
            l.word[l.n++] = p;
    for (size_t i = 0; l.n > 0 && i < ARRAY_SIZE(commands); i++)
        if (strcmp(l.word[0], commands[i].name) == 0) {
            commands[i].run(k, &l, done, ctx);
            return;
        }
    kube_answer(done, ctx, kube_error("unknown command \"%.64s\": try help", l.n ? l.word[0] : ""));
}
