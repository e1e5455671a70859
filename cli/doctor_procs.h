/* SPDX-License-Identifier: Apache-2.0
 *
 * The processes of a host, by its /proc. Best effort: what ends meanwhile is left out.
 */
#ifndef PGPU_CLI_DOCTOR_PROCS_H
#define PGPU_CLI_DOCTOR_PROCS_H

#include "base/fs.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PROCS_MAX 32768
#define PROC_ARGS_MAX 2048

struct doctor_proc {
    int pid;
    char comm[20];
    int parent;   /* 0: not known */
    bool foreign; /* in another mount namespace than process 1: in a container */
    char *args;   /* blanks between them, cut at PROC_ARGS_MAX; "" for kernel threads */
};

struct doctor_procs {
    bool readable; /* the host's /proc is there and has process 1 or another; not that of a
                      container's own PID namespace */
    size_t n;
    struct doctor_proc *v;
};

void doctor_procs_read(const struct fs_root *host, struct doctor_procs *ret);
void doctor_procs_free(struct doctor_procs *p);

/* Is the /proc below this host root all of the host? With "/" it is that of our own PID namespace,
 * which `ns_ino` (inode of /proc/self/ns/pid) tells; 0: not known, taken for the host's. */
bool doctor_procs_whole(const char *root, ino_t ns_ino);

/* The next process after `prev` (NULL: the first) that runs this program, a pattern of fnmatch(3):
 * comm, or the last part of the path of its first argument. NULL: none. */
const struct doctor_proc *doctor_proc_next(const struct doctor_procs *p,
                                           const struct doctor_proc *prev, const char *program);

/* The host's own process of this name: none of a container's; rather one that process 1 started,
 * then the lowest PID. NULL: none. */
const struct doctor_proc *doctor_proc_find(const struct doctor_procs *p, const char *program);

/* Value of an option in the arguments, "--config X" or "--config=X"; false where it is absent. */
bool doctor_proc_option(const struct doctor_proc *p, const char *option, char *buf, size_t size);

#endif
