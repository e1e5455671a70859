/* SPDX-License-Identifier: Apache-2.0
 *
 * A host in a temporary directory for tests of `pgpuctl doctor`: the files of `pgpu-sim host`, a
 * /sys and /dev of plain files with two GPUs, listening sockets where services listen, and a
 * pgpu-hwd and a pgpud that answer what the test says. Healthy when made; tests break it.
 */
#ifndef PGPU_TESTS_UNIT_CLI_DOCTOR_KIT_H
#define PGPU_TESTS_UNIT_CLI_DOCTOR_KIT_H

#include "hwd/protocol.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <sys/types.h>

#define DOCTOR_GPU0 "0000:18:00.0"
#define DOCTOR_GPU1 "0000:2a:00.0"

/* Starts the answering thread once; each host replaces the former one. `sim` are more words for
 * `pgpu-sim host`. Failures end the test. */
void doctor_host(const char *sim);
void doctor_host_remove(void);
const char *doctor_dir(void);

/* Files of the host; paths begin with a slash. */
void doctor_write(const char *path, const char *text);
void doctor_replace(const char *path, const char *from, const char *to); /* `from` must be there */
void doctor_remove(const char *path);                                    /* with all below */
void doctor_mkdir(const char *path);
void doctor_link(const char *path, const char *target);
void doctor_chmod(const char *path, mode_t mode);
void doctor_later(const char *path);                  /* last changed tomorrow and a day */
void doctor_socket(const char *path, bool listening); /* one that listens, or a leftover */
void doctor_process(int pid, const char *comm, const char *args);

/* /var/log/pgpu/audit.log with `n` records. */
void doctor_audit_log(unsigned n);

/* What the services say. */
extern struct hwd_facts doctor_facts[4];
extern unsigned doctor_n_facts;
void doctor_status(const char *from, const char *to); /* in pgpud's status */
void doctor_in_force(const char *text);               /* pgpud's configuration */

/* `pgpuctl --root DIR doctor --json ARGS...`: exit status; the findings in doctor_found. */
int doctor_run(const char *args);
int doctor_run_as_nobody(const char *args);
/* Any other arguments of pgpuctl, blank-separated; output in doctor_out. */
int doctor_ctl(const char *args);
extern json_object *doctor_found;
extern char doctor_out[1 << 18];

/* The worst severity reported for the code; NULL where it is not reported at all. */
const char *doctor_severity_of(const char *code);
/* Codes with warnings and errors, for messages. */
const char *doctor_bad_codes(void);
/* Text `key` of the worst finding of the code. */
const char *doctor_text_of(const char *code, const char *key);

#endif
