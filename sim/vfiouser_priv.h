/* SPDX-License-Identifier: Apache-2.0
 *
 * The insides of the vfio-user server, shared by sim/vfiouser_{srv,conn,ctl}.c only.
 *
 * Locks: a port's `lock` protects its device and its link; the server's `trace_lock` is taken below
 * it and protects the listeners.
 */
#ifndef PGPU_SIM_VFIOUSER_PRIV_H
#define PGPU_SIM_VFIOUSER_PRIV_H

#include "sim/vfiouser_dev.h"
#include "sim/vfiouser_srv.h"

#include <pthread.h>
#include <sys/un.h>

#define VFU_PORTS_MAX 64u
#define VFU_TRACES_MAX 16u
#define VFU_NAME_MAX 48u

/* Faults of the link, which the device knows nothing of. */
struct vfu_link {
    unsigned reset_delay_ms, reply_delay_ms; /* replies to RESET, to all, come so much later */
    bool mute;                               /* replies are held back */
    bool down; /* the client is sent away, and every other one that comes */
};

struct vfu_port {
    struct vfu_srv *srv;
    char name[VFU_NAME_MAX];
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    int listen_fd; /* -1: not listening */
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    struct vfu_dev *dev;
    struct vfu_link link;
    int client_fd; /* -1: nobody is connected; the port's thread closes it */
};

struct vfu_trace {
    int fd;                      /* -1: free */
    const struct vfu_port *port; /* NULL: all */
};

struct vfu_srv {
    struct vfu_srv_params params;
    int stop_fd, control_fd;
    char control_path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    pthread_t control_thread;
    bool control_started;
    struct vfu_port *port[VFU_PORTS_MAX];
    size_t n_port;
    pthread_mutex_t trace_lock;
    struct vfu_trace trace[VFU_TRACES_MAX];
};

/* A port's thread: accepts and serves one client after the other until the server stops. */
void *vfu_port_thread(void *arg);

/* The control socket's thread. */
void *vfu_control_thread(void *arg);

struct vfu_port *vfu_port_find(const struct vfu_srv *s, const char *name);

/* "name[=value]" of the link's faults or of the device's, or "clear"; the port's lock is held. */
int vfu_port_fault(struct vfu_port *p, const char *spec, struct err *e);

/* "N:VALUE" or "N=VALUE"; the port's lock is held. */
int vfu_port_knob(struct vfu_port *p, const char *number, const char *value, struct err *e);

/* Waits for `fd` or the server's end: 1 ready, 0 time is up, -1 the server stops. */
int vfu_wait(const struct vfu_srv *s, int fd, short events, int timeout_ms);

#endif
