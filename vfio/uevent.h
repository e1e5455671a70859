/* SPDX-License-Identifier: Apache-2.0
 *
 * "Something changed on the PCI bus": a hint to rescan, never data. From libudev's `kernel`
 * monitor, or, for a simulated node, from a UNIX datagram socket that carries the kernel's payload
 * ("bind@/devices/…\0ACTION=bind\0SUBSYSTEM=pci\0…").
 */
#ifndef PGPU_VFIO_UEVENT_H
#define PGPU_VFIO_UEVENT_H

#include "base/err.h"
#include "base/pci_addr.h"

#include <stdbool.h>

struct vfio_uevents;

/* `socket` NULL: libudev. Else the path of the simulated node's SOCK_SEQPACKET event socket, to
 * which we connect. */
int vfio_uevents_open(const char *socket, struct vfio_uevents **ret, struct err *e);
void vfio_uevents_close(struct vfio_uevents *u);
int vfio_uevents_fd(const struct vfio_uevents *u);

/* Reads what is queued; true in *ret_relevant if any of it concerned pci or vfio. Never blocks.
 * -ENOTCONN when the peer (simulated node) is gone. */
int vfio_uevents_drain(struct vfio_uevents *u, bool *ret_relevant, struct err *e);

#endif
