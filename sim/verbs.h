/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line of pgpu-sim: the verbs of whatever parts were built.
 */
#ifndef PGPU_SIM_VERBS_H
#define PGPU_SIM_VERBS_H

#include "base/usage.h"

extern const struct usage sim_usage;

#endif
