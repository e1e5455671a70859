/* SPDX-License-Identifier: Apache-2.0
 *
 * The key table of pgpu-hwd. Owner of the values: main(); read-only after start.
 */
#include "hwd/config.h"

#include "base/cleanup.h"
#include "base/hw.h"
#include "base/log.h"

#include <stddef.h>
#include <string.h>

#define OFF(f) offsetof(struct hwd_config, f)

static const char *const mode_names[] = {"off", "on", "devtools", "ppcie", NULL};
static const char *const manage_names[] = {"full", "verify", NULL};
static const char *const node_names[] = {"cdev", "group", NULL};
static const char *const access_names[] = {"auto", "sysfs", "vfio", NULL}; /* enum hwd_access */
static const char *const format_names[] = {"logfmt", "json", NULL};
static const char *const level_names[] = {"debug", "info", "warn", "error", NULL};

static bool
word_ok(const char *v)
{
    size_t n = strlen(v);

    return n > 0 && n < 32 &&
           strspn(v, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == n;
}

static bool
check_claim(const char *v, const char **why)
{
    struct pci_addr a;

    if (word_ok(v) || pci_addr_parse(v, &a))
        return true;
    *why = "expected \"unbound\", \"vfio\", a driver name or a full PCI address (0000:41:00.0)";
    return false;
}

static bool
check_addr(const char *v, const char **why)
{
    struct pci_addr a;

    if (pci_addr_parse(v, &a))
        return true;
    *why = "expected a full PCI address (0000:41:00.0)";
    return false;
}

#define DEADLINE(f, d, h)                                                                          \
    {                                                                                              \
        .name = #f, .type = CONF_DURATION, .offset = offsetof(struct hwd_deadlines, f),            \
        .min = HW_MS(100), .max = HW_SEC(600), .dflt = (d), .help = (h)                            \
    }

static const struct conf_key deadline_keys[] = {
    /* a function reset of a dead GPU takes the kernel 70 s to give up (measured, Linux 6.12) */
    DEADLINE(prepare, "90s", "bind, set the mode, reset, boot, verify"),
    DEADLINE(verify, "15s", "read-only check"),
    DEADLINE(handover, "15s", "check and let go"),
    DEADLINE(reset, "90s", "one rung of the recovery ladder"),
    DEADLINE(give_back, "30s", "give the functions back to their former drivers"),
    DEADLINE(probe, "5s", "look whether anybody holds the device"),
    DEADLINE(scan, "30s", "scan of the bus"),
    {.name = NULL},
};

#define FIRMWARE(i, n, h)                                                                          \
    {                                                                                              \
        .name = #n, .type = CONF_DURATION, .offset = (i) * sizeof(uint64_t), .max = HW_SEC(120),   \
        .dflt = "0s", .help = (h)                                                                  \
    }

static const struct conf_key firmware_keys[] = {
    FIRMWARE(0, queue, "its queue takes a command; 0s: what the chip is known to need"),
    FIRMWARE(1, reply, "it answers a command"),
    FIRMWARE(2, boot, "it boots after a reset"),
    FIRMWARE(3, firewall, "it opens BAR0 after a reset"),
    {.name = NULL},
};

static const struct conf_key log_keys[] = {
    {.name = "format",
     .type = CONF_ENUM,
     .offset = 0,
     .names = format_names,
     .dflt = "logfmt",
     .help = "logfmt or json"},
    {.name = "level",
     .type = CONF_ENUM,
     .offset = sizeof(int),
     .names = level_names,
     .dflt = "info",
     .help = "debug, info, warn or error"},
    {.name = NULL},
};

const struct conf_key hwd_config_keys[] = {
    {.name = "claim",
     .type = CONF_STRLIST,
     .offset = OFF(claim),
     .max = 64,
     .dflt = "unbound,vfio",
     .check = check_claim,
     .help = "what may be touched: unbound, vfio, driver names, PCI addresses"},
    {.name = "exclude",
     .type = CONF_STRLIST,
     .offset = OFF(exclude),
     .max = 64,
     .check = check_addr,
     .help = "PCI addresses that are never touched"},
    {.name = "modes",
     .type = CONF_STRLIST,
     .offset = OFF(modes),
     .max = 4,
     .names = mode_names,
     .dflt = "on,ppcie",
     .help = "modes a client may ask for; off and devtools protect nothing"},
    {.name = "manage",
     .type = CONF_ENUM,
     .offset = OFF(manage),
     .names = manage_names,
     .dflt = "full",
     .help = "verify: never bind, switch or reset anything"},
    {.name = "vfio_node",
     .type = CONF_ENUM,
     .offset = OFF(vfio_node),
     .names = node_names,
     .dflt = "cdev",
     .help = "group: accept hosts without iommufd (confidential Kata guests need cdev)"},
    {.name = "access",
     .type = CONF_ENUM,
     .offset = OFF(access),
     .names = access_names,
     .dflt = "auto",
     .help = "registers through sysfs or vfio; auto: vfio where lockdown refuses sysfs"},
    {.name = "deadlines",
     .type = CONF_OBJECT,
     .offset = OFF(deadline),
     .sub = deadline_keys,
     .help = "how long an operation may take before the device counts as stuck"},
    {.name = "firmware",
     .type = CONF_OBJECT,
     .offset = OFF(firmware),
     .sub = firmware_keys,
     .help = "limits for the GPU's firmware, for parts that are slower than known ones"},
    {.name = "rescan",
     .type = CONF_DURATION,
     .offset = OFF(rescan),
     .min = HW_MS(100),
     .max = HW_SEC(3600),
     .dflt = "30s",
     .help = "time between periodic scans of the bus"},
    {.name = "log", .type = CONF_OBJECT, .offset = OFF(log), .sub = log_keys, .help = "logging"},
    {.name = NULL},
};

int
hwd_config_load(const char *path, struct hwd_config *ret, struct err *e)
{
    struct hwd_config c = {0};
    int r;

    if (!path) {
        conf_defaults(hwd_config_keys, ret);
        return 0;
    }
    r = conf_load(path, hwd_config_keys, &c, e);
    if (r < 0)
        return r;
    *ret = c;
    return 0;
}

void
hwd_config_free(struct hwd_config *c)
{
    conf_free(hwd_config_keys, c);
}

bool
hwd_config_mode_allowed(const struct hwd_config *c, enum cc_mode m)
{
    for (size_t i = 0; i < c->modes.n; i++)
        if (strcmp(c->modes.v[i], cc_mode_name(m)) == 0)
            return true;
    return false;
}

uint64_t
hwd_config_deadline(const struct hwd_config *c, enum hwd_op op, uint32_t wish_ms)
{
    uint64_t cap = c->deadline.probe;
    uint64_t wish = HW_MS(wish_ms);

    switch (op) {
    case HWD_OP_PREPARE:
        cap = c->deadline.prepare;
        break;
    case HWD_OP_VERIFY:
        cap = c->deadline.verify;
        break;
    case HWD_OP_HANDOVER:
        cap = c->deadline.handover;
        break;
    case HWD_OP_RESET:
        cap = c->deadline.reset;
        break;
    case HWD_OP_GIVE_BACK:
        cap = c->deadline.give_back;
        break;
    case HWD_OP_RESCAN:
        cap = c->deadline.scan;
        break;
    case HWD_OP_NONE:
    case HWD_OP_PROBE_USE:
    case HWD_OP_COUNT:
        break;
    }
    return wish && wish < cap ? wish : cap;
}
