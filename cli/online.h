/* SPDX-License-Identifier: Apache-2.0
 *
 * What a running pgpu-hwd knows: its facts, once, read as any client does.
 */
#ifndef PGPU_CLI_ONLINE_H
#define PGPU_CLI_ONLINE_H

#include "hwd/protocol.h"

#define ONLINE_UNITS_MAX 256

/* Number of units in *ret (free()), or negative where no service answers. */
int online_facts(const char *socket, struct hwd_facts **ret, struct err *e);

#endif
