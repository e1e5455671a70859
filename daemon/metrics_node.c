/* SPDX-License-Identifier: Apache-2.0
 *
 * What is true now, read from the node and from the process when somebody asks for the metrics.
 */
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/hw.h"
#include "daemon/audit.h"
#include "daemon/config_watch.h"
#include "daemon/http.h"
#include "daemon/metrics_impl.h"
#include "daemon/timer.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Ours to offer: claimed, and not one that left for good. */
static bool
is_ours(const struct unit *u)
{
    return u->resource[0] && (u->placeholder || (u->facts.flags & HWD_FACT_CLAIMED));
}

/* A mode as index into the states of the table; what the service sends was checked, our own not. */
static size_t
mode_index(uint32_t mode)
{
    return mode <= CC_MODE_UNKNOWN ? mode : CC_MODE_UNKNOWN;
}

/* One offset for all times, so that they do not tremble; a new one when the clock was set. */
static void
set_wall(struct meters *t)
{
    int64_t ms = (int64_t)(meters_unix_time() * 1e3) - (int64_t)(now_ns() / HW_MS(1));

    if (llabs(ms - t->wall_ms) > 1000)
        t->wall_ms = ms;
}

static void
read_unit(struct meters *t, const struct unit *u)
{
    const struct hwd_facts *f = &u->facts;
    char numa[16];

    (void)snprintf(numa, sizeof(numa), "%d", f->numa_node);
    metric_set(t->m, METER_DEVICE,
               LABELS(u->id, f->kind == HWD_KIND_NVSWITCH ? "nvswitch" : "gpu", f->model,
                      u->resource, numa),
               1);
    metric_state(t->m, METER_DEVICE_STATE, LABELS(u->id), (size_t)u->state);
    metric_set(t->m, METER_DEVICE_SINCE, LABELS(u->id),
               (double)((int64_t)(u->since / HW_MS(1)) + t->wall_ms) / 1e3);
    /* alerts join on it: who is withdrawn always has one, if only "NONE" */
    if (u->reason != REASON_NONE || u->state == UNIT_QUARANTINED || u->state == UNIT_STUCK)
        metric_set(t->m, METER_DEVICE_REASON, LABELS(u->id, reason_name(u->reason)), 1);
    metric_state(t->m, METER_DEVICE_MODE, LABELS(u->id), mode_index(f->mode_active));
    metric_state(t->m, METER_DEVICE_CONFIGURED, LABELS(u->id), mode_index(f->mode_configured));
    if (is_ours(u))
        metric_state(t->m, METER_DEVICE_WANTED, LABELS(u->id), mode_index(unit_wanted_mode(u)));
}

/* Series of devices that the node has dropped go; what is there is remembered for the next time. */
static void
forget_gone(struct meters *t)
{
    for (size_t i = 0; i < t->n_known; i++)
        if (!node_find(t->node, t->known[i]))
            metrics_forget(t->m, "device", t->known[i]);
    t->n_known = 0;
    for (size_t i = 0; i < t->node->n_units; i++)
        (void)str_copy(t->known[t->n_known++], PCI_ADDR_STR, t->node->unit[i]->id);
}

static void
read_resource(struct meters *t, const struct resource_state *r)
{
    const struct node *n = t->node;
    unsigned expected = 0, healthy = 0, allocated = 0;

    for (size_t i = 0; i < n->n_units; i++) {
        const struct unit *u = n->unit[i];

        if (strcmp(u->resource, r->name) != 0)
            continue;
        expected += is_ours(u);
        healthy += unit_is_listed(u) && unit_is_healthy(u);
        allocated += unit_state_info(u->state)->allocated;
    }
    metric_set(t->m, METER_EXPECTED, LABELS(r->name), expected);
    metric_set(t->m, METER_HEALTHY, LABELS(r->name), healthy);
    metric_set(t->m, METER_ALLOCATED, LABELS(r->name), allocated);
    metric_set(t->m, METER_KUBELET, LABELS(r->name), r->link == DP_LINK_STREAMING);
    metric_set(t->m, METER_CDI, LABELS(r->name), r->cdi_ok);
}

static void
read_node(struct meters *t)
{
    const struct node *n = t->node;
    const char *why;

    set_wall(t);
    forget_gone(t);
    /* their labels change with the facts */
    metric_clear(t->m, METER_DEVICE);
    metric_clear(t->m, METER_DEVICE_REASON);
    metric_clear(t->m, METER_DEVICE_WANTED);
    for (size_t i = 0; i < n->n_units; i++)
        read_unit(t, n->unit[i]);
    for (size_t i = 0; i < n->n_resources; i++)
        read_resource(t, &n->resource[i]);
    metric_set(t->m, METER_CONFIG_OK, NULL, !config_watch_bad(n->config_watch));
    metric_set(t->m, METER_CONFIG_PENDING, NULL, config_watch_pending(n->config_watch));
    metric_set(t->m, METER_UNLOCKED, NULL, n->conf->unlock_devtools);
    metric_set(t->m, METER_POD_RESOURCES, NULL, n->pods.ok);
    metric_set(t->m, METER_HWD, NULL, hwclient_is_up(n->hw));
    metric_set(t->m, METER_NRI_CONFIGURED, NULL, n->conf->nri.sockets.n > 0);
    metric_set(t->m, METER_NRI, NULL, guard_is_up(n));
    metric_set(t->m, METER_AUDIT_OK, NULL, audit_is_ok(n->audit, &why));
}

/* ---- the process ---- */

static unsigned
count_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    if (!d)
        return 0;
    while (readdir(d))
        n++;
    (void)closedir(d);
    return n > 3 ? n - 3 : 0; /* ".", "..", and the one we look with */
}

static void
read_process(struct meters *t)
{
    struct rusage use;
    unsigned long total, resident;
    _cleanup_fclose_ FILE *f = fopen("/proc/self/statm", "re");

    if (f && fscanf(f, "%lu %lu", &total, &resident) == 2)
        metric_set(t->m, METER_MEMORY, NULL, (double)resident * (double)sysconf(_SC_PAGESIZE));
    if (getrusage(RUSAGE_SELF, &use) == 0)
        metric_set(t->m, METER_CPU, NULL,
                   (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                       (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6);
    metric_set(t->m, METER_FDS, NULL, count_fds());
    metric_set(t->m, METER_PROCESS_START, NULL, t->started);
}

static void
read_http(struct meters *t)
{
    static const struct {
        unsigned status;
        const char *text;
    } codes[] = {{200, "200"}, {404, "404"}, {405, "405"}, {500, "500"}, {503, "503"}};

    for (size_t i = 0; i < ARRAY_SIZE(codes) && t->node->http; i++)
        metric_set(t->m, METER_HTTP, LABELS(codes[i].text),
                   (double)http_answers(t->node->http, codes[i].status));
}

void
meters_read(struct meters *t)
{
    read_node(t);
    read_process(t);
    read_http(t);
    metric_set(t->m, METER_DROPPED, NULL, (double)metrics_dropped(t->m));
}
