/* SPDX-License-Identifier: Apache-2.0
 *
 * One table with every type of key, shared by the configuration's tests.
 */
#ifndef PGPU_TESTS_UNIT_BASE_CONF_TABLE_H
#define PGPU_TESTS_UNIT_BASE_CONF_TABLE_H

#include "base/conf.h"
#include "base/pci_addr.h"

struct res {
    char name[32];
    uint32_t weight;
    struct conf_strlist models;
};

struct sample {
    bool enabled;
    uint32_t count;
    uint64_t deadline;
    char dir[16];
    char addr[PCI_ADDR_STR];
    int mode;
    struct conf_strlist claim;
    struct conf_strlist modes;
    struct conf_objlist resources;
    struct {
        int level;
        bool colour;
    } log;
};

static inline bool
check_addr(const char *s, const char **why)
{
    struct pci_addr a;

    *why = "not a full PCI address";
    return *s == '\0' || pci_addr_parse(s, &a);
}

static const char *const mode_words[] = {"off", "on", "devtools", "ppcie", NULL};
static const char *const level_words[] = {"debug", "info", NULL};

static const struct conf_key res_keys[] = {
    {.name = "name", .type = CONF_STRING, .offset = offsetof(struct res, name), .size = 32},
    {.name = "weight", .type = CONF_U32, .offset = offsetof(struct res, weight), .dflt = "7"},
    {.name = "models", .type = CONF_STRLIST, .offset = offsetof(struct res, models)},
    {0},
};

static const struct conf_key log_keys[] = {
    {.name = "level",
     .type = CONF_ENUM,
     .offset = offsetof(struct sample, log.level) - offsetof(struct sample, log),
     .names = level_words,
     .dflt = "info",
     .help = "how much is logged"},
    {.name = "colour",
     .type = CONF_BOOL,
     .offset = offsetof(struct sample, log.colour) - offsetof(struct sample, log)},
    {0},
};

static const struct conf_key keys[] = {
    {.name = "enabled",
     .type = CONF_BOOL,
     .offset = offsetof(struct sample, enabled),
     .dflt = "true",
     .help = "whether at all"},
    {.name = "count",
     .type = CONF_U32,
     .offset = offsetof(struct sample, count),
     .min = 1,
     .max = 64,
     .dflt = "8"},
    {.name = "deadline",
     .type = CONF_DURATION,
     .offset = offsetof(struct sample, deadline),
     .min = 1000000,
     .max = 120000000000,
     .dflt = "25s"},
    {.name = "dir",
     .type = CONF_STRING,
     .offset = offsetof(struct sample, dir),
     .size = 16,
     .dflt = "/run/x"},
    {.name = "addr",
     .type = CONF_STRING,
     .offset = offsetof(struct sample, addr),
     .size = PCI_ADDR_STR,
     .check = check_addr},
    {.name = "mode",
     .type = CONF_ENUM,
     .offset = offsetof(struct sample, mode),
     .names = mode_words,
     .dflt = "on"},
    {.name = "claim",
     .type = CONF_STRLIST,
     .offset = offsetof(struct sample, claim),
     .max = 3,
     .dflt = "unbound, vfio"},
    {.name = "modes",
     .type = CONF_STRLIST,
     .offset = offsetof(struct sample, modes),
     .names = mode_words},
    {.name = "resources",
     .type = CONF_OBJLIST,
     .offset = offsetof(struct sample, resources),
     .size = sizeof(struct res),
     .max = 4,
     .sub = res_keys},
    {.name = "log", .type = CONF_OBJECT, .offset = offsetof(struct sample, log), .sub = log_keys},
    {0},
};

#endif
