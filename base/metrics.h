/* SPDX-License-Identifier: Apache-2.0
 *
 * A small registry of metrics and its text form for Prometheus.
 *
 * Families are a static table; a series comes to life when it is first written, and no family ever
 * holds more than its `max`, whoever chooses the label values: what is over that is counted
 * (metrics_dropped) and otherwise ignored. Nothing here can fail at run time in another way, so
 * nothing returns an error but the printing.
 *
 * Values of labels are copied. One thread. Numbers of families are indices into the table.
 *
 * Sources: Prometheus text format 0.0.4 (prometheus.io, "Exposition formats"); OpenMetrics 1.0
 * (github.com/prometheus/OpenMetrics, specification/OpenMetrics.md).
 */
#ifndef PGPU_BASE_METRICS_H
#define PGPU_BASE_METRICS_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define METRIC_LABELS_MAX 6
#define METRIC_VALUE_MAX 256 /* bytes of a label's value with its NUL; the rest is cut off */

enum metric_type {
    METRIC_COUNTER,   /* only grows; printed with the suffix _total */
    METRIC_GAUGE,     /* a number that goes up and down */
    METRIC_HISTOGRAM, /* `buckets`; printed as _bucket, _sum, _count */
    /* One of a list of words holds at a time: the last label takes each of `states`, and one series
     * is 1, the others 0. Printed as a gauge, since OpenMetrics wants the label of a real state set
     * to have the family's own name. */
    METRIC_STATES,
    METRIC_INFO, /* always 1, what counts is in the labels; printed with the suffix _info */
};

struct metric_family {
    const char *name; /* without suffixes */
    const char *help; /* one sentence without a full stop */
    const char *unit; /* "seconds", "bytes": the name ends in it; NULL = none */
    enum metric_type type;
    const char *label[METRIC_LABELS_MAX + 1]; /* ends with NULL */
    size_t max;                               /* series; of STATES: sets */
    const double *buckets;                    /* HISTOGRAM: upper limits, growing, without +Inf */
    size_t n_buckets;
    const char *const *states; /* STATES */
    size_t n_states;
};

enum metrics_format { METRICS_TEXT, METRICS_OPENMETRICS };

/* The Content-Type that goes with it. */
const char *metrics_content_type(enum metrics_format f);

struct metrics;

/* `family` must outlive the registry, and is checked: a wrong table is INVALID. */
int metrics_new(const struct metric_family *family, size_t n, struct metrics **ret, struct err *e);
void metrics_free(struct metrics *m); /* NULL is fine */

/* `labels`: as many values as the family has labels (STATES: without the last one), NULL where it
 * has none; an element that is NULL is printed as "". */
void metric_add(struct metrics *m, size_t f, const char *const *labels, double v);     /* COUNTER */
void metric_set(struct metrics *m, size_t f, const char *const *labels, double v);     /* any */
void metric_observe(struct metrics *m, size_t f, const char *const *labels, double v); /* HISTOGRAM
                                                                                        */
void metric_state(struct metrics *m, size_t f, const char *const *labels, size_t state);

/* Forgets all series of a family, for gauges that are written anew before each printing. */
void metric_clear(struct metrics *m, size_t f);
/* Forgets every series whose label `name` has this value: a device that is gone for good. */
void metrics_forget(struct metrics *m, const char *name, const char *value);

/* Writes that found their family full, or no memory. */
unsigned long long metrics_dropped(const struct metrics *m);

/* Appends all families that have series. MSGSIZE if `out` is full. */
int metrics_print(const struct metrics *m, enum metrics_format format, struct buf *out,
                  struct err *e);

#endif
