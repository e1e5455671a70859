/* SPDX-License-Identifier: Apache-2.0
 *
 * Less power for the process that parses kubelet, runtime and tenant bytes: no new privileges, no
 * capabilities, and Landlock that leaves it the file systems of its own directories, so that /sys
 * and /dev are out of reach even for uid 0. To be called before any thread is started: all of it is
 * per thread and inherited. A private mount namespace (container, systemd unit) does the same and
 * more; this is the belt to those braces.
 */
#ifndef PGPU_DAEMON_CONFINE_H
#define PGPU_DAEMON_CONFINE_H

#include "daemon/config.h"

/* Does what the kernel lets it do and logs, loudly, what it could not: it never fails, because a
 * node without Landlock still needs its GPUs. */
void confine_enter(const struct config *c);

#endif
