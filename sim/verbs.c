/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of pgpu-sim's verbs.
 */
#include "sim/verbs.h"
#include "sim/hostcmd.h"
#include "sim/nodecmd.h"

#ifdef PGPU_SIM_HAVE_VFIO_USER
#include "sim/vfiousercmd.h"
#endif

#ifdef PGPU_SIM_HAVE_KUBELET
#include "sim/kubelet.h"
#endif

#ifdef PGPU_SIM_HAVE_RUNTIME
#include "sim/runtime.h"
#endif

#ifndef PGPU_VERSION
#define PGPU_VERSION "unknown"
#endif

static const struct usage *const verbs[] = {
    &sim_node_usage,
    &sim_ctl_usage,
    &sim_host_usage,
#ifdef PGPU_SIM_HAVE_VFIO_USER
    &sim_vfiouser_usage,
#endif
#ifdef PGPU_SIM_HAVE_KUBELET
    &sim_kubelet_usage,
#endif
#ifdef PGPU_SIM_HAVE_KATA
    &sim_kata_usage,
#endif
#ifdef PGPU_SIM_HAVE_RUNTIME
    &sim_runtime_usage,
#endif
    NULL,
};

static const struct usage_group groups[] = {{"Verbs", verbs}, {NULL, NULL}};

const struct usage sim_usage = {
    .name = "pgpu-sim",
    .args = "VERB ...",
    .summary = "a simulated GPU node, kubelet, Kata shim and container runtime, and emulated GPUs "
               "for QEMU",
    .groups = groups,
    .version = PGPU_VERSION,
};
