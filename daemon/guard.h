/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon's side of NRI: what the runtimes ask is judged by nri/guard.h's rules with what the
 * daemon knows at that moment.
 */
#ifndef PGPU_DAEMON_GUARD_H
#define PGPU_DAEMON_GUARD_H

#include "nri/guard.h"

struct node;

enum guard_class guard_class_of(const struct node *n, const char *handler);

#endif
