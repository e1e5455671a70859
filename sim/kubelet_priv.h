/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the kubelet stand-in share:
 *
 *   kubelet.c       life: directories, sockets, restart, violations
 *   kubelet_reg.c   Registration service, the plugins' streams, the lists
 *   kubelet_alloc.c admission of pods: choice of devices, Allocate
 *   kubelet_table.c pods and what they were granted
 *   kubelet_pods.c  PodResources service
 *   kubelet_cmd.c   the commands
 *   kubelet_main.c  the program: options and control socket
 */
#ifndef PGPU_SIM_KUBELET_PRIV_H
#define PGPU_SIM_KUBELET_PRIV_H

#include "base/err.h"
#include "deviceplugin/codec.h"
#include "deviceplugin/grpc_io.h"
#include "sim/kubelet.h"

#include <stdbool.h>
#include <stdint.h>

#define KUBE_NAME_MAX 256
#define KUBE_REQUESTS_MAX 8
#define KUBE_HISTORY_MAX 4096
#define KUBE_VIOLATIONS_MAX 256
#define KUBE_WAITS_MAX 64

/* A set of device IDs in order of arrival. */
struct ids {
    size_t n, cap;
    char (*v)[DP_ID_MAX];
};
void ids_free(struct ids *s);
bool ids_has(const struct ids *s, const char *id);
bool ids_add(struct ids *s, const char *id); /* no duplicates; false without memory */
void ids_del(struct ids *s, const char *id);
struct json_object *ids_json(const struct ids *s);

struct kube_device {
    char id[DP_ID_MAX];
    bool healthy;
    int64_t numa; /* -1: no topology */
};

/* One registered plugin instance. */
struct kube_client {
    struct kube_client *next;
    struct kube_resource *r;
    char endpoint[GIO_PATH_MAX + 1];
    struct gio_channel *channel; /* NULL: disconnected */
    struct gio_call *reg_call;   /* Register that waits for the dial-back */
    bool prefers;
    unsigned lists; /* received */
};

struct kube_resource {
    struct sim_kubelet *k;
    struct kube_resource *next;
    char name[KUBE_NAME_MAX];
    struct kube_client *known;    /* the server's map entry of this name */
    struct kube_client *endpoint; /* the manager's endpoint: where Allocate goes */
    bool stopped;
    size_t n;
    struct kube_device *devices;
    struct ids allocated;
    struct json_object *history;
    unsigned registrations, lists, allocates, preferred;
};

/* What one container got of one resource; replayed when the container restarts. */
struct kube_grant {
    struct kube_grant *next;
    char container[KUBE_NAME_MAX];
    char resource[KUBE_NAME_MAX];
    bool init;
    struct ids ids;
    struct json_object *response;
};

enum kube_phase { KUBE_RUNNING, KUBE_FAILED, KUBE_ENDED };

struct kube_pod {
    struct kube_pod *next;
    char ns[KUBE_NAME_MAX], name[KUBE_NAME_MAX];
    unsigned uid;
    enum kube_phase phase;
    struct kube_grant *grants;
};

/* One `run`: the admission of one container with its resources. */
struct kube_job {
    struct kube_job *next;
    struct kube_pod *pod; /* set when it runs */
    char ns[KUBE_NAME_MAX], name[KUBE_NAME_MAX], container[KUBE_NAME_MAX];
    bool init;
    size_t n, at;
    struct {
        char resource[KUBE_NAME_MAX];
        size_t want;
    } req[KUBE_REQUESTS_MAX];
    struct ids chosen;         /* of the request under way */
    struct kube_client *asked; /* whom an RPC is under way to */
    uint64_t begun_usec, sent_usec, alloc_usec;
    struct json_object *granted;
    sim_kubelet_done done;
    void *ctx;
};

struct kube_wait {
    struct sim_kubelet *k;
    char resource[KUBE_NAME_MAX];
    long healthy, capacity; /* -1: any */
    sd_event_source *timer;
    sim_kubelet_done done; /* NULL: free slot */
    void *ctx;
};

struct sim_kubelet {
    sd_event *loop;
    struct gio *io;
    struct sim_kubelet_options opt;
    char dir[GIO_PATH_MAX + 1], plugins[GIO_PATH_MAX + 1], pods_sock[GIO_PATH_MAX + 1];
    struct gio_server *registration, *pod_resources;
    bool down;
    unsigned stopping; /* servers still going down */
    sd_event_source *up_timer;
    uint64_t up_after_usec;
    unsigned restarts;
    sim_kubelet_done restart_done;
    void *restart_ctx;

    struct kube_client *clients;
    struct kube_resource *resources;
    struct kube_pod *pods;
    unsigned next_uid;
    struct kube_job *job; /* under way */
    struct kube_job *queue, **queue_tail;
    struct kube_wait waits[KUBE_WAITS_MAX];
    struct json_object *violations;
    unsigned refuse; /* Register calls to refuse */
    uint64_t start_usec;
    double tokens; /* rate limit */
    uint64_t tokens_usec;
};

uint64_t kube_now(const struct sim_kubelet *k); /* microseconds since its start */
struct json_object *kube_ms(uint64_t usec);     /* as milliseconds */
void kube_violation(struct sim_kubelet *k, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
struct json_object *kube_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void kube_answer(sim_kubelet_done done, void *ctx, struct json_object *answer);

/* ---- kubelet.c ---- */
void kube_restart(struct sim_kubelet *k, uint64_t down_usec, sim_kubelet_done done, void *ctx);

/* ---- kubelet_reg.c ---- */
extern const struct gio_method kube_registration_methods[1];
struct kube_resource *kube_resource_find(struct sim_kubelet *k, const char *name);
void kube_resource_free(struct kube_resource *r);
size_t kube_healthy(const struct kube_resource *r);
/* Cuts the kubelet's own connection to the plugin, as a peer that cancels. */
void kube_cancel_stream(struct kube_resource *r);
/* Forgets every plugin (restart). */
void kube_forget_plugins(struct sim_kubelet *k);
/* Ends waits that are satisfied. */
void kube_waits_check(struct sim_kubelet *k);

/* ---- kubelet_alloc.c ---- */
void kube_job_add(struct sim_kubelet *k, struct kube_job *j);
void kube_job_free(struct kube_job *j);
/* Aborts what is under way and queued. */
void kube_jobs_abort(struct sim_kubelet *k, const char *why);
/* The connection to `c` was closed: its RPC, if any, is over. */
void kube_job_disconnected(struct sim_kubelet *k, const struct kube_client *c);

/* ---- kubelet_table.c ---- */
struct kube_pod *kube_pod_get(struct sim_kubelet *k, const char *ns, const char *name);
struct kube_pod *kube_pod_find(struct sim_kubelet *k, const char *ns, const char *name);
/* The lazy freeing of kubelets. */
void kube_collect(struct sim_kubelet *k);
void kube_pod_free(struct kube_pod *p);
struct json_object *kube_pod_json(const struct kube_pod *p);

/* ---- kubelet_pods.c ---- */
extern const struct gio_method kube_pods_methods[3];

#endif
