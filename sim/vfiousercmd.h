/* SPDX-License-Identifier: Apache-2.0
 *
 * The verb `vfio-user` of pgpu-sim. Returns the exit status; prints one-line errors to stderr.
 */
#ifndef PGPU_SIM_VFIOUSERCMD_H
#define PGPU_SIM_VFIOUSERCMD_H

#include "base/usage.h"

extern const struct usage sim_vfiouser_usage;

#endif
