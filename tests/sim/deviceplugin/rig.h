/* SPDX-License-Identifier: Apache-2.0
 *
 * One loop with the kubelet stand-in and our plugin on it, in a private directory.
 */
#ifndef PGPU_TESTS_SIM_DEVICEPLUGIN_RIG_H
#define PGPU_TESTS_SIM_DEVICEPLUGIN_RIG_H

#include "deviceplugin/dp.h"
#include "deviceplugin/grpc_io.h"
#include "sim/kubelet.h"

#include <systemd/sd-event.h>

#include <json-c/json.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GPU "nvidia.com/pgpu"
#define SWITCH "nvidia.com/nvswitch"
#define RIG_CALLS 16

struct rig {
    sd_event *loop;
    char dir[64], plugins[96], pods_sock[96], kubelet_sock[128];
    struct sim_kubelet *k;
    struct dp *dp;
    /* what the handler saw */
    bool defer, listed_by_rig;
    struct dp_call *waiting[RIG_CALLS];
    char waiting_id[RIG_CALLS][DP_ID_MAX];
    size_t n_waiting, n_allocates, n_cancelled, n_prefers;
    enum dp_link link;
    unsigned n_links_up;
    char why[512];
};

/* A directory and a loop, nothing running. */
void rig_init(struct rig *t);
void rig_fini(struct rig *t);
void rig_kubelet(struct rig *t, bool race);
void rig_plugin(struct rig *t);
/* Adds the resource and lists n healthy devices "0000:<resource>:00.0". */
void rig_resource(struct rig *t, const char *resource, size_t n);
void rig_list(struct rig *t, const char *resource, size_t n, size_t unhealthy_from);

/* Runs the loop until `over` is true; fails the test after `seconds`. */
void rig_until(struct rig *t, bool (*over)(struct rig *t), double seconds);
void rig_run(struct rig *t, double seconds);

/* A command and its answer; the caller puts the object. */
struct json_object *rig_ask(struct rig *t, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* The same; the answer must say ok. */
void rig_ok(struct rig *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A command whose answer is waited for later. */
struct rig_answer {
    struct json_object *o;
};
void rig_start(struct rig *t, struct rig_answer *a, const char *line);
struct json_object *rig_wait(struct rig *t, struct rig_answer *a, double seconds);

const char *rig_text(struct json_object *o, const char *key);
/* A number of a resource in `status`. */
int64_t rig_status(struct rig *t, const char *resource, const char *key);

size_t rig_sockets(const struct rig *t); /* our sockets in the plugin directory */
bool rig_socket(const struct rig *t, char *path, size_t size); /* the first of them */
size_t rig_fds(void);

#endif
