/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by metrics.c and metrics_print.c only.
 */
#ifndef PGPU_BASE_METRICS_IMPL_H
#define PGPU_BASE_METRICS_IMPL_H

#include "base/metrics.h"

#include <stdint.h>

struct series {
    char *label[METRIC_LABELS_MAX]; /* owned */
    double value;                   /* HISTOGRAM: the sum; STATES: index of the one that holds */
    uint64_t *bucket;               /* HISTOGRAM: one more than limits; not cumulative */
};

struct series_set {
    struct series **series;
    size_t n, cap;
};

struct metrics {
    const struct metric_family *family;
    size_t n;
    struct series_set *set; /* one for each family */
    unsigned long long dropped;
};

size_t metrics_given_labels(const struct metric_family *f);

#endif
