/* SPDX-License-Identifier: Apache-2.0
 *
 * Between audit_file.c, which knows the files, and audit_write.c, which knows the lines.
 */
#ifndef PGPU_DAEMON_AUDIT_FILE_IMPL_H
#define PGPU_DAEMON_AUDIT_FILE_IMPL_H

#include "daemon/audit_file.h"

/* Appends a line (and `before` it what it takes) in one write; the file is as before if it fails,
 * or has another size than f->size. */
int audit_file_line(struct audit_file *f, const char *before, const char *members, struct err *e);

/* First record of a file, which is empty and whose name is PATH. `text` NULL = none. */
int audit_file_first(struct audit_file *f, const char *what, const char *text, struct err *e);
/* The record of a torn last line, which it ends. */
int audit_file_torn(struct audit_file *f, const struct chain_check *c, struct err *e);
/* The next record begins a chain. */
void audit_file_new_chain(struct audit_file *f);

/* Notes the newest record, and has the disk take the log. */
void audit_file_note(struct audit_file *f);

/* 0 for PATH, N for PATH.N, of a name of chain_files(). */
unsigned long audit_file_number(const struct audit_file *f, const char *name);

#endif
