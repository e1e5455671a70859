/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of pgpud's keys, and the checks that concern more than one key.
 */
#include "daemon/config.h"

#include "base/cleanup.h"
#include "base/hw.h"
#include "daemon/listen.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

static const char *const manage_names[] = {"full", "verify", NULL};
static const char *const prepare_names[] = {"eager", "allocate", NULL};
/* in the order of enum cc_mode */
static const char *const mode_names[] = {"off", "on", "devtools", "ppcie", NULL};
static const char *const format_names[] = {"logfmt", "json", NULL};
static const char *const level_names[] = {"debug", "info", "warn", "error", NULL};

static bool
check_absolute(const char *v, const char **why)
{
    *why = "must be an absolute path";
    return v[0] == '/';
}

/* An extended resource: domain-qualified, not of kubernetes.io, and a legal CDI kind, whose class
 * has at least two characters (CDI library 0.6.0 panics on one). */
static bool
check_resource_name(const char *v, const char **why)
{
    const char *slash = strchr(v, '/');

    *why = "must look like \"nvidia.com/pgpu\": a domain, a slash, two or more of A-Z a-z 0-9 _ -";
    if (!slash || slash == v || !isalpha((unsigned char)v[0]) || strlen(slash + 1) < 2 ||
        strlen(slash + 1) > 63)
        return false;
    if (strncmp(v, "requests.", 9) == 0 || strstr(v, "kubernetes.io/"))
        return false;
    for (const char *p = v; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("._-/{}", *p))
            return false;
    /* a dot in the class needs CDI 0.6.0, which older consumers refuse */
    if (strchr(slash + 1, '/') || strchr(slash + 1, '.'))
        return false;
    const char *brace = strchr(v, '{');
    if (brace && (brace < slash || strncmp(brace, "{model}", 7) != 0 || strpbrk(brace + 7, "{}")))
        return false;
    return true;
}

static const struct conf_key resource_keys[] = {
    {.name = "name",
     .type = CONF_STRING,
     .offset = offsetof(struct resource_conf, name),
     .size = RESOURCE_NAME_MAX,
     .dflt = "nvidia.com/pgpu",
     .check = check_resource_name,
     .help = "resource name = CDI kind; {model} is replaced by the product name"},
    {.name = "match",
     .type = CONF_STRING,
     .offset = offsetof(struct resource_conf, match),
     .size = 128,
     .dflt = "gpu",
     .help = "gpu | nvswitch | id:10de:2330 | glob on the product name"},
    {0},
};

static const struct conf_key kubelet_keys[] = {
    {.name = "plugin_dir",
     .type = CONF_STRING,
     .offset = offsetof(struct config, kubelet.plugin_dir) - offsetof(struct config, kubelet),
     .size = 108,
     .dflt = "/var/lib/kubelet/device-plugins",
     .check = check_absolute,
     .help = "directory with kubelet.sock and our sockets"},
    {.name = "pod_resources",
     .type = CONF_STRING,
     .offset = offsetof(struct config, kubelet.pod_resources) - offsetof(struct config, kubelet),
     .size = 108,
     .dflt = "/var/lib/kubelet/pod-resources/kubelet.sock",
     .check = check_absolute,
     .help = "PodResources socket: who has which GPU"},
    {0},
};

static bool
check_listen(const char *v, const char **why)
{
    return listen_parse(v, NULL, why);
}

static const struct conf_key http_keys[] = {
    {.name = "listen",
     .type = CONF_STRING,
     .offset = offsetof(struct config, http.listen) - offsetof(struct config, http),
     .size = 128,
     .dflt = "127.0.0.1:9407",
     .check = check_listen,
     .help = "ADDRESS:PORT, [ADDRESS]:PORT, :PORT (every address), unix:/PATH, or \"\" for off"},
    {0},
};

static const struct conf_key log_keys[] = {
    {.name = "format",
     .type = CONF_ENUM,
     .offset = offsetof(struct config, log.format) - offsetof(struct config, log),
     .names = format_names,
     .dflt = "logfmt",
     .help = "logfmt | json"},
    {.name = "level",
     .type = CONF_ENUM,
     .offset = offsetof(struct config, log.level) - offsetof(struct config, log),
     .names = level_names,
     .dflt = "info",
     .help = "debug | info | warn | error"},
    {0},
};

#define PATH_KEY(field, length, value, text)                                                       \
    {                                                                                              \
        .name = #field, .type = CONF_STRING, .offset = offsetof(struct config, field),             \
        .size = (length), .dflt = (value), .check = check_absolute, .help = (text)                 \
    }
#define TIME_KEY(field, lo, hi, value, text)                                                       \
    {                                                                                              \
        .name = #field, .type = CONF_DURATION, .offset = offsetof(struct config, field),           \
        .min = (lo), .max = (hi), .dflt = (value), .help = (text)                                  \
    }

