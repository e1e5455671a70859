/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line of pgpu-hwd, as a table.
 */
#include "hwd/usage.h"
#include "hwd/protocol.h"

#ifndef PGPU_VERSION
#define PGPU_VERSION "unknown"
#endif

static const struct usage_opt options[] = {
    [HWD_O_SOCKET] = {"--socket", "PATH",
                      "listen here (default " HWD_SOCKET_DEFAULT
                      "); the directory must be ours: it is made if missing, closed (0700) if "
                      "others may only read it, refused if others may write it",
                      "file", 0},
    [HWD_O_CONFIG] = {"--config", "FILE", "YAML or JSON; without it every key has its default",
                      "file", 0},
    [HWD_O_ROOT] = {"--root", "DIR", "hardware below DIR/sys and DIR/dev (default /)", "dir", 0},
    [HWD_O_UEVENTS] = {"--uevent-socket", "PATH",
                       "take kernel events of a simulated node from here", "file", 0},
    [HWD_O_LOG_FORMAT] = {"--log-format", "FORMAT", "logfmt or json; overrides the configuration",
                          "logfmt json", 0},
    [HWD_O_LOG_LEVEL] = {"--log-level", "LEVEL",
                         "debug, info, warn or error; overrides the configuration",
                         "debug info warn error", 0},
    [HWD_O_READY_FD] = {"--ready-fd", "N", "write \"ready\" to descriptor N when serving", NULL, 0},
    [HWD_O_CHECK] = {"--check-config", NULL, "check the configuration and exit", NULL, 0},
    [HWD_O_PRINT] = {"--print-config", NULL,
                     "print the configuration in force, with the meaning of each key, and exit",
                     NULL, 0},
    [HWD_O_END] = {NULL, NULL, NULL, NULL, 0},
};

const struct usage hwd_usage = {
    .name = "pgpu-hwd",
    .args = "",
    .summary = "hardware service of pgpu: the only program that binds, switches, resets and "
               "verifies GPUs",
    .text = "It obeys typed requests on its socket, within the limits of its own configuration.\n\n"
            "Exit status: 0 stopped by a signal, 1 failure, 2 wrong usage or configuration.",
    .opts = options,
    .version = PGPU_VERSION,
};
