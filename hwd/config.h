/* SPDX-License-Identifier: Apache-2.0
 *
 * Configuration of the hardware service: what it may touch, which modes it will ever set, how long
 * it lets the kernel take. Read once at start; an empty file is valid.
 */
#ifndef PGPU_HWD_CONFIG_H
#define PGPU_HWD_CONFIG_H

#include "base/cc_mode.h"
#include "base/conf.h"
#include "base/err.h"
#include "hwd/protocol.h"

#include <stdbool.h>
#include <stdint.h>

enum hwd_manage { HWD_MANAGE_FULL, HWD_MANAGE_VERIFY };
enum hwd_node { HWD_NODE_CDEV, HWD_NODE_GROUP };

struct hwd_deadlines {
    uint64_t prepare, verify, handover, reset, give_back, probe, scan; /* ns */
};

struct hwd_config {
    struct conf_strlist claim;   /* "unbound", "vfio", driver names, PCI addresses */
    struct conf_strlist exclude; /* PCI addresses */
    struct conf_strlist modes;   /* the floor: modes that may be asked for */
    int manage;                  /* enum hwd_manage */
    int vfio_node;               /* enum hwd_node */
    int access;                  /* enum hwd_access */
    struct hwd_deadlines deadline;
    /* How long the GPU's firmware may take, ns; 0: what the chip is known to need. */
    struct {
        uint64_t queue, reply, boot, firewall;
    } firmware;
    uint64_t rescan; /* ns between periodic scans */
    struct {
        int format, level; /* enum log_format, enum log_level */
    } log;
};

extern const struct conf_key hwd_config_keys[];

/* `path` NULL: defaults. Free with hwd_config_free. */
int hwd_config_load(const char *path, struct hwd_config *ret, struct err *e);
void hwd_config_free(struct hwd_config *c);

bool hwd_config_mode_allowed(const struct hwd_config *c, enum cc_mode m);

/* Deadline of an operation in ns: the client's wish, capped by the configuration. */
uint64_t hwd_config_deadline(const struct hwd_config *c, enum hwd_op op, uint32_t wish_ms);

#endif
