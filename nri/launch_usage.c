/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line of pgpu-nri-launch, as a table.
 */
#include "nri/launch_usage.h"
#include "nri/launch.h"

#ifndef PGPU_VERSION
#define PGPU_VERSION "unknown"
#endif

static const struct usage_opt options[] = {
    {"--socket", "PATH", "where pgpud takes connections (default " LAUNCH_SOCKET_DEFAULT ")",
     "file", 0},
    {"--wait", "SECONDS", "how long to look for pgpud (default 4)", NULL, 0},
    {NULL, NULL, NULL, NULL, 0},
};

const struct usage launch_usage = {
    .name = "pgpu-nri-launch",
    .args = "",
    .summary = "hands a container runtime's NRI connection to pgpud",
    .text = "Runtimes start it, without options, from their plugin directory "
            "(/opt/nri/plugins/10-pgpu).\n\n"
            "Exit status: 0 the session was established and has ended, 1 no pgpud, a refused "
            "connection, or pgpud ended before the session, 2 wrong usage.",
    .opts = options,
    .version = PGPU_VERSION,
};
