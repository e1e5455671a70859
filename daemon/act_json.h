/* SPDX-License-Identifier: Apache-2.0
 *
 * An act as JSON, for followers and for the audit log. The keys are stable:
 *
 *   kind; device; devices; resource; ok; from, to, event; operation; mode, from_mode; reason, cure;
 *   what; rule; namespace, pod, sandbox; text; took_ms; evidence {...}; pid, uid
 *
 * A key stands there only where it says something; which kind has which is in the table of the
 * source. Texts are made clean UTF-8 and cut to 1000 bytes. Namespace and pod are the act's own, or
 * else the owner's of its device, as far as the kubelet has named it.
 */
#ifndef PGPU_DAEMON_ACT_JSON_H
#define PGPU_DAEMON_ACT_JSON_H

#include "daemon/act.h"

#include <stdint.h>
#include <time.h>

struct json_object;

/* Adds the act's keys to `o`. */
void act_json_put(struct json_object *o, const struct act *a);

/* Adds a text of unknown origin. */
void act_json_text(struct json_object *o, const char *key, const char *text);

/* "2026-01-31T12:00:00.250Z". Returns buf. */
#define ACT_TIME_MAX 32
const char *act_time(const struct timespec *t, char buf[ACT_TIME_MAX]);

/* Worth showing to people? Not: what happens all the time and went well (requests of the runtime,
 * journal records, periodic checks of a GPU that waits). */
bool act_is_news(const struct act *a);

/* Belongs into the audit log? All that concerns who got what, in which condition, on whose word. */
bool act_is_audited(const struct act *a);

#endif
