/* SPDX-License-Identifier: Apache-2.0
 *
 * Control of a simulated node from outside: one line in, one text out, over a UNIX stream socket.
 * The answer starts with "ok" or "error: <one line>"; text follows; the server closes. After
 * "trace ADDR|all" and its "ok" the server writes register traffic until the client closes.
 */
#ifndef PGPU_SIM_CONTROL_H
#define PGPU_SIM_CONTROL_H

#include "base/cc_mode.h"
#include "sim/gpu.h"
#include "sim/kernel.h"

/* Most bytes of an answer. */
#define SIM_REPLY_MAX 65536u

/* Client: sends one command and waits for the answer's text (without the "ok" line). */
int sim_ctl_call(const char *socket_path, const char *line, char *reply, size_t size,
                 struct err *e);

/* Client: writes the traffic to stdout until the node ends. `what` is an address or "all". */
int sim_ctl_trace(const char *socket_path, const char *what, struct err *e);

/* Server of control and of uevents; threads of its own. Either path may be NULL. */
struct sim_server;
int sim_server_start(struct sim_kernel *k, const char *control_path, const char *uevent_path,
                     struct sim_server **ret, struct err *e);
void sim_server_stop(struct sim_server *s);

/* One "group=4"-like word of `plug` and of --add; strings are borrowed. */
int sim_spec_option(struct sim_fn_spec *s, const char *word, struct err *e);

/* The mode that the last reset latched, and the one that the firmware settings ask for;
 * CC_MODE_UNKNOWN for functions that have none. */
enum cc_mode control_active_mode(const struct sim_gpu *g);
enum cc_mode control_configured_mode(const struct sim_gpu *g);

/* The table or JSON of all functions; the kernel's lock is held. */
void control_show(struct sim_kernel *k, bool json, char *buf, size_t size);

#endif
