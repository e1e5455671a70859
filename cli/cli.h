/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl: one table of verbs (cli/verbs.c), one file per verb, which parses its options by its own
 * entry of the table (base/usage.h has an example). Verbs log and print for people; they return an
 * exit status: 0 done, 1 the thing failed or is not as asked, 2 wrong usage.
 */
#ifndef PGPU_CLI_CLI_H
#define PGPU_CLI_CLI_H

#include "base/usage.h"

#include <stdbool.h>

/* Options every verb takes; the `ctx` of its run(). */
struct cli {
    const char *root;    /* --root DIR, default "/": hardware below DIR/sys and DIR/dev */
    const char *control; /* --control SOCKET of pgpud */
    /* --hwd SOCKET of pgpu-hwd (its lock directory stands beside it); NULL where only --root is
     * given: the service of this host does not know that node */
    const char *hwd;
    bool json; /* --json */
    bool tty;  /* colours: stdout is a terminal, not a dumb one, and neither NO_COLOR
                * nor --no-color forbids */
};

/* The program; its verbs are below. */
extern const struct usage pgpuctl_usage;

extern const struct usage verb_annotations, verb_audit, verb_events, verb_why, verb_support_dump,
    verb_cc, verb_cdi, verb_completion, verb_devices, verb_health, verb_help, verb_initdata,
    verb_version;

extern const struct usage verb_mode, verb_status, verb_top;

extern const struct usage verb_doctor;

extern const struct usage verb_config, verb_wait;

#endif
