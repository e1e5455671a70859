/* SPDX-License-Identifier: Apache-2.0
 *
 * A whole node under test: the simulated node, pgpu-hwd, the kubelet stand-in and pgpud, each a
 * real process, all below one private temporary directory. Used by cmocka tests; a step that
 * cannot be done fails the test with a text.
 */
#ifndef PGPU_TESTS_SIM_DAEMON_HARNESS_H
#define PGPU_TESTS_SIM_DAEMON_HARNESS_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct harness;

struct harness_options {
    const char *node_args;  /* more arguments of `pgpu-sim node`, blank-separated */
    const char *pgpud_yaml; /* more lines of pgpud's configuration */
    const char *pod_poll;   /* NULL: 200ms */
    const char *nri_yaml;   /* more lines of its part `nri:`, indented by two blanks */
    const char *audit_yaml; /* more lines of its part `audit:`, likewise */
    const char *hwd_yaml;   /* more lines of pgpu-hwd's configuration */
    const char *kubelet_args;
    const char *runtime_args; /* more of `pgpu-sim runtime`, which the test starts itself */
    bool no_pgpud;            /* the test starts it itself */
    bool no_kubelet;
    bool real_node; /* the machine's own hardware (guests of tests/vm): no H_NODE, and nothing of
                       what asks it: harness_node, "the simulated hardware's own account" */
};

/* True where the machine can run it (FUSE); else prints why, and the program should exit 77. */
bool harness_possible(void);

struct harness *harness_start(const struct harness_options *o);
/* Ends everything, fails the test if a program does not end or left something mounted. */
void harness_stop(struct harness *h);
const char *harness_dir(const struct harness *h);

enum harness_program { H_NODE, H_HWD, H_KUBELET, H_PGPUD, H_RUNTIME, H_PROGRAMS };
void harness_run(struct harness *h, enum harness_program p); /* starts and waits until it serves */
void harness_kill(struct harness *h, enum harness_program p, int sig); /* and waits for its end */
pid_t harness_pid(const struct harness *h, enum harness_program p);

/* One command to the simulated node or the kubelet stand-in; the reply is to be freed. */
char *harness_node(struct harness *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
json_object *harness_kubelet(struct harness *h, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* As harness_kubelet, from a thread, for calls that block (an Allocate that waits). */
struct harness_call;
struct harness_call *harness_kubelet_async(struct harness *h, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
json_object *harness_join(struct harness_call *c);

/* pgpud's status, and one unit of it (borrowed from `status`). */
json_object *harness_status(struct harness *h);
json_object *harness_unit(json_object *status, const char *id);

/* Waits until the unit's `key` has the value; fails the test after `ms` with what it was. */
void harness_wait_unit(struct harness *h, const char *id, const char *key, const char *value,
                       unsigned ms);
/* Waits until `n` devices of the resource are Healthy for the kubelet. */
void harness_wait_healthy(struct harness *h, const char *resource, unsigned n, unsigned ms);

/* What Kata's shim would find: the path of the node in the CDI file, "" if there is none. */
void harness_cdi_node(struct harness *h, const char *id, char *buf, size_t size);

/* ---- pods ---- */

#define H_GPU0 "0000:18:00.0" /* first GPU of the default shape */
#define H_GPU1 "0000:2a:00.0"

struct h_grant {
    size_t n;
    char id[16][24];
    char node[16][128]; /* host path of the DeviceSpec */
};

/* "NS/POD RESOURCE=N [--container C] [--init]": admits a container; fails the test if it is
 * refused. */
void h_run(struct harness *h, struct h_grant *ret, const char *what);
void h_grant_of(json_object *reply, struct h_grant *ret);
/* The same, expecting a refusal whose text has one of the words ("a|b"). */
void h_run_fails(struct harness *h, const char *what, const char *words);
void h_expect_refusal(json_object *reply, const char *words);
void h_end(struct harness *h, const char *pod);
/* The kubelet saw nothing that would have crashed or confused a real one. */
void h_no_violations(struct harness *h);
/* How many of the lists that the kubelet got showed the device Healthy. */
int h_ever_healthy(struct harness *h, const char *resource, const char *id);

/* ---- the simulated hardware's own account ---- */
int64_t h_resets(struct harness *h, const char *id);     /* resets since the node started */
const char *h_driver(struct harness *h, const char *id); /* static buffer; "" unbound */
bool h_is_on(struct harness *h, const char *id);         /* CC mode active, asked of the model */
void h_bind_vfio(struct harness *h, const char *id);     /* as the node's own tools would */
/* Opens the node (path as in the CDI file) as a VMM does: the device is reset and held until the
 * descriptor is closed. Returns it, or -errno. */
int h_vmm_open(struct harness *h, const char *node);
void h_reset(struct harness *h, const char *id);  /* by sysfs */
void h_unbind(struct harness *h, const char *id); /* and clears the override */
void h_forget(struct harness *h);                 /* removes the journals of both services */
void h_kill_children(struct harness *h, enum harness_program p);

/* ---- the container runtime's stand-in (harness_run(h, H_RUNTIME)) ---- */
/* One command (pgpu-sim runtime's `help` lists them) and its answer, ok or not. */
json_object *h_runtime(struct harness *h, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* The same, failing the test if it is refused; and expecting that, with one of the words ("a|b").
 */
void h_runtime_ok(struct harness *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void h_runtime_refused(struct harness *h, const char *words, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Waits until pgpud is synchronized. */
void h_runtime_ready(struct harness *h);

/* Text of a JSON string member, "" if absent. */
const char *jstr(json_object *o, const char *key);
int64_t jint(json_object *o, const char *key);
bool jbool(json_object *o, const char *key);

uint64_t h_now_ms(void);
void h_sleep_ms(unsigned ms);

#endif
