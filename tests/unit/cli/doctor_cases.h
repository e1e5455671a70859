/* SPDX-License-Identifier: Apache-2.0
 *
 * One way to break the healthy host for each finding of doctor, as a table.
 */
#ifndef PGPU_TESTS_UNIT_CLI_DOCTOR_CASES_H
#define PGPU_TESTS_UNIT_CLI_DOCTOR_CASES_H

#include <stddef.h>

enum doctor_edit_kind {
    DE_NONE,
    DE_WRITE,   /* path, text */
    DE_SUB,     /* path, from, to */
    DE_REMOVE,  /* path */
    DE_DIR,     /* path */
    DE_LINK,    /* path, target */
    DE_OPEN,    /* path: mode 0777 */
    DE_LATER,   /* path: changed in the future */
    DE_SOCKET,  /* path: somebody listens */
    DE_STALE,   /* path: nobody listens any more */
    DE_PROCESS, /* path: comm, a: arguments */
    DE_STATUS,  /* a, b: in pgpud's status */
    DE_FORCE,   /* a: pgpud's configuration in force */
    DE_AUDIT,   /* a log of three records */
    DE_NO_GPUS,
    DE_REASON, /* a: of the first GPU */
    DE_MODE,   /* a: active, b: configured of the first GPU, as digits */
    DE_HELD,
    DE_STUCK,
};

struct doctor_edit {
    enum doctor_edit_kind kind;
    const char *path, *a, *b;
};

struct doctor_case {
    const char *code, *severity;
    const char *text; /* must stand in seen, object or cure; NULL: anything */
    const char *sim;  /* more words for `pgpu-sim host` */
    struct doctor_edit edit[4];
};

extern const struct doctor_case doctor_cases[];
extern const size_t doctor_n_cases;

#endif
