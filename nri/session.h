/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the sessions. One peer is one connection slot:
 *
 *   session.c         the table of peers, what nri.h promises to the outside
 *   session_link.c    reaching a runtime's socket: connect, back-off, inotify
 *   session_conn.c    a connection: bytes in and out, its end
 *   session_hello.c   RegisterPlugin, Configure, Synchronize, Shutdown
 *   session_call.c    requests to the handler, their answers and deadlines
 *   session_launch.c  connections that launchers bring
 *
 * Ending: whoever finds a connection useless calls peer_fail, which only remembers why; the
 * teardown is done from the event loop, so nothing is freed under a caller's feet.
 */
#ifndef PGPU_NRI_SESSION_H
#define PGPU_NRI_SESSION_H

#include "nri/backoff.h"
#include "nri/launch.h"
#include "nri/nri.h"
#include "nri/session_decode.h"
#include "nri/ttrpc.h"

#include "base/buf.h"

#include "proto/nri.pb-c.h"

#include <sys/types.h>

#define NRI_PLUGIN_SERVICE "nri.pkg.api.v1alpha1.Plugin"
#define NRI_RUNTIME_SERVICE "nri.pkg.api.v1alpha1.Runtime"

/* What RegisterPlugin says of us: the newest protocol that is understood. */
#define NRI_VERSION_OURS "0.12.0"

/* Events by their bit (pkg/api/event.go). 0 would mean all of them. */
#define NRI_EVENTS_ALWAYS 0x0000000f /* Run-, Stop-, RemovePodSandbox, CreateContainer */
#define NRI_EVENT_VALIDATE 0x00002000

/* A request is answered after at most so long, or this part of what the runtime grants. */
#define NRI_ANSWER_NSEC UINT64_C(500000000)
#define NRI_ANSWER_PERCENT 80u

/* Runtimes take external plugins one at a time, and synchronize them only between operations on
 * pods (pkg/adaptation/adaptation.go); a VM that boots slowly is such an operation. */
#define NRI_HANDSHAKE_USEC (UINT64_C(300) * 1000000)
/* Nobody who reads takes so long to read something. */
#define NRI_STALL_USEC (UINT64_C(10) * 1000000)

/* A split list: bytes, parts, and memory once decoded. A container with a long environment is some
 * 10 KiB; 1,000 pods of 4 such containers are below. */
#define NRI_SYNC_BYTES_MAX ((size_t)64 << 20)
#define NRI_SYNC_PARTS_MAX 256u
#define NRI_SYNC_MEMORY_MAX ((size_t)256 << 20)

#define NRI_LAUNCHERS_MAX 8 /* connections that have not said hello yet */
#define NRI_LAUNCHER_USEC (UINT64_C(5) * 1000000)

struct nri_peer;

struct nri_call {
    struct nri_call *next;
    struct nri_peer *peer;
    uint32_t stream;
    bool dead; /* being cancelled: an answer is ignored */
    uint64_t begun;
    struct nri_request req;
    struct nri_pod pod;
    struct nri_container container;
    struct nri_adjust adjust;
    ProtobufCMessage *msg;
    struct nri_arena arena;
    sd_event_source *timer;
};

/* The parts of a list so far. */
struct nri_sync {
    size_t n, bytes, budget;
    ProtobufCMessage *part[NRI_SYNC_PARTS_MAX];
};

struct nri_peer {
    struct nri *nri;
    unsigned number;
    bool used, launched;
    struct nri_runtime rt;
    char name[LAUNCH_NAME_MAX], index[4]; /* that we register with */

    int fd; /* -1: down */
    pid_t pid;
    sd_event_source *io, *end, *stall;
    bool dying;
    char why[200]; /* where dying */
    struct buf in, plugin, runtime, out;
    struct ttrpc_server *server;
    struct ttrpc_client *client;
    struct nri_call *calls;

    /* Handshake */
    sd_event_source *timer; /* down: next attempt; else: handshake takes too long */
    uint32_t register_stream;
    bool configured;
    /* Do not ask for VALIDATE, since the runtime hung up when we did; but for one that tells its
     * NRI version. */
    bool minimal;
    struct nri_sync *sync;

    /* External */
    struct nri_backoff backoff;
    uint64_t tried_at; /* CLOCK_MONOTONIC ns */
    sd_event_source *watch;
    char watched[108];

    /* Launched */
    int launcher;
    sd_event_source *launcher_io;
};

struct nri_launcher {
    struct nri *nri;
    int fd; /* -1: free */
    sd_event_source *io, *timer;
};

struct nri {
    sd_event *loop;
    struct nri_handler h;
    unsigned n; /* peers used so far */
    struct nri_peer peer[NRI_SESSIONS_MAX];
    unsigned n_sockets;
    char launch_path[108];
    int launch_fd;
    sd_event_source *launch_io;
    struct nri_launcher launcher[NRI_LAUNCHERS_MAX];
};

uint64_t nri_now(void); /* CLOCK_MONOTONIC, ns */
/* Replaces *s by a timer that fires once, `usec` from now. */
int nri_timer(struct nri *n, sd_event_source **s, uint64_t usec, sd_event_time_handler_t f,
              void *ctx);

/* session_link.c */
void peer_retry(struct nri_peer *p, uint64_t usec);
/* A connection ended, or an attempt to make one failed: tells the handler, where that is news, and
 * decides when to try again. */
void peer_down(struct nri_peer *p, const char *why, bool ended);

/* session_conn.c */
/* Takes over fd. On failure it is closed and the peer is as before. */
int peer_start(struct nri_peer *p, int fd, struct err *e);
void peer_fail(struct nri_peer *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Frees all of a connection without telling anybody but the handler of waiting calls. */
void peer_close(struct nri_peer *p);

/* session_hello.c: each answers on the stream. */
int hello_register(struct nri_peer *p, struct err *e);
void hello_response(struct nri_peer *p, const struct ttrpc_response *r);
void hello_configure(struct nri_peer *p, const struct ttrpc_request *q);
void hello_synchronize(struct nri_peer *p, const struct ttrpc_request *q);
void hello_shutdown(struct nri_peer *p, const struct ttrpc_request *q);
void hello_sync_free(struct nri_peer *p);

/* session_call.c */
void call_dispatch(struct nri_peer *p, const struct ttrpc_request *q);
void call_cancel_all(struct nri_peer *p);
/* Answers; NULL is an empty message. What cannot be sent becomes an error. */
void peer_answer(struct nri_peer *p, uint32_t stream, const ProtobufCMessage *m);
void peer_refuse(struct nri_peer *p, uint32_t stream, enum ttrpc_code code, const char *text);

/* session_launch.c */
int launch_listen(struct nri *n, const char *path, struct err *e);
void launch_close(struct nri *n);
/* Takes over both descriptors, also on failure. Tests bring connections this way, too. */
int launch_adopt(struct nri *n, int fd, int launcher, const char *name, const char *index,
                 struct err *e);
/* Is this process a runtime that launched us, with the session alive? */
bool launch_has(const struct nri *n, pid_t pid);
/* Lets the launcher go; status 0: the session ended, else we do. */
void launch_end(struct nri_peer *p, int status, const char *why);

#endif
