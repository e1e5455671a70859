/* SPDX-License-Identifier: Apache-2.0
 *
 * What a consumer accepts and a pod pays for: device nodes that are not there, and shapes of VFIO
 * devices that Kata's shims stumble over. No state; looks at device nodes with stat().
 */
#include "cdi/lint_bites.h"
#include "cdi/lint.h"

#include <string.h>
#include <sys/stat.h>

static bool
starts_with(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* What the consumer opens on the host. */
static const char *
host_path(const struct lint_ctx *c, const yaml_node_t *node)
{
    const char *host = lint_text(c, node, "hostPath");

    return *host ? host : lint_text(c, node, "path");
}

static bool
is_shared_node(const char *path)
{
    return strcmp(path, "/dev/vfio/vfio") == 0 || strcmp(path, "/dev/iommu") == 0;
}

static bool
is_vfio_device(const char *path)
{
    return starts_with(path, "/dev/vfio/") && !is_shared_node(path);
}

/* What runtime-rs can make something of: it goes by the path alone (hypervisor:
 * vfio_device/core.rs, discover_vfio_group_device), and whatever is no cdev has to end in a group's
 * number. */
static bool
is_cdev_or_group(const char *path)
{
    const char *last = strrchr(path, '/');

    if (starts_with(path, "/dev/vfio/devices/"))
        return true;
    return last && last[1] && last[1 + strspn(last + 1, "0123456789")] == '\0';
}

static size_t
count_vfio(const struct lint_ctx *c, const yaml_node_t *edits)
{
    const yaml_node_t *nodes = lint_member(c, edits, "deviceNodes");
    size_t n = 0;

    for (size_t i = 0; i < lint_count(nodes); i++)
        n += is_vfio_device(host_path(c, lint_item(c, nodes, i)));
    return n;
}

/* Injection stats a node whose type or major is not written down, and fails without it. */
static void
missing_nodes(struct lint_ctx *c, const yaml_node_t *edits)
{
    const yaml_node_t *nodes = lint_member(c, edits, "deviceNodes");

    for (size_t i = 0; i < lint_count(nodes); i++) {
        const yaml_node_t *n = lint_item(c, nodes, i);
        const char *path = host_path(c, n);
        struct stat st;

        if (!lint_visit(c))
            return;
        if (*lint_text(c, n, "type") && *lint_text(c, n, "major"))
            continue;
        if (stat(path, &st) < 0)
            lint_say(c, CDI_WARN, "remove the device from the file, or bring the node back",
                     "%.80s is not there: pods that get this device fail", path);
        else if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode) && !S_ISFIFO(st.st_mode))
            lint_say(c, CDI_WARN, "name a device node",
                     "%.80s is not a device: pods that get this device fail", path);
    }
}

static void
vfio_shape(struct lint_ctx *c, const yaml_node_t *edits)
{
    const yaml_node_t *nodes = lint_member(c, edits, "deviceNodes");

    if (c->who == CDI_CONTAINERD || count_vfio(c, edits) == 0)
        return;
    for (size_t i = 0; i < lint_count(nodes); i++) {
        const char *path = host_path(c, lint_item(c, nodes, i));

        if (c->who == CDI_KATA_RS && !is_cdev_or_group(path))
            lint_say(
                c, CDI_WARN, "list only the device's own node",
                "%.80s is no VFIO device: runtime-rs takes every node for a VFIO group or cdev "
                "and fails the sandbox",
                path);
    }
    if (count_vfio(c, edits) > 1)
        lint_say(c, CDI_WARN, "list one node: /dev/vfio/devices/vfioN",
                 "more than one VFIO node: the GPU is attached twice and the sandbox fails");
    if (c->who == CDI_KATA_GO && (lint_count(lint_member(c, edits, "env")) > 0 ||
                                  lint_count(lint_member(c, edits, "mounts")) > 0 ||
                                  lint_count(lint_member(c, edits, "hooks")) > 0))
        lint_say(c, CDI_WARN, "list device nodes only",
                 "env, mounts or hooks beside a VFIO node: a guest's policy may refuse them");
}

/* Edits of the whole spec beside VFIO devices. */
static void
spec_edits(struct lint_ctx *c, const yaml_node_t *edits)
{
    if (c->who == CDI_KATA_RS && lint_count(lint_member(c, edits, "deviceNodes")) > 0)
        lint_say(c, CDI_WARN, "write device nodes below each device",
                 "device nodes of the whole spec are not seen by runtime-rs");
    if (c->who == CDI_KATA_GO && count_vfio(c, edits) > 0)
        lint_say(c, CDI_WARN, "write device nodes below each device",
                 "a VFIO node for the whole spec is attached whichever device a pod asks for");
}

void
lint_bites(struct lint_ctx *c)
{
    const yaml_node_t *devices = lint_member(c, c->root, "devices");
    const yaml_node_t *edits = lint_member(c, c->root, "containerEdits");
    bool vfio = false;

    for (size_t i = 0; i < lint_count(devices); i++) {
        const yaml_node_t *d = lint_item(c, devices, i);
        const yaml_node_t *own = lint_member(c, d, "containerEdits");

        c->device = lint_text(c, d, "name");
        vfio = vfio || count_vfio(c, own) > 0;
        vfio_shape(c, own);
        missing_nodes(c, own);
        c->device = NULL;
    }
    if (vfio)
        spec_edits(c, edits);
    missing_nodes(c, edits);
}
