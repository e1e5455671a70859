/* SPDX-License-Identifier: Apache-2.0
 *
 * A simulated node for one test: `pgpu-sim node` as a process below a private directory.
 */
#ifndef PGPU_TEST_SIM_VFIO_NODE_H
#define PGPU_TEST_SIM_VFIO_NODE_H

#include "base/fs.h"
#include "vfio/scan.h"

#include <sys/types.h>

struct node {
    char dir[64];
    char uevents[96]; /* path of its event socket */
    pid_t pid;
    struct fs_root root;
};

/* Can this machine run one? Else prints why in one line. */
bool node_possible(void);

/* `args`: more arguments of `pgpu-sim node`, NULL-terminated. Ends the test on failure. */
void node_start(struct node *n, const char *const *args);
void node_stop(struct node *n);

/* One control command; the reply in a static buffer. Ends the test where it is refused. */
const char *node_ctl(struct node *n, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Scans; ends the test on failure. */
struct vfio_inventory *node_scan(struct node *n);
/* Copy of one function as it is now. */
struct vfio_fn node_fn(struct node *n, struct pci_addr a);
/* The i-th GPU on the bus. */
struct pci_addr node_gpu(struct node *n, unsigned i);

/* An attribute's text in a static buffer, "" where it cannot be read. */
const char *node_attr(struct node *n, struct pci_addr a, const char *attr);

/* Runs `fn` in a child that ends with its result; the test waits with node_wait. */
pid_t node_fork(int (*fn)(struct node *n, struct pci_addr a), struct node *n, struct pci_addr a);
/* Exit status within `ms`, or -1 if it still runs. */
int node_wait(pid_t pid, unsigned ms);

#endif
