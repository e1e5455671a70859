/* SPDX-License-Identifier: Apache-2.0
 *
 * The part `audit:` of pgpud's configuration.
 */
#ifndef PGPU_DAEMON_CONFIG_AUDIT_H
#define PGPU_DAEMON_CONFIG_AUDIT_H

#include "base/conf.h"

#define AUDIT_FILE_DEFAULT "/var/log/pgpu/audit.log"

struct audit_conf {
    char file[256];    /* "" = no audit log */
    char max_size[16]; /* config_audit_bytes() */
    uint32_t keep;     /* old files */
    bool required;
};

extern const struct conf_key config_audit_keys[];

/* "16MiB" in bytes; 0 if it is no size. */
uint64_t config_audit_bytes(const char *size);

#endif
