/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by the files of daemon/metrics*.c only.
 */
#ifndef PGPU_DAEMON_METRICS_IMPL_H
#define PGPU_DAEMON_METRICS_IMPL_H

#include "base/metrics.h"
#include "base/pci_addr.h"
#include "daemon/metrics_table.h"
#include "daemon/node.h"

#include <systemd/sd-event.h>

struct meters {
    struct node *node;
    struct metrics *m;
    sd_event_source *beat;
    uint64_t beat_due, lag; /* CLOCK_MONOTONIC ns */
    double started;         /* Unix time */
    int64_t wall_ms;        /* Unix time less CLOCK_MONOTONIC, ms */
    /* by index of node->resource, which only grows: the kubelet has taken it */
    bool registered[RESOURCES_MAX];
    /* devices that have series: those that are no longer the node's are forgotten */
    size_t n_known;
    char known[UNITS_MAX][PCI_ADDR_STR];
};

/* Array of label values, for metric_*(). */
#define LABELS(...) ((const char *const[]){__VA_ARGS__})

const char *meters_result(bool ok); /* "ok", "error" */
double meters_unix_time(void);

#endif
