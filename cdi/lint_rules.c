/* SPDX-License-Identifier: Apache-2.0
 *
 * What each consumer checks after decoding, in the order in which it does, since the first fault
 * decides between an error and a crash. No state; lint_bites.c has what is accepted and hurts
 * later.
 */
#include "base/cleanup.h"
#include "cdi/lint.h"
#include "cdi/names.h"

#include <string.h>

/* Versions of the specification; what needs which is in CDI SPEC.md and in the libraries'
 * version.go / version.rs. */
static const char *const versions[] = {"0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0",
                                       "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"};
enum { V030 = 2, V040, V050, V060, V070, V110 = 9 };

/* Newest version the consumer reads. */
static int
newest(enum cdi_consumer who)
{
    return who == CDI_KATA_GO ? V060 : V110;
}

static int
version_index(const char *v)
{
    if (*v == 'v')
        v++;
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        if (strcmp(versions[i], v) == 0)
            return (int)i;
    }
    return -1;
}

/* ---- what the fields in use need ---- */

struct need {
    int version;
    const char *why;
};

static void
need(struct need *n, int version, const char *why)
{
    if (version > n->version)
        *n = (struct need){.version = version, .why = why};
}

static bool
any_text(const struct lint_ctx *c, const yaml_node_t *list, const char *key)
{
    for (size_t i = 0; i < lint_count(list); i++) {
        if (*lint_text(c, lint_item(c, list, i), key))
            return true;
    }
    return false;
}

static void
need_of_edits(const struct lint_ctx *c, const yaml_node_t *edits, struct need *n)
{
    const yaml_node_t *rdt = lint_member(c, edits, "intelRdt");

    if (any_text(c, lint_member(c, edits, "mounts"), "type"))
        need(n, V040, "a mount's \"type\"");
    if (any_text(c, lint_member(c, edits, "deviceNodes"), "hostPath"))
        need(n, V050, "\"hostPath\"");
    if (!lint_is_null(rdt))
        need(n, V070, "\"intelRdt\"");
    if (lint_count(lint_member(c, edits, "additionalGids")) > 0)
        need(n, V070, "\"additionalGids\"");
    if (lint_count(lint_member(c, edits, "netDevices")) > 0)
        need(n, V110, "\"netDevices\"");
    if (!lint_is_null(lint_member(c, rdt, "schemata")))
        need(n, V110, "\"schemata\"");
    /* Go looks at the value, Rust at the presence. */
    if (c->who == CDI_KATA_RS ? lint_member(c, rdt, "enableMonitoring") != NULL
                              : strcmp(lint_text(c, rdt, "enableMonitoring"), "true") == 0)
        need(n, V110, "\"enableMonitoring\"");
}

static bool
null_item(const struct lint_ctx *c, const yaml_node_t *edits, const char *key)
{
    const yaml_node_t *list = lint_member(c, edits, key);

    for (size_t i = 0; i < lint_count(list); i++) {
        if (lint_is_null(lint_item(c, list, i)))
            return true;
    }
    return false;
}

/* A null in a list of pointers: the Go library dereferences it. */
static bool
check_null_items(struct lint_ctx *c, const yaml_node_t *edits)
{
    static const char *const lists[] = {"deviceNodes", "hooks", "mounts", "netDevices"};

    for (size_t i = 0; c->who != CDI_KATA_RS && i < ARRAY_SIZE(lists); i++) {
        if (null_item(c, edits, lists[i]))
            return lint_say(c, CDI_CRASH, "remove the empty list element",
                            "an empty element in \"%s\" makes the library panic", lists[i]);
    }
    return true;
}

static bool
check_version(struct lint_ctx *c)
{
    const char *v = lint_text(c, c->root, "cdiVersion");
    const char *kind = lint_text(c, c->root, "kind");
    const yaml_node_t *devices = lint_member(c, c->root, "devices");
    int have = version_index(v);
    struct need n = {.version = V030, .why = "everything"};
    size_t vendor;

    if (have < 0)
        return lint_refuse(c, "write a released version: 0.5.0 where nothing newer is used",
                           "cdiVersion \"%.40s\" is not one that exists", v);
    if (have > newest(c->who))
        return lint_refuse(c,
                           "have its owner write 0.5.0 or 0.6.0, or move it out of the directory",
                           "cdiVersion %.40s, newer than %s, the newest this one reads", v,
                           versions[newest(c->who)]);

    if (!check_null_items(c, lint_member(c, c->root, "containerEdits")))
        return false;
    need_of_edits(c, lint_member(c, c->root, "containerEdits"), &n);
    if (lint_count(lint_member(c, c->root, "annotations")) > 0)
        need(&n, V060, "\"annotations\"");
    if (cdi_split_kind(kind, &vendor) && strchr(kind + vendor + 1, '.'))
        need(&n, V060, "a dot in the class");
    for (size_t i = 0; i < lint_count(devices); i++) {
        const yaml_node_t *d = lint_item(c, devices, i);
        const char *name = lint_text(c, d, "name");

        if (!lint_visit(c) || !check_null_items(c, lint_member(c, d, "containerEdits")))
            return false;
        need_of_edits(c, lint_member(c, d, "containerEdits"), &n);
        if (lint_count(lint_member(c, d, "annotations")) > 0)
            need(&n, V060, "\"annotations\"");
        if (*name >= '0' && *name <= '9')
            need(&n, V050, "a device name that starts with a digit");
    }
    if (n.version > have)
        return lint_refuse(c, "raise cdiVersion or drop the field",
                           "cdiVersion %.20s is too old for %s, which needs %s", v, n.why,
                           versions[n.version]);
    return true;
}

