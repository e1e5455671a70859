/* SPDX-License-Identifier: Apache-2.0
 *
 * The files by which operands of NVIDIA's GPU Operator wait for each other, on request
 * (`validations: {enabled: true}`): for a cluster where the operator runs, with the three operands
 * that pgpu stands for turned off, and something else still waits for what they would have done.
 *
 *   vfio-pci-ready          every GPU of the node is on a VFIO driver (gpu-operator's validator)
 *   workload-type           "vm-passthrough": the node has GPUs for VMs (the same)
 *   .cc-manager-ctr-ready   the mode is applied to every GPU (k8s-cc-manager)
 *
 * Each is there while it is true. What somebody else has written is left alone: ours are on record
 * in <state_dir>/validations. Stopping leaves them, like everything on the node. Loop thread.
 */
#ifndef PGPU_DAEMON_VALIDATIONS_H
#define PGPU_DAEMON_VALIDATIONS_H

#include <systemd/sd-event.h>

#include <stdbool.h>

struct json_object;
struct node;

enum { VALIDATION_VFIO = 1u << 0, VALIDATION_TYPE = 1u << 1, VALIDATION_CC = 1u << 2 };

struct validations {
    unsigned ours; /* VALIDATION_*: written by us */
    char why[256]; /* the last failure, "" = none */
    sd_event_source *timer;
};

void validations_start(struct node *n);
void validations_free(struct node *n);
void validations_update(struct node *n);
struct json_object *validations_json(const struct node *n);

#endif
