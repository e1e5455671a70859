/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpud's configuration. Every key has a safe default; an empty file works.
 */
#ifndef PGPU_DAEMON_CONFIG_H
#define PGPU_DAEMON_CONFIG_H

#include "base/buf.h"
#include "base/cc_mode.h"
#include "base/conf.h"
#include "base/log.h"
#include "daemon/config_audit.h"
#include "daemon/config_cluster.h"
#include "daemon/config_nri.h"

#include <stdbool.h>
#include <stdint.h>

enum manage { MANAGE_FULL, MANAGE_VERIFY };
enum prepare { PREPARE_EAGER, PREPARE_ALLOCATE };

#define RESOURCE_NAME_MAX 192

/* One resource: `match` decides which units are listed under it; the first that matches wins. */
struct resource_conf {
    char name[RESOURCE_NAME_MAX]; /* may hold "{model}" once */
    char match[128]; /* "gpu", "nvswitch", "id:10de:2330", or a glob on the product name */
};

struct config {
    struct conf_objlist resources; /* struct resource_conf; empty: the two default resources */
    int manage;                    /* enum manage */
    int prepare;                   /* enum prepare */
    int mode;                      /* enum cc_mode, the first four */
    bool unlock_devtools;
    bool cdi_devices; /* Allocate also answers CDI names */
    uint64_t allocate_deadline;
    uint64_t arm_deadline;
    uint64_t pod_poll;
    uint64_t unseen_grace;
    uint64_t kubelet_settle;
    uint64_t health_interval;
    uint64_t recovery_delay;
    struct {
        char plugin_dir[108];
        char pod_resources[108];
    } kubelet;
    char cdi_dir[256];
    char state_dir[256];
    char hwd_socket[108];
    char control_socket[108];
    struct nri_conf nri;
    struct {
        char listen[128]; /* daemon/listen.h; "" = off */
    } http;
    struct audit_conf audit;
    struct nfd_conf nfd;
    struct validations_conf validations;
    struct {
        int format, level;
    } log;
};

extern const struct conf_key config_keys[];

/* Loads `path` (NULL: defaults only) and checks what the table cannot: devtools without its unlock,
 * resource names, two resources with one name. */
int config_load(const char *path, struct config *ret, struct err *e);
void config_free(struct config *c);

/* The resources in force: those configured, else nvidia.com/pgpu and nvidia.com/nvswitch. */
size_t config_resources(const struct config *c, const struct resource_conf **ret);

#endif