/* ---- names ---- */

static bool
check_part(struct lint_ctx *c, const char *what, const char *s, size_t len)
{
    /* validateVendorOrClassName of library 0.6.0 slices name[1:len-1]: out of range for one letter.
     * What does not start with a letter was refused before that. */
    bool letter = len == 1 && ((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z'));

    if (letter && c->who == CDI_KATA_GO)
        return lint_say(c, CDI_CRASH, "rename the kind, or move the file out of the directory",
                        "%s of one letter in kind \"%.80s\" makes the library panic", what,
                        lint_text(c, c->root, "kind"));
    if (!cdi_part_valid(s, len))
        return lint_refuse(c, "rename the kind: letters, digits, _ - . only, a letter first",
                           "bad %s in kind \"%.80s\"", what, lint_text(c, c->root, "kind"));
    return true;
}

static bool
check_kind(struct lint_ctx *c)
{
    const char *kind = lint_text(c, c->root, "kind");
    size_t vendor;

    if (!cdi_split_kind(kind, &vendor))
        return lint_refuse(c, "write <vendor>/<class>", "kind \"%.80s\" has no vendor and class",
                           kind);
    return check_part(c, "vendor", kind, vendor) &&
           check_part(c, "class", kind + vendor + 1, strlen(kind + vendor + 1));
}

/* Annotation keys are Kubernetes qualified names. Both Go libraries hand their check a type that it
 * passes over; only runtime-rs looks. */
static bool
annotation_key_valid(const char *key)
{
    const char *slash = strchr(key, '/');
    const char *name = slash ? slash + 1 : key;
    size_t len = strlen(name);

    if (slash && (slash == key || strchr(name, '/') || slash - key > CDI_VENDOR_MAX))
        return false;
    for (const char *p = key; slash && p < slash; p++) {
        bool edge = p == key || p + 1 == slash;

        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", *p) &&
            (edge || !strchr("-.", *p)))
            return false;
    }
    if (len == 0 || len > CDI_CLASS_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        bool edge = i == 0 || i + 1 == len;

        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", name[i]) &&
            (edge || !strchr("-_.", name[i])))
            return false;
    }
    return true;
}

static bool
check_annotations(struct lint_ctx *c, const yaml_node_t *owner)
{
    const yaml_node_t *map = lint_member(c, owner, "annotations");

    for (size_t i = 0; c->who == CDI_KATA_RS && i < lint_count(map); i++) {
        const yaml_node_t *key =
            yaml_document_get_node(c->doc, map->data.mapping.pairs.start[i].key);
        const char *s = (const char *)key->data.scalar.value;

        if (!annotation_key_valid(s))
            return lint_refuse(c, "rename or remove the annotation", "bad annotation key \"%.80s\"",
                               s);
    }
    return true;
}

/* ---- edits ---- */

static bool
check_env(struct lint_ctx *c, const yaml_node_t *owner)
{
    const yaml_node_t *env = lint_member(c, owner, "env");

    for (size_t i = 0; i < lint_count(env); i++) {
        const char *s = (const char *)lint_item(c, env, i)->data.scalar.value;

        if (*s == '=' || !strchr(s, '='))
            return lint_refuse(c, "write NAME=value", "bad environment variable \"%.60s\"", s);
    }
    return true;
}

static bool
one_of(const char *s, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(s, words[i]) == 0)
            return true;
    }
    return false;
}

static bool
check_node(struct lint_ctx *c, const yaml_node_t *node)
{
    static const char *const types[] = {"", "b", "c", "u", "p"};
    const char *path = lint_text(c, node, "path");
    const char *perm = lint_text(c, node, "permissions");
    bool none = c->who != CDI_KATA_GO && strcmp(perm, "none") == 0;

    if (!*path)
        return lint_refuse(c, "name the node", "a device node without \"path\"");
    if (!one_of(lint_text(c, node, "type"), types, ARRAY_SIZE(types)))
        return lint_refuse(c, "use b, c, u or p, or leave it out",
                           "device node %.80s has the unknown type \"%.20s\"", path,
                           lint_text(c, node, "type"));
    if (!none && strspn(perm, "rwm") != strlen(perm))
        return lint_refuse(c, "use letters of rwm, or leave it out",
                           "device node %.80s has the unknown permissions \"%.20s\"", path, perm);
    return true;
}

