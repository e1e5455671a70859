/* SPDX-License-Identifier: Apache-2.0
 *
 * Pods in Kubernetes manifests: a Pod itself, or the template in a workload. No state.
 */
#include "cli/annotations.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

/* Where a kind keeps the pod: the way from the object to what has metadata and spec of a pod. */
static const struct {
    const char *kind, *path;
} kinds[] = {
    {"Pod", ""},
    {"PodTemplate", "template"},
    {"CronJob", "spec.jobTemplate.spec.template"},
    {"", "spec.template"}, /* Deployment, Job, ..., and what others build like them */
};

static const char *
text_at(const struct yamldoc_node *n, const char *path)
{
    const char *s = yamldoc_text(yamldoc_path(n, path));

    return s ? s : "";
}

static void
add(struct anno_pod *pod, const struct yamldoc_node *annotations, bool misplaced)
{
    const struct yamldoc_node *a = yamldoc_first(annotations);

    for (; a && yamldoc_key(a); a = yamldoc_next(a)) {
        const char *key = yamldoc_key(a), *value = yamldoc_text(a);

        /* elsewhere only what was meant for Kata is worth a word */
        if (misplaced && strncmp(key, "io.katacontainers.", 18) != 0 &&
            strncmp(key, "cdi.k8s.io/", 11) != 0)
            continue;
        pod->v[pod->n++] = (struct anno){
            .key = key,
            .value = value ? value : "",
            .line = yamldoc_line(a),
            .stop = misplaced                           ? ANNO_MISPLACED
                    : !value || yamldoc_is_nonstring(a) ? ANNO_NO_STRING
                                                        : ANNO_REACHES,
        };
    }
}

static size_t
count(const struct yamldoc_node *n)
{
    size_t c = 0;

    for (n = yamldoc_first(n); n; n = yamldoc_next(n))
        c++;
    return c;
}

struct anno_pod *
anno_pods_new(struct anno_pods *p, size_t n, struct err *e)
{
    if (p->n == ANNO_PODS_MAX) {
        (void)err_set(e, E2BIG, ERR_CLASS_INVALID, "more than %d pods", ANNO_PODS_MAX);
        return NULL;
    }
    struct anno_pod *v = realloc(p->v, (p->n + 1) * sizeof(*v));
    struct anno *a = calloc(n + 1, sizeof(*a));
    if (v)
        p->v = v;
    if (!v || !a) {
        free(a);
        (void)err_set(e, ENOMEM, ERR_CLASS_FATAL, "out of memory");
        return NULL;
    }
    struct anno_pod *pod = &p->v[p->n++];
    *pod = (struct anno_pod){
        .kind = "", .name = "", .namespace = "", .runtime_class = "", .file = "", .v = a};
    return pod;
}

/* Adds the pod of one object, if it has one. */
static int
add_object(struct anno_pods *p, const char *file, const struct yamldoc_node *o, struct err *e)
{
    const char *kind = text_at(o, "kind");
    const struct yamldoc_node *template = NULL;
    size_t i = 0;

    while (kinds[i].kind[0] && strcmp(kinds[i].kind, kind) != 0)
        i++;
    template = kinds[i].path[0] ? yamldoc_path(o, kinds[i].path) : o;
    if (!yamldoc_get(template, "spec") && !yamldoc_get(template, "metadata")) {
        p->n_skipped++;
        return 0;
    }
    const struct yamldoc_node *mine = yamldoc_path(template, "metadata.annotations");
    const struct yamldoc_node *outer =
        template == o ? NULL : yamldoc_path(o, "metadata.annotations");
    struct anno_pod *pod = anno_pods_new(p, count(mine) + count(outer), e);
    if (!pod)
        return -e->num;
    pod->kind = kind;
    pod->name = text_at(o, "metadata.name");
    pod->namespace = text_at(o, "metadata.namespace");
    pod->runtime_class = text_at(template, "spec.runtimeClassName");
    pod->file = file;
    pod->line = yamldoc_line(o);
    add(pod, mine, false);
    add(pod, outer, true);
    return 0;
}

static int
add_root(struct anno_pods *p, const char *file, const struct yamldoc_node *root, struct err *e)
{
    const struct yamldoc_node *items = yamldoc_get(root, "items");
    const char *kind = text_at(root, "kind");
    size_t n = strlen(kind);
    int rc = 0;

    /* List, PodList, ... */
    if (!items || n < 4 || strcmp(kind + n - 4, "List") != 0)
        return add_object(p, file, root, e);
    for (items = yamldoc_first(items); items && rc == 0; items = yamldoc_next(items))
        rc = add_object(p, file, items, e);
    return rc;
}

int
anno_pods_add(struct anno_pods *p, const char *file, const char *text, size_t len, struct err *e)
{
    const struct yamldoc_node *root;
    struct yamldoc *doc = NULL;
    size_t before = p->n;

    if (p->n_docs == ANNO_FILES_MAX)
        return err_set(e, E2BIG, ERR_CLASS_INVALID, "more than %d manifests", ANNO_FILES_MAX);
    int rc = yamldoc_parse(file, text, len, NULL, &doc, e);
    for (size_t i = 0; rc == 0 && (root = yamldoc_root(doc, i)) != NULL; i++)
        rc = add_root(p, file, root, e);
    if (rc < 0) {
        for (; p->n > before; p->n--)
            free(p->v[p->n - 1].v);
        yamldoc_free(doc);
        return rc;
    }
    p->docs[p->n_docs++] = doc;
    return 0;
}

void
anno_pods_fini(struct anno_pods *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->v[i].v);
    for (size_t i = 0; i < p->n_docs; i++)
        yamldoc_free(p->docs[i]);
    free(p->v);
    *p = (struct anno_pods){0};
}
