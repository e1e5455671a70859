/* SPDX-License-Identifier: Apache-2.0
 *
 * Looks now and then whether the configuration file has changed since pgpud read it. Nothing is
 * taken over: what was changed counts from the next start on, and whoever changed it learns before
 * then whether there will be one. Told as ACT_CONFIG, shown in metrics. Loop thread.
 */
#ifndef PGPU_DAEMON_CONFIG_WATCH_H
#define PGPU_DAEMON_CONFIG_WATCH_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct config_watch;
struct node;

/* `path` NULL: there is no file, *ret is NULL. `every`: nanoseconds between looks, 0 = 10 s. */
int config_watch_new(struct node *n, const char *path, uint64_t every, struct config_watch **ret,
                     struct err *e);
void config_watch_free(struct config_watch *w); /* NULL is fine */

/* NULL is fine: nothing has changed. */
bool config_watch_bad(const struct config_watch *w); /* pgpud would not start with the file */
bool
config_watch_pending(const struct config_watch *w); /* it says other things than are in force */

#endif
