/* SPDX-License-Identifier: Apache-2.0
 *
 * A container runtime for the tests of the sessions: it listens, takes one plugin at a time, and
 * does what the test says. Runs on the thread of the test; world_until turns everything.
 */
#ifndef PGPU_TESTS_UNIT_NRI_WIRE_RUNTIME_H
#define PGPU_TESTS_UNIT_NRI_WIRE_RUNTIME_H

#include "nri/nri.h"
#include "nri/session.h"
#include "nri/ttrpc.h"

#include "base/buf.h"

#include "proto/nri.pb-c.h"

#include <sys/types.h>

#define ANSWERS_MAX 64

struct answer {
    uint32_t stream;
    enum ttrpc_code code;
    char text[1100];
    uint8_t *payload;
    size_t len;
};

struct runtime {
    char path[100];
    int listener, fd;
    bool deaf;     /* does not read */
    bool hold_reg; /* does not answer RegisterPlugin */
    bool refuse_reg;
    bool closed; /* the plugin hung up */
    unsigned accepted;
    struct buf in, plugin, runtime, out;
    struct ttrpc_client *client;
    struct ttrpc_server *server;
    unsigned registered;
    uint32_t reg_stream;
    char name[64], index[8], version[32];
    size_t n_answers;
    struct answer answer[ANSWERS_MAX];
};

/* What the plugin's handler does with requests. */
enum behave { ACCEPT, REFUSE, HOLD, ADJUST };

struct world {
    char dir[64];
    sd_event *loop;
    struct nri *nri;
    struct runtime rt[2];
    struct nri_handler h;

    enum behave behave;
    const struct nri_adjust *adjust;
    unsigned requests, cancelled, syncs, ups, downs;
    enum nri_event last;
    char seen[4096]; /* last request or list, as text */
    char why[256];
    struct nri_call *held;
    size_t n_pods, n_containers;
    uint64_t deadline, seen_at; /* of the last request */
};

void world_init(struct world *w);
void world_fini(struct world *w);
/* Starts the plugin for the first `n` runtimes, with a launch socket or without. */
void world_plugin(struct world *w, size_t n, bool launch);

typedef bool (*world_cond)(struct world *w);
/* Turns everything until `cond`, at most for 20 s: then false. */
bool world_until(struct world *w, world_cond cond);
void world_turn(struct world *w); /* once */

void runtime_listen(struct runtime *r);
void runtime_deafen(struct runtime *r);
void runtime_hang_up(struct runtime *r); /* closes the connection */
void runtime_stop(struct runtime *r);    /* and the socket */
void runtime_adopt(struct runtime *r, int fd);

uint32_t runtime_call(struct runtime *r, const char *method, const ProtobufCMessage *m,
                      uint64_t timeout_ns);
uint32_t runtime_call_bytes(struct runtime *r, const char *service, const char *method,
                            const void *p, size_t n, uint64_t timeout_ns);
/* Waits for the answer; NULL when none came. */
const struct answer *runtime_wait(struct world *w, struct runtime *r, uint32_t stream);

/* Whole handshake up to Synchronize with nothing; false when it did not come about. Empty
 * strings and NULL for what is not told. */
bool runtime_hello(struct world *w, struct runtime *r, const char *name, const char *version,
                   const char *nri_version);
int32_t runtime_configure(struct world *w, struct runtime *r, const char *name, const char *version,
                          const char *nri_version);

bool is_up(struct world *w);   /* session 0 */
bool is_down(struct world *w); /* nothing is up */
bool has_registered(struct world *w);

size_t count_fds(void);

#endif
