/* SPDX-License-Identifier: Apache-2.0
 *
 * What a support archive has: its files, and where each comes from. One thread.
 */
#ifndef PGPU_CLI_SUPPORT_H
#define PGPU_CLI_SUPPORT_H

#include "base/buf.h"
#include "base/err.h"
#include "cli/cli.h"
#include "daemon/config.h"

#define SUPPORT_FILE_MAX (8u << 20)
#define SUPPORT_FILES_MAX 1024

struct support_file {
    char name[96];
    const char *what; /* for the manifest */
    struct buf text;
    char why[200]; /* it is missing, or not whole; "" = it is there */
};

struct support {
    const struct cli *c;
    const char *config; /* pgpud's configuration file as given; NULL: the usual one */
    struct config conf;
    size_t n;
    struct support_file *file[SUPPORT_FILES_MAX];
};

/* A new, empty file; NULL if there are too many. */
struct support_file *support_add(struct support *s, const char *what, const char *name, ...)
    __attribute__((format(printf, 3, 4)));

/* Collects everything; what cannot be had is said in the file's `why`. */
void support_collect(struct support *s);

#endif
