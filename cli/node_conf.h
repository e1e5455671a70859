/* SPDX-License-Identifier: Apache-2.0
 *
 * Where pgpud keeps things on this node, for verbs that work without it: from its configuration.
 */
#ifndef PGPU_CLI_NODE_CONF_H
#define PGPU_CLI_NODE_CONF_H

#include "cli/cli.h"
#include "daemon/config.h"

#define NODE_CONF_DEFAULT "/etc/pgpu/pgpud.yaml"

/* The row of a verb's options. */
#define NODE_CONF_OPT                                                                              \
    {                                                                                              \
        "--config", "FILE", "pgpud's configuration (default " NODE_CONF_DEFAULT ")", "file", 0     \
    }

/* `path` NULL: the default file, or the keys' defaults where there is none. To be freed with
 * config_free(). On failure the message is printed. */
int node_conf_load(const char *path, struct config *ret);

#endif
