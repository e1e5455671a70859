/* SPDX-License-Identifier: Apache-2.0
 *
 * The stand-ins' control socket: one line in, one line of JSON out, closed.
 */
#ifndef PGPU_SIM_JSONCTL_H
#define PGPU_SIM_JSONCTL_H

#include "base/err.h"

#include <systemd/sd-event.h>

#include <json-c/json.h>

#include <stddef.h>

/* `answer` belongs to the callee of `done` during the call only. */
typedef void (*sim_jsonctl_done)(void *ctx, struct json_object *answer);
/* Has to call `done` once, at once or later. */
typedef void (*sim_jsonctl_command)(void *target, const char *line, sim_jsonctl_done done,
                                    void *ctx);

struct sim_jsonctl;

/* Listens at `path` (mode 0600), for lines of up to `line_max` bytes. */
int sim_jsonctl_new(sd_event *loop, const char *path, size_t line_max, sim_jsonctl_command command,
                    void *target, struct sim_jsonctl **ret, struct err *e);
/* Before its target: commands that are not answered yet must not be answered afterwards. */
void sim_jsonctl_free(struct sim_jsonctl *c);

#endif
