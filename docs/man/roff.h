/* SPDX-License-Identifier: Apache-2.0
 *
 * Pieces of man pages (man(7) macros) from the tables of command lines and configurations. What
 * the tables do not say comes from `more`: text by reference. One thread.
 */
#ifndef PGPU_DOCS_ROFF_H
#define PGPU_DOCS_ROFF_H

#include "base/conf.h"
#include "base/usage.h"

struct roff_more {
    const char *ref;  /* "--root", "cc", "cc set", "cc --via", a key's whole name */
    const char *text; /* roff, as it is */
    bool used;
};

struct roff {
    FILE *f;
    struct roff_more *more;
    size_t n_more;
};

void roff_name(struct roff *r, const struct usage *u);
void roff_synopsis(struct roff *r, const struct usage *u);
/* The program's own options. */
void roff_options(struct roff *r, const struct usage *u);
void roff_verbs(struct roff *r, const struct usage *u);
void roff_keys(struct roff *r, const struct conf_key *keys);

#endif
