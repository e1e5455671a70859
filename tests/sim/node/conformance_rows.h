/* SPDX-License-Identifier: Apache-2.0
 *
 * What the sections of the conformance program share. Paths: "gpu/reset" and so on for the
 * subjects, "bus/rescan", "vfio/bind" (the driver vfio-pci), "dma/bind" (the host driver), or
 * absolute.
 */
#ifndef PGPU_TESTS_CONFORMANCE_ROWS_H
#define PGPU_TESTS_CONFORMANCE_ROWS_H

#include "conformance.h"

#include <stdio.h>

struct rows {
    const struct backend *b;
    const struct subjects *s;
    FILE *out;
};

const char *row_address(const struct rows *r, const char *name, size_t len);
const char *row_path(const struct rows *r, const char *path, char *buf, size_t size);
const char *row_result(int r);

void say(struct rows *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Write and read rows; "$gpu" in a text stands for its address, "$dma" for the host driver. */
int quiet(struct rows *r, const char *path, const char *text); /* prints nothing */
void W(struct rows *r, const char *path, const char *text);
void R(struct rows *r, const char *path);
/* A write that is to fail late: says so if it took at least `seconds`. */
void late(struct rows *r, const char *path, const char *text, double seconds);
/* Waits for a value that is to come by itself. */
void eventually(struct rows *r, const char *path, const char *want);

void driver_of(struct rows *r, const char *who);
void bar_of(struct rows *r, const char *who);    /* alive, dead, or the error */
void decode_of(struct rows *r, const char *who); /* of memory, by the command register */
void mode_of(struct rows *r, const char *label, const char *path);
void modprobe(struct rows *r, const char *module, bool load);
void hardware(struct rows *r, const char *verb, const char *who, const char *arg);

/* A mark in a register that a reset clears, and whether it is still there. */
void mark(struct rows *r, const char *who);
void mark_of(struct rows *r, const char *who);

/* Events of the subjects and of VFIO since the last call, as one row each. */
void events(struct rows *r, const char *after);
void events_drop(struct rows *r);

/* Override and bind, without a row; and back. */
void bind_vfio(struct rows *r, const char *who);
void release(struct rows *r, const char *who);

/* A write of another process that blocks; NULL (and the row says so) if it does not. */
struct pending *begin(struct rows *r, const char *path, const char *text);
void finish(struct rows *r, struct pending *p, const char *what);
void kill_writer(struct rows *r, struct pending *p, const char *what);

/* Nodes. The name is kept in buf. */
const char *group_node(struct rows *r, const char *who, char *buf, size_t size);
const char *cdev_node(struct rows *r, const char *who, char *buf, size_t size);
int open_node(struct rows *r, const char *label, const char *path, struct node **ret);

/* A VMM of the legacy kind. */
struct user {
    struct node *group, *container, *device;
};
int user_open(struct rows *r, const char *who, bool device, struct user *u);
void user_close(struct rows *r, struct user *u);

/* The sections, in the order in which they run. Each leaves the devices as it found them: unbound,
 * no override. Tables end with a NULL name. */
struct row_section {
    const char *name;
    const char *needs; /* a subject, "iommufd" or "no iommufd"; NULL: always */
    void (*run)(struct rows *r);
};
extern const struct row_section sections_of_binding[]; /* conformance_bind.c */
extern const struct row_section sections_of_state[];   /* conformance_state.c */
extern const struct row_section sections_of_vfio[];    /* conformance_vfio.c */

#endif