static bool
check_hook(struct lint_ctx *c, const yaml_node_t *hook)
{
    static const char *const names[] = {"prestart",       "createRuntime", "createContainer",
                                        "startContainer", "poststart",     "poststop"};
    const char *name = lint_text(c, hook, "hookName");

    if (!one_of(name, names, ARRAY_SIZE(names)))
        return lint_refuse(c, "use a hook of the OCI runtime specification",
                           "unknown hook \"%.40s\"", name);
    if (!*lint_text(c, hook, "path"))
        return lint_refuse(c, "name the program", "hook \"%s\" without \"path\"", name);
    return check_env(c, hook);
}

static bool
check_mount(struct lint_ctx *c, const yaml_node_t *mount)
{
    if (!*lint_text(c, mount, "hostPath") || !*lint_text(c, mount, "containerPath"))
        return lint_refuse(c, "write both paths", "a mount without host or container path");
    return true;
}

static bool
check_net(struct lint_ctx *c, const yaml_node_t *net)
{
    if (!*lint_text(c, net, "hostInterfaceName") || !*lint_text(c, net, "name"))
        return lint_refuse(c, "write both names", "a network device without a name");
    return true;
}

static bool
check_rdt(struct lint_ctx *c, const yaml_node_t *rdt)
{
    const char *clos = lint_text(c, rdt, "closID");

    if (strlen(clos) >= 4096 || strcmp(clos, ".") == 0 || strcmp(clos, "..") == 0 ||
        strpbrk(clos, "/\n"))
        return lint_refuse(c, "use a plain name", "bad closID");
    if (c->who == CDI_KATA_RS && version_index(lint_text(c, c->root, "cdiVersion")) >= V110 &&
        (lint_member(c, rdt, "enableCMT") || lint_member(c, rdt, "enableMBM")))
        return lint_refuse(c, "use enableMonitoring",
                           "enableCMT and enableMBM are gone from cdiVersion 1.1.0");
    return true;
}

static bool
check_edits(struct lint_ctx *c, const yaml_node_t *edits)
{
    static const struct {
        const char *list;
        bool (*check)(struct lint_ctx *c, const yaml_node_t *item);
    } steps[] = {
        {"deviceNodes", check_node},
        {"hooks", check_hook},
        {"mounts", check_mount},
        {"netDevices", check_net},
    };

    if (!check_env(c, edits))
        return false;
    for (size_t s = 0; s < ARRAY_SIZE(steps); s++) {
        const yaml_node_t *list = lint_member(c, edits, steps[s].list);

        for (size_t i = 0; i < lint_count(list); i++) {
            if (!lint_visit(c) || !steps[s].check(c, lint_item(c, list, i)))
                return false;
        }
    }
    return check_rdt(c, lint_member(c, edits, "intelRdt"));
}

static bool
edits_empty(const struct lint_ctx *c, const yaml_node_t *edits)
{
    static const char *const lists[] = {"env",    "deviceNodes",    "hooks",
                                        "mounts", "additionalGids", "netDevices"};

    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        if (lint_count(lint_member(c, edits, lists[i])) > 0)
            return false;
    }
    return lint_is_null(lint_member(c, edits, "intelRdt"));
}

static bool
check_device(struct lint_ctx *c, const yaml_node_t *d)
{
    const yaml_node_t *edits = lint_member(c, d, "containerEdits");

    if (!cdi_device_name_valid(lint_text(c, d, "name")))
        return lint_refuse(c, "rename it: letters and digits, inside also _ - . :",
                           "bad device name \"%.80s\"", lint_text(c, d, "name"));
    if (!check_annotations(c, d))
        return false;
    if (edits_empty(c, edits))
        return lint_refuse(c, "give it a device node or remove the device",
                           "its \"containerEdits\" are empty");
    return check_edits(c, edits);
}

bool
lint_rules(struct lint_ctx *c)
{
    const yaml_node_t *devices = lint_member(c, c->root, "devices");
    const yaml_node_t *edits = lint_member(c, c->root, "containerEdits");

    if (!check_version(c) || !check_kind(c) || !check_annotations(c, c->root) ||
        !check_edits(c, edits))
        return false;
    for (size_t i = 0; i < lint_count(devices); i++) {
        const yaml_node_t *d = lint_item(c, devices, i);
        bool ok;

        c->device = lint_text(c, d, "name");
        ok = lint_visit(c) && check_device(c, d);
        c->device = NULL;
        if (!ok)
            return false;
    }
    /* The 0.6.0 library takes a spec without devices. */
    if (lint_count(devices) == 0 && c->who != CDI_KATA_GO)
        return lint_refuse(c, "remove the file", "it has no devices");
    return true;
}
