/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line of pgpu-nri-launch.
 */
#ifndef PGPU_NRI_LAUNCH_USAGE_H
#define PGPU_NRI_LAUNCH_USAGE_H

#include "base/usage.h"

extern const struct usage launch_usage;

#endif
