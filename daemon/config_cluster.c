/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/config_cluster.h"

#include "base/hw.h"

static const char *const labels_names[] = {"auto", "on", "off", NULL};
static const char *const ready_names[] = {"all", "any", NULL};

static bool
check_absolute(const char *v, const char **why)
{
    *why = "must be an absolute path";
    return v[0] == '/';
}

const struct conf_key config_nfd_keys[] = {
    {.name = "labels",
     .type = CONF_ENUM,
     .offset = offsetof(struct nfd_conf, labels),
     .names = labels_names,
     .dflt = "auto",
     .help = "auto: where NFD's directory is there at the start; on: make it; off"},
    {.name = "ready",
     .type = CONF_ENUM,
     .offset = offsetof(struct nfd_conf, ready),
     .names = ready_names,
     .dflt = "all",
     .help = "nvidia.com/cc.ready.state is true when all GPUs are verified, or any of them"},
    /* where nfd-worker looks (its documentation, "Local feature source") */
    {.name = "dir",
     .type = CONF_STRING,
     .offset = offsetof(struct nfd_conf, dir),
     .size = 256,
     .dflt = "/etc/kubernetes/node-feature-discovery/features.d",
     .check = check_absolute,
     .help = "where nfd-worker reads feature files"},
    {.name = "expiry",
     .type = CONF_DURATION,
     .offset = offsetof(struct nfd_conf, expiry),
     .min = HW_SEC(2),
     .max = HW_SEC(86400),
     .dflt = "5m",
     .help = "NFD drops the labels this long after pgpud's death; refreshed at a third of it"},
    {0},
};

const struct conf_key config_validations_keys[] = {
    {.name = "enabled",
     .type = CONF_BOOL,
     .offset = offsetof(struct validations_conf, enabled),
     .dflt = "false",
     .help = "write the files that operands of NVIDIA's GPU Operator wait for"},
    {.name = "dir",
     .type = CONF_STRING,
     .offset = offsetof(struct validations_conf, dir),
     .size = 256,
     .dflt = "/run/nvidia/validations",
     .check = check_absolute,
     .help = "where they stand; cc-manager's file is looked for there in any case"},
    {0},
};
