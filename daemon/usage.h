/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line of pgpud.
 */
#ifndef PGPU_DAEMON_USAGE_H
#define PGPU_DAEMON_USAGE_H

#include "base/usage.h"

extern const struct usage pgpud_usage;

#endif
