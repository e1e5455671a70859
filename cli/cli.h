/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl: one table of verbs (cli/main.c), one file per verb. Verbs log and print for people;
 * they return an exit status: 0 done, 1 the thing failed or is not as asked, 2 wrong usage.
 */
#ifndef PGPU_CLI_CLI_H
#define PGPU_CLI_CLI_H

#include <stdbool.h>

/* Options every verb takes. */
struct cli {
    const char *root;    /* --root DIR, default "/": hardware below DIR/sys and DIR/dev */
    const char *control; /* --control SOCKET of pgpud */
    /* --hwd SOCKET of pgpu-hwd (its lock directory stands beside it); NULL where only --root is
     * given: the service of this host does not know that node */
    const char *hwd;
    bool json; /* --json */
    bool tty;  /* stdout is a terminal and NO_COLOR is unset */
};

/* argv[0] is the verb. */
int cli_devices(const struct cli *c, int argc, char **argv);
int cli_cc(const struct cli *c, int argc, char **argv);
int cli_cdi(const struct cli *c, int argc, char **argv);
int cli_initdata(const struct cli *c, int argc, char **argv);
int cli_annotations(const struct cli *c, int argc, char **argv);
int cli_status(const struct cli *c, int argc, char **argv);

#endif
