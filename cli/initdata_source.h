/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside pgpuctl initdata: where the text comes from. One thread.
 */
#ifndef PGPU_CLI_INITDATA_SOURCE_H
#define PGPU_CLI_INITDATA_SOURCE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct initdata_source {
    const char *name; /* for messages */
    char *text;       /* owned */
    size_t len;
    bool from_file;  /* else from the command line */
    bool annotation; /* else TOML */
};

/* `arg`: "-" for standard input, a file, or an annotation's value as it is. `s` is zeroed before
 * and to be finished after, also on failure. */
int initdata_source_load(const char *arg, struct initdata_source *s, struct err *e);
void initdata_source_fini(struct initdata_source *s);

#endif
