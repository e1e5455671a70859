/* SPDX-License-Identifier: Apache-2.0
 *
 * The conformance program performs what was measured on a real kernel, one operation at a time, and
 * prints "operation -> result". It sees the kernel only through this table: the in-memory model, a
 * directory that holds sys/ and dev/ (a simulated node, or "/" of a real kernel).
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
    int (*readlink)(void *ctx, const char *path, char *buf, size_t size);
    /* permission bits, or -errno */
    int (*mode)(void *ctx, const char *path);
    int (*open)(void *ctx, const char *path, int flags, struct node **ret);
    void (*close)(void *ctx, struct node *n);
    /* VFIO calls; the model and the simulated node see the number only */
    int (*set_container)(void *ctx, struct node *group, struct node *container);
    int (*get_device)(void *ctx, struct node *group, const char *addr, struct node **ret);
    int (*bind_iommufd)(void *ctx, struct node *cdev, struct node *iommufd);
    /* first word of BAR0: through the VFIO device, which claims it, and through resource0 */
    int (*vfio_bar0)(void *ctx, struct node *device, uint32_t *ret);
    int (*resource0)(void *ctx, const char *path, uint32_t *ret);
    /* a write by somebody else, who can be killed; wait returns -EINPROGRESS while it blocks and
     * frees the object otherwise; abandon kills the writer and frees the object */
    struct pending *(*start)(void *ctx, const char *path, const char *text);
    int (*wait)(void *ctx, struct pending *p, unsigned ms);
    void (*abandon)(void *ctx, struct pending *p);
};

struct backend conformance_dir(const char *root);

/* What the rows are performed on. */
struct subjects {
    const char *gpu;  /* unbound, alone in its group, FLR and bus reset */
    const char *twin; /* another one with the same IDs */
    const char *pair; /* a GPU whose group holds `audio` as well */
    const char *audio;
    const char *bridge;     /* a bridge that can lose its driver: the twin's */
    const char *dma_driver; /* host driver that takes `audio`, loaded */
};

struct rows;
/* Runs every row and appends the output to *ret_text (malloc'ed). */
void conformance_run(const struct backend *b, const struct subjects *s, char **ret_text);

#endif
