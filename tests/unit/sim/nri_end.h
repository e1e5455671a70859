/* SPDX-License-Identifier: Apache-2.0
 *
 * A plugin's end of an NRI connection, by script: for the tests of the runtime stand-in. It speaks
 * with the services' own mux and ttRPC code, the stand-in with its own: each is the other's check.
 */
#ifndef PGPU_TESTS_UNIT_SIM_NRI_END_H
#define PGPU_TESTS_UNIT_SIM_NRI_END_H

#include "base/buf.h"
#include "nri/mux.h"
#include "nri/ttrpc.h"
#include "proto/nri.pb-c.h"
#include "sim/runtime.h"

#include <systemd/sd-event.h>

#include <stdbool.h>
#include <stdint.h>

/* The stand-in and its loop, below a private directory. */
struct rig {
    sd_event *loop;
    struct sim_runtime *rt;
    char dir[64], socket[96];
};
void rig_init(struct rig *r);
/* Adds the socket, and time-outs of a minute where `opt` has none, so that a slow machine is no
 * failure. Must work. */
void rig_start(struct rig *r, struct sim_runtime_options *opt);
void rig_fini(struct rig *r);
/* Runs the loop until *flag; fails the test after 10 s. */
void rig_until(struct rig *r, const bool *flag);
/* Runs what is ready now: the loop until nothing happens for a moment that nothing depends on. */
void rig_settle(struct rig *r);
/* One command and its answer, owned by the caller. */
struct json_object *rig_ask(struct rig *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* The same, which must be ok, or must fail; and the answer is thrown away. */
void rig_ok(struct rig *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Returns the error's text in a static buffer. */
const char *rig_refused(struct rig *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Starts a command; *ret is its answer once it has come. */
struct rig_call {
    bool over;
    struct json_object *answer;
};
void rig_begin(struct rig *r, struct rig_call *c, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* What the plugin does with a method. */
enum end_action {
    END_ANSWER, /* with `reply` */
    END_FAIL,   /* with `code` and `text` */
    END_SILENT,
    END_CLOSE,
};

#define END_RULES 16

struct end_rule {
    const char *method;
    enum end_action action;
    enum ttrpc_code code;
    const char *text;
    const ProtobufCMessage *reply; /* NULL: empty */
};

struct end {
    struct rig *rig;
    int fd; /* -1: closed, by whomever */
    sd_event_source *source;
    struct buf in, plugin, runtime;
    struct ttrpc_server *server;
    struct ttrpc_client *client;
    uint32_t mask;
    bool no_split; /* answers parts of Synchronize as if it knew of none */
    struct end_rule rule[END_RULES];
    size_t n_rules;
    /* what came */
    char log[4096]; /* "Configure registered Synchronize StateChange:1 ..." */
    bool registered, refused, synced, closed;
    uint32_t first_stream; /* of the first frame that came */
    unsigned parts;
    size_t pods, containers;
    char names[2048], pod_names[2048]; /* of the containers and the pods of Synchronize */
    char *pod_name;                    /* of the last event or the first pod of Synchronize */
    struct {                           /* of Configure */
        char runtime[64], version[64], nri_version[64], config[256];
        int64_t registration_ms, request_ms;
    } told;
    Nri__Pkg__Api__V1alpha1__CreateContainerRequest *create;
    Nri__Pkg__Api__V1alpha1__ValidateContainerAdjustmentRequest *validate;
    void (*hook)(struct end *x, const char *method); /* before the answer */
    void *hook_ctx;
    unsigned n_hook;
};

/* Connects to the rig's socket; `fd` >= 0: takes that instead. */
void end_open(struct end *x, struct rig *r, int fd, uint32_t mask);
void end_register(struct end *x, const char *name, const char *index);
/* Opens, registers and waits until it is synchronized. */
void end_ready(struct end *x, struct rig *r, const char *name, const char *index, uint32_t mask);
struct end_rule *end_on(struct end *x, const char *method, enum end_action action);
void end_close(struct end *x);
void end_free(struct end *x);
/* Bytes as they are. */
void end_raw(struct end *x, const void *data, size_t len);

#endif
