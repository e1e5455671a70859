/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the runtime stand-in share:
 *
 *   runtime.c          life: socket, start and end, restart, who may go next
 *   runtime_launch.c   plugins that the runtime starts itself
 *   runtime_spawn.c    child processes
 *   runtime_plugin.c   a plugin's connection: registration, configuration, calls, end
 *   runtime_sync.c     Synchronize
 *   runtime_op.c       operations: their steps, and asking the plugins
 *   runtime_create.c   the steps of a container's creation: adjustments, validation, application
 *   runtime_pods.c     pods and containers
 *   runtime_msg.c      NRI's messages
 *   runtime_edits.c    what a container has
 *   runtime_cdi.c      CDI names and device numbers
 *   runtime_vmm.c      Kata's shim as a child process
 *   runtime_release.c  what differs between releases
 *   runtime_wire.c     frames and ttRPC
 *   runtime_cmd.c      the commands: lines, words, table
 *   runtime_act.c      the operations of the commands that act
 *   runtime_show.c     the commands that look and wait
 *   runtime_main.c     the program
 */
#ifndef PGPU_SIM_RUNTIME_PRIV_H
#define PGPU_SIM_RUNTIME_PRIV_H

#include "base/buf.h"
#include "base/err.h"
#include "sim/runtime.h"
#include "sim/runtime_edits.h"
#include "sim/runtime_release.h"
#include "sim/runtime_wire.h"
#include "sim/spb.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define RT_WAITS_MAX 32
#define RT_CLOSED_MAX 32 /* ended plugins that are remembered */
#define RT_WORDS_MAX 256
#define RT_NAME_MAX 256
#define RT_SERVICE_PLUGIN "nri.pkg.api.v1alpha1.Plugin"
#define RT_SERVICE_RUNTIME "nri.pkg.api.v1alpha1.Runtime"

/* ---- pods ---- */

enum rt_state { RT_CREATED = 1, RT_RUNNING = 3, RT_STOPPED = 4 }; /* NRI's ContainerState */

struct rt_pod;
struct rt_container {
    struct rt_container *next, *prev; /* newer, older */
    struct rt_pod *pod;
    char id[65], name[RT_NAME_MAX];
    enum rt_state state;
    struct rt_edits has;
};

struct rt_vmm;
struct rt_pod {
    struct rt_pod *next, *prev; /* newer, older */
    char id[65], uid[40];
    char ns[RT_NAME_MAX], name[RT_NAME_MAX], handler[RT_NAME_MAX];
    struct rt_edits has; /* annotations */
    bool stopped;
    struct rt_vmm *vmm; /* NULL: none was asked for */
    struct rt_container *containers;
};

struct rt_pod *rt_pod_add(struct sim_runtime *rt, const char *ns, const char *name,
                          const char *handler);
/* By ID, by "NS/NAME", or by a name that only one pod has. */
struct rt_pod *rt_pod_find(struct sim_runtime *rt, const char *word);
void rt_pod_drop(struct sim_runtime *rt, struct rt_pod *p); /* with its VMM */
struct rt_container *rt_container_add(struct sim_runtime *rt, struct rt_pod *p, const char *name);
struct rt_container *rt_container_find(const struct rt_pod *p, const char *word);
void rt_container_drop(struct rt_container *c);
struct json_object *rt_pod_json(const struct rt_pod *p);
struct json_object *rt_container_json(const struct rt_container *c);

/* ---- messages ---- */

#define RT_PAYLOAD_MAX ((size_t)64 << 20)

void rt_msg_pod(struct buf *b, unsigned field, const struct rt_pod *p);
/* With `has` instead of what the container has. */
void rt_msg_container(const struct sim_runtime *rt, struct buf *b, unsigned field,
                      const struct rt_container *c, const struct rt_edits *has);
void rt_msg_adjustment(struct buf *b, unsigned field, const struct rt_edits *x);
void rt_msg_owners(struct buf *b, unsigned field, const char *container, const struct rt_edits *x);
/* False for what Go would not unmarshal. Fields that the release does not know are skipped. */
bool rt_msg_read_adjustment(const struct spb_field *f, const struct rt_release *rel,
                            struct rt_edits *ret);

