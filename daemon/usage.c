/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line of pgpud, as a table.
 */
#include "daemon/usage.h"

#ifndef PGPU_VERSION
#define PGPU_VERSION "unknown"
#endif

static const struct usage_opt options[] = {
    {"--config", "FILE", "configuration (YAML or JSON); without it every key has its default",
     "file", 'c'},
    {"--check-config", NULL, "read the configuration, say whether it is good, and exit", NULL, 0},
    {"--print-config", NULL,
     "print the configuration in force, with the meaning of each key, and exit", NULL, 0},
    {"--spawn-hwd", "ARGS",
     "start \"pgpu-hwd ARGS\" as a child (development; in production it is a service of its own); "
     "a "
     "program path may stand in $PGPU_HWD",
     NULL, 0},
    {"--ready-fd", "N", "write \"ready\" to descriptor N when serving", NULL, 0},
    {NULL, NULL, NULL, NULL, 0},
};

const struct usage pgpud_usage = {
    .name = "pgpud",
    .args = "",
    .summary = "offers confidential-computing GPUs to the kubelet",
    .text = "It never touches hardware itself: pgpu-hwd does.\n\n"
            "Exit status: 0 stopped by SIGTERM or SIGINT, 1 failure, 2 wrong usage or "
            "configuration.",
    .opts = options,
    .version = PGPU_VERSION,
};
