/* SPDX-License-Identifier: Apache-2.0
 *
 * The keys below `nri:`.
 */
#include "daemon/config_nri.h"

#include "base/cleanup.h"
#include "daemon/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const class_names[] = {"none", "plain", "confidential", NULL};
static const char *const tee_names[] = {"none", "snp", "tdx", NULL};
static const char *const inject_names[] = {"auto", "cdi", "nodes", "off", NULL};
static const char *const rule_names[] = {"enforce", "warn", "off", NULL};

/* containerd/nri pkg/adaptation/plugin.go checks names so since 0.12; the index always. */
static bool
check_name(const char *v, const char **why)
{
    *why = "must be one or more of A-Z a-z 0-9 _ . + -";
    for (const char *p = v; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("_.+-", *p))
            return false;
    return v[0] != '\0';
}

static bool
check_index(const char *v, const char **why)
{
    *why = "must be two digits: runtimes call plugins in this order";
    return isdigit((unsigned char)v[0]) && isdigit((unsigned char)v[1]) && v[2] == '\0';
}

static bool
check_absolute(const char *v, const char **why)
{
    *why = "must be an absolute path of at most 107 bytes";
    return v[0] == '/' && strlen(v) < 108;
}

static bool
check_require(const char *v, const char **why)
{
    *why = "must be \"KEY\" or \"KEY=VALUE\" of a pod annotation";
    return v[0] != '\0' && v[0] != '=';
}

#define HANDLER(field) offsetof(struct nri_handler_conf, field)
static const struct conf_key handler_keys[] = {
    {.name = "match",
     .type = CONF_STRING,
     .offset = HANDLER(match),
     .size = 128,
     .dflt = "",
     .help = "glob on the CRI runtime handler"},
    {.name = "class",
     .type = CONF_ENUM,
     .offset = HANDLER(cls),
     .names = class_names,
     .dflt = "confidential",
     .help = "confidential | plain (a Kata VM without protection) | none (not looked at)"},
    {.name = "tee",
     .type = CONF_ENUM,
     .offset = HANDLER(tee),
     .names = tee_names,
     .dflt = "none",
     .help = "snp | tdx | none: what {tee} says"},
    {.name = "set",
     .type = CONF_STRING,
     .offset = HANDLER(set),
     .size = 64,
     .dflt = "default",
     .help = "annotation set for containers with a GPU, \"\" for none"},
    {.name = "cdi_annotation",
     .type = CONF_BOOL,
     .offset = HANDLER(cdi_annotation),
     .dflt = "false",
     .help = "Kata before 3.24: a pod may name its GPUs by cdi.k8s.io annotation, if it is right"},
    {.name = "require",
     .type = CONF_STRLIST,
     .offset = HANDLER(require),
     .max = 32,
     .check = check_require,
     .help = "\"KEY=VALUE\" or \"KEY\": pod annotations that a pod with a GPU must have"},
    {0},
};

static const struct conf_key set_keys[] = {
    {.name = "name",
     .type = CONF_STRING,
     .offset = offsetof(struct nri_set_conf, name),
     .size = 64,
     .dflt = "default",
     .check = check_name,
     .help = "name of the set"},
    {.name = "annotations",
     .type = CONF_STRLIST,
     .offset = offsetof(struct nri_set_conf, annotations),
     .max = 32,
     .check = guard_template_valid,
     .help = "\"KEY=TEMPLATE\", see pgpud.yaml(5) for the facts"},
    {0},
};

#define RULE_KEY(rule, word, text)                                                                 \
    {                                                                                              \
        .name = (word), .type = CONF_ENUM, .offset = (rule) * sizeof(int), .names = rule_names,    \
        .dflt = "enforce", .help = (text)                                                          \
    }
static const struct conf_key rules_keys[] = {
    RULE_KEY(GUARD_RULE_CC, "cc", "GPUs verified since their last use, CC mode on"),
    RULE_KEY(GUARD_RULE_OWNER, "owner", "GPUs belong to the pod by the kubelet's account"),
    RULE_KEY(GUARD_RULE_DEVICES, "devices", "no GPU that the kubelet did not allocate"),
    RULE_KEY(GUARD_RULE_INITDATA, "initdata", "initdata is well formed"),
    RULE_KEY(GUARD_RULE_ANNOTATIONS, "annotations", "the handler's `require`d annotations"),
    RULE_KEY(GUARD_RULE_PLUGINS, "plugins", "other plugins add no VFIO node, hook or GPU"),
    {0},
};

