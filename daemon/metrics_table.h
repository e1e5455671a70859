/* SPDX-License-Identifier: Apache-2.0
 *
 * The families, shared by the files of daemon/metrics*.c.
 */
#ifndef PGPU_DAEMON_METRICS_TABLE_H
#define PGPU_DAEMON_METRICS_TABLE_H

#include "base/metrics.h"

enum meter {
    METER_BUILD,
    METER_START_TIME,
    METER_CONFIG_TIME,
    METER_CONFIG_OK,
    METER_CONFIG_PENDING,
    METER_UNLOCKED,
    METER_DEVICE,
    METER_DEVICE_STATE,
    METER_DEVICE_SINCE,
    METER_DEVICE_REASON,
    METER_DEVICE_MODE,
    METER_DEVICE_CONFIGURED,
    METER_DEVICE_WANTED,
    METER_EXPECTED,
    METER_HEALTHY,
    METER_ALLOCATED,
    METER_ALLOCATIONS,
    METER_OPERATIONS,
    METER_OPERATION_TIME,
    METER_PHASE_TIME,
    METER_RESETS,
    METER_SCRUBS,
    METER_QUARANTINES,
    METER_RPC_TIME,
    METER_REGISTRATIONS,
    METER_KUBELET,
    METER_POD_RESOURCES,
    METER_HWD,
    METER_CDI,
    METER_NRI_CONFIGURED,
    METER_NRI,
    METER_NRI_TIME,
    METER_NRI_LATE,
    METER_DENIALS,
    METER_STATE_WRITES,
    METER_CDI_WRITES,
    METER_AUDIT_RECORDS,
    METER_AUDIT_FAILURES,
    METER_AUDIT_OK,
    METER_LAG,
    METER_HTTP,
    METER_DROPPED,
    METER_CPU,
    METER_MEMORY,
    METER_FDS,
    METER_PROCESS_START,
    METER_COUNT
};

extern const struct metric_family meter_families[METER_COUNT];

struct meters;
/* metrics_node.c: what can be read from the node and the process at any time. */
void meters_read(struct meters *m);

#endif