/* ---- plugins ---- */

enum rt_plugin_state {
    RT_CONNECTED,   /* RegisterPlugin has not come */
    RT_CONFIGURING, /* Configure is out */
    RT_CONFIGURED,  /* waits for its turn to be synchronized */
    RT_SYNCING,
    RT_READY,
    RT_REJECTED, /* bad name: answered with an error and left alone, its connection stays */
    RT_CLOSED,
};

enum rt_outcome {
    RT_ANSWERED,
    RT_ERROR,   /* the plugin answered with an error */
    RT_TIMEOUT, /* it was closed for being late */
    RT_LOST,    /* its connection ended */
    RT_TOO_BIG, /* the message was too large to send */
};
const char *rt_outcome_name(enum rt_outcome o);

struct rt_answer {
    enum rt_outcome outcome;
    int code;         /* RT_ERROR */
    const char *text; /* RT_ERROR and later */
    const void *data; /* RT_ANSWERED */
    size_t len;
    uint64_t usec; /* it took */
};

struct rt_plugin;
typedef void (*rt_answer_fn)(void *ctx, struct rt_plugin *p, const struct rt_answer *a);

struct rt_plugin {
    struct sim_runtime *rt;
    struct rt_plugin *next;
    struct rt_wire wire;
    enum rt_plugin_state state;
    unsigned serial;                                           /* of connection */
    char index[16], base[RT_NAME_MAX], name[RT_NAME_MAX + 16]; /* name: "10-pgpu" */
    char version[64];                                          /* NRI_version that it told */
    uint32_t mask;
    bool state_change; /* does not know the dedicated methods */
    sd_event_source *timer;
    /* launched ones */
    pid_t pid; /* 0: external */
    sd_event_source *child;
    char *config;
    /* the call under way */
    rt_answer_fn answer;
    void *answer_ctx;
    uint32_t stream;
    uint64_t begun_usec;
    /* Synchronize */
    struct {
        uint64_t deadline;
        size_t pods, containers;           /* already sent */
        size_t pods_each, containers_each; /* in a message */
        bool more;                         /* of the part that is out */
        unsigned parts;
    } sync;
    unsigned visited; /* step that has asked it */
    /* for people */
    uint64_t calls[RT_EVENTS];
    uint64_t errors, updates;
    char why[256]; /* last error */
};

/* Takes over `fd`. */
struct rt_plugin *rt_plugin_new(struct sim_runtime *rt, int fd, struct err *e);
/* From here on its registration is awaited. */
void rt_plugin_begin(struct rt_plugin *p);
void rt_plugin_close(struct rt_plugin *p, const char *why);
void rt_plugin_free(struct rt_plugin *p);
/* One call at a time. `answer` comes exactly once, at once only when nothing was sent. With `usec`
 * 0 the request time-out. */
void rt_plugin_call(struct rt_plugin *p, const char *method, const struct buf *payload,
                    uint64_t usec, rt_answer_fn answer, void *ctx);
/* As the event's method or as StateChange, whichever the two understand. The messages are those of
 * `pod`, and of `c` as `has` (both may be NULL). */
void rt_plugin_event(struct rt_plugin *p, enum rt_event ev, const struct rt_pod *pod,
                     const struct rt_container *c, const struct rt_edits *has, rt_answer_fn answer,
                     void *ctx);
/* The error as Go prints it: "rpc error: code = X desc = TEXT". */
void rt_answer_text(const struct rt_answer *a, char *buf, size_t size);
struct json_object *rt_plugin_json(const struct rt_plugin *p);

void rt_sync_start(struct rt_plugin *p);

/* All of the plugin directory, one after the other; rt_launched when through. */
int rt_launch_discover(struct sim_runtime *rt, struct err *e);
void rt_launch_next(struct sim_runtime *rt);
void rt_launch_forget(struct sim_runtime *rt);
/* A launched plugin ended before all were ready: with an old release NRI does not start. */
void rt_launch_failed(struct sim_runtime *rt, const char *plugin, const char *why);