const struct conf_key config_keys[] = {
    {.name = "resources",
     .type = CONF_OBJLIST,
     .offset = offsetof(struct config, resources),
     .size = sizeof(struct resource_conf),
     .max = 32,
     .sub = resource_keys,
     .help = "empty: nvidia.com/pgpu for GPUs and nvidia.com/nvswitch for NVSwitches"},
    {.name = "manage",
     .type = CONF_ENUM,
     .offset = offsetof(struct config, manage),
     .names = manage_names,
     .dflt = "full",
     .help = "full: bind, switch and reset; verify: only offer what is bound and verifies"},
    {.name = "prepare",
     .type = CONF_ENUM,
     .offset = offsetof(struct config, prepare),
     .names = prepare_names,
     .dflt = "eager",
     .help = "eager: GPUs are armed ahead; allocate: untouched until first asked for"},
    {.name = "mode",
     .type = CONF_ENUM,
     .offset = offsetof(struct config, mode),
     .names = mode_names,
     .dflt = "on",
     .help = "the mode every GPU is verified to be in: off | on | devtools | ppcie"},
    {.name = "unlock_devtools",
     .type = CONF_BOOL,
     .offset = offsetof(struct config, unlock_devtools),
     .dflt = "false",
     .help = "devtools gives no confidentiality; it must be unlocked here as well"},
    {.name = "cdi_devices",
     .type = CONF_BOOL,
     .offset = offsetof(struct config, cdi_devices),
     .dflt = "false",
     .help = "Allocate also answers CDI names (runtimes that apply CDI themselves)"},
    TIME_KEY(allocate_deadline, HW_MS(100), HW_SEC(280), "25s",
             "Allocate answers with an error after this"),
    TIME_KEY(arm_deadline, HW_MS(100), HW_SEC(600), "90s",
             "arming one GPU in the background may take this long"),
    TIME_KEY(pod_poll, HW_MS(100), HW_SEC(600), "2s",
             "how often PodResources is asked while GPUs are handed out"),
    TIME_KEY(unseen_grace, HW_MS(100), HW_SEC(3600), "1m",
             "a GPU handed out, never opened and never listed is taken back after this"),
    TIME_KEY(kubelet_settle, 0, HW_SEC(600), "10s",
             "after the kubelet (re)started, absence from PodResources counts from then on"),
    TIME_KEY(health_interval, HW_MS(100), HW_SEC(86400), "1m",
             "how often a GPU that waits armed is verified again"),
    TIME_KEY(recovery_delay, HW_MS(10), HW_SEC(3600), "2s",
             "before the first attempt to recover a GPU; grows with each rung"),
    {.name = "kubelet",
     .type = CONF_OBJECT,
     .offset = offsetof(struct config, kubelet),
     .sub = kubelet_keys,
     .help = "the kubelet's sockets"},
    PATH_KEY(cdi_dir, 256, "/var/run/cdi", "where Kata's shim looks devices up"),
    PATH_KEY(state_dir, 256, "/run/pgpu", "journal and lock; must not survive a reboot"),
    PATH_KEY(hwd_socket, 108, "/run/pgpu-hwd/hwd.sock", "the hardware service"),
    PATH_KEY(control_socket, 108, "/run/pgpu/control.sock", "for pgpuctl"),
    {.name = "nri",
     .type = CONF_OBJECT,
     .offset = offsetof(struct config, nri),
     .sub = config_nri_keys,
     .help = "the plugin for container runtimes: guard, injection, release"},
    {.name = "nfd",
     .type = CONF_OBJECT,
     .offset = offsetof(struct config, nfd),
     .sub = config_nfd_keys,
     .help = "the node's labels, through Node Feature Discovery"},
    {.name = "validations",
     .type = CONF_OBJECT,
     .offset = offsetof(struct config, validations),
     .sub = config_validations_keys,
     .help = "files for NVIDIA's GPU Operator"},
    {.name = "audit",
     .type = CONF_OBJECT,
     .offset = offsetof(struct config, audit),
     .sub = config_audit_keys,
     .help = "the audit log: who got which GPU, in which condition"},
    {.name = "http",
     .type = CONF_OBJECT,
     .offset = offsetof(struct config, http),
     .sub = http_keys,
     .help = "metrics and health for monitoring; no encryption, no login, nothing secret"},
    {.name = "log",
     .type = CONF_OBJECT,
     .offset = offsetof(struct config, log),
     .sub = log_keys,
     .help = "what is written to stderr"},
    {0},
};

static const struct resource_conf default_resources[] = {
    {.name = "nvidia.com/pgpu", .match = "gpu"},
    {.name = "nvidia.com/nvswitch", .match = "nvswitch"},
};

size_t
config_resources(const struct config *c, const struct resource_conf **ret)
{
    if (c->resources.n == 0) {
        *ret = default_resources;
        return ARRAY_SIZE(default_resources);
    }
    *ret = c->resources.v;
    return c->resources.n;
}

static int
check_whole(const char *path, const struct config *c, struct err *e)
{
    const struct resource_conf *r;
    size_t n = config_resources(c, &r);

    if (c->mode == CC_MODE_DEVTOOLS && !c->unlock_devtools)
        return err_set(e, EINVAL, ERR_CLASS_INVALID,
                       "%s: mode: devtools gives no confidentiality: set `unlock_devtools: true` "
                       "as well if that is really wanted",
                       path ? path : "defaults");
    if (c->audit.required && !c->audit.file[0])
        return err_set(e, EINVAL, ERR_CLASS_INVALID,
                       "%s: audit.required: there is no log to require: audit.file is empty",
                       path ? path : "defaults");
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++)
            if (strcmp(r[i].name, r[j].name) == 0 && strcmp(r[i].match, r[j].match) == 0)
                return err_set(e, EINVAL, ERR_CLASS_INVALID,
                               "%s: resources: \"%s\" is listed twice with the match \"%s\"",
                               path ? path : "defaults", r[i].name, r[i].match);
    return config_nri_check(path ? path : "defaults", &c->nri, e);
}

int
config_load(const char *path, struct config *ret, struct err *e)
{
    struct config c = {0};
    int r;

    if (path) {
        r = conf_load(path, config_keys, &c, e);
        if (r < 0)
            return r;
    } else {
        conf_defaults(config_keys, &c);
    }
    r = check_whole(path, &c, e);
    if (r < 0) {
        conf_free(config_keys, &c);
        return r;
    }
    *ret = c;
    return 0;
}

void
config_free(struct config *c)
{
    conf_free(config_keys, c);
}
