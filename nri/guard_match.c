/* SPDX-License-Identifier: Apache-2.0
 *
 * Which of our devices does a request name? By node (path, or the numbers under any path), by CDI
 * name, by `cdi.k8s.io/` annotation.
 *
 * VFIO nodes that are none of ours are not judged: other device plugins hand out network cards the
 * same way, and a request does not tell who put a node into it.
 */
#include "nri/guard_priv.h"

#include "base/cleanup.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

bool
guard_path(const char *path, char *dst, size_t size)
{
    size_t n = 0;

    for (const char *p = path; *p;) {
        size_t len = strcspn(p, "/");

        if (len == 2 && p[0] == '.' && p[1] == '.') {
            while (n > 0 && dst[--n] != '/')
                ;
        } else if (len > 0 && !(len == 1 && p[0] == '.')) {
            if (len + 2 > size - n)
                return false;
            dst[n++] = '/';
            memcpy(dst + n, p, len);
            n += len;
        }
        p += len + (p[len] == '/');
    }
    dst[n] = '\0';
    return true;
}

void
guard_name_node(const struct guard_view *view, const struct nri_device *node,
                struct guard_named *ret)
{
    char path[PATH_MAX] = "";
    bool numbered = node->major != 0 || node->minor != 0;

    if (!guard_path(node->path, path, sizeof(path)))
        path[0] = '\0';
    for (size_t i = 0; i < view->n_devices; i++) {
        const struct guard_device *d = &view->devices[i];
        bool at = d->node[0] && strcmp(path, d->node) == 0;
        bool same = d->major != 0 && (node->type == 'c' || node->type == 0) &&
                    node->major == d->major && node->minor == d->minor;

        if (at || same || (d->group_node[0] && strcmp(path, d->group_node) == 0))
            ret->by[i] |= NAMED_NODE;
        /* Something else under our device's name: Kata's two runtimes would not agree which of the
         * two is meant. A block volume may be given such a path by its pod. */
        if (at && !same &&
            ((node->type != 'c' && node->type != 0) || (numbered && d->major != 0))) {
            ret->fake = true;
            ret->fake_device = i;
        }
    }
}

/* One CDI name, "vendor/class=device" (CDI pkg/parser ParseQualifiedName). */
enum { NAME_FOREIGN, NAME_UNKNOWN, NAME_OURS };
static int
look_up(const struct guard_view *view, const char *name, size_t len, size_t *ret)
{
    const char *eq = memchr(name, '=', len);
    const struct guard_policy *p = view->policy;
    bool ours = false;

    if (!eq)
        return NAME_FOREIGN;
    size_t kind = (size_t)(eq - name), id = len - kind - 1;
    for (size_t i = 0; i < p->n_kinds && !ours; i++)
        ours = strlen(p->kinds[i]) == kind && memcmp(p->kinds[i], name, kind) == 0;
    if (!ours)
        return NAME_FOREIGN;
    for (size_t i = 0; i < view->n_devices; i++) {
        const struct guard_device *d = &view->devices[i];

        if (strlen(d->id) == id && memcmp(d->id, eq + 1, id) == 0 && strlen(d->kind) == kind &&
            memcmp(d->kind, name, kind) == 0) {
            *ret = i;
            return NAME_OURS;
        }
    }
    return NAME_UNKNOWN;
}

/* The next name of a comma-separated list, without blanks around it: no reader accepts them, but
 * what somebody meant to name is judged. NULL at the end. */
static const char *
next_name(const char **list, size_t *ret_len)
{
    const char *p = *list;

    if (!p)
        return NULL;
    size_t len = strcspn(p, ",");
    *list = p[len] ? p + len + 1 : NULL;
    while (len > 0 && strchr(" \t\r\n", *p)) {
        p++;
        len--;
    }
    while (len > 0 && strchr(" \t\r\n", p[len - 1]))
        len--;
    *ret_len = len;
    return p;
}

void
guard_name_cdi(const struct guard_view *view, const char *list, struct guard_named *ret)
{
    const char *name;
    size_t len = 0, at = 0;

    while ((name = next_name(&list, &len)) != NULL) {
        switch (look_up(view, name, len, &at)) {
        case NAME_OURS:
            ret->by[at] |= NAMED_CDI;
            break;
        case NAME_UNKNOWN:
            if (ret->n_unknown++ == 0)
                (void)guard_show(ret->unknown, sizeof(ret->unknown), name, len);
            break;
        default:
            break;
        }
    }
}

bool
guard_lists_ours(const struct guard_view *view, const char *list)
{
    const char *name;
    size_t len = 0, at = 0;

    while ((name = next_name(&list, &len)) != NULL)
        if (look_up(view, name, len, &at) != NAME_FOREIGN)
            return true;
    return false;
}

/* The pod's annotations with names of ours; at most max, returns how many there are. */
static size_t
pod_lists(const struct guard_case *g, const struct nri_kv *ret[], size_t max)
{
    size_t n = 0;

    for (size_t i = 0; i < g->pod->n_annotations; i++) {
        const struct nri_kv *kv = &g->pod->annotations[i];

        if (!guard_starts(kv->key, GUARD_CDI_PREFIX) || !guard_lists_ours(g->view, kv->value))
            continue;
        if (n < max)
            ret[n] = kv;
        n++;
    }
    return n;
}

bool
guard_name_pod(const struct guard_case *g, struct guard_named *ret)
{
    const struct nri_kv *kv[GUARD_POD_CDI_MAX];
    size_t n = pod_lists(g, kv, GUARD_POD_CDI_MAX);

    for (size_t i = 0; i < n && i < GUARD_POD_CDI_MAX; i++)
        guard_name_cdi(g->view, kv[i]->value, ret);
    return n <= GUARD_POD_CDI_MAX;
}

void
guard_name_container(const struct guard_case *g, struct guard_named *ret)
{
    const struct nri_kv *pod[GUARD_POD_CDI_MAX];
    size_t n_pod = pod_lists(g, pod, GUARD_POD_CDI_MAX);
    const struct nri_container *c = g->c;

    if (n_pod > GUARD_POD_CDI_MAX)
        n_pod = GUARD_POD_CDI_MAX;
    for (size_t i = 0; i < c->n_devices; i++)
        guard_name_node(g->view, &c->devices[i], ret);
    for (size_t i = 0; i < c->n_cdi; i++)
        guard_name_cdi(g->view, c->cdi[i], ret);
    for (size_t i = 0; i < c->n_annotations; i++) {
        const struct nri_kv *kv = &c->annotations[i];
        bool inherited = false;

        if (!guard_starts(kv->key, GUARD_CDI_PREFIX) || !guard_lists_ours(g->view, kv->value))
            continue;
        /* Runtimes copy the pod's annotations into its containers; for CDI they then use only those
         * that the kubelet gave the container. The pod's are judged for themselves. */
        for (size_t k = 0; k < n_pod && !inherited; k++)
            inherited = strcmp(pod[k]->key, kv->key) == 0 && strcmp(pod[k]->value, kv->value) == 0;
        if (!inherited)
            guard_name_cdi(g->view, kv->value, ret);
    }
}
