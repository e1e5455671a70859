/* SPDX-License-Identifier: Apache-2.0
 *
 * The conformance program performs what was measured on a real kernel, one operation at a time, and
 * prints "operation -> result". It sees the kernel only through this table: the in-memory model, a
 * simulated node by FUSE, the running kernel of a virtual machine.
 *
 * All calls return 0 or a count, or -errno. Single-threaded caller.
 */
#ifndef PGPU_TESTS_CONFORMANCE_H
#define PGPU_TESTS_CONFORMANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct node;    /* an open file */
struct pending; /* a write that may block */

struct backend {
    void *ctx;
    /* one open, one write(2), one close; -errno of whichever fails first */
    int (*write)(void *ctx, const char *path, const char *text, size_t len);
    /* text of an attribute without the trailing newline */
    int (*read)(void *ctx, const char *path, char *buf, size_t size);
    /* n bytes of a binary file */
    int (*pread)(void *ctx, const char *path, void *buf, size_t n, off_t off);
    int (*readlink)(void *ctx, const char *path, char *buf, size_t size);
    /* permission bits, or -errno */
    int (*mode)(void *ctx, const char *path);
    int (*open)(void *ctx, const char *path, int flags, struct node **ret);
    void (*close)(void *ctx, struct node *n);
    /* VFIO calls; the model and the simulated node see the number only */
    int (*set_container)(void *ctx, struct node *group, struct node *container);
    int (*get_device)(void *ctx, struct node *group, const char *addr, struct node **ret);
    int (*bind_iommufd)(void *ctx, struct node *cdev, struct node *iommufd);
    /* first word of BAR0 through the VFIO device, which claims it */
    int (*vfio_bar0)(void *ctx, struct node *device, uint32_t *ret);
    /* one word through resource0 */
    int (*resource0)(void *ctx, const char *path, uint32_t off, bool write, uint32_t *val);
    /* a write by somebody else, who can be killed; wait returns -EINPROGRESS while it blocks and
     * frees the object otherwise; abandon kills the writer and frees the object */
    struct pending *(*start)(void *ctx, const char *path, const char *text);
    int (*wait)(void *ctx, struct pending *p, unsigned ms);
    void (*abandon)(void *ctx, struct pending *p);
    int (*modprobe)(void *ctx, const char *module, bool load);
    /* what happens to the hardware: "fault" with a fault of the device model, "plug"; `who` is the
     * name in struct subjects */
    int (*hardware)(void *ctx, const char *verb, const char *who, const char *addr,
                    const char *arg);
    /* the next kernel event as on netlink, -EAGAIN after ms */
    int (*event)(void *ctx, char *payload, size_t size, size_t *ret_len, unsigned ms);
    /* how long a write that is to block is given to come back; and one that is to come back */
    unsigned blocked_ms, patience_ms;
    double scale; /* of the waiting times of this kernel, 1: real */
};

/* The running kernel, or a simulated node below `root`: files only, the last three calls fail with
 * ENOSYS. `root` is borrowed. */
struct backend conformance_dir(const char *root);

/* What the rows are performed on. All functions are unbound at start. Sections that need one which
 * is not there (NULL) are left out. */
struct subjects {
    const char *gpu;        /* alone in its group, FLR and bus reset */
    const char *twin;       /* another one with the same IDs */
    const char *pair;       /* a GPU whose group holds `audio` and `port` as well */
    const char *audio;      /* the other function of its slot */
    const char *port;       /* the port above it, on pcieport */
    const char *bridge;     /* a bridge that can lose its driver: the twin's port */
    const char *lame;       /* a GPU whose bus reset fails */
    const char *spare;      /* a slot that is empty at start */
    const char *dma_driver; /* host driver that takes `audio` if told to, loaded */
};

/* Runs the sections (those with `only` in their name, unless it is NULL) and gives the output in
 * *ret_text (malloc'ed). */
void conformance_run(const struct backend *b, const struct subjects *s, const char *only,
                     char **ret_text);

/* Compares with the file at `path`; differences go to stderr, and to the caller as their number.
 * Sections of the file whose heading ends in a need ("[iommufd]", "[spare]") are wanted only where
 * the output has such ones; with `partial`, only sections that the output has. Negative where the
 * file cannot be read. */
int conformance_compare(const char *got, const char *path, bool partial);

/* Whether the output has a section of this need ("iommufd", "spare"), so that none that has to be
 * there is left out unnoticed; says so on stderr if not. */
bool conformance_has(const char *got, const char *need);

#endif
