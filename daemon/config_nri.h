/* SPDX-License-Identifier: Apache-2.0
 *
 * The `nri:` part of pgpud's configuration, and the guard's policy that is made of it.
 */
#ifndef PGPU_DAEMON_CONFIG_NRI_H
#define PGPU_DAEMON_CONFIG_NRI_H

#include "base/conf.h"
#include "nri/guard.h"

struct config;

struct nri_handler_conf {
    char match[128];
    int cls; /* enum guard_class */
    int tee; /* enum guard_tee */
    char set[64];
    bool cdi_annotation;
    struct conf_strlist require;
};

struct nri_set_conf {
    char name[64];
    struct conf_strlist annotations;
};

struct nri_conf {
    struct conf_strlist sockets;
    char name[64];
    char index[8];
    bool launch;                  /* <state_dir>/nri-launch.sock */
    int inject;                   /* enum guard_inject */
    int rules[GUARD_RULES];       /* enum guard_mode */
    struct conf_objlist handlers; /* struct nri_handler_conf; empty: guard_default_handlers() */
    struct conf_objlist sets;     /* struct nri_set_conf; empty: guard_default_sets() */
};

extern const struct conf_key config_nri_keys[];

/* What the table cannot check: that a handler's annotation set exists. */
int config_nri_check(const char *path, const struct nri_conf *c, struct err *e);

/* The policy that the configuration means; its strings belong to the configuration. `kinds` is left
 * empty. Free with config_policy_free. */
int config_policy(const struct config *c, struct guard_policy *ret, struct err *e);
void config_policy_free(struct guard_policy *p);

#endif
