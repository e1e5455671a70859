/* SPDX-License-Identifier: Apache-2.0
 *
 * See nri/session_decode.h.
 */
#include "nri/session_decode.h"

#include <stdlib.h>
#include <string.h>

/* ---- memory of one request ---- */

struct nri_block {
    struct nri_block *next;
    _Alignas(max_align_t) unsigned char data[];
};

void
nri_arena_free(struct nri_arena *a)
{
    while (a->first) {
        struct nri_block *b = a->first;

        a->first = b->next;
        free(b);
    }
}

void *
nri_arena_get(struct nri_arena *a, size_t n, size_t size)
{
    struct nri_block *b;

    if (size > 0 && n > (SIZE_MAX - sizeof(*b)) / size)
        return NULL;
    b = calloc(1, sizeof(*b) + n * size);
    if (!b)
        return NULL;
    b->next = a->first;
    a->first = b;
    return b->data;
}

/* ---- maps ---- */

/* All map<string, string> entries look like this; protobuf-c makes a type for each map. */
typedef Nri__Pkg__Api__V1alpha1__PodSandbox__LabelsEntry Entry;
#define SAME_ENTRY(T)                                                                              \
    _Static_assert(offsetof(T, key) == offsetof(Entry, key) &&                                     \
                       offsetof(T, value) == offsetof(Entry, value),                               \
                   "map entries are laid out alike")
SAME_ENTRY(Nri__Pkg__Api__V1alpha1__PodSandbox__AnnotationsEntry);
SAME_ENTRY(Nri__Pkg__Api__V1alpha1__Container__AnnotationsEntry);
SAME_ENTRY(Nri__Pkg__Api__V1alpha1__ContainerAdjustment__AnnotationsEntry);

struct item {
    struct nri_kv kv;
    size_t at;
};

static int
cmp_items(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    const int c = strcmp(x->kv.key, y->kv.key);

    return c != 0 ? c : (x->at > y->at) - (x->at < y->at);
}

/* `entries` is an array of pointers to messages that are laid out as Entry. */
static bool
decode_map(struct nri_arena *a, size_t n, void *entries, const struct nri_kv **ret, size_t *ret_n)
{
    Entry *const *m = entries;
    struct nri_kv *kv;
    struct item *tmp;
    size_t used = 0;

    *ret_n = 0;
    if (n == 0)
        return true;
    kv = nri_arena_get(a, n, sizeof(*kv));
    tmp = calloc(n, sizeof(*tmp));
    if (!kv || !tmp) {
        free(tmp);
        return false;
    }
    for (size_t i = 0; i < n; i++)
        tmp[i] = (struct item){{m[i]->key, m[i]->value}, i};
    qsort(tmp, n, sizeof(*tmp), cmp_items);
    for (size_t i = 0; i < n; i++)
        if (i + 1 == n || strcmp(tmp[i].kv.key, tmp[i + 1].kv.key) != 0)
            kv[used++] = tmp[i].kv; /* the last of equal keys */
    free(tmp);
    *ret = kv;
    *ret_n = used;
    return true;
}

/* ---- parts that several messages have ---- */

static bool
decode_devices(struct nri_arena *a, size_t n, Nri__Pkg__Api__V1alpha1__LinuxDevice *const *m,
               const struct nri_device **ret, size_t *ret_n)
{
    struct nri_device *d = nri_arena_get(a, n, sizeof(*d));

    if (!d)
        return false;
    for (size_t i = 0; i < n; i++) {
        const char *t = m[i]->type;

        d[i] = (struct nri_device){.path = m[i]->path, .major = m[i]->major, .minor = m[i]->minor};
        if (strlen(t) == 1 && strchr("cbpu", *t))
            d[i].type = *t == 'u' ? 'c' : *t; /* u: a character device without a buffer */
    }
    *ret = d;
    *ret_n = n;
    return true;
}

static bool
decode_cdi(struct nri_arena *a, size_t n, Nri__Pkg__Api__V1alpha1__CDIDevice *const *m,
           const char *const **ret, size_t *ret_n)
{
    const char **names = nri_arena_get(a, n, sizeof(*names));

    if (!names)
        return false;
    for (size_t i = 0; i < n; i++)
        names[i] = m[i]->name;
    *ret = names;
    *ret_n = n;
    return true;
}

static size_t
count_hooks(const Nri__Pkg__Api__V1alpha1__Hooks *h)
{
    return h ? h->n_prestart + h->n_create_runtime + h->n_create_container + h->n_start_container +
                   h->n_poststart + h->n_poststop
             : 0;
}

/* ---- the three ---- */

bool
nri_decode_pod(struct nri_arena *a, const Nri__Pkg__Api__V1alpha1__PodSandbox *m,
               struct nri_pod *ret)
{
    *ret = (struct nri_pod){.id = "", .name = "", .uid = "", .ns = "", .handler = ""};
    if (!m)
        return true;
    ret->id = m->id;
    ret->name = m->name;
    ret->uid = m->uid;
    ret->ns = m->namespace_;
    ret->handler = m->runtime_handler;
    ret->pid = m->pid;
    return decode_map(a, m->n_labels, m->labels, &ret->labels, &ret->n_labels) &&
           decode_map(a, m->n_annotations, m->annotations, &ret->annotations, &ret->n_annotations);
}

bool
nri_decode_container(struct nri_arena *a, const Nri__Pkg__Api__V1alpha1__Container *m,
                     struct nri_container *ret)
{
    *ret = (struct nri_container){.id = "", .pod_id = "", .name = ""};
    if (!m)
        return true;
    ret->id = m->id;
    ret->pod_id = m->pod_sandbox_id;
    ret->name = m->name;
    ret->n_env = m->n_env;
    ret->env = (const char *const *)m->env;
    ret->n_hooks = count_hooks(m->hooks);
    if (m->linux &&
        !decode_devices(a, m->linux->n_devices, m->linux->devices, &ret->devices, &ret->n_devices))
        return false;
    return decode_cdi(a, m->n_cdi_devices, m->cdi_devices, &ret->cdi, &ret->n_cdi) &&
           decode_map(a, m->n_annotations, m->annotations, &ret->annotations, &ret->n_annotations);
}

static bool
decode_mounts(struct nri_arena *a, size_t n, Nri__Pkg__Api__V1alpha1__Mount *const *m,
              struct nri_adjust *ret)
{
    struct nri_kv *kv = nri_arena_get(a, n, sizeof(*kv));

    if (!kv)
        return false;
    for (size_t i = 0; i < n; i++)
        kv[i] = (struct nri_kv){m[i]->destination, m[i]->source};
    ret->mounts = kv;
    ret->n_mounts = n;
    return true;
}

bool
nri_decode_adjust(struct nri_arena *a, const Nri__Pkg__Api__V1alpha1__ContainerAdjustment *m,
                  struct nri_adjust *ret)
{
    *ret = (struct nri_adjust){0};
    if (!m)
        return true;
    ret->n_hooks = count_hooks(m->hooks);
    ret->n_env = m->n_env;
    if (m->linux &&
        !decode_devices(a, m->linux->n_devices, m->linux->devices, &ret->devices, &ret->n_devices))
        return false;
    return decode_mounts(a, m->n_mounts, m->mounts, ret) &&
           decode_cdi(a, m->n_cdi_devices, m->cdi_devices, &ret->cdi, &ret->n_cdi) &&
           decode_map(a, m->n_annotations, m->annotations, &ret->annotations, &ret->n_annotations);
}
