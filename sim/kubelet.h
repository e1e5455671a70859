/* SPDX-License-Identifier: Apache-2.0
 *
 * A kubelet stand-in: what a device plugin and a PodResources client see of one, with the habits
 * and defects of kubelet 1.36.2's device manager:
 *
 *   - Register dials the plugin back before it answers; ListAndWatch starts before the answer.
 *   - At start every socket in the plugin directory is removed; resources are remembered with no
 *     devices; allocations survive and Allocate is not called again for them.
 *   - One pod admission at a time: an Allocate without deadline blocks all the others.
 *   - GetPreferredAllocation only where there is a choice; an error from it, an empty Allocate
 *     answer, or a device that left the list during its Allocate (a crash of the real kubelet) are
 *     recorded as violations, never acted out.
 *   - A registration that fails makes it forget the healthy instance; with `race`, the end of an
 * old stream tears down the new one (kubernetes/kubernetes#121994, up to 1.36.2).
 *   - Devices of ended pods are freed lazily, by the next allocation or PodResources List.
 *
 * Driven by lines of text (see sim_kubelet_command); answers are JSON. Owner thread: the loop's.
 */
#ifndef PGPU_SIM_KUBELET_H
#define PGPU_SIM_KUBELET_H

#include "base/err.h"
#include "base/usage.h"

#include <systemd/sd-event.h>

#include <json-c/json.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_kubelet;

struct sim_kubelet_options {
    const char *dir;        /* has or gets device-plugins/ and pod-resources/ */
    bool race;              /* the re-registration race of kubelets <= 1.36.2 */
    bool list_terminated;   /* PodResources List returns ended pods (kubelets <= 1.33) */
    uint64_t dial_nsec;     /* the dial-back inside Register; 0: 10 s */
    uint64_t allocate_nsec; /* deadline of Allocate; 0: none, as in 1.36 */
    bool no_rate_limit;     /* PodResources: 100 a second, bursts of 10, unless set */
};

int sim_kubelet_new(sd_event *loop, const struct sim_kubelet_options *opt, struct sim_kubelet **ret,
                    struct err *e);
void sim_kubelet_free(struct sim_kubelet *k);

/* `answer` belongs to the callee of `done` during the call only. */
typedef void (*sim_kubelet_done)(void *ctx, struct json_object *answer);

/* One command. `done` comes exactly once, at once or later, unless the stand-in is freed first.
 * "help" lists the commands. */
void sim_kubelet_command(struct sim_kubelet *k, const char *line, sim_kubelet_done done, void *ctx);

size_t sim_kubelet_violations(const struct sim_kubelet *k);

/* Listens for commands: one line per connection, answered by one line of JSON, then closed. */
struct sim_kubelet_control;
int sim_kubelet_control_new(sd_event *loop, struct sim_kubelet *k, const char *path,
                            struct sim_kubelet_control **ret, struct err *e);
void sim_kubelet_control_free(struct sim_kubelet_control *c);

/* Verbs of pgpu-sim. */
extern const struct usage sim_kubelet_usage, sim_kata_usage;

#endif
