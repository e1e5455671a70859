/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpud's status for people: the lines above the table and its rows, for `status` and `top`. The
 * JSON comes from pgpud; members that an older one does not send are left out.
 */
#ifndef PGPU_CLI_STATUS_VIEW_H
#define PGPU_CLI_STATUS_VIEW_H

#include "base/buf.h"
#include "cli/grid.h"

#include <json-c/json.h>

#include <stdbool.h>

enum status_sort {
    STATUS_BY_DEVICE,
    STATUS_BY_STATE,
    STATUS_BY_AGE,
    STATUS_BY_RESETS,
    STATUS_SORTS
};
const char *status_sort_name(enum status_sort s);

/* Program, policy, kubelet and CDI, mode, labels. Returns the number of lines. */
unsigned status_header(json_object *status, struct buf *out, unsigned width);

/* The devices. `filter`: only those that have the text in any cell, whatever its case; NULL or ""
 * for all. *ret_bad counts those that are listed and not Healthy. */
struct grid *status_grid(json_object *status, bool wide, enum status_sort sort, const char *filter,
                         unsigned *ret_bad);

/* "340 ms", "4.2 s", "3m10s", "5h02m", "12d"; "" for a negative one. */
void status_span(char *buf, size_t size, int64_t ms);

#endif
