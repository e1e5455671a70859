/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/config_audit.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A record has to fit, and a file is checked as a whole when pgpud starts. */
#define SIZE_LEAST (32u << 10)
#define SIZE_MOST (64u << 20)

uint64_t
config_audit_bytes(const char *size)
{
    static const struct {
        const char *name;
        uint64_t unit;
    } units[] = {{"KiB", 1u << 10}, {"MiB", 1u << 20}, {"GiB", 1u << 30}};
    char *end;
    unsigned long v;

    if (!isdigit((unsigned char)size[0]))
        return 0;
    errno = 0;
    v = strtoul(size, &end, 10);
    for (size_t i = 0; errno == 0 && v <= SIZE_MOST && i < ARRAY_SIZE(units); i++)
        if (strcmp(end, units[i].name) == 0)
            return v * units[i].unit;
    return 0;
}

static bool
check_size(const char *v, const char **why)
{
    uint64_t n = config_audit_bytes(v);

    *why = "must be a size such as 512KiB or 16MiB, from 32KiB to 64MiB";
    return n >= SIZE_LEAST && n <= SIZE_MOST;
}

static bool
check_file(const char *v, const char **why)
{
    *why = "must be the absolute path of a file, or \"\"";
    return !v[0] || (v[0] == '/' && v[strlen(v) - 1] != '/');
}

const struct conf_key config_audit_keys[] = {
    {.name = "file",
     .type = CONF_STRING,
     .offset = offsetof(struct audit_conf, file),
     .size = sizeof(((struct audit_conf *)0)->file),
     .dflt = AUDIT_FILE_DEFAULT,
     .check = check_file,
     .help = "where it is written; \"\" = nowhere"},
    {.name = "max_size",
     .type = CONF_STRING,
     .offset = offsetof(struct audit_conf, max_size),
     .size = sizeof(((struct audit_conf *)0)->max_size),
     .dflt = "16MiB",
     .check = check_size,
     .help = "a file that has grown to this is kept as FILE.1, and a new one begun"},
    {.name = "keep",
     .type = CONF_U32,
     .offset = offsetof(struct audit_conf, keep),
     .min = 1,
     .max = 100,
     .dflt = "7",
     .help = "how many old files are kept"},
    {.name = "required",
     .type = CONF_BOOL,
     .offset = offsetof(struct audit_conf, required),
     .dflt = "false",
     .help = "refuse allocations while the log cannot be written"},
    {0},
};
