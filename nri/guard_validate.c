/* SPDX-License-Identifier: Apache-2.0
 *
 * ValidateContainerAdjustment: all plugins together want these changes. The request does not tell
 * who wants what, so what counts is whether the container may have it.
 */
#include "nri/guard_inject.h"

#include "base/cleanup.h"

#include <limits.h>
#include <string.h>

/* Removals are marked by a minus in front (containerd/nri pkg/api/helpers.go). */
static bool
is_removal(const char *key)
{
    return key[0] == '-';
}

static bool
is_own(const struct guard_verdict *v, size_t device)
{
    for (size_t i = 0; i < v->n_own; i++)
        if (v->own[i] == device)
            return true;
    return false;
}

/* Below the directory of VFIO nodes, or the directory itself; the container node that opens no
 * device by itself is harmless. */
static bool
is_vfio_path(const char *path)
{
    static const char dir[] = "/dev/vfio"; /* lint: allow host-path: a name, never opened here */
    char clean[PATH_MAX];

    if (!guard_path(path, clean, sizeof(clean)))
        return true; /* longer than any path may be: not worth trusting */
    if (strncmp(clean, dir, sizeof(dir) - 1) != 0)
        return false;
    const char *rest = clean + sizeof(dir) - 1;
    return rest[0] == '\0' || (rest[0] == '/' && strcmp(rest, "/vfio") != 0);
}

/* All VFIO device nodes share one major number (Linux drivers/vfio/device_cdev.c), whatever their
 * path is. */
static bool
is_vfio_node(const struct guard_view *view, const struct nri_device *n)
{
    for (size_t i = 0; i < view->n_devices && n->type == 'c'; i++)
        if (view->devices[i].major != 0 && view->devices[i].major == n->major)
            return true;
    return is_vfio_path(n->path);
}

static void
check_node(struct guard_case *g, const struct nri_device *n)
{
    struct guard_named named = {0};
    bool ours = false, fine = true;

    guard_name_node(g->view, n, &named);
    for (size_t i = 0; i < g->view->n_devices; i++) {
        const struct guard_device *d = &g->view->devices[i];

        if (!named.by[i])
            continue;
        ours = true;
        fine = fine && is_own(g->out, i) && n->type == 'c' && strcmp(n->path, d->node) == 0 &&
               (d->major == 0 || (n->major == d->major && n->minor == d->minor));
    }
    if (ours ? fine : g->handler->cls != GUARD_CONFIDENTIAL || !is_vfio_node(g->view, n))
        return;
    guard_find(g, GUARD_RULE_PLUGINS,
               "an NRI plugin adds the VFIO node %s, which is not the container's; exclude the"
               " handler %s in that plugin",
               SHOWN(80, n->path), SHOWN(64, g->pod->handler));
}

static void
check_names(struct guard_case *g, const char *list, bool annotation)
{
    struct guard_named named = {0};
    bool fine = !annotation;

    if (!guard_lists_ours(g->view, list))
        return;
    guard_name_cdi(g->view, list, &named);
    for (size_t i = 0; i < g->view->n_devices; i++)
        fine = fine && (!named.by[i] || is_own(g->out, i));
    if (fine && named.n_unknown == 0)
        return;
    guard_find(g, GUARD_RULE_PLUGINS,
               "an NRI plugin adds %s%s; exclude the handler %s in that plugin",
               annotation ? "an annotation " GUARD_CDI_PREFIX "* with " : "the CDI device ",
               SHOWN(80, list), SHOWN(64, g->pod->handler));
}

/* A directory of VFIO nodes, or the one that it is in. */
static void
check_mount(struct guard_case *g, const struct nri_kv *m)
{
    static const char dev[] = "/dev"; /* lint: allow host-path: a name, never opened here */
    char clean[PATH_MAX];
    bool whole =
        !guard_path(m->value, clean, sizeof(clean)) || clean[0] == '\0' || strcmp(clean, dev) == 0;

    /* File systems without a source, such as tmpfs, name themselves and begin with no slash. */
    if (is_removal(m->key) || m->value[0] != '/' || (!whole && !is_vfio_path(m->value)))
        return;
    guard_find(g, GUARD_RULE_PLUGINS,
               "an NRI plugin mounts the host's %s; exclude the handler %s in that plugin",
               SHOWN(80, m->value), SHOWN(64, g->pod->handler));
}

int
guard_validate(const struct guard_view *view, const struct nri_pod *pod,
               const struct nri_container *c, const struct nri_adjust *adjust, bool runtime_cdi,
               struct guard_verdict *ret, struct err *e)
{
    struct guard_verdict scratch;
    struct guard_injection *inj = NULL;
    struct guard_case g;

    /* The same rules once more: a runtime that gave up on us at CreateContainer asks here still. */
    int rc = guard_create_container(view, pod, c, runtime_cdi, ret, &inj, e);
    if (rc < 0)
        return rc;
    guard_injection_free(inj);
    if (!guard_open(&g, view, pod, c, &scratch))
        return 0;
    g.out = ret;

    if (g.handler->cls == GUARD_CONFIDENTIAL && adjust->n_hooks > 0)
        guard_find(&g, GUARD_RULE_PLUGINS,
                   "an NRI plugin adds %zu OCI hooks, which would run on the host or in the guest"
                   " unmeasured; exclude the handler %s in that plugin",
                   adjust->n_hooks, SHOWN(64, pod->handler));
    for (size_t i = 0; i < adjust->n_devices; i++)
        if (!is_removal(adjust->devices[i].path))
            check_node(&g, &adjust->devices[i]);
    for (size_t i = 0; i < adjust->n_cdi; i++)
        check_names(&g, adjust->cdi[i], false);
    for (size_t i = 0; i < adjust->n_annotations; i++)
        if (guard_starts(adjust->annotations[i].key, GUARD_CDI_PREFIX))
            check_names(&g, adjust->annotations[i].value, true);
    if (g.handler->cls == GUARD_CONFIDENTIAL)
        for (size_t i = 0; i < adjust->n_mounts; i++)
            check_mount(&g, &adjust->mounts[i]);
    return 0;
}
