/* SPDX-License-Identifier: Apache-2.0
 *
 * The request "config" of the control socket: the configuration in force.
 */
#ifndef PGPU_DAEMON_CONFIG_REQUEST_H
#define PGPU_DAEMON_CONFIG_REQUEST_H

#include "daemon/request.h"

/* `ctx` of the table is the const struct config * in force. The answer is the YAML that
 * `pgpud --print-config` prints. */
extern const struct request config_requests[];

#endif
