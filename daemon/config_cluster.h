/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts `nfd:` and `validations:` of pgpud's configuration: what the node tells the cluster
 * without credentials for its API.
 */
#ifndef PGPU_DAEMON_CONFIG_CLUSTER_H
#define PGPU_DAEMON_CONFIG_CLUSTER_H

#include "base/conf.h"

enum nfd_labels { NFD_AUTO, NFD_ON, NFD_OFF };
enum nfd_ready { NFD_READY_ALL, NFD_READY_ANY };

struct nfd_conf {
    int labels; /* enum nfd_labels */
    int ready;  /* enum nfd_ready */
    char dir[256];
    uint64_t expiry;
};

struct validations_conf {
    bool enabled;
    char dir[256];
};

extern const struct conf_key config_nfd_keys[];
extern const struct conf_key config_validations_keys[];

#endif
