/* SPDX-License-Identifier: Apache-2.0
 *
 * The verb `host` of pgpu-sim.
 */
#ifndef PGPU_SIM_HOSTCMD_H
#define PGPU_SIM_HOSTCMD_H

#include "base/usage.h"

extern const struct usage sim_host_usage;

#endif
