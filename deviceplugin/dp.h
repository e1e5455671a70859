/* SPDX-License-Identifier: Apache-2.0
 *
 * Kubelet side: one DevicePlugin server per resource, registration that never gives up, and the
 * PodResources client. Knows nothing about GPUs.
 *
 * Threads: gRPC C core runs on one thread of its own that only forwards events; every function here
 * is called from, and every handler runs on, the thread of the sd_event loop. Signals must be
 * blocked before dp_new() (gRPC starts threads), and the process must not fork after it.
 *
 * The rules of registration are in deviceplugin/README.md: serve first, self-dial, register with a
 * deadline above 10 s, unique socket name per start, re-register when the ListAndWatch stream is
 * cancelled, when kubelet.sock is replaced or our own socket vanishes, for ever with jittered
 * back-off.
 */
#ifndef PGPU_DEVICEPLUGIN_DP_H
#define PGPU_DEVICEPLUGIN_DP_H

#include "base/err.h"

#include <systemd/sd-event.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DP_ID_MAX 64
#define DP_IDS_MAX 1024 /* device IDs in one request; more is refused */

struct dp;      /* all resources of this process */
struct dp_call; /* one Allocate waiting for its answer */

struct dp_device {
    char id[DP_ID_MAX];
    bool healthy;
    int numa_node; /* -1: topology is left out */
};

struct dp_device_spec {
    char host_path[128];
    char container_path[128];
    char permissions[4];
};

struct dp_container_response {
    size_t n_devices;
    struct dp_device_spec *devices;
    size_t n_cdi;
    char (*cdi)[256]; /* fully qualified CDI names */
};

/* One container request of an Allocate call (kubelets send exactly one, the API allows more). */
struct dp_container_request {
    size_t n_ids;
    const char *const *ids;
};

enum dp_link { DP_LINK_DOWN, DP_LINK_REGISTERED, DP_LINK_STREAMING };

struct dp_handler {
    /* Mandatory. Must end, at once or later, in dp_reply or dp_fail, exactly once. `req` is valid
     * until then. */
    void (*allocate)(void *ctx, struct dp_call *call, const char *resource,
                     const struct dp_container_request *req, size_t n_req);
    /* Mandatory, answers at once, cannot fail: writes at most `size` of `available` into `ret`,
     * `must` first; returns how many. */
    size_t (*prefer)(void *ctx, const char *resource, const char *const *available,
                     size_t n_available, const char *const *must, size_t n_must, size_t size,
                     const char **ret);
    /* Optional: the kubelet gave up the call (it was cancelled); the answer will be dropped. */
    void (*cancelled)(void *ctx, struct dp_call *call);
    /* Optional: for status and metrics. `why` is "" when up. */
    void (*link)(void *ctx, const char *resource, enum dp_link link, const char *why);
    void *ctx;
};

struct dp_options {
    const char *plugin_dir;    /* /var/lib/kubelet/device-plugins */
    const char *socket_prefix; /* "pgpu": sockets are pgpu-<pid>-<n>.sock */
};

int dp_new(sd_event *loop, const struct dp_options *opt, const struct dp_handler *h,
           struct dp **ret, struct err *e);

/* Adds a resource: starts serving at once. Registers as soon as dp_set_devices was called, or after
 * half a second with an empty list. `resource` is "<domain>/<name>". */
int dp_add_resource(struct dp *d, const char *resource, struct err *e);

/* The whole list, sent to every stream when it differs from the last one sent. A device that was
 * listed and is absent now is really dropped: the caller decides when that is safe. */
int dp_set_devices(struct dp *d, const char *resource, const struct dp_device *dev, size_t n,
                   struct err *e);

void dp_reply(struct dp_call *call, const struct dp_container_response *resp, size_t n_resp);
/* The text ends in the pod's event: one human line. */
void dp_fail(struct dp_call *call, const struct err *e);

enum dp_link dp_link(const struct dp *d, const char *resource);

/* ---- PodResources ---- */

struct dp_pod_device {
    const char *ns, *pod, *container, *resource, *id;
};

/* Calls back once, with `e` filled on failure (dev NULL then). At most one call is under way; a
 * second is refused with BUSY. `socket` is /var/lib/kubelet/pod-resources/kubelet.sock. */
int dp_pod_resources_list(struct dp *d, const char *socket, uint64_t timeout_ns,
                          void (*done)(void *ctx, const struct dp_pod_device *dev, size_t n,
                                       const struct err *e),
                          void *ctx, struct err *e);

/* Ends the streams, removes our sockets, stops gRPC. Pending calls are failed (their dp_call is
 * gone then). Not to be called from a handler. NULL is fine. */
void dp_free(struct dp *d);

#endif
