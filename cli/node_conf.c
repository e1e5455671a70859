/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/node_conf.h"

#include <stdio.h>
#include <unistd.h>

int
node_conf_load(const char *path, struct config *ret)
{
    struct err e = ERR_INIT;
    const char *file = path                                   ? path
                       : access(NODE_CONF_DEFAULT, F_OK) == 0 ? NODE_CONF_DEFAULT
                                                              : NULL;

    if (config_load(file, ret, &e) >= 0)
        return 0;
    (void)fprintf(stderr, "pgpuctl: %s\n", e.msg);
    return -e.num;
}
