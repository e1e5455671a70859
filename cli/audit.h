/* SPDX-License-Identifier: Apache-2.0
 *
 * The verbs of the audit log, and what other verbs need of it. One thread.
 */
#ifndef PGPU_CLI_AUDIT_H
#define PGPU_CLI_AUDIT_H

#include "base/chain.h"
#include "base/usage.h"

#include <json-c/json.h>

enum { AUDIT_VERB_TAIL, AUDIT_VERB_VERIFY };
extern const struct usage audit_verbs[];
int audit_tail_run(const void *ctx, int argc, char **argv);

/* Path of the log: of `dir`, or of pgpud's configuration (NULL: the default one); and of the note
 * of its newest record, "" with `dir`. Negative after printing why there is none. */
int audit_log_path(const char *config, const char *dir, char *log, size_t size, char *head,
                   size_t head_size);

/* Verifies all files of the log and prints the result; the exit status. */
int audit_verify(const char *log, const char *head_path, bool json,
                 const struct chain_head *expect);

/* Calls back for the newest records that fit, at most `max`, the oldest first. Returns how many, or
 * negative. */
int audit_newest(const char *log, size_t max, bool (*fits)(void *ctx, json_object *o),
                 void (*each)(void *ctx, json_object *o, const char *line, size_t len), void *ctx,
                 struct err *e);

#endif
