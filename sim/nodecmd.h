/* SPDX-License-Identifier: Apache-2.0
 *
 * The verbs `node` and `ctl` of pgpu-sim. Return the exit status; print one-line errors to stderr.
 */
#ifndef PGPU_SIM_NODECMD_H
#define PGPU_SIM_NODECMD_H

#include "base/usage.h"

extern const struct usage sim_node_usage, sim_ctl_usage;

#endif
