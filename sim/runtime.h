/* SPDX-License-Identifier: Apache-2.0
 *
 * A container runtime stand-in: what an NRI plugin sees of containerd or CRI-O, with the order,
 * limits and habits of their NRI code (containerd/nri pkg/adaptation), each release as it is:
 *
 *   - External plugins are served one at a time up to the end of Synchronize; launched ones before.
 *   - The runtime's operations are one at a time; in each, plugins are asked in ascending order.
 *   - A plugin that does not answer in time is closed, and the operation goes on as if it had said
 *     nothing (but a validator's silence fails it). An error of a plugin fails the operation where
 *     the real one fails.
 *   - RunPodSandbox is sent when the VM runs. Where it is refused, plugins see StopPodSandbox and
 *     RemovePodSandbox at once, and only then the VM ends. StopPodSandbox otherwise follows the
 * VM's end. (containerd internal/cri/nri/nri_api_linux.go, internal/cri/server/sandbox_stop.go)
 *   - Adjustments are applied to the container in the runtimes' order; CDI devices only where that
 *     version injects them.
 *
 * Of a container's fields those are kept and adjusted that pgpu could have a part in: annotations,
 * devices, CDI devices, environment, mounts, hooks. Resources and the like are not there, and so
 * UpdateContainer and UpdatePodSandbox are never sent.
 *
 * Driven by lines of text (see sim_runtime_command); answers are JSON. Everything runs on the
 * loop's thread, which gets SIGCHLD blocked.
 */
#ifndef PGPU_SIM_RUNTIME_H
#define PGPU_SIM_RUNTIME_H

#include "base/err.h"
#include "base/usage.h"

#include <systemd/sd-event.h>

#include <json-c/json.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_RUNTIME_CDI_DIRS 4

struct sim_runtime;

/* Strings are kept, not copied. */
struct sim_runtime_options {
    const char *nri;      /* socket, removed and made */
    const char *runtime;  /* "containerd" (default), "cri-o" */
    const char *version;  /* as told in Configure; default "v2.3.4" or "1.36.0" */
    const char *release;  /* of NRI, "0.6" to "0.12"; NULL: that of the runtime's version */
    bool configure_first; /* Configure before the answer to RegisterPlugin; both orders occur */
    size_t sync_chunk;    /* split Synchronize beyond so many bytes; 0: at ttRPC's limit */
    /* Order of Synchronize's pods and containers, newest first by default. Real runtimes have none
     * (containerd: that of a map). */
    bool sync_oldest_first;
    uint64_t request_usec, registration_usec;     /* time-outs; 0: 2 s and 5 s */
    const char *plugin_path, *plugin_config_path; /* launched plugins; NULL: none */
    size_t n_cdi;
    const char *cdi[SIM_RUNTIME_CDI_DIRS]; /* in order of rising priority */
    int cdi_enabled;           /* the runtime's setting: 1, 0; -1: its version's default */
    const char *root;          /* of the node: device numbers, and for `kata` */
    const char *pod_resources; /* for `kata` */
    const char *kata;          /* program that plays Kata's shim; NULL: this one (pgpu-sim) */
};

int sim_runtime_new(sd_event *loop, const struct sim_runtime_options *opt, struct sim_runtime **ret,
                    struct err *e);
void sim_runtime_free(struct sim_runtime *rt);

/* Called once, when plugins can connect. Without launched plugins that is during sim_runtime_new.
 * Where NRI does not start (a launched plugin that fails, before 0.7), the loop ends with an error
 * instead, as the real program would. */
void sim_runtime_on_ready(struct sim_runtime *rt, void (*ready)(void *ctx), void *ctx);

/* `answer` belongs to the callee of `done` during the call only. */
typedef void (*sim_runtime_done)(void *ctx, struct json_object *answer);

/* One command. `done` comes exactly once, at once or later, unless the stand-in is freed first.
 * "help" lists the commands. */
void sim_runtime_command(struct sim_runtime *rt, const char *line, sim_runtime_done done,
                         void *ctx);

/* Verb of pgpu-sim. */
extern const struct usage sim_runtime_usage;

#endif