#define NRI(field) offsetof(struct nri_conf, field)
const struct conf_key config_nri_keys[] = {
    {.name = "sockets",
     .type = CONF_STRLIST,
     .offset = NRI(sockets),
     .max = NRI_SOCKETS_MAX,
     .dflt = "/var/run/nri/nri.sock",
     .check = check_absolute,
     .help = "runtimes to connect to; [] for none"},
    {.name = "name",
     .type = CONF_STRING,
     .offset = NRI(name),
     .size = 64,
     .dflt = "pgpu",
     .check = check_name,
     .help = "the plugin's name for the runtimes"},
    {.name = "index",
     .type = CONF_STRING,
     .offset = NRI(index),
     .size = 8,
     .dflt = "10",
     .check = check_index,
     .help = "its place among the plugins; after those that edit what we must see"},
    {.name = "launch",
     .type = CONF_BOOL,
     .offset = NRI(launch),
     .dflt = "true",
     .help = "take connections that pgpu-nri-launch brings to <state_dir>/nri-launch.sock"},
    {.name = "inject",
     .type = CONF_ENUM,
     .offset = NRI(inject),
     .names = inject_names,
     .dflt = "auto",
     .help = "a GPU that is missing in its container: auto | cdi | nodes | off"},
    {.name = "rules",
     .type = CONF_OBJECT,
     .offset = NRI(rules),
     .sub = rules_keys,
     .help = "what the guard does about each: enforce | warn | off"},
    {.name = "handlers",
     .type = CONF_OBJLIST,
     .offset = NRI(handlers),
     .size = sizeof(struct nri_handler_conf),
     .max = 64,
     .sub = handler_keys,
     .help = "first match counts; empty: Kata's and OpenShift's GPU handlers"},
    {.name = "sets",
     .type = CONF_OBJLIST,
     .offset = NRI(sets),
     .size = sizeof(struct nri_set_conf),
     .max = 16,
     .sub = set_keys,
     .help = "annotation sets; empty: \"default\" with nvidia.com/pgpu.*"},
    {0},
};

/* The sets in force: those configured, else the built-in one. */
static bool
has_set(const struct nri_conf *c, const char *name)
{
    const struct nri_set_conf *set = c->sets.v;
    size_t n;
    const struct guard_set *builtin = guard_default_sets(&n);

    for (size_t i = 0; i < c->sets.n; i++)
        if (strcmp(set[i].name, name) == 0)
            return true;
    for (size_t i = 0; c->sets.n == 0 && i < n; i++)
        if (strcmp(builtin[i].name, name) == 0)
            return true;
    return false;
}

int
config_nri_check(const char *path, const struct nri_conf *c, struct err *e)
{
    const struct nri_handler_conf *h = c->handlers.v;

    for (size_t i = 0; i < c->handlers.n; i++) {
        if (!h[i].match[0])
            return err_set(e, EINVAL, ERR_CLASS_INVALID,
                           "%s: nri.handlers: entry %zu has no `match`", path, i + 1);
        if (h[i].set[0] && !has_set(c, h[i].set))
            return err_set(e, EINVAL, ERR_CLASS_INVALID,
                           "%s: nri.handlers: \"%s\" wants the annotation set \"%s\", which is not "
                           "in `nri.sets`",
                           path, h[i].match, h[i].set);
    }
    return 0;
}

static const char *const *
strings_of(const struct conf_strlist *l)
{
    return (const char *const *)l->v;
}

static int
add_handlers(const struct nri_conf *c, struct guard_policy *p)
{
    const struct nri_handler_conf *h = c->handlers.v;
    struct guard_handler *out;

    if (c->handlers.n == 0) {
        p->handlers = guard_default_handlers(&p->n_handlers);
        return 0;
    }
    out = calloc(c->handlers.n, sizeof(*out));
    if (!out)
        return -ENOMEM;
    for (size_t i = 0; i < c->handlers.n; i++)
        out[i] = (struct guard_handler){.match = h[i].match,
                                        .cls = (enum guard_class)h[i].cls,
                                        .tee = (enum guard_tee)h[i].tee,
                                        .set = h[i].set,
                                        .cdi_annotation = h[i].cdi_annotation,
                                        .n_require = h[i].require.n,
                                        .require = strings_of(&h[i].require)};
    p->n_handlers = c->handlers.n;
    p->handlers = out;
    return 0;
}

static int
add_sets(const struct nri_conf *c, struct guard_policy *p)
{
    const struct nri_set_conf *set = c->sets.v;
    struct guard_set *out;

    if (c->sets.n == 0) {
        p->sets = guard_default_sets(&p->n_sets);
        return 0;
    }
    out = calloc(c->sets.n, sizeof(*out));
    if (!out)
        return -ENOMEM;
    for (size_t i = 0; i < c->sets.n; i++)
        out[i] = (struct guard_set){.name = set[i].name,
                                    .n = set[i].annotations.n,
                                    .annotations = strings_of(&set[i].annotations)};
    p->n_sets = c->sets.n;
    p->sets = out;
    return 0;
}

int
config_policy(const struct config *c, struct guard_policy *ret, struct err *e)
{
    struct guard_policy p = {.inject = (enum guard_inject)c->nri.inject,
                             .wanted = (enum cc_mode)c->mode}; /* until guard.c knows better */

    for (size_t i = 0; i < GUARD_RULES; i++)
        p.mode[i] = (enum guard_mode)c->nri.rules[i];
    if (add_handlers(&c->nri, &p) < 0 || add_sets(&c->nri, &p) < 0) {
        config_policy_free(&p);
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "read the guard's rules");
    }
    *ret = p;
    return 0;
}

void
config_policy_free(struct guard_policy *p)
{
    size_t n;

    if (p->handlers != guard_default_handlers(&n))
        free((void *)(uintptr_t)p->handlers);
    if (p->sets != guard_default_sets(&n))
        free((void *)(uintptr_t)p->sets);
    p->handlers = NULL;
    p->sets = NULL;
}
