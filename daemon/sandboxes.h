/* SPDX-License-Identifier: Apache-2.0
 *
 * The pod sandboxes that run on this node by NRI's account. Which unit is whose is written at the
 * unit (unit.sandbox).
 */
#ifndef PGPU_DAEMON_SANDBOXES_H
#define PGPU_DAEMON_SANDBOXES_H

#include "daemon/node.h"
#include "nri/nri.h"

#define SANDBOXES_MAX 2048 /* four times what kubelets are tested with */
#define SANDBOX_NODES_MAX 64

struct sandbox_node {
    char path[64];
    char type;
    int64_t major, minor;
};

struct sandbox {
    struct sandbox *next;
    unsigned session;
    char id[SANDBOX_ID_MAX];
    char ns[64], pod[POD_NAME_MAX], uid[64], handler[128];
    enum guard_class cls;
    uint64_t list_after; /* PodResources lists with a higher number were asked for after it began */
    uint64_t since;
    bool ended;      /* stopped, not yet removed */
    bool refused;    /* by the guard, when it started */
    size_t findings; /* of the guard, warnings included */
    char initdata_algorithm[16], initdata_digest[129];
    bool seen; /* while a synchronization is applied */
    /* It was heard of, or had containers: a list also has sandboxes that have stopped and wait for
     * their removal, and does not say which. */
    bool certain;
    /* VFIO nodes of its containers, as a synchronization told them */
    size_t n_nodes;
    struct sandbox_node *nodes;
};

struct sandbox *sandbox_find(struct node *n, const char *id);
/* Finds it, or adds it (cls is then filled from the policy). NULL, and logged: there are too many,
 * or a name is longer than any can be. */
struct sandbox *sandbox_of(struct node *n, unsigned session, const struct nri_pod *pod);
/* It asks for something, so it runs; with `starts` by RunPodSandbox. A former sandbox of the same
 * pod then does not any more: the kubelet stops one before it makes the next. */
void sandbox_speaks(struct node *n, struct sandbox *s, bool starts);
/* It ended: its units are released. The record stays until it is removed. */
void sandbox_stopped(struct node *n, const char *id);
void sandbox_removed(struct node *n, const char *id);

/* Everything that the session's runtime runs; what it does not tell has ended meanwhile. */
void sandboxes_synchronize(struct node *n, unsigned session, const struct nri_pod *pods,
                           size_t n_pods, const struct nri_container *containers,
                           size_t n_containers);
void sandboxes_free(struct node *n);

#endif
