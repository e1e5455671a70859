/* SPDX-License-Identifier: Apache-2.0
 *
 * The hardware service: everything of pgpu-hwd but its command line.
 */
#ifndef PGPU_HWD_SERVICE_H
#define PGPU_HWD_SERVICE_H

#include "base/fs.h"
#include "hwd/config.h"

struct hwd_service_params {
    const struct fs_root *root;
    const struct hwd_config *cfg;
    const char *socket;        /* its directory becomes the state directory */
    const char *uevent_socket; /* NULL: libudev */
    int ready_fd;              /* -1: none */
};

/* Runs until SIGTERM or SIGINT. The caller is single-threaded and stays so. */
int hwd_service_run(const struct hwd_service_params *p, struct err *e);

#endif
