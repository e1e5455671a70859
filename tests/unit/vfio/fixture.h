/* SPDX-License-Identifier: Apache-2.0
 *
 * A node's /sys and /dev as plain files in a private temporary directory. Writes to it always
 * succeed and change nothing else: what the kernel would do is tested on the simulated node.
 */
#ifndef PGPU_TEST_VFIO_FIXTURE_H
#define PGPU_TEST_VFIO_FIXTURE_H

#include "base/fs.h"
#include "base/pci_addr.h"

#include <stddef.h>

struct fixture {
    char dir[64];
    struct fs_root root;
};

struct fixture_fn {
    const char *addr;
    unsigned vendor, device, class_code;
    const char *driver; /* NULL: unbound */
    int group;          /* -1: none */
};

/* All of these end the test on failure. */
void fixture_init(struct fixture *f);
void fixture_fini(struct fixture *f);
void fixture_add(struct fixture *f, const struct fixture_fn *fn);
/* Replaces or makes a file of a function, parents included. */
void fixture_attr(struct fixture *f, const char *addr, const char *attr, const void *data,
                  size_t len);
void fixture_attr_text(struct fixture *f, const char *addr, const char *attr, const char *text);
void fixture_unlink(struct fixture *f, const char *addr, const char *attr);
/* Any file below the root, and its text (static buffer). */
void fixture_file(struct fixture *f, const char *path, const char *text);
const char *fixture_text(struct fixture *f, const char *path);

struct pci_addr fixture_addr(const char *s);

#endif
