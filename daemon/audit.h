/* SPDX-License-Identifier: Apache-2.0
 *
 * The audit log: a listener that writes down every act that is audited (act_is_audited), as a
 * hash-chained record. It never stands in the way of what happens: where a record cannot be
 * written, that is logged, told as ACT_AUDIT and shown in the status, records are counted as lost
 * until writing works again, which is tried every few seconds, and the first record then says how
 * many. Only with `audit.required` Allocate is refused meanwhile (audit_ready), also while the disk
 * refuses what was written.
 *
 * Loop thread. A record costs one write to the page cache; another thread waits for the disk.
 */
#ifndef PGPU_DAEMON_AUDIT_H
#define PGPU_DAEMON_AUDIT_H

#include "daemon/act.h"
#include "daemon/config_audit.h"

#include <systemd/sd-event.h>

struct audit;
struct json_object;

/* *ret is NULL where `audit.file` is "". Fails for want of memory or threads only. `acts`: who
 * hears of failures, until the loop ends; audit_free() tells nobody. */
int audit_new(sd_event *loop, const struct audit_conf *conf, const char *state_dir,
              const struct act_bus *acts, struct audit **ret, struct err *e);
void audit_free(struct audit *a); /* waits for the disk */

/* act_listener; ctx is the struct audit. */
void audit_act(void *ctx, const struct act *act);

/* May GPUs be handed out? False, and `e` says why: records are required, and one could not be
 * written just now either. NULL is fine: true. */
bool audit_ready(struct audit *a, struct err *e);

/* After an act was told, before it takes effect: is it on record, if it has to be? Tries nothing
 * anew: what is lost is lost. NULL is fine: true. */
bool audit_has_it(const struct audit *a, struct err *e);

/* Is all of it written, and has the disk refused nothing? *why says why not (until the next act),
 * or "". NULL is fine: true. */
bool audit_is_ok(const struct audit *a, const char **why);

struct json_object *audit_json(const struct audit *a);

#endif