/* Runs `path` with descriptors 0 to 3; -1: /dev/null (0 to 2), nothing (3). */
int rt_spawn(const char *path, char *const argv[], char *const env[], const int fd[4],
             pid_t *ret_pid, struct err *e);

/* ---- operations ---- */

enum rt_step_kind {
    RT_STEP_EVENT,     /* ask the plugins */
    RT_STEP_VMM_START, /* start Kata's shim */
    RT_STEP_VMM_STOP,
    RT_STEP_VMM_KILL,
    RT_STEP_CREATE, /* ask the plugins for adjustments */
    RT_STEP_VALIDATE,
    RT_STEP_APPLY,
    RT_STEP_CALL, /* `call` */
};

struct rt_op;
/* A step of its own; false: it has gone on by itself (rt_op_fail). */
typedef bool (*rt_call_fn)(struct rt_op *op, struct rt_container *c);

struct rt_step {
    enum rt_step_kind kind;
    enum rt_event event;
    struct rt_container *c;
    rt_call_fn call;
};

#define RT_STEPS_MAX 512

struct rt_op {
    struct rt_op *next;
    struct sim_runtime *rt;
    /* What the command said; pod and container are looked up when it is the operation's turn. */
    char pod_word[RT_NAME_MAX * 2], name[RT_NAME_MAX], handler[RT_NAME_MAX];
    struct rt_edits wish;
    struct rt_pod *pod;
    struct rt_container *c;
    struct rt_step step[RT_STEPS_MAX];
    size_t n, at;
    unsigned serial; /* of the step, see rt_plugin.visited */
    /* What to do instead when a step fails; NULL: it is only noted, and the next one follows. */
    void (*undo)(struct rt_op *op);
    struct json_object *answer, *calls;
    bool failed, with_vmm, confidential, keep_vmm, keep_socket;
    /* creation: what all want, what the next plugin sees, what a pretended other plugin wants */
    struct rt_edits merged, view, foreign;
    struct json_object *vmm; /* what the shim said */
    sim_runtime_done done;
    void *ctx;
};

