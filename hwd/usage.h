/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line of pgpu-hwd.
 */
#ifndef PGPU_HWD_USAGE_H
#define PGPU_HWD_USAGE_H

#include "base/usage.h"

enum hwd_option {
    HWD_O_SOCKET,
    HWD_O_CONFIG,
    HWD_O_ROOT,
    HWD_O_UEVENTS,
    HWD_O_LOG_FORMAT,
    HWD_O_LOG_LEVEL,
    HWD_O_READY_FD,
    HWD_O_CHECK,
    HWD_O_PRINT,
    HWD_O_END,
};

/* Its `opts` are in the order of the enum. */
extern const struct usage hwd_usage;

#endif
