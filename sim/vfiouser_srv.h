/* SPDX-License-Identifier: Apache-2.0
 *
 * vfio-user servers: one emulated PCI function behind each socket, one thread and one client at a
 * time each; a client that comes while another is there waits until that one has gone. Plus a
 * control socket for all of them (the protocol of sim/control.h). Time is the real clock's.
 */
#ifndef PGPU_SIM_VFIOUSER_SRV_H
#define PGPU_SIM_VFIOUSER_SRV_H

#include "base/err.h"
#include "sim/gpu.h"

struct vfu_srv;

struct vfu_srv_params {
    double time_scale;
    const char *state_dir; /* NVRAM as <name>.nvram; NULL: memory only. Must exist. Borrowed. */
    void (*say)(const char *text); /* one line about a client that was sent away; NULL: nobody */
};

int vfu_srv_new(const struct vfu_srv_params *p, struct vfu_srv **ret, struct err *e);

/* One more device, before the start:
 * "SOCKET=MODEL[,fault=SPEC][,knob=N:VALUE][,booting][,no-msix]...". Its name is the socket's base
 * name without ".sock"; two of one name are refused. */
int vfu_srv_add(struct vfu_srv *s, const char *spec, struct err *e);

/* Listens at all sockets and serves. control_path may be NULL. */
int vfu_srv_start(struct vfu_srv *s, const char *control_path, struct err *e);

/* One control command, its answer NUL-terminated in `reply`; any thread. */
int vfu_srv_control(struct vfu_srv *s, const char *line, char *reply, size_t size, struct err *e);

/* Ends all threads, removes the sockets; NULL is fine. */
void vfu_srv_free(struct vfu_srv *s);

#endif
