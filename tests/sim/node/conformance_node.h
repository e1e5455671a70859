/* SPDX-License-Identifier: Apache-2.0
 *
 * The backend for a simulated node: files by FUSE, modules and hardware through its control socket,
 * events from its uevent socket. One at a time; the strings are borrowed.
 */
#ifndef PGPU_TESTS_CONFORMANCE_NODE_H
#define PGPU_TESTS_CONFORMANCE_NODE_H

#include "conformance.h"

/* 0, or -errno where the sockets do not answer. */
int conformance_node(const char *root, const char *control, const char *uevents,
                     struct backend *ret);

#endif
