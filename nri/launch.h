/* SPDX-License-Identifier: Apache-2.0
 *
 * Between pgpu-nri-launch and the daemon: one SOCK_SEQPACKET connection for each launched plugin.
 *
 *   launcher  hello, with the runtime's socket as one SCM_RIGHTS descriptor
 *   daemon    answer: taken (status 0), or why not and close
 *   daemon    while the session lives the connection stays open; at its end a second answer says
 *             why: status 0 when the session ended, an errno when the daemon does; then close
 *   launcher  dies (the runtime kills it): the daemon sees the end and ends the session
 *
 * Both ends come from one build; the magic changes with the layout.
 */
#ifndef PGPU_NRI_LAUNCH_H
#define PGPU_NRI_LAUNCH_H

#include <stdbool.h>
#include <stdint.h>

#define LAUNCH_SOCKET_DEFAULT "/run/pgpu/nri-launch.sock"
#define LAUNCH_MAGIC "pgpunri1"
#define LAUNCH_NAME_MAX 64

struct launch_hello {
    char magic[8];
    char name[LAUNCH_NAME_MAX]; /* NUL-terminated, as all text here */
    char index[4];
};

struct launch_answer {
    uint32_t status; /* 0 or an errno */
    char text[252];  /* one line */
};

/* NRI's rules (pkg/api/plugin.go): letters, digits and "_.+-"; two digits. */
bool nri_name_valid(const char *name);
bool nri_index_valid(const char *index);

#endif
