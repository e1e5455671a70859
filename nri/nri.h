/* SPDX-License-Identifier: Apache-2.0
 *
 * A plugin's sessions with container runtimes over NRI v1alpha1, 0.6 to 0.12: connect, register,
 * synchronize, answer, reconnect for ever. What the answers are is decided elsewhere (the handler);
 * here are bytes, order and time.
 *
 * Threads: everything runs on the thread of the sd_event loop; handlers are called from it and may
 * call anything here but nri_free.
 *
 * Time: a request that has no answer after 500 ms, or after 80 % of the time that the runtime gave
 * it if that is less, is answered with an error (code DEADLINE_EXCEEDED) and `cancelled` is called:
 * a late answer would be worse, since the runtime then drops the plugin and goes on without it
 * (containerd/nri pkg/adaptation/plugin.go). So what must not happen unchecked fails closed.
 */
#ifndef PGPU_NRI_NRI_H
#define PGPU_NRI_NRI_H

#include "base/err.h"

#include <systemd/sd-event.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NRI_SOCKETS_MAX 8   /* runtimes by configuration */
#define NRI_SESSIONS_MAX 16 /* with those that a launcher brought */

struct nri;      /* all sessions of this process */
struct nri_call; /* one request waiting for its answer */

struct nri_kv {
    const char *key, *value;
};

struct nri_device {
    const char *path; /* in the container */
    char type;        /* 'c', 'b', 'p'; 'u' is told as 'c'; 0 = missing or anything else */
    int64_t major, minor;
};

/* Strings are never NULL, are valid UTF-8 and hold no NUL; lists may be empty. Everything belongs
 * to the request. Maps are sorted by key; of duplicate keys the last wins, as protobuf has it. */
struct nri_pod {
    const char *id, *name, *uid, *ns;
    const char *handler; /* CRI runtime handler, "" for the default one */
    size_t n_labels, n_annotations;
    const struct nri_kv *labels, *annotations;
    uint32_t pid;
};

struct nri_container {
    const char *id, *pod_id, *name;
    size_t n_annotations, n_env, n_cdi, n_devices, n_hooks;
    const struct nri_kv *annotations;
    const char *const *env;
    const char *const *cdi; /* CDI names; only some runtimes tell them */
    const struct nri_device *devices;
};

/* A change to a container. In an answer: what we want added, nothing else is touched (annotations,
 * devices and cdi count; the rest must be 0). In VALIDATE: what all plugins together ask for. */
struct nri_adjust {
    size_t n_annotations, n_devices, n_cdi, n_hooks, n_env, n_mounts;
    const struct nri_kv *annotations;
    const struct nri_device *devices;
    const char *const *cdi;
    const struct nri_kv *mounts; /* VALIDATE only: destination, source */
};

enum nri_event {
    NRI_RUN_POD,
    NRI_STOP_POD,
    NRI_REMOVE_POD,
    NRI_CREATE_CONTAINER,
    NRI_VALIDATE, /* of a container's adjustments, by NRI 0.10 and later */
    NRI_EVENTS
};
const char *nri_event_name(enum nri_event ev); /* "RunPodSandbox", ... */

struct nri_request {
    enum nri_event event;
    unsigned session;
    const struct nri_pod *pod;             /* never NULL; empty strings where nothing was sent */
    const struct nri_container *container; /* CREATE_CONTAINER, VALIDATE */
    const struct nri_adjust *adjust;       /* VALIDATE */
    uint64_t deadline;                     /* CLOCK_MONOTONIC ns, when we answer for the handler */
};

/* What is known of the runtime behind a session. */
struct nri_runtime {
    char socket[108]; /* "launched" for a connection brought by a launcher */
    char name[64], version[64], nri_version[32]; /* as told in Configure, "" before */
    bool up;                                     /* configured and synchronized */
    bool cdi;                                    /* injects CDI devices that a plugin names */
    bool validates;                              /* we subscribed to VALIDATE */
    /* Not subscribed, since the runtime hung up on being asked in the session before, though by its
     * version it knows the event. Until this session ends. */
    bool validation_refused;
    bool state_change;   /* sends events as StateChange (before 0.12) */
    bool config_ignored; /* sent a configuration text (only for a launched plugin); not used */
    uint64_t since;      /* CLOCK_MONOTONIC ns, of up or down */
    char why[200];       /* last reason for being down */
    enum nri_event last_event;
    uint64_t last_event_at; /* CLOCK_MONOTONIC ns, 0 = none yet */
    uint64_t events[NRI_EVENTS], refusals, timeouts, connects;
};

enum nri_answer { NRI_ACCEPTED, NRI_REFUSED, NRI_LATE };

struct nri_handler {
    /* Mandatory. Must end, at once or later, in nri_accept or nri_refuse, exactly once, unless
     * `cancelled` is called first. The request is valid until then. */
    void (*request)(void *ctx, struct nri_call *call, const struct nri_request *req);
    /* Mandatory: the answer was given for us, or the connection is gone (nri_free included); the
     * call is dead, and must not be used any more once this has returned. */
    void (*cancelled)(void *ctx, struct nri_call *call);
    /* Mandatory: everything that runs on this runtime, complete (split lists are joined). From now
     * on only this is true for the session. Valid until it returns. */
    void (*synchronize)(void *ctx, unsigned session, const struct nri_pod *pods, size_t n_pods,
                        const struct nri_container *containers, size_t n_containers);
    /* Optional: the session went up (after synchronize, or without one where a runtime with NRI
     * before 0.7 has launched us) or down, for log and status. */
    void (*session)(void *ctx, unsigned session, const struct nri_runtime *rt);
    /* Optional: an event was answered, by the handler or (`late`) for it, `took_ns` after it was
     * read. For metrics; must not touch the call. */
    void (*answered)(void *ctx, enum nri_event event, enum nri_answer answer, uint64_t took_ns);
    void *ctx;
};

struct nri_options {
    size_t n_sockets;
    const char *const *sockets; /* /var/run/nri/nri.sock */
    const char *name, *index;   /* "pgpu", "10" (two digits) */
    const char *launch_socket;  /* where launchers hand over connections; NULL or "" = none */
};

/* Opens the launch socket (mode 0600) and starts connecting. A runtime that is not there is no
 * error. INVALID for a bad name or index, FATAL where the launch socket cannot be made. */
int nri_new(sd_event *loop, const struct nri_options *opt, const struct nri_handler *h,
            struct nri **ret, struct err *e);
void nri_free(struct nri *n);

/* `adjust` only for CREATE_CONTAINER; NULL = no change. Its strings are copied. What cannot be sent
 * (invalid UTF-8, too large) is refused in its place, with the reason: fail closed. */
void nri_accept(struct nri_call *call, const struct nri_adjust *adjust);
/* The runtime fails the operation with this text, one human line. VALIDATE is answered with
 * `reject`, everything else with an error (code FAILED_PRECONDITION). */
void nri_refuse(struct nri_call *call, const char *text);

/* Sessions are numbered: first the configured sockets, then what launchers brought; the number of
 * one that ended is used again. NULL for a number that never was. */
size_t nri_sessions(const struct nri *n);
const struct nri_runtime *nri_session(const struct nri *n, unsigned session);

/* Does this runtime inject CDI devices that a plugin names in CreateContainer? containerd: 1.7.30
 * and later of 1.7, 2.1.0 and later; CRI-O: 1.34 and later. Unknown runtimes: no. */
bool nri_runtime_injects_cdi(const char *name, const char *version);

#endif
