/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl, run on the node of a harness.
 */
#ifndef PGPU_TESTS_SIM_DAEMON_CTL_H
#define PGPU_TESTS_SIM_DAEMON_CTL_H

#include "tests/sim/daemon/harness.h"

/* Runs "pgpuctl <args>" (blank-separated) with the node's sockets and root; "@" in args stands for
 * the harness's directory. Returns what it wrote to standard output and error (to be freed), and
 * its exit status. Fails the test if it does not end. */
char *h_ctl(struct harness *h, int *ret_status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same; fails the test, with the output, if the status is another one. */
char *h_ctl_expect(struct harness *h, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Fails the test, with both, if `text` does not have all of the words ("a&b"). */
void h_expect_words(const char *text, const char *words);

#endif
