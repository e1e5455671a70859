/* SPDX-License-Identifier: Apache-2.0
 *
 * CDI directories as Kata's Go shim reads them (library 0.6.0): one bad file of anybody fails
 * everything. Written apart from cdi/, so that a misreading there does not hide itself here.
 */
#ifndef PGPU_SIM_KATA_CDI_H
#define PGPU_SIM_KATA_CDI_H

#include "base/err.h"

#include <stddef.h>

struct kata_cdi_node {
    char *device; /* "nvidia.com/pgpu=0000:41:00.0" */
    char *path;   /* the first device node that is a VFIO one; NULL: none */
    size_t dir;
};

struct kata_cdi {
    size_t n;
    struct kata_cdi_node *v;
};

/* `dirs` in order of rising priority; a directory that does not exist is empty. */
int kata_cdi_load(const char *const *dirs, size_t n, struct kata_cdi *ret, struct err *e);
void kata_cdi_free(struct kata_cdi *c);

/* NULL when nothing of that name is known. */
const struct kata_cdi_node *kata_cdi_find(const struct kata_cdi *c, const char *device);

#endif