struct rt_op *rt_op_new(struct sim_runtime *rt, sim_runtime_done done, void *ctx);
void rt_op_step(struct rt_op *op, enum rt_step_kind kind, enum rt_event ev, struct rt_container *c);
void rt_op_call(struct rt_op *op, rt_call_fn call, struct rt_container *c);
void rt_op_queue(struct rt_op *op);
void rt_op_free(struct rt_op *op); /* unanswered */
/* The operation fails, but for those whose errors are only noted. `plugin` may be NULL. */
void rt_op_fail(struct rt_op *op, const char *stage, const struct rt_plugin *plugin,
                const struct rt_answer *a, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* The step is over: with the next one. */
void rt_op_next(struct rt_op *op);
void rt_op_run(struct sim_runtime *rt); /* the first of the queue, if it is not under way */
/* The next plugin of this step that has subscribed; NULL: all were asked. */
struct rt_plugin *rt_op_visit(struct rt_op *op, enum rt_event ev);
void rt_op_note(struct rt_op *op, const char *what, const struct rt_plugin *p,
                const struct rt_answer *a);

/* ---- what the commands do ---- */

bool rt_act_run_pod(struct rt_op *op, struct rt_container *c);
bool rt_act_create(struct rt_op *op, struct rt_container *c);
bool rt_act_stop_container(struct rt_op *op, struct rt_container *c);
bool rt_act_remove_container(struct rt_op *op, struct rt_container *c);
bool rt_act_stop_pod(struct rt_op *op, struct rt_container *c);
bool rt_act_remove_pod(struct rt_op *op, struct rt_container *c);
bool rt_act_end_vmm(struct rt_op *op, struct rt_container *c);
bool rt_act_kill_vmm(struct rt_op *op, struct rt_container *c);

void rt_create_ask(struct rt_op *op);
void rt_create_validate(struct rt_op *op);
void rt_create_apply(struct rt_op *op);

/* ---- CDI ---- */

/* Adds the device nodes of the device; -ENOENT: "unresolvable CDI devices NAME". */
int rt_cdi_inject(const struct sim_runtime *rt, const char *name, struct rt_edits *into,
                  struct err *e);
/* The device numbers of a node below the root, by sysfs where it is a VFIO node. -ENOENT where
 * there is a root but no such node; without a root every node is there, with numbers 0. */
int rt_device_numbers(const struct sim_runtime *rt, const char *host_path, struct rt_item *dev,
                      struct err *e);

/* ---- the VMM ---- */

/* The operation goes on when the shim has reported; what it said is in op->vmm. */
void rt_vmm_start(struct rt_op *op);
/* Lets it end, or kills it; the operation goes on when the process is gone. */
void rt_vmm_stop(struct rt_op *op, int sig);
void rt_vmm_free(struct rt_vmm *v);
struct json_object *rt_vmm_json(const struct rt_vmm *v);

/* ---- the stand-in ---- */

struct rt_wait {
    struct sim_runtime *rt;
    long plugins, closed, connects; /* -1: any */
    sd_event_source *timer;
    sim_runtime_done done; /* NULL: free slot */
    void *ctx;
};

struct rt_candidate {
    char index[4], base[RT_NAME_MAX];
    char *config;
};

struct sim_runtime {
    sd_event *loop;
    struct sim_runtime_options opt;
    const struct rt_release *release;
    struct rt_traits traits;
    int fd;
    sd_event_source *accept, *reaper;
    bool up, starting, hung;
    bool freeing;      /* nothing goes on */
    char failure[512]; /* why NRI did not start */
    unsigned restarts;
    void (*ready)(void *ctx);
    void *ready_ctx;
    struct rt_plugin *plugins;   /* ready ones by index, then the others */
    struct rt_plugin *dead;      /* to be freed by the reaper */
    struct rt_plugin *admitting; /* external plugin between accept and ready */
    struct json_object *closed;
    unsigned serial, connects, n_closed, ids, steps;
    size_t n_candidates, candidate;
    struct rt_candidate *candidates;
    struct rt_pod *pods;
    struct rt_op *ops, **ops_tail; /* the first may be under way */
    bool op_runs;
    struct rt_wait waits[RT_WAITS_MAX];
};

uint64_t rt_now(void); /* CLOCK_MONOTONIC, microseconds */
struct json_object *rt_ok(void);
struct json_object *rt_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void rt_answer(sim_runtime_done done, void *ctx, struct json_object *answer);

/* Starts whatever may run now: an operation, a Synchronize, the next connection. */
void rt_pump(struct sim_runtime *rt);
/* Soon, from the loop. */
void rt_pump_later(struct sim_runtime *rt);
void rt_down(struct sim_runtime *rt, bool stale);
int rt_up(struct sim_runtime *rt, struct err *e);
void rt_hang(struct sim_runtime *rt, bool on);
void rt_waits_check(struct sim_runtime *rt);
void rt_waits_fini(struct sim_runtime *rt);

/* ---- commands ---- */

struct rt_line {
    char *text;
    size_t n;
    char *word[RT_WORDS_MAX];
};
typedef void (*rt_command_fn)(struct sim_runtime *rt, struct rt_line *l, sim_runtime_done done,
                              void *ctx);
bool rt_number(const char *s, long max, long *ret);
void rt_cmd_status(struct sim_runtime *rt, struct rt_line *l, sim_runtime_done done, void *ctx);
void rt_cmd_pods(struct sim_runtime *rt, struct rt_line *l, sim_runtime_done done, void *ctx);
void rt_cmd_plugins(struct sim_runtime *rt, struct rt_line *l, sim_runtime_done done, void *ctx);
void rt_cmd_wait(struct sim_runtime *rt, struct rt_line *l, sim_runtime_done done, void *ctx);

#endif
