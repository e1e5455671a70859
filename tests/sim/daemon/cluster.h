/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests of what a node tells the cluster: a directory for NFD's feature files and one for the
 * GPU Operator's, their configuration, and pgpuctl.
 */
#ifndef PGPU_TESTS_SIM_DAEMON_CLUSTER_H
#define PGPU_TESTS_SIM_DAEMON_CLUSTER_H

#include "tests/sim/daemon/harness.h"

#define READY_LABEL "nvidia.com/cc.ready.state"
#define MODE_LABEL "nvidia.com/cc.mode.state"

struct cluster {
    char dir[64];
    char nfd[96], validations[96];
    char yaml[1024]; /* for harness_options.pgpud_yaml */
};

/* `more` is added to the configuration. */
void cluster_make(struct cluster *c, const char *expiry, bool validations, const char *more);
void cluster_remove(struct cluster *c);
bool cluster_has(const char *dir, const char *name);
void cluster_wait_file(struct harness *h, const char *dir, const char *name);
void cluster_touch(const char *dir, const char *name, const char *text);

/* Value of a label in the feature file, "(none)" if it has none, "(no file)". */
const char *cluster_label(const struct cluster *c, const char *label); /* static buffer */
void cluster_wait_label(struct harness *h, const struct cluster *c, const char *label,
                        const char *value);
/* Its expiry time, seconds since 1970; 0 if it says none. */
long long cluster_expiry(const struct cluster *c);

/* Runs `pgpuctl ARGS`; returns its exit status, both streams in buf. */
int cluster_ctl(struct harness *h, char *buf, size_t size, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* A member of the answer to "mode get". */
const char *cluster_mode(struct harness *h, const char *key); /* static buffer */
void cluster_wait_mode(struct harness *h, const char *key, const char *value);

#endif
